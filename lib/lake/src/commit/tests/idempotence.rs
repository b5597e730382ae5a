//! A run that is resumed or repeated does its work once.

use crate::{Change, ChangeKind, testing::*};

async fn run(test: &TestLake, run_id: &str) -> Change {
    Change {
        added: vec![test.stage(10, "a", "m", 5).await],
        ledger_entry: Some(ledger_entry(run_id)),
        summary: [("etl.run-id".to_owned(), run_id.to_owned())].into(),
        ..test.change(ChangeKind::Append).await
    }
}

#[tokio::test]
async fn a_run_that_is_in_the_table_is_not_committed_again() {
    let test = TestLake::new().await;
    let first = test.commit(&run(&test, "run-1").await).await.unwrap();
    test.append(11, "a", "m", 1).await;
    let again = test.commit(&run(&test, "run-1").await).await.unwrap();
    assert!(again.already);
    assert_eq!(again.snapshot_id, first.snapshot_id);
    assert_eq!(test.live().await.data.len(), 2);
    assert!(!test.commit(&run(&test, "run-2").await).await.unwrap().already);
}

#[tokio::test]
async fn the_ledger_remembers_a_run_whose_snapshot_expired() {
    let test = TestLake::new().await;
    let first = test.commit(&run(&test, "run-1").await).await.unwrap();
    test.append(11, "a", "m", 1).await;
    let table = test.table().await;
    let expired = table.metadata.as_ref().clone().into_builder(None);
    let expired = expired.remove_snapshots(&[first.snapshot_id.unwrap()]).build().unwrap().metadata;
    let location = table.pointer.metadata_location.replace("00002-", "00003-");
    std::fs::write(test.path_of(&location), serde_json::to_vec(&expired).unwrap()).unwrap();
    test.catalog.register(&test.name, &location);
    assert!(test.commit(&run(&test, "run-1").await).await.unwrap().already);
}

#[tokio::test]
async fn a_run_that_was_rolled_back_is_committed_again() {
    let test = TestLake::new().await;
    let base = test.append(11, "a", "m", 1).await;
    test.commit(&run(&test, "run-1").await).await.unwrap();
    roll_back(&test, base.snapshot_id.unwrap()).await;
    let table = test.table().await;
    let ledger = table.ledger().unwrap();
    assert_eq!(ledger.applied("inputs of run-1", "contract", &table.metadata), None);
    assert!(ledger.partitions(&table.metadata).is_empty());
    let again = test.commit(&run(&test, "run-1").await).await.unwrap();
    assert!(!again.already);
    let table = test.table().await;
    assert!(table.ledger().unwrap().applied("inputs of run-1", "contract", &table.metadata).is_some());
}

async fn roll_back(test: &TestLake, to: i64) {
    let table = test.table().await;
    let retention = iceberg::spec::SnapshotRetention::branch(None, None, None);
    let main = iceberg::spec::SnapshotReference::new(to, retention);
    let rolled = table.metadata.as_ref().clone().into_builder(None).set_ref("main", main).unwrap().build().unwrap();
    let mut document = serde_json::to_value(&rolled.metadata).unwrap();
    // The builder's clock is not the test's.
    document["snapshot-log"].as_array_mut().unwrap().pop();
    document["last-updated-ms"] = table.metadata.last_updated_ms().into();
    let location = table.pointer.metadata_location.replace("00002-", "00003-");
    std::fs::write(test.path_of(&location), serde_json::to_vec(&document).unwrap()).unwrap();
    test.catalog.register(&test.name, &location);
}

#[tokio::test]
async fn parts_of_one_run_are_told_apart() {
    let test = TestLake::new().await;
    for part in ["1", "2"] {
        let mut change = run(&test, "run-1").await;
        change.ledger_entry = None;
        change.summary.insert("etl.part".to_owned(), part.to_owned());
        assert!(!test.commit(&change).await.unwrap().already);
    }
    assert_eq!(test.live().await.data.len(), 2);
}
