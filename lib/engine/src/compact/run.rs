//! Rows in memory with their keys, each known by its batch and its row there.

use std::ops::Range;

use arrow::{
    array::{Array, RecordBatch, RecordBatchOptions},
    compute::interleave,
    row::Rows,
};

use super::{
    codes::{Codes, are_alike},
    keys::{Ranges, Sample, Telling},
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
    pub(super) fn push(&mut self, batch: RecordBatch, keys: Rows, codes: &Codes) -> Result<()> {
        let bytes = batch_bytes(&batch) + keys.size();
        *self = std::mem::take(self).and(Self { batches: vec![batch], keys: vec![keys], bytes }, codes)?;
        Ok(())
    }

    /// Both together. What is coded in one of them alone is no longer coded.
    pub(super) fn and(mut self, mut other: Self, codes: &Codes) -> Result<Self> {
        if let (Some(these), Some(those)) = (self.batches.first(), other.batches.first()) {
            let (these, those) = (these.schema(), those.schema());
            let is_mixed = |place: usize| these.field(place).data_type() != those.field(place).data_type();
            if (0..these.fields().len()).any(is_mixed) {
                self.decode(codes, is_mixed)?;
                other.decode(codes, is_mixed)?;
            }
        }
        self.batches.extend(other.batches);
        self.keys.extend(other.keys);
        Ok(Self { bytes: self.bytes + other.bytes, ..self })
    }

    fn decode(&mut self, codes: &Codes, is_chosen: impl Fn(usize) -> bool) -> Result<()> {
        for batch in &mut self.batches {
            *batch = codes.decode_where(batch, &is_chosen)?;
        }
        let rows = self.batches.iter().map(batch_bytes).sum::<usize>();
        self.bytes = rows + self.keys.iter().map(Rows::size).sum::<usize>();
        Ok(())
    }

    /// Whether these rows have codes for the same columns.
    pub(super) fn is_like(&self, batch: &RecordBatch) -> bool {
        self.batches.first().is_none_or(|first| are_alike(first, batch))
    }

    /// The batches and their keys.
    pub(super) fn into_batches(self) -> impl Iterator<Item = (RecordBatch, Rows)> {
        self.batches.into_iter().zip(self.keys)
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
        let telling = Telling::of(picks.iter().map(|pick| key(*pick)));
        let mut heads: Vec<(u128, Pick)> = picks.iter().map(|pick| (telling.head(key(*pick)), *pick)).collect();
        match telling.is_all {
            true => heads.sort_unstable_by_key(|(head, _)| *head),
            false => heads.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| key(*x).cmp(key(*y)))),
        }
        heads.into_iter().map(|(_, pick)| pick).collect()
    }

    /// Picks that are gathered together.
    pub(super) fn chunks(count: usize) -> impl Iterator<Item = Range<usize>> {
        (0..count).step_by(BATCH_ROWS).map(move |start| start..count.min(start + BATCH_ROWS))
    }

    /// These rows, in their order.
    pub(super) fn gather(&self, picks: &[Pick]) -> Result<RecordBatch> {
        gather(&self.batches, picks)
    }
}

/// Rows of these batches, in the order of the picks.
pub(super) fn gather(batches: &[RecordBatch], picks: &[Pick]) -> Result<RecordBatch> {
    let failed = |source| Error::compute("failed to gather rows", source);
    // Of the batches that are needed: a range has rows of a few of many.
    let mut needed: Vec<u32> = picks.iter().map(|(batch, _)| *batch).collect();
    needed.sort_unstable();
    needed.dedup();
    let mut places = vec![0; batches.len()];
    needed.iter().enumerate().for_each(|(place, batch)| places[*batch as usize] = place);
    let picks: Vec<_> = picks.iter().map(|(batch, row)| (places[*batch as usize], *row as usize)).collect();
    let Some(schema) = batches.first().map(RecordBatch::schema) else {
        return Err(Error::compute("failed to gather rows", "there are none"));
    };
    let column = |index: usize| {
        let of: Vec<&dyn Array> = needed.iter().map(|batch| batches[*batch as usize].column(index).as_ref()).collect();
        interleave(&of, &picks).map_err(failed)
    };
    let columns = (0..schema.fields().len()).map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(picks.len()));
    RecordBatch::try_new_with_options(schema, columns, &options).map_err(failed)
}
