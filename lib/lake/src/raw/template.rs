//! Path templates of the raw zone: `s3://bucket/telemetry/{yyyy}/{MM}/{dd}/{HH}/`, pure.

mod pattern;

use std::{collections::HashSet, fmt};

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::{IgnoredReason, RawInterval, ignored};
use crate::{Error, Location, Result};
use pattern::{Numbers, Pattern};

/// Where raw files of a time lie. The path's time is civil time in a declared zone.
#[derive(Debug, Clone)]
pub struct RawTemplate {
    text: String,
    /// As locations of a list are spelled, with a slash at its end.
    root: String,
    pattern: Pattern,
    granularity: Granularity,
    time_zone: TimeZone,
}

/// How long one folder's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum Granularity {
    Year,
    Month,
    Day,
    Hour,
}

/// Where a location lies, by a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'l> {
    /// In a partition.
    In {
        /// Its time.
        partition: RawInterval,
        /// The path in there.
        below: &'l str,
        /// Why the folder is no input, where a `*` stands for a name that is none.
        hidden: Option<IgnoredReason>,
    },
    /// Below the root, and in no partition.
    NoPartition,
    /// Below the root, where a time would be that the calendar or the zone's clock does not have.
    NoSuchTime,
    /// Elsewhere.
    Outside,
}

/// What to list for an interval.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Look {
    /// A folder and all below it.
    Deep(String),
    /// What lies directly in the folder of a day of which hours are looked at.
    Shallow { folder: String, date: civil::Date },
}

/// More folders than this are not listed in one go: ten years of hours.
const LOOKS_MAX: usize = 90_000;

impl Granularity {
    pub(super) const ALL: [Self; 4] = [Self::Year, Self::Month, Self::Day, Self::Hour];
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Year => "year",
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "hour",
        })
    }
}

impl RawTemplate {
    /// Reads a template. It must hold `{yyyy}` and may hold month, day and hour, each with the coarser ones, and `*`.
    pub fn parse(text: &str, time_zone: TimeZone) -> Result<Self> {
        let refuse = |reason: String| Error::Template { template: text.to_owned(), reason };
        let fixed = text.find(['{', '}', '*']).map_or(text, |special| &text[..special]);
        let (root, below) = text.split_at(fixed.rfind('/').map_or(0, |slash| slash + 1));
        let pattern = Pattern::parse(below).map_err(refuse)?;
        let granularity = pattern.granularity().ok_or_else(|| {
            refuse(match pattern.has_year() {
                true => "an hour needs a day, a day needs a month".to_owned(),
                false => "it has no {yyyy}: write for example {yyyy}/{MM}/{dd}/{HH}/".to_owned(),
            })
        })?;
        // What cannot be a location for one time cannot be one for any.
        let sample = format!("{root}{}", below.replace(['{', '}'], "").replace('*', "x"));
        Location::parse(&sample).map_err(|error| refuse(error.to_string()))?;
        let root =
            Location::parse(if root.is_empty() { "." } else { root }).map_err(|error| refuse(error.to_string()))?;
        let mut root = root.to_string();
        if !root.ends_with('/') {
            root.push('/');
        }
        Ok(Self { text: text.to_owned(), root, pattern, granularity, time_zone })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The zone of the path's time.
    pub fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }

    /// How long one folder's time is.
    pub fn granularity(&self) -> Granularity {
        self.granularity
    }

    /// The folder that everything lies in, whatever its time; with a slash at its end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether all files of a partition come after each other in a list that is sorted.
    pub fn is_contiguous(&self) -> bool {
        self.pattern.is_contiguous()
    }

    /// A location after which, in a sorted list, come all files of partitions from that instant on; `None` where paths are not
    /// sorted as their times are.
    pub fn after(&self, instant: Timestamp) -> Option<String> {
        let civil = self.partition_of(instant).ok()?.0;
        let start = self.pattern.is_chronological().then(|| self.pattern.start(civil))?;
        Some(format!("{}{}", self.root, start.trim_end_matches('/')))
    }

    /// Where a location lies. An invalid date is never another day.
    pub fn place<'l>(&self, location: &'l str) -> Place<'l> {
        let Some(path) = location.strip_prefix(&self.root) else { return Place::Outside };
        let Some(fit) = self.pattern.fit(path) else { return Place::NoPartition };
        let Some(partition) = self.partition_of_numbers(fit.numbers) else { return Place::NoSuchTime };
        let hidden = fit.named.iter().find_map(|name| match *name {
            // As a folder: the file's own name is judged with what lies below.
            name if std::ptr::eq(name, fit.below) => None,
            name => ignored(&format!("{name}/x"), 1),
        });
        Place::In { partition, below: fit.below, hidden }
    }

    fn partition_of_numbers(&self, numbers: Numbers) -> Option<RawInterval> {
        let number = |field| i8::try_from(numbers.get(field)).ok();
        let (month, day) = (number(Granularity::Month)?, number(Granularity::Day)?);
        let date = civil::Date::new(numbers.get(Granularity::Year), month, day).ok()?;
        let civil = date.to_datetime(civil::Time::new(number(Granularity::Hour)?, 0, 0, 0).ok()?);
        let start = civil.to_zoned(self.time_zone.clone()).ok()?.timestamp();
        // An hour that the clock skips is read as a later one, which has a name of its own.
        let (begins, start) = self.partition_of(start).ok()?;
        (begins == civil).then_some(())?;
        Some(RawInterval { start, end: self.next(civil).ok()? })
    }

    /// The interval of a day in the template's zone: 23 or 25 hours where the clock changes.
    pub fn day(&self, date: civil::Date) -> Result<RawInterval> {
        let refuse = |error: jiff::Error| Error::Interval { interval: date.to_string(), reason: error.to_string() };
        let start = date.to_zoned(self.time_zone.clone()).map_err(refuse)?.timestamp();
        let end = date.tomorrow().and_then(|date| date.to_zoned(self.time_zone.clone())).map_err(refuse)?.timestamp();
        Ok(RawInterval { start, end })
    }

    /// What must be listed to see everything of an interval, whole days with what lies directly in them.
    ///
    /// An interval that cuts a partition in two is an error: its files cannot be told apart by when they arrived.
    pub(super) fn looks(&self, interval: RawInterval) -> Result<Vec<Look>> {
        let refuse = |reason: String| Error::Interval { interval: interval.to_string(), reason };
        let calendar = |error: jiff::Error| refuse(error.to_string());
        self.check(interval)?;
        let mut looks = Vec::new();
        let mut seen = HashSet::new();
        let mut instant = interval.start;
        while instant < interval.end {
            if looks.len() >= LOOKS_MAX {
                return Err(refuse(format!("it has more than {LOOKS_MAX} folders; take a shorter one")));
            }
            let civil = self.partition_of(instant).map_err(calendar)?.0;
            let (length, next) = self.longest(instant, civil, interval.end).map_err(calendar)?;
            let folder = |length| format!("{}{}", self.root, self.pattern.folder(civil, length));
            let tells = |length| self.pattern.folders_tell(length);
            let is_part = length == Granularity::Hour && [length, Granularity::Day].map(tells) == [true; 2];
            let day = is_part.then(|| Look::Shallow { folder: folder(Granularity::Day), date: civil.date() });
            for look in day.into_iter().chain([Look::Deep(folder(length))]) {
                if seen.insert(look.clone()) {
                    looks.push(look);
                }
            }
            instant = next;
        }
        Ok(looks)
    }

    /// The longest span that begins at an instant, ends before `end` and has folders of its own; and when it ends.
    fn longest(
        &self,
        instant: Timestamp,
        civil: civil::DateTime,
        end: Timestamp,
    ) -> Result<(Granularity, Timestamp), jiff::Error> {
        for length in Granularity::ALL.into_iter().filter(|length| *length < self.granularity) {
            if truncated(civil, length) == civil && self.pattern.folders_tell(length) {
                let begins = civil.to_zoned(self.time_zone.clone())?.timestamp();
                let next = self.end(civil, length)?;
                if begins == instant && next <= end {
                    return Ok((length, next));
                }
            }
        }
        Ok((self.granularity, self.next(civil)?))
    }

    /// Whether a folder in the folder of a day holds hours that the day has.
    pub(super) fn has_hours(&self, folder: &str, date: civil::Date) -> bool {
        (0..24).any(|hour| {
            let civil = date.at(hour, 0, 0, 0);
            let hours = self.pattern.folder(civil, Granularity::Hour);
            let exists = || {
                let start = civil.to_zoned(self.time_zone.clone()).ok()?.timestamp();
                Some(self.partition_of(start).ok()?.0 == civil)
            };
            folder.strip_prefix(&self.root).is_some_and(|folder| hours.starts_with(folder)) && exists() == Some(true)
        })
    }

    /// Refuses an interval that is empty or cuts a partition in two.
    pub(super) fn check(&self, interval: RawInterval) -> Result<()> {
        let refuse = |reason: String| Error::Interval { interval: interval.to_string(), reason };
        if interval.start >= interval.end {
            return Err(refuse("its end is not after its start".to_owned()));
        }
        for (name, instant) in [("start", interval.start), ("end", interval.end)] {
            let begins = self.partition_of(instant).map_err(|error| refuse(error.to_string()))?.1;
            if begins != instant {
                let granularity = self.granularity;
                return Err(refuse(format!(
                    "its {name} cuts a folder of {} in two; choose the start of a {granularity}, such as {begins}",
                    self.text
                )));
            }
        }
        Ok(())
    }

    /// The partition that an instant falls in: from its start to the start of the next one. Where the clock goes back, the
    /// hour that comes twice is one partition.
    pub fn partition(&self, instant: Timestamp) -> Result<RawInterval> {
        let refuse = |error: jiff::Error| Error::Interval { interval: instant.to_string(), reason: error.to_string() };
        let (civil, start) = self.partition_of(instant).map_err(refuse)?;
        Ok(RawInterval { start, end: self.next(civil).map_err(refuse)? })
    }

    /// The partition an instant falls in: its civil start, and the first instant of that name. When the clock goes
    /// back, two hours share one name and so one folder, which begins with the first of them.
    fn partition_of(&self, instant: Timestamp) -> Result<(civil::DateTime, Timestamp), jiff::Error> {
        let start = truncated(instant.to_zoned(self.time_zone.clone()).datetime(), self.granularity);
        Ok((start, start.to_zoned(self.time_zone.clone())?.timestamp()))
    }

    /// The start of the next partition: where the clock goes forward, of the first one that exists.
    fn next(&self, civil: civil::DateTime) -> Result<Timestamp, jiff::Error> {
        self.end(civil, self.granularity)
    }

    fn end(&self, civil: civil::DateTime, length: Granularity) -> Result<Timestamp, jiff::Error> {
        let next = match length {
            Granularity::Hour => civil.checked_add(1.hour())?,
            Granularity::Day => civil.checked_add(1.day())?,
            Granularity::Month => civil.checked_add(1.month())?,
            Granularity::Year => civil.checked_add(1.year())?,
        };
        Ok(next.to_zoned(self.time_zone.clone())?.timestamp())
    }
}

fn truncated(local: civil::DateTime, length: Granularity) -> civil::DateTime {
    match length {
        Granularity::Hour => local.date().at(local.hour(), 0, 0, 0),
        Granularity::Day => local.date().at(0, 0, 0, 0),
        Granularity::Month => local.date().first_of_month().at(0, 0, 0, 0),
        Granularity::Year => local.date().first_of_year().at(0, 0, 0, 0),
    }
}

#[cfg(test)]
mod tests;
