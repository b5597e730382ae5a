//! Tables that PyIceberg wrote and goes on writing to, merged into on a local folder: appends and overwrites before,
//! appends and deletes in between.

use std::{fs, path::Path};

use ::lake::{
    catalog::{Catalog as _, Pointer, Sqlite, Swap},
    spec::TableMetadata,
};
use serde_json::{Value, json};

use crate::{
    Run,
    lake::{Lake, Tier},
    merges::{DUPLICATE, INSERTED, STALE, Shape, Target, UNCHANGED, UPDATED, kept},
    reader,
    services::RUNTIME,
    tally,
};

/// What is tried.
pub const TRIALS: [(&str, Run); 7] = [
    ("compacted", compacted),
    ("partitioned", partitioned),
    ("unpartitioned", unpartitioned),
    ("former-partition", former_partition),
    ("name-mapping", name_mapping),
    ("null-key", null_key),
    ("equality-deletes", equality_deletes),
];

/// The table, by day.
pub const DAY: Shape = Shape {
    table: "curated.telemetry",
    columns: &[
        ("device_id", "string"),
        ("event_id", "string"),
        ("event_time", "timestamptz"),
        ("tenant_id", "string"),
        ("temperature", "double"),
        ("ingest_time", "timestamptz"),
    ],
    key: &["device_id", "event_id"],
    required: &["event_time", "tenant_id"],
    partition: &[("event_time", "day")],
    order: "ingest_time",
};

const NONE: Shape = Shape { partition: &[], ..DAY };

fn partitioned() -> Result<(), String> {
    let lake = lake("pyiceberg-day", DAY);
    write(&lake, "day", &json!({"owner_team": "iot", "write.parquet.compression-codec": "gzip"}))?;
    merged_in_turns(&lake, DAY)
}

/// With the layout of Athena's tables, elsewhere than PyIceberg's own files.
fn unpartitioned() -> Result<(), String> {
    let lake = lake("pyiceberg-none", NONE);
    let elsewhere = lake.folder().join("elsewhere");
    let location = format!("file://{}", elsewhere.display());
    write(&lake, "none", &json!({"write.object-storage.enabled": "true", "write.data.path": location}))?;
    let before = files(&elsewhere);
    merged_in_turns(&lake, NONE)?;
    // 0101/0110/1001/10110010/curated/telemetry/00000-….parquet
    let is_hashed = |path: &str| {
        let parts: Vec<&str> = path.split('/').collect();
        let is_bits = |part: &&str| part.chars().all(|bit| bit == '0' || bit == '1');
        parts.len() == 7 && parts[..4].iter().all(is_bits) && parts[4..6] == ["curated", "telemetry"]
    };
    let ours: Vec<String> = files(&elsewhere).into_iter().filter(|path| !before.contains(path)).collect();
    match ours.iter().filter(|path| is_hashed(path)).count() {
        0 => Err(format!("no file of ours has the table's layout: {ours:?}")),
        _ => Ok(()),
    }
}

/// PyIceberg writes, etl merges, PyIceberg appends and deletes, etl merges, and once more.
fn merged_in_turns(lake: &Lake, shape: Shape) -> Result<(), String> {
    let mut target = opened(lake, shape)?;
    let row = |key: &str| target.rows[key].clone();
    let first = row("\"dev-1\"/\"d1-e1\"");
    let mut moved = later(&row("\"dev-2\"/\"d2-e2\""));
    moved["event_time"] = json!("2025-06-03T23:59:59.999Z");
    let new = |event: &str, time: &str| {
        json!({"device_id": "dev-new", "event_id": event, "event_time": time, "tenant_id": "tenant-9", "temperature": 1.5,
               "ingest_time": "2025-06-04T00:00:00.000Z"})
    };
    let (beside, elsewhere) = (new("n1", "2025-06-02T05:00:00.000Z"), new("n2", "2026-01-01T00:00:00.000Z"));
    let mut loses = later(&first);
    loses["ingest_time"] = json!("2025-06-03T12:00:00.000Z");
    let raw = [
        (DUPLICATE, loses),
        (UPDATED, later(&first)),
        (UPDATED, moved.clone()),
        (UNCHANGED, row("\"dev-3\"/\"d1-e3\"")),
        (STALE, earlier(&row("\"dev-4\"/\"d2-e4\""))),
        (INSERTED, beside.clone()),
        (INSERTED, elsewhere),
    ];
    target.merge(&raw)?;
    raw.iter().try_for_each(|(_, row)| target.find(row))?;

    // PyIceberg takes away a row of its own and one of ours, and brings another.
    let theirs = new("n3", "2025-06-02T06:00:00.000Z");
    let condition = "event_id == 'd1-e5' or event_id == 'n1'";
    let gone = [target.rows["\"dev-5\"/\"d1-e5\""].clone(), beside];
    change(lake, shape, &json!({"append": [theirs], "delete": condition, "tag": "reviewed"}))?;
    took_over(&mut target, lake, shape)?;
    let mut again = later(&moved);
    again["ingest_time"] = json!("2025-06-06T00:00:00.000Z");
    target.merge(&[
        (UPDATED, later(&theirs)),
        (UPDATED, again),
        (UNCHANGED, target.rows["\"dev-1\"/\"d1-e1\""].clone()),
        (INSERTED, gone[0].clone()),
        (INSERTED, gone[1].clone()),
    ])?;

    change(lake, shape, &json!({"delete": "device_id == 'dev-new'"}))?;
    took_over(&mut target, lake, shape)?;
    let before = metadata(lake)?;
    target.merge(&[(INSERTED, gone[1].clone())])?;
    let after = metadata(lake)?;
    kept(&before, &after)?;
    if after["refs"]["reviewed"].is_null() {
        return Err(format!("the tag is gone: {}", after["refs"]));
    }
    tally::merged();
    Ok(())
}

/// PyIceberg's files are packed and sorted, and it goes on with what came of it.
fn compacted() -> Result<(), String> {
    for (name, shape) in [("day", DAY), ("none", NONE)] {
        let lake = lake(&format!("pyiceberg-compact-{name}"), shape);
        write(&lake, name, &json!({"write.parquet.compression-codec": "snappy"}))?;
        let mut target = opened(&lake, shape)?;
        let report = target.compact(&["--rewrite-all", "--min-copy-size-bytes", "1"])?;
        if report["compaction"]["rows_copied"] != report["compaction"]["rows"] {
            return Err(format!("rows were decoded that PyIceberg has written in the same columns: {report}"));
        }
        let condition = "event_id == 'd1-e5'";
        let mut row = row_of(&target, "\"dev-1\"/\"d1-e1\"");
        row["event_id"] = json!("theirs");
        change(&lake, shape, &json!({"append": [row], "delete": condition, "tag": "reviewed"}))?;
        took_over(&mut target, &lake, shape)?;
        target.compact(&["--rewrite-all", "--z-order", "device_id,event_time"])?;
        target.merge(&[(UPDATED, later(&row)), (UPDATED, later(&row_of(&target, "\"dev-2\"/\"d1-e2\"")))])?;
        let before = metadata(&lake)?;
        target.compact(&["--rewrite-all"])?;
        kept(&before, &metadata(&lake)?)?;
        tally::merged();
    }
    Ok(())
}

/// A table that was partitioned once, raised from version 1: its partition field is void since. Rows of its old files go
/// where new ones do.
fn former_partition() -> Result<(), String> {
    let lake = lake("pyiceberg-void", NONE);
    write(&lake, "day", &json!({}))?;
    rewrite(&lake, |metadata| {
        let field = json!({"name": "event_time_day", "transform": "void", "source-id": 3, "field-id": 1000});
        let specs = metadata["partition-specs"].as_array_mut().expect("there are some");
        specs.push(json!({"spec-id": 1, "fields": [field]}));
        metadata["default-spec-id"] = json!(1);
        // Writers of old left the slash at the end of a location.
        metadata["location"] = json!(format!("{}/", metadata["location"].as_str().unwrap_or_default()));
    })?;
    let mut target = opened(&lake, NONE)?;
    let updated = later(&row_of(&target, "\"dev-1\"/\"d1-e1\""));
    let mut new = updated.clone();
    new["event_id"] = json!("new");
    target.merge(&[(UPDATED, updated.clone()), (INSERTED, new)])?;
    let mut again = updated;
    again["ingest_time"] = json!("2025-06-06T00:00:00.000Z");
    target.merge(&[(UPDATED, again)])?;
    tally::merged();
    Ok(())
}

/// Files without field ids are merged into, and a column that the contract adds is read from such files, too.
fn name_mapping() -> Result<(), String> {
    const COLUMNS: &[(&str, &str)] = &[
        ("device_id", "string"),
        ("event_id", "string"),
        ("event_time", "timestamptz"),
        ("tenant_id", "string"),
        ("temperature", "double"),
        ("ingest_time", "timestamptz"),
        ("note", "string"),
    ];
    let lake = lake("pyiceberg-mapping", NONE);
    write(&lake, "none", &json!({}))?;
    let mut target = opened(&lake, NONE)?;
    let mut row = target.rows["\"dev-1\"/\"d1-e1\""].clone();
    row["event_id"] = json!("added");
    let mut beside = row.clone();
    beside["event_id"] = json!("added too");
    change(&lake, NONE, &json!({"add_file": [row, beside]}))?;
    took_over(&mut target, &lake, NONE)?;
    target.merge(&[(UPDATED, later(&row)), (UNCHANGED, beside.clone())])?;

    target.evolve(Shape { columns: COLUMNS, ..NONE });
    let mut noted = later(&beside);
    noted["note"] = json!("ours");
    target.merge(&[(UPDATED, noted)])?;
    row["event_id"] = json!("added last");
    row["note"] = json!("theirs");
    change(&lake, NONE, &json!({"add_file": [row]}))?;
    took_over(&mut target, &lake, NONE)?;
    let read = target.rows.values().find(|other| other["event_id"] == row["event_id"]);
    if read.is_none_or(|read| read["note"] != json!("theirs")) {
        return Err(format!("the new column is not read from a file without ids: {read:?}"));
    }
    target.merge(&[(UPDATED, later(&row))])?;
    tally::merged();
    Ok(())
}

/// A row without a key, which the contract would not let in, matches nothing and stays.
fn null_key() -> Result<(), String> {
    let lake = lake("pyiceberg-null", NONE);
    write(&lake, "none", &json!({}))?;
    rewrite(&lake, |metadata| {
        for field in metadata["schemas"][0]["fields"].as_array_mut().into_iter().flatten() {
            field["required"] = json!(false);
        }
    })?;
    let mut target = opened(&lake, NONE)?;
    let mut row = target.rows["\"dev-1\"/\"d1-e1\""].clone();
    let mut beside = row.clone();
    row["event_id"] = Value::Null;
    beside["event_id"] = json!("beside");
    change(&lake, NONE, &json!({"append": [row, beside]}))?;
    took_over(&mut target, &lake, NONE)?;
    let mut empty = row;
    empty["event_id"] = json!("");
    target.merge(&[(INSERTED, empty), (UPDATED, later(&beside))])?;
    tally::merged();
    Ok(())
}

/// Rows that equality deletes hide are neither matched nor copied along, and what is merged after them stays; NULL is a value
/// like any other to them.
fn equality_deletes() -> Result<(), String> {
    let lake = lake("pyiceberg-equality", NONE);
    write(&lake, "none", &json!({}))?;
    let mut target = opened(&lake, NONE)?;
    let dead = ["\"dev-0\"/\"d1-e0\"", "\"dev-6\"/\"d1-e6\""].map(|key| target.rows[key].clone());
    // Row 6 is the first without a temperature.
    for deletes in [
        json!([{"device_id": "dev-0", "event_id": "d1-e0"}, {"device_id": "dev-1", "event_id": "nobody"}]),
        json!([{"device_id": "dev-6", "temperature": null}]),
    ] {
        change(&lake, NONE, &json!({"equality_delete": {"rows": deletes}}))?;
    }
    target.has_equality_deletes = true;
    let is_dead = |row: &Value| {
        row["event_id"] == "d1-e0" && row["device_id"] == "dev-0"
            || row["device_id"] == "dev-6" && row["temperature"].is_null()
    };
    let alive = target.rows.len();
    target.rows.retain(|_, row| !is_dead(row));
    if target.rows.len() + 3 > alive {
        return Err(format!("{} rows should be gone by now", alive - target.rows.len()));
    }
    // The first file is written again for a living neighbour of the dead; one of these comes back as it was.
    let row = |key: &str| target.rows[key].clone();
    let raw = [
        (UPDATED, later(&row("\"dev-1\"/\"d1-e1\""))),
        (UNCHANGED, row("\"dev-2\"/\"d1-e2\"")),
        (INSERTED, dead[0].clone()),
        (INSERTED, later(&dead[1])),
    ];
    target.merge(&raw)?;
    raw.iter().try_for_each(|(_, row)| target.find(row))?;
    // Deletes that come later hit what we wrote.
    change(&lake, NONE, &json!({"equality_delete": {"rows": [{"device_id": "dev-0", "event_id": "d1-e0"}]}}))?;
    target.rows.remove("\"dev-0\"/\"d1-e0\"");
    target.merge(&[(UPDATED, later(&row_of(&target, "\"dev-2\"/\"d1-e2\"")))])?;
    // Written again as a whole, nothing is left for them to hit.
    let report = target.compact(&["--rewrite-all"])?;
    if report["compaction"]["delete_files_removed"] != json!(3) {
        return Err(format!("the three delete files should be gone: {report}"));
    }
    tally::merged();
    Ok(())
}

/// A lake for such a table.
pub fn lake(name: &str, shape: Shape) -> Lake {
    Lake::new(Tier::Local, name, &[shape.setup()])
}

/// PyIceberg makes the table: an append, an overwrite, an append.
pub fn write(lake: &Lake, partition: &str, properties: &Value) -> Result<(), String> {
    let mut request = lake.request(DAY.table);
    request["op"] = json!("write");
    request["catalog_name"] = json!("etl");
    request["warehouse"] = json!(format!("file://{}", lake.folder().join("warehouse").display()));
    request["rows"] = json!(20);
    request["partition"] = json!(partition);
    request["properties"] = properties.clone();
    reader::ask(&request).map(drop)
}

fn change(lake: &Lake, shape: Shape, what: &Value) -> Result<(), String> {
    let mut request = lake.request(shape.table);
    request["op"] = json!("change");
    for (name, value) in what.as_object().into_iter().flatten() {
        request[name.as_str()] = value.clone();
    }
    reader::ask(&request).map(drop)
}

/// The table as PyIceberg reads it, at every snapshot.
pub fn opened<'a>(lake: &'a Lake, shape: Shape) -> Result<Target<'a>, String> {
    let snapshots = lake.snapshots(shape.table)?;
    let (_, now) = snapshots.last().ok_or("no snapshot")?;
    let mut target = Target::new(lake, shape, now)?;
    snapshots.iter().try_for_each(|(id, rows)| target.expect(*id, rows))?;
    target.check()?;
    Ok(target)
}

/// What PyIceberg has just left.
fn took_over(target: &mut Target<'_>, lake: &Lake, shape: Shape) -> Result<(), String> {
    let snapshots = lake.snapshots(shape.table)?;
    let (id, rows) = snapshots.last().ok_or("no snapshot")?;
    target.take_over(rows)?;
    target.expect(*id, rows)
}

/// The metadata that the catalog points at.
fn metadata(lake: &Lake) -> Result<Value, String> {
    let path = local_path(&pointer(lake)?)?.to_owned();
    let bytes = fs::read(&path).map_err(|error| format!("{path}: {error}"))?;
    serde_json::from_slice(&bytes).map_err(|error| format!("{path}: {error}"))
}

fn pointer(lake: &Lake) -> Result<Pointer, String> {
    let catalog = Sqlite::new(lake.sqlite(), "etl");
    let name = DAY.table.parse().expect("it is a name");
    RUNTIME.block_on(catalog.load(&name)).map_err(|error| error.to_string())?.ok_or("no such table".to_owned())
}

fn local_path(pointer: &Pointer) -> Result<&str, String> {
    let path = pointer.metadata_location.strip_prefix("file://");
    path.ok_or_else(|| format!("{} is not local", pointer.metadata_location))
}

/// Another version of the metadata, as the catalog's new one.
pub fn rewrite(lake: &Lake, edit: impl FnOnce(&mut Value)) -> Result<(), String> {
    let pointer = pointer(lake)?;
    let mut edited = metadata(lake)?;
    edit(&mut edited);
    let path = local_path(&pointer)?.replace(".metadata.json", "-edited.metadata.json");
    fs::write(&path, edited.to_string()).map_err(|error| format!("{path}: {error}"))?;
    let parsed: TableMetadata = serde_json::from_value(edited).map_err(|error| format!("{path}: {error}"))?;
    let (catalog, name) = (Sqlite::new(lake.sqlite(), "etl"), DAY.table.parse().expect("it is a name"));
    let swap = RUNTIME.block_on(catalog.swap(&name, &pointer, &format!("file://{path}"), &parsed));
    if matches!(swap, Swap::Committed) { Ok(()) } else { Err(format!("the pointer did not move: {swap:?}")) }
}

/// A row by its key.
pub fn row_of(target: &Target<'_>, key: &str) -> Value {
    target.rows[key].clone()
}

/// The row as it might come a day later.
pub fn later(row: &Value) -> Value {
    let mut row = row.clone();
    row["temperature"] = json!(99.25);
    row["ingest_time"] = json!("2025-06-05T00:00:00.000Z");
    row
}

fn earlier(row: &Value) -> Value {
    let mut row = row.clone();
    row["temperature"] = json!(-1.5);
    row["ingest_time"] = json!("2020-01-01T00:00:00.000Z");
    row
}

/// Files below a folder, by their paths in it.
pub fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten() {
            let path = entry.expect("it is listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).expect("it lies below").display().to_string());
            }
        }
    }
    found.sort();
    found
}
