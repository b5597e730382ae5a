//! Which data files of a table are packed or sorted into new ones, which stay as they are, and why.
//!
//! The thresholds are those of Spark's `rewrite_data_files`, by their names and with their defaults. Beyond them it knows
//! who writes: a partition that still receives data is left for later. Refuses to know rows and footers: whether a file
//! can really be copied without decoding it is seen when it is opened.

mod decide;
mod manifests;
mod options;

pub use decide::decide;
pub use manifests::{
    FILES_PER_MANIFEST_MAX, KeptManifests, MANIFESTS_PER_COMMIT_MAX, ManifestFacts, ManifestKind, ManifestsFacts,
    ManifestsPlan, ManifestsRewrite, decide_manifests,
};
pub use options::{JobOrder, Options, Strategy};

use std::{collections::BTreeMap, fmt};

use contract::{Duration, TableName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What the reason begins with that keeps archived files.
pub const ARCHIVED: &str = "archived";

/// What is known before the decision.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// The snapshot that all this was read from; `None` for a table without one.
    pub snapshot_id: Option<i64>,
    /// Its live data files.
    pub files: Vec<FileFacts>,
    /// The partitions that they lie in.
    pub partitions: BTreeMap<PartitionKey, PartitionFacts>,
    /// Delete files that apply to no live data file.
    pub dangling_delete_files: u64,
    /// The manifests that name all these.
    pub manifests: ManifestsFacts,
    /// The table's current partition spec.
    pub spec_id: i32,
    /// The table's sort order, if it has one.
    pub sort_order: Option<SortOrder>,
    /// How late an event may arrive, where that is declared.
    pub lateness: Option<Duration>,
    /// The size that the table's files aim for, unless the options say another.
    pub target_file_bytes: u64,
    /// What was asked for.
    pub options: Options,
    /// The time.
    pub now: Timestamp,
}

/// A live data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Its path, as the manifest has it.
    pub path: String,
    /// Where it lies.
    pub partition: PartitionKey,
    /// Its size.
    pub bytes: u64,
    /// Rows in it, dead or alive.
    pub rows: u64,
    /// Row groups in it, where the manifest says so.
    pub row_groups: Option<u64>,
    /// Its data sequence number.
    pub sequence_number: i64,
    /// Delete files that apply to it.
    pub delete_files: u64,
    /// How many of its rows position deletes hide, about: those of a delete file for many are shared out by rows.
    pub deleted_rows: u64,
    /// The order of its rows, where the manifest says so.
    pub sort_order_id: Option<i32>,
    /// Whether the filter that was asked for may find rows in it.
    pub is_selected: bool,
    /// It lies in an archive, and has not been brought back.
    pub is_archived: bool,
}

/// A partition, by the spec that it was made with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionKey {
    /// The partition spec.
    pub spec_id: i32,
    /// Its values as a path: `event_time_day=2025-06-04/device_id_bucket=3`; empty without partition fields.
    pub path: String,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.path.is_empty() { "the whole table" } else { &self.path })
    }
}

/// Who writes to a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartitionFacts {
    /// The end of the event times that it is for, where its values say so.
    pub event_time_end: Option<Timestamp>,
    /// The last commit that brought something to it, other than compactions, as far as live files and deletes tell.
    pub last_write: Option<Write>,
}

/// A commit that brought something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// When.
    pub at: Timestamp,
    /// By whom: `etl dedupe`, `spark`, `another engine`.
    pub by: String,
}

/// A sort order of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortOrder {
    /// Its id, which sorted files carry.
    pub id: i32,
    /// For people: `device_id ASC NULLS FIRST`.
    pub text: String,
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum CompactPlan {
    /// The run must not start.
    Refused {
        /// Why, and what to do.
        reasons: Vec<String>,
    },
    /// Every file stays as it is.
    KeepAll(Compaction),
    /// Some are written again, or delete files go.
    Compact(Compaction),
}

/// What becomes of every file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compaction {
    /// The table.
    pub table: TableName,
    /// The snapshot that was looked at.
    pub snapshot_id: Option<i64>,
    /// The size that new files aim for.
    pub target_file_bytes: u64,
    /// What is written again, in this order.
    pub groups: Vec<Group>,
    /// What stays, and why.
    pub kept: Vec<Kept>,
    /// Delete files that apply to nothing already.
    pub dangling_delete_files: u64,
    /// Delete files go with the last file that they apply to.
    pub removes_dangling_deletes: bool,
    /// Groups that are committed together, at least 1.
    pub groups_per_commit: u64,
    /// What becomes of the manifests, as they are before anything else is written again. They come last, and are decided
    /// about once more by then.
    #[serde(default, skip_serializing_if = "ManifestsPlan::is_empty")]
    pub manifests: ManifestsPlan,
}

/// Files of one partition that become others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Where they lie.
    pub partition: PartitionKey,
    /// The files, oldest first.
    pub files: Vec<GroupFile>,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Rows in them, dead or alive.
    pub rows: u64,
    /// Order of the new files' rows.
    pub arrange: Arrange,
    /// The size at which a new file ends: all of them have about this one.
    pub file_bytes: u64,
    /// Why they are written again.
    pub reasons: Vec<String>,
}

/// A file of a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupFile {
    /// Its path.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// How its rows get into a new file.
    pub how: How,
    /// Why that way.
    pub why: String,
}

/// How rows get into a new file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its column chunks as they are, where its columns are those of the table.
    Copy,
    /// Row by row.
    Decode,
}

/// Order of the rows in new files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Arrange {
    /// As they come.
    Pack,
    /// By the table's sort order.
    TableOrder {
        /// Its id.
        id: i32,
    },
    /// By these terms.
    Sort {
        /// `device_id, event_time DESC`.
        terms: String,
    },
    /// Along a Z-order curve through these columns.
    ZOrder {
        /// Columns.
        columns: Vec<String>,
    },
}

/// Files of one partition that stay for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Where they lie.
    pub partition: PartitionKey,
    /// Why.
    pub reason: String,
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Copy => "copy",
            Self::Decode => "decode",
        })
    }
}

impl fmt::Display for Arrange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pack => f.write_str("pack"),
            Self::TableOrder { .. } => f.write_str("sort by the table's order"),
            Self::Sort { terms } => write!(f, "sort by {terms}"),
            Self::ZOrder { columns } => write!(f, "z-order by {}", columns.join(", ")),
        }
    }
}

impl Group {
    /// How many of the files are copied.
    pub fn copied(&self) -> usize {
        self.files.iter().filter(|file| file.how == How::Copy).count()
    }
}

/// `pack 6 files, 120.0 MiB (5 copied) of event_time_day=2025-06-04: …`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, files, bytes, arrange, reasons, .. } = self;
        let copied = match self.copied() {
            0 => String::new(),
            copied if copied == files.len() => " (copied)".to_owned(),
            copied => format!(" ({copied} copied)"),
        };
        let reasons = reasons.join(", ");
        write!(f, "{arrange} {}, {}{copied} of {partition}: {reasons}", counted(files.len() as u64), size(*bytes))
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, reason, files, bytes } = self;
        write!(f, "keep {}, {} of {partition}: {reason}", counted(*files), size(*bytes))
    }
}

impl fmt::Display for CompactPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reasons } => writeln!(f, "refused: {}", reasons.join("; ")),
            Self::KeepAll(compaction) | Self::Compact(compaction) => compaction.fmt(f),
        }
    }
}

impl fmt::Display for Compaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.groups.iter().try_for_each(|group| writeln!(f, "{group}"))?;
        self.kept.iter().try_for_each(|kept| writeln!(f, "{kept}"))?;
        if self.dangling_delete_files > 0 {
            writeln!(f, "drop {} delete files: they apply to no file", self.dangling_delete_files)?;
        }
        self.manifests.fmt(f)
    }
}

fn counted(files: u64) -> String {
    format!("{files} {}", if files == 1 { "file" } else { "files" })
}

/// A size for people: `96.0 MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = UNITS.iter().find(|(unit, _)| bytes >= *unit);
    unit.map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{:.1} {name}", bytes as f64 / *unit as f64))
}
