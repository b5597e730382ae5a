//! Rows in memory with their keys, each known by its batch and its row there.

use std::ops::Range;

use arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    compute::interleave,
    row::Rows,
};

use super::{
    keys::{Ranges, Sample, head, same},
    pieces::BATCH_ROWS,
};
use crate::{Error, Result, writer::batch_bytes};

/// A row: its batch, and where it is there.
pub(super) type Pick = (u32, u32);

/// Rows that were gathered.
#[derive(Debug, Default)]
pub(super) struct Run {
    batches: Vec<RecordBatch>,
    keys: Vec<Rows>,
    /// Bytes of rows and keys.
    pub(super) bytes: usize,
}

impl Run {
    /// Takes rows in.
    pub(super) fn push(&mut self, batch: RecordBatch, keys: Rows) {
        self.bytes += batch_bytes(&batch) + keys.size();
        self.batches.push(batch);
        self.keys.push(keys);
    }

    /// Both together.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.batches.extend(other.batches);
        self.keys.extend(other.keys);
        Self { bytes: self.bytes + other.bytes, ..self }
    }

    /// Whether there are no rows.
    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Some of the keys.
    pub(super) fn sample(&self) -> Sample {
        let mut sample = Sample::of(self.keys.iter().map(|keys| keys.num_rows() as u64).sum());
        self.keys.iter().for_each(|keys| sample.add(keys));
        sample
    }

    /// All rows.
    pub(super) fn all(&self) -> Vec<Pick> {
        let of = |(batch, keys): (usize, &Rows)| (0..keys.num_rows() as u32).map(move |row| (batch as u32, row));
        self.keys.iter().enumerate().flat_map(of).collect()
    }

    /// The rows of each range.
    pub(super) fn split(&self, ranges: &Ranges) -> Vec<Vec<Pick>> {
        let mut picks = vec![Vec::new(); ranges.len()];
        for (batch, keys) in self.keys.iter().enumerate() {
            for (row, key) in keys.iter().enumerate() {
                picks[ranges.of(key.data())].push((batch as u32, row as u32));
            }
        }
        picks
    }

    /// The same rows in the order of their keys.
    pub(super) fn sorted(&self, picks: Vec<Pick>) -> Vec<Pick> {
        let key = |(batch, row): Pick| self.keys[batch as usize].row(row as usize).data();
        let Some(first) = picks.first().map(|pick| key(*pick)) else { return picks };
        // Keys of a range begin alike. What comes after that tells most of them apart, and lies beside each other.
        let start = picks.iter().fold(first.len(), |start, pick| same(&first[..start], key(*pick)));
        let mut places: Vec<(u128, Pick)> = picks.iter().map(|pick| (head(&key(*pick)[start..]), *pick)).collect();
        places.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| key(*x).cmp(key(*y))));
        places.into_iter().map(|(_, pick)| pick).collect()
    }

    /// Picks that are gathered together.
    pub(super) fn chunks(count: usize) -> impl Iterator<Item = Range<usize>> {
        (0..count).step_by(BATCH_ROWS).map(move |start| start..count.min(start + BATCH_ROWS))
    }

    /// These rows, in their order.
    pub(super) fn gather(&self, picks: &[Pick]) -> Result<RecordBatch> {
        let failed = |source| Error::compute("failed to gather rows", source);
        // Of the batches that are needed: a range has rows of a few of many.
        let mut needed: Vec<u32> = picks.iter().map(|(batch, _)| *batch).collect();
        needed.sort_unstable();
        needed.dedup();
        let mut places = vec![0; self.batches.len()];
        needed.iter().enumerate().for_each(|(place, batch)| places[*batch as usize] = place);
        let picks: Vec<_> = picks.iter().map(|(batch, row)| (places[*batch as usize], *row as usize)).collect();
        let Some(schema) = self.batches.first().map(RecordBatch::schema) else {
            return Err(Error::compute("failed to gather rows", "there are none"));
        };
        let column = |index: usize| {
            let of: Vec<&dyn Array> =
                needed.iter().map(|batch| self.batches[*batch as usize].column(index).as_ref()).collect();
            interleave(&of, &picks).map_err(failed)
        };
        let columns = (0..schema.fields().len()).map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(picks.len()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(failed)
    }
}
