//! `etl tier`: objects that are old go to colder storage classes, as their contract says.
//!
//! Two ways carry out one plan: each object is copied onto itself, or gets a tag that a lifecycle rule of its bucket
//! follows. Neither changes what a table says; an object keeps its bytes and its `ETag`, and a run that was stopped is done by
//! the next one.

mod apply;
mod facts;
mod restore;

use clap::{Args, Subcommand, ValueEnum};
use contract::{Contract, TableName};
use plan::{
    prices::Dollars,
    tier::{TierPlan, Way, Zone, decide},
};

use self::{facts::Places, restore::RestoreArgs};
use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report},
};

/// Why a table's objects stay where they were written.
const NO_RULES: &str = "its contract has no etl.tier.raw and no etl.tier.curated";

/// Move old objects to colder storage classes, or bring archived ones back.
#[derive(Debug, Clone, Default, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    before_help = "\
Examples:
  etl tier --dry-run                                   what would move, what it costs and saves, and why the rest stays
  etl tier --yes                                       by the contracts' rules; for a schedule
  etl tier curated.telemetry --zone raw --lifecycle    let lifecycle rules of the bucket do it
  etl tier restore curated.telemetry --date 2025-01-15 --wait",
    after_help = "\
A contract says it with etl.tier.raw and etl.tier.curated: {30d: STANDARD_IA, 90d: GLACIER}. Nothing is archived that a
run or a query still needs: raw files that are not in the table, what --pending looks at again, curated files unless the
contract says etl.tier.archived, and whatever etl.tier.hot and etl.tier.hold keep. Nothing moves that would not pay.
A copy makes an object younger; --lifecycle changes nothing but its class, and takes a day or two."
)]
pub struct Tier {
    /// Bring archived objects back
    #[command(subcommand)]
    pub command: Option<TierCommand>,
    /// Tables; all of etl.toml unless said
    pub tables: Vec<TableName>,
    /// Objects of one zone only
    #[arg(long, value_enum)]
    pub zone: Option<ZoneWord>,
    /// Tag objects and let lifecycle rules of their buckets move them, instead of copying each onto itself
    #[arg(long)]
    pub lifecycle: bool,
    /// Raw partitions that are older than the ledger remembers are in the table: they may be archived
    #[arg(long)]
    pub forgotten: bool,
    /// Pay at most this much for the moves of one table: those that save most for their cost come first (0.50)
    #[arg(long, value_name = "DOLLARS")]
    pub max_dollars: Option<Dollars>,
}

/// What `etl tier` does beside moving objects to colder classes.
#[derive(Debug, Clone, Subcommand)]
pub enum TierCommand {
    /// Bring archived objects of an interval back for some days
    Restore(RestoreArgs),
}

/// A zone, as the command line has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ZoneWord {
    /// As they arrived.
    Raw,
    /// The table's own.
    Curated,
}

impl ZoneWord {
    fn zones(word: Option<Self>) -> &'static [Zone] {
        match word {
            None => &[Zone::Raw, Zone::Curated],
            Some(Self::Raw) => &[Zone::Raw],
            Some(Self::Curated) => &[Zone::Curated],
        }
    }
}

impl Tier {
    /// Runs it table by table.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        if let Some(TierCommand::Restore(restore)) = &self.command {
            return restore.run(job).await;
        }
        let tables = job.tables(&self.tables)?;
        job.each_table(&tables, async |table, report| self.run_table(job, table, report).await).await
    }

    /// Why there is nothing to look at in a table, from its contract and location alone; `None` where there is.
    pub async fn nothing(&self, job: &Job, config: &TableConfig) -> Result<Option<String>> {
        if self.has_no_rules(&job.contract(config)?) {
            return Ok(Some(NO_RULES.to_owned()));
        }
        let places = Places::of(job, config, ZoneWord::zones(self.zone)).await?;
        Ok(places.is_none().then(|| "it lies in a folder, and storage classes are S3's".to_owned()))
    }

    /// Runs it for one table.
    pub async fn run_table(&self, job: &Job, config: &TableConfig, report: &mut Report) -> Result<()> {
        let contract = job.contract(config)?;
        let places = Places::on_s3(job, config, ZoneWord::zones(self.zone)).await?;
        if self.has_no_rules(&contract) && !self.lifecycle {
            report.reason = Some(NO_RULES.to_owned());
            return Ok(());
        }
        let step = job.program.progress.step(&config.name.to_string(), "listing objects and their classes");
        let facts = job.program.interrupt.stops(self.facts(&places, &contract)).await??;
        drop(step);
        let plan = decide(&facts);
        tracing::debug!(table.name = %config.name, "{plan}");
        let shown = Plan::Tier(plan.clone());
        if job.only_shows(&shown, report) {
            return Ok(());
        }
        match plan {
            TierPlan::Refused { reasons } => {
                report.plan = Some(shown);
                Err(JobError::new(Kind::Failed, reasons.join("; ")))
            }
            TierPlan::NoTransitions(tiers) => {
                report.reason = Some(tiers.idle().to_owned());
                report.kept = tiers.kept;
                Ok(())
            }
            TierPlan::Transitions(tiers) => match job.may_destroy(&shown, report).await? {
                true => apply::apply(job, tiers, report).await,
                false => Ok(()),
            },
        }
    }

    fn has_no_rules(&self, contract: &Contract) -> bool {
        let rules = |zone: &Zone| match zone {
            Zone::Raw => &contract.tiering.raw,
            Zone::Curated => &contract.tiering.curated,
        };
        ZoneWord::zones(self.zone).iter().all(|zone| rules(zone).is_empty())
    }

    fn way(&self) -> Way {
        if self.lifecycle { Way::Lifecycle } else { Way::Copy }
    }
}
