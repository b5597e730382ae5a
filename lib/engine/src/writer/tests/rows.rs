//! Every row is in its file once, in the table's types.

use arrow::{
    array::{
        ArrayRef, AsArray, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeBinaryArray,
        Float32Array, Int32Array, ListArray, MapArray, StructArray, Time64MicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::DataType,
};
use lake::spec::{ListType, MapType, NullOrder, SortDirection, SortField, SortOrder, StructType};
use parquet::{basic::LogicalType, file::reader::FileReader, file::serialized_reader::SerializedFileReader};

use super::*;

fn all_types() -> SchemaRef {
    let primitives = [
        PrimitiveType::Boolean,
        PrimitiveType::Int,
        PrimitiveType::Long,
        PrimitiveType::Float,
        PrimitiveType::Double,
        PrimitiveType::Decimal { precision: 5, scale: 2 },
        PrimitiveType::Decimal { precision: 15, scale: 2 },
        PrimitiveType::Decimal { precision: 38, scale: 9 },
        PrimitiveType::Date,
        PrimitiveType::Time,
        PrimitiveType::Timestamp,
        PrimitiveType::Timestamptz,
        PrimitiveType::String,
        PrimitiveType::Uuid,
        PrimitiveType::Fixed(3),
        PrimitiveType::Binary,
    ];
    let mut fields: Vec<_> = primitives
        .into_iter()
        .zip(1..)
        .map(|(primitive, id)| Arc::new(NestedField::optional(id, format!("c{id}"), Type::Primitive(primitive))))
        .collect();
    let place = StructType::new(vec![
        NestedField::optional(21, "lat", Type::Primitive(PrimitiveType::Double)).into(),
        NestedField::required(22, "name", Type::Primitive(PrimitiveType::String)).into(),
    ]);
    let tags = MapType::new(
        NestedField::map_key_element(24, Type::Primitive(PrimitiveType::String)).into(),
        NestedField::map_value_element(25, Type::Primitive(PrimitiveType::Long), false).into(),
    );
    let readings = ListType::new(NestedField::list_element(27, Type::Primitive(PrimitiveType::Float), false).into());
    fields.push(NestedField::optional(20, "place", Type::Struct(place)).into());
    fields.push(NestedField::optional(23, "tags", Type::Map(tags)).into());
    fields.push(NestedField::optional(26, "readings", Type::List(readings)).into());
    Arc::new(Schema::builder().with_fields(fields).build().unwrap())
}

/// Two rows of values and one of NULLs.
fn all_values() -> RecordBatch {
    let schema = arrow_schema(&all_types()).unwrap();
    let decimal = |precision, scale, values: [i128; 2]| -> ArrayRef {
        let values = Decimal128Array::from(vec![Some(values[0]), Some(values[1]), None]);
        Arc::new(values.with_precision_and_scale(precision, scale).unwrap())
    };
    let fixed = |values: [&[u8]; 2], size| -> ArrayRef {
        let values = [Some(values[0]), Some(values[1]), None].into_iter();
        Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, size).unwrap())
    };
    let DataType::Struct(place) = schema.field(16).data_type() else { panic!("no struct") };
    let place = StructArray::new(
        place.clone(),
        vec![
            Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(f64::NAN)])),
            Arc::new(StringViewArray::from(vec!["Ulm", "a place with quite a long name", ""])),
        ],
        Some(vec![true, true, false].into()),
    );
    let DataType::Map(entries, _) = schema.field(17).data_type() else { panic!("no map") };
    let DataType::Struct(entry) = entries.data_type() else { panic!("no entries") };
    let entry = StructArray::new(
        entry.clone(),
        vec![
            Arc::new(StringViewArray::from(vec!["a", "b", "c"])),
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        ],
        None,
    );
    let offsets = || OffsetBuffer::from_lengths([2, 1, 0]);
    let nulls = || Some(vec![true, true, false].into());
    let tags = MapArray::new(Arc::clone(entries), offsets(), entry, nulls(), false);
    let DataType::List(element) = schema.field(18).data_type() else { panic!("no list") };
    let readings = Arc::new(Float32Array::from(vec![Some(1.5), None, Some(f32::NAN)]));
    let readings = ListArray::new(Arc::clone(element), offsets(), readings, nulls());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(BooleanArray::from(vec![Some(true), Some(false), None])),
        Arc::new(Int32Array::from(vec![Some(-1), Some(i32::MAX), None])),
        Arc::new(Int64Array::from(vec![Some(-1), Some(i64::MAX), None])),
        Arc::new(Float32Array::from(vec![Some(-0.0), Some(f32::INFINITY), None])),
        Arc::new(Float64Array::from(vec![Some(f64::NAN), Some(2.5), None])),
        decimal(5, 2, [-99_999, 12_345]),
        decimal(15, 2, [-999_999_999_999_999, 1]),
        decimal(38, 9, [-(10_i128.pow(37)), 10_i128.pow(37)]),
        Arc::new(Date32Array::from(vec![Some(-1), Some(20_000), None])),
        Arc::new(Time64MicrosecondArray::from(vec![Some(0), Some(DAY - 1), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), Some(DAY), None])),
        Arc::new(TimestampMicrosecondArray::from(vec![Some(-1), Some(DAY), None]).with_timezone("UTC")),
        Arc::new(StringViewArray::from(vec![Some(""), Some("a text that is longer than a view"), None])),
        fixed([&[0; 16], &[255; 16]], 16),
        fixed([b"abc", b"xyz"], 3),
        Arc::new(BinaryViewArray::from(vec![Some(b"".as_slice()), Some(&[255; 40]), None])),
        Arc::new(place),
        Arc::new(tags),
        Arc::new(readings),
    ];
    RecordBatch::try_new(schema, columns).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_comes_back() {
    for delta in ["false", "true"] {
        let folder = TempDir::new().unwrap();
        let schema = all_types();
        let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
        options.properties.insert("etl.parquet.delta-encoding".to_owned(), delta.to_owned());
        let writer = TableWriter::new(options).unwrap();
        writer.write(all_values()).await.unwrap();
        let files = writer.close().await.unwrap();
        let [file] = files.as_slice() else { panic!("{} files", files.len()) };
        assert!(read(&schema, file.file_path()) == all_values());
        assert_eq!((file.record_count(), file.content_type()), (3, lake::spec::DataContentType::Data));
        assert_eq!(file.file_size_in_bytes(), open(file.file_path()).metadata().unwrap().len());
        assert_eq!(file.nan_value_counts(), &HashMap::from([(4, 0), (5, 1), (21, 1)]));
        assert_eq!((file.null_value_counts()[&21], file.null_value_counts()[&22]), (2, 1));
        assert!(!file.lower_bounds().contains_key(&21) && !file.value_counts().contains_key(&27));
        assert!(file.column_sizes().contains_key(&27));
        assert_eq!(file.split_offsets(), Some([4].as_slice()));
    }
}

#[tokio::test]
async fn files_carry_ids_and_no_arrow_schema() {
    let folder = TempDir::new().unwrap();
    let schema = all_types();
    let writer = TableWriter::new(options(&folder, schema.clone(), spec(&schema, &[]))).unwrap();
    writer.write(all_values()).await.unwrap();
    let files = writer.close().await.unwrap();
    let reader = SerializedFileReader::new(open(files[0].file_path())).unwrap();
    let metadata = reader.metadata().file_metadata();
    let columns = metadata.schema_descr().columns();
    let ids: Vec<i32> = columns.iter().map(|column| column.self_type().get_basic_info().id()).collect();
    assert_eq!(ids, [(1..=16).collect(), vec![21, 22, 24, 25, 27]].concat());
    let tops: Vec<i32> = metadata.schema().get_fields().iter().map(|field| field.get_basic_info().id()).collect();
    assert_eq!(tops, [(1..=16).collect(), vec![20, 23, 26]].concat());
    assert_eq!(columns[13].logical_type_ref(), Some(&LogicalType::Uuid));
    assert_eq!(columns[18].path().string(), "tags.key_value.key");
    assert_eq!(columns[20].path().string(), "readings.list.element");
    assert_eq!(metadata.key_value_metadata(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_go_to_their_partitions() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let partition_spec = spec(&schema, &[("event_time", Transform::Month), ("device_id", Transform::Bucket(4))]);
    let writer = TableWriter::new(options(&folder, schema.clone(), partition_spec.clone())).unwrap();
    let writer = Arc::new(writer);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let writer = Arc::clone(&writer);
        tasks.spawn(async move {
            for batch in 0..5 {
                let from = (task * 5 + batch) * 50;
                writer.write(rows(from, from + 50)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let files = Arc::into_inner(writer).unwrap().close().await.unwrap();
    assert_eq!(all_numbers(&files), (0..1000).collect::<Vec<_>>());
    let partitioner = Partitioner::new(&schema, &partition_spec).unwrap();
    let mut partitions = Vec::new();
    for file in &files {
        let found = partitioner.partition(&read(&schema, file.file_path())).unwrap();
        assert_eq!(found.keys, std::slice::from_ref(file.partition()));
        partitions.push(file.partition().clone());
    }
    // 100 days, four buckets; one file each.
    assert_eq!(files.len(), 16);
    partitions.sort_by_key(|partition| format!("{partition:?}"));
    partitions.dedup();
    assert_eq!(partitions.len(), 16);
    assert!(files.is_sorted_by_key(|file| file.file_path().to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_sorted_as_a_whole() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let mut options = options(&folder, schema.clone(), spec(&schema, &[("device_id", Transform::Bucket(2))]));
    let term = |source_id, direction| SortField {
        source_id,
        transform: Transform::Identity,
        direction,
        null_order: NullOrder::Last,
    };
    let order = SortOrder::builder()
        .with_order_id(3)
        .with_fields(vec![term(1, SortDirection::Ascending), term(3, SortDirection::Descending)])
        .build(&schema)
        .unwrap();
    options.sort_order = Some(Arc::new(order));
    let writer = TableWriter::new(options).unwrap();
    for from in (0..60_000).step_by(5_000) {
        writer.write(rows(from, from + 5_000)).await.unwrap();
    }
    let files = writer.close().await.unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!(all_numbers(&files), (0..60_000).collect::<Vec<_>>());
    for file in &files {
        assert_eq!(file.sort_order_id(), Some(3));
        let batch = read(&schema, file.file_path());
        let devices = batch.column(0).as_string_view();
        let numbers = batch.column(2).as_primitive::<arrow::datatypes::Int64Type>();
        let keys: Vec<_> = (0..batch.num_rows()).map(|row| (devices.value(row), -numbers.value(row))).collect();
        assert!(keys.is_sorted());
        let reader = SerializedFileReader::new(open(file.file_path())).unwrap();
        let sorting = reader.metadata().row_group(0).sorting_columns().unwrap().clone();
        assert_eq!(
            sorting.iter().map(|term| (term.column_idx, term.descending)).collect::<Vec<_>>(),
            [(0, false), (2, true)]
        );
    }
}
