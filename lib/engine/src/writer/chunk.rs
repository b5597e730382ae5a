//! Rows on their way from the batches they came in to the columns of a file.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array},
    compute::{concat, interleave, take},
    datatypes::DataType,
};
use tokio::sync::OwnedSemaphorePermit;

use crate::{Error, Result};

/// A batch that was handed in. Its memory counts until the last of its rows is encoded.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) batch: RecordBatch,
    /// Bytes of its rows.
    bytes: usize,
    /// Given back with the memory.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Input {
    /// A batch whose memory nobody waits for.
    pub(super) fn new(batch: RecordBatch) -> Self {
        Self { bytes: batch_bytes(&batch), batch, _permit: None }
    }

    /// A batch of so many bytes that was let in.
    pub(super) fn admitted(batch: RecordBatch, bytes: usize, permit: OwnedSemaphorePermit) -> Self {
        Self { batch, bytes, _permit: Some(permit) }
    }

    /// Bytes of its rows.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Rows of one batch.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) input: Arc<Input>,
    /// Row numbers; `None` for all.
    pub(super) rows: Option<Vec<u32>>,
}

impl Slice {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.rows.as_ref().map_or(self.input.batch.num_rows(), Vec::len)
    }

    /// Their bytes, about.
    fn bytes(&self) -> usize {
        share(self.input.bytes, self.len(), self.input.batch.num_rows())
    }
}

/// Rows of several batches that are encoded together. Their columns are gathered one at a time, right before they are
/// encoded: what is copied is still in the cache then, and no more than one column of it is in memory per core.
#[derive(Debug)]
pub(super) struct Chunk {
    inputs: Vec<Arc<Input>>,
    gather: Gather,
    /// How many.
    pub(super) rows: usize,
    /// Their bytes, about.
    pub(super) bytes: usize,
}

#[derive(Debug)]
enum Gather {
    /// One batch after the other.
    Whole,
    /// Of one batch.
    Take(UInt32Array),
    /// Batch and row.
    Interleave(Vec<(usize, usize)>),
}

impl Chunk {
    /// The rows of the slices, in their order.
    pub(super) fn new(slices: Vec<Slice>) -> Self {
        let rows = slices.iter().map(Slice::len).sum();
        let bytes = slices.iter().map(Slice::bytes).sum();
        let (inputs, picked): (Vec<_>, Vec<_>) = slices.into_iter().map(|slice| (slice.input, slice.rows)).unzip();
        if picked.iter().all(Option::is_none) {
            return Self { inputs, gather: Gather::Whole, rows, bytes };
        }
        if let [Some(picked)] = picked.as_slice() {
            return Self { inputs, gather: Gather::Take(UInt32Array::from(picked.clone())), rows, bytes };
        }
        let mut picks = Vec::with_capacity(rows);
        for (index, picked) in picked.into_iter().enumerate() {
            match picked {
                None => picks.extend((0..inputs[index].batch.num_rows()).map(|row| (index, row))),
                Some(picked) => picks.extend(picked.into_iter().map(|row| (index, row as usize))),
            }
        }
        Self { inputs, gather: Gather::Interleave(picks), rows, bytes }
    }

    /// All rows of the batches.
    pub(super) fn whole(inputs: Vec<Arc<Input>>) -> Self {
        Self::new(inputs.into_iter().map(|input| Slice { input, rows: None }).collect())
    }

    /// Rows by batch and row number.
    pub(super) fn picked(inputs: Vec<Arc<Input>>, picks: Vec<(usize, usize)>) -> Self {
        let rows = picks.len();
        let all_rows = inputs.iter().map(|input| input.batch.num_rows()).sum();
        let bytes = share(inputs.iter().map(|input| input.bytes).sum(), rows, all_rows);
        Self { inputs, gather: Gather::Interleave(picks), rows, bytes }
    }

    /// Bytes of one column of the rows, about.
    pub(super) fn column_bytes(&self, index: usize) -> usize {
        let columns = || self.inputs.iter().map(|input| input.batch.column(index));
        share(columns().map(column_bytes).sum(), self.rows, columns().map(|column| column.len()).sum())
    }

    /// One column of the rows.
    pub(super) fn column(&self, index: usize) -> Result<ArrayRef> {
        let columns = || self.inputs.iter().map(|input| input.batch.column(index).as_ref());
        match &self.gather {
            Gather::Whole => match self.inputs.as_slice() {
                [input] => Ok(Arc::clone(input.batch.column(index))),
                _ => concat(&columns().collect::<Vec<_>>()),
            },
            Gather::Take(rows) => take(self.inputs[0].batch.column(index), rows, None),
            Gather::Interleave(picks) => interleave(&columns().collect::<Vec<_>>(), picks),
        }
        .map_err(|error| Error::compute("failed to gather rows", error))
    }
}

/// Bytes that a batch's rows need, without what they share with other batches: views count the strings they show, not
/// the buffers they show them from.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(column_bytes).sum()
}

fn column_bytes(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => column.len() * 16 + column.as_string_view().total_buffer_bytes_used(),
        DataType::BinaryView => column.len() * 16 + column.as_binary_view().total_buffer_bytes_used(),
        DataType::Struct(_) => column.as_struct().columns().iter().map(column_bytes).sum(),
        _ => column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size()),
    }
}

/// What some of the rows have of the bytes of all.
fn share(bytes: usize, rows: usize, all_rows: usize) -> usize {
    (bytes as u128 * rows as u128 / all_rows.max(1) as u128) as usize
}

/// The column in buffers of its own, so that it keeps no others alive.
pub(super) fn compact(column: ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8View => Arc::new(column.as_string_view().gc()),
        DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
        _ => column,
    }
}
