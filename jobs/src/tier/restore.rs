//! `etl tier restore`: archived objects of an interval can be read again for some days. Their class stays what it is.

use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use contract::TableName;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::civil::Date;
use lake::Classes;
use plan::{
    Interval, parse_time,
    prices::{RestoreTier, StorageClass},
    tier::{Archived, Listed, Need, RestorePlan, RestoreRequest, RestoreState, Zone, decide_restore},
};

use super::{ZoneWord, facts::Places};
use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report, Restored, Status},
};

/// Objects that are asked about, or for, at once.
const OBJECTS_AT_ONCE: usize = 16;

/// Between two looks while it waits; restores take hours.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Looks until it gives up, in three days or more.
const LOOKS_MAX: u32 = 900;

/// Bring archived objects of an interval back for some days.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "\
Examples:
  etl tier restore curated.telemetry --date 2025-01-15 --dry-run       which objects, what it costs, how long it takes
  etl tier restore curated.telemetry --date 2025-01-15 --zone raw --yes --wait
  etl tier restore curated.telemetry --start 2025-01-01 --end 2025-02-01 --days 14 --speed bulk --yes",
    after_help = "\
Of raw files the interval is when they arrived, of curated ones when their events happened. The objects stay in their class;
a copy can be read for --days days. The same command again says how far it is, and asks for nothing twice.",
    group = ArgGroup::new("when").required(true).args(["date", "start", "all"])
)]
pub struct RestoreArgs {
    /// Tables; all of etl.toml unless said
    pub tables: Vec<TableName>,
    /// Objects of this day
    #[arg(long, value_name = "DATE")]
    pub date: Option<Date>,
    /// Objects from this time on
    #[arg(long, value_name = "TIME", requires = "end")]
    pub start: Option<String>,
    /// Objects before this time
    #[arg(long, value_name = "TIME", requires = "start")]
    pub end: Option<String>,
    /// Objects of all time
    #[arg(long)]
    pub all: bool,
    /// Objects of one zone only
    #[arg(long, value_enum)]
    pub zone: Option<ZoneWord>,
    /// How long the copies can be read
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=365))]
    pub days: u32,
    /// How fast, and how dear
    #[arg(long, value_enum, default_value_t = Speed::Standard)]
    pub speed: Speed,
    /// Wait until all can be read
    #[arg(long)]
    pub wait: bool,
}

/// How fast a restore is, as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Speed {
    /// Within 12 hours from GLACIER, 48 from DEEP_ARCHIVE.
    Bulk,
    /// Within 5 hours from GLACIER, 12 from DEEP_ARCHIVE.
    Standard,
    /// Within an hour, from GLACIER alone.
    Expedited,
}

impl From<Speed> for RestoreTier {
    fn from(speed: Speed) -> Self {
        match speed {
            Speed::Bulk => Self::Bulk,
            Speed::Standard => Self::Standard,
            Speed::Expedited => Self::Expedited,
        }
    }
}

impl RestoreArgs {
    /// Runs it table by table.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let tables = job.tables(&self.tables)?;
        job.each_table(&tables, async |table, report| self.run_table(job, table, report).await).await
    }

    async fn run_table(&self, job: &Job, config: &TableConfig, report: &mut Report) -> Result<()> {
        let interval = self.interval(config)?;
        report.interval = interval;
        let places = Places::on_s3(job, config, ZoneWord::zones(self.zone)).await?;
        let step = job.program.progress.step(&config.name.to_string(), "looking for archived objects");
        let request = job.program.interrupt.stops(self.request(&places, interval)).await??;
        drop(step);
        let plan = decide_restore(&request);
        tracing::debug!(table.name = %config.name, "{plan}");
        let shown = Plan::Restore(plan.clone());
        if job.only_shows(&shown, report) {
            return Ok(());
        }
        if let Some(reason) = &plan.refused {
            report.plan = Some(shown);
            return Err(JobError::usage(reason.clone()).with_help("choose another --speed"));
        }
        report.restored = Some(Restored { asked: 0, restoring: plan.restoring, readable: plan.readable });
        if !plan.restores.is_empty() {
            if !job.may_destroy(&shown, report).await? {
                return Ok(());
            }
            self.ask(job, places.classes, &plan, report).await?;
        }
        let waiting: Vec<String> = request
            .archived
            .iter()
            .filter(|of| !matches!(of.state, RestoreState::Readable { .. }))
            .map(|of| of.location.clone())
            .collect();
        if waiting.is_empty() {
            report.reason = Some("every object of the interval can be read".to_owned());
            return Ok(());
        }
        report.status = Status::Restoring;
        if self.wait { self.wait_for(job, places.classes, config, waiting, report).await } else { Ok(()) }
    }

    fn interval(&self, config: &TableConfig) -> Result<Option<Interval>> {
        let zone = &config.timezone;
        match (&self.date, &self.start, &self.end) {
            (Some(date), ..) => Ok(Some(Interval::day(*date, zone)?)),
            (_, Some(start), Some(end)) => {
                let interval = Interval::new(parse_time(start, zone)?, parse_time(end, zone)?);
                let usage = |_| JobError::usage(format!("--end {end} does not come after --start {start}"));
                interval.map(Some).map_err(usage)
            }
            _ => Ok(None),
        }
    }

    async fn request(&self, places: &Places<'_>, interval: Option<Interval>) -> Result<RestoreRequest> {
        let contract = places.job.contract(places.config)?;
        let mut objects = Vec::new();
        for zone in places.zones.keys() {
            objects.extend(match zone {
                Zone::Raw => places.raw(&contract, false).await?,
                Zone::Curated => places.curated(&contract).await?,
            });
        }
        objects.retain(|object| meets(object, interval));
        let (archived, readable): (Vec<_>, Vec<_>) =
            objects.into_iter().partition(|object| class(object).is_some_and(StorageClass::is_archive));
        Ok(RestoreRequest {
            table: contract.table.clone(),
            interval,
            days: self.days,
            tier: self.speed.into(),
            archived: archived_states(places.classes, &archived).await?,
            readable: readable.len() as u64,
            prices: places.job.prices().await?,
        })
    }

    async fn ask(&self, job: &Job, classes: &Classes, plan: &RestorePlan, report: &mut Report) -> Result<()> {
        let what = format!("asking for {} objects", plan.restores.len());
        let _step = job.program.progress.step(&plan.table.to_string(), &what);
        let asks = plan.restores.iter().map(|of| classes.restore(&of.location, plan.days, plan.tier));
        let mut asking = stream::iter(asks.collect::<Vec<_>>()).buffered(OBJECTS_AT_ONCE);
        while job.program.interrupt.stops(asking.try_next()).await??.is_some() {
            if let Some(restored) = &mut report.restored {
                restored.asked += 1;
                restored.restoring += 1;
            }
        }
        Ok(())
    }

    /// Looks again until all can be read.
    async fn wait_for(
        &self,
        job: &Job,
        classes: &Classes,
        config: &TableConfig,
        mut waiting: Vec<String>,
        report: &mut Report,
    ) -> Result<()> {
        let all = waiting.len();
        let readable = report.restored.as_ref().map_or(0, |restored| restored.readable);
        let mut pause = WAIT_FIRST;
        for _ in 0..LOOKS_MAX {
            let what = format!("waiting for {} of {all} objects", waiting.len());
            let _step = job.program.progress.step(&config.name.to_string(), &what);
            waiting = job.program.interrupt.stops(still_archived(classes, waiting)).await??;
            if let Some(restored) = &mut report.restored {
                restored.restoring = waiting.len() as u64;
                restored.readable = readable + (all - waiting.len()) as u64;
            }
            if waiting.is_empty() {
                report.status = Status::Restored;
                return Ok(());
            }
            job.program.interrupt.stops(tokio::time::sleep(pause)).await?;
            pause = (pause * 2).min(WAIT_MAX);
        }
        Err(JobError::new(Kind::Transient, format!("{} objects are still archived", waiting.len()))
            .with_help("run it again: nothing is asked for twice"))
    }
}

fn class(object: &Listed) -> Option<StorageClass> {
    object.class.parse().ok()
}

/// Whether an object is of the interval. One of which no time is known is, and so are files that every read needs.
fn meets(object: &Listed, interval: Option<Interval>) -> bool {
    match (&object.needed, interval) {
        (Need::NoInput | Need::Unknown, _) => false,
        (_, None) => true,
        (Need::Raw { arrival, .. }, Some(interval)) => arrival.overlaps(&interval),
        (Need::Current { event_time: Some((oldest, youngest)) }, Some(interval)) => {
            *oldest < interval.end() && interval.start() <= *youngest
        }
        (Need::Current { event_time: None }, Some(_)) => true,
        (Need::Referred(kind), Some(_)) => *kind != plan::objects::ObjectKind::DataFile,
    }
}

async fn archived_states(classes: &Classes, objects: &[Listed]) -> Result<Vec<Archived>> {
    let state = |object: &Listed| {
        let (location, bytes, zone, class) =
            (object.location.clone(), object.bytes, object.needed.zone(), class(object));
        async move {
            let state = classes.state(&location).await?.restore;
            Ok::<_, JobError>(Archived { location, bytes, zone, class: class.unwrap_or(StorageClass::Glacier), state })
        }
    };
    stream::iter(objects.iter().map(state).collect::<Vec<_>>()).buffered(OBJECTS_AT_ONCE).try_collect().await
}

async fn still_archived(classes: &Classes, locations: Vec<String>) -> Result<Vec<String>> {
    let look = |location: String| async move {
        let state = classes.state(&location).await?;
        let is_readable = matches!(state.restore, RestoreState::Readable { .. });
        let is_archived = state.class.parse().is_ok_and(StorageClass::is_archive);
        Ok::<_, JobError>((is_archived && !is_readable).then_some(location))
    };
    let looks: Vec<_> = stream::iter(locations).map(look).buffered(OBJECTS_AT_ONCE).try_collect().await?;
    Ok(looks.into_iter().flatten().collect())
}
