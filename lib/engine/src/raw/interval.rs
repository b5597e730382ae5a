//! Opening the files of an interval: footers first, so that every later decision knows rows, columns and types.

use std::{collections::BTreeMap, sync::Arc};

use arrow::datatypes::{DataType, Field, TimeUnit};
use contract::{Column, Contract};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use lake::{Storage, spec};
use parquet::file::statistics::Statistics;

use crate::{
    Error, Result,
    parquet_file::{ParquetFile, bounds::bounds_hold},
    types::iceberg_type,
};

/// Columns that quarantine adds to rows: they are no part of the data when repaired rows are taken in.
pub const QUARANTINE_PREFIX: &str = "_etl_";

/// Footers read at once.
const OPEN_CONCURRENCY: usize = 16;

/// One raw object, frozen when it was listed.
#[derive(Debug, Clone)]
pub struct RawInput {
    /// Absolute location.
    pub location: String,
    /// The object's ETag; every read asks for it.
    pub etag: Option<String>,
    /// In bytes.
    pub size: u64,
    /// Start of the raw partition it lies in: when its oldest row arrived.
    pub partition_start: Timestamp,
}

/// A raw object that is no readable Parquet.
#[derive(Debug, Clone)]
pub struct UnreadableFile {
    /// The object.
    pub input: RawInput,
    /// What the decoder said.
    pub reason: String,
}

/// A column that raw files have and nobody declared.
#[derive(Debug, Clone, PartialEq)]
pub struct NewColumn {
    /// Its name as the files spell it.
    pub name: String,
    /// Its type; `None` when the table format has none for it.
    pub column_type: Option<contract::Type>,
    /// The first file that has it.
    pub location: String,
}

/// An open interval.
#[derive(Debug, Clone, Default)]
pub struct RawInterval {
    pub(super) files: Vec<OpenFile>,
    /// Objects left out because they cannot be read.
    pub unreadable: Vec<UnreadableFile>,
    /// Objects whose footer contradicts itself, in words; they are read all the same.
    pub contradictions: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct OpenFile {
    pub input: RawInput,
    pub parquet: Arc<ParquetFile>,
}

impl RawInterval {
    /// Opens every input; one that is not Parquet is set aside with its reason. Fails when an input was replaced or
    /// storage does not answer.
    pub async fn open(storage: &Storage, inputs: &[RawInput]) -> Result<Self> {
        let opened: Vec<_> = stream::iter(inputs.to_vec())
            .map(|input| async move {
                let (store, path) = storage.resolve(&input.location)?;
                match ParquetFile::open(store, path, input.location.clone(), input.size, input.etag.clone()).await {
                    Ok(parquet) => Ok(Ok(OpenFile { input, parquet: Arc::new(parquet) })),
                    Err(Error::Unreadable { reason, .. }) => Ok(Err(UnreadableFile { input, reason })),
                    Err(error) => Err(error),
                }
            })
            .buffered(OPEN_CONCURRENCY)
            .collect()
            .await;
        let mut interval = Self::default();
        for outcome in opened {
            match outcome? {
                Ok(file) => {
                    interval.contradictions.extend(file.contradiction());
                    interval.files.push(file);
                }
                Err(unreadable) => interval.unreadable.push(unreadable),
            }
        }
        Ok(interval)
    }

    /// Takes a file out that turned out to be damaged inside.
    pub fn set_aside(&mut self, location: &str, reason: String) {
        if let Some(index) = self.files.iter().position(|file| file.input.location == location) {
            let file = self.files.remove(index);
            self.unreadable.push(UnreadableFile { input: file.input, reason });
        }
    }

    /// Rows of all files, as their footers say.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.parquet.rows()).sum()
    }

    /// Rows of one file; `None` when it cannot be read.
    pub fn rows_of(&self, location: &str) -> Option<u64> {
        self.files.iter().find(|file| file.input.location == location).map(|file| file.parquet.rows())
    }

    /// How many files have a column of that name, whatever its case.
    pub fn files_with(&self, column: &str) -> u64 {
        let lower = column.to_lowercase();
        let has = |file: &&OpenFile| {
            file.parquet.arrow_schema().fields().iter().any(|field| field.name().to_lowercase() == lower)
        };
        self.files.iter().filter(has).count() as u64
    }

    /// Smallest and largest value of a timestamp column of one file, where its footer tells.
    pub fn time_range(&self, location: &str, column: &str, contract: &Contract) -> Option<(Timestamp, Timestamp)> {
        let file = self.files.iter().find(|file| file.input.location == location)?;
        let name = contract.column(column).and_then(|column| column.source.as_deref()).unwrap_or(column);
        let schema = file.parquet.arrow_schema();
        let field = schema.fields().iter().find(|field| field.name().eq_ignore_ascii_case(name))?;
        let DataType::Timestamp(unit, _) = field.data_type() else { return None };
        let metadata = file.parquet.metadata();
        let leaves = metadata.file_metadata().schema_descr();
        let leaf = (0..leaves.num_columns()).find(|leaf| leaves.column(*leaf).path().string() == *field.name())?;
        if !bounds_hold(metadata, leaf) {
            return None;
        }
        let mut range: Option<(i64, i64)> = None;
        for group in metadata.row_groups() {
            let Some(Statistics::Int64(statistics)) = group.column(leaf).statistics() else { return None };
            let (min, max) = (*statistics.min_opt()?, *statistics.max_opt()?);
            range = Some(range.map_or((min, max), |(low, high)| (low.min(min), high.max(max))));
        }
        let instant = |value: i64| match unit {
            TimeUnit::Second => Timestamp::from_second(value).ok(),
            TimeUnit::Millisecond => Timestamp::from_millisecond(value).ok(),
            TimeUnit::Microsecond => Timestamp::from_microsecond(value).ok(),
            TimeUnit::Nanosecond => Timestamp::from_nanosecond(i128::from(value)).ok(),
        };
        let (min, max) = range?;
        Some((instant(min)?, instant(max)?))
    }

    /// How many files can be read.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Columns that neither the contract nor the table knows, in order of first appearance. A column that has two types
    /// takes the wider one when that is lossless; otherwise its type is `None`.
    pub fn new_columns(&self, contract: &Contract, table: Option<&spec::Schema>) -> Vec<NewColumn> {
        let mut known: Vec<String> = Vec::new();
        for column in &contract.columns {
            known.push(column.source.as_ref().unwrap_or(&column.name).to_lowercase());
            known.push(column.name.to_lowercase());
            known.extend(column.renamed_from.iter().map(|name| name.to_lowercase()));
        }
        known
            .extend(table.iter().flat_map(|schema| schema.as_struct().fields()).map(|field| field.name.to_lowercase()));
        let mut order = Vec::new();
        let mut found: BTreeMap<String, NewColumn> = BTreeMap::new();
        for file in &self.files {
            for field in file.parquet.arrow_schema().fields() {
                let lower = field.name().to_lowercase();
                if known.contains(&lower) || lower.starts_with(QUARANTINE_PREFIX) {
                    continue;
                }
                let column_type = declared_type(field);
                if let Some(before) = found.get_mut(&lower) {
                    before.column_type = wider(before.column_type.take(), column_type);
                } else {
                    order.push(lower.clone());
                    let location = file.input.location.clone();
                    found.insert(lower, NewColumn { name: field.name().clone(), column_type, location });
                }
            }
        }
        order.into_iter().filter_map(|lower| found.remove(&lower)).collect()
    }
}

impl OpenFile {
    fn contradiction(&self) -> Option<String> {
        let claimed = self.parquet.rows_claimed()?;
        let rows = self.parquet.rows();
        Some(format!(
            "{} has {claimed} rows by its footer, and its row groups have {rows}: these were read",
            self.input.location
        ))
    }
}

impl NewColumn {
    /// The optional column it becomes when the contract says `evolve`.
    pub fn column(&self) -> Option<Column> {
        Some(Column {
            name: self.name.clone(),
            source: None,
            epoch_unit: contract::EpochUnit::default(),
            renamed_from: Vec::new(),
            column_type: self.column_type.clone()?,
            required: false,
            description: None,
            constraints: Vec::new(),
        })
    }
}

fn declared_type(field: &Field) -> Option<contract::Type> {
    match field.data_type() {
        DataType::Null => None,
        data_type => iceberg_type(data_type),
    }
}

fn wider(a: Option<contract::Type>, b: Option<contract::Type>) -> Option<contract::Type> {
    use contract::{PrimitiveType as P, Type::Primitive};
    match (a?, b?) {
        (a, b) if a == b => Some(a),
        (Primitive(P::Int | P::Long), Primitive(P::Int | P::Long)) => Some(Primitive(P::Long)),
        (Primitive(P::Float | P::Double | P::Int), Primitive(P::Float | P::Double | P::Int)) => {
            Some(Primitive(P::Double))
        }
        _ => None,
    }
}
