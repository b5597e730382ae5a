//! `etl runs`: what has run, from the tables' ledgers and the records beside the lake.

use std::collections::BTreeMap;

use clap::Args;
use contract::TableName;
use jiff::Timestamp;
use lake::LedgerEntry;
use serde::Serialize;

use crate::{
    error::{Exit, JobError, Kind, Result},
    job::{Job, json_line},
    records,
    report::{Report, Status},
    report_text,
    screen::thousands,
    table_text::align,
};

/// List past runs, or show one.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  etl runs\n  etl runs 0197a3b2        the report of a run; the start of its id is enough\n  etl runs --output json"
)]
pub struct Runs {
    /// The run to show, by its id or the start of it
    id: Option<String>,
    /// List at most this many
    #[arg(short = 'n', long, default_value_t = 20)]
    limit: usize,
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Run {
    run_id: String,
    job: String,
    table: Option<TableName>,
    at: Option<Timestamp>,
    status: Status,
    rows: BTreeMap<String, u64>,
}

impl Runs {
    /// Shows them.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        job.program
            .interrupt
            .stops(async {
                match &self.id {
                    None => self.list(job).await,
                    Some(id) => show(job, id).await,
                }
            })
            .await??;
        Ok(Exit::Done)
    }

    async fn list(&self, job: &Job) -> Result<()> {
        let lake = job.lake().await?;
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        for (table, entry) in ledgers(job).await? {
            runs.insert(entry.run_id.clone(), of_ledger(table, &entry));
        }
        for id in records::list(lake).await?.into_iter().take(self.limit) {
            if !runs.contains_key(&id)
                && let Some(report) = records::read(lake, &id).await?
            {
                runs.insert(id, of_report(report));
            }
        }
        // Ids rise with time, so the newest are the last.
        let runs: Vec<_> = runs.into_values().rev().take(self.limit).collect();
        if job.is_json() {
            return runs.iter().try_for_each(|run| job.program.screen.write(&json_line(run)?));
        }
        if runs.is_empty() {
            return job.program.screen.line("no runs yet: etl dedupe --pending");
        }
        let rows: Vec<_> = runs.iter().map(cells).collect();
        job.program
            .screen
            .write(&align(&["run", "at", "job", "table", "status", "read", "inserted", "updated", "invalid"], &rows))
    }
}

async fn show(job: &Job, id: &str) -> Result<()> {
    let lake = job.lake().await?;
    let ids: Vec<_> = records::list(lake).await?.into_iter().filter(|run| run.starts_with(id)).collect();
    let report = match ids.as_slice() {
        [only] => records::read(lake, only).await?,
        [] => None,
        _ => {
            return Err(JobError::usage(format!("{} runs start with {id}", ids.len())).with_help("give more of the id"));
        }
    };
    let screen = &job.program.screen;
    match report {
        Some(report) if job.is_json() => screen.write(&json_line(&report)?),
        Some(report) => screen.write(&report_text::render(&report, screen.paint)),
        None => {
            let mut entries = ledgers(job).await?;
            entries.retain(|(_, entry)| entry.run_id.starts_with(id));
            let Some((table, entry)) = entries.into_iter().next() else {
                return Err(
                    JobError::new(Kind::Usage, format!("there is no run {id}")).with_help("`etl runs` lists them")
                );
            };
            if job.is_json() {
                return screen.write(&json_line(&entry)?);
            }
            let rows = [cells(&of_ledger(table, &entry))];
            screen.write(&align(
                &["run", "at", "job", "table", "status", "read", "inserted", "updated", "invalid"],
                &rows,
            ))
        }
    }
}

/// Every ledger entry of the configuration's tables.
async fn ledgers(job: &Job) -> Result<Vec<(TableName, LedgerEntry)>> {
    let mut entries = Vec::new();
    for name in job.config.tables.keys() {
        if let Some(table) = job.lake().await?.table(name).await? {
            entries.extend(table.ledger()?.runs.into_iter().map(|entry| (name.clone(), entry)));
        }
    }
    Ok(entries)
}

fn of_ledger(table: TableName, entry: &LedgerEntry) -> Run {
    Run {
        run_id: entry.run_id.clone(),
        job: entry.job.clone(),
        table: Some(table),
        at: entry.committed_at,
        status: Status::Committed,
        rows: entry.rows.clone(),
    }
}

fn of_report(report: Report) -> Run {
    let rows = report.rows;
    Run {
        run_id: report.run_id,
        job: report.job,
        table: report.table,
        at: Some(report.started_at),
        status: report.status,
        rows: [("read", rows.read), ("inserted", rows.inserted), ("updated", rows.updated), ("invalid", rows.invalid)]
            .map(|(name, count)| (name.to_owned(), count))
            .into(),
    }
}

fn cells(run: &Run) -> Vec<String> {
    let count = |name| run.rows.get(name).map_or_else(String::new, |count| thousands(*count));
    vec![
        run.run_id.clone(),
        run.at.map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default(),
        run.job.clone(),
        run.table.as_ref().map(ToString::to_string).unwrap_or_default(),
        run.status.word().to_owned(),
        count("read"),
        count("inserted"),
        count("updated"),
        count("invalid"),
    ]
}
