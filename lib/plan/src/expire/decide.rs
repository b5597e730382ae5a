//! Snapshots and refs in, keep or expire and every reason out.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Action, ExpirePlan, Facts, MAIN, RefFacts, RefKind, RefVerdict, RefWord, SnapshotFacts, SnapshotVerdict, Verdicts,
    policy::Policy,
};

/// Decides. The same facts give the same plan.
pub fn decide(facts: &Facts) -> ExpirePlan {
    let policy = match Policy::of(facts) {
        Ok(policy) => policy,
        Err(reasons) => return ExpirePlan::Refused { reasons },
    };
    let history = History::of(facts);
    let refs: Vec<(&String, &RefFacts, RefVerdict)> =
        facts.refs.iter().map(|(name, of)| (name, of, ref_verdict(name, of, &history, &policy))).collect();
    let mut keeps = Keeps::default();
    for (name, of, verdict) in &refs {
        if verdict.action == Action::Keep {
            keep_of_ref(name, of, &history, &policy, &mut keeps);
        }
    }
    let pointed_at = named_and_pointed_at(facts, &keeps);
    if !pointed_at.is_empty() {
        return ExpirePlan::Refused { reasons: pointed_at };
    }
    keep_unreferenced(&history, &policy, &mut keeps);
    let snapshots = verdicts(facts, &policy, &keeps);
    let named = &facts.request.snapshot_ids;
    let absent = named.iter().copied().filter(|id| !history.by_id.contains_key(id)).collect();
    let refs: Vec<_> = refs.into_iter().map(|(_, _, verdict)| verdict).collect();
    let some_go = snapshots.iter().map(|verdict| verdict.action).chain(refs.iter().map(|verdict| verdict.action));
    let keep_all = some_go.max() != Some(Action::Expire);
    let verdicts = Verdicts { table: facts.table.clone(), snapshots, refs, absent, deletes: Vec::new(), money: None };
    if keep_all { ExpirePlan::KeepAll(verdicts) } else { ExpirePlan::Expire(verdicts) }
}

/// The snapshots by id.
struct History<'a> {
    by_id: BTreeMap<i64, &'a SnapshotFacts>,
}

impl<'a> History<'a> {
    fn of(facts: &'a Facts) -> Self {
        Self { by_id: facts.snapshots.iter().map(|snapshot| (snapshot.snapshot_id, snapshot)).collect() }
    }

    /// A snapshot and its ancestors, newest first, as far as they are there.
    fn ancestors(&self, snapshot_id: i64) -> impl Iterator<Item = &'a SnapshotFacts> {
        let parent = |snapshot: &&SnapshotFacts| self.by_id.get(&snapshot.parent_id?).copied();
        // Bounded, so that a parent chain that loops still ends.
        std::iter::successors(self.by_id.get(&snapshot_id).copied(), parent).take(self.by_id.len())
    }
}

/// Why snapshots are kept, and what refs that are kept lead to.
#[derive(Default)]
struct Keeps {
    reasons: BTreeMap<i64, Vec<String>>,
    /// Refs that point at a snapshot.
    heads: BTreeMap<i64, Vec<String>>,
    /// Snapshots that some kept ref leads to, kept or not, with the last branch that did not keep them.
    referenced: BTreeMap<i64, Option<String>>,
}

impl Keeps {
    fn add(&mut self, snapshot_id: i64, reason: String) {
        self.reasons.entry(snapshot_id).or_default().push(reason);
    }
}

fn word(of: &RefFacts) -> RefWord {
    if of.kind == RefKind::Tag { RefWord::Tag } else { RefWord::Branch }
}

fn title(name: &str, of: &RefFacts) -> String {
    format!("{} {name}", word(of))
}

fn ref_verdict(name: &str, of: &RefFacts, history: &History<'_>, policy: &Policy) -> RefVerdict {
    let verdict = |action, reason| RefVerdict { kind: word(of), name: name.to_owned(), action, reason };
    if name == MAIN {
        return verdict(Action::Keep, "it is never dropped".to_owned());
    }
    let Some(snapshot) = history.by_id.get(&of.snapshot_id) else {
        return verdict(Action::Expire, format!("snapshot {}, which it points at, does not exist", of.snapshot_id));
    };
    if policy.named_only {
        return verdict(Action::Keep, "only named snapshots expire".to_owned());
    }
    match policy.ref_limit(of) {
        None => verdict(Action::Keep, "it has no age limit".to_owned()),
        Some(limit) if snapshot.committed_at < limit.cutoff => {
            verdict(Action::Expire, format!("its snapshot is older than {}", limit.text))
        }
        Some(limit) => verdict(Action::Keep, format!("its snapshot is not older than {}", limit.text)),
    }
}

/// What one branch or tag keeps.
fn keep_of_ref(name: &str, of: &RefFacts, history: &History<'_>, policy: &Policy, keeps: &mut Keeps) {
    let head = of.snapshot_id;
    keeps.heads.entry(head).or_default().push(title(name, of));
    if of.kind == RefKind::Tag {
        keeps.referenced.insert(head, None);
        return keeps.add(head, title(name, of));
    }
    keeps.add(head, if name == MAIN { "current snapshot".to_owned() } else { format!("head of branch {name}") });
    let (snapshots_min, limit) = policy.branch(of);
    let mut kept = 0;
    let mut open = true;
    for snapshot in history.ancestors(head) {
        let is_young = snapshot.committed_at >= limit.cutoff;
        open = open && (kept < snapshots_min || is_young);
        if !open {
            keeps.referenced.insert(
                snapshot.snapshot_id,
                Some(format!("older than {}, and not among the last {snapshots_min} of branch {name}", limit.text)),
            );
            continue;
        }
        keeps.referenced.entry(snapshot.snapshot_id).or_insert(None);
        if is_young {
            keeps.add(snapshot.snapshot_id, format!("not older than {} on branch {name}", limit.text));
        } else if snapshot.snapshot_id != head {
            keeps.add(snapshot.snapshot_id, format!("among the last {snapshots_min} of branch {name}"));
        }
        kept += 1;
    }
}

/// A snapshot that no ref leads to, as a rollback leaves it, is kept while it is young.
fn keep_unreferenced(history: &History<'_>, policy: &Policy, keeps: &mut Keeps) {
    for snapshot in history.by_id.values() {
        let is_young = snapshot.committed_at >= policy.limit.cutoff;
        if is_young && !keeps.referenced.contains_key(&snapshot.snapshot_id) {
            keeps.add(snapshot.snapshot_id, format!("not older than {}, in no branch or tag", policy.limit.text));
        }
    }
}

/// Named snapshots that a kept ref points at: these cannot go.
fn named_and_pointed_at(facts: &Facts, keeps: &Keeps) -> Vec<String> {
    let named: BTreeSet<_> = facts.request.snapshot_ids.iter().collect();
    let held = named.into_iter().filter_map(|id| Some((id, keeps.heads.get(id)?)));
    held.map(|(id, refs)| format!("snapshot {id} cannot expire: it is held by {}", refs.join(" and "))).collect()
}

fn verdicts(facts: &Facts, policy: &Policy, keeps: &Keeps) -> Vec<SnapshotVerdict> {
    let verdict = |snapshot: &SnapshotFacts| {
        let SnapshotFacts { snapshot_id, committed_at, .. } = *snapshot;
        let (action, reasons) = if facts.request.snapshot_ids.contains(&snapshot_id) {
            (Action::Expire, vec!["named by --snapshot-id".to_owned()])
        } else if policy.named_only {
            (Action::Keep, vec!["not named by --snapshot-id".to_owned()])
        } else if let Some(reasons) = keeps.reasons.get(&snapshot_id) {
            (Action::Keep, reasons.clone())
        } else {
            let in_branch = keeps.referenced.get(&snapshot_id).cloned().flatten();
            let alone = || format!("older than {}, in no branch or tag", policy.limit.text);
            (Action::Expire, vec![in_branch.unwrap_or_else(alone)])
        };
        SnapshotVerdict { snapshot_id, committed_at, action, reasons }
    };
    let mut verdicts: Vec<_> = facts.snapshots.iter().map(verdict).collect();
    verdicts.sort_by_key(|verdict| std::cmp::Reverse((verdict.committed_at, verdict.snapshot_id)));
    verdicts
}

#[cfg(test)]
mod tests;
