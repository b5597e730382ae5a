//! SQL over the fixtures: the same rows, fewer files, and no full scan by accident.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::physical_plan::collect;
use futures::TryStreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    support::{expected, rows, sorted, table},
    synthetic::{Synthetic, column, longs, texts},
};
use crate::{
    CuratedTable, DuplicateKey, Result, Session, SessionOptions, check_keys,
    curated::{query, query::context_of, scan::scans},
};

fn session() -> (Session, TempDir) {
    let folder = TempDir::new().unwrap();
    let options = SessionOptions { memory_limit_bytes: 1 << 30, threads: 3, spill_dir: folder.path().join("spill") };
    (Session::new(&options).unwrap(), folder)
}

async fn curated(name: &str) -> Arc<CuratedTable> {
    CuratedTable::open(table(name), None).await.unwrap()
}

async fn run(name: &str, sql: &str, allow_full_scan: bool) -> Result<Vec<RecordBatch>> {
    let (session, _folder) = session();
    let tables = vec![(name.parse().unwrap(), curated(name).await)];
    let stream = query(&session, sql, tables, allow_full_scan).await?;
    Ok(stream.try_collect().await.unwrap())
}

async fn refusal(name: &str, sql: &str) -> String {
    run(name, sql, false).await.unwrap_err().to_string()
}

/// Rows of a query over everything, and how many files it opened.
async fn opened(name: &str, sql: &str) -> (Vec<Value>, usize) {
    let (session, _folder) = session();
    let context = context_of(&session, vec![(name.parse().unwrap(), curated(name).await)], 0).unwrap();
    let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
    let batches = collect(Arc::clone(&plan), context.task_ctx()).await.unwrap();
    let files = scans(&plan).into_iter().map(|scan| {
        let metrics = datafusion::physical_plan::ExecutionPlan::metrics(scan).unwrap();
        let pruned = metrics.sum_by_name("files_pruned").map_or(0, |value| value.as_usize());
        scan.groups.iter().flatten().count() - pruned
    });
    (rows(&batches), files.sum())
}

fn last_rows(name: &str) -> Vec<Value> {
    let expected = expected(name);
    let rows = match expected.get("snapshots") {
        Some(snapshots) => snapshots.as_array().unwrap().last().unwrap()["rows"].clone(),
        None => expected["rows"].clone(),
    };
    sorted(rows.as_array().unwrap().clone())
}

#[tokio::test]
async fn sql_sees_what_spark_sees() {
    for name in
        ["flink.upsert_plain", "spark.position_deletes", "spark.evolved", "spark.by_bucket", "spark.by_truncate"]
    {
        let read = run(name, &format!("SELECT * FROM {name}"), true).await.unwrap();
        assert_eq!(rows(&read), last_rows(name), "{name}");
    }
}

#[tokio::test]
async fn every_filter_gives_the_rows_that_it_gives_without_pruning() {
    for (name, filter) in [
        ("spark.by_bucket", "reading = 17"),
        ("spark.by_bucket", "reading IN (3, 17, 40) OR reading > 75"),
        ("spark.by_truncate", "event_id = 'e17'"),
        ("spark.by_truncate", "event_id >= 'e7'"),
        ("spark.by_truncate", "event_id LIKE 'e1%'"),
        ("spark.by_month", "event_time < '2025-06-02T10:00:00Z'"),
        ("spark.position_deletes", "event_time >= '2025-06-05' AND event_time < '2025-06-07'"),
        ("spark.position_deletes", "note IS NULL AND event_time > '2025-06-05'"),
        ("spark.evolved", "device_id = 'dev-3'"),
        ("spark.evolved", "reading > 100"),
        ("spark.evolved", "quality > 0.45"),
        ("flink.upsert_plain", "event_id = 'e18' OR temperature < 3020"),
    ] {
        let (session, _folder) = session();
        let pruned = run(name, &format!("SELECT * FROM {name} WHERE {filter}"), true).await.unwrap();
        let context = session.context();
        let all = run(name, &format!("SELECT * FROM {name}"), true).await.unwrap();
        let memory = datafusion::datasource::MemTable::try_new(all[0].schema(), vec![all]).unwrap();
        context.register_table("everything", Arc::new(memory)).unwrap();
        let sql = format!("SELECT * FROM everything WHERE {filter}");
        let expected = context.sql(&sql).await.unwrap().collect().await.unwrap();
        let (pruned, expected) = (rows(&pruned), rows(&expected));
        assert_eq!(pruned, expected, "{name} {filter}");
        assert!(!expected.is_empty(), "{name} {filter} says nothing");
    }
}

#[tokio::test]
async fn partitions_leave_files_out() {
    for (name, filter, files) in [
        ("spark.by_bucket", "reading = 17", 1),
        ("spark.by_truncate", "event_id = 'e17'", 1),
        ("spark.by_truncate", "event_id = 'no such'", 0),
        ("spark.by_month", "event_time >= '2026-01-01'", 0),
    ] {
        let (_, opened) = opened(name, &format!("SELECT * FROM {name} WHERE {filter}")).await;
        assert_eq!(opened, files, "{name} {filter}");
    }
    let (all, days) = opened("spark.position_deletes", "SELECT * FROM spark.position_deletes").await;
    let filter = "event_time >= '2025-06-05' AND event_time < '2025-06-06'";
    let (some, day) =
        opened("spark.position_deletes", &format!("SELECT * FROM spark.position_deletes WHERE {filter}")).await;
    assert!(!some.is_empty() && some.len() < all.len() && day < days, "{day} of {days} files");
}

#[tokio::test]
async fn joins_and_top_rows_leave_files_out_while_they_run() {
    let join = "SELECT t.* FROM (VALUES ('e17'), ('e31')) AS wanted (id) JOIN spark.by_truncate AS t ON t.event_id = wanted.id";
    let (found, files) = opened("spark.by_truncate", join).await;
    assert_eq!(found.len(), 2);
    assert!(files < 79, "{files} files");
}

#[tokio::test]
async fn a_full_scan_of_a_partitioned_table_is_refused() {
    let error = refusal("spark.position_deletes", "SELECT * FROM spark.position_deletes WHERE note = 'n221'").await;
    assert!(error.starts_with("table spark.position_deletes cannot be read: the query would read all "), "{error}");
    assert!(error.contains("filter by event_time, for example `WHERE event_time >= '2025-06-"), "{error}");
    let error = refusal("spark.by_bucket", "SELECT * FROM spark.by_bucket WHERE reading > 3").await;
    assert!(error.contains("filter by reading"), "{error}");
    for sql in [
        "SELECT * FROM spark.by_bucket WHERE reading = 3",
        "SELECT * FROM by_bucket LIMIT 3",
        "SELECT count(*) FROM by_bucket",
        "EXPLAIN SELECT * FROM by_bucket",
        "DESCRIBE by_bucket",
        "SHOW TABLES",
    ] {
        assert!(run("spark.by_bucket", sql, false).await.is_ok(), "{sql}");
    }
    let error = refusal("spark.by_bucket", "SELECT max(reading) FROM by_bucket WHERE flag").await;
    assert!(error.contains("full scan"), "{error}");
    // Not partitioned: nothing to filter by.
    assert!(run("flink.upsert_plain", "SELECT * FROM flink.upsert_plain", false).await.is_ok());
}

#[tokio::test]
async fn counts_come_from_metadata_only_where_no_row_is_deleted() {
    for (name, count) in [("spark.by_bucket", 79), ("spark.position_deletes", 239), ("flink.upsert_plain", 100)] {
        let read = run(name, &format!("SELECT count(*) AS n FROM {name}"), true).await.unwrap();
        assert_eq!(rows(&read), [json!({"n": count})], "{name}");
    }
}

#[tokio::test]
async fn limits_stop_the_scan() {
    let (read, files) = opened("spark.by_bucket", "SELECT event_id FROM spark.by_bucket LIMIT 3").await;
    assert_eq!(read.len(), 3);
    assert_eq!(files, 1);
    let (read, _) = opened("flink.upsert_plain", "SELECT event_id FROM flink.upsert_plain LIMIT 97").await;
    assert_eq!(read.len(), 97);
}

#[tokio::test]
async fn only_reading_statements_run() {
    for sql in [
        "DROP TABLE by_bucket",
        "CREATE TABLE x AS SELECT 1",
        "DELETE FROM by_bucket",
        "SET a = 1",
        "COPY by_bucket TO '/tmp/x'",
    ] {
        assert!(refusal("spark.by_bucket", sql).await.starts_with("query: "), "{sql}");
    }
}

#[tokio::test]
async fn errors_name_what_there_is() {
    let error = refusal("spark.by_bucket", "SELECT devise_id FROM by_bucket LIMIT 1").await;
    assert!(error.contains("devise_id") && error.contains("device_id"), "{error}");
    let error = refusal("spark.by_bucket", "SELECT * FROM telemetry LIMIT 1").await;
    assert_eq!(error, "there is no table spark.telemetry");
}

#[tokio::test]
async fn an_old_snapshot_has_its_own_columns() {
    let snapshot = expected("spark.evolved")["snapshots"][0].clone();
    let table = CuratedTable::open(table("spark.evolved"), snapshot["snapshot_id"].as_i64()).await.unwrap();
    let (session, _folder) = session();
    let tables = vec![("spark.evolved".parse().unwrap(), table)];
    let stream = query(&session, "SELECT * FROM evolved", tables, true).await.unwrap();
    let read: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(rows(&read), sorted(snapshot["rows"].as_array().unwrap().clone()));
}

#[tokio::test]
async fn duplicate_keys_are_shown_with_their_files() {
    let (session, _folder) = session();
    let keys = |columns: &[&str]| columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>();
    let clean = curated("flink.upsert_plain").await;
    assert_eq!(check_keys(&session, &clean, &keys(&["device_id", "event_id", "day_id"])).await.unwrap(), []);
    assert!(
        check_keys(&session, &clean, &keys(&["nothing"])).await.unwrap_err().to_string().contains("no column nothing")
    );

    let mut table =
        Synthetic::new(&[json!([column(1, "Id", "long"), column(2, "device", "string")])], json!([]), json!({}));
    let first = table
        .data(1, vec![("Id", Some(1), longs([1, 2, 3])), ("device", Some(2), texts([None, Some("b"), Some("c")]))])
        .await;
    let second = table
        .data(2, vec![("Id", Some(1), longs([1, 1, 2])), ("device", Some(2), texts([None, None, Some("x")]))])
        .await;
    let table = CuratedTable::of_reader(table.reader());
    let found = check_keys(&session, &table, &keys(&["Id", "device"])).await.unwrap();
    let key = vec![("Id".to_owned(), "1".to_owned()), ("device".to_owned(), "NULL".to_owned())];
    assert_eq!(found, [DuplicateKey { key, rows: 3, files: vec![first, second] }]);
}
