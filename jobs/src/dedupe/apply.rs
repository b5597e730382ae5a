//! Carries a plan out: execute, then commit. When another writer was first and touched the same keys, it is done again
//! from the table's new version.

use std::sync::Arc;

use contract::{Column, Contract, NewColumns};
use engine::{
    TableReader,
    dedupe::{self, Dedupe, Outcome, QuarantineTarget, tombstones},
    raw::{NewColumn, OpenOptions, RawInterval},
};
use lake::{CommitError, CommitOptions, Committed, Conflict, Lake, Staging, Table, discard_staged};
use plan::dedupe::RunPlan;

use crate::{
    config::TableConfig,
    dedupe::{change::Staged, facts},
    error::{JobError, Kind, Result},
    job::Job,
    outcome::{self, describe},
    report::{Inputs, Report, Rows, Status},
    staging,
};

/// Plans made or carried out again because another writer was first.
pub const REPLANS_MAX: u32 = 8;

/// Files with a contradiction that a report names.
const CONTRADICTIONS_SHOWN: usize = 5;

/// One table's run.
pub struct Apply<'a> {
    /// The program and its limits.
    pub job: &'a Job,
    /// The table's section of the configuration.
    pub table: &'a TableConfig,
    /// Its contract.
    pub contract: &'a Contract,
    /// What to take in.
    pub plan: &'a RunPlan,
    /// Its files, open already where the plan could open all of them.
    pub interval: Option<RawInterval>,
    /// What is noted of them when they are opened.
    pub open_options: OpenOptions,
}

/// How carrying a plan out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The report says how.
    Done,
    /// Another run has taken in files of the plan, and without a key they would count twice: another plan is needed.
    InputsTaken,
}

impl Apply<'_> {
    /// Executes and commits, and fills the report in.
    pub async fn run(&self, report: &mut Report) -> Result<Ended> {
        let lake = self.job.lake().await?;
        let files = &self.plan.files;
        report.inputs = Inputs { files: files.len() as u64, bytes: files.iter().map(|file| file.bytes).sum(), rows: 0 };
        for replans in 0..=REPLANS_MAX {
            let table = self.open(lake).await?;
            if let Some(run) =
                table.ledger()?.applied(&self.plan.input_digest, &self.plan.contract_digest, &table.metadata)
            {
                report.status = Status::Unchanged;
                report.reason = Some(format!("run {} has already applied the same files", run.run_id));
                report.rows = Rows::default();
                report.output.snapshot_after = table.metadata.current_snapshot_id();
                return Ok(Ended::Done);
            }
            report.output.snapshot_before = table.metadata.current_snapshot_id();
            let staged = self.execute(lake, &table, report).await?;
            let locations = staged.locations();
            let change = self.change(&table, staged, report);
            match lake::commit(lake, &table, &change, &self.job.commit_inputs(), &CommitOptions::default()).await {
                Ok(committed) => {
                    if committed.already {
                        discard_staged(&lake.storage, &table.name, unreferenced(&committed, locations)).await;
                    }
                    report.commit_retries += committed.retries + replans;
                    outcome::committed(&change, &committed, report);
                    return Ok(Ended::Done);
                }
                Err(error) if matches!(&error, lake::Error::Commit(CommitError::OutcomeUnknown { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    discard_staged(&lake.storage, &table.name, locations).await;
                    match &error {
                        lake::Error::Commit(CommitError::Conflict {
                            conflict: Conflict::InputsTaken { .. }, ..
                        }) => {
                            return Ok(Ended::InputsTaken);
                        }
                        lake::Error::Commit(CommitError::Conflict { retry_plan: true, .. })
                            if replans < REPLANS_MAX =>
                        {
                            tracing::info!(table.name = %table.name, "another writer changed the same keys: merging again");
                        }
                        _ => return Err(error.into()),
                    }
                }
            }
        }
        Err(JobError::new(Kind::Transient, "other writers kept changing the same keys").with_help("run again"))
    }

    async fn open(&self, lake: &Lake) -> Result<Table> {
        match lake.table(&self.contract.table).await? {
            Some(table) => Ok(table),
            None => Ok(lake.create_table(self.contract, &self.job.commit_inputs()).await?),
        }
    }

    async fn execute(&self, lake: &Lake, table: &Table, report: &mut Report) -> Result<Staged> {
        let (session, interrupt) = (self.job.session()?, &self.job.program.interrupt);
        let interval = match &self.interval {
            Some(interval) => interval.clone(),
            None => {
                let inputs = facts::inputs(self.plan);
                interrupt.stops(RawInterval::open(&lake.storage, &inputs, &self.open_options)).await??
            }
        };
        report.warnings.extend(contradictions(&interval.contradictions));
        let added_columns = self.new_columns(&interval, table, report)?;
        let schema_update = lake::evolve(&table.metadata, self.contract, &added_columns).map_err(lake::Error::from)?;
        let schema = match &schema_update {
            Some(update) => Arc::new(update.schema.clone()),
            None => Arc::clone(table.metadata.current_schema()),
        };
        let reader = interrupt.stops(TableReader::with_schema(table, None, Arc::clone(&schema))).await??;
        let reader = reader.with_read_bytes(self.job.session_options().read_bytes());
        let attempt = (self.job.program.ids.random)().simple();
        let staging = Staging::new(&table.metadata, &format!("{}-{attempt}", report.run_id));
        let dedupe = Dedupe {
            session: &session,
            storage: &lake.storage,
            contract: self.contract,
            table: Some(Arc::new(reader)),
            schema: Arc::clone(&schema),
            partition_spec: Arc::clone(table.metadata.default_partition_spec()),
            quarantine: Some(QuarantineTarget {
                storage: lake.storage.clone(),
                location: format!("{}/", self.table.quarantine.trim_end_matches('/')),
                run_id: report.run_id.clone(),
            }),
            writer: staging::writer(self.job, table, self.contract, &schema, &staging),
            delete_file_name: staging::delete_files(table, &schema, &staging),
            seed: (self.job.program.ids.random)().as_u64_pair().1,
            now: self.job.program.now(),
            tombstones: table.metadata.properties().get(tombstones::PROPERTY).cloned(),
            tombstones_next: format!(
                "{}/etl-tombstones-{}.parquet",
                table.metadata_folder(),
                (self.job.program.ids.random)()
            ),
            stop: interrupt.stop(),
        };
        let outcome = dedupe::execute(&dedupe, interval).await;
        report.resources.spill_bytes += session.spilled_bytes();
        match interrupt.named(outcome)? {
            Outcome::GateClosed { batch, reasons } => {
                describe(&batch, report);
                let help = format!("look at the bad rows in {}", self.table.quarantine);
                Err(JobError::new(Kind::Gate, reasons.join("; ")).with_help(help))
            }
            Outcome::Staged { batch, added, added_deletes, removed, referenced, key_scope, tombstones } => {
                describe(&batch, report);
                Ok(Staged { added, added_deletes, removed, referenced, key_scope, tombstones, schema_update })
            }
        }
    }

    /// What becomes of columns that nobody declared.
    fn new_columns(&self, interval: &RawInterval, table: &Table, report: &mut Report) -> Result<Vec<Column>> {
        let found = interval.new_columns(self.contract, Some(table.metadata.current_schema()));
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let names =
            |columns: &[&NewColumn]| columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        let all: Vec<&NewColumn> = found.iter().collect();
        match self.contract.new_columns {
            NewColumns::Evolve => {
                let (typed, untyped): (Vec<&NewColumn>, Vec<&NewColumn>) =
                    all.into_iter().partition(|column| column.column_type.is_some());
                if !untyped.is_empty() {
                    let text =
                        format!("left out columns whose type the table format does not have: {}", names(&untyped));
                    report.warnings.push(text);
                }
                Ok(typed.into_iter().filter_map(NewColumn::column).collect())
            }
            NewColumns::Discard => {
                report.warnings.push(format!("left out columns that the contract does not have: {}", names(&all)));
                Ok(Vec::new())
            }
            NewColumns::Freeze => {
                let message = format!("{} has columns that the contract does not: {}", found[0].location, names(&all));
                let help = format!("add them to {}, or set etl.newColumns", self.table.contract.display());
                Err(JobError::new(Kind::Gate, message).with_help(help))
            }
        }
    }
}

/// Files whose footers contradict themselves, in a few lines.
fn contradictions(found: &[String]) -> Vec<String> {
    let mut lines = found[..found.len().min(CONTRADICTIONS_SHOWN)].to_vec();
    if found.len() > lines.len() {
        lines.push(format!("{} more files have other rows than their footers say", found.len() - lines.len()));
    }
    lines
}

/// Files that were staged for a change which an earlier attempt of the same run had committed already.
fn unreferenced(committed: &Committed, locations: Vec<String>) -> Vec<String> {
    let tombstones = committed.metadata.properties().get(tombstones::PROPERTY);
    // Data files of this attempt carry another random name than those that were committed.
    locations.into_iter().filter(|location| Some(location) != tombstones).collect()
}
