//! What one job would do to a table, in a line: made from that job's own plan.

use std::{cmp::Reverse, collections::BTreeMap};

use contract::Duration;
use serde::{Deserialize, Serialize};

use super::Upkeep;
use crate::{
    compact::{CompactPlan, Compaction},
    expire::{Action, ExpirePlan, Verdicts},
    objects::{KindTotal, ObjectKind},
    orphans::OrphansPlan,
    prices::{Amount, Money, Prices, Request, StorageClass},
    text::{count, size, thousands},
    tier::{TierPlan, Tiers, Way, Zone, totals},
};

/// Reasons that a line names.
const REASONS_MAX: usize = 3;

/// What a job would do to a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    /// The job.
    pub job: Upkeep,
    /// What it would do.
    #[serde(flatten)]
    pub would: Would,
}

/// What a job would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "would", rename_all = "snake_case")]
pub enum Would {
    /// Nothing.
    Nothing {
        /// Why.
        why: String,
    },
    /// Something.
    Act {
        /// What.
        what: String,
        /// Why.
        why: String,
        /// Bytes that it reads and writes again.
        bytes: u64,
        /// What that costs and saves, where it was reckoned.
        money: Option<Money>,
    },
    /// It refuses to start.
    Refuse {
        /// Why, and what to do.
        why: String,
    },
    /// Nobody has looked.
    Unknown {
        /// Why, and how to know.
        why: String,
    },
}

impl Outlook {
    /// Of a plan of `etl compact`.
    pub fn of_compact(plan: &CompactPlan, prices: &Prices) -> Self {
        let would = match plan {
            CompactPlan::Refused { reasons } => Would::Refuse { why: reasons.join("; ") },
            CompactPlan::KeepAll(compaction) => Would::Nothing { why: kept(compaction) },
            CompactPlan::Compact(compaction) => {
                let bytes = compaction.groups.iter().map(|group| group.bytes).sum();
                let money = Some(compaction_money(compaction, prices));
                Would::Act { what: rewrite(compaction, bytes), why: causes(compaction), bytes, money }
            }
        };
        Self { job: Upkeep::Compact, would }
    }

    /// Of a plan of `etl expire`.
    pub fn of_expire(plan: &ExpirePlan) -> Self {
        let would = match plan {
            ExpirePlan::Refused { reasons } => Would::Refuse { why: reasons.join("; ") },
            ExpirePlan::KeepAll(verdicts) if verdicts.snapshots.is_empty() => {
                Would::Nothing { why: "there is no snapshot".to_owned() }
            }
            ExpirePlan::KeepAll(verdicts) => {
                Would::Nothing { why: format!("every snapshot is kept: {}", reasons(verdicts, Action::Keep)) }
            }
            ExpirePlan::Expire(verdicts) => Would::Act {
                what: expiry(verdicts),
                why: reasons(verdicts, Action::Expire),
                bytes: 0,
                money: verdicts.money.clone(),
            },
        };
        Self { job: Upkeep::Expire, would }
    }

    /// Of a plan of `etl orphans`.
    pub fn of_orphans(plan: &OrphansPlan) -> Self {
        let would = match plan {
            OrphansPlan::Refused { reasons, .. } => Would::Refuse { why: reasons.join("; ") },
            OrphansPlan::NoOrphans(_) => {
                Would::Nothing { why: "every file that is old enough has a reference".to_owned() }
            }
            OrphansPlan::DeleteOrphans(found) => Would::Act {
                what: deletion(&found.totals()),
                why: "no version of the table refers to them".to_owned(),
                bytes: 0,
                money: found.money.clone(),
            },
        };
        Self { job: Upkeep::Orphans, would }
    }

    /// Of a plan of `etl tier`.
    pub fn of_tier(plan: &TierPlan) -> Self {
        let would = match plan {
            TierPlan::Refused { reasons } => Would::Refuse { why: reasons.join("; ") },
            TierPlan::NoTransitions(tiers) => Would::Nothing { why: stay(tiers) },
            TierPlan::Transitions(tiers) => {
                Would::Act { what: moves(tiers), why: ages(tiers), bytes: 0, money: tiers.money.clone() }
            }
        };
        Self { job: Upkeep::Tier, would }
    }
}

/// `write 72 files, 1.6 MiB, again as about 65, drop 2 delete files`.
fn rewrite(compaction: &Compaction, bytes: u64) -> String {
    let mut parts = Vec::new();
    if !compaction.groups.is_empty() {
        let files = compaction.groups.iter().map(|group| group.files.len() as u64).sum();
        let (files, new) = (count(files, "file"), thousands(new_files(compaction)));
        parts.push(format!("write {files}, {}, again as about {new}", size(bytes)));
    }
    if compaction.dangling_delete_files > 0 {
        parts.push(format!("drop {} that apply to nothing", count(compaction.dangling_delete_files, "delete file")));
    }
    let manifests = &compaction.manifests;
    if !manifests.is_idle() {
        let (old, new) = (count(manifests.rewritten(), "manifest"), thousands(manifests.new_manifests()));
        parts.push(format!("rewrite {old} as about {new}"));
    }
    parts.join(", ")
}

fn new_files(compaction: &Compaction) -> u64 {
    compaction.groups.iter().map(|group| group.bytes.div_ceil(group.file_bytes.max(1)).max(1)).sum()
}

/// Why files are written again, the most frequent reason first.
fn causes(compaction: &Compaction) -> String {
    let reasons = compaction.groups.iter().flat_map(|group| group.reasons.iter().map(|reason| (reason.as_str(), 1)));
    let texts = most_frequent(reasons, |groups| count(groups, "group"));
    if !texts.is_empty() {
        texts
    } else if compaction.dangling_delete_files > 0 {
        "delete files apply to nothing any more".to_owned()
    } else {
        let reasons = compaction.manifests.rewrites.iter().flat_map(|rewrite| rewrite.reasons.iter().cloned());
        reasons.collect::<Vec<_>>().join("; ")
    }
}

fn kept(compaction: &Compaction) -> String {
    // What comes after the colon says it of one partition.
    let reason = |kept: &crate::compact::Kept| kept.reason.split(": ").next().unwrap_or_default().to_owned();
    let reasons: Vec<_> = compaction.kept.iter().map(|kept| (reason(kept), kept.files)).collect();
    let texts =
        most_frequent(reasons.iter().map(|(reason, files)| (reason.as_str(), *files)), |files| count(files, "file"));
    if texts.is_empty() { "there is no data file".to_owned() } else { texts }
}

/// Reasons by how many they count for, at most a few of them.
fn most_frequent<'a>(reasons: impl Iterator<Item = (&'a str, u64)>, counted: impl Fn(u64) -> String) -> String {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    reasons.for_each(|(reason, number)| *sums.entry(reason).or_default() += number);
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, number)| Reverse(*number));
    let more = sums.len().saturating_sub(REASONS_MAX);
    let mut texts: Vec<_> =
        sums.into_iter().take(REASONS_MAX).map(|(reason, number)| format!("{}: {reason}", counted(number))).collect();
    if more > 0 {
        texts.push(format!("and {}", count(more as u64, "other reason")));
    }
    texts.join("; ")
}

/// A file is read in about two requests, its footer and its data, a manifest for its partitions and for its files; each is
/// written in one; what it saves is requests of queries.
fn compaction_money(compaction: &Compaction, prices: &Prices) -> Money {
    let files: u64 = compaction.groups.iter().map(|group| group.files.len() as u64).sum();
    let class = StorageClass::Standard;
    let manifests = &compaction.manifests;
    let mut cost = prices.requests(class, Request::Get, (files + manifests.rewritten()) * 2);
    cost += prices.requests(class, Request::Put, new_files(compaction) + manifests.new_manifests());
    Money { cost, saving_per_month: Amount::default(), prices: prices.to_string() }
}

/// `let 2 of 3 snapshots go, drop 1 ref, delete 14 files, 1.2 MiB`.
fn expiry(verdicts: &Verdicts) -> String {
    let (gone, all) = (verdicts.expired().len() as u64, verdicts.snapshots.len() as u64);
    let mut parts = Vec::new();
    if gone > 0 {
        parts.push(format!("let {} of {} go", thousands(gone), count(all, "snapshot")));
    }
    let refs = verdicts.expired_refs();
    if !refs.is_empty() {
        parts.push(format!("drop {}", count(refs.len() as u64, "ref")));
    }
    if !verdicts.deletes.is_empty() {
        parts.push(deletion(&verdicts.deletes));
    }
    parts.join(", ")
}

/// `delete 14 files (12 of data), 1.2 MiB`.
fn deletion(totals: &[KindTotal]) -> String {
    let (files, bytes) = totals.iter().fold((0, 0), |(files, bytes), of| (files + of.files, bytes + of.bytes));
    let data = totals.iter().find(|total| total.kind == ObjectKind::DataFile).map_or(0, |total| total.files);
    let of_data = if data == 0 { String::new() } else { format!(" ({} of data)", thousands(data)) };
    format!("delete {}{of_data}, {}", count(files, "file"), size(bytes))
}

/// `move 12 raw objects, 4.0 GiB, STANDARD → GLACIER; take the tag off 1 object`.
fn moves(tiers: &Tiers) -> String {
    let verb = if tiers.way == Way::Copy { "move" } else { "tag" };
    let of = |total: crate::tier::TransitionTotal| {
        let objects = count(total.files, &format!("{} object", total.zone));
        format!("{verb} {objects}, {}, {} → {}", size(total.bytes), total.from.word(), total.to)
    };
    let mut parts: Vec<_> = totals(&tiers.transitions).into_iter().map(of).collect();
    if !tiers.untagged.is_empty() {
        parts.push(format!("take the tag off {}", count(tiers.untagged.len() as u64, "object")));
    }
    if parts.is_empty() { "write the buckets' lifecycle rules".to_owned() } else { parts.join("; ") }
}

/// `12 raw objects older than 90d; 3 curated objects older than 180d`.
fn ages(tiers: &Tiers) -> String {
    let mut sums: BTreeMap<(Zone, Duration), u64> = BTreeMap::new();
    tiers.transitions.iter().for_each(|of| *sums.entry((of.zone, of.age)).or_default() += 1);
    let texts: Vec<_> = sums
        .into_iter()
        .map(|((zone, age), objects)| format!("{} older than {age}", count(objects, &format!("{zone} object"))))
        .collect();
    match (texts.is_empty(), tiers.untagged.first()) {
        (false, _) => texts.join("; "),
        (true, Some(untag)) => untag.reason.clone(),
        (true, None) => "the contract asks for other ones than there are".to_owned(),
    }
}

fn stay(tiers: &Tiers) -> String {
    let reasons = tiers.kept.iter().map(|kept| (kept.reason.as_str(), kept.files));
    let texts = most_frequent(reasons, |objects| count(objects, "object"));
    if texts.is_empty() { "there is no object".to_owned() } else { texts }
}

/// `30 older than 5d, in no branch or tag; 1 named by --snapshot-id`.
fn reasons(verdicts: &Verdicts, action: Action) -> String {
    let mut texts: Vec<_> = verdicts
        .reasons(action)
        .into_iter()
        .map(|(reason, snapshots)| format!("{} {reason}", thousands(snapshots)))
        .collect();
    let gone = verdicts.refs.iter().filter(|of| of.action == action && action == Action::Expire);
    texts.extend(gone.map(|of| format!("{} {}: {}", of.kind, of.name, of.reason)));
    texts.join("; ")
}

#[cfg(test)]
mod tests;
