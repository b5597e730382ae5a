//! Spans of time and sizes as contracts, etl.toml and the command line spell them.

use std::{fmt, str::FromStr};

use crate::Duration;

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

/// A span of time that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a span of time: write a whole number and s, m, h or d, such as 90s, 15m, 48h or 7d")]
pub struct DurationError {
    /// What was given.
    pub text: String,
}

impl FromStr for Duration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let read = || {
            let trimmed = text.trim();
            let (number, unit) = trimmed.split_at(trimmed.find(|c: char| !c.is_ascii_digit())?);
            let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit.trim())?;
            Some(Self { seconds: number.parse::<u64>().ok()?.checked_mul(*seconds)? })
        };
        read().ok_or_else(|| DurationError { text: text.to_owned() })
    }
}

/// The largest unit that leaves no rest: `48h` is `2d`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, seconds): &(&str, u64)| self.seconds != 0 && self.seconds.is_multiple_of(*seconds);
        let (unit, seconds) = UNITS.into_iter().find(whole).unwrap_or(("s", 1));
        write!(f, "{}{unit}", self.seconds / seconds)
    }
}

/// Units of sizes; powers of 1000 and of 1024.
const SIZES: [(&str, u64); 13] = [
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
];

/// Reads a size in bytes: `128MiB`, `1.5 GiB`, `512 MB`, `134217728`. `None` when it is none.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let trimmed = text.trim();
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let (number, unit) = trimmed.split_at(trimmed.find(|c| !is_number(c)).unwrap_or(trimmed.len()));
    let unit = unit.trim().to_ascii_lowercase();
    let (_, factor) = SIZES.into_iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // More digits than this are no size that somebody means.
    if whole.is_empty() || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let parts = fraction.parse::<u128>().ok()? * u128::from(factor);
    let whole = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    whole.checked_add(u64::try_from(parts / scale).ok().filter(|_| parts % scale == 0 || factor > 1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds, written) in [
            ("90s", 90, "90s"),
            ("15m", 900, "15m"),
            ("48h", 172_800, "2d"),
            ("7d", 604_800, "7d"),
            ("0s", 0, "0s"),
            (" 36 h ", 129_600, "36h"),
        ] {
            let duration: Duration = text.parse().unwrap();
            assert_eq!((duration.seconds, duration.to_string().as_str()), (seconds, written));
        }
        for text in ["", "48", "h", "1.5h", "-1h", "2w", "99999999999999999999d", "18446744073709551615d"] {
            assert_eq!(text.parse::<Duration>(), Err(DurationError { text: text.into() }));
        }
    }

    #[test]
    fn sizes_are_read() {
        let cases = [
            ("128MiB", Some(134_217_728)),
            ("512 MB", Some(512_000_000)),
            ("1gib", Some(1 << 30)),
            ("7", Some(7)),
            ("7B", Some(7)),
            ("1.5GiB", Some(3 << 29)),
            ("0.1 kB", Some(100)),
            ("1TB", Some(1_000_000_000_000)),
            ("2TiB", Some(2 << 40)),
            ("3m", Some(3_000_000)),
            ("MiB", None),
            ("1.5", None),
            (".5GiB", None),
            ("1.GiB", None),
            ("1.2.3GiB", None),
            ("-1", None),
            ("20000000TiB", None),
            ("4 parsecs", None),
            ("", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }
}
