//! `etl rollback`: an earlier snapshot becomes the current one again, in one commit that deletes nothing. What the ledger says
//! becomes what it said then, so that the next runs take in again what is undone.

use clap::Args;
use contract::TableName;
use jiff::Timestamp;
use lake::{
    Change, ChangeKind, CommitError, CommitOptions, EarlierState, LEDGER_PROPERTY, Lake, Ledger, TOMBSTONES_PROPERTY,
    Table, spec::Snapshot,
};
use plan::{
    Interval, parse_time,
    rollback::{Facts, Rollback, RollbackPlan, RunFacts, SnapshotFacts, decide},
};

use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report, Status},
    staging,
};

/// Plans made again because another writer was first.
const REPLANS_MAX: u32 = 8;

/// Go back to an earlier snapshot of a table.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "\
Examples:
  etl snapshots curated.telemetry                              which snapshots there are
  etl rollback curated.telemetry --to 4711 --dry-run           what would be undone, and what is taken in again
  etl rollback curated.telemetry --to 4711 --yes
  etl rollback curated.telemetry --to 2025-06-04T06:00:00Z     as the table was then",
    after_help = "\
Nothing is deleted: the snapshots after it are kept beside the history until `etl expire` lets them go, and can be read with
FOR VERSION AS OF. The schema stays as it is. The ledger forgets the runs that are undone: `etl dedupe --pending` and --date take
their raw files again, so mend what was wrong with them, or with the contract, first. A branch or tag of a snapshot that would be
undone refuses."
)]
pub struct RollBack {
    /// The table
    pub table: TableName,
    /// The snapshot, by its id or as of a time; a time without a zone is in the table's `timezone`
    #[arg(long, value_name = "SNAPSHOT|TIME")]
    pub to: String,
}

impl RollBack {
    /// Runs it.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let tables = job.tables(std::slice::from_ref(&self.table))?;
        job.each_table(&tables, async |table, report| self.run_table(job, table, report).await).await
    }

    async fn run_table(&self, job: &Job, config: &TableConfig, report: &mut Report) -> Result<()> {
        let lake = job.lake().await?;
        for replans in 0..=REPLANS_MAX {
            let Some((table, plan, state)) = self.plan(job, lake, config, report).await? else { return Ok(()) };
            let change = change(&table, &plan, &state);
            job.program.interrupt.check()?;
            match lake::commit(lake, &table, &change, &job.commit_inputs(), &CommitOptions::default()).await {
                Ok(committed) => {
                    report.status = Status::Committed;
                    report.commit_retries += committed.retries + replans;
                    report.output.snapshot_before = Some(plan.from);
                    report.output.snapshot_after = committed.snapshot_id;
                    report.output.metadata_location = Some(committed.metadata_location);
                    report.plan = Some(Plan::Rollback(RollbackPlan::RollBack(plan)));
                    return Ok(());
                }
                Err(lake::Error::Commit(CommitError::Conflict { retry_plan: true, .. })) if replans < REPLANS_MAX => {
                    tracing::info!(table.name = %table.name, "another writer changed the table: planning again");
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(JobError::new(Kind::Transient, "other writers kept changing the table").with_help("run again"))
    }

    /// The table, what is to be done and the state that it goes back to; `None` when nothing is.
    async fn plan(
        &self,
        job: &Job,
        lake: &Lake,
        config: &TableConfig,
        report: &mut Report,
    ) -> Result<Option<(Table, Rollback, EarlierState)>> {
        report.warnings.clear();
        let step = job.program.progress.step(&config.name.to_string(), "looking at snapshots");
        let Some(table) = job.program.interrupt.stops(lake.table(&config.name)).await?? else {
            report.reason = Some("there is no such table yet".to_owned());
            return Ok(None);
        };
        staging::check_writable(&table)?;
        report.output.snapshot_before = table.metadata.current_snapshot_id();
        report.output.snapshot_after = table.metadata.current_snapshot_id();
        let target = self.target(&table, config)?;
        let state = job.program.interrupt.stops(table.state_at(target)).await??;
        let plan = decide(&facts(&table, target, &state.ledger)?);
        tracing::debug!(table.name = %table.name, "{plan}");
        drop(step);
        if matches!(plan, RollbackPlan::RollBack(_)) {
            report.warnings.extend(warnings(&table, &state));
        }
        let shown = Plan::Rollback(plan.clone());
        if job.only_shows(&shown, report) {
            return Ok(None);
        }
        match plan {
            RollbackPlan::Refused { reasons } => {
                report.plan = Some(shown);
                Err(JobError::new(Kind::Failed, reasons.join("; ")))
            }
            RollbackPlan::Current { snapshot_id } => {
                report.reason = Some(format!("snapshot {snapshot_id} is the current one"));
                Ok(None)
            }
            RollbackPlan::RollBack(plan) => Ok(job.may_destroy(&shown, report).await?.then_some((table, plan, state))),
        }
    }

    fn target(&self, table: &Table, config: &TableConfig) -> Result<i64> {
        if let Ok(snapshot_id) = self.to.trim().parse() {
            return Ok(table.snapshot(snapshot_id)?.snapshot_id());
        }
        let time = parse_time(&self.to, &config.timezone).map_err(|_| {
            JobError::usage(format!("{:?} is no snapshot id and no time", self.to))
                .with_help(format!("`etl snapshots {}` lists the ids; a time is written 2025-06-04T06:00", table.name))
        })?;
        Ok(table.snapshot_as_of(time.as_millisecond())?.snapshot_id())
    }
}

fn facts(table: &Table, target: i64, then: &Ledger) -> Result<Facts> {
    let ledger = table.ledger()?;
    let runs = ledger.runs.iter().filter(|run| ledger.run(&run.run_id, &table.metadata).is_some());
    let runs = runs.map(|run| RunFacts {
        run_id: run.run_id.clone(),
        job: run.job.clone(),
        interval: run.interval_start.zip(run.interval_end).and_then(|(start, end)| Interval::new(start, end).ok()),
    });
    Ok(Facts {
        table: table.name.clone(),
        target,
        head: table.metadata.current_snapshot_id(),
        snapshots: table.metadata.snapshots().map(|snapshot| snapshot_facts(snapshot)).collect(),
        refs: table.refs().into_iter().map(|(name, of)| (name, of.snapshot_id)).collect(),
        runs: runs.collect(),
        runs_then: then.runs.iter().map(|run| run.run_id.clone()).collect(),
    })
}

fn snapshot_facts(snapshot: &Snapshot) -> SnapshotFacts {
    SnapshotFacts {
        snapshot_id: snapshot.snapshot_id(),
        parent_id: snapshot.parent_snapshot_id(),
        committed_at: Timestamp::from_millisecond(snapshot.timestamp_ms()).unwrap_or(Timestamp::UNIX_EPOCH),
        operation: snapshot.summary().operation.as_str().to_owned(),
        run_id: snapshot.summary().additional_properties.get("etl.run-id").cloned(),
    }
}

/// What the state says less of than it did.
fn warnings(table: &Table, state: &EarlierState) -> Option<String> {
    let has_ledger = table.metadata.properties().contains_key(LEDGER_PROPERTY);
    (has_ledger && !state.is_exact).then(|| {
        "the version of the table from then is gone, and with it what its ledger said of raw partitions that were taken again since: \
         those are taken once more"
            .to_owned()
    })
}

fn change(table: &Table, plan: &Rollback, state: &EarlierState) -> Change {
    let mut change = Change::new(table, ChangeKind::MetadataOnly);
    let properties = table.metadata.properties();
    let mut removed_properties = Vec::new();
    if properties.contains_key(LEDGER_PROPERTY) {
        change.properties.insert(LEDGER_PROPERTY.to_owned(), state.ledger.to_json());
    }
    match &state.tombstones {
        Some(tombstones) => _ = change.properties.insert(TOMBSTONES_PROPERTY.to_owned(), tombstones.clone()),
        None => removed_properties.push(TOMBSTONES_PROPERTY.to_owned()),
    }
    change.rollback = Some(lake::Rollback { snapshot_id: plan.to.snapshot_id, removed_properties });
    change
}
