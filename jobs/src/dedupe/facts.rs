//! What the plan of a run is made from: the raw files as they are now, and what the table says of earlier runs.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    iter,
};

use contract::{Column, Contract};
use engine::raw::{OpenOptions, RawInput, RawInterval};
use lake::{DataFileEntry, Table, raw::RawTemplate};
use plan::{
    Interval,
    columns::{
        UnknownColumn,
        absent::{ContractColumns, RawColumns},
    },
    dedupe::{DedupePlan, Facts, RawFile, Request, RunPlan, TableFacts, TargetFile, decide},
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

/// Share of the memory limit for small raw files and footers that are kept once they have been read, so that they are
/// requested once.
const KEPT_SHARE: u64 = 8;

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

/// What a plan is made from, and what was opened on the way.
pub struct Gathered {
    /// The facts that the plan is made from.
    pub facts: Facts,
    /// Files that must be restored before they can be read.
    pub archived: HashSet<String>,
    /// Warnings about files that the run leaves out.
    pub warnings: Vec<String>,
    /// The files of the run that the facts lead to, open; `None` when there is no run, or not all of them could be opened.
    pub interval: Option<RawInterval>,
}

impl<'a> Source<'a> {
    /// What the command line asks for.
    pub fn new(dedupe: &Dedupe, job: &'a Job, table: &'a TableConfig, contract: &'a Contract) -> Result<Self> {
        let zone = &table.timezone;
        let template = RawTemplate::parse(&table.source, zone.clone()).map_err(|error| {
            JobError::from(error).with_help(format!("it is the table's source in {}", job.config.path.display()))
        })?;
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

    /// Gathers them. Footers are read of those files alone that the run would take: whether there are any, the listing and
    /// the ledger say.
    pub async fn facts(&self) -> Result<Gathered> {
        let lake = self.job.lake().await?;
        let table = lake.table(&self.table.name).await?;
        if let Some(table) = &table {
            self.check_writable(table)?;
        }
        let Known { runs, memory } = Known::of(table.as_ref())?;
        let Listed { files, settled, seen, left_out, mut warnings } = self.list(&memory).await?;
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
            marks: memory.marks.clone(),
            forgotten: memory.forgotten.clone(),
            new_columns: self.contract.new_columns,
            unknown_columns: Vec::new(),
            contract_columns: ContractColumns {
                columns: self.contract.columns.clone(),
                policy: self.contract.absent_columns,
                with_values: Vec::new(),
            },
            column_sets: Vec::new(),
            target_files: Vec::new(),
        };
        let mut archived = HashSet::new();
        let DedupePlan::Run(plan) = decide(&facts) else {
            return Ok(Gathered { facts, archived, warnings, interval: None });
        };
        if let Some(table) = &table {
            let live = live_files(table).await?;
            facts.contract_columns.with_values = self.with_values(table, &live);
            facts.target_files = self.target_files(table, &live);
        }
        // A file that cannot be read is set aside by the run itself, which quarantines it with the reason.
        let inputs = inputs(&plan);
        drop(plan);
        let (interval, failed) = RawInterval::look(&lake.storage, &inputs, &self.open_options()).await;
        let footers: HashMap<&str, _> = interval.footers().map(|footer| (footer.location, footer)).collect();
        for file in &mut facts.files {
            let footer = footers.get(file.key.as_str());
            file.rows = footer.map(|footer| footer.rows);
            file.event_time = footer.and_then(|footer| footer.event_time);
        }
        facts.unknown_columns = self.unknown_columns(&interval);
        facts.column_sets = column_sets(&interval);
        let is_archived = |error: &engine::Error| matches!(error, engine::Error::Lake(lake::Error::Archived { .. }));
        archived.extend(failed.iter().filter(|(_, error)| is_archived(error)).map(|(key, _)| key.clone()));
        if matches!(self.what, What::Pending) {
            warnings.extend(self.leave_archived(&mut facts.files, &mut archived, &memory));
        }
        // What storage did not give the run asks for once more, and says why it fails.
        let interval = failed.is_empty().then_some(interval);
        Ok(Gathered { facts, archived, warnings, interval })
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

    /// Options for opening raw files: the event time column, and how many bytes stay in memory.
    pub fn open_options(&self) -> OpenOptions {
        let options = self.job.session_options();
        OpenOptions {
            event_time: self.event_time().into_iter().map(str::to_owned).collect(),
            kept_bytes_max: options.memory_limit_bytes / KEPT_SHARE,
            read_bytes: Some(options.read_bytes()),
        }
    }

    fn unknown_columns(&self, interval: &RawInterval) -> Vec<UnknownColumn> {
        let known = |name: &str| {
            self.contract.columns.iter().any(|column| {
                let names = iter::once(&column.name).chain(&column.source).chain(&column.renamed_from);
                names.into_iter().any(|own| own.to_lowercase() == name.to_lowercase())
            })
        };
        let mut unknown: BTreeMap<&str, UnknownColumn> = BTreeMap::new();
        let shapes = interval.columns();
        for shape in &shapes {
            for (name, column_type) in &shape.columns {
                if known(name) || name.starts_with(engine::raw::QUARANTINE_PREFIX) {
                    continue;
                }
                let table_type = column_type.as_ref().map(|column_type| format!("{column_type:?}"));
                let column = unknown.entry(name).or_insert_with(|| UnknownColumn {
                    name: (*name).to_owned(),
                    table_type: table_type.clone(),
                    files: 0,
                });
                column.files += shape.files;
                if column.table_type != table_type {
                    column.table_type = None;
                }
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

/// The different sets of columns of the files that a run takes.
fn column_sets(interval: &RawInterval) -> Vec<RawColumns> {
    let owned = |(name, column_type): (&str, Option<contract::Type>)| (name.to_owned(), column_type);
    interval.columns().into_iter().map(|shape| shape.columns.into_iter().map(owned).collect()).collect()
}

async fn live_files(table: &Table) -> Result<Vec<DataFileEntry>> {
    let Some(snapshot) = table.head() else { return Ok(Vec::new()) };
    Ok(table.live_files(snapshot.snapshot_id()).await?.data)
}

fn total_rows(table: &Table) -> Option<u64> {
    table.head()?.summary().additional_properties.get("total-records")?.parse().ok()
}

/// The files of a plan, as they are opened.
pub fn inputs(plan: &RunPlan) -> Vec<RawInput> {
    let input = |file: &RawFile| RawInput {
        location: file.key.clone(),
        etag: Some(file.etag.clone()).filter(|etag| !etag.is_empty()),
        size: file.bytes,
        partition_start: file.arrival.map_or(file.modified, |arrival| arrival.start()),
    };
    plan.files.iter().map(input).collect()
}
