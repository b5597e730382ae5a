//! The run report: one JSON document for every run, also for one that failed. Schema version 1.
//!
//! Owns the shape that other programs read. Fields are only ever added.

mod upkeep;

use std::collections::BTreeMap;

use contract::TableName;
use jiff::Timestamp;
use lake::Reclaimed;
use plan::{
    Interval,
    compact::CompactPlan,
    dedupe::DedupePlan,
    expire::ExpirePlan,
    maintain::Step,
    orphans::{Kept, OrphansPlan},
    prices::Money,
    rollback::RollbackPlan,
    tier::{RestorePlan, TierPlan},
};
use serde::{Deserialize, Serialize};

pub use self::upkeep::{Compacted, Deleted, Moves, Restored, SnapshotReason, Snapshots};
use crate::{
    error::{Exit, JobError, Kind, chain},
    machine::Used,
};

/// What one run did to one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Always 1.
    pub schema_version: u32,
    /// The run's id: a UUID of version 7, so that runs sort by their start.
    pub run_id: String,
    /// The job's name on the command line.
    pub job: String,
    /// The table; null when the run ended before it knew one.
    pub table: Option<TableName>,
    /// How it ended.
    pub status: Status,
    /// What the process would tell the shell for this run alone.
    pub exit_code: Exit,
    /// Version of the program.
    pub version: String,
    /// The command line after the program's name.
    pub args: Vec<String>,
    /// Arrival time that the run covers.
    pub interval: Option<Interval>,
    /// When it started.
    pub started_at: Timestamp,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
    /// What it read.
    pub inputs: Inputs,
    /// Where every row went.
    pub rows: Rows,
    /// Rules that rows broke, most frequent first.
    pub rejects: Vec<Reject>,
    /// Checks and thresholds.
    pub quality: Vec<Quality>,
    /// What it wrote.
    pub output: Output,
    /// Changes of the table's shape, for people.
    pub schema_changes: Vec<String>,
    /// What it used.
    pub resources: Resources,
    /// How often the commit was tried again.
    pub commit_retries: u32,
    /// What went wrong without stopping the run.
    pub warnings: Vec<String>,
    /// Why it failed.
    pub error: Option<Failure>,
    /// Why there was nothing to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With `--dry-run`: what would be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// Of `expire`: what became of snapshots, branches and tags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshots: Option<Snapshots>,
    /// Of `compact`: what became of which files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction: Option<Compacted>,
    /// Of `orphans`, `compact` and `tier`: why objects were kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Kept>,
    /// Of jobs that delete: what is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Deleted>,
    /// Of jobs that save storage: what it cost and saves, as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
    /// Of `maintain`: each job, whether it ran and why, and its own report or plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepReport>,
    /// Of `tier`: what went to other storage classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moves: Option<Moves>,
    /// Of `tier restore`: how far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored: Option<Restored>,
}

/// What became of one job in a run of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// What was decided.
    #[serde(flatten)]
    pub step: Step,
    /// Of a job that ran, its report; with `--dry-run` its plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Box<Report>>,
}

impl StepReport {
    /// The job ran and changed something.
    pub fn has_changed(&self) -> bool {
        let is_change = |status| matches!(status, Status::Committed | Status::Deleted | Status::Moved);
        self.report.as_ref().is_some_and(|report| is_change(report.status))
    }
}

/// What a job would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Plan {
    /// Of `dedupe`.
    Dedupe(DedupePlan),
    /// Of `expire`.
    Expire(ExpirePlan),
    /// Of `orphans`.
    Orphans(OrphansPlan),
    /// Of `compact`.
    Compact(CompactPlan),
    /// Of `merge`.
    Merge(MergePlan),
    /// Of `rollback`.
    Rollback(RollbackPlan),
    /// Of `tier`.
    Tier(TierPlan),
    /// Of `tier restore`.
    Restore(RestorePlan),
}

/// How a MERGE statement would be carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergePlan {
    /// The nodes of the plan that reads its source, a line each, the last one first.
    pub nodes: Vec<String>,
}

impl Plan {
    /// Why it would change nothing, when it would not.
    pub fn idle(&self) -> Option<&'static str> {
        match self {
            Self::Expire(ExpirePlan::KeepAll(_)) => Some("every snapshot is kept"),
            Self::Orphans(OrphansPlan::NoOrphans(_)) => Some("there is nothing to delete"),
            Self::Compact(CompactPlan::KeepAll(_)) => Some("every file stays as it is"),
            Self::Rollback(RollbackPlan::Current { .. }) => Some("the snapshot is the current one"),
            Self::Tier(TierPlan::NoTransitions(tiers)) => Some(tiers.idle()),
            Self::Restore(plan) if plan.restores.is_empty() => Some("nothing more has to be asked for"),
            _ => None,
        }
    }

    /// Why the run must not start, when it must not.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Self::Expire(ExpirePlan::Refused { reasons })
            | Self::Orphans(OrphansPlan::Refused { reasons, .. })
            | Self::Compact(CompactPlan::Refused { reasons })
            | Self::Rollback(RollbackPlan::Refused { reasons })
            | Self::Tier(TierPlan::Refused { reasons }) => Some(reasons.join("; ")),
            _ => None,
        }
    }

    /// What cannot be taken back once it is carried out.
    pub fn consequence(&self) -> &'static str {
        match self {
            Self::Tier(_) => "change what objects cost and how fast they can be read",
            Self::Restore(_) => "cost money",
            Self::Rollback(_) => "undo what was committed since",
            _ => "delete objects for good",
        }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A new version of the table is live.
    Committed,
    /// Objects that belong to no version of the table were deleted; the table is as it was.
    Deleted,
    /// Objects went to other storage classes, or were tagged to go there; the table is as it was.
    Moved,
    /// Archived objects are on their way back.
    Restoring,
    /// Archived objects can be read again.
    Restored,
    /// There was nothing to do, or it had been done.
    Unchanged,
    /// The plan was shown and nothing else.
    Planned,
    /// A quality gate failed; nothing was committed.
    GateFailed,
    /// It failed; nothing was committed.
    Failed,
    /// It may or may not have been committed; running again finds out.
    OutcomeUnknown,
    /// It was asked to stop; nothing was committed.
    Interrupted,
}

impl Status {
    /// Its word, as in the JSON document.
    pub fn word(self) -> &'static str {
        match self {
            Self::Committed => "committed",
            Self::Deleted => "deleted",
            Self::Moved => "moved",
            Self::Restoring => "restoring",
            Self::Restored => "restored",
            Self::Unchanged => "unchanged",
            Self::Planned => "planned",
            Self::GateFailed => "gate_failed",
            Self::Failed => "failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What a run read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs {
    /// Raw files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
}

/// Where every row went: `read = invalid + duplicate + stale + unchanged + inserted + updated`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Rows of the raw files.
    pub read: u64,
    /// Broke a rule; in quarantine.
    pub invalid: u64,
    /// Lost against another row of the batch with the same key.
    pub duplicate: u64,
    /// Older than the table's row.
    pub stale: u64,
    /// The same as the table's row.
    pub unchanged: u64,
    /// New keys.
    pub inserted: u64,
    /// Newer than the table's row, deletions included.
    pub updated: u64,
}

impl Rows {
    /// Whether every row is accounted for.
    pub fn balances(&self) -> bool {
        self.read == self.invalid + self.duplicate + self.stale + self.unchanged + self.inserted + self.updated
    }
}

/// A rule that rows broke.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// `column.rule`, or the check's name.
    pub rule: String,
    /// How many rows broke it. A row that breaks several rules counts for each.
    pub count: u64,
    /// One place where it happened: source file and row number.
    pub sample: Option<String>,
}

/// A check or threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Its name.
    pub rule: String,
    /// `error` or `warning`.
    pub severity: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was found; `None` where the check's query gave NULL, or no number of JSON's.
    pub observed: Option<f64>,
    /// What was wanted, as text: `<= 0.01`.
    pub expected: String,
}

/// What a run wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Current snapshot before.
    pub snapshot_before: Option<i64>,
    /// Current snapshot after.
    pub snapshot_after: Option<i64>,
    /// Where the table's metadata lies now.
    pub metadata_location: Option<String>,
    /// Data files added.
    pub files_added: u64,
    /// Data files removed.
    pub files_removed: u64,
    /// Position delete files added.
    pub delete_files_added: u64,
    /// Size of everything added.
    pub bytes_written: u64,
}

/// What a run used. Null where the system does not tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Most memory resident at once, of the process so far.
    pub peak_rss_bytes: Option<u64>,
    /// Time on a CPU, of the run.
    pub cpu_ms: Option<u64>,
    /// Bytes that operators wrote to disk for want of memory.
    pub spill_bytes: u64,
    /// Requests to storage and catalog by kind.
    pub requests: BTreeMap<String, u64>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The sort of failure: `configuration`, `transient`, ….
    pub code: Kind,
    /// The message.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whether the same command may succeed later.
    pub retryable: bool,
}

impl Report {
    /// The plan was shown and nothing else.
    pub fn shows(&mut self, plan: Plan) {
        self.status = Status::Planned;
        self.reason = plan.idle().map(str::to_owned);
        self.plan = Some(plan);
    }

    /// A report of a run that has just started.
    pub fn started(
        run_id: String,
        job: &str,
        table: Option<TableName>,
        args: &[String],
        started_at: Timestamp,
    ) -> Self {
        Self {
            schema_version: 1,
            run_id,
            job: job.to_owned(),
            table,
            status: Status::Unchanged,
            exit_code: Exit::Done,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            args: args.to_vec(),
            interval: None,
            started_at,
            duration_ms: 0,
            inputs: Inputs::default(),
            rows: Rows::default(),
            rejects: Vec::new(),
            quality: Vec::new(),
            output: Output::default(),
            schema_changes: Vec::new(),
            resources: Resources::default(),
            commit_retries: 0,
            warnings: Vec::new(),
            error: None,
            reason: None,
            plan: None,
            snapshots: None,
            compaction: None,
            kept: Vec::new(),
            deleted: None,
            money: None,
            steps: Vec::new(),
            moves: None,
            restored: None,
        }
    }

    /// The command line, to be typed again.
    pub fn args_text(&self) -> String {
        let words = self.args.iter().filter(|word| !["--yes", "-y"].contains(&word.as_str()));
        words.fold("etl".to_owned(), |text, word| text + " " + word)
    }

    /// The run failed like this.
    pub fn fail(&mut self, error: &JobError) {
        self.status = match error.kind {
            Kind::Gate => Status::GateFailed,
            Kind::Interrupted | Kind::Terminated => Status::Interrupted,
            Kind::OutcomeUnknown => Status::OutcomeUnknown,
            _ => Status::Failed,
        };
        self.exit_code = error.exit();
        self.error = Some(Failure {
            code: error.kind,
            message: error.message.clone(),
            help: error.help.clone(),
            retryable: error.is_retryable(),
        });
    }

    /// Objects were deleted, or were to be. What is left is no failure: nothing refers to it.
    pub fn reclaimed(&mut self, reclaimed: Reclaimed) {
        let Reclaimed { deleted, left, problem } = reclaimed;
        if left > 0 {
            let why = problem.map_or_else(|| "the run was interrupted".to_owned(), |error| chain(&error));
            self.warnings.push(format!(
                "{left} files that nothing refers to were not deleted ({why}): etl orphans finds what stays"
            ));
        }
        let (files, bytes) = deleted.iter().fold((0, 0), |(files, bytes), of| (files + of.files, bytes + of.bytes));
        self.deleted = Some(Deleted { files, bytes, by_kind: deleted, left });
    }

    /// The run ended now; `before` is what the process had used when it started. What it took for this before it started, where
    /// the duration says so, counts too.
    pub fn end(&mut self, now: Timestamp, before: Used, after: Used) {
        self.duration_ms += u64::try_from(now.duration_since(self.started_at).as_millis()).unwrap_or(0);
        self.resources.peak_rss_bytes = after.peak_rss_bytes;
        self.resources.cpu_ms = before.cpu_ms.zip(after.cpu_ms).map(|(before, after)| after.saturating_sub(before));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_takes_as_long_as_it_did_before_and_since() {
        let used = || Used { peak_rss_bytes: None, cpu_ms: None };
        let start = Timestamp::UNIX_EPOCH;
        let mut report = Report::started("id".to_owned(), "maintain", None, &[], start);
        report.duration_ms = 40;
        report.end(start + jiff::SignedDuration::from_millis(2), used(), used());
        assert_eq!(report.duration_ms, 42);
    }
}
