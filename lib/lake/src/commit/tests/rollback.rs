//! Going back to an earlier snapshot, beside writers that are under way.

use std::sync::atomic::Ordering::Relaxed;

use crate::{
    Change, ChangeKind, CommitError, Conflict, EarlierState, Error, LEDGER_PROPERTY, Ledger, Rollback,
    TOMBSTONES_PROPERTY, Table, check,
    testing::{
        Answer::{UnknownApplied, UnknownNotApplied},
        *,
    },
};

/// Appends by three runs, one day each, and their snapshots.
async fn three_runs() -> (TestLake, Vec<i64>) {
    let test = TestLake::new().await;
    let mut ids = Vec::new();
    for (day, run) in [(10, "run-1"), (11, "run-2"), (12, "run-3")] {
        test.clock.fetch_add(1_000, Relaxed);
        let change = Change {
            added: vec![test.stage(day, "a", "m", 5).await],
            ledger_entry: Some(ledger_entry(run)),
            ..test.change(ChangeKind::Append).await
        };
        ids.push(test.commit(&change).await.unwrap().snapshot_id.unwrap());
    }
    test.clock.fetch_add(1_000, Relaxed);
    (test, ids)
}

fn back(table: &Table, snapshot_id: i64, state: &EarlierState) -> Change {
    let mut change = Change::new(table, ChangeKind::MetadataOnly);
    change.properties.insert(LEDGER_PROPERTY.to_owned(), state.ledger.to_json());
    change.rollback = Some(Rollback { snapshot_id, removed_properties: vec![TOMBSTONES_PROPERTY.to_owned()] });
    change
}

async fn plan(test: &TestLake, snapshot_id: i64) -> (Table, Change) {
    let table = test.table().await;
    let state = table.state_at(snapshot_id).await.unwrap();
    let change = back(&table, snapshot_id, &state);
    (table, change)
}

fn run_ids(ledger: &Ledger) -> Vec<&str> {
    ledger.runs.iter().map(|run| run.run_id.as_str()).collect()
}

#[tokio::test]
async fn the_snapshot_is_current_again_and_the_ledger_says_what_it_said_then() {
    let (test, ids) = three_runs().await;
    let before = test.table().await;
    let then = before.metadata.last_updated_ms();
    let (planned, change) = plan(&test, ids[0]).await;
    let committed = crate::commit(&test.lake, &planned, &change, &test.inputs, &quick()).await.unwrap();
    assert_eq!((committed.snapshot_before, committed.snapshot_id), (Some(ids[2]), Some(ids[0])), "it makes none");
    let table = test.table().await;
    assert_eq!(table.metadata.current_snapshot_id(), Some(ids[0]));
    assert_eq!(table.refs()["main"].snapshot_id, ids[0]);
    assert_eq!(test.live_names().await.len(), 1);
    let ledger = table.ledger().unwrap();
    assert_eq!(run_ids(&ledger), ["run-1"]);
    // The later runs took the same raw partition again; the first one's mark is what counts.
    let marks: Vec<_> = ledger.partitions(&table.metadata).into_values().collect();
    assert_eq!(marks, ["objects of run-1"]);
    assert_eq!(table.metadata.snapshots().len(), 3, "nothing goes before it expires");
    assert_eq!(table.snapshot_as_of(then).unwrap().snapshot_id(), ids[2], "what was current then still was");
    assert_eq!(table.snapshot_as_of(table.metadata.last_updated_ms()).unwrap().snapshot_id(), ids[0]);
    assert_eq!(check(&table).await.unwrap(), []);
    // An append goes on from there.
    test.append(13, "a", "m", 5).await;
    assert_eq!(test.live_names().await.len(), 2);
}

#[tokio::test]
async fn without_the_version_from_then_the_ledger_forgets_what_came_later() {
    let (test, ids) = three_runs().await;
    let table = test.table().await;
    for version in table.metadata.metadata_log() {
        std::fs::remove_file(test.path_of(&version.metadata_file)).unwrap();
    }
    let state = table.state_at(ids[0]).await.unwrap();
    assert!(!state.is_exact);
    assert_eq!(run_ids(&state.ledger), ["run-1"]);
    assert_eq!(state.ledger.partitions(&table.metadata).len(), 0, "the mark was a later run's");
    // A table without a key must not take its files as new ones.
    assert_eq!(state.ledger.forgotten(&table.metadata).before.as_deref(), Some("2025-06-04T00:00:01Z"));
}

#[tokio::test]
async fn what_another_writer_commits_meanwhile_is_not_undone_unseen() {
    let (test, ids) = three_runs().await;
    let (planned, change) = plan(&test, ids[0]).await;
    let newer = test.append(13, "a", "m", 5).await.snapshot_id;
    let error = crate::commit(&test.lake, &planned, &change, &test.inputs, &quick()).await.unwrap_err();
    let Error::Commit(CommitError::Conflict { conflict, retry_plan: true, .. }) = error else { panic!("{error}") };
    assert_eq!(conflict, Conflict::HeadMoved { planned: Some(ids[2]), found: newer });
    assert_eq!(test.live_names().await.len(), 4);
}

#[tokio::test]
async fn a_run_that_changes_the_ledger_alone_is_not_forgotten_unseen() {
    let (test, ids) = three_runs().await;
    let (planned, change) = plan(&test, ids[0]).await;
    let noop = Change { ledger_entry: Some(ledger_entry("run-4")), ..test.change(ChangeKind::MetadataOnly).await };
    test.commit(&noop).await.unwrap();
    let error = crate::commit(&test.lake, &planned, &change, &test.inputs, &quick()).await.unwrap_err();
    let Error::Commit(CommitError::Conflict { conflict, .. }) = error else { panic!("{error}") };
    assert_eq!(conflict, Conflict::PropertyChanged { name: LEDGER_PROPERTY.to_owned() });
}

#[tokio::test]
async fn a_merge_that_was_planned_on_an_undone_snapshot_plans_again() {
    let (test, ids) = three_runs().await;
    let planned = test.table().await;
    let merge = Change {
        added: vec![test.stage(10, "a", "m", 6).await],
        key_scope: Some(scope(&[10], "a", "m")),
        ..Change::new(&planned, ChangeKind::Merge)
    };
    let (before, change) = plan(&test, ids[1]).await;
    crate::commit(&test.lake, &before, &change, &test.inputs, &quick()).await.unwrap();
    let error = crate::commit(&test.lake, &planned, &merge, &test.inputs, &quick()).await.unwrap_err();
    let Error::Commit(CommitError::Conflict { conflict, retry_plan: true, .. }) = error else { panic!("{error}") };
    assert_eq!(conflict, Conflict::BaseNotInHistory { base: Some(ids[2]) });
}

#[tokio::test]
async fn an_unrelated_snapshot_is_no_way_back() {
    let (test, ids) = three_runs().await;
    let (planned, change) = plan(&test, ids[0]).await;
    crate::commit(&test.lake, &planned, &change, &test.inputs, &quick()).await.unwrap();
    // The undone ones are no ancestors any more.
    let table = test.table().await;
    let forward = back(&table, ids[2], &table.state_at(ids[0]).await.unwrap());
    let error = crate::commit(&test.lake, &table, &forward, &test.inputs, &quick()).await.unwrap_err();
    let Error::Commit(CommitError::Conflict { conflict, .. }) = error else { panic!("{error}") };
    assert_eq!(conflict, Conflict::BaseNotInHistory { base: Some(ids[2]) });
}

#[tokio::test]
async fn a_lost_answer_is_found_out() {
    for answer in [UnknownApplied, UnknownNotApplied] {
        let (test, ids) = three_runs().await;
        let (planned, change) = plan(&test, ids[1]).await;
        test.catalog.next([answer]);
        crate::commit(&test.lake, &planned, &change, &test.inputs, &quick()).await.unwrap();
        assert_eq!(test.table().await.metadata.current_snapshot_id(), Some(ids[1]));
    }
}
