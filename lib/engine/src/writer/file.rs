//! One Parquet file while it is written.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use parquet::{
    column::writer::ColumnCloseResult,
    file::{reader::ChunkReader, writer::SerializedFileWriter},
};
use tokio::{runtime::Handle, task::JoinSet};

use super::{
    buffer::RowBuffer,
    chunk::Chunk,
    encoder::{EncodedColumn, Encoder},
    layout::Layout,
    upload::{Outlet, Upload},
};
use crate::{
    Error, Result,
    metrics::{FileMetrics, file_metrics, float_leaves},
    parquet_file::chunks::RowGroupChunks,
    tasks::bug,
};

/// How much larger rows are in memory than in a file, about.
const WAITING_PER_ENCODED: usize = 2;

/// One Parquet file while it is written.
pub(super) struct FileWriter {
    layout: Arc<Layout>,
    parquet: SerializedFileWriter<Sink>,
    sink: Sink,
    /// Rows of the row group in progress, while they are not worth encoders: in a table of many columns, or one of many
    /// open files, those would take more memory than all rows.
    waiting: RowBuffer,
    /// Encoders of the row group in progress, one for each top-level column. Empty while rows wait and between row groups.
    encoders: Vec<Encoder>,
    group_rows: usize,
    nan_counts: HashMap<i32, u64>,
    /// Float fields of which a row group that was taken over may hold any number of NaNs.
    unknown_nans: HashSet<i32>,
    upload: Upload,
}

/// A file that is written and stored.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) location: String,
    pub(super) file_bytes: u64,
    pub(super) metrics: FileMetrics,
}

impl FileWriter {
    /// Begins a file. Nothing is stored before it is closed or has grown.
    pub(super) fn new(layout: Arc<Layout>, outlet: Outlet, location: String) -> Result<Self> {
        let sink = Sink::default();
        let properties = Arc::clone(&layout.properties);
        let parquet = SerializedFileWriter::new(sink.clone(), Arc::clone(&layout.parquet), properties)
            .map_err(|error| failed(&location, error))?;
        Ok(Self {
            layout,
            parquet,
            sink,
            waiting: RowBuffer::default(),
            encoders: Vec::new(),
            group_rows: 0,
            nan_counts: HashMap::new(),
            unknown_nans: HashSet::new(),
            upload: Upload::new(outlet, location),
        })
    }

    /// Where the file will be.
    pub(super) fn location(&self) -> &str {
        self.upload.location()
    }

    /// Bytes in memory: pages, dictionaries and what waits for the upload.
    pub(super) fn memory_bytes(&self) -> usize {
        self.group_memory_bytes() + self.upload.memory_bytes()
    }

    /// Bytes in memory of the row group in progress.
    pub(super) fn group_memory_bytes(&self) -> usize {
        self.waiting.memory_bytes() + self.encoders.iter().map(Encoder::memory_bytes).sum::<usize>()
    }

    /// Bytes that the file will have, about.
    pub(super) fn file_bytes(&self) -> usize {
        self.parquet.bytes_written() + self.group_bytes()
    }

    fn group_bytes(&self) -> usize {
        self.waiting.memory_bytes() / WAITING_PER_ENCODED
            + self.encoders.iter().map(Encoder::encoded_bytes).sum::<usize>()
    }

    /// Adds rows, each column on whichever core is free.
    pub(super) async fn write(&mut self, chunk: Chunk) -> Result<()> {
        self.group_rows += chunk.rows;
        if self.encoders.is_empty() && self.waiting.memory_bytes() + chunk.bytes < self.layout.waiting_bytes_max {
            self.waiting.push(&chunk, &self.layout)?;
        } else {
            if !self.waiting.is_empty() {
                let waiting = Chunk::whole(std::mem::take(&mut self.waiting).into_inputs());
                self.encode(waiting).await?;
            }
            self.encode(chunk).await?;
        }
        let settings = &self.layout.settings;
        if self.group_rows >= settings.row_group_rows_max || self.group_bytes() >= settings.row_group_bytes {
            self.end_row_group().await?;
        }
        Ok(())
    }

    async fn encode(&mut self, chunk: Chunk) -> Result<()> {
        if self.encoders.is_empty() {
            let columns = 0..self.layout.leaves.len();
            self.encoders = columns.map(|index| Encoder::new(&self.layout, index, &chunk)).collect::<Result<_>>()?;
        }
        let chunk = Arc::new(chunk);
        let mut encoding = JoinSet::new();
        for mut encoder in std::mem::take(&mut self.encoders) {
            let chunk = Arc::clone(&chunk);
            encoding.spawn(async move { encoder.write(&chunk).map(|()| encoder) });
        }
        while let Some(encoder) = encoding.join_next().await {
            let encoder = encoder.map_err(|error| failed(self.upload.location(), bug(error)))?;
            self.encoders.push(encoder?);
        }
        self.encoders.sort_unstable_by_key(Encoder::index);
        Ok(())
    }

    /// Ends the row group in progress and sends it on its way.
    pub(super) async fn end_row_group(&mut self) -> Result<()> {
        let columns = if self.waiting.is_empty() {
            let encoders = std::mem::take(&mut self.encoders);
            stream::iter(encoders.into_iter().map(Encoder::close)).boxed()
        } else {
            let waiting = Chunk::whole(std::mem::take(&mut self.waiting).into_inputs());
            encode_in_turn(Arc::clone(&self.layout), waiting)
        };
        self.append_row_group(columns).await?;
        self.upload.send().await
    }

    async fn append_row_group(&mut self, mut columns: BoxStream<'static, Result<EncodedColumn>>) -> Result<()> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let location = self.upload.location().to_owned();
        let mut row_group = self.parquet.next_row_group().map_err(|error| failed(&location, error))?;
        while let Some(EncodedColumn { leaves, nan_counts }) = columns.try_next().await? {
            for (id, count) in nan_counts {
                *self.nan_counts.entry(id).or_default() += count;
            }
            for leaf in leaves {
                leaf.append_to_row_group(&mut row_group).map_err(|error| failed(&location, error))?;
                // Column by column, so that no second copy of the row group comes to be.
                self.upload.push(self.sink.take());
            }
        }
        row_group.close().map_err(|error| failed(&location, error))?;
        self.group_rows = 0;
        Ok(())
    }

    /// Takes over a row group of another file, whose columns are the same. `nans` are the NaNs in it by field id.
    pub(super) async fn copy_row_group(&mut self, chunks: RowGroupChunks, nans: &HashMap<i32, u64>) -> Result<()> {
        self.end_row_group().await?;
        for (id, index) in float_leaves(&self.layout.schema, self.parquet.schema_descr()) {
            let chunk = chunks.metadata.column(index);
            // Of a chunk without bounds it is not known whether it has none for want of values.
            let has_bounds = chunk.statistics().is_some_and(|of| of.min_bytes_opt().is_some());
            let values = u64::try_from(chunk.num_values()).unwrap_or(u64::MAX);
            let nulls = chunk.statistics().and_then(|of| of.null_count_opt());
            match nans.get(&id) {
                Some(count) if has_bounds || nulls.map(|nulls| nulls + count) == Some(values) => {
                    *self.nan_counts.entry(id).or_default() += count;
                }
                _ => drop(self.unknown_nans.insert(id)),
            }
        }
        let columns = chunks.columns()?;
        self.append_chunks(columns).map_err(|error| failed(self.upload.location(), error))?;
        self.upload.send().await
    }

    fn append_chunks(&mut self, columns: Vec<(impl ChunkReader, ColumnCloseResult)>) -> parquet::errors::Result<()> {
        let mut row_group = self.parquet.next_row_group()?;
        for (bytes, close) in columns {
            row_group.append_column(&bytes, close)?;
            self.upload.push(self.sink.take());
        }
        row_group.close().map(drop)
    }

    /// Ends the file and stores it.
    pub(super) async fn finish(mut self) -> Result<Finished> {
        self.end_row_group().await?;
        let location = self.upload.location().to_owned();
        let metadata = self.parquet.finish().map_err(|error| failed(&location, error))?;
        self.upload.push(self.sink.take());
        let file_bytes = self.parquet.bytes_written() as u64;
        self.nan_counts.retain(|id, _| !self.unknown_nans.contains(id));
        let metrics = file_metrics(&metadata, &self.layout.schema, &self.layout.modes, &self.nan_counts)?;
        self.upload.finish().await?;
        Ok(Finished { location, file_bytes, metrics })
    }

    /// Gives the file up.
    pub(super) async fn abort(self) {
        self.upload.abort().await;
    }
}

/// Encodes all columns of the rows, no more of them at a time than the runtime has threads.
fn encode_in_turn(layout: Arc<Layout>, chunk: Chunk) -> BoxStream<'static, Result<EncodedColumn>> {
    let chunk = Arc::new(chunk);
    let threads = Handle::current().metrics().num_workers();
    let encoded = stream::iter(0..layout.leaves.len()).map(move |index| {
        let (layout, chunk) = (Arc::clone(&layout), Arc::clone(&chunk));
        let encoding = tokio::spawn(async move {
            let mut encoder = Encoder::new(&layout, index, &chunk)?;
            encoder.write(&chunk)?;
            encoder.close()
        });
        async { encoding.await.map_err(|error| Error::compute("failed to encode", bug(error)))? }
    });
    encoded.buffered(threads).boxed()
}

fn failed(location: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::compute(format!("failed to encode {location}"), error)
}

/// Where the Parquet writer puts its bytes, and we take them from while it goes on.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> bytes::Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
