//! The ledger of a table: which runs were applied to it, kept in its properties so that it changes with the table in
//! one commit and outlives snapshots. Bounded, since every metadata.json carries it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use iceberg::spec::TableMetadata;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Result, Table, error::ErrorKind, table::ancestors};

/// The table property that holds the ledger, as JSON.
pub const LEDGER_PROPERTY: &str = "etl.ledger";

/// Runs that are kept.
const RUNS_MAX: usize = 100;

/// Raw partitions that are kept: 32 days of hours.
const PARTITIONS_MAX: usize = 768;

/// Size that the JSON is kept under by forgetting the oldest.
const JSON_BYTES_MAX: usize = 128 * 1024;

/// What was applied to a table, newest run first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Newest first.
    pub runs: Vec<LedgerEntry>,
    /// What was last applied of each raw partition, by its start (RFC 3339, UTC).
    #[serde(default)]
    partitions: BTreeMap<String, PartitionMark>,
    /// Partitions that start before this one may have been applied and forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forgotten_before: Option<String>,
}

/// One applied run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Identifies the run; the snapshot's summary has it too, as `etl.run-id`.
    pub run_id: String,
    /// The job's name.
    pub job: String,
    /// Start of the raw interval, for jobs that have one.
    pub interval_start: Option<Timestamp>,
    /// Its exclusive end.
    pub interval_end: Option<Timestamp>,
    /// Digest of the frozen inputs: the (key, `ETag`, size) list.
    pub input_digest: String,
    /// Digest of the contract that the rows were judged by.
    pub contract_digest: String,
    /// The snapshot that has the run's rows: the run's own, or the head when it changed no row. Filled in at commit.
    pub snapshot_id: Option<i64>,
    /// Filled in at commit.
    pub committed_at: Option<Timestamp>,
    /// The row balance by outcome: `read`, `invalid`, `duplicate`, …
    #[serde(default)]
    pub rows: BTreeMap<String, u64>,
    /// Digest of the (key, `ETag`, size) list of each raw partition that the run read, by its start (RFC 3339, UTC).
    /// Kept in the ledger's own map.
    #[serde(skip)]
    pub partitions: BTreeMap<String, String>,
}

/// The digest of a raw partition's objects, and the snapshot that has their rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct PartitionMark(String, Option<i64>);

impl Table {
    /// The table's ledger.
    pub fn ledger(&self) -> Result<Ledger> {
        Ok(Ledger::parse(&self.metadata)?)
    }
}

impl Ledger {
    /// Reads the ledger of a table; empty for a table without one.
    pub fn parse(metadata: &TableMetadata) -> std::result::Result<Self, LedgerError> {
        let Some(json) = metadata.properties().get(LEDGER_PROPERTY) else { return Ok(Self::default()) };
        let location = || metadata.location().to_owned();
        serde_json::from_str(json).map_err(|source| LedgerError { location: location(), source: Arc::new(source) })
    }

    /// The run that applied these inputs under this contract, if its rows are in the table.
    pub fn applied(&self, input_digest: &str, contract_digest: &str, metadata: &TableMetadata) -> Option<&LedgerEntry> {
        let history = History::of(metadata);
        self.runs
            .iter()
            .filter(|run| run.input_digest == input_digest && run.contract_digest == contract_digest)
            .find(|run| history.counts(run.snapshot_id))
    }

    /// The run of that id, if its rows are in the table.
    pub fn run(&self, run_id: &str, metadata: &TableMetadata) -> Option<&LedgerEntry> {
        let history = History::of(metadata);
        self.runs.iter().filter(|run| run.run_id == run_id).find(|run| history.counts(run.snapshot_id))
    }

    /// Digest of each raw partition as it was last applied, of those whose rows are in the table, by partition start.
    pub fn partitions(&self, metadata: &TableMetadata) -> BTreeMap<&str, &str> {
        let history = History::of(metadata);
        let marks = self.partitions.iter().filter(|(_, PartitionMark(_, snapshot_id))| history.counts(*snapshot_id));
        marks.map(|(start, PartitionMark(digest, _))| (start.as_str(), digest.as_str())).collect()
    }

    /// Start of the oldest raw partition that is surely known: an older one without a mark may have been applied and
    /// forgotten. `None` while nothing was forgotten.
    pub fn forgotten_before(&self) -> Option<&str> {
        self.forgotten_before.as_deref()
    }

    /// Adds a run that is about to be committed on top of `metadata`, whose head will be `snapshot_id`, and forgets
    /// what was rolled back and what is too old.
    pub(crate) fn record(
        &mut self,
        metadata: &TableMetadata,
        entry: &LedgerEntry,
        snapshot_id: Option<i64>,
        committed_at: Option<Timestamp>,
    ) {
        self.forget_rolled_back(metadata);
        self.runs.retain(|run| run.run_id != entry.run_id);
        for (start, digest) in &entry.partitions {
            self.partitions.insert(start.clone(), PartitionMark(digest.clone(), snapshot_id));
        }
        self.runs.insert(0, LedgerEntry { snapshot_id, committed_at, partitions: BTreeMap::new(), ..entry.clone() });
        self.runs.truncate(RUNS_MAX);
        if let Some(first_kept) = self.partitions.keys().nth_back(PARTITIONS_MAX - 1).cloned()
            && self.partitions.len() > PARTITIONS_MAX
        {
            self.forget_partitions_before(&first_kept);
        }
    }

    fn forget_partitions_before(&mut self, start: &str) {
        self.partitions = self.partitions.split_off(start);
        if self.forgotten_before.as_deref().is_none_or(|before| before < start) {
            self.forgotten_before = Some(start.to_owned());
        }
    }

    /// Forgets runs that were rolled back, while the table still knows that they were: once their snapshots have
    /// expired they would look like old runs whose rows stayed.
    fn forget_rolled_back(&mut self, metadata: &TableMetadata) {
        let history = History::of(metadata);
        self.runs.retain(|run| history.counts(run.snapshot_id));
        self.partitions.retain(|_, PartitionMark(_, snapshot_id)| history.counts(*snapshot_id));
    }

    /// The JSON for the table property, cut to its limit: first the oldest runs go, then the oldest partitions.
    pub(crate) fn to_json(&self) -> String {
        let mut ledger = self.clone();
        loop {
            let json = serde_json::to_string(&ledger).expect("strings, numbers and times always have a JSON form");
            if json.len() <= JSON_BYTES_MAX {
                return json;
            }
            if ledger.runs.len() > 1 {
                ledger.runs.truncate(ledger.runs.len() / 2);
            } else if let Some(half) = ledger.partitions.keys().nth(ledger.partitions.len() / 2).cloned() {
                ledger.forget_partitions_before(&half);
                if ledger.partitions.len() == 1 {
                    ledger.partitions.clear();
                }
            } else {
                return json;
            }
        }
    }
}

/// Which snapshots' rows are in the table.
struct History<'a> {
    metadata: &'a TableMetadata,
    ancestors: HashSet<i64>,
}

impl<'a> History<'a> {
    fn of(metadata: &'a TableMetadata) -> Self {
        let head = metadata.current_snapshot_id().into_iter();
        let ancestors =
            head.flat_map(|head| ancestors(metadata, head)).map(|snapshot| snapshot.snapshot_id()).collect();
        Self { metadata, ancestors }
    }

    /// An ancestor of the head, or expired: a snapshot that is kept beside the history was rolled back.
    fn counts(&self, snapshot_id: Option<i64>) -> bool {
        snapshot_id.is_none_or(|id| self.ancestors.contains(&id) || self.metadata.snapshot_by_id(id).is_none())
    }
}

/// The ledger's property holds something else.
#[derive(Debug, Clone, thiserror::Error)]
#[error("read the ledger of the table at {location}: its property {LEDGER_PROPERTY} is not what we write")]
pub struct LedgerError {
    /// The table's location.
    pub location: String,
    /// What is wrong with it.
    #[source]
    pub source: Arc<serde_json::Error>,
}

impl LedgerError {
    /// What it means for the run.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Corrupt
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(format!(
            "restore the property {LEDGER_PROPERTY} from an earlier metadata.json; removing it makes every interval \
             look new, which is safe for keyed tables only"
        ))
    }
}

#[cfg(test)]
mod tests;
