//! Path templates of the raw zone: `s3://bucket/telemetry/{yyyy}/{MM}/{dd}/{HH}/`, pure.

use std::collections::HashSet;

use jiff::{Timestamp, ToSpan, civil, tz::TimeZone};

use super::RawInterval;
use crate::{Error, Location, Result};

/// Where raw files of a time lie. The path's time is civil time in a declared zone.
#[derive(Debug, Clone)]
pub struct RawTemplate {
    text: String,
    parts: Vec<Part>,
    granularity: Granularity,
    time_zone: TimeZone,
}

/// How long one folder's time is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum Granularity {
    Hour,
    Day,
    Month,
    Year,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Year,
    Month,
    Day,
    Hour,
}

/// More folders than this are not listed in one go: ten years of hours.
const PARTITIONS_MAX: usize = 90_000;

impl RawTemplate {
    /// Reads a template. It must hold `{yyyy}` and may hold `{MM}`, `{dd}` and `{HH}`, each with the coarser ones.
    pub fn parse(text: &str, time_zone: TimeZone) -> Result<Self> {
        let refuse = |reason: String| Error::Template { template: text.to_owned(), reason };
        let parts = parts(text).map_err(refuse)?;
        let has = |part| parts.contains(&part);
        let granularity = match (has(Part::Year), has(Part::Month), has(Part::Day), has(Part::Hour)) {
            (true, true, true, true) => Granularity::Hour,
            (true, true, true, false) => Granularity::Day,
            (true, true, false, false) => Granularity::Month,
            (true, false, false, false) => Granularity::Year,
            (false, ..) => return Err(refuse("it has no {yyyy}: write for example {yyyy}/{MM}/{dd}/{HH}/".to_owned())),
            _ => return Err(refuse("{HH} needs {dd}, {dd} needs {MM}".to_owned())),
        };
        let template = Self { text: text.to_owned(), parts, granularity, time_zone };
        // What cannot be a location for one time cannot be one for any.
        Location::parse(&template.folder(civil::datetime(2000, 1, 1, 0, 0, 0, 0)))
            .map_err(|error| refuse(error.to_string()))?;
        Ok(template)
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

    /// The folder that everything lies in, whatever its time.
    pub fn root(&self) -> &str {
        let fixed = self.text.split('{').next().unwrap_or_default();
        fixed.rfind('/').map_or(fixed, |slash| &fixed[..=slash])
    }

    /// The partition that a location lies in, and its path there: what [`Self::prefixes`] says the other way round.
    pub fn arrival<'l>(&self, location: &'l str) -> Option<(RawInterval, &'l str)> {
        let mut rest = location;
        let (mut year, mut month, mut day, mut hour) = (None, 1, 1, 0);
        for part in &self.parts {
            let mut number = |digits: usize| {
                let (number, after) = rest.split_at_checked(digits)?;
                rest = after;
                number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<i16>().ok())?
            };
            match part {
                Part::Literal(text) => rest = rest.strip_prefix(text.as_str())?,
                Part::Year => year = Some(number(4)?),
                Part::Month => month = number(2)?.try_into().ok()?,
                Part::Day => day = number(2)?.try_into().ok()?,
                Part::Hour => hour = number(2)?.try_into().ok()?,
            }
        }
        // A template without a slash at its end means folders all the same.
        let below = if self.text.ends_with('/') { rest } else { rest.strip_prefix('/')? };
        let civil = civil::Date::new(year?, month, day).ok()?.to_datetime(civil::Time::new(hour, 0, 0, 0).ok()?);
        let start = civil.to_zoned(self.time_zone.clone()).ok()?.timestamp();
        Some((self.partition(start).ok()?, below))
    }

    /// The interval of a day in the template's zone: 23 or 25 hours where the clock changes.
    pub fn day(&self, date: civil::Date) -> Result<RawInterval> {
        let refuse = |error: jiff::Error| Error::Interval { interval: date.to_string(), reason: error.to_string() };
        let start = date.to_zoned(self.time_zone.clone()).map_err(refuse)?.timestamp();
        let end = date.tomorrow().and_then(|date| date.to_zoned(self.time_zone.clone())).map_err(refuse)?.timestamp();
        Ok(RawInterval { start, end })
    }

    /// The folders whose time begins in the interval, each with its start. Folder and start rise together.
    ///
    /// An interval that cuts a folder in two is an error: its files cannot be told apart by when they arrived.
    pub fn prefixes(&self, interval: RawInterval) -> Result<Vec<(String, Timestamp)>> {
        let refuse = |reason: String| Error::Interval { interval: interval.to_string(), reason };
        if interval.start >= interval.end {
            return Err(refuse("its end is not after its start".to_owned()));
        }
        let calendar = |error: jiff::Error| refuse(error.to_string());
        for (name, instant) in [("start", interval.start), ("end", interval.end)] {
            let begins = self.partition_of(instant).map_err(calendar)?.1;
            if begins != instant {
                let granularity = format!("{:?}", self.granularity).to_lowercase();
                return Err(refuse(format!(
                    "its {name} cuts a folder of {} in two; choose the start of a {granularity}, such as {begins}",
                    self.text
                )));
            }
        }
        let mut folders = Vec::new();
        let mut seen = HashSet::new();
        let mut instant = interval.start;
        while instant < interval.end {
            if folders.len() == PARTITIONS_MAX {
                return Err(refuse(format!("it has more than {PARTITIONS_MAX} folders; take a shorter one")));
            }
            let (civil, begins) = self.partition_of(instant).map_err(calendar)?;
            let folder = self.folder(civil);
            if begins >= interval.start && seen.insert(folder.clone()) {
                folders.push((folder, begins));
            }
            instant = self.next(civil).map_err(calendar)?;
        }
        Ok(folders)
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
        let local = instant.to_zoned(self.time_zone.clone()).datetime();
        let start = match self.granularity {
            Granularity::Hour => local.date().at(local.hour(), 0, 0, 0),
            Granularity::Day => local.date().at(0, 0, 0, 0),
            Granularity::Month => local.date().first_of_month().at(0, 0, 0, 0),
            Granularity::Year => local.date().first_of_year().at(0, 0, 0, 0),
        };
        Ok((start, start.to_zoned(self.time_zone.clone())?.timestamp()))
    }

    /// The start of the next partition: where the clock goes forward, of the first one that exists.
    fn next(&self, civil: civil::DateTime) -> Result<Timestamp, jiff::Error> {
        let next = match self.granularity {
            Granularity::Hour => civil.checked_add(1.hour())?,
            Granularity::Day => civil.checked_add(1.day())?,
            Granularity::Month => civil.checked_add(1.month())?,
            Granularity::Year => civil.checked_add(1.year())?,
        };
        Ok(next.to_zoned(self.time_zone.clone())?.timestamp())
    }

    fn folder(&self, time: civil::DateTime) -> String {
        let part = |part: &Part| match part {
            Part::Literal(text) => text.clone(),
            Part::Year => format!("{:04}", time.year()),
            Part::Month => format!("{:02}", time.month()),
            Part::Day => format!("{:02}", time.day()),
            Part::Hour => format!("{:02}", time.hour()),
        };
        let mut folder: String = self.parts.iter().map(part).collect();
        if !folder.ends_with('/') {
            folder.push('/');
        }
        folder
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((literal, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or("a `{` is not closed")?;
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        parts.push(match name {
            "yyyy" => Part::Year,
            "MM" => Part::Month,
            "dd" => Part::Day,
            "HH" => Part::Hour,
            _ => return Err(format!("{{{name}}} is not known; there are {{yyyy}}, {{MM}}, {{dd}} and {{HH}}")),
        });
        rest = after;
    }
    if rest.contains('}') {
        return Err("a `}` was never opened".to_owned());
    }
    if !rest.is_empty() {
        parts.push(Part::Literal(rest.to_owned()));
    }
    Ok(parts)
}
