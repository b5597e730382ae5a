//! Half-open spans of arrival time.

use std::fmt;

use jiff::{Timestamp, ToSpan, civil::Date, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A half-open span of time, `[start, end)`. Never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Bounds", into = "Bounds")]
pub struct Interval {
    start: Timestamp,
    end: Timestamp,
}

impl Interval {
    /// From `start` up to, and without, `end`.
    pub fn new(start: Timestamp, end: Timestamp) -> Result<Self> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(Error::EmptyInterval { start: start.to_string(), end: end.to_string() })
        }
    }

    /// The calendar day in that zone: 23 or 25 hours where clocks change.
    pub fn day(date: Date, zone: &TimeZone) -> Result<Self> {
        let time = |date: Date| {
            date.to_zoned(zone.clone())
                .map(|zoned| zoned.timestamp())
                .map_err(|source| Error::Time { text: date.to_string(), source })
        };
        let next = date.checked_add(1.day()).map_err(|source| Error::Time { text: date.to_string(), source })?;
        Self::new(time(date)?, time(next)?)
    }

    /// When it starts.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// When it has just ended.
    pub fn end(&self) -> Timestamp {
        self.end
    }

    /// Whether that moment lies in it.
    pub fn contains(&self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether they share a moment.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// The smallest interval around both.
    #[must_use]
    pub fn hull(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Reads a date (midnight in that zone), a local date and time, or an instant with `Z` or an offset.
pub fn parse_time(text: &str, zone: &TimeZone) -> Result<Timestamp> {
    let bad = |source| Error::Time { text: text.to_owned(), source };
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let local: jiff::civil::DateTime = text.parse().map_err(bad)?;
    Ok(local.to_zoned(zone.clone()).map_err(bad)?.timestamp())
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

/// The form that is written down.
#[derive(Serialize, Deserialize)]
struct Bounds {
    start: Timestamp,
    end: Timestamp,
}

impl TryFrom<Bounds> for Interval {
    type Error = Error;

    fn try_from(bounds: Bounds) -> Result<Self> {
        Self::new(bounds.start, bounds.end)
    }
}

impl From<Interval> for Bounds {
    fn from(interval: Interval) -> Self {
        Self { start: interval.start, end: interval.end }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_as_long_as_the_zone_says() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let day = Interval::day("2025-03-30".parse().unwrap(), &berlin).unwrap();
        assert_eq!(day.to_string(), "2025-03-29T23:00:00Z/2025-03-30T22:00:00Z");
    }

    #[test]
    fn an_end_before_the_start_is_refused() {
        let time = |text: &str| parse_time(text, &TimeZone::UTC).unwrap();
        let error = Interval::new(time("2025-06-02"), time("2025-06-01")).unwrap_err();
        insta::assert_snapshot!(error, @"the end 2025-06-01T00:00:00Z does not come after the start 2025-06-02T00:00:00Z");
    }

    #[test]
    fn times_are_read_in_the_zone_unless_they_name_one() {
        let tokyo = TimeZone::get("Asia/Tokyo").unwrap();
        for (text, instant) in [
            ("2025-06-04", "2025-06-03T15:00:00Z"),
            ("2025-06-04T06:00", "2025-06-03T21:00:00Z"),
            ("2025-06-04T06:00:00Z", "2025-06-04T06:00:00Z"),
            ("2025-06-04T06:00:00+02:00", "2025-06-04T04:00:00Z"),
        ] {
            assert_eq!(parse_time(text, &tokyo).unwrap().to_string(), instant, "{text}");
        }
    }
}
