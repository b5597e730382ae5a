//! Writes the files of one partition one after the other, out of rows and of row groups that are taken over as they are.

use std::{collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use lake::spec::{DataFile, Struct};
use parquet::schema::types::SchemaDescriptor;

use super::{
    TableWriterOptions,
    chunk::{Chunk, Input},
    file::FileWriter,
    shared::Shared,
};
use crate::{
    Error, ParquetFile, Result,
    parquet_file::chunks::{RowGroupChunks, is_plain},
};

/// The last file takes what would be less than this share of another one.
const REST_SHARE_MIN: f64 = 0.25;

/// Writes the files of one partition one after the other. Whoever drops it leaves files behind: see [`Self::abort`].
pub(crate) struct PartitionWriter {
    shared: Shared,
    partition: Struct,
    memory_bytes: usize,
    columns: SchemaDescriptor,
    file: Option<FileWriter>,
    finished: Vec<DataFile>,
    finished_bytes: u64,
    rows_written: u64,
    rows_expected: u64,
}

impl PartitionWriter {
    /// Prepares files for about so many rows, each of the options' target size. Rows come in the order of `sort_order`
    /// where there is one: they are not sorted here. Files that may take row groups over have no page index.
    pub(crate) fn new(
        options: &TableWriterOptions,
        partition: Struct,
        rows_expected: u64,
        copies: bool,
    ) -> Result<Self> {
        let shared = Shared::with_page_index(options, !copies)?;
        Ok(Self {
            columns: SchemaDescriptor::new(Arc::clone(&shared.layout.parquet)),
            shared,
            partition,
            memory_bytes: usize::try_from(options.memory_bytes / 2).unwrap_or(usize::MAX),
            file: None,
            finished: Vec::new(),
            finished_bytes: 0,
            rows_written: 0,
            rows_expected,
        })
    }

    /// The columns of files that can be taken over.
    pub(crate) fn columns(&self) -> SchemaDescriptor {
        self.columns.clone()
    }

    /// Takes rows in the layout of [`crate::arrow_schema`].
    pub(crate) async fn write(&mut self, batch: RecordBatch) -> Result<()> {
        self.shared.layout.check(&batch)?;
        let rows = batch.num_rows() as u64;
        let chunk = Chunk::whole(vec![Arc::new(Input::new(batch))]);
        let memory_bytes = self.memory_bytes;
        let file = self.open()?;
        file.write(chunk).await?;
        if file.memory_bytes() > memory_bytes {
            file.end_row_group().await?;
        }
        self.rows_written += rows;
        self.end_when_full(0).await
    }

    /// Takes a row group over. `nans` are the NaNs in it by field id; a float field without an entry may have any number.
    pub(crate) async fn copy(&mut self, chunks: RowGroupChunks, nans: &HashMap<i32, u64>) -> Result<()> {
        let bytes = usize::try_from(chunks.metadata.compressed_size()).unwrap_or(0);
        let rows = u64::try_from(chunks.metadata.num_rows()).unwrap_or(0);
        // A row group is not cut: it goes to the file that it brings nearer to its size.
        self.end_when_full(bytes / 2).await?;
        self.open()?.copy_row_group(chunks, nans).await?;
        self.rows_written += rows;
        self.end_when_full(0).await
    }

    /// Ends the last file and describes all of them. They are durable.
    pub(crate) async fn close(&mut self) -> Result<Vec<DataFile>> {
        self.end_file().await?;
        Ok(std::mem::take(&mut self.finished))
    }

    /// Gives up: deletes what was written.
    pub(crate) async fn abort(&mut self) -> Result<()> {
        if let Some(file) = self.file.take() {
            file.abort().await;
        }
        let written = self.shared.written().clone();
        Ok(self.shared.outlet.storage.delete_all(written).await?)
    }

    fn open(&mut self) -> Result<&mut FileWriter> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.shared.new_file(&self.partition)?,
        };
        Ok(self.file.insert(file))
    }

    /// Ends the file when it has its size, or would have with so many bytes more; unless too little is left for another.
    async fn end_when_full(&mut self, more_bytes: usize) -> Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let bytes = file.file_bytes();
        if bytes + more_bytes < self.shared.target_file_bytes {
            return Ok(());
        }
        let bytes_per_row = (self.finished_bytes as f64 + bytes as f64) / self.rows_written.max(1) as f64;
        let rest_bytes = self.rows_expected.saturating_sub(self.rows_written) as f64 * bytes_per_row;
        if rest_bytes < self.shared.target_file_bytes as f64 * REST_SHARE_MIN {
            return Ok(());
        }
        self.end_file().await
    }

    async fn end_file(&mut self) -> Result<()> {
        let Some(file) = self.file.take() else { return Ok(()) };
        let finished = self.shared.finish_file(&self.partition, file).await;
        if let Err(Error::Lake(lake::Error::Occupied { location })) = &finished {
            // It is not ours to delete.
            self.shared.written().retain(|written| written != location);
        }
        let finished = finished?;
        self.finished_bytes += finished.file_size_in_bytes();
        self.finished.push(finished);
        Ok(())
    }
}

/// Whether a file's row groups can be taken over by files of these columns: the same names, ids, types and levels.
pub(crate) fn can_copy(columns: &SchemaDescriptor, file: &ParquetFile) -> bool {
    let metadata = file.metadata();
    let theirs = metadata.file_metadata().schema_descr();
    columns.num_columns() == theirs.num_columns()
        && columns.columns().iter().zip(theirs.columns()).all(|(ours, theirs)| ours == theirs)
        && metadata.row_groups().iter().all(|group| group.columns().iter().all(is_plain))
}
