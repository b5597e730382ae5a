//! One Parquet file while it is written.

use std::{
    collections::{HashMap, HashSet},
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use super::upload::Outlet;
use arrow::datatypes::FieldRef;
use parquet::{
    arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    column::writer::ColumnCloseResult,
    file::{reader::ChunkReader, writer::SerializedFileWriter},
};
use tokio::task::JoinSet;

use super::{chunk::Chunk, layout::Layout, upload::Upload};
use crate::{
    Error, Result,
    metrics::{FileMetrics, count_nans, file_metrics, float_leaves},
    parquet_file::chunks::RowGroupChunks,
};

/// One Parquet file while it is written.
pub(super) struct FileWriter {
    layout: Arc<Layout>,
    parquet: SerializedFileWriter<Sink>,
    sink: Sink,
    row_groups: ArrowRowGroupWriterFactory,
    /// Of the row group in progress, one per top-level column; empty between row groups.
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
        let row_groups = ArrowRowGroupWriterFactory::new(&parquet, Arc::clone(&layout.arrow));
        Ok(Self {
            layout,
            parquet,
            sink,
            row_groups,
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
        self.encoders.iter().map(Encoder::memory_bytes).sum()
    }

    /// Bytes that the file will have, about.
    pub(super) fn file_bytes(&self) -> usize {
        self.parquet.bytes_written() + self.group_bytes()
    }

    fn group_bytes(&self) -> usize {
        self.encoders.iter().map(Encoder::encoded_bytes).sum()
    }

    /// Adds rows, each column on whichever core is free.
    pub(super) async fn write(&mut self, chunk: Chunk) -> Result<()> {
        if self.encoders.is_empty() {
            self.encoders = self.begin_row_group()?;
        }
        let chunk = Arc::new(chunk);
        let mut encoding = JoinSet::new();
        for mut encoder in std::mem::take(&mut self.encoders) {
            let chunk = Arc::clone(&chunk);
            encoding.spawn(async move { encoder.write(&chunk).map(|()| encoder) });
        }
        while let Some(encoder) = encoding.join_next().await {
            let encoder = encoder.map_err(|error| failed(self.upload.location(), error))?;
            self.encoders.push(encoder?);
        }
        self.encoders.sort_unstable_by_key(|encoder| encoder.index);
        self.group_rows += chunk.rows;
        let settings = &self.layout.settings;
        if self.group_rows >= settings.row_group_rows_max || self.group_bytes() >= settings.row_group_bytes {
            self.end_row_group().await?;
        }
        Ok(())
    }

    fn begin_row_group(&self) -> Result<Vec<Encoder>> {
        let index = self.parquet.flushed_row_groups().len();
        let writers = self.row_groups.create_column_writers(index);
        let mut writers = writers.map_err(|error| failed(self.upload.location(), error))?.into_iter();
        let encoders = self.layout.columns().enumerate().map(|(index, (field, leaves))| Encoder {
            index,
            field: Arc::clone(field),
            leaves: writers.by_ref().take(leaves).collect(),
            nan_counts: HashMap::new(),
        });
        Ok(encoders.collect())
    }

    /// Ends the row group in progress and sends it on its way.
    pub(super) async fn end_row_group(&mut self) -> Result<()> {
        self.append_row_group().map_err(|error| failed(self.upload.location(), error))?;
        self.upload.send().await
    }

    fn append_row_group(&mut self) -> parquet::errors::Result<()> {
        if self.encoders.is_empty() {
            return Ok(());
        }
        let mut row_group = self.parquet.next_row_group()?;
        for encoder in std::mem::take(&mut self.encoders) {
            for (id, count) in encoder.nan_counts {
                *self.nan_counts.entry(id).or_default() += count;
            }
            for leaf in encoder.leaves {
                leaf.close()?.append_to_row_group(&mut row_group)?;
                // Column by column, so that no second copy of the row group comes to be.
                self.upload.push(self.sink.take());
            }
        }
        row_group.close()?;
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

fn failed(location: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::compute(format!("failed to encode {location}"), error)
}

/// Encodes one top-level column of a row group.
struct Encoder {
    index: usize,
    field: FieldRef,
    leaves: Vec<ArrowColumnWriter>,
    nan_counts: HashMap<i32, u64>,
}

impl Encoder {
    fn write(&mut self, chunk: &Chunk) -> Result<()> {
        let column = chunk.column(self.index)?;
        count_nans(&self.field, &column, &mut self.nan_counts);
        let encode_error = |error| Error::compute(format!("failed to encode column {}", self.field.name()), error);
        let leaves = compute_leaves(&self.field, &column).map_err(encode_error)?;
        for (writer, leaf) in self.leaves.iter_mut().zip(&leaves) {
            writer.write(leaf).map_err(encode_error)?;
        }
        Ok(())
    }

    fn memory_bytes(&self) -> usize {
        self.leaves.iter().map(ArrowColumnWriter::memory_size).sum()
    }

    fn encoded_bytes(&self) -> usize {
        self.leaves.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
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
