//! Spans of time and sizes as contracts spell them.

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

/// Reads a size in bytes: `128MiB`, `512 MB`, `134217728`. `None` when it is none.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let trimmed = text.trim();
    let (number, unit) = trimmed.split_at(trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len()));
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
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
            ("1.5GiB", None),
            ("MiB", None),
            ("1TB", None),
            ("", None),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), bytes, "{text}");
        }
    }
}
