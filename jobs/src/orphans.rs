//! `etl orphans`: files below a table's location that no version of it refers to, as failed and killed runs leave them.
//!
//! The list comes first and the references after it: a file that is committed in between is then on the list without being
//! taken for an orphan, and never the other way round.

mod facts;

use clap::Args;
use contract::TableName;
use plan::{
    OlderThan,
    orphans::{AGE_DEFAULT, AGE_MIN, FRACTION_MAX_DEFAULT, Found, OrphansPlan, decide},
};

pub use self::facts::Surroundings;
use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report, Status},
};

/// Delete files that no version of a table refers to.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "\
Examples:
  etl orphans --dry-run                           what would go
  etl orphans --yes                               older than 7 days; for a schedule, once a week
  etl orphans curated.telemetry --older-than 3d --max-fraction 0.6",
    after_help = "\
Looks below the table's location only. Kept is what any snapshot, branch, tag or the metadata log refers to, what is young,
hidden (a name that begins with . or _), and what lies in a folder of the raw zone, of quarantines or of run records.
Refused are tables that share a location, a location in which metadata of any other table lies (Iceberg, Delta, Hudi; of a
metadata.json that the table's log does not name the id is read, of 100000 at most), tables whose files lie in another
bucket, gc.enabled=false, an age under 24 hours, and a list that would delete a larger share of the table's files than
--max-fraction. Links on a disk are not followed."
)]
pub struct Orphans {
    /// Tables; all of etl.toml unless said
    pub tables: Vec<TableName>,
    /// Delete only what was written before this (3d, 2025-06-04); at least 24h ago
    #[arg(long, value_name = "DURATION|TIME", default_value_t = OlderThan::Age(AGE_DEFAULT))]
    pub older_than: OlderThan,
    /// Refuse to delete a larger share of the table's files, from 0 to 1; superseded metadata.json files do not count
    #[arg(long, value_name = "SHARE", default_value_t = FRACTION_MAX_DEFAULT, value_parser = share)]
    pub max_fraction: f64,
}

impl Default for Orphans {
    fn default() -> Self {
        Self { tables: Vec::new(), older_than: OlderThan::Age(AGE_DEFAULT), max_fraction: FRACTION_MAX_DEFAULT }
    }
}

impl Orphans {
    /// Runs it table by table.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let tables = job.tables(&self.tables)?;
        let now = job.program.now();
        if self.older_than.cutoff(now) > OlderThan::Age(AGE_MIN).cutoff(now) {
            let message = format!("--older-than {} is younger than {AGE_MIN}", self.older_than);
            return Err(JobError::usage(message).with_help("a run under way may have staged such files"));
        }
        let surroundings = Surroundings::new(job);
        job.each_table(&tables, async |table, report| self.run_table(job, &surroundings, table, report).await).await
    }

    /// Runs it for one table.
    pub async fn run_table(
        &self,
        job: &Job,
        surroundings: &Surroundings<'_>,
        config: &TableConfig,
        report: &mut Report,
    ) -> Result<()> {
        let step = job.program.progress.step(&config.name.to_string(), "listing files, then what the table refers to");
        let facts = job.program.interrupt.stops(surroundings.facts(self, config)).await??;
        let Some(facts) = facts else {
            report.reason = Some("there is no such table yet".to_owned());
            return Ok(());
        };
        drop(step);
        let mut plan = decide(&facts);
        if let OrphansPlan::DeleteOrphans(found) = &mut plan {
            found.price(&job.prices().await?);
        }
        tracing::debug!(table.name = %config.name, "{plan}");
        let shown = Plan::Orphans(plan.clone());
        if job.only_shows(&shown, report) {
            return Ok(());
        }
        match plan {
            OrphansPlan::Refused { reasons, .. } => {
                report.plan = Some(shown);
                Err(JobError::new(Kind::Failed, reasons.join("; ")))
            }
            OrphansPlan::NoOrphans(_) => {
                report.reason = Some(format!("no file older than {} is without a reference", self.older_than));
                Ok(())
            }
            OrphansPlan::DeleteOrphans(found) => {
                if job.may_destroy(&shown, report).await? {
                    delete(job, found, report).await?;
                }
                Ok(())
            }
        }
    }
}

async fn delete(job: &Job, found: Found, report: &mut Report) -> Result<()> {
    let lake = job.lake().await?;
    let what = format!("deleting {} files", found.orphans.len());
    let _step = job.program.progress.step(&found.table.to_string(), &what);
    let objects = found.objects();
    report.kept = found.kept;
    report.money = found.money;
    let reclaimed = job.program.interrupt.stops(lake::delete_objects(&lake.storage, objects)).await?;
    report.status = Status::Deleted;
    report.reclaimed(reclaimed);
    Ok(())
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is no number from 0 to 1"))?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err(format!("{text} is not from 0 to 1")) }
}
