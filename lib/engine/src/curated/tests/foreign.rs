//! Spark's and Flink's tables, at every snapshot.

use arrow::array::RecordBatch;
use futures::TryStreamExt;
use lake::Table;

use super::support::{expected, rows, sorted, table};
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
