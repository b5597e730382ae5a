//! Tables of the fixtures, and batches as JSON.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use lake::{S3Options, Storage, StorageOptions, StoreWrapper, Table, catalog::Pointer};
use object_store::{ObjectStore, local::LocalFileSystem};
use serde_json::{Map, Value, json};

pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tables")
}

pub(crate) fn expected(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join(format!("expected/{name}.json"))).unwrap()).unwrap()
}

/// A storage whose bucket `foreign` is the fixtures' folder.
pub(crate) fn storage() -> Storage {
    storage_of(Arc::new(LocalFileSystem::new_with_prefix(fixtures().join("objects")).unwrap()))
}

/// A storage in which every bucket is this store.
pub(crate) fn storage_of(store: Arc<dyn ObjectStore>) -> Storage {
    let s3 = S3Options {
        region: None,
        endpoint: Some("http://127.0.0.1:1".to_owned()),
        credentials: None,
        path_style: true,
        allow_http: true,
        now: || std::time::SystemTime::UNIX_EPOCH,
    };
    Storage::new(StorageOptions { s3: Some(s3), wrapper: Some(Arc::new(Instead(store))) })
}

/// Puts a store in the place of every bucket.
#[derive(Debug)]
struct Instead(Arc<dyn ObjectStore>);

impl StoreWrapper for Instead {
    fn wrap(&self, _: &str, _: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.0)
    }
}

/// A table of the fixtures at its current version.
pub(crate) fn table(name: &str) -> Table {
    let locations = std::fs::read(fixtures().join("metadata_locations.json")).unwrap();
    let locations: Value = serde_json::from_slice(&locations).unwrap();
    let metadata_location = locations[name].as_str().unwrap().to_owned();
    let path = fixtures().join("objects").join(metadata_location.strip_prefix("s3://foreign/").unwrap());
    let metadata = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pointer = Pointer { token: metadata_location.clone(), metadata_location };
    Table { name: name.parse().unwrap(), pointer, metadata: Arc::new(metadata), storage: storage() }
}

/// Rows as JSON, NULLs left out, sorted.
pub(crate) fn rows(batches: &[RecordBatch]) -> Vec<Value> {
    let row = |batch: &RecordBatch, row| {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns());
        object(columns.map(|(field, column)| (field.name().clone(), value(column, row))))
    };
    sorted(
        batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>()).collect(),
    )
}

pub(crate) fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    // serde_json keeps the order of keys, so that rows are compared by their sorted text.
    rows.iter_mut().for_each(Value::sort_all_objects);
    rows.sort_by_key(Value::to_string);
    rows
}

fn object(pairs: impl Iterator<Item = (String, Value)>) -> Value {
    Value::Object(pairs.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Boolean => json!(array.as_boolean().value(row)),
        DataType::Int32 => json!(array.as_primitive::<Int32Type>().value(row)),
        DataType::Int64 => json!(array.as_primitive::<Int64Type>().value(row)),
        DataType::Float64 => json!(array.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => json!(array.as_primitive::<Date32Type>().value(row)),
        DataType::Utf8View => json!(array.as_string_view().value(row)),
        DataType::Decimal128(_, _) => {
            json!(array.as_primitive::<Decimal128Type>().value_as_string(row).parse::<f64>().unwrap())
        }
        DataType::Timestamp(_, _) => {
            let at = array.as_primitive::<TimestampMicrosecondType>().value(row);
            json!(jiff::Timestamp::from_microsecond(at).unwrap().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
        }
        DataType::Struct(fields) => {
            let children = fields.iter().zip(array.as_struct().columns());
            object(children.map(|(field, child)| (field.name().clone(), value(child, row))))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            Value::Array((0..list.len()).map(|at| value(&list, at)).collect())
        }
        DataType::Map(_, _) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            let key = |at: usize| keys.as_string_view().value(at).to_owned();
            object((0..entries.len()).map(|at| (key(at), value(values, at))))
        }
        other => panic!("no JSON for {other}"),
    }
}
