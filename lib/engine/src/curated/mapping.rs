//! A data file's columns → the table's columns, by field id (<https://iceberg.apache.org/spec/#column-projection>).
//!
//! Renamed, reordered and dropped columns need nothing: names and places in a file mean nothing here. A column that the
//! file was written without is its identity partition's value, or else NULL. Widened types are cast without loss;
//! any other difference is refused, since a guess would be a wrong value.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, StructArray, new_null_array},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit},
    error::ArrowError,
};
use datafusion::common::ScalarValue;

use crate::{Error, Result, types::field_id};

/// How the wanted columns of a table come out of one file. Made once per file.
#[derive(Debug, Clone)]
pub(super) struct ColumnMap {
    location: String,
    columns: Vec<Source>,
    roots: Vec<usize>,
}

#[derive(Debug, Clone)]
enum Source {
    /// The root column of this index in the file.
    File { root: usize, conversion: Conversion },
    /// The same value in every row.
    Constant(ScalarValue),
}

/// What a column of a file needs to become the table's.
#[derive(Debug, Clone)]
enum Conversion {
    None,
    Cast(DataType),
    /// Children by their place in the file's struct; `None` for those that the file does not have.
    Struct(Fields, Vec<Option<(usize, Conversion)>>),
    List(FieldRef, Box<Conversion>),
    Map(FieldRef, Box<[Conversion; 2]>),
}

impl ColumnMap {
    /// Finds the `wanted` fields, which carry ids, in a file. `constants` are the values of identity partitions, by the
    /// id of their source column.
    pub(super) fn new(
        location: &str,
        file: &Schema,
        wanted: &[FieldRef],
        constants: &HashMap<i32, ScalarValue>,
    ) -> Result<Self> {
        let columns = wanted.iter().map(|field| source(field, file, constants));
        let columns = columns.collect::<std::result::Result<Vec<_>, String>>();
        let columns = columns.map_err(|reason| Error::Unsupported { subject: location.to_owned(), reason })?;
        let mut roots: Vec<usize> = columns
            .iter()
            .filter_map(|column| match column {
                Source::File { root, .. } => Some(*root),
                Source::Constant(_) => None,
            })
            .collect();
        roots.sort_unstable();
        roots.dedup();
        Ok(Self { location: location.to_owned(), columns, roots })
    }

    /// The file's root columns that are needed, ascending: what to read.
    pub(super) fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The wanted columns of a batch that holds the root columns `roots`, ascending.
    pub(super) fn apply(&self, roots: &[usize], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let columns = self.columns.iter().map(|source| match source {
            Source::Constant(value) => {
                value.to_array_of_size(batch.num_rows()).map_err(|error| ArrowError::ExternalError(Box::new(error)))
            }
            Source::File { root, conversion } => match roots.binary_search(root) {
                Ok(at) => conversion.apply(batch.column(at)),
                Err(_) => Err(ArrowError::SchemaError(format!("root column {root} was not read"))),
            },
        });
        columns
            .collect::<std::result::Result<_, ArrowError>>()
            .map_err(|source| Error::compute(format!("failed to convert the columns of {}", self.location), source))
    }
}

fn source(
    field: &FieldRef,
    file: &Schema,
    constants: &HashMap<i32, ScalarValue>,
) -> std::result::Result<Source, String> {
    let id = field_id(field).ok_or_else(|| format!("column {} of the table has no field id", field.name()))?;
    if let Some((root, in_file)) = by_id(file.fields(), id) {
        return Ok(Source::File { root, conversion: convert(in_file, field)? });
    }
    if let Some(value) = constants.get(&id) {
        return Ok(Source::Constant(value.clone()));
    }
    missing(field)?;
    ScalarValue::try_new_null(field.data_type()).map(Source::Constant).map_err(|error| error.to_string())
}

fn by_id(fields: &Fields, id: i32) -> Option<(usize, &FieldRef)> {
    fields.iter().enumerate().find(|(_, field)| field_id(field) == Some(id))
}

fn missing(field: &Field) -> std::result::Result<(), String> {
    if field.is_nullable() {
        return Ok(());
    }
    Err(format!("it has no column {}, which the table requires", field.name()))
}

fn convert(from: &Field, to: &Field) -> std::result::Result<Conversion, String> {
    let mismatch =
        || format!("its column {} is {}, which does not widen to {}", from.name(), from.data_type(), to.data_type());
    Ok(match (from.data_type(), to.data_type()) {
        (from, to) if from == to && !from.is_nested() => Conversion::None,
        (DataType::Struct(have), DataType::Struct(want)) => {
            let child = |field: &FieldRef| {
                let found = field_id(field).and_then(|id| by_id(have, id));
                match found {
                    Some((at, in_file)) => Ok(Some((at, convert(in_file, field)?))),
                    None => missing(field).map(|()| None),
                }
            };
            let children: std::result::Result<_, String> = want.iter().map(child).collect();
            Conversion::Struct(want.clone(), children?)
        }
        (DataType::List(have), DataType::List(want)) => {
            Conversion::List(Arc::clone(want), Box::new(convert(have, want)?))
        }
        (DataType::Map(have, _), DataType::Map(want, _)) => match (have.data_type(), want.data_type()) {
            (DataType::Struct(have), DataType::Struct(entry)) if have.len() == 2 && entry.len() == 2 => {
                let conversions = [convert(&have[0], &entry[0])?, convert(&have[1], &entry[1])?];
                Conversion::Map(Arc::clone(want), Box::new(conversions))
            }
            _ => return Err(mismatch()),
        },
        (from, to) if widens(from, to) => Conversion::Cast(to.clone()),
        _ => return Err(mismatch()),
    })
}

/// Whether every value of a file's type is a value of the table's: Iceberg's promotions, and the several ways in which
/// Parquet writers store one Iceberg type.
pub(super) fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::*;
    match (from, to) {
        (Int8 | Int16 | UInt8 | UInt16, Int32 | Int64) | (Int32 | UInt32, Int64) | (Float32, Float64) => true,
        (Decimal128(from_digits, from_scale), Decimal128(digits, scale)) => {
            from_scale == scale && from_digits <= digits
        }
        // The unit and the zone are how the writer stored it; the table's type says what it means.
        (Timestamp(_, _), Timestamp(TimeUnit::Microsecond, _)) => true,
        (Date32, Timestamp(TimeUnit::Microsecond, None)) => true,
        (Time32(_) | Time64(_), Time64(TimeUnit::Microsecond)) => true,
        // Some writers leave the string annotation out. What is not UTF-8 fails the cast.
        (Binary | Utf8View, Utf8View) | (Binary | FixedSizeBinary(_) | Utf8View, BinaryView) => true,
        _ => false,
    }
}

impl Conversion {
    /// Nested columns are always put together anew, which takes no copies: those of a file with other names for the groups of
    /// its lists and maps, or without ids below, are of another type in Arrow than those of the table.
    fn apply(&self, array: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::None => Arc::clone(array),
            Self::Cast(to) => cast_exact(array, to)?,
            Self::Struct(fields, children) => {
                let structs = array.as_struct();
                let columns = fields.iter().zip(children).map(|(field, child)| match child {
                    Some((at, conversion)) => conversion.apply(structs.column(*at)),
                    None => Ok(new_null_array(field.data_type(), structs.len())),
                });
                let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
                let nulls = structs.nulls().cloned();
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, structs.len())?)
            }
            Self::List(element, conversion) => {
                let lists: &ListArray = array.as_list();
                let values = conversion.apply(lists.values())?;
                let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
                Arc::new(ListArray::try_new(Arc::clone(element), offsets, values, nulls)?)
            }
            Self::Map(entries, conversions) => {
                let maps = array.as_map();
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(ArrowError::SchemaError("the entries of a map are a struct".to_owned()));
                };
                let columns = vec![conversions[0].apply(maps.keys())?, conversions[1].apply(maps.values())?];
                let pairs = StructArray::try_new(fields.clone(), columns, None)?;
                let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
                Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, nulls, false)?)
            }
        })
    }
}

/// A cast that fails where a value has no place in the new type.
pub(super) fn cast_exact(array: &dyn Array, to: &DataType) -> std::result::Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: false, ..CastOptions::default() })
}
