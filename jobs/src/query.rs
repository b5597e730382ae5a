//! `etl query`: SQL over curated tables, also as they were.

mod json;
mod output;
mod showable;
mod time_travel;

use std::{collections::BTreeMap, sync::Arc};

use clap::Args;
use contract::TableName;
use engine::{CuratedTable, PlannedQuery};
use futures::TryStreamExt;
use jiff::tz::TimeZone;
use lake::{DataFileEntry, Table};
use plan::tier::Zone;

use self::{
    output::{RowForm, RowWriter},
    time_travel::{TableUse, Version},
};
use crate::{
    archived::{self, Needed},
    error::{Exit, JobError, Kind, Result},
    event_time,
    job::Job,
    open::is_s3,
    suggest::suggest,
};

/// Read curated tables with SQL.
#[derive(Debug, Args)]
#[command(before_help = "\
Examples:
  etl query \"SELECT count(*) FROM curated.telemetry WHERE event_time >= '2025-06-04'\"
  etl query \"SELECT * FROM curated.telemetry LIMIT 10\" --rows csv > rows.csv
  etl query \"SELECT count(*) FROM curated.telemetry\" --at-time 2025-06-04T06:00:00Z --full-scan
  etl query \"SELECT count(*) FROM curated.telemetry FOR VERSION AS OF 4711\" --full-scan")]
pub struct Query {
    /// The statement
    #[arg(allow_hyphen_values = true)]
    sql: String,
    /// Read every table as of this snapshot
    #[arg(long, value_name = "ID", conflicts_with = "at_time")]
    at_snapshot: Option<i64>,
    /// Read every table as it was at this time
    #[arg(long, value_name = "TIME")]
    at_time: Option<String>,
    /// Allow reading a partitioned table without a bound on its partitions
    #[arg(long)]
    full_scan: bool,
    /// Form of the rows; as --output unless said
    #[arg(long, value_enum)]
    rows: Option<RowForm>,
    /// Show at most this many rows as text; 0 for all
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

impl Query {
    /// Runs it.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        job.program.interrupt.stops(self.answer(job)).await??;
        Ok(Exit::Done)
    }

    async fn answer(&self, job: &Job) -> Result<()> {
        let known = job.lake().await?.catalog.list().await?;
        let form = self.rows.unwrap_or(if job.is_json() { RowForm::Json } else { RowForm::Text });
        if let Some(shown) = engine::shown_tables(&self.sql, &known)? {
            let mut writer = RowWriter::new(&job.program.screen, form, shown.schema())?;
            writer.write(&shown)?;
            return writer.finish(false);
        }
        let mut resolved = time_travel::resolve(&self.sql, &known).map_err(JobError::usage)?;
        if self.sql.to_ascii_lowercase().contains("information_schema") {
            let is_used = |table: &TableName| resolved.tables.iter().any(|used| used.registered_as == *table);
            let others: Vec<_> = known.iter().filter(|table| !is_used(table)).cloned().collect();
            let current =
                |table: TableName| TableUse { registered_as: table.clone(), table, version: Version::Current };
            resolved.tables.extend(others.into_iter().map(current));
        }
        let mut tables = Vec::new();
        for used in resolved.tables {
            tables.push(self.open(job, used).await?);
        }
        let session = job.session()?;
        let planned =
            engine::plan_query(&session, &resolved.sql, tables, self.full_scan).await.map_err(|error| match error {
                engine::Error::Unsupported { .. } => {
                    JobError::usage(error.to_string()).with_help("--full-scan reads it all the same")
                }
                engine::Error::NoTable { table } => no_table(&table, &known),
                error => error.into(),
            })?;
        refuse_archived(job, &planned).await?;
        let mut batches = planned.start(&session)?;
        let limit = if form == RowForm::Text && self.limit > 0 { self.limit } else { usize::MAX };
        let mut writer = RowWriter::new(&job.program.screen, form, batches.schema())?;
        let mut is_cut = false;
        while let Some(batch) = batches.try_next().await.map_err(|error| engine::sql_error(&session, "query", error))? {
            let left = limit - writer.rows();
            writer.write(&batch.slice(0, batch.num_rows().min(left)))?;
            if batch.num_rows() > left {
                is_cut = true;
                break;
            }
        }
        writer.finish(is_cut)
    }

    async fn open(&self, job: &Job, used: TableUse) -> Result<(TableName, Arc<CuratedTable>)> {
        let name = &used.table;
        let lake = job.lake().await?;
        let is_current = used.version == Version::Current && self.at_snapshot.is_none() && self.at_time.is_none();
        let table = match is_current {
            true => lake.table_without_history(name).await?,
            false => lake.table(name).await?,
        };
        let table = table.ok_or_else(|| {
            JobError::new(Kind::Failed, format!("table {name} is gone"))
                .with_help("it was there a moment ago: run again")
        })?;
        let snapshot_id = match (&used.version, self.at_snapshot, &self.at_time) {
            (Version::Snapshot(id), ..) => Some(table.snapshot(*id)?.snapshot_id()),
            (Version::Time(time), ..) => Some(at(&table, time)?),
            (Version::Current, Some(id), _) => Some(table.snapshot(id)?.snapshot_id()),
            (Version::Current, None, Some(time)) => Some(at(&table, time)?),
            (Version::Current, None, None) => None,
        };
        Ok((used.registered_as, CuratedTable::open(table, snapshot_id).await?))
    }
}

/// Nothing is shown of a query that would meet an archived file. Only tables whose contract speaks of archives are looked at:
/// a list of their objects is all that it takes.
async fn refuse_archived(job: &Job, planned: &PlannedQuery) -> Result<()> {
    let mut by_table: BTreeMap<&TableName, (&Table, Vec<&DataFileEntry>)> = BTreeMap::new();
    for (table, file) in planned.files() {
        by_table.entry(&table.name).or_insert((table, Vec::new())).1.push(file);
    }
    for (name, (table, files)) in by_table {
        let contract = job.config.tables.get(name).and_then(|config| job.contract(config).ok());
        let Some(contract) = contract.filter(|contract| contract.tiering.archived) else { continue };
        if !is_s3(table.metadata.location()) {
            continue;
        }
        let event_time = contract.event_time.as_deref();
        let field_id = event_time.and_then(|column| table.metadata.current_schema().field_id_by_name(column));
        let needed = files
            .into_iter()
            .map(|file| Needed::curated(file.data_file.file_path(), event_time::bounds(&file.data_file, field_id)));
        let needed = archived::in_archive(table, needed.collect()).await?;
        if let Some(refusal) = job.archived(&name.to_string(), Zone::Curated, &needed).await? {
            return Err(refusal);
        }
    }
    Ok(())
}

/// A table that is not there: the one that was probably meant, or those that there are.
fn no_table(table: &str, known: &[TableName]) -> JobError {
    const NAMES_MAX: usize = 10;
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let bare = known.iter().map(|table| table.name());
    let near = suggest(table, names.iter().map(String::as_str).chain(bare));
    let near = near.and_then(|near| names.iter().find(|name| *name == near || name.ends_with(&format!(".{near}"))));
    let help = match (near, names.as_slice()) {
        (_, []) => "the lake has no tables yet: `etl dedupe` makes them".to_owned(),
        (Some(near), _) => format!("write {near}"),
        (None, names) if names.len() <= NAMES_MAX => format!("there are {}", names.join(", ")),
        (None, names) => {
            format!("there are {}, … : SHOW TABLES has all {}", names[..NAMES_MAX].join(", "), names.len())
        }
    };
    JobError::usage(format!("query: there is no table {table}")).with_help(help)
}

fn at(table: &Table, time: &str) -> Result<i64> {
    let time = plan::parse_time(time, &TimeZone::UTC)?;
    Ok(table.snapshot_as_of(time.as_millisecond())?.snapshot_id())
}
