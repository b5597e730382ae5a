//! Tables that Spark and Flink wrote (tests/fixtures/tables), merged into on S3, with Glue and with SQLite as the catalog.
//!
//! Their metadata names files by absolute locations in a bucket `foreign`, so that is where they are put.

mod tables;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use ::lake::{
    catalog::{Catalog as _, Sqlite, Swap},
    spec::TableMetadata,
};
use serde_json::{Value, json};

use crate::{
    case::fixtures,
    lake::{Catalog, Lake, Tier},
    merges::{DUPLICATE, INSERTED, Outcome, STALE, Shape, Target, UNCHANGED, UPDATED, kept, normal},
    refusals::refuses,
    services::{Bucket, RUNTIME, SERVICES, send},
    tally,
};
use tables::{BY_VALUE, FIXTURES, Fixture};

/// The bucket that the tables were made in.
static BUCKET: LazyLock<Option<Bucket>> = LazyLock::new(|| SERVICES.s3.as_ref()?.another("foreign"));

/// Held by who uses a table's folder: two tests have another version each of the same table.
static FOLDERS: LazyLock<BTreeMap<String, Mutex<()>>> =
    LazyLock::new(|| FIXTURES.iter().map(|fixture| (fixture.folder(), Mutex::default())).collect());

/// Names of the tables.
pub fn names() -> impl Iterator<Item = &'static str> {
    FIXTURES.iter().map(|fixture| fixture.name)
}

/// Why they cannot be put where they must lie.
pub fn missing() -> Option<String> {
    let given = || BUCKET.is_none().then(|| "ETL_TEST_S3_BUCKET is set, and they need a bucket `foreign`".to_owned());
    Tier::Cloud.missing().or_else(given)
}

/// Removes what was put there.
pub fn clean_up() {
    if let (None, Some(bucket)) = (missing(), BUCKET.as_ref()) {
        FIXTURES.iter().for_each(|fixture| bucket.empty(Some(&fixture.folder())));
    }
}

/// One table, merged into three times.
pub fn merge(name: &str) -> Result<(), String> {
    let fixture = FIXTURES.iter().find(|fixture| fixture.name == name).ok_or("no such table")?;
    let _folder = fixture.lock();
    for catalog in [Catalog::Glue, Catalog::Sqlite] {
        let lake =
            Lake::with_catalog(Tier::Cloud, catalog, &format!("foreign-{name}-{catalog:?}"), &[fixture.shape.setup()]);
        fixture.merge(&lake, catalog).map_err(|error| format!("{catalog:?}: {error}"))?;
        tally::merged();
    }
    Ok(())
}

/// One table, written again as a whole before anything else, and then merged into: its rows are those of before, whatever
/// deletes, schemas and partition specs they came through.
pub fn compact(name: &str) -> Result<(), String> {
    let fixture = FIXTURES.iter().find(|fixture| fixture.name == name).ok_or("no such table")?;
    let _folder = fixture.lock();
    let lake = Lake::with_catalog(Tier::Cloud, Catalog::Sqlite, &format!("compact-{name}"), &[fixture.shape.setup()]);
    let before = fixture.place(&lake, Catalog::Sqlite)?;
    let expected = fixture.expected()?;
    let (_, now) = expected.last().ok_or("no rows")?;
    let mut target = Target::new(&lake, fixture.shape, now)?;
    target.has_equality_deletes = fixture.table.starts_with("flink");
    for (snapshot_id, rows) in &expected {
        target.expect(*snapshot_id, rows)?;
    }
    let fine = |(id, _): &(i64, Vec<Value>)| Ok((*id, target.at(*id)?.iter().map(normal).collect()));
    let raw = fixture.raw(&expected.iter().map(fine).collect::<Result<Vec<_>, String>>()?);
    let report = target.compact(&["--rewrite-all", "--max-commits", "2"])?;
    let compacted = fixture.metadata(report["output"]["metadata_location"].as_str().ok_or("no metadata location")?)?;
    let head = &compacted["current-snapshot-id"];
    let snapshot = compacted["snapshots"].as_array().and_then(|all| all.iter().find(|of| of["snapshot-id"] == *head));
    let left = &snapshot.ok_or("no snapshot")?["summary"]["total-delete-files"];
    if *left != json!("0") {
        return Err(format!("{left} delete files are left, and no file is older than any of them: {report}"));
    }
    target.compact(&["--rewrite-all", "--sort", "event_time DESC, device_id", "--no-partial-progress"])?;
    let report = target.merge(&raw)?;
    raw.iter().try_for_each(|(_, row)| target.find(row))?;
    let after = fixture.metadata(report["output"]["metadata_location"].as_str().ok_or("no metadata location")?)?;
    kept(&before, &after)?;
    tally::merged();
    Ok(())
}

/// Spark's table as it was in format version 1: read, and refused before anything is staged.
pub fn version_1() -> Result<(), String> {
    let evolved = FIXTURES.iter().find(|fixture| fixture.name == "evolved").ok_or("no such table")?;
    let shape = Shape { table: "curated.version_1", columns: BY_VALUE, partition: &[], ..evolved.shape };
    let fixture = Fixture { name: "version-1", version: "00000", shape, ..*evolved };
    let lake = Lake::with_catalog(Tier::Cloud, Catalog::Sqlite, "foreign-version-1", &[shape.setup()]);
    let _folder = fixture.lock();
    fixture.place(&lake, Catalog::Sqlite)?;
    let (snapshot_id, rows) = fixture.expected()?.into_iter().next().ok_or("no rows")?;
    let mut target = Target::new(&lake, shape, &rows)?;
    target.expect(snapshot_id, &rows)?;
    let objects = || fixture.bucket().names(&fixture.folder());
    refuses(
        &lake,
        &shape,
        &rows[0],
        1,
        &[
            "curated.version_1",
            "it has format version 1",
            "ALTER TABLE curated.version_1 SET TBLPROPERTIES ('format-version' = '2')",
        ],
        objects,
    )?;
    target.check()
}

impl Fixture {
    fn merge(&self, lake: &Lake, catalog: Catalog) -> Result<(), String> {
        let before = self.place(lake, catalog)?;
        let expected = self.expected()?;
        let (_, now) = expected.last().ok_or("no rows")?;
        let mut target = Target::new(lake, self.shape, now)?;
        target.has_equality_deletes = self.table.starts_with("flink");
        for (snapshot_id, rows) in &expected {
            target.expect(*snapshot_id, rows)?;
        }

        // What is delivered again has the table's own microseconds.
        let fine = |(id, _): &(i64, Vec<Value>)| Ok((*id, target.at(*id)?.iter().map(normal).collect()));
        let raw = self.raw(&expected.iter().map(fine).collect::<Result<Vec<_>, String>>()?);
        let report = target.merge(&raw)?;
        // Of the table that only ever grew, a file of each partition spec is among those written again.
        let updated = raw.iter().filter(|(outcome, _)| *outcome == UPDATED).count() as u64;
        let files_removed_min = if self.table == "spark.evolved" { updated } else { 1 };
        if report["output"]["files_removed"].as_u64() < Some(files_removed_min) {
            return Err(format!("fewer than {files_removed_min} files were replaced: {report}"));
        }
        raw.iter().try_for_each(|(_, row)| target.find(row))?;
        if catalog == Catalog::Sqlite {
            return Ok(()); // from here on catalogs make no difference
        }
        // At-least-once delivery: what was merged is there already.
        let again = |(outcome, row): &(Outcome, Value)| match *outcome {
            INSERTED | UPDATED => (UNCHANGED, row.clone()),
            outcome => (outcome, row.clone()),
        };
        let report = target.merge(&raw.iter().map(again).collect::<Vec<_>>())?;
        if report["output"]["snapshot_before"] != report["output"]["snapshot_after"] {
            return Err(format!("nothing changed, and there is a new snapshot: {report}"));
        }
        // Rows of files that are ours by now.
        let ours = raw.iter().filter(|(outcome, _)| [INSERTED, UPDATED].contains(outcome));
        let newer: Vec<_> = ours.map(|(_, row)| (UPDATED, self.moved(row, 5000, "again"))).collect();
        let report = target.merge(&newer)?;

        let after = self.metadata(report["output"]["metadata_location"].as_str().ok_or("no metadata location")?)?;
        kept(&before, &after)?;
        if catalog == Catalog::Glue {
            let answer = glue("GetTable", &json!({"DatabaseName": namespace(lake), "Name": self.name_in_catalog()}));
            if !answer.contains("\"owner_team\": \"iot\"") && !answer.contains("\"owner_team\":\"iot\"") {
                return Err(format!("a parameter of the Glue table is gone: {answer}"));
            }
        }
        Ok(())
    }

    /// Puts the table's objects into their bucket, and the table into the catalog. Returns its metadata.
    fn place(&self, lake: &Lake, catalog: Catalog) -> Result<Value, String> {
        let folder = self.folder();
        self.bucket().empty(Some(&folder));
        let objects = fixtures().join("tables/objects");
        put_all(self.bucket(), &objects, &objects.join(&folder));
        let location = self.location()?;
        let metadata = self.metadata(&location)?;
        match catalog {
            Catalog::Sqlite => {
                let parsed: TableMetadata =
                    serde_json::from_value(metadata.clone()).map_err(|error| error.to_string())?;
                let name = self.shape.table.parse().map_err(|error| format!("{error:?}"))?;
                let swap = RUNTIME.block_on(Sqlite::new(lake.sqlite(), "etl").create(&name, &location, &parsed));
                if !matches!(swap, Swap::Committed) {
                    return Err(format!("{name} was not registered: {swap:?}"));
                }
            }
            Catalog::Glue => {
                glue("CreateDatabase", &json!({"DatabaseInput": {"Name": namespace(lake)}}));
                let parameters = json!({"table_type": "ICEBERG", "metadata_location": location, "owner_team": "iot"});
                let input =
                    json!({"Name": self.name_in_catalog(), "TableType": "EXTERNAL_TABLE", "Parameters": parameters});
                let answer = glue("CreateTable", &json!({"DatabaseName": namespace(lake), "TableInput": input}));
                if !answer.starts_with("HTTP/1.1 200") {
                    return Err(format!("Glue did not take the table: {answer}"));
                }
            }
        }
        Ok(metadata)
    }

    /// Rows by snapshot, oldest first; of Flink's table the current ones alone are known.
    fn expected(&self) -> Result<Vec<(i64, Vec<Value>)>, String> {
        let path = fixtures().join(format!("tables/expected/{}.json", self.table));
        let known: Value = serde_json::from_slice(&fs::read(path).map_err(|error| error.to_string())?)
            .map_err(|error| error.to_string())?;
        let metadata = self.metadata_file()?;
        let rows = |of: &Value| of["rows"].as_array().cloned().unwrap_or_default();
        let current = metadata["current-snapshot-id"].as_i64().ok_or("no snapshot")?;
        let Some(snapshots) = known["snapshots"].as_array() else { return Ok(vec![(current, rows(&known))]) };
        let mut expected = Vec::new();
        for snapshot in snapshots {
            let id = snapshot["snapshot_id"].as_i64().ok_or("a snapshot without id")?;
            expected.push((id, rows(snapshot)));
            if id == current {
                break;
            }
        }
        Ok(expected)
    }

    /// Raw rows: of the keys that each snapshot brought one is updated, one delivered again and one stale; keys that were
    /// deleted come back; new ones come to partitions that are there and that are not.
    fn raw(&self, expected: &[(i64, Vec<Value>)]) -> Vec<(Outcome, Value)> {
        let key = |row: &Value| self.shape.key_of(row);
        let Some((_, now)) = expected.last() else { return Vec::new() };
        let is_alive = |row: &Value| now.iter().any(|other| key(other) == key(row));
        let mut raw = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for (_, rows) in expected {
            let brought: Vec<&Value> =
                now.iter().filter(|row| !seen.contains(&key(row)) && rows.iter().any(|o| key(o) == key(row))).collect();
            if let [first, second, third, ..] = brought.as_slice() {
                raw.push((DUPLICATE, self.moved(first, 1, "loses")));
                raw.push((UPDATED, self.moved(first, 1000, "wins")));
                raw.push((UNCHANGED, (*second).clone()));
                raw.push((STALE, self.moved(third, -1, "late")));
            }
            seen.extend(brought.into_iter().map(key));
            let dead: Vec<&Value> = rows.iter().filter(|row| !is_alive(row) && !seen.contains(&key(row))).collect();
            raw.extend(dead.iter().take(3).map(|row| (INSERTED, (**row).clone())));
            seen.extend(dead.into_iter().map(key));
        }
        let mut beside = now[now.len() / 2].clone();
        beside["event_id"] = json!("new");
        let mut elsewhere = self.moved(&now[0], 77_777, "elsewhere");
        elsewhere["device_id"] = json!("dev-new");
        elsewhere["event_id"] = json!("zzz-1");
        elsewhere["event_time"] = json!("2027-01-02T03:04:05.006Z");
        raw.extend([(INSERTED, beside), (INSERTED, elsewhere)]);
        raw
    }

    /// The row, older or newer in the winner order, with a note.
    fn moved(&self, row: &Value, by: i64, note: &str) -> Value {
        let mut row = row.clone();
        row[self.note] = json!(note);
        if let Some(reading) = row["reading"].as_i64() {
            row["reading"] = json!(reading + by);
        } else if let Some((date, _)) = row["event_time"].as_str().and_then(|time| time.split_once('T')) {
            // Flink's rows are a few seconds after midnight.
            let time = if by < 0 { "00:00:00.001".to_owned() } else { format!("{:02}:30:00.000", by / 300) };
            row["event_time"] = json!(format!("{date}T{time}Z"));
        }
        row
    }

    fn lock(&self) -> MutexGuard<'static, ()> {
        FOLDERS[&self.folder()].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name_in_catalog(&self) -> &'static str {
        self.shape.table.split_once('.').map_or(self.shape.table, |(_, name)| name)
    }

    fn bucket(&self) -> &'static Bucket {
        BUCKET.as_ref().expect("asked for only where it can be made")
    }

    /// Below the bucket, without a slash at its end.
    fn folder(&self) -> String {
        let (engine, name) = self.table.split_once('.').expect("a namespace and a name");
        if engine == "flink" { format!("warehouse/flink/{name}") } else { format!("spark/{engine}/{name}") }
    }

    /// Location of its metadata.json.
    fn location(&self) -> Result<String, String> {
        let folder = format!("{}/metadata", self.folder());
        let found = fs::read_dir(fixtures().join("tables/objects").join(&folder)).map_err(|error| error.to_string())?;
        let mut names = found.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let name = names.find(|name| name.starts_with(self.version) && name.ends_with(".metadata.json"));
        Ok(format!("s3://foreign/{folder}/{}", name.ok_or("no such version")?))
    }

    fn metadata(&self, location: &str) -> Result<Value, String> {
        let key = location.strip_prefix("s3://foreign/").ok_or("it lies in another bucket")?;
        serde_json::from_slice(&self.bucket().get(key)).map_err(|error| format!("{location}: {error}"))
    }

    fn metadata_file(&self) -> Result<Value, String> {
        let location = self.location()?;
        let key = location.strip_prefix("s3://foreign/").ok_or("it lies in another bucket")?;
        let bytes = fs::read(fixtures().join("tables/objects").join(key)).map_err(|error| error.to_string())?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{location}: {error}"))
    }
}

fn put_all(bucket: &Bucket, root: &Path, folder: &Path) {
    for entry in fs::read_dir(folder).expect("the fixtures are there") {
        let path = entry.expect("it is listed").path();
        if path.is_dir() {
            put_all(bucket, root, &path);
        } else {
            let key = path.strip_prefix(root).expect("it lies below").to_str().expect("it is Unicode");
            bucket.put(key, fs::read(&path).expect("the fixture is read"));
        }
    }
}

/// A request to the Glue emulator, which looks at no signature.
fn glue(action: &str, body: &Value) -> String {
    let url = SERVICES.glue.as_ref().expect("asked for only where it is");
    let target = format!("AWSGlue.{action}");
    let scope =
        "AWS4-HMAC-SHA256 Credential=test/20250101/us-east-1/glue/aws4_request, SignedHeaders=host, Signature=0";
    let headers =
        [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1"), ("Authorization", scope)];
    send("POST", url, &headers, body.to_string().as_bytes())
}

fn namespace(lake: &Lake) -> String {
    lake.local("curated")
}
