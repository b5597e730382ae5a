//! Replacing files: what becomes of delete files, and of what others committed meanwhile.

use std::collections::HashSet;

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};

use crate::{
    Change, ChangeKind, CommitError, CompactionFiles, Conflict, DataFileEntry, Error, StagedFile, commit, testing::*,
};

/// Two files of day 10 and one of day 11, with deletes of day 10 on top: position deletes, then equality deletes.
pub(super) async fn with_deletes() -> TestLake {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 50).await;
    test.append(10, "n", "z", 50).await;
    test.append(11, "a", "m", 50).await;
    let deletes = Change {
        added_deletes: vec![test.stage_deletes(10, 20).await],
        key_scope: Some(scope(&[10], "a", "z")),
        ..test.change(ChangeKind::Merge).await
    };
    test.commit(&deletes).await.unwrap();
    equality_deletes(&test, 10).await;
    test
}

async fn equality_deletes(test: &TestLake, day: i32) {
    let file = DataFileBuilder::default()
        .content(DataContentType::EqualityDeletes)
        .equality_ids(Some(vec![DEVICE_ID]))
        .file_path(format!("{}/curated/telemetry/data/eq-{day}.parquet", test.lake.warehouse))
        .file_format(DataFileFormat::Parquet)
        .partition(day_partition(day))
        .record_count(1)
        .file_size_in_bytes(10)
        .build()
        .unwrap();
    let added_deletes = vec![StagedFile { data_file: file, spec_id: 0 }];
    let change = Change { added_deletes, ..test.change(ChangeKind::Merge).await };
    super::commit_unchecked(test, &change).await;
}

async fn data(test: &TestLake, part: &str) -> DataFileEntry {
    test.live().await.data.into_iter().find(|file| file.data_file.file_path().contains(part)).unwrap()
}

/// The files replaced by one, and the delete files that nothing needs then.
async fn replace(test: &TestLake, files: &[&str]) -> Change {
    let mut removed = Vec::new();
    for part in files {
        removed.push(data(test, part).await.removal());
    }
    let gone: HashSet<&str> = removed.iter().map(|gone| gone.path.as_str()).collect();
    let removed_deletes = test.live().await.dangling_deletes(&gone);
    let added = vec![test.stage(10, "a", "z", 80).await];
    Change { added, removed, removed_deletes, ..test.change(ChangeKind::Replace).await }
}

fn conflict(result: crate::Result<crate::Committed>) -> Conflict {
    match result {
        Err(Error::Commit(CommitError::Conflict { conflict, retry_plan: true, .. })) => conflict,
        other => panic!("no conflict but {other:?}"),
    }
}

async fn deletes(test: &TestLake) -> (usize, usize) {
    let live = test.live().await;
    (live.position_deletes.len(), live.equality_deletes.len())
}

#[tokio::test]
async fn delete_files_go_with_the_last_file_that_they_apply_to() {
    let test = with_deletes().await;
    let one = replace(&test, &["10-a-m"]).await;
    assert_eq!(one.removed_deletes.len(), 0, "the other file of the day needs them");
    test.commit(&one).await.unwrap();
    assert_eq!(deletes(&test).await, (1, 1));
    let other = replace(&test, &["10-n-z"]).await;
    assert_eq!(other.removed_deletes.len(), 2);
    let committed = test.commit(&other).await.unwrap();
    assert_eq!(deletes(&test).await, (0, 0));
    let table = test.table().await;
    let (operation, summary) = summary_of(&table, committed.snapshot_id.unwrap());
    assert_eq!(operation.as_str(), "replace");
    assert_eq!((summary["removed-delete-files"], summary["total-delete-files"]), ("2", "0"));
    assert_eq!(summary["removed-equality-deletes"], "1");
    let live = test.live().await;
    assert_eq!(live.data.iter().map(|file| file.sequence_number).max(), Some(6), "the number of its base");
}

#[tokio::test]
async fn a_delete_file_that_is_needed_again_is_a_conflict() {
    let test = with_deletes().await;
    let base = test.table().await;
    let change = replace(&test, &["10-a-m", "10-n-z"]).await;
    assert_eq!(change.removed_deletes.len(), 2);
    // Another compaction, of a snapshot before the deletes: its file is older than they are.
    let mut late = Change { added: vec![test.stage(10, "b", "c", 5).await], ..test.change(ChangeKind::Replace).await };
    late.base_snapshot_id = base
        .head()
        .unwrap()
        .parent_snapshot_id()
        .and_then(|parent| base.metadata.snapshot_by_id(parent).and_then(|parent| parent.parent_snapshot_id()));
    super::commit_unchecked(&test, &late).await;
    let result = commit(&test.lake, &base, &change, &test.inputs, &quick()).await;
    assert!(matches!(conflict(result), Conflict::DeleteNeeded { .. }));
    // A file of now is younger, and one of another partition is none of their business.
    let test = with_deletes().await;
    let base = test.table().await;
    let change = replace(&test, &["10-a-m", "10-n-z"]).await;
    test.append(10, "b", "c", 5).await;
    commit(&test.lake, &base, &change, &test.inputs, &quick()).await.unwrap();
}

#[tokio::test]
async fn deletes_alone_may_go_from_their_own_history_only() {
    let test = with_deletes().await;
    let change = replace(&test, &["10-a-m", "10-n-z"]).await;
    test.commit(&Change { removed_deletes: Vec::new(), ..change }).await.unwrap();
    let removed_deletes = test.live().await.dangling_deletes(&HashSet::new());
    // Neither is younger than the new file.
    assert_eq!(removed_deletes.len(), 2);
    let alone = Change { removed_deletes, ..test.change(ChangeKind::Replace).await };
    let elsewhere = Change { base_snapshot_id: Some(4711), ..alone.clone() };
    assert!(matches!(conflict(test.commit(&elsewhere).await), Conflict::BaseNotInHistory { .. }));
    test.commit(&alone).await.unwrap();
    assert_eq!(deletes(&test).await, (0, 0));
    assert!(matches!(conflict(test.commit(&alone).await), Conflict::ReplacedGone { .. }), "they are gone");
}

#[tokio::test]
async fn only_a_compaction_removes_delete_files() {
    let test = with_deletes().await;
    let change = replace(&test, &["10-a-m", "10-n-z"]).await;
    let invalid = async |change: Change| {
        let result = test.commit(&change).await;
        assert!(matches!(result, Err(Error::Commit(CommitError::InvalidChange { .. }))), "{result:?}");
    };
    invalid(Change { kind: ChangeKind::Merge, ..change.clone() }).await;
    invalid(Change { removed: Vec::new(), ..change.clone() }).await;
    invalid(Change { removed: Vec::new(), removed_deletes: Vec::new(), ..change }).await;
    invalid(test.change(ChangeKind::Replace).await).await;
}

#[tokio::test]
async fn what_a_compaction_is_planned_from() {
    let test = with_deletes().await;
    let table = test.table().await;
    let of = CompactionFiles::of(&table, &test.live().await, Some("event_time"));
    let mut files: Vec<_> = of
        .files
        .iter()
        .map(|file| {
            let name = last_part(&file.path);
            format!(
                "{name} in {}: {} deletes, {} of {} rows",
                file.partition, file.delete_files, file.deleted_rows, file.rows
            )
        })
        .collect();
    files.sort();
    let expected = [
        "000-10-a-m.parquet in event_time_day=1970-01-11: 2 deletes, 10 of 50 rows",
        "001-10-n-z.parquet in event_time_day=1970-01-11: 2 deletes, 10 of 50 rows",
        "002-11-a-m.parquet in event_time_day=1970-01-12: 0 deletes, 0 of 50 rows",
    ];
    assert_eq!(files, expected);
    assert_eq!(of.dangling_delete_files, 0);
    let owned = CompactionFiles::of_owned(&table, test.live().await, Some("event_time"));
    assert_eq!((&owned.files, &owned.partitions), (&of.files, &of.partitions));
    let mut live = test.live().await;
    live.data.retain(|file| file.data_file.file_path().ends_with("11-a-m.parquet"));
    assert_eq!(CompactionFiles::of(&table, &live, None).dangling_delete_files, 2);
    assert_eq!(CompactionFiles::of_owned(&table, live, None).dangling_delete_files, 2);
    let partitions: Vec<_> = of.partitions.values().collect();
    assert_eq!(partitions[0].event_time_end.unwrap().to_string(), "1970-01-12T00:00:00Z");
    let write = partitions[0].last_write.clone().unwrap();
    assert_eq!(
        (write.at.as_millisecond(), write.by.as_str()),
        (table.head().unwrap().timestamp_ms(), "another engine")
    );
    // A compaction is no write.
    test.commit(&replace(&test, &["10-a-m", "10-n-z"]).await).await.unwrap();
    let of = CompactionFiles::of(&test.table().await, &test.live().await, None);
    let first = of.partitions.values().next().unwrap();
    assert_eq!((first.event_time_end, first.last_write.clone()), (None, None));
}
