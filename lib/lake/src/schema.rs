//! Contract types as Iceberg types, with field ids (<https://iceberg.apache.org/spec/#schemas-and-data-types>).

use std::{collections::HashSet, sync::Arc};

use contract::{Column, Contract};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, NullOrder, PrimitiveType, Schema, SortDirection, SortField,
    SortOrder, StructType, Transform, Type, UnboundPartitionSpec,
};

/// The schema of a new table. The key is its identifier when every key column is required and of a type that can be one.
pub fn schema_for(contract: &Contract) -> iceberg::Result<Schema> {
    let mut ids = FieldIds::after(0);
    let fields = ids.fields(&contract.columns);
    let identifier = identifier_ids(contract, &fields);
    Schema::builder().with_fields(fields).with_identifier_field_ids(identifier).build()
}

/// The partition spec of a new table, with the names that Java gives: `event_time_day`, `device_id_bucket`, and the
/// column's own name for identity. Where a column or another partition field is called so, a number follows.
pub fn partition_spec_for(contract: &Contract, schema: &Schema) -> iceberg::Result<UnboundPartitionSpec> {
    let mut spec = UnboundPartitionSpec::builder();
    let mut taken: HashSet<String> = schema.field_id_to_name_map().values().map(|name| name.to_lowercase()).collect();
    for field in &contract.partition {
        let transform = transform_of(field.transform);
        let mut name = partition_name(&field.column, transform);
        if transform != Transform::Identity {
            let numbered = (2..).map(|number| format!("{name}_{number}"));
            let mut names = std::iter::once(name.clone()).chain(numbered);
            name = names.find(|name| taken.insert(name.to_lowercase())).expect("numbers have no end");
        }
        spec = spec.add_partition_field(field_id(schema, &field.column)?, name, transform)?;
    }
    Ok(spec.build())
}

/// The sort order of a new table.
pub fn sort_order_for(contract: &Contract, schema: &Schema) -> iceberg::Result<SortOrder> {
    let mut order = SortOrder::builder();
    for term in &contract.sort_order {
        order.with_sort_field(SortField {
            source_id: field_id(schema, &term.column)?,
            transform: Transform::Identity,
            direction: match term.direction {
                contract::Direction::Ascending => SortDirection::Ascending,
                contract::Direction::Descending => SortDirection::Descending,
            },
            null_order: match term.nulls {
                contract::Nulls::First => NullOrder::First,
                contract::Nulls::Last => NullOrder::Last,
            },
        });
    }
    order.build(schema)
}

fn field_id(schema: &Schema, column: &str) -> iceberg::Result<i32> {
    let unknown = || {
        let message = format!("the contract has no column {column}");
        iceberg::Error::new(iceberg::ErrorKind::DataInvalid, message)
    };
    schema.as_struct().field_by_name(column).map(|field| field.id).ok_or_else(unknown)
}

fn partition_name(column: &str, transform: Transform) -> String {
    let suffix = match transform {
        Transform::Year => "_year",
        Transform::Month => "_month",
        Transform::Day => "_day",
        Transform::Hour => "_hour",
        Transform::Bucket(_) => "_bucket",
        Transform::Truncate(_) => "_trunc",
        _ => "",
    };
    format!("{column}{suffix}")
}

/// A contract's partition transform as Iceberg's.
pub(crate) fn transform_of(transform: contract::Transform) -> Transform {
    match transform {
        contract::Transform::Identity => Transform::Identity,
        contract::Transform::Year => Transform::Year,
        contract::Transform::Month => Transform::Month,
        contract::Transform::Day => Transform::Day,
        contract::Transform::Hour => Transform::Hour,
        contract::Transform::Bucket(count) => Transform::Bucket(count),
        contract::Transform::Truncate(width) => Transform::Truncate(width),
    }
}

/// Ids of the key's fields; empty when one of them cannot be part of an identifier.
pub(crate) fn identifier_ids(contract: &Contract, fields: &[NestedFieldRef]) -> Vec<i32> {
    let can_identify = |field: &&NestedFieldRef| {
        let floating = matches!(*field.field_type, Type::Primitive(PrimitiveType::Float | PrimitiveType::Double));
        field.required && field.field_type.is_primitive() && !floating
    };
    let key = contract.key.iter().map(|name| fields.iter().find(|field| field.name == *name).filter(can_identify));
    key.map(|field| field.map(|field| field.id)).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// Hands out field ids as Iceberg does: all fields of a struct first, then what lies inside of them.
#[derive(Debug)]
pub(crate) struct FieldIds {
    last: i32,
}

impl FieldIds {
    /// Ids above one.
    pub(crate) fn after(last: i32) -> Self {
        Self { last }
    }

    fn next(&mut self) -> i32 {
        self.last += 1;
        self.last
    }

    /// Columns as fields.
    pub(crate) fn fields(&mut self, columns: &[Column]) -> Vec<NestedFieldRef> {
        let ids: Vec<i32> = columns.iter().map(|_| self.next()).collect();
        columns.iter().zip(ids).map(|(column, id)| Arc::new(self.field_of(column, id))).collect()
    }

    /// One more column as a field.
    pub(crate) fn field(&mut self, column: &Column) -> NestedField {
        let id = self.next();
        self.field_of(column, id)
    }

    fn field_of(&mut self, column: &Column, id: i32) -> NestedField {
        let field = NestedField::new(id, &column.name, self.type_of(&column.column_type), column.required);
        match &column.description {
            Some(text) => field.with_doc(text),
            None => field,
        }
    }

    fn type_of(&mut self, of: &contract::Type) -> Type {
        match of {
            contract::Type::Primitive(primitive) => Type::Primitive(primitive_of(*primitive)),
            contract::Type::Struct(columns) => Type::Struct(StructType::new(self.fields(columns))),
            contract::Type::List { element, element_required } => {
                let id = self.next();
                let element = NestedField::list_element(id, self.type_of(element), *element_required);
                Type::List(ListType::new(element.into()))
            }
            contract::Type::Map { key, value, value_required } => {
                let key_id = self.next();
                let key = NestedField::map_key_element(key_id, self.type_of(key));
                let value_id = self.next();
                let value = NestedField::map_value_element(value_id, self.type_of(value), *value_required);
                Type::Map(MapType::new(key.into(), value.into()))
            }
        }
    }
}

/// A contract's primitive type as Iceberg's.
pub(crate) fn primitive_of(primitive: contract::PrimitiveType) -> PrimitiveType {
    match primitive {
        contract::PrimitiveType::Boolean => PrimitiveType::Boolean,
        contract::PrimitiveType::Int => PrimitiveType::Int,
        contract::PrimitiveType::Long => PrimitiveType::Long,
        contract::PrimitiveType::Float => PrimitiveType::Float,
        contract::PrimitiveType::Double => PrimitiveType::Double,
        contract::PrimitiveType::Decimal { precision, scale } => {
            PrimitiveType::Decimal { precision: precision.into(), scale: scale.into() }
        }
        contract::PrimitiveType::Date => PrimitiveType::Date,
        contract::PrimitiveType::Time => PrimitiveType::Time,
        contract::PrimitiveType::Timestamp => PrimitiveType::Timestamp,
        contract::PrimitiveType::TimestampTz => PrimitiveType::Timestamptz,
        contract::PrimitiveType::String => PrimitiveType::String,
        contract::PrimitiveType::Uuid => PrimitiveType::Uuid,
        contract::PrimitiveType::Fixed(bytes) => PrimitiveType::Fixed(bytes.into()),
        contract::PrimitiveType::Binary => PrimitiveType::Binary,
    }
}
