//! Which row groups of an open file may hold rows that a predicate wants, by the statistics in its footer.

use std::{collections::HashSet, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::{Column, ScalarValue, pruning::PruningStatistics},
    physical_optimizer::pruning::PruningPredicate,
};
use lake::DataFileEntry;
use parquet::{arrow::arrow_reader::statistics::StatisticsConverter, file::metadata::RowGroupMetaData};

use super::mapping::{cast_exact, widens};
use crate::{Error, ParquetFile, Result, parquet_file::bounds::bounds_hold, types::field_id};

/// The row groups that start in a range of the file's bytes and may match every predicate.
pub(super) fn choose(
    file: &ParquetFile,
    file_schema: &SchemaRef,
    entry: &DataFileEntry,
    bytes: Option<&Range<u64>>,
    predicates: &[(Arc<PruningPredicate>, SchemaRef)],
) -> Result<Vec<usize>> {
    let groups = file.metadata().row_groups();
    let starts_inside = |group: &RowGroupMetaData| {
        // A corrupt footer may hold any number here, which `byte_range` would panic over.
        let chunk = group.columns().first();
        let offset =
            chunk.map_or(0, |chunk| chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset()));
        bytes.is_none_or(|bytes| bytes.contains(&u64::try_from(offset).unwrap_or(0)))
    };
    let mut chosen: Vec<bool> = groups.iter().map(starts_inside).collect();
    for (predicate, schema) in predicates {
        let statistics = RowGroupStatistics { file, file_schema, entry, schema };
        let may_match = predicate
            .prune(&statistics)
            .map_err(|source| Error::compute(format!("failed to prune row groups of {}", file.location()), source))?;
        chosen.iter_mut().zip(may_match).for_each(|(chosen, may_match)| *chosen &= may_match);
    }
    Ok(chosen.iter().enumerate().filter(|(_, chosen)| **chosen).map(|(group, _)| group).collect())
}

struct RowGroupStatistics<'a> {
    file: &'a ParquetFile,
    file_schema: &'a SchemaRef,
    entry: &'a DataFileEntry,
    /// The schema that the predicate speaks of.
    schema: &'a Schema,
}

impl RowGroupStatistics<'_> {
    /// The column in the table and in the file; `None` when the file does not have it.
    fn column(&self, column: &Column) -> Option<(&Field, &Field)> {
        let field = self.schema.field_with_name(&column.name).ok()?;
        let id = field_id(field)?;
        let in_file = self.file_schema.fields().iter().find(|field| field_id(field) == Some(id))?;
        Some((field, in_file))
    }

    fn converter(&self, in_file: &Field) -> Option<StatisticsConverter<'_>> {
        let parquet_schema = self.file.metadata().file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(in_file.name(), self.file_schema, parquet_schema).ok()?;
        Some(converter.with_missing_null_counts_as_zero(false))
    }

    fn bounds(
        &self,
        column: &Column,
        of: impl Fn(&StatisticsConverter<'_>, &[RowGroupMetaData]) -> Option<ArrayRef>,
    ) -> Option<ArrayRef> {
        let (field, in_file) = self.column(column)?;
        let is_float = matches!(field.data_type(), DataType::Float32 | DataType::Float64);
        let id = field_id(field)?;
        if is_float && self.entry.data_file.nan_value_counts().get(&id) != Some(&0) {
            return None;
        }
        let converter = self.converter(in_file)?;
        let leaf = converter.parquet_column_index()?;
        let groups = self.file.metadata().row_groups();
        if !bounds_hold(self.file.metadata(), leaf) {
            return None;
        }
        let values = of(&converter, groups)?;
        if values.data_type() == field.data_type() {
            return Some(values);
        }
        let casts = widens(values.data_type(), field.data_type());
        if casts { cast_exact(&values, field.data_type()).ok() } else { None }
    }
}

impl PruningStatistics for RowGroupStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |converter, groups| converter.row_group_mins(groups).ok())
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, |converter, groups| converter.row_group_maxes(groups).ok())
    }

    fn num_containers(&self) -> usize {
        self.file.metadata().num_row_groups()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let (_, in_file) = self.column(column)?;
        let counts = self.converter(in_file)?.row_group_null_counts(self.file.metadata().row_groups()).ok()?;
        Some(Arc::new(counts))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        let groups = self.file.metadata().row_groups();
        let rows: Option<Vec<u64>> = groups.iter().map(|group| u64::try_from(group.num_rows()).ok()).collect();
        Some(Arc::new(UInt64Array::from(rows?)))
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
