use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::array::{Float64Array, Int32Array, Int64Array, StringViewArray, StructArray, TimestampMicrosecondArray};
use iceberg::spec::{NestedField, PrimitiveType};
use proptest::prelude::*;

use super::*;
use crate::arrow_schema;

fn table(transforms: &[(i32, Transform)]) -> (Schema, Partitioner) {
    let schema = Schema::builder()
        .with_fields([
            NestedField::optional(1, "device_id", Type::Primitive(PrimitiveType::String)).into(),
            NestedField::optional(2, "event_time", Type::Primitive(PrimitiveType::Timestamptz)).into(),
            NestedField::optional(3, "n", Type::Primitive(PrimitiveType::Long)).into(),
            NestedField::optional(4, "x", Type::Primitive(PrimitiveType::Double)).into(),
            NestedField::optional(
                5,
                "place",
                Type::Struct(StructType::new(vec![
                    NestedField::optional(6, "floor", Type::Primitive(PrimitiveType::Int)).into(),
                ])),
            )
            .into(),
        ])
        .build()
        .unwrap();
    let mut spec = PartitionSpec::builder(schema.clone());
    for (index, (source_id, transform)) in transforms.iter().enumerate() {
        spec = spec
            .add_unbound_field(iceberg::spec::UnboundPartitionField {
                source_id: *source_id,
                field_id: None,
                name: format!("p{index}"),
                transform: *transform,
            })
            .unwrap();
    }
    let partitioner = Partitioner::new(&schema, &spec.build().unwrap()).unwrap();
    (schema, partitioner)
}

type Row = (Option<String>, Option<i64>, Option<i64>, Option<f64>, Option<Option<i32>>);

fn batch(schema: &Schema, rows: &[Row]) -> RecordBatch {
    let arrow = arrow_schema(schema).unwrap();
    let floors = Int32Array::from_iter(rows.iter().map(|row| row.4.flatten()));
    let DataType::Struct(fields) = arrow.field(4).data_type() else { panic!("no struct") };
    let places = StructArray::new(
        fields.clone(),
        vec![Arc::new(floors)],
        Some(rows.iter().map(|row| row.4.is_some()).collect::<Vec<_>>().into()),
    );
    RecordBatch::try_new(
        arrow,
        vec![
            Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
            Arc::new(TimestampMicrosecondArray::from_iter(rows.iter().map(|row| row.1)).with_timezone("UTC")),
            Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.2))),
            Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.3))),
            Arc::new(places),
        ],
    )
    .unwrap()
}

proptest! {
    #[test]
    fn every_row_is_in_its_partition_once(
        rows in prop::collection::vec(
            (
                prop::option::of("[a-d]{0,2}"),
                prop::option::of(-400_000_000_000_i64..400_000_000_000),
                prop::option::of(prop_oneof![0..4_i64, any::<i64>()]),
                prop::option::of(prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), any::<f64>()]),
                prop::option::of(prop::option::of(0..3)),
            ),
            0..200,
        ),
        which in prop::collection::btree_set(0..7_usize, 0..4),
    ) {
        let all = [
            (1, Transform::Bucket(3)), (2, Transform::Day), (3, Transform::Identity), (4, Transform::Identity),
            (1, Transform::Truncate(1)), (6, Transform::Identity), (3, Transform::Void),
        ];
        let transforms: Vec<_> = which.iter().map(|&index| all[index]).collect();
        let (schema, partitioner) = table(&transforms);
        let partitioned = partitioner.partition(&batch(&schema, &rows)).unwrap();

        let expected = rows.iter().map(|row| {
            let value = |&(source, transform): &(i32, Transform)| match (source, transform) {
                (_, Transform::Void) => "null".to_owned(),
                (1, Transform::Bucket(n)) => {
                    let hash = |text: &String| (crate::transform::murmur3_32(text.as_bytes()) & 0x7fff_ffff) % n;
                    format!("{:?}", row.0.as_ref().map(hash))
                }
                (1, _) => format!("{:?}", row.0.as_ref().map(|text| text.chars().next())),
                (2, _) => format!("{:?}", row.1.map(|micros| micros.div_euclid(86_400_000_000))),
                (3, _) => format!("{:?}", row.2),
                (4, _) => format!("{:?}", row.3.map(|x| x + 0.0).map(|x| if x.is_nan() { f64::NAN } else { x })),
                _ => format!("{:?}", row.4.flatten()),
            };
            transforms.iter().map(value).collect::<Vec<_>>()
        });
        let mut expected_rows: HashMap<Vec<String>, Vec<u32>> = HashMap::new();
        for (row, key) in expected.enumerate() {
            expected_rows.entry(key).or_default().push(row as u32);
        }
        let distinct: HashSet<&Struct> = partitioned.keys.iter().collect();
        prop_assert_eq!(distinct.len(), partitioned.keys.len());
        let mut ours: Vec<Vec<u32>> = partitioned.iter().map(|(_, rows)| rows.to_vec()).collect();
        let mut expected: Vec<Vec<u32>> = expected_rows.into_values().collect();
        ours.sort();
        expected.sort();
        prop_assert_eq!(ours, expected);
    }
}

#[test]
fn values_are_icebergs() {
    let (schema, partitioner) = table(&[(2, Transform::Day), (1, Transform::Bucket(16)), (3, Transform::Void)]);
    let row = (Some("iceberg".to_owned()), Some(-1), Some(7), None, None);
    let partitioned = partitioner.partition(&batch(&schema, &[row, (None, None, None, None, None)])).unwrap();
    let expected: Struct = [Some(Literal::int(-1)), Some(Literal::int(1_210_000_089 % 16)), None].into_iter().collect();
    assert_eq!(partitioned.keys, [expected, [None, None, None].into_iter().collect()]);
}

#[test]
fn an_unpartitioned_table_has_one_partition() {
    let (schema, partitioner) = table(&[]);
    let row: Row = (None, None, None, None, None);
    let partitioned = partitioner.partition(&batch(&schema, &[row.clone(), row])).unwrap();
    assert_eq!(partitioned.keys, [Struct::empty()]);
    assert_eq!(partitioned.rows(0), [0, 1]);
    assert!(partitioner.partition(&batch(&schema, &[])).unwrap().keys.is_empty());
}
