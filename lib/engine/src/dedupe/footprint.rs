//! What a batch touches: the partitions its keys belong to and the range of each key column. It decides which files of
//! the table may hold a match, and what another writer must not have added meanwhile.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch},
    buffer::BooleanBuffer,
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use contract::Contract;
use datafusion::{
    functions_aggregate::min_max::{MaxAccumulator, MinAccumulator},
    logical_expr::Accumulator,
    scalar::ScalarValue,
};
use lake::{KeyScope, spec};

use crate::{
    Error, Result,
    partition::{Partitioner, field_path},
    types::field_id,
};

/// Most distinct partitions that are remembered one by one; beyond it a match may be anywhere.
const PARTITIONS_MAX: usize = 10_000;

/// Which columns and transforms a footprint looks at.
#[derive(Debug)]
pub struct FootprintShape {
    /// For batches of the wanted columns alone.
    partitioner: Partitioner,
    spec: spec::PartitionSpecRef,
    /// Per partition field: a key's rows all have one value, so a match lies where the row itself belongs.
    pub fixed: Vec<bool>,
    schema: SchemaRef,
    /// Source columns of the partition fields and key columns, as indices into the table's schema, ascending.
    wanted: Vec<usize>,
    /// Key columns, likewise.
    key: Vec<usize>,
}

impl FootprintShape {
    /// The shape for a table's default partition spec.
    pub fn new(
        contract: &Contract,
        schema: &SchemaRef,
        table_schema: &spec::SchemaRef,
        partition_spec: &spec::PartitionSpecRef,
    ) -> Result<Self> {
        let mut fixed = Vec::new();
        let mut sources = Vec::new();
        for field in partition_spec.fields() {
            let name = table_schema.name_by_field_id(field.source_id).unwrap_or_default();
            fixed.push(contract.partition_fixed_per_key || contract.key.iter().any(|key| key == name));
            if field.transform == spec::Transform::Void {
                continue;
            }
            // By the id: a column's name may hold dots, as that of a field within a struct does.
            let (path, _) =
                field_path(table_schema.as_struct(), field.source_id).ok_or_else(|| Error::Unsupported {
                    subject: format!("partition field {}", field.name),
                    reason: "its source is no column, nor a field of a struct".to_owned(),
                })?;
            sources.push(path[0]);
        }
        let key = contract
            .key
            .iter()
            .map(|name| schema.index_of(name).map_err(|source| Error::compute(format!("no key column {name}"), source)))
            .collect::<Result<Vec<_>>>()?;
        let mut wanted: Vec<usize> = sources.iter().chain(&key).copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let fields = wanted.iter().map(|column| Arc::clone(&table_schema.as_struct().fields()[*column]));
        let narrow = spec::Schema::builder()
            .with_fields(fields)
            .build()
            .map_err(|source| Error::compute("failed to look at partition columns", source))?;
        let partitioner = Partitioner::new(&narrow, partition_spec)?;
        Ok(Self { partitioner, spec: Arc::clone(partition_spec), fixed, schema: Arc::clone(schema), wanted, key })
    }

    /// Columns that [`Footprint::add`] needs, as indices into the table's schema.
    pub fn columns(&self) -> impl Iterator<Item = usize> + '_ {
        self.wanted.iter().copied()
    }
}

/// The partitions and key ranges of valid rows.
#[derive(Debug, Default)]
pub struct Footprint {
    /// Partitions of the default spec; `None` when there were too many to remember.
    pub partitions: Option<HashSet<spec::Struct>>,
    bounds: BTreeMap<i32, (ScalarValue, ScalarValue)>,
    seen: bool,
}

impl Footprint {
    /// Adds the valid rows of a batch whose columns are `columns`. `is_placed` is false for rows that may go into another
    /// partition than their own columns say: where the row lies that they replace.
    pub fn add(
        &mut self,
        shape: &FootprintShape,
        columns: &[usize],
        batch: &RecordBatch,
        valid: &BooleanBuffer,
        is_placed: bool,
    ) -> Result<()> {
        let failed = |source| Error::compute("failed to look at a batch's keys", source);
        let kept = valid.count_set_bits();
        if kept == 0 {
            return Ok(());
        }
        let place = |column: &usize| columns.binary_search(column).expect("the shape's columns are read");
        let places: Vec<usize> = shape.wanted.iter().map(place).collect();
        let mut rows = batch.project(&places).map_err(failed)?;
        if kept < batch.num_rows() {
            rows = filter_record_batch(&rows, &arrow::array::BooleanArray::new(valid.clone(), None)).map_err(failed)?;
        }
        let column = |index: &usize| rows.column(shape.wanted.binary_search(index).expect("projected above"));
        for key in &shape.key {
            let values = column(key);
            let (min, max) =
                range_of(values).map_err(|source| Error::compute("failed to find a key's range", source))?;
            if let Some(id) = field_id(shape.schema.field(*key)) {
                self.widen(id, min, max);
            }
        }
        self.add_partitions(match is_placed {
            true => Some(shape.partitioner.partition(&rows)?.keys.into_iter().collect()),
            false => None,
        });
        Ok(())
    }

    /// Whether no row was added.
    pub fn is_empty(&self) -> bool {
        !self.seen
    }

    /// Joins two footprints.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        for (id, (min, max)) in other.bounds {
            self.widen(id, min, max);
        }
        if other.seen {
            self.add_partitions(other.partitions);
        }
        Ok(())
    }

    fn add_partitions(&mut self, found: Option<HashSet<spec::Struct>>) {
        let before = if self.seen { self.partitions.take() } else { Some(HashSet::new()) };
        self.seen = true;
        self.partitions = before.zip(found).map(|(mut all, found)| {
            all.extend(found);
            all
        });
        self.partitions.take_if(|all| all.len() > PARTITIONS_MAX);
    }

    fn widen(&mut self, id: i32, min: ScalarValue, max: ScalarValue) {
        match self.bounds.get_mut(&id) {
            Some((low, high)) => {
                if min < *low {
                    *low = min;
                }
                if max > *high {
                    *high = max;
                }
            }
            None => {
                self.bounds.insert(id, (min, max));
            }
        }
    }

    /// Key ranges as the table format's values, by field id. Columns whose type has no ordered form here are left out.
    pub fn bounds(&self, schema: &spec::Schema) -> BTreeMap<i32, (spec::Datum, spec::Datum)> {
        let datum =
            |id: &i32, value: &ScalarValue| datum_of(schema.field_by_id(*id)?.field_type.as_primitive_type()?, value);
        self.bounds.iter().filter_map(|(id, (min, max))| Some((*id, (datum(id, min)?, datum(id, max)?)))).collect()
    }

    /// The scope of a merge of this batch.
    pub fn key_scope(&self, shape: &FootprintShape, schema: &spec::Schema) -> KeyScope {
        let all_fixed = shape.fixed.iter().all(|fixed| *fixed) && !shape.fixed.is_empty();
        KeyScope {
            spec_id: shape.spec.spec_id(),
            partitions: self.partitions.as_ref().filter(|_| all_fixed).map(|all| all.iter().cloned().collect()),
            bounds: self.bounds(schema),
        }
    }
}

fn range_of(values: &ArrayRef) -> datafusion::error::Result<(ScalarValue, ScalarValue)> {
    let (mut min, mut max) =
        (MinAccumulator::try_new(values.data_type())?, MaxAccumulator::try_new(values.data_type())?);
    min.update_batch(std::slice::from_ref(values))?;
    max.update_batch(std::slice::from_ref(values))?;
    Ok((min.evaluate()?, max.evaluate()?))
}

/// A value as the table format has it; `None` for types without an ordered form here.
pub fn datum_of(primitive: &spec::PrimitiveType, value: &ScalarValue) -> Option<spec::Datum> {
    Some(match (primitive, value) {
        (spec::PrimitiveType::Int, ScalarValue::Int32(Some(value))) => spec::Datum::int(*value),
        (spec::PrimitiveType::Long, ScalarValue::Int64(Some(value))) => spec::Datum::long(*value),
        (spec::PrimitiveType::Date, ScalarValue::Date32(Some(value))) => spec::Datum::date(*value),
        (spec::PrimitiveType::Timestamp, ScalarValue::TimestampMicrosecond(Some(value), _)) => {
            spec::Datum::timestamp_micros(*value)
        }
        (spec::PrimitiveType::Timestamptz, ScalarValue::TimestampMicrosecond(Some(value), _)) => {
            spec::Datum::timestamptz_micros(*value)
        }
        (spec::PrimitiveType::String, ScalarValue::Utf8View(Some(value))) => spec::Datum::string(value),
        _ => return None,
    })
}
