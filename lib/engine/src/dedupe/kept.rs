//! Values of the table that stay in the rows which replace its rows: in columns that a raw file lacks.
//!
//! Only winners out of such files are remembered, each with the row that it replaces. Before they are written, the
//! columns that they lack are read from the table's files, as many rows at a time as memory takes.

use std::{collections::HashMap, ops::Range, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, RecordBatch, new_null_array},
    compute::interleave,
};
use futures::{StreamExt, TryStreamExt, stream};
use lake::DataFileEntry;

use super::{
    matching::{ROW_OPTIONS, field_ids, selection_of, split_row_numbers},
    verdicts::RowAddress,
};
use crate::{
    Error, Result,
    curated::{RowOptions, TableReader},
    raw::{BoundInterval, Filling},
    tasks::on_file,
};

/// A row of the batch, and the row of the table that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Replaced {
    /// The row of the batch.
    pub at: RowAddress,
    /// The table's file, by its place among the candidates.
    pub file: usize,
    /// The row's position in it.
    pub row: u64,
}

/// Rows of the batch whose values are read together.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    /// Their places among all replaced rows.
    rows: Range<usize>,
    /// Raw files, and which of their rows are written with the share.
    pub files: Vec<(usize, Range<u64>)>,
}

/// Everything that is needed to find the values.
#[derive(Debug)]
pub struct Kept {
    reader: Arc<TableReader>,
    candidates: Vec<DataFileEntry>,
    /// By row of the batch.
    replaced: Vec<Replaced>,
}

/// The values of a share.
#[derive(Debug)]
pub struct KeptRows {
    /// Columns that the batches have, as indices into the table's schema, ascending.
    columns: Vec<usize>,
    batches: Vec<RecordBatch>,
    /// Batch and row by row of the share.
    places: HashMap<RowAddress, (usize, usize)>,
}

impl Kept {
    /// For the winners of all rounds. `None` when there are no values to keep.
    pub fn new(
        reader: Option<&Arc<TableReader>>,
        candidates: Vec<DataFileEntry>,
        mut replaced: Vec<Replaced>,
    ) -> Option<Self> {
        let reader = Arc::clone(reader.filter(|_| !replaced.is_empty())?);
        replaced.sort_unstable();
        Some(Self { reader, candidates, replaced })
    }

    /// Raw files with rows that take values over.
    pub fn has_file(&self, file: usize) -> bool {
        let first = self.replaced.partition_point(|replaced| replaced.at.file() < file);
        self.replaced.get(first).is_some_and(|replaced| replaced.at.file() == file)
    }

    /// Cuts the rows into shares whose values take about this many bytes.
    pub fn shares(&self, interval: &BoundInterval, bytes_max: u64) -> Vec<Share> {
        let rows_max = usize::try_from(bytes_max / self.row_bytes().max(1)).unwrap_or(usize::MAX).max(1);
        shares(&self.replaced, rows_max, |file| interval.rows(file))
    }

    /// What a row of the table takes, roughly: its bytes in Parquet, unpacked.
    fn row_bytes(&self) -> u64 {
        let bytes: u64 = self.candidates.iter().map(|entry| entry.data_file.file_size_in_bytes()).sum();
        let rows: u64 = self.candidates.iter().map(|entry| entry.data_file.record_count()).sum();
        size_of::<(RowAddress, usize, usize)>() as u64 * 2 + bytes * 4 / rows.max(1)
    }

    /// Reads the values of a share, `threads` files of the table at once.
    pub async fn read(&self, share: &Share, interval: &BoundInterval, threads: usize) -> Result<KeptRows> {
        let rows = &self.replaced[share.rows.clone()];
        let mut columns: Vec<usize> =
            share.files.iter().flat_map(|(file, _)| interval.filling(*file).kept()).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let mut by_file: HashMap<usize, Vec<(u64, RowAddress)>> = HashMap::new();
        for Replaced { at, file, row } in rows {
            by_file.entry(*file).or_default().push((*row, *at));
        }
        let ids = field_ids(interval.schema(), &columns);
        let read: Vec<Vec<(RecordBatch, Vec<RowAddress>)>> = stream::iter(by_file)
            .map(|(file, rows)| {
                let entry = &self.candidates[file];
                let location = entry.data_file.file_path().to_owned();
                on_file(location, read_rows(Arc::clone(&self.reader), entry.clone(), ids.clone(), rows))
            })
            .buffer_unordered(threads.max(1))
            .try_collect()
            .await?;
        let mut kept = KeptRows { columns, batches: Vec::new(), places: HashMap::with_capacity(rows.len()) };
        for (batch, addresses) in read.into_iter().flatten() {
            let places = addresses.into_iter().enumerate().map(|(row, at)| (at, (kept.batches.len(), row)));
            kept.places.extend(places);
            kept.batches.push(batch);
        }
        if kept.places.len() != rows.len() {
            return Err(Error::Balance { read: rows.len() as u64, accounted: kept.places.len() as u64 });
        }
        Ok(kept)
    }
}

/// Rows of one file of the table, each with the row of the batch that replaces it.
async fn read_rows(
    reader: Arc<TableReader>,
    entry: DataFileEntry,
    ids: Vec<i32>,
    mut rows: Vec<(u64, RowAddress)>,
) -> Result<Vec<(RecordBatch, Vec<RowAddress>)>> {
    rows.sort_unstable();
    let numbers: Vec<u64> = rows.iter().map(|(row, _)| *row).collect();
    let options = RowOptions { selection: Some(selection_of(numbers.iter().copied())), ..ROW_OPTIONS };
    let mut batches = reader.read(&entry, &ids, options);
    let mut read = Vec::new();
    while let Some(batch) = batches.next().await {
        let (batch, numbers) = split_row_numbers(&batch?)?;
        let address = |number: &u64| {
            let place = rows.binary_search_by_key(number, |(row, _)| *row);
            place.map(|place| rows[place].1).map_err(|_| Error::Balance { read: 1, accounted: 0 })
        };
        let addresses = numbers.iter().map(address).collect::<Result<Vec<_>>>()?;
        read.push((batch, addresses));
    }
    Ok(read)
}

impl KeptRows {
    /// Rows of a raw file as they are written: with the table's values where the file has none. `numbers` are the rows'
    /// numbers in the file.
    pub fn under(&self, batch: RecordBatch, file: usize, numbers: &[u64], filling: &Filling) -> Result<RecordBatch> {
        let failed = |source| Error::compute("failed to keep values of the table", source);
        let address = |number: &u64| RowAddress::new(file, *number, false);
        // A row that replaces none of the table's has NULL.
        let places: Vec<(usize, usize)> = numbers
            .iter()
            .map(|number| self.places.get(&address(number)).map_or((0, 0), |(batch, row)| (batch + 1, *row)))
            .collect();
        let mut columns = batch.columns().to_vec();
        for column in filling.kept() {
            let Ok(at) = self.columns.binary_search(column) else { continue };
            let nothing = new_null_array(batch.column(*column).data_type(), 1);
            let arrays: Vec<&dyn Array> = std::iter::once(nothing.as_ref())
                .chain(self.batches.iter().map(|batch| batch.column(at).as_ref()))
                .collect();
            let table: ArrayRef = interleave(&arrays, &places).map_err(failed)?;
            columns[*column] = filling.over(*column, batch.column(*column), &table).map_err(failed)?;
        }
        RecordBatch::try_new(batch.schema(), columns).map_err(failed)
    }
}

/// `rows_of` says how many rows a raw file has.
fn shares(replaced: &[Replaced], rows_max: usize, rows_of: impl Fn(usize) -> u64) -> Vec<Share> {
    let mut shares: Vec<Share> = Vec::new();
    let mut next = 0;
    // The first row of the current file that no share has yet.
    let mut written = (usize::MAX, 0);
    while next < replaced.len() {
        let end = (next + rows_max).min(replaced.len());
        let mut share = Share { rows: next..end, files: Vec::new() };
        let mut at = next;
        while at < end {
            let file = replaced[at].at.file();
            let last = at + replaced[at..end].partition_point(|replaced| replaced.at.file() == file);
            let first_row = if written.0 == file { written.1 } else { 0 };
            let goes_on = last == end && replaced.get(end).is_some_and(|next| next.at.file() == file);
            let end_row = if goes_on { replaced[end].at.row() } else { rows_of(file) };
            share.files.push((file, first_row..end_row));
            written = (file, end_row);
            at = last;
        }
        shares.push(share);
        next = end;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_every_row_of_their_files_once() {
        let replaced = |rows: &[(usize, u64)]| -> Vec<Replaced> {
            rows.iter()
                .map(|(file, row)| Replaced { at: RowAddress::new(*file, *row, false), file: 0, row: 0 })
                .collect()
        };
        let rows = replaced(&[(0, 3), (0, 7), (2, 0), (2, 5), (2, 9), (3, 1)]);
        let files = |rows_max| {
            shares(&rows, rows_max, |_| 10).into_iter().map(|share| (share.rows, share.files)).collect::<Vec<_>>()
        };
        assert_eq!(files(100), [(0..6, vec![(0, 0..10), (2, 0..10), (3, 0..10)])]);
        assert_eq!(files(3), [(0..3, vec![(0, 0..10), (2, 0..5)]), (3..6, vec![(2, 5..10), (3, 0..10)])]);
        assert_eq!(
            files(1),
            [
                (0..1, vec![(0, 0..7)]),
                (1..2, vec![(0, 7..10)]),
                (2..3, vec![(2, 0..5)]),
                (3..4, vec![(2, 5..9)]),
                (4..5, vec![(2, 9..10)]),
                (5..6, vec![(3, 0..10)]),
            ]
        );
    }
}
