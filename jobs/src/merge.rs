//! `etl merge`: a MERGE INTO statement of the user's own, under the contract of the table that it changes.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use clap::{ArgGroup, Args};
use contract::{Contract, TableName};
use engine::{
    CuratedTable, Session, TableReader,
    dedupe::{Outcome, tombstones},
    merge::{self, MergeTables, merge_tables},
};
use lake::{Change, ChangeKind, CommitError, CommitOptions, Lake, StagedFile, Staging, Table, discard_staged};

use crate::{
    config::TableConfig,
    error::{Exit, JobError, Kind, Result, chain},
    job::Job,
    outcome::{self, describe, rows_by_outcome},
    report::{MergePlan, Plan, Report, Status},
    staging,
};

/// Runs of the statement because another writer was first.
const REPLANS_MAX: u32 = 8;

/// Change a curated table with a MERGE INTO of your own.
#[derive(Debug, Args)]
#[command(
    before_help = "\
Examples:
  etl merge \"MERGE INTO curated.telemetry AS t USING (VALUES ('d-17', 'e-1')) AS s (device_id, event_id)
             ON t.device_id = s.device_id AND t.event_id = s.event_id
             WHEN MATCHED THEN DELETE\"
  etl merge --file sql/corrections.sql --dry-run          how it would be carried out
  etl merge --file sql/corrections.sql",
    after_help = "\
The source is a curated table, a query over such tables, or VALUES. ON compares every key column of the contract with it for
equality; INSERT takes the key from there and UPDATE leaves it alone, so that no key gets in twice. What ON says besides narrows
which rows match: a source row whose key is in the table is then left alone, and counts as stale. UPDATE SET * and INSERT *
take every column from the source's column of that name. A value that does not fit its column without loss, and arithmetic
that overflows, fail. Rows that the statement writes keep the contract's rules, or nothing is committed (exit 3). A row that is
written as it was counts as unchanged.",
    group = ArgGroup::new("statement_or_file").required(true).args(["statement", "file"])
)]
pub struct Merge {
    /// The statement
    #[arg(allow_hyphen_values = true)]
    pub statement: Option<String>,
    /// A file with the statement
    #[arg(short, long, value_name = "PATH")]
    pub file: Option<PathBuf>,
}

impl Merge {
    /// Runs it.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let sql = self.sql()?;
        let session = job.session()?;
        let tables = merge_tables(&session, &sql)
            .map_err(|error| JobError::usage(chain(&error)).with_help("etl merge --help has examples"))?;
        let tables = spelled(tables, job).await?;
        let table = job.config.table(&tables.target)?;
        let statement = Statement { job, session, sql, tables };
        job.each_table(&[table], async |table, report| statement.run(table, report).await).await
    }

    fn sql(&self) -> Result<String> {
        match (&self.statement, &self.file) {
            (Some(statement), _) => Ok(statement.clone()),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map_err(|error| JobError::usage(format!("failed to read {}: {error}", file.display()))),
            (None, None) => Err(JobError::usage("give a statement, or a file with one")),
        }
    }
}

/// The tables as the lake spells them, where one name alone differs by case.
async fn spelled(tables: MergeTables, job: &Job) -> Result<MergeTables> {
    let known = job.lake().await?.catalog.list().await?;
    let spelled = |name: TableName| {
        let lower = name.to_string().to_lowercase();
        let alike: Vec<_> = known.iter().filter(|other| other.to_string().to_lowercase() == lower).collect();
        match alike.as_slice() {
            [only] => (*only).clone(),
            _ => name,
        }
    };
    let sources: Vec<_> = tables.sources.into_iter().map(spelled).collect();
    Ok(MergeTables { target: spelled(tables.target), sources })
}

struct Statement<'a> {
    job: &'a Job,
    session: Session,
    sql: String,
    tables: MergeTables,
}

impl Statement<'_> {
    async fn run(&self, config: &TableConfig, report: &mut Report) -> Result<()> {
        let contract = self.job.contract(config)?;
        let (lake, interrupt) = (self.job.lake().await?, &self.job.program.interrupt);
        let step = self.job.program.progress.step(&config.name.to_string(), "merging");
        for replans in 0..=REPLANS_MAX {
            let table = interrupt.stops(lake.table(&config.name)).await??.ok_or_else(|| {
                JobError::new(Kind::Failed, format!("table {} is not there yet", config.name))
                    .with_help("etl dedupe makes it from its contract")
            })?;
            staging::check_writable(&table)?;
            report.output.snapshot_before = table.metadata.current_snapshot_id();
            report.output.snapshot_after = table.metadata.current_snapshot_id();
            let merge = self.merge(&table, &contract, report).await?;
            let sources = interrupt.stops(self.sources(lake)).await??;
            if self.job.program.globals.dry_run {
                let nodes = merge.explain(&self.sql, sources).await?;
                report.status = Status::Planned;
                report.plan = Some(Plan::Merge(MergePlan { nodes: nodes.lines().map(str::to_owned).collect() }));
                return Ok(());
            }
            let outcome = interrupt.named(merge.execute(&self.sql, sources).await);
            report.resources.spill_bytes = self.session.spilled_bytes();
            let outcome = outcome?;
            let Some(change) = self.change(&table, outcome, report)? else { return Ok(()) };
            let staged = change.added.iter().chain(&change.added_deletes);
            let locations: Vec<_> = staged.map(|file| file.data_file.file_path().to_owned()).collect();
            match lake::commit(lake, &table, &change, &self.job.commit_inputs(), &CommitOptions::default()).await {
                Ok(committed) => {
                    report.commit_retries += committed.retries + replans;
                    outcome::committed(&change, &committed, report);
                    drop(step);
                    return Ok(());
                }
                Err(error) if matches!(&error, lake::Error::Commit(CommitError::OutcomeUnknown { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    discard_staged(&lake.storage, &table.name, locations).await;
                    let is_lost = matches!(&error, lake::Error::Commit(CommitError::Conflict { retry_plan: true, .. }));
                    if !is_lost || replans == REPLANS_MAX {
                        return Err(error.into());
                    }
                    tracing::info!(table.name = %table.name, "another writer changed the same keys: merging again");
                }
            }
        }
        Err(JobError::new(Kind::Transient, "other writers kept changing the same keys").with_help("run again"))
    }

    async fn sources(&self, lake: &Lake) -> Result<Vec<(TableName, Arc<CuratedTable>)>> {
        let mut sources = Vec::new();
        for name in &self.tables.sources {
            let table = lake.table(name).await?.ok_or_else(|| {
                JobError::usage(format!("the statement reads {name}, and the catalog has no such table"))
            })?;
            sources.push((name.clone(), CuratedTable::open(table, None).await?));
        }
        Ok(sources)
    }

    async fn merge(&self, table: &Table, contract: &Contract, report: &Report) -> Result<merge::Merge> {
        let (program, schema) = (&self.job.program, table.metadata.current_schema());
        let staging = Staging::new(&table.metadata, &format!("{}-{}", report.run_id, (program.ids.random)().simple()));
        let reader = program.interrupt.stops(TableReader::new(table, None)).await??;
        let reader = reader.with_read_bytes(self.job.session_options().read_bytes());
        Ok(merge::Merge {
            session: self.session.clone(),
            storage: table.storage.clone(),
            contract: contract.clone(),
            table: Arc::new(reader),
            schema: Arc::clone(schema),
            partition_spec: Arc::clone(table.metadata.default_partition_spec()),
            writer: staging::writer(self.job, table, contract, schema, &staging),
            delete_file_name: staging::delete_files(table, schema, &staging),
            seed: (program.ids.random)().as_u64_pair().1,
            stop: program.interrupt.stop(),
        })
    }

    /// The table's next version; `None` when no row changes.
    fn change(&self, table: &Table, outcome: Outcome, report: &mut Report) -> Result<Option<Change>> {
        let (added, added_deletes, removed, referenced, key_scope) = match outcome {
            Outcome::GateClosed { batch, reasons } => {
                describe(&batch, report);
                let help = "change the statement, or the contract, so that every row it writes keeps the rules";
                return Err(JobError::new(Kind::Gate, reasons.join("; ")).with_help(help));
            }
            Outcome::Staged { batch, added, added_deletes, removed, referenced, key_scope, .. } => {
                describe(&batch, report);
                (added, added_deletes, removed, referenced, key_scope)
            }
        };
        if added.is_empty() && added_deletes.is_empty() && removed.is_empty() {
            report.status = Status::Unchanged;
            report.reason = Some("every row is as the statement wants it".to_owned());
            return Ok(None);
        }
        let spec_id = table.metadata.default_partition_spec().spec_id();
        let mut summary = BTreeMap::from([
            ("etl.run-id".to_owned(), report.run_id.clone()),
            ("etl.job".to_owned(), report.job.clone()),
        ]);
        // For the expiry of snapshots: a tombstone file goes with the last of them that names it.
        let tombstones = table.metadata.properties().get(tombstones::PROPERTY);
        summary.extend(tombstones.map(|at| (tombstones::PROPERTY.to_owned(), at.clone())));
        let rows = rows_by_outcome(&report.rows);
        summary.extend(rows.into_iter().map(|(outcome, count)| (format!("etl.rows.{outcome}"), count.to_string())));
        Ok(Some(Change {
            added: added.into_iter().map(|data_file| StagedFile { data_file, spec_id }).collect(),
            added_deletes,
            removed,
            referenced,
            key_scope: Some(key_scope),
            summary,
            ..Change::new(table, ChangeKind::Merge)
        }))
    }
}
