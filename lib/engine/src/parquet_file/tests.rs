use arrow::{
    array::{AsArray, Int64Array, StringArray},
    compute::cast,
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use object_store::{ObjectStoreExt, PutPayload, local::LocalFileSystem, memory::InMemory};
use parquet::{arrow::ArrowWriter, arrow::arrow_reader::RowSelector, file::properties::WriterProperties};

use super::{
    object::{TAIL_BYTES, group_ranges},
    *,
};
use bytes::Bytes;
use futures::TryStreamExt;
use std::ops::Range;

async fn fixture(name: &str) -> Result<ParquetFile> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parquet");
    let store = LocalFileSystem::new_with_prefix(folder).unwrap();
    let path = Path::from(name);
    let found = store.head(&path).await.unwrap();
    ParquetFile::open(Arc::new(store), path, name.to_owned(), found.size, found.e_tag).await
}

fn all(file: &ParquetFile) -> ReadOptions {
    let roots = (0..file.arrow_schema().fields().len()).collect();
    ReadOptions { roots, row_groups: None, selection: None, batch_rows: 5, row_number: false }
}

async fn rows(file: &ParquetFile, options: ReadOptions) -> Result<Vec<RecordBatch>> {
    file.read(options).try_collect().await
}

/// Two columns and `rows` rows in row groups of `group_rows`; the text does not compress.
fn bytes_of(rows: i64, group_rows: usize) -> Bytes {
    let text = StringArray::from_iter_values(
        (0..rows).map(|row| format!("{:x}", xxhash_rust::xxh3::xxh3_128(&row.to_le_bytes()))),
    );
    let columns: [(_, arrow::array::ArrayRef); 2] =
        [("id", Arc::new(Int64Array::from_iter_values(0..rows))), ("text", Arc::new(text))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(group_rows)).build();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap().into()
}

async fn in_memory(bytes: &Bytes) -> (Arc<InMemory>, Result<ParquetFile>) {
    let store = Arc::new(InMemory::new());
    let path = Path::from("a.parquet");
    let put = store.put(&path, PutPayload::from(bytes.clone())).await.unwrap();
    let opened =
        ParquetFile::open(Arc::clone(&store) as _, path, "s3://b/a.parquet".into(), bytes.len() as u64, put.e_tag)
            .await;
    (store, opened)
}

#[tokio::test]
async fn files_of_other_writers_read_alike() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parquet");
    let mut names: Vec<String> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".parquet"));
    assert!(names.len() > 25);
    for name in names {
        let file = fixture(&name).await.unwrap();
        let schema = file.arrow_schema();
        let batches = rows(&file, all(&file)).await.unwrap();
        let batch = arrow::compute::concat_batches(&schema, &batches).unwrap();
        assert_eq!((batch.num_rows(), file.rows()), (12, 12), "{name}");
        assert!(!schema.fields().iter().any(|field| field.data_type() == &DataType::Utf8), "{name}: {schema}");
        let times = cast(
            batch.column_by_name("event_time").unwrap(),
            &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
        );
        let first = times.unwrap().as_primitive::<TimestampMicrosecondType>().iter().flatten().min().unwrap();
        // Files in milliseconds have cut off the rest.
        assert_eq!(first.div_euclid(1_000_000), oldest_event_time_seconds(), "{name}");
    }
}

fn oldest_event_time_seconds() -> i64 {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parquet/rows.ndjson"));
    let times = text.lines().filter_map(|line| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let time = row["event_time"].as_str()?.replace(' ', "T");
        let time = if time.ends_with('Z') || time.contains('+') { time } else { format!("{time}Z") };
        Some(time.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    });
    times.min().unwrap().div_euclid(1_000_000)
}

#[tokio::test]
async fn int96_is_read_in_microseconds() {
    for name in ["pyarrow-int96.parquet", "parquet-mr-int96.parquet"] {
        let schema = fixture(name).await.unwrap().arrow_schema();
        let field = schema.field_with_name("event_time").unwrap();
        assert_eq!(field.data_type(), &DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None));
    }
}

#[tokio::test]
async fn damaged_files_are_unreadable() {
    for name in ["zero", "not-parquet", "truncated", "bit-flipped"] {
        let name = format!("bad/{name}.parquet");
        let read = match fixture(&name).await {
            Ok(file) => rows(&file, all(&file)).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(matches!(read, Err(Error::Unreadable { location, .. }) if location == name), "{name}");
    }
    let empty = fixture("bad/empty.parquet").await.unwrap();
    assert_eq!(rows(&empty, all(&empty)).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn no_flipped_byte_gets_past_as_a_panic() {
    let whole = bytes_of(300, 100);
    for at in (0..whole.len()).step_by(7) {
        let mut damaged = whole.to_vec();
        damaged[at] ^= 0xff;
        let (_, opened) = in_memory(&Bytes::from(damaged)).await;
        let read = match opened {
            Ok(file) => rows(&file, all(&file)).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(matches!(read, Ok(()) | Err(Error::Unreadable { .. })), "byte {at}: {read:?}");
    }
}

#[tokio::test]
async fn row_numbers_count_from_the_start_of_the_file() {
    let (_, file) = in_memory(&bytes_of(1000, 100)).await;
    let file = file.unwrap();
    let selection = RowSelection::from(vec![RowSelector::skip(150), RowSelector::select(3), RowSelector::skip(47)]);
    let options = ReadOptions {
        roots: vec![0],
        row_groups: Some(vec![3, 7]),
        selection: Some(selection),
        batch_rows: 100,
        row_number: true,
    };
    let batches = rows(&file, options).await.unwrap();
    assert_eq!(batches[0].schema().field(1).name(), ROW_NUMBER);
    let numbers: Vec<_> =
        batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
    assert_eq!(numbers, [750, 751, 752]);
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().values(), &[750, 751, 752]);

    let nothing = ReadOptions { roots: vec![], row_groups: None, selection: None, batch_rows: 400, row_number: false };
    assert_eq!(rows(&file, nothing).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 1000);
}

#[tokio::test]
async fn a_replaced_object_is_noticed() {
    let whole = bytes_of(20_000, 2_000);
    assert!(whole.len() as u64 > 3 * TAIL_BYTES);
    let (store, file) = in_memory(&whole).await;
    let file = file.unwrap();
    assert_eq!(rows(&file, all(&file)).await.unwrap().iter().map(RecordBatch::num_rows).sum::<usize>(), 20_000);
    store.put(&Path::from("a.parquet"), PutPayload::from(whole)).await.unwrap();
    let error = rows(&file, all(&file)).await.unwrap_err();
    assert!(matches!(error, Error::Replaced { location } if location == "s3://b/a.parquet"));
    store.delete(&Path::from("a.parquet")).await.unwrap();
    assert!(matches!(rows(&file, all(&file)).await.unwrap_err(), Error::Replaced { .. }));
}

#[tokio::test]
async fn an_object_shorter_than_listed_is_unreadable() {
    let whole = bytes_of(100, 100);
    let store = Arc::new(InMemory::new());
    let path = Path::from("a.parquet");
    store.put(&path, PutPayload::from(whole.slice(..whole.len() - 9))).await.unwrap();
    let opened = ParquetFile::open(store, path, "a".into(), whole.len() as u64, None).await;
    assert!(matches!(opened, Err(Error::Unreadable { .. })));
}

#[test]
fn near_ranges_are_one_request_and_far_or_large_ones_are_not() {
    const MB: u64 = 1024 * 1024;
    assert_eq!(group_ranges(&[10..20, 0..10, 5 * MB..6 * MB, 20..30]), [0..30, 5 * MB..6 * MB]);
    assert_eq!(group_ranges(&[0..10 * MB, 10 * MB..20 * MB]), [0..10 * MB, 10 * MB..20 * MB]);
    assert_eq!(group_ranges(&[0..40 * MB, 1..2]), vec![0..40 * MB]);
    assert_eq!(group_ranges(&[]), Vec::<Range<u64>>::new());
}

#[tokio::test]
async fn large_ranges_come_in_parts_that_fit_together() {
    let bytes = Bytes::from_iter((0..40 * 1024 * 1024u32).map(|at| (at / 3) as u8));
    let store = Arc::new(InMemory::new());
    store.put(&Path::from("a"), PutPayload::from(bytes.clone())).await.unwrap();
    let object = ObjectBytes { store, path: Path::from("a"), location: "a".into(), etag: None, tail: None };
    let wanted = [5..39 * 1024 * 1024, 39 * 1024 * 1024 + 7..39 * 1024 * 1024 + 9];
    let read = object.ranges(&wanted).await.unwrap();
    for (range, read) in wanted.iter().zip(read) {
        assert!(read == bytes.slice(range.start as usize..range.end as usize));
    }
}
