//! Raw values to the types a table declares, with one meaning of "fits": the value stays what it is. Nothing is rounded,
//! cut, wrapped or made infinite; only what is finer than a microsecond is left off instants and times. [`table`] says for
//! each pair of types which values fit. One that does not becomes NULL and its row is marked, so that it lands in quarantine
//! instead of in the table.

mod numbers;
mod table;
mod text;
mod times;

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, FixedSizeBinaryBuilder, GenericListArray,
        ListArray, MapArray, PrimitiveArray, StructArray, new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    compute::{CastOptions, cast_with_options},
    datatypes::{
        DataType, Date32Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, Float16Type,
        Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
        TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type, i256,
    },
    error::ArrowError,
};
use contract::EpochUnit;

use super::ambiguous::find_field;
use numbers::has_digits;
pub use table::{Fit, fit};
use table::{is_bytes, is_text};

/// A column in its declared type.
pub struct Converted {
    /// The values; NULL where a value did not fit.
    pub array: ArrayRef,
    /// Set where a value was there and did not fit; `None` when all fitted.
    pub failed: Option<BooleanBuffer>,
}

/// Converts a raw column to `field`'s type. Integers that fill a timestamp count `epoch` units since 1970.
pub fn convert(array: &ArrayRef, field: &Field, epoch: EpochUnit) -> Result<Converted, ArrowError> {
    let target = field.data_type();
    if let DataType::Dictionary(_, values) = array.data_type() {
        return convert(&cast(array, values)?, field, epoch);
    }
    match (array.data_type(), target) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let source = array.as_struct();
            let mut failed = None;
            let mut children = Vec::with_capacity(fields.len());
            for child_field in fields {
                let found = find_field(&source.column_names(), child_field.name()).map_err(|alike| {
                    ArrowError::SchemaError(format!("fields {} differ by case only", alike.join(" and ")))
                })?;
                let child = match found {
                    Some(index) => convert(source.column(index), child_field, epoch)?,
                    None => Converted { array: new_null_array(child_field.data_type(), source.len()), failed: None },
                };
                failed = union(failed, child.failed);
                if !child_field.is_nullable() {
                    failed = union(failed, null_where(&child.array));
                }
                children.push(child.array);
            }
            let failed = within(failed, source.nulls());
            let nulls = without(source.nulls(), failed.as_ref());
            let array = StructArray::try_new_with_length(relaxed(fields), children, nulls, source.len())?;
            Ok(Converted { array: Arc::new(array), failed })
        }
        (DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::ListView(_), DataType::List(_)) => {
            let element = match array.data_type() {
                DataType::LargeList(element) | DataType::FixedSizeList(element, _) | DataType::ListView(element) => {
                    element
                }
                _ => unreachable!("matched above"),
            };
            convert(&cast(array, &DataType::List(Arc::clone(element)))?, field, epoch)
        }
        (DataType::List(_), DataType::List(element)) => convert_list(array.as_list::<i32>(), element, epoch),
        (DataType::Map(..), DataType::Map(entry, _)) => convert_map(array.as_map(), entry, epoch),
        _ => convert_leaf(array, target, epoch),
    }
}

fn convert_list(
    source: &GenericListArray<i32>,
    element: &Arc<Field>,
    epoch: EpochUnit,
) -> Result<Converted, ArrowError> {
    let values = convert(source.values(), element, epoch)?;
    let mut element_failed = values.failed;
    if !element.is_nullable() {
        element_failed = union(element_failed, null_where(&values.array));
    }
    let failed = element_failed.map(|set| rows_of_elements(source.offsets(), &set));
    let failed = within(failed, source.nulls());
    let nulls = without(source.nulls(), failed.as_ref());
    let element = Arc::new(element.as_ref().clone().with_nullable(true));
    let array = ListArray::try_new(element, source.offsets().clone(), values.array, nulls)?;
    Ok(Converted { array: Arc::new(array), failed })
}

fn convert_map(source: &MapArray, entry: &Arc<Field>, epoch: EpochUnit) -> Result<Converted, ArrowError> {
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(ArrowError::SchemaError("a map's entries are a struct".to_owned()));
    };
    let keys = convert(source.keys(), &fields[0], epoch)?;
    let values = convert(source.values(), &fields[1], epoch)?;
    let mut element_failed = union(keys.failed, null_where(&keys.array));
    element_failed = union(element_failed, values.failed);
    if !fields[1].is_nullable() {
        element_failed = union(element_failed, null_where(&values.array));
    }
    let failed = element_failed.map(|set| rows_of_elements(source.offsets(), &set));
    let failed = within(failed, source.nulls());
    if failed.is_some() {
        // A key that could not be read cannot stand in a map: the whole value becomes NULL, and the map is cut there.
        return rebuild_map_without(source, entry, keys.array, values.array, failed);
    }
    let value_field = fields[1].as_ref().clone();
    let fields = vec![Arc::clone(&fields[0]), Arc::new(value_field)].into();
    let entries = StructArray::try_new(fields, vec![keys.array, values.array], None)?;
    let entry = Arc::new(entry.as_ref().clone().with_data_type(entries.data_type().clone()));
    let array = MapArray::try_new(entry, source.offsets().clone(), entries, source.nulls().cloned(), false)?;
    Ok(Converted { array: Arc::new(array), failed: None })
}

fn rebuild_map_without(
    source: &MapArray,
    entry: &Arc<Field>,
    keys: ArrayRef,
    values: ArrayRef,
    failed: Option<BooleanBuffer>,
) -> Result<Converted, ArrowError> {
    let nulls = without(source.nulls(), failed.as_ref());
    let mut kept = Vec::new();
    let mut lengths = Vec::with_capacity(source.len());
    for row in 0..source.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            lengths.push(0);
            continue;
        }
        let (start, end) = (source.offsets()[row], source.offsets()[row + 1]);
        kept.extend((start..end).map(i64::from));
        lengths.push(usize::try_from(end - start).unwrap_or(0));
    }
    let kept = arrow::array::Int64Array::from(kept);
    let columns = vec![arrow::compute::take(&keys, &kept, None)?, arrow::compute::take(&values, &kept, None)?];
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(ArrowError::SchemaError("a map's entries are a struct".to_owned()));
    };
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let array = MapArray::try_new(Arc::clone(entry), OffsetBuffer::from_lengths(lengths), entries, nulls, false)?;
    Ok(Converted { array: Arc::new(array), failed })
}

fn convert_leaf(array: &ArrayRef, target: &DataType, epoch: EpochUnit) -> Result<Converted, ArrowError> {
    let converted: ArrayRef = match (array.data_type(), target) {
        (DataType::Null, to) => new_null_array(to, array.len()),
        (from, to) if from == to && fit(from, to) == Fit::Every => Arc::clone(array),
        (from, to) if is_text(from) => from_text(&cast(array, &DataType::Utf8View)?, to)?,
        (from, to) if is_bytes(from) => from_bytes(&cast(array, &DataType::BinaryView)?, to)?,
        (DataType::FixedSizeBinary(_), DataType::BinaryView) => cast(array, target)?,
        (from, to) if from.is_integer() => from_integers(array, to, epoch)?,
        (from, to) if from.is_floating() => from_floats(array, to, epoch)?,
        (from, to) if from.is_decimal() => from_decimals(array, to)?,
        (DataType::Date32 | DataType::Date64, DataType::Date32) => Arc::new(times::dates(array)),
        (DataType::Date32 | DataType::Date64, DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Arc::new(times::days_as_instants(array).with_timezone_opt(zone.clone()))
        }
        (DataType::Time32(_) | DataType::Time64(_), DataType::Time64(TimeUnit::Microsecond)) => {
            Arc::new(times::times(array))
        }
        (DataType::Timestamp(unit, _), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            Arc::new(times::instants(array, *unit).with_timezone_opt(zone.clone()))
        }
        (DataType::Timestamp(unit, _), DataType::Date32) => Arc::new(times::midnights(array, *unit)),
        (_, to) => new_null_array(to, array.len()),
    };
    Ok(Converted { failed: newly_null(array, &converted), array: without_negative_zero(converted) })
}

fn from_text(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    fn parsed<T: ArrowPrimitiveType>(array: &ArrayRef, parse: impl Fn(&str) -> Option<T::Native>) -> PrimitiveArray<T> {
        array.as_string_view().iter().map(|text| text.and_then(&parse)).collect()
    }
    let narrow = |text: &str| text::integer(text).and_then(|number| i32::try_from(number).ok());
    let long = |text: &str| text::integer(text).and_then(|number| i64::try_from(number).ok());
    Ok(match target {
        DataType::Boolean => {
            Arc::new(array.as_string_view().iter().map(|text| text.and_then(text::boolean)).collect::<BooleanArray>())
        }
        DataType::Int32 => Arc::new(parsed::<Int32Type>(array, narrow)),
        DataType::Int64 => Arc::new(parsed::<Int64Type>(array, long)),
        DataType::Float32 => Arc::new(parsed::<Float32Type>(array, text::float)),
        DataType::Float64 => Arc::new(parsed::<Float64Type>(array, text::float)),
        DataType::Decimal128(precision, scale) => {
            let parse = |text: &str| text::decimal(text, *scale).filter(|value| has_digits(*value, *precision));
            Arc::new(parsed::<Decimal128Type>(array, parse).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Date32 => Arc::new(parsed::<Date32Type>(array, text::date)),
        DataType::Time64(TimeUnit::Microsecond) => Arc::new(parsed::<Time64MicrosecondType>(array, text::time)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(parsed::<TimestampMicrosecondType>(array, text::instant).with_timezone_opt(zone.clone()))
        }
        DataType::Utf8View => Arc::clone(array),
        DataType::BinaryView => cast(array, target)?,
        DataType::FixedSizeBinary(16) => uuids(array)?,
        DataType::FixedSizeBinary(width) => fixed(&cast(array, &DataType::BinaryView)?, *width)?,
        _ => new_null_array(target, array.len()),
    })
}

fn from_bytes(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match target {
        DataType::BinaryView => Arc::clone(array),
        // Where a value is not UTF-8, NULL.
        DataType::Utf8View => cast(array, target)?,
        DataType::FixedSizeBinary(width) => fixed(array, *width)?,
        _ => new_null_array(target, array.len()),
    })
}

fn from_integers(array: &ArrayRef, target: &DataType, epoch: EpochUnit) -> Result<ArrayRef, ArrowError> {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef, convert: impl Fn(i128) -> Option<T::Native>) -> PrimitiveArray<T> {
        macro_rules! of {
            ($kind:ty) => {
                array.as_primitive::<$kind>().unary_opt(|value| convert(value.into()))
            };
        }
        match array.data_type() {
            DataType::Int8 => of!(Int8Type),
            DataType::Int16 => of!(Int16Type),
            DataType::Int32 => of!(Int32Type),
            DataType::Int64 => of!(Int64Type),
            DataType::UInt8 => of!(UInt8Type),
            DataType::UInt16 => of!(UInt16Type),
            DataType::UInt32 => of!(UInt32Type),
            DataType::UInt64 => of!(UInt64Type),
            other => unreachable!("{other} is no integer"),
        }
    }
    Ok(match target {
        wide if fit(array.data_type(), wide) == Fit::Every => cast(array, wide)?,
        DataType::Int32 => Arc::new(each::<Int32Type>(array, |value| i32::try_from(value).ok())),
        DataType::Int64 => Arc::new(each::<Int64Type>(array, |value| i64::try_from(value).ok())),
        DataType::Float32 => Arc::new(each::<Float32Type>(array, numbers::integer_as_float)),
        DataType::Float64 => Arc::new(each::<Float64Type>(array, numbers::integer_as_float)),
        DataType::Decimal128(precision, scale) => {
            let convert =
                |value| numbers::integer_as_decimal(value, *scale).filter(|value| has_digits(*value, *precision));
            Arc::new(each::<Decimal128Type>(array, convert).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instants = each::<TimestampMicrosecondType>(array, |value| times::since_epoch(value, epoch));
            Arc::new(instants.with_timezone_opt(zone.clone()))
        }
        _ => new_null_array(target, array.len()),
    })
}

fn from_floats(array: &ArrayRef, target: &DataType, epoch: EpochUnit) -> Result<ArrayRef, ArrowError> {
    fn each<T: ArrowPrimitiveType>(array: &ArrayRef, convert: impl Fn(f64) -> Option<T::Native>) -> PrimitiveArray<T> {
        match array.data_type() {
            DataType::Float16 => array.as_primitive::<Float16Type>().unary_opt(|value| convert(value.into())),
            DataType::Float32 => array.as_primitive::<Float32Type>().unary_opt(|value| convert(value.into())),
            _ => array.as_primitive::<Float64Type>().unary_opt(convert),
        }
    }
    Ok(match target {
        DataType::Int32 => Arc::new(each::<Int32Type>(array, |value| i32::try_from(numbers::whole(value)?).ok())),
        DataType::Int64 => Arc::new(each::<Int64Type>(array, |value| i64::try_from(numbers::whole(value)?).ok())),
        DataType::Float32 => Arc::new(each::<Float32Type>(array, numbers::float_as_float)),
        DataType::Float64 => Arc::new(each::<Float64Type>(array, Some)),
        DataType::Decimal128(precision, scale) => {
            let is_double = array.data_type() == &DataType::Float64;
            let convert = |value: f64| {
                let unscaled = if is_double {
                    numbers::float_as_decimal(value, *scale)
                } else {
                    numbers::float_as_decimal(numbers::float_as_float::<f32>(value)?, *scale)
                };
                unscaled.filter(|value| has_digits(*value, *precision))
            };
            Arc::new(each::<Decimal128Type>(array, convert).with_precision_and_scale(*precision, *scale)?)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let instants = each::<TimestampMicrosecondType>(array, |value| times::fraction_since_epoch(value, epoch));
            Arc::new(instants.with_timezone_opt(zone.clone()))
        }
        _ => new_null_array(target, array.len()),
    })
}

fn from_decimals(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    fn each<T: ArrowPrimitiveType>(
        array: &ArrayRef,
        convert: impl Fn(i256, i8) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        match array.data_type() {
            DataType::Decimal32(_, scale) => {
                array.as_primitive::<Decimal32Type>().unary_opt(|value| convert(i256::from_i128(value.into()), *scale))
            }
            DataType::Decimal64(_, scale) => {
                array.as_primitive::<Decimal64Type>().unary_opt(|value| convert(i256::from_i128(value.into()), *scale))
            }
            DataType::Decimal128(_, scale) => {
                array.as_primitive::<Decimal128Type>().unary_opt(|value| convert(i256::from_i128(value), *scale))
            }
            DataType::Decimal256(_, scale) => {
                array.as_primitive::<Decimal256Type>().unary_opt(|value| convert(value, *scale))
            }
            other => unreachable!("{other} is no decimal"),
        }
    }
    let whole = numbers::decimal_as_integer;
    Ok(match target {
        DataType::Int32 => Arc::new(each::<Int32Type>(array, |value, scale| i32::try_from(whole(value, scale)?).ok())),
        DataType::Int64 => Arc::new(each::<Int64Type>(array, |value, scale| i64::try_from(whole(value, scale)?).ok())),
        DataType::Float32 => Arc::new(each::<Float32Type>(array, numbers::decimal_as_float)),
        DataType::Float64 => Arc::new(each::<Float64Type>(array, numbers::decimal_as_float)),
        DataType::Decimal128(precision, scale) => match array.data_type() {
            // The digits of the file are held to its own precision too: a column may hold more than it says.
            DataType::Decimal128(_, same) if same == scale => {
                let within = |value: &i128| has_digits(*value, *precision);
                let decimals = array.as_primitive::<Decimal128Type>();
                let decimals = if decimals.values().iter().all(within) {
                    decimals.clone()
                } else {
                    decimals.unary_opt::<_, Decimal128Type>(|value| Some(value).filter(within))
                };
                Arc::new(decimals.with_precision_and_scale(*precision, *scale)?)
            }
            _ => {
                let convert =
                    |value, from| numbers::rescaled(value, from, *scale).filter(|v| has_digits(*v, *precision));
                Arc::new(each::<Decimal128Type>(array, convert).with_precision_and_scale(*precision, *scale)?)
            }
        },
        _ => new_null_array(target, array.len()),
    })
}

/// −0 and 0 are one value; the table has 0.
fn without_negative_zero(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            if floats.values().iter().any(|value| value.to_bits() == (-0.0_f32).to_bits()) {
                return Arc::new(floats.unary::<_, Float32Type>(|value| value + 0.0));
            }
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            if floats.values().iter().any(|value| value.to_bits() == (-0.0_f64).to_bits()) {
                return Arc::new(floats.unary::<_, Float64Type>(|value| value + 0.0));
            }
        }
        _ => {}
    }
    array
}

fn uuids(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for text in array.as_string_view() {
        match text.and_then(|text| uuid::Uuid::parse_str(text).ok()) {
            Some(uuid) => builder.append_value(uuid.as_bytes())?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn fixed(array: &ArrayRef, width: i32) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), width);
    for bytes in array.as_binary_view() {
        match bytes.filter(|bytes| i32::try_from(bytes.len()) == Ok(width)) {
            Some(bytes) => builder.append_value(bytes)?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

/// Fields that may hold the NULLs of rows that did not fit; those rows never reach the table.
fn relaxed(fields: &arrow::datatypes::Fields) -> arrow::datatypes::Fields {
    fields.iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect()
}

fn newly_null(before: &ArrayRef, after: &ArrayRef) -> Option<BooleanBuffer> {
    let before_nulls = before.logical_nulls();
    let after_nulls = after.logical_nulls()?;
    if after_nulls.null_count() == before_nulls.as_ref().map_or(0, NullBuffer::null_count) {
        return None;
    }
    let missing = !after_nulls.inner();
    Some(match before_nulls {
        Some(before) => &missing & before.inner(),
        None => missing,
    })
}

fn null_where(array: &ArrayRef) -> Option<BooleanBuffer> {
    array.logical_nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| !nulls.inner())
}

fn union(a: Option<BooleanBuffer>, b: Option<BooleanBuffer>) -> Option<BooleanBuffer> {
    match (a, b) {
        (Some(a), Some(b)) => Some(&a | &b),
        (a, b) => a.or(b),
    }
}

fn within(failed: Option<BooleanBuffer>, nulls: Option<&NullBuffer>) -> Option<BooleanBuffer> {
    let failed = match (failed, nulls) {
        (Some(failed), Some(nulls)) => Some(&failed & nulls.inner()),
        (failed, _) => failed,
    };
    failed.filter(|failed| failed.count_set_bits() > 0)
}

fn without(nulls: Option<&NullBuffer>, failed: Option<&BooleanBuffer>) -> Option<NullBuffer> {
    let Some(failed) = failed else { return nulls.cloned() };
    let kept = NullBuffer::new(!failed);
    NullBuffer::union(nulls, Some(&kept))
}

fn rows_of_elements(offsets: &OffsetBuffer<i32>, elements: &BooleanBuffer) -> BooleanBuffer {
    BooleanBuffer::collect_bool(offsets.len() - 1, |row| {
        let (start, end) = (offsets[row], offsets[row + 1]);
        (start..end).any(|index| usize::try_from(index).is_ok_and(|index| elements.value(index)))
    })
}

#[cfg(test)]
mod tests;
