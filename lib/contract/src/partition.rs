//! Partition transforms as text, and which types they fit.
//!
//! Source: <https://iceberg.apache.org/spec/#partition-transforms>.

use std::{fmt, str::FromStr};

use crate::{PrimitiveType, Transform};

/// A partition transform that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a partition transform: write identity, year, month, day, hour, bucket(16) or truncate(4)")]
pub struct TransformError {
    /// What was given.
    pub text: String,
}

impl FromStr for Transform {
    type Err = TransformError;

    fn from_str(text: &str) -> Result<Self, TransformError> {
        let refused = || TransformError { text: text.to_owned() };
        let lower = text.trim().to_ascii_lowercase();
        match lower.as_str() {
            "identity" => return Ok(Self::Identity),
            "year" | "years" => return Ok(Self::Year),
            "month" | "months" => return Ok(Self::Month),
            "day" | "days" => return Ok(Self::Day),
            "hour" | "hours" => return Ok(Self::Hour),
            _ => {}
        }
        let (name, rest) = lower.split_once(['(', '[']).ok_or_else(refused)?;
        let number = rest.strip_suffix([')', ']']).and_then(|number| number.trim().parse().ok());
        // Engines hold both as a positive 32-bit signed number.
        let number = number.filter(|number| (1..=i32::MAX.unsigned_abs()).contains(number)).ok_or_else(refused)?;
        match name.trim() {
            "bucket" => Ok(Self::Bucket(number)),
            "truncate" => Ok(Self::Truncate(number)),
            _ => Err(refused()),
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::Year => f.write_str("year"),
            Self::Month => f.write_str("month"),
            Self::Day => f.write_str("day"),
            Self::Hour => f.write_str("hour"),
            Self::Bucket(buckets) => write!(f, "bucket({buckets})"),
            Self::Truncate(width) => write!(f, "truncate({width})"),
        }
    }
}

impl Transform {
    /// The transform takes a part of a date or time.
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Self::Year | Self::Month | Self::Day | Self::Hour)
    }

    /// Why the transform cannot take values of that type; `None` when it can.
    pub(crate) fn refusal(self, kind: PrimitiveType) -> Option<&'static str> {
        use PrimitiveType::{Binary, Boolean, Date, Decimal, Double, Float, Int, Long, String, Timestamp, TimestampTz};
        let (fits, takes) = match self {
            Self::Identity => (!matches!(kind, Float | Double), "identity takes all types but float and double"),
            Self::Year | Self::Month | Self::Day => (
                matches!(kind, Date | Timestamp | TimestampTz),
                "year, month and day take date, timestamp and timestamptz",
            ),
            Self::Hour => (matches!(kind, Timestamp | TimestampTz), "hour takes timestamp and timestamptz"),
            Self::Bucket(_) => {
                (!matches!(kind, Boolean | Float | Double), "bucket takes all types but boolean, float and double")
            }
            Self::Truncate(_) => (
                matches!(kind, Int | Long | Decimal { .. } | String | Binary),
                "truncate takes int, long, decimal, string and binary",
            ),
        };
        (!fits).then_some(takes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_are_read_and_written() {
        for (text, transform, written) in [
            ("identity", Transform::Identity, "identity"),
            ("Day", Transform::Day, "day"),
            ("hours", Transform::Hour, "hour"),
            ("bucket[16]", Transform::Bucket(16), "bucket(16)"),
            ("bucket( 16 )", Transform::Bucket(16), "bucket(16)"),
            ("truncate(4)", Transform::Truncate(4), "truncate(4)"),
        ] {
            assert_eq!(text.parse(), Ok(transform));
            assert_eq!(transform.to_string(), written);
        }
        for text in ["", "daily", "bucket", "bucket(0)", "bucket(-1)", "bucket(16", "truncate(2147483648)", "bucket(a)"]
        {
            assert_eq!(text.parse::<Transform>(), Err(TransformError { text: text.into() }));
        }
    }
}
