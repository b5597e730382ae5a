//! Sizes, memory, and what is left behind.

use super::*;
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_end_at_their_target() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.target_file_bytes = 256 << 10;
    options.properties.insert("write.parquet.row-group-size-bytes".to_owned(), "65536".to_owned());
    let writer = TableWriter::new(options).unwrap();
    for from in (0..400_000).step_by(20_000) {
        writer.write(rows(from, from + 20_000)).await.unwrap();
    }
    let files = writer.close().await.unwrap();
    assert_eq!(all_numbers(&files), (0..400_000).collect::<Vec<_>>());
    assert!(files.len() > 3, "{} files", files.len());
    let (last, full) = files.split_last().unwrap();
    for file in full {
        assert!((200 << 10..512 << 10).contains(&file.file_size_in_bytes()), "{}", file.file_size_in_bytes());
        assert!(file.split_offsets().unwrap().len() > 1);
    }
    assert!(last.file_size_in_bytes() < 512 << 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_within_its_limit() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let partition_spec = spec(&schema, &[("n", Transform::Bucket(200))]);
    let mut options = options(&folder, schema.clone(), partition_spec);
    options.memory_bytes = 8 << 20;
    let writer = Arc::new(TableWriter::new(options).unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..4 {
        let writer = Arc::clone(&writer);
        tasks.spawn(async move {
            for batch in 0..25 {
                let from = (task * 25 + batch) * 2_000;
                writer.write(rows(from, from + 2_000)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let writer = Arc::into_inner(writer).unwrap();
    let peak = writer.encoded_bytes_peak();
    let files = writer.close().await.unwrap();
    assert_eq!(all_numbers(&files), (0..200_000).collect::<Vec<_>>());
    assert!(peak < 8 << 20, "{peak} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_many_columns_wait_until_they_are_worth_their_encoders() {
    const COLUMNS: i32 = 300;
    let folder = TempDir::new().unwrap();
    let fields = (1..=COLUMNS)
        .map(|id| NestedField::optional(id, format!("c{id}"), Type::Primitive(PrimitiveType::Double)).into());
    let schema: SchemaRef = Arc::new(Schema::builder().with_fields(fields).build().unwrap());
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.memory_bytes = 16 << 20;
    let writer = TableWriter::new(options).unwrap();
    let batch = |from: i64| {
        let column = |id: i32| (from..from + 500).map(|n| (n * i64::from(id)) as f64).collect::<Float64Array>();
        let columns = (1..=COLUMNS).map(|id| Arc::new(column(id)) as _).collect();
        RecordBatch::try_new(arrow_schema(&schema).unwrap(), columns).unwrap()
    };
    let batches: Vec<RecordBatch> = (0..10).map(|n| batch(n * 500)).collect();
    for batch in &batches {
        writer.write(batch.clone()).await.unwrap();
    }
    let files = writer.close().await.unwrap();
    let peak = writer.encoded_bytes_peak();
    assert!(peak < 16 << 20, "{peak} bytes");
    assert_eq!(read(&schema, files[0].file_path()), concat_batches(&batches[0].schema(), &batches).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_values_are_not_copied_into_dictionaries_and_statistics() {
    use arrow::array::BinaryViewArray;
    let (folder, schema) = (TempDir::new().unwrap(), noise_schema());
    for (name, length, has_copies) in [("small", 100, true), ("large", 100 << 10, false)] {
        let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
        let location = format!("file://{}/{name}.parquet", folder.path().display());
        options.file_name = Arc::new(move |_, _| Ok(location.clone()));
        let values: Vec<Vec<u8>> = (0..50).map(|n| vec![n; length]).collect();
        let column = Arc::new(BinaryViewArray::from_iter_values(&values));
        let batch = RecordBatch::try_new(arrow_schema(&schema).unwrap(), vec![column]).unwrap();
        let writer = TableWriter::new(options).unwrap();
        writer.write(batch.clone()).await.unwrap();
        let files = writer.close().await.unwrap();
        assert_eq!(read(&schema, files[0].file_path()), batch);
        let reader = ParquetRecordBatchReaderBuilder::try_new(open(files[0].file_path())).unwrap();
        let chunk = reader.metadata().row_group(0).column(0).clone();
        assert_eq!(chunk.dictionary_page_offset().is_some(), has_copies, "{name}");
        assert_eq!(chunk.statistics().is_some(), has_copies, "{name}");
    }
}

/// What a file says of a float without statistics is that it is nothing but NaN.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_beside_large_values_keep_their_bounds() {
    use arrow::array::{StructArray, cast::AsArray};
    let folder = TempDir::new().unwrap();
    let fields = [
        NestedField::optional(2, "body", Type::Primitive(PrimitiveType::Binary)).into(),
        NestedField::optional(3, "value", Type::Primitive(PrimitiveType::Double)).into(),
    ];
    let record = Type::Struct(lake::spec::StructType::new(fields.to_vec()));
    let schema = Schema::builder().with_fields([NestedField::optional(1, "record", record).into()]);
    let schema: SchemaRef = Arc::new(schema.build().unwrap());
    let arrow = arrow_schema(&schema).unwrap();
    let arrow::datatypes::DataType::Struct(inside) = arrow.field(0).data_type() else { panic!("it is a struct") };
    let batch = |length: usize, value: f64| {
        let body = Arc::new(arrow::array::BinaryViewArray::from_iter_values([vec![1; length]]));
        let columns = vec![body as _, Arc::new(Float64Array::from(vec![value])) as _];
        let record = StructArray::new(inside.clone(), columns, None);
        assert_eq!(record.column(0).as_binary_view().value(0).len(), length);
        RecordBatch::try_new(Arc::clone(&arrow), vec![Arc::new(record)]).unwrap()
    };
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    // A row group each: one of small values, one of large ones.
    options.properties.insert("write.parquet.row-group-size-bytes".to_owned(), "1".to_owned());
    let writer = TableWriter::new(options).unwrap();
    for (length, value) in [(10, 5.0), (1 << 20, 9.0)] {
        writer.write(batch(length, value)).await.unwrap();
        drop(writer.admit(usize::MAX).await.unwrap());
    }
    let files = writer.close().await.unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].split_offsets().unwrap().len(), 2);
    assert_eq!(files[0].lower_bounds()[&3], lake::spec::Datum::double(5.0));
    assert_eq!(files[0].upper_bounds()[&3], lake::spec::Datum::double(9.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_larger_than_its_share_is_encoded_before_the_next() {
    let (folder, schema) = (TempDir::new().unwrap(), noise_schema());
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.memory_bytes = 2 << 20;
    let writer = TableWriter::new(options).unwrap();
    writer.write(noise(1).remove(0)).await.unwrap();
    assert_eq!(writer.shared.input_memory.available_permits(), writer.shared.input_permits);
    writer.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_files_are_open_at_once() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let mut options = options(&folder, schema.clone(), spec(&schema, &[("event_time", Transform::Day)]));
    options.open_files_max = 4;
    options.memory_bytes = 1 << 20;
    let writer = TableWriter::new(options).unwrap();
    for from in (0..1_000).step_by(100) {
        writer.write(rows(from, from + 100)).await.unwrap();
    }
    let files = writer.close().await.unwrap();
    assert_eq!((files.len(), all_numbers(&files)), (100, (0..1_000).collect()));
}

fn noise_schema() -> SchemaRef {
    let field = NestedField::required(1, "noise", Type::Primitive(PrimitiveType::Binary));
    Arc::new(Schema::builder().with_fields([field.into()]).build().unwrap())
}

/// Batches of a megabyte each that no codec makes smaller.
fn noise(batches: usize) -> Vec<RecordBatch> {
    use arrow::array::BinaryViewArray;
    let mut state = 1_u64;
    let mut noise = || {
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..1000).map(next).collect::<Vec<u8>>()
    };
    let mut batch = || {
        let values: Vec<Vec<u8>> = (0..1000).map(|_| noise()).collect();
        let column = BinaryViewArray::from_iter_values(&values);
        RecordBatch::try_new(arrow_schema(&noise_schema()).unwrap(), vec![Arc::new(column)]).unwrap()
    };
    (0..batches).map(|_| batch()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_files_go_in_parts() {
    let (folder, schema) = (TempDir::new().unwrap(), noise_schema());
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.properties.insert("write.parquet.row-group-size-bytes".to_owned(), "3000000".to_owned());
    let writer = TableWriter::new(options).unwrap();
    let expected = noise(20);
    for batch in &expected {
        writer.write(batch.clone()).await.unwrap();
    }
    let files = writer.close().await.unwrap();
    assert_eq!(files.len(), 1);
    assert!(files[0].file_size_in_bytes() > 16 << 20);
    let expected = concat_batches(&expected[0].schema(), &expected).unwrap();
    assert!(read(&schema, files[0].file_path()) == expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn giving_up_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.target_file_bytes = 64 << 10;
    let writer = TableWriter::new(options.clone()).unwrap();
    // Shards work on their own time: rows are given until one of them has begun a file.
    let mut from = 0;
    while writer.written().is_empty() {
        assert!(from < 10_000_000, "no file was begun");
        writer.write(rows(from, from + 20_000)).await.unwrap();
        from += 20_000;
    }
    writer.abort().await.unwrap();
    assert_eq!(files_in(folder.path()), 0);
}

/// Steps of a file in two parts: look, begin, send two parts, complete.
const STEPS_IN_PARTS: u64 = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_fails_for_now_says_so_and_leaves_nothing() {
    use lake::faults::{Fault, FaultPlan, Faults};
    let (schema, batches) = (noise_schema(), noise(10));
    for step in 1..=STEPS_IN_PARTS {
        for fault in [Fault::Before, Fault::After] {
            let folder = TempDir::new().unwrap();
            let faults = Faults::new(Some(FaultPlan { step, fault }), |_| {});
            let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
            options.storage = Storage::new(StorageOptions { s3: None, wrapper: Some(Arc::new(faults.clone())) });
            let writer = TableWriter::new(options).unwrap();
            for batch in &batches {
                // It may have failed already.
                _ = writer.write(batch.clone()).await;
            }
            let error = writer.close().await.unwrap_err();
            let is_transient = matches!(&error, Error::Lake(error) if error.is_transient());
            assert!(is_transient, "step {step} {fault:?}: {error:?}");
            assert_eq!(files_in(folder.path()), 0, "step {step} {fault:?}");
            assert!(faults.steps() >= step);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_is_stopped_while_it_closes_leaves_nothing() {
    let (folder, schema) = (TempDir::new().unwrap(), noise_schema());
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.target_file_bytes = 1 << 20;
    let writer = TableWriter::new(options).unwrap();
    for batch in noise(8) {
        writer.write(batch).await.unwrap();
    }
    // Dropped after its first step: the shards go on until they are told.
    assert!(futures::poll!(std::pin::pin!(writer.close())).is_pending());
    writer.abort().await.unwrap();
    assert_eq!(files_in(folder.path()), 0);
    assert!(writer.write(noise(1).remove(0)).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let options = options(&folder, schema.clone(), spec(&schema, &[]));
    let mut written = Vec::new();
    for attempt in 0..2 {
        let mut options = options.clone();
        if attempt == 1 {
            // Another file of the second writer does get written, and has to go.
            options.spec = spec(&schema, &[("device_id", Transform::Bucket(2))]);
        }
        let writer = TableWriter::new(options).unwrap();
        writer.write(rows(0, 100)).await.unwrap();
        written.push(writer.close().await);
    }
    let error = written.pop().unwrap().unwrap_err().to_string();
    assert!(error.contains("another object is there"), "{error}");
    // The first writer's file is untouched, the second's are gone.
    assert_eq!(all_numbers(&written.pop().unwrap().unwrap()), (0..100).collect::<Vec<_>>());
    assert_eq!(files_in(folder.path()), 1);
}

#[tokio::test]
async fn batches_of_another_layout_are_refused() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let writer = TableWriter::new(options(&folder, schema.clone(), spec(&schema, &[]))).unwrap();
    let error = writer.write(rows(0, 1).project(&[0, 1, 2]).unwrap()).await.unwrap_err().to_string();
    assert_eq!(error, "failed to write a batch: it has 3 columns, the table 4");
    let error = writer.write(rows(0, 1).project(&[2, 1, 2, 3]).unwrap()).await.unwrap_err().to_string();
    assert_eq!(error, "failed to write a batch: column device_id is Int64, the table's Utf8View");
    let mut columns = rows(0, 1).columns().to_vec();
    columns[0] = Arc::new(StringViewArray::from(vec![None::<&str>]));
    let fields: Vec<_> =
        rows(0, 1).schema().fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let batch = RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields)), columns).unwrap();
    let error = writer.write(batch).await.unwrap_err().to_string();
    assert_eq!(error, "failed to write a batch: required column device_id holds NULL");
    assert_eq!(writer.close().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_is_not_forgotten() {
    let folder = TempDir::new().unwrap();
    let schema = telemetry();
    let mut options = options(&folder, schema.clone(), spec(&schema, &[]));
    options.target_file_bytes = 1;
    options.file_name = Arc::new(|_, _| Err(Error::compute("failed to name a file", "no name left")));
    let writer = TableWriter::new(options).unwrap();
    // Those who hand in batches meanwhile learn that it has failed, and closing says why.
    let mut told = Vec::new();
    for _ in 0..20 {
        told.extend(writer.write(rows(0, 20_000)).await.err().map(|error| error.to_string()));
    }
    assert_eq!(told.first().map(String::as_str), Some("failed to write a batch: the writer has failed before"));
    let error = writer.close().await.unwrap_err().to_string();
    assert_eq!(error, "failed to name a file: no name left");
    assert_eq!(files_in(folder.path()), 0);
}

#[test]
fn what_cannot_be_written_is_known_from_metadata() {
    let settings = |properties: serde_json::Value, sorted_by: i32| {
        let sort_field =
            json!({"transform": "identity", "source-id": sorted_by, "direction": "asc", "null-order": "nulls-first"});
        let metadata = json!({
            "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": "s3://t/t",
            "last-sequence-number": 0, "last-updated-ms": 1_700_000_000_000_i64, "last-column-id": 1, "current-schema-id": 0,
            "schemas": [{"type": "struct", "schema-id": 0, "fields": [
                {"id": 1, "name": "device_id", "required": true, "type": "string"},
            ]}],
            "partition-specs": [{"spec-id": 0, "fields": []}], "default-spec-id": 0, "last-partition-id": 999,
            "sort-orders": [{"order-id": 1, "fields": [sort_field]}], "default-sort-order-id": 1, "properties": properties,
        });
        let metadata: TableMetadata = serde_json::from_value(metadata).unwrap();
        check_settings(&metadata).map_err(|error| error.to_string())
    };
    assert_eq!(settings(json!({"write.parquet.compression-codec": "gzip"}), 1), Ok(()));
    let codec = settings(json!({"write.parquet.compression-codec": "lzo"}), 1).unwrap_err();
    assert!(codec.contains("there is no codec \"lzo\""), "{codec}");
    let order = settings(json!({}), 2).unwrap_err();
    assert!(order.contains("sort order 1") && order.contains("field 2 is no column"), "{order}");
}
