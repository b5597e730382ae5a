//! The rows of a group in order, within the session's memory and on its disk beyond.
//!
//! Sort keys are cut into ranges, and each range is sorted by itself. Rows that do not fit into memory go to disk range by
//! range; a range that comes back fits. So nothing is merged, which would need a piece of every sorted run in memory
//! at once: how much memory a sort takes does not depend on how much there is to sort.
//!
//! Columns of few values are codes in memory and on disk, which makes most rows less than half as large.

use std::sync::Arc;

use arrow::{array::RecordBatch, row};
use datafusion::{
    common::runtime::SpawnedTask,
    error::DataFusionError,
    execution::memory_pool::{MemoryConsumer, MemoryReservation},
};
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream, stream::BoxStream};
use lake::DataFileEntry;
use tokio::sync::OnceCell;

use super::{
    codes::Codes,
    keys::{Keys, Ranges, Sample},
    order::Order,
    pieces::{ahead, decoded},
    pile::Pile,
    run::{Pick, Run},
    spill::{Block, Spill},
};
use crate::{
    Error, Result, Session,
    curated::{RowOptions, TableReader},
    sql_error,
    tasks::bug,
};

/// What a failure is said to have been about.
const SUBJECT: &str = "sorting rows";

/// Share of the memory limit for rows that are being gathered, in percent. The rest is for reading, and for writing what
/// was sorted.
const RUNS_PERCENT: u64 = 26;
/// One of so many parts of that is for codes.
const CODES_SHARE: u64 = 16;
/// Share of the memory limit that a range which comes back from disk may take at most, in percent. Its keys come on top, and
/// the next range is made ready while one is written.
const RANGE_PERCENT: u64 = 8;
/// Ranges that are in memory at once: one is written, one is made ready.
const RANGES_AT_ONCE: usize = 2;
/// Blocks of a range that are read at once: they lie all over a file, and a disk is faster when it is asked for several.
const BLOCKS_AT_ONCE: usize = 4;
/// Ranges that are smaller together are sorted together: more of them would not be in the processor's cache.
const CACHED_RANGE_BYTES: u64 = 8 << 20;
/// Rows that are gathered by one thread are no fewer bytes than this: they would make very small blocks.
const RUN_BYTES_MIN: u64 = 32 << 20;
/// Ranges of one pass. What comes out too large is cut again.
const RANGES_MAX: u64 = 1024;
/// A run has about so many bytes for each range, or more: smaller blocks would be mostly their heads.
const BLOCK_BYTES_MIN: u64 = 64 << 10;
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
    let sorter = Sorter::new(session, reader, columns, &order)?;
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
    codes: Codes,
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
    /// Before there are ranges.
    run: Run,
    /// From then on.
    pile: Pile,
    spill: Option<Spill>,
    /// All of them.
    rows: u64,
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

impl Unsorted {
    fn rows(&self) -> u64 {
        match self {
            Self::Picks(_, picks) => picks.len() as u64,
            Self::Blocks(blocks) | Self::OneKey(blocks) | Self::TooLarge(blocks) => {
                blocks.iter().map(|block| block.rows).sum()
            }
        }
    }
}

type Rows = BoxStream<'static, Result<RecordBatch>>;
/// Rows with codes, and their keys.
type CodedRows = BoxStream<'static, Result<(RecordBatch, row::Rows)>>;

impl Sorter {
    fn new(session: &Session, reader: TableReader, columns: Arc<[i32]>, order: &Order) -> Result<Self> {
        let limit_bytes = session.options().memory_limit_bytes;
        let runs_bytes = limit_bytes / 100 * RUNS_PERCENT;
        let pool = &session.context().runtime_env().memory_pool;
        let memory = MemoryConsumer::new("sorting").register(pool);
        memory.try_grow(size(runs_bytes)).map_err(|error| sql_error(session, SUBJECT, error))?;
        let threads = session.options().threads.max(1) as u64;
        let codes_bytes = runs_bytes / CODES_SHARE;
        let runs_bytes = runs_bytes - codes_bytes;
        let readers = (runs_bytes / RUN_BYTES_MIN).clamp(1, threads);
        let range_bytes = limit_bytes / 100 * RANGE_PERCENT;
        Ok(Self {
            session: session.clone(),
            keys: Keys::new(order, &reader)?,
            codes: Codes::new(reader.schema(), size(codes_bytes)),
            reader,
            columns,
            readers: size(readers),
            run_bytes: size(runs_bytes / readers),
            range_bytes,
            ranges: size((runs_bytes / readers / BLOCK_BYTES_MIN).clamp(16, RANGES_MAX)),
            _memory: memory,
        })
    }

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
            let gathered = parts.iter().map(|part| part.rows).sum::<u64>();
            let unsorted = match ranges.get() {
                Some(ranges) => together(Arc::clone(&self).spill_all(parts, ranges).await?, self.range_bytes),
                None => in_memory(parts, &self.codes)?,
            };
            let kept = unsorted.iter().map(Unsorted::rows).sum::<u64>();
            if kept != gathered {
                return Err(Error::Balance { read: gathered, accounted: kept });
            }
            // Begun at once, not when it is first waited for: the next range is made ready while one is written.
            let next = move |unsorted| joined(SpawnedTask::spawn(Arc::clone(&self).in_order(unsorted, depth)));
            Ok(stream::iter(unsorted).map(next).buffered(RANGES_AT_ONCE).try_flatten().boxed())
        }
        .boxed()
    }

    /// Takes rows in until there are no more; what does not fit into memory goes to disk.
    async fn gather(
        self: Arc<Self>,
        mut rows: CodedRows,
        source: Source,
        ranges: Arc<OnceCell<Ranges>>,
    ) -> Result<Part> {
        let mut part = Part::default();
        while let Some((batch, keys)) = rows.try_next().await? {
            part.rows += batch.num_rows() as u64;
            // A column that is coded no longer makes the rows before it larger.
            let grows = part.run.bytes >= self.run_bytes / 2 && !part.run.is_like(&batch);
            if ranges.get().is_none() && !grows && part.run.bytes < self.run_bytes {
                part.run.push(batch, keys, &self.codes)?;
                continue;
            }
            let ranges = ranges.get_or_try_init(|| self.cut(&source)).await?;
            self.pile_up(&mut part, ranges)?;
            if part.pile.bytes >= self.run_bytes || !part.pile.is_like(&batch) {
                part = Arc::clone(&self).spill(part, ranges.len()).await?;
            }
            part.pile.push(self.reader.schema(), &batch, &keys, ranges)?;
        }
        Ok(part)
    }

    /// Puts what was gathered before there were ranges into their order.
    fn pile_up(&self, part: &mut Part, ranges: &Ranges) -> Result<()> {
        for (batch, keys) in std::mem::take(&mut part.run).into_batches() {
            part.pile.push(self.reader.schema(), &batch, &keys, ranges)?;
        }
        Ok(())
    }

    /// Puts what was gathered to disk, range by range.
    async fn spill(self: Arc<Self>, part: Part, ranges: usize) -> Result<Part> {
        let work = SpawnedTask::spawn_blocking(move || {
            let Part { run, pile, spill, rows } = part;
            let disk = &self.session.context().runtime_env().disk_manager;
            let mut spill = match spill {
                Some(spill) => spill,
                None => Spill::new(disk, self.reader.schema(), ranges).map_err(|error| self.failed(error))?,
            };
            for block in pile.blocks() {
                let (range, rows) = block?;
                spill.write(range, &rows).map_err(|error| self.failed(error))?;
            }
            Ok(Part { run, pile: Pile::default(), spill: Some(spill), rows })
        });
        joined(work).await
    }

    /// Puts everything that is left to disk: the blocks of each range, of all readers.
    async fn spill_all(self: Arc<Self>, parts: Vec<Part>, ranges: &Ranges) -> Result<Vec<Vec<Block>>> {
        let mut blocks: Vec<Vec<Block>> = Vec::new();
        for mut part in parts {
            self.pile_up(&mut part, ranges)?;
            let part = match part.pile.is_empty() {
                true => part,
                false => Arc::clone(&self).spill(part, ranges.len()).await?,
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
                let columns: Vec<i32> = self.keys.roots().iter().map(|root| self.columns[*root]).collect();
                for file in sampled() {
                    let mut rows = self.reader.read(file, &columns, RowOptions::default());
                    while let Some(batch) = rows.try_next().await? {
                        sample.add(&self.keys.of(&batch)?);
                    }
                }
            }
            Source::Blocks(blocks) => {
                sample = Sample::of(blocks.iter().map(|block| block.rows).sum());
                for block in blocks.iter() {
                    sample.add(&self.read_block(block)?.1);
                }
            }
        }
        Ok(sample.cut(self.ranges))
    }

    /// The rows of a range, in order.
    async fn in_order(self: Arc<Self>, unsorted: Unsorted, depth: u32) -> Result<Rows> {
        let (run, picks) = match unsorted {
            Unsorted::TooLarge(blocks) => return self.sort(Source::Blocks(blocks.into()), depth + 1).await,
            Unsorted::OneKey(blocks) => {
                let rows = Arc::clone(&self).read(blocks, 1);
                let decoded = move |(batch, _): (RecordBatch, row::Rows)| std::future::ready(self.codes.decode(&batch));
                return Ok(rows.and_then(decoded).boxed());
            }
            Unsorted::Picks(run, picks) => (run, picks),
            Unsorted::Blocks(blocks) => {
                let mut run = Run::default();
                let mut rows = Arc::clone(&self).read(blocks, BLOCKS_AT_ONCE);
                while let Some((batch, keys)) = rows.try_next().await? {
                    run.push(batch, keys, &self.codes)?;
                }
                let picks = run.all();
                (Arc::new(run), picks)
            }
        };
        let sorted = run.sorted(picks);
        let rows = sorted.len();
        let batch = move |chunk| self.codes.decode(&run.gather(&sorted[chunk])?);
        Ok(ahead(stream::iter(Run::chunks(rows)).map(batch).boxed()))
    }

    /// The rows of files.
    fn read_files(self: Arc<Self>, files: Vec<DataFileEntry>) -> CodedRows {
        let rows = decoded(self.reader.clone(), files, Arc::clone(&self.columns));
        let coded = move |batch: RecordBatch| {
            let coded = || Ok((self.codes.encode(&batch)?, self.keys_of(&batch)?));
            std::future::ready(coded())
        };
        rows.and_then(coded).boxed()
    }

    /// The rows of blocks, block after block; so many are in memory at once.
    fn read(self: Arc<Self>, blocks: Vec<Block>, at_once: usize) -> CodedRows {
        let read = move |block: Block| {
            let sorter = Arc::clone(&self);
            joined(SpawnedTask::spawn_blocking(move || sorter.read_block(&block)))
        };
        stream::iter(blocks).map(read).buffered(at_once).boxed()
    }

    fn read_block(&self, block: &Block) -> Result<(RecordBatch, row::Rows)> {
        let batch = block.read().map_err(|error| self.failed(error))?;
        let keys = self.keys_of(&batch)?;
        Ok((batch, keys))
    }

    /// The keys of rows, coded or not.
    fn keys_of(&self, batch: &RecordBatch) -> Result<row::Rows> {
        self.keys.of(&self.codes.decode_columns(batch, self.keys.roots())?)
    }

    fn failed(&self, error: DataFusionError) -> Error {
        sql_error(&self.session, SUBJECT, error)
    }
}

impl Source {
    /// As many streams as there are readers, or fewer.
    fn shares(&self, sorter: &Arc<Sorter>) -> Vec<CodedRows> {
        // One after the other goes to the next reader, so that all of them see all of the keys.
        fn dealt<T: Clone>(all: &[T], shares: usize) -> Vec<Vec<T>> {
            let shares = shares.min(all.len());
            (0..shares).map(|share| all.iter().skip(share).step_by(shares).cloned().collect()).collect()
        }
        match self {
            Self::Files(files) => {
                dealt(files, sorter.readers).into_iter().map(|files| Arc::clone(sorter).read_files(files)).collect()
            }
            Self::Blocks(blocks) => {
                dealt(blocks, sorter.readers).into_iter().map(|blocks| Arc::clone(sorter).read(blocks, 1)).collect()
            }
        }
    }
}

/// Everything fits: ranges are cut from all the keys, so that each is small and several can be made ready.
fn in_memory(parts: Vec<Part>, codes: &Codes) -> Result<Vec<Unsorted>> {
    let run = parts.into_iter().try_fold(Run::default(), |run, part| run.and(part.run, codes))?;
    let ranges = run.sample().cut(size((run.bytes as u64 / CACHED_RANGE_BYTES).clamp(1, RANGES_MAX)));
    let run = Arc::new(run);
    let picks = run.split(&ranges);
    let picks = picks.into_iter().filter(|picks| !picks.is_empty());
    Ok(picks.map(|picks| Unsorted::Picks(Arc::clone(&run), picks)).collect())
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

/// The result of a task, which runs already. A decoder that panics is a failure of the sort.
async fn joined<T: Send + 'static>(task: SpawnedTask<Result<T>>) -> Result<T> {
    task.join().await.map_err(|error| Error::compute("failed to sort rows", bug(error)))?
}

#[cfg(test)]
mod tests;
