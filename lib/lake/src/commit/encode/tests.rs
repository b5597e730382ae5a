use std::sync::Arc;

use iceberg::spec::{
    DataContentType, DataFileBuilder, DataFileFormat, Datum, NestedField, Transform, Type, UnboundPartitionField,
    UnboundPartitionSpec,
};
use serde_json::Value;

use super::*;
use crate::{skim::Container, skim::Detail, testing::*};

/// Columns that a table is partitioned by, some of whose names Avro does not allow, and some that are spelled alike.
const COLUMNS: [(&str, PrimitiveType); 19] = [
    ("event-time", PrimitiveType::Timestamptz),
    ("event_x2Dtime", PrimitiveType::Timestamp),
    ("event-time_r1000", PrimitiveType::String),
    ("1st", PrimitiveType::Boolean),
    ("größe", PrimitiveType::Int),
    ("日本", PrimitiveType::Long),
    ("two words", PrimitiveType::Float),
    ("_1st", PrimitiveType::Double),
    ("a.b", PrimitiveType::Date),
    ("Event:Time", PrimitiveType::Time),
    ("\"quoted\"", PrimitiveType::TimestampNs),
    ("back\\slash`", PrimitiveType::TimestamptzNs),
    ("text", PrimitiveType::String),
    ("uuid", PrimitiveType::Uuid),
    ("fixed", PrimitiveType::Fixed(3)),
    ("fixed too", PrimitiveType::Fixed(3)),
    ("binary", PrimitiveType::Binary),
    ("decimal", PrimitiveType::Decimal { precision: 9, scale: 2 }),
    ("decimal too", PrimitiveType::Decimal { precision: 9, scale: 2 }),
];

/// By hand, since the crate's parser of specs does not take a name of the same spelling as another column.
fn shape() -> (Schema, PartitionSpec) {
    let fields = COLUMNS
        .iter()
        .zip(1..)
        .map(|((name, of), id)| NestedField::optional(id, *name, Type::Primitive(of.clone())).into());
    let schema = Schema::builder().with_schema_id(7).with_fields(fields).build().unwrap();
    let fields = COLUMNS.iter().zip(1..).map(|((name, _), id)| UnboundPartitionField {
        source_id: id,
        field_id: Some(999 + id),
        name: (*name).to_owned(),
        transform: Transform::Identity,
    });
    let spec = UnboundPartitionSpec::builder().with_spec_id(3).add_partition_fields(fields).unwrap().build();
    let spec = spec.bind(Arc::new(schema.clone())).unwrap();
    (schema, spec)
}

fn file(name: &str, partition: Struct) -> DraftEntry {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data)
        .file_path(format!("s3://b/{name}"))
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(3)
        .record_count(5)
        .file_size_in_bytes(70)
        .column_sizes(HashMap::from([(1, 10), (4, 20)]))
        .value_counts(HashMap::from([(1, 5)]))
        .null_value_counts(HashMap::from([(1, 0)]))
        .nan_value_counts(HashMap::from([(7, 2)]))
        .lower_bounds(HashMap::from([(13, Datum::string("a")), (5, Datum::int(-1))]))
        .upper_bounds(HashMap::from([(13, Datum::string("z"))]))
        .split_offsets(Some(vec![4, 1 << 40]))
        .equality_ids(Some(vec![1, 2]))
        .sort_order_id(1)
        .referenced_data_file(Some("s3://b/other".to_owned()));
    DraftEntry::Added(Box::new(file.build().unwrap()), None)
}

fn some() -> Vec<Option<Literal>> {
    vec![
        Some(Literal::timestamptz(-1)),
        Some(Literal::timestamp(i64::MAX)),
        Some(Literal::string("a/b=ü% ")),
        Some(Literal::bool(true)),
        Some(Literal::int(i32::MIN)),
        Some(Literal::long(i64::MIN)),
        Some(Literal::float(-0.0)),
        Some(Literal::double(f64::NAN)),
        Some(Literal::date(-719_162)),
        Some(Literal::time(86_399_999_999)),
        Some(Literal::long(1)),
        Some(Literal::long(-1)),
        Some(Literal::string("")),
        Some(Literal::uuid(uuid::Uuid::from_u128(0xf81d_4fae_7dec_11d0_a765_00a0_c91e_6bf6))),
        Some(Literal::fixed([0, 0xff, 1])),
        Some(Literal::fixed([0xff, 0, 0])),
        Some(Literal::binary([])),
        Some(Literal::decimal(-999_999_999)),
        Some(Literal::decimal(1)),
    ]
}

fn written(partitions: Vec<Vec<Option<Literal>>>) -> (ManifestFile, Bytes, Vec<DraftEntry>, StructType) {
    let (schema, spec) = shape();
    let partition = spec.partition_type(&schema).unwrap();
    let entries: Vec<_> =
        partitions.into_iter().enumerate().map(|(n, of)| file(&n.to_string(), Struct::from_iter(of))).collect();
    let form = Form {
        schema: &schema,
        spec: &spec,
        partition: &partition,
        content: ManifestContentType::Data,
        snapshot_id: Some(9),
    };
    let (manifest, bytes) = encode(&form, &entries).unwrap();
    (manifest, bytes, entries, partition)
}

#[tokio::test]
async fn every_value_of_every_name_comes_back() {
    let nulls = vec![None; COLUMNS.len()];
    let (manifest, bytes, entries, _) = written(vec![some(), nulls]);
    let listed = ManifestFile { sequence_number: 4, ..manifest };
    let read = TestLake::new().await.table().await.skim_manifest(&listed, &bytes, Detail::Whole).unwrap();
    assert_eq!((read.spec.spec_id(), read.schema.schema_id()), (3, 7));
    assert_eq!(
        read.spec.fields().iter().map(|field| field.name.as_str()).collect::<Vec<_>>(),
        COLUMNS.map(|(name, _)| name)
    );
    assert_eq!(read.entries.len(), 2);
    for (read, written) in read.entries.iter().zip(entries) {
        let DraftEntry::Added(written, _) = written else { panic!("all are new") };
        assert_eq!(*read.data_file, *written);
        assert_eq!((read.snapshot_id, read.sequence_number, read.file_sequence_number), (9, 4, 4));
    }
}

#[test]
fn fields_have_names_that_avro_allows_and_no_two_the_same() {
    let (_, bytes, _, partition) = written(vec![some()]);
    let container = Container::open(&bytes).unwrap();
    let schema: Value = serde_json::from_slice(&container.metadata["avro.schema"]).unwrap();
    let data_file = &schema["fields"].as_array().unwrap().last().unwrap()["type"];
    let fields = data_file["fields"][3]["type"]["fields"].as_array().unwrap();
    let is_letter = |character: char| character.is_ascii_alphabetic() || character == '_';
    let (mut names, mut types) = (HashSet::new(), HashSet::new());
    for (field, of) in fields.iter().zip(partition.fields()) {
        let name = field["name"].as_str().unwrap();
        assert!(name.starts_with(is_letter) && name.chars().all(|of| is_letter(of) || of.is_ascii_digit()), "{name}");
        assert!(names.insert(name), "{name} stands twice");
        if let Some(name) = field["type"][1]["name"].as_str() {
            assert!(types.insert(name), "the type {name} stands twice");
        }
        assert_eq!(field["field-id"], of.id);
        let original = field.get("iceberg-field-name").map_or(name, |name| name.as_str().unwrap());
        assert_eq!(original, of.name);
    }
    assert!(names.contains("event_x2Dtime") && names.contains("event_x2Dtime_r1001"), "{names:?}");
    // The specification's other parser agrees that this is a schema.
    apache_avro::Schema::parse_str(&schema.to_string()).unwrap();
}

#[test]
fn a_list_knows_the_smallest_and_the_largest_value_of_each_field() {
    let mut other = some();
    other[4] = Some(Literal::int(5));
    other[6] = Some(Literal::float(0.0));
    other[7] = Some(Literal::double(1.5));
    other[12] = None;
    other[17] = Some(Literal::decimal(3));
    let (manifest, ..) = written(vec![some(), other]);
    assert_eq!(
        (manifest.added_files_count, manifest.added_rows_count, manifest.existing_files_count),
        (Some(2), Some(10), Some(0))
    );
    let summaries = manifest.partitions.unwrap();
    let of = |index: usize| {
        let summary = &summaries[index];
        let value = |bytes: Option<Vec<u8>>| {
            Some(Datum::try_from_bytes(&bytes?, COLUMNS[index].1.clone()).unwrap().to_string())
        };
        let low = value(summary.lower_bound.as_ref().map(|bound| bound.to_vec()));
        let high = value(summary.upper_bound.as_ref().map(|bound| bound.to_vec()));
        (low, high, summary.contains_null, summary.contains_nan)
    };
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(of(4), (text("-2147483648"), text("5"), false, Some(false)));
    assert_eq!(of(6), (text("-0"), text("0"), false, Some(false)));
    assert_eq!(of(7), (text("1.5"), text("1.5"), false, Some(true)));
    assert_eq!(of(12), (text("\"\""), text("\"\""), true, Some(false)));
    assert_eq!(of(17), (text("-9999999.99"), text("0.03"), false, Some(false)));
}

#[test]
fn values_that_are_not_of_their_type_are_refused() {
    for (index, value) in [(4, Literal::string("5")), (14, Literal::fixed([1])), (17, Literal::decimal(1 << 31))] {
        let (schema, spec) = shape();
        let partition = spec.partition_type(&schema).unwrap();
        let mut values = some();
        values[index] = Some(value);
        let entries = [file("a", Struct::from_iter(values))];
        let form = Form {
            schema: &schema,
            spec: &spec,
            partition: &partition,
            content: ManifestContentType::Data,
            snapshot_id: None,
        };
        let refused = encode(&form, &entries).unwrap_err().to_string();
        assert!(refused.contains(COLUMNS[index].0), "{refused}");
    }
}
