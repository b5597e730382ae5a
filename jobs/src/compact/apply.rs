//! Carries a plan out: groups are written again side by side, and committed as they come. A group that another writer
//! was quicker with is dropped from its commit, and the others land.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use contract::{Contract, Duration};
use engine::{
    FileName, Stop, TableReader, TableWriterOptions,
    compact::{Rewriter, Rewritten},
};
use jiff::{SignedDuration, Timestamp};
use lake::{
    Change, ChangeKind, CommitError, CommitOptions, Committed, Conflict, Staging, TOMBSTONES_PROPERTY, Table,
    discard_staged,
};
use plan::compact::{Compaction, PartitionKey};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    error::{JobError, Kind, Result},
    job::Job,
    report::{Compacted, Inputs, Report, Status},
    staging,
};

/// Level of zstd: what is written once more is read often.
const ZSTD_LEVEL: i32 = 3;

/// Files that may be open for writing at once, for each group.
const OPEN_FILES_MAX: usize = 128;

/// How carrying a plan out ended.
#[derive(Debug)]
pub enum Ended {
    /// The report says how.
    Done,
    /// Another writer changed files of these partitions: another plan is needed for them.
    Lost(BTreeSet<PartitionKey>),
}

/// One table's run, over all its plans.
pub struct Apply<'a> {
    job: &'a Job,
    contract: &'a Contract,
    /// After this no group is begun.
    deadline: Option<Timestamp>,
    /// Commits of the run so far, those that were lost too: each has a number of its own.
    parts: u32,
}

/// A group that waits for its commit.
type Staged = (PartitionKey, Rewritten);

/// What one plan is carried out on.
struct Run<'a> {
    table: &'a Table,
    reader: &'a TableReader,
    plan: &'a Compaction,
    /// Written and not committed.
    staged: Vec<Staged>,
    /// Files that commits of this plan have removed.
    gone: HashSet<String>,
    /// Delete files that no file needs any more go with each commit.
    drops_deletes: bool,
    /// Where another writer was quicker.
    lost: BTreeSet<PartitionKey>,
    /// Why a group could not be written: the others are.
    failure: Option<JobError>,
}

impl<'a> Apply<'a> {
    /// A run that begins now.
    pub fn new(job: &'a Job, contract: &'a Contract, max_time: Option<Duration>) -> Self {
        let span = |of: Duration| SignedDuration::from_secs(i64::try_from(of.seconds).unwrap_or(i64::MAX));
        let deadline = max_time.and_then(|of| job.program.now().checked_add(span(of)).ok());
        Self { job, contract, deadline, parts: 0 }
    }

    /// Carries a plan out, and adds to the report. After an error nothing that was staged is left behind, as far as it
    /// can be deleted; what was committed before stands.
    pub async fn run(
        &mut self,
        table: &Table,
        reader: &TableReader,
        plan: &Compaction,
        report: &mut Report,
    ) -> Result<Ended> {
        report.compaction.get_or_insert_default();
        let mut run = Run {
            table,
            reader,
            plan,
            staged: Vec::new(),
            gone: HashSet::new(),
            drops_deletes: plan.removes_dangling_deletes,
            lost: BTreeSet::new(),
            failure: None,
        };
        let (give_up, given_up) = oneshot::channel();
        let mut tasks = JoinSet::new();
        let ended = self.rewrite_all(&mut run, &mut tasks, given_up, report).await;
        // Groups that are still being written are taken back by themselves, those that were just ready here.
        drop(give_up);
        while let Some(task) = tasks.join_next().await {
            if let Ok((partition, Ok(rewritten))) = task {
                run.staged.push((partition, rewritten));
            }
        }
        let staged = std::mem::take(&mut run.staged);
        discard(&run, staged).await;
        ended?;
        match run.failure {
            Some(error) => Err(error),
            None if run.lost.is_empty() => Ok(Ended::Done),
            None => Ok(Ended::Lost(run.lost)),
        }
    }

    /// Writes groups, some at a time, and commits them as they come.
    async fn rewrite_all(
        &mut self,
        run: &mut Run<'_>,
        tasks: &mut JoinSet<(PartitionKey, engine::Result<Rewritten>)>,
        given_up: oneshot::Receiver<()>,
        report: &mut Report,
    ) -> Result<()> {
        let rewriter = self.rewriter(run, given_up, report)?;
        let at_once = self.job.session_options().threads.max(1);
        let mut groups = run.plan.groups.iter();
        let mut done = 0;
        let name = run.table.name.to_string();
        let all = groups.len();
        let mut step = self.job.program.progress.step(&name, &format!("writing group 1 of {all}"));
        loop {
            while tasks.len() < at_once && self.may_begin() {
                let Some(group) = groups.next().cloned() else { break };
                let rewriter = rewriter.clone();
                tasks.spawn(async move { (group.partition.clone(), rewriter.rewrite(&group).await) });
            }
            let Some(ended) = tasks.join_next().await else { break };
            let (partition, rewritten) = ended.map_err(|panic| {
                JobError::new(Kind::Failed, format!("failed to write files of {name} again: {panic}"))
            })?;
            done += 1;
            drop(step);
            step = self.job.program.progress.step(&name, &format!("writing group {} of {all}", (done + 1).min(all)));
            match rewritten {
                Ok(rewritten) => run.staged.push((partition, rewritten)),
                Err(engine::Error::Stopped) => {}
                Err(error) => run.fail(&partition, error.into(), report),
            }
            if run.staged.len() as u64 >= run.plan.groups_per_commit && self.job.program.interrupt.check().is_ok() {
                self.commit(run, report).await?;
            }
        }
        drop(step);
        self.job.program.interrupt.check()?;
        let left = groups.len() as u64;
        if left > 0 {
            let compaction = report.compaction.get_or_insert_default();
            compaction.groups_left += left;
            report.warnings.push(format!("{left} groups were not begun, for want of time: the next run takes them"));
        }
        let drops_alone = run.plan.groups.is_empty() && run.plan.dangling_delete_files > 0;
        if !run.staged.is_empty() || drops_alone { self.commit(run, report).await } else { Ok(()) }
    }

    fn may_begin(&self) -> bool {
        let has_time = self.deadline.is_none_or(|deadline| self.job.program.now() < deadline);
        has_time && self.job.program.interrupt.check().is_ok()
    }

    /// Commits what is staged, without the groups that another writer was quicker with.
    async fn commit(&mut self, run: &mut Run<'_>, report: &mut Report) -> Result<()> {
        let lake = self.job.lake().await?;
        let options = CommitOptions::default();
        loop {
            let change = self.change(run, report);
            if change.removed.is_empty() && change.removed_deletes.is_empty() {
                return Ok(());
            }
            self.parts += 1;
            match lake::commit(lake, run.table, &change, &self.job.commit_inputs(), &options).await {
                Ok(committed) => {
                    describe(&change, &committed, &run.staged, report);
                    let removed = change.removed.into_iter().chain(change.removed_deletes).map(|gone| gone.path);
                    run.gone.extend(removed);
                    run.staged.clear();
                    return Ok(());
                }
                Err(lake::Error::Commit(CommitError::Conflict { conflict, retry_plan: true, .. })) => {
                    tracing::info!(table.name = %run.table.name, %conflict, "another writer was quicker");
                    let dropped = run.drop_lost(&conflict);
                    report.compaction.get_or_insert_default().groups_lost += dropped.len() as u64;
                    discard(run, dropped).await;
                }
                Err(error) => {
                    if matches!(&error, lake::Error::Commit(CommitError::OutcomeUnknown { .. })) {
                        // They may be part of the table.
                        run.staged.clear();
                    }
                    return Err(error.into());
                }
            }
        }
    }

    fn change(&self, run: &Run<'_>, report: &Report) -> Change {
        let removed: Vec<_> = run.staged.iter().flat_map(|(_, rewritten)| rewritten.removed.clone()).collect();
        let removed_deletes = if run.drops_deletes {
            let before = run.gone.iter().map(String::as_str);
            let gone = before.chain(removed.iter().map(|gone| gone.path.as_str())).collect();
            let dangling = run.reader.live().dangling_deletes(&gone);
            dangling.into_iter().filter(|delete| !run.gone.contains(&delete.path)).collect()
        } else {
            Vec::new()
        };
        let mut summary = BTreeMap::from([
            ("etl.run-id".to_owned(), report.run_id.clone()),
            ("etl.job".to_owned(), report.job.clone()),
            ("etl.part".to_owned(), self.parts.to_string()),
        ]);
        // For the expiry of snapshots: a tombstone file goes with the last of them that names it.
        let tombstones = run.table.metadata.properties().get(TOMBSTONES_PROPERTY);
        summary.extend(tombstones.map(|at| (TOMBSTONES_PROPERTY.to_owned(), at.clone())));
        Change {
            added: run.staged.iter().flat_map(|(_, rewritten)| rewritten.added.clone()).collect(),
            removed,
            removed_deletes,
            summary,
            ..Change::new(run.table, ChangeKind::Replace)
        }
    }

    /// Writes groups until the program is asked to stop, or the run is given up.
    fn rewriter(&self, run: &Run<'_>, given_up: oneshot::Receiver<()>, report: &Report) -> Result<Rewriter> {
        let options = self.job.session_options();
        let metadata = &run.table.metadata;
        let schema = metadata.current_schema();
        let attempt = (self.job.program.ids.random)().simple();
        let staging = Staging::new(metadata, &format!("{}-{attempt}", report.run_id));
        let writer = TableWriterOptions {
            storage: run.table.storage.clone(),
            schema: Arc::clone(schema),
            spec: Arc::clone(metadata.default_partition_spec()),
            sort_order: None,
            key_field_ids: self.contract.key.iter().filter_map(|name| schema.field_id_by_name(name)).collect(),
            file_name: numbered(staging::data_files(run.table, schema, &staging)),
            target_file_bytes: run.plan.target_file_bytes,
            // A quarter of the run's memory for all groups that are written at one time.
            memory_bytes: options.memory_limit_bytes / 4 / options.threads.max(1) as u64 * 2,
            threads: options.threads,
            open_files_max: OPEN_FILES_MAX,
            zstd_level: Some(ZSTD_LEVEL),
            properties: metadata.properties().clone(),
        };
        let session = self.job.session()?;
        let asked = self.job.program.interrupt.stop();
        let stop = Stop::when(async move {
            let given_up = async {
                _ = given_up.await;
                Ok(())
            };
            _ = asked.unless(given_up).await;
        });
        Ok(Rewriter::new(&session, run.reader.clone(), writer, stop))
    }
}

impl Run<'_> {
    /// A group could not be written, for a damaged file as a rule: the others go on, and the run fails in the end.
    fn fail(&mut self, partition: &PartitionKey, error: JobError, report: &mut Report) {
        let message = format!("files of {partition} stay as they are: {}", error.message);
        match &self.failure {
            None => self.failure = Some(JobError { message, ..error }),
            Some(_) => report.warnings.push(message),
        }
    }

    /// Takes out of what is staged whatever the conflict speaks of: a group, the delete files, or all.
    fn drop_lost(&mut self, conflict: &Conflict) -> Vec<Staged> {
        let file = match conflict {
            Conflict::DeleteForReplaced { file, .. } | Conflict::ReplacedGone { file } => Some(file),
            _ => None,
        };
        let has = |(_, rewritten): &Staged| rewritten.removed.iter().any(|gone| Some(&gone.path) == file);
        let dropped: Vec<Staged> = match self.staged.iter().position(has) {
            Some(index) => vec![self.staged.swap_remove(index)],
            // A delete file that another compaction has removed, or that is needed again.
            None if self.drops_deletes && (file.is_some() || matches!(conflict, Conflict::DeleteNeeded { .. })) => {
                self.drops_deletes = false;
                Vec::new()
            }
            None => {
                self.drops_deletes = false;
                std::mem::take(&mut self.staged)
            }
        };
        self.lost.extend(dropped.iter().map(|(partition, _)| partition.clone()));
        dropped
    }
}

/// Several groups may write to one partition, each counting its files from 0: all of them count together.
fn numbered(name: FileName) -> FileName {
    let next = AtomicU64::new(0);
    Arc::new(move |partition, _| name(partition, next.fetch_add(1, Ordering::Relaxed)))
}

async fn discard(run: &Run<'_>, staged: Vec<Staged>) {
    let locations: Vec<String> = staged.iter().flat_map(|(_, rewritten)| rewritten.locations()).collect();
    if !locations.is_empty() {
        discard_staged(&run.table.storage, &run.table.name, locations).await;
    }
}

fn describe(change: &Change, committed: &Committed, staged: &[Staged], report: &mut Report) {
    report.status = Status::Committed;
    report.commit_retries += committed.retries;
    let output = &mut report.output;
    output.snapshot_after = committed.snapshot_id;
    output.metadata_location = Some(committed.metadata_location.clone());
    output.files_added += change.added.len() as u64;
    output.files_removed += change.removed.len() as u64;
    let Inputs { files, bytes, rows } = &mut report.inputs;
    let compaction: &mut Compacted = report.compaction.get_or_insert_default();
    compaction.commits += 1;
    compaction.groups += staged.len() as u64;
    compaction.delete_files_removed += change.removed_deletes.len() as u64;
    for (_, rewritten) in staged {
        *files += rewritten.removed.len() as u64;
        *bytes += rewritten.bytes_before;
        *rows += rewritten.rows_before;
        output.bytes_written += rewritten.bytes_after;
        compaction.bytes_removed += rewritten.bytes_before;
        compaction.rows += rewritten.rows_after;
        compaction.rows_deleted += rewritten.rows_before - rewritten.rows_after;
        compaction.rows_copied += rewritten.rows_copied;
    }
}
