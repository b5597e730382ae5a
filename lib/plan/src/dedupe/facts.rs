//! What is known before a run.

use std::collections::BTreeMap;

use contract::{NewColumns, TableName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Interval,
    columns::{
        UnknownColumn,
        absent::{ContractColumns, RawColumns},
    },
    dedupe::{Forgotten, PartitionMark, Seen},
};

/// Everything that decides what a run does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The curated table.
    pub table: TableName,
    /// What was asked for.
    pub request: Request,
    /// Digest of the contract as it stands.
    pub contract_digest: String,
    /// Whether the contract has a key. Without one a file that is taken twice counts twice.
    pub is_keyed: bool,
    /// The table; `None` when it does not exist yet.
    pub table_state: Option<TableFacts>,
    /// Raw files of the requested interval, of partitions in which something is pending, or of the folder to replay, in any
    /// order.
    pub files: Vec<RawFile>,
    /// Further files of the raw zone, of which `--pending` knows that they are in the table.
    pub settled: u64,
    /// What a run that looked at the whole raw zone notes in the ledger.
    pub seen: Option<Seen>,
    /// Objects that the listing left out on purpose.
    pub left_out: Vec<LeftOut>,
    /// Runs of the ledger, newest first.
    pub runs: Vec<AppliedRun>,
    /// What the ledger says of raw partitions, by their start.
    pub marks: BTreeMap<Timestamp, PartitionMark>,
    /// What the ledger may have known of raw partitions without a mark.
    pub forgotten: Forgotten,
    /// What the contract says of columns it does not know.
    pub new_columns: NewColumns,
    /// Such columns in the raw files.
    pub unknown_columns: Vec<UnknownColumn>,
    /// The contract's columns.
    pub contract_columns: ContractColumns,
    /// The different sets of columns that the run's raw files have, as far as their footers could be read.
    pub column_sets: Vec<RawColumns>,
    /// Live data files of the table that the merge could have to open; empty where that is not known.
    pub target_files: Vec<TargetFile>,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// The raw partitions that start in this interval.
    Interval(Interval),
    /// What no run has taken.
    Pending,
    /// All files of a folder that lies outside the raw zone: repaired rows.
    Replay,
}

/// The curated table as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFacts {
    /// Current snapshot of `main`.
    pub snapshot_id: Option<i64>,
    /// Its `total-records`.
    pub rows: Option<u64>,
}

/// A raw file, frozen by its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// The object's key, as listed.
    pub key: String,
    /// Its version; reads are conditional on it.
    pub etag: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, as storage tells it.
    pub modified: Timestamp,
    /// The raw partition it lies in: one step of the path template's finest field. `None` for a replay.
    pub arrival: Option<Interval>,
    /// Rows, where the footer was read.
    pub rows: Option<u64>,
    /// Smallest and largest event time, where the footer tells.
    pub event_time: Option<(Timestamp, Timestamp)>,
}

/// An object that the listing left out on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Its key.
    pub key: String,
    /// Why: hidden, an `errors/` folder, zero bytes, outside the template.
    pub reason: String,
}

/// One run of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedRun {
    /// The run.
    pub run_id: String,
    /// The interval it covered; `None` for a replay.
    pub interval: Option<Interval>,
    /// Digest of the files it read.
    pub input_digest: String,
    /// Digest of the contract it judged them by.
    pub contract_digest: String,
}

/// A live data file of the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    /// Its path, as the manifest has it.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Smallest and largest event time by its bounds; `None` when unknown.
    pub event_time: Option<(Timestamp, Timestamp)>,
}
