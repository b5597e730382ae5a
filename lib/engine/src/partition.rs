//! Which partition each row of a batch belongs to.
//!
//! Owns partition values and the grouping of rows by them. Refuses to know paths, files and how many rows go where.

mod groups;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
        TimestampMicrosecondType,
    },
};
use lake::spec::{Literal, PartitionSpec, Schema, Struct, StructType, Transform, Type};

use crate::{Error, Result, transform::transform_array};
use groups::Groups;

/// Assigns partitions to rows, by one partition spec.
#[derive(Debug, Clone)]
pub struct Partitioner {
    fields: Vec<Source>,
}

/// Where a partition field's values come from.
#[derive(Debug, Clone)]
struct Source {
    /// Column, then field within the struct, and so on. Empty for a `void` field, whose source may be gone.
    path: Vec<usize>,
    transform: Transform,
    is_uuid: bool,
}

/// The rows of one batch, by partition.
#[derive(Debug, Clone)]
pub struct Partitioned {
    /// The distinct partitions, in the order of their first rows; one value per field of the spec. One empty struct
    /// when the table is unpartitioned. Empty for an empty batch.
    pub keys: Vec<Struct>,
    /// Row numbers, partition after partition, ascending within each.
    rows: Vec<u32>,
    /// Where each partition's rows begin, and the end: one more than `keys`.
    offsets: Vec<usize>,
}

impl Partitioned {
    /// The rows of `keys[index]`, ascending.
    pub fn rows(&self, index: usize) -> &[u32] {
        &self.rows[self.offsets[index]..self.offsets[index + 1]]
    }

    /// Partitions with their rows.
    pub fn iter(&self) -> impl Iterator<Item = (&Struct, &[u32])> {
        self.keys.iter().enumerate().map(|(index, key)| (key, self.rows(index)))
    }
}

impl Partitioner {
    /// Prepares a spec of a table. Fails for a source column that the schema does not have (unless the transform is
    /// `void`), one below a list or map, or an unknown transform.
    pub fn new(schema: &Schema, spec: &PartitionSpec) -> Result<Self> {
        let fields = spec.fields().iter().map(|field| {
            let unsupported = |reason: &str| Error::Unsupported {
                subject: format!("partition field {}", field.name),
                reason: reason.to_owned(),
            };
            if field.transform == Transform::Void {
                return Ok(Source { path: Vec::new(), transform: field.transform, is_uuid: false });
            }
            if field.transform == Transform::Unknown {
                return Err(unsupported("its transform is unknown"));
            }
            let (path, source_type) = field_path(schema.as_struct(), field.source_id)
                .ok_or_else(|| unsupported("its source is no column, nor a field of a struct"))?;
            let is_uuid = source_type.as_primitive_type() == Some(&lake::spec::PrimitiveType::Uuid);
            Ok(Source { path, transform: field.transform, is_uuid })
        });
        Ok(Self { fields: fields.collect::<Result<_>>()? })
    }

    /// Groups the rows of a batch, which is in the layout of [`crate::arrow_schema`], by partition.
    ///
    /// Takes a pass per partition field and no allocation per row. NaNs are one value, and so are −0 and 0.
    pub fn partition(&self, batch: &RecordBatch) -> Result<Partitioned> {
        let mut groups = Groups::new(batch.num_rows());
        let mut columns = Vec::with_capacity(self.fields.len());
        for source in &self.fields {
            let column = match source.transform {
                Transform::Void => None,
                transform => Some(transform_array(transform, &column_at(batch, &source.path)?)?),
            };
            if let Some(column) = &column {
                groups.split(column)?;
            }
            columns.push(column);
        }
        let keys = groups.first_rows().iter().map(|&row| {
            let values = columns.iter().zip(&self.fields).map(|(column, source)| match column {
                Some(column) => literal(column, row as usize, source.is_uuid),
                None => Ok(None),
            });
            values.collect::<Result<Struct>>()
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let (rows, offsets) = groups.into_rows();
        Ok(Partitioned { keys, rows, offsets })
    }
}

/// Positions from the top of the schema down to a field, through structs only, and the field's type.
pub(crate) fn field_path(fields: &StructType, id: i32) -> Option<(Vec<usize>, &Type)> {
    fields.fields().iter().enumerate().find_map(|(index, field)| {
        if field.id == id {
            return Some((vec![index], field.field_type.as_ref()));
        }
        let Type::Struct(below) = field.field_type.as_ref() else { return None };
        let (mut path, found) = field_path(below, id)?;
        path.insert(0, index);
        Some((path, found))
    })
}

/// The column at a path; NULL where a struct around it is.
pub(crate) fn column_at(batch: &RecordBatch, path: &[usize]) -> Result<ArrayRef> {
    let missing = || Error::Unsupported {
        subject: format!("column path {path:?}"),
        reason: "the batch does not have the table's layout".to_owned(),
    };
    let (first, below) = path.split_first().ok_or_else(missing)?;
    let mut column = batch.columns().get(*first).ok_or_else(missing)?.clone();
    for index in below {
        let parent = column.as_struct_opt().ok_or_else(missing)?;
        let child = parent.columns().get(*index).ok_or_else(missing)?;
        let nulls = arrow::buffer::NullBuffer::union(parent.nulls(), child.nulls());
        let data = child.to_data().into_builder().nulls(nulls).build();
        column = arrow::array::make_array(data.map_err(|error| Error::compute("failed to read a struct", error))?);
    }
    Ok(column)
}

/// The Iceberg value of one row of a transformed column.
fn literal(column: &ArrayRef, row: usize, is_uuid: bool) -> Result<Option<Literal>> {
    if column.is_null(row) {
        return Ok(None);
    }
    Ok(Some(match column.data_type() {
        DataType::Boolean => Literal::bool(column.as_boolean().value(row)),
        DataType::Int32 => Literal::int(column.as_primitive::<Int32Type>().value(row)),
        DataType::Date32 => Literal::date(column.as_primitive::<Date32Type>().value(row)),
        DataType::Int64 => Literal::long(column.as_primitive::<Int64Type>().value(row)),
        DataType::Time64(_) => Literal::time(column.as_primitive::<Time64MicrosecondType>().value(row)),
        DataType::Timestamp(_, None) => {
            Literal::timestamp(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        DataType::Timestamp(_, Some(_)) => {
            Literal::timestamptz(column.as_primitive::<TimestampMicrosecondType>().value(row))
        }
        // Adding 0 turns −0 into 0.
        DataType::Float32 => Literal::float(column.as_primitive::<Float32Type>().value(row) + 0.0),
        DataType::Float64 => Literal::double(column.as_primitive::<Float64Type>().value(row) + 0.0),
        DataType::Decimal128(_, _) => Literal::decimal(column.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8View => Literal::string(column.as_string_view().value(row)),
        DataType::BinaryView => Literal::binary(column.as_binary_view().value(row).iter().copied()),
        DataType::FixedSizeBinary(_) => {
            let value = column.as_fixed_size_binary().value(row);
            match <[u8; 16]>::try_from(value) {
                Ok(bytes) if is_uuid => Literal::uuid(uuid::Uuid::from_bytes(bytes)),
                _ => Literal::fixed(value.iter().copied()),
            }
        }
        other => {
            return Err(Error::Unsupported {
                subject: "a partition".to_owned(),
                reason: format!("{other} is no partition value"),
            });
        }
    }))
}

#[cfg(test)]
mod tests;
