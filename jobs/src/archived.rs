//! What a job says that needs archived objects: which, what bringing them back costs, and how long it takes. It says so
//! before it stages or shows anything.

use std::collections::HashSet;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use lake::Table;
use plan::{
    Interval,
    prices::{RestoreTier, StorageClass},
    tier::{Archived, RestoreRequest, RestoreState, Zone, decide_restore},
};

use crate::{
    error::{JobError, Kind, Result},
    job::Job,
    screen::{count, size},
};

/// Objects that are asked about at once.
const OBJECTS_AT_ONCE: usize = 16;

/// Objects that a message names.
const NAMED_MAX: usize = 3;

/// How long copies stay, as `etl tier restore` has it unless told otherwise.
const DAYS: u32 = 7;

/// Objects that a job needs and cannot read.
#[derive(Debug, Clone)]
pub struct Cold {
    /// Where they are, as the job named them.
    pub locations: HashSet<String>,
    /// Which, and what bringing them back takes: `archived: 2 curated objects (4.0 GiB), …`.
    pub what: String,
    /// The command that brings them back.
    pub help: String,
    /// All of them are on their way.
    pub is_restoring: bool,
}

/// An object that a job needs.
#[derive(Debug, Clone)]
pub struct Needed {
    /// Its location.
    pub location: String,
    /// When it arrived, or when its events happened, where that is known.
    pub span: Option<Interval>,
}

impl Needed {
    /// A curated file with its smallest and largest event time.
    pub fn curated(location: &str, event_time: Option<(Timestamp, Timestamp)>) -> Self {
        let whole = |(oldest, youngest): (Timestamp, Timestamp)| {
            let second = |time: Timestamp| Timestamp::from_second(time.as_second()).ok();
            let end = second(youngest)?.checked_add(SignedDuration::from_secs(1)).ok()?;
            Interval::new(second(oldest)?, end).ok()
        };
        Self { location: location.to_owned(), span: event_time.and_then(whole) }
    }
}

/// Those objects of a table that lie in an archive class, restored or not.
pub async fn in_archive(table: &Table, needed: Vec<Needed>) -> Result<Vec<Needed>> {
    let objects = table.storage.classes()?.list(table.metadata.location()).await?;
    let is_archived = |of: &Needed| {
        let spelled = spelled(&of.location);
        let found = objects.binary_search_by(|object| object.location.cmp(&spelled));
        found.is_ok_and(|index| objects[index].class.parse().is_ok_and(StorageClass::is_archive))
    };
    Ok(needed.into_iter().filter(is_archived).collect())
}

/// A location as a list of objects spells it.
pub fn spelled(location: &str) -> String {
    lake::Location::parse(location).map_or_else(|_| location.to_owned(), |at| at.to_string())
}

impl Job {
    /// Why a job cannot read objects that may be archived; `None` when all can be read.
    pub async fn archived(&self, table: &str, zone: Zone, needed: &[Needed]) -> Result<Option<JobError>> {
        Ok(self.cold(table, zone, needed).await?.map(|Cold { what, help, is_restoring, .. }| {
            let kind = if is_restoring { Kind::Transient } else { Kind::Archived };
            JobError::new(kind, format!("it needs what is {what}")).with_help(help)
        }))
    }

    /// Those of the objects that must be restored before they can be read; `None` when all can be read.
    pub async fn cold(&self, table: &str, zone: Zone, needed: &[Needed]) -> Result<Option<Cold>> {
        let classes = self.lake().await?.storage.classes()?;
        let look = |of: &Needed| {
            let location = of.location.clone();
            async move {
                let state = classes.state(&location).await?;
                let class = state.class.parse().ok().filter(|class: &StorageClass| class.is_archive());
                Ok::<_, JobError>(class.map(|class| Archived {
                    location,
                    bytes: state.bytes,
                    zone,
                    class,
                    state: state.restore,
                }))
            }
        };
        let looks: Vec<_> =
            stream::iter(needed.iter().map(look).collect::<Vec<_>>()).buffered(OBJECTS_AT_ONCE).try_collect().await?;
        let is_cold = |of: &Archived| !matches!(of.state, RestoreState::Readable { .. });
        let cold: Vec<(Archived, &Needed)> =
            looks.into_iter().zip(needed).filter_map(|(of, needed)| Some((of.filter(is_cold)?, needed))).collect();
        if cold.is_empty() {
            return Ok(None);
        }
        let spans = cold.iter().map(|(_, needed)| needed.span).collect::<Option<Vec<_>>>();
        let when = match spans.into_iter().flatten().reduce(|a, b| a.hull(&b)) {
            Some(hull) => format!("--start {} --end {}", hull.start(), hull.end()),
            None => "--all".to_owned(),
        };
        let help = format!("etl tier restore {table} --zone {zone} {when} --wait; then run it again");
        let plan = decide_restore(&RestoreRequest {
            table: table.parse()?,
            interval: None,
            days: DAYS,
            tier: RestoreTier::Standard,
            archived: cold.iter().map(|(of, _)| of.clone()).collect(),
            readable: 0,
            prices: self.prices().await?,
        });
        let bytes = cold.iter().map(|(of, _)| of.bytes).sum();
        let objects = format!("{} ({})", count(cold.len() as u64, &format!("{zone} object")), size(bytes));
        let named = named(&cold);
        let is_restoring = plan.restores.is_empty();
        let (cost, hours) = (plan.cost.dollars, count(u64::from(plan.hours_max), "hour"));
        let what = match is_restoring {
            true => format!("still being brought back from the archive: {objects}, {named}"),
            false => format!(
                "archived: {objects}, {named}; bringing that back for {DAYS} days costs {cost} and takes {hours} at most"
            ),
        };
        let locations = cold.into_iter().map(|(of, _)| of.location).collect();
        Ok(Some(Cold { locations, what, help, is_restoring }))
    }
}

fn named(cold: &[(Archived, &Needed)]) -> String {
    let names: Vec<_> = cold.iter().take(NAMED_MAX).map(|(of, _)| of.location.as_str()).collect();
    match cold.len() - names.len() {
        0 => names.join(", "),
        more => format!("{}, and {more} more", names.join(", ")),
    }
}
