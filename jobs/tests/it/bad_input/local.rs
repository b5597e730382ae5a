//! Bad input on a folder with SQLite: command lines, configuration, contracts, damaged tables, a catalog in use.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
};

use super::{Case, Spoiled, Start};
use crate::{
    lake::{Lake, Tier},
    services::SERVICES,
};

const fn case(
    name: &'static str,
    start: Start,
    spoil: fn(&Lake) -> Spoiled,
    exit: i32,
    says: &'static [&'static str],
) -> Case {
    Case { name, tier: Tier::Local, start, spoil, exit, says }
}

/// Each with the parts that its message must have.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    // The command line.
    case("date-that-is-none", Start::Table, |_| Spoiled::arguments(&["dedupe", "--date", "2025-13-40"]), 2,
        &["2025-13-40", "--date", "--help"]),
    case("time-that-is-none", Start::Table, |_| Spoiled::arguments(&["dedupe", "--start", "noon", "--end", "2025-06-05"]), 2,
        &["noon", "help:", "2025-06-04T06:00"]),
    case("end-before-start", Start::Table, |_| Spoiled::arguments(&["dedupe", "--start", "2025-06-05", "--end", "2025-06-04"]), 2,
        &["--end 2025-06-04", "does not come after", "--start 2025-06-05"]),
    case("start-without-end", Start::Table, |_| Spoiled::arguments(&["dedupe", "--start", "2025-06-05"]), 2, &["--end"]),
    case("no-interval", Start::Table, |_| Spoiled::arguments(&["dedupe"]), 2, &["--date", "--pending"]),
    case("unknown-command", Start::Table, |_| Spoiled::arguments(&["dedup", "--pending"]), 2, &["dedup", "'dedupe'"]),
    case("unknown-table", Start::Table, |_| Spoiled::arguments(&["dedupe", "curated.telemtry", "--pending"]), 2,
        &["etl.toml has no table curated.telemtry", "did you mean curated.telemetry?"]),
    case("table-without-namespace", Start::Table, |_| Spoiled::arguments(&["dedupe", "telemetry", "--pending"]), 2,
        &["telemetry", "namespace.table"]),
    case("memory-that-is-no-size", Start::Table, |_| Spoiled::environment([("ETL_MEMORY_LIMIT", "much".to_owned())]), 2,
        &["much", "--memory-limit", "4GiB"]),

    // etl.toml.
    case("config-missing", Start::Table, |lake| set_file(lake, "etl.toml", None), 2,
        &["failed to read etl.toml", "etl init", "--config"]),
    case("config-unreadable", Start::Table, config_is_a_folder, 2, &["failed to read etl.toml", "--config"]),
    case("config-not-text", Start::Table, |lake| set_file(lake, "etl.toml", Some(b"version = \xff")), 2,
        &["failed to read etl.toml", "UTF-8"]),
    case("config-unknown-key", Start::Table, |lake| edit(lake, "etl.toml", "warehouse = ", "warehose = "), 2,
        &["etl.toml:5:1", "unknown field `warehose`", "did you mean `warehouse`?"]),
    case("config-broken", Start::Table, |lake| edit(lake, "etl.toml", "[lake]", "[lake"), 2, &["etl.toml:2:6", "help:"]),
    case("config-other-version", Start::Table, |lake| edit(lake, "etl.toml", "version = 1", "version = 7"), 2,
        &["etl.toml:1:11", "version must be 1"]),
    case("config-unknown-catalog", Start::Table, |lake| edit(lake, "etl.toml", "\"sqlite\"", "\"sqlte\""), 2,
        &["etl.toml:3:11", "there is no catalog", "did you mean \"sqlite\"?"]),
    case("config-without-tables", Start::Table, |lake| cut(lake, "etl.toml", "[table."), 2,
        &["etl.toml has no table", "[table.\"namespace.name\"]"]),
    case("template-without-time", Start::Table, |lake| edit(lake, "etl.toml", "{yyyy}/{MM}/{dd}/{HH}/", "all/"), 2,
        &["path template", "all/", "{yyyy}"]),
    case("template-unknown-field", Start::Table, |lake| edit(lake, "etl.toml", "{HH}", "{hour}"), 2,
        &["path template", "{hour}", "{HH}"]),
    case("warehouse-with-hash", Start::Table, |lake| edit(lake, "etl.toml", "\"warehouse\"", "\"ware#house\""), 2,
        &["etl.toml:5:13", "ware#house", "`#`", "choose a folder"]),
    case("warehouse-with-question-mark", Start::Table, |lake| edit(lake, "etl.toml", "\"warehouse\"", "\"ware?house\""), 2,
        &["etl.toml:5:13", "ware?house", "`?`", "choose a folder"]),
    case("warehouse-of-another-service", Start::Nothing, |lake| edit(lake, "etl.toml", "\"warehouse\"", "\"gs://b/w\""), 2,
        &["etl.toml:5:13", "gs://b/w", "only s3:// and file:/// are known", "s3://bucket/prefix"]),
    case("warehouse-is-a-file", Start::Nothing, |lake| edit(lake, "etl.toml", "\"warehouse\"", "\"etl.toml/w\""), 1,
        &["failed to write", "etl.toml/w", "Not a directory"]),

    // The contract.
    case("contract-missing", Start::Table, |lake| set_file(lake, CONTRACT, None), 2,
        &["failed to read the contract", "telemetry.odcs.yaml", "table curated.telemetry names it in etl.toml"]),
    case("contract-with-a-typo", Start::Table, |lake| edit(lake, CONTRACT, "primaryKey: true", "primarKey: true"), 2,
        &["telemetry.odcs.yaml:12:", "primarKey", "did you mean `primaryKey`?"]),
    case("contract-of-another-table", Start::Table, |lake| edit(lake, CONTRACT, "curated.telemetry", "curated.other"), 2,
        &["has no contract of table curated.telemetry", "its physicalName must be curated.telemetry"]),
    case("contract-contradicts-itself", Start::Table, |lake| edit(lake, CONTRACT, "name: temperature, logicalType: number", "name: temperature, logicalType: string, physicalType: string"), 2,
        &["telemetry.odcs.yaml:15:", "`maximum` does not apply to a string column", "help:"]),
    case("contract-contradicts-the-table", Start::Table, temperature_becomes_text, 2,
        &["curated.telemetry", "temperature", "double", "string", "help:"]),
    case("contract-with-another-key-column", Start::Table, |lake| edit(lake, CONTRACT, "{name: event_id, logicalType: string", "{name: event_id, logicalType: integer"), 2,
        &["curated.telemetry", "event_id", "string", "help:"]),

    // The table.
    case("metadata-missing", Start::Table, |lake| set_object(lake, ".metadata.json", None), 1,
        &["read table curated.telemetry", ".metadata.json does not exist", "restore the object"]),
    case("metadata-empty", Start::Table, |lake| set_object(lake, ".metadata.json", Some(b"")), 1,
        &["read table curated.telemetry", ".metadata.json is corrupt", "restore the object"]),
    case("metadata-corrupt", Start::Table, |lake| set_object(lake, ".metadata.json", Some(b"{\"format-version\": 2, \"table-uuid")), 1,
        &["read table curated.telemetry", ".metadata.json is corrupt", "restore the object"]),
    case("metadata-of-a-later-format", Start::Table, |lake| set_object(lake, ".metadata.json", Some(b"{\"format-version\": 9}")), 1,
        &["read table curated.telemetry", ".metadata.json", "help:"]),
    case("manifest-list-missing", Start::Table, |lake| set_object(lake, "/snap-", None), 1,
        &["read table curated.telemetry", "manifest list", "/snap-", "does not exist", "etl rollback"]),
    case("manifest-list-corrupt", Start::Table, |lake| set_object(lake, "/snap-", Some(b"Obj\x01")), 1,
        &["read table curated.telemetry", "manifest list", "/snap-", "is corrupt", "etl rollback"]),
    case("manifest-missing", Start::Table, |lake| set_object(lake, "-m0.avro", None), 1,
        &["read table curated.telemetry", "manifest", "-m0.avro does not exist", "etl rollback"]),
    case("manifest-corrupt", Start::Table, |lake| set_object(lake, "-m0.avro", Some(b"not Avro")), 1,
        &["read table curated.telemetry", "manifest", "-m0.avro is corrupt", "etl rollback"]),
    case("data-file-gone", Start::Table, |lake| set_object(lake, "/data/", None), 1,
        &["/data/event_time_day=", "table curated.telemetry", "is gone", "etl check curated.telemetry"]),
    case("data-file-corrupt", Start::Table, |lake| set_object(lake, "/data/", Some(b"PAR1 and nothing PAR1")), 1,
        &["/data/event_time_day=", "table curated.telemetry", "is damaged", "etl check curated.telemetry"]),

    // The catalog.
    case("catalog-locked", Start::Table, catalog_is_locked, 75, &["catalog.db", "locked by another process", "run again"]),
    case("catalog-is-no-database", Start::Table, |lake| set_file(lake, "catalog.db", Some(b"this is no database, but a text of some length that SQLite looks at")), 1,
        &["catalog.db", "it is not an Iceberg catalog", "lake.uri"]),
];

const CONTRACT: &str = "schemas/telemetry.odcs.yaml";

/// Another text in a file of the lake's folder, or no such file.
fn set_file(lake: &Lake, name: &'static str, bytes: Option<&[u8]>) -> Spoiled {
    let path = lake.folder().join(name);
    let was = fs::read(&path).expect("the file is there");
    match bytes {
        Some(bytes) => fs::write(&path, bytes).expect("the file is written"),
        None => fs::remove_file(&path).expect("the file is removed"),
    }
    Spoiled::until(move |lake| fs::write(lake.folder().join(name), was).expect("the file is written"))
}

fn edit(lake: &Lake, name: &'static str, from: &str, to: &str) -> Spoiled {
    let text = fs::read_to_string(lake.folder().join(name)).expect("the file is text");
    assert!(text.contains(from), "{name} does not say {from:?}");
    set_file(lake, name, Some(text.replacen(from, to, 1).as_bytes()))
}

fn cut(lake: &Lake, name: &'static str, from: &str) -> Spoiled {
    let text = fs::read_to_string(lake.folder().join(name)).expect("the file is text");
    let (kept, _) = text.split_once(from).expect("it says so");
    set_file(lake, name, Some(kept.as_bytes()))
}

/// Permissions do not keep root from reading, so it is no file at all.
fn config_is_a_folder(lake: &Lake) -> Spoiled {
    let path = lake.folder().join("etl.toml");
    let was = fs::read(&path).expect("the file is there");
    fs::remove_file(&path).expect("the file is removed");
    fs::create_dir(&path).expect("a folder");
    Spoiled::until(move |lake| {
        fs::remove_dir(lake.folder().join("etl.toml")).expect("the folder is empty");
        fs::write(lake.folder().join("etl.toml"), was).expect("the file is written");
    })
}

/// A contract that is right, for another table than there is.
fn temperature_becomes_text(lake: &Lake) -> Spoiled {
    let text = fs::read_to_string(lake.folder().join(CONTRACT)).expect("the file is text");
    let lines: Vec<_> = text
        .lines()
        .map(|line| match line.contains("{name: temperature,") {
            true => "      - {name: temperature, logicalType: string}",
            false => line,
        })
        .collect();
    set_file(lake, CONTRACT, Some(lines.join("\n").as_bytes()))
}

/// Other bytes in an object of the warehouse whose location has this part, or no such object: the newest by name.
fn set_object(lake: &Lake, part: &str, bytes: Option<&[u8]>) -> Spoiled {
    let found = lake.warehouse().into_iter().rfind(|(location, _)| location.contains(part));
    let (location, was) = found.expect("there is such an object");
    lake.set(&location, bytes);
    Spoiled::until(move |lake| lake.set(&location, Some(&was)))
}

/// Another process writes to the catalog and does not end.
fn catalog_is_locked(lake: &Lake) -> Spoiled {
    const HOLD: &str = "import sqlite3, sys\n\
        held = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        held.execute('BEGIN EXCLUSIVE')\n\
        print('held', flush=True)\n\
        sys.stdin.read()";
    let python = SERVICES.python.as_deref().expect("the case is left out without Python");
    let mut holder = Command::new(python)
        .args(["-c", HOLD])
        .arg(lake.folder().join("catalog.db"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut said = String::new();
    BufReader::new(holder.stdout.take().expect("it is piped")).read_line(&mut said).expect("it says something");
    assert_eq!(said, "held\n");
    Spoiled::until(move |_| {
        let mut stdin = holder.stdin.take().expect("it is piped");
        stdin.flush().expect("it is there");
        drop(stdin);
        holder.wait().expect("it ends");
    })
}
