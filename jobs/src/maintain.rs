//! `etl maintain`: looks at every table, decides which maintenance jobs it needs within a budget, and runs them.
//!
//! The plans of all tables come first, so that the budget goes where it saves most and a person is asked once. What is then
//! carried out is planned again job by job, since each finds the table as the one before has left it.

use std::{collections::BTreeMap, fmt::Write};

use clap::Args;
use contract::{Duration, TableName};
use jiff::Timestamp;
use plan::{
    maintain::{Action, Budget, Facts, Step, TablePlan, Upkeep, decide},
    prices::Dollars,
};

use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report, Status, StepReport},
    report_text,
    screen::{Paint, parse_size},
    upkeep::{Limits, Looked, Upkeeper},
};

/// Do what tables need: compact, expire, orphans, tier; within a budget.
#[derive(Debug, Args)]
#[command(
    before_help = "\
Examples:
  etl maintain --dry-run                        what each table needs, and why
  etl maintain --yes --budget-time 30m          for a schedule: every night
  etl maintain curated.telemetry --budget-dollars 0.50",
    after_help = "\
Each job runs by the rules of its table, as etl compact, etl expire, etl orphans and etl tier without options do. Tables that save most come first.
What does not fit into the budget is left for the next run, and said; so is what a job refuses, which a person should look at.
--budget-time ends no step that has begun, and a compaction begins no new group after it. Dollars are those of requests and retrieval: the machine that does the work is not in them."
)]
pub struct Maintain {
    /// Tables; all of etl.toml unless said
    tables: Vec<TableName>,
    /// Start no other step after this long (30m, 2h)
    #[arg(long, value_name = "DURATION")]
    budget_time: Option<Duration>,
    /// Read and write again at most this much (10GiB)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    budget_bytes: Option<u64>,
    /// Spend at most this much on requests and retrieval (0.50)
    #[arg(long, value_name = "DOLLARS")]
    budget_dollars: Option<Dollars>,
    /// Move objects by tags and lifecycle rules of their buckets, as etl tier --lifecycle does
    #[arg(long)]
    lifecycle: bool,
}

impl Maintain {
    /// Runs it for all tables.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let started = job.program.now();
        let tables = job.tables(&self.tables)?;
        let upkeeper = Upkeeper::new(job, self.lifecycle);
        let mut found = BTreeMap::new();
        for config in &tables {
            found.insert(config.name.clone(), upkeeper.look_at_all(config).await);
            job.program.interrupt.check()?;
        }
        let budget = Budget { time: self.budget_time, bytes: self.budget_bytes, dollars: self.budget_dollars };
        let plans = decide(&facts(&found), budget);
        let place = |config: &&TableConfig| plans.iter().position(|plan| plan.table == config.name);
        let mut order = tables;
        // What could not be looked at comes last: its report says why.
        order.sort_by_key(|config| place(config).unwrap_or(usize::MAX));
        let agreed = agreed(job, &plans, &found).await;
        let run = Run { job, upkeeper, budget, started, found, plans, agreed };
        job.each_table(&order, async |config, report| run.table(config, report).await).await
    }
}

/// What was found out about each table, before anything is decided.
type Found = BTreeMap<TableName, Result<Vec<Looked>>>;

fn facts(found: &Found) -> Vec<Facts> {
    let of = |(table, looked): (&TableName, &Result<Vec<Looked>>)| {
        let outlooks = looked.as_ref().ok()?.iter().map(|looked| looked.outlook.clone()).collect();
        Some(Facts { table: table.clone(), outlooks })
    };
    found.iter().filter_map(of).collect()
}

/// Whether what cannot be taken back may be carried out, asked once for all tables.
async fn agreed(job: &Job, plans: &[TablePlan], found: &Found) -> Result<bool> {
    let asks = |plan: &&TablePlan| plan.running().any(|step| step.job.consequence().is_some());
    let asked: Vec<&TablePlan> = plans.iter().filter(asks).collect();
    if asked.is_empty() || job.program.globals.dry_run {
        return Ok(true);
    }
    let mut shown = String::new();
    for plan in &asked {
        _ = writeln!(shown, "{}", plan.table);
        for step in planned(plan, found.get(&plan.table)) {
            report_text::step(&mut shown, &step, Paint::PLAIN);
        }
    }
    let runs = |job: &Upkeep| plans.iter().any(|plan| plan.running().any(|step| step.job == *job));
    let mut consequences: Vec<_> =
        Upkeep::ALL.iter().filter(|job| runs(job)).filter_map(|job| job.consequence()).collect();
    consequences.dedup();
    job.agrees(&shown, &consequences.join(", and ")).await
}

/// The steps with the plan of each job.
fn planned(plan: &TablePlan, looked: Option<&Result<Vec<Looked>>>) -> Vec<StepReport> {
    let looked = looked.and_then(|looked| looked.as_ref().ok()).map_or(&[][..], Vec::as_slice);
    let of = |step: &Step| {
        let report = looked.iter().find(|looked| looked.outlook.job == step.job).map(|looked| &looked.report);
        StepReport { step: step.clone(), report: report.cloned().map(Box::new) }
    };
    plan.steps.iter().map(of).collect()
}

/// A run after the decision.
struct Run<'a> {
    job: &'a Job,
    upkeeper: Upkeeper<'a>,
    budget: Budget,
    started: Timestamp,
    found: Found,
    plans: Vec<TablePlan>,
    agreed: Result<bool>,
}

impl Run<'_> {
    async fn table(&self, config: &TableConfig, report: &mut Report) -> Result<()> {
        let looked = self.found.get(&config.name);
        if let Some(Err(error)) = looked {
            return Err(error.clone());
        }
        // All tables were looked at before the first of them had its report.
        report.duration_ms = looked.into_iter().flatten().flatten().map(|looked| looked.report.duration_ms).sum();
        let Some(plan) = self.plans.iter().find(|plan| plan.table == config.name) else { return Ok(()) };
        let refused = plan.steps.iter().filter(|step| step.action == Action::Refused);
        report.warnings.extend(refused.map(refuses));
        let is_idle = plan.running().next().is_none();
        if is_idle {
            report.reason = Some("no job has anything to do".to_owned());
            if plan.steps.iter().any(|step| step.action == Action::Later) {
                report.reason = Some("what there is to do does not fit into the budget".to_owned());
            }
        }
        if is_idle || self.job.program.globals.dry_run {
            report.status = if self.job.program.globals.dry_run { Status::Planned } else { Status::Unchanged };
            report.steps = planned(plan, looked);
            return Ok(());
        }
        match &self.agreed {
            Ok(true) => self.carry_out(config, plan, report).await,
            Ok(false) => {
                report.status = Status::Planned;
                report.reason = Some("the plan was not agreed to".to_owned());
                Ok(())
            }
            Err(error) => {
                report.steps = planned(plan, looked);
                Err(error.clone())
            }
        }
    }

    /// A step that fails does not keep the others from being done; the table's report then has the first error.
    async fn carry_out(&self, config: &TableConfig, plan: &TablePlan, report: &mut Report) -> Result<()> {
        let mut failed = None;
        for step in &plan.steps {
            let mut step = StepReport { step: step.clone(), report: None };
            if step.step.action == Action::Run {
                self.job.program.interrupt.check()?;
                if let Some(why) = self.budget.out_of_time(self.elapsed_ms()) {
                    (step.step.action, step.step.why) = (Action::Later, why);
                } else {
                    let Step { bytes_max, dollars_max, .. } = step.step;
                    let limits = Limits { bytes: bytes_max, time: self.time_left(), dollars: dollars_max };
                    let done = self.upkeeper.carry_out(step.step.job, limits, config).await;
                    match done.plan.as_ref().and_then(Plan::refusal) {
                        // What the steps before it have left may be other than what was planned from.
                        Some(why) => {
                            (step.step.action, step.step.why) = (Action::Refused, why);
                            report.warnings.push(refuses(&step.step));
                        }
                        None => failed = failed.or_else(|| done.error.as_ref().map(|error| of_step(&step.step, error))),
                    }
                    take_over(&done, report);
                    step.report = Some(Box::new(done));
                }
            }
            report.steps.push(step);
            if let Some(error) = failed.take_if(|error| matches!(error.kind, Kind::Interrupted | Kind::Terminated)) {
                return Err(error);
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn time_left(&self) -> Option<Duration> {
        let time = self.budget.time?;
        Some(Duration { seconds: time.seconds.saturating_sub(self.elapsed_ms() / 1_000) })
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.job.program.now().duration_since(self.started).as_millis()).unwrap_or(0)
    }
}

/// What is said of a job that refuses: it keeps the others from nothing.
fn refuses(step: &Step) -> String {
    format!("{} refuses, and a person should look: {}", step.job, step.why)
}

/// What a step did is what the run did.
fn take_over(done: &Report, report: &mut Report) {
    match done.status {
        Status::Committed => report.status = Status::Committed,
        Status::Deleted if report.status != Status::Committed => report.status = Status::Deleted,
        Status::Moved if report.status == Status::Unchanged => report.status = Status::Moved,
        _ => {}
    }
    let (output, of_step) = (&mut report.output, &done.output);
    output.snapshot_before = output.snapshot_before.or(of_step.snapshot_before);
    output.snapshot_after = of_step.snapshot_after.or(output.snapshot_after);
    if of_step.metadata_location.is_some() {
        output.metadata_location.clone_from(&of_step.metadata_location);
    }
    output.files_added += of_step.files_added;
    output.files_removed += of_step.files_removed;
    output.delete_files_added += of_step.delete_files_added;
    output.bytes_written += of_step.bytes_written;
    report.commit_retries += done.commit_retries;
    report.warnings.extend(done.warnings.iter().map(|warning| format!("{}: {warning}", done.job)));
}

fn of_step(step: &Step, error: &crate::report::Failure) -> JobError {
    JobError { kind: error.code, message: format!("{}: {}", step.job, error.message), help: error.help.clone() }
}
