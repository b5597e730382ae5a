//! Whether two rows are the same: a 64-bit hash of all their values. NaN equals NaN, and −0 equals 0.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, RecordBatch},
    datatypes::{DataType, Field, Float32Type, Float64Type},
    row::{RowConverter, SortField},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Error, Result};

/// Hashes of all rows, over all columns, to compare one row with one other: two that differ have the same hash once in 2^64
/// times.
pub fn hash_rows(batch: &RecordBatch, seed: u64) -> Result<Vec<u64>> {
    let failed = |source| Error::compute("failed to compare rows", source);
    let columns: Vec<ArrayRef> = batch.columns().iter().map(comparable).collect();
    let fields = columns.iter().map(|column| SortField::new(column.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(failed)?;
    let rows = converter.convert_columns(&columns).map_err(failed)?;
    Ok(rows.iter().map(|row| xxh3_64_with_seed(row.as_ref(), seed)).collect())
}

/// A column whose equal values have equal bytes: floats normalized, maps as lists of entries.
fn comparable(array: &ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let normal = |value: f32| if value.is_nan() { f32::NAN } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(normal))
        }
        DataType::Float64 => {
            let normal = |value: f64| if value.is_nan() { f64::NAN } else { value + 0.0 };
            Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(normal))
        }
        DataType::Map(..) => {
            let map = array.as_map();
            let entries: ArrayRef = comparable(&(Arc::new(map.entries().clone()) as ArrayRef));
            let field = Arc::new(Field::new("entries", entries.data_type().clone(), true));
            Arc::new(ListArray::new(field, map.offsets().clone(), entries, map.nulls().cloned()))
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let values = comparable(list.values());
            let field = Arc::new(Field::new("element", values.data_type().clone(), true));
            Arc::new(ListArray::new(field, list.offsets().clone(), values, list.nulls().cloned()))
        }
        DataType::Struct(fields) => {
            let source = array.as_struct();
            let columns: Vec<ArrayRef> = source.columns().iter().map(comparable).collect();
            let fields: Vec<Field> = fields
                .iter()
                .zip(&columns)
                .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true))
                .collect();
            let nulls = source.nulls().cloned();
            arrow::array::StructArray::try_new_with_length(fields.into(), columns, nulls, source.len())
                .map_or_else(|_| Arc::clone(array), |normal| Arc::new(normal))
        }
        _ => Arc::clone(array),
    }
}
