//! Raw values: what they mean, where they come from, and columns of them.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Decimal128Array, Decimal256Array, FixedSizeBinaryArray,
        Float16Array, Float32Array, Float64Array, Int8Array, Int16Array, Int32Array, Int64Array, NullArray,
        StringViewArray, Time32MillisecondArray, Time64MicrosecondArray, Time64NanosecondArray,
        TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, UInt8Array, UInt16Array,
        UInt32Array, UInt64Array,
    },
    datatypes::{ArrowPrimitiveType, DataType, Float16Type, TimeUnit, i256},
};

/// A raw value, by what it means.
#[derive(Debug, Clone, PartialEq)]
pub enum Raw {
    Truth(bool),
    Integer(i128),
    Single(f32),
    Double(f64),
    Decimal(i256, i8),
    Text(String),
    Bytes(Vec<u8>),
    Days(i64),
    TimeNanos(i64),
    InstantNanos(i128),
    /// An instant in text, and what it is.
    InstantText(String, Option<i128>),
    Nothing,
}

/// Where a value comes from: which kind of it, and two numbers to make it of.
pub type Seed = (u8, u64, u64);

/// An integer near a power, a boundary, or anywhere.
fn integer((kind, a, b): Seed) -> i128 {
    let near = (b % 5) as i128 - 2;
    let value = match kind % 6 {
        0 => near,
        1 => (1_i128 << (a % 66)) + near,
        2 => 10_i128.pow((a % 20) as u32) + near,
        3 => i128::from(a as u32) * 1_000 + near,
        4 => i128::from(a),
        _ => i128::from(a % 4_000_000_000) * 10_i128.pow((b % 10) as u32),
    };
    if b & 8 == 0 { value } else { -value }
}

fn double((kind, a, b): Seed) -> f64 {
    match kind % 8 {
        0 => f64::from_bits(a),
        1 => integer((kind / 8, a, b)) as f64,
        2 => f64::from(f32::from_bits(a as u32)),
        3 => [f64::NAN, f64::INFINITY, -0.0, f64::MAX, f64::MIN_POSITIVE, 5e-324, 1e39][(a % 7) as usize],
        // Instants in seconds, with a fraction.
        4 => (a % 4_000_000_000) as f64 + (b % 1_000_000_000) as f64 / 1e9,
        5 => integer((kind / 8, a, b)) as f64 / 1_024.0,
        _ => (a % 1_000_000_000_000_000) as f64 / 10_f64.powi((b % 18) as i32),
    }
}

fn decimal(precision: u8, seed: Seed) -> i256 {
    let (kind, a, b) = seed;
    let value = i256::from_i128(integer((kind / 2, a, b)));
    let ten = i256::from_i128(10);
    // Now and then one that has more digits than its type says.
    let top = ten.wrapping_pow(u32::from(precision) - u32::from(kind & 8 != 0));
    let wide =
        value.wrapping_mul(ten.wrapping_pow((b % 30) as u32)).wrapping_add(i256::from_i128(i128::from(a % 1_000)));
    if kind % 2 == 0 { value.checked_rem(top).unwrap() } else { wide.checked_rem(top).unwrap() }
}

pub fn text(seed: Seed) -> Raw {
    let (kind, a, b) = seed;
    let inner = (kind / 16, a, b);
    let text = match kind % 16 {
        0 => integer(inner).to_string(),
        1 => format!("{}.{:0width$}", integer(inner), b % 1_000, width = (a % 6) as usize),
        2 => format!("{:?}", double(inner)),
        3 => format!("{}e{}", integer(inner), (b % 90) as i64 - 45),
        4 => format!(" {}{:e} ", if a % 2 == 0 { "+" } else { "" }, double(inner).abs()),
        5 => format!("{:.*e}", (b % 25) as usize, double(inner)),
        6 => format!("{:.*}", (b % 20) as usize, integer(inner) as f64 / 1_000.0),
        7 => format!("0.{}{}", "0".repeat((b % 340) as usize), a),
        8 => format!("{a}{}", "0".repeat((b % 30) as usize)),
        9 => {
            let odd = [
                "NaN",
                "Infinity",
                "-inf",
                "1e39",
                "1e400",
                "-1e-400",
                "1.005",
                "1e",
                "1_000",
                "0x10",
                "",
                " ",
                "true",
                "FALSE",
                "on",
                "of",
                "1.",
                ".5",
                "+.5",
                ".",
                "--1",
                "1e99999999999999999999",
                "9007199254740993",
                "16777217",
                "0e5",
                "99999999999999999999",
                "१",
                "abc",
                "00",
                "-0",
                "3.4028236e38",
                "1.7976931348623159e308",
                "4.9e-324",
            ];
            odd[(a % odd.len() as u64) as usize].to_owned()
        }
        10 => ((a as u32) as f32 / (b as u16 as f32 + 1.0)).to_string(),
        11 => format!("{}", (a % 1_000_000_000_000_000_000) as f64 / 1e6),
        _ => return instant_text(inner),
    };
    Raw::Text(text)
}

/// An instant as people write it, and the nanoseconds since 1970 that it is.
fn instant_text((kind, a, b): Seed) -> Raw {
    let year = if kind % 4 == 0 { (a % 10_000) as i64 } else { 1_990 + (a % 60) as i64 };
    let (month, day) = (1 + (a >> 16) % 12, 1 + (a >> 24) % 31);
    let is_midnight = kind % 3 == 0;
    let (hour, minute, second) =
        if is_midnight { (0, 0, 0) } else { ((b % 24) as i64, ((b >> 8) % 60) as i64, ((b >> 16) % 61) as i64) };
    let nanos = if is_midnight { 0 } else { (b >> 24) % 1_000_000_000 };
    let offset_minutes = [0, 0, 120, -300, 330][((b >> 60) % 5) as usize] * i64::from(kind & 16 == 0);
    let zone = match offset_minutes {
        0 if kind & 32 == 0 => String::new(),
        0 => "Z".to_owned(),
        minutes => {
            format!("{}{:02}:{:02}", if minutes < 0 { '-' } else { '+' }, minutes.abs() / 60, minutes.abs() % 60)
        }
    };
    let separator = if kind & 64 == 0 { 'T' } else { ' ' };
    let text = format!("{year:04}-{month:02}-{day:02}{separator}{hour:02}:{minute:02}:{second:02}.{nanos:09}{zone}");
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
    if day > month_days || second == 60 {
        return Raw::InstantText(text, None);
    }
    // Days before a year: 365 each, and those of the leap years.
    let before = |year: i64| 365 * year + (year + 3) / 4 - (year + 99) / 100 + (year + 399) / 400;
    let months =
        [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1] + i64::from(leap && month > 2);
    let days = before(year) - before(1970) + months + day as i64 - 1;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second - offset_minutes * 60;
    Raw::InstantText(text, Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanos)))
}

fn bytes((kind, a, b): Seed, width: Option<usize>) -> Vec<u8> {
    let all = [a.to_le_bytes(), b.to_le_bytes()].concat();
    let length = width.unwrap_or([0, 3, 16, (b % 17) as usize][usize::from(kind % 4)]);
    match kind % 3 {
        0 => all[..length].to_vec(),
        1 => all[..length].iter().map(|byte| byte & 0x7f).collect(),
        _ => "größe 日本 🙂 ...".bytes().take(length).collect(),
    }
}

pub fn raw(raw_type: &DataType, seed: Seed) -> Raw {
    let (kind, a, b) = seed;
    let within = |min: i128, max: i128| {
        let value = integer(seed);
        Raw::Integer(if kind & 64 == 0 { value.clamp(min, max) } else { min + value.rem_euclid(max - min + 1) })
    };
    // Units since some boundary, or anywhere.
    let around = |boundaries: [i64; 4]| {
        let boundary = boundaries[(a % 4) as usize];
        if kind % 3 == 0 { a as i64 } else { boundary.wrapping_add((b % 2_001) as i64 - 1_000) }
    };
    let years = |per_second: i64| {
        let second = |seconds: i64| seconds.saturating_mul(per_second);
        around([0, second(-62_135_596_800), second(253_402_300_800), second(86_400 * (b % 40_000) as i64)])
    };
    match raw_type {
        DataType::Null => Raw::Nothing,
        DataType::Boolean => Raw::Truth(a % 2 == 0),
        DataType::Int8 => within(i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => within(i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => within(i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => within(i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => within(0, u8::MAX.into()),
        DataType::UInt16 => within(0, u16::MAX.into()),
        DataType::UInt32 => within(0, u32::MAX.into()),
        DataType::UInt64 => within(0, u64::MAX.into()),
        // Halves are singles.
        DataType::Float16 => Raw::Single(<Float16Type as ArrowPrimitiveType>::Native::from_bits(a as u16).to_f32()),
        DataType::Float32 => Raw::Single(double(seed) as f32),
        DataType::Float64 => Raw::Double(double(seed)),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            Raw::Decimal(decimal(*precision, seed), *scale)
        }
        DataType::Utf8View => text(seed),
        DataType::BinaryView => Raw::Bytes(bytes(seed, None)),
        DataType::FixedSizeBinary(width) => Raw::Bytes(bytes(seed, Some(*width as usize))),
        DataType::Date32 => Raw::Days(i64::from(around([0, -719_162, 2_932_896, 20_000]) as i32)),
        DataType::Time32(_) => Raw::TimeNanos(i64::from(around([0, 86_400_000, 1_000, 43_200_000]) as i32) * 1_000_000),
        DataType::Time64(TimeUnit::Microsecond) => {
            Raw::TimeNanos((around([0, 86_400_000_000, 1, 43_200_000_000]) % 1_000_000_000_000_000) * 1_000)
        }
        DataType::Time64(_) => Raw::TimeNanos(around([0, 86_400_000_000_000, 1_000, 43_200_000_000_000])),
        DataType::Timestamp(TimeUnit::Millisecond, _) => Raw::InstantNanos(i128::from(years(1_000)) * 1_000_000),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Raw::InstantNanos(i128::from(years(1_000_000)) * 1_000),
        DataType::Timestamp(..) => Raw::InstantNanos(i128::from(years(1_000_000_000))),
        other => unreachable!("{other} is no raw type"),
    }
}

/// A raw column of these values.
pub fn array(raw_type: &DataType, raws: &[Raw]) -> ArrayRef {
    let integers = || raws.iter().map(|raw| if let Raw::Integer(value) = raw { *value } else { panic!("{raw:?}") });
    let singles = || raws.iter().map(|raw| if let Raw::Single(value) = raw { *value } else { panic!("{raw:?}") });
    let decimals = || raws.iter().map(|raw| if let Raw::Decimal(value, _) = raw { *value } else { panic!("{raw:?}") });
    let all_bytes =
        || raws.iter().map(|raw| if let Raw::Bytes(value) = raw { value.as_slice() } else { panic!("{raw:?}") });
    let nanos = || {
        raws.iter().map(|raw| match raw {
            Raw::InstantNanos(nanos) => *nanos,
            Raw::TimeNanos(nanos) => i128::from(*nanos),
            other => panic!("{other:?}"),
        })
    };
    macro_rules! integers {
        ($kind:ty) => {
            Arc::new(<$kind>::from_iter_values(integers().map(|value| value.try_into().unwrap())))
        };
    }
    macro_rules! units {
        ($kind:ty, $nanos:expr) => {
            <$kind>::from_iter_values(nanos().map(|nanos| (nanos / $nanos).try_into().unwrap()))
        };
    }
    match raw_type {
        DataType::Null => Arc::new(NullArray::new(raws.len())),
        DataType::Boolean => Arc::new(raws.iter().map(|raw| Some(raw == &Raw::Truth(true))).collect::<BooleanArray>()),
        DataType::Int8 => integers!(Int8Array),
        DataType::Int16 => integers!(Int16Array),
        DataType::Int32 => integers!(Int32Array),
        DataType::Int64 => integers!(Int64Array),
        DataType::UInt8 => integers!(UInt8Array),
        DataType::UInt16 => integers!(UInt16Array),
        DataType::UInt32 => integers!(UInt32Array),
        DataType::UInt64 => integers!(UInt64Array),
        DataType::Float16 => Arc::new(Float16Array::from_iter_values(
            singles().map(<Float16Type as ArrowPrimitiveType>::Native::from_f32),
        )),
        DataType::Float32 => Arc::new(Float32Array::from_iter_values(singles())),
        DataType::Float64 => Arc::new(Float64Array::from_iter_values(
            raws.iter().map(|raw| if let Raw::Double(value) = raw { *value } else { panic!("{raw:?}") }),
        )),
        DataType::Decimal128(precision, scale) => {
            let values = Decimal128Array::from_iter_values(decimals().map(|value| value.to_i128().unwrap()));
            Arc::new(values.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Decimal256(precision, scale) => {
            let values = Decimal256Array::from_iter_values(decimals());
            Arc::new(values.with_precision_and_scale(*precision, *scale).unwrap())
        }
        DataType::Utf8View => Arc::new(StringViewArray::from_iter_values(raws.iter().map(|raw| match raw {
            Raw::Text(text) | Raw::InstantText(text, _) => text.as_str(),
            other => panic!("{other:?}"),
        }))),
        DataType::BinaryView => Arc::new(BinaryViewArray::from_iter_values(all_bytes())),
        DataType::FixedSizeBinary(_) => Arc::new(FixedSizeBinaryArray::try_from_iter(all_bytes()).unwrap()),
        DataType::Date32 => Arc::new(Date32Array::from_iter_values(
            raws.iter().map(|raw| if let Raw::Days(days) = raw { *days as i32 } else { panic!("{raw:?}") }),
        )),
        DataType::Time32(_) => Arc::new(units!(Time32MillisecondArray, 1_000_000)),
        DataType::Time64(TimeUnit::Microsecond) => Arc::new(units!(Time64MicrosecondArray, 1_000)),
        DataType::Time64(_) => Arc::new(units!(Time64NanosecondArray, 1)),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            Arc::new(units!(TimestampMillisecondArray, 1_000_000).with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            Arc::new(units!(TimestampMicrosecondArray, 1_000).with_timezone_opt(zone.clone()))
        }
        DataType::Timestamp(_, zone) => Arc::new(units!(TimestampNanosecondArray, 1).with_timezone_opt(zone.clone())),
        other => unreachable!("{other} is no raw type"),
    }
}
