//! Text as other types: what it says exactly, or nothing. Spaces around are no part of it.

use arrow::{
    array::timezone::Tz,
    compute::kernels::cast_utils::{Parser, string_to_datetime, string_to_time_nanoseconds},
    datatypes::Date32Type,
};

use super::{
    numbers::{Float, Written},
    times,
};

/// True or false, in the words that databases write.
pub fn boolean(text: &str) -> Option<bool> {
    let is = |words: [&str; 5]| words.iter().any(|word| text.trim_ascii().eq_ignore_ascii_case(word));
    if is(["true", "t", "yes", "y", "on"]) || text.trim_ascii() == "1" {
        return Some(true);
    }
    (is(["false", "f", "no", "n", "off"]) || text.trim_ascii() == "0").then_some(false)
}

/// A number without a fraction, whatever its notation: `7`, `+7`, `7.0`, `0.7e1`.
pub fn integer(text: &str) -> Option<i128> {
    let text = text.trim_ascii();
    match text.parse::<i64>() {
        Ok(number) => Some(i128::from(number)),
        Err(_) => decimal(text, 0),
    }
}

/// A number with so many fraction digits at most, as an unscaled value.
pub fn decimal(text: &str, scale: i8) -> Option<i128> {
    Written::parse(text.trim_ascii())?.unscaled(i64::from(scale))
}

/// A number that the float is written as; or `NaN`, `inf`, `infinity`.
pub fn float<T: Float>(text: &str) -> Option<T> {
    let text = text.trim_ascii();
    let nearest = T::parse(text)?;
    let is_word = text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'n'));
    if is_word { Some(nearest) } else { Written::parse(text)?.float(nearest) }
}

/// A date, `2025-06-04` or `20250604`; or a date with a time that is midnight in UTC.
pub fn date(text: &str) -> Option<i32> {
    let text = text.trim_ascii();
    if text.len() <= 10 || text.starts_with(['+', '-']) {
        return times::date(i64::from(Date32Type::parse(text)?));
    }
    let (seconds, nanos) = moment(text)?;
    // Digits beyond the nanosecond are a time of day as well.
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let is_zero = fraction.bytes().take_while(u8::is_ascii_digit).all(|digit| digit == b'0');
    times::midnight(seconds, nanos).filter(|_| is_zero)
}

/// A time of day, `23:59:59.999999`. A leap second is in no day of the table.
pub fn time(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    if text.contains(":60") {
        return None;
    }
    times::time_of_day(string_to_time_nanoseconds(text).ok()?.div_euclid(1_000))
}

/// An instant, `2025-06-04T23:59:59.999999+02:00`; in UTC where no zone is said.
pub fn instant(text: &str) -> Option<i64> {
    let (seconds, nanos) = moment(text.trim_ascii())?;
    times::instant(seconds.checked_mul(1_000_000)?.checked_add(i64::from(nanos / 1_000))?)
}

/// Seconds since 1970 and nanoseconds of the second.
fn moment(text: &str) -> Option<(i64, u32)> {
    let utc: Tz = "+00:00".parse().expect("an offset");
    let moment = string_to_datetime(&utc, text).ok()?;
    let nanos = moment.timestamp_subsec_nanos();
    // Above a second it is a leap second.
    (nanos < 1_000_000_000).then_some((moment.timestamp(), nanos))
}
