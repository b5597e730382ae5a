//! The DataFusion session of one run: its memory limit, threads and spill folder.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use datafusion::{
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::RuntimeEnvBuilder,
    },
    physical_plan::ExecutionPlan,
    prelude::{SessionConfig, SessionContext},
};
use jiff::Timestamp;

use crate::{Error, Result, sql};

/// Share of the memory limit for bytes that are read and not decoded yet.
const READ_SHARE: u64 = 8;
/// Share of the memory limit for one batch of rows: an operator has a few, and there are several operators.
const BATCH_SHARE: u64 = 128;

/// What a session may use.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Memory for the whole run, in bytes. Operators share half of it; the rest is for decoding, encoding and IO.
    pub memory_limit_bytes: u64,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Folder in which operators spill; made when needed.
    pub spill_dir: PathBuf,
}

impl SessionOptions {
    /// Memory for bytes of one file that are read and not decoded yet, while each thread reads one.
    pub fn read_bytes(&self) -> u64 {
        self.memory_limit_bytes / READ_SHARE / self.threads.max(1) as u64
    }
}

/// A DataFusion session with limits.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    options: SessionOptions,
    spilled_bytes: Arc<AtomicU64>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a session. Fails when the spill folder cannot be used.
    pub fn new(options: &SessionOptions) -> Result<Self> {
        let pool_bytes = usize::try_from(options.memory_limit_bytes / 2).unwrap_or(usize::MAX);
        let consumers_named = std::num::NonZeroUsize::new(3).expect("three is not zero");
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(pool_bytes), consumers_named)))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()])),
            )
            .build_arc()
            .map_err(|source| Error::compute("failed to set up the session", source))?;
        let config = SessionConfig::new().with_target_partitions(options.threads.max(1)).with_information_schema(false);
        let context = SessionContext::new_with_config_rt(config, runtime);
        sql::set_up(&context).map_err(|source| Error::compute("failed to set up the session", source))?;
        Ok(Self { context, options: options.clone(), spilled_bytes: Arc::default() })
    }

    /// The same session, for which `now()` and the functions beside it give this time.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        sql::clock(now).into_iter().for_each(|function| self.context.register_udf(function));
        self
    }

    /// The DataFusion context.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// Rows of a batch, where one has so many bytes: fewer than usual where rows are long.
    pub(crate) fn batch_rows(&self, row_bytes: u64) -> usize {
        let fitting = self.options.memory_limit_bytes / BATCH_SHARE / row_bytes.max(1);
        usize::try_from(fitting).unwrap_or(usize::MAX).clamp(1, self.context.copied_config().batch_size())
    }

    /// The limits it was made with.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Bytes that sorts, and operators of plans that have ended, have written to disk for want of memory.
    pub fn spilled_bytes(&self) -> u64 {
        self.spilled_bytes.load(Relaxed)
    }

    /// Counts bytes that were written to disk for want of memory.
    pub(crate) fn spilled(&self, bytes: u64) {
        self.spilled_bytes.fetch_add(bytes, Relaxed);
    }

    /// A plan has ended: counts what its operators spilled.
    pub(crate) fn ended(&self, plan: &Arc<dyn ExecutionPlan>) {
        let spilled = plan.metrics().and_then(|metrics| metrics.spilled_bytes()).unwrap_or(0);
        self.spilled(spilled as u64);
        plan.children().into_iter().for_each(|child| self.ended(child));
    }
}

#[cfg(test)]
mod tests {
    use arrow::{array::Int64Array, record_batch::RecordBatch};
    use datafusion::{datasource::MemTable, physical_plan::collect};

    use super::*;

    #[test]
    fn batches_of_long_rows_have_fewer_rows() {
        let options = SessionOptions { memory_limit_bytes: 256 << 20, threads: 1, spill_dir: std::env::temp_dir() };
        let session = Session::new(&options).unwrap();
        let rows = [0, 100, 12_000, 40 << 20].map(|row_bytes| session.batch_rows(row_bytes));
        assert_eq!(rows, [8192, 8192, 174, 1]);
    }

    #[tokio::test]
    async fn what_a_sort_spills_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let options =
            SessionOptions { memory_limit_bytes: 96 << 20, threads: 1, spill_dir: folder.path().to_path_buf() };
        let session = Session::new(&options).unwrap();
        let numbers: arrow::array::ArrayRef =
            Arc::new(Int64Array::from_iter_values((0..4_000_000).map(|n| n * 7919 % 4_000_037)));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let batches = (0..400).map(|part| batch.slice(part * 10_000, 10_000)).collect();
        let table = MemTable::try_new(batch.schema(), vec![batches]).unwrap();
        session.context().register_table("numbers", Arc::new(table)).unwrap();
        let frame = session.context().sql("SELECT n, n + 1 AS m FROM numbers ORDER BY n DESC").await.unwrap();
        let plan = frame.create_physical_plan().await.unwrap();
        let rows: usize = collect(Arc::clone(&plan), session.context().task_ctx())
            .await
            .unwrap()
            .iter()
            .map(RecordBatch::num_rows)
            .sum();
        assert_eq!(rows, 4_000_000);
        assert_eq!(session.spilled_bytes(), 0);
        session.ended(&plan);
        assert!(session.spilled_bytes() > 1 << 20, "{} bytes", session.spilled_bytes());
    }
}
