//! What Glue is told of a table, and what of it survives an update.

use iceberg::spec::{
    FormatVersion, ListType, MapType, NestedField, PartitionSpec, Schema, SortOrder, StructType, TableMetadataBuilder,
};

use super::*;

fn metadata(fields: Vec<NestedField>) -> TableMetadata {
    let schema = Schema::builder().with_fields(fields.into_iter().map(Into::into)).build().unwrap();
    let (spec, order) = (PartitionSpec::unpartition_spec(), SortOrder::unsorted_order());
    let location = "s3://b/t".to_owned();
    TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, HashMap::new())
        .unwrap()
        .build()
        .unwrap()
        .metadata
}

#[test]
fn columns_have_hive_types_ids_and_comments() {
    let optional = |id, name: &str, primitive| NestedField::optional(id, name, Type::Primitive(primitive));
    let list = ListType::new(optional(11, "element", PrimitiveType::Uuid).into());
    let map = MapType::new(
        NestedField::required(12, "key", Type::Primitive(PrimitiveType::String)).into(),
        optional(13, "value", PrimitiveType::Fixed(4)).into(),
    );
    let inner = StructType::new(vec![
        optional(14, "when", PrimitiveType::Timestamptz).into(),
        NestedField::optional(15, "tags", Type::List(list)).into(),
    ]);
    let metadata = metadata(vec![
        NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long)).with_doc("the device"),
        optional(2, "price", PrimitiveType::Decimal { precision: 9, scale: 2 }),
        NestedField::optional(3, "nested", Type::Struct(inner)),
        NestedField::optional(4, "by_name", Type::Map(map)),
    ]);
    let columns = columns(&metadata, &[]);
    let types: Vec<&str> = columns.iter().map(|column| column.r#type().unwrap()).collect();
    assert_eq!(types, ["bigint", "decimal(9,2)", "struct<when:timestamp,tags:array<string>>", "map<string,binary>"]);
    assert_eq!(columns[0].comment(), Some("the device"));
    let parameters = columns[0].parameters().unwrap();
    assert_eq!(parameters["iceberg.field.id"], "1");
    assert_eq!(parameters["iceberg.field.optional"], "false");
    assert_eq!(parameters["iceberg.field.current"], "true");
}

#[test]
fn a_dropped_column_stays_and_is_not_current() {
    let long = |id, name: &str| NestedField::optional(id, name, Type::Primitive(PrimitiveType::Long));
    let before = metadata(vec![long(1, "a"), long(2, "b")]);
    let without_b = Schema::builder().with_schema_id(1).with_fields([long(1, "a").into()]).build().unwrap();
    let after = before.into_builder(None).add_current_schema(without_b).unwrap().build().unwrap().metadata;
    let columns = columns(&after, &[]);
    let current = |column: &Column| column.parameters().unwrap()["iceberg.field.current"].clone();
    assert_eq!(
        columns.iter().map(|c| (c.name().to_owned(), current(c))).collect::<Vec<_>>(),
        [("a".to_owned(), "true".to_owned()), ("b".to_owned(), "false".to_owned())]
    );
}

#[test]
fn an_update_keeps_what_it_does_not_know() {
    let metadata = metadata(vec![NestedField::optional(1, "a", Type::Primitive(PrimitiveType::Long))]);
    let parameters = [("table_type", "ICEBERG"), ("metadata_location", "s3://b/1"), ("team", "iot")];
    let column = Column::builder().name("a").r#type("int").comment("by hand").parameters("lf", "x").build().unwrap();
    let storage = StorageDescriptor::builder()
        .columns(column)
        .location("s3://b/t")
        .additional_locations("s3://b/more")
        .parameters("k", "v")
        .build();
    let found = Table::builder()
        .name("t")
        .description("kept")
        .owner("data")
        .retention(7)
        .view_original_text("x")
        .set_parameters(Some(parameters.map(|(k, v)| (k.to_owned(), v.to_owned())).into()))
        .storage_descriptor(storage)
        .build()
        .unwrap();
    let input = updated(&found, "s3://b/2", &metadata);
    let parameters = input.parameters().unwrap();
    assert_eq!(parameters["metadata_location"], "s3://b/2");
    assert_eq!(parameters["previous_metadata_location"], "s3://b/1");
    assert_eq!((parameters["team"].as_str(), parameters.len()), ("iot", 4));
    assert_eq!((input.description(), input.owner(), input.retention()), (Some("kept"), Some("data"), 7));
    assert_eq!(input.view_original_text(), Some("x"));
    let storage = input.storage_descriptor().unwrap();
    assert_eq!(storage.additional_locations(), ["s3://b/more"]);
    assert_eq!(storage.parameters().unwrap()["k"], "v");
    let column = &storage.columns()[0];
    assert_eq!((column.r#type(), column.comment()), (Some("bigint"), Some("by hand")));
    assert_eq!(column.parameters().unwrap()["lf"], "x");
}
