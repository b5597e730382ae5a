//! Row groups that do not fit into the memory for reading: their bytes come when the decoder asks for them, a piece of a
//! column at a time. Where not even a page of each column fits, a few columns are read at a time, and of them the rows of
//! one batch: their pages are decoded once for each batch then.
//!
//! The decoder that can do this waits for its bytes, so it has a thread of its own.

use std::{
    io::{self, Read},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{FieldRef, Schema},
};
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection},
    },
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ColumnChunkMetaData, RowGroupMetaData},
        reader::{ChunkReader, Length},
    },
};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc},
};

use super::{Decoded, ParquetFile, ReadOptions, guard, numbered, object::ObjectBytes};
use crate::{Error, Result};

/// What most writers let a page grow to; a column chunk that is smaller has smaller pages.
const PAGE_BYTES: u64 = 1 << 20;
/// Bytes of a column that are requested at once.
const PIECE_BYTES: Range<u64> = 64 << 10..8 << 20;

/// Reads rows of a file, never more of its bytes at once than its memory for reading, as far as its pages allow.
pub(super) fn read(
    file: ParquetFile,
    metadata: ArrowReaderMetadata,
    options: ReadOptions,
) -> BoxStream<'static, Result<RecordBatch>> {
    let start = async move {
        let (sender, receiver) = mpsc::channel(1);
        let turns = Turns::new();
        let asking = Asking(turns.clone());
        let handle = Handle::current();
        let started = std::thread::Builder::new().name("etl-pages".to_owned()).spawn(move || {
            let failure = Failure::default();
            let reading = Reading { file: &file, metadata, options, handle, failure: failure.clone(), turns };
            let sent = guard(file.location(), || reading.run(&sender));
            if let Err(error) = sent {
                // The decoder has words of its own for what storage did.
                let error = lock(&failure).take().unwrap_or(error);
                // Nobody may be left to be told.
                _ = sender.blocking_send(Err(error));
            }
        });
        let receiver = started.map(|_| receiver).map_err(|source| Error::compute("failed to start a thread", source));
        let batches = |(mut receiver, asking): (mpsc::Receiver<Result<RecordBatch>>, Asking)| async move {
            asking.ask();
            receiver.recv().await.map(|batch| (batch, (receiver, asking)))
        };
        match receiver {
            Ok(receiver) => stream::unfold((receiver, asking), batches).boxed(),
            Err(error) => stream::once(async { Err(error) }).boxed(),
        }
    };
    stream::once(start).flatten().boxed()
}

/// Where batches go.
type Sender = mpsc::Sender<Result<RecordBatch>>;

/// The first failure of storage.
type Failure = Arc<Mutex<Option<Error>>>;

/// When the next batch is decoded: while the last one is at work, or where that one is large, not before the next is asked
/// for.
#[derive(Clone)]
struct Turns(Arc<Semaphore>);

impl Turns {
    fn new() -> Self {
        // One batch ahead.
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits for the turn of the next batch; `None` where nobody wants it.
    async fn next(&self, after_large: bool) -> Option<()> {
        let turns = self.0.acquire_many(if after_large { 2 } else { 1 }).await.ok()?;
        turns.forget();
        if after_large {
            self.0.add_permits(1);
        }
        Some(())
    }
}

/// The side that batches are for.
struct Asking(Turns);

impl Asking {
    fn ask(&self) {
        self.0.0.add_permits(1);
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.close();
    }
}

struct Reading<'a> {
    file: &'a ParquetFile,
    /// How its columns are read.
    metadata: ArrowReaderMetadata,
    options: ReadOptions,
    handle: Handle,
    failure: Failure,
    turns: Turns,
}

impl Reading<'_> {
    /// Hands on batch after batch, as long as they are wanted.
    fn run(&self, sender: &Sender) -> Decoded<()> {
        let metadata = self.file.metadata();
        if self.handle.block_on(self.turns.next(false)).is_none() {
            return Ok(());
        }
        let groups = self.options.row_groups.clone().unwrap_or_else(|| (0..metadata.num_row_groups()).collect());
        let mut rest = self.options.selection.clone();
        for group in groups {
            let rows = usize::try_from(metadata.row_group(group).num_rows())?;
            let selection = rest.as_mut().map(|rest| rest.split_off(rows));
            if selection.as_ref().is_some_and(|selection| !selection.selects_any()) {
                continue;
            }
            let slabs = self.slabs(metadata.row_group(group));
            let is_wanted = match slabs.as_slice() {
                [] => self.run_slab(group, &self.options.roots, selection, sender)?,
                [slab] => self.run_slab(group, slab, selection, sender)?,
                slabs => self.run_slabs(group, rows, slabs, selection.as_ref(), sender)?,
            };
            if !is_wanted {
                break;
            }
        }
        Ok(())
    }

    /// Hands a batch on, then waits until the next may be decoded; whether anybody wants it.
    fn hand_on(&self, batch: RecordBatch, sender: &Sender) -> bool {
        let is_large = batch.get_array_memory_size() as u64 > self.file.read_bytes;
        sender.blocking_send(Ok(batch)).is_ok() && self.handle.block_on(self.turns.next(is_large)).is_some()
    }

    /// The root columns in groups of which a page each fits.
    fn slabs(&self, group: &RowGroupMetaData) -> Vec<Vec<usize>> {
        let mut roots = self.options.roots.clone();
        roots.sort_unstable();
        roots.dedup();
        let sizes = root_sizes(self.file, group, |chunk| {
            u64::try_from(chunk.uncompressed_size()).unwrap_or(PAGE_BYTES).min(PAGE_BYTES)
        });
        let mut slabs: Vec<Vec<usize>> = Vec::new();
        let mut slab_bytes = 0;
        for root in roots {
            slab_bytes += sizes[root];
            match slabs.last_mut() {
                Some(slab) if slab_bytes <= self.file.read_bytes => slab.push(root),
                _ => {
                    slab_bytes = sizes[root];
                    slabs.push(vec![root]);
                }
            }
        }
        slabs
    }

    fn run_slab(
        &self,
        group: usize,
        roots: &[usize],
        selection: Option<RowSelection>,
        sender: &Sender,
    ) -> Decoded<bool> {
        for batch in self.reader(group, roots, selection, self.options.row_number)? {
            if !self.hand_on(batch?, sender) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn run_slabs(
        &self,
        group: usize,
        rows: usize,
        slabs: &[Vec<usize>],
        selection: Option<&RowSelection>,
        sender: &Sender,
    ) -> Decoded<bool> {
        // Every window decodes its pages anew: as few windows as their rows have memory.
        let batch_rows = self.options.batch_rows.max(1);
        let window_rows = self.file.rows_within(&self.options.roots).max(batch_rows);
        for start in (0..rows).step_by(window_rows) {
            let range = start..rows.min(start + window_rows);
            let window = RowSelection::from_consecutive_ranges([range].into_iter(), rows);
            let window = selection.map_or_else(|| window.clone(), |selection| window.intersection(selection));
            if !window.selects_any() {
                continue;
            }
            let mut columns: Vec<(FieldRef, ArrayRef)> = Vec::new();
            let mut row_numbers = None;
            for (index, roots) in slabs.iter().enumerate() {
                let has_number = self.options.row_number && index == 0;
                let reader = self.reader(group, roots, Some(window.clone()), has_number)?;
                let schema = arrow::array::RecordBatchReader::schema(&reader);
                let batches = reader.collect::<std::result::Result<Vec<_>, _>>()?;
                let batch = concat_batches(&schema, &batches)?;
                let fields = batch.schema();
                columns.extend(fields.fields().iter().cloned().zip(batch.columns().iter().cloned()));
                if has_number {
                    row_numbers = columns.pop();
                }
            }
            columns.extend(row_numbers);
            let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
            let options = RecordBatchOptions::new().with_row_count(Some(window.row_count()));
            let read = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)?;
            if read.num_rows() <= batch_rows {
                if !self.hand_on(read, sender) {
                    return Ok(false);
                }
                continue;
            }
            for start in (0..read.num_rows()).step_by(batch_rows) {
                // Copied: a slice would count, and hold, the whole window.
                let rows = UInt64Array::from_iter_values(start as u64..read.num_rows().min(start + batch_rows) as u64);
                if !self.hand_on(take_record_batch(&read, &rows)?, sender) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// A decoder of some columns of a row group.
    fn reader(
        &self,
        group: usize,
        roots: &[usize],
        selection: Option<RowSelection>,
        row_number: bool,
    ) -> Decoded<ParquetRecordBatchReader> {
        let metadata = if row_number { numbered(&self.metadata)? } else { self.metadata.clone() };
        let mask = ProjectionMask::roots(self.file.metadata.parquet_schema(), roots.iter().copied());
        let pieces = self.pieces(self.file.metadata().row_group(group), &mask)?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(pieces, metadata)
            .with_projection(mask)
            .with_batch_size(self.options.batch_rows.max(1))
            .with_row_groups(vec![group]);
        if let Some(selection) = selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build()
    }

    fn pieces(&self, group: &RowGroupMetaData, mask: &ProjectionMask) -> Decoded<Pieces> {
        let leaves = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
        let mut ranges: Vec<Range<u64>> = leaves
            .map(|(_, chunk)| {
                let (start, length) = chunk.byte_range();
                start..start.saturating_add(length)
            })
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let read_bytes = self.file.read_bytes;
        let piece_bytes = read_bytes / ranges.len().max(1) as u64;
        let source = Source {
            bytes: Arc::clone(&self.file.bytes),
            handle: self.handle.clone(),
            failure: Arc::clone(&self.failure),
            piece_bytes: piece_bytes.clamp(PIECE_BYTES.start, PIECE_BYTES.end),
        };
        let all_bytes: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let mut found = vec![Bytes::new(); ranges.len()];
        if all_bytes <= read_bytes {
            // One request for neighbours.
            found = source.fetch(&ranges)?;
        }
        let chunks = ranges
            .into_iter()
            .zip(found)
            .map(|(range, bytes)| Chunk { piece: Mutex::new(Piece { start: range.start, bytes }), range });
        Ok(Pieces { source: Arc::new(source), chunks: Arc::new(chunks.collect()) })
    }
}

/// What the chosen chunks of each root column of a row group amount to.
pub(super) fn root_sizes(
    file: &ParquetFile,
    group: &RowGroupMetaData,
    size: impl Fn(&ColumnChunkMetaData) -> u64,
) -> Vec<u64> {
    let descriptor = file.metadata.parquet_schema();
    let mut sizes = vec![0_u64; file.metadata.schema().fields().len()];
    for (leaf, chunk) in group.columns().iter().enumerate() {
        if let Some(total) = sizes.get_mut(descriptor.get_column_root_idx(leaf)) {
            *total = total.saturating_add(size(chunk));
        }
    }
    sizes
}

/// Where bytes come from, and how many at once.
struct Source {
    bytes: Arc<ObjectBytes>,
    handle: Handle,
    failure: Failure,
    piece_bytes: u64,
}

impl Source {
    fn fetch(&self, ranges: &[Range<u64>]) -> Decoded<Vec<Bytes>> {
        self.handle.block_on(self.bytes.ranges(ranges)).map_err(|error| {
            let said = ParquetError::General(error.to_string());
            lock(&self.failure).get_or_insert(error);
            said
        })
    }
}

/// The column chunks of a row group, of each of which a piece is in memory.
struct Pieces {
    source: Arc<Source>,
    chunks: Arc<Vec<Chunk>>,
}

struct Chunk {
    range: Range<u64>,
    piece: Mutex<Piece>,
}

struct Piece {
    start: u64,
    bytes: Bytes,
}

impl Pieces {
    /// Bytes from `start` on: at least `length`, more where they are there; fewer at the end of a chunk.
    fn from(&self, start: u64, length: u64) -> Decoded<Bytes> {
        let place = self.chunks.partition_point(|chunk| chunk.range.start <= start).checked_sub(1);
        let outside = || ParquetError::EOF(format!("{start} is in no column chunk"));
        let chunk =
            place.map(|place| &self.chunks[place]).filter(|chunk| start < chunk.range.end).ok_or_else(outside)?;
        let mut piece = lock(&chunk.piece);
        let wanted = start..chunk.range.end.min(start.saturating_add(length));
        let end = piece.start + piece.bytes.len() as u64;
        if wanted.start < piece.start || wanted.end > end {
            let range = start..chunk.range.end.min(start + length.max(self.source.piece_bytes));
            // What was there is dropped before more comes.
            piece.bytes = Bytes::new();
            let mut found = self.source.fetch(std::slice::from_ref(&range))?;
            *piece = Piece { start, bytes: found.pop().unwrap_or_default() };
        }
        let offset = usize::try_from(start - piece.start)?;
        let bytes = piece.bytes.slice(offset..);
        if wanted.end >= piece.start + piece.bytes.len() as u64 && length > 1 {
            // A page up to the piece's end: nobody comes back for it.
            piece.bytes = Bytes::new();
        }
        Ok(bytes)
    }
}

impl Length for Pieces {
    fn len(&self) -> u64 {
        self.chunks.last().map_or(0, |chunk| chunk.range.end)
    }
}

impl ChunkReader for Pieces {
    type T = PieceReader;

    fn get_read(&self, start: u64) -> ParquetResult<PieceReader> {
        let pieces = Self { source: Arc::clone(&self.source), chunks: Arc::clone(&self.chunks) };
        Ok(PieceReader { pieces, at: start })
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.from(start, length as u64)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} are not in the column chunk")));
        }
        Ok(bytes.slice(..length))
    }
}

/// Reads on from a place: page headers.
struct PieceReader {
    pieces: Pieces,
    at: u64,
}

impl Read for PieceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.pieces.from(self.at, 1).map_err(io::Error::other)?;
        let length = bytes.len().min(buffer.len());
        buffer[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn after_a_large_batch_none_is_decoded_before_it_is_asked_for() {
        let turns = Turns::new();
        let asking = Asking(turns.clone());
        let next = |after_large| turns.next(after_large).now_or_never();
        asking.ask();
        assert_eq!((next(false), next(false), next(false)), (Some(Some(())), Some(Some(())), None), "one is ahead");
        asking.ask();
        assert_eq!(next(true), None, "the one that was asked for is the large one");
        asking.ask();
        assert_eq!(next(true), Some(Some(())));
        drop(asking);
        assert_eq!(next(false), Some(None), "nobody wants it");
    }
}
