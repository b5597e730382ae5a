//! The match: winners looked up in the files of the table that may hold them, by key alone. It yields the position of
//! every table row that has to go, and a final verdict for every winner.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use contract::TableName;
use futures::{StreamExt, TryStreamExt, stream};
use lake::{DataFileEntry, spec::DataFile};
use parquet::arrow::arrow_reader::RowSelection;

use super::{
    compare::hash_rows,
    kept::Replaced,
    keys::KeyPass,
    touched::TouchedFile,
    verdicts::{RowAddress, Verdict, Verdicts},
    winners::{Found, RankBytes, Winners},
};
use crate::{
    Error, Result,
    curated::{RowOptions, TableReader},
    keys::fingerprints,
    raw::{Filling, ScanOptions},
    tasks::on_file,
    types::field_id,
};

/// Looks winners up in the table.
pub struct Matching<'a> {
    /// The table at the base snapshot.
    pub reader: &'a Arc<TableReader>,
    /// Files that may hold a key.
    pub candidates: &'a [DataFileEntry],
    /// The pass that made the winners.
    pub pass: &'a Arc<KeyPass>,
    /// The table's name, for messages.
    pub table: &'a TableName,
    /// Files read at once.
    pub threads: usize,
}

/// What one file of the table held of the winners.
#[derive(Debug, Default)]
struct Probed {
    live_rows: u64,
    /// Rows that go, ascending.
    touched: Vec<u64>,
    /// Winners that take over values of these rows.
    replaced: Vec<Replaced>,
    open: Vec<Open>,
    /// Winners of another tenant than the table's row.
    conflicts: Vec<RowAddress>,
}

/// What the winners found in the table.
#[derive(Debug)]
pub struct Matched {
    /// Files with rows that go.
    pub touched: Vec<TouchedFile>,
    /// Winners that take over values of the rows that they replace.
    pub replaced: Vec<Replaced>,
    /// Winners whose key is another tenant's in the table: they are invalid.
    pub conflicts: Vec<RowAddress>,
}

/// A winner that ranks like the table's row with its key, so that their values decide. A run may have one for each of its
/// rows, and holds nothing else for them.
#[derive(Debug, Clone, Copy)]
struct Open {
    at: RowAddress,
    /// The table's row, in the candidate with this number.
    target: RowAddress,
    /// Hash of the raw row's values.
    hash: u64,
}

impl Matching<'_> {
    /// Gives every winner that the table holds its verdict. The others stay pending.
    pub async fn run(
        &self,
        winners: &Arc<Winners>,
        ranks: &Arc<RankBytes>,
        verdicts: &Arc<Verdicts>,
    ) -> Result<Matched> {
        let (mut open, mut touched, mut replaced, mut conflicts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut probed = stream::iter(0..self.candidates.len())
            .map(|file| self.probe(file, winners, ranks, verdicts))
            .buffered(self.threads.max(1));
        while let Some(file) = probed.try_next().await? {
            touched.push((file.touched, file.live_rows));
            replaced.extend(file.replaced);
            conflicts.extend(file.conflicts);
            // The first is not copied: it may be the only one.
            if open.is_empty() { open = file.open } else { open.extend(file.open) }
        }
        drop(probed);

        self.compare(&mut open, verdicts).await?;
        // All of them are of one kind: either there is a winner order, or there is none.
        let verdict = if self.pass.ranking.is_unordered() { Verdict::Update } else { Verdict::Stale };
        for Open { at, target, .. } in open {
            if verdicts.get(at.file(), at.row()) != Verdict::Matched {
                continue;
            }
            verdicts.set(at, verdict);
            if verdict == Verdict::Update {
                touched[target.file()].0.push(target.row());
                let has_values = has_values_to_keep(self.pass, &self.candidates[target.file()].data_file, at);
                replaced.extend(has_values.then_some(Replaced { at, file: target.file(), row: target.row() }));
            }
        }
        let touched = self.candidates.iter().zip(touched).filter(|(_, (rows, _))| !rows.is_empty());
        let touched = touched.map(|(entry, (mut rows, live_rows))| {
            rows.sort_unstable();
            TouchedFile { entry: entry.clone(), rows, live_rows }
        });
        Ok(Matched { touched: touched.collect(), replaced, conflicts })
    }

    /// Reads the keys of one file and finds the winners among them.
    async fn probe(
        &self,
        file: usize,
        winners: &Arc<Winners>,
        ranks: &Arc<RankBytes>,
        verdicts: &Arc<Verdicts>,
    ) -> Result<Probed> {
        let (pass, entry) = (self.pass, &self.candidates[file]);
        let mut columns: Vec<usize> = pass.key.iter().chain(&pass.order).chain(&pass.tenant).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let mut batches = self.reader.read(entry, &field_ids(pass.interval.schema(), &columns), ROW_OPTIONS);
        let probe = Probe {
            pass: Arc::clone(pass),
            file,
            data_file: Arc::clone(&entry.data_file),
            table: self.table.clone(),
            columns,
            winners: Arc::clone(winners),
            ranks: Arc::clone(ranks),
            verdicts: Arc::clone(verdicts),
        };
        let probed = async move {
            let mut probed = Probed::default();
            while let Some(batch) = batches.next().await {
                probe.add(&batch?, &mut probed)?;
            }
            Ok(probed)
        };
        on_file(entry.data_file.file_path().to_owned(), probed).await
    }

    /// Finds the open ones that have the values of the table's row, in what their raw file has: they are unchanged.
    async fn compare(&self, open: &mut [Open], verdicts: &Verdicts) -> Result<()> {
        let threads = self.threads.max(1);
        open.sort_unstable_by_key(|open| open.at.position());
        stream::iter(open.chunk_by_mut(|a, b| a.at.file() == b.at.file()))
            .map(|open| self.hash_source(open))
            .buffer_unordered(threads)
            .try_collect::<()>()
            .await?;

        // Files of the table once for each kind of raw files whose rows are compared with theirs.
        let kind = |open: &Open| Arc::as_ptr(self.pass.interval.filling(open.at.file()));
        open.sort_unstable_by_key(|open| (kind(open), open.target.position()));
        let files = open.chunk_by(|a, b| kind(a) == kind(b) && a.target.file() == b.target.file());
        stream::iter(files)
            .map(|open| self.compare_with_target(open, verdicts))
            .buffer_unordered(threads)
            .try_collect::<()>()
            .await
    }

    /// Fills in the hashes of the rows of one raw file. `open` is in the order of those rows. The hash of a row that the file
    /// no longer has stays 0.
    async fn hash_source(&self, open: &mut [Open]) -> Result<()> {
        let (interval, file) = (&self.pass.interval, open[0].at.file());
        let filling = interval.filling(file);
        let selection = selection_of_few(open.iter().map(|open| open.at.row()), interval.rows(file));
        let options = ScanOptions { selection, originals: false };
        let mut batches = std::pin::pin!(interval.scan(file, &filling.columns(), options));
        while let Some(raw) = batches.next().await {
            let raw = raw?;
            let rows = raw.batch.num_rows();
            let numbers = raw.row_numbers.unwrap_or_else(|| (raw.first_row..).take(rows).collect());
            let (places, batch) = only(open, |open| open.at.row(), &numbers, raw.batch)?;
            for (place, hash) in places.into_iter().zip(self.hashes(filling, &batch)?) {
                open[place].hash = hash;
            }
        }
        Ok(())
    }

    /// Gives the verdict unchanged where a row of one file of the table has the same hash. `open` is in the order of those rows.
    async fn compare_with_target(&self, open: &[Open], verdicts: &Verdicts) -> Result<()> {
        let (interval, entry) = (&self.pass.interval, &self.candidates[open[0].target.file()]);
        let filling = interval.filling(open[0].at.file());
        let selection = selection_of_few(open.iter().map(|open| open.target.row()), entry.data_file.record_count());
        let options = RowOptions { selection, ..ROW_OPTIONS };
        let mut batches = self.reader.read(entry, &field_ids(interval.schema(), &filling.columns()), options);
        while let Some(batch) = batches.next().await {
            let (batch, numbers) = split_row_numbers(&batch?)?;
            let (places, batch) = only(open, |open| open.target.row(), &numbers, batch)?;
            for (place, hash) in places.into_iter().zip(self.hashes(filling, &batch)?) {
                if open[place].hash == hash {
                    verdicts.set(open[place].at, Verdict::Unchanged);
                }
            }
        }
        Ok(())
    }

    /// Hashes of what files of one kind say, of rows in the table's types.
    fn hashes(&self, filling: &Filling, batch: &RecordBatch) -> Result<Vec<u64>> {
        let said = filling.said(batch).map_err(|source| Error::compute("failed to compare rows", source))?;
        hash_rows(&said, self.pass.seed)
    }
}

/// Whether so few of a file's rows are wanted that the others are better skipped than read. Skipping takes memory for each
/// wanted row: 32 bytes, in each of the layers that hold the selection.
pub fn is_few(wanted: u64, all: u64) -> bool {
    wanted.saturating_mul(64) < all
}

/// Rows to read, given in their order, where they are few.
fn selection_of_few(rows: impl ExactSizeIterator<Item = u64>, all: u64) -> Option<RowSelection> {
    is_few(rows.len() as u64, all).then(|| selection_of(rows))
}

/// The rows of a batch that are open, and the places of those in `open`. Both are in the order of `row`, the row's number.
fn only(
    open: &[Open],
    row: impl Fn(&Open) -> u64,
    numbers: &[u64],
    batch: RecordBatch,
) -> Result<(Vec<usize>, RecordBatch)> {
    let mut next = open.partition_point(|open| numbers.first().is_some_and(|first| row(open) < *first));
    let (mut places, mut is_open) = (Vec::new(), Vec::with_capacity(numbers.len()));
    for number in numbers {
        while open.get(next).is_some_and(|open| row(open) < *number) {
            next += 1;
        }
        let found = open.get(next).is_some_and(|open| row(open) == *number);
        places.extend(found.then_some(next));
        is_open.push(found);
    }
    let batch = filter_record_batch(&batch, &BooleanArray::from(is_open))
        .map_err(|source| Error::compute("failed to pick the rows to compare", source))?;
    Ok((places, batch))
}

/// Whether a row of the table's file may have values that the raw row's file lacks.
fn has_values_to_keep(pass: &KeyPass, data_file: &DataFile, at: RowAddress) -> bool {
    pass.interval.filling(at.file()).kept().iter().any(|column| {
        let field = pass.interval.schema().field(*column);
        let nulls = field_id(field).and_then(|id| data_file.null_value_counts().get(&id));
        field.data_type().is_nested() || nulls != Some(&data_file.record_count())
    })
}

/// Winners that the table does not hold are new; a deletion among them has nothing to delete.
pub fn settle(winners: &Winners, verdicts: &Verdicts) {
    for at in winners.iter() {
        if verdicts.get(at.file(), at.row()) == Verdict::Pending {
            verdicts.set(at, if at.is_delete() { Verdict::Unchanged } else { Verdict::Insert });
        }
    }
}

/// Looks for the keys of one file of the table among the winners.
struct Probe {
    pass: Arc<KeyPass>,
    /// Its number among the candidates.
    file: usize,
    data_file: Arc<DataFile>,
    table: TableName,
    /// Columns that are read, as indices into the table's schema, ascending.
    columns: Vec<usize>,
    winners: Arc<Winners>,
    ranks: Arc<RankBytes>,
    verdicts: Arc<Verdicts>,
}

impl Probe {
    fn add(&self, batch: &RecordBatch, probed: &mut Probed) -> Result<()> {
        let pass = &self.pass;
        let keys = self.pick(batch, &pass.key);
        let tenants = pass.tenant.map(|tenant| self.pick(batch, &[tenant]).remove(0));
        let prints = pass.tags().tagged(fingerprints(&keys, pass.seed)?, tenants.as_ref(), pass.seed)?;
        let table_ranks = pass.ranking.ranks(&self.pick(batch, &pass.order), batch.num_rows())?;
        let (_, numbers) = split_row_numbers(batch)?;
        probed.live_rows += batch.num_rows() as u64;
        for row in 0..batch.num_rows() {
            if keys.iter().any(|key| key.is_null(row)) {
                continue;
            }
            let bytes = table_ranks.bytes.as_ref().map(|bytes| bytes.row(row));
            let rank = (table_ranks.words[row], bytes.as_ref().map(AsRef::as_ref));
            let Some(found) = self.winners.find(prints[row], rank, &self.ranks) else { continue };
            let (at, verdict) = (found.at, verdict_of(&found, pass.ranking.is_unordered()));
            if self.verdicts.set(at, verdict) != Verdict::Pending {
                return Err(Error::DuplicateKey { table: self.table.to_string(), key: key_text(&keys, row), rows: 2 });
            }
            let (file, row) = (self.file, numbers[row]);
            match verdict {
                Verdict::Invalid => probed.conflicts.push(at),
                Verdict::Matched => {
                    probed.open.push(Open { at, target: RowAddress::new(file, row, false), hash: 0 });
                }
                Verdict::Update => {
                    probed.touched.push(row);
                    let has_values = has_values_to_keep(pass, &self.data_file, at);
                    probed.replaced.extend(has_values.then_some(Replaced { at, file, row }));
                }
                Verdict::Delete => probed.touched.push(row),
                _ => {}
            }
        }
        Ok(())
    }

    fn pick(&self, batch: &RecordBatch, wanted: &[usize]) -> Vec<ArrayRef> {
        let place = |column| self.columns.binary_search(column).expect("keys and order are read");
        wanted.iter().map(|column| Arc::clone(batch.column(place(column)))).collect()
    }
}

/// What becomes of a winner that the table holds, as far as its rank says.
fn verdict_of(found: &Found, is_unordered: bool) -> Verdict {
    match (found.ordering, found.at.is_delete()) {
        _ if found.is_of_another_tenant => Verdict::Invalid,
        (Ordering::Less, _) => Verdict::Stale,
        (Ordering::Greater, true) => Verdict::Delete,
        (Ordering::Greater, false) => Verdict::Update,
        (Ordering::Equal, true) if is_unordered => Verdict::Delete,
        (Ordering::Equal, true) => Verdict::Stale,
        (Ordering::Equal, false) => Verdict::Matched,
    }
}

/// Rows of the table are read in large batches, with their positions.
pub const ROW_OPTIONS: RowOptions =
    RowOptions { batch_rows: 65_536, row_number: true, row_groups: None, selection: None };

/// Field ids of columns, given as indices into the table's schema.
pub fn field_ids(schema: &SchemaRef, columns: &[usize]) -> Vec<i32> {
    columns.iter().filter_map(|column| field_id(schema.field(*column))).collect()
}

/// A row's key for people.
pub fn key_text(keys: &[ArrayRef], row: usize) -> String {
    let text = |key: &ArrayRef| {
        let text = arrow::util::display::array_value_to_string(key, row).unwrap_or_else(|_| "?".to_owned());
        // What could not be seen, or be taken for two values.
        let is_plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == ',');
        if is_plain { text } else { format!("{text:?}") }
    };
    keys.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Takes the trailing row-number column off.
pub fn split_row_numbers(batch: &RecordBatch) -> Result<(RecordBatch, Vec<u64>)> {
    let last = batch.num_columns() - 1;
    let numbers = batch.column(last).as_primitive::<arrow::datatypes::Int64Type>();
    let numbers = numbers.values().iter().map(|number| number.unsigned_abs()).collect();
    let columns: Vec<usize> = (0..last).collect();
    let batch = batch.project(&columns).map_err(|source| Error::compute("failed to split row numbers", source))?;
    Ok((batch, numbers))
}

/// Selects exactly these rows, ascending.
pub fn selection_of(rows: impl Iterator<Item = u64>) -> RowSelection {
    let index = |row: u64| usize::try_from(row).expect("a row of a file");
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for row in rows.map(index) {
        match ranges.last_mut() {
            Some(range) if range.end == row => range.end += 1,
            Some(range) if range.end > row => {}
            _ => ranges.push(row..row + 1),
        }
    }
    let end = ranges.last().map_or(0, |range| range.end);
    RowSelection::from_consecutive_ranges(ranges.into_iter(), end)
}
