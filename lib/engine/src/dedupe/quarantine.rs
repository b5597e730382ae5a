//! Quarantine: bad rows as their file has them, with the rules they break, in one Parquet file per raw file.
//!
//! The file's name follows from the raw object's location and ETag, so a retry writes the same file again instead of a
//! second one, whatever interval it runs for.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Int64Array, ListBuilder, RecordBatch, RecordBatchOptions, StringArray, StringBuilder},
    compute::{CastOptions, cast_with_options, concat_batches, filter_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef},
    error::ArrowError,
};
use jiff::tz::TimeZone;
use lake::{Operation, Storage};
use object_store::ObjectStoreExt;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    Error, Result,
    raw::{QUARANTINE_PREFIX, RawInput},
};

/// Where bad rows go.
#[derive(Debug, Clone)]
pub struct QuarantineTarget {
    /// Storage of the folder.
    pub storage: Storage,
    /// Folder, with a trailing slash.
    pub location: String,
    /// The run, kept beside each row.
    pub run_id: String,
}

/// A rule and how often it was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reject {
    /// The rule's name.
    pub rule: String,
    /// Rows that break it.
    pub count: u64,
    /// One of them: object and row number.
    pub sample: Option<String>,
}

/// Bad rows of one raw file, collected batch by batch. A text column in which something is not UTF-8 is kept as bytes.
pub struct QuarantineFile {
    /// The file's columns, as it declares them.
    declared: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl QuarantineFile {
    /// Starts empty.
    pub fn new(declared: SchemaRef) -> Self {
        Self { declared, batches: Vec::new() }
    }

    /// Adds the rows of `original` for which `rules` has an entry; `numbers` are all rows' numbers in the file.
    pub fn add(
        &mut self,
        original: &RecordBatch,
        input: &RawInput,
        run_id: &str,
        numbers: &[u64],
        rules: &[Option<Vec<&str>>],
    ) -> Result<()> {
        let failed = |source| Error::compute(format!("failed to quarantine rows of {}", input.location), source);
        let bad: arrow::array::BooleanArray = rules.iter().map(|rules| Some(rules.is_some())).collect();
        if bad.true_count() == 0 {
            return Ok(());
        }
        let kept =
            filter_record_batch(original, &bad).and_then(|rows| as_declared(&rows, &self.declared)).map_err(failed)?;
        let mut names = ListBuilder::new(StringBuilder::new());
        let mut rows = Vec::with_capacity(kept.num_rows());
        for (number, rules) in numbers.iter().zip(rules) {
            let Some(rules) = rules else { continue };
            names.append_value(rules.iter().map(|rule| Some(*rule)));
            rows.push(Some(number.cast_signed()));
        }
        let batch =
            annotated(&kept, Arc::new(names.finish()), Int64Array::from(rows), input, run_id).map_err(failed)?;
        self.batches.push(batch);
        Ok(())
    }

    /// Writes the file, if there is anything in it, and returns its bytes.
    pub async fn write(self, input: &RawInput, target: &QuarantineTarget) -> Result<u64> {
        if self.batches.is_empty() {
            return Ok(0);
        }
        let failed = |source| Error::compute(format!("failed to quarantine rows of {}", input.location), source);
        let batch = united(&self.batches).map_err(failed)?;
        put(&batch, input, target).await
    }
}

/// Rows whose text columns are text again wherever all of it is UTF-8.
fn as_declared(rows: &RecordBatch, declared: &Schema) -> std::result::Result<RecordBatch, ArrowError> {
    let types: Vec<&DataType> = declared.fields().iter().map(|field| field.data_type()).collect();
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let columns = rows.columns().iter().zip(types).map(|(column, declared)| {
        if column.data_type() == declared {
            return Arc::clone(column);
        }
        cast_with_options(column, declared, &strict).unwrap_or_else(|_| Arc::clone(column))
    });
    with_columns(rows, columns.collect())
}

/// All batches as one: a column that is bytes in one of them is bytes in all.
fn united(batches: &[RecordBatch]) -> std::result::Result<RecordBatch, ArrowError> {
    let first = &batches[0];
    let is_other =
        |batch: &&RecordBatch, column: usize| batch.column(column).data_type() != first.column(column).data_type();
    let types: Vec<DataType> = (0..first.num_columns())
        .map(|column| {
            let has_bytes = |batch: &&RecordBatch| has_bytes(batch.column(column).data_type());
            let is_mixed = batches.iter().any(|batch| is_other(&batch, column));
            let from = if is_mixed { batches.iter().find(has_bytes).unwrap_or(first) } else { first };
            from.column(column).data_type().clone()
        })
        .collect();
    let retyped = batches.iter().map(|batch| {
        let columns = batch.columns().iter().zip(&types);
        let columns = columns.map(|(column, to)| cast_with_options(column, to, &CastOptions::default()));
        with_columns(batch, columns.collect::<std::result::Result<_, _>>()?)
    });
    let retyped = retyped.collect::<std::result::Result<Vec<_>, ArrowError>>()?;
    concat_batches(&retyped[0].schema(), &retyped)
}

fn has_bytes(data_type: &DataType) -> bool {
    match data_type {
        DataType::BinaryView => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_bytes(field.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has_bytes(field.data_type()),
        _ => false,
    }
}

/// The same columns by name, in other types.
fn with_columns(rows: &RecordBatch, columns: Vec<ArrayRef>) -> std::result::Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields: Vec<_> =
        fields.map(|(field, column)| field.as_ref().clone().with_data_type(column.data_type().clone())).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
}

/// Records a file that cannot be read at all: one row without columns, with the reason.
pub async fn quarantine_file(input: &RawInput, reason: &str, target: &QuarantineTarget) -> Result<u64> {
    let failed = |source| Error::compute(format!("failed to quarantine {}", input.location), source);
    let mut names = ListBuilder::new(StringBuilder::new());
    names.append_value([Some(format!("{UNREADABLE}: {reason}"))]);
    let empty = RecordBatch::try_new_with_options(
        Arc::new(Schema::empty()),
        Vec::new(),
        &RecordBatchOptions::new().with_row_count(Some(1)),
    )
    .map_err(failed)?;
    let rows = Int64Array::from(vec![None::<i64>]);
    let batch = annotated(&empty, Arc::new(names.finish()), rows, input, &target.run_id).map_err(failed)?;
    put(&batch, input, target).await
}

/// The rule that an unreadable file breaks.
pub const UNREADABLE: &str = "file.unreadable";

fn annotated(
    rows: &RecordBatch,
    rules: ArrayRef,
    numbers: Int64Array,
    input: &RawInput,
    run_id: &str,
) -> std::result::Result<RecordBatch, ArrowError> {
    let count = numbers.len();
    // Rows from quarantine that are still bad keep their columns and get new reasons.
    let (mut fields, mut columns): (Vec<Arc<Field>>, Vec<ArrayRef>) = (rows.schema().fields().iter().cloned())
        .zip(rows.columns().iter().cloned())
        .filter(|(field, _)| !field.name().starts_with(QUARANTINE_PREFIX))
        .unzip();
    let constant = |text: &str| Arc::new(StringArray::from(vec![text; count])) as ArrayRef;
    let added: [(&str, ArrayRef); 4] = [
        ("_etl_rules", rules),
        ("_etl_file", constant(&input.location)),
        ("_etl_row", Arc::new(numbers)),
        ("_etl_run_id", constant(run_id)),
    ];
    for (name, column) in added {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

async fn put(batch: &RecordBatch, input: &RawInput, target: &QuarantineTarget) -> Result<u64> {
    let action = || format!("failed to quarantine rows of {}", input.location);
    let level = ZstdLevel::try_new(3).map_err(|source| Error::compute(action(), source))?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
    let encode = || -> std::result::Result<Vec<u8>, parquet::errors::ParquetError> {
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties))?;
        writer.write(batch)?;
        writer.into_inner()
    };
    let bytes = encode().map_err(|source| Error::compute(action(), source))?;
    let size = bytes.len() as u64;
    let location = format!("{}{}", target.location, name_of(input));
    let (store, path) = target.storage.resolve(&location)?;
    // Overwriting is meant: the same raw object always has the same bad rows.
    store
        .put(&path, bytes.into())
        .await
        .map_err(|error| lake::Error::from_store(Operation::Write, &location, error))?;
    Ok(size)
}

fn name_of(input: &RawInput) -> String {
    let date = input.partition_start.to_zoned(TimeZone::UTC).date();
    let stem = input.location.rsplit('/').next().unwrap_or_default();
    let stem: String = stem
        .trim_end_matches(".parquet")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .take(80)
        .collect();
    let identity = format!("{}\n{}\n{}", input.location, input.etag.as_deref().unwrap_or_default(), input.size);
    format!("date={date}/{stem}-{:016x}.parquet", xxh3_64(identity.as_bytes()))
}
