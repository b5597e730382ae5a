//! The health of a table: what it consists of, what is lopsided in it, what it costs, and what maintenance would change.
//!
//! Refuses to know manifests and storage: it reckons over what was found there.

mod judge;

pub use judge::judge;

use std::collections::BTreeMap;

use contract::TableName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    expire::RefWord,
    maintain::Outlook,
    objects::KindTotal,
    prices::{Amount, Prices, Stored},
};

/// A data file below this share of the target, in percent, is small: what Spark's `rewrite_data_files` packs.
pub const SMALL_PERCENT: u64 = 75;

/// Partitions that are listed, unless another number is asked for.
pub const PARTITIONS_SHOWN: usize = 10;

/// What is known of a table.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// Where it lies.
    pub location: String,
    /// Of the format.
    pub format_version: u32,
    /// The current snapshot; `None` for a table that never had one.
    pub head: Option<Snapshot>,
    /// The data files of the current snapshot.
    pub files: Vec<FileFacts>,
    /// Names of the partitions that these lie in; empty for the one of a table without partition fields.
    pub partitions: Vec<String>,
    /// Its position delete files.
    pub position_deletes: Deletes,
    /// Its equality delete files.
    pub equality_deletes: Deletes,
    /// Its manifests.
    pub manifests: Manifests,
    /// A file that we would not read right, and why.
    pub unreadable: Option<String>,
    /// Kept snapshots, the current one included.
    pub snapshots: Vec<Snapshot>,
    /// Branches and tags.
    pub refs: Vec<Ref>,
    /// What older snapshots need and the current one does not.
    pub history: Vec<KindTotal>,
    /// The size that data files aim for.
    pub target_file_bytes: u64,
    /// The objects below its location by storage class, where they were listed; by the word that storage has for it.
    pub classes: Option<BTreeMap<String, Stored>>,
    /// What maintenance would do.
    pub outlooks: Vec<Outlook>,
    /// What S3 charges.
    pub prices: Prices,
    /// How many partitions to list.
    pub partitions_shown: usize,
}

/// A data file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileFacts {
    /// Its partition, as a place in [`Facts::partitions`].
    pub partition: u32,
    /// Its size.
    pub bytes: u64,
    /// Its rows, dead or alive.
    pub rows: u64,
}

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub snapshot_id: i64,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// A branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ref {
    /// Which of the two.
    pub kind: RefWord,
    /// Its name.
    pub name: String,
    /// The snapshot it points at.
    pub snapshot_id: i64,
}

/// Delete files of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletes {
    /// How many.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Their rows: rows of data that position deletes hide, or conditions of equality deletes.
    pub rows: u64,
}

/// The manifests of a snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifests {
    /// How many.
    pub files: u64,
    /// Of these, how many list delete files.
    pub of_deletes: u64,
    /// Their size.
    pub bytes: u64,
}

/// A table at a glance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Always 1; fields are only ever added.
    pub schema_version: u32,
    /// The table.
    pub table: TableName,
    /// Where it lies.
    pub location: String,
    /// Of the format.
    pub format_version: u32,
    /// The current snapshot.
    pub head: Option<Snapshot>,
    /// Its data files.
    pub data: Data,
    /// Data files that are much smaller than the target.
    pub small: Small,
    /// Its delete files.
    pub deletes: DeleteHealth,
    /// Its manifests.
    pub manifests: Manifests,
    /// What is kept beside the current snapshot.
    pub history: History,
    /// How the data is spread.
    pub partitions: Partitions,
    /// What it costs to keep.
    pub storage: Storage,
    /// What maintenance would do.
    pub jobs: Vec<Outlook>,
    /// What a person should know.
    pub warnings: Vec<String>,
}

/// Data files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// How many.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Their rows, those under deletes included.
    pub rows: u64,
    /// The size that half of them do not reach.
    pub bytes_median: u64,
    /// The largest.
    pub bytes_max: u64,
    /// The size that they aim for.
    pub target_file_bytes: u64,
}

/// Small files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Small {
    /// How many.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// What is smaller is small.
    pub below_bytes: u64,
    /// How many would remain if those of each partition were packed.
    pub files_packed: u64,
}

/// Delete files by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteHealth {
    /// Position deletes.
    pub position: Deletes,
    /// Equality deletes.
    pub equality: Deletes,
}

/// What is kept beside the current snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Kept snapshots, the current one included.
    pub snapshots: u64,
    /// When the oldest of them was committed.
    pub oldest_at: Option<Timestamp>,
    /// Branches and tags.
    pub refs: Vec<Ref>,
    /// Objects that only older snapshots need.
    pub files: u64,
    /// Their size; manifest lists count as 0, since their size is written nowhere.
    pub bytes: u64,
    /// The same by kind.
    pub by_kind: Vec<KindTotal>,
}

/// How the data is spread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Partitions {
    /// How many have data.
    pub count: u64,
    /// The size of the largest.
    pub bytes_max: u64,
    /// The size that half of them do not reach.
    pub bytes_median: u64,
    /// The largest over the median, to a hundredth; null without data.
    pub skew: Option<f64>,
    /// The largest, largest first.
    pub largest: Vec<Partition>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Its values, as in paths: `event_time_day=2025-06-04`; empty without partition fields.
    pub partition: String,
    /// Its data files.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// Their rows.
    pub rows: u64,
    /// How many of the files are small.
    pub small_files: u64,
}

/// What a table costs to keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The objects were listed: what nothing refers to is in the sums, and the classes are the real ones. If not, the sums are
    /// over what the metadata names, and the class is taken to be Standard.
    pub listed: bool,
    /// By class.
    pub classes: Vec<Class>,
    /// A month of all of them.
    pub per_month: Amount,
    /// Whose prices.
    pub prices: String,
}

/// Objects of one storage class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// The word that storage has for it.
    pub class: String,
    /// How many.
    pub files: u64,
    /// Their size.
    pub bytes: u64,
    /// What they are charged as: with the least size and the overhead of their class, where each one's size is known.
    #[serde(default)]
    pub billable_bytes: u64,
    /// What a month of them costs; null for a class that has no price.
    pub per_month: Option<Amount>,
}
