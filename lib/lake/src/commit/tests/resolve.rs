//! Answers that are lost, lies, and time that runs out: the outcome is the truth, and nothing of the table is deleted.

use std::time::Duration;

use crate::{
    Change, ChangeKind, CommitError, CommitOptions, Error, commit,
    testing::{Answer::*, Then, *},
};

/// An append that waits to be committed.
async fn append(test: &TestLake) -> Change {
    Change { added: vec![test.stage(10, "a", "m", 5).await], ..test.change(ChangeKind::Append).await }
}

/// What other writers do while a swap is on its way.
fn appends(test: &TestLake, changes: Vec<Change>) -> Then {
    let (lake, inputs, name) = (test.lake.clone(), test.inputs.clone(), test.name.clone());
    Box::new(move || {
        Box::pin(async move {
            for change in changes {
                let table = lake.table(&name).await.unwrap().unwrap();
                commit(&lake, &table, &change, &inputs, &quick()).await.unwrap();
            }
        })
    })
}

async fn expect_one_snapshot(test: &TestLake, snapshot_id: Option<i64>) {
    let table = test.table().await;
    assert_eq!(table.metadata.snapshots().len(), 1);
    assert_eq!(table.metadata.current_snapshot_id(), snapshot_id);
    assert_eq!(test.live().await.data.len(), 1);
}

#[tokio::test]
async fn a_lost_answer_to_a_swap_that_happened_is_success() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    test.catalog.next([UnknownApplied]);
    let done = test.commit(&change).await.unwrap();
    assert_eq!((done.already, done.retries), (false, 0));
    assert_eq!(test.catalog.swaps().len(), 1, "it is not sent again");
    expect_one_snapshot(&test, done.snapshot_id).await;
}

#[tokio::test]
async fn a_lost_request_is_sent_again_as_it_was() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    test.catalog.next([UnknownNotApplied, UnknownNotApplied]);
    let done = test.commit(&change).await.unwrap();
    let swaps = test.catalog.swaps();
    assert_eq!(swaps.len(), 3);
    assert!(swaps.iter().all(|location| *location == done.metadata_location), "identical: {swaps:?}");
    expect_one_snapshot(&test, done.snapshot_id).await;
}

#[tokio::test]
async fn a_conflict_answered_to_a_repetition_is_not_believed() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    // The first request is lost on its way, the second happens, and it is the first that arrives and is answered.
    test.catalog.next([UnknownNotApplied, UnknownApplied, Conflict]);
    let done = test.commit(&change).await.unwrap();
    assert_eq!(done.retries, 0);
    expect_one_snapshot(&test, done.snapshot_id).await;
    let test = TestLake::new().await;
    let change = append(&test).await;
    test.catalog.next([UnknownNotApplied, Conflict, Honest]);
    let done = test.commit(&change).await.unwrap();
    assert_eq!(done.retries, 0, "nothing had changed, so it was sent a third time");
    expect_one_snapshot(&test, done.snapshot_id).await;
}

#[tokio::test]
async fn a_refusal_of_a_repetition_says_nothing_of_the_first_request() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    test.catalog.next([UnknownNotApplied, Rejected, Honest]);
    test.commit(&change).await.unwrap();
    expect_one_snapshot(&test, test.table().await.metadata.current_snapshot_id()).await;
}

#[tokio::test]
async fn a_swap_that_lost_its_answer_and_the_race_is_tried_again() {
    let test = TestLake::new().await;
    let (change, other) = (append(&test).await, append(&test).await);
    test.catalog.next([After(appends(&test, vec![other])), Honest, UnknownNotApplied]);
    let done = test.commit(&change).await.unwrap();
    assert_eq!(done.retries, 1);
    assert_eq!(test.live().await.data.len(), 2);
    assert_eq!(test.catalog.swaps().len(), 3, "ours, the other's, ours made anew");
    assert_ne!(test.catalog.swaps()[0], test.catalog.swaps()[2]);
    assert_eq!(test.table().await.metadata.snapshots().len(), 2);
}

#[tokio::test]
async fn a_table_that_cannot_be_read_for_a_while_is_asked_again() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    let table = test.table().await;
    let catalog = test.catalog.clone();
    test.catalog.next([
        After(Box::new(move || {
            catalog.fail_loads(3);
            Box::pin(async {})
        })),
        UnknownApplied,
    ]);
    let done = commit(&test.lake, &table, &change, &test.inputs, &quick()).await.unwrap();
    expect_one_snapshot(&test, done.snapshot_id).await;
}

#[tokio::test]
async fn past_the_deadline_the_outcome_is_unknown_and_nothing_is_deleted() {
    for answer in [Hang, UnknownNotApplied] {
        let test = TestLake::new().await;
        let change = append(&test).await;
        let lost: Vec<_> = std::iter::once(answer).chain((0..1000).map(|_| UnknownNotApplied)).collect();
        test.catalog.next(lost);
        let before = test.metadata_files();
        let options = CommitOptions { total_max: Duration::from_millis(150), ..quick() };
        let error = commit(&test.lake, &test.table().await, &change, &test.inputs, &options).await.unwrap_err();
        let Error::Commit(CommitError::OutcomeUnknown { metadata_location, snapshot_id, .. }) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(error.kind(), crate::ErrorKind::OutcomeUnknown);
        assert!(snapshot_id.is_some());
        assert!(test.path_of(metadata_location).exists());
        assert_eq!(test.metadata_files().len(), before.len() + 3, "manifest, list and metadata.json stay");
        // It may still arrive.
        test.catalog.register(&test.name, metadata_location);
        assert_eq!(test.live().await.data.len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_is_definite_and_leaves_nothing_behind() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    let before = test.metadata_files();
    test.catalog.next([Rejected]);
    let error = test.commit(&change).await.unwrap_err();
    assert!(matches!(error, Error::Commit(CommitError::Rejected { .. })), "{error:?}");
    assert_eq!(test.metadata_files(), before);
    assert!(test.path_of(change.added[0].data_file.file_path()).exists(), "data files are the job's");
}

#[tokio::test]
async fn a_lost_race_leaves_nothing_behind() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    test.catalog.next([Conflict, Conflict]);
    let before = test.metadata_files();
    let done = test.commit(&change).await.unwrap();
    assert_eq!(done.retries, 2);
    assert_eq!(test.metadata_files().len(), before.len() + 3);
    expect_one_snapshot(&test, done.snapshot_id).await;
}

#[tokio::test]
async fn races_are_lost_a_bounded_number_of_times() {
    let test = TestLake::new().await;
    let change = append(&test).await;
    let before = test.metadata_files();
    test.catalog.next((0..10).map(|_| Conflict));
    let error = test.commit(&change).await.unwrap_err();
    let Error::Commit(CommitError::Conflict { conflict, retry_plan: false, .. }) = error else { panic!("{error:?}") };
    assert_eq!(conflict, crate::Conflict::RaceLost { attempts: 5 });
    assert_eq!(test.catalog.swaps().len(), 5);
    assert_eq!(test.metadata_files(), before);
}

#[tokio::test]
async fn a_dropped_table_is_no_conflict() {
    let test = TestLake::new().await;
    let (change, table) = (append(&test).await, test.table().await);
    test.catalog.drop_table(&test.name);
    let error = commit(&test.lake, &table, &change, &test.inputs, &quick()).await.unwrap_err();
    assert!(matches!(error, Error::Commit(CommitError::TableGone { .. })), "{error:?}");
}

#[tokio::test]
async fn a_swap_that_happened_and_was_built_upon_is_found() {
    let test = TestLake::new().await;
    let (change, other) = (append(&test).await, append(&test).await);
    test.catalog.next([UnknownAppliedThen(appends(&test, vec![other]))]);
    let done = test.commit(&change).await.unwrap();
    assert_eq!((done.already, done.retries), (false, 0));
    assert_eq!(test.live().await.data.len(), 2);
}

#[tokio::test]
async fn the_metadata_log_is_not_the_only_witness() {
    // With a log of one entry, a version that was built upon twice is no longer in it; its snapshot is.
    let test = TestLake::new().await;
    let limit = ("write.metadata.previous-versions-max".to_owned(), "1".to_owned());
    let quiet = Change { properties: [limit].into(), ..test.change(ChangeKind::MetadataOnly).await };
    test.commit(&quiet).await.unwrap();
    let (change, others) = (append(&test).await, vec![append(&test).await, append(&test).await]);
    test.catalog.next([UnknownAppliedThen(appends(&test, others))]);
    let done = test.commit(&change).await.unwrap();
    let table = test.table().await;
    assert!(table.metadata.metadata_log().iter().all(|entry| entry.metadata_file != done.metadata_location));
    assert_eq!((done.already, done.retries), (false, 0));
    assert_eq!(test.live().await.data.len(), 3);
}

#[tokio::test]
async fn the_snapshot_is_not_the_only_witness() {
    // A change of metadata only is found in the log; with a short log by its run, or by what it set.
    let limit = ("write.metadata.previous-versions-max".to_owned(), "1".to_owned());
    let entry = || Some(ledger_entry("run-1"));
    for (log, ledger_entry) in [(None, None), (Some(limit.clone()), entry()), (Some(limit), None)] {
        let test = TestLake::new().await;
        let properties = log.into_iter().chain([("owner".to_owned(), "ops".to_owned())]).collect();
        let change = Change { properties, ledger_entry, ..test.change(ChangeKind::MetadataOnly).await };
        let others = vec![append(&test).await, append(&test).await];
        test.catalog.next([UnknownAppliedThen(appends(&test, others))]);
        let done = test.commit(&change).await.unwrap();
        assert_eq!((done.already, done.retries), (false, 0));
    }
}

#[tokio::test]
async fn a_conflict_that_is_a_lie_costs_no_table() {
    // The swap happened, and the answer is a plain conflict: what it wrote is live, and stays.
    for with_files in [true, false] {
        let test = TestLake::new().await;
        let mut change = if with_files { append(&test).await } else { test.change(ChangeKind::MetadataOnly).await };
        change.properties.insert("owner".to_owned(), "ops".to_owned());
        let (catalog, name) = (test.catalog.clone(), test.name.clone());
        let happens: Then = Box::new(move || Box::pin(async move { catalog.register(&name, &catalog.swaps()[0]) }));
        test.catalog.next([After(happens), Conflict]);
        let done = test.commit(&change).await.unwrap();
        assert_eq!((done.already, done.retries), (false, 0));
        assert_eq!(test.catalog.swaps(), [done.metadata_location]);
        assert_eq!(crate::check(&test.table().await).await.unwrap(), []);
        assert_eq!(test.live().await.data.len(), usize::from(with_files));
    }
}
