//! Columns by field id: renamed, widened, added, dropped, and files that carry no ids.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Decimal128Array, Float32Array, ListArray, MapArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, TimeUnit},
};
use lake::spec::Literal;
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::json;

use super::synthetic::{Synthetic, cast, column, ints, longs, texts};

fn with_id(name: &str, data_type: DataType, id: i32) -> Arc<Field> {
    let metadata = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())];
    Arc::new(Field::new(name, data_type, true).with_metadata(metadata.into()))
}

#[tokio::test]
async fn names_and_places_mean_nothing() {
    let mut table = Synthetic::new(
        &[json!([column(1, "a", "long"), column(2, "b", "string"), column(3, "c", "string")])],
        json!([]),
        json!({}),
    );
    // The names are swapped, one column has been dropped since, one was added later.
    let file = vec![("a", Some(2), texts([Some("x")])), ("gone", Some(9), ints([7])), ("b", Some(1), longs([1]))];
    table.data(1, file).await;
    assert_eq!(table.rows().await.unwrap(), [json!({"a": 1, "b": "x"})]);
}

#[tokio::test]
async fn types_widen() {
    let mut table = Synthetic::new(
        &[json!([
            column(1, "long", "long"),
            column(2, "double", "double"),
            column(3, "decimal", "decimal(20, 2)"),
            column(4, "time", "timestamptz"),
            column(5, "text", "string"),
            column(6, "small", "int"),
        ])],
        json!([]),
        json!({}),
    );
    let decimal = Decimal128Array::from(vec![12_345]).with_precision_and_scale(9, 2).unwrap();
    let file: Vec<(_, _, ArrayRef)> = vec![
        ("long", Some(1), ints([-5])),
        ("double", Some(2), Arc::new(Float32Array::from(vec![0.5]))),
        ("decimal", Some(3), Arc::new(decimal)),
        ("time", Some(4), cast(&longs([1_748_736_000_123]), &DataType::Timestamp(TimeUnit::Millisecond, None))),
        ("text", Some(5), cast(&texts([Some("ü")]), &DataType::Binary)),
        ("small", Some(6), cast(&ints([3]), &DataType::Int16)),
    ];
    table.data(1, file).await;
    let expected = json!({
        "decimal": 123.45, "double": 0.5, "long": -5, "small": 3, "text": "ü", "time": "2025-06-01T00:00:00.123Z"
    });
    assert_eq!(table.rows().await.unwrap(), [expected]);
}

#[tokio::test]
async fn types_that_do_not_widen_are_refused() {
    for (in_table, in_file) in [
        ("int", longs([1])),
        ("decimal(9, 3)", Arc::new(Decimal128Array::from(vec![1]).with_precision_and_scale(9, 2).unwrap()) as ArrayRef),
        ("string", ints([1])),
        ("date", longs([1])),
    ] {
        let mut table = Synthetic::new(&[json!([column(1, "a", in_table)])], json!([]), json!({}));
        let location = table.data(1, vec![("a", Some(1), in_file)]).await;
        let error = table.rows().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("{location} cannot be read: its column a is ")), "{error}");
    }
}

#[tokio::test]
async fn text_that_is_no_text_is_an_error_and_not_null() {
    let mut table = Synthetic::new(&[json!([column(1, "a", "string")])], json!([]), json!({}));
    table.data(1, vec![("a", Some(1), Arc::new(arrow::array::BinaryArray::from_vec(vec![&[0xff, 0xfe]])))]).await;
    assert!(table.rows().await.is_err());
}

#[tokio::test]
async fn nested_fields_are_found_by_id_too() {
    let point = json!({"type": "struct", "fields": [column(3, "x", "long"), column(4, "y", "long")]});
    let list = json!({"type": "list", "element-id": 2, "element": point, "element-required": false});
    let columns = json!([{"id": 1, "name": "points", "required": false, "type": list}]);
    let mut table = Synthetic::new(&[columns], json!([]), json!({}));
    // `x` was an int called `lon`; `y` came later; something else is gone.
    let fields = vec![with_id("z", DataType::Int32, 8), with_id("lon", DataType::Int32, 3)];
    let structs = StructArray::new(fields.into(), vec![ints([9, 9, 9]), ints([1, 2, 3])], None);
    let element = with_id("element", structs.data_type().clone(), 2);
    let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
    let lists = ListArray::new(element, offsets, Arc::new(structs), Some(vec![true, false, true].into()));
    table.data(1, vec![("points", Some(1), Arc::new(lists))]).await;
    let expected = [json!({"points": [{"x": 1}, {"x": 2}]}), json!({"points": [{"x": 3}]}), json!({})];
    assert_eq!(table.rows().await.unwrap(), expected);
}

#[tokio::test]
async fn a_required_column_that_is_missing_is_refused() {
    let required = json!([column(1, "a", "long"), {"id": 2, "name": "b", "required": true, "type": "long"}]);
    let mut table = Synthetic::new(&[required], json!([]), json!({}));
    let location = table.data(1, vec![("a", Some(1), longs([1]))]).await;
    let error = table.rows().await.unwrap_err().to_string();
    assert_eq!(error, format!("{location} cannot be read: it has no column b, which the table requires"));
}

#[tokio::test]
async fn identity_partitions_stand_for_columns_that_the_file_leaves_out() {
    let partition = json!([
        {"name": "day", "transform": "identity", "source-id": 2, "field-id": 1000},
        {"name": "a_bucket", "transform": "bucket[4]", "source-id": 1, "field-id": 1001},
    ]);
    let mut table =
        Synthetic::new(&[json!([column(1, "a", "long"), column(2, "day", "string")])], partition, json!({}));
    let values = vec![Literal::string("2025-06-01"), Literal::int(3)];
    table.partitioned(vec![("a", Some(1), longs([1]))], values).await;
    assert_eq!(table.rows().await.unwrap(), [json!({"a": 1, "day": "2025-06-01"})]);
}

#[tokio::test]
async fn files_without_ids_need_a_name_mapping() {
    let schema = || json!([column(1, "a", "long"), column(2, "b", "string")]);
    let file = || vec![("was_b", None, texts([Some("x")])), ("a", None, longs([1])), ("c", None, longs([5]))];
    let mut table = Synthetic::new(&[schema()], json!([]), json!({}));
    let location = table.data(1, file()).await;
    let error = table.rows().await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{location} cannot be read: its columns carry no field ids")), "{error}");

    let mapping = json!([{"field-id": 1, "names": ["a"]}, {"field-id": 2, "names": ["b", "was_b"]}]).to_string();
    let mut table = Synthetic::new(&[schema()], json!([]), json!({"schema.name-mapping.default": mapping}));
    table.data(1, file()).await;
    assert_eq!(table.rows().await.unwrap(), [json!({"a": 1, "b": "x"})]);
}

/// A map of one row, `k` → 1, as a writer names the groups of its file.
fn map_of(entries: &str, key: &str, value: &str) -> ArrayRef {
    let fields = vec![Field::new(key, DataType::Utf8, false), Field::new(value, DataType::Int64, true)];
    let pairs = StructArray::new(fields.into(), vec![texts([Some("k")]), longs([1])], None);
    let field = Arc::new(Field::new(entries, pairs.data_type().clone(), false));
    Arc::new(MapArray::new(field, OffsetBuffer::from_lengths([1]), pairs, None, false))
}

/// A list of one row: one struct `{x: …}` in a list, or the number alone.
fn list_of(element: &str, of: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new(element, of.data_type().clone(), true));
    Arc::new(ListArray::new(field, OffsetBuffer::from_lengths([1]), of, None))
}

#[tokio::test]
async fn writers_name_the_groups_of_lists_and_maps_as_they_like() {
    let map =
        json!({"type": "map", "key-id": 4, "key": "string", "value-id": 5, "value": "long", "value-required": false});
    let list = |id: i32, of: serde_json::Value| json!({"type": "list", "element-id": id, "element": of, "element-required": false});
    let point = json!({"type": "struct", "fields": [column(8, "x", "long")]});
    let schema = json!([
        {"id": 1, "name": "m", "required": false, "type": map},
        {"id": 2, "name": "l", "required": false, "type": list(6, json!("long"))},
        {"id": 3, "name": "p", "required": false, "type": list(7, point)},
        {"id": 9, "name": "s", "required": false, "type": {"type": "struct", "fields": [column(10, "x", "long")]}},
    ]);
    let mapping = json!([
        {"field-id": 1, "names": ["m"], "fields": [{"field-id": 4, "names": ["key"]}, {"field-id": 5, "names": ["value"]}]},
        {"field-id": 2, "names": ["l"], "fields": [{"field-id": 6, "names": ["element"]}]},
        {"field-id": 3, "names": ["p"], "fields":
            [{"field-id": 7, "names": ["element"], "fields": [{"field-id": 8, "names": ["x"]}]}]},
        {"field-id": 9, "names": ["s"], "fields": [{"field-id": 10, "names": ["x"]}]},
    ]);
    let mut table = Synthetic::new(&[schema], json!([]), json!({"schema.name-mapping.default": mapping.to_string()}));
    let maps =
        [("key_value", "key", "value"), ("entries", "keys", "values"), ("map", "k", "v"), ("entries", "key", "value")];
    for ((entries, key, value), element) in maps.into_iter().zip(["element", "item", "array", "bag"]) {
        let point = || -> ArrayRef {
            let x = vec![Field::new("x", DataType::Int64, true)];
            Arc::new(StructArray::new(x.into(), vec![longs([1])], None))
        };
        let file = vec![
            ("m", None, map_of(entries, key, value)),
            ("l", None, list_of(element, longs([1]))),
            ("p", None, list_of(element, point())),
            ("s", None, point()),
        ];
        table.data(1, file).await;
    }
    let row = json!({"m": {"k": 1}, "l": [1], "p": [{"x": 1}], "s": {"x": 1}});
    assert_eq!(table.rows().await.unwrap(), vec![row; 4]);
}
