//! Going back to an earlier snapshot: which snapshots are undone, what keeps them from it, and what the next runs take again.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use contract::TableName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Interval, expire::MAIN};

/// What is known before the decision.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// The snapshot to go back to.
    pub target: i64,
    /// The current snapshot.
    pub head: Option<i64>,
    /// The kept snapshots.
    pub snapshots: Vec<SnapshotFacts>,
    /// Branches and tags, by name: the snapshot that each points at.
    pub refs: BTreeMap<String, i64>,
    /// Runs of the ledger whose rows are in the table, newest first.
    pub runs: Vec<RunFacts>,
    /// Ids of the runs that the ledger knows once the table is back.
    pub runs_then: HashSet<String>,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// Its id.
    pub snapshot_id: i64,
    /// The snapshot that it was made from, which may be gone.
    pub parent_id: Option<i64>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// append, overwrite, replace or delete.
    pub operation: String,
    /// The run that made it, where it was ours.
    pub run_id: Option<String>,
}

/// A run of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunFacts {
    /// The run.
    pub run_id: String,
    /// Its job.
    pub job: String,
    /// The raw interval that it took; `None` for a replay or a statement.
    pub interval: Option<Interval>,
}

/// What going back will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum RollbackPlan {
    /// The run must not start.
    Refused {
        /// Why, and what to do.
        reasons: Vec<String>,
    },
    /// The snapshot is the current one.
    Current {
        /// The snapshot.
        snapshot_id: i64,
    },
    /// The table goes back.
    RollBack(Rollback),
}

/// A way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// The table.
    pub table: TableName,
    /// The current snapshot.
    pub from: i64,
    /// The one that will be current.
    pub to: SnapshotFacts,
    /// Snapshots that are undone, newest first. They stay until they expire.
    pub undone: Vec<SnapshotFacts>,
    /// Runs that the ledger forgets, newest first: what they took is taken again.
    pub forgotten: Vec<RunFacts>,
}

/// Decides.
pub fn decide(facts: &Facts) -> RollbackPlan {
    let refused = |reason: String| RollbackPlan::Refused { reasons: vec![reason] };
    let by_id: BTreeMap<i64, &SnapshotFacts> = facts.snapshots.iter().map(|of| (of.snapshot_id, of)).collect();
    let (Some(to), Some(head)) = (by_id.get(&facts.target), facts.head) else {
        return refused(format!("table {} has no snapshot {}", facts.table, facts.target));
    };
    if head == facts.target {
        return RollbackPlan::Current { snapshot_id: head };
    }
    let mut undone: Vec<SnapshotFacts> = Vec::new();
    let mut next = Some(head);
    while let Some(snapshot) = next.filter(|id| *id != facts.target).and_then(|id| by_id.get(&id)) {
        undone.push((*snapshot).clone());
        // A chain of parents that loops leads nowhere.
        next = snapshot.parent_id.filter(|_| undone.len() < facts.snapshots.len());
    }
    if next != Some(facts.target) {
        return refused(format!(
            "snapshot {} is not in the history of the current one, {head}: `etl snapshots {}` shows which are",
            facts.target, facts.table
        ));
    }
    let goes = |id: &i64| undone.iter().any(|snapshot| snapshot.snapshot_id == *id);
    let held: Vec<String> = facts
        .refs
        .iter()
        .filter(|(name, id)| name.as_str() != MAIN && goes(id))
        .map(|(name, id)| {
            format!("the branch or tag `{name}` needs snapshot {id}, which would be undone: drop it first, or go back to {id}")
        })
        .collect();
    if !held.is_empty() {
        return RollbackPlan::Refused { reasons: held };
    }
    let forgotten = facts.runs.iter().filter(|run| !facts.runs_then.contains(&run.run_id)).cloned().collect();
    RollbackPlan::RollBack(Rollback { table: facts.table.clone(), from: head, to: (*to).clone(), undone, forgotten })
}

impl fmt::Display for RollbackPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reasons } => write!(f, "refused: {}", reasons.join("; ")),
            Self::Current { snapshot_id } => write!(f, "nothing to do: snapshot {snapshot_id} is the current one"),
            Self::RollBack(plan) => {
                let Rollback { table, from, to, .. } = plan;
                writeln!(f, "go back from snapshot {from} to {} of {}, in {table}", to.snapshot_id, to.committed_at)?;
                plan.lines().iter().try_for_each(|line| writeln!(f, "  {line}"))
            }
        }
    }
}

impl Rollback {
    /// What is undone and what is taken again, a line each.
    pub fn lines(&self) -> Vec<String> {
        let undone = self.undone.iter().map(|of| {
            let by = of.run_id.as_ref().map_or_else(String::new, |run| format!(", by run {run}"));
            format!("undo snapshot {} of {}: {}{by}", of.snapshot_id, of.committed_at, of.operation)
        });
        let forgotten = self.forgotten.iter().map(|run| {
            let what = run.interval.map_or_else(String::new, |interval| format!(", which took {interval}"));
            format!("forget {} run {}{what}", run.job, run.run_id)
        });
        undone.chain(forgotten).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(snapshot_id: i64, parent_id: Option<i64>) -> SnapshotFacts {
        SnapshotFacts {
            snapshot_id,
            parent_id,
            committed_at: Timestamp::from_second(snapshot_id * 60).unwrap(),
            operation: "append".to_owned(),
            run_id: (snapshot_id != 3).then(|| format!("run-{snapshot_id}")),
        }
    }

    /// 1 ← 2 ← 3 ← 4, the current one, and 5, which was made from 2.
    fn facts(target: i64) -> Facts {
        let run = |id: i64| RunFacts {
            run_id: format!("run-{id}"),
            job: "dedupe".to_owned(),
            interval: Interval::new(Timestamp::from_second(id).unwrap(), Timestamp::from_second(id + 1).unwrap()).ok(),
        };
        Facts {
            table: "curated.t".parse().unwrap(),
            target,
            head: Some(4),
            snapshots: vec![
                snapshot(1, None),
                snapshot(2, Some(1)),
                snapshot(3, Some(2)),
                snapshot(4, Some(3)),
                snapshot(5, Some(2)),
            ],
            refs: BTreeMap::from([("main".to_owned(), 4), ("old".to_owned(), 2), ("side".to_owned(), 5)]),
            runs: vec![run(4), run(2), run(1)],
            runs_then: HashSet::from(["run-1".to_owned(), "run-2".to_owned()]),
        }
    }

    #[test]
    fn what_came_after_the_snapshot_is_undone_and_its_runs_forgotten() {
        insta::assert_snapshot!(decide(&facts(2)), @"
        go back from snapshot 4 to 2 of 1970-01-01T00:02:00Z, in curated.t
          undo snapshot 4 of 1970-01-01T00:04:00Z: append, by run run-4
          undo snapshot 3 of 1970-01-01T00:03:00Z: append
          forget dedupe run run-4, which took 1970-01-01T00:00:04Z/1970-01-01T00:00:05Z
        ");
    }

    #[test]
    fn the_current_snapshot_is_no_way_back() {
        insta::assert_snapshot!(decide(&facts(4)), @"nothing to do: snapshot 4 is the current one");
    }

    #[test]
    fn what_is_not_in_the_history_is_refused() {
        insta::assert_snapshot!(decide(&facts(5)), @"refused: snapshot 5 is not in the history of the current one, 4: `etl snapshots curated.t` shows which are");
        insta::assert_snapshot!(decide(&facts(9)), @"refused: table curated.t has no snapshot 9");
        let mut looping = facts(1);
        looping.snapshots[1].parent_id = Some(4);
        assert!(matches!(decide(&looping), RollbackPlan::Refused { .. }));
    }

    #[test]
    fn a_branch_or_tag_keeps_what_would_go() {
        let mut facts = facts(2);
        facts.refs.insert("audit".to_owned(), 3);
        insta::assert_snapshot!(decide(&facts), @"refused: the branch or tag `audit` needs snapshot 3, which would be undone: drop it first, or go back to 3");
        facts.target = 3;
        assert!(matches!(decide(&facts), RollbackPlan::RollBack(_)));
    }
}
