//! A row group as it lies in its file: column chunks that another file can take over without decoding them.

use std::ops::Range;

use bytes::{Buf, Bytes, buf::Reader};
use parquet::{
    column::writer::ColumnCloseResult,
    errors::{ParquetError, Result as ParquetResult},
    file::{
        metadata::{ColumnChunkMetaData, RowGroupMetaData},
        reader::{ChunkReader, Length},
    },
};

use super::{ParquetFile, bounds::believable, object::ObjectBytes};
use crate::{Error, Result};

/// A row group with the bytes of its column chunks.
#[derive(Debug)]
pub(crate) struct RowGroupChunks {
    /// What the footer says of it, without bounds that mean nothing.
    pub(crate) metadata: RowGroupMetaData,
    /// The chunks, in the order of the columns.
    chunks: Vec<ChunkBytes>,
}

impl ParquetFile {
    /// The bytes of a row group's column chunks. Its place must be one that the footer has.
    pub(crate) async fn row_group_chunks(&self, index: usize) -> Result<RowGroupChunks> {
        let metadata = self.metadata().row_group(index).clone();
        let ranges: Vec<Range<u64>> =
            metadata.columns().iter().map(|chunk| range(chunk, &self.bytes)).collect::<Result<_>>()?;
        let bytes = self.bytes.ranges(&ranges).await?;
        let columns = metadata.columns().iter().enumerate();
        let columns = columns.map(|(leaf, chunk)| believable(self.metadata(), leaf, chunk)).collect();
        let metadata = metadata
            .into_builder()
            .set_column_metadata(columns)
            .build()
            .map_err(|error| self.bytes.unreadable(&error.to_string()))?;
        let chunks = ranges.iter().zip(bytes).map(|(range, bytes)| ChunkBytes { start: range.start, bytes }).collect();
        Ok(RowGroupChunks { metadata, chunks })
    }
}

/// Where a chunk lies. Some writers have left a dictionary's offset at 0 for none, or counted wrongly: such are not guessed at.
fn range(chunk: &ColumnChunkMetaData, bytes: &ObjectBytes) -> Result<Range<u64>> {
    let start = chunk.dictionary_page_offset().unwrap_or_else(|| chunk.data_page_offset());
    let known = u64::try_from(start).ok().zip(u64::try_from(chunk.compressed_size()).ok());
    match known {
        Some((start, length)) if start >= 4 && start.checked_add(length).is_some() => Ok(start..start + length),
        _ => Err(bytes.unreadable("a column chunk lies outside of the file")),
    }
}

/// Whether a chunk's place is said in the one way that can be taken over.
pub(crate) fn is_plain(chunk: &ColumnChunkMetaData) -> bool {
    let is_after_magic = |offset: i64| offset >= 4;
    let data = chunk.data_page_offset();
    let dictionary = chunk.dictionary_page_offset();
    chunk.file_path().is_none()
        && chunk.compressed_size() > 0
        && is_after_magic(data)
        && dictionary.is_none_or(|dictionary| is_after_magic(dictionary) && dictionary < data)
}

impl RowGroupChunks {
    /// Each chunk as the Parquet writer appends it. Bloom filters and page indexes stay behind.
    pub(crate) fn columns(self) -> Result<Vec<(impl ChunkReader, ColumnCloseResult)>> {
        let rows_written = u64::try_from(self.metadata.num_rows())
            .map_err(|error| Error::compute("failed to read the rows of a row group", error))?;
        let close = |metadata: &ColumnChunkMetaData| ColumnCloseResult {
            bytes_written: metadata.compressed_size().max(0) as u64,
            rows_written,
            metadata: metadata.clone(),
            bloom_filter: None,
            column_index: None,
            offset_index: None,
        };
        let closed: Vec<_> = self.metadata.columns().iter().map(close).collect();
        Ok(self.chunks.into_iter().zip(closed).collect())
    }
}

/// One chunk, read by its place in the file that it came from.
#[derive(Debug)]
struct ChunkBytes {
    start: u64,
    bytes: Bytes,
}

impl ChunkBytes {
    fn after(&self, start: u64) -> ParquetResult<Bytes> {
        let offset = start.checked_sub(self.start).and_then(|offset| usize::try_from(offset).ok());
        let offset = offset.filter(|offset| *offset <= self.bytes.len());
        offset
            .map(|offset| self.bytes.slice(offset..))
            .ok_or_else(|| ParquetError::EOF(format!("{start} is not in the column chunk at {}", self.start)))
    }
}

impl Length for ChunkBytes {
    fn len(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl ChunkReader for ChunkBytes {
    type T = Reader<Bytes>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(self.after(start)?.reader())
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        let bytes = self.after(start)?;
        if bytes.len() < length {
            return Err(ParquetError::EOF(format!("{length} bytes from {start} are not in the column chunk")));
        }
        Ok(bytes.slice(..length))
    }
}
