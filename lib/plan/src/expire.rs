//! Which snapshots and refs of a table are kept, which expire, and why.
//!
//! The rules are those of Iceberg's `RemoveSnapshots`, which Spark, Trino and Athena follow: the properties
//! `history.expire.*` and the retention of each branch and tag. Refuses to know files: which of them nothing needs any
//! more is found out when the snapshots are gone.

mod decide;
mod policy;

pub use decide::decide;
pub(crate) use policy::gc_disabled;

use std::{collections::BTreeMap, fmt};

use contract::TableName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    OlderThan,
    objects::KindTotal,
    prices::{Money, Prices},
};

/// The branch that is never dropped.
pub(crate) const MAIN: &str = "main";

/// What is known before the decision.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// What was asked for.
    pub request: Request,
    /// Its kept snapshots.
    pub snapshots: Vec<SnapshotFacts>,
    /// Its branches and tags.
    pub refs: BTreeMap<String, RefFacts>,
    /// Its properties.
    pub properties: BTreeMap<String, String>,
    /// The time.
    pub now: Timestamp,
}

/// What was asked for, beyond what the table says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// Instead of `history.expire.max-snapshot-age-ms`.
    pub older_than: Option<OlderThan>,
    /// Instead of `history.expire.min-snapshots-to-keep`.
    pub retain_last: Option<u32>,
    /// These snapshots; alone, and nothing else, when neither of the others is given.
    pub snapshot_ids: Vec<i64>,
}

/// A snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// Its id.
    pub snapshot_id: i64,
    /// The snapshot that it was made from, which may be gone.
    pub parent_id: Option<i64>,
    /// When it was committed.
    pub committed_at: Timestamp,
}

/// A branch or tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RefFacts {
    /// The snapshot it points at.
    pub snapshot_id: i64,
    /// Which of the two, with what only branches have.
    pub kind: RefKind,
    /// Instead of `history.expire.max-ref-age-ms`.
    pub ref_age_max_ms: Option<i64>,
}

/// Branch or tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefKind {
    /// A branch, with its own retention.
    Branch {
        /// Instead of `history.expire.min-snapshots-to-keep`.
        snapshots_min: Option<i32>,
        /// Instead of `history.expire.max-snapshot-age-ms`.
        snapshot_age_max_ms: Option<i64>,
    },
    /// A tag.
    Tag,
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum ExpirePlan {
    /// The run must not start.
    Refused {
        /// Why, and what to do.
        reasons: Vec<String>,
    },
    /// Every snapshot and ref is kept.
    KeepAll(Verdicts),
    /// Some go.
    Expire(Verdicts),
}

/// What becomes of every snapshot and ref.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdicts {
    /// The table.
    pub table: TableName,
    /// Newest first.
    pub snapshots: Vec<SnapshotVerdict>,
    /// By name.
    pub refs: Vec<RefVerdict>,
    /// Snapshots that were asked for and are not in the table, or not any more.
    pub absent: Vec<i64>,
    /// What nothing will need any more, as far as the table says before the commit; filled in when that is known.
    #[serde(default)]
    pub deletes: Vec<KindTotal>,
    /// What that costs and saves; filled in with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
}

/// What becomes of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotVerdict {
    /// The snapshot.
    pub snapshot_id: i64,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// Keep or expire.
    pub action: Action,
    /// Why. One that is kept has every reason that keeps it.
    pub reasons: Vec<String>,
}

/// What becomes of a branch or tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefVerdict {
    /// Branch or tag.
    pub kind: RefWord,
    /// Its name.
    pub name: String,
    /// Keep or expire.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// Branch or tag, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum RefWord {
    Branch,
    Tag,
}

impl fmt::Display for RefWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Branch => "branch",
            Self::Tag => "tag",
        })
    }
}

/// Keep or expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It stays.
    Keep,
    /// It goes.
    Expire,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Expire => "expire",
        })
    }
}

impl Verdicts {
    /// The snapshots that go.
    pub fn expired(&self) -> Vec<i64> {
        let gone = self.snapshots.iter().filter(|snapshot| snapshot.action == Action::Expire);
        gone.map(|snapshot| snapshot.snapshot_id).collect()
    }

    /// What nothing will need any more, and so what the plan costs and saves: the new version of the table is one object.
    pub fn price(&mut self, deletes: Vec<KindTotal>, prices: &Prices) {
        self.money = Some(Money::of_deletion(prices, &deletes, 1));
        self.deletes = deletes;
    }

    /// How many snapshots there are of an action's reasons, by reason: `3 not older than 5d on branch main`. One that is kept
    /// counts for every reason that keeps it.
    pub fn reasons(&self, action: Action) -> Vec<(&str, u64)> {
        let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
        let of_action = self.snapshots.iter().filter(|snapshot| snapshot.action == action);
        for reason in of_action.flat_map(|snapshot| &snapshot.reasons) {
            *reasons.entry(reason).or_default() += 1;
        }
        reasons.into_iter().collect()
    }

    /// The names of the refs that go.
    pub fn expired_refs(&self) -> Vec<String> {
        let gone = self.refs.iter().filter(|of| of.action == Action::Expire);
        gone.map(|of| of.name.clone()).collect()
    }
}

impl fmt::Display for ExpirePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reasons } => writeln!(f, "refused: {}", reasons.join("; ")),
            Self::KeepAll(verdicts) | Self::Expire(verdicts) => verdicts.fmt(f),
        }
    }
}

impl fmt::Display for Verdicts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for of in &self.refs {
            writeln!(f, "{} {} {}: {}", of.action, of.kind, of.name, of.reason)?;
        }
        for snapshot in &self.snapshots {
            let SnapshotVerdict { snapshot_id, committed_at, action, reasons } = snapshot;
            writeln!(f, "{action} snapshot {snapshot_id} of {committed_at}: {}", reasons.join(", "))?;
        }
        self.absent.iter().try_for_each(|id| writeln!(f, "snapshot {id} is not in the table"))
    }
}
