//! Iceberg types ↔ Arrow types: the one layout that batches of a table have inside the engine.
//!
//! Owns which Arrow type stands for which Iceberg type, and where field ids live. Refuses to know values, files and
//! contracts' rules.

use std::{collections::HashMap, sync::Arc};

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use contract::Column;
use lake::spec::{self, ListType, MapType, NestedField, StructType};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

use crate::{Error, Result};

/// The Arrow schema of a table's batches: columns in the schema's order, nullable where the field is optional, and
/// each field, nested ones too, with its id in the metadata under `PARQUET:field_id`.
///
/// Strings and binaries are views, `uuid` is `FixedSizeBinary(16)`, decimals are `Decimal128`, times and timestamps
/// count microseconds, `timestamptz` has the zone `UTC`. Maps are `key_value { key, value }`, lists hold `element`.
/// Fails for types of format version 3 (nanosecond timestamps) and for sizes that Arrow has no room for.
pub fn arrow_schema(schema: &spec::Schema) -> Result<SchemaRef> {
    Ok(Arc::new(Schema::new(struct_fields(schema.as_struct())?)))
}

/// The Arrow type of an Iceberg type, with field ids on the fields below it.
pub fn arrow_type(field_type: &spec::Type) -> Result<DataType> {
    match field_type {
        spec::Type::Primitive(primitive) => arrow_primitive(primitive),
        spec::Type::Struct(fields) => Ok(DataType::Struct(struct_fields(fields)?)),
        spec::Type::List(ListType { element_field }) => Ok(DataType::List(arrow_field(element_field, "element")?)),
        spec::Type::Map(MapType { key_field, value_field }) => {
            let entry = Fields::from(vec![arrow_field(key_field, "key")?, arrow_field(value_field, "value")?]);
            Ok(DataType::Map(Arc::new(Field::new("key_value", DataType::Struct(entry), false)), false))
        }
    }
}

/// The contract type that holds every value of an Arrow type; `None` where Iceberg format version 2 has none
/// (durations, intervals, unions, `Null`, empty structs, decimals beyond 38 digits or with a negative scale).
///
/// For columns first seen in raw files, so everything below the column is optional, whatever this one file says: the
/// next file may hold NULL. Small and unsigned integers widen (`UInt64` to `decimal(20, 0)`), dates and times of any
/// unit become Iceberg's, dictionaries count as their values.
pub fn iceberg_type(data_type: &DataType) -> Option<contract::Type> {
    use contract::PrimitiveType as Primitive;
    let primitive = match data_type {
        DataType::Boolean => Primitive::Boolean,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::UInt8 | DataType::UInt16 => Primitive::Int,
        DataType::Int64 | DataType::UInt32 => Primitive::Long,
        DataType::UInt64 => Primitive::Decimal { precision: 20, scale: 0 },
        DataType::Float16 | DataType::Float32 => Primitive::Float,
        DataType::Float64 => Primitive::Double,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            let scale = u8::try_from(*scale).ok()?;
            (*precision <= 38 && scale <= *precision).then_some(Primitive::Decimal { precision: *precision, scale })?
        }
        DataType::Date32 | DataType::Date64 => Primitive::Date,
        DataType::Time32(_) | DataType::Time64(_) => Primitive::Time,
        DataType::Timestamp(_, None) => Primitive::Timestamp,
        DataType::Timestamp(_, Some(_)) => Primitive::TimestampTz,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Primitive::String,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Primitive::Binary,
        DataType::FixedSizeBinary(bytes) => Primitive::Fixed(u32::try_from(*bytes).ok()?),
        DataType::Dictionary(_, values) => return iceberg_type(values),
        DataType::RunEndEncoded(_, values) => return iceberg_type(values.data_type()),
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::ListView(element)
        | DataType::LargeListView(element)
        | DataType::FixedSizeList(element, _) => {
            let element = Box::new(iceberg_type(element.data_type())?);
            return Some(contract::Type::List { element, element_required: false });
        }
        DataType::Struct(fields) => return iceberg_struct(fields),
        DataType::Map(entries, _) => {
            let DataType::Struct(entry) = entries.data_type() else { return None };
            let [key, value] = entry.as_ref() else { return None };
            return Some(contract::Type::Map {
                key: Box::new(iceberg_type(key.data_type())?),
                value: Box::new(iceberg_type(value.data_type())?),
                value_required: false,
            });
        }
        DataType::Null | DataType::Duration(_) | DataType::Interval(_) | DataType::Union(_, _) => return None,
    };
    Some(contract::Type::Primitive(primitive))
}

/// The field id that a field carries under `PARQUET:field_id`.
pub fn field_id(field: &Field) -> Option<i32> {
    field.metadata().get(PARQUET_FIELD_ID_META_KEY)?.parse().ok()
}

fn struct_fields(fields: &StructType) -> Result<Fields> {
    fields.fields().iter().map(|field| arrow_field(field, &field.name)).collect()
}

fn arrow_field(field: &NestedField, name: &str) -> Result<FieldRef> {
    let data_type = arrow_type(&field.field_type).map_err(|error| match error {
        Error::Unsupported { subject, reason } if subject.is_empty() => {
            Error::Unsupported { subject: format!("column {}", field.name), reason }
        }
        other => other,
    })?;
    let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_string(), field.id.to_string())]);
    Ok(Arc::new(Field::new(name, data_type, !field.required).with_metadata(id)))
}

fn arrow_primitive(primitive: &spec::PrimitiveType) -> Result<DataType> {
    use spec::PrimitiveType as Primitive;
    // The column's name is filled in where it is known.
    let unsupported = |reason: String| Error::Unsupported { subject: String::new(), reason };
    Ok(match primitive {
        Primitive::Boolean => DataType::Boolean,
        Primitive::Int => DataType::Int32,
        Primitive::Long => DataType::Int64,
        Primitive::Float => DataType::Float32,
        Primitive::Double => DataType::Float64,
        Primitive::Decimal { precision, scale } => match (u8::try_from(*precision), i8::try_from(*scale)) {
            (Ok(precision @ 1..=38), Ok(scale)) => DataType::Decimal128(precision, scale),
            _ => return Err(unsupported(format!("decimal({precision}, {scale}) has more than 38 digits"))),
        },
        Primitive::Date => DataType::Date32,
        Primitive::Time => DataType::Time64(TimeUnit::Microsecond),
        Primitive::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
        Primitive::Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        Primitive::String => DataType::Utf8View,
        Primitive::Uuid => DataType::FixedSizeBinary(16),
        Primitive::Fixed(bytes) => DataType::FixedSizeBinary(
            i32::try_from(*bytes).map_err(|_| unsupported(format!("fixed({bytes}) is longer than 2 GiB")))?,
        ),
        Primitive::Binary => DataType::BinaryView,
        Primitive::TimestampNs | Primitive::TimestamptzNs => {
            return Err(unsupported(format!("{primitive} is a type of format version 3")));
        }
    })
}

fn iceberg_struct(fields: &Fields) -> Option<contract::Type> {
    let mut names: Vec<String> = fields.iter().map(|field| field.name().to_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    if fields.is_empty() || names.len() < fields.len() {
        return None;
    }
    let columns = fields.iter().map(|field| {
        Some(Column {
            name: field.name().clone(),
            source: None,
            renamed_from: Vec::new(),
            column_type: iceberg_type(field.data_type())?,
            required: false,
            description: None,
            epoch_unit: contract::EpochUnit::default(),
            constraints: Vec::new(),
        })
    });
    Some(contract::Type::Struct(columns.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use lake::spec::{PrimitiveType, Type};

    use super::*;

    fn nested() -> spec::Schema {
        spec::Schema::builder()
            .with_fields([
                NestedField::required(1, "device_id", Type::Primitive(PrimitiveType::String)).into(),
                NestedField::optional(2, "event_time", Type::Primitive(PrimitiveType::Timestamptz)).into(),
                NestedField::optional(
                    3,
                    "location",
                    Type::Struct(StructType::new(vec![
                        NestedField::required(4, "lat", Type::Primitive(PrimitiveType::Double)).into(),
                        NestedField::optional(5, "id", Type::Primitive(PrimitiveType::Uuid)).into(),
                    ])),
                )
                .into(),
                NestedField::optional(
                    6,
                    "tags",
                    Type::Map(MapType::new(
                        NestedField::map_key_element(7, Type::Primitive(PrimitiveType::String)).into(),
                        NestedField::map_value_element(8, Type::Primitive(PrimitiveType::Binary), false).into(),
                    )),
                )
                .into(),
                NestedField::optional(
                    9,
                    "readings",
                    Type::List(ListType::new(
                        NestedField::list_element(10, Type::Primitive(PrimitiveType::Float), true).into(),
                    )),
                )
                .into(),
            ])
            .build()
            .unwrap()
    }

    #[test]
    fn every_field_has_its_id() {
        fn ids(field: &FieldRef, found: &mut Vec<i32>) {
            found.extend(field_id(field));
            match field.data_type() {
                DataType::Struct(fields) => fields.iter().for_each(|field| ids(field, found)),
                DataType::List(field) | DataType::Map(field, _) => ids(field, found),
                _ => {}
            }
        }
        let schema = arrow_schema(&nested()).unwrap();
        let mut found = Vec::new();
        schema.fields().iter().for_each(|field| ids(field, &mut found));
        assert_eq!(found, (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn layout_is_canonical() {
        let schema = arrow_schema(&nested()).unwrap();
        assert_eq!(schema.field(0).data_type(), &DataType::Utf8View);
        assert!(!schema.field(0).is_nullable());
        assert_eq!(schema.field(1).data_type(), &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())));
        let DataType::Map(entries, false) = schema.field(3).data_type() else { panic!("no map") };
        assert_eq!(entries.name(), "key_value");
        let DataType::List(element) = schema.field(4).data_type() else { panic!("no list") };
        assert_eq!((element.name().as_str(), element.is_nullable()), ("element", false));
    }

    #[test]
    fn version_three_types_name_their_column() {
        let schema = spec::Schema::builder()
            .with_fields([NestedField::optional(1, "at", Type::Primitive(PrimitiveType::TimestampNs)).into()])
            .build()
            .unwrap();
        let error = arrow_schema(&schema).unwrap_err().to_string();
        assert_eq!(error, "column at cannot be read: timestamp_ns is a type of format version 3");
    }

    #[test]
    fn raw_types_widen() {
        use contract::{PrimitiveType as Primitive, Type as ContractType};
        let primitive = |data_type: DataType| match iceberg_type(&data_type) {
            Some(ContractType::Primitive(primitive)) => Some(primitive),
            _ => None,
        };
        assert_eq!(primitive(DataType::UInt16), Some(Primitive::Int));
        assert_eq!(primitive(DataType::UInt32), Some(Primitive::Long));
        assert_eq!(primitive(DataType::UInt64), Some(Primitive::Decimal { precision: 20, scale: 0 }));
        assert_eq!(primitive(DataType::Timestamp(TimeUnit::Nanosecond, None)), Some(Primitive::Timestamp));
        assert_eq!(
            primitive(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
            Some(Primitive::String)
        );
        assert_eq!(primitive(DataType::Decimal256(60, 2)), None);
        assert_eq!(primitive(DataType::Null), None);
        assert_eq!(iceberg_type(&DataType::Struct(Fields::empty())), None);
        let twice = Fields::from(vec![Field::new("a", DataType::Int32, true), Field::new("A", DataType::Int32, true)]);
        assert_eq!(iceberg_type(&DataType::Struct(twice)), None);
    }

    #[test]
    fn a_tables_own_layout_maps_back() {
        let schema = arrow_schema(&nested()).unwrap();
        for field in schema.fields() {
            assert!(iceberg_type(field.data_type()).is_some(), "{field}");
        }
    }
}
