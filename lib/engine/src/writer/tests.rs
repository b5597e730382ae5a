mod bounds;
mod copy;
mod deletes;
mod limits;
mod rows;

use std::{fs::File, path::Path};

use arrow::{
    array::{Float64Array, Int64Array, StringViewArray, TimestampMicrosecondArray},
    compute::concat_batches,
};
use lake::{
    Storage, StorageOptions,
    spec::{NestedField, PartitionSpec, PartitionSpecRef, PrimitiveType, Schema, SchemaRef, Transform, Type},
};
use parquet::{
    arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    file::metadata::PageIndexPolicy,
};
use tempfile::TempDir;

use super::*;
use crate::arrow_schema;

fn telemetry() -> SchemaRef {
    let schema = Schema::builder().with_fields([
        NestedField::required(1, "device_id", Type::Primitive(PrimitiveType::String)).into(),
        NestedField::optional(2, "event_time", Type::Primitive(PrimitiveType::Timestamptz)).into(),
        NestedField::optional(3, "n", Type::Primitive(PrimitiveType::Long)).into(),
        NestedField::optional(4, "temperature", Type::Primitive(PrimitiveType::Double)).into(),
    ]);
    Arc::new(schema.build().unwrap())
}

const DAY: i64 = 86_400_000_000;

/// Rows `from..to` of an endless table: `n` is the row, ten rows a day, 1,000 devices.
fn rows(from: i64, to: i64) -> RecordBatch {
    let numbers = || from..to;
    RecordBatch::try_new(
        arrow_schema(&telemetry()).unwrap(),
        vec![
            Arc::new(numbers().map(|n| Some(format!("device-{:012}", n * 7919 % 1000))).collect::<StringViewArray>()),
            Arc::new(TimestampMicrosecondArray::from_iter_values(numbers().map(|n| n * DAY / 10)).with_timezone("UTC")),
            Arc::new(Int64Array::from_iter_values(numbers())),
            Arc::new(Float64Array::from_iter_values(numbers().map(|n| (n * 31 % 977) as f64 / 10.0))),
        ],
    )
    .unwrap()
}

fn spec(schema: &SchemaRef, fields: &[(&str, Transform)]) -> PartitionSpecRef {
    let mut spec = PartitionSpec::builder(Arc::clone(schema)).with_spec_id(7);
    for (column, transform) in fields {
        let name = format!("{column}_{}", transform.to_string().replace(['[', ']'], "_"));
        spec = spec.add_partition_field(*column, name, *transform).unwrap();
    }
    Arc::new(spec.build().unwrap())
}

fn options(folder: &TempDir, schema: SchemaRef, spec: PartitionSpecRef) -> TableWriterOptions {
    let folder = folder.path().to_str().unwrap().to_owned();
    TableWriterOptions {
        storage: Storage::local(),
        schema,
        spec,
        sort_order: None,
        key_field_ids: vec![1],
        file_name: Arc::new(move |_, n| Ok(format!("file://{folder}/data/{n:05}.parquet"))),
        target_file_bytes: 128 << 20,
        memory_bytes: 256 << 20,
        threads: 2,
        open_files_max: 256,
        zstd_level: None,
        properties: HashMap::new(),
    }
}

fn open(location: &str) -> File {
    File::open(location.strip_prefix("file://").unwrap()).unwrap()
}

/// The rows of a file, in the table's layout.
fn read(schema: &Schema, location: &str) -> RecordBatch {
    let schema = arrow_schema(schema).unwrap();
    let options =
        ArrowReaderOptions::new().with_schema(Arc::clone(&schema)).with_page_index_policy(PageIndexPolicy::Required);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(open(location), options).unwrap();
    let batches: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap()).collect();
    concat_batches(&schema, &batches).unwrap()
}

/// Column `n` of a file of telemetry, as it lies there.
fn numbers(location: &str) -> Vec<i64> {
    use arrow::array::AsArray;
    let batch = read(&telemetry(), location);
    batch.column(2).as_primitive::<arrow::datatypes::Int64Type>().values().to_vec()
}

/// Column `n` of all files, sorted.
fn all_numbers(files: &[DataFile]) -> Vec<i64> {
    let mut found: Vec<i64> = files.iter().flat_map(|file| numbers(file.file_path())).collect();
    found.sort_unstable();
    found
}

fn files_in(folder: &Path) -> usize {
    std::fs::read_dir(folder.join("data")).map_or(0, Iterator::count)
}
