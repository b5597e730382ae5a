//! `etl check`: damage in curated tables. Ends 1 when it finds any.

use clap::Args;
use contract::TableName;
use engine::CuratedTable;
use serde::Serialize;

use crate::{
    config::TableConfig,
    error::{Exit, Result},
    job::{Job, json_line},
};

/// Look for damage in curated tables.
#[derive(Debug, Args)]
#[command(before_help = "\
Examples:
  etl check                              every table of etl.toml
  etl check curated.telemetry --output json

Looks at every kept snapshot: files that are missing or have another size, files that are live twice, sequence numbers
and parents out of order, totals that do not add up; and at the rows: keys that are there more than once.")]
pub struct Check {
    /// Tables; all of etl.toml unless said
    tables: Vec<TableName>,
}

/// What was found in one table.
#[derive(Debug, Serialize)]
struct Checked {
    table: TableName,
    exists: bool,
    findings: Vec<String>,
}

impl Check {
    /// Checks them.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let mut exit = Exit::Done;
        for table in job.tables(&self.tables)? {
            let step = job.program.progress.step(&table.name.to_string(), "checking files and keys");
            let checked = job.program.interrupt.stops(check(job, table)).await??;
            drop(step);
            if !checked.findings.is_empty() {
                exit = Exit::Failed;
            }
            show(job, &checked)?;
        }
        Ok(exit)
    }
}

async fn check(job: &Job, config: &TableConfig) -> Result<Checked> {
    let name = config.name.clone();
    let contract = job.contract(config)?;
    let lake = job.lake().await?;
    let Some(table) = lake.table(&name).await? else {
        return Ok(Checked { table: name, exists: false, findings: Vec::new() });
    };
    let mut findings: Vec<_> = lake::check(&table).await?.iter().map(ToString::to_string).collect();
    // Rows of a table with damaged files cannot be read right: what is damaged is the finding.
    if !contract.key.is_empty() && findings.is_empty() {
        let curated = CuratedTable::open(table, None).await?;
        for duplicate in engine::check_keys(&job.session()?, &curated, &contract.key).await? {
            let key: Vec<_> = duplicate.key.iter().map(|(column, value)| format!("{column} = {value}")).collect();
            findings.push(format!(
                "{} rows have the key {}, in {}",
                duplicate.rows,
                key.join(", "),
                duplicate.files.join(", ")
            ));
        }
    }
    Ok(Checked { table: name, exists: true, findings })
}

fn show(job: &Job, checked: &Checked) -> Result<()> {
    let screen = &job.program.screen;
    if job.is_json() {
        return screen.write(&json_line(checked)?);
    }
    let paint = screen.paint;
    match (checked.exists, checked.findings.len()) {
        (false, _) => screen.line(&format!("{}  not there yet", checked.table)),
        (true, 0) => screen.line(&format!("{}  {}", checked.table, paint.green("no damage"))),
        (true, found) => {
            screen.line(&format!("{}  {}", checked.table, paint.red(&format!("{found} findings"))))?;
            checked.findings.iter().try_for_each(|finding| screen.line(&format!("  {finding}")))
        }
    }
}
