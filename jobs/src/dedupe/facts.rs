//! What the plan of a run is made from: the raw files as they are now, and what the table says of earlier runs.

use std::collections::{BTreeMap, HashSet};

use contract::Contract;
use engine::observe::{FileToObserve, Footer, footers};
use jiff::{Timestamp, Zoned, civil, tz::TimeZone};
use lake::{
    Location, Table,
    raw::{self, Listing, RawInterval, RawTemplate},
};
use plan::{
    Interval,
    columns::UnknownColumn,
    dedupe::{Facts, LeftOut, PartitionMark, RawFile, Request, TableFacts, TargetFile, pending_since},
    parse_time,
};

use super::Dedupe;
use crate::{
    config::TableConfig,
    error::{JobError, Result},
    event_time,
    job::Job,
    known::Known,
    staging,
};

/// Where a run's files come from.
pub struct Source<'a> {
    job: &'a Job,
    table: &'a TableConfig,
    contract: &'a Contract,
    template: RawTemplate,
    what: What,
}

enum What {
    Interval(Interval),
    Pending,
    Folder(String),
}

impl<'a> Source<'a> {
    /// What the command line asks for.
    pub fn new(dedupe: &Dedupe, job: &'a Job, table: &'a TableConfig, contract: &'a Contract) -> Result<Self> {
        let zone = &table.timezone;
        let template = RawTemplate::parse(&table.source, zone.clone())?;
        let what = match (&dedupe.date, &dedupe.start, &dedupe.end, &dedupe.replay) {
            (Some(date), ..) => What::Interval(Interval::day(*date, zone)?),
            (_, Some(start), Some(end), _) => What::Interval(
                Interval::new(parse_time(start, zone)?, parse_time(end, zone)?)
                    .map_err(|_| JobError::usage(format!("--end {end} does not come after --start {start}")))?,
            ),
            (.., Some(folder)) => What::Folder(folder.clone()),
            _ => What::Pending,
        };
        Ok(Self { job, table, contract, template, what })
    }

    /// The interval that was asked for.
    pub fn interval(&self) -> Option<Interval> {
        match self.what {
            What::Interval(interval) => Some(interval),
            What::Pending | What::Folder(_) => None,
        }
    }

    /// Gathers them, and which of the files must be restored before they can be read.
    pub async fn facts(&self) -> Result<(Facts, HashSet<String>)> {
        let lake = self.job.lake().await?;
        let table = lake.table(&self.table.name).await?;
        if let Some(table) = &table {
            self.check_writable(table)?;
        }
        let Known { runs, marks, forgotten_before } = Known::of(table.as_ref())?;
        let listing = self.list(&marks).await?;
        let mut files = listing.files.iter().map(|file| self.raw_file(file)).collect::<Result<Vec<_>>>()?;
        let seen: Vec<_> = files.iter().map(to_observe).collect();
        // A file that cannot be read is set aside by the run itself, which quarantines it with the reason.
        let footers = footers(&lake.storage, &seen, self.event_time().as_deref()).await;
        let is_archived =
            |footer: &engine::Result<Footer>| matches!(footer, Err(engine::Error::Lake(lake::Error::Archived { .. })));
        let archived = files.iter().zip(&footers).filter(|(_, footer)| is_archived(footer));
        let archived = archived.map(|(file, _)| file.key.clone()).collect();
        let footers: Vec<_> = footers.into_iter().map(|footer| footer.ok()).collect();
        for (file, footer) in files.iter_mut().zip(&footers) {
            file.rows = footer.as_ref().map(|footer| footer.rows);
            file.event_time = footer.as_ref().and_then(|footer| footer.event_time);
        }
        let facts = Facts {
            table: self.table.name.clone(),
            request: match self.what {
                What::Interval(interval) => Request::Interval(interval),
                What::Pending => Request::Pending,
                What::Folder(_) => Request::Replay,
            },
            contract_digest: self.contract.digest(),
            is_keyed: !self.contract.key.is_empty(),
            table_state: table
                .as_ref()
                .map(|table| TableFacts { snapshot_id: table.metadata.current_snapshot_id(), rows: total_rows(table) }),
            files,
            left_out: listing
                .ignored
                .into_iter()
                .map(|object| LeftOut { key: object.location, reason: object.reason.to_string() })
                .collect(),
            runs,
            marks,
            forgotten_before,
            new_columns: self.contract.new_columns,
            unknown_columns: self.unknown_columns(footers.iter().flatten()),
            target_files: match &table {
                Some(table) => self.target_files(table).await?,
                None => Vec::new(),
            },
        };
        Ok((facts, archived))
    }

    /// Refuses what execution or the commit would refuse, before anything is read or staged, and for `--dry-run`, too.
    fn check_writable(&self, table: &Table) -> Result<()> {
        staging::check_writable(table)?;
        lake::evolve(&table.metadata, self.contract, &[]).map_err(lake::Error::from)?;
        Ok(())
    }

    async fn list(&self, marks: &BTreeMap<Timestamp, PartitionMark>) -> Result<Listing> {
        let storage = &self.job.lake().await?.storage;
        let interval = match &self.what {
            What::Folder(folder) => return Ok(raw::discover(storage, folder).await?),
            What::Interval(interval) => RawInterval { start: interval.start(), end: interval.end() },
            What::Pending => {
                let since = match pending_since(marks, self.contract.lateness) {
                    Some(since) => Some(since),
                    None => self.earliest().await?,
                };
                let Some(since) = since else { return Ok(Listing::default()) };
                RawInterval {
                    start: self.template.partition(since)?.start,
                    end: self.template.partition(self.job.program.now())?.end,
                }
            }
        };
        Ok(raw::list(storage, &self.template, interval).await?)
    }

    /// A time before everything in the raw zone: the start of the first year that its keys name. Lists all of it, which
    /// only the first `--pending` of a table does.
    async fn earliest(&self) -> Result<Option<Timestamp>> {
        let before_year = self.table.source.split("{yyyy}").next().unwrap_or_default();
        let prefix = Location::parse(before_year)?.path()?;
        // The year may follow a name in its segment (`year=2025`), and only folders are listed.
        let folder = before_year.rfind('/').map_or(before_year, |slash| &before_year[..=slash]);
        let objects = self.job.lake().await?.storage.list(folder).await?;
        let years = objects.iter().filter_map(|object| {
            let after = object.location.as_ref().strip_prefix(prefix.as_ref())?;
            after.trim_start_matches('/').get(..4)?.parse().ok()
        });
        Ok(years.min().and_then(|year| start_of_year(year, &self.table.timezone)))
    }

    fn raw_file(&self, file: &raw::RawFile) -> Result<RawFile> {
        let arrival = match self.what {
            What::Folder(_) => None,
            _ => {
                let partition = self.template.partition(file.partition_start)?;
                Some(Interval::new(partition.start, partition.end)?)
            }
        };
        Ok(RawFile {
            key: file.location.clone(),
            etag: file.etag.clone().unwrap_or_default(),
            bytes: file.size,
            modified: file.last_modified,
            arrival,
            rows: None,
            event_time: None,
        })
    }

    /// The raw column that holds the event time.
    fn event_time(&self) -> Option<String> {
        let column = self.contract.column(self.contract.event_time.as_deref()?)?;
        Some(column.source.clone().unwrap_or_else(|| column.name.clone()))
    }

    fn unknown_columns<'f>(&self, footers: impl Iterator<Item = &'f Footer>) -> Vec<UnknownColumn> {
        let known = |name: &str| {
            self.contract.columns.iter().any(|column| {
                [Some(&column.name), column.source.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|own| own.eq_ignore_ascii_case(name))
            })
        };
        let mut unknown: BTreeMap<String, UnknownColumn> = BTreeMap::new();
        for (name, column_type) in footers.flat_map(|footer| &footer.columns) {
            if known(name) || name.starts_with(engine::raw::QUARANTINE_PREFIX) {
                continue;
            }
            let table_type = column_type.as_ref().map(|column_type| format!("{column_type:?}"));
            let column = unknown.entry(name.clone()).or_insert_with(|| UnknownColumn {
                name: name.clone(),
                table_type: table_type.clone(),
                files: 0,
            });
            column.files += 1;
            if column.table_type != table_type {
                column.table_type = None;
            }
        }
        unknown.into_values().collect()
    }

    async fn target_files(&self, table: &Table) -> Result<Vec<TargetFile>> {
        let Some(snapshot) = table.head() else { return Ok(Vec::new()) };
        let schema = table.metadata.current_schema();
        let event_time = self.contract.event_time.as_deref().and_then(|name| schema.field_id_by_name(name));
        let live = table.live_files(snapshot.snapshot_id()).await?;
        let files = live.data.iter().map(|entry| {
            let file = &entry.data_file;
            TargetFile {
                path: file.file_path().to_owned(),
                bytes: file.file_size_in_bytes(),
                rows: file.record_count(),
                event_time: event_time::bounds(file, event_time),
            }
        });
        Ok(files.collect())
    }
}

/// One line for all that was left out.
pub fn left_out_warning(left_out: &[LeftOut]) -> Option<String> {
    let first = left_out.first()?;
    let others = match left_out.len() {
        1 => String::new(),
        n => format!(", and {} more", n - 1),
    };
    Some(format!("left out {}: {}{others}", first.key, first.reason))
}

fn total_rows(table: &Table) -> Option<u64> {
    table.head()?.summary().additional_properties.get("total-records")?.parse().ok()
}

fn to_observe(file: &RawFile) -> FileToObserve {
    FileToObserve {
        location: file.key.clone(),
        bytes: file.bytes,
        etag: Some(file.etag.clone()).filter(|etag| !etag.is_empty()),
    }
}

fn start_of_year(year: i16, zone: &TimeZone) -> Option<Timestamp> {
    let date = civil::Date::new(year, 1, 1).ok()?;
    date.to_zoned(zone.clone()).ok().as_ref().map(Zoned::timestamp)
}
