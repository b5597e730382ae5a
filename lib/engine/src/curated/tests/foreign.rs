//! Spark's and Flink's tables, at every snapshot.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use lake::Table;
use object_store::{ObjectStore, ObjectStoreExt, local::LocalFileSystem, memory::InMemory, path::Path};

use super::support::{expected, fixtures, rows, sorted, storage_of, table};
use crate::{TableReader, curated::RowOptions, types::field_id};

async fn read(table: &Table, snapshot_id: i64) -> Vec<RecordBatch> {
    let snapshot = table.snapshot(snapshot_id).unwrap();
    let schema = snapshot.schema(&table.metadata).unwrap();
    let reader = TableReader::with_schema(table, Some(snapshot_id), schema).await.unwrap();
    let columns: Vec<_> = reader.schema().fields().iter().map(|field| field_id(field).unwrap()).collect();
    let mut batches = Vec::new();
    for entry in &reader.live().data {
        batches.extend(reader.read(entry, &columns, RowOptions::default()).try_collect::<Vec<_>>().await.unwrap());
    }
    batches
}

#[tokio::test]
async fn every_snapshot_reads_as_spark_reads_it() {
    for name in ["position_deletes", "evolved", "by_bucket", "by_truncate", "by_month"] {
        let name = format!("spark.{name}");
        let table = table(&name);
        for snapshot in expected(&name)["snapshots"].as_array().unwrap() {
            let id = snapshot["snapshot_id"].as_i64().unwrap();
            let expected = sorted(snapshot["rows"].as_array().unwrap().clone());
            pretty_eq(&name, id, &rows(&read(&table, id).await), &expected);
        }
    }
}

#[tokio::test]
async fn flinks_upserts_read_as_spark_reads_them() {
    let table = table("flink.upsert_plain");
    let id = table.metadata.current_snapshot_id().unwrap();
    let expected = sorted(expected("flink.upsert_plain")["rows"].as_array().unwrap().clone());
    pretty_eq("flink.upsert_plain", id, &rows(&read(&table, id).await), &expected);
}

fn pretty_eq(table: &str, snapshot_id: i64, read: &[serde_json::Value], expected: &[serde_json::Value]) {
    let first = read.iter().zip(expected).find(|(read, expected)| read != expected);
    assert!(
        read == expected,
        "{table} at {snapshot_id}: {} rows read, {} expected, first difference {first:?}",
        read.len(),
        expected.len()
    );
}

#[tokio::test]
async fn a_file_of_another_size_is_named_with_the_manifest_that_says_so() {
    let memory = Arc::new(InMemory::new());
    let mut whole = table("spark.by_month");
    let disk = LocalFileSystem::new_with_prefix(fixtures().join("objects")).unwrap();
    let objects: Vec<_> = disk.list(None).try_collect().await.unwrap();
    for object in objects {
        let bytes = disk.get(&object.location).await.unwrap().bytes().await.unwrap();
        memory.put(&object.location, bytes.into()).await.unwrap();
    }
    whole.storage = storage_of(Arc::clone(&memory) as Arc<dyn ObjectStore>);
    let live = whole.live_files(whole.metadata.current_snapshot_id().unwrap()).await.unwrap();
    let file = live.data[0].data_file.file_path().to_owned();
    let path = Path::from(file.strip_prefix("s3://foreign/").unwrap());
    let bytes = memory.get(&path).await.unwrap().bytes().await.unwrap();
    let manifest = whole.manifest_with(&file).await.unwrap().unwrap();
    for size in [bytes.len() - 1, bytes.len() / 2] {
        let mut other = bytes.to_vec();
        other.truncate(size);
        memory.put(&path, other.into()).await.unwrap();
        let reader = TableReader::new(&whole, None).await.unwrap();
        let entry = &reader.live().data[0];
        let read = reader.read(entry, &[1], RowOptions::default()).try_collect::<Vec<_>>().await;
        let error = read.unwrap_err().to_string();
        let expected = format!("its file {file} has {size} bytes, and {manifest} says {}", bytes.len());
        assert!(error.ends_with(&expected), "{error}");
    }
}
