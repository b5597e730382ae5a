//! Tombstones: keys that were deleted, and how the deletion ranked, so that an older row that arrives later is stale
//! instead of bringing the key back.
//!
//! They lie in one Parquet file beside the table's metadata, named by the table property [`PROPERTY`], which changes in the
//! same commit as the rows. A tombstone goes when a newer row comes for its key, or when the contract's lateness has
//! passed since the deletion was applied.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, BooleanArray, RecordBatch, TimestampMicrosecondArray},
    compute::{concat_batches, filter_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use contract::EpochUnit;
use futures::StreamExt;
use jiff::Timestamp;
use lake::Storage;
use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};

use super::{
    keys::KeyPass,
    matching::selection_of,
    verdicts::{RowAddress, Verdict, Verdicts},
    winners::{Found, RankBytes, Winners},
};
use crate::{
    Error, Result,
    keys::fingerprints,
    parquet_file::{ParquetFile, ReadOptions},
    raw::{ScanOptions, convert},
};

/// The table property that holds the location of the tombstones.
pub const PROPERTY: &str = lake::TOMBSTONES_PROPERTY;

const DELETED_AT: &str = "_etl_deleted_at";
const BATCH_ROWS: usize = 65_536;

/// The tombstones of a table, and those that this run adds.
#[derive(Debug)]
pub struct Tombstones {
    /// Key columns, columns of the winner order, [`DELETED_AT`].
    schema: SchemaRef,
    /// Columns of the table that come first in `schema`.
    columns: Vec<usize>,
    known: RecordBatch,
    superseded: Vec<bool>,
    added: Vec<RecordBatch>,
}

impl Tombstones {
    /// Reads a table's tombstones from `location`; none when there is no such property.
    pub async fn load(storage: &Storage, location: Option<&str>, pass: &KeyPass) -> Result<Self> {
        let mut columns: Vec<usize> = pass.key.iter().chain(&pass.order).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let table_schema = pass.interval.schema();
        let mut fields: Vec<Field> =
            columns.iter().map(|column| table_schema.field(*column).clone().with_nullable(true)).collect();
        fields.push(Field::new(DELETED_AT, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false));
        let schema = Arc::new(Schema::new(fields));
        let known = match location {
            Some(location) => read(storage, location, &schema).await?,
            None => RecordBatch::new_empty(Arc::clone(&schema)),
        };
        let superseded = vec![false; known.num_rows()];
        Ok(Self { schema, columns, known, superseded, added: Vec::new() })
    }

    /// Of the winners that the table does not hold, those that a known deletion outranks are stale; a newer one
    /// supersedes its tombstone.
    pub fn apply(&mut self, pass: &KeyPass, winners: &Winners, ranks: &RankBytes, verdicts: &Verdicts) -> Result<()> {
        let pick = |wanted: &[usize]| -> Vec<ArrayRef> {
            let place = |column| self.columns.binary_search(column).expect("key and order come first");
            wanted.iter().map(|column| Arc::clone(self.known.column(place(column)))).collect()
        };
        let prints = fingerprints(&pick(&pass.key), pass.seed)?;
        let table_ranks = pass.ranking.ranks(&pick(&pass.order), self.known.num_rows())?;
        for (row, print) in prints.iter().enumerate() {
            let bytes = table_ranks.bytes.as_ref().map(|bytes| bytes.row(row));
            let rank = (table_ranks.words[row], bytes.as_ref().map(AsRef::as_ref));
            let Some(Found { at, ordering, .. }) = winners.find(*print, rank, ranks) else { continue };
            if verdicts.get(at.file(), at.row()) != Verdict::Pending {
                // Another writer brought the key back: the table's row is what counts.
                self.superseded[row] = true;
                continue;
            }
            if ordering == Ordering::Greater || pass.ranking.is_unordered() {
                self.superseded[row] = true;
            } else {
                let again = at.is_delete() && ordering == Ordering::Equal;
                self.superseded[row] |= again;
                verdicts.set(at, if again { Verdict::Unchanged } else { Verdict::Stale });
            }
        }
        Ok(())
    }

    /// Adds the deletions among the winners that took effect or found nothing to delete.
    pub async fn add(&mut self, pass: &KeyPass, winners: &Winners, verdicts: &Verdicts, now: Timestamp) -> Result<()> {
        let counts =
            |at: &RowAddress| matches!(verdicts.get(at.file(), at.row()), Verdict::Delete | Verdict::Unchanged);
        let mut rows: HashMap<usize, Vec<u64>> = HashMap::new();
        for at in winners.iter().filter(|at| at.is_delete()).filter(counts) {
            rows.entry(at.file()).or_default().push(at.row());
        }
        let mut files: Vec<(usize, Vec<u64>)> = rows.into_iter().collect();
        files.sort_unstable();
        for (file, mut rows) in files {
            rows.sort_unstable();
            let options = ScanOptions { selection: Some(selection_of(rows.iter().copied())), originals: false };
            let mut batches = std::pin::pin!(pass.interval.scan(file, &self.columns, options));
            while let Some(raw) = batches.next().await {
                let batch = raw?.batch;
                let mut columns = batch.columns().to_vec();
                let micros = vec![now.as_microsecond(); batch.num_rows()];
                columns.push(Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC")));
                let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)
                    .map_err(|source| Error::compute("failed to remember deletions", source))?;
                self.added.push(batch);
            }
        }
        Ok(())
    }

    /// The next version's tombstones: those still needed at `now`, and the added ones. `None` when nothing changed but age.
    pub fn next(&self, now: Timestamp, lateness_seconds: Option<u64>) -> Result<Option<RecordBatch>> {
        if self.added.is_empty() && !self.superseded.contains(&true) {
            return Ok(None);
        }
        let failed = |source| Error::compute("failed to remember deletions", source);
        let deleted_at = self.known.column(self.columns.len()).as_primitive::<TimestampMicrosecondType>();
        let oldest_micros = lateness_seconds.map_or(i64::MIN, |seconds| {
            now.as_microsecond().saturating_sub(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000))
        });
        let keep: BooleanArray = (0..self.known.num_rows())
            .map(|row| Some(!self.superseded[row] && deleted_at.value(row) >= oldest_micros))
            .collect();
        let mut batches = vec![filter_record_batch(&self.known, &keep).map_err(failed)?];
        batches.extend(self.added.iter().cloned());
        concat_batches(&self.schema, &batches).map_err(failed).map(Some)
    }
}

/// Writes tombstones to a new object.
pub async fn write(storage: &Storage, location: &str, batch: &RecordBatch) -> Result<()> {
    let encode = || -> std::result::Result<Vec<u8>, parquet::errors::ParquetError> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(batch)?;
        writer.into_inner()
    };
    let bytes = encode().map_err(|source| Error::compute(format!("failed to write {location}"), source))?;
    Ok(storage.write_new(location, bytes.into()).await?)
}

async fn read(storage: &Storage, location: &str, schema: &SchemaRef) -> Result<RecordBatch> {
    let size = storage.head(location).await?.size;
    let (store, path) = storage.resolve(location)?;
    let file = ParquetFile::open(store, path, location.to_owned(), size, None).await?;
    let failed = |source| Error::compute(format!("failed to read {location}"), source);
    let places = schema
        .fields()
        .iter()
        .map(|field| file.arrow_schema().index_of(field.name()))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|_| Error::Unsupported {
            subject: location.to_owned(),
            reason:
                "it remembers deletions for another key or order: remove the table property etl.tombstones to go on \
                     without them"
                    .to_owned(),
        })?;
    let mut roots = places.clone();
    roots.sort_unstable();
    let options = ReadOptions {
        roots: roots.clone(),
        row_groups: None,
        selection: None,
        batch_rows: BATCH_ROWS,
        row_number: false,
    };
    let mut batches = Vec::new();
    let mut stream = std::pin::pin!(file.read(options));
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let columns = places
            .iter()
            .zip(schema.fields())
            .map(|(place, field)| {
                let place = roots.binary_search(place).expect("all places are read");
                Ok(convert(batch.column(place), field, EpochUnit::default())?.array)
            })
            .collect::<std::result::Result<Vec<_>, arrow::error::ArrowError>>()
            .map_err(failed)?;
        batches.push(RecordBatch::try_new(Arc::clone(schema), columns).map_err(failed)?);
    }
    concat_batches(schema, &batches).map_err(failed)
}
