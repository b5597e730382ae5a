//! What a statement does to each row, counted: every row of the source has one outcome, and no row of the table is taken
//! twice.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch},
    buffer::BooleanBuffer,
    compute::cast,
    datatypes::{DataType, Int32Type, Int64Type, SchemaRef, UInt64Type},
    error::ArrowError,
};
use contract::{EpochUnit, Severity};
use datafusion::logical_expr::dml::MergeIntoAction;

use super::{
    Merge,
    join::{LEADING_COLUMNS, NO_CLAUSE},
    refused,
    statement::Statement,
};
use crate::{
    Error, Result,
    dedupe::{Balance, Batch, Reject, hash_rows, kept, key_text, strict, warnings},
    keys::fingerprints,
    raw::convert,
    rules::Rules,
};

/// Rows of the table that clauses took, by file: their position, and whether they go. The others are as they should be.
pub type Taken = HashMap<String, Vec<(u64, bool)>>;

/// The count so far.
pub struct Tally<'a> {
    merge: &'a Merge,
    statement: &'a Statement,
    schema: &'a SchemaRef,
    rules: Rules,
    /// The key columns, as indices into the schema.
    key: Vec<usize>,
    balance: Balance,
    broken_rows: Vec<u64>,
    samples: Vec<Option<String>>,
    /// Rows of the source that have their outcome.
    seen: Vec<bool>,
    inserted_keys: HashSet<u128>,
    taken: Taken,
}

impl<'a> Tally<'a> {
    /// Nothing counted.
    pub fn new(merge: &'a Merge, statement: &'a Statement, schema: &'a SchemaRef, source_rows: usize) -> Result<Self> {
        let rules = Rules::compile(&merge.contract, schema, &merge.session)?;
        let index = |(name, _): &(String, _)| schema.index_of(name);
        let key = statement.key.iter().map(index).collect::<std::result::Result<_, ArrowError>>().map_err(failed)?;
        Ok(Self {
            merge,
            statement,
            schema,
            key,
            balance: Balance { read: source_rows as u64, ..Balance::default() },
            broken_rows: vec![0; rules.count()],
            samples: vec![None; rules.count()],
            rules,
            seen: vec![false; source_rows],
            inserted_keys: HashSet::new(),
            taken: Taken::new(),
        })
    }

    /// Counts joined rows, and returns those to write, in the table's columns.
    pub fn add(&mut self, pairs: &RecordBatch) -> Result<RecordBatch> {
        let columns = self.schema.fields().len();
        let clauses = pairs.column(0).as_primitive::<Int32Type>();
        let source_rows = pairs.column(1).as_primitive::<UInt64Type>();
        let files = cast(pairs.column(2), &DataType::Utf8View).map_err(failed)?;
        let (files, positions) = (files.as_string_view(), pairs.column(3).as_primitive::<Int64Type>());
        let (new, unfit) = self.new_rows(&pairs.columns()[LEADING_COLUMNS..LEADING_COLUMNS + columns])?;
        let same = self.same_rows(&new, &pairs.columns()[LEADING_COLUMNS + columns..])?;

        let action = |row: usize| match clauses.value(row) {
            NO_CLAUSE => None,
            clause => self.statement.clauses.get(usize::try_from(clause).ok()?).map(|clause| &clause.action),
        };
        let is_written = BooleanBuffer::collect_bool(pairs.num_rows(), |row| match action(row) {
            Some(MergeIntoAction::Insert { .. }) => true,
            Some(MergeIntoAction::Update(_)) => !same.value(row),
            Some(MergeIntoAction::Delete) | None => false,
        });
        let actions: Vec<_> = (0..pairs.num_rows()).map(|row| action(row).cloned()).collect();
        let invalid = self.invalid(&new, &unfit, &is_written)?;
        for (row, action) in actions.iter().enumerate() {
            self.see(source_rows.is_valid(row).then(|| source_rows.value(row)), action.is_some(), &new, row)?;
            let outcome = match action {
                None if source_rows.is_null(row) => continue,
                None => &mut self.balance.stale,
                Some(_) if invalid.value(row) => &mut self.balance.invalid,
                Some(MergeIntoAction::Insert { .. }) => &mut self.balance.inserted,
                Some(MergeIntoAction::Update(_)) if same.value(row) => &mut self.balance.unchanged,
                Some(MergeIntoAction::Update(_)) => &mut self.balance.updated,
                Some(MergeIntoAction::Delete) => {
                    self.balance.deleted += 1;
                    &mut self.balance.updated
                }
            };
            *outcome += 1;
            if action.is_some() && files.is_valid(row) {
                let goes = !matches!(action, Some(MergeIntoAction::Update(_))) || !same.value(row);
                let position = (positions.value(row).unsigned_abs(), goes);
                match self.taken.get_mut(files.value(row)) {
                    Some(positions) => positions.push(position),
                    None => _ = self.taken.insert(files.value(row).to_owned(), vec![position]),
                }
            }
        }
        let is_valid = &is_written & &!&invalid;
        let is_inserted = BooleanBuffer::collect_bool(actions.len(), |row| {
            is_valid.value(row) && matches!(actions[row], Some(MergeIntoAction::Insert { .. }))
        });
        self.insert_keys(&new, &is_inserted)?;
        strict(&kept(new, &BooleanArray::new(is_valid, None))?, self.schema)
    }

    /// The new rows in the table's types, and where a value does not fit.
    fn new_rows(&self, columns: &[ArrayRef]) -> Result<(RecordBatch, Vec<Option<BooleanBuffer>>)> {
        let converted =
            columns.iter().zip(self.schema.fields()).map(|(column, field)| convert(column, field, EpochUnit::Seconds));
        let converted = converted.collect::<std::result::Result<Vec<_>, ArrowError>>().map_err(failed)?;
        let (arrays, unfit): (Vec<ArrayRef>, Vec<_>) = converted.into_iter().map(|of| (of.array, of.failed)).unzip();
        let fields = self.schema.fields().iter().zip(&arrays);
        let fields: Vec<_> = fields
            .map(|(field, array)| field.as_ref().clone().with_data_type(array.data_type().clone()).with_nullable(true))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        Ok((RecordBatch::try_new(schema, arrays).map_err(failed)?, unfit))
    }

    /// Where the row that would be written is the one that is there.
    fn same_rows(&self, new: &RecordBatch, old: &[ArrayRef]) -> Result<BooleanBuffer> {
        let old = RecordBatch::try_new(new.schema(), old.to_vec()).map_err(failed)?;
        let (new, old) = (hash_rows(new, self.merge.seed)?, hash_rows(&old, self.merge.seed)?);
        Ok(BooleanBuffer::collect_bool(new.len(), |row| new[row] == old[row]))
    }

    /// Which of the rows to write break the contract.
    fn invalid(
        &mut self,
        new: &RecordBatch,
        unfit: &[Option<BooleanBuffer>],
        is_written: &BooleanBuffer,
    ) -> Result<BooleanBuffer> {
        let columns: Vec<usize> = (0..new.num_columns()).collect();
        let judge = self.rules.for_file(|_| crate::rules::ColumnProof::default());
        let mut invalid = BooleanBuffer::new_unset(new.num_rows());
        for broken in judge.broken(&columns, new, unfit)? {
            let rows = &broken.rows & is_written;
            self.broken_rows[broken.rule] += rows.count_set_bits() as u64;
            if let Some(row) = rows.set_indices().next() {
                let keys: Vec<ArrayRef> = self.key.iter().map(|column| Arc::clone(new.column(*column))).collect();
                self.samples[broken.rule].get_or_insert_with(|| format!("key {}", key_text(&keys, row)));
            }
            if self.rules.severity(broken.rule) == Severity::Error {
                invalid = &invalid | &rows;
            }
        }
        Ok(invalid)
    }

    /// A joined row has its outcome: one of the source, or one of the table alone.
    fn see(&mut self, source_row: Option<u64>, is_taken: bool, new: &RecordBatch, row: usize) -> Result<()> {
        let Some(source_row) = source_row else {
            self.balance.read += u64::from(is_taken);
            return Ok(());
        };
        let place = usize::try_from(source_row).expect("a row in memory");
        if std::mem::replace(&mut self.seen[place], true) {
            let keys: Vec<ArrayRef> = self.key.iter().map(|column| Arc::clone(new.column(*column))).collect();
            return Err(Error::DuplicateKey {
                table: self.merge.contract.table.to_string(),
                key: key_text(&keys, row),
                rows: 2,
            });
        }
        Ok(())
    }

    fn insert_keys(&mut self, new: &RecordBatch, is_inserted: &BooleanBuffer) -> Result<()> {
        if is_inserted.count_set_bits() == 0 {
            return Ok(());
        }
        let keys: Vec<ArrayRef> = self.key.iter().map(|column| Arc::clone(new.column(*column))).collect();
        let fingerprints = fingerprints(&keys, self.merge.seed)?;
        match is_inserted.set_indices().find(|row| !self.inserted_keys.insert(fingerprints[*row])) {
            Some(row) => Err(refused(format!(
                "the source has more than one row with key {}: let it have each key once",
                key_text(&keys, row)
            ))),
            None => Ok(()),
        }
    }

    /// The outcome of every row. They must add up.
    pub fn finish(self) -> Result<(Batch, Taken)> {
        let Balance { read, invalid, duplicate, stale, unchanged, inserted, updated, .. } = self.balance;
        let accounted = invalid + duplicate + stale + unchanged + inserted + updated;
        if accounted != read || self.seen.contains(&false) {
            return Err(Error::Balance { read, accounted });
        }
        let rejects = (0..self.rules.count())
            .filter(|rule| self.broken_rows[*rule] > 0 && self.rules.severity(*rule) == Severity::Error)
            .map(|rule| Reject {
                rule: self.rules.name(rule).to_owned(),
                count: self.broken_rows[rule],
                sample: self.samples[rule].clone(),
            });
        let batch = Batch {
            balance: self.balance,
            rejects: rejects.collect(),
            quality: warnings(&self.rules, &self.broken_rows),
            unreadable: Vec::new(),
        };
        Ok((batch, self.taken))
    }
}

fn failed(source: ArrowError) -> Error {
    Error::compute("failed to look at merged rows", source)
}
