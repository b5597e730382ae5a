//! Carries a plan out: groups are written again side by side, and committed as they come. A group that another writer
//! was quicker with is dropped from its commit, and the others land.

use std::{
    collections::{BTreeSet, HashSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use contract::{Contract, Duration};
use engine::{
    FileName, Session, Stop, TableReader, TableWriterOptions, bug,
    compact::{Rewriter, Rewritten},
};
use jiff::{SignedDuration, Timestamp};
use lake::{Staging, Table};
use plan::compact::{Arrange, Compaction, PartitionKey};
use tokio::{sync::oneshot, task::JoinSet};

use super::commit::discard;
use crate::{
    error::{JobError, Kind, Result},
    job::Job,
    report::Report,
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
    pub(super) job: &'a Job,
    contract: &'a Contract,
    /// After this no group is begun.
    deadline: Option<Timestamp>,
    /// Commits of the run so far, those that were lost too: each has a number of its own.
    pub(super) parts: u32,
}

/// A group that waits for its commit.
pub(super) type Staged = (PartitionKey, Rewritten);

/// What one plan is carried out on.
pub(super) struct Run<'a> {
    pub(super) table: &'a Table,
    pub(super) reader: &'a TableReader,
    pub(super) plan: &'a Compaction,
    /// Written and not committed.
    pub(super) staged: Vec<Staged>,
    /// Files that commits of this plan have removed.
    pub(super) gone: HashSet<String>,
    /// Delete files that no file needs any more go with each commit.
    pub(super) drops_deletes: bool,
    /// Where another writer was quicker.
    pub(super) lost: BTreeSet<PartitionKey>,
    /// Why a group could not be written: the others are.
    pub(super) failure: Option<JobError>,
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
        let session = self.job.session()?;
        let ended = self.rewrite_all(&session, &mut run, &mut tasks, given_up, report).await;
        report.resources.spill_bytes += session.spilled_bytes();
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
        session: &Session,
        run: &mut Run<'_>,
        tasks: &mut JoinSet<(PartitionKey, engine::Result<Rewritten>)>,
        given_up: oneshot::Receiver<()>,
        report: &mut Report,
    ) -> Result<()> {
        let rewriter = self.rewriter(session, run, given_up, report)?;
        // A sort takes the memory and the cores that there are: a second one would find too little.
        let sorts = run.plan.groups.iter().any(|group| group.arrange != Arrange::Pack);
        let at_once = if sorts { 1 } else { self.job.session_options().threads.max(1) };
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
            let (partition, rewritten) = ended.map_err(|error| {
                JobError::new(Kind::Failed, format!("failed to write files of {name} again: {}", bug(error)))
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

    pub(super) fn may_begin(&self) -> bool {
        let has_time = self.deadline.is_none_or(|deadline| self.job.program.now() < deadline);
        has_time && self.job.program.interrupt.check().is_ok()
    }

    /// Writes groups until the program is asked to stop, or the run is given up.
    fn rewriter(
        &self,
        session: &Session,
        run: &Run<'_>,
        given_up: oneshot::Receiver<()>,
        report: &Report,
    ) -> Result<Rewriter> {
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
        let asked = self.job.program.interrupt.stop();
        let stop = Stop::when(async move {
            let given_up = async {
                _ = given_up.await;
                Ok(())
            };
            _ = asked.unless(given_up).await;
        });
        Ok(Rewriter::new(session, run.reader.clone(), writer, stop))
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
}

/// Several groups may write to one partition, each counting its files from 0: all of them count together.
fn numbered(name: FileName) -> FileName {
    let next = AtomicU64::new(0);
    Arc::new(move |partition, _| name(partition, next.fetch_add(1, Ordering::Relaxed)))
}
