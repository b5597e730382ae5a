//! Forgetting snapshots, beside writers that change what keeps them; and deleting what nothing needs afterwards.

use std::collections::BTreeSet;

use plan::objects::{KindTotal, ObjectKind};
use serde_json::{Value, json};

use crate::{
    Change, ChangeKind, CommitError, Committed, Conflict, DataFileEntry, Error, Expiry, LEDGER_PROPERTY, Ledger,
    Result, StagedFile, TOMBSTONES_PROPERTY, Table, check, commit, obsolete, reclaim, references,
    testing::{
        Answer::{After, Honest, UnknownApplied, UnknownAppliedThen, UnknownNotApplied},
        *,
    },
};

/// Three appends, each to a day of its own, and their snapshots.
async fn three() -> (TestLake, Vec<i64>) {
    let test = TestLake::new().await;
    let mut ids = Vec::new();
    for day in 10..13 {
        ids.push(test.append(day, "a", "m", 5).await.snapshot_id.unwrap());
    }
    (test, ids)
}

/// The file of the first day replaced in a second snapshot.
async fn replaced() -> (TestLake, Vec<i64>, DataFileEntry) {
    let test = TestLake::new().await;
    let first = test.append(10, "a", "m", 5).await.snapshot_id.unwrap();
    let gone = test.live().await.data.remove(0);
    let change = Change {
        added: vec![test.stage(10, "a", "m", 6).await],
        removed: vec![removal(&gone)],
        ..test.change(ChangeKind::Replace).await
    };
    let second = test.commit(&change).await.unwrap().snapshot_id.unwrap();
    (test, vec![first, second], gone)
}

async fn expiry(test: &TestLake, snapshot_ids: &[i64]) -> Change {
    let table = test.table().await;
    let obsolete = obsolete(&table, snapshot_ids).await.unwrap();
    let expiry = Expiry { snapshot_ids: snapshot_ids.to_vec(), refs: Vec::new(), obsolete };
    Change { expiry: Some(expiry), ..Change::new(&table, ChangeKind::MetadataOnly) }
}

async fn commit_to(test: &TestLake, planned: &Table, change: &Change) -> Result<Committed> {
    commit(&test.lake, planned, change, &test.inputs, &quick()).await
}

/// Another writer's version of the table: the document, edited.
async fn edit(test: &TestLake, edit: impl FnOnce(&mut Value)) {
    let table = test.table().await;
    let mut document = serde_json::to_value(&*table.metadata).unwrap();
    edit(&mut document);
    let other = table.pointer.metadata_location.replace(".metadata.json", "-edited.metadata.json");
    std::fs::write(test.path_of(&other), document.to_string()).unwrap();
    test.catalog.register(&test.name, &other);
}

fn ids_of(table: &Table) -> BTreeSet<i64> {
    table.metadata.snapshots().map(|snapshot| snapshot.snapshot_id()).collect()
}

fn exists(test: &TestLake, location: &str) -> bool {
    test.path_of(location).exists()
}

#[tokio::test]
async fn what_speaks_of_a_forgotten_snapshot_goes_with_it() {
    let (test, ids) = three().await;
    let statistics = |id: i64| {
        json!({"snapshot-id": id, "statistics-path": format!("file:///s/{id}.stats"), "file-size-in-bytes": 7,
            "file-footer-size-in-bytes": 1, "blob-metadata": []})
    };
    let of_partitions = |id: i64| json!({"snapshot-id": id, "statistics-path": format!("file:///s/{id}.parquet"), "file-size-in-bytes": 8});
    edit(&test, |document| {
        document["statistics"] = json!([statistics(ids[0]), statistics(ids[2])]);
        document["partition-statistics"] = json!([of_partitions(ids[0]), of_partitions(ids[2])]);
        document["refs"]["v1"] = json!({"snapshot-id": ids[0], "type": "tag"});
        document["refs"]["v3"] = json!({"snapshot-id": ids[2], "type": "tag"});
        document["properties"]["owner"] = json!("ops");
    })
    .await;
    let before = test.table().await;
    let mut change = expiry(&test, &ids[..2]).await;
    let wanted = change.expiry.as_mut().unwrap();
    wanted.refs = vec!["v1".to_owned()];
    let stats: Vec<_> =
        wanted.obsolete.objects().filter(|of| of.kind == ObjectKind::Statistics).map(|of| of.bytes).collect();
    assert_eq!(stats.iter().sum::<u64>(), 15, "of the first snapshot, both");
    let done = test.commit(&change).await.unwrap();
    let table = test.table().await;
    assert_eq!((done.snapshot_before, done.snapshot_id), (Some(ids[2]), Some(ids[2])));
    assert_eq!(ids_of(&table), [ids[2]].into());
    assert_eq!(table.refs().into_keys().collect::<Vec<_>>(), ["main", "v3"]);
    assert_eq!(table.metadata.history().len(), 1);
    assert_eq!(table.metadata.statistics_iter().map(|of| of.snapshot_id).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(table.metadata.partition_statistics_iter().map(|of| of.snapshot_id).collect::<Vec<_>>(), [ids[2]]);
    assert_eq!(table.metadata.properties(), before.metadata.properties());
    assert_eq!(table.metadata.metadata_log().len(), before.metadata.metadata_log().len() + 1);
    assert_eq!(check(&table).await.unwrap(), []);
}

#[tokio::test]
async fn history_before_a_gap_is_forgotten() {
    let (test, ids) = three().await;
    test.commit(&expiry(&test, &ids[1..2]).await).await.unwrap();
    let table = test.table().await;
    assert_eq!(ids_of(&table), [ids[0], ids[2]].into());
    let log: Vec<_> = table.metadata.history().iter().map(|entry| entry.snapshot_id).collect();
    assert_eq!(log, [ids[2]], "the first would seem to have been current for the second's time");
}

#[tokio::test]
async fn the_ledger_remembers_runs_of_forgotten_snapshots() {
    let test = TestLake::new().await;
    for run in ["run-1", "run-2"] {
        let added = vec![test.stage(10, "a", "m", 5).await];
        let ledger_entry = Some(ledger_entry(run));
        test.commit(&Change { added, ledger_entry, ..test.change(ChangeKind::Append).await }).await.unwrap();
    }
    let before = test.table().await;
    let first = Ledger::parse(&before.metadata).unwrap().runs[1].snapshot_id.unwrap();
    test.commit(&expiry(&test, &[first]).await).await.unwrap();
    let table = test.table().await;
    assert_eq!(table.metadata.properties()[LEDGER_PROPERTY], before.metadata.properties()[LEDGER_PROPERTY]);
    assert!(table.ledger().unwrap().run("run-1", &table.metadata).is_some());
}

#[tokio::test]
async fn what_others_do_to_the_retention_is_a_conflict() {
    type Edit = fn(&mut Value, &[i64]);
    let conflicts: [(&str, Edit); 7] = [
        ("ref v1", |document, ids| document["refs"]["v1"] = json!({"snapshot-id": ids[0], "type": "tag"})),
        ("ref v9", |document, ids| document["refs"]["v9"] = json!({"snapshot-id": ids[2], "type": "tag"})),
        ("ref main", |document, _| document["refs"]["main"]["min-snapshots-to-keep"] = json!(9)),
        ("ref main", |document, ids| {
            document["refs"]["main"]["snapshot-id"] = json!(ids[0]);
            document["current-snapshot-id"] = json!(ids[0]);
            let back = json!({"snapshot-id": ids[0], "timestamp-ms": document["last-updated-ms"]});
            document["snapshot-log"].as_array_mut().unwrap().push(back);
        }),
        ("ref old", |document, ids| document["refs"]["old"]["snapshot-id"] = json!(ids[2])),
        ("properties", |document, _| document["properties"]["history.expire.max-snapshot-age-ms"] = json!("1")),
        ("properties", |document, _| document["properties"]["gc.enabled"] = json!("false")),
    ];
    for (place, change_it) in conflicts {
        let (test, ids) = three().await;
        edit(&test, |document| document["refs"]["old"] = json!({"snapshot-id": ids[1], "type": "tag"})).await;
        let planned = test.table().await;
        let mut change = expiry(&test, &ids[..2]).await;
        change.expiry.as_mut().unwrap().refs = vec!["old".to_owned()];
        edit(&test, |document| change_it(document, &ids)).await;
        match commit_to(&test, &planned, &change).await {
            Err(Error::Commit(CommitError::Conflict {
                conflict: Conflict::RetentionChanged { what },
                retry_plan: true,
                ..
            })) => assert!(what.ends_with(place), "{what} where {place} changed"),
            other => panic!("{place}: no conflict but {other:?}"),
        }
        assert_eq!(ids_of(&test.table().await).len(), 3, "{place}");
    }
}

#[tokio::test]
async fn what_others_add_is_none() {
    let (test, ids) = three().await;
    let (planned, change) = (test.table().await, expiry(&test, &ids[..2]).await);
    let other = test.append(13, "a", "m", 5).await.snapshot_id.unwrap();
    edit(&test, |document| document["properties"]["owner"] = json!("ops")).await;
    commit_to(&test, &planned, &change).await.unwrap();
    let table = test.table().await;
    assert_eq!(ids_of(&table), [ids[2], other].into());
    assert_eq!(table.metadata.current_snapshot_id(), Some(other));
    assert_eq!(table.metadata.properties()["owner"], "ops");
    // Once more: what is gone is no conflict.
    commit_to(&test, &table, &change).await.unwrap();
}

#[tokio::test]
async fn a_writer_that_was_first_is_kept() {
    let (test, ids) = three().await;
    let (planned, change) = (test.table().await, expiry(&test, &ids[..2]).await);
    let added = vec![test.stage(13, "a", "m", 5).await];
    let append = Change { added, ..test.change(ChangeKind::Append).await };
    let (lake, inputs, base) = (test.lake.clone(), test.inputs.clone(), planned.clone());
    let first: Then = Box::new(move || {
        Box::pin(async move { drop(commit(&lake, &base, &append, &inputs, &quick()).await.unwrap()) })
    });
    test.catalog.next([After(first)]);
    let done = commit_to(&test, &planned, &change).await.unwrap();
    assert_eq!(done.retries, 1);
    assert_eq!(ids_of(&test.table().await).len(), 2);
    let obsolete = change.expiry.unwrap().obsolete;
    assert_eq!(reclaim(&test.lake, &planned, obsolete).await.left, 0);
    assert_eq!(check(&test.table().await).await.unwrap(), []);
}

#[tokio::test]
async fn a_lost_answer_is_found_out() {
    for (answers, retries) in [(vec![UnknownApplied], 0), (vec![UnknownNotApplied], 0)] {
        let (test, ids) = three().await;
        let change = expiry(&test, &ids[..2]).await;
        test.catalog.next(answers);
        assert_eq!(test.commit(&change).await.unwrap().retries, retries);
        assert_eq!(ids_of(&test.table().await), [ids[2]].into());
    }
    // It did not happen, and others have changed the table: it is made again.
    let (test, ids) = three().await;
    let change = expiry(&test, &ids[..2]).await;
    let (lake, inputs, base) = (test.lake.clone(), test.inputs.clone(), test.table().await);
    let append = Change { added: vec![test.stage(13, "a", "m", 5).await], ..Change::new(&base, ChangeKind::Append) };
    let first: Then = Box::new(move || {
        Box::pin(async move { drop(commit(&lake, &base, &append, &inputs, &quick()).await.unwrap()) })
    });
    // The first swap of the two is the other writer's.
    test.catalog.next([After(first), Honest, UnknownNotApplied]);
    assert_eq!(test.commit(&change).await.unwrap().retries, 1);
    assert_eq!(ids_of(&test.table().await).len(), 2);
    // Others went on from it, and no log tells: its effect does.
    let (test, ids) = three().await;
    edit(&test, |document| document["properties"]["write.metadata.previous-versions-max"] = json!("1")).await;
    let change = expiry(&test, &ids[..2]).await;
    let (lake, inputs, name) = (test.lake.clone(), test.inputs.clone(), test.name.clone());
    let added = [test.stage(13, "a", "m", 5).await, test.stage(14, "a", "m", 5).await];
    let others: Then = Box::new(move || {
        Box::pin(async move {
            for file in added {
                let table = lake.table(&name).await.unwrap().unwrap();
                let append = Change { added: vec![file], ..Change::new(&table, ChangeKind::Append) };
                commit(&lake, &table, &append, &inputs, &quick()).await.unwrap();
            }
        })
    });
    test.catalog.next([UnknownAppliedThen(others)]);
    let done = test.commit(&change).await.unwrap();
    assert_eq!(done.retries, 0);
    assert_eq!(ids_of(&test.table().await).len(), 3);
}

#[tokio::test]
async fn an_expiry_comes_with_no_files() {
    let (test, ids) = three().await;
    let expiry = expiry(&test, &ids[..1]).await.expiry;
    let added = vec![test.stage(13, "a", "m", 5).await];
    let change = Change { expiry, added, ..test.change(ChangeKind::Append).await };
    assert!(matches!(test.commit(&change).await, Err(Error::Commit(CommitError::InvalidChange { .. }))));
}

#[tokio::test]
async fn what_a_ref_points_at_is_never_forgotten() {
    let (test, ids) = three().await;
    edit(&test, |document| document["refs"]["v1"] = json!({"snapshot-id": ids[0], "type": "tag"})).await;
    for (expired, refs) in [(ids[2], vec![]), (ids[0], vec![]), (ids[2], vec!["main".to_owned()])] {
        let mut change = expiry(&test, &[expired]).await;
        change.expiry.as_mut().unwrap().refs = refs;
        assert!(matches!(test.commit(&change).await, Err(Error::Commit(CommitError::InvalidChange { .. }))));
    }
    assert_eq!(ids_of(&test.table().await).len(), 3);
}

#[tokio::test]
async fn what_only_the_forgotten_needed_is_deleted() {
    let (test, ids, gone) = replaced().await;
    let planned = test.table().await;
    let list = planned.snapshot(ids[0]).unwrap().manifest_list().to_owned();
    let change = expiry(&test, &ids[..1]).await;
    test.commit(&change).await.unwrap();
    let reclaimed = reclaim(&test.lake, &planned, change.expiry.unwrap().obsolete).await;
    assert!(reclaimed.problem.is_none() && reclaimed.left == 0, "{reclaimed:?}");
    let files: Vec<_> = reclaimed.deleted.iter().map(|of| (of.kind, of.files)).collect();
    assert_eq!(files, [(ObjectKind::DataFile, 1), (ObjectKind::Manifest, 1), (ObjectKind::ManifestList, 1)]);
    assert_eq!(reclaimed.deleted[0], KindTotal { kind: ObjectKind::DataFile, files: 1, bytes: 50 });
    assert!(!exists(&test, gone.data_file.file_path()) && !exists(&test, &list));
    assert_eq!(check(&test.table().await).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_still_needed_stays_whoever_needs_it() {
    // The file is live in a kept snapshot that no branch leads to any more.
    let (test, ids, gone) = replaced().await;
    test.append(11, "a", "m", 5).await;
    let change = expiry(&test, &[ids[1]]).await;
    let (planned, path) = (test.table().await, gone.data_file.file_path().to_owned());
    assert!(change.expiry.as_ref().unwrap().obsolete.objects().all(|object| object.location != path));
    test.commit(&change).await.unwrap();
    reclaim(&test.lake, &planned, change.expiry.unwrap().obsolete).await;
    assert_eq!(check(&test.table().await).await.unwrap(), []);

    // Somebody took it back after the commit, under another spelling.
    let (test, ids, gone) = replaced().await;
    let (planned, change) = (test.table().await, expiry(&test, &ids[..1]).await);
    test.commit(&change).await.unwrap();
    let path = gone.data_file.file_path().to_owned();
    let again = StagedFile { data_file: gone.data_file.as_ref().clone(), spec_id: 0 };
    test.commit(&Change { added: vec![again], ..test.change(ChangeKind::Append).await }).await.unwrap();
    let reclaimed = reclaim(&test.lake, &planned, change.expiry.unwrap().obsolete).await;
    assert!(exists(&test, &path));
    assert!(reclaimed.deleted.iter().all(|of| of.kind != ObjectKind::DataFile), "{reclaimed:?}");
    assert_eq!(check(&test.table().await).await.unwrap(), []);
}

#[tokio::test]
async fn tombstones_go_with_the_last_snapshot_that_names_them() {
    let test = TestLake::new().await;
    let at = |n: u32| format!("{}/curated/telemetry/metadata/etl-tombstones-{n}.parquet", test.lake.warehouse);
    let mut ids = Vec::new();
    for n in [0, 0, 1, 2] {
        let named = (TOMBSTONES_PROPERTY.to_owned(), at(n));
        std::fs::write(test.path_of(&at(n)), "t").unwrap();
        let change = Change {
            added: vec![test.stage(10, "a", "m", 5).await],
            properties: [named.clone()].into(),
            summary: [named].into(),
            ..test.change(ChangeKind::Append).await
        };
        ids.push(test.commit(&change).await.unwrap().snapshot_id.unwrap());
    }
    // The second is what the table itself names, and of snapshots only the third.
    edit(&test, |document| document["properties"][TOMBSTONES_PROPERTY] = json!(at(1))).await;
    let steps = [([true, true, true], ids[0]), ([false, true, true], ids[1]), ([false, true, true], ids[2])];
    for (left, expired) in steps {
        let (planned, change) = (test.table().await, expiry(&test, &[expired]).await);
        test.commit(&change).await.unwrap();
        reclaim(&test.lake, &planned, change.expiry.unwrap().obsolete).await;
        assert_eq!([0, 1, 2].map(|n| exists(&test, &at(n))), left);
    }
    let kept = references(&test.table().await).await.unwrap();
    assert_eq!([0, 1, 2].map(|n| kept.contains_key(&at(n))), [false, true, true]);
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_deletes_nothing() {
    // Before the commit: nobody knows what is obsolete.
    let (test, ids, _) = replaced().await;
    let table = test.table().await;
    let list = table.snapshot(ids[1]).unwrap().manifest_list().to_owned();
    let bytes = std::fs::read(test.path_of(&list)).unwrap();
    std::fs::write(test.path_of(&list), "damaged").unwrap();
    assert!(matches!(obsolete(&table, &ids[..1]).await, Err(Error::Table(_))));
    assert!(references(&table).await.is_err());
    std::fs::write(test.path_of(&list), bytes).unwrap();

    // After it: what somebody has added meanwhile is not known.
    let change = expiry(&test, &ids[..1]).await;
    test.commit(&change).await.unwrap();
    let added = test.append(11, "a", "m", 5).await;
    let list = added.metadata.current_snapshot().unwrap().manifest_list().to_owned();
    std::fs::write(test.path_of(&list), "damaged").unwrap();
    let files = test.metadata_files();
    let obsolete = change.expiry.unwrap().obsolete;
    let all = obsolete.objects().count() as u64;
    let reclaimed = reclaim(&test.lake, &table, obsolete).await;
    assert!(reclaimed.problem.is_some() && reclaimed.deleted.is_empty() && reclaimed.left == all, "{reclaimed:?}");
    assert_eq!(test.metadata_files(), files);
}

#[tokio::test]
async fn a_table_that_was_dropped_keeps_its_files() {
    let (test, ids, gone) = replaced().await;
    let (planned, change) = (test.table().await, expiry(&test, &ids[..1]).await);
    test.commit(&change).await.unwrap();
    test.catalog.drop_table(&test.name);
    let reclaimed = reclaim(&test.lake, &planned, change.expiry.unwrap().obsolete).await;
    assert!(reclaimed.deleted.is_empty() && exists(&test, gone.data_file.file_path()));
}

#[tokio::test]
async fn every_table_says_where_it_lies() {
    let (test, _) = three().await;
    let table = test.table().await;
    let other: contract::TableName = "curated.other".parse().unwrap();
    test.catalog.register(&other, &table.pointer.metadata_location);
    let locations = test.lake.locations("/").await.unwrap();
    assert_eq!(locations[&other], locations[&test.name]);
    let here = table.metadata.location();
    assert_eq!(locations[&other], [here.to_owned(), format!("{here}/metadata")]);
    // One that cannot be read may lie anywhere near it, or is elsewhere.
    test.catalog.register(&other, "file:///nowhere/00000-u.metadata.json");
    assert!(test.lake.locations("/").await.is_err());
    assert_eq!(test.lake.locations("bucket").await.unwrap().len(), 1);
}
