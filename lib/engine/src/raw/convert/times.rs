//! Dates, times of day and instants: in range, or nothing. What is finer than a microsecond is left off.

use arrow::{
    array::{ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray},
    datatypes::{
        DataType, Date32Type, Date64Type, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use contract::EpochUnit;

use super::numbers::{Float, Written};

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what every reader of the table can represent.
const TIMESTAMP_MICROS_MIN: i64 = -62_135_596_800_000_000;
const TIMESTAMP_MICROS_MAX: i64 = 253_402_300_799_999_999;
const DATE_DAYS_MIN: i32 = -719_162;
const DATE_DAYS_MAX: i32 = 2_932_896;
const DAY_SECONDS: i64 = 86_400;
const DAY_MICROS: i64 = 86_400_000_000;

/// Microseconds of an instant that the table can hold.
pub fn instant(micros: i64) -> Option<i64> {
    Some(micros).filter(|micros| (TIMESTAMP_MICROS_MIN..=TIMESTAMP_MICROS_MAX).contains(micros))
}

/// Days since 1970 that the table can hold.
pub fn date(days: i64) -> Option<i32> {
    i32::try_from(days).ok().filter(|days| (DATE_DAYS_MIN..=DATE_DAYS_MAX).contains(days))
}

/// Microseconds since midnight, of the day that they are in.
pub fn time_of_day(micros: i64) -> Option<i64> {
    Some(micros).filter(|micros| (0..DAY_MICROS).contains(micros))
}

/// Midnight in UTC as a date; another time of day is no date.
pub fn midnight(seconds: i64, subsecond_nanos: u32) -> Option<i32> {
    (seconds.rem_euclid(DAY_SECONDS) == 0 && subsecond_nanos == 0)
        .then_some(seconds.div_euclid(DAY_SECONDS))
        .and_then(date)
}

/// Instants of any unit in microseconds.
pub fn instants(array: &ArrayRef, unit: TimeUnit) -> PrimitiveArray<TimestampMicrosecondType> {
    match unit {
        TimeUnit::Second => of::<TimestampSecondType, _>(array, |value| instant(value.checked_mul(1_000_000)?)),
        TimeUnit::Millisecond => of::<TimestampMillisecondType, _>(array, |value| instant(value.checked_mul(1_000)?)),
        TimeUnit::Microsecond => kept(array.as_primitive::<TimestampMicrosecondType>(), instant),
        TimeUnit::Nanosecond => of::<TimestampNanosecondType, _>(array, |value| instant(value.div_euclid(1_000))),
    }
}

/// Instants that are midnights in UTC, as dates.
pub fn midnights(array: &ArrayRef, unit: TimeUnit) -> PrimitiveArray<Date32Type> {
    let days = |value: i64, day: i64| (value.rem_euclid(day) == 0).then_some(value.div_euclid(day)).and_then(date);
    match unit {
        TimeUnit::Second => of::<TimestampSecondType, _>(array, |value| days(value, DAY_SECONDS)),
        TimeUnit::Millisecond => of::<TimestampMillisecondType, _>(array, |value| days(value, DAY_SECONDS * 1_000)),
        TimeUnit::Microsecond => of::<TimestampMicrosecondType, _>(array, |value| days(value, DAY_MICROS)),
        TimeUnit::Nanosecond => of::<TimestampNanosecondType, _>(array, |value| days(value, DAY_MICROS * 1_000)),
    }
}

/// Dates as the midnights that they begin with, in UTC.
pub fn days_as_instants(array: &ArrayRef) -> PrimitiveArray<TimestampMicrosecondType> {
    match array.data_type() {
        DataType::Date64 => of::<Date64Type, _>(array, |millis| instant(millis.checked_mul(1_000)?)),
        _ => {
            let days = array.as_primitive::<Date32Type>();
            days.unary_opt(|days| instant(i64::from(days).checked_mul(DAY_MICROS)?))
        }
    }
}

/// Dates of either width.
pub fn dates(array: &ArrayRef) -> PrimitiveArray<Date32Type> {
    match array.data_type() {
        DataType::Date64 => of::<Date64Type, _>(array, |millis| date(millis.div_euclid(DAY_SECONDS * 1_000))),
        _ => kept(array.as_primitive::<Date32Type>(), |days| date(i64::from(days))),
    }
}

/// Times of day of any unit in microseconds.
pub fn times(array: &ArrayRef) -> PrimitiveArray<Time64MicrosecondType> {
    match array.data_type() {
        DataType::Time32(TimeUnit::Second) => array
            .as_primitive::<Time32SecondType>()
            .unary_opt(|seconds| time_of_day(i64::from(seconds).checked_mul(1_000_000)?)),
        DataType::Time32(_) => array
            .as_primitive::<Time32MillisecondType>()
            .unary_opt(|millis| time_of_day(i64::from(millis).checked_mul(1_000)?)),
        DataType::Time64(TimeUnit::Nanosecond) => {
            of::<Time64NanosecondType, _>(array, |nanos| time_of_day(nanos.div_euclid(1_000)))
        }
        _ => kept(array.as_primitive::<Time64MicrosecondType>(), time_of_day),
    }
}

/// Units since 1970 as an instant.
pub fn since_epoch(value: i128, epoch: EpochUnit) -> Option<i64> {
    let micros = match epoch {
        EpochUnit::Nanoseconds => value.div_euclid(1_000),
        _ => value.checked_mul(i128::from(epoch.micros()))?,
    };
    instant(i64::try_from(micros).ok()?)
}

/// Units since 1970, with a fraction, as an instant: the digits that the double is written with.
pub fn fraction_since_epoch(value: f64, epoch: EpochUnit) -> Option<i64> {
    let places = match epoch {
        EpochUnit::Nanoseconds => -3,
        EpochUnit::Microseconds => 0,
        EpochUnit::Milliseconds => 3,
        EpochUnit::Seconds => 6,
    };
    // A double that is no number is written with letters, and is no instant.
    let text = value.shortest();
    instant(i64::try_from(Written::parse(&text)?.floor(places)?).ok()?)
}

fn of<T: ArrowPrimitiveType<Native = i64>, To: ArrowPrimitiveType>(
    array: &ArrayRef,
    convert: impl Fn(i64) -> Option<To::Native>,
) -> PrimitiveArray<To> {
    array.as_primitive::<T>().unary_opt(convert)
}

/// The array itself where every value passes.
fn kept<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    passes: impl Fn(T::Native) -> Option<T::Native>,
) -> PrimitiveArray<T> {
    if array.values().iter().all(|value| passes(*value).is_some()) {
        return array.clone();
    }
    array.unary_opt(passes)
}
