//! Field ids for files that carry none, from the table's name mapping
//! (<https://iceberg.apache.org/spec/#column-projection>).

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use lake::spec::{MappedField, NameMapping, TableMetadata};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::{Error, Result, types::field_id};

const NAME_MAPPING_PROPERTY: &str = "schema.name-mapping.default";

/// The table's name mapping, when it has one.
pub(super) fn name_mapping(table: &str, metadata: &TableMetadata) -> Result<Option<NameMapping>> {
    let Some(text) = metadata.properties().get(NAME_MAPPING_PROPERTY) else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|source| Error::Unsupported {
        subject: format!("table {table}"),
        reason: format!("its property {NAME_MAPPING_PROPERTY} is not a name mapping: {source}"),
    })
}

/// The file's schema with a field id on every field that belongs to the table.
///
/// A file in which any field has an id is taken as it is. Ids by position, which Iceberg's Java library falls back to
/// without a name mapping, would put values into the wrong column as soon as one was dropped, so that is refused.
pub(super) fn with_ids(location: &str, schema: &SchemaRef, mapping: Option<&NameMapping>) -> Result<SchemaRef> {
    if schema.fields().iter().any(|field| has_id(field)) {
        return Ok(Arc::clone(schema));
    }
    let Some(mapping) = mapping else {
        return Err(Error::Unsupported {
            subject: location.to_owned(),
            reason: format!(
                "its columns carry no field ids and the table has no name mapping; set the property \
                 {NAME_MAPPING_PROPERTY}, or rewrite the file"
            ),
        });
    };
    let mapped: Vec<_> = mapping.fields().iter().collect();
    Ok(Arc::new(Schema::new(map_fields(schema.fields(), &mapped))))
}

fn has_id(field: &Field) -> bool {
    field_id(field).is_some()
        || match field.data_type() {
            DataType::Struct(fields) => fields.iter().any(|field| has_id(field)),
            DataType::List(field) | DataType::Map(field, _) => has_id(field),
            _ => false,
        }
}

fn map_fields(fields: &Fields, mapping: &[&MappedField]) -> Fields {
    fields.iter().map(|field| map_field(field, field.name(), mapping)).collect()
}

fn map_field(field: &FieldRef, name: &str, mapping: &[&MappedField]) -> FieldRef {
    let found = mapping.iter().find(|mapped| mapped.names().iter().any(|known| known == name));
    let Some(mapped) = found else { return Arc::clone(field) };
    let below: Vec<&MappedField> = mapped.fields().iter().map(AsRef::as_ref).collect();
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(map_fields(fields, &below)),
        DataType::List(element) => DataType::List(map_field(element, "element", &below)),
        DataType::Map(entries, sorted) => DataType::Map(map_entries(entries, &below), *sorted),
        other => other.clone(),
    };
    let mut metadata = HashMap::new();
    if let Some(id) = mapped.field_id() {
        metadata.insert(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
    }
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata))
}

fn map_entries(entries: &FieldRef, mapping: &[&MappedField]) -> FieldRef {
    let DataType::Struct(fields) = entries.data_type() else { return Arc::clone(entries) };
    let named = fields.iter().zip(["key", "value"]).map(|(field, name)| map_field(field, name, mapping));
    Arc::new(entries.as_ref().clone().with_data_type(DataType::Struct(named.collect())))
}
