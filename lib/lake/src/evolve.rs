//! How a table follows its contract: a pure comparison that gives a new schema, nothing to do, or a refusal.
//!
//! Only what leaves every file and every reader right is allowed: new optional columns, wider types, new names for old
//! field ids, NULL where there was none.

use std::sync::Arc;

use contract::{Column, Contract, TableName};
use iceberg::spec::{
    ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, TableMetadata, Transform, Type,
};

use crate::{
    SchemaUpdate,
    error::ErrorKind,
    schema::{FieldIds, primitive_of, transform_of},
};

/// The change of schema that makes a table follow its contract; `None` when it does already.
///
/// `new_columns` are columns that raw files have and the contract does not, for contracts that let a table grow by them.
/// Columns of the table that the contract does not have stay, and get NULL.
pub fn evolve(
    metadata: &TableMetadata,
    contract: &Contract,
    new_columns: &[Column],
) -> Result<Option<SchemaUpdate>, EvolveError> {
    let schema = metadata.current_schema();
    let wanted: Vec<&Column> = with_new(contract, new_columns);
    let mut evolution = Evolution {
        table: &contract.table,
        key: &contract.key,
        ids: FieldIds::after(metadata.last_column_id()),
        descriptions: Vec::new(),
    };
    let fields = evolution.fields(schema.as_struct().fields(), &wanted, "")?;
    check_key(contract, schema, &fields)?;
    check_partitions(contract, metadata, &fields)?;
    if evolution.descriptions.is_empty() {
        return Ok(None);
    }
    let schema = Schema::builder()
        .with_fields(fields)
        .with_identifier_field_ids(schema.identifier_field_ids())
        .build()
        .map_err(|source| EvolveError::Schema { table: contract.table.clone(), source: Box::new(source) })?;
    let base_schema_id = metadata.current_schema_id();
    Ok(Some(SchemaUpdate { schema, partition_spec: None, base_schema_id, descriptions: evolution.descriptions }))
}

/// The contract's columns, then those new ones that it does not name.
fn with_new<'a>(contract: &'a Contract, new_columns: &'a [Column]) -> Vec<&'a Column> {
    let unknown = new_columns.iter().filter(|column| contract.column(&column.name).is_none());
    contract.columns.iter().chain(unknown).collect()
}

struct Evolution<'a> {
    table: &'a TableName,
    key: &'a [String],
    ids: FieldIds,
    descriptions: Vec<String>,
}

impl Evolution<'_> {
    /// The fields of a struct: those that are there, in their order, then new ones. `parent` is empty at the top, else
    /// the struct's name and a dot.
    fn fields(
        &mut self,
        present: &[NestedFieldRef],
        wanted: &[&Column],
        parent: &str,
    ) -> Result<Vec<NestedFieldRef>, EvolveError> {
        let mut fields = Vec::with_capacity(wanted.len());
        for field in present {
            let column = wanted.iter().find(|column| fills(column, field, present));
            fields.push(match column {
                Some(column) => Arc::new(self.field(field, column, parent)?),
                None => {
                    self.check_unfilled(field, parent)?;
                    Arc::clone(field)
                }
            });
        }
        let new = wanted.iter().filter(|column| !present.iter().any(|field| fills(column, field, present)));
        for column in new {
            fields.push(Arc::new(self.new_field(column, present, parent)?));
        }
        Ok(fields)
    }

    fn field(&mut self, field: &NestedField, column: &Column, parent: &str) -> Result<NestedField, EvolveError> {
        let name = format!("{parent}{}", column.name);
        let mut evolved = field.clone();
        if field.name != column.name {
            self.descriptions.push(format!("renamed column {parent}{} to {name}", field.name));
            evolved.name.clone_from(&column.name);
        }
        // A table that is laxer than its contract is kept so: rows are judged by the contract.
        let in_key = parent.is_empty() && self.key.contains(&column.name);
        if field.required && !column.required && !in_key {
            self.descriptions.push(format!("made column {name} optional"));
            evolved.required = false;
        }
        if column.description.is_some() && field.doc != column.description {
            self.descriptions.push(format!("described column {name}"));
            evolved.doc.clone_from(&column.description);
        }
        evolved.field_type = Box::new(self.of_type(&field.field_type, &column.column_type, &name)?);
        Ok(evolved)
    }

    fn new_field(
        &mut self,
        column: &Column,
        present: &[NestedFieldRef],
        parent: &str,
    ) -> Result<NestedField, EvolveError> {
        let name = format!("{parent}{}", column.name);
        if let Some(field) = present.iter().find(|field| field.name.to_lowercase() == column.name.to_lowercase()) {
            let help = format!(
                "write the contract's column as {}, or name that one in etl.renamedFrom: most engines do not tell the \
                 two apart",
                field.name
            );
            return Err(self.breaking(&name, "is in the table under a name that differs by case only", help));
        }
        if column.required {
            let help = "declare it optional: rows that are there already have no value for it";
            return Err(self.breaking(&name, "is new and required", help.to_owned()));
        }
        let field = self.ids.field(column);
        self.descriptions.push(format!("added column {name} {}", field.field_type));
        Ok(field)
    }

    fn of_type(&mut self, present: &Type, wanted: &contract::Type, name: &str) -> Result<Type, EvolveError> {
        match (present, wanted) {
            (Type::Primitive(present), contract::Type::Primitive(wanted)) => {
                let wanted = primitive_of(*wanted);
                if *present == wanted {
                    return Ok(Type::Primitive(wanted));
                }
                if !is_wider(present, &wanted) {
                    return Err(self.type_change(name, &present.to_string(), &wanted.to_string()));
                }
                self.descriptions.push(format!("widened column {name} from {present} to {wanted}"));
                Ok(Type::Primitive(wanted))
            }
            (Type::Struct(present), contract::Type::Struct(wanted)) => {
                let wanted: Vec<_> = wanted.iter().collect();
                let fields = self.fields(present.fields(), &wanted, &format!("{name}."))?;
                Ok(Type::Struct(StructType::new(fields)))
            }
            (Type::List(present), contract::Type::List { element, element_required }) => {
                let element =
                    self.inner(&present.element_field, element, *element_required, &format!("{name}.element"))?;
                Ok(Type::List(ListType::new(Arc::new(element))))
            }
            (Type::Map(present), contract::Type::Map { key, value, value_required }) => {
                let key_before = self.descriptions.len();
                let new_key = self.inner(&present.key_field, key, true, &format!("{name}.key"))?;
                if self.descriptions.len() > key_before {
                    let (from, to) = (&present.key_field.field_type, &new_key.field_type);
                    return Err(self.type_change(&format!("{name}.key"), &from.to_string(), &to.to_string()));
                }
                let value = self.inner(&present.value_field, value, *value_required, &format!("{name}.value"))?;
                Ok(Type::Map(MapType::new(Arc::new(new_key), Arc::new(value))))
            }
            (present, wanted) => Err(self.type_change(name, &present.to_string(), word(wanted))),
        }
    }

    /// The element of a list, or the key or value of a map.
    fn inner(
        &mut self,
        field: &NestedField,
        wanted: &contract::Type,
        required: bool,
        name: &str,
    ) -> Result<NestedField, EvolveError> {
        let mut evolved = field.clone();
        if field.required && !required {
            self.descriptions.push(format!("made {name} optional"));
            evolved.required = false;
        }
        evolved.field_type = Box::new(self.of_type(&field.field_type, wanted, name)?);
        Ok(evolved)
    }

    /// A column of the table that nothing fills gets NULL, if it can.
    fn check_unfilled(&self, field: &NestedField, parent: &str) -> Result<(), EvolveError> {
        if !field.required {
            return Ok(());
        }
        let help = "add it to the contract, or make it optional in the table".to_owned();
        Err(self.breaking(&format!("{parent}{}", field.name), "is required in the table and not in the contract", help))
    }

    fn type_change(&self, column: &str, table_type: &str, contract_type: &str) -> EvolveError {
        EvolveError::Type {
            table: self.table.clone(),
            column: column.to_owned(),
            table_type: table_type.to_owned(),
            contract_type: contract_type.to_owned(),
        }
    }

    fn breaking(&self, column: &str, problem: &str, help: String) -> EvolveError {
        EvolveError::Column { table: self.table.clone(), column: column.to_owned(), problem: problem.to_owned(), help }
    }
}

/// Whether a column is what fills a field: by its name, or by an earlier one when no field has its name.
fn fills(column: &Column, field: &NestedField, present: &[NestedFieldRef]) -> bool {
    let by_name = |field: &NestedField| field.name == column.name;
    by_name(field) || (column.renamed_from.contains(&field.name) && !present.iter().any(|field| by_name(field)))
}

/// Promotions that every reader knows (<https://iceberg.apache.org/spec/#schema-evolution>).
fn is_wider(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    match (from, to) {
        (PrimitiveType::Int, PrimitiveType::Long) | (PrimitiveType::Float, PrimitiveType::Double) => true,
        (
            PrimitiveType::Decimal { precision, scale },
            PrimitiveType::Decimal { precision: to_precision, scale: to_scale },
        ) => scale == to_scale && precision < to_precision,
        _ => false,
    }
}

/// The key is the table's identifier, when the table has one.
fn check_key(contract: &Contract, schema: &Schema, fields: &[NestedFieldRef]) -> Result<(), EvolveError> {
    let name_of = |id: i32| {
        let evolved = fields.iter().find(|field| field.id == id).map(|field| field.name.as_str());
        evolved.or(schema.name_by_field_id(id)).unwrap_or_default().to_owned()
    };
    let mut identifier: Vec<String> = schema.identifier_field_ids().map(name_of).collect();
    let mut key = contract.key.clone();
    identifier.sort();
    key.sort();
    if identifier.is_empty() || identifier == key {
        return Ok(());
    }
    Err(EvolveError::Key { table: contract.table.clone(), table_key: identifier, contract_key: key })
}

/// New rows must lie where those that are there lie. Names and order of partition fields are the table's own.
fn check_partitions(
    contract: &Contract,
    metadata: &TableMetadata,
    fields: &[NestedFieldRef],
) -> Result<(), EvolveError> {
    let name_of = |id: i32| {
        let top = fields.iter().find(|field| field.id == id).map(|field| field.name.as_str());
        top.or(metadata.current_schema().name_by_field_id(id)).unwrap_or("?").to_owned()
    };
    let spec = metadata.default_partition_spec().fields().iter().filter(|field| field.transform != Transform::Void);
    let mut present: Vec<String> =
        spec.map(|field| partition_text(&name_of(field.source_id), field.transform)).collect();
    let mut wanted: Vec<String> =
        contract.partition.iter().map(|field| partition_text(&field.column, transform_of(field.transform))).collect();
    present.sort();
    wanted.sort();
    if present == wanted {
        return Ok(());
    }
    Err(EvolveError::Partitions {
        table: contract.table.clone(),
        table_partitions: present,
        contract_partitions: wanted,
    })
}

fn partition_text(column: &str, transform: Transform) -> String {
    match transform {
        Transform::Identity => column.to_owned(),
        Transform::Bucket(count) => format!("bucket({count}, {column})"),
        Transform::Truncate(width) => format!("truncate({width}, {column})"),
        other => format!("{other}({column})"),
    }
}

fn word(of: &contract::Type) -> &'static str {
    match of {
        contract::Type::Primitive(_) => "a single value",
        contract::Type::Struct(_) => "a struct",
        contract::Type::List { .. } => "a list",
        contract::Type::Map { .. } => "a map",
    }
}

/// Why a table cannot follow its contract. Messages complete "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum EvolveError {
    /// A type that is not a wider one.
    #[error("evolve table {table}: column {column} is {table_type} in the table and {contract_type} in the contract")]
    Type {
        /// The table.
        table: TableName,
        /// The column, with the structs that it lies in.
        column: String,
        /// Its type in the table.
        table_type: String,
        /// Its type in the contract.
        contract_type: String,
    },
    /// A column that breaks readers or rows that are there.
    #[error("evolve table {table}: column {column} {problem}")]
    Column {
        /// The table.
        table: TableName,
        /// The column, with the structs that it lies in.
        column: String,
        /// What is wrong with it.
        problem: String,
        /// What to do.
        help: String,
    },
    /// Another key than the table was made with.
    #[error("evolve table {table}: its key is {table_key:?}, and the contract's is {contract_key:?}")]
    Key {
        /// The table.
        table: TableName,
        /// Names of the table's identifier fields, sorted.
        table_key: Vec<String>,
        /// Names of the contract's key columns, sorted.
        contract_key: Vec<String>,
    },
    /// Another partitioning than the table has.
    #[error(
        "evolve table {table}: it is partitioned by {table_partitions:?}, and the contract by {contract_partitions:?}"
    )]
    Partitions {
        /// The table.
        table: TableName,
        /// The table's partition fields, sorted.
        table_partitions: Vec<String>,
        /// The contract's partition fields, sorted.
        contract_partitions: Vec<String>,
    },
    /// A schema that the table format does not allow.
    #[error("evolve table {table}: the contract's schema is not one that a table can have")]
    Schema {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: Box<iceberg::Error>,
    },
}

impl EvolveError {
    /// What it means for the run.
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Configuration
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Type { table_type, column, .. } => format!(
                "declare {column} as {table_type}, or add a column of the new type beside it; int may become long, \
                 float double, and a decimal more precise"
            ),
            Self::Column { help, .. } => help.clone(),
            Self::Key { .. } => {
                "declare the table's key, or make a new table: other rows would count as the same".to_owned()
            }
            Self::Partitions { .. } => {
                "declare the table's partitions, or make a new table: matches would be looked for in the wrong place"
                    .to_owned()
            }
            Self::Schema { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests;
