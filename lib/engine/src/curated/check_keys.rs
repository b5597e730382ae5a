//! Keys that a table holds more than once, which a MERGE must never meet.

use std::{collections::BTreeSet, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array},
    compute::concat_batches,
    datatypes::{DataType, Field, Int64Type, Schema, UInt64Type},
    util::display::array_value_to_string,
};
use contract::TableName;
use datafusion::{catalog::TableProvider, common::ScalarValue, datasource::MemTable, error::DataFusionError};

use super::{
    query::{context_of, sql_error},
    table::CuratedTable,
};
use crate::{Error, Result, Session};

/// A key that more than one live row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateKey {
    /// Column and value, as text; NULL is `NULL`.
    pub key: Vec<(String, String)>,
    /// How many rows have it.
    pub rows: u64,
    /// The data files in which they lie, sorted, at most [`FILES_MAX`].
    pub files: Vec<String>,
}

/// Keys that one check shows at most.
pub const DUPLICATE_KEYS_MAX: usize = 100;
/// Files that are named for one key at most.
pub const FILES_MAX: usize = 10;

/// Finds keys that more than one live row of a table has: those with most rows first, at most
/// [`DUPLICATE_KEYS_MAX`]. Reads the key columns of the whole table once, and once more when it found any.
pub async fn check_keys(session: &Session, curated: &CuratedTable, key: &[String]) -> Result<Vec<DuplicateKey>> {
    let table = &curated.reader().table().name;
    if let Some(unknown) = key.iter().find(|column| curated.reader().schema().field_with_name(column).is_err()) {
        let reason = format!("it has no column {unknown}");
        return Err(Error::Unsupported { subject: format!("table {table}"), reason });
    }
    // Only the key is read, and a key is short.
    let context = context_of(session, vec![(table.clone(), curated.with_file_column() as Arc<dyn TableProvider>)], 0)
        .map_err(|error| failed(session, table, error))?;
    let keys: Vec<String> = key.iter().map(|column| quoted(column)).collect();
    let from = format!("{}.{}", quoted(table.namespace()), quoted(table.name()));

    let statement = include_str!("../../../../sql/check/duplicate_keys.sql")
        .replace("{table}", &from)
        .replace("{keys}", &keys.join(", "));
    let limit = ScalarValue::Int64(Some(DUPLICATE_KEYS_MAX as i64));
    let duplicates = async {
        let frame = context.sql(&statement).await?.with_param_values(vec![("limit", limit)])?;
        let schema = Arc::clone(frame.schema().inner());
        Ok(concat_batches(&schema, &frame.collect().await?)?)
    };
    let duplicates: RecordBatch = duplicates.await.map_err(|error| failed(session, table, error))?;
    if duplicates.num_rows() == 0 {
        return Ok(Vec::new());
    }

    let same_key: Vec<String> =
        keys.iter().map(|column| format!("(rows.{column} IS NOT DISTINCT FROM duplicates.{column})")).collect();
    let statement = include_str!("../../../../sql/check/duplicate_key_files.sql")
        .replace("{table}", &from)
        .replace("{same_key}", &same_key.join(" AND "));
    let files = async {
        let (schema, batch) = numbered(&duplicates)?;
        context.register_table("duplicates", Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))?;
        context.sql(&statement).await?.collect().await
    };
    let files = files.await.map_err(|error| failed(session, table, error))?;
    describe(key, &duplicates, &files).map_err(|error| failed(session, table, error))
}

fn failed(session: &Session, table: &TableName, error: DataFusionError) -> Error {
    sql_error(session, &format!("key check of table {table}"), error)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn numbered(duplicates: &RecordBatch) -> std::result::Result<(Arc<Schema>, RecordBatch), DataFusionError> {
    let mut fields: Vec<_> = duplicates.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("_key", DataType::UInt64, false)));
    let numbers: ArrayRef = Arc::new(UInt64Array::from_iter_values(0..duplicates.num_rows() as u64));
    let columns = duplicates.columns().iter().cloned().chain([numbers]).collect();
    let schema = Arc::new(Schema::new(fields));
    Ok((Arc::clone(&schema), RecordBatch::try_new(schema, columns)?))
}

fn describe(
    key: &[String],
    duplicates: &RecordBatch,
    files: &[RecordBatch],
) -> std::result::Result<Vec<DuplicateKey>, DataFusionError> {
    let mut files_of: Vec<BTreeSet<String>> = vec![BTreeSet::new(); duplicates.num_rows()];
    for batch in files {
        let (keys, locations) = (batch.column(0).as_primitive::<UInt64Type>(), batch.column(1).as_string_view());
        for row in 0..batch.num_rows() {
            let of_key = usize::try_from(keys.value(row)).ok().and_then(|key| files_of.get_mut(key));
            of_key.into_iter().for_each(|files| {
                files.insert(locations.value(row).to_owned());
            });
        }
    }
    let counts = duplicates.column(key.len()).as_primitive::<Int64Type>();
    let mut described = Vec::with_capacity(duplicates.num_rows());
    for (row, files) in files_of.into_iter().enumerate() {
        let values = key.iter().zip(duplicates.columns()).map(|(name, column)| {
            let value = if column.is_null(row) { "NULL".to_owned() } else { array_value_to_string(column, row)? };
            Ok((name.clone(), value))
        });
        described.push(DuplicateKey {
            key: values.collect::<std::result::Result<_, DataFusionError>>()?,
            rows: u64::try_from(counts.value(row)).unwrap_or(0),
            files: files.into_iter().take(FILES_MAX).collect(),
        });
    }
    Ok(described)
}
