//! `etl expire`: snapshots that nothing keeps go, in one commit, and then the files that only they needed.
//!
//! A process that is killed between the two leaves files that no version refers to: `etl orphans` finds them. A record of
//! unfinished deletions would be one more state that can be lost, or be wrong about a table that has moved on.

mod facts;

use clap::Args;
use contract::TableName;
use jiff::Timestamp;
use lake::{Change, ChangeKind, CommitError, CommitOptions, Committed, Expiry, Lake, Obsolete, Reclaimed, Table};
use plan::{
    OlderThan,
    expire::{ExpirePlan, Request, Verdicts, decide},
    objects::totals,
};

use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result, chain},
    job::Job,
    report::{Plan, Report, Status},
};

/// Plans made again because another writer changed what keeps snapshots.
const REPLANS_MAX: u32 = 8;

/// Let old snapshots go, and delete the files that only they need.
#[derive(Debug, Clone, Default, Args)]
#[command(
    before_help = "\
Examples:
  etl expire --dry-run                                 what would go, and what keeps the rest
  etl expire --yes                                     by the rules of each table; for a schedule
  etl expire curated.telemetry --older-than 7d --retain-last 10
  etl expire curated.telemetry --snapshot-id 4711      this one and no other",
    after_help = "\
A snapshot is kept while it is the current one, the head of a branch, a tag, among the last of a branch, or young. The
table's properties say how many and how young, as in Spark, Trino and Athena: history.expire.min-snapshots-to-keep (1),
history.expire.max-snapshot-age-ms (5 days), history.expire.max-ref-age-ms (for ever); branches and tags may say it for
themselves. gc.enabled=false refuses. What is kept can be read as before. Longer than any query or run that may be
reading a snapshot is how long it should be kept."
)]
pub struct Expire {
    /// Tables; all of etl.toml unless said
    pub tables: Vec<TableName>,
    /// Let snapshots older than this go (7d, 2025-06-04), instead of the table's age; branches with an age of their own keep it
    #[arg(long, value_name = "DURATION|TIME")]
    pub older_than: Option<OlderThan>,
    /// Keep at least this many snapshots of each branch, instead of the table's number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub retain_last: Option<u32>,
    /// Let these snapshots go; and, without another option, no other
    #[arg(long = "snapshot-id", value_name = "ID", value_delimiter = ',')]
    pub snapshot_ids: Vec<i64>,
}

impl Expire {
    /// Runs it table by table.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let tables = job.tables(&self.tables)?;
        if !self.snapshot_ids.is_empty() && tables.len() != 1 {
            return Err(JobError::usage("--snapshot-id needs one table")
                .with_help("etl expire curated.telemetry --snapshot-id 4711"));
        }
        job.each_table(&tables, async |table, report| self.run_table(job, table, report).await).await
    }

    /// Runs it for one table.
    pub async fn run_table(&self, job: &Job, config: &TableConfig, report: &mut Report) -> Result<()> {
        let lake = job.lake().await?;
        for replans in 0..=REPLANS_MAX {
            let Some((table, verdicts, obsolete)) = self.plan(job, lake, config, report).await? else { return Ok(()) };
            let change = change(&table, &verdicts, obsolete);
            job.program.interrupt.check()?;
            match lake::commit(lake, &table, &change, &job.commit_inputs(), &CommitOptions::default()).await {
                Ok(committed) => {
                    report.commit_retries += committed.retries + replans;
                    describe(&verdicts, &committed, report);
                    delete(job, lake, &table, change, report).await;
                    return Ok(());
                }
                Err(lake::Error::Commit(CommitError::Conflict { retry_plan: true, .. })) if replans < REPLANS_MAX => {
                    tracing::info!(table.name = %table.name, "another writer changed what keeps snapshots: planning again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(JobError::new(Kind::Transient, "other writers kept changing refs and properties").with_help("run again"))
    }

    /// The table, what goes of it, and what only that needs; `None` when nothing is to be done.
    async fn plan(
        &self,
        job: &Job,
        lake: &Lake,
        config: &TableConfig,
        report: &mut Report,
    ) -> Result<Option<(Table, Verdicts, Obsolete)>> {
        report.warnings.clear();
        let step = job.program.progress.step(&config.name.to_string(), "looking at snapshots");
        let Some(table) = job.program.interrupt.stops(lake.table(&config.name)).await?? else {
            report.reason = Some("there is no such table yet".to_owned());
            return Ok(None);
        };
        report.output.snapshot_before = table.metadata.current_snapshot_id();
        report.output.snapshot_after = table.metadata.current_snapshot_id();
        let mut plan = decide(&facts::facts(&table, self.request(), job.program.now())?);
        tracing::debug!(table.name = %table.name, "{plan}");
        let mut only_theirs = Obsolete::default();
        if let ExpirePlan::Expire(verdicts) = &mut plan {
            only_theirs = job.program.interrupt.stops(obsolete(&table, verdicts, report)).await??;
            verdicts.price(totals(only_theirs.objects()), &job.prices().await?);
        }
        drop(step);
        let shown = Plan::Expire(plan.clone());
        if job.only_shows(&shown, report) {
            return Ok(None);
        }
        match plan {
            ExpirePlan::Refused { reasons } => {
                report.plan = Some(shown);
                Err(JobError::new(Kind::Failed, reasons.join("; ")))
            }
            ExpirePlan::KeepAll(verdicts) => {
                report.warnings.extend(absent(&verdicts));
                report.reason = Some("every snapshot is kept".to_owned());
                report.snapshots = Some(facts::counts(&verdicts));
                Ok(None)
            }
            ExpirePlan::Expire(verdicts) => {
                report.warnings.extend(absent(&verdicts));
                Ok(job.may_destroy(&shown, report).await?.then_some((table, verdicts, only_theirs)))
            }
        }
    }

    fn request(&self) -> Request {
        Request { older_than: self.older_than, retain_last: self.retain_last, snapshot_ids: self.snapshot_ids.clone() }
    }
}

/// What would go by the table's own rules, without the files that this frees.
pub fn decided(table: &Table, now: Timestamp) -> Result<ExpirePlan> {
    Ok(decide(&facts::facts(table, Request::default(), now)?))
}

fn absent(verdicts: &Verdicts) -> impl Iterator<Item = String> {
    verdicts.absent.iter().map(|id| format!("snapshot {id} is not in the table, or not any more"))
}

/// What only the expired snapshots need. Where that cannot be read for damage, nothing: the snapshots go all the same.
async fn obsolete(table: &Table, verdicts: &Verdicts, report: &mut Report) -> Result<Obsolete> {
    match lake::obsolete(table, &verdicts.expired()).await {
        Ok(obsolete) => Ok(obsolete),
        Err(lake::Error::Table(error)) => {
            report
                .warnings
                .push(format!("no file is deleted, since which are needed is not known: failed to {}", chain(&error)));
            Ok(Obsolete::default())
        }
        Err(error) => Err(error.into()),
    }
}

fn change(table: &Table, verdicts: &Verdicts, obsolete: Obsolete) -> Change {
    let (snapshot_ids, refs) = (verdicts.expired(), verdicts.expired_refs());
    Change { expiry: Some(Expiry { snapshot_ids, refs, obsolete }), ..Change::new(table, ChangeKind::MetadataOnly) }
}

fn describe(verdicts: &Verdicts, committed: &Committed, report: &mut Report) {
    report.status = Status::Committed;
    report.output.snapshot_before = committed.snapshot_before;
    report.output.snapshot_after = committed.snapshot_id;
    report.output.metadata_location = Some(committed.metadata_location.clone());
    report.snapshots = Some(facts::counts(verdicts));
    report.money.clone_from(&verdicts.money);
}

/// The commit stands, whatever happens here.
async fn delete(job: &Job, lake: &Lake, table: &Table, change: Change, report: &mut Report) {
    let obsolete = change.expiry.map(|expiry| expiry.obsolete).unwrap_or_default();
    let all = obsolete.objects().count() as u64;
    let _step = job.program.progress.step(&table.name.to_string(), &format!("deleting {all} files"));
    let reclaimed = job.program.interrupt.stops(lake::reclaim(lake, table, obsolete)).await;
    report.reclaimed(reclaimed.unwrap_or_else(|_| Reclaimed { left: all, ..Reclaimed::default() }));
}
