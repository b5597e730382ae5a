//! The ledger of a table: which runs were applied to it, kept in its properties so that it changes with the table in
//! one commit and outlives snapshots. Bounded, since every metadata.json carries it.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use iceberg::spec::TableMetadata;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Result, Table, error::ErrorKind, table::ancestors};

/// The table property that holds the ledger, as JSON.
pub const LEDGER_PROPERTY: &str = "etl.ledger";

/// Runs that are kept.
const RUNS_MAX: usize = 100;

/// Raw partitions that are kept: 32 days of hours.
const PARTITIONS_MAX: usize = 768;

/// Partitions that are kept besides, because they lie far from the others in time and were applied last.
const PARTITIONS_ASIDE_MAX: usize = 64;

/// A partition that starts longer before all that are kept does not belong to them.
const GAP_MAX: SignedDuration = SignedDuration::from_hours(60 * 24);

/// A partition that starts later than this after its run lies far in the future: zones are not as far apart.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(48);

/// Runs of which it is kept what the ledger had forgotten.
const RUNS_WITH_FORGOTTEN_MAX: usize = 20;

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
    /// Starts of partitions that are kept besides the newest: far from the others in time and applied last, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aside: Vec<String>,
}

/// What a ledger may have known of raw partitions that it has forgotten, as it stood after a run. Times are RFC 3339, UTC.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Forgotten {
    /// No partition that starts before it was forgotten; `None` where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Partitions that start before it were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// So were partitions that start at it or later, which were far in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// What the last run that looked at the whole raw zone saw.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenFiles>,
}

/// What lay in a raw zone when a run looked at all of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenFiles {
    /// When it looked.
    pub at: Timestamp,
    /// When the newest file was written.
    pub until: Timestamp,
    /// How many files lay in the partitions of each month, `2025-06`; of the newest run alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, u64>,
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
    /// What the run saw, where it looked at the whole raw zone and took all of it.
    #[serde(skip)]
    pub seen: Option<SeenFiles>,
    /// What the ledger had forgotten after it: kept of the newest runs, so that a table that is rolled back has its own.
    /// Filled in at commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<Forgotten>,
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

    /// What it may have known of raw partitions without a mark.
    pub fn forgotten(&self, metadata: &TableMetadata) -> Forgotten {
        let history = History::of(metadata);
        let mut runs = self.runs.iter().filter(|run| history.counts(run.snapshot_id)).peekable();
        if runs.peek().is_none() && self.partitions(metadata).is_empty() {
            // All of it was rolled back.
            return Forgotten::default();
        }
        runs.find_map(|run| run.forgotten.clone())
            .unwrap_or_else(|| Forgotten { before: self.forgotten_before.clone(), ..Forgotten::default() })
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
        let applied: Vec<_> = entry.partitions.keys().cloned().collect();
        for (start, digest) in &entry.partitions {
            self.partitions.insert(start.clone(), PartitionMark(digest.clone(), snapshot_id));
        }
        let mut forgotten = self.forgotten(metadata);
        forgotten.seen = entry.seen.clone().or(forgotten.seen);
        for run in &mut self.runs {
            if let Some(seen) = run.forgotten.as_mut().and_then(|forgotten| forgotten.seen.as_mut()) {
                seen.files.clear();
            }
        }
        for run in self.runs.iter_mut().skip(RUNS_WITH_FORGOTTEN_MAX - 1) {
            run.forgotten = None;
        }
        let entry = LedgerEntry {
            snapshot_id,
            committed_at,
            partitions: BTreeMap::new(),
            seen: None,
            forgotten: (forgotten != Forgotten::default()).then_some(forgotten),
            ..entry.clone()
        };
        self.runs.insert(0, entry);
        self.runs.truncate(RUNS_MAX);
        self.forget_surplus(applied, committed_at);
    }

    /// Forgets the oldest partitions, and those far in the future, of more than are kept. Of both, the last applied stay.
    fn forget_surplus(&mut self, applied: Vec<String>, committed_at: Option<Timestamp>) {
        let has_come = committed_at.and_then(|at| at.checked_add(AHEAD_MAX).ok()).map(|at| at.to_string());
        let mut future = has_come.map(|at| self.partitions.split_off(&at)).unwrap_or_default();
        let first_kept = self.partitions.keys().rev().take(PARTITIONS_MAX).next_back().cloned();
        let mut past = std::mem::take(&mut self.partitions);
        let body = first_kept.as_ref().map(|first| past.split_off(first)).unwrap_or_default();
        // The run's own, newest first; then by when they were applied, as far as that is known.
        let is_far = |start: &&String| first_kept.as_ref().is_some_and(|first| is_far_before(start, first));
        let far: Vec<_> = past.keys().rev().filter(is_far).chain(future.keys().rev()).cloned().collect();
        let candidates = applied.into_iter().rev().chain(std::mem::take(&mut self.aside)).chain(far);
        let mut aside = BTreeMap::new();
        for start in candidates {
            if aside.len() < PARTITIONS_ASIDE_MAX
                && let Some(mark) = past.remove(&start).or_else(|| future.remove(&start))
            {
                self.aside.push(start.clone());
                aside.insert(start, mark);
            }
        }
        self.partitions = body;
        self.partitions.extend(aside);
        if past.is_empty() && future.is_empty() {
            return;
        }
        let oldest = past.keys().next().cloned();
        self.note_forgotten(oldest, first_kept.filter(|_| !past.is_empty()), future.keys().next().cloned());
    }

    /// Notes that partitions from `oldest` on were forgotten, before `before`, and from `after` on.
    fn note_forgotten(&mut self, oldest: Option<String>, before: Option<String>, after: Option<String>) {
        if self.forgotten_before < before {
            self.forgotten_before.clone_from(&before);
        }
        let Some(run) = self.runs.first_mut() else { return };
        let forgotten = run.forgotten.get_or_insert_default();
        if let Some(before) = before {
            forgotten.from = match (&forgotten.before, forgotten.from.take(), oldest) {
                // Nothing was forgotten so far.
                (None, _, oldest) => oldest,
                (Some(_), Some(from), Some(oldest)) => Some(from.min(oldest)),
                // Who knows how old what an earlier version has forgotten was.
                (Some(_), from, None) => from,
                (Some(_), None, Some(_)) => None,
            };
            forgotten.before = forgotten.before.take().max(Some(before));
        }
        forgotten.after = match (forgotten.after.take(), after) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn forget_partitions_before(&mut self, start: &str) {
        let kept = self.partitions.split_off(start);
        let oldest = self.partitions.keys().next().cloned();
        self.partitions = kept;
        self.aside.retain(|aside| self.partitions.contains_key(aside));
        self.note_forgotten(oldest, Some(start.to_owned()), None);
    }

    /// Forgets runs that were rolled back, while the table still knows that they were: once their snapshots have
    /// expired they would look like old runs whose rows stayed.
    fn forget_rolled_back(&mut self, metadata: &TableMetadata) {
        let history = History::of(metadata);
        self.runs.retain(|run| history.counts(run.snapshot_id));
        self.partitions.retain(|_, PartitionMark(_, snapshot_id)| history.counts(*snapshot_id));
    }

    /// What is left of the ledger once `snapshot_id`, an ancestor of the head, is the head again. What an earlier run said of
    /// a raw partition that a later one took again is lost: partitions up to there count as forgotten.
    pub(crate) fn rolled_back(&self, metadata: &TableMetadata, snapshot_id: i64) -> Self {
        let history = History {
            metadata,
            ancestors: ancestors(metadata, snapshot_id).map(|snapshot| snapshot.snapshot_id()).collect(),
        };
        let mut ledger = self.clone();
        ledger.runs.retain(|run| history.counts(run.snapshot_id));
        ledger.partitions.retain(|_, PartitionMark(_, snapshot_id)| history.counts(*snapshot_id));
        let mut lost = self.partitions.keys().filter(|start| !ledger.partitions.contains_key(*start));
        let (oldest, newest) = (lost.next(), lost.next_back());
        let after = newest.or(oldest).and_then(|start| start.parse::<Timestamp>().ok());
        let after = after.and_then(|start| start.checked_add(SignedDuration::from_secs(1)).ok());
        let oldest = oldest.cloned();
        if let Some(after) = after {
            ledger.note_forgotten(oldest, Some(after.to_string()), None);
        }
        ledger.aside.retain(|aside| ledger.partitions.contains_key(aside));
        ledger
    }

    /// The JSON for the table property, cut to its limit: first the oldest runs go, then the oldest partitions.
    pub fn to_json(&self) -> String {
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

/// Whether a partition lies far before the ones that are kept: it is no part of what arrives, one after the other.
fn is_far_before(start: &str, first_kept: &str) -> bool {
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let gap = time(start).zip(time(first_kept)).map(|(start, first)| first.duration_since(start));
    gap.is_some_and(|gap| gap > GAP_MAX)
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
