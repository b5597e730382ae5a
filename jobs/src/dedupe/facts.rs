//! What the plan of a run is made from: the raw files as they are now, and what the table says of earlier runs.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    iter,
};

use contract::{Column, Contract};
use engine::observe::{FileToObserve, Footer, footers};
use lake::{DataFileEntry, Table, raw::RawTemplate};
use plan::{
    Interval,
    columns::{
        UnknownColumn,
        absent::{ContractColumns, RawColumns},
    },
    dedupe::{DedupePlan, Facts, RawFile, Request, TableFacts, TargetFile, decide},
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
        let footers = footers(&lake.storage, &to_look_at, &self.event_time()).await;
        let is_archived =
            |footer: &engine::Result<Footer>| matches!(footer, Err(engine::Error::Lake(lake::Error::Archived { .. })));
        let archived = files.iter().zip(&footers).filter(|(_, footer)| is_archived(footer));
        let mut archived: HashSet<_> = archived.map(|(file, _)| file.key.clone()).collect();
        let footers: Vec<_> = footers.into_iter().map(|footer| footer.ok()).collect();
        for (file, footer) in files.iter_mut().zip(&footers) {
            let Some(footer) = footer else { continue };
            file.rows = Some(footer.rows);
            file.event_time = footer.event_time;
        }
        let columns = columns(&files, &footers);
        if matches!(self.what, What::Pending) {
            warnings.extend(self.leave_archived(&mut files, &mut archived, &memory));
        }
        let live = match &table {
            Some(table) => live_files(table).await?,
            None => Vec::new(),
        };
        let mut facts = Facts {
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
            contract_columns: ContractColumns {
                columns: self.contract.columns.clone(),
                policy: self.contract.absent_columns,
                with_values: table.as_ref().map_or_else(Vec::new, |table| self.with_values(table, &live)),
            },
            column_sets: Vec::new(),
            target_files: table.as_ref().map_or_else(Vec::new, |table| self.target_files(table, &live)),
        };
        if let DedupePlan::Run(plan) = decide(&facts) {
            facts.column_sets = column_sets(&plan.files, &columns);
        }
        Ok((facts, archived, warnings))
    }

    /// Refuses what execution or the commit would refuse, before anything is read or staged, and for `--dry-run`, too.
    fn check_writable(&self, table: &Table) -> Result<()> {
        staging::check_writable(table)?;
        lake::evolve(&table.metadata, self.contract, &[]).map_err(lake::Error::from)?;
        Ok(())
    }

    /// Names that the raw column with the event time may have, the first of them first.
    fn event_time(&self) -> Vec<&str> {
        let column = self.contract.event_time.as_deref().and_then(|name| self.contract.column(name));
        column.map_or_else(Vec::new, |column| column.raw_names(&self.contract.columns).collect())
    }

    fn unknown_columns<'f>(&self, footers: impl Iterator<Item = &'f Footer>) -> Vec<UnknownColumn> {
        let known = |name: &str| {
            self.contract.columns.iter().any(|column| {
                let names = iter::once(&column.name).chain(&column.source).chain(&column.renamed_from);
                names.into_iter().any(|own| own.to_lowercase() == name.to_lowercase())
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

    /// Columns of the contract of which the table has a value, as its manifests say. In doubt it has one.
    fn with_values(&self, table: &Table, live: &[DataFileEntry]) -> Vec<String> {
        let fields = table.metadata.current_schema().as_struct().fields();
        let has_value = |column: &&Column| {
            let is_it = |name: &String| *name == column.name || column.renamed_from.contains(name);
            let Some(field) = fields.iter().find(|field| is_it(&field.name)) else { return false };
            live.iter().any(|entry| {
                let file = &entry.data_file;
                file.record_count() > 0 && file.null_value_counts().get(&field.id) != Some(&file.record_count())
            })
        };
        self.contract.columns.iter().filter(has_value).map(|column| column.name.clone()).collect()
    }

    fn target_files(&self, table: &Table, live: &[DataFileEntry]) -> Vec<TargetFile> {
        let schema = table.metadata.current_schema();
        let event_time = self.contract.event_time.as_deref().and_then(|name| schema.field_id_by_name(name));
        let target_file = |entry: &DataFileEntry| {
            let file = &entry.data_file;
            TargetFile {
                path: file.file_path().to_owned(),
                bytes: file.file_size_in_bytes(),
                rows: file.record_count(),
                event_time: event_time::bounds(file, event_time),
            }
        };
        live.iter().map(target_file).collect()
    }
}

/// Columns of the files whose footers could be read, by key.
fn columns(files: &[RawFile], footers: &[Option<Footer>]) -> HashMap<String, RawColumns> {
    let read = files.iter().zip(footers);
    read.filter_map(|(file, footer)| Some((file.key.clone(), footer.as_ref()?.columns.clone()))).collect()
}

/// The different sets of columns of the files that a run takes.
fn column_sets(taken: &[RawFile], columns: &HashMap<String, RawColumns>) -> Vec<RawColumns> {
    let mut sets: Vec<RawColumns> = Vec::new();
    for columns in taken.iter().filter_map(|file| columns.get(&file.key)) {
        if !sets.contains(columns) {
            sets.push(columns.clone());
        }
    }
    sets
}

async fn live_files(table: &Table) -> Result<Vec<DataFileEntry>> {
    let Some(snapshot) = table.head() else { return Ok(Vec::new()) };
    Ok(table.live_files(snapshot.snapshot_id()).await?.data)
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
