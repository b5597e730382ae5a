//! What a raw value is in a declared type, by arithmetic on decimal digits in text. It shares nothing with the code.

use arrow::datatypes::DataType;
use contract::EpochUnit;

use super::values::Raw;

/// Decimal digits times a power of ten; no zeros at either end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Digits {
    negative: bool,
    digits: Vec<u8>,
    place: i64,
}

impl Digits {
    fn new(negative: bool, mut digits: Vec<u8>, mut place: i64) -> Self {
        while digits.last() == Some(&0) {
            digits.pop();
            place += 1;
        }
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        if digits.is_empty() { Self { negative: false, digits, place: 0 } } else { Self { negative, digits, place } }
    }

    /// The number that is written, and the place of its last digit.
    fn read(text: &str) -> Option<(Self, i64)> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        let negative = text.starts_with('-');
        let text = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let unsigned = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = format!("{whole}{fraction}");
        let is_digits = |text: &str| !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
        if !is_digits(&all) || !is_digits(unsigned) {
            return None;
        }
        let place = exponent.parse::<i64>().ok()? - fraction.len() as i64;
        Some((Self::new(negative, all.bytes().map(|byte| byte - b'0').collect(), place), place))
    }

    fn of(value: impl ToString) -> Self {
        Self::read(&value.to_string()).unwrap().0
    }

    fn exact(value: f64) -> Self {
        Self::of(format!("{value:.800e}"))
    }

    fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Times ten to the power of `scale`, when that is whole and not above 10^40.
    fn whole(&self, scale: i64) -> Option<String> {
        let place = self.place + scale;
        let fits = place >= 0 && self.digits.len() as i64 + place <= 40;
        (self.is_zero() || fits).then(|| self.text(if self.is_zero() { 0 } else { place }))
    }

    fn text(&self, zeros: i64) -> String {
        let digits: String = self.digits.iter().map(|digit| char::from(b'0' + digit)).collect();
        let sign = if self.negative { "-" } else { "" };
        if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}{}", "0".repeat(zeros as usize)) }
    }

    /// The largest whole number not above it, times ten to the power of `scale`.
    fn floor(&self, scale: i64) -> Option<i128> {
        let place = self.place + scale;
        if self.is_zero() || place >= 0 {
            return self.whole(scale)?.parse().ok();
        }
        let kept = (self.digits.len() as i64 + place).max(0) as usize;
        let head: String = self.digits[..kept].iter().map(|digit| char::from(b'0' + digit)).collect();
        let head: i128 = if head.is_empty() { 0 } else { head.parse().ok()? };
        Some(if self.negative { -head - 1 } else { head })
    }

    /// Whether this one, rounded at that place, is the other: a half goes to the even digit.
    fn is_near(&self, other: &Self, place: i64) -> bool {
        let low = self.place.min(other.place).min(place - 1);
        let high = (self.digits.len() as i64 + self.place).max(other.digits.len() as i64 + other.place).max(place + 1);
        let spread = |number: &Self| -> Vec<i8> {
            (low..=high)
                .map(|at| {
                    let index = number.digits.len() as i64 - 1 - (at - number.place);
                    let digit = if at < number.place { None } else { usize::try_from(index).ok() };
                    let digit = digit.and_then(|index| number.digits.get(index)).map_or(0, |digit| *digit as i8);
                    if number.negative { -digit } else { digit }
                })
                .collect()
        };
        let mut difference: Vec<i8> = spread(self).iter().zip(spread(other)).map(|(a, b)| a - b).collect();
        let is_negative = difference.iter().rev().find(|digit| **digit != 0).is_some_and(|digit| *digit < 0);
        let mut carry = 0;
        for digit in &mut difference {
            let value = if is_negative { -*digit } else { *digit } + carry;
            carry = value.div_euclid(10);
            *digit = value.rem_euclid(10);
        }
        let at = |place: i64| difference[(place - low) as usize];
        let is_half = at(place - 1) == 5 && (low..place - 1).all(|place| at(place) == 0);
        let is_even = spread(other)[(place - low) as usize] % 2 == 0;
        (place..=high).all(|place| at(place) == 0) && (at(place - 1) < 5 || is_half && is_even)
    }
}

const INSTANTS: std::ops::RangeInclusive<i128> = -62_135_596_800_000_000..=253_402_300_799_999_999;
const DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// What a raw value is in a declared type, as a converted value is shown; `None` when it does not fit.
pub fn expected(raw: &Raw, declared: &DataType, epoch: EpochUnit) -> Option<String> {
    match declared {
        DataType::Boolean => match raw {
            Raw::Truth(truth) => Some(truth.to_string()),
            Raw::Text(text) => match text.trim_matches([' ', '\t', '\n', '\r']).to_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" => Some("true".to_owned()),
                "false" | "f" | "no" | "n" | "off" | "0" => Some("false".to_owned()),
                _ => None,
            },
            _ => None,
        },
        DataType::Int32 => number(raw)?.whole(0)?.parse::<i32>().ok().map(|value| value.to_string()),
        DataType::Int64 => number(raw)?.whole(0)?.parse::<i64>().ok().map(|value| value.to_string()),
        DataType::Decimal128(precision, scale) => {
            let scale = i64::from(*scale);
            let value = match raw {
                Raw::Single(value) if value.is_finite() => {
                    let exact = Digits::exact(f64::from(*value)).whole(scale);
                    exact.or_else(|| Digits::of(format!("{value:?}")).whole(scale))
                }
                Raw::Double(value) if value.is_finite() => {
                    Digits::exact(*value).whole(scale).or_else(|| Digits::of(format!("{value:?}")).whole(scale))
                }
                _ => number(raw)?.whole(scale),
            }?;
            (value.trim_start_matches('-').len() <= usize::from(*precision)).then_some(value)
        }
        DataType::Float64 => as_float(raw, |text| text.parse::<f64>().unwrap(), |double| double),
        DataType::Float32 => {
            as_float(raw, |text| f64::from(text.parse::<f32>().unwrap()), |double| f64::from(double as f32))
        }
        DataType::Date32 => {
            let day = 86_400_000_000_000;
            let days = match raw {
                Raw::Days(days) => *days,
                Raw::InstantNanos(nanos) | Raw::InstantText(_, Some(nanos)) if nanos.rem_euclid(day) == 0 => {
                    i64::try_from(nanos.div_euclid(day)).ok()?
                }
                _ => return None,
            };
            DAYS.contains(&days).then(|| days.to_string())
        }
        DataType::Time64(_) => match raw {
            Raw::TimeNanos(nanos) if (0..86_400_000_000_000).contains(nanos) => Some((nanos / 1_000).to_string()),
            _ => None,
        },
        DataType::Timestamp(..) => {
            let places = match epoch {
                EpochUnit::Seconds => 6,
                EpochUnit::Milliseconds => 3,
                EpochUnit::Microseconds => 0,
                EpochUnit::Nanoseconds => -3,
            };
            let micros = match raw {
                Raw::Integer(value) => Digits::of(value).floor(places)?,
                Raw::Single(value) if value.is_finite() => {
                    // A single counts as the double that it is.
                    Digits::of(format!("{:?}", f64::from(*value))).floor(places)?
                }
                Raw::Double(value) if value.is_finite() => Digits::of(format!("{value:?}")).floor(places)?,
                Raw::Days(days) => i128::from(*days) * 86_400_000_000,
                Raw::InstantNanos(nanos) | Raw::InstantText(_, Some(nanos)) => nanos.div_euclid(1_000),
                _ => return None,
            };
            INSTANTS.contains(&micros).then(|| micros.to_string())
        }
        DataType::Utf8View => match raw {
            Raw::Text(text) | Raw::InstantText(text, _) => Some(text.clone()),
            Raw::Bytes(bytes) => std::str::from_utf8(bytes).ok().map(str::to_owned),
            _ => None,
        },
        DataType::BinaryView => match raw {
            Raw::Text(text) | Raw::InstantText(text, _) => Some(format!("{:?}", text.as_bytes())),
            Raw::Bytes(bytes) => Some(format!("{bytes:?}")),
            _ => None,
        },
        DataType::FixedSizeBinary(width) => match raw {
            Raw::Bytes(bytes) if bytes.len() == *width as usize => Some(format!("{bytes:?}")),
            Raw::Text(text) if *width == 16 && text.len() == 32 => {
                let bytes = (0..16).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16));
                Some(format!("{:?}", bytes.collect::<Result<Vec<_>, _>>().ok()?))
            }
            Raw::Text(text) if *width != 16 && text.len() == *width as usize => Some(format!("{:?}", text.as_bytes())),
            _ => None,
        },
        other => unreachable!("{other} is no type of a contract"),
    }
}

/// The number that a raw value is, exactly.
fn number(raw: &Raw) -> Option<Digits> {
    match raw {
        Raw::Integer(value) => Some(Digits::of(value)),
        Raw::Single(value) if value.is_finite() => Some(Digits::exact(f64::from(*value))),
        Raw::Double(value) if value.is_finite() => Some(Digits::exact(*value)),
        Raw::Decimal(unscaled, scale) => Some(Digits::of(format!("{unscaled}e-{scale}"))),
        Raw::Text(text) => Digits::read(text).map(|(digits, _)| digits),
        _ => None,
    }
}

fn as_float(raw: &Raw, nearest: impl Fn(&str) -> f64, narrowed: impl Fn(f64) -> f64) -> Option<String> {
    let written = |text: &str| {
        let (digits, place) = Digits::read(text)?;
        let float = nearest(text.trim());
        (float.is_finite() && Digits::exact(float).is_near(&digits, place)).then_some(float)
    };
    let same = |double: f64| Some(narrowed(double)).filter(|float| *float == double || double.is_nan());
    let float = match raw {
        // A whole number must be the same; next to one that is not, no other lies as near as half.
        Raw::Integer(value) => written(&value.to_string())?,
        Raw::Decimal(unscaled, scale) => written(&format!("{unscaled}e-{scale}"))?,
        Raw::Single(value) => same(f64::from(*value))?,
        Raw::Double(value) => same(*value)?,
        Raw::Text(text) => match text.trim().to_lowercase().trim_start_matches(['+', '-']) {
            "nan" => f64::NAN,
            "inf" | "infinity" => text.trim().parse().unwrap(),
            _ => written(text)?,
        },
        _ => return None,
    };
    Some(float_text(float))
}

pub fn float_text(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { format!("{:?}", value + 0.0) }
}
