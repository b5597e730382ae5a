//! What a commit writes when nothing is in its way.

use iceberg::spec::{Operation, SnapshotReference, SnapshotRetention};

use crate::{Change, ChangeKind, testing::*};

#[tokio::test]
async fn an_append_is_a_snapshot_with_its_sums() {
    let test = TestLake::new().await;
    let first = test.append(10, "a", "m", 5).await;
    let second = test.append(11, "a", "m", 7).await;
    let table = test.table().await;
    assert_eq!(table.metadata.current_snapshot_id(), second.snapshot_id);
    assert_eq!(second.snapshot_before, first.snapshot_id);
    assert_eq!(table.pointer.metadata_location, second.metadata_location);
    assert!(!second.already);
    let (operation, summary) = summary_of(&table, second.snapshot_id.unwrap());
    assert_eq!(operation, &Operation::Append);
    let expected = [
        ("added-data-files", "1"),
        ("added-files-size", "70"),
        ("added-records", "7"),
        ("changed-partition-count", "1"),
        ("total-data-files", "2"),
        ("total-delete-files", "0"),
        ("total-equality-deletes", "0"),
        ("total-files-size", "120"),
        ("total-position-deletes", "0"),
        ("total-records", "12"),
    ];
    assert_eq!(summary.into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(test.live().await.data.len(), 2);
}

#[tokio::test]
async fn a_copy_on_write_merge_replaces_a_file() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    test.append(10, "n", "z", 5).await;
    let gone = test.live().await.data.into_iter().find(|file| file.data_file.file_path().contains("a-m")).unwrap();
    let change = Change {
        added: vec![test.stage(10, "a", "m", 6).await],
        removed: vec![removal(&gone)],
        key_scope: Some(scope(&[10], "a", "b")),
        ..test.change(ChangeKind::Merge).await
    };
    let done = test.commit(&change).await.unwrap();
    let table = test.table().await;
    let (operation, summary) = summary_of(&table, done.snapshot_id.unwrap());
    assert_eq!(operation, &Operation::Overwrite);
    for (name, value) in [
        ("added-data-files", "1"),
        ("added-records", "6"),
        ("deleted-data-files", "1"),
        ("deleted-records", "5"),
        ("removed-files-size", "50"),
        ("total-data-files", "2"),
        ("total-records", "11"),
        ("total-files-size", "110"),
    ] {
        assert_eq!(summary.get(name), Some(&value), "{name}");
    }
    assert_eq!(test.live_names().await, ["001-10-n-z.parquet", "002-10-a-m.parquet"]);
}

#[tokio::test]
async fn a_merge_on_read_adds_position_deletes() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    let target = test.live().await.data.remove(0);
    let change = Change {
        added: vec![test.stage(10, "a", "b", 2).await],
        added_deletes: vec![test.stage_deletes(10, 2).await],
        referenced: vec![target.data_file.file_path().to_owned()],
        key_scope: Some(scope(&[10], "a", "b")),
        ..test.change(ChangeKind::Merge).await
    };
    let done = test.commit(&change).await.unwrap();
    let live = test.live().await;
    assert_eq!((live.data.len(), live.position_deletes.len()), (2, 1));
    let applicable = |file| live.deletes_for(file).position.len();
    assert!(live.data.iter().all(|file| applicable(file) == 1), "same commit and older, same partition");
    let table = test.table().await;
    let (operation, summary) = summary_of(&table, done.snapshot_id.unwrap());
    assert_eq!(operation, &Operation::Overwrite);
    assert_eq!(summary["added-position-delete-files"], "1");
    assert_eq!(summary["added-delete-files"], "1");
    assert_eq!(summary["total-position-deletes"], "2");
}

#[tokio::test]
async fn totals_that_the_parent_does_not_know_stay_unknown() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    // Another writer's snapshot, without totals.
    let table = test.table().await;
    let mut document = serde_json::to_value(&*table.metadata).unwrap();
    document["snapshots"][0]["summary"].as_object_mut().unwrap().remove("total-records");
    let other = table.pointer.metadata_location.replace("00001-", "00002-");
    std::fs::write(test.path_of(&other), serde_json::to_vec(&document).unwrap()).unwrap();
    test.catalog.register(&test.name, &other);
    let done = test.append(10, "a", "m", 5).await;
    let table = test.table().await;
    let (_, summary) = summary_of(&table, done.snapshot_id.unwrap());
    assert_eq!(summary.get("total-records"), None);
    assert_eq!(summary["total-data-files"], "2");
}

#[tokio::test]
async fn what_we_do_not_know_survives() {
    let test = TestLake::new().await;
    let done = test.append(10, "a", "m", 5).await;
    let table = test.table().await;
    let snapshot_id = done.snapshot_id.unwrap();
    let kept = SnapshotRetention::branch(Some(7), Some(8_000), None);
    let tag = SnapshotReference::new(snapshot_id, SnapshotRetention::Tag { max_ref_age_ms: Some(9_000) });
    let with_refs = table.metadata.as_ref().clone().into_builder(None);
    let with_refs = with_refs
        .set_ref("main", SnapshotReference::new(snapshot_id, kept.clone()))
        .unwrap()
        .set_ref("audit", SnapshotReference::new(snapshot_id, kept.clone()))
        .unwrap()
        .set_ref("v1", tag.clone())
        .unwrap()
        .set_properties([("owner".to_owned(), "ops".to_owned())].into())
        .unwrap()
        .build()
        .unwrap()
        .metadata;
    let other = table.pointer.metadata_location.replace("00001-", "00002-");
    std::fs::write(test.path_of(&other), serde_json::to_vec(&with_refs).unwrap()).unwrap();
    test.catalog.register(&test.name, &other);
    let done = test.append(10, "a", "m", 5).await;
    let table = test.table().await;
    let refs = table.refs();
    assert_eq!(refs["main"], SnapshotReference::new(done.snapshot_id.unwrap(), kept.clone()));
    assert_eq!(refs["audit"], SnapshotReference::new(snapshot_id, kept));
    assert_eq!(refs["v1"], tag);
    assert_eq!(table.metadata.properties()["owner"], "ops");
    assert!(done.metadata_location.rsplit('/').next().unwrap().starts_with("00003-"), "versions go on");
    assert_eq!(table.snapshot_of_ref("audit").unwrap().snapshot_id(), snapshot_id);
}

#[tokio::test]
async fn time_never_goes_back() {
    let test = TestLake::new().await;
    let first = test.append(10, "a", "m", 5).await;
    let ten_minutes_ms = 600_000;
    test.clock.fetch_sub(ten_minutes_ms, std::sync::atomic::Ordering::Relaxed);
    let second = test.append(10, "a", "m", 5).await;
    let quiet = Change {
        properties: [("owner".to_owned(), "ops".to_owned())].into(),
        ..test.change(ChangeKind::MetadataOnly).await
    };
    test.commit(&quiet).await.unwrap();
    let table = test.table().await;
    let time = |id: Option<i64>| table.metadata.snapshot_by_id(id.unwrap()).unwrap().timestamp_ms();
    assert_eq!(time(second.snapshot_id), time(first.snapshot_id));
    assert_eq!(table.metadata.last_updated_ms(), time(first.snapshot_id));
    assert_eq!(table.metadata.metadata_log().len(), 3);
    assert_eq!(table.metadata.properties()["owner"], "ops");
    assert_eq!(table.metadata.snapshots().len(), 2);
}

#[tokio::test]
async fn a_writer_from_the_future_does_not_lock_us_out() {
    let test = TestLake::new().await;
    test.clock.store(4_000_000_000_000, std::sync::atomic::Ordering::Relaxed);
    test.append(10, "a", "m", 5).await;
    test.clock.store(1_750_000_000_000, std::sync::atomic::Ordering::Relaxed);
    let quiet = Change {
        properties: [("owner".to_owned(), "ops".to_owned())].into(),
        ..test.change(ChangeKind::MetadataOnly).await
    };
    test.commit(&quiet).await.unwrap();
    test.append(10, "a", "m", 5).await;
    assert!(test.table().await.metadata.last_updated_ms() >= 4_000_000_000_000);
}

#[tokio::test]
async fn the_metadata_log_keeps_to_its_limit() {
    let test = TestLake::new().await;
    let limit = ("write.metadata.previous-versions-max".to_owned(), "2".to_owned());
    let quiet = Change { properties: [limit].into(), ..test.change(ChangeKind::MetadataOnly).await };
    test.commit(&quiet).await.unwrap();
    for _ in 0..3 {
        test.append(10, "a", "m", 5).await;
        assert!(test.table().await.metadata.metadata_log().len() <= 2);
    }
    test.commit(&quiet).await.unwrap();
    assert_eq!(test.table().await.metadata.metadata_log().len(), 2);
}

#[tokio::test]
async fn gzipped_metadata_is_read_and_written() {
    let test = TestLake::new().await;
    let gzip = ("write.metadata.compression-codec".to_owned(), "gzip".to_owned());
    let quiet = Change { properties: [gzip].into(), ..test.change(ChangeKind::MetadataOnly).await };
    let done = test.commit(&quiet).await.unwrap();
    assert!(done.metadata_location.ends_with(".gz.metadata.json"));
    let done = test.append(10, "a", "m", 5).await;
    assert!(done.metadata_location.ends_with(".gz.metadata.json"));
    assert_eq!(&std::fs::read(test.path_of(&done.metadata_location)).unwrap()[..2], [0x1f, 0x8b]);
    assert_eq!(test.live().await.data.len(), 1);
}

#[tokio::test]
async fn a_change_without_files_makes_no_snapshot() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    let change = Change { ledger_entry: Some(ledger_entry("run-1")), ..test.change(ChangeKind::Merge).await };
    let done = test.commit(&change).await.unwrap();
    assert_eq!(done.snapshot_before, done.snapshot_id);
    let table = test.table().await;
    assert_eq!(table.metadata.snapshots().len(), 1);
    let ledger = table.ledger().unwrap();
    assert_eq!(ledger.runs[0].run_id, "run-1");
    assert_eq!(ledger.runs[0].snapshot_id, done.snapshot_id);
    assert!(ledger.runs[0].committed_at.is_some());
}

#[tokio::test]
async fn an_unsound_change_is_refused_before_anything_is_written() {
    let test = TestLake::new().await;
    let before = test.metadata_files();
    let file = test.stage(10, "a", "m", 5).await;
    let twice = Change { added: vec![file.clone(), file.clone()], ..test.change(ChangeKind::Append).await };
    let mut wrong_spec = twice.clone();
    wrong_spec.added = vec![crate::StagedFile { spec_id: 9, ..file.clone() }];
    let mut files_in_metadata = wrong_spec.clone();
    files_in_metadata.kind = ChangeKind::MetadataOnly;
    files_in_metadata.added = vec![file];
    for (change, problem) in
        [(twice, "twice"), (wrong_spec, "partition spec 9"), (files_in_metadata, "metadata only has no files")]
    {
        let error = test.commit(&change).await.unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert_eq!(test.metadata_files(), before);
}

#[tokio::test]
async fn a_name_mapping_follows_the_schema() {
    const MAPPING: &str = "schema.name-mapping.default";
    let test = TestLake::new().await;
    let text = r#"[{"field-id":1,"names":["device"]}]"#.to_owned();
    let properties = [(MAPPING.to_owned(), text.clone())].into();
    test.commit(&Change { properties, ..test.change(ChangeKind::MetadataOnly).await }).await.unwrap();
    let table = test.table().await;
    let update = crate::SchemaUpdate {
        schema: table.metadata.current_schema().as_ref().clone(),
        partition_spec: None,
        base_schema_id: table.metadata.current_schema_id(),
        descriptions: Vec::new(),
    };
    // A change that leaves the schema alone leaves the mapping alone.
    assert_eq!(table.metadata.properties().get(MAPPING), Some(&text));
    test.commit(&Change { schema_update: Some(update), ..test.change(ChangeKind::MetadataOnly).await }).await.unwrap();
    let mapping = test.table().await.metadata.properties()[MAPPING].clone();
    assert!(mapping.starts_with(r#"[{"field-id":1,"names":["device","device_id"]},{"field-id":2,"#), "{mapping}");
}
