//! Values in a contract, read and written by the type of their column.

use std::cmp::Ordering;

use jiff::{
    Timestamp, Unit,
    civil::{Date, DateTime, Time},
    tz::TimeZone,
};

use crate::{Literal, PrimitiveType, yaml::Scalar};

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

/// Reads a value of that type. `Err` says what to write instead.
pub(crate) fn read(kind: PrimitiveType, scalar: &Scalar) -> Result<Literal, String> {
    match (kind, scalar) {
        (PrimitiveType::Boolean, Scalar::Boolean(value)) => Ok(Literal::Boolean(*value)),
        (PrimitiveType::Boolean, _) => Err("write true or false".to_owned()),
        (PrimitiveType::Int, Scalar::Number(digits)) => integer(digits)
            .filter(|integer| i32::try_from(*integer).is_ok())
            .map(Literal::Integer)
            .ok_or_else(|| "write a whole number of 32 bits".to_owned()),
        (PrimitiveType::Long, Scalar::Number(digits)) => {
            integer(digits).map(Literal::Integer).ok_or_else(|| "write a whole number of 64 bits".to_owned())
        }
        (PrimitiveType::Int | PrimitiveType::Long, _) => Err("write a whole number without quotes".to_owned()),
        (PrimitiveType::Float | PrimitiveType::Double, Scalar::Number(digits)) => {
            float(digits).map(Literal::Float).ok_or_else(|| "write a finite number".to_owned())
        }
        (PrimitiveType::Float | PrimitiveType::Double, _) => Err("write a number without quotes".to_owned()),
        (PrimitiveType::Decimal { precision, scale }, Scalar::Number(digits) | Scalar::Text(digits)) => {
            decimal(digits, precision, scale)
                .map(Literal::Decimal)
                .ok_or_else(|| format!("write a number that decimal({precision},{scale}) holds exactly"))
        }
        (PrimitiveType::Date, Scalar::Text(text)) => date(text).map(Literal::Integer).ok_or_else(|| help(kind)),
        (PrimitiveType::Time, Scalar::Text(text)) => time(text).map(Literal::Integer).ok_or_else(|| help(kind)),
        (PrimitiveType::Timestamp, Scalar::Text(text)) => {
            date_time(text).map(Literal::Integer).ok_or_else(|| help(kind))
        }
        (PrimitiveType::TimestampTz, Scalar::Text(text)) => {
            instant(text).map(Literal::Integer).ok_or_else(|| help(kind))
        }
        (PrimitiveType::String, Scalar::Text(text)) => Ok(Literal::String(text.clone())),
        (PrimitiveType::String, Scalar::Number(text)) => Err(format!("put it in quotes: \"{text}\"")),
        (PrimitiveType::String, Scalar::Boolean(value)) => Err(format!("put it in quotes: \"{value}\"")),
        (PrimitiveType::Uuid, Scalar::Text(text)) => {
            uuid(text).map(Literal::String).ok_or_else(|| help(PrimitiveType::Uuid))
        }
        (PrimitiveType::Fixed(_) | PrimitiveType::Binary, _) => {
            Err("columns of bytes cannot be compared with a value: write a row rule".to_owned())
        }
        _ => Err(help(kind)),
    }
}

fn help(kind: PrimitiveType) -> String {
    let write = match kind {
        PrimitiveType::Date => "a date: \"2025-06-04\"",
        PrimitiveType::Time => "a time of day: \"13:30:00\"",
        PrimitiveType::Timestamp => "a time without a zone: \"2025-06-04T00:00:00\"",
        PrimitiveType::TimestampTz => "an instant: \"2025-06-04T00:00:00Z\"",
        PrimitiveType::Uuid => "a UUID: \"f79c3e09-677c-4bbd-a479-3f349cb785e7\"",
        _ => "a value",
    };
    format!("write {write}")
}

/// `100` and `1e2`, not `1.5`.
fn integer(digits: &str) -> Option<i64> {
    digits.parse().ok().or_else(|| i64::try_from(decimal(digits, 38, 0)?).ok())
}

fn float(digits: &str) -> Option<f64> {
    digits.parse().ok().filter(|number: &f64| number.is_finite())
}

/// The unscaled value, when nothing is lost.
fn decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 76)?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // The value is `significant` × 10^shift in units of the scale.
    let shift = i32::from(scale) + exponent - i32::try_from(fraction.len()).ok()?;
    let unscaled = if shift >= 0 {
        format!("{significant}{}", "0".repeat(usize::try_from(shift).ok()?))
    } else {
        let cut = significant.len().checked_sub(usize::try_from(-shift).ok()?)?;
        let (kept, lost) = significant.split_at(cut);
        if lost.bytes().any(|byte| byte != b'0') {
            return None;
        }
        kept.to_owned()
    };
    if unscaled.len() > usize::from(precision) {
        return None;
    }
    let magnitude: i128 = unscaled.parse().ok()?;
    Some(if negative { -magnitude } else { magnitude })
}

fn date(text: &str) -> Option<i64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
        return None;
    }
    let days = text.parse::<Date>().ok()?.since((Unit::Day, EPOCH)).ok()?.get_days();
    Some(days.into())
}

fn time(text: &str) -> Option<i64> {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':' || byte == b'.') {
        return None;
    }
    let since = text.parse::<Time>().ok()?.duration_since(Time::midnight());
    whole_microseconds(since.as_nanos())
}

fn date_time(text: &str) -> Option<i64> {
    if has_offset(text) {
        return None;
    }
    let zoned = text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok()?;
    whole_microseconds(zoned.timestamp().as_nanosecond())
}

/// Without an offset it is UTC, the standard's `defaultTimezone`.
fn instant(text: &str) -> Option<i64> {
    if !has_offset(text) {
        return date_time(text);
    }
    whole_microseconds(text.parse::<Timestamp>().ok()?.as_nanosecond())
}

fn has_offset(text: &str) -> bool {
    text.get(10..).is_some_and(|time| time.contains(['Z', 'z', '+', '-', '[']))
}

fn whole_microseconds(nanoseconds: i128) -> Option<i64> {
    (nanoseconds % 1_000 == 0).then(|| i64::try_from(nanoseconds / 1_000).ok()).flatten()
}

fn uuid(text: &str) -> Option<String> {
    let groups: Vec<&str> = text.split('-').collect();
    let shaped = groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]);
    let hexadecimal = groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()));
    (shaped && hexadecimal).then(|| text.to_lowercase())
}

/// The value as a contract spells it. Text where YAML needs text.
pub(crate) fn write(kind: PrimitiveType, literal: &Literal) -> Scalar {
    match (kind, literal) {
        (_, Literal::Boolean(value)) => Scalar::Boolean(*value),
        (PrimitiveType::Date, Literal::Integer(days)) => {
            let span = i32::try_from(*days).ok().and_then(|days| jiff::Span::new().try_days(days).ok());
            text_or_number(span.and_then(|span| EPOCH.checked_add(span).ok()), *days)
        }
        (PrimitiveType::Time, Literal::Integer(microseconds)) => {
            let span = jiff::Span::new().try_microseconds(*microseconds).ok();
            text_or_number(span.and_then(|span| Time::midnight().checked_add(span).ok()), *microseconds)
        }
        (PrimitiveType::Timestamp, Literal::Integer(microseconds)) => {
            let timestamp = Timestamp::from_microsecond(*microseconds).ok();
            text_or_number(timestamp.map(|timestamp| timestamp.to_zoned(TimeZone::UTC).datetime()), *microseconds)
        }
        (PrimitiveType::TimestampTz, Literal::Integer(microseconds)) => {
            text_or_number(Timestamp::from_microsecond(*microseconds).ok(), *microseconds)
        }
        (_, Literal::Integer(integer)) => Scalar::Number(integer.to_string()),
        (_, Literal::Float(float)) if float.abs() < 1e15 => Scalar::Number(format!("{float}")),
        (_, Literal::Float(float)) => Scalar::Number(format!("{float:?}")),
        (PrimitiveType::Decimal { scale, .. }, Literal::Decimal(unscaled)) => {
            Scalar::Number(write_decimal(*unscaled, scale))
        }
        (_, Literal::Decimal(unscaled)) => Scalar::Number(unscaled.to_string()),
        (_, Literal::String(text)) => Scalar::Text(text.clone()),
    }
}

fn text_or_number(text: Option<impl ToString>, number: i64) -> Scalar {
    text.map_or_else(|| Scalar::Number(number.to_string()), |text| Scalar::Text(text.to_string()))
}

fn write_decimal(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if unscaled < 0 { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The order of two values of one type.
pub(crate) fn compare(left: &Literal, right: &Literal) -> Option<Ordering> {
    match (left, right) {
        (Literal::Boolean(left), Literal::Boolean(right)) => Some(left.cmp(right)),
        (Literal::Integer(left), Literal::Integer(right)) => Some(left.cmp(right)),
        (Literal::Float(left), Literal::Float(right)) => left.partial_cmp(right),
        (Literal::Decimal(left), Literal::Decimal(right)) => Some(left.cmp(right)),
        (Literal::String(left), Literal::String(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(digits: &str) -> Scalar {
        Scalar::Number(digits.to_owned())
    }

    fn text(text: &str) -> Scalar {
        Scalar::Text(text.to_owned())
    }

    #[test]
    fn literals_are_read_by_type_and_written_back() {
        let decimal = PrimitiveType::Decimal { precision: 6, scale: 2 };
        let cases = [
            (PrimitiveType::Boolean, Scalar::Boolean(true), Literal::Boolean(true), Scalar::Boolean(true)),
            (PrimitiveType::Int, number("-5"), Literal::Integer(-5), number("-5")),
            (PrimitiveType::Long, number("1e3"), Literal::Integer(1000), number("1000")),
            (PrimitiveType::Double, number("-60"), Literal::Float(-60.0), number("-60")),
            (PrimitiveType::Float, number("1e20"), Literal::Float(1e20), number("1e20")),
            (decimal, number("12.5"), Literal::Decimal(1250), number("12.50")),
            (decimal, text("-0.07"), Literal::Decimal(-7), number("-0.07")),
            (decimal, number("1.200e1"), Literal::Decimal(1200), number("12.00")),
            (PrimitiveType::Date, text("1969-12-31"), Literal::Integer(-1), text("1969-12-31")),
            (PrimitiveType::Time, text("00:00:01.5"), Literal::Integer(1_500_000), text("00:00:01.5")),
            (
                PrimitiveType::Timestamp,
                text("1970-01-02 00:00:00"),
                Literal::Integer(86_400_000_000),
                text("1970-01-02T00:00:00"),
            ),
            (
                PrimitiveType::TimestampTz,
                text("1970-01-01T01:00:00+01:00"),
                Literal::Integer(0),
                text("1970-01-01T00:00:00Z"),
            ),
            (PrimitiveType::TimestampTz, text("1970-01-01"), Literal::Integer(0), text("1970-01-01T00:00:00Z")),
            (PrimitiveType::String, text("x"), Literal::String("x".into()), text("x")),
        ];
        for (kind, scalar, literal, written) in cases {
            assert_eq!(read(kind, &scalar), Ok(literal.clone()), "{kind} {scalar:?}");
            assert_eq!(write(kind, &literal), written);
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_refused() {
        let decimal = PrimitiveType::Decimal { precision: 4, scale: 2 };
        let cases = [
            (PrimitiveType::Int, number("3000000000"), "write a whole number of 32 bits"),
            (PrimitiveType::Int, number("1.5"), "write a whole number of 32 bits"),
            (PrimitiveType::Long, text("5"), "write a whole number without quotes"),
            (PrimitiveType::Double, number(".nan"), "write a finite number"),
            (decimal, number("1.005"), "write a number that decimal(4,2) holds exactly"),
            (decimal, number("100"), "write a number that decimal(4,2) holds exactly"),
            (PrimitiveType::Date, text("2025-02-30"), "write a date: \"2025-06-04\""),
            (PrimitiveType::Date, text("2025-02-03T00:00"), "write a date: \"2025-06-04\""),
            (
                PrimitiveType::Timestamp,
                text("2025-01-01T00:00:00Z"),
                "write a time without a zone: \"2025-06-04T00:00:00\"",
            ),
            (PrimitiveType::TimestampTz, text("yesterday"), "write an instant: \"2025-06-04T00:00:00Z\""),
            (PrimitiveType::TimestampTz, number("5"), "write an instant: \"2025-06-04T00:00:00Z\""),
            (PrimitiveType::String, number("007"), "put it in quotes: \"007\""),
            (PrimitiveType::Uuid, text("x"), "write a UUID: \"f79c3e09-677c-4bbd-a479-3f349cb785e7\""),
        ];
        for (kind, scalar, help) in cases {
            assert_eq!(read(kind, &scalar), Err(help.to_owned()), "{kind} {scalar:?}");
        }
    }
}
