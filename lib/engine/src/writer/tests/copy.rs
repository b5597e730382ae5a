//! Row groups that are taken over: the same rows, and the same things said of them as of rows that are written.

use std::collections::HashMap;

use parquet::file::{reader::FileReader, serialized_reader::SerializedFileReader};

use super::*;
use crate::{ParquetFile, writer::partition_writer::PartitionWriter};

/// Files of these rows, one each.
async fn files_of(folder: &TempDir, name: &str, batches: &[RecordBatch], schema: &SchemaRef) -> Vec<DataFile> {
    let mut files = Vec::new();
    for (index, batch) in batches.iter().enumerate() {
        let mut options = options(folder, Arc::clone(schema), unpartitioned(schema));
        let folder = folder.path().to_str().unwrap().to_owned();
        let name = format!("file://{folder}/{name}-{index}.parquet");
        options.file_name = Arc::new(move |_, _| Ok(name.clone()));
        let writer = TableWriter::new(options).unwrap();
        writer.write(batch.clone()).await.unwrap();
        files.extend(writer.close().await.unwrap());
    }
    files
}

fn unpartitioned(schema: &SchemaRef) -> PartitionSpecRef {
    Arc::new(PartitionSpec::builder(Arc::clone(schema)).with_spec_id(0).build().unwrap())
}

async fn opened(file: &DataFile) -> ParquetFile {
    let (store, path) = Storage::local().resolve(file.file_path()).unwrap();
    ParquetFile::open(store, path, file.file_path().to_owned(), file.file_size_in_bytes(), None).await.unwrap()
}

fn writer(folder: &TempDir, schema: &SchemaRef, target_file_bytes: u64, rows: u64) -> PartitionWriter {
    let options =
        TableWriterOptions { target_file_bytes, ..options(folder, Arc::clone(schema), unpartitioned(schema)) };
    PartitionWriter::new(&options, Struct::empty(), rows, true).unwrap()
}

/// All files taken over, with what their manifests say of NaN.
async fn copied(writer: &mut PartitionWriter, files: &[DataFile]) -> Vec<DataFile> {
    for file in files {
        let open = opened(file).await;
        assert!(can_copy(&writer.columns(), &open));
        for index in 0..open.metadata().num_row_groups() {
            writer.copy(open.row_group_chunks(index).await.unwrap(), file.nan_value_counts()).await.unwrap();
        }
    }
    writer.close().await.unwrap()
}

#[tokio::test]
async fn rows_and_what_is_said_of_them_are_the_same() {
    let (folder, schema) = (tempfile::tempdir().unwrap(), telemetry());
    let batches = [rows(0, 900), rows(900, 1_000), rows(1_000, 5_000)];
    let old = files_of(&folder, "old", &batches, &schema).await;
    let mut writer = writer(&folder, &schema, 1 << 30, 5_000);
    let copied = copied(&mut writer, &old).await;
    let [file] = copied.as_slice() else { panic!("{} files", copied.len()) };
    assert_eq!(numbers(file.file_path()), (0..5_000).collect::<Vec<_>>());
    let written = files_of(&folder, "written", &[rows(0, 5_000)], &schema).await.remove(0);
    assert_eq!(file.record_count(), written.record_count());
    assert_eq!(file.lower_bounds(), written.lower_bounds());
    assert_eq!(file.upper_bounds(), written.upper_bounds());
    assert_eq!(file.value_counts(), written.value_counts());
    assert_eq!(file.null_value_counts(), written.null_value_counts());
    assert_eq!(file.nan_value_counts(), written.nan_value_counts());
    assert_eq!(file.file_size_in_bytes(), open(file.file_path()).metadata().unwrap().len());
    let reader = SerializedFileReader::new(open(file.file_path())).unwrap();
    let footer = reader.metadata();
    let starts: Vec<_> = footer.row_groups().iter().map(|group| group.column(0).byte_range().0 as i64).collect();
    assert_eq!(file.split_offsets(), Some(starts.as_slice()));
    assert_eq!(starts.len(), 3, "as many row groups as there were");
    let ids: Vec<_> =
        footer.file_metadata().schema_descr().columns().iter().map(|c| c.self_type().get_basic_info().id()).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[tokio::test]
async fn files_end_near_their_size_and_leave_no_crumb() {
    let (folder, schema) = (tempfile::tempdir().unwrap(), telemetry());
    let batches: Vec<_> = (0..9).map(|n| rows(n * 1_000, (n + 1) * 1_000)).collect();
    let old = files_of(&folder, "old", &batches, &schema).await;
    let size = old[0].file_size_in_bytes();
    // Two row groups a file; the ninth is no file of its own.
    let mut writer = writer(&folder, &schema, size * 5 / 2, 9_000);
    let files = copied(&mut writer, &old).await;
    let counts: Vec<_> = files.iter().map(|file| file.record_count()).collect();
    assert_eq!(counts.iter().sum::<u64>(), 9_000);
    assert!(counts.iter().all(|count| (2_000..=4_000).contains(count)), "{counts:?}");
    assert_eq!(all_numbers(&files), (0..9_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_and_row_groups_go_into_one_file() {
    let (folder, schema) = (tempfile::tempdir().unwrap(), telemetry());
    let old = files_of(&folder, "old", &[rows(10, 20)], &schema).await;
    let mut writer = writer(&folder, &schema, 1 << 30, 30);
    writer.write(rows(0, 10)).await.unwrap();
    let chunks = opened(&old[0]).await.row_group_chunks(0).await.unwrap();
    writer.copy(chunks, old[0].nan_value_counts()).await.unwrap();
    writer.write(rows(20, 30)).await.unwrap();
    let files = writer.close().await.unwrap();
    assert_eq!((files.len(), files[0].record_count()), (1, 30));
    assert_eq!(numbers(files[0].file_path()), (0..30).collect::<Vec<_>>());
    assert_eq!(files[0].nan_value_counts().get(&4), Some(&0));
}

fn floats(values: Vec<Option<f64>>) -> RecordBatch {
    let mut columns = rows(0, values.len() as i64).columns().to_vec();
    columns[3] = Arc::new(Float64Array::from(values));
    RecordBatch::try_new(arrow_schema(&telemetry()).unwrap(), columns).unwrap()
}

#[tokio::test]
async fn nans_are_counted_where_they_are_known() {
    let (folder, schema) = (tempfile::tempdir().unwrap(), telemetry());
    let some = floats(vec![Some(f64::NAN), Some(1.0), None]);
    let all = floats(vec![Some(f64::NAN), None]);
    let old = files_of(&folder, "old", &[some, all], &schema).await;
    let mut known = writer(&folder, &schema, 1 << 30, 5);
    let file = copied(&mut known, &old).await.remove(0);
    assert_eq!(file.nan_value_counts().get(&4), Some(&2));
    assert_eq!(file.lower_bounds().get(&4), Some(&lake::spec::Datum::double(1.0)));
    // Of a writer that counts no NaN: what is without bounds may hold anything.
    let mut unknown = writer(&tempfile::tempdir().unwrap(), &schema, 1 << 30, 5);
    for file in &old {
        let chunks = opened(file).await.row_group_chunks(0).await.unwrap();
        unknown.copy(chunks, &HashMap::new()).await.unwrap();
    }
    let file = unknown.close().await.unwrap().remove(0);
    assert_eq!((file.nan_value_counts().get(&4), file.lower_bounds().get(&4)), (None, None));
    assert!(file.lower_bounds().contains_key(&3), "the others are known");
}

#[tokio::test]
async fn other_columns_are_not_taken_over() {
    let (folder, schema) = (tempfile::tempdir().unwrap(), telemetry());
    let old = files_of(&folder, "old", &[rows(0, 10)], &schema).await.remove(0);
    let open = opened(&old).await;
    let with = |index: usize, field: NestedField| {
        let mut fields: Vec<_> = schema.as_struct().fields().to_vec();
        fields[index] = field.into();
        Arc::new(Schema::builder().with_fields(fields).build().unwrap())
    };
    let long = || Type::Primitive(PrimitiveType::Long);
    let can = |schema: &SchemaRef| can_copy(&writer(&folder, schema, 1, 1).columns(), &open);
    assert!(can(&schema));
    assert!(!can(&with(2, NestedField::optional(3, "renamed", long()))), "another name");
    assert!(!can(&with(2, NestedField::optional(9, "n", long()))), "another id");
    assert!(!can(&with(2, NestedField::required(3, "n", long()))), "NULL in the old files");
    assert!(!can(&with(2, NestedField::optional(3, "n", Type::Primitive(PrimitiveType::Int)))), "another type");
}

#[tokio::test]
async fn who_gives_up_leaves_nothing_behind() {
    let (folder, schema) = (tempfile::tempdir().unwrap(), telemetry());
    let mut writer = writer(&folder, &schema, 1, 100_000);
    writer.write(rows(0, 50_000)).await.unwrap();
    writer.write(rows(50_000, 50_010)).await.unwrap();
    assert_eq!(files_in(folder.path()), 2);
    writer.abort().await.unwrap();
    assert_eq!(files_in(folder.path()), 0);
}
