//! Iceberg's partition transforms on Arrow arrays: <https://iceberg.apache.org/spec/#partition-transforms>.
//!
//! Owns the arithmetic, also before 1970. Refuses to know partition specs and tables.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryViewArray, Int32Array, PrimitiveArray, StringViewArray,
        new_null_array,
    },
    compute::cast,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimeUnit,
        TimestampMicrosecondType,
    },
};
pub(crate) use lake::murmur3_32;
use lake::spec::Transform;

use crate::{Error, Result};

const MICROS_PER_HOUR: i64 = 3_600_000_000;
const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;

/// Applies `transform` to every value of `source`, an array in the layout of [`crate::arrow_schema`].
///
/// The result has one value per row. Year, month, day, hour and bucket give `Int32`; identity, truncate and void keep
/// the type. NULL stays NULL. Fails for types that the transform is not defined for, and for transforms that are
/// unknown.
pub fn transform_array(transform: Transform, source: &ArrayRef) -> Result<ArrayRef> {
    match transform {
        Transform::Identity => Ok(Arc::clone(source)),
        Transform::Void => Ok(new_null_array(source.data_type(), source.len())),
        Transform::Year => dates(transform, source, |days| months_of(days).div_euclid(12)),
        Transform::Month => dates(transform, source, months_of),
        Transform::Day => dates(transform, source, |days| days),
        Transform::Hour => match source.data_type() {
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let micros = source.as_primitive::<TimestampMicrosecondType>();
                Ok(ints(micros, |value| value.div_euclid(MICROS_PER_HOUR) as i32))
            }
            _ => Err(undefined(transform, source)),
        },
        Transform::Bucket(buckets) => bucket(buckets, source),
        Transform::Truncate(width) => truncate(width, source),
        Transform::Unknown => Err(undefined(transform, source)),
    }
}

fn undefined(transform: Transform, source: &ArrayRef) -> Error {
    Error::Unsupported {
        subject: format!("transform {transform}"),
        reason: format!("it is not defined for {}", source.data_type()),
    }
}

fn ints<T: ArrowPrimitiveType>(source: &PrimitiveArray<T>, of: impl Fn(T::Native) -> i32) -> ArrayRef {
    Arc::new(source.unary::<_, Int32Type>(of))
}

fn dates(transform: Transform, source: &ArrayRef, of: impl Fn(i32) -> i32) -> Result<ArrayRef> {
    match source.data_type() {
        DataType::Date32 => Ok(ints(source.as_primitive::<Date32Type>(), of)),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let micros = source.as_primitive::<TimestampMicrosecondType>();
            Ok(ints(micros, |value| of(value.div_euclid(MICROS_PER_DAY) as i32)))
        }
        _ => Err(undefined(transform, source)),
    }
}

/// Months from 1970-01 to the month of a day, counted in days from 1970-01-01, in the proleptic Gregorian calendar.
///
/// Source: <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>. Its years begin in March, so that
/// the leap day is their last.
fn months_of(days: i32) -> i32 {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    ((year_of_era + era * 400 - 1970) * 12 + month_from_march + 2) as i32
}

fn bucket(buckets: u32, source: &ArrayRef) -> Result<ArrayRef> {
    if buckets == 0 || buckets > i32::MAX as u32 {
        return Err(undefined(Transform::Bucket(buckets), source));
    }
    let place = |hash: u32| ((hash & i32::MAX as u32) % buckets) as i32;
    let long = |value: i64| place(murmur3_32(&value.to_le_bytes()));
    let bytes = |value: &[u8]| place(murmur3_32(value));
    Ok(match source.data_type() {
        DataType::Int32 => ints(source.as_primitive::<Int32Type>(), |value| long(value.into())),
        DataType::Date32 => ints(source.as_primitive::<Date32Type>(), |value| long(value.into())),
        DataType::Int64 => ints(source.as_primitive::<Int64Type>(), long),
        DataType::Time64(TimeUnit::Microsecond) => ints(source.as_primitive::<Time64MicrosecondType>(), long),
        DataType::Timestamp(TimeUnit::Microsecond, _) => ints(source.as_primitive::<TimestampMicrosecondType>(), long),
        DataType::Decimal128(_, _) => ints(source.as_primitive::<Decimal128Type>(), |value| {
            let (encoded, start) = decimal_bytes(value);
            bytes(&encoded[start..])
        }),
        DataType::FixedSizeBinary(_) => {
            let values = source.as_fixed_size_binary();
            int_array(source, |row| bytes(values.value(row)))
        }
        DataType::Utf8View => {
            let values = source.as_string_view();
            int_array(source, |row| bytes(values.value(row).as_bytes()))
        }
        DataType::BinaryView => {
            let values = source.as_binary_view();
            int_array(source, |row| bytes(values.value(row)))
        }
        DataType::Utf8 | DataType::LargeUtf8 => return bucket(buckets, &cast_to(source, &DataType::Utf8View)?),
        DataType::Binary | DataType::LargeBinary => return bucket(buckets, &cast_to(source, &DataType::BinaryView)?),
        _ => return Err(undefined(Transform::Bucket(buckets), source)),
    })
}

fn int_array(source: &ArrayRef, of: impl Fn(usize) -> i32) -> ArrayRef {
    // NULL slots hash their empty value: cheaper than asking per row.
    let values: Vec<i32> = (0..source.len()).map(of).collect();
    Arc::new(Int32Array::new(values.into(), source.nulls().cloned()))
}

fn cast_to(source: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    cast(source, target).map_err(|error| Error::compute("failed to convert a partition column", error))
}

/// The big-endian two's complement of an unscaled decimal; its shortest form starts at the given byte.
pub(crate) fn decimal_bytes(value: i128) -> ([u8; 16], usize) {
    let magnitude = if value < 0 { !value } else { value };
    // One bit more than the magnitude, for the sign.
    let bits = 128 - magnitude.leading_zeros() as usize + 1;
    (value.to_be_bytes(), 16 - bits.div_ceil(8).max(1))
}

fn truncate(width: u32, source: &ArrayRef) -> Result<ArrayRef> {
    let undefined = || undefined(Transform::Truncate(width), source);
    if width == 0 {
        return Err(undefined());
    }
    Ok(match source.data_type() {
        DataType::Int32 => {
            let width = i32::try_from(width).map_err(|_| undefined())?;
            let values = source.as_primitive::<Int32Type>();
            Arc::new(values.unary::<_, Int32Type>(|value| value.wrapping_sub(value.rem_euclid(width))))
        }
        DataType::Int64 => {
            let values = source.as_primitive::<Int64Type>();
            Arc::new(values.unary::<_, Int64Type>(|value| value.wrapping_sub(value.rem_euclid(width.into()))))
        }
        DataType::Decimal128(_, _) => {
            let values = source.as_primitive::<Decimal128Type>();
            let truncated = values.unary::<_, Decimal128Type>(|value| value - value.rem_euclid(width.into()));
            Arc::new(truncated.with_data_type(source.data_type().clone()))
        }
        DataType::Utf8View => {
            let values = source.as_string_view();
            Arc::new(values.iter().map(|value| Some(first_chars(value?, width as usize))).collect::<StringViewArray>())
        }
        DataType::BinaryView => {
            let values = source.as_binary_view();
            let cut = |value: &[u8]| value.len().min(width as usize);
            Arc::new(values.iter().map(|value| value.map(|value| &value[..cut(value)])).collect::<BinaryViewArray>())
        }
        DataType::Utf8 | DataType::LargeUtf8 => return truncate(width, &cast_to(source, &DataType::Utf8View)?),
        DataType::Binary | DataType::LargeBinary => return truncate(width, &cast_to(source, &DataType::BinaryView)?),
        _ => return Err(undefined()),
    })
}

/// The first `chars_max` code points of a string.
pub(crate) fn first_chars(value: &str, chars_max: usize) -> &str {
    if value.len() <= chars_max {
        return value;
    }
    value.char_indices().nth(chars_max).map_or(value, |(end, _)| &value[..end])
}

#[cfg(test)]
mod tests;
