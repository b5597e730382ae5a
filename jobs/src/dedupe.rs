//! `etl dedupe`, the main job: a raw interval is judged by its table's contract, bad rows go to quarantine, duplicates
//! go, and the rest is merged into the curated table.

mod apply;
mod change;
mod facts;
mod listing;

use std::collections::HashSet;

use clap::{ArgGroup, Args};
use contract::{Contract, TableName};
use jiff::civil::Date;
use plan::{
    dedupe::{DedupePlan, Facts, Refusal, RunPlan, decide},
    tier::Zone,
};

use self::{
    apply::{Apply, Ended, REPLANS_MAX},
    facts::{Gathered, Source},
};
use crate::{
    archived::{self, Needed},
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report, Rows, Status},
};

/// Merge a raw interval into curated tables: validate, dedupe, MERGE.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "\
Examples:
  etl dedupe --date 2025-06-04                            the raw files that arrived that day, for every table
  etl dedupe curated.telemetry --start 2025-06-04T06:00 --end 2025-06-04T12:00
  etl dedupe --pending                                    what no run has taken yet
  etl dedupe --date 2025-06-04 --dry-run                  show the plan and do nothing
  etl dedupe curated.telemetry --replay repaired/         put repaired rows through the same path",
    after_help = "\
Dates and times without a zone are in the table's `timezone`. Any run may be repeated: what is applied stays as it is.
Rows that break the contract lie in the table's quarantine with their reasons, beside their original columns; --replay
takes such files again, repaired or after the contract has changed.",
    group = ArgGroup::new("what").required(true).args(["date", "start", "pending", "replay"])
)]
pub struct Dedupe {
    /// Tables; all of etl.toml unless said
    pub tables: Vec<TableName>,
    /// Raw files that arrived on this day
    #[arg(long, value_name = "DATE")]
    pub date: Option<Date>,
    /// Raw files that arrived from this time on
    #[arg(long, value_name = "TIME", requires = "end")]
    pub start: Option<String>,
    /// Raw files that arrived before this time
    #[arg(long, value_name = "TIME", requires = "start", conflicts_with_all = ["date", "pending", "replay"])]
    pub end: Option<String>,
    /// Raw files that no run has taken, however late or early they are
    #[arg(long)]
    pub pending: bool,
    /// Parquet files of this folder, instead of the raw zone's
    #[arg(long, value_name = "FOLDER")]
    pub replay: Option<String>,
}

impl Dedupe {
    /// Runs it table by table. One that fails does not stop the others; the exit code is the worst of all.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let tables = job.tables(&self.tables)?;
        if self.replay.is_some() && tables.len() != 1 {
            return Err(
                JobError::usage("--replay needs one table").with_help("etl dedupe curated.telemetry --replay FOLDER")
            );
        }
        job.each_table(&tables, async |table, report| self.run_table(job, table, report).await).await
    }

    async fn run_table(&self, job: &Job, table: &TableConfig, report: &mut Report) -> Result<()> {
        let contract = job.contract(table)?;
        let source = Source::new(self, job, table, &contract)?;
        for _ in 0..=REPLANS_MAX {
            if self.plan_and_apply(job, table, &contract, &source, report).await? == Ended::Done {
                return Ok(());
            }
            tracing::info!(table.name = %table.name, "another run took in the same files: planning again");
        }
        Err(JobError::new(Kind::Transient, "other runs kept taking in the same files").with_help("run again"))
    }

    async fn plan_and_apply(
        &self,
        job: &Job,
        table: &TableConfig,
        contract: &Contract,
        source: &Source<'_>,
        report: &mut Report,
    ) -> Result<Ended> {
        let step = job.program.progress.step(&table.name.to_string(), "listing raw files");
        let Gathered { facts, archived, warnings, interval } = job.program.interrupt.stops(source.facts()).await??;
        drop(step);
        let plan = decide(&facts);
        tracing::debug!(table.name = %table.name, "{plan}");
        report.warnings = warnings;
        report.interval = source.interval();
        if let DedupePlan::Run(plan) = &plan {
            report.warnings.extend(plan.absent_columns.iter().map(ToString::to_string));
            refuse_archived(job, plan, &archived).await?;
        }
        if job.program.globals.dry_run {
            report.status = Status::Planned;
            report.reason = (!matches!(plan, DedupePlan::Run(_))).then(|| reason(&plan));
            report.plan = Some(Plan::Dedupe(plan));
            return Ok(Ended::Done);
        }
        match plan {
            DedupePlan::Nothing { .. } | DedupePlan::AlreadyApplied { .. } => {
                report.reason = Some(reason(&plan));
                report.rows = Rows::default();
                Ok(Ended::Done)
            }
            DedupePlan::Refused { refusal, reasons } => {
                let kind = match refusal {
                    Refusal::TooManyFiles | Refusal::CountsTwice => Kind::Failed,
                    Refusal::UnknownColumns | Refusal::UnknownSource => Kind::Gate,
                };
                Err(JobError::new(kind, reasons.join("; ")))
            }
            DedupePlan::Run(plan) => {
                report.interval = plan.interval;
                let what = format!("merging {} raw files", plan.files.len());
                let _step = job.program.progress.step(&table.name.to_string(), &what);
                let open_options = source.open_options();
                match (Apply { job, table, contract, plan: &plan, interval, open_options }).run(report).await {
                    Err(error) if error.kind == Kind::Archived => Err(explained(job, &facts, &plan, error).await),
                    ended => ended,
                }
            }
        }
    }
}

/// Raw files that the run would read and that must be restored first.
async fn refuse_archived(job: &Job, plan: &RunPlan, archived: &HashSet<String>) -> Result<()> {
    let needed = plan.files.iter().filter(|file| archived.contains(&file.key));
    let needed: Vec<_> = needed.map(|file| Needed { location: file.key.clone(), span: file.arrival }).collect();
    if needed.is_empty() {
        return Ok(());
    }
    match job.archived(&plan.table.to_string(), Zone::Raw, &needed).await? {
        Some(refusal) => Err(refusal),
        // They have come back since their footers were asked for.
        None => Err(JobError::new(Kind::Transient, "raw files were restored just now").with_help("run again")),
    }
}

/// A merge met an archived file of the table: the error says which of those that it may need are. Nothing was staged.
async fn explained(job: &Job, facts: &Facts, plan: &RunPlan, error: JobError) -> JobError {
    let found = async {
        let Some(table) = job.lake().await?.table(&plan.table).await? else { return Ok(None) };
        let may_need: HashSet<&str> = plan.may_rewrite.iter().map(|file| file.path.as_str()).collect();
        let files = facts.target_files.iter().filter(|file| may_need.contains(file.path.as_str()));
        let may_need = files.map(|file| Needed::curated(&file.path, file.event_time)).collect();
        let needed = archived::in_archive(&table, may_need).await?;
        job.archived(&plan.table.to_string(), Zone::Curated, &needed).await
    };
    let found: Result<Option<JobError>> = found.await;
    found.ok().flatten().unwrap_or(error)
}

/// Why a plan does nothing.
fn reason(plan: &DedupePlan) -> String {
    plan.to_string().trim_start_matches("nothing to do: ").to_owned()
}
