//! `etl compact`: many small files, deleted rows and rows in no order become fewer, clean, sorted files. The rows stay the
//! same, and so does every snapshot before.
//!
//! Nothing that a version of the table needs is deleted, so that nobody is asked: what the new files replace goes when
//! `etl expire` lets the old snapshots go.

mod apply;
mod commit;
mod facts;
mod manifests;
mod options;

use std::collections::{BTreeSet, HashSet};

use clap::Args;
use contract::{Contract, Duration, TableName};
use engine::TableReader;
use jiff::Timestamp;
use lake::{CompactionFiles, LiveFiles, Table};
use plan::compact::{CompactPlan, Compaction, JobOrder, ManifestsFacts, Options, PartitionKey, decide};

use self::{
    apply::{Apply, Ended},
    facts::Live,
};
use crate::{
    archived::{self, Cold},
    config::TableConfig,
    error::{Exit, JobError, Kind, Result},
    job::Job,
    report::{Plan, Report},
    screen::parse_size,
    staging,
};

/// Plans made again because another writer changed files of a group.
const REPLANS_MAX: u32 = 4;

/// Write many small files, deleted rows or rows in no order as fewer, clean, sorted files.
#[derive(Debug, Clone, Args)]
#[command(
    before_help = "\
Examples:
  etl compact --dry-run                                what would be written again, and why not the rest
  etl compact                                          for a schedule: every night, before `etl expire`
  etl compact curated.telemetry --where \"event_time < '2025-06-04'\"
  etl compact curated.telemetry --sort \"device_id, event_time\" --max-bytes 50GiB --max-time 30m
  etl compact curated.telemetry --z-order device_id,event_time --rewrite-all",
    after_help = "\
The options and their defaults are those of Spark's rewrite_data_files. A partition that still receives data is left for
later: by the contract's etl.lateness after the end of its event times, or while something was added to it within
--active-for; --include-active takes it all the same. Files that no delete applies to and that need no order are copied
without decoding their rows. Beside other writers nothing is lost: who is second plans again.",
    group = clap::ArgGroup::new("order").args(["sort", "z_order", "no_sort"])
)]
pub struct Compact {
    /// Tables; all of etl.toml unless said
    pub tables: Vec<TableName>,
    /// Only files in which this may find rows, in SQL: "event_time < '2025-06-04' AND tenant_id = 'a'"
    #[arg(long = "where", value_name = "SQL")]
    pub filter: Option<String>,
    /// Size that new files aim for; unless said the larger of write.target-file-size-bytes and etl.targetFileBytes
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub target_file_size_bytes: Option<u64>,
    /// Smaller files are written again; three quarters of the target unless said
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub min_file_size_bytes: Option<u64>,
    /// Larger files are written again; 1.8 of the target unless said
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_file_size_bytes: Option<u64>,
    /// So many files of a partition are worth it, whatever their sizes add up to
    #[arg(long, value_name = "N", default_value_t = Options::default().min_input_files)]
    pub min_input_files: u64,
    /// A file that so many delete files apply to is written again
    #[arg(long, value_name = "N")]
    pub delete_file_threshold: Option<u64>,
    /// A file of which this share is deleted is written again, from 0 to 1
    #[arg(long, value_name = "SHARE", default_value_t = Options::default().delete_ratio_threshold)]
    pub delete_ratio_threshold: f64,
    /// Files that are written again together are no more than this
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "100GiB")]
    pub max_file_group_size_bytes: u64,
    /// Write every file again
    #[arg(long)]
    pub rewrite_all: bool,
    /// Commit all at the end or nothing, instead of as it goes
    #[arg(long)]
    pub no_partial_progress: bool,
    /// Commits of one run; one for each GiB up to ten unless said
    #[arg(long, value_name = "N")]
    pub max_commits: Option<u64>,
    /// Which groups come first: none, bytes-asc, bytes-desc, files-asc, files-desc
    #[arg(long, value_name = "ORDER", default_value_t = JobOrder::None)]
    pub rewrite_job_order: JobOrder,
    /// Keep delete files that apply to nothing any more
    #[arg(long)]
    pub keep_dangling_deletes: bool,
    /// Leave manifests as they are, even where many small or overlapping ones slow scans down
    #[arg(long)]
    pub no_rewrite_manifests: bool,
    /// Sort new files like this ("device_id, event_time DESC") instead of by the table's order
    #[arg(long, value_name = "COLUMNS")]
    pub sort: Option<String>,
    /// Sort new files along a Z-order curve through these columns
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',')]
    pub z_order: Vec<String>,
    /// Do not sort, even where the table has an order
    #[arg(long)]
    pub no_sort: bool,
    /// Row groups smaller than this are decoded, not copied: they would stay as small
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1MiB")]
    pub min_copy_size_bytes: u64,
    /// Also partitions that still receive data
    #[arg(long)]
    pub include_active: bool,
    /// A partition that something was added to within this span still receives data
    #[arg(long, value_name = "DURATION", default_value_t = Options::default().active_for)]
    pub active_for: Duration,
    /// One run writes no more than this again
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub max_bytes: Option<u64>,
    /// One run writes no more files than this again
    #[arg(long, value_name = "N")]
    pub max_files: Option<u64>,
    /// One run begins nothing new after this
    #[arg(long, value_name = "DURATION")]
    pub max_time: Option<Duration>,
}

impl Compact {
    /// Runs it table by table.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let tables = job.tables(&self.tables)?;
        job.each_table(&tables, async |table, report| self.run_table(job, table, report).await).await
    }

    /// Runs it for one table.
    pub async fn run_table(&self, job: &Job, config: &TableConfig, report: &mut Report) -> Result<()> {
        let contract = job.contract(config)?;
        let mut apply = Apply::new(job, &contract, self.max_time);
        // After a lost race: the partitions in which it was lost, once more.
        let mut only: Option<BTreeSet<PartitionKey>> = None;
        for _ in 0..=REPLANS_MAX {
            let step = job.program.progress.step(&config.name.to_string(), "looking at files");
            let Some((table, reader, plan)) = self.plan(job, config, &contract, only.as_ref(), report).await? else {
                return Ok(());
            };
            drop(step);
            match apply.run(&table, &reader, &plan, report).await {
                Ok(Ended::Done) if self.no_rewrite_manifests => return Ok(()),
                Ok(Ended::Done) => return apply.rewrite_manifests(&config.name, report).await,
                Ok(Ended::Lost(partitions)) => only = Some(partitions),
                Err(error) if error.kind == Kind::Archived => {
                    return Err(explained(job, &contract, &reader, &plan, error).await);
                }
                Err(error) => return Err(error),
            }
            tracing::info!(table.name = %config.name, "another writer changed files of a group: planning again");
        }
        let lost = "other writers kept changing the same files";
        match report.compaction.as_ref().is_some_and(|compaction| compaction.commits > 0) {
            true => report.warnings.push(format!("{lost}: the next run finds what is left")),
            false => return Err(JobError::new(Kind::Transient, lost).with_help("run again")),
        }
        Ok(())
    }

    /// The table with what is to be done; `None` when there is nothing.
    async fn plan(
        &self,
        job: &Job,
        config: &TableConfig,
        contract: &Contract,
        only: Option<&BTreeSet<PartitionKey>>,
        report: &mut Report,
    ) -> Result<Option<(Table, TableReader, Compaction)>> {
        let lake = job.lake().await?;
        let Some(table) = job.program.interrupt.stops(lake.table(&config.name)).await?? else {
            report.reason = Some("there is no such table yet".to_owned());
            return Ok(None);
        };
        staging::check_writable(&table)?;
        let live = job.program.interrupt.stops(Live::of(&table, self.filter.as_ref(), contract)).await??;
        let manifests = job.program.interrupt.stops(table.manifests_facts()).await??;
        let mut facts = facts::facts(self, job, contract, &table, &live, manifests, only)?;
        let cold = facts::mark_archived(job, contract, &table, live.files(), &mut facts);
        let cold = job.program.interrupt.stops(cold).await??;
        // What half a million files take goes as soon as it can.
        let reader = live.reader();
        let plan = decide(&facts);
        drop(facts);
        tracing::debug!(table.name = %config.name, "{plan}");
        let is_first = report.compaction.is_none();
        if is_first {
            report.output.snapshot_before = table.metadata.current_snapshot_id();
            report.output.snapshot_after = table.metadata.current_snapshot_id();
            report.kept = facts::kept(&plan, cold.as_ref());
            if job.program.globals.dry_run {
                // The plan has the reasons, but not what bringing files back takes.
                report.kept.retain(|kept| cold.as_ref().is_some_and(|cold| kept.reason.starts_with(&cold.what)));
                report.shows(Plan::Compact(plan));
                return Ok(None);
            }
        }
        match plan {
            CompactPlan::Refused { reasons } => {
                let error = JobError::usage(reasons.join("; "));
                report.plan = Some(Plan::Compact(CompactPlan::Refused { reasons }));
                Err(error)
            }
            CompactPlan::KeepAll(_) => {
                if is_first {
                    report.reason = Some("every file stays as it is".to_owned());
                } else {
                    let left = "another writer changed files of this run meanwhile: they are left for a later one";
                    report.warnings.push(left.to_owned());
                }
                Ok(None)
            }
            CompactPlan::Compact(compaction) => {
                let reader = match reader {
                    Some(reader) => reader,
                    None => job.program.interrupt.stops(TableReader::new(&table, None)).await??,
                };
                Ok(Some((table, reader, compaction)))
            }
        }
    }
}

/// A group met an archived file, of which the contract says nothing: the error says which of the plan's files are, and what
/// bringing them back takes. That group stays as it was.
async fn explained(
    job: &Job,
    contract: &Contract,
    reader: &TableReader,
    plan: &Compaction,
    error: JobError,
) -> JobError {
    match facts::cold(job, contract, reader.table(), reader.live(), plan).await {
        Ok(Some(Cold { what, help, .. })) => {
            JobError::new(Kind::Archived, format!("{} ({what})", error.message)).with_help(help)
        }
        _ => error,
    }
}

/// What would be written again without options, from the live files and their manifests alone, and which of the files are
/// known to be archived.
pub fn decided(
    table: &Table,
    live: LiveFiles,
    manifests: ManifestsFacts,
    contract: &Contract,
    archived: &HashSet<&str>,
    now: Timestamp,
) -> CompactPlan {
    let files = CompactionFiles::of_owned(table, live, contract.event_time.as_deref());
    let mut facts = facts::of_files(table, files, manifests, contract, now);
    for file in facts.files.iter_mut().filter(|_| !archived.is_empty()) {
        file.is_archived = archived.contains(archived::spelled(&file.path).as_str());
    }
    decide(&facts)
}
