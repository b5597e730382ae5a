//! More rows than memory: they come in order, all of them, whatever their keys are like.

use arrow::{
    array::{AsArray, Int64Array, StringViewArray},
    datatypes::Int64Type,
};
use plan::compact::Arrange;
use serde_json::json;

use super::*;
use crate::{
    SessionOptions,
    curated::tests::synthetic::{Synthetic, column},
    types::field_id,
};

const FILES: i64 = 64;
const ROWS_PER_FILE: i64 = 2_000;
/// A range is an eighth of what has to be sorted, and what is gathered a half.
const MEMORY_LIMIT_BYTES: u64 = 12 << 20;

/// Rows of a number and a text that is longer than a view has in itself. `number` gets the file and the row.
async fn table(number: impl Fn(i64, i64) -> i64) -> (Synthetic, Vec<i64>) {
    let mut table = Synthetic::new(&[json!([column(1, "k", "long"), column(2, "v", "string")])], json!([]), json!({}));
    let mut all = Vec::new();
    for file in 0..FILES {
        let numbers: Vec<i64> = (0..ROWS_PER_FILE).map(|row| number(file, row)).collect();
        let texts = StringViewArray::from_iter_values(numbers.iter().map(|number| text(*number)));
        all.extend(&numbers);
        table
            .data(1, vec![("k", Some(1), Arc::new(Int64Array::from(numbers)) as _), ("v", Some(2), Arc::new(texts))])
            .await;
    }
    all.sort_unstable();
    (table, all)
}

fn text(number: i64) -> String {
    format!(
        "this row has the number {number}, and a text that is rather long for a number as small as that is, as texts go"
    )
}

/// The table's numbers in the order in which they come, and how many bytes went to disk. Each must have its own text.
async fn sort(of: &Synthetic, terms: &str, threads: usize, memory_limit_bytes: u64) -> Result<(Vec<i64>, u64)> {
    let session =
        Session::new(&SessionOptions { memory_limit_bytes, threads, spill_dir: std::env::temp_dir() }).unwrap();
    let reader = of.reader();
    let files = reader.live().data.clone();
    let order = Order::of(&Arrange::Sort { terms: terms.to_owned() }, &of.table, &files)?.unwrap();
    let columns: Arc<[i32]> = reader.schema().fields().iter().filter_map(|field| field_id(field)).collect();
    let batches: Vec<RecordBatch> = sorted(&session, reader, files, columns, order)?.try_collect().await?;
    let mut numbers = Vec::new();
    for batch in &batches {
        let (keys, texts) = (batch.column(0).as_primitive::<Int64Type>().values(), batch.column(1).as_string_view());
        assert!(keys.iter().zip(texts).all(|(key, of)| of == Some(&text(*key))), "rows stay whole");
        numbers.extend_from_slice(keys);
    }
    assert_eq!(session.context().runtime_env().memory_pool.reserved(), 0, "memory is given back");
    assert_eq!(session.context().runtime_env().disk_manager.used_disk_space(), 0, "files are gone");
    Ok((numbers, session.spilled_bytes()))
}

fn shuffled(file: i64, row: i64) -> i64 {
    (file * ROWS_PER_FILE + row) * 7_919 % (FILES * ROWS_PER_FILE + 1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_beyond_memory_are_sorted_on_disk() {
    let (table, all) = table(shuffled).await;
    let (numbers, spilled) = sort(&table, "k", 2, MEMORY_LIMIT_BYTES).await.unwrap();
    assert!(spilled > 1 << 20, "{spilled} bytes");
    assert_eq!(numbers, all);
    let (mut numbers, spilled) = sort(&table, "v DESC, k", 1, MEMORY_LIMIT_BYTES).await.unwrap();
    assert!(spilled > 1 << 20, "{spilled} bytes");
    assert!(numbers.is_sorted_by_key(|number| std::cmp::Reverse(text(*number))));
    numbers.sort_unstable();
    assert_eq!(numbers, all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_fit_stay_in_memory() {
    let (table, all) = table(shuffled).await;
    let (numbers, spilled) = sort(&table, "k", 2, 512 << 20).await.unwrap();
    assert_eq!((numbers == all, spilled), (true, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_most_rows_have_need_not_fit_into_memory() {
    let (table, all) = table(|file, row| if row % 10 < 8 { 500 } else { shuffled(file, row) % 1_000 }).await;
    let (numbers, spilled) = sort(&table, "k", 2, MEMORY_LIMIT_BYTES).await.unwrap();
    assert!(spilled > 1 << 18, "{spilled} bytes");
    assert!(numbers == all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_comes_out_too_large_is_cut_again() {
    // One of four files is looked at before ranges are cut, and the others are not like these.
    let number = |file, row| if file % 4 == 0 { shuffled(file, row) } else { 1_000_000 + shuffled(file, row) };
    let (table, all) = table(number).await;
    let (numbers, _) = sort(&table, "k", 2, MEMORY_LIMIT_BYTES).await.unwrap();
    assert!(numbers == all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_turns_out_to_have_many_values() {
    // 40 values at first, more than can be coded later, on disk and in memory.
    let number = |file, row| if file < FILES / 2 { row % 40 } else { shuffled(file, row) };
    let (table, all) = table(number).await;
    for (memory_limit_bytes, spills) in [(MEMORY_LIMIT_BYTES / 4, true), (MEMORY_LIMIT_BYTES, true), (256 << 20, false)]
    {
        let (numbers, spilled) = sort(&table, "k", 2, memory_limit_bytes).await.unwrap();
        assert_eq!((numbers == all, spilled > 0), (true, spills));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_reader_holds_while_another_goes_to_disk_goes_there_too() {
    let (of, _) = table(shuffled).await;
    let options = SessionOptions { memory_limit_bytes: 256 << 20, threads: 2, spill_dir: std::env::temp_dir() };
    let (session, reader) = (Session::new(&options).unwrap(), of.reader());
    let files = reader.live().data.clone();
    let order = Order::of(&Arrange::Sort { terms: "k".to_owned() }, &of.table, &files).unwrap().unwrap();
    let sorter = Arc::new(Sorter::new(&session, reader, Arc::new([1, 2]), &order).unwrap());
    let (source, ranges) = (Source::Files(files.into()), Arc::<OnceCell<Ranges>>::default());
    let mut parts = Vec::new();
    for rows in source.shares(&sorter) {
        parts.push(Arc::clone(&sorter).gather(rows, source.clone(), Arc::clone(&ranges)).await.unwrap());
    }
    assert!(parts.len() == 1 && ranges.get().is_none(), "all of it fits");
    let ranges = sorter.cut(&source).await.unwrap();
    let blocks = sorter.spill_all(parts, &ranges).await.unwrap();
    assert_eq!(blocks.iter().flatten().map(|block| block.rows).sum::<u64>(), (FILES * ROWS_PER_FILE) as u64);
}

#[tokio::test]
async fn too_little_memory_is_said() {
    let (table, _) = table(|_, row| row).await;
    let session =
        |memory_limit_bytes| SessionOptions { memory_limit_bytes, threads: 1, spill_dir: std::env::temp_dir() };
    let session = Session::new(&session(64 << 20)).unwrap();
    let pool = &session.context().runtime_env().memory_pool;
    let other = MemoryConsumer::new("other").register(pool);
    other.try_grow(30 << 20).unwrap();
    let reader = table.reader();
    let files = reader.live().data.clone();
    let order = Order::of(&Arrange::Sort { terms: "k".to_owned() }, &table.table, &files).unwrap().unwrap();
    let failed = sorted(&session, reader, files, Arc::new([1, 2]), order).err().map(|error| error.to_string());
    let failed = failed.unwrap_or_default();
    assert!(failed.starts_with("memory limit of 67108864 bytes is too low: sorting rows: "), "{failed}");
}
