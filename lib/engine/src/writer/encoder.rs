//! Encodes the columns of a row group, each for itself.

use std::{collections::HashMap, io, sync::Arc};

use arrow::{
    array::ArrayRef,
    datatypes::{FieldRef, Schema},
};
use parquet::{
    arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves},
    errors::Result as ParquetResult,
    file::writer::SerializedFileWriter,
    schema::types::Type as ParquetType,
};

use super::{chunk::Chunk, layout::Layout};
use crate::{Error, Result, metrics::count_nans};

/// Values of a column that are longer than this on average are large: a dictionary of them, or whole ones as statistics,
/// would be several copies of the longest in memory, and of no use to anybody.
const LARGE_VALUE_BYTES: usize = 64 << 10;

/// Encodes one top-level column of a row group.
pub(super) struct Encoder {
    index: usize,
    field: FieldRef,
    leaves: Vec<ArrowColumnWriter>,
    nan_counts: HashMap<i32, u64>,
    /// What its codecs and hash tables take, however few rows there are.
    fixed_bytes: usize,
    is_large: bool,
    /// Bytes of large values so far: a compressed page keeps the memory that it might have needed.
    large_bytes: usize,
}

/// One top-level column of a row group, encoded.
pub(super) struct EncodedColumn {
    pub(super) leaves: Vec<ArrowColumnChunk>,
    pub(super) nan_counts: HashMap<i32, u64>,
}

impl Encoder {
    /// Begins a column of a row group, of which these are the first rows.
    pub(super) fn new(layout: &Layout, index: usize, first: &Chunk) -> Result<Self> {
        let field = &layout.arrow.fields()[index];
        // Rows that are short as a whole, as nearly all are, need no look at their columns.
        let is_large = |bytes: usize| bytes / first.rows.max(1) >= LARGE_VALUE_BYTES;
        let is_large = is_large(first.bytes) && is_large(first.column_bytes(index));
        let leaves = column_writers(layout, index, is_large).map_err(|error| failed(field, error))?;
        let fixed_bytes = leaves.len() * layout.settings.encoder_bytes();
        Ok(Self {
            index,
            field: Arc::clone(field),
            leaves,
            nan_counts: HashMap::new(),
            fixed_bytes,
            is_large,
            large_bytes: 0,
        })
    }

    /// The column's place among the top-level columns.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// Adds the column's values of the rows.
    pub(super) fn write(&mut self, chunk: &Chunk) -> Result<()> {
        let column: ArrayRef = chunk.column(self.index)?;
        if self.is_large {
            self.large_bytes += chunk.column_bytes(self.index);
        }
        count_nans(&self.field, &column, &mut self.nan_counts);
        let leaves = compute_leaves(&self.field, &column).map_err(|error| failed(&self.field, error))?;
        for (writer, leaf) in self.leaves.iter_mut().zip(&leaves) {
            writer.write(leaf).map_err(|error| failed(&self.field, error))?;
        }
        Ok(())
    }

    /// Ends the column.
    pub(super) fn close(self) -> Result<EncodedColumn> {
        let leaves = self.leaves.into_iter().map(ArrowColumnWriter::close).collect::<ParquetResult<_>>();
        let leaves = leaves.map_err(|error| failed(&self.field, error))?;
        Ok(EncodedColumn { leaves, nan_counts: self.nan_counts })
    }

    /// Bytes in memory.
    pub(super) fn memory_bytes(&self) -> usize {
        self.fixed_bytes + self.large_bytes + self.leaves.iter().map(ArrowColumnWriter::memory_size).sum::<usize>()
    }

    /// Bytes that the column will have in the file, about.
    pub(super) fn encoded_bytes(&self) -> usize {
        self.leaves.iter().map(ArrowColumnWriter::get_estimated_total_bytes).sum()
    }
}

/// Writers of the leaves of one top-level column. The crate makes them for all columns of a file at once, so they are made
/// for a file of this column alone, of which nothing is kept.
fn column_writers(layout: &Layout, index: usize, is_large: bool) -> ParquetResult<Vec<ArrowColumnWriter>> {
    let root = &layout.parquet;
    let fields = vec![Arc::clone(&root.get_fields()[index])];
    let schema = Arc::new(ParquetType::group_type_builder(root.name()).with_fields(fields).build()?);
    let properties = if is_large { &layout.properties_of_large } else { &layout.properties };
    let file = SerializedFileWriter::new(io::sink(), schema, Arc::clone(properties))?;
    let arrow = Arc::new(Schema::new(vec![Arc::clone(&layout.arrow.fields()[index])]));
    ArrowRowGroupWriterFactory::new(&file, arrow).create_column_writers(0)
}

fn failed(field: &FieldRef, error: parquet::errors::ParquetError) -> Error {
    Error::compute(format!("failed to encode column {}", field.name()), error)
}
