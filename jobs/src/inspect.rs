//! `etl inspect`: a table at a glance, from its metadata; with `--storage` also from a list of its objects.

mod facts;
mod text;

use clap::Args;
use contract::TableName;
use plan::inspect::{PARTITIONS_SHOWN, judge};

use crate::{
    error::{Exit, Result},
    job::{Job, json_line},
    upkeep::Upkeeper,
};

/// Show the health of tables: sizes, small files, deletes, skew, cost, and what maintenance would change.
#[derive(Debug, Args)]
#[command(
    before_help = "\
Examples:
  etl inspect curated.telemetry               from the table's metadata: cheap and fast
  etl inspect curated.telemetry --storage     also lists its objects: storage classes, files that nothing refers to
  etl inspect --output json                   every table of etl.toml, one document a line",
    after_help = "\
Reads metadata.json, manifest lists and manifests: no data. Without --storage the cost is that of what the metadata names, as if
all of it were in S3 Standard. Changes nothing; ends 0 whatever it finds: etl check looks for damage."
)]
pub struct Inspect {
    /// Tables; all of etl.toml unless said
    tables: Vec<TableName>,
    /// List the table's objects too, with their storage classes: a request for 1,000 of them, for each job that looks at them
    #[arg(long)]
    storage: bool,
    /// List the largest N partitions
    #[arg(long, value_name = "N", default_value_t = PARTITIONS_SHOWN)]
    partitions: usize,
}

impl Inspect {
    /// Shows them.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let upkeeper = Upkeeper::new(job, false);
        for config in job.tables(&self.tables)? {
            let step = job.program.progress.step(&config.name.to_string(), "reading manifests");
            let facts = job.program.interrupt.stops(facts::facts(self, job, &upkeeper, config)).await??;
            drop(step);
            let screen = &job.program.screen;
            let Some(facts) = facts else {
                if !job.is_json() {
                    screen.line(&format!("{}  not there yet", config.name))?;
                }
                continue;
            };
            let health = judge(&facts);
            match job.is_json() {
                true => screen.write(&json_line(&health)?)?,
                false => screen.write(&text::render(&health, screen.paint))?,
            }
        }
        Ok(Exit::Done)
    }
}
