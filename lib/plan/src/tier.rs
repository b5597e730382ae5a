//! Which objects go to a colder storage class, what that costs and saves, and why each other one stays where it is.
//!
//! An archived object must be restored before it can be read, so doubt keeps it readable. Refuses to know how objects are
//! listed and moved.

mod decide;
mod restore;
mod taken;

pub use decide::{decide, is_due};
pub use restore::{Archived, Restore, RestorePlan, RestoreRequest, RestoreState, decide_restore};
pub use taken::{Partitions, Taken};

use std::{collections::BTreeMap, fmt};

use contract::{ColdClass, Duration, TableName, TierRule, Tiering};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Interval,
    objects::ObjectKind,
    orphans::Kept,
    prices::{Dollars, Money, Prices, StorageClass},
};

/// S3 charges smaller objects as this size in Standard-IA, and its lifecycle rules leave them alone.
pub const BYTES_MIN: u64 = 128 * 1024;

/// A transition that does not pay within this time is not made: nobody knows what becomes of the object after it.
pub const PAYBACK_MONTHS_MAX: i64 = 12;

/// What a reason begins with that a limit keeps an object for.
const LEFT: &str = "left for the next run";

/// The tag by which lifecycle rules know what they may move; its value is the class.
pub const TAG: &str = "etl-tier";

impl From<ColdClass> for StorageClass {
    fn from(class: ColdClass) -> Self {
        match class {
            ColdClass::StandardIa => Self::StandardIa,
            ColdClass::GlacierIr => Self::GlacierIr,
            ColdClass::Glacier => Self::Glacier,
            ColdClass::DeepArchive => Self::DeepArchive,
        }
    }
}

/// How objects are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Each is copied onto itself: now, and it is younger afterwards.
    Copy,
    /// Each gets a tag, and a lifecycle rule of its bucket moves what has it: within days, and nothing else changes.
    Lifecycle,
}

/// Which objects of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Zone {
    /// As they arrived.
    Raw,
    /// The table's own.
    Curated,
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Curated => "curated",
        })
    }
}

/// What is known before the decision.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// What its contract says of storage classes.
    pub tiering: Tiering,
    /// How late an event may arrive.
    pub lateness: Option<Duration>,
    /// How objects are moved.
    pub way: Way,
    /// What lies there.
    pub objects: Vec<Listed>,
    /// The lifecycle rules that the contract asks for; with [`Way::Lifecycle`] alone.
    pub rules: Vec<BucketRule>,
    /// Whether the buckets have other ones of this table.
    pub rules_differ: bool,
    /// Where they are looked for.
    pub rule_places: Vec<RulePlace>,
    /// Buckets among theirs that keep what is replaced as an older version.
    pub versioned: Vec<String>,
    /// What the moves may cost together; what is over it is left for the next run.
    pub cost_max: Option<Dollars>,
    /// What S3 charges.
    pub prices: Prices,
    /// The time.
    pub now: Timestamp,
}

/// An object in storage.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Its location.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Its version.
    pub etag: String,
    /// When it was written, or last copied.
    pub modified: Timestamp,
    /// Its storage class, as S3 spells it.
    pub class: String,
    /// The value of its tag [`TAG`], where tags were read.
    pub tag: Option<String>,
    /// What needs it.
    pub needed: Need,
}

/// What an object is to its table, and who needs it.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// A raw file.
    Raw {
        /// When it arrived.
        arrival: Interval,
        /// Whether its rows are in the table.
        taken: Taken,
    },
    /// A data file of the current snapshot.
    Current {
        /// Its smallest and largest event time, where its bounds tell.
        event_time: Option<(Timestamp, Timestamp)>,
    },
    /// A file that the table refers to and whose rows are not all of what a scan of the current snapshot reads of it.
    Referred(ObjectKind),
    /// Nothing refers to it.
    Unknown,
    /// An object in the raw zone that is no input.
    NoInput,
}

impl Need {
    /// Whose object it is.
    pub fn zone(&self) -> Zone {
        match self {
            Self::Raw { .. } | Self::NoInput => Zone::Raw,
            _ => Zone::Curated,
        }
    }
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum TierPlan {
    /// The run must not start.
    Refused {
        /// Why, and what to do.
        reasons: Vec<String>,
    },
    /// Everything lies where it should.
    NoTransitions(Tiers),
    /// Some objects move.
    Transitions(Tiers),
}

/// Where a table's objects lie and where they go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tiers {
    /// The table.
    pub table: TableName,
    /// How objects are moved.
    pub way: Way,
    /// Why objects stay, and how many for each reason.
    pub kept: Vec<Kept>,
    /// What moves, in order of location.
    pub transitions: Vec<Transition>,
    /// Tags that a lifecycle rule would follow and should not any more, in order of location.
    pub untagged: Vec<Untag>,
    /// The rules of buckets that the contract asks for; with [`Way::Lifecycle`] alone.
    pub rules: Vec<BucketRule>,
    /// Where they stand, or others of ours that go.
    pub rule_places: Vec<RulePlace>,
    /// Whose prices.
    pub prices: String,
    /// What all moves cost and save.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
}

/// An object that goes to another class.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// Its location.
    pub location: String,
    /// Its version: another one stays where it is.
    pub etag: String,
    /// Its size.
    pub bytes: u64,
    /// Whose it is.
    pub zone: Zone,
    /// Where it lies.
    pub from: StorageClass,
    /// Where it goes.
    pub to: ColdClass,
    /// What going there costs, once.
    pub cost: Dollars,
    /// What lying there saves, each month.
    pub saving_per_month: Dollars,
    /// The age from which objects go there.
    #[serde(default)]
    pub age: Duration,
    /// Why.
    pub reason: String,
}

/// An object whose tag goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Untag {
    /// Its location.
    pub location: String,
    /// Why.
    pub reason: String,
}

/// A lifecycle rule of ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BucketRule {
    /// The bucket.
    pub bucket: String,
    /// Names it among the bucket's rules.
    pub id: String,
    /// What the keys begin with.
    pub prefix: String,
    /// The value of the tag, and where objects with it go.
    pub class: ColdClass,
    /// Days since the object was written.
    pub days: u32,
}

/// Rules of ours in a bucket: those whose ids begin so.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RulePlace {
    /// The bucket.
    pub bucket: String,
    /// What the ids of the rules for one zone of a table begin with.
    pub id_prefix: String,
}

impl Tiers {
    /// Why nothing moves, when nothing does.
    pub fn idle(&self) -> &'static str {
        match self.kept.iter().any(|kept| kept.reason.starts_with(LEFT)) {
            true => "what would move costs more than it may",
            false => "every object lies where it should",
        }
    }
}

impl RulePlace {
    /// That of a zone of a table.
    pub fn of(table: &TableName, zone: Zone, bucket: &str) -> Self {
        Self { bucket: bucket.to_owned(), id_prefix: format!("etl-tier/{table}/{zone}/") }
    }

    /// Whether a rule of ours stands there.
    pub fn has(&self, rule: &BucketRule) -> bool {
        rule.bucket == self.bucket && rule.id.starts_with(&self.id_prefix)
    }
}

/// The lifecycle rules of a zone of a table whose keys begin with a prefix.
pub fn bucket_rules(place: &RulePlace, prefix: &str, rules: &[TierRule]) -> Vec<BucketRule> {
    let rule = |rule: &TierRule| BucketRule {
        bucket: place.bucket.clone(),
        id: format!("{}{}", place.id_prefix, rule.class),
        prefix: prefix.to_owned(),
        class: rule.class,
        days: u32::try_from(rule.age.seconds / 86_400).unwrap_or(u32::MAX),
    };
    rules.iter().map(rule).collect()
}

/// Objects that go the same way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionTotal {
    /// Whose they are.
    pub zone: Zone,
    /// Where they lie.
    pub from: StorageClass,
    /// Where they go.
    pub to: ColdClass,
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// What going there costs, once.
    pub cost: Dollars,
    /// What lying there saves, each month.
    pub saving_per_month: Dollars,
}

/// Sums of transitions by zone and classes.
pub fn totals<'a>(transitions: impl IntoIterator<Item = &'a Transition>) -> Vec<TransitionTotal> {
    let mut totals: BTreeMap<_, TransitionTotal> = BTreeMap::new();
    for Transition { zone, from, to, bytes, cost, saving_per_month, .. } in transitions {
        let total = totals.entry((*zone, *from, *to)).or_insert(TransitionTotal {
            zone: *zone,
            from: *from,
            to: *to,
            files: 0,
            bytes: 0,
            cost: Dollars::ZERO,
            saving_per_month: Dollars::ZERO,
        });
        total.files += 1;
        total.bytes += bytes;
        total.cost = total.cost + *cost;
        total.saving_per_month = total.saving_per_month + *saving_per_month;
    }
    totals.into_values().collect()
}

impl fmt::Display for TierPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tiers = match self {
            Self::Refused { reasons } => return writeln!(f, "refused: {}", reasons.join("; ")),
            Self::NoTransitions(tiers) | Self::Transitions(tiers) => tiers,
        };
        for Kept { reason, files, bytes } in &tiers.kept {
            writeln!(f, "keep {files} files, {bytes} bytes: {reason}")?;
        }
        for Transition { location, bytes, from, to, cost, saving_per_month, reason, .. } in &tiers.transitions {
            let (from, cost, saving) = (from.word(), cost.rate(), saving_per_month.rate());
            writeln!(f, "move {location} ({bytes} bytes) {from} → {to}, {cost} $, saves {saving} $ a month: {reason}")?;
        }
        for Untag { location, reason } in &tiers.untagged {
            writeln!(f, "untag {location}: {reason}")?;
        }
        for BucketRule { bucket, id, prefix, class, days } in &tiers.rules {
            writeln!(f, "rule {id} of {bucket}: {prefix}* tagged {TAG}={class} after {days} days")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
