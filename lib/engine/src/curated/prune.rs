//! Which files may hold rows that a predicate wants: by partition values and file bounds, before any is opened.
//!
//! A partition value is a statement about its source column: a day is a range of times, a truncated string a range of
//! strings, a bucket a set that a value is in or not. So both go to DataFusion's pruning predicates as bounds of the
//! column, the tighter of the two.

use std::{cmp::Ordering, collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, UInt64Array},
    datatypes::{DataType, Field, Int32Type, Schema, SchemaRef},
};
use datafusion::{
    common::{Column, ScalarValue, pruning::PruningStatistics},
    physical_expr::{PhysicalExpr, utils::collect_columns},
    physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder},
};
use lake::{
    DataFileEntry,
    spec::{Literal, PrimitiveLiteral, TableMetadata, Transform},
};

use super::{
    partition_bounds::{Bounds, partition_bounds},
    values::scalar,
};
use crate::{Error, Result, transform_array, types::field_id};

/// A predicate over columns of `schema`, ready to prune; `None` when it cannot.
pub(crate) fn pruning_predicate(
    predicate: &Arc<dyn PhysicalExpr>,
    schema: &SchemaRef,
) -> Option<Arc<PruningPredicate>> {
    PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema)).build(Arc::clone(predicate))
}

/// For each file, whether it may hold rows that the predicate wants.
pub(crate) fn may_match(
    predicate: &PruningPredicate,
    files: &[DataFileEntry],
    schema: &Schema,
    metadata: &TableMetadata,
) -> Result<Vec<bool>> {
    let statistics = FileStatistics { files, schema, metadata };
    predicate.prune(&statistics).map_err(|source| Error::compute("failed to prune files", source))
}

/// Whether the predicate says anything about the column that can leave out partitions of this transform.
pub(super) fn bounds_partition(predicate: &PruningPredicate, column: &str, transform: Transform) -> bool {
    if predicate.literal_guarantees().iter().any(|guarantee| guarantee.column.name == column) {
        return true;
    }
    let ordered = !matches!(transform, Transform::Bucket(_) | Transform::Void | Transform::Unknown);
    let bounds = [format!("{column}_min"), format!("{column}_max")];
    ordered && collect_columns(predicate.predicate_expr()).iter().any(|used| bounds.iter().any(|b| b == used.name()))
}

struct FileStatistics<'a> {
    files: &'a [DataFileEntry],
    schema: &'a Schema,
    metadata: &'a TableMetadata,
}

impl FileStatistics<'_> {
    fn bounds(&self, file: &DataFileEntry, field: &Field) -> Bounds {
        let Some(id) = field_id(field) else { return Bounds::default() };
        let data_file = &file.data_file;
        // NaN lies outside of the bounds and above everything else, so that bounds hold only where there is none.
        let is_float = matches!(field.data_type(), DataType::Float32 | DataType::Float64);
        let known = !is_float || data_file.nan_value_counts().get(&id) == Some(&0);
        let bound = |bound: Option<&lake::spec::Datum>| {
            bound.filter(|_| known).and_then(|bound| scalar(bound.literal(), field.data_type()))
        };
        let mut bounds = Bounds {
            min: bound(data_file.lower_bounds().get(&id)),
            max: bound(data_file.upper_bounds().get(&id)),
            nulls: data_file.null_value_counts().get(&id).copied(),
        };
        let Some(partition_spec) = self.metadata.partition_spec_by_id(file.spec_id) else { return bounds };
        for (partition_field, value) in partition_spec.fields().iter().zip(data_file.partition().iter()) {
            if partition_field.source_id == id {
                let rows = data_file.record_count();
                tighten(&mut bounds, partition_bounds(partition_field.transform, value, field.data_type(), rows));
            }
        }
        bounds
    }

    fn of_column<T>(&self, column: &Column, value: impl Fn(Bounds, &DataType) -> T) -> Option<Vec<T>> {
        let field = self.schema.field_with_name(&column.name).ok()?;
        Some(self.files.iter().map(|file| value(self.bounds(file, field), field.data_type())).collect())
    }

    fn scalars(&self, column: &Column, bound: impl Fn(Bounds) -> Option<ScalarValue>) -> Option<ArrayRef> {
        let values = self.of_column(column, |bounds, data_type| {
            bound(bounds).map_or_else(|| ScalarValue::try_new_null(data_type), Ok)
        })?;
        ScalarValue::iter_to_array(values.into_iter().collect::<std::result::Result<Vec<_>, _>>().ok()?).ok()
    }
}

impl PruningStatistics for FileStatistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.scalars(column, |bounds| bounds.min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.scalars(column, |bounds| bounds.max)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from(self.of_column(column, |bounds, _| bounds.nulls)?)))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from_iter_values(self.files.iter().map(|file| file.data_file.record_count()))))
    }

    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let field = self.schema.field_with_name(&column.name).ok()?;
        let id = field_id(field)?;
        let values = values.iter().filter(|value| !value.is_null()).map(|value| value.cast_to(field.data_type()));
        let values = values.collect::<std::result::Result<Vec<_>, _>>().ok().filter(|values| !values.is_empty())?;
        let values = ScalarValue::iter_to_array(values).ok()?;
        let mut buckets_of: Vec<(u32, HashSet<i32>)> = Vec::new();
        let mut outside = |file: &DataFileEntry| {
            let partition_spec = self.metadata.partition_spec_by_id(file.spec_id)?;
            let mut fields = partition_spec.fields().iter().zip(file.data_file.partition().iter());
            fields.find_map(|(partition_field, value)| {
                let Transform::Bucket(count) = partition_field.transform else { return None };
                let Some(Literal::Primitive(PrimitiveLiteral::Int(bucket))) = value else { return None };
                if partition_field.source_id != id {
                    return None;
                }
                if !buckets_of.iter().any(|(known, _)| *known == count) {
                    buckets_of.push((count, buckets(count, &values)?));
                }
                let (_, wanted) = buckets_of.iter().find(|(known, _)| *known == count)?;
                (!wanted.contains(bucket)).then_some(false)
            })
        };
        Some(self.files.iter().map(&mut outside).collect())
    }
}

fn buckets(count: u32, values: &ArrayRef) -> Option<HashSet<i32>> {
    let buckets = transform_array(Transform::Bucket(count), values).ok()?;
    let buckets = buckets.as_primitive_opt::<Int32Type>()?;
    (buckets.null_count() == 0).then(|| buckets.values().iter().copied().collect())
}

/// Both hold, so the tighter of the two does.
fn tighten(bounds: &mut Bounds, other: Bounds) {
    fn pick(a: Option<ScalarValue>, b: Option<ScalarValue>, wanted: Ordering) -> Option<ScalarValue> {
        match (a, b) {
            (Some(a), Some(b)) if b.partial_cmp(&a) == Some(wanted) => Some(b),
            (a, b) => a.or(b),
        }
    }
    bounds.min = pick(bounds.min.take(), other.min, Ordering::Greater);
    bounds.max = pick(bounds.max.take(), other.max, Ordering::Less);
    bounds.nulls = bounds.nulls.or(other.nulls);
}
