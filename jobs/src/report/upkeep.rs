//! What maintenance jobs did, in the run report.

use plan::{expire::Action, objects::KindTotal, tier::TransitionTotal};
use serde::{Deserialize, Serialize};

/// What became of snapshots, branches and tags.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshots {
    /// Snapshots that are kept.
    pub kept: u64,
    /// Snapshots that expired.
    pub expired: u64,
    /// Why, with the number of snapshots. One that is kept counts for every reason that keeps it.
    pub reasons: Vec<SnapshotReason>,
    /// Branches and tags that were dropped: `tag v1`.
    pub refs_expired: Vec<String>,
}

/// What became of files that were packed or sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compacted {
    /// Commits that landed.
    pub commits: u64,
    /// Groups of files that were written again and committed.
    pub groups: u64,
    /// Groups that another writer changed meanwhile; those that could be are among the others, after another plan.
    pub groups_lost: u64,
    /// Groups that were not begun, for want of time.
    pub groups_left: u64,
    /// Size of the files that were removed.
    pub bytes_removed: u64,
    /// Rows of the new files.
    pub rows: u64,
    /// Rows of the old files that deletes hid.
    pub rows_deleted: u64,
    /// Rows that were taken over without decoding them.
    pub rows_copied: u64,
    /// Delete files that apply to nothing any more and were removed.
    pub delete_files_removed: u64,
    /// Manifests that others took the place of.
    #[serde(default)]
    pub manifests_rewritten: u64,
    /// Manifests that took their place.
    #[serde(default)]
    pub manifests_written: u64,
}

/// A reason to keep snapshots, or to let them expire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReason {
    /// Keep or expire.
    pub action: Action,
    /// Why.
    pub reason: String,
    /// How many.
    pub snapshots: u64,
}

/// Objects that are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// How many.
    pub files: u64,
    /// Sum of their sizes, as far as they are known.
    pub bytes: u64,
    /// The same by kind.
    pub by_kind: Vec<KindTotal>,
    /// How many should have gone and are left.
    pub left: u64,
}

/// What went to other storage classes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moves {
    /// What was moved, or tagged for a lifecycle rule, by classes.
    pub moved: Vec<TransitionTotal>,
    /// How many objects should have gone and stay.
    pub left: u64,
    /// How many lost their tag.
    pub untagged: u64,
    /// Zones whose lifecycle rules are others now.
    pub rules: u64,
}

impl Moves {
    /// Whether there is anything in it.
    pub fn changed(&self) -> bool {
        !self.moved.is_empty() || self.untagged > 0 || self.rules > 0
    }
}

/// How far a restore is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restored {
    /// Objects that were asked for by this run.
    pub asked: u64,
    /// Objects of the interval that are on their way.
    pub restoring: u64,
    /// Objects of the interval that can be read.
    pub readable: u64,
}
