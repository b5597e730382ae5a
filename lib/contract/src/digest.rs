//! A hash of what decides which rows a run writes.

use serde::Serialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    AbsentColumns, Check, Column, Contract, DeleteMarker, Duration, NewColumns, OrderTerm, PartitionField, TableName,
    TenantConflict, Thresholds, Type,
};

/// Raised when the canonical form changes its meaning, so that digests of before differ.
const FORMAT: u32 = 1;

/// What a digest covers, in the order it is written in.
#[derive(Serialize)]
struct Covered<'a> {
    format: u32,
    table: &'a TableName,
    columns: Vec<Column>,
    key: &'a [String],
    event_time: Option<&'a str>,
    partition: &'a [PartitionField],
    partition_fixed_per_key: bool,
    winner_order: &'a [OrderTerm],
    checks: &'a [Check],
    thresholds: Thresholds,
    new_columns: NewColumns,
    delete_marker: Option<&'a DeleteMarker>,
    lateness: Option<Duration>,
    tenant: Option<&'a str>,
    /// Left out where it is not said, so that contracts from before there was such a setting keep their digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    absent_columns: Option<AbsentColumns>,
    /// Likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_conflict: Option<TenantConflict>,
}

impl Contract {
    /// A stable hash, 32 hexadecimal digits, of everything in the contract that influences rows: which are valid,
    /// which wins, what is written where.
    ///
    /// Left out are what people read (id, version, descriptions) and how files are laid out (sort order, merge mode,
    /// file size, table properties, storage classes). It is XXH3 of 128 bits over JSON: stable over platforms and runs, not
    /// cryptographic.
    pub fn digest(&self) -> String {
        // Named one by one, so that a new field of the contract does not compile before it is decided upon.
        let Self {
            id: _,
            version: _,
            table,
            description: _,
            columns,
            key,
            event_time,
            partition,
            partition_fixed_per_key,
            sort_order: _,
            winner_order,
            checks,
            thresholds,
            new_columns,
            absent_columns,
            delete_marker,
            lateness,
            tenant,
            tenant_conflict,
            merge_mode: _,
            target_file_bytes: _,
            table_properties: _,
            tiering: _,
        } = self;
        let covered = Covered {
            format: FORMAT,
            table,
            columns: undescribed(columns),
            key,
            event_time: event_time.as_deref(),
            partition,
            partition_fixed_per_key: *partition_fixed_per_key,
            winner_order,
            checks,
            thresholds: *thresholds,
            new_columns: *new_columns,
            delete_marker: delete_marker.as_ref(),
            lateness: *lateness,
            tenant: tenant.as_deref(),
            absent_columns: *absent_columns,
            tenant_conflict: Some(*tenant_conflict).filter(|conflict| *conflict != TenantConflict::default()),
        };
        let text = serde_json::to_string(&covered).expect("plain data has string keys and no failing serializer");
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }
}

fn undescribed(columns: &[Column]) -> Vec<Column> {
    let undescribed = |column: &Column| Column {
        description: None,
        column_type: undescribed_type(&column.column_type),
        ..column.clone()
    };
    columns.iter().map(undescribed).collect()
}

fn undescribed_type(column_type: &Type) -> Type {
    match column_type {
        Type::Primitive(_) => column_type.clone(),
        Type::Struct(fields) => Type::Struct(undescribed(fields)),
        Type::List { element, element_required } => {
            Type::List { element: Box::new(undescribed_type(element)), element_required: *element_required }
        }
        Type::Map { key, value, value_required } => Type::Map {
            key: Box::new(undescribed_type(key)),
            value: Box::new(undescribed_type(value)),
            value_required: *value_required,
        },
    }
}
