//! The decision, as it is printed and written down.

use std::{collections::BTreeMap, fmt};

use contract::TableName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Interval,
    columns::{ColumnDecision, absent::AbsentDecision},
    dedupe::{LeftOut, PartitionMark, RawFile, Seen, decide::count},
};

/// What sort of reason keeps a run from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// More raw files than one run takes.
    TooManyFiles,
    /// Columns that a frozen contract does not know: a quality gate.
    UnknownColumns,
    /// A column whose source name no file ever had: a quality gate.
    UnknownSource,
    /// Rows of a table without a key that it may hold already.
    CountsTwice,
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum DedupePlan {
    /// There is no input.
    Nothing {
        /// Why.
        reason: String,
    },
    /// An earlier run has applied exactly this.
    AlreadyApplied {
        /// The newest run over it that the ledger still has.
        run_id: Option<String>,
        /// What was compared.
        reason: String,
    },
    /// The run must not start.
    Refused {
        /// What sort of reason.
        refusal: Refusal,
        /// Why, and what to do.
        reasons: Vec<String>,
    },
    /// These files are merged.
    Run(Box<RunPlan>),
}

/// The files to merge, and all that execution needs to know about why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunPlan {
    /// The curated table.
    pub table: TableName,
    /// The snapshot the plan saw; `None` for a table without one.
    pub base_snapshot_id: Option<i64>,
    /// The table is made first.
    pub creates_table: bool,
    /// The interval that the ledger will record; `None` for a replay.
    pub interval: Option<Interval>,
    /// What to read, in key order.
    pub files: Vec<RawFile>,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Sum of their rows, where all footers were read.
    pub rows: Option<u64>,
    /// For the ledger: digest of the files.
    pub input_digest: String,
    /// For the ledger: what holds of each raw partition once this is committed, by its start.
    pub marks: BTreeMap<Timestamp, PartitionMark>,
    /// What the ledger said of those partitions when this was decided. A table without a key takes the files only while it
    /// still says so; empty for one with a key.
    pub expected_marks: BTreeMap<Timestamp, Option<PartitionMark>>,
    /// For the ledger: what lies in the raw zone, once all of it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// For the ledger.
    pub contract_digest: String,
    /// The raw partitions they lie in, oldest first.
    pub partitions: Vec<PartitionPlan>,
    /// Smallest and largest event time, where all footers tell.
    pub event_time: Option<(Timestamp, Timestamp)>,
    /// Columns that the contract does not know.
    pub columns: Vec<ColumnDecision>,
    /// Columns of the contract that no file has.
    pub absent_columns: Vec<AbsentDecision>,
    /// Live files that may hold rows of the batch, so that a match would have them written again.
    pub may_rewrite: Vec<MayRewrite>,
    /// Objects that were left out on purpose.
    pub left_out: Vec<LeftOut>,
    /// Why these files, why now.
    pub reasons: Vec<String>,
}

/// One raw partition of the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionPlan {
    /// Its span of arrival time.
    pub arrival: Interval,
    /// Files taken from it.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// A live file that a match would have written again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MayRewrite {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its rows.
    pub rows: u64,
    /// Why.
    pub reason: String,
}

impl fmt::Display for DedupePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { reason } => write!(f, "nothing to do: {reason}"),
            Self::AlreadyApplied { run_id: Some(run_id), reason } => {
                write!(f, "already applied by run {run_id}: {reason}")
            }
            Self::AlreadyApplied { run_id: None, reason } => write!(f, "already applied: {reason}"),
            Self::Refused { reasons, .. } => write!(f, "refused: {}", reasons.join("; ")),
            Self::Run(plan) => plan.fmt(f),
        }
    }
}

impl fmt::Display for RunPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "merge {}, {} bytes", count(self.files.len(), "raw file"), self.bytes)?;
        if let Some(rows) = self.rows {
            write!(f, ", {rows} rows")?;
        }
        if let Some(interval) = &self.interval {
            write!(f, " of {interval}")?;
        }
        writeln!(f, " into {}", self.table)?;
        if self.creates_table {
            writeln!(f, "  creates the table")?;
        }
        for reason in &self.reasons {
            writeln!(f, "  because {reason}")?;
        }
        for partition in &self.partitions {
            let files = count(usize::try_from(partition.files).unwrap_or(usize::MAX), "file");
            writeln!(f, "  take {}: {files}, {} bytes", partition.arrival, partition.bytes)?;
        }
        for column in &self.columns {
            writeln!(f, "  {column}")?;
        }
        for column in &self.absent_columns {
            writeln!(f, "  {column}")?;
        }
        for file in &self.may_rewrite {
            writeln!(f, "  may rewrite {} ({} rows, {} bytes): {}", file.path, file.rows, file.bytes, file.reason)?;
        }
        for object in &self.left_out {
            writeln!(f, "  leave out {}: {}", object.key, object.reason)?;
        }
        Ok(())
    }
}
