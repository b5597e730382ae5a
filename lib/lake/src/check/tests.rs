//! Damage, and the finding that it leads to.

use serde_json::Value;

use super::*;
use crate::{Change, ChangeKind, commit::tests::commit_unchecked, testing::*};

/// Two appends and a merge that removes the first file.
async fn lived_in() -> TestLake {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    test.append(11, "a", "m", 7).await;
    let gone = test.live().await.data.into_iter().find(|file| file.data_file.file_path().contains("10-a-m")).unwrap();
    let change = Change {
        added: vec![test.stage(10, "a", "m", 6).await],
        added_deletes: vec![test.stage_deletes(11, 2).await],
        removed: vec![removal(&gone)],
        key_scope: Some(scope(&[10, 11], "a", "m")),
        ..test.change(ChangeKind::Merge).await
    };
    test.commit(&change).await.unwrap();
    test
}

async fn findings(test: &TestLake) -> Vec<Finding> {
    check(&test.table().await).await.unwrap()
}

/// Another metadata.json in the place of the current one.
async fn rewrite_metadata(test: &TestLake, edit: impl FnOnce(&mut Value)) {
    let table = test.table().await;
    let mut document = serde_json::to_value(&*table.metadata).unwrap();
    edit(&mut document);
    std::fs::write(test.path_of(&table.pointer.metadata_location), document.to_string()).unwrap();
}

#[tokio::test]
async fn a_sound_table_has_no_findings() {
    assert_eq!(findings(&lived_in().await).await, []);
    assert_eq!(findings(&TestLake::new().await).await, []);
}

#[tokio::test]
async fn files_that_are_gone_or_changed_are_found() {
    let test = lived_in().await;
    let head = test.table().await.metadata.current_snapshot_id().unwrap();
    let live = test.live().await;
    let path = |part: &str| {
        let found = live.data.iter().chain(&live.position_deletes).find(|f| f.data_file.file_path().contains(part));
        found.unwrap().data_file.file_path().to_owned()
    };
    let (gone, cut) = (path("11-deletes"), path("11-a-m"));
    std::fs::remove_file(test.path_of(&gone)).unwrap();
    std::fs::write(test.path_of(&cut), b"short").unwrap();
    let expected = [
        Finding::Missing { location: gone, snapshot_id: head },
        Finding::Size { location: cut, recorded: 70, actual: 5 },
    ];
    assert_eq!(findings(&test).await, expected);
}

#[tokio::test]
async fn a_file_that_only_an_old_snapshot_needs_is_found() {
    let test = lived_in().await;
    let table = test.table().await;
    let mut old: Vec<_> = table.metadata.snapshots().collect();
    old.sort_by_key(|snapshot| snapshot.sequence_number());
    let removed = table.live_files(old[0].snapshot_id()).await.unwrap().data[0].data_file.file_path().to_owned();
    std::fs::remove_file(test.path_of(&removed)).unwrap();
    let expected = [Finding::Missing { location: removed, snapshot_id: old[1].snapshot_id() }];
    assert_eq!(findings(&test).await, expected);
}

#[tokio::test]
async fn manifests_that_cannot_be_read_are_found() {
    let test = lived_in().await;
    let table = test.table().await;
    let head = table.head().unwrap().clone();
    let manifest = table.manifest_list(&head).await.unwrap()[0].manifest_path.clone();
    std::fs::remove_file(test.path_of(&manifest)).unwrap();
    let expected = [Finding::Missing { location: manifest.clone(), snapshot_id: head.snapshot_id() }];
    assert_eq!(findings(&test).await, expected);
    // What is wrong with a manifest that can lie nowhere is its list.
    let list = std::fs::read(test.path_of(head.manifest_list())).unwrap();
    let at = list.windows(manifest.len()).position(|window| window == manifest.as_bytes()).unwrap();
    let mut blank = list.clone();
    blank[at..at + manifest.len()].fill(0);
    std::fs::write(test.path_of(head.manifest_list()), blank).unwrap();
    let found = findings(&test).await;
    let [Finding::Unreadable { part: TablePart::ManifestList, reason, .. }] = &found[..] else { panic!("{found:?}") };
    assert!(reason.contains("it lists a manifest at \"\\0"), "{reason}");
    std::fs::write(test.path_of(head.manifest_list()), b"not a list").unwrap();
    let found = findings(&test).await;
    let [Finding::Unreadable { part: TablePart::ManifestList, location, .. }] = &found[..] else { panic!("{found:?}") };
    assert_eq!(location, head.manifest_list());
}

#[tokio::test]
async fn a_file_that_counts_twice_is_found() {
    let test = lived_in().await;
    let file = test.live().await.data.remove(0);
    let again = crate::StagedFile { data_file: file.data_file.as_ref().clone(), spec_id: 0 };
    let change = Change { added: vec![again], ..test.change(ChangeKind::Append).await };
    commit_unchecked(&test, &change).await;
    let head = test.table().await.metadata.current_snapshot_id().unwrap();
    let path = file.data_file.file_path().to_owned();
    assert_eq!(findings(&test).await, [Finding::LiveTwice { path, snapshot_id: head, count: 2 }]);
}

#[tokio::test]
async fn a_file_that_is_there_and_gone_is_found() {
    let test = lived_in().await;
    let file = test.live().await.data.remove(0);
    let again = crate::StagedFile { data_file: file.data_file.as_ref().clone(), spec_id: 0 };
    let change = Change { added: vec![again], removed: vec![removal(&file)], ..test.change(ChangeKind::Merge).await };
    commit_unchecked(&test, &change).await;
    let head = test.table().await.metadata.current_snapshot_id().unwrap();
    let path = file.data_file.file_path().to_owned();
    assert_eq!(findings(&test).await, [Finding::LiveAndDeleted { path, snapshot_id: head }]);
}

#[tokio::test]
async fn totals_and_numbers_that_are_wrong_are_found() {
    let test = lived_in().await;
    let head = test.table().await.metadata.current_snapshot_id().unwrap();
    rewrite_metadata(&test, |document| {
        let snapshots = document["snapshots"].as_array_mut().unwrap();
        let snapshot = snapshots.iter_mut().find(|snapshot| snapshot["snapshot-id"] == head).unwrap();
        snapshot["summary"]["total-records"] = "99".into();
        snapshot["sequence-number"] = 2.into();
    })
    .await;
    let expected = [
        Finding::SequenceNumber { snapshot_id: head, sequence_number: 2, parent: 2 },
        Finding::Total { snapshot_id: head, name: "total-records", recorded: "99".to_owned(), actual: 13 },
    ];
    assert_eq!(findings(&test).await, expected);
}
