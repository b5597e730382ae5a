//! "Older than", as people say it: a span of time before now, or a time.

use std::{fmt, str::FromStr};

use contract::Duration;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::parse_time;

/// What counts as old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OlderThan {
    /// More than this long ago.
    Age(Duration),
    /// Before this time.
    Time(Timestamp),
}

impl OlderThan {
    /// What is older than this is old. Spans that reach before the calendar's beginning make nothing old.
    pub fn cutoff(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Time(time) => time,
            Self::Age(age) => {
                let seconds = i64::try_from(age.seconds).unwrap_or(i64::MAX);
                now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
            }
        }
    }
}

/// A span (`7d`), or a date or time, in UTC where it has no zone.
impl FromStr for OlderThan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(age) = text.parse() {
            return Ok(Self::Age(age));
        }
        let bad = |_| format!("{text:?} is no span of time (7d, 36h) and no time (2025-06-04, 2025-06-04T06:00:00Z)");
        parse_time(text, &TimeZone::UTC).map(Self::Time).map_err(bad)
    }
}

impl fmt::Display for OlderThan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Age(age) => age.fmt(f),
            Self::Time(time) => time.fmt(f),
        }
    }
}

/// Milliseconds as the span that people would write: `5d`, `90s`, `1500ms`.
pub(crate) fn span(ms: i64) -> String {
    match u64::try_from(ms) {
        Ok(ms) if ms % 1000 == 0 => Duration { seconds: ms / 1000 }.to_string(),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read() {
        let now: Timestamp = "2025-06-08T00:00:00Z".parse().unwrap();
        for (text, cutoff) in [
            ("7d", "2025-06-01T00:00:00Z"),
            ("36h", "2025-06-06T12:00:00Z"),
            ("2025-06-04", "2025-06-04T00:00:00Z"),
            ("2025-06-04T06:00", "2025-06-04T06:00:00Z"),
            ("2025-06-04T06:00:00+02:00", "2025-06-04T04:00:00Z"),
            ("9999999999999d", "-009999-01-02T01:59:59Z"),
        ] {
            assert_eq!(text.parse::<OlderThan>().unwrap().cutoff(now).to_string(), cutoff, "{text}");
        }
        assert!("a week".parse::<OlderThan>().unwrap_err().contains("7d"));
        assert_eq!([432_000_000, 90_000, 1_500].map(span), ["5d", "90s", "1500ms"]);
    }
}
