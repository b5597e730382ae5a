//! One commit, from the pointer it finds to the pointer it leaves.

use std::{fmt, sync::Arc, time::Duration};

use iceberg::spec::TableMetadata;
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    CommitError, Conflict,
    cleanup::clean_up,
    names::AttemptFiles,
    resolve::{Outcome, is_part_of, swap},
    snapshot::{AttemptIds, NextVersion, makes_snapshot, write_next_version},
    validate::{check_change, validate},
    writable::check_writable,
};
use crate::{Change, Error, Lake, Ledger, Result, Table, table::ancestors};

/// What a commit does not make up by itself.
#[derive(Clone)]
pub struct CommitInputs {
    /// Milliseconds since 1970, UTC.
    pub now_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
    /// Random identifiers (version 4).
    pub new_uuid: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl fmt::Debug for CommitInputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommitInputs").finish_non_exhaustive()
    }
}

impl CommitInputs {
    /// A positive snapshot id, made as Java makes it.
    fn new_snapshot_id(&self) -> i64 {
        let (high, low) = (self.new_uuid)().as_u64_pair();
        i64::try_from((high ^ low) & (u64::MAX >> 1)).expect("63 bits fit")
    }

    /// A number from 0 up to 1, from the part of an identifier that is random throughout.
    fn random(&self) -> f64 {
        let (_, low) = (self.new_uuid)().as_u64_pair();
        let bits = u32::try_from(low & u64::from(u32::MAX)).expect("32 bits fit");
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

/// How long a commit goes on trying. Iceberg's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitOptions {
    /// Attempts after the first.
    pub retries_max: u32,
    /// Shortest wait between attempts.
    pub backoff_min: Duration,
    /// Longest wait between attempts.
    pub backoff_max: Duration,
    /// After this no attempt is started, and one whose outcome is unknown is given up.
    pub total_max: Duration,
}

impl Default for CommitOptions {
    fn default() -> Self {
        Self {
            retries_max: 4,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
            total_max: Duration::from_secs(30 * 60),
        }
    }
}

/// A change that is part of its table.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The head before; `None` for a table without one.
    pub snapshot_before: Option<i64>,
    /// The head after: the change's snapshot, or the same as before when it made none.
    pub snapshot_id: Option<i64>,
    /// Location of the metadata.json that has the change.
    pub metadata_location: String,
    /// That version's metadata.
    pub metadata: Arc<TableMetadata>,
    /// Attempts after the first.
    pub retries: u32,
    /// The change was there already, from an earlier attempt of the same run: nothing was done, and files that were
    /// staged for it now may not be part of the table.
    pub already: bool,
}

/// Makes the change the table's next version.
///
/// `table` is the table as the plan read it. On a [`CommitError::Conflict`] with `retry_plan` another plan is needed; on
/// any other error than [`CommitError::OutcomeUnknown`] the change did not happen and its staged files are free to be
/// deleted. The future must not be dropped while it runs: nothing would break, but nobody would know the outcome.
pub async fn commit(
    lake: &Lake,
    table: &Table,
    change: &Change,
    inputs: &CommitInputs,
    options: &CommitOptions,
) -> Result<Committed> {
    let (commit, snapshot_id) = ((inputs.new_uuid)(), inputs.new_snapshot_id());
    let mut pace = Pace { inputs, options, deadline: Instant::now() + options.total_max, waits: 0 };
    let mut attempts = 0;
    let mut exhausted = false;
    let mut lost: Option<Attempt> = None;
    loop {
        let current = reload(lake, table).await?;
        if let Some(attempt) = lost.take() {
            // Only now is the loss certain enough to delete what it wrote: a conflict could have been a lie.
            if is_part_of(&current, &attempt.next) {
                return Ok(committed(attempt));
            }
            clean_up(&lake.storage, &table.name, attempt.written).await;
            if exhausted {
                return Err(race_lost(table, attempts));
            }
        }
        if let Some(done) = committed_before(&current, change, attempts)? {
            return Ok(done);
        }
        check_writable(&current)?;
        check_change(&current, change)?;
        validate(table, &current, change).await?;
        let ids = AttemptIds { snapshot_id, metadata_uuid: (inputs.new_uuid)(), now_ms: (inputs.now_ms)() };
        let mut files = AttemptFiles::new(&current, commit, attempts);
        let next = match write_next_version(&current, change, ids, &mut files).await {
            Ok(next) => next,
            Err(error) => {
                clean_up(&lake.storage, &table.name, files.written).await;
                return Err(error);
            }
        };
        let outcome = swap(lake, &current, &next, change, &mut pace).await;
        let snapshot_before = current.metadata.current_snapshot_id();
        let attempt = Attempt { next, written: files.written, snapshot_before, retries: attempts };
        match outcome {
            Outcome::Committed => return Ok(committed(attempt)),
            Outcome::Rejected(source) => {
                clean_up(&lake.storage, &table.name, attempt.written).await;
                return Err(rejected(table, source));
            }
            Outcome::Gone => return Err(CommitError::TableGone { table: table.name.clone() }.into()),
            Outcome::Unknown(source) => return Err(unknown(table, attempt.next, source)),
            Outcome::Lost => {
                tracing::info!(table.name = %table.name, commit.retries = attempts, "another writer was first");
                attempts += 1;
                lost = Some(attempt);
                exhausted = attempts > options.retries_max || !pace.wait().await;
            }
        }
    }
}

/// An attempt that has made its swap.
struct Attempt {
    next: NextVersion,
    written: Vec<String>,
    snapshot_before: Option<i64>,
    retries: u32,
}

/// The table as it is now; the metadata that the plan read is used again when it still is current.
async fn reload(lake: &Lake, table: &Table) -> Result<Table> {
    let gone = || CommitError::TableGone { table: table.name.clone() };
    let pointer = lake.catalog.load(&table.name).await?.ok_or_else(gone)?;
    let current = if pointer.metadata_location == table.pointer.metadata_location {
        Table { pointer, ..table.clone() }
    } else {
        Table::open(&lake.storage, &table.name, pointer).await?
    };
    if current.metadata.uuid() != table.metadata.uuid() {
        let (table, conflict) = (table.name.clone(), Conflict::TableReplaced);
        return Err(CommitError::Conflict { table, conflict, retry_plan: true }.into());
    }
    Ok(current)
}

/// Finds the change in the table by its run, when that was interrupted and is resumed.
fn committed_before(current: &Table, change: &Change, retries: u32) -> Result<Option<Committed>> {
    let found = |snapshot_id, before| Committed {
        snapshot_before: before,
        snapshot_id,
        metadata_location: current.pointer.metadata_location.clone(),
        metadata: Arc::clone(&current.metadata),
        retries,
        already: true,
    };
    let head = current.metadata.current_snapshot_id();
    if makes_snapshot(change)
        && let Some(head) = head
    {
        let is_ours = |name: &str, of: &iceberg::spec::Snapshot| {
            change.summary.get(name) == of.summary().additional_properties.get(name)
        };
        let same = ancestors(&current.metadata, head).find(|snapshot| {
            change.summary.contains_key(RUN_ID) && is_ours(RUN_ID, snapshot) && is_ours(PART, snapshot)
        });
        if let Some(same) = same {
            return Ok(Some(found(Some(same.snapshot_id()), same.parent_snapshot_id())));
        }
    }
    if let Some(entry) = &change.ledger_entry
        && let Some(run) = Ledger::parse(&current.metadata)?.run(&entry.run_id, &current.metadata)
    {
        return Ok(Some(found(run.snapshot_id.or(head), None)));
    }
    Ok(None)
}

/// Summary property that names the run of a snapshot.
pub(super) const RUN_ID: &str = "etl.run-id";

/// Summary property that tells several commits of one run apart.
pub(super) const PART: &str = "etl.part";

fn committed(attempt: Attempt) -> Committed {
    let Attempt { next, snapshot_before, retries, .. } = attempt;
    Committed {
        snapshot_before,
        snapshot_id: next.snapshot_id.or(next.metadata.current_snapshot_id()),
        metadata_location: next.metadata_location,
        metadata: next.metadata,
        retries,
        already: false,
    }
}

fn rejected(table: &Table, source: Error) -> Error {
    CommitError::Rejected { table: table.name.clone(), source: Box::new(source) }.into()
}

fn unknown(table: &Table, next: NextVersion, source: Error) -> Error {
    let NextVersion { metadata_location, snapshot_id, .. } = next;
    CommitError::OutcomeUnknown { table: table.name.clone(), metadata_location, snapshot_id, source: Box::new(source) }
        .into()
}

fn race_lost(table: &Table, attempts: u32) -> Error {
    let conflict = Conflict::RaceLost { attempts };
    CommitError::Conflict { table: table.name.clone(), conflict, retry_plan: false }.into()
}

/// The waits between attempts, up to the deadline.
#[derive(Debug)]
pub(super) struct Pace<'a> {
    inputs: &'a CommitInputs,
    options: &'a CommitOptions,
    pub deadline: Instant,
    waits: u32,
}

impl Pace<'_> {
    /// Waits a random time, longer on average each time; false when that would be past the deadline.
    pub(super) async fn wait(&mut self) -> bool {
        const GROWTH: u32 = 4;
        let shortest = self.options.backoff_min;
        let growth = GROWTH.saturating_pow(self.waits.saturating_add(1));
        let longest = shortest.saturating_mul(growth).min(self.options.backoff_max).max(shortest);
        let until = Instant::now() + shortest + (longest - shortest).mul_f64(self.inputs.random());
        if until >= self.deadline {
            return false;
        }
        self.waits += 1;
        tokio::time::sleep_until(until).await;
        true
    }
}
