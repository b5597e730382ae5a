//! What lies below a snapshot: statuses and numbers of entries, merging, several specs.

use std::collections::BTreeMap;

use iceberg::spec::{ManifestContentType, ManifestStatus};

use crate::{Change, ChangeKind, Table, testing::*};

/// Status, snapshot and sequence numbers of every entry of the head, by file name.
async fn entries(table: &Table) -> BTreeMap<String, (ManifestStatus, i64, i64, i64)> {
    let head = table.head().unwrap();
    let mut found = BTreeMap::new();
    for file in table.manifest_list(head).await.unwrap() {
        for entry in table.manifest(&file).await.unwrap().entries {
            let name = last_part(entry.data_file.file_path());
            let numbers = (entry.status, entry.snapshot_id, entry.sequence_number, entry.file_sequence_number);
            assert!(found.insert(name, numbers).is_none(), "each file is named once");
        }
    }
    found
}

#[tokio::test]
async fn a_removal_rewrites_the_manifest_that_holds_the_file() {
    let test = TestLake::new().await;
    // One manifest with two files, and another one.
    let added = vec![test.stage(10, "a", "b", 1).await, test.stage(10, "c", "d", 2).await];
    let first = test.commit(&Change { added, ..test.change(ChangeKind::Append).await }).await.unwrap();
    let second = test.append(10, "e", "f", 3).await;
    let live = test.live().await;
    let gone = live.data.iter().find(|file| file.data_file.file_path().contains("a-b")).unwrap();
    let untouched = test.table().await;
    let untouched = untouched.manifest_list(untouched.head().unwrap()).await.unwrap();
    let change = Change {
        added: vec![test.stage(10, "a", "b", 1).await],
        removed: vec![removal(gone)],
        key_scope: Some(scope(&[10], "a", "b")),
        ..test.change(ChangeKind::Merge).await
    };
    let third = test.commit(&change).await.unwrap();
    let table = test.table().await;
    let (one, two, three) = (first.snapshot_id.unwrap(), second.snapshot_id.unwrap(), third.snapshot_id.unwrap());
    let expected = [
        ("000-10-a-b.parquet", (ManifestStatus::Deleted, three, 1, 1)),
        ("001-10-c-d.parquet", (ManifestStatus::Existing, one, 1, 1)),
        ("002-10-e-f.parquet", (ManifestStatus::Added, two, 2, 2)),
        ("003-10-a-b.parquet", (ManifestStatus::Added, three, 3, 3)),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, numbers)| (name.to_owned(), numbers)).into();
    assert_eq!(entries(&table).await, expected);
    let manifests = table.manifest_list(table.head().unwrap()).await.unwrap();
    assert_eq!(manifests.len(), 3);
    let kept: Vec<_> = manifests.iter().filter(|file| untouched.iter().any(|old| old == *file)).collect();
    assert_eq!(kept.len(), 1, "the manifest of the second append stays as it was");
    let rewritten = manifests.iter().find(|file| file.deleted_files_count == Some(1)).unwrap();
    assert_eq!((rewritten.existing_files_count, rewritten.added_files_count), (Some(1), Some(0)));
    assert_eq!((rewritten.sequence_number, rewritten.min_sequence_number), (3, 1));
    assert_eq!(rewritten.added_snapshot_id, three);
}

#[tokio::test]
async fn deletions_of_older_snapshots_are_dropped() {
    let test = TestLake::new().await;
    test.append(10, "a", "b", 1).await;
    let gone = test.live().await.data.remove(0);
    let change = Change {
        removed: vec![removal(&gone)],
        key_scope: Some(scope(&[10], "a", "b")),
        ..test.change(ChangeKind::Merge).await
    };
    let emptied = test.commit(&change).await.unwrap();
    let table = test.table().await;
    assert_eq!(summary_of(&table, emptied.snapshot_id.unwrap()).0, &iceberg::spec::Operation::Delete);
    assert_eq!(entries(&table).await["000-10-a-b.parquet"].0, ManifestStatus::Deleted);
    test.append(10, "c", "d", 1).await;
    let table = test.table().await;
    assert_eq!(entries(&table).await.into_keys().collect::<Vec<_>>(), ["001-10-c-d.parquet"]);
    assert_eq!(table.manifest_list(table.head().unwrap()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_compaction_keeps_the_sequence_number_of_its_base() {
    let test = TestLake::new().await;
    test.append(10, "a", "b", 1).await;
    test.append(10, "c", "d", 1).await;
    let live = test.live().await;
    let change = Change {
        added: vec![test.stage(10, "a", "d", 2).await],
        removed: live.data.iter().map(removal).collect(),
        ..test.change(ChangeKind::Replace).await
    };
    test.append(11, "x", "y", 1).await;
    let done = test.commit(&change).await.unwrap();
    let table = test.table().await;
    let new = entries(&table).await["002-10-a-d.parquet"];
    assert_eq!(new, (ManifestStatus::Added, done.snapshot_id.unwrap(), 2, 4), "data of base 2, file of commit 4");
    let (operation, summary) = summary_of(&table, done.snapshot_id.unwrap());
    assert_eq!(operation, &iceberg::spec::Operation::Replace);
    assert_eq!((summary["total-records"], summary["total-data-files"]), ("3", "2"));
}

#[tokio::test]
async fn a_file_in_the_place_of_a_removed_one_is_not_removed_in_its_stead() {
    let test = TestLake::new().await;
    test.append(10, "a", "b", 1).await;
    let mut gone = removal(&test.live().await.data[0]);
    gone.sequence_number = 7;
    let change = Change { removed: vec![gone], ..test.change(ChangeKind::Merge).await };
    assert!(test.commit(&change).await.is_err());
    assert_eq!(test.live().await.data.len(), 1);
}

#[tokio::test]
async fn small_manifests_are_merged_when_there_are_enough() {
    let test = TestLake::new().await;
    let limit = ("commit.manifest.min-count-to-merge".to_owned(), "4".to_owned());
    let quiet = Change { properties: [limit].into(), ..test.change(ChangeKind::MetadataOnly).await };
    test.commit(&quiet).await.unwrap();
    let mut snapshots = Vec::new();
    let mut counts = Vec::new();
    for n in 0..9 {
        snapshots.push(test.append(n, "a", "b", 1).await.snapshot_id.unwrap());
        let table = test.table().await;
        counts.push(table.manifest_list(table.head().unwrap()).await.unwrap().len());
        assert_eq!(test.live().await.data.len(), usize::try_from(n).unwrap() + 1);
    }
    assert_eq!(counts, [1, 2, 3, 2, 3, 2, 3, 2, 3]);
    let table = test.table().await;
    for (n, (name, (_, snapshot_id, sequence, file_sequence))) in entries(&table).await.into_iter().enumerate() {
        let number = i64::try_from(n).unwrap() + 1;
        assert_eq!((snapshot_id, sequence, file_sequence), (snapshots[n], number, number), "{name}");
    }
    let (_, summary) = summary_of(&table, *snapshots.last().unwrap());
    assert_eq!(summary["total-data-files"], "9");
}

#[tokio::test]
async fn deletes_have_manifests_of_their_own() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    let change = Change {
        added: vec![test.stage(10, "a", "b", 2).await],
        added_deletes: vec![test.stage_deletes(10, 2).await],
        key_scope: Some(scope(&[10], "a", "b")),
        ..test.change(ChangeKind::Merge).await
    };
    test.commit(&change).await.unwrap();
    let table = test.table().await;
    let manifests = table.manifest_list(table.head().unwrap()).await.unwrap();
    let deletes = manifests.iter().filter(|file| file.content == ManifestContentType::Deletes);
    assert_eq!((manifests.len(), deletes.count()), (3, 1));
}
