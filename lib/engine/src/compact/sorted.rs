//! The rows of a group in order, within the session's memory and on its disk beyond.
//!
//! Sort keys are cut into ranges, and each range is sorted by itself. Rows that do not fit into memory go to disk range by
//! range; a range that comes back fits. So nothing is merged, which would need a piece of every sorted run in memory
//! at once: how much memory a sort takes does not depend on how much there is to sort.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::{
    common::runtime::SpawnedTask,
    error::DataFusionError,
    execution::memory_pool::{MemoryConsumer, MemoryReservation},
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use lake::DataFileEntry;
use tokio::sync::OnceCell;

use super::{
    keys::{Keys, Ranges, Sample},
    order::Order,
    pieces::{ahead, decoded},
    run::{Pick, Run},
    spill::{Block, Spill},
};
use crate::{
    Error, Result, Session,
    curated::{RowOptions, TableReader},
    sql_error,
};

/// What a failure is said to have been about.
const SUBJECT: &str = "sorting rows";

/// Share of the memory limit for rows that are being gathered, in percent. The rest is for reading, and for writing what
/// was sorted.
const RUNS_PERCENT: u64 = 26;
/// Share of the memory limit that a range which comes back from disk may take at most, in percent. Its keys come on top, and
/// the next range is made ready while one is written.
const RANGE_PERCENT: u64 = 8;
/// Ranges that are in memory at once: one is written, one is made ready.
const RANGES_AT_ONCE: usize = 2;
/// Ranges that are smaller together are sorted together: more of them would not be in the processor's cache.
const CACHED_RANGE_BYTES: u64 = 8 << 20;
/// Rows that are gathered by one thread are no fewer bytes than this: they would make very small blocks.
const RUN_BYTES_MIN: u64 = 32 << 20;
/// Ranges of one pass. What comes out too large is cut again.
const RANGES_MAX: u64 = 1024;
/// A run has about so many bytes for each range, or more: smaller blocks would be mostly their heads.
const BLOCK_BYTES_MIN: u64 = 64 << 10;
/// Rows of a block, at most.
const BLOCK_ROWS_MAX: usize = 64 << 10;
/// Files of which keys are read before ranges are cut: one of so many, but no fewer than the other number.
const SAMPLED_FILES: (usize, usize) = (8, 16);
/// Ranges are cut again inside of ranges at most so often. Each time they become many times smaller.
const DEPTH_MAX: u32 = 6;

/// The rows of the files that are alive, in order.
pub(super) fn sorted(
    session: &Session,
    reader: TableReader,
    files: Vec<DataFileEntry>,
    columns: Arc<[i32]>,
    order: Order,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let limit_bytes = session.options().memory_limit_bytes;
    let runs_bytes = limit_bytes / 100 * RUNS_PERCENT;
    let pool = &session.context().runtime_env().memory_pool;
    let memory = MemoryConsumer::new("sorting").register(pool);
    memory.try_grow(size(runs_bytes)).map_err(|error| sql_error(session, SUBJECT, error))?;
    let threads = session.options().threads.max(1) as u64;
    let readers = (runs_bytes / RUN_BYTES_MIN).clamp(1, threads);
    let range_bytes = limit_bytes / 100 * RANGE_PERCENT;
    let sorter = Sorter {
        session: session.clone(),
        keys: Keys::new(order, &reader)?,
        reader,
        columns,
        readers: size(readers),
        run_bytes: size(runs_bytes / readers),
        range_bytes,
        ranges: size((runs_bytes / readers / BLOCK_BYTES_MIN).clamp(16, RANGES_MAX)),
        _memory: memory,
    };
    Ok(stream::once(Arc::new(sorter).sort(Source::Files(files.into()), 0)).try_flatten().boxed())
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What one sort works with.
struct Sorter {
    session: Session,
    reader: TableReader,
    columns: Arc<[i32]>,
    keys: Keys,
    /// Threads that read, each with rows of its own.
    readers: usize,
    /// What each of them may gather.
    run_bytes: usize,
    range_bytes: u64,
    ranges: usize,
    /// Given back when the last row has been taken.
    _memory: MemoryReservation,
}

/// Where rows come from.
#[derive(Clone)]
enum Source {
    Files(Arc<[DataFileEntry]>),
    /// A range that is too large to be sorted at once.
    Blocks(Arc<[Block]>),
}

/// What one reader has gathered.
#[derive(Default)]
struct Part {
    run: Run,
    spill: Option<Spill>,
}

/// What becomes a range in order.
enum Unsorted {
    /// Rows in memory.
    Picks(Arc<Run>, Vec<Pick>),
    /// Blocks that fit into memory together.
    Blocks(Vec<Block>),
    /// Blocks of rows with one key: they are in order as they are.
    OneKey(Vec<Block>),
    /// More blocks than fit.
    TooLarge(Vec<Block>),
}

type Rows = BoxStream<'static, Result<RecordBatch>>;

impl Sorter {
    /// The rows of a source, in order.
    fn sort(self: Arc<Self>, source: Source, depth: u32) -> BoxFuture<'static, Result<Rows>> {
        async move {
            if depth > DEPTH_MAX {
                let limit_bytes = self.session.options().memory_limit_bytes;
                return Err(Error::Memory { limit_bytes, reason: format!("{SUBJECT}: too many have keys alike") });
            }
            let ranges: Arc<OnceCell<Ranges>> = Arc::default();
            let shares = source.shares(&self);
            let tasks: Vec<_> = shares
                .into_iter()
                .map(|rows| SpawnedTask::spawn(Arc::clone(&self).gather(rows, source.clone(), Arc::clone(&ranges))))
                .collect();
            let mut parts = Vec::new();
            for task in tasks {
                parts.push(joined(task).await?);
            }
            let unsorted = if parts.iter().any(|part| part.spill.is_some()) {
                together(Arc::clone(&self).spill_all(parts, &source, &ranges).await?, self.range_bytes)
            } else {
                in_memory(parts)
            };
            let next = move |unsorted| {
                let sorter = Arc::clone(&self);
                async move { joined(SpawnedTask::spawn(sorter.in_order(unsorted, depth))).await }
            };
            Ok(stream::iter(unsorted).map(next).buffered(RANGES_AT_ONCE).try_flatten().boxed())
        }
        .boxed()
    }

    /// Takes rows in until there are no more; what does not fit into memory goes to disk.
    async fn gather(self: Arc<Self>, mut rows: Rows, source: Source, ranges: Arc<OnceCell<Ranges>>) -> Result<Part> {
        let mut part = Part::default();
        while let Some(batch) = rows.try_next().await? {
            let keys = self.keys.of(&batch)?;
            part.run.push(batch, keys);
            if part.run.bytes >= self.run_bytes {
                part = Arc::clone(&self).spill(part, &source, &ranges).await?;
            }
        }
        Ok(part)
    }

    /// Puts what was gathered to disk, range by range.
    async fn spill(self: Arc<Self>, part: Part, source: &Source, ranges: &Arc<OnceCell<Ranges>>) -> Result<Part> {
        ranges.get_or_try_init(|| self.cut(source)).await?;
        let ranges = Arc::clone(ranges);
        let work = SpawnedTask::spawn_blocking(move || {
            let Part { run, spill } = part;
            let ranges = ranges.get().expect("it was set before this began");
            let disk = &self.session.context().runtime_env().disk_manager;
            let mut spill = match spill {
                Some(spill) => spill,
                None => Spill::new(disk, self.reader.schema(), ranges.len()).map_err(|error| self.failed(error))?,
            };
            for (range, picks) in run.split(ranges).into_iter().enumerate() {
                for chunk in picks.chunks(BLOCK_ROWS_MAX) {
                    spill.write(range, &run.gather(chunk)?).map_err(|error| self.failed(error))?;
                }
            }
            Ok(Part { run: Run::default(), spill: Some(spill) })
        });
        joined(work).await
    }

    /// Puts everything that is left to disk: the blocks of each range, of all readers.
    async fn spill_all(
        self: Arc<Self>,
        parts: Vec<Part>,
        source: &Source,
        ranges: &Arc<OnceCell<Ranges>>,
    ) -> Result<Vec<Vec<Block>>> {
        let mut blocks: Vec<Vec<Block>> = Vec::new();
        for part in parts {
            let part = match part.run.is_empty() {
                true => part,
                false => Arc::clone(&self).spill(part, source, ranges).await?,
            };
            let Some(spill) = part.spill else { continue };
            let (of_part, bytes) = spill.close().map_err(|error| self.failed(error))?;
            self.session.spilled(bytes);
            blocks.resize_with(of_part.len(), Vec::new);
            blocks.iter_mut().zip(of_part).for_each(|(all, some)| all.extend(some));
        }
        Ok(blocks)
    }

    /// Cuts the keys of a source into ranges, by some of them.
    async fn cut(&self, source: &Source) -> Result<Ranges> {
        let mut sample;
        match source {
            Source::Files(files) => {
                let (one_of, min) = SAMPLED_FILES;
                let step = (files.len() / min.max(files.len() / one_of)).max(1);
                let sampled = || files.iter().step_by(step);
                sample = Sample::of(sampled().map(|file| file.data_file.record_count()).sum());
                let (keys, roots) = self.keys.alone();
                let columns: Vec<i32> = roots.into_iter().map(|root| self.columns[root]).collect();
                for file in sampled() {
                    let mut rows = self.reader.read(file, &columns, RowOptions::default());
                    while let Some(batch) = rows.try_next().await? {
                        sample.add(&keys.of(&batch)?);
                    }
                }
            }
            Source::Blocks(blocks) => {
                sample = Sample::of(blocks.iter().map(|block| block.rows).sum());
                for block in blocks.iter() {
                    let batch = block.read().map_err(|error| self.failed(error))?;
                    sample.add(&self.keys.of(&batch)?);
                }
            }
        }
        Ok(sample.cut(self.ranges))
    }

    /// The rows of a range, in order.
    async fn in_order(self: Arc<Self>, unsorted: Unsorted, depth: u32) -> Result<Rows> {
        let (run, picks) = match unsorted {
            Unsorted::TooLarge(blocks) => return self.sort(Source::Blocks(blocks.into()), depth + 1).await,
            Unsorted::OneKey(blocks) => return Ok(self.read(blocks)),
            Unsorted::Picks(run, picks) => (run, picks),
            Unsorted::Blocks(blocks) => {
                let mut run = Run::default();
                let mut rows = Arc::clone(&self).read(blocks);
                while let Some(batch) = rows.try_next().await? {
                    let keys = self.keys.of(&batch)?;
                    run.push(batch, keys);
                }
                let picks = run.all();
                (Arc::new(run), picks)
            }
        };
        let sorted = run.sorted(picks);
        let batches = stream::iter(Run::chunks(sorted.len())).map(move |chunk| run.gather(&sorted[chunk]));
        Ok(ahead(batches.boxed()))
    }

    /// The rows of blocks, block after block.
    fn read(self: Arc<Self>, blocks: Vec<Block>) -> Rows {
        let read = move |block: Block| {
            let sorter = Arc::clone(&self);
            async move {
                let work = SpawnedTask::spawn_blocking(move || block.read().map_err(|error| sorter.failed(error)));
                joined(work).await
            }
        };
        stream::iter(blocks).then(read).boxed()
    }

    fn failed(&self, error: DataFusionError) -> Error {
        sql_error(&self.session, SUBJECT, error)
    }
}

impl Source {
    /// As many streams as there are readers, or fewer.
    fn shares(&self, sorter: &Arc<Sorter>) -> Vec<Rows> {
        // One after the other goes to the next reader, so that all of them see all of the keys.
        fn dealt<T: Clone>(all: &[T], shares: usize) -> Vec<Vec<T>> {
            let shares = shares.min(all.len());
            (0..shares).map(|share| all.iter().skip(share).step_by(shares).cloned().collect()).collect()
        }
        match self {
            Self::Files(files) => dealt(files, sorter.readers)
                .into_iter()
                .map(|files| decoded(sorter.reader.clone(), files, Arc::clone(&sorter.columns)))
                .collect(),
            Self::Blocks(blocks) => {
                dealt(blocks, sorter.readers).into_iter().map(|blocks| Arc::clone(sorter).read(blocks)).collect()
            }
        }
    }
}

/// Everything fits: ranges are cut from all the keys, so that each is small and several can be made ready.
fn in_memory(parts: Vec<Part>) -> Vec<Unsorted> {
    let run = parts.into_iter().map(|part| part.run).fold(Run::default(), Run::and);
    let ranges = run.sample().cut(size((run.bytes as u64 / CACHED_RANGE_BYTES).clamp(1, RANGES_MAX)));
    let run = Arc::new(run);
    let picks = run.split(&ranges);
    picks.into_iter().filter(|picks| !picks.is_empty()).map(|picks| Unsorted::Picks(Arc::clone(&run), picks)).collect()
}

/// Neighbouring ranges, several of them together where they are small.
fn together(ranges: Vec<Vec<Block>>, bytes_max: u64) -> Vec<Unsorted> {
    let mut all = Vec::new();
    let (mut gathered, mut gathered_bytes) = (Vec::new(), 0);
    for (place, blocks) in ranges.into_iter().enumerate() {
        let bytes = blocks.iter().map(|block| block.bytes).sum::<u64>();
        if gathered_bytes + bytes > bytes_max.min(CACHED_RANGE_BYTES) && !gathered.is_empty() {
            all.push(Unsorted::Blocks(std::mem::take(&mut gathered)));
            gathered_bytes = 0;
        }
        if bytes <= bytes_max {
            gathered.extend(blocks);
            gathered_bytes += bytes;
        } else if Ranges::is_one_key(place) {
            all.push(Unsorted::OneKey(blocks));
        } else {
            all.push(Unsorted::TooLarge(blocks));
        }
    }
    if !gathered.is_empty() {
        all.push(Unsorted::Blocks(gathered));
    }
    all
}

/// The result of a task. A decoder that panics is a failure of the sort.
async fn joined<T: Send + 'static>(task: SpawnedTask<Result<T>>) -> Result<T> {
    task.join().await.map_err(|source| Error::compute("failed to sort rows", source))?
}

#[cfg(test)]
mod tests;
