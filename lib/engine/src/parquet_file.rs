//! One Parquet object, opened for reading: its footer, its columns as Arrow has them, and its rows.
//!
//! Owns which bytes are asked for and when, and turns whatever a damaged file does to the decoder into a typed error.
//! Refuses to know tables, contracts and field ids.

pub(crate) mod bounds;
pub(crate) mod chunks;
mod counts;
mod found;
mod object;
mod reasons;
mod schema;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Field, SchemaRef},
};
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
    file::metadata::ParquetMetaData,
};

use crate::{Error, Result};
use object::ObjectBytes;
use schema::Text;

/// Name of the trailing column of row numbers that [`ReadOptions::row_number`] adds.
pub const ROW_NUMBER: &str = "_pos";

/// A row group whose chosen columns are larger than this is not read ahead of its turn.
const READ_AHEAD_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// A Parquet object whose footer has been read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ParquetFile {
    bytes: Arc<ObjectBytes>,
    metadata: ArrowReaderMetadata,
    /// How to read text as bytes; set once some text turned out not to be UTF-8.
    as_found: Arc<OnceLock<ArrowReaderMetadata>>,
    /// What the footer says of the number of rows, where its row groups say something else.
    rows_claimed: Option<i64>,
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
        let mut bytes = ObjectBytes { store, path, location, etag, tail: None };
        if size == 0 {
            return Err(bytes.unreadable("it is empty"));
        }
        let footer = bytes.footer(size).await?;
        let location = bytes.location.clone();
        let (metadata, rows_claimed) = guard(&location, || {
            let (footer, rows_claimed) = counts::counted(footer)?;
            Ok::<_, ParquetError>((schema::arrow_metadata(Arc::new(footer), Text::Checked)?, rows_claimed))
        })?;
        Ok(Self { bytes: Arc::new(bytes), metadata, as_found: Arc::default(), rows_claimed })
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

    /// Reads rows. The next row group's bytes are fetched while one is decoded. The stream ends with its first error; one
    /// that has other rows than its row groups say is unreadable, too.
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
        let bytes = Arc::clone(&self.bytes);
        let decoder = match guard(&bytes.location, || self.decoder(options, metadata)) {
            Ok(decoder) => decoder,
            Err(error) => return stream::once(async { Err(error) }).boxed(),
        };
        let roots_bytes = decoder.row_group_bytes;
        let start =
            Reading { bytes, current: None, ahead: Some(Ahead::Waiting(Box::new(decoder.decoder))), roots_bytes };
        stream::try_unfold(
            start,
            |mut reading| async move { Ok(reading.next_batch().await?.map(|batch| (batch, reading))) },
        )
        .boxed()
    }

    fn decoder(&self, options: ReadOptions, metadata: &ArrowReaderMetadata) -> Decoded<SizedDecoder> {
        let mut metadata = metadata.clone();
        if options.row_number {
            let field = Field::new(ROW_NUMBER, DataType::Int64, false).with_extension_type(RowNumber);
            metadata = ArrowReaderMetadata::try_new(
                Arc::clone(metadata.metadata()),
                ArrowReaderOptions::new()
                    .with_schema(Arc::clone(metadata.schema()))
                    .with_virtual_columns(vec![Arc::new(field)])?,
            )?;
        }
        let descriptor = self.metadata.parquet_schema();
        let mask = ProjectionMask::roots(descriptor, options.roots.iter().copied());
        let row_group_bytes = self
            .metadata()
            .row_groups()
            .iter()
            .map(|group| {
                let chosen = group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf));
                chosen.map(|(_, chunk)| u64::try_from(chunk.compressed_size()).unwrap_or(0)).sum()
            })
            .collect();
        let mut builder = ParquetPushDecoderBuilder::new_with_metadata(metadata)
            .with_projection(mask)
            .with_batch_size(options.batch_rows.max(1));
        if let Some(row_groups) = options.row_groups {
            builder = builder.with_row_groups(row_groups);
        }
        if let Some(selection) = options.selection {
            builder = builder.with_row_selection(selection);
        }
        Ok(SizedDecoder { decoder: builder.build()?, row_group_bytes })
    }
}

struct SizedDecoder {
    decoder: ParquetPushDecoder,
    row_group_bytes: Vec<u64>,
}

/// A read under way: the row group being decoded and the one being fetched.
struct Reading {
    bytes: Arc<ObjectBytes>,
    current: Option<ParquetRecordBatchReader>,
    ahead: Option<Ahead>,
    roots_bytes: Vec<u64>,
}

enum Ahead {
    Waiting(Box<ParquetPushDecoder>),
    Fetching(SpawnedTask<Result<Fetched>>),
}

type Fetched = (Box<ParquetPushDecoder>, Option<ParquetRecordBatchReader>);

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

    fn prepare(&self, decoder: Box<ParquetPushDecoder>) -> Result<Option<Ahead>> {
        let Some(next) = guard(&self.bytes.location, || decoder.peek_next_row_group())? else { return Ok(None) };
        let next_bytes = self.roots_bytes.get(next).copied().unwrap_or(u64::MAX);
        Ok(Some(if next_bytes > READ_AHEAD_BYTES_MAX {
            Ahead::Waiting(decoder)
        } else {
            Ahead::Fetching(SpawnedTask::spawn(fetch(Arc::clone(&self.bytes), decoder)))
        }))
    }
}

/// Brings the bytes of the next row group; no reader when there is none.
async fn fetch(bytes: Arc<ObjectBytes>, mut decoder: Box<ParquetPushDecoder>) -> Result<Fetched> {
    loop {
        match guard(&bytes.location, || decoder.try_next_reader())? {
            DecodeResult::NeedsData(ranges) => {
                let data = bytes.ranges(&ranges).await?;
                guard(&bytes.location, || decoder.push_ranges(ranges, data))?;
            }
            DecodeResult::Data(reader) => return Ok((decoder, Some(reader))),
            DecodeResult::Finished => return Ok((decoder, None)),
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
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            format!("the decoder panicked: {message}")
        }
    };
    Err(Error::Unreadable { location: location.to_owned(), reason })
}

#[cfg(test)]
mod tests;
