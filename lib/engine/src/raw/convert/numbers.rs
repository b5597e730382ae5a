//! Numbers as other numbers: each function gives the same number in another type, or nothing.
//!
//! Integers and decimals are exact. A binary float is a number too: between floats, and from a float to a whole number,
//! that number must stay. Between floats and decimal digits (a decimal, a text) a float stands for what it is written as:
//! 0.1 is the double nearest to 0.1. So digits fit a float when the float, written with as many digits, is them again; and a
//! float fits a decimal with its exact value or, where that has too many digits, with the shortest digits that give the
//! float back.

use arrow::datatypes::i256;

/// Fraction digits up to which a power of ten is exact in a double, and in a float.
const EXACT_POWER_DOUBLE: u32 = 22;
const EXACT_POWER_SINGLE: u32 = 10;
/// Whole numbers up to these keep all their decimal digits in a double, and in a float.
const DIGITS_DOUBLE: i128 = 1_000_000_000_000_000;
const DIGITS_SINGLE: i128 = 1_000_000;
/// Digits beyond which no float is asked for its own.
const WRITTEN_DIGITS_MAX: usize = 1_200;

/// A binary float type.
pub trait Float: Copy {
    /// Digits that every number of so many digits keeps, as the largest such number.
    const DIGITS: i128;
    /// How many digits that is.
    const DIGIT_COUNT: usize;
    /// The largest exact power of ten.
    const EXACT_POWER: u32;

    /// The nearest float to digits in text; infinite where there is none.
    fn parse(text: &str) -> Option<Self>;
    /// The float nearest to a double.
    fn of_double(value: f64) -> Self;
    /// The same number as a double.
    fn double(self) -> f64;
    /// The shortest digits that give the float back, as `1.25e-7`.
    fn shortest(self) -> String;
    /// Whether all digits of the type are there, as below the smallest normal number they are not.
    fn is_normal(self) -> bool;
    /// A whole number over a power of ten, each exact in the type: their nearest quotient.
    fn quotient(whole: i128, power: u32) -> Self;
}

impl Float for f64 {
    const DIGITS: i128 = DIGITS_DOUBLE;
    const DIGIT_COUNT: usize = 15;
    const EXACT_POWER: u32 = EXACT_POWER_DOUBLE;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn of_double(value: f64) -> Self {
        value
    }

    fn double(self) -> f64 {
        self
    }

    fn shortest(self) -> String {
        format!("{self:e}")
    }

    fn is_normal(self) -> bool {
        self.is_normal()
    }

    fn quotient(whole: i128, power: u32) -> Self {
        whole as Self / 10_u128.pow(power) as Self
    }
}

impl Float for f32 {
    const DIGITS: i128 = DIGITS_SINGLE;
    const DIGIT_COUNT: usize = 6;
    const EXACT_POWER: u32 = EXACT_POWER_SINGLE;

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    #[expect(clippy::cast_possible_truncation, reason = "the caller compares")]
    fn of_double(value: f64) -> Self {
        value as Self
    }

    fn double(self) -> f64 {
        f64::from(self)
    }

    fn shortest(self) -> String {
        format!("{self:e}")
    }

    fn is_normal(self) -> bool {
        self.is_normal()
    }

    fn quotient(whole: i128, power: u32) -> Self {
        whole as Self / 10_u128.pow(power) as Self
    }
}

/// A number in decimal digits: `mantissa` with at most one point, times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy)]
pub struct Written<'a> {
    negative: bool,
    mantissa: &'a str,
    exponent: i64,
}

impl<'a> Written<'a> {
    /// Reads `[+-]digits[.digits][e[+-]digits]`; one side of the point may be empty.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
        let points = mantissa.bytes().filter(|byte| *byte == b'.').count();
        let is_number = digits > 0 && points <= 1 && digits + points == mantissa.len();
        is_number.then_some(Self { negative, mantissa, exponent })
    }

    /// The number times ten to the power of `scale`, when that is whole and has at most 38 digits.
    pub fn unscaled(self, scale: i64) -> Option<i128> {
        let (value, place) = self.significant()?;
        if value == 0 {
            return Some(0);
        }
        value.checked_mul(10_i128.checked_pow(u32::try_from(place.saturating_add(scale)).ok()?)?)
    }

    /// The largest whole number that is not above the number times ten to the power of `scale`.
    pub fn floor(self, scale: i64) -> Option<i128> {
        let (value, place) = self.significant()?;
        let power = place.saturating_add(scale);
        if value == 0 || power >= 0 {
            return self.unscaled(scale);
        }
        let divisor = u32::try_from(power.unsigned_abs()).ok().and_then(|power| 10_i128.checked_pow(power));
        Some(divisor.map_or(if value < 0 { -1 } else { 0 }, |divisor| value.div_euclid(divisor)))
    }

    /// The digits from the first to the last that is not zero, and the power of ten of the last.
    fn significant(self) -> Option<(i128, i64)> {
        let mut value: i128 = 0;
        let mut zeros: u32 = 0;
        for digit in self.digits() {
            if digit == 0 {
                // Zeros count when another digit follows; those at the end are the exponent's.
                zeros += u32::from(value != 0);
                continue;
            }
            value = value.checked_mul(10_i128.checked_pow(zeros + 1)?)?.checked_add(i128::from(digit))?;
            zeros = 0;
        }
        Some((if self.negative { -value } else { value }, self.last_place().saturating_add(i64::from(zeros))))
    }

    /// The float that is written with these digits: nearest to them, and the same when written with as many.
    pub fn float<T: Float>(self, nearest: T) -> Option<T> {
        let digits: String =
            self.digits().skip_while(|digit| *digit == 0).map(|digit| char::from(b'0' + digit)).collect();
        if digits.is_empty() {
            return Some(T::of_double(0.0));
        }
        let double = nearest.double();
        if !double.is_finite() || double == 0.0 || digits.len() > WRITTEN_DIGITS_MAX {
            return None;
        }
        if digits.len() <= T::DIGIT_COUNT && nearest.is_normal() {
            return Some(nearest);
        }
        let place = self.last_place().checked_add(i64::try_from(digits.len()).ok()? - 1)?;
        let written = |precision: usize| -> Option<(String, i64)> {
            let text = format!("{:.*e}", precision, double.abs());
            let (mantissa, exponent) = text.split_once('e')?;
            let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
            Some((digits.trim_end_matches('0').to_owned(), exponent.parse().ok()?))
        };
        let mut found = written(digits.len() - 1)?;
        if found.1 + 1 == place && digits.len() > 1 {
            // Just below a power of ten the same last place is one digit less.
            found = written(digits.len() - 2)?;
        }
        (found.0 == digits.trim_end_matches('0') && found.1 == place).then_some(nearest)
    }

    fn digits(self) -> impl Iterator<Item = u8> + 'a {
        self.mantissa.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0')
    }

    /// The power of ten of the last digit.
    fn last_place(self) -> i64 {
        let fraction = self.mantissa.find('.').map_or(0, |point| self.mantissa.len() - point - 1);
        self.exponent.saturating_sub(i64::try_from(fraction).unwrap_or(i64::MAX))
    }
}

fn exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // One that is too long for an integer is too large for every type.
    let far = if text.starts_with('-') { i64::MIN } else { i64::MAX };
    Some(text.parse().unwrap_or(far))
}

/// A whole number as a float of the same value.
pub fn integer_as_float<T: Float>(value: i128) -> Option<T> {
    let float = T::of_double(value as f64);
    (whole(float.double()) == Some(value)).then_some(float)
}

/// A float as the whole number that it is.
pub fn whole(value: f64) -> Option<i128> {
    #[expect(clippy::cast_possible_truncation, reason = "compared right after")]
    let number = value as i128;
    // Saturation at the largest number would compare equal, since that is no double.
    (number as f64 == value && number != i128::MAX).then_some(number)
}

/// A double as another float of the same value, whatever it is: NaN and infinities are in every float type.
pub fn float_as_float<T: Float>(value: f64) -> Option<T> {
    let float = T::of_double(value);
    (float.double() == value || value.is_nan()).then_some(float)
}

/// A decimal as a float that is written with its digits.
pub fn decimal_as_float<T: Float>(unscaled: i256, scale: i8) -> Option<T> {
    let power = u32::try_from(scale).ok()?;
    match unscaled.to_i128() {
        Some(small) if small.abs() < T::DIGITS && power <= T::EXACT_POWER => Some(T::quotient(small, power)),
        _ => {
            let text = format!("{unscaled}e-{power}");
            Written::parse(&text)?.float(T::parse(&text)?)
        }
    }
}

/// A decimal as the whole number that it is.
pub fn decimal_as_integer(unscaled: i256, scale: i8) -> Option<i128> {
    rescaled(unscaled, scale, 0)
}

/// A decimal with another number of fraction digits, as its unscaled value.
pub fn rescaled(unscaled: i256, from: i8, to: i8) -> Option<i128> {
    let ten = i256::from_i128(10);
    let difference = i16::from(to) - i16::from(from);
    let power = ten.checked_pow(u32::from(difference.unsigned_abs()));
    if unscaled == i256::ZERO {
        return Some(0);
    }
    let value = if difference >= 0 {
        unscaled.checked_mul(power?)?
    } else {
        let power = power?;
        (unscaled.checked_rem(power)? == i256::ZERO).then_some(unscaled.checked_div(power)?)?
    };
    value.to_i128()
}

/// A whole number as a decimal's unscaled value.
pub fn integer_as_decimal(value: i128, scale: i8) -> Option<i128> {
    value.checked_mul(10_i128.checked_pow(u32::try_from(scale).ok()?)?)
}

/// A float as a decimal's unscaled value: its exact value, or else the shortest digits that give it back.
pub fn float_as_decimal<T: Float>(value: T, scale: i8) -> Option<i128> {
    let double = value.double();
    let power = u32::try_from(scale).ok()?;
    if !double.is_finite() {
        return None;
    }
    exact_decimal(double, power).or_else(|| {
        let text = value.shortest();
        Written::parse(&text)?.unscaled(i64::from(scale))
    })
}

/// A finite double's exact value with so many fraction digits.
fn exact_decimal(value: f64, power: u32) -> Option<i128> {
    if let Some(number) = whole(value) {
        return integer_as_decimal(number, i8::try_from(power).ok()?);
    }
    // An odd number over 2^k has exactly k fraction digits: it is the number times 5^k, over 10^k.
    let bits = value.to_bits();
    let exponent = i64::try_from(bits >> 52 & 0x7ff).ok()?;
    let fraction = i128::from(bits & ((1 << 52) - 1));
    let (mantissa, exponent) = if exponent == 0 { (fraction, -1_074) } else { (fraction | 1 << 52, exponent - 1_075) };
    let halvings = mantissa.trailing_zeros();
    let k = u32::try_from(-(exponent + i64::from(halvings))).ok()?;
    let digits = (mantissa >> halvings).checked_mul(5_i128.checked_pow(k)?)?;
    let value_unscaled = digits.checked_mul(10_i128.checked_pow(power.checked_sub(k)?)?)?;
    Some(if value.is_sign_negative() { -value_unscaled } else { value_unscaled })
}

/// Whether an unscaled value has at most `precision` digits.
pub fn has_digits(unscaled: i128, precision: u8) -> bool {
    10_i128.checked_pow(u32::from(precision)).is_none_or(|limit| unscaled.abs() < limit)
}
