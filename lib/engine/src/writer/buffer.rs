//! Rows of one file that wait: to be sorted, or for there to be enough of them to open encoders for.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema},
};

use super::{
    chunk::{Chunk, Input, compact},
    layout::Layout,
};
use crate::{Error, Result};

/// Rows of one file, in memory of their own.
#[derive(Debug, Default)]
pub(super) struct RowBuffer {
    inputs: Vec<Arc<Input>>,
    memory_bytes: usize,
}

impl RowBuffer {
    /// Bytes of the rows.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Copies rows in, so that the batches they came in can go.
    pub(super) fn push(&mut self, chunk: &Chunk, layout: &Layout) -> Result<()> {
        let columns = layout.arrow.fields().iter().enumerate().map(|(index, field)| {
            let column = compact(chunk.column(index)?);
            // Of the column's own type: fields within it may have other metadata than the table's.
            Ok((Field::new(field.name(), column.data_type().clone(), true), column))
        });
        let (fields, columns): (Vec<_>, Vec<_>) = columns.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
            .map_err(|error| Error::compute("failed to gather rows", error))?;
        let input = Input::new(batch);
        self.memory_bytes += input.bytes();
        self.inputs.push(Arc::new(input));
        Ok(())
    }

    /// The rows as the batches that they were copied in.
    pub(super) fn into_inputs(self) -> Vec<Arc<Input>> {
        self.inputs
    }
}
