//! Each validation, by a change that it alone catches, and by its neighbour that must pass.

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};

use crate::{
    Change, ChangeKind, CommitError, Conflict, DataFileEntry, Error, KeyScope, LedgerEntry, StagedFile, commit,
    testing::*,
};

/// A table with one file in day 10 (keys a–m) and one in day 11.
async fn two_files() -> (TestLake, DataFileEntry, DataFileEntry) {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    test.append(11, "a", "m", 5).await;
    let live = test.live().await.data;
    let find = |part: &str| live.iter().find(|file| file.data_file.file_path().contains(part)).unwrap().clone();
    let (ten, eleven) = (find("10-a-m"), find("11-a-m"));
    (test, ten, eleven)
}

fn conflict(result: crate::Result<crate::Committed>) -> Conflict {
    match result {
        Err(Error::Commit(CommitError::Conflict { conflict, retry_plan: true, .. })) => conflict,
        other => panic!("no conflict but {other:?}"),
    }
}

/// A merge into day 10 that found no match: files are only added.
async fn merge_of_new_keys(test: &TestLake, scope: Option<KeyScope>) -> Change {
    let added = vec![test.stage(10, "c", "d", 2).await];
    Change { added, key_scope: scope, ..test.change(ChangeKind::Merge).await }
}

async fn rewrite(test: &TestLake, kind: ChangeKind, gone: &DataFileEntry) -> Change {
    Change {
        added: vec![test.stage(10, "a", "m", 5).await],
        removed: vec![removal(gone)],
        key_scope: Some(scope(&[10], "a", "b")),
        ..test.change(kind).await
    }
}

/// Deletes of another writer: position deletes in a day.
async fn deletes_by_another(test: &TestLake, day: i32) -> Change {
    Change {
        added_deletes: vec![test.stage_deletes(day, 1).await],
        key_scope: Some(scope(&[day], "x", "y")),
        ..test.change(ChangeKind::Merge).await
    }
}

/// Equality deletes of another writer, which our own changes cannot make: the commit's checks are stepped around.
async fn equality_deletes_by_another(test: &TestLake, day: i32) {
    let path = format!("{}/curated/telemetry/data/eq-{day}.parquet", test.lake.warehouse);
    let file = DataFileBuilder::default()
        .content(DataContentType::EqualityDeletes)
        .equality_ids(Some(vec![DEVICE_ID]))
        .file_path(path)
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

#[tokio::test]
async fn new_data_that_may_hold_our_keys_is_a_conflict() {
    let (test, ..) = two_files().await;
    let planned = merge_of_new_keys(&test, Some(scope(&[10], "c", "d"))).await;
    test.append(10, "b", "e", 5).await;
    assert!(matches!(conflict(test.commit(&planned).await), Conflict::NewData { .. }));
}

#[tokio::test]
async fn new_data_elsewhere_is_none() {
    let (test, ..) = two_files().await;
    let planned = merge_of_new_keys(&test, Some(scope(&[10], "c", "d"))).await;
    test.append(11, "b", "e", 5).await; // another partition
    test.append(10, "e", "f", 5).await; // other keys
    test.append(10, "a", "b", 5).await;
    test.commit(&planned).await.unwrap();
}

#[tokio::test]
async fn a_property_that_another_writer_changed_is_a_conflict() {
    // Two merges of other keys, each with the tombstones of before and its own.
    let (test, ..) = two_files().await;
    let named = |at: &str| [(crate::TOMBSTONES_PROPERTY.to_owned(), at.to_owned())].into();
    let planned = test.table().await;
    let second = Change { properties: named("b"), ..merge_of_new_keys(&test, Some(scope(&[10], "x", "y"))).await };
    let first = Change { properties: named("a"), ..merge_of_new_keys(&test, Some(scope(&[10], "n", "o"))).await };
    test.commit(&first).await.unwrap();
    let result = commit(&test.lake, &planned, &second, &test.inputs, &quick()).await;
    assert!(matches!(conflict(result), Conflict::PropertyChanged { .. }));
    // Without a property of its own it lands.
    let quiet = Change { properties: [].into(), ..second };
    commit(&test.lake, &planned, &quiet, &test.inputs, &quick()).await.unwrap();
}

#[tokio::test]
async fn doubt_about_new_data_is_a_conflict() {
    let unknown_bounds = {
        let (test, ..) = two_files().await;
        let planned = merge_of_new_keys(&test, Some(scope(&[10], "c", "d"))).await;
        test.append(10, "", "", 5).await;
        conflict(test.commit(&planned).await)
    };
    let no_scope = {
        let (test, ..) = two_files().await;
        let planned = merge_of_new_keys(&test, None).await;
        test.append(11, "x", "y", 5).await;
        conflict(test.commit(&planned).await)
    };
    let other_spec = {
        let (test, ..) = two_files().await;
        let planned = merge_of_new_keys(&test, Some(KeyScope { spec_id: 3, ..scope(&[10], "c", "d") })).await;
        test.append(11, "x", "y", 5).await;
        conflict(test.commit(&planned).await)
    };
    for found in [unknown_bounds, no_scope, other_spec] {
        assert!(matches!(found, Conflict::NewData { .. }), "{found:?}");
    }
}

#[tokio::test]
async fn keys_without_a_partition_of_their_own_conflict_by_bounds() {
    let (test, ..) = two_files().await;
    let anywhere = KeyScope { partitions: None, ..scope(&[], "c", "d") };
    let planned = merge_of_new_keys(&test, Some(anywhere.clone())).await;
    test.append(30, "x", "y", 5).await;
    test.commit(&planned).await.unwrap();
    let planned = merge_of_new_keys(&test, Some(anywhere)).await;
    test.append(31, "c", "c", 5).await;
    assert!(matches!(conflict(test.commit(&planned).await), Conflict::NewData { .. }));
}

#[tokio::test]
async fn an_append_conflicts_with_nothing() {
    let (test, ten, _) = two_files().await;
    let planned = Change { added: vec![test.stage(10, "a", "m", 5).await], ..test.change(ChangeKind::Append).await };
    test.append(10, "a", "m", 5).await;
    test.commit(&rewrite(&test, ChangeKind::Replace, &ten).await).await.unwrap();
    test.commit(&planned).await.unwrap();
}

#[tokio::test]
async fn an_append_whose_raw_files_were_taken_meanwhile_is_a_conflict() {
    let test = TestLake::new().await;
    let partition = "2025-06-04T00:00:00Z";
    let mut planned = Vec::new();
    for expected in [None, Some("objects of first"), Some("objects of second")] {
        planned.push(Change {
            added: vec![test.stage(10, "a", "m", 5).await],
            ledger_entry: Some(ledger_entry("other")),
            expected_marks: [(partition.to_owned(), expected.map(str::to_owned))].into(),
            ..test.change(ChangeKind::Append).await
        });
    }
    let first = Change { ledger_entry: Some(ledger_entry("first")), ..test.change(ChangeKind::MetadataOnly).await };
    test.commit(&first).await.unwrap();
    let inputs = format!("raw partition {partition}");
    for stale in [&planned[0], &planned[2]] {
        assert_eq!(conflict(test.commit(stale).await), Conflict::InputsTaken { inputs: inputs.clone() });
    }
    test.commit(&planned[1]).await.unwrap();
}

#[tokio::test]
async fn an_append_of_files_that_another_run_has_appended_is_a_conflict() {
    let test = TestLake::new().await;
    let added = vec![test.stage(10, "a", "m", 5).await];
    let ledger_entry = Some(LedgerEntry { run_id: "second".to_owned(), ..ledger_entry("first") });
    let planned = Change { added, ledger_entry, ..test.change(ChangeKind::Append).await };
    let first = Change {
        ledger_entry: Some(crate::testing::ledger_entry("first")),
        ..test.change(ChangeKind::MetadataOnly).await
    };
    test.commit(&first).await.unwrap();
    assert_eq!(conflict(test.commit(&planned).await), Conflict::InputsTaken { inputs: "run first".to_owned() });
}

#[tokio::test]
async fn a_replaced_file_that_is_gone_is_a_conflict() {
    for kind in [ChangeKind::Merge, ChangeKind::Replace] {
        let (test, ten, _) = two_files().await;
        let planned = rewrite(&test, kind, &ten).await;
        test.commit(&rewrite(&test, ChangeKind::Replace, &ten).await).await.unwrap();
        let before = test.metadata_files();
        let file = ten.data_file.file_path().to_owned();
        assert_eq!(conflict(test.commit(&planned).await), Conflict::ReplacedGone { file });
        assert_eq!(test.metadata_files(), before, "nothing is left behind");
    }
}

#[tokio::test]
async fn an_append_beside_a_compaction_lands() {
    let (test, ten, _) = two_files().await;
    let compaction = rewrite(&test, ChangeKind::Replace, &ten).await;
    test.append(10, "a", "m", 5).await;
    test.commit(&compaction).await.unwrap();
    assert_eq!(test.live().await.data.len(), 3);
}

#[tokio::test]
async fn deletes_for_a_replaced_file_are_a_conflict() {
    for kind in [ChangeKind::Merge, ChangeKind::Replace] {
        let (test, ten, _) = two_files().await;
        let planned = rewrite(&test, kind, &ten).await;
        test.commit(&deletes_by_another(&test, 10).await).await.unwrap();
        assert!(matches!(conflict(test.commit(&planned).await), Conflict::DeleteForReplaced { .. }));
        let (test, ten, _) = two_files().await;
        let planned = rewrite(&test, kind, &ten).await;
        test.commit(&deletes_by_another(&test, 11).await).await.unwrap();
        test.commit(&planned).await.unwrap();
    }
}

#[tokio::test]
async fn equality_deletes_still_apply_to_what_a_compaction_wrote() {
    let (test, ten, _) = two_files().await;
    let compaction = rewrite(&test, ChangeKind::Replace, &ten).await;
    equality_deletes_by_another(&test, 10).await;
    test.commit(&compaction).await.unwrap();
    let live = test.live().await;
    let rewritten = live.data.iter().find(|file| file.data_file.file_path().contains("10-a-m")).unwrap();
    assert_eq!(live.deletes_for(rewritten).equality.len(), 1, "it is as old as the table that the compaction read");
}

#[tokio::test]
async fn equality_deletes_for_a_file_that_a_merge_replaces_are_a_conflict() {
    let (test, ten, _) = two_files().await;
    let planned = rewrite(&test, ChangeKind::Merge, &ten).await;
    equality_deletes_by_another(&test, 10).await;
    assert!(matches!(conflict(test.commit(&planned).await), Conflict::DeleteForReplaced { .. }));
}

async fn merge_on_read(test: &TestLake, target: &DataFileEntry) -> Change {
    Change {
        added: vec![test.stage(10, "c", "d", 1).await],
        added_deletes: vec![test.stage_deletes(10, 1).await],
        referenced: vec![target.data_file.file_path().to_owned()],
        key_scope: Some(scope(&[10], "c", "d")),
        ..test.change(ChangeKind::Merge).await
    }
}

#[tokio::test]
async fn a_referenced_file_that_was_removed_is_a_conflict() {
    let (test, ten, eleven) = two_files().await;
    let planned = merge_on_read(&test, &ten).await;
    test.commit(&rewrite(&test, ChangeKind::Replace, &ten).await).await.unwrap();
    let found = conflict(test.commit(&planned).await);
    assert!(matches!(found, Conflict::ReferencedGone { .. }), "{found:?}");
    let planned = merge_on_read(&test, &test.live().await.data[0]).await;
    let mut other = rewrite(&test, ChangeKind::Replace, &eleven).await;
    other.added = vec![test.stage(11, "a", "m", 5).await];
    if planned.referenced[0] != eleven.data_file.file_path() {
        test.commit(&other).await.unwrap();
        test.commit(&planned).await.unwrap();
    }
}

#[tokio::test]
async fn new_deletes_that_may_hit_our_rows_are_a_conflict() {
    let (test, ten, _) = two_files().await;
    let planned = merge_on_read(&test, &ten).await;
    test.commit(&deletes_by_another(&test, 10).await).await.unwrap();
    assert!(matches!(conflict(test.commit(&planned).await), Conflict::NewDelete { .. }));
    let (test, ten, _) = two_files().await;
    let planned = merge_on_read(&test, &ten).await;
    test.commit(&deletes_by_another(&test, 11).await).await.unwrap();
    test.commit(&planned).await.unwrap();
}

#[tokio::test]
async fn a_base_that_is_not_in_the_history_is_a_conflict() {
    let (test, ten, _) = two_files().await;
    let mut planned = rewrite(&test, ChangeKind::Replace, &ten).await;
    planned.base_snapshot_id = Some(42);
    assert_eq!(conflict(test.commit(&planned).await), Conflict::BaseNotInHistory { base: Some(42) });
}

#[tokio::test]
async fn a_schema_that_changed_meanwhile_is_a_conflict() {
    let (test, ..) = two_files().await;
    let table = test.table().await;
    let update = crate::SchemaUpdate {
        schema: table.metadata.current_schema().as_ref().clone(),
        partition_spec: None,
        base_schema_id: 7,
        descriptions: Vec::new(),
    };
    let planned = Change { schema_update: Some(update), ..test.change(ChangeKind::MetadataOnly).await };
    let expected = Conflict::SchemaChanged { expected: 7, found: 0 };
    assert_eq!(conflict(test.commit(&planned).await), expected);
}

#[tokio::test]
async fn another_table_under_the_name_is_a_conflict() {
    let (test, ..) = two_files().await;
    let table = test.table().await;
    let planned = test.change(ChangeKind::MetadataOnly).await;
    test.catalog.drop_table(&test.name);
    test.lake.create_table(&contract(CONTRACT), &test.inputs).await.unwrap();
    let found = commit(&test.lake, &table, &planned, &test.inputs, &quick()).await;
    assert_eq!(conflict(found), Conflict::TableReplaced);
}
