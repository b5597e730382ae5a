//! Carries a plan out: execute, then commit. When another writer was first and touched the same keys, it is done again
//! from the table's new version.

use std::{collections::BTreeMap, sync::Arc};

use contract::{Column, Contract, NewColumns};
use engine::{
    TableReader, TableWriterOptions,
    dedupe::{self, Dedupe, Outcome, QuarantineTarget, tombstones},
    raw::{NewColumn, RawInput, RawInterval},
};
use lake::{
    Change, ChangeKind, CommitError, CommitOptions, Committed, Lake, LedgerEntry, Removal, SchemaUpdate, StagedFile,
    Staging, Table, discard_staged, spec,
};
use plan::dedupe::RunPlan;

use crate::{
    config::TableConfig,
    dedupe::outcome::{describe, rows_by_outcome},
    error::{JobError, Kind, Result},
    job::Job,
    report::{Inputs, Report, Rows, Status},
};

/// Plans made again because another writer was first.
const REPLANS_MAX: u32 = 8;

/// Files that may be open for writing at once.
const OPEN_FILES_MAX: usize = 512;

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
}

/// What execution left to be committed.
struct Staged {
    added: Vec<spec::DataFile>,
    removed: Vec<Removal>,
    key_scope: lake::KeyScope,
    tombstones: Option<String>,
    schema_update: Option<SchemaUpdate>,
}

impl Staged {
    fn locations(&self) -> Vec<String> {
        let files = self.added.iter().map(|file| file.file_path().to_owned());
        files.chain(self.tombstones.clone()).collect()
    }
}

impl Apply<'_> {
    /// Executes and commits, and fills the report in.
    pub async fn run(&self, report: &mut Report) -> Result<()> {
        let lake = self.job.lake().await?;
        let inputs = self.inputs();
        report.inputs =
            Inputs { files: inputs.len() as u64, bytes: inputs.iter().map(|input| input.size).sum(), rows: 0 };
        for replans in 0..=REPLANS_MAX {
            let table = self.open(lake).await?;
            if let Some(run) =
                table.ledger()?.applied(&self.plan.input_digest, &self.plan.contract_digest, &table.metadata)
            {
                report.status = Status::Unchanged;
                report.reason = Some(format!("run {} has already applied the same files", run.run_id));
                report.rows = Rows::default();
                report.output.snapshot_after = table.metadata.current_snapshot_id();
                return Ok(());
            }
            report.output.snapshot_before = table.metadata.current_snapshot_id();
            let staged = self.job.program.interrupt.stops(self.execute(lake, &table, &inputs, report)).await??;
            let locations = staged.locations();
            let change = self.change(&table, staged, report);
            match lake::commit(lake, &table, &change, &self.job.commit_inputs(), &CommitOptions::default()).await {
                Ok(committed) => {
                    if committed.already {
                        discard_staged(&lake.storage, &table.name, unreferenced(&committed, locations)).await;
                    }
                    report.commit_retries += committed.retries + replans;
                    self.committed(&change, &committed, report);
                    return Ok(());
                }
                Err(error) if matches!(&error, lake::Error::Commit(CommitError::OutcomeUnknown { .. })) => {
                    return Err(error.into());
                }
                Err(error) => {
                    discard_staged(&lake.storage, &table.name, locations).await;
                    let again = matches!(&error, lake::Error::Commit(CommitError::Conflict { retry_plan: true, .. }));
                    if !again || replans == REPLANS_MAX {
                        return Err(error.into());
                    }
                    tracing::info!(table.name = %table.name, "another writer changed the same keys: merging again");
                }
            }
        }
        Err(JobError::new(Kind::Transient, "other writers kept changing the same keys").with_help("run again"))
    }

    fn inputs(&self) -> Vec<RawInput> {
        let input = |file: &plan::dedupe::RawFile| RawInput {
            location: file.key.clone(),
            etag: Some(file.etag.clone()).filter(|etag| !etag.is_empty()),
            size: file.bytes,
            partition_start: file.arrival.map_or(file.modified, |arrival| arrival.start()),
        };
        self.plan.files.iter().map(input).collect()
    }

    async fn open(&self, lake: &Lake) -> Result<Table> {
        match lake.table(&self.contract.table).await? {
            Some(table) => Ok(table),
            None => Ok(lake.create_table(self.contract, &self.job.commit_inputs()).await?),
        }
    }

    async fn execute(&self, lake: &Lake, table: &Table, inputs: &[RawInput], report: &mut Report) -> Result<Staged> {
        let session = self.job.session()?;
        let interval = RawInterval::open(&lake.storage, inputs).await?;
        let added_columns = self.new_columns(&interval, table, report)?;
        let schema_update = lake::evolve(&table.metadata, self.contract, &added_columns).map_err(lake::Error::from)?;
        let schema = match &schema_update {
            Some(update) => Arc::new(update.schema.clone()),
            None => Arc::clone(table.metadata.current_schema()),
        };
        let reader = TableReader::with_schema(table, None, Arc::clone(&schema)).await?;
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
            writer: self.writer(lake, table, &schema, &report.run_id),
            seed: (self.job.program.ids.random)().as_u64_pair().1,
            now: self.job.program.now(),
            tombstones: table.metadata.properties().get(tombstones::PROPERTY).cloned(),
            tombstones_next: format!(
                "{}/metadata/etl-tombstones-{}.parquet",
                table.metadata.location(),
                (self.job.program.ids.random)()
            ),
        };
        match dedupe::execute(&dedupe, interval).await? {
            Outcome::GateClosed { batch, reasons } => {
                describe(&batch, report);
                let help = format!("look at the bad rows in {}", self.table.quarantine);
                Err(JobError::new(Kind::Gate, reasons.join("; ")).with_help(help))
            }
            Outcome::Staged { batch, added, removed, key_scope, tombstones } => {
                describe(&batch, report);
                Ok(Staged { added, removed, key_scope, tombstones, schema_update })
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

    fn writer(&self, lake: &Lake, table: &Table, schema: &spec::SchemaRef, run_id: &str) -> TableWriterOptions {
        let options = self.job.session_options();
        let spec = Arc::clone(table.metadata.default_partition_spec());
        let staging = Staging::new(&table.metadata, &format!("{run_id}-{}", (self.job.program.ids.random)().simple()));
        let (naming_spec, naming_schema) = (Arc::clone(&spec), Arc::clone(schema));
        let file_name = move |partition: &spec::Struct, n: u64| {
            let path = lake::partition_path(&naming_spec, &naming_schema, partition)
                .map_err(|source| engine::Error::compute("failed to name a file", source))?;
            Ok(staging.data_path(&path, usize::try_from(n).unwrap_or(usize::MAX)))
        };
        let order = table.metadata.default_sort_order();
        TableWriterOptions {
            storage: lake.storage.clone(),
            schema: Arc::clone(schema),
            spec,
            sort_order: (!order.is_unsorted()).then(|| Arc::clone(order)),
            key_field_ids: self.contract.key.iter().filter_map(|name| schema.field_id_by_name(name)).collect(),
            file_name: Arc::new(file_name),
            target_file_bytes: self.contract.target_file_bytes,
            memory_bytes: options.memory_limit_bytes / 4,
            threads: options.threads,
            open_files_max: OPEN_FILES_MAX,
            zstd_level: None,
            properties: table.metadata.properties().clone(),
        }
    }

    fn change(&self, table: &Table, staged: Staged, report: &Report) -> Change {
        let kind = match (staged.added.is_empty() && staged.removed.is_empty(), self.contract.key.is_empty()) {
            (true, _) => ChangeKind::MetadataOnly,
            (false, true) => ChangeKind::Append,
            (false, false) => ChangeKind::Merge,
        };
        let spec_id = table.metadata.default_partition_spec().spec_id();
        let mut summary = BTreeMap::from([
            ("etl.run-id".to_owned(), report.run_id.clone()),
            ("etl.job".to_owned(), report.job.clone()),
            ("etl.input-digest".to_owned(), self.plan.input_digest.clone()),
        ]);
        if let Some(interval) = &self.plan.interval {
            summary.insert("etl.interval".to_owned(), interval.to_string());
        }
        let rows = rows_by_outcome(&report.rows);
        summary.extend(rows.iter().map(|(outcome, count)| (format!("etl.rows.{outcome}"), count.to_string())));
        Change {
            table: table.name.clone(),
            base_snapshot_id: table.metadata.current_snapshot_id(),
            kind,
            added: staged.added.into_iter().map(|data_file| StagedFile { data_file, spec_id }).collect(),
            added_deletes: Vec::new(),
            removed: staged.removed,
            referenced: Vec::new(),
            key_scope: (kind == ChangeKind::Merge).then_some(staged.key_scope),
            schema_update: staged.schema_update,
            ledger_entry: Some(self.ledger_entry(report, rows)),
            properties: staged.tombstones.map(|at| (tombstones::PROPERTY.to_owned(), at)).into_iter().collect(),
            summary,
        }
    }

    fn ledger_entry(&self, report: &Report, rows: BTreeMap<String, u64>) -> LedgerEntry {
        LedgerEntry {
            run_id: report.run_id.clone(),
            job: report.job.clone(),
            interval_start: self.plan.interval.as_ref().map(|interval| interval.start()),
            interval_end: self.plan.interval.as_ref().map(|interval| interval.end()),
            input_digest: self.plan.input_digest.clone(),
            contract_digest: self.plan.contract_digest.clone(),
            snapshot_id: None,
            committed_at: None,
            rows,
            partitions: self.plan.marks.iter().map(|(start, mark)| (start.to_string(), mark.to_string())).collect(),
        }
    }

    fn committed(&self, change: &Change, committed: &Committed, report: &mut Report) {
        report.status = Status::Committed;
        let output = &mut report.output;
        output.snapshot_before = committed.snapshot_before;
        output.snapshot_after = committed.snapshot_id;
        output.metadata_location = Some(committed.metadata_location.clone());
        output.files_added = change.added.len() as u64;
        output.files_removed = change.removed.len() as u64;
        output.bytes_written = change.added.iter().map(|file| file.data_file.file_size_in_bytes()).sum();
        report.schema_changes = change.schema_update.iter().flat_map(|update| update.descriptions.clone()).collect();
        if change.kind == ChangeKind::MetadataOnly {
            report.reason = Some("no row changed".to_owned());
        }
    }
}

/// Files that were staged for a change which an earlier attempt of the same run had committed already.
fn unreferenced(committed: &Committed, locations: Vec<String>) -> Vec<String> {
    let tombstones = committed.metadata.properties().get(tombstones::PROPERTY);
    // Data files of this attempt carry another random name than those that were committed.
    locations.into_iter().filter(|location| Some(location) != tombstones).collect()
}
