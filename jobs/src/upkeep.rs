//! The maintenance jobs side by side, for the commands that look at all of them: what each would do to a table, and doing it.
//!
//! Beside the command line the only place that names several jobs. Each runs as if it had been typed, with what its table says
//! and no options; so there is one way in which it plans, asks and reports.

use std::collections::HashSet;

use contract::{Contract, Duration};
use jiff::Timestamp;
use lake::{LiveFiles, Table};
use plan::{
    compact::{CompactPlan, ManifestsFacts},
    expire::ExpirePlan,
    maintain::{Outlook, Upkeep, Would},
    prices::Dollars,
};

use crate::{
    compact::{self, Compact},
    config::TableConfig,
    error::Result,
    expire::{self, Expire},
    job::Job,
    machine,
    orphans::{Orphans, Surroundings},
    report::{Plan, Report},
    tier::Tier,
};

/// The jobs, and what they share in one run.
pub struct Upkeeper<'a> {
    job: &'a Job,
    surroundings: Surroundings<'a>,
    tier: Tier,
}

/// A job's plan in short, and its report of a dry run.
pub struct Looked {
    /// In short.
    pub outlook: Outlook,
    /// With the whole plan.
    pub report: Report,
}

/// How far a job that can stop half-way goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Bytes that are written again.
    pub bytes: Option<u64>,
    /// After this long nothing new is begun.
    pub time: Option<Duration>,
    /// What moves of objects may cost.
    pub dollars: Option<Dollars>,
}

/// What `etl expire` would let go, without the files that this frees: from the table's metadata alone.
pub fn expiry(table: &Table, now: Timestamp) -> Result<ExpirePlan> {
    expire::decided(table, now)
}

/// What `etl compact` would write again: from the live files and their manifests alone, and those that are known to be archived.
pub fn compaction(
    table: &Table,
    live: LiveFiles,
    manifests: ManifestsFacts,
    contract: &Contract,
    archived: &HashSet<&str>,
    now: Timestamp,
) -> CompactPlan {
    compact::decided(table, live, manifests, contract, archived, now)
}

impl<'a> Upkeeper<'a> {
    /// Does nothing yet. Objects move as `etl tier` moves them, with `--lifecycle` or without it.
    pub fn new(job: &'a Job, lifecycle: bool) -> Self {
        let tier = Tier { lifecycle, ..Tier::default() };
        Self { job, surroundings: Surroundings::new(job), tier }
    }

    /// Why `etl tier` does not look at a table's objects; `None` where it does.
    pub async fn not_tiered(&self, config: &TableConfig) -> Result<Option<String>> {
        self.tier.nothing(self.job, config).await
    }

    /// What each job would do to a table.
    pub async fn look_at_all(&self, config: &TableConfig) -> Result<Vec<Looked>> {
        let mut all = Vec::new();
        for upkeep in Upkeep::ALL {
            all.push(self.look(upkeep, config).await?);
        }
        Ok(all)
    }

    /// What a job would do to a table.
    pub async fn look(&self, upkeep: Upkeep, config: &TableConfig) -> Result<Looked> {
        let mut program = self.job.program.clone();
        program.globals.dry_run = true;
        let job = self.job.with_program(program);
        let mut report = job.program.report(upkeep.word(), Some(config.name.clone()));
        let before = machine::used();
        self.run_as(&job, upkeep, Limits::default(), config, &mut report).await?;
        report.end(job.program.now(), before, machine::used());
        let outlook = match &report.plan {
            Some(Plan::Compact(plan)) => Outlook::of_compact(plan, &job.prices().await?),
            Some(Plan::Expire(plan)) => Outlook::of_expire(plan),
            Some(Plan::Orphans(plan)) => Outlook::of_orphans(plan),
            Some(Plan::Tier(plan)) => Outlook::of_tier(plan),
            _ => {
                let why = report.reason.clone().unwrap_or_else(|| "it has no plan".to_owned());
                Outlook { job: upkeep, would: Would::Nothing { why } }
            }
        };
        Ok(Looked { outlook, report })
    }

    /// Carries a job out that was agreed to: it plans again, from the table as it is by now. Its report says how it went, also
    /// when it failed.
    pub async fn carry_out(&self, upkeep: Upkeep, limits: Limits, config: &TableConfig) -> Report {
        let mut program = self.job.program.clone();
        (program.globals.dry_run, program.globals.yes) = (false, true);
        let job = self.job.with_program(program);
        let mut report = job.program.report(upkeep.word(), Some(config.name.clone()));
        let before = machine::used();
        if let Err(error) = self.run_as(&job, upkeep, limits, config, &mut report).await {
            report.fail(&error);
        }
        report.end(job.program.now(), before, machine::used());
        report
    }

    async fn run_as(
        &self,
        job: &Job,
        upkeep: Upkeep,
        limits: Limits,
        config: &TableConfig,
        report: &mut Report,
    ) -> Result<()> {
        // Boxed: the steps of all jobs, one inside the other, are more than a thread's stack may take.
        match upkeep {
            Upkeep::Compact => {
                let compact = Compact { max_bytes: limits.bytes, max_time: limits.time, ..Compact::default() };
                Box::pin(compact.run_table(job, config, report)).await
            }
            Upkeep::Expire => Box::pin(Expire::default().run_table(job, config, report)).await,
            Upkeep::Orphans => Box::pin(Orphans::default().run_table(job, &self.surroundings, config, report)).await,
            Upkeep::Tier => match self.not_tiered(config).await? {
                Some(why) => {
                    report.reason = Some(why);
                    Ok(())
                }
                None => {
                    let tier = Tier { max_dollars: limits.dollars, ..self.tier.clone() };
                    Box::pin(tier.run_table(job, config, report)).await
                }
            },
        }
    }
}
