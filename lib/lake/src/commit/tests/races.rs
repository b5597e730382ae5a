//! Many writers at once.

use std::sync::Arc;

use crate::{Change, ChangeKind, CommitOptions, Conflict, commit, testing::*};

/// Patient enough for eight writers that always collide.
fn patient() -> CommitOptions {
    CommitOptions { retries_max: 50, ..quick() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_appends_all_land() {
    let test = Arc::new(TestLake::new().await);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..8 {
        let test = Arc::clone(&test);
        let change = Change { added: vec![test.stage(n, "a", "m", 5).await], ..test.change(ChangeKind::Append).await };
        let table = test.table().await;
        tasks.spawn(async move { commit(&test.lake, &table, &change, &test.inputs, &patient()).await });
    }
    let results = tasks.join_all().await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let table = test.table().await;
    assert_eq!(test.live().await.data.len(), 8);
    assert_eq!(table.metadata.snapshots().len(), 8);
    let (_, summary) = summary_of(&table, table.head().unwrap().snapshot_id());
    assert_eq!((summary["total-records"], summary["total-data-files"]), ("40", "8"));
    let head = table.head().unwrap().snapshot_id();
    let numbers: Vec<_> = table.ancestors(head).map(|snapshot| snapshot.sequence_number()).collect();
    assert_eq!(numbers, [8, 7, 6, 5, 4, 3, 2, 1], "one line of parents");
    // Nothing of the lost attempts is left: 8 snapshots, each with a manifest, a list and a version; and the first version.
    assert_eq!(test.metadata_files().len(), 8 * 3 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_merges_of_the_same_keys_one_lands() {
    let test = Arc::new(TestLake::new().await);
    let mut planned = Vec::new();
    for n in 0..8 {
        // Keys a to d, over and over; or keys of its own.
        let (first, last) = if n < 6 {
            ("a", "d")
        } else if n == 6 {
            ("m", "n")
        } else {
            ("x", "y")
        };
        planned.push(Change {
            added: vec![test.stage(10, first, last, 5).await],
            key_scope: Some(scope(&[10], first, last)),
            ..test.change(ChangeKind::Merge).await
        });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for change in planned {
        let (test, table) = (Arc::clone(&test), test.table().await);
        tasks.spawn(async move { commit(&test.lake, &table, &change, &test.inputs, &patient()).await });
    }
    let results = tasks.join_all().await;
    let landed = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(landed, 3, "one of the six, and the two on keys of their own");
    for error in results.into_iter().filter_map(Result::err) {
        let crate::Error::Commit(crate::CommitError::Conflict { conflict, retry_plan: true, .. }) = error else {
            panic!("{error:?}");
        };
        assert!(matches!(conflict, Conflict::NewData { .. }), "{conflict:?}");
    }
    assert_eq!(test.live().await.data.len(), 3);
}
