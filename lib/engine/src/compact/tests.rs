//! Groups written again: the same rows, fewer files, in the order that was asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{AsArray, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use futures::TryStreamExt;
use lake::{
    DataFileEntry, LiveFiles,
    spec::{DataContentType, DataFile, Datum},
};
use plan::compact::{Arrange, Group, GroupFile, How, PartitionKey};
use serde_json::{Value, json};

use super::*;
use crate::{
    Error, Result, Session, SessionOptions, Stop, TableReader, TableWriterOptions,
    curated::{
        RowOptions,
        tests::{
            support::rows,
            synthetic::{Synthetic, column, longs, texts},
        },
    },
    types::field_id,
};

fn table() -> Synthetic {
    Synthetic::new(&[json!([column(1, "k", "string"), column(2, "v", "long")])], json!([]), json!({}))
}

fn session() -> Session {
    let options = SessionOptions { memory_limit_bytes: 512 << 20, threads: 2, spill_dir: std::env::temp_dir() };
    Session::new(&options).unwrap()
}

fn rewriter(of: &Synthetic, stop: Stop) -> Rewriter {
    let metadata = &of.table.metadata;
    /// Of all tests, so that no name comes twice.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let writer = TableWriterOptions {
        storage: of.table.storage.clone(),
        schema: Arc::clone(metadata.current_schema()),
        spec: Arc::clone(metadata.default_partition_spec()),
        sort_order: None,
        key_field_ids: Vec::new(),
        file_name: Arc::new(move |_, _| Ok(format!("s3://t/t/new-{}.parquet", NEXT.fetch_add(1, Ordering::Relaxed)))),
        target_file_bytes: 1,
        memory_bytes: 64 << 20,
        threads: 2,
        open_files_max: 8,
        zstd_level: Some(3),
        properties: HashMap::new(),
    };
    Rewriter::new(&session(), of.reader(), writer, stop)
}

fn group(of: &Synthetic, arrange: Arrange, file_bytes: u64) -> Group {
    let file = |entry: &DataFileEntry| GroupFile {
        path: entry.data_file.file_path().to_owned(),
        bytes: entry.data_file.file_size_in_bytes(),
        how: How::Copy,
        why: String::new(),
    };
    Group {
        partition: PartitionKey { spec_id: 0, path: String::new() },
        files: of.live.data.iter().map(file).collect(),
        bytes: 0,
        rows: 0,
        arrange,
        file_bytes,
        reasons: Vec::new(),
    }
}

async fn rewrite(of: &Synthetic, arrange: Arrange, file_bytes: u64) -> Result<Rewritten> {
    rewriter(of, Stop::never()).rewrite(&group(of, arrange, file_bytes)).await
}

/// The new files alone, as they will be after the commit.
fn after(of: &Synthetic, rewritten: &Rewritten) -> TableReader {
    let entry = |data_file: &DataFile| DataFileEntry {
        data_file: Arc::new(data_file.clone()),
        spec_id: 0,
        sequence_number: 9,
        snapshot_id: 9,
    };
    let data = rewritten.added.iter().map(|staged| entry(&staged.data_file)).collect();
    let live = LiveFiles { data, ..LiveFiles::default() };
    TableReader::of_files(&of.table, live, of.table.metadata.current_schema()).unwrap()
}

/// The rows of each file, in its order.
async fn batches(reader: &TableReader) -> Vec<Vec<RecordBatch>> {
    let columns: Vec<_> = reader.schema().fields().iter().map(|field| field_id(field).unwrap()).collect();
    let mut files = Vec::new();
    for entry in &reader.live().data {
        files.push(reader.read(entry, &columns, RowOptions::default()).try_collect().await.unwrap());
    }
    files
}

async fn all_rows(reader: &TableReader) -> Vec<Value> {
    rows(&batches(reader).await.concat())
}

fn values(batches: &[RecordBatch], index: usize) -> Vec<i64> {
    batches.iter().flat_map(|batch| batch.column(index).as_primitive::<Int64Type>().values().to_vec()).collect()
}

/// Every other file is as the table's own writer leaves them.
async fn with_deletes() -> Synthetic {
    let mut table = table();
    let first = table
        .data(1, vec![("k", Some(1), texts([Some("a"), None, Some("c")])), ("v", Some(2), longs([1, 2, 3]))])
        .await;
    table.data(2, vec![("k", Some(1), texts([Some("a"), Some("d")])), ("v", Some(2), longs([4, 5]))]).await;
    table.data(4, vec![("k", Some(1), texts([Some("a")])), ("v", Some(2), longs([6]))]).await;
    let paths: Arc<StringArray> = Arc::new(StringArray::from(vec![first]));
    let positions = vec![("file_path", Some(2_147_483_546), paths as _), ("pos", Some(2_147_483_545), longs([2]))];
    table.add(DataContentType::PositionDeletes, 3, positions, |_| {}).await;
    table.equality(3, vec![("k", Some(1), texts([Some("a")]))]).await;
    table
}

#[tokio::test]
async fn deletes_are_applied() {
    let table = with_deletes().await;
    let rewritten = rewrite(&table, Arrange::Pack, 1 << 30).await.unwrap();
    assert_eq!(rewritten.added.len(), 1);
    assert_eq!((rewritten.rows_before, rewritten.rows_after), (6, 3));
    assert_eq!(rewritten.removed.len(), 3);
    assert_eq!(rewritten.removed.iter().map(|gone| gone.sequence_number).collect::<Vec<_>>(), [1, 2, 4]);
    let rows = all_rows(&after(&table, &rewritten)).await;
    assert_eq!(rows, table.rows().await.unwrap());
    assert_eq!(rows, [json!({"k": "a", "v": 6}), json!({"k": "d", "v": 5}), json!({"v": 2})]);
}

#[tokio::test]
async fn files_of_other_columns_are_decoded() {
    // The second schema has another name for a column, and one more.
    let old = json!([column(1, "k", "string"), column(2, "v", "long")]);
    let new = json!([column(1, "key", "string"), column(2, "v", "long"), column(3, "w", "long")]);
    let mut table = Synthetic::new(&[old, new], json!([]), json!({}));
    table.data(1, vec![("k", Some(1), texts([Some("a")])), ("v", Some(2), longs([1]))]).await;
    let rewritten = rewrite(&table, Arrange::Pack, 1 << 30).await.unwrap();
    assert_eq!(rewritten.rows_copied, 0);
    assert_eq!(all_rows(&after(&table, &rewritten)).await, [json!({"key": "a", "v": 1})]);
}

#[tokio::test]
async fn rows_are_sorted_over_all_files() {
    let mut table = table();
    for n in 0..4_i64 {
        let values: Vec<i64> = (0..8000).map(|row| (row * 7919 + n * 31) % 40_000).collect();
        let keys: Vec<String> = values.iter().map(|value| format!("{:04}", value % 10)).collect();
        let keys: Arc<StringArray> = Arc::new(StringArray::from(keys));
        let values: Arc<arrow::array::Int64Array> = Arc::new(values.into());
        table.data(n + 1, vec![("k", Some(1), keys as _), ("v", Some(2), values as _)]).await;
    }
    let sort = |terms: &str| Arrange::Sort { terms: terms.to_owned() };
    let rewritten = rewrite(&table, sort("v DESC"), 30_000).await.unwrap();
    assert!(rewritten.added.len() > 1, "{} files", rewritten.added.len());
    let reader = after(&table, &rewritten);
    let in_order = values(&batches(&reader).await.concat(), 1);
    assert!(in_order.is_sorted_by(|a, b| a >= b), "from one file to the next, too");
    assert_eq!(all_rows(&reader).await, table.rows().await.unwrap());
    let rewritten = rewrite(&table, sort("k, v"), 1 << 30).await.unwrap();
    let batches = batches(&after(&table, &rewritten)).await.concat();
    let pairs: Vec<_> = values(&batches, 1).into_iter().map(|value| (value % 10, value)).collect();
    assert!(pairs.is_sorted(), "by the second column within the first");
    for bad in ["nothing", "k SIDEWAYS", ""] {
        assert!(matches!(rewrite(&table, sort(bad), 1).await, Err(Error::Unsupported { .. })), "{bad:?}");
    }
}

#[tokio::test]
async fn z_order_keeps_rows_together_in_both_columns() {
    let mut table = Synthetic::new(&[json!([column(1, "x", "long"), column(2, "y", "long")])], json!([]), json!({}));
    // A square of 64 × 64 far from 0, line by line, in four files.
    for part in 0..4_i64 {
        let cells = (0..1024).map(|cell| part * 1024 + cell);
        let xs: Arc<arrow::array::Int64Array> =
            Arc::new(cells.clone().map(|cell| 1_000_000 + cell % 64).collect::<Vec<_>>().into());
        let ys: Arc<arrow::array::Int64Array> =
            Arc::new(cells.map(|cell| 5_000 + cell / 64).collect::<Vec<_>>().into());
        let bounds = |x: i64, y: i64| HashMap::from([(1, Datum::long(x)), (2, Datum::long(y))]);
        table
            .add(DataContentType::Data, 1, vec![("x", Some(1), xs as _), ("y", Some(2), ys as _)], |file| {
                file.lower_bounds(bounds(1_000_000, 5_000 + part * 16))
                    .upper_bounds(bounds(1_000_063, 5_015 + part * 16));
            })
            .await;
    }
    let by = |columns: &[&str]| Arrange::ZOrder { columns: columns.iter().map(|name| (*name).to_owned()).collect() };
    let rewritten = rewrite(&table, by(&["x", "y"]), 1 << 30).await.unwrap();
    let reader = after(&table, &rewritten);
    let all = batches(&reader).await.concat();
    let (xs, ys) = (values(&all, 0), values(&all, 1));
    for quarter in 0..4 {
        let span = |values: &[i64]| {
            let part = &values[quarter * 1024..(quarter + 1) * 1024];
            part.iter().max().unwrap() - part.iter().min().unwrap()
        };
        assert_eq!((span(&xs), span(&ys)), (31, 31), "each quarter of the file is a quarter of the square");
    }
    assert_eq!(all_rows(&reader).await, table.rows().await.unwrap());
    for bad in [&["x"][..], &["x", "nothing"]] {
        assert!(matches!(rewrite(&table, by(bad), 1).await, Err(Error::Unsupported { .. })), "{bad:?}");
    }
}

/// Objects beside those of the table.
async fn staged(of: &Synthetic) -> usize {
    let listed = of.table.storage.list("s3://t/t/").await.unwrap();
    listed.iter().filter(|object| object.location.as_ref().contains("new-")).count()
}

#[tokio::test]
async fn a_file_that_is_not_what_its_manifest_says_is_an_error() {
    let mut table = with_deletes().await;
    let columns = vec![("k", Some(1), texts([Some("e")])), ("v", Some(2), longs([7]))];
    table
        .add(DataContentType::Data, 5, columns, |file| {
            file.record_count(2);
        })
        .await;
    let failed = rewrite(&table, Arrange::Pack, 1).await.unwrap_err();
    assert!(failed.to_string().ends_with("has 1 rows where its manifest says 2"), "{failed}");
    assert_eq!(staged(&table).await, 0, "what was written before is taken back");
}

#[tokio::test]
async fn who_stops_leaves_nothing_behind() {
    let table = with_deletes().await;
    let stopped = rewriter(&table, Stop::when(async {})).rewrite(&group(&table, Arrange::Pack, 1)).await;
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(staged(&table).await, 0);
}

#[tokio::test]
async fn a_filter_leaves_out_files_by_their_bounds() {
    let mut table = table();
    for n in 0..3_i64 {
        let bounds = |value: i64| HashMap::from([(2, Datum::long(value))]);
        let columns = vec![("k", Some(1), texts([Some("a"), Some("b")])), ("v", Some(2), longs([n * 10, n * 10 + 9]))];
        table
            .add(DataContentType::Data, 1, columns, |file| {
                file.lower_bounds(bounds(n * 10)).upper_bounds(bounds(n * 10 + 9));
            })
            .await;
    }
    let matching = |filter: &str| matching_files(&session(), &table.reader(), filter);
    assert_eq!(matching("v < 10").unwrap(), [true, false, false]);
    assert_eq!(matching("v BETWEEN 9 AND 12").unwrap(), [true, true, false]);
    for (bad, reason) in [
        ("nothing = 1", "nothing"),
        ("v + 1", "neither true nor false"),
        ("k LIKE '%a'", "neither partitions nor bounds"),
        ("v <", "--where"),
    ] {
        let error = matching(bad).unwrap_err().to_string();
        assert!(error.contains(reason), "{bad}: {error}");
    }
}
