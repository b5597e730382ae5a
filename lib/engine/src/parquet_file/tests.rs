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
    let (path, location) = (Path::from("a"), "a".to_owned());
    let object = ObjectBytes { store, path, location, etag: None, end: Bytes::new(), is_whole: false };
    let wanted = [5..39 * 1024 * 1024, 39 * 1024 * 1024 + 7..39 * 1024 * 1024 + 9];
    let read = object.ranges(&wanted).await.unwrap();
    for (range, read) in wanted.iter().zip(read) {
        assert!(read == bytes.slice(range.start as usize..range.end as usize));
    }
}

async fn odd(name: &str) -> Result<ParquetFile> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/odd-parquet");
    let store = LocalFileSystem::new_with_prefix(folder).unwrap();
    let path = Path::from(format!("{name}.parquet"));
    let found = store.head(&path).await.unwrap();
    ParquetFile::open(Arc::new(store), path, name.to_owned(), found.size, found.e_tag).await
}

fn text_types(batches: &[RecordBatch]) -> Vec<DataType> {
    batches.iter().map(|batch| batch.column_by_name("name").unwrap().data_type().clone()).collect()
}

#[tokio::test]
async fn text_that_is_not_utf8_comes_as_bytes_and_no_row_is_lost() {
    for name in ["text-not-utf8", "text-not-utf8-v2", "text-not-utf8-dictionary", "json-not-utf8"] {
        let file = odd(name).await.unwrap();
        let error = rows(&file, all(&file)).await.unwrap_err().to_string();
        assert!(error.contains("UTF-8") && error.contains("column name"), "{name}: {error}");
        let options = ReadOptions { batch_rows: 1, row_number: true, ..all(&file) };
        for _ in 0..2 {
            let batches: Vec<RecordBatch> = file.read_as_found(options.clone()).try_collect().await.unwrap();
            let numbers = batches.iter().map(|batch| batch.column(2).as_primitive::<Int64Type>().value(0));
            assert_eq!(numbers.collect::<Vec<_>>(), (0..file.rows().cast_signed()).collect::<Vec<_>>(), "{name}");
        }
        let selection = Some(vec![RowSelector::skip(1), RowSelector::select(2)].into());
        let batches: Vec<_> = file.read_as_found(ReadOptions { selection, ..all(&file) }).try_collect().await.unwrap();
        assert_eq!(text_types(&batches), [DataType::BinaryView], "{name}");
        let found = arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
        let ids = found.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids, [1, 2], "{name}");
    }
}

#[tokio::test]
async fn a_read_goes_on_where_the_text_stopped_it() {
    // Three row groups, the second of which has a text that is none.
    let batch = |text: &[u8]| {
        let texts = arrow::array::BinaryArray::from_vec(vec![b"a", text, b"z"]);
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![0, 1, 2])) as arrow::array::ArrayRef),
            ("name", Arc::new(texts)),
        ])
        .unwrap()
    };
    let schema = "message m { required int64 id; required binary name (STRING); }";
    let schema = Arc::new(parquet::schema::parser::parse_message_type(schema).unwrap());
    let mut writer =
        parquet::file::writer::SerializedFileWriter::new(Vec::new(), schema, Arc::new(WriterProperties::new()))
            .unwrap();
    for text in [&b"b"[..], b"\xff", b"c"] {
        let batch = batch(text);
        let mut group = writer.next_row_group().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let ids = batch.column(0).as_primitive::<Int64Type>().values();
        column.typed::<parquet::data_type::Int64Type>().write_batch(ids, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        let texts: Vec<parquet::data_type::ByteArray> =
            batch.column(1).as_binary::<i32>().iter().flatten().map(|text| text.to_vec().into()).collect();
        column.typed::<parquet::data_type::ByteArrayType>().write_batch(&texts, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    let bytes: Bytes = writer.into_inner().unwrap().into();
    let file = in_memory(&bytes).await.1.unwrap();
    let ids = |batches: &[RecordBatch]| -> Vec<i64> {
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
    };
    let batches: Vec<RecordBatch> = file.read_as_found(all(&file)).try_collect().await.unwrap();
    assert_eq!(ids(&batches), [0, 1, 2, 0, 1, 2, 0, 1, 2]);
    assert_eq!(text_types(&batches)[0], DataType::Utf8View);
    assert!(text_types(&batches)[1..].iter().all(|text| text == &DataType::BinaryView));
    let groups = ReadOptions { row_groups: Some(vec![2, 1]), ..all(&file) };
    let fresh = in_memory(&bytes).await.1.unwrap();
    let batches: Vec<RecordBatch> = fresh.read_as_found(groups).try_collect().await.unwrap();
    assert_eq!(ids(&batches), [0, 1, 2, 0, 1, 2]);
}

#[tokio::test]
async fn the_row_groups_say_how_many_rows_there_are() {
    for (name, claimed) in [("footer-says-no-rows", 0), ("footer-says-more-rows", 9), ("footer-says-minus-one", -1)] {
        let file = odd(name).await.unwrap();
        assert_eq!((file.rows(), file.rows_claimed()), (6, Some(claimed)), "{name}");
        let read = rows(&file, all(&file)).await.unwrap();
        assert_eq!(read.iter().map(RecordBatch::num_rows).sum::<usize>(), 6, "{name}");
    }
    for name in [
        "group-says-no-rows",
        "group-says-fewer-rows",
        "group-says-more-rows",
        "group-says-fewer-values",
        "group-says-minus-one",
        "column-is-short",
    ] {
        let read = match odd(name).await {
            Ok(file) => rows(&file, all(&file)).await.map(|_| ()),
            Err(error) => Err(error),
        };
        assert!(matches!(&read, Err(Error::Unreadable { location, .. }) if location == name), "{name}: {read:?}");
    }
}

#[tokio::test]
async fn bounds_without_an_order_mean_nothing() {
    for (name, holds) in [
        ("bounds-without-order", false),
        ("bounds-deprecated", true),
        ("bounds-deprecated-text", false),
        ("null-count-is-missing", true),
        ("text-not-utf8", true),
    ] {
        let file = odd(name).await.unwrap();
        assert_eq!(bounds::bounds_hold(file.metadata(), 0), holds, "{name}");
        let group = file.row_group_chunks(0).await.unwrap();
        let statistics = group.metadata.column(0).statistics().cloned();
        let has_bounds = statistics.as_ref().is_some_and(|statistics| statistics.min_bytes_opt().is_some());
        assert_eq!(has_bounds, holds && name != "text-not-utf8", "{name}: {statistics:?}");
        if name.starts_with("bounds") {
            assert_eq!(statistics.unwrap().null_count_opt(), Some(0), "{name}");
        }
    }
}

#[tokio::test]
async fn a_codec_that_cannot_be_read_is_named() {
    let file = odd("lz4-hadoop-many-blocks").await.unwrap();
    let error = rows(&file, all(&file)).await.unwrap_err().to_string();
    assert!(error.contains("codec LZ4") && error.contains("LZ4_RAW"), "{error}");
    let file = odd("lz4-hadoop-one-block").await.unwrap();
    assert_eq!(rows(&file, all(&file)).await.unwrap()[0].num_rows(), 5);
}

/// What PLAIN pages of numbers hold has no redundancy: only the checksum of the page knows that a bit is another one.
#[tokio::test]
async fn a_page_whose_checksum_is_wrong_is_unreadable() {
    for name in ["parquet-mr-int96.parquet", "parquet-mr-micros-v2.parquet", "parquet-mr-millis-gzip.parquet"] {
        let file = fixture(name).await.unwrap();
        let options = all(&file);
        let expected = rows(&file, options.clone()).await.unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/parquet");
        let whole = std::fs::read(format!("{folder}/{name}")).unwrap();
        let mut refused = 0;
        for chunk in file.metadata().row_group(0).columns() {
            let (start, length) = chunk.byte_range();
            // The last byte of a chunk is one of its last page.
            let last = usize::try_from(start + length - 1).unwrap();
            let mut damaged = whole.clone();
            damaged[last] ^= 0x10;
            let (_store, opened) = in_memory(&damaged.into()).await;
            match rows(&opened.unwrap(), options.clone()).await {
                Err(Error::Unreadable { location, .. }) => {
                    assert_eq!(location, "s3://b/a.parquet");
                    refused += 1;
                }
                other => assert_eq!(other.unwrap(), expected, "{name}: {} at {last}", chunk.column_path()),
            }
        }
        assert_eq!(refused, file.metadata().row_group(0).num_columns(), "{name}");
    }
}

#[tokio::test]
async fn a_row_group_that_does_not_fit_reads_the_same_in_pieces() {
    let whole = bytes_of(60_000, 35_000);
    assert!(whole.len() as u64 > 3 * TAIL_BYTES);
    let (_, file) = in_memory(&whole).await;
    let file = file.unwrap();
    let selection = RowSelection::from(vec![
        RowSelector::skip(34_900),
        RowSelector::select(300),
        RowSelector::skip(24_700),
        RowSelector::select(2),
        RowSelector::skip(98),
    ]);
    for (selection, rows_wanted) in [(None, 60_000), (Some(selection), 302)] {
        for row_groups in [None, Some(vec![0, 1])] {
            let options = ReadOptions {
                roots: vec![1, 0],
                row_groups,
                selection: selection.clone(),
                batch_rows: 999,
                row_number: true,
            };
            let expected = rows(&file, options.clone()).await.unwrap();
            let expected = arrow::compute::concat_batches(&expected[0].schema(), &expected).unwrap();
            assert_eq!(expected.num_rows(), rows_wanted);
            // A piece of each column at a time, and one column after the other. The text is larger than a page.
            let almost = file.group_bytes_max(&options) - 1;
            assert!(almost > 5 << 18);
            for read_bytes in [almost, 200 << 10, 1] {
                let small = file.clone().with_read_bytes(read_bytes);
                let read = rows(&small, options.clone()).await.unwrap();
                assert!(read.iter().all(|batch| batch.num_rows() <= 999));
                let read = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
                assert_eq!(read, expected, "{read_bytes}");
            }
        }
    }
}

#[tokio::test]
async fn an_object_that_is_replaced_while_it_is_read_in_pieces_is_noticed() {
    let whole = bytes_of(60_000, 60_000);
    let (store, file) = in_memory(&whole).await;
    let file = file.unwrap().with_read_bytes(1);
    let mut batches = file.read(ReadOptions { batch_rows: 100, ..all(&file) });
    assert_eq!(batches.try_next().await.unwrap().unwrap().num_rows(), 100);
    store.put(&Path::from("a.parquet"), PutPayload::from(whole)).await.unwrap();
    let rest: Result<Vec<_>> = batches.try_collect().await;
    assert!(matches!(rest, Err(Error::Replaced { location }) if location == "s3://b/a.parquet"));
}

#[tokio::test]
async fn a_file_that_is_damaged_inside_is_unreadable_in_pieces_as_well() {
    let whole = bytes_of(20_000, 20_000);
    let mut damaged = whole.to_vec();
    damaged[1_000..200_000].fill(0xff);
    let (_, file) = in_memory(&Bytes::from(damaged)).await;
    let file = file.unwrap().with_read_bytes(1);
    assert!(matches!(rows(&file, all(&file)).await, Err(Error::Unreadable { .. })));
}

#[tokio::test]
async fn wide_rows_make_small_batches() {
    let (_, file) = in_memory(&bytes_of(20_000, 20_000)).await;
    let file = file.unwrap().with_read_bytes(1 << 20);
    let (number, both) = (file.rows_within(&[0]), file.rows_within(&[0, 1]));
    assert!(both * 2 < number, "{both} rows of both columns, {number} of one");
    // About 60 bytes a row, in batches of a mebibyte.
    assert!((10_000..30_000).contains(&both), "{both}");
}

#[tokio::test]
async fn small_row_groups_are_requested_together() {
    let whole = bytes_of(20_000, 20);
    let (_, file) = in_memory(&whole).await;
    let file = file.unwrap();
    let together = file.read_together(&all(&file));
    // A thousand row groups of two chunks each, at most 512 chunks in a request.
    assert_eq!(together.len(), 4);
    assert_eq!(together.values().map(Vec::len).sum::<usize>(), 2_000);
    let batches = rows(&file, ReadOptions { batch_rows: 100_000, ..all(&file) }).await.unwrap();
    let ids = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec());
    assert!(ids.eq(0..20_000));
    // No room is made for more rows than there are.
    assert!(batches.iter().all(|batch| batch.column(0).get_array_memory_size() < 4_000));
}
