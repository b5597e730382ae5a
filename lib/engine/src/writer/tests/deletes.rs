//! Position delete files.

use arrow::{array::AsArray, datatypes::Int64Type};
use lake::spec::{DataContentType, Datum, Literal};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::*;

fn delete_options(folder: &TempDir) -> PositionDeleteOptions {
    let folder = folder.path().to_str().unwrap().to_owned();
    PositionDeleteOptions {
        storage: Storage::local(),
        file_name: Arc::new(move |_, _, n| Ok(format!("file://{folder}/{n:05}-deletes.parquet"))),
        zstd_level: None,
        properties: HashMap::new(),
    }
}

#[tokio::test]
async fn rows_are_sorted_and_bounds_name_the_files() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| format!("s3://a-bucket-with-a-name/{}/{name}.parquet", "folder/".repeat(20));
    let partition: Struct = [Some(Literal::int(3))].into_iter().collect();
    let deletes = vec![
        PositionDeletes {
            partition: partition.clone(),
            spec_id: 2,
            files: vec![(path("b"), vec![7, 1]), (path("a"), vec![5]), (path("b"), vec![1, 0])],
        },
        PositionDeletes { partition: Struct::empty(), spec_id: 0, files: vec![(path("c"), (0..100_000).collect())] },
        PositionDeletes { partition: Struct::empty(), spec_id: 0, files: vec![(path("d"), Vec::new())] },
    ];
    let files = write_position_deletes(&delete_options(&folder), deletes).await.unwrap();
    let [several, single] = files.as_slice() else { panic!("{} files", files.len()) };
    assert_eq!(several.content_type(), DataContentType::PositionDeletes);
    assert_eq!((several.partition(), several.record_count()), (&partition, 4));
    assert_eq!(several.referenced_data_file(), None);
    assert_eq!(several.lower_bounds()[&2_147_483_546], Datum::string(path("a")));
    assert_eq!(several.upper_bounds()[&2_147_483_546], Datum::string(path("b")));
    assert_eq!(several.sort_order_id(), None);
    assert_eq!((single.referenced_data_file(), single.record_count()), (Some(path("c")), 100_000));
    assert_eq!(single.upper_bounds()[&2_147_483_545], Datum::long(99_999));

    let reader = ParquetRecordBatchReaderBuilder::try_new(open(several.file_path())).unwrap();
    let ids: Vec<_> = reader.schema().fields().iter().map(|field| crate::field_id(field)).collect();
    assert_eq!(ids, [Some(2_147_483_546), Some(2_147_483_545)]);
    let batch = reader.build().unwrap().next().unwrap().unwrap();
    let found = batch.column(0).as_string::<i32>().iter().map(|path| path.unwrap().to_owned());
    let found: Vec<_> = found.zip(batch.column(1).as_primitive::<Int64Type>().values().iter().copied()).collect();
    assert_eq!(found, [(path("a"), 5), (path("b"), 0), (path("b"), 1), (path("b"), 7)]);
}
