//! Each of the two jobs with nobody beside it.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use serde_json::{Value, json};

use super::{MUCH_LATER, NEXT_DAY, PLACE, World, ended, equal, later, objects, stray, stray_of, world};
use crate::{
    batches::{self, TABLE},
    here,
    lake::{Lake, NOW, Tier},
    reader,
    services::SERVICES,
};

/// What a table keeps, forgets and deletes, and that the rest reads as before.
pub fn expire(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "expire", 4)?;
    let before = objects(&world.lake);
    let words = ["expire", "--older-than", "1h", "--retain-last", "2"];
    let dry = ended(later(&mut world.lake, NEXT_DAY, &[&words[..], &["--dry-run"]].concat()), 0)?;
    equal("the dry run's status", &dry.reports[0]["status"], &json!("planned"))?;
    equal("the plan", &dry.reports[0]["plan"]["decision"], &json!("expire"))?;
    equal("objects after a dry run", &objects(&world.lake), &before)?;

    let ran = ended(later(&mut world.lake, NEXT_DAY, &[&words[..], &["--yes"]].concat()), 0)?;
    let report = &ran.reports[0];
    equal("status", &report["status"], &json!("committed"))?;
    let reasons = json!([
        {"action": "keep", "reason": "among the last 2 of branch main", "snapshots": 1},
        {"action": "keep", "reason": "current snapshot", "snapshots": 1},
        {"action": "expire", "reason": "older than 1h, and not among the last 2 of branch main", "snapshots": 2},
    ]);
    equal("reasons", &report["snapshots"]["reasons"], &reasons)?;
    equal("counts", &json!([report["snapshots"]["kept"], report["snapshots"]["expired"]]), &json!([2, 2]))?;
    let gone = before.len() - objects(&world.lake).len();
    // The new version of the table came in their place.
    equal("files deleted", &report["deleted"]["files"], &json!(gone + 1))?;
    equal("the same as planned", &report["deleted"]["by_kind"], &dry.reports[0]["plan"]["deletes"])?;
    let kinds = report["deleted"]["by_kind"].as_array().ok_or("no kinds")?;
    let kinds: BTreeSet<_> = kinds.iter().filter_map(|of| of["kind"].as_str()).collect();
    equal("kinds", &kinds, &BTreeSet::from(["data_file", "manifest", "manifest_list", "tombstones"]))?;
    world.is_right(&[2, 3])?;
    for (id, _) in &world.history[..2] {
        let statement = format!("SELECT * FROM {} FOR VERSION AS OF {id} LIMIT 1", world.lake.local(TABLE));
        if world.lake.query(&statement).is_ok() {
            return Err(format!("snapshot {id} has expired and can be read"));
        }
    }
    agrees(&world, &[2, 3])?;
    // Nothing is taken in twice, and deletions of long ago are remembered.
    let again = ended(world.lake.run(&batches::dedupe(0)), 0)?;
    equal("the first hour again", &again.reports[0]["status"], &json!("unchanged"))?;
    let again = ended(later(&mut world.lake, NEXT_DAY, &[&words[..], &["--yes"]].concat()), 0)?;
    equal("expire again", &again.reports[0]["status"], &json!("unchanged"))?;
    world.take_in(4)?;
    world.is_right(&[2, 3, 4])?;
    let runs = world.lake.run(&["runs"]);
    equal("a line of the run", &runs.stdout.contains("  expire  "), &true)
}

/// PyIceberg reads the same at every kept snapshot, and knows no other.
pub fn agrees(world: &World, kept: &[usize]) -> Result<(), String> {
    if SERVICES.python.is_none() {
        return Ok(());
    }
    let read = world.lake.snapshots(TABLE)?;
    let ids: Vec<_> = read.iter().map(|(id, _)| *id).collect();
    equal("snapshots that PyIceberg knows", &ids, &kept.iter().map(|index| world.history[*index].0).collect())?;
    for (index, (id, rows)) in kept.iter().zip(&read) {
        batches::compare_with(rows, &world.history[*index].1)
            .map_err(|error| format!("PyIceberg at snapshot {id}: {error}"))?;
    }
    Ok(())
}

/// A table that PyIceberg made, with a tag and a branch.
pub fn foreign(tier: Tier) -> Result<(), String> {
    let mut lake = Lake::new(tier, "expire-foreign", &[batches::table()]);
    let mut request = lake.request(TABLE);
    request["op"] = json!("write");
    request["rows"] = json!(5);
    request["tag"] = json!("v1");
    request["branch"] = json!("audit");
    request["warehouse"] = json!(lake.new_tables());
    request["catalog_name"] = json!("etl");
    let written = reader::ask(&request)?;
    let ids: Vec<_> =
        written.as_array().ok_or("no snapshots")?.iter().filter_map(|of| of["snapshot_id"].as_i64()).collect();
    let before: BTreeMap<_, _> = lake.snapshots(TABLE)?.into_iter().collect();
    let (first, audit, head) = (ids[0], ids[ids.len() - 2], ids[ids.len() - 1]);
    let ran = ended(later(&mut lake, MUCH_LATER, &["expire", "--older-than", "1d", "--yes"]), 0)?;
    let snapshots = &ran.reports[0]["snapshots"];
    let kept: BTreeSet<_> = [first, audit, head].into();
    equal("kept", &snapshots["kept"], &json!(kept.len()))?;
    equal("expired", &snapshots["expired"], &json!(ids.len() - kept.len()))?;
    let after: BTreeMap<_, _> = lake.snapshots(TABLE)?.into_iter().collect();
    equal("snapshots", &after.keys().copied().collect(), &kept)?;
    for (id, rows) in &after {
        equal(&format!("rows of snapshot {id}"), rows, &before[id])?;
    }
    batches::check(&lake)?;
    // Nothing else lies there that nothing refers to, but what the failed half of an overwrite may leave.
    let ran = ended(later(&mut lake, MUCH_LATER, &["orphans", "--yes"]), 0)?;
    batches::check(&lake).map_err(|error| format!("after orphans, {}: {error}", ran.reports[0]))?;
    let after: BTreeMap<_, _> = lake.snapshots(TABLE)?.into_iter().collect();
    equal("snapshots after orphans", &after.keys().copied().collect(), &kept)
}

/// Without --yes and with nobody to ask it ends 2, and nothing has changed.
pub fn asks(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "expire-asks", 2)?;
    stray(&world.lake, "data/stray.parquet");
    let before = objects(&world.lake);
    for words in [&["expire", "--older-than", "1h"][..], &["orphans", "--max-fraction", "1"]] {
        let ran = ended(later(&mut world.lake, MUCH_LATER, words), 2)?;
        equal("the report says what it would have done", &ran.reports[0]["plan"].is_object(), &true)?;
        equal("the message", &ran.stderr.contains("--yes"), &true)?;
        equal("objects", &objects(&world.lake), &before)?;
        let ran = ended(later(&mut world.lake, MUCH_LATER, &[words, &["--dry-run"]].concat()), 0)?;
        equal("status", &ran.reports[0]["status"], &json!("planned"))?;
        equal("objects", &objects(&world.lake), &before)?;
    }
    for words in [
        &["orphans", "--older-than", "23h", "--yes"][..],
        &["orphans", "--max-fraction", "2", "--yes"],
        &["expire", "--older-than", "soon", "--yes"],
        &["expire", "--retain-last", "0", "--yes"],
        &["expire", "--snapshot-id", "x", "--yes"],
    ] {
        ended(later(&mut world.lake, MUCH_LATER, words), 2)?;
        equal("objects", &objects(&world.lake), &before)?;
    }
    // The current snapshot is held by main.
    let head = world.history[1].0.to_string();
    ended(later(&mut world.lake, MUCH_LATER, &["expire", "--snapshot-id", &head, "--yes"]), 1)?;
    equal("objects", &objects(&world.lake).len(), &before.len())?;
    if tier == Tier::Local {
        // A person who is asked, in this process.
        world.lake.now = MUCH_LATER.to_owned();
        let words = ["expire", "--older-than", "1h"];
        let no = ended(here::answer(&world.lake, &words, false), 0)?;
        equal("after no", &no.reports[0]["status"], &json!("planned"))?;
        equal("objects", &objects(&world.lake).len(), &before.len())?;
        let yes = ended(here::answer(&world.lake, &words, true), 0)?;
        equal("after yes", &yes.reports[0]["status"], &json!("committed"))?;
    }
    Ok(())
}

/// What failed runs left goes, when it is old and not too much.
pub fn orphans(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "orphans", 3)?;
    let clean = objects(&world.lake);
    let strays =
        ["data/stray.parquet", "data/event_time_day=2025-06-02/x-deletes.parquet", "metadata/00000-u.metadata.json"];
    for path in strays {
        stray(&world.lake, path);
    }
    // An earlier version of this table; one that nobody can tell refuses.
    ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes", "--max-fraction", "1"]), 1)?;
    let version = format!(r#"{{"format-version": 2, "table-uuid": "{}", "location": ""#, uuid(&world)?);
    stray_of(&world.lake, strays[2], version.as_bytes());
    let young = later(&mut world.lake, NOW, &["orphans", "--yes", "--max-fraction", "1"]);
    equal("all are young", &ended(young, 0)?.reports[0]["status"], &json!("unchanged"))?;
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes", "--max-fraction", "0.2"]), 0)?;
    let report = &ran.reports[0];
    equal("status", &report["status"], &json!("deleted"))?;
    equal("files", &report["deleted"]["files"], &json!(strays.len()))?;
    let kinds = report["deleted"]["by_kind"].as_array().ok_or("no kinds")?;
    let kinds: Vec<_> =
        kinds.iter().map(|of| (of["kind"].as_str(), of["files"].as_u64(), of["bytes"].as_u64())).collect();
    let one = |kind, bytes: usize| (Some(kind), Some(1), Some(bytes as u64));
    equal("kinds", &kinds, &vec![one("data_file", 5), one("delete_file", 5), one("metadata", version.len())])?;
    // What superseded tombstones there are is named by snapshots that are kept.
    equal("objects", &objects(&world.lake), &clean)?;
    world.is_right(&[0, 1, 2])?;
    let again = ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes"]), 0)?;
    equal("again", &again.reports[0]["status"], &json!("unchanged"))?;
    // Too many at once.
    (0..40).for_each(|n| stray(&world.lake, &format!("data/stray-{n}.parquet")));
    ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes"]), 1)?;
    equal("objects", &objects(&world.lake).len(), &(clean.len() + 40))?;
    world.take_in(3)?;
    world.is_right(&[0, 1, 2, 3])
}

/// Of everything that a table refers to, nothing goes: each kind in turn is there, and old.
pub fn kept(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "orphans-kept", 3)?;
    stray(&world.lake, ".hidden/x.parquet");
    stray(&world.lake, "metadata/version-hint.text");
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--dry-run", "--max-fraction", "0"]), 0)?;
    let plan = &ran.reports[0]["plan"];
    equal("decision", &plan["decision"], &json!("no_orphans"))?;
    let kept = plan["kept"].as_array().ok_or("nothing kept")?;
    let reasons: BTreeMap<_, _> =
        kept.iter().filter_map(|of| Some((of["reason"].as_str()?, of["files"].as_u64()?))).collect();
    let files: u64 = reasons.values().sum();
    equal("every file has its reason", &files, &(objects(&world.lake).len() as u64))?;
    for (reason, least) in [
        ("the table refers to it: data file", 3),
        ("the table refers to it: manifest", 3),
        ("the table refers to it: manifest list", 3),
        // The current one, three before it, and the hint.
        ("the table refers to it: metadata file", 5),
        ("the table refers to it: tombstone file", 2),
        ("hidden: a part of its path begins with . or _", 1),
    ] {
        if reasons.get(reason).is_none_or(|count| *count < least) {
            return Err(format!("fewer than {least} kept because {reason}: {reasons:?}"));
        }
    }
    Ok(())
}

/// The id of the table, by one of its versions.
fn uuid(world: &World) -> Result<String, String> {
    let objects = world.lake.warehouse();
    let read = |(location, bytes): &(String, Vec<u8>)| {
        let document: Value = serde_json::from_slice(bytes).ok()?;
        location.ends_with(".metadata.json").then(|| document["table-uuid"].as_str().map(str::to_owned)).flatten()
    };
    objects.iter().find_map(read).ok_or_else(|| "no version has an id".to_owned())
}

/// Another table lies in this one, or in the same place, and no catalog that is asked knows it.
pub fn nested(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "orphans-nested", 2)?;
    stray(&world.lake, "data/stray.parquet");
    let metadata = br#"{"format-version": 2, "table-uuid": "00000000-0000-4000-8000-00000000000a", "location": "#;
    let signs: [(&str, &[u8]); 5] = [
        ("inner/metadata/00003-u.metadata.json", metadata),
        ("metadata/00000-u.metadata.json", metadata),
        ("inner/metadata/version-hint.text", b"3"),
        ("inner/_delta_log/00000000000000000000.json", b"{}"),
        ("inner/.hoodie/hoodie.properties", b""),
    ];
    for (path, content) in signs {
        stray_of(&world.lake, path, content);
        let before = objects(&world.lake);
        for words in [&["orphans", "--yes", "--max-fraction", "1"][..], &["orphans", "--yes"]] {
            let ran = ended(later(&mut world.lake, MUCH_LATER, words), 1)?;
            let named = path.split('/').find(|part| part.starts_with(['_', '.'])).unwrap_or(path);
            equal(path, &ran.stderr.contains(named), &true)?;
        }
        equal(path, &objects(&world.lake), &before)?;
        let (location, _) =
            world.lake.warehouse().into_iter().find(|(at, _)| at.ends_with(path)).ok_or("it is gone")?;
        world.lake.set(&location, None);
    }
    ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes", "--max-fraction", "1"]), 0)?;
    equal("the stray", &objects(&world.lake).contains("data/stray.parquet"), &false)?;
    world.is_right(&[0, 1])
}

/// What links in the table's folder lead to stays, and so do files of the table that it names by way of a link.
pub fn linked(_: Tier) -> Result<(), String> {
    let mut world = world(Tier::Local, "orphans-linked", 2)?;
    let table = world.lake.folder().join(PLACE).join(TABLE.replace('.', "/"));
    let other = world.lake.folder().join("other");
    std::fs::create_dir_all(&other).map_err(|error| error.to_string())?;
    std::fs::write(other.join("x.parquet"), "x").map_err(|error| error.to_string())?;
    let link = |to: &std::path::Path, at: &str| {
        std::os::unix::fs::symlink(to, table.join(at)).map_err(|error| error.to_string())
    };
    link(&other, "data/folder")?;
    link(&other.join("x.parquet"), "data/file.parquet")?;
    link(&table, "data/loop")?;
    // The table's data by another name.
    std::fs::rename(table.join("data"), table.join("moved")).map_err(|error| error.to_string())?;
    link(&table.join("moved"), "data")?;
    stray(&world.lake, "moved/stray.parquet");
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes", "--max-fraction", "1"]), 0)?;
    equal("files", &ran.reports[0]["deleted"]["files"], &json!(1))?;
    equal("the file elsewhere", &other.join("x.parquet").exists(), &true)?;
    equal("the link", &table.join("moved/file.parquet").is_symlink(), &true)?;
    world.is_right(&[0, 1])
}

/// Two tables of a catalog in one place.
pub fn shared(_: Tier) -> Result<(), String> {
    let python = SERVICES.python.as_ref().ok_or("it runs where there is a Python")?;
    let mut world = world(Tier::Local, "orphans-shared", 2)?;
    stray(&world.lake, "data/stray.parquet");
    let before = objects(&world.lake);
    let script = "import sqlite3; c = sqlite3.connect('catalog.db'); c.execute(\"insert into iceberg_tables \
                  (catalog_name, table_namespace, table_name, metadata_location) select catalog_name, table_namespace, \
                  'twin', metadata_location from iceberg_tables\"); c.commit()";
    let done = Command::new(python).args(["-c", script]).current_dir(world.lake.folder()).status();
    equal("the twin is registered", &done.is_ok_and(|status| status.success()), &true)?;
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["orphans", "--yes", "--max-fraction", "1"]), 1)?;
    equal("it is named", &ran.stderr.contains("curated.twin"), &true)?;
    equal("objects", &objects(&world.lake), &before)
}
