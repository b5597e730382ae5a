//! Sums of money that are exact, and know what they are made of.

use std::{
    fmt,
    iter::Sum,
    ops::{Add, AddAssign, Neg, Sub},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::text::thousands;

const NANOS: i64 = 1_000_000_000;

/// Half a million: more than any price, and far from where an f64 or an i64 of nano-dollars would round.
const READ_MAX: f64 = 500_000.0;

/// An amount, or a price, in nano-dollars.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dollars {
    /// Billionths of a dollar.
    pub nanos: i64,
}

impl Dollars {
    /// Nothing.
    pub const ZERO: Self = Self { nanos: 0 };

    /// Whole dollars.
    pub const fn whole(dollars: i64) -> Self {
        Self { nanos: dollars.saturating_mul(NANOS) }
    }

    /// This price, which is for `per` of something, for `number` of them; rounded once, half up.
    #[must_use]
    pub fn times(self, number: u64, per: u64) -> Self {
        let per = i128::from(per.max(1));
        let rounded = (i128::from(self.nanos) * i128::from(number) + per / 2).div_euclid(per);
        Self { nanos: i64::try_from(rounded).unwrap_or(i64::MAX) }
    }

    /// Every digit that it has, without a sign of the currency: a price.
    pub fn rate(self) -> String {
        let text = format!("{}.{:09}", self.nanos / NANOS, (self.nanos % NANOS).abs());
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    /// The number as JSON has it: the nearest to the exact decimal, so that it prints as that decimal.
    fn as_number(self) -> f64 {
        self.nanos as f64 / NANOS as f64
    }

    fn of_number(number: f64) -> Option<Self> {
        let fits = number.is_finite() && number.abs() <= READ_MAX;
        fits.then(|| Self { nanos: (number * NANOS as f64).round() as i64 })
    }
}

/// To the cent: `$1,234.50`; less than a cent is said as such.
impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.nanos < 0 { "-" } else { "" };
        let nanos = self.nanos.unsigned_abs();
        let cent = NANOS.unsigned_abs() / 100;
        match nanos {
            0 => f.write_str("$0"),
            _ if nanos < cent => write!(f, "{}under $0.01", if sign.is_empty() { "" } else { "minus " }),
            _ => {
                let cents = (nanos + cent / 2) / cent;
                write!(f, "{sign}${}.{:02}", thousands(cents / 100), cents % 100)
            }
        }
    }
}

/// A number of dollars.
impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_number())
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        Self::of_number(number).ok_or_else(|| D::Error::custom(format!("{number} is no amount of dollars")))
    }
}

impl std::str::FromStr for Dollars {
    type Err = String;

    /// `5`, `0.50`, `$12.5`; not less than nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.trim().trim_start_matches('$').parse().ok();
        let found = number.and_then(Self::of_number).filter(|dollars| *dollars >= Self::ZERO);
        found.ok_or_else(|| format!("{text:?} is no amount of dollars: write it like 5 or 0.50"))
    }
}

impl Add for Dollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_add(other.nanos) }
    }
}

impl Sub for Dollars {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { nanos: self.nanos.saturating_sub(other.nanos) }
    }
}

impl Neg for Dollars {
    type Output = Self;

    fn neg(self) -> Self {
        Self { nanos: self.nanos.saturating_neg() }
    }
}

impl Sum for Dollars {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

/// A sum of money with what it is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// The sum.
    pub dollars: Dollars,
    /// Its parts; none when nothing costs anything.
    pub parts: Vec<Part>,
}

/// A part of an amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// How much.
    pub dollars: Dollars,
    /// How it was reckoned: `821.6 GiB × 0.023 $/GiB-month Standard`.
    pub of: String,
}

impl Amount {
    /// One part.
    pub fn one(dollars: Dollars, of: String) -> Self {
        Self { dollars, parts: vec![Part { dollars, of }] }
    }

    /// `$18.90: 821.6 GiB × 0.023 $/GiB-month Standard`.
    pub fn explained(&self) -> String {
        self.explained_as("")
    }

    /// `$18.90 a month: 821.6 GiB × 0.023 $/GiB-month Standard`.
    pub fn explained_per_month(&self) -> String {
        self.explained_as(" a month")
    }

    fn explained_as(&self, unit: &str) -> String {
        if self.parts.is_empty() {
            return format!("{}{unit}", self.dollars);
        }
        let mut text = format!("{}{unit}: ", self.dollars);
        for (index, Part { dollars, of }) in self.parts.iter().enumerate() {
            text += match (index, *dollars < Dollars::ZERO) {
                (0, false) => "",
                (0, true) => "− ",
                (_, false) => " + ",
                (_, true) => " − ",
            };
            text += of;
        }
        text
    }
}

/// With each part of the other as a negative one.
impl Sub for Amount {
    type Output = Self;

    fn sub(mut self, other: Self) -> Self {
        self.dollars = self.dollars - other.dollars;
        self.parts.extend(other.parts.into_iter().map(|part| Part { dollars: -part.dollars, ..part }));
        self
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.dollars = self.dollars + other.dollars;
        self.parts.extend(other.parts);
    }
}

impl Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}
