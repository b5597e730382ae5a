//! What a partition value says of its source column: the transforms, backwards
//! (<https://iceberg.apache.org/spec/#partition-transforms>).

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use jiff::civil::Date;
use lake::spec::{Literal, PrimitiveLiteral, Transform};

use super::values::scalar;

const HOUR_US: i64 = 3_600_000_000;
const DAY_US: i64 = 24 * HOUR_US;
const EPOCH: Date = Date::constant(1970, 1, 1);

/// What is known of a column's values in one file, or one row group; `None` where nothing is.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Bounds {
    /// No value is smaller.
    pub(super) min: Option<ScalarValue>,
    /// No value is larger.
    pub(super) max: Option<ScalarValue>,
    /// How many are NULL.
    pub(super) nulls: Option<u64>,
}

/// Bounds of a column of `data_type` in a file of `rows` rows that lies in the partition `value` of `transform`.
pub(super) fn partition_bounds(
    transform: Transform,
    value: Option<&Literal>,
    data_type: &DataType,
    rows: u64,
) -> Bounds {
    let value = match (transform, value) {
        (Transform::Void | Transform::Unknown, _) => return Bounds::default(),
        // Only NULL is transformed to NULL.
        (_, None) => return Bounds { nulls: Some(rows), ..Bounds::default() },
        (_, Some(Literal::Primitive(value))) => value,
        (_, Some(_)) => return Bounds::default(),
    };
    let range = match transform {
        Transform::Identity => scalar(value, data_type).map(one_value),
        Transform::Truncate(width) => truncated(value, width, data_type),
        Transform::Year | Transform::Month | Transform::Day | Transform::Hour => period(transform, value, data_type),
        Transform::Bucket(_) | Transform::Void | Transform::Unknown => None,
    };
    let (min, max) = range.unwrap_or_default();
    Bounds { min, max, nulls: Some(0) }
}

type MinMax = (Option<ScalarValue>, Option<ScalarValue>);

/// The bounds of a value. The two zeros are one partition to some writers, and -0.0 lies before 0.0.
fn one_value(value: ScalarValue) -> MinMax {
    match value {
        ScalarValue::Float32(Some(0.0)) => (Some((-0.0_f32).into()), Some(0.0_f32.into())),
        ScalarValue::Float64(Some(0.0)) => (Some((-0.0_f64).into()), Some(0.0_f64.into())),
        value => (Some(value.clone()), Some(value)),
    }
}

fn period(transform: Transform, value: &PrimitiveLiteral, data_type: &DataType) -> Option<MinMax> {
    let PrimitiveLiteral::Int(ordinal) = value else { return None };
    let ordinal = i64::from(*ordinal);
    // Writers of old rounded times before 1970 towards it, into the period after their own.
    let first = if ordinal <= 0 { ordinal - 1 } else { ordinal };
    let start_us = |ordinal: i64| match transform {
        Transform::Hour => ordinal.checked_mul(HOUR_US),
        Transform::Day => ordinal.checked_mul(DAY_US),
        Transform::Month => months_to_days(ordinal)?.checked_mul(DAY_US),
        _ => months_to_days(ordinal.checked_mul(12)?)?.checked_mul(DAY_US),
    };
    let (min, end) = (start_us(first)?, start_us(ordinal + 1)?);
    match data_type {
        DataType::Timestamp(TimeUnit::Microsecond, zone) => Some((
            Some(ScalarValue::TimestampMicrosecond(Some(min), zone.clone())),
            Some(ScalarValue::TimestampMicrosecond(Some(end - 1), zone.clone())),
        )),
        DataType::Date32 => Some((
            Some(ScalarValue::Date32(i32::try_from(min / DAY_US).ok())),
            Some(ScalarValue::Date32(i32::try_from(end / DAY_US - 1).ok())),
        )),
        _ => None,
    }
}

/// Days from 1970-01-01 to the first day of a month, both counted from 1970.
fn months_to_days(months: i64) -> Option<i64> {
    let year = i16::try_from(months.div_euclid(12) + 1970).ok()?;
    let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
    let first = Date::new(year, month, 1).ok()?;
    Some(first.duration_since(EPOCH).as_hours() / 24)
}

fn truncated(value: &PrimitiveLiteral, width: u32, data_type: &DataType) -> Option<MinMax> {
    let min = scalar(value, data_type)?;
    let more = i64::from(width).checked_sub(1)?;
    let max = match &min {
        ScalarValue::Int32(Some(value)) => {
            i32::try_from(i64::from(*value) + more).ok().map(|v| ScalarValue::Int32(Some(v)))
        }
        ScalarValue::Int64(Some(value)) => value.checked_add(more).map(|value| ScalarValue::Int64(Some(value))),
        ScalarValue::Decimal128(Some(value), precision, scale) => {
            value.checked_add(i128::from(more)).map(|value| ScalarValue::Decimal128(Some(value), *precision, *scale))
        }
        ScalarValue::Utf8View(Some(prefix)) if prefix.chars().count() < usize::try_from(width).ok()? => {
            Some(min.clone())
        }
        ScalarValue::Utf8View(Some(prefix)) => next_prefix(prefix).map(|next| ScalarValue::Utf8View(Some(next))),
        _ => None,
    };
    Some((Some(min), max))
}

/// The shortest string that is larger than all that start with `prefix`.
fn next_prefix(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // Between these two lie no characters.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(transform: Transform, value: i32, data_type: &DataType) -> (String, String) {
        let bounds = partition_bounds(transform, Some(&Literal::int(value)), data_type, 10);
        assert_eq!(bounds.nulls, Some(0));
        (bounds.min.unwrap().to_string(), bounds.max.unwrap().to_string())
    }

    fn text(min: &str, max: &str) -> (String, String) {
        (min.to_owned(), max.to_owned())
    }

    #[test]
    fn periods_are_ranges_of_days() {
        let days = DataType::Date32;
        assert_eq!(bounds(Transform::Day, 20_240, &days), text("2025-06-01", "2025-06-01"));
        assert_eq!(bounds(Transform::Month, 665, &days), text("2025-06-01", "2025-06-30"));
        assert_eq!(bounds(Transform::Month, 649, &days), text("2024-02-01", "2024-02-29"));
        assert_eq!(bounds(Transform::Year, 54, &days), text("2024-01-01", "2024-12-31"));
    }

    #[test]
    fn periods_before_1970_reach_one_back() {
        assert_eq!(bounds(Transform::Day, -1, &DataType::Date32), text("1969-12-30", "1969-12-31"));
        assert_eq!(bounds(Transform::Year, 0, &DataType::Date32), text("1969-01-01", "1970-12-31"));
    }

    #[test]
    fn hours_are_ranges_of_times() {
        let times = DataType::Timestamp(TimeUnit::Microsecond, None);
        let (min, max) = bounds(Transform::Hour, 485_763, &times);
        assert_eq!((min.as_str(), max.as_str()), ("1748746800000000", "1748750399999999"));
    }

    #[test]
    fn truncated_values_are_ranges() {
        assert_eq!(bounds(Transform::Truncate(10), 20, &DataType::Int64), text("20", "29"));
        assert_eq!(bounds(Transform::Truncate(10), -10, &DataType::Int32), text("-10", "-1"));
        let of = |value: &str, width| {
            let bounds =
                partition_bounds(Transform::Truncate(width), Some(&Literal::string(value)), &DataType::Utf8View, 1);
            (bounds.min.map(|min| min.to_string()), bounds.max.map(|max| max.to_string()))
        };
        assert_eq!(of("abc", 3), (Some("abc".to_owned()), Some("abd".to_owned())));
        assert_eq!(of("ab", 3), (Some("ab".to_owned()), Some("ab".to_owned())));
        assert_eq!(of("a\u{10FFFF}", 2), (Some("a\u{10FFFF}".to_owned()), Some("b".to_owned())));
        assert_eq!(of("\u{10FFFF}", 1), (Some("\u{10FFFF}".to_owned()), None));
    }

    #[test]
    fn the_two_zeros_are_one_partition() {
        for zero in [0.0, -0.0] {
            let bounds = partition_bounds(Transform::Identity, Some(&Literal::double(zero)), &DataType::Float64, 1);
            assert_eq!((bounds.min, bounds.max), (Some((-0.0_f64).into()), Some(0.0_f64.into())));
        }
        let one = partition_bounds(Transform::Identity, Some(&Literal::float(1.0)), &DataType::Float32, 1);
        assert_eq!((one.min, one.max), (Some(1.0_f32.into()), Some(1.0_f32.into())));
    }

    #[test]
    fn null_partitions_hold_only_nulls_and_voided_ones_anything() {
        let nulls = partition_bounds(Transform::Day, None, &DataType::Date32, 7);
        assert_eq!(nulls, Bounds { nulls: Some(7), ..Bounds::default() });
        assert_eq!(partition_bounds(Transform::Void, None, &DataType::Date32, 7), Bounds::default());
    }
}
