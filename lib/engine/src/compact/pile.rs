//! Rows that wait for their way to disk, each batch of them in the order of ranges.
//!
//! A batch is put in that order while it is in the processor's cache. What is written of a range lies beside each other in
//! every batch then: picked from all of memory row by row, each value would be waited for.

use arrow::{
    array::{ArrayRef, RecordBatch, UInt32Array},
    compute::take,
    datatypes::SchemaRef,
    row::Rows,
};

use super::{
    codes::are_alike,
    keys::Ranges,
    run::{Pick, gather},
    spill::written,
};
use crate::{Error, Result, writer::batch_bytes};

/// Rows of a block, at most.
const BLOCK_ROWS_MAX: usize = 64 << 10;
/// Bytes of a block, about: where text begins in it is a number of 31 bits.
const BLOCK_BYTES_MAX: usize = 256 << 20;

/// Rows by ranges.
#[derive(Debug, Default)]
pub(super) struct Pile {
    batches: Vec<RecordBatch>,
    /// Of each batch where each range begins, and where the last one ends.
    starts: Vec<Vec<u32>>,
    /// Bytes of all that.
    pub(super) bytes: usize,
}

impl Pile {
    /// Takes rows of a table in, coded or not.
    pub(super) fn push(&mut self, table: &SchemaRef, batch: &RecordBatch, keys: &Rows, ranges: &Ranges) -> Result<()> {
        let ranges_of: Vec<usize> = keys.iter().map(|key| ranges.of(key.data())).collect();
        let mut starts = vec![0_u32; ranges.len() + 1];
        ranges_of.iter().for_each(|range| starts[range + 1] += 1);
        (1..starts.len()).for_each(|range| starts[range] += starts[range - 1]);
        let (mut next, mut rows) = (starts.clone(), vec![0_u32; ranges_of.len()]);
        for (row, range) in ranges_of.into_iter().enumerate() {
            rows[next[range] as usize] = row as u32;
            next[range] += 1;
        }
        let rows = UInt32Array::from(rows);
        let failed = |source| Error::compute("failed to gather rows", source);
        let column = |column: &ArrayRef| take(column, &rows, None).map_err(failed);
        let batch = written(table, batch.columns().iter().map(column).collect::<Result<_>>()?).map_err(failed)?;
        self.bytes += batch_bytes(&batch) + size_of_val(starts.as_slice());
        self.batches.push(batch);
        self.starts.push(starts);
        Ok(())
    }

    /// Whether there are no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Whether these rows have codes for the same columns.
    pub(super) fn is_like(&self, batch: &RecordBatch) -> bool {
        self.batches.first().is_none_or(|first| are_alike(first, batch))
    }

    /// The rows in blocks, range by range.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Result<(usize, RecordBatch)>> {
        let rows = self.batches.iter().map(RecordBatch::num_rows).sum::<usize>();
        let rows_max = (BLOCK_BYTES_MAX / (self.bytes / rows.max(1)).max(1)).clamp(1, BLOCK_ROWS_MAX);
        let ranges = self.starts.first().map_or(0, |starts| starts.len() - 1);
        (0..ranges).flat_map(move |range| {
            let picks: Vec<Pick> = self.picks(range).collect();
            let blocks: Vec<_> =
                picks.chunks(rows_max).map(|picks| Ok((range, gather(&self.batches, picks)?))).collect();
            blocks
        })
    }

    fn picks(&self, range: usize) -> impl Iterator<Item = Pick> {
        let of = move |(batch, starts): (usize, &Vec<u32>)| {
            (starts[range]..starts[range + 1]).map(move |row| (batch as u32, row))
        };
        self.starts.iter().enumerate().flat_map(of)
    }
}
