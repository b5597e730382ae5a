//! What the plan of a run is made from: the raw files as they are now, and what the table says of earlier runs.

use std::collections::{BTreeMap, HashSet};

use contract::Contract;
use engine::observe::{FileToObserve, Footer, footers};
use lake::{Table, raw::RawTemplate};
use plan::{
    Interval,
    columns::UnknownColumn,
    dedupe::{Facts, RawFile, Request, TableFacts, TargetFile},
    parse_time,
};

use super::{Dedupe, listing::Listed};
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
    pub(super) job: &'a Job,
    pub(super) table: &'a TableConfig,
    pub(super) contract: &'a Contract,
    pub(super) template: RawTemplate,
    pub(super) what: What,
}

/// Which files.
pub(super) enum What {
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

    /// Gathers them, which of the files must be restored before they can be read, and what people must know of the rest.
    pub async fn facts(&self) -> Result<(Facts, HashSet<String>, Vec<String>)> {
        let lake = self.job.lake().await?;
        let table = lake.table(&self.table.name).await?;
        if let Some(table) = &table {
            self.check_writable(table)?;
        }
        let Known { runs, memory } = Known::of(table.as_ref())?;
        let Listed { mut files, settled, seen, left_out, mut warnings } = self.list(&memory).await?;
        let to_look_at: Vec<_> = files.iter().map(to_observe).collect();
        // A file that cannot be read is set aside by the run itself, which quarantines it with the reason.
        let footers = footers(&lake.storage, &to_look_at, self.event_time().as_deref()).await;
        let is_archived =
            |footer: &engine::Result<Footer>| matches!(footer, Err(engine::Error::Lake(lake::Error::Archived { .. })));
        let archived = files.iter().zip(&footers).filter(|(_, footer)| is_archived(footer));
        let mut archived: HashSet<_> = archived.map(|(file, _)| file.key.clone()).collect();
        let footers: Vec<_> = footers.into_iter().map(|footer| footer.ok()).collect();
        for (file, footer) in files.iter_mut().zip(&footers) {
            file.rows = footer.as_ref().map(|footer| footer.rows);
            file.event_time = footer.as_ref().and_then(|footer| footer.event_time);
        }
        if matches!(self.what, What::Pending) {
            warnings.extend(self.leave_archived(&mut files, &mut archived, &memory));
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
            settled,
            seen,
            left_out,
            runs,
            marks: memory.marks,
            forgotten: memory.forgotten,
            new_columns: self.contract.new_columns,
            unknown_columns: self.unknown_columns(footers.iter().flatten()),
            target_files: match &table {
                Some(table) => self.target_files(table).await?,
                None => Vec::new(),
            },
        };
        Ok((facts, archived, warnings))
    }

    /// Refuses what execution or the commit would refuse, before anything is read or staged, and for `--dry-run`, too.
    fn check_writable(&self, table: &Table) -> Result<()> {
        staging::check_writable(table)?;
        lake::evolve(&table.metadata, self.contract, &[]).map_err(lake::Error::from)?;
        Ok(())
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
