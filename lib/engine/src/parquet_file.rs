//! One Parquet object, opened for reading: its footer, its columns as Arrow has them, and its rows.
//!
//! Owns which bytes are asked for and when, and turns whatever a damaged file does to the decoder into a typed error.
//! Refuses to know tables, contracts and field ids.

pub(crate) mod bounds;
pub(crate) mod chunks;
mod counts;
mod found;
mod object;
mod pages;
mod reasons;
mod schema;

use std::{
    collections::HashMap,
    ops::Range,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, SchemaRef},
};
use bytes::Bytes;
use datafusion::common::runtime::SpawnedTask;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use object_store::{ObjectStore, path::Path};
use parquet::{
    DecodeResult,
    arrow::{
        ProjectionMask, RowNumber,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, RowSelection},
        push_decoder::{ParquetPushDecoder, ParquetPushDecoderBuilder},
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, RowGroupMetaData},
};

use crate::{Error, Result};
use object::ObjectBytes;
use schema::Text;

/// Name of the trailing column of row numbers that [`ReadOptions::row_number`] adds.
pub const ROW_NUMBER: &str = "_pos";

/// Memory for reading one file, unless said.
pub(crate) const READ_BYTES_DEFAULT: u64 = 32 << 20;
/// Bytes of small row groups that are requested together, and how many column chunks that may be.
const TOGETHER_BYTES_MAX: u64 = 4 << 20;
const TOGETHER_RANGES_MAX: usize = 512;
/// Bytes of decoded values that one batch has at most.
const BATCH_BYTES_MAX: u64 = 16 << 20;
/// Most memory for reading one file that is of use.
const READ_BYTES_MAX: u64 = 512 << 20;

/// A Parquet object whose footer has been read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    bytes: Arc<ObjectBytes>,
    metadata: ArrowReaderMetadata,
    /// How to read text as bytes; set once some text turned out not to be UTF-8.
    as_found: Arc<OnceLock<ArrowReaderMetadata>>,
    /// What the footer says of the number of rows, where its row groups say something else.
    rows_claimed: Option<i64>,
    /// Memory for bytes that are not decoded yet.
    read_bytes: u64,
}

/// What the decoder returns.
type Decoded<T> = std::result::Result<T, ParquetError>;

/// What to read of a file.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// Root columns, by their index in the file's schema. The batches have them in the file's order, whatever the
    /// order here.
    pub roots: Vec<usize>,
    /// Row groups, in this order; `None` for all.
    pub row_groups: Option<Vec<usize>>,
    /// Rows among those of the chosen row groups, counted from the first of them; `None` for all.
    pub selection: Option<RowSelection>,
    /// Rows per batch, at least 1. The last batch of a row group may be smaller.
    pub batch_rows: usize,
    /// Adds [`ROW_NUMBER`], an Int64 column after all others: the row's number in the file, from 0.
    pub row_number: bool,
}

impl ParquetFile {
    /// Opens an object of `size` bytes: one request for its end, a second one when the footer is larger than that.
    ///
    /// `location` names it in errors. With `etag`, every request carries it as If-Match. Errors:
    /// [`Error::Replaced`] when the object is gone or has another etag, [`Error::Unreadable`] when it is no Parquet
    /// that can be decoded.
    pub async fn open(
        store: Arc<dyn ObjectStore>,
        path: Path,
        location: String,
        size: u64,
        etag: Option<String>,
    ) -> Result<Self> {
        Self::open_again(store, path, location, size, etag, Bytes::new()).await
    }

    /// Opens an object of which [`Self::end`] has been kept: without a request when that has the footer.
    pub(crate) async fn open_again(
        store: Arc<dyn ObjectStore>,
        path: Path,
        location: String,
        size: u64,
        etag: Option<String>,
        end: Bytes,
    ) -> Result<Self> {
        let mut bytes = ObjectBytes { store, path, location, etag, end, is_whole: false };
        if size == 0 {
            return Err(bytes.unreadable("it is empty"));
        }
        let footer = bytes.footer(size).await?;
        let location = bytes.location.clone();
        let (metadata, rows_claimed) = guard(&location, || {
            let (footer, rows_claimed) = counts::counted(footer)?;
            Ok::<_, ParquetError>((schema::arrow_metadata(Arc::new(footer), Text::Checked)?, rows_claimed))
        })?;
        Ok(Self {
            bytes: Arc::new(bytes),
            metadata,
            as_found: Arc::default(),
            rows_claimed,
            read_bytes: READ_BYTES_DEFAULT,
        })
    }

    /// The same file, read with so much memory for bytes that are not decoded yet.
    pub fn with_read_bytes(self, read_bytes: u64) -> Self {
        Self { read_bytes: read_bytes.min(READ_BYTES_MAX), ..self }
    }

    /// The footer: row groups, column chunks, statistics. Without page indexes.
    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        self.metadata.metadata()
    }

    /// The file's columns as they are read: as its Parquet types say, strings as `Utf8View`, INT96 as a timestamp in
    /// microseconds. Field ids are in each field's metadata as `PARQUET:field_id`.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::clone(self.metadata.schema())
    }

    /// The end of the object that opening it again needs: all of a small object, or its footer.
    pub(crate) fn end(&self) -> &Bytes {
        &self.bytes.end
    }

    /// Where it lies, for messages.
    pub fn location(&self) -> &str {
        &self.bytes.location
    }

    /// Rows in the file: the sum of its row groups.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// What the footer says of the number of rows, where its row groups say something else.
    pub fn rows_claimed(&self) -> Option<i64> {
        self.rows_claimed
    }

    /// Rows of these root columns that fit into one batch, by what the footer says of their size; at least 1.
    pub fn rows_within(&self, roots: &[usize]) -> usize {
        let mut is_read = vec![false; self.metadata.schema().fields().len()];
        roots.iter().filter_map(|root| is_read.get_mut(*root).map(|is_read| *is_read = true)).for_each(drop);
        let bytes = self.metadata().row_groups().iter().fold(0_u64, |sum, group| {
            let sizes = pages::root_sizes(self, group, |chunk| u64::try_from(chunk.uncompressed_size()).unwrap_or(0));
            let read = sizes.iter().zip(&is_read).filter(|(_, is_read)| **is_read);
            read.fold(sum, |sum, (bytes, _)| sum.saturating_add(*bytes))
        });
        let row_bytes = bytes / self.rows().max(1) + 1;
        let rows = self.read_bytes.clamp(1 << 20, BATCH_BYTES_MAX) / row_bytes;
        usize::try_from(rows.max(1)).unwrap_or(usize::MAX)
    }

    /// Reads rows. The next row group's bytes are fetched while one is decoded, when both fit into the memory for reading;
    /// one that does not is read in pieces. The stream ends with its first error; one that has other rows than its row groups
    /// say is unreadable, too.
    pub fn read(&self, options: ReadOptions) -> BoxStream<'static, Result<RecordBatch>> {
        let rows = self.rows_of(&options);
        let (file, kept) = (self.clone(), options.clone());
        let batches = counts::held(self.decode(options, &self.metadata), rows, self.bytes.location.clone());
        batches.map_err(move |error| file.explained(error, &kept)).boxed()
    }

    /// Rows that a read gives.
    fn rows_of(&self, options: &ReadOptions) -> u64 {
        match &options.selection {
            Some(selection) => selection.row_count() as u64,
            None => self.rows_in(options.row_groups.as_deref()),
        }
    }

    fn rows_in(&self, row_groups: Option<&[usize]>) -> u64 {
        let groups = self.metadata().row_groups();
        let rows = |index: usize| groups.get(index).map_or(0, |group| u64::try_from(group.num_rows()).unwrap_or(0));
        match row_groups {
            Some(chosen) => chosen.iter().map(|index| rows(*index)).sum(),
            None => (0..groups.len()).map(rows).sum(),
        }
    }

    fn decode(&self, options: ReadOptions, metadata: &ArrowReaderMetadata) -> BoxStream<'static, Result<RecordBatch>> {
        let group_bytes = self.group_bytes_max(&options);
        if !self.bytes.is_whole && group_bytes > self.read_bytes {
            return pages::read(self.clone(), metadata.clone(), options);
        }
        let bytes = Arc::clone(&self.bytes);
        let together = self.read_together(&options);
        let decoder = match guard(&bytes.location, || self.decoder(options, metadata)) {
            Ok(decoder) => Box::new(Groups { decoder, together }),
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let start = Reading {
            bytes,
            current: None,
            ahead: Some(Ahead::Waiting(decoder)),
            reads_ahead: group_bytes.saturating_mul(2) <= self.read_bytes,
        };
        stream::try_unfold(
            start,
            |mut reading| async move { Ok(reading.next_batch().await?.map(|batch| (batch, reading))) },
        )
        .boxed()
    }

    /// Bytes of the chosen columns in the largest of the chosen row groups.
    fn group_bytes_max(&self, options: &ReadOptions) -> u64 {
        let bytes = |group: &RowGroupMetaData| -> u64 {
            let sizes =
                pages::root_sizes(self, group, |chunk| u64::try_from(chunk.compressed_size()).unwrap_or(u64::MAX));
            options.roots.iter().filter_map(|root| sizes.get(*root)).fold(0, |sum, bytes| sum.saturating_add(*bytes))
        };
        let groups = self.metadata().row_groups();
        match &options.row_groups {
            Some(chosen) => chosen.iter().filter_map(|index| groups.get(*index)).map(bytes).max(),
            None => groups.iter().map(bytes).max(),
        }
        .unwrap_or(0)
    }

    /// The chosen chunks of small row groups that follow each other, to be requested together: by the first of them.
    fn read_together(&self, options: &ReadOptions) -> HashMap<u64, Vec<Range<u64>>> {
        let mut together: HashMap<u64, Vec<Range<u64>>> = HashMap::new();
        let groups = self.metadata().row_groups();
        // What a selection leaves out is not asked for.
        if self.bytes.is_whole || options.selection.is_some() || options.roots.is_empty() || groups.len() < 2 {
            return together;
        }
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), options.roots.iter().copied());
        let bytes_max = TOGETHER_BYTES_MAX.min(self.read_bytes / 2);
        let (mut first, mut bytes) = (0, u64::MAX);
        for index in options.row_groups.clone().unwrap_or_else(|| (0..groups.len()).collect()) {
            let Some(group) = groups.get(index).filter(|group| group.num_rows() > 0) else { continue };
            let chunks = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
            let ranges: Vec<Range<u64>> = chunks
                .map(|(_, chunk)| {
                    let (start, length) = chunk.byte_range();
                    start..start.saturating_add(length)
                })
                .collect();
            let own = ranges.iter().fold(0_u64, |sum, range| sum.saturating_add(range.end - range.start));
            let Some(start) = ranges.iter().map(|range| range.start).min() else { continue };
            bytes = bytes.saturating_add(own);
            let has_room = together.get(&first).is_some_and(|known| known.len() + ranges.len() <= TOGETHER_RANGES_MAX);
            if bytes > bytes_max || !has_room {
                (first, bytes) = (start, own);
            }
            together.entry(first).or_default().extend(ranges);
        }
        together
    }

    fn decoder(&self, options: ReadOptions, metadata: &ArrowReaderMetadata) -> Decoded<ParquetPushDecoder> {
        let metadata = if options.row_number { numbered(metadata)? } else { metadata.clone() };
        let descriptor = self.metadata.parquet_schema();
        let mask = ProjectionMask::roots(descriptor, options.roots.iter().copied());
        // The decoder makes room for as many rows as a batch may have, however few there are.
        let groups = self.metadata().row_groups().iter().map(|group| usize::try_from(group.num_rows()).unwrap_or(0));
        let rows_max =
            groups.max().unwrap_or(0).min(options.selection.as_ref().map_or(usize::MAX, RowSelection::row_count));
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(metadata)
            .with_projection(mask)
            .with_batch_size(options.batch_rows.min(rows_max).max(1));
        if let Some(row_groups) = options.row_groups {
            builder = builder.with_row_groups(row_groups);
        }
        if let Some(selection) = options.selection {
            builder = builder.with_row_selection(selection);
        }
        builder.build()
    }
}

/// The footer with [`ROW_NUMBER`] as a column.
fn numbered(metadata: &ArrowReaderMetadata) -> Decoded<ArrowReaderMetadata> {
    let field = Field::new(ROW_NUMBER, DataType::Int64, false).with_extension_type(RowNumber);
    let options = ArrowReaderOptions::new()
        .with_schema(Arc::clone(metadata.schema()))
        .with_virtual_columns(vec![Arc::new(field)])?;
    ArrowReaderMetadata::try_new(Arc::clone(metadata.metadata()), options)
}

/// A read under way: the row group being decoded and the one being fetched.
struct Reading {
    bytes: Arc<ObjectBytes>,
    current: Option<ParquetRecordBatchReader>,
    ahead: Option<Ahead>,
    /// Whether there is memory for two row groups.
    reads_ahead: bool,
}

/// The decoder of the row groups that are left, and which chunks are requested with which.
struct Groups {
    decoder: ParquetPushDecoder,
    together: HashMap<u64, Vec<Range<u64>>>,
}

enum Ahead {
    Waiting(Box<Groups>),
    Fetching(SpawnedTask<Result<Fetched>>),
}

type Fetched = (Box<Groups>, Option<ParquetRecordBatchReader>);

impl Reading {
    async fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(reader) = &mut self.current {
                match guard(&self.bytes.location, || reader.next().transpose())? {
                    Some(batch) => return Ok(Some(batch)),
                    None => self.current = None,
                }
            }
            let (decoder, reader) = match self.ahead.take() {
                None => return Ok(None),
                Some(Ahead::Waiting(decoder)) => fetch(Arc::clone(&self.bytes), decoder).await?,
                Some(Ahead::Fetching(task)) => task.join().await.map_err(|source| {
                    Error::compute(format!("failed to fetch a row group of {}", self.bytes.location), source)
                })??,
            };
            if reader.is_none() {
                return Ok(None);
            }
            self.current = reader;
            self.ahead = self.prepare(decoder)?;
        }
    }

    fn prepare(&self, groups: Box<Groups>) -> Result<Option<Ahead>> {
        if guard(&self.bytes.location, || groups.decoder.peek_next_row_group())?.is_none() {
            return Ok(None);
        }
        Ok(Some(if self.reads_ahead {
            Ahead::Fetching(SpawnedTask::spawn(fetch(Arc::clone(&self.bytes), groups)))
        } else {
            Ahead::Waiting(groups)
        }))
    }
}

/// Brings the bytes of the next row group, with those of small ones that follow; no reader when there is none.
async fn fetch(bytes: Arc<ObjectBytes>, mut groups: Box<Groups>) -> Result<Fetched> {
    loop {
        match guard(&bytes.location, || groups.decoder.try_next_reader())? {
            DecodeResult::NeedsData(mut ranges) => {
                let first = ranges.iter().map(|range| range.start).min();
                let more = first.and_then(|first| groups.together.remove(&first)).unwrap_or_default();
                ranges.extend(more.into_iter().filter(|range| !ranges.contains(range)).collect::<Vec<_>>());
                let data = bytes.ranges(&ranges).await?;
                guard(&bytes.location, || groups.decoder.push_ranges(ranges, data))?;
            }
            DecodeResult::Data(reader) => return Ok((groups, Some(reader))),
            DecodeResult::Finished => return Ok((groups, None)),
        }
    }
}

/// Runs a step of the decoder: its errors and its panics both say that the file is unreadable.
fn guard<T, E: std::fmt::Display>(location: &str, step: impl FnOnce() -> std::result::Result<T, E>) -> Result<T> {
    let reason = match std::panic::catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            format!("the decoder gave up: {message}")
        }
    };
    Err(Error::Unreadable { location: location.to_owned(), reason })
}

#[cfg(test)]
mod tests;
