//! Manifests in another order: the same files with the same numbers, whoever writes meanwhile.

use std::{collections::BTreeMap, sync::Arc};

use iceberg::spec::{ManifestContentType, ManifestStatus, Operation, Transform, UnboundPartitionSpec};
use plan::compact::{ManifestKind, ManifestsRewrite};
use uuid::Uuid;

use super::{super::cluster::stage, compaction::with_deletes};
use crate::{
    Change, ChangeKind, CommitError, Conflict, Error, ManifestSwap, SchemaUpdate, StagedFile, Table, check, commit,
    stage_manifests, testing::*,
};

/// Manifests of two days each, in turns: every day is in many.
async fn overlapping(commits: i32) -> TestLake {
    let test = TestLake::new().await;
    for n in 0..commits {
        let added = vec![test.stage(n % 3, "a", "m", 5).await, test.stage(3 + n % 2, "a", "m", 7).await];
        test.commit(&Change { added, ..test.change(ChangeKind::Append).await }).await.unwrap();
    }
    test
}

/// Every manifest of one kind, to be cut at so many bytes.
async fn rewrite_of(table: &Table, spec_id: i32, of_deletes: bool, target_bytes: u64) -> ManifestsRewrite {
    let facts = table.manifests_facts().await.unwrap().manifests;
    let of: Vec<_> = facts.iter().filter(|of| (of.spec_id, of.of_deletes) == (spec_id, of_deletes)).collect();
    ManifestsRewrite {
        kind: ManifestKind { spec_id, of_deletes },
        bytes: of.iter().map(|of| of.bytes).sum(),
        files: of.iter().map(|of| of.files).sum(),
        paths: of.into_iter().map(|of| of.path.clone()).collect(),
        target_bytes,
        reasons: Vec::new(),
    }
}

async fn staged(table: &Table, rewrites: &[ManifestsRewrite]) -> Change {
    let swap = stage_manifests(table, rewrites, Uuid::new_v4(), &mut Vec::new()).await.unwrap();
    Change { manifests: Some(swap), ..Change::new(table, ChangeKind::Replace) }
}

/// Files with their numbers, in the order of the manifests.
async fn entries(table: &Table) -> Vec<(String, i64, i64, i64)> {
    let mut found = Vec::new();
    for file in table.manifest_list(table.head().unwrap()).await.unwrap() {
        for entry in table.manifest(&file).await.unwrap().entries.into_iter().filter(|entry| entry.is_live()) {
            let path = entry.data_file.file_path().to_owned();
            found.push((path, entry.snapshot_id, entry.sequence_number, entry.file_sequence_number));
        }
    }
    found
}

fn sorted<T: Ord>(mut of: Vec<T>) -> Vec<T> {
    of.sort();
    of
}

#[tokio::test]
async fn files_keep_their_numbers_and_lie_by_partition() {
    let test = overlapping(12).await;
    let before = test.table().await;
    let head = before.head().unwrap().snapshot_id();
    let was = entries(&before).await;
    let rewrite = rewrite_of(&before, 0, false, 0).await;
    assert_eq!((rewrite.paths.len(), rewrite.files), (12, 24));
    // About five files each.
    let rewrite = ManifestsRewrite { target_bytes: rewrite.bytes * 5 / 24, ..rewrite };
    let done = test.commit(&staged(&before, &[rewrite]).await).await.unwrap();
    let table = test.table().await;
    assert_eq!(sorted(entries(&table).await), sorted(was.clone()));
    let mut ranges = Vec::new();
    for file in table.manifest_list(table.head().unwrap()).await.unwrap() {
        let manifest = table.manifest(&file).await.unwrap();
        assert!(manifest.entries.iter().all(|entry| entry.status == ManifestStatus::Existing));
        assert_eq!((file.added_snapshot_id, file.sequence_number), (done.snapshot_id.unwrap(), 13));
        assert!(file.min_sequence_number < 12 && file.min_sequence_number > 0, "the oldest file's");
        ranges.push((manifest.entries.len(), facts_of(&table, &file.manifest_path).await));
    }
    assert_eq!(ranges.len(), 3, "{ranges:?}");
    assert!(
        ranges.is_sorted_by(|(_, a), (_, b)| a[0].1 <= b[0].0),
        "the end of one is the beginning of the next: {ranges:?}"
    );
    let (operation, summary) = summary_of(&table, done.snapshot_id.unwrap());
    assert_eq!(operation, &Operation::Replace);
    assert_eq!((summary["total-records"], summary["total-data-files"]), ("144", "24"));
    assert_eq!(
        (summary["manifests-replaced"], summary["manifests-kept"], summary["entries-processed"]),
        ("12", "0", "24")
    );
    assert_eq!(summary["manifests-created"], ranges.len().to_string());
    assert!(!summary.contains_key("added-data-files") && !summary.contains_key("deleted-data-files"));
    assert_eq!(check(&table).await.unwrap(), []);
    // The snapshot before reads as it did.
    let older = table.live_files(head).await.unwrap();
    let older: Vec<_> = older.data.iter().map(|file| file.data_file.file_path().to_owned()).collect();
    assert_eq!(sorted(older), sorted(was.into_iter().map(|(path, ..)| path).collect()));
}

async fn facts_of(table: &Table, path: &str) -> Vec<(u64, u64)> {
    let facts = table.manifests_facts().await.unwrap();
    facts.manifests.into_iter().find(|of| of.path == path).unwrap().ranges
}

#[tokio::test]
async fn entries_are_sorted_in_parts_where_memory_asks_for_it() {
    let test = overlapping(12).await;
    let before = test.table().await;
    let rewrite = rewrite_of(&before, 0, false, 8 << 20).await;
    let swap = stage(&before, &[rewrite], Uuid::new_v4(), &mut Vec::new(), 7).await.unwrap();
    assert_eq!((swap.added.len(), swap.files), (4, 24));
    test.commit(&Change { manifests: Some(swap), ..Change::new(&before, ChangeKind::Replace) }).await.unwrap();
    let table = test.table().await;
    assert_eq!(sorted(entries(&table).await), sorted(entries(&before).await));
    let paths: Vec<_> = entries(&table).await.into_iter().map(|(path, ..)| path).collect();
    let day = |path: &String| last_part(path).split('-').nth(1).unwrap().to_owned();
    assert!(paths.is_sorted_by_key(day), "{paths:?}");
}

#[tokio::test]
async fn deletes_apply_to_what_they_applied_to() {
    let test = with_deletes().await;
    let before = test.table().await;
    let rewrites = [rewrite_of(&before, 0, false, 8 << 20).await, rewrite_of(&before, 0, true, 8 << 20).await];
    assert_eq!((rewrites[0].paths.len(), rewrites[1].paths.len()), (3, 2));
    let applicable = async || {
        let live = test.live().await;
        let index = live.delete_index();
        let of = |file: &crate::DataFileEntry| {
            let deletes = index.for_file(file);
            let names = |of: &[&crate::DataFileEntry]| {
                sorted(of.iter().map(|of| of.data_file.file_path().to_owned()).collect())
            };
            (file.data_file.file_path().to_owned(), (names(&deletes.position), names(&deletes.equality)))
        };
        live.data.iter().map(of).collect::<BTreeMap<_, _>>()
    };
    let was = applicable().await;
    assert!(was.values().any(|(position, equality)| !position.is_empty() && !equality.is_empty()));
    test.commit(&staged(&before, &rewrites).await).await.unwrap();
    assert_eq!(applicable().await, was);
    let table = test.table().await;
    let manifests = table.manifest_list(table.head().unwrap()).await.unwrap();
    let of_deletes = manifests.iter().filter(|file| file.content == ManifestContentType::Deletes).count();
    assert_eq!((manifests.len(), of_deletes), (2, 1));
    let (_, summary) = summary_of(&table, table.head().unwrap().snapshot_id());
    assert_eq!((summary["total-delete-files"], summary["total-position-deletes"]), ("2", "20"));
}

#[tokio::test]
async fn what_others_append_stays_as_it_is() {
    let test = Arc::new(overlapping(4).await);
    let before = test.table().await;
    let change = staged(&before, &[rewrite_of(&before, 0, false, 8 << 20).await]).await;
    // One append before the commit, one between its reload and its swap.
    test.append(9, "a", "b", 1).await;
    let other = Arc::clone(&test);
    let then: Then = Box::new(move || Box::pin(async move { drop(other.append(10, "a", "b", 1).await) }));
    test.catalog.next([Answer::After(then), Answer::Honest]);
    let done = commit(&test.lake, &before, &change, &test.inputs, &quick()).await.unwrap();
    assert_eq!(done.retries, 1);
    let table = test.table().await;
    let manifests = table.manifest_list(table.head().unwrap()).await.unwrap();
    let ours: Vec<_> = manifests.iter().filter(|file| Some(file.added_snapshot_id) == done.snapshot_id).collect();
    assert_eq!((manifests.len(), ours.len()), (3, 1));
    assert_eq!(ours[0].sequence_number, 7, "of the version that it landed in");
    assert_eq!(test.live().await.data.len(), 10);
    assert_eq!(check(&table).await.unwrap(), []);
}

#[tokio::test]
async fn a_manifest_that_others_have_changed_is_a_conflict() {
    let test = overlapping(4).await;
    let before = test.table().await;
    let change = staged(&before, &[rewrite_of(&before, 0, false, 8 << 20).await]).await;
    let gone = test.live().await.data.remove(0);
    let merge = Change {
        removed: vec![removal(&gone)],
        key_scope: Some(scope(&[0], "a", "m")),
        ..test.change(ChangeKind::Merge).await
    };
    test.commit(&merge).await.unwrap();
    let result = commit(&test.lake, &before, &change, &test.inputs, &quick()).await;
    let Err(Error::Commit(CommitError::Conflict {
        conflict: Conflict::ManifestGone { manifest },
        retry_plan: true,
        ..
    })) = result
    else {
        panic!("no conflict but {result:?}");
    };
    assert!(change.manifests.as_ref().unwrap().removed.contains(&manifest));
    assert_eq!(test.live().await.data.len(), 7);
    // Decided again from the new head it lands, without the file.
    let table = test.table().await;
    test.commit(&staged(&table, &[rewrite_of(&table, 0, false, 8 << 20).await]).await).await.unwrap();
    let table = test.table().await;
    assert_eq!(table.manifest_list(table.head().unwrap()).await.unwrap().len(), 1);
    assert_eq!(test.live().await.data.len(), 7);
    assert_eq!(check(&table).await.unwrap(), []);
    // And what it was staged from before is gone for staging, too.
    let old = rewrite_of(&before, 0, false, 8 << 20).await;
    let result = stage_manifests(&table, &[old], Uuid::new_v4(), &mut Vec::new()).await;
    assert!(matches!(result, Err(Error::Commit(CommitError::Conflict { .. }))), "{result:?}");
}

#[tokio::test]
async fn a_removal_finds_its_file_afterwards() {
    let test = overlapping(6).await;
    let plan = test.live().await;
    let before = test.table().await;
    test.commit(&staged(&before, &[rewrite_of(&before, 0, false, 8 << 20).await]).await).await.unwrap();
    // Planned before, by another writer.
    let merge = Change {
        added: vec![test.stage(0, "a", "m", 5).await],
        removed: vec![removal(plan.data.iter().find(|file| file.data_file.file_path().contains("-0-a-m")).unwrap())],
        key_scope: Some(scope(&[0], "a", "m")),
        ..Change::new(&before, ChangeKind::Merge)
    };
    commit(&test.lake, &before, &merge, &test.inputs, &quick()).await.unwrap();
    assert_eq!(test.live().await.data.len(), 12);
    assert_eq!(check(&test.table().await).await.unwrap(), []);
}

#[tokio::test]
async fn a_change_of_manifests_changes_nothing_else() {
    let test = overlapping(4).await;
    let table = test.table().await;
    let change = staged(&table, &[rewrite_of(&table, 0, false, 8 << 20).await]).await;
    let refused = async |change: &Change| {
        let result = test.commit(change).await;
        assert!(matches!(result, Err(Error::Commit(CommitError::InvalidChange { .. }))), "{result:?}");
    };
    refused(&Change { kind: ChangeKind::Merge, ..change.clone() }).await;
    refused(&Change { added: vec![test.stage(0, "a", "b", 1).await], ..change.clone() }).await;
    refused(&Change { removed: vec![removal(&test.live().await.data[0])], ..change.clone() }).await;
    // A manifest less, and files would be lost.
    let swap = change.manifests.clone().unwrap();
    refused(&Change { manifests: Some(ManifestSwap { added: Vec::new(), ..swap.clone() }), ..change.clone() }).await;
    let twice = [swap.added.clone(), swap.added.clone()].concat();
    refused(&Change { manifests: Some(ManifestSwap { added: twice, ..swap }), ..change.clone() }).await;
    assert_eq!(test.table().await.pointer, table.pointer);
    test.commit(&change).await.unwrap();
}

#[tokio::test]
async fn specs_and_types_are_never_mixed() {
    let test = TestLake::without_table();
    let text = CONTRACT.replace("physicalType: double", "physicalType: float");
    test.lake.create_table(&contract(&text), &test.inputs).await.unwrap();
    for day in 0..3 {
        test.append(day, "a", "m", 5).await;
    }
    // By hour from now on, and a column is wider.
    let table = test.table().await;
    let wider = crate::schema_for(&contract(CONTRACT)).unwrap();
    let spec =
        UnboundPartitionSpec::builder().add_partition_field(3, "event_time_hour", Transform::Hour).unwrap().build();
    let update = SchemaUpdate {
        schema: wider,
        partition_spec: Some(spec),
        base_schema_id: table.metadata.current_schema_id(),
        descriptions: Vec::new(),
    };
    test.commit(&Change { schema_update: Some(update), ..test.change(ChangeKind::MetadataOnly).await }).await.unwrap();
    for day in 3..5 {
        let StagedFile { data_file, .. } = test.stage(day, "a", "m", 5).await;
        let change =
            Change { added: vec![StagedFile { data_file, spec_id: 1 }], ..test.change(ChangeKind::Append).await };
        test.commit(&change).await.unwrap();
    }
    for day in 5..7 {
        test.append(day, "a", "m", 5).await;
    }
    let table = test.table().await;
    assert_eq!(table.manifests_facts().await.unwrap().schemas, 2);
    let rewrites = [rewrite_of(&table, 0, false, 8 << 20).await, rewrite_of(&table, 1, false, 8 << 20).await];
    assert_eq!((rewrites[0].paths.len(), rewrites[1].paths.len()), (5, 2));
    let was = entries(&table).await;
    test.commit(&staged(&table, &rewrites).await).await.unwrap();
    let table = test.table().await;
    assert_eq!(sorted(entries(&table).await), sorted(was));
    let mut made = Vec::new();
    for file in table.manifest_list(table.head().unwrap()).await.unwrap() {
        let manifest = table.manifest(&file).await.unwrap();
        made.push((
            file.partition_spec_id,
            manifest.spec.fields()[0].transform,
            manifest.schema.schema_id(),
            manifest.entries.len(),
        ));
    }
    let expected = [(0, Transform::Day, 0, 3), (0, Transform::Day, 1, 2), (1, Transform::Hour, 1, 2)];
    assert_eq!(sorted(made.into_iter().map(|of| format!("{of:?}")).collect()), expected.map(|of| format!("{of:?}")));
}
