//! What a new table looks like, and two processes that make the same one.

use iceberg::spec::Transform;

use super::new_metadata;
use crate::{CommitError, Error, partition_spec_for, schema_for, testing::*};

#[tokio::test]
async fn a_table_follows_its_contract() {
    let test = TestLake::without_table();
    let mut wanted = contract(CONTRACT);
    wanted.description = Some("telemetry of all devices".to_owned());
    wanted
        .partition
        .push(contract::PartitionField { column: "device_id".to_owned(), transform: contract::Transform::Bucket(16) });
    wanted.sort_order = vec![contract::OrderTerm {
        column: "device_id".to_owned(),
        direction: contract::Direction::Ascending,
        nulls: contract::Nulls::First,
    }];
    let table = test.lake.create_table(&wanted, &test.inputs).await.unwrap();
    let metadata = &table.metadata;
    let schema = metadata.current_schema();
    let fields: Vec<_> = schema
        .as_struct()
        .fields()
        .iter()
        .map(|f| (f.id, f.name.as_str(), f.field_type.to_string(), f.required))
        .collect();
    let expected = [
        (1, "device_id", "string".to_owned(), true),
        (2, "event_id", "string".to_owned(), true),
        (3, "event_time", "timestamptz".to_owned(), true),
        (4, "temperature", "double".to_owned(), false),
    ];
    assert_eq!(fields, expected);
    let mut identifier: Vec<_> = schema.identifier_field_ids().collect();
    identifier.sort_unstable();
    assert_eq!(identifier, [DEVICE_ID, 2]);
    let spec: Vec<_> = metadata
        .default_partition_spec()
        .fields()
        .iter()
        .map(|f| (f.name.as_str(), f.source_id, f.field_id, f.transform))
        .collect();
    let expected = [("event_time_day", 3, 1000, Transform::Day), ("device_id_bucket", 1, 1001, Transform::Bucket(16))];
    assert_eq!(spec, expected);
    assert_eq!(metadata.default_sort_order().fields[0].source_id, 1);
    assert_eq!(metadata.default_sort_order_id(), 1);
    for (name, value) in [
        ("write.format.default", "parquet"),
        ("write.parquet.compression-codec", "zstd"),
        ("comment", "telemetry of all devices"),
        ("etl.contract-id", "iot.telemetry"),
    ] {
        assert_eq!(metadata.properties()[name], value);
    }
    assert_eq!(metadata.location(), format!("{}/curated/telemetry", test.lake.warehouse));
    assert!(metadata.last_updated_ms() < 1_750_000_001_000, "by the clock that was given");
    let reopened = test.table().await;
    assert_eq!(reopened.metadata, table.metadata, "what was written is what was returned");
    assert_eq!(reopened.pointer, table.pointer);
}

#[tokio::test]
async fn whoever_comes_second_opens_the_first_ones_table() {
    let test = TestLake::new().await;
    let first = test.table().await;
    let before = test.metadata_files();
    let second = test.lake.create_table(&contract(CONTRACT), &test.inputs).await.unwrap();
    assert_eq!(second.metadata.uuid(), first.metadata.uuid());
    assert_eq!(test.metadata_files(), before);
}

#[tokio::test]
async fn a_lost_answer_to_a_creation_is_resolved() {
    for answers in [vec![Answer::UnknownApplied], vec![Answer::UnknownNotApplied, Answer::UnknownNotApplied]] {
        let test = TestLake::without_table();
        test.catalog.next(answers);
        let made = test.lake.create_table(&contract(CONTRACT), &test.inputs).await.unwrap();
        assert_eq!(test.table().await.metadata.uuid(), made.metadata.uuid());
        assert_eq!(test.metadata_files().len(), 1);
    }
    let test = TestLake::without_table();
    test.catalog.next((0..9).map(|_| Answer::UnknownNotApplied));
    let error = test.lake.create_table(&contract(CONTRACT), &test.inputs).await.unwrap_err();
    assert!(matches!(error, Error::Commit(CommitError::OutcomeUnknown { .. })), "{error:?}");
    assert_eq!(test.metadata_files().len(), 1, "it may still happen");
}

#[tokio::test]
async fn a_refused_creation_leaves_nothing_behind() {
    let test = TestLake::without_table();
    test.catalog.next([Answer::Rejected]);
    let error = test.lake.create_table(&contract(CONTRACT), &test.inputs).await.unwrap_err();
    assert!(matches!(error, Error::Commit(CommitError::Rejected { .. })), "{error:?}");
    assert!(test.metadata_files().is_empty());
}

/// Where a column has the name that a partition field would have, and where two fields would have one name.
#[test]
fn a_partition_field_is_called_like_no_other() {
    let columns = r#"
      - {name: event_time_day, logicalType: string}
      - {name: Event_Time_DAY_2, logicalType: string}
      - name: n
        logicalType: integer
        partitioned: true
        partitionKeyPosition: 2
        customProperties: [{property: etl.partitionTransform, value: ['bucket(4)', 'bucket(8)', identity]}]
"#;
    let text = CONTRACT.replace(
        "customProperties:\n  - {property: etl.dedupe",
        &format!("{columns}customProperties:\n  - {{property: etl.dedupe"),
    );
    let contract = contract(&text.replace("\n\n", "\n"));
    let schema = schema_for(&contract).unwrap();
    let spec = partition_spec_for(&contract, &schema).unwrap();
    let names: Vec<&str> = spec.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["event_time_day_3", "n_bucket", "n_bucket_2", "n"]);
    let clock = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(1));
    new_metadata(&contract, "s3://b/t".to_owned(), &inputs(&clock)).unwrap();
}
