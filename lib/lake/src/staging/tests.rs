//! Names as Java would give them.

use std::sync::Arc;

use iceberg::spec::NestedField;

use super::*;
use crate::testing::TestLake;

/// The folder of one value.
fn path(name: &str, source: PrimitiveType, transform: Transform, value: Option<Literal>) -> String {
    let field = Arc::new(NestedField::optional(1, "c", Type::Primitive(source)));
    let schema = Schema::builder().with_fields([field]).build().unwrap();
    let spec =
        PartitionSpec::builder(schema.clone()).add_partition_field("c", name, transform).unwrap().build().unwrap();
    partition_path(&spec, &schema, &Struct::from_iter([value])).unwrap()
}

#[test]
fn values_are_written_as_java_writes_them() {
    use PrimitiveType::*;
    let micros_2025_06_04_10_30 = 1_749_033_000_000_000;
    let cases = [
        (Timestamptz, Transform::Day, Literal::date(20_243), "2025-06-04"),
        (Timestamptz, Transform::Hour, Literal::int(485_842), "2025-06-04-10"),
        (Timestamptz, Transform::Month, Literal::int(665), "2025-06"),
        (Timestamptz, Transform::Year, Literal::int(55), "2025"),
        (Date, Transform::Day, Literal::date(-1), "1969-12-31"),
        (Date, Transform::Month, Literal::int(-1), "1969-12"),
        (Date, Transform::Year, Literal::int(-1), "1969"),
        (Timestamp, Transform::Hour, Literal::int(-1), "1969-12-31-23"),
        (String, Transform::Bucket(16), Literal::int(3), "3"),
        (String, Transform::Truncate(3), Literal::string("e12"), "e12"),
        (String, Transform::Identity, Literal::string("a/b c%ü~*"), "a%2Fb+c%25%C3%BC%7E*"),
        (String, Transform::Identity, Literal::string(""), ""),
        (Date, Transform::Identity, Literal::date(20_243), "2025-06-04"),
        (Timestamp, Transform::Identity, Literal::timestamp(micros_2025_06_04_10_30), "2025-06-04T10%3A30%3A00"),
        (
            Timestamptz,
            Transform::Identity,
            Literal::timestamptz(micros_2025_06_04_10_30),
            "2025-06-04T10%3A30%3A00%2B00%3A00",
        ),
        (Decimal { precision: 9, scale: 2 }, Transform::Identity, Literal::decimal(-105), "-1.05"),
        (Decimal { precision: 9, scale: 0 }, Transform::Identity, Literal::decimal(12), "12"),
        (Boolean, Transform::Identity, Literal::bool(true), "true"),
        (Long, Transform::Identity, Literal::long(-7), "-7"),
        (Binary, Transform::Identity, Literal::binary(*b"ab"), "YWI%3D"),
    ];
    for (source, transform, value, expected) in cases {
        let found = path("p", source.clone(), transform, Some(value));
        assert_eq!(found, format!("p={expected}"), "{source} {transform}");
    }
    assert_eq!(path("p q", String, Transform::Identity, None), "p+q=null");
}

#[test]
fn what_is_too_long_for_a_folder_is_cut() {
    let of = |value: &str| path("p", PrimitiveType::String, Transform::Identity, Some(Literal::string(value)));
    let (one, other) = (of(&"ü".repeat(200)), of(&("ü".repeat(199) + "u")));
    for cut in [&one, &other] {
        assert!(cut.len() <= 200 && cut.starts_with("p=%C3%BC%C3%BC"), "{cut}");
        let (kept, _) = cut.rsplit_once('~').unwrap();
        assert!(kept.ends_with("%C3") || kept.ends_with("%BC"), "an encoded byte is whole: {kept}");
    }
    assert_ne!(one, other, "they begin alike");
    let short = "a".repeat(198);
    assert_eq!(of(&short), format!("p={short}"));
}

#[test]
fn an_unpartitioned_table_has_no_folders() {
    let schema = Schema::builder().build().unwrap();
    assert_eq!(partition_path(&PartitionSpec::unpartition_spec(), &schema, &Struct::empty()).unwrap(), "");
}

#[tokio::test]
async fn names_lie_below_the_data_folder() {
    let test = TestLake::new().await;
    let table = test.table().await;
    let staging = Staging::new(&table.metadata, "run-7");
    let below = format!("{}/data", table.metadata.location());
    assert_eq!(
        staging.data_path("event_time_day=2025-06-04", 3),
        format!("{below}/event_time_day=2025-06-04/00003-run-7.parquet")
    );
    assert_eq!(staging.data_path("", 0), format!("{below}/00000-run-7.parquet"));
    assert_eq!(staging.delete_path("", 0), format!("{below}/00000-run-7-deletes.parquet"));
    let moved = table.metadata.as_ref().clone().into_builder(None);
    let moved = moved.set_properties([("write.data.path".to_owned(), "s3://other/data/".to_owned())].into());
    let moved = moved.unwrap().build().unwrap().metadata;
    assert_eq!(Staging::new(&moved, "r").data_path("", 1), "s3://other/data/00001-r.parquet");
}

#[tokio::test]
async fn a_failed_run_takes_back_its_own_files_and_no_others() {
    let test = TestLake::new().await;
    let (ours, theirs) = (test.stage(10, "a", "m", 1).await, test.stage(10, "a", "m", 1).await);
    let exists = |file: &crate::StagedFile| test.path_of(file.data_file.file_path()).exists();
    let list = vec![ours.data_file.file_path().to_owned(), format!("{}/never-written", test.lake.warehouse)];
    discard_staged(&test.lake.storage, &test.name, list).await;
    assert!(!exists(&ours) && exists(&theirs));
}
