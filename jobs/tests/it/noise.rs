//! A raw file that stays large whatever compresses it: its table's file goes to storage in parts, and a sort of it needs
//! memory.

use std::collections::BTreeMap;

use parquet::file::properties::WriterProperties;
use serde_json::json;

use crate::{
    batches::{self, TABLE},
    case::{ContractChanges, usual_contract, write_parquet},
    lake::{Lake, TableSetup, Tier},
    rows::Rows,
};

/// Rows of the file, and characters of each row's payload. Six bits of each character are random: in all more than the
/// eight megabytes up to which an object is sent whole.
pub const ROWS: usize = 12_000;
const CHARS: usize = 1_000;

/// A lake with the table of one such file.
pub fn lake(tier: Tier, name: &str) -> Result<Lake, String> {
    let lake = new(tier, name)?;
    let ran = lake.run(&batches::dedupe(0));
    if ran.exit == 0 { Ok(lake) } else { Err(format!("the first run ended {}: {}", ran.exit, ran.stderr)) }
}

/// A lake whose raw zone has one such file.
pub fn new(tier: Tier, name: &str) -> Result<Lake, String> {
    let changes = ContractChanges {
        columns: vec!["{name: payload, logicalType: string}".to_owned()],
        settings: BTreeMap::new(),
        ..ContractChanges::default()
    };
    let table = TableSetup { contract: usual_contract(&changes), ..batches::table() };
    let lake = Lake::new(tier, name, &[table]);
    place(&lake, 0)?;
    Ok(lake)
}

/// Puts such a file into the raw partition of an hour.
pub fn place(lake: &Lake, hour: u32) -> Result<(), String> {
    lake.put(&format!("telemetry/2025/06/04/{hour:02}/0.parquet"), file()?);
    Ok(())
}

/// The table has all its rows, and nothing is wrong with it.
pub fn is_whole(lake: &Lake) -> Result<(), String> {
    let counted = lake.query(&format!("SELECT count(*) AS n FROM {TABLE}"))?;
    if counted.first().is_none_or(|row| row["n"] != json!(ROWS)) {
        return Err(format!("{ROWS} rows are expected: {counted:?}"));
    }
    batches::check(lake)
}

fn file() -> Result<Vec<u8>, String> {
    file_of("2025-06-04T00:00", ROWS, CHARS, 1)
}

/// A raw file of so many rows with such payloads, all of one time; the seed decides what the payloads are.
pub fn file_of(time: &str, rows: usize, chars: usize, seed: u64) -> Result<Vec<u8>, String> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = seed;
    let mut payload = || {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(ALPHABET[usize::try_from(state >> 58).expect("six bits")])
        };
        (0..chars).map(next).collect::<String>()
    };
    let header = "device_id, event_id, event_time, ingest_time, payload";
    let types = BTreeMap::from([("payload".to_owned(), "string".to_owned())]);
    let mut table = Rows::parse(header, &types)?;
    let row = |n: usize| vec![json!("d"), json!(format!("{seed}-{n}")), json!(time), json!(time), json!(payload())];
    table.values = (0..rows).map(row).collect();
    write_parquet(&table, WriterProperties::default())
}
