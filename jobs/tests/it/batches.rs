//! Random batches: raw rows, their files, and how a table of them is read back. Property, kill and race tests share them.

use std::collections::BTreeMap;

use arrow::datatypes::DataType;
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{
    case::{ContractChanges, usual_contract, write_parquet},
    lake::{Lake, TableSetup},
    model::{Model, Row},
    rows::Rows,
};

/// The table of these tests.
pub const TABLE: &str = "curated.telemetry";

/// Rows of a raw file.
pub type File = Vec<Row>;

/// How merges change files, by `etl.mergeMode`: each test of random batches takes them in turn.
pub const MERGE_MODES: [&str; 2] = ["copy-on-write", "merge-on-read"];

/// A table with a deletion marker whose tombstones outlive every test.
pub fn table() -> TableSetup {
    table_merged(MERGE_MODES[0])
}

/// The same with this merge mode.
pub fn table_merged(mode: &str) -> TableSetup {
    table_with(mode, &[], &[])
}

/// The same, whose manifests aim for so many bytes.
pub fn table_of_manifests(mode: &str, bytes: u64) -> TableSetup {
    let properties = format!("{{commit.manifest.target-size-bytes: '{bytes}'}}");
    table_with(mode, &[], &[("etl.tableProperties", &properties)])
}

/// The same with more columns and settings.
pub fn table_with(mode: &str, columns: &[&str], settings: &[(&str, &str)]) -> TableSetup {
    let usual = [
        "{name: temperature, logicalType: number, logicalTypeOptions: {maximum: 2}}",
        "{name: op, logicalType: string}",
    ];
    let usual_settings = [("etl.delete", "op = 'D'"), ("etl.lateness", "90d"), ("etl.mergeMode", mode)];
    let setting = |(name, value): &(&str, &str)| ((*name).to_owned(), Some((*value).to_owned()));
    let changes = ContractChanges {
        columns: usual.iter().chain(columns).map(|column| (*column).to_owned()).collect(),
        settings: usual_settings.iter().chain(settings).map(setting).collect(),
        ..ContractChanges::default()
    };
    setup(&changes)
}

/// A table that nothing but the ledger keeps from holding a raw row twice.
pub fn table_without_key() -> TableSetup {
    setup(&ContractChanges {
        columns: vec![
            "{name: device_id, logicalType: string, required: true}".to_owned(),
            "{name: event_id, logicalType: string}".to_owned(),
            "{name: op, logicalType: string}".to_owned(),
        ],
        ..ContractChanges::default()
    })
}

fn setup(changes: &ContractChanges) -> TableSetup {
    TableSetup {
        name: TABLE.to_owned(),
        contract: usual_contract(changes),
        source: "telemetry/{yyyy}/{MM}/{dd}/{HH}/".to_owned(),
        timezone: None,
    }
}

/// Random rows over few keys, so that they meet.
pub fn row(keys: u8) -> impl Strategy<Value = Row> {
    let key = proptest::option::weighted(0.95, 0..keys);
    let rank = proptest::option::weighted(0.9, 0..6u8);
    let value = prop_oneof![9 => 0..3u8, 1 => Just(9)];
    (key, 0..3u8, value, rank, proptest::bool::weighted(0.15)).prop_map(|(key, day, value, rank, is_delete)| Row {
        key,
        day,
        value,
        rank,
        is_delete,
    })
}

/// Puts files into the raw partition of an hour, counted from the start of 2025-06-04.
pub fn place(lake: &Lake, hour: usize, files: &[File]) {
    for (index, rows) in files.iter().enumerate() {
        let path = format!("telemetry/2025/06/{:02}/{:02}/{index}.parquet", 4 + hour / 24, hour % 24);
        lake.put(&path, parquet(rows.iter(), 0));
    }
}

/// A raw file of these rows; with padding each has so many characters more.
pub fn parquet<'a>(rows: impl Iterator<Item = &'a Row>, padding: usize) -> Vec<u8> {
    let mut table = to_rows(rows);
    if padding > 0 {
        table.columns.push(("padding".to_owned(), DataType::Utf8));
        table.values.iter_mut().for_each(|row| row.push(json!("x".repeat(padding))));
    }
    write_parquet(&table, WriterProperties::default()).expect("the rows fit their types")
}

/// The command that takes an hour in.
pub fn dedupe(hour: usize) -> Vec<String> {
    let time = |hour: usize| format!("2025-06-{:02}T{:02}:00", 4 + hour / 24, hour % 24);
    ["dedupe".to_owned(), "--start".to_owned(), time(hour), "--end".to_owned(), time(hour + 1)].into()
}

/// The table holds the model's rows.
pub fn compare(lake: &Lake, model: &Model) -> Result<(), String> {
    compare_with(&lake.rows(TABLE)?, model)
}

/// These are the model's rows.
pub fn compare_with(got: &[Value], model: &Model) -> Result<(), String> {
    compare_rows(got, model.rows.values())
}

/// These rows, each as often as it is there.
pub fn compare_rows<'a>(got: &[Value], expected: impl Iterator<Item = &'a Row>) -> Result<(), String> {
    let expected = to_rows(expected);
    crate::golden::same("rows", &expected.canonical(), &expected.canonical_of(got))
}

/// `etl check` is content with the table.
pub fn check(lake: &Lake) -> Result<(), String> {
    let ran = lake.run(&["check", TABLE]);
    if ran.exit == 0 { Ok(()) } else { Err(format!("check ended {}: {}{}", ran.exit, ran.stdout, ran.stderr)) }
}

fn to_rows<'a>(rows: impl Iterator<Item = &'a Row>) -> Rows {
    let header = "device_id, event_id, event_time, temperature, ingest_time, op";
    let mut table = Rows::parse(header, &BTreeMap::new()).expect("the columns are known");
    table.values = rows
        .map(|row| {
            let rank = row.rank.map(|rank| format!("2025-06-04T00:00:{rank:02}"));
            vec![
                json!("d"),
                json!(row.key.map(|key| key.to_string())),
                json!(format!("2025-06-{:02}T12:00", 2 + row.day)),
                json!(f64::from(row.value)),
                json!(rank),
                json!(if row.is_delete { "D" } else { "U" }),
            ]
        })
        .collect();
    table
}
