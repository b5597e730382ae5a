//! A Glue table as the Iceberg metadata has it, and everything else as it was found.
//!
//! After Iceberg's `IcebergToGlueConverter` (Java): columns are for people and for Athena's list of columns; engines
//! read the metadata file. Unlike there, what Glue holds beside it survives.

use std::collections::{HashMap, HashSet};

use aws_sdk_glue::types::{Column, StorageDescriptor, Table, TableInput};
use contract::TableName;
use iceberg::spec::{NestedField, PrimitiveType, SchemaRef, TableMetadata, Type};

pub(super) const TABLE_TYPE: &str = "table_type";
pub(super) const METADATA_LOCATION: &str = "metadata_location";
const PREVIOUS_METADATA_LOCATION: &str = "previous_metadata_location";
/// Longest name of a column that Glue takes. Engines do not ask it for columns: one that it cannot list is no loss to them.
const NAME_CHARS_MAX: usize = 255;
/// Longest comment that Glue takes.
const COMMENT_CHARS_MAX: usize = 255;

/// A table that Glue does not have yet.
pub(super) fn new(table: &TableName, metadata_location: &str, metadata: &TableMetadata) -> TableInput {
    let parameters = HashMap::from([
        (TABLE_TYPE.to_owned(), "ICEBERG".to_owned()),
        (METADATA_LOCATION.to_owned(), metadata_location.to_owned()),
    ]);
    let storage = StorageDescriptor::builder().build();
    TableInput::builder()
        .name(table.name())
        .set_description(metadata.properties().get("comment").cloned())
        .table_type("EXTERNAL_TABLE")
        .set_parameters(Some(parameters))
        .storage_descriptor(described(storage, metadata))
        .build()
        .expect("the name is set")
}

/// The table as found, with another pointer and the columns of the metadata.
pub(super) fn updated(found: &Table, metadata_location: &str, metadata: &TableMetadata) -> TableInput {
    let mut parameters = found.parameters.clone().unwrap_or_default();
    let previous = parameters.insert(METADATA_LOCATION.to_owned(), metadata_location.to_owned());
    if let Some(previous) = previous {
        parameters.insert(PREVIOUS_METADATA_LOCATION.to_owned(), previous);
    }
    let storage = found.storage_descriptor.clone().unwrap_or_else(|| StorageDescriptor::builder().build());
    TableInput::builder()
        .name(&found.name)
        .set_description(metadata.properties().get("comment").cloned().or_else(|| found.description.clone()))
        .set_owner(found.owner.clone())
        .set_last_access_time(found.last_access_time)
        .set_last_analyzed_time(found.last_analyzed_time)
        .retention(found.retention)
        .storage_descriptor(described(storage, metadata))
        .set_partition_keys(found.partition_keys.clone())
        .set_view_original_text(found.view_original_text.clone())
        .set_view_expanded_text(found.view_expanded_text.clone())
        .set_table_type(found.table_type.clone().or_else(|| Some("EXTERNAL_TABLE".to_owned())))
        .set_parameters(Some(parameters))
        .set_target_table(found.target_table.clone())
        .set_federated_table(found.federated_table.clone())
        .build()
        .expect("the name is set")
}

fn described(mut storage: StorageDescriptor, metadata: &TableMetadata) -> StorageDescriptor {
    storage.columns = Some(columns(metadata, storage.columns()));
    storage.location = Some(metadata.location().to_owned());
    storage
}

/// The current schema's columns, then those that only older schemas have, so that Athena finds them in old snapshots.
fn columns(metadata: &TableMetadata, found: &[Column]) -> Vec<Column> {
    let current = metadata.current_schema();
    let mut older: Vec<&SchemaRef> =
        metadata.schemas_iter().filter(|schema| schema.schema_id() != current.schema_id()).collect();
    older.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
    let mut names = HashSet::new();
    let mut columns = Vec::new();
    for (schema, is_current) in std::iter::once((current, true)).chain(older.into_iter().map(|schema| (schema, false)))
    {
        for field in schema.as_struct().fields() {
            // Glue and Athena do not tell names apart by case.
            let is_short = field.name.chars().count() <= NAME_CHARS_MAX;
            if is_short && names.insert(field.name.to_lowercase()) {
                let before = found.iter().find(|column| column.name.eq_ignore_ascii_case(&field.name));
                columns.push(column(field, is_current, before));
            }
        }
    }
    columns
}

fn column(field: &NestedField, is_current: bool, before: Option<&Column>) -> Column {
    let mut parameters = before.and_then(|column| column.parameters.clone()).unwrap_or_default();
    parameters.insert("iceberg.field.id".to_owned(), field.id.to_string());
    parameters.insert("iceberg.field.optional".to_owned(), (!field.required).to_string());
    parameters.insert("iceberg.field.current".to_owned(), is_current.to_string());
    let doc = field.doc.as_deref().filter(|doc| !doc.is_empty());
    let comment = doc.or_else(|| before.and_then(Column::comment));
    Column::builder()
        .name(&field.name)
        .r#type(type_name(&field.field_type))
        .set_comment(comment.map(|comment| comment.chars().take(COMMENT_CHARS_MAX).collect()))
        .set_parameters(Some(parameters))
        .build()
        .expect("the name is set")
}

/// Hive's name of a type.
fn type_name(data_type: &Type) -> String {
    match data_type {
        Type::Primitive(primitive) => primitive_name(primitive),
        Type::Struct(fields) => {
            let fields: Vec<String> = fields
                .fields()
                .iter()
                .map(|field| format!("{}:{}", field.name, type_name(&field.field_type)))
                .collect();
            format!("struct<{}>", fields.join(","))
        }
        Type::List(list) => format!("array<{}>", type_name(&list.element_field.field_type)),
        Type::Map(map) => {
            format!("map<{},{}>", type_name(&map.key_field.field_type), type_name(&map.value_field.field_type))
        }
    }
}

fn primitive_name(primitive: &PrimitiveType) -> String {
    match primitive {
        PrimitiveType::Boolean => "boolean",
        PrimitiveType::Int => "int",
        PrimitiveType::Long => "bigint",
        PrimitiveType::Float => "float",
        PrimitiveType::Double => "double",
        PrimitiveType::Date => "date",
        PrimitiveType::Time | PrimitiveType::String | PrimitiveType::Uuid => "string",
        PrimitiveType::Timestamp
        | PrimitiveType::Timestamptz
        | PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs => "timestamp",
        PrimitiveType::Fixed(_) | PrimitiveType::Binary => "binary",
        PrimitiveType::Decimal { precision, scale } => return format!("decimal({precision},{scale})"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests;
