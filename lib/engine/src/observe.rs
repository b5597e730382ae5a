//! Raw files as they are: what their footers say, and what a sample of their rows shows.
//!
//! For people, before anything is read in earnest. Refuses to judge: which column is a key and which type a
//! table should have is decided elsewhere.

use std::collections::HashSet;

use arrow::{
    array::{Array, RecordBatch},
    datatypes::{DataType, SchemaRef},
};
use datafusion::{
    common::hash_utils::{RandomState, create_hashes},
    scalar::ScalarValue,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use lake::Storage;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;

use crate::{Error, ParquetFile, ReadOptions, Result, iceberg_type, parquet_file::bounds::bounds_hold};

/// Footers that are read at once.
const FOOTERS_AT_ONCE: usize = 16;
/// Rows that a sample takes from one file, at most.
const SAMPLE_ROWS_PER_FILE: usize = 20_000;
/// Bytes of them, about.
const SAMPLE_BYTES_PER_FILE: u64 = 8 << 20;
/// Files that a sample takes rows from, at most.
const SAMPLE_FILES_MAX: usize = 8;
/// Columns of which pairs are tried as keys, at most.
const KEY_COLUMNS_MAX: usize = 8;

/// A file to look at.
#[derive(Debug, Clone)]
pub struct FileToObserve {
    /// Where it lies.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Its version, where it is frozen.
    pub etag: Option<String>,
}

/// What files show of themselves.
#[derive(Debug, Clone, Default)]
pub struct Observed {
    /// Files that were read.
    pub files: u64,
    /// Their rows.
    pub rows: u64,
    /// Rows of the sample.
    pub sampled_rows: u64,
    /// Columns in the order in which they first appear.
    pub columns: Vec<ObservedColumn>,
    /// Columns and pairs of columns by how many different values the sample has, most first. Only columns without NULL
    /// whose type can be a key.
    pub keys: Vec<ObservedKey>,
    /// Files that could not be read, and why.
    pub unreadable: Vec<String>,
}

/// One column over all files.
#[derive(Debug, Clone)]
pub struct ObservedColumn {
    /// Its name.
    pub name: String,
    /// Types that the files give it, in order of appearance.
    pub raw_types: Vec<DataType>,
    /// The table type of the first of them, `None` where there is none.
    pub table_type: Option<contract::Type>,
    /// Files that have it.
    pub files: u64,
    /// NULLs, where the footers tell.
    pub nulls: Option<u64>,
    /// Smallest and largest value as text, where the footers tell.
    pub range: Option<(String, String)>,
    /// Different values in the sample, of a column that may be a key; 0 of others.
    pub distinct_sampled: u64,
}

/// Columns that might be a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedKey {
    /// One or two columns.
    pub columns: Vec<String>,
    /// Different values in the sample.
    pub distinct_sampled: u64,
}

/// Looks at files: all footers, one after the other, and a bounded sample of rows.
pub async fn observe(storage: &Storage, files: &[FileToObserve]) -> Result<Observed> {
    let mut opened =
        stream::iter(files.to_vec()).map(|file| async move { open(storage, &file).await }).buffered(FOOTERS_AT_ONCE);
    let sampled_every = files.len().div_ceil(SAMPLE_FILES_MAX).max(1) as u64;
    let mut observed = Observed::default();
    let mut sampled = Vec::new();
    let mut ranges = Vec::new();
    while let Some(file) = opened.next().await {
        match file {
            Ok(file) => {
                let is_sampled = observed.files % sampled_every == 0;
                observed.add(&file, &mut ranges);
                sampled.extend(is_sampled.then_some(file));
            }
            Err(Error::Lake(error)) => return Err(error.into()),
            Err(error) => observed.unreadable.push(error.to_string()),
        }
    }
    for (column, range) in observed.columns.iter_mut().zip(ranges) {
        column.range = range.map(|(min, max): Range| (min.to_string(), max.to_string()));
    }
    let names = observed.columns.iter().filter(|column| can_be_key(column)).map(|column| column.name.as_str());
    let batches = sample(sampled, &names.collect(), &mut observed.unreadable).await?;
    observed.count_distinct(&batches)?;
    Ok(observed)
}

type Range = (ScalarValue, ScalarValue);

async fn open(storage: &Storage, file: &FileToObserve) -> Result<ParquetFile> {
    let (store, path) = storage.resolve(&file.location)?;
    ParquetFile::open(store, path, file.location.clone(), file.bytes, file.etag.clone()).await
}

impl Observed {
    fn add(&mut self, file: &ParquetFile, ranges: &mut Vec<Option<Range>>) {
        self.files += 1;
        self.rows += file.rows();
        let schema = file.arrow_schema();
        for field in schema.fields() {
            let at = self.columns.iter().position(|column| column.name == *field.name()).unwrap_or_else(|| {
                self.columns.push(ObservedColumn {
                    name: field.name().clone(),
                    raw_types: Vec::new(),
                    table_type: iceberg_type(field.data_type()),
                    files: 0,
                    nulls: Some(0),
                    range: None,
                    distinct_sampled: 0,
                });
                ranges.push(None);
                self.columns.len() - 1
            });
            let column = &mut self.columns[at];
            column.files += 1;
            if !column.raw_types.contains(field.data_type()) {
                column.raw_types.push(field.data_type().clone());
            }
            let statistics = Statistics::of(file, &schema, field.name());
            column.nulls = column.nulls.zip(statistics.as_ref().and_then(|s| s.nulls)).map(|(a, b)| a + b);
            if let Some(range) = statistics.and_then(|statistics| statistics.range) {
                ranges[at] = Some(match ranges[at].take() {
                    Some(seen) => wider(seen, range),
                    None => range,
                });
            }
        }
    }

    fn count_distinct(&mut self, batches: &[RecordBatch]) -> Result<()> {
        self.sampled_rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
        for column in self.columns.iter_mut().filter(|column| can_be_key(column)) {
            column.distinct_sampled = distinct(batches, &[&column.name])?;
        }
        let mut singles: Vec<_> = self.columns.iter().filter(|column| can_be_key(column)).collect();
        singles.sort_by_key(|column| std::cmp::Reverse(column.distinct_sampled));
        singles.truncate(KEY_COLUMNS_MAX);
        let mut keys = Vec::new();
        for (index, column) in singles.iter().enumerate() {
            keys.push(ObservedKey { columns: vec![column.name.clone()], distinct_sampled: column.distinct_sampled });
            for other in &singles[index + 1..] {
                let distinct_sampled = distinct(batches, &[&column.name, &other.name])?;
                keys.push(ObservedKey { columns: vec![column.name.clone(), other.name.clone()], distinct_sampled });
            }
        }
        keys.sort_by_key(|key| std::cmp::Reverse(key.distinct_sampled));
        self.keys = keys;
        Ok(())
    }
}

fn can_be_key(column: &ObservedColumn) -> bool {
    use contract::{PrimitiveType as P, Type};
    column.nulls == Some(0)
        && matches!(
            column.table_type,
            Some(Type::Primitive(
                P::String | P::Long | P::Int | P::Timestamp | P::TimestampTz | P::Date | P::Uuid | P::Fixed(_)
            ))
        )
}

/// Rows of the columns of these names, from each file; a file that turns out to be damaged inside is one that could not be
/// read.
async fn sample(
    files: Vec<ParquetFile>,
    names: &HashSet<&str>,
    unreadable: &mut Vec<String>,
) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for file in files {
        let file = file.with_read_bytes(SAMPLE_BYTES_PER_FILE);
        let fields = file.arrow_schema();
        let named = fields.fields().iter().enumerate().filter(|(_, field)| names.contains(field.name().as_str()));
        let roots: Vec<usize> = named.map(|(root, _)| root).collect();
        let options = ReadOptions {
            batch_rows: file.rows_within(&roots).min(SAMPLE_ROWS_PER_FILE),
            roots,
            row_groups: None,
            selection: None,
            row_number: false,
        };
        match file.read_as_found(options).take(1).try_collect::<Vec<_>>().await {
            Ok(some) => batches.extend(some),
            Err(error @ Error::Unreadable { .. }) => unreadable.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(batches)
}

/// Different values of columns taken together, by their hashes. Files without one of them do not count.
fn distinct(batches: &[RecordBatch], names: &[&str]) -> Result<u64> {
    let state = RandomState::with_seed(0);
    let mut seen = HashSet::new();
    for batch in batches {
        let Some(columns) = names.iter().map(|name| batch.column_by_name(name)).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let mut hashes = vec![0; batch.num_rows()];
        create_hashes(columns, &state, &mut hashes)
            .map_err(|source| Error::compute(format!("failed to count the values of {}", names.join(", ")), source))?;
        seen.extend(hashes);
    }
    Ok(seen.len() as u64)
}

/// What the row groups' statistics say of a column.
struct Statistics {
    nulls: Option<u64>,
    range: Option<Range>,
}

impl Statistics {
    fn of(file: &ParquetFile, schema: &SchemaRef, column: &str) -> Option<Self> {
        let metadata = file.metadata();
        let parquet_schema = metadata.file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(column, schema, parquet_schema).ok()?;
        // A count that is not there is not 0.
        let converter = converter.with_missing_null_counts_as_zero(false);
        let leaf = converter.parquet_column_index()?;
        let groups = || metadata.row_groups().iter();
        let nulls = converter.row_group_null_counts(groups()).ok().filter(|counts| counts.null_count() == 0);
        let mins = converter.row_group_mins(groups()).ok()?;
        let maxes = converter.row_group_maxes(groups()).ok()?;
        let mut range: Option<Range> = None;
        let believed = if bounds_hold(metadata, leaf) { mins.len() } else { 0 };
        for group in 0..believed {
            let (Ok(min), Ok(max)) =
                (ScalarValue::try_from_array(&mins, group), ScalarValue::try_from_array(&maxes, group))
            else {
                continue;
            };
            if min.is_null() || max.is_null() {
                let rows = u64::try_from(metadata.row_group(group).num_rows()).ok();
                if nulls.as_ref().is_some_and(|counts| Some(counts.value(group)) == rows) {
                    continue;
                }
                // Values of which the footer says nothing may lie anywhere.
                range = None;
                break;
            }
            range = Some(match range {
                Some(seen) => wider(seen, (min, max)),
                None => (min, max),
            });
        }
        Some(Self { nulls: nulls.map(|counts| counts.iter().flatten().sum()), range })
    }
}

fn wider(a: Range, b: Range) -> Range {
    (if b.0 < a.0 { b.0 } else { a.0 }, if b.1 > a.1 { b.1 } else { a.1 })
}

/// A column's range as instants, when it is a timestamp or a date.
pub(crate) fn time_range(file: &ParquetFile, schema: &SchemaRef, column: &str) -> Option<(Timestamp, Timestamp)> {
    let range = Statistics::of(file, schema, column)?.range?;
    let instant = |value: &ScalarValue| match value {
        ScalarValue::TimestampSecond(Some(seconds), _) => Timestamp::from_second(*seconds).ok(),
        ScalarValue::TimestampMillisecond(Some(millis), _) => Timestamp::from_millisecond(*millis).ok(),
        ScalarValue::TimestampMicrosecond(Some(micros), _) => Timestamp::from_microsecond(*micros).ok(),
        ScalarValue::TimestampNanosecond(Some(nanos), _) => Timestamp::from_nanosecond(i128::from(*nanos)).ok(),
        ScalarValue::Date32(Some(days)) => Timestamp::from_second(i64::from(*days) * 86_400).ok(),
        _ => None,
    };
    Some((instant(&range.0)?, instant(&range.1)?))
}
