//! Counts NaNs, which Parquet's statistics do not.

use std::collections::HashMap;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    buffer::NullBuffer,
    datatypes::{DataType, Field, Float32Type, Float64Type},
};

use crate::types::field_id;

/// Adds the NaNs of each `float` and `double` field of a column, structs' fields too, to `counts`, by field id.
///
/// A field without NaN gets an entry of 0: that is known, too. Fields within lists and maps get none.
pub(crate) fn count_nans(field: &Field, column: &ArrayRef, counts: &mut HashMap<i32, u64>) {
    count_below(field, column, None, counts);
}

fn count_below(field: &Field, column: &ArrayRef, parent: Option<&NullBuffer>, counts: &mut HashMap<i32, u64>) {
    let found = match column.data_type() {
        DataType::Struct(fields) => {
            let nulls = NullBuffer::union(parent, column.nulls());
            for (field, column) in fields.iter().zip(column.as_struct().columns()) {
                count_below(field, column, nulls.as_ref(), counts);
            }
            return;
        }
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>().values();
            count(values.iter().map(|value| value.is_nan()), parent, column.nulls())
        }
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().values();
            count(values.iter().map(|value| value.is_nan()), parent, column.nulls())
        }
        _ => return,
    };
    if let Some(id) = field_id(field) {
        *counts.entry(id).or_default() += found;
    }
}

fn count(are_nan: impl Iterator<Item = bool> + Clone, parent: Option<&NullBuffer>, own: Option<&NullBuffer>) -> u64 {
    let all = are_nan.clone().map(u64::from).sum();
    if all == 0 {
        return 0;
    }
    // Slots of NULL may hold anything.
    match NullBuffer::union(parent, own) {
        None => all,
        Some(nulls) => are_nan.zip(nulls.iter()).map(|(is_nan, is_valid)| u64::from(is_nan && is_valid)).sum(),
    }
}
