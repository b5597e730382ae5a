//! What a manifest says of a Parquet file: counts, sizes and bounds, by field id.
//!
//! Owns the reading of Parquet's own statistics and what of them Iceberg wants. Refuses to know how the file was made
//! and where it lies.

mod bounds;
mod modes;
mod nan;

use std::collections::HashMap;

use lake::spec::{Datum, PrimitiveType, Schema, StructType, Type};
use parquet::{
    file::metadata::{ColumnChunkMetaData, ParquetMetaData},
    schema::types::{ColumnDescriptor, SchemaDescriptor},
};

use crate::{Error, Result, parquet_file::bounds::bounds_hold};
use bounds::Bounds;
pub use modes::{MetricsMode, MetricsModes};
pub(crate) use nan::count_nans;

/// The metrics of one file; the maps are by field id and hold no field twice.
///
/// Fields within lists and maps have a column size and nothing else: their values are not rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FileMetrics {
    /// Rows.
    pub record_count: u64,
    /// Compressed bytes of the column in the file.
    pub column_sizes: HashMap<i32, u64>,
    /// Values, NULL and NaN among them.
    pub value_counts: HashMap<i32, u64>,
    /// NULLs; rows whose enclosing struct is NULL count too.
    pub null_value_counts: HashMap<i32, u64>,
    /// NaNs of `float` and `double` fields.
    pub nan_value_counts: HashMap<i32, u64>,
    /// A value no larger than any but NULL and NaN.
    pub lower_bounds: HashMap<i32, Datum>,
    /// A value no smaller than any but NULL and NaN.
    pub upper_bounds: HashMap<i32, Datum>,
    /// Where each row group begins, in bytes, ascending.
    pub split_offsets: Vec<i64>,
}

/// Reads the metrics of a file from its footer.
///
/// Columns are found by the field ids in the file; those that the schema does not have are left out. `nan_counts` is
/// what the writer counted, by field id: Parquet's statistics leave NaN out of the bounds and do not count it. A float
/// column of another writer, for which it has no entry, gets bounds only where every row group has them.
pub fn file_metrics(
    metadata: &ParquetMetaData,
    schema: &Schema,
    modes: &MetricsModes,
    nan_counts: &HashMap<i32, u64>,
) -> Result<FileMetrics> {
    let mut metrics = FileMetrics {
        record_count: u64::try_from(metadata.file_metadata().num_rows()).unwrap_or_default(),
        ..FileMetrics::default()
    };
    let primitives = primitives_outside_collections(schema.as_struct());
    for (index, column) in metadata.file_metadata().schema_descr().columns().iter().enumerate() {
        let Some(id) = leaf_id(column).filter(|id| schema.field_by_id(*id).is_some()) else { continue };
        let chunks = || metadata.row_groups().iter().map(|row_group| row_group.column(index));
        metrics.column_sizes.insert(id, chunks().map(|chunk| chunk.compressed_size().max(0) as u64).sum());
        let mode = modes.of(id);
        let Some(primitive) = primitives.get(&id).filter(|_| mode != MetricsMode::None) else { continue };
        metrics.value_counts.insert(id, chunks().map(|chunk| chunk.num_values().max(0) as u64).sum());
        if let Some(nulls) = null_count(chunks()) {
            metrics.null_value_counts.insert(id, nulls);
        }
        let nans = nan_counts.get(&id).copied();
        if let Some(nans) = nans.filter(|_| is_float(primitive)) {
            metrics.nan_value_counts.insert(id, nans);
        }
        if let Some(chars_max) = mode.bound_length_max() {
            let bounds = if bounds_hold(metadata, index) {
                column_bounds(chunks(), primitive, nans.is_some())?
            } else {
                Bounds::Unknown
            };
            let (lower, upper) = bounds.into_data(primitive, chars_max)?;
            metrics.lower_bounds.extend(lower.map(|datum| (id, datum)));
            metrics.upper_bounds.extend(upper.map(|datum| (id, datum)));
        }
    }
    let starts = metadata.row_groups().iter().filter_map(|row_group| row_group.columns().first());
    metrics.split_offsets = starts.filter_map(|chunk| i64::try_from(chunk.byte_range().0).ok()).collect();
    Ok(metrics)
}

/// Smallest and largest value over all row groups.
fn column_bounds<'a>(
    chunks: impl Iterator<Item = &'a ColumnChunkMetaData>,
    primitive: &PrimitiveType,
    are_nans_counted: bool,
) -> Result<Bounds> {
    let mut bounds = Bounds::Empty;
    for chunk in chunks {
        let statistics = chunk.statistics();
        let nulls = statistics.and_then(|statistics| statistics.null_count_opt());
        if nulls == u64::try_from(chunk.num_values()).ok() {
            continue;
        }
        match statistics.and_then(|statistics| bounds::of_statistics(statistics, primitive)) {
            Some((least, most)) => bounds.extend(least, most, primitive)?,
            // A chunk of ours without them holds nothing but NaN.
            None if are_nans_counted && is_float(primitive) => {}
            None => return Ok(Bounds::Unknown),
        }
    }
    Ok(bounds)
}

fn null_count<'a>(mut chunks: impl Iterator<Item = &'a ColumnChunkMetaData>) -> Option<u64> {
    chunks.try_fold(0, |sum, chunk| Some(sum + chunk.statistics()?.null_count_opt()?))
}

/// The float fields that have one value per row, by field id, with their place among the file's leaves.
pub(crate) fn float_leaves(schema: &Schema, descriptor: &SchemaDescriptor) -> Vec<(i32, usize)> {
    let primitives = primitives_outside_collections(schema.as_struct());
    let leaves = descriptor.columns().iter().enumerate().filter_map(|(index, column)| Some((leaf_id(column)?, index)));
    leaves.filter(|(id, _)| primitives.get(id).is_some_and(|primitive| is_float(primitive))).collect()
}

fn is_float(primitive: &PrimitiveType) -> bool {
    matches!(primitive, PrimitiveType::Float | PrimitiveType::Double)
}

/// The field id of a leaf, as the file has it.
fn leaf_id(column: &ColumnDescriptor) -> Option<i32> {
    let info = column.self_type().get_basic_info();
    info.has_id().then(|| info.id())
}

/// The primitive fields that have one value per row.
fn primitives_outside_collections(fields: &StructType) -> HashMap<i32, &PrimitiveType> {
    let mut found = HashMap::new();
    for field in fields.fields() {
        match field.field_type.as_ref() {
            Type::Primitive(primitive) => {
                found.insert(field.id, primitive);
            }
            Type::Struct(below) => found.extend(primitives_outside_collections(below)),
            Type::List(_) | Type::Map(_) => {}
        }
    }
    found
}

/// A bound that the table format does not take.
fn bound_error(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::compute("failed to read the bounds of a column", error)
}

#[cfg(test)]
mod tests;
