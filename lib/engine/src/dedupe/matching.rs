//! The match: winners looked up in the files of the table that may hold them, by key alone. It yields the position of
//! every table row that has to go, and a final verdict for every winner.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::SchemaRef,
};
use contract::TableName;
use futures::{StreamExt, TryStreamExt, stream};
use lake::DataFileEntry;

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
    hits: Vec<Hit>,
    /// Winners of another tenant than the table's row.
    conflicts: Vec<RowAddress>,
    live_rows: u64,
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

/// A winner found in the table that is not older than the table's row.
#[derive(Debug, Clone, Copy)]
struct Hit {
    at: RowAddress,
    row: u64,
    /// The index of the table's file among the candidates, in four bytes: there may be as many hits as rows.
    file: u32,
    newer: bool,
}

/// Hits whose values decide, in the order of raw files and their rows.
struct Open<'a> {
    hits: &'a [Hit],
    indices: Vec<u32>,
}

impl Open<'_> {
    fn at(&self, place: u32) -> &Hit {
        &self.hits[self.indices[place as usize] as usize]
    }
}

impl Hit {
    fn file(&self) -> usize {
        self.file as usize
    }
}

impl Matching<'_> {
    /// Gives every winner that the table holds its verdict. The others stay pending.
    pub async fn run(
        &self,
        winners: &Arc<Winners>,
        ranks: &Arc<RankBytes>,
        verdicts: &Arc<Verdicts>,
    ) -> Result<Matched> {
        let probed: Vec<Probed> = stream::iter(0..self.candidates.len())
            .map(|file| self.probe(file, winners, ranks, verdicts))
            .buffered(self.threads.max(1))
            .try_collect()
            .await?;
        let live_rows: Vec<u64> = probed.iter().map(|file| file.live_rows).collect();
        let mut hits: Vec<Hit> = Vec::with_capacity(probed.iter().map(|file| file.hits.len()).sum());
        let mut conflicts = Vec::new();
        for file in probed {
            hits.extend(file.hits);
            conflicts.extend(file.conflicts);
        }
        let same = self.unchanged(&hits).await?;
        let mut touched: HashMap<usize, Vec<u64>> = HashMap::new();
        let mut replaced = Vec::new();
        for (hit, same_values) in hits.iter().zip(same) {
            let verdict = self.verdict(hit, same_values);
            verdicts.set(hit.at, verdict);
            if matches!(verdict, Verdict::Update | Verdict::Delete) {
                touched.entry(hit.file()).or_default().push(hit.row);
            }
            if verdict == Verdict::Update && self.has_values_to_keep(hit) {
                replaced.push(Replaced { at: hit.at, file: hit.file(), row: hit.row });
            }
        }
        let mut touched: Vec<(usize, Vec<u64>)> = touched.into_iter().collect();
        touched.sort_unstable();
        let touched = touched.into_iter().map(|(file, mut rows)| {
            rows.sort_unstable();
            TouchedFile { entry: self.candidates[file].clone(), rows, live_rows: live_rows[file] }
        });
        Ok(Matched { touched: touched.collect(), replaced, conflicts })
    }

    /// Whether the table's row may have values that the raw row's file lacks.
    fn has_values_to_keep(&self, hit: &Hit) -> bool {
        let file = &self.candidates[hit.file()].data_file;
        self.pass.interval.filling(hit.at.file()).kept().iter().any(|column| {
            let field = self.pass.interval.schema().field(*column);
            let nulls = field_id(field).and_then(|id| file.null_value_counts().get(&id));
            field.data_type().is_nested() || nulls != Some(&file.record_count())
        })
    }

    fn verdict(&self, hit: &Hit, same_values: bool) -> Verdict {
        let unordered = self.pass.ranking.is_unordered();
        match (hit.at.is_delete(), hit.newer || unordered) {
            (true, true) => Verdict::Delete,
            (false, _) if same_values => Verdict::Unchanged,
            (false, true) => Verdict::Update,
            (_, false) => Verdict::Stale,
        }
    }

    /// Reads the keys of one file and finds the winners among them.
    async fn probe(
        &self,
        file: usize,
        winners: &Arc<Winners>,
        ranks: &Arc<RankBytes>,
        verdicts: &Arc<Verdicts>,
    ) -> Result<Probed> {
        let pass = self.pass;
        let mut columns: Vec<usize> = pass.key.iter().chain(&pass.order).chain(&pass.tenant).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let entry = &self.candidates[file];
        let batches = self.reader.read(entry, &field_ids(self.pass.interval.schema(), &columns), ROW_OPTIONS);
        let (pass, winners, ranks, verdicts) =
            (Arc::clone(self.pass), Arc::clone(winners), Arc::clone(ranks), Arc::clone(verdicts));
        let table = self.table.clone();
        let probe = async move {
            let mut batches = batches;
            let mut probed = Probed::default();
            while let Some(batch) = batches.next().await {
                let batch = batch?;
                probed.live_rows += batch.num_rows() as u64;
                probe_batch(&pass, &columns, &batch, file, &winners, &ranks, &verdicts, &table, &mut probed)?;
            }
            Ok(probed)
        };
        let location = entry.data_file.file_path().to_owned();
        on_file(location, probe).await
    }

    /// Which hits rank like the table's row (all do where there is no order) and have the same values, in what the hit's
    /// file has: one answer for each hit.
    ///
    /// All hashes of the raw rows are held at once; of the table's rows those of the batches at hand.
    async fn unchanged(&self, hits: &[Hit]) -> Result<Vec<bool>> {
        let mut same = vec![false; hits.len()];
        let is_open = |hit: &Hit| !hit.newer && !hit.at.is_delete();
        let all = 0..u32::try_from(hits.len()).expect("fewer than a round has");
        let mut open: Vec<u32> = all.filter(|index| is_open(&hits[*index as usize])).collect();
        open.sort_unstable_by_key(|index| (hits[*index as usize].at.file(), hits[*index as usize].at.row()));
        let open = Open { hits, indices: open };
        let hashes = self.hashes_of_source(&open).await?;

        // Files of the table once for each kind of raw files whose rows are compared with theirs.
        let target = |place: &u32| {
            let hit = open.at(*place);
            (Arc::as_ptr(self.pass.interval.filling(hit.at.file())), hit.file, hit.row)
        };
        let mut by_target: Vec<u32> = (0..).take(open.indices.len()).collect();
        by_target.sort_unstable_by_key(target);
        let files = by_target.chunk_by(|a, b| (target(a).0, target(a).1) == (target(b).0, target(b).1));
        let mut found = stream::iter(files)
            .map(|places| self.same_as_target(&open, &hashes, places))
            .buffer_unordered(self.threads.max(1));
        while let Some(places) = found.try_next().await? {
            for place in places {
                same[open.indices[place as usize] as usize] = true;
            }
        }
        Ok(same)
    }

    /// Hashes of the raw rows, in their order.
    async fn hashes_of_source(&self, open: &Open<'_>) -> Result<Vec<u128>> {
        let interval = &self.pass.interval;
        let at = |index: &u32| open.hits[*index as usize].at;
        let files = open.indices.chunk_by(|a, b| at(a).file() == at(b).file());
        let hashed = stream::iter(files).map(|indices| async move {
            let file = at(&indices[0]).file();
            let rows: Vec<u64> = indices.iter().map(|index| at(index).row()).collect();
            let filling = interval.filling(file);
            let selection = is_few(&rows, interval.rows(file)).then(|| selection_of(&rows));
            let options = ScanOptions { selection, originals: false };
            let mut batches = std::pin::pin!(interval.scan(file, &filling.columns(), options));
            // A row that is not read again is like no other.
            let mut hashes = vec![0; rows.len()];
            while let Some(raw) = batches.next().await {
                let raw = raw?;
                let found = self.hashes(filling, &raw.batch)?;
                let numbers = raw.row_numbers.unwrap_or_else(|| (raw.first_row..).take(found.len()).collect());
                for (number, hash) in numbers.into_iter().zip(found) {
                    if let Ok(place) = rows.binary_search(&number) {
                        hashes[place] = hash;
                    }
                }
            }
            Ok::<_, Error>(hashes)
        });
        let mut hashed = hashed.buffered(self.threads.max(1));
        let mut hashes = Vec::with_capacity(open.indices.len());
        while let Some(more) = hashed.try_next().await? {
            hashes.extend(more);
        }
        Ok(hashes)
    }

    /// Finds the hits in one file of the table whose two rows have the same values. `places` are the places in `open` of all
    /// hits in that file, in the order of its rows; `hashes` are those of the raw rows. Gives the places of the same rows.
    async fn same_as_target(&self, open: &Open<'_>, hashes: &[u128], places: &[u32]) -> Result<Vec<u32>> {
        let hit = |place: &u32| open.at(*place);
        let (interval, file) = (&self.pass.interval, hit(&places[0]).file());
        let filling = interval.filling(hit(&places[0]).at.file());
        let rows: Vec<u64> = places.iter().map(|place| hit(place).row).collect();
        let ids = field_ids(interval.schema(), &filling.columns());
        let selection = is_few(&rows, self.candidates[file].data_file.record_count()).then(|| selection_of(&rows));
        let options = RowOptions { selection, ..ROW_OPTIONS };
        let mut batches = self.reader.read(&self.candidates[file], &ids, options);
        let mut same = Vec::new();
        while let Some(batch) = batches.next().await {
            let (batch, numbers) = split_row_numbers(&batch?)?;
            for (number, hash) in numbers.iter().zip(self.hashes(filling, &batch)?) {
                let place = rows.binary_search(number).ok().map(|found| places[found]);
                same.extend(place.filter(|place| hashes[*place as usize] == hash));
            }
        }
        Ok(same)
    }
}

impl Matching<'_> {
    /// Hashes of what files of one kind say, of rows in the table's types.
    fn hashes(&self, filling: &Filling, batch: &RecordBatch) -> Result<Vec<u128>> {
        let said = filling.said(batch).map_err(|source| Error::compute("failed to compare rows", source))?;
        hash_rows(&said, self.pass.seed)
    }
}

/// Whether so few of a file's rows are wanted that the others are better skipped than read. A selection costs 16 bytes a row.
fn is_few(rows: &[u64], all: u64) -> bool {
    (rows.len() as u64).saturating_mul(4) < all
}

/// Winners that the table does not hold are new; a deletion among them has nothing to delete.
pub fn settle(winners: &Winners, verdicts: &Verdicts) {
    for at in winners.iter() {
        if verdicts.get(at.file(), at.row()) == Verdict::Pending {
            verdicts.set(at, if at.is_delete() { Verdict::Unchanged } else { Verdict::Insert });
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "one call, from the loop above")]
fn probe_batch(
    pass: &KeyPass,
    columns: &[usize],
    batch: &RecordBatch,
    file: usize,
    winners: &Winners,
    ranks: &RankBytes,
    verdicts: &Verdicts,
    table: &TableName,
    probed: &mut Probed,
) -> Result<()> {
    let pick = |wanted: &[usize]| -> Vec<_> {
        let place = |column| columns.binary_search(column).expect("keys and order are read");
        wanted.iter().map(|column| Arc::clone(batch.column(place(column)))).collect()
    };
    let keys = pick(&pass.key);
    let tenants = pass.tenant.map(|tenant| pick(&[tenant]).remove(0));
    let prints = pass.tags().tagged(fingerprints(&keys, pass.seed)?, tenants.as_ref(), pass.seed)?;
    let table_ranks = pass.ranking.ranks(&pick(&pass.order), batch.num_rows())?;
    let (_, numbers) = split_row_numbers(batch)?;
    for row in 0..batch.num_rows() {
        if keys.iter().any(|key| key.is_null(row)) {
            continue;
        }
        let bytes = table_ranks.bytes.as_ref().map(|bytes| bytes.row(row));
        let rank = (table_ranks.words[row], bytes.as_ref().map(AsRef::as_ref));
        let Some(Found { at, ordering, is_of_another_tenant }) = winners.find(prints[row], rank, ranks) else {
            continue;
        };
        let verdict = match ordering {
            _ if is_of_another_tenant => Verdict::Invalid,
            Ordering::Less => Verdict::Stale,
            _ => Verdict::Matched,
        };
        if verdicts.set(at, verdict) != Verdict::Pending {
            return Err(Error::DuplicateKey { table: table.to_string(), key: key_text(&keys, row), rows: 2 });
        }
        if is_of_another_tenant {
            probed.conflicts.push(at);
        }
        if verdict == Verdict::Matched {
            let file = u32::try_from(file).expect("fewer files than that");
            probed.hits.push(Hit { at, row: numbers[row], file, newer: ordering == Ordering::Greater });
        }
    }
    Ok(())
}

/// Rows of the table are read in large batches, with their positions.
pub const ROW_OPTIONS: RowOptions =
    RowOptions { batch_rows: 65_536, row_number: true, row_groups: None, selection: None };

/// Field ids of columns, given as indices into the table's schema.
pub fn field_ids(schema: &SchemaRef, columns: &[usize]) -> Vec<i32> {
    columns.iter().filter_map(|column| field_id(schema.field(*column))).collect()
}

/// A row's key for people.
pub fn key_text(keys: &[arrow::array::ArrayRef], row: usize) -> String {
    let text = |key: &arrow::array::ArrayRef| {
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
pub fn selection_of(rows: &[u64]) -> parquet::arrow::arrow_reader::RowSelection {
    let index = |row: u64| usize::try_from(row).expect("a row of a file");
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    for row in rows.iter().copied().map(index) {
        match ranges.last_mut() {
            Some(range) if range.end == row => range.end += 1,
            Some(range) if range.end > row => {}
            _ => ranges.push(row..row + 1),
        }
    }
    let end = ranges.last().map_or(0, |range| range.end);
    parquet::arrow::arrow_reader::RowSelection::from_consecutive_ranges(ranges.into_iter(), end)
}
