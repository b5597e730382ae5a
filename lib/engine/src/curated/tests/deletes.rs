//! Position and equality deletes, each rule with a table that only reads right with it.

use lake::spec::DataContentType;
use serde_json::json;

use super::synthetic::{Synthetic, column, ints, longs, texts};
use crate::{Error, curated::RowOptions};

fn devices() -> Synthetic {
    Synthetic::new(&[json!([column(1, "id", "long"), column(2, "device", "string")])], json!([]), json!({}))
}

#[tokio::test]
async fn an_equality_delete_hits_older_rows_only() {
    let mut table = devices();
    table.data(1, vec![("id", Some(1), longs([1, 2])), ("device", Some(2), texts([Some("a"), Some("b")]))]).await;
    table.equality(2, vec![("id", Some(1), longs([1]))]).await;
    // The row that an upsert wrote beside its delete, and one that came later.
    table.data(2, vec![("id", Some(1), longs([1])), ("device", Some(2), texts([Some("c")]))]).await;
    table.data(3, vec![("id", Some(1), longs([1])), ("device", Some(2), texts([Some("d")]))]).await;
    let expected = [json!({"device": "b", "id": 2}), json!({"device": "c", "id": 1}), json!({"device": "d", "id": 1})];
    assert_eq!(table.rows().await.unwrap(), expected);
    // A later delete of another key makes the same set of keys apply to all three files, and changes nothing.
    table.equality(4, vec![("id", Some(1), longs([9]))]).await;
    assert_eq!(table.rows().await.unwrap(), expected);
}

#[tokio::test]
async fn null_equals_null_in_an_equality_delete() {
    let mut table = devices();
    table.data(1, vec![("id", Some(1), longs([1, 2])), ("device", Some(2), texts([None, Some("")]))]).await;
    table.equality(2, vec![("device", Some(2), texts([None]))]).await;
    assert_eq!(table.rows().await.unwrap(), [json!({"device": "", "id": 2})]);
}

#[tokio::test]
async fn columns_that_deletes_compare_are_read_though_nobody_asked_for_them() {
    let mut table = devices();
    table.data(1, vec![("id", Some(1), longs([1, 2])), ("device", Some(2), texts([Some("a"), Some("b")]))]).await;
    table.equality(2, vec![("device", Some(2), texts([Some("a")]))]).await;
    assert_eq!(table.read(&[1], RowOptions::default()).await.unwrap(), [json!({"id": 2})]);
    let counted = table.read(&[], RowOptions { row_number: true, ..RowOptions::default() }).await.unwrap();
    assert_eq!(counted, [json!({"_pos": 1})]);
    assert_eq!(table.read(&[], RowOptions::default()).await.unwrap().len(), 1);
}

#[tokio::test]
async fn deletes_of_several_column_sets_all_hold() {
    let mut table = devices();
    let ids = longs([1, 2, 3, 4]);
    table
        .data(1, vec![("id", Some(1), ids), ("device", Some(2), texts([Some("a"), Some("b"), Some("a"), Some("c")]))])
        .await;
    table.equality(2, vec![("device", Some(2), texts([Some("c")]))]).await;
    table.equality(3, vec![("device", Some(2), texts([Some("a")])), ("id", Some(1), longs([1]))]).await;
    let expected = [json!({"device": "a", "id": 3}), json!({"device": "b", "id": 2})];
    assert_eq!(table.rows().await.unwrap(), expected);
}

#[tokio::test]
async fn deletes_by_a_column_since_widened_or_dropped_still_hold() {
    let mut table = Synthetic::new(
        &[
            json!([column(1, "id", "int"), column(2, "device", "string"), column(3, "old", "string")]),
            json!([column(1, "id", "long"), column(2, "device", "string")]),
        ],
        json!([]),
        json!({}),
    );
    let old = texts([Some("x"), Some("y"), Some("z")]);
    let devices = texts([Some("a"), Some("b"), Some("c")]);
    table.data(1, vec![("id", Some(1), ints([1, 2, 3])), ("device", Some(2), devices), ("old", Some(3), old)]).await;
    table.equality(2, vec![("id", Some(1), ints([1]))]).await;
    table.equality(2, vec![("old", Some(3), texts([Some("y")]))]).await;
    table.data(1, vec![("id", Some(1), longs([1, 4])), ("device", Some(2), texts([Some("d"), Some("e")]))]).await;
    let expected = [json!({"device": "c", "id": 3}), json!({"device": "e", "id": 4})];
    assert_eq!(table.rows().await.unwrap(), expected);
}

#[tokio::test]
async fn an_equality_delete_holds_in_its_partition_only() {
    use lake::spec::{Literal, Struct};
    let by_device = json!([{"name": "device", "transform": "identity", "source-id": 2, "field-id": 1000}]);
    let mut table =
        Synthetic::new(&[json!([column(1, "id", "long"), column(2, "device", "string")])], by_device, json!({}));
    for device in ["a", "b"] {
        let columns = vec![("id", Some(1), longs([1])), ("device", Some(2), texts([Some(device)]))];
        table.partitioned(columns, vec![Literal::string(device)]).await;
    }
    table
        .add(DataContentType::EqualityDeletes, 2, vec![("id", Some(1), longs([1]))], |file| {
            file.equality_ids(Some(vec![1])).partition(Struct::from_iter([Some(Literal::string("a"))]));
        })
        .await;
    assert_eq!(table.rows().await.unwrap(), [json!({"device": "b", "id": 1})]);
}

#[tokio::test]
async fn positions_count_rows_of_the_file_and_name_it() {
    let mut table = devices();
    let ids = longs([10, 11, 12, 13]);
    let devices = texts([Some("a"), Some("b"), Some("c"), Some("d")]);
    let first = table.data(1, vec![("id", Some(1), ids), ("device", Some(2), devices)]).await;
    let second = table.data(1, vec![("id", Some(1), longs([20, 21])), ("device", Some(2), texts([None, None]))]).await;
    // Two delete files, out of order and overlapping, the second without field ids.
    let paths = texts([Some(first.as_str()), Some(first.as_str()), Some(second.as_str())]);
    let columns = vec![("file_path", Some(2_147_483_546), paths), ("pos", Some(2_147_483_545), longs([3, 0, 1]))];
    table.add(DataContentType::PositionDeletes, 2, columns, |_| {}).await;
    let columns =
        vec![("pos", None, longs([0, 1])), ("file_path", None, texts([Some(first.as_str()), Some("s3://t/else")]))];
    table.add(DataContentType::PositionDeletes, 3, columns, |_| {}).await;
    let read = table.read(&[1], RowOptions { row_number: true, batch_rows: 1, ..RowOptions::default() }).await.unwrap();
    assert_eq!(read, [json!({"_pos": 0, "id": 20}), json!({"_pos": 1, "id": 11}), json!({"_pos": 2, "id": 12})]);
}

#[tokio::test]
async fn positions_of_before_the_file_do_not_hold() {
    let mut table = devices();
    let location = table.data(5, vec![("id", Some(1), longs([1])), ("device", Some(2), texts([None]))]).await;
    let columns = |pos| {
        let path = texts([Some(location.as_str())]);
        vec![("file_path", Some(2_147_483_546), path), ("pos", Some(2_147_483_545), longs([pos]))]
    };
    table.add(DataContentType::PositionDeletes, 4, columns(0), |_| {}).await;
    assert_eq!(table.rows().await.unwrap().len(), 1);
    table.add(DataContentType::PositionDeletes, 5, columns(0), |_| {}).await;
    assert_eq!(table.rows().await.unwrap().len(), 0);
}

#[tokio::test]
async fn deletes_that_do_not_fit_in_memory_are_an_error() {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
    use futures::TryStreamExt;
    let mut table = devices();
    table.data(1, vec![("id", Some(1), longs([1])), ("device", Some(2), texts([None]))]).await;
    let many: arrow::array::ArrayRef = std::sync::Arc::new(arrow::array::Int64Array::from_iter_values(0..10_000));
    table.equality(2, vec![("id", Some(1), many)]).await;
    let pool: std::sync::Arc<dyn MemoryPool> = std::sync::Arc::new(GreedyMemoryPool::new(10_000));
    let reader = table.reader().with_memory(&pool, 1 << 20);
    let read: Result<Vec<_>, _> = reader.read(&reader.live().data[0], &[1], RowOptions::default()).try_collect().await;
    assert!(matches!(read, Err(Error::Memory { limit_bytes: 10_000, .. })), "{read:?}");
}

#[tokio::test]
async fn a_file_of_another_snapshot_is_refused_where_its_deletes_are_unknown() {
    use futures::TryStreamExt;
    let mut table = devices();
    table.data(1, vec![("id", Some(1), longs([1])), ("device", Some(2), texts([None]))]).await;
    table.equality(2, vec![("id", Some(1), longs([1]))]).await;
    let gone = table.live.data[0].clone();
    table.live.data.clear();
    table.data(3, vec![("id", Some(1), longs([1])), ("device", Some(2), texts([None]))]).await;
    let read: Result<Vec<_>, _> = table.reader().read(&gone, &[1], RowOptions::default()).try_collect().await;
    assert!(matches!(read, Err(Error::Unsupported { .. })), "{read:?}");
    assert_eq!(table.rows().await.unwrap().len(), 1);
}

#[tokio::test]
async fn equality_deletes_without_columns_are_refused() {
    let mut table = devices();
    table.add(DataContentType::EqualityDeletes, 2, vec![("id", Some(1), longs([1]))], |_| {}).await;
    let reader = crate::TableReader::of_files(&table.table, table.live.clone(), table.table.metadata.current_schema());
    assert!(matches!(reader, Err(Error::Unsupported { .. })));
}
