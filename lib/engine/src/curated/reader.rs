//! The rows of a table's data files that are alive, in the table's columns: what queries, merges and rewrites read.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions},
    compute::filter_record_batch,
    datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef},
};
use datafusion::{
    common::ScalarValue,
    execution::memory_pool::{MemoryLimit, MemoryPool, UnboundedMemoryPool},
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use lake::{
    DataFileEntry, LiveFiles, Table,
    spec::{self, DataFile, Literal, NameMapping, Transform},
};
use parquet::arrow::arrow_reader::RowSelection;

use super::{
    delete_plan::{DeletePlan, DeletesOfFile},
    deletes::{DeleteCache, FileDeletes},
    mapping::ColumnMap,
    names::{name_mapping, with_ids},
    values::scalar,
};
use crate::{
    Error, ParquetFile, ROW_NUMBER, ReadOptions, Result,
    types::{arrow_schema, field_id},
};

/// Reads the data files of one snapshot: deletes applied, columns as the table has them. Cheap to clone; clones share
/// the delete files that were read.
#[derive(Debug, Clone)]
pub struct TableReader {
    shared: Arc<Shared>,
}

/// Which rows of a file to read, and how.
#[derive(Debug, Clone)]
pub struct RowOptions {
    /// Rows per batch before deletes are applied, at least 1; fewer where rows are wide.
    pub batch_rows: usize,
    /// Adds [`ROW_NUMBER`] as the last column: the row's position in the file, from 0, deleted rows counted.
    pub row_number: bool,
    /// Row groups, ascending; `None` for all.
    pub row_groups: Option<Vec<usize>>,
    /// Rows among those of the chosen row groups; `None` for all.
    pub selection: Option<RowSelection>,
}

impl Default for RowOptions {
    fn default() -> Self {
        Self { batch_rows: 8192, row_number: false, row_groups: None, selection: None }
    }
}

impl TableReader {
    /// Reads a snapshot in the table's current schema; `None` is the current snapshot, or nothing in a table that
    /// never had one. Fails for what could not be read right.
    pub async fn new(table: &Table, snapshot_id: Option<i64>) -> Result<Self> {
        Self::with_schema(table, snapshot_id, Arc::clone(table.metadata.current_schema())).await
    }

    /// Reads a snapshot in another schema of the table: the one that it had then.
    pub async fn with_schema(table: &Table, snapshot_id: Option<i64>, schema: spec::SchemaRef) -> Result<Self> {
        let live = match snapshot_id.or_else(|| table.metadata.current_snapshot_id()) {
            Some(id) => table.live_files(id).await?,
            None => LiveFiles::default(),
        };
        Self::of_files(table, live, &schema)
    }

    /// Reads these files, whatever the table's snapshots have.
    pub(crate) fn of_files(table: &Table, live: LiveFiles, schema: &spec::Schema) -> Result<Self> {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let shared = Shared {
            arrow: arrow_schema(schema)?,
            names: name_mapping(&table.name.to_string(), &table.metadata)?,
            table: table.clone(),
            plan: Arc::new(DeletePlan::new(&live)?),
            live: Arc::new(live),
            deletes: DeleteCache::new(&pool),
            pool,
            read_bytes: None,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The same reader with nothing read yet, whose deletes count against a memory pool, and which takes so much memory for
    /// bytes of one file that are not decoded yet.
    pub fn with_memory(&self, pool: &Arc<dyn MemoryPool>, read_bytes: u64) -> Self {
        let Shared { table, arrow, live, plan, names, .. } = self.shared.as_ref();
        let shared = Shared {
            table: table.clone(),
            arrow: Arc::clone(arrow),
            live: Arc::clone(live),
            plan: Arc::clone(plan),
            names: names.clone(),
            deletes: DeleteCache::new(pool),
            pool: Arc::clone(pool),
            read_bytes: Some(read_bytes),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The same reader with nothing read yet, which takes so much memory for bytes of one file that are not decoded yet.
    pub fn with_read_bytes(&self, read_bytes: u64) -> Self {
        self.with_memory(&self.shared.pool, read_bytes)
    }

    /// The files of the snapshot.
    pub fn live(&self) -> &LiveFiles {
        &self.shared.live
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.shared.table
    }

    /// All columns of the table, with field ids.
    pub fn schema(&self) -> &SchemaRef {
        &self.shared.arrow
    }

    /// Whether deletes may hide rows of the file.
    pub fn has_deletes(&self, entry: &DataFileEntry) -> bool {
        !self.shared.plan.of(entry).is_ok_and(|deletes| deletes.is_none_or(DeletesOfFile::is_empty))
    }

    /// How many position delete files apply to the file.
    pub fn position_delete_files(&self, entry: &DataFileEntry) -> u64 {
        self.shared.plan.of(entry).ok().flatten().map_or(0, |deletes| deletes.positions.len() as u64)
    }

    /// The schema of batches with these root columns, by field id, in this order.
    pub fn projected(&self, columns: &[i32], row_number: bool) -> Result<SchemaRef> {
        let mut fields = self.fields(columns)?;
        if row_number {
            fields.push(Arc::new(Field::new(ROW_NUMBER, DataType::Int64, false)));
        }
        Ok(Arc::new(Schema::new(fields)))
    }

    /// Opens a data file: its footer, for those who choose row groups by it.
    pub async fn open(&self, entry: &DataFileEntry) -> Result<ParquetFile> {
        self.shared.open(&entry.data_file).await
    }

    /// The file's columns as they are read, each with its field id, from the name mapping where the file has none.
    pub fn file_schema(&self, file: &ParquetFile) -> Result<SchemaRef> {
        with_ids(file.location(), &file.arrow_schema(), self.shared.names.as_ref())
    }

    /// Reads the rows of a data file that are alive: root columns of the table by field id, in this order. The stream
    /// ends with its first error.
    pub fn read(
        &self,
        entry: &DataFileEntry,
        columns: &[i32],
        options: RowOptions,
    ) -> BoxStream<'static, Result<RecordBatch>> {
        let (reader, entry, columns) = (self.clone(), entry.clone(), columns.to_vec());
        let rows = async move {
            let file = reader.open(&entry).await?;
            reader.read_open(&file, &entry, &columns, options).await
        };
        stream::once(rows).try_flatten().boxed()
    }

    /// The same for a file that is open.
    pub async fn read_open(
        &self,
        file: &ParquetFile,
        entry: &DataFileEntry,
        columns: &[i32],
        options: RowOptions,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let deletes =
            self.shared.deletes.for_file(&self.shared, entry).await.map_err(|error| self.shared.damaged(error))?;
        let mut wanted = self.fields(columns)?;
        wanted.extend(deletes.key_fields().cloned());
        let constants = self.shared.identity_values(entry);
        let map = ColumnMap::new(file.location(), self.file_schema(file)?.as_ref(), &wanted, &constants)?;
        let read_row_number = options.row_number || deletes.by_position();
        let batches = file.read(ReadOptions {
            batch_rows: options.batch_rows.min(file.rows_within(map.roots())),
            roots: map.roots().to_vec(),
            row_groups: options.row_groups,
            selection: options.selection,
            row_number: read_row_number,
        });
        let rows = AliveRows {
            schema: self.projected(columns, options.row_number)?,
            columns: columns.len(),
            row_number: options.row_number,
            read_row_number,
            map,
            deletes,
        };
        let shared = Arc::clone(&self.shared);
        let batches = batches.map_err(move |error| shared.damaged(error));
        Ok(batches.and_then(move |batch| std::future::ready(rows.of(&batch))).try_filter(has_rows).boxed())
    }

    fn fields(&self, columns: &[i32]) -> Result<Vec<FieldRef>> {
        let find = |id: &i32| {
            let found = self.shared.arrow.fields().iter().find(|field| field_id(field) == Some(*id));
            found.cloned().ok_or_else(|| Error::Unsupported {
                subject: format!("table {}", self.shared.table.name),
                reason: format!("it has no root column with field id {id}"),
            })
        };
        columns.iter().map(find).collect()
    }
}

fn has_rows(batch: &RecordBatch) -> impl Future<Output = bool> + use<> {
    std::future::ready(batch.num_rows() > 0)
}

/// What turns a file's batches into the table's.
struct AliveRows {
    schema: SchemaRef,
    columns: usize,
    row_number: bool,
    read_row_number: bool,
    map: ColumnMap,
    deletes: FileDeletes,
}

impl AliveRows {
    fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = self.map.apply(self.map.roots(), batch)?;
        let key_columns = columns.split_off(self.columns);
        let row_numbers: Option<&ArrayRef> = if self.read_row_number { batch.columns().last() } else { None };
        let numbers = row_numbers.map(|numbers| numbers.as_primitive::<Int64Type>());
        let alive = self.deletes.alive(batch.num_rows(), numbers, &key_columns)?;
        if let (true, Some(row_numbers)) = (self.row_number, row_numbers) {
            columns.push(Arc::clone(row_numbers));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let whole = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        let whole = whole.map_err(|source| Error::compute("failed to put a batch of a table together", source))?;
        match alive {
            None => Ok(whole),
            Some(alive) => filter_record_batch(&whole, &alive)
                .map_err(|source| Error::compute("failed to leave deleted rows out", source)),
        }
    }
}

/// What a reader and its clones share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) table: Table,
    pub(super) live: Arc<LiveFiles>,
    pub(super) plan: Arc<DeletePlan>,
    pub(super) names: Option<NameMapping>,
    arrow: SchemaRef,
    deletes: DeleteCache,
    pool: Arc<dyn MemoryPool>,
    read_bytes: Option<u64>,
}

impl Shared {
    pub(super) async fn open(&self, file: &DataFile) -> Result<ParquetFile> {
        let location = file.file_path();
        let (store, path) = self.table.storage.resolve(location)?;
        let opened = ParquetFile::open(store, path, location.to_owned(), file.file_size_in_bytes(), None).await;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(self.other_size(file).await.unwrap_or_else(|| self.damaged(error))),
        };
        Ok(match self.read_bytes {
            Some(read_bytes) => opened.with_read_bytes(read_bytes),
            None => opened,
        })
    }

    /// A file that has not the bytes that its manifest says.
    async fn other_size(&self, file: &DataFile) -> Option<Error> {
        let (location, recorded) = (file.file_path(), file.file_size_in_bytes());
        let found = self.table.storage.head(location).await.ok().filter(|found| found.size != recorded)?;
        let manifest = self.table.manifest_with(location).await.ok().flatten();
        let manifest = manifest.unwrap_or_else(|| "the table's metadata".to_owned());
        let problem = format!("has {} bytes, and {manifest} says {recorded}", found.size);
        Some(Error::TableFile { table: self.table.name.to_string(), location: location.to_owned(), problem })
    }

    /// What a file that cannot be read means, when it is one of the table's own.
    fn damaged(&self, error: Error) -> Error {
        let table = || self.table.name.to_string();
        match error {
            Error::Replaced { location } => {
                Error::TableFile { table: table(), location, problem: "is gone, or another object is there".to_owned() }
            }
            Error::Unreadable { location, reason } => {
                Error::TableFile { table: table(), location, problem: format!("is damaged: {reason}") }
            }
            other => other,
        }
    }

    /// A column that equality deletes compare. It may have been dropped since, and its deletes still hold.
    pub(super) fn key_field(&self, id: i32) -> Result<FieldRef> {
        if let Some(field) = self.arrow.fields().iter().find(|field| field_id(field) == Some(id)) {
            return Ok(Arc::new(field.as_ref().clone().with_nullable(true)));
        }
        let mut schemas: Vec<_> = self.table.metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        for schema in schemas {
            if schema.as_struct().field_by_id(id).is_some() {
                let schema = arrow_schema(schema)?;
                let field = schema.fields().iter().find(|field| field_id(field) == Some(id));
                if let Some(field) = field {
                    return Ok(Arc::new(field.as_ref().clone().with_nullable(true)));
                }
            }
        }
        Err(Error::Unsupported {
            subject: format!("table {}", self.table.name),
            reason: format!("its equality deletes compare field {id}, which is no root column of any of its schemas"),
        })
    }

    pub(super) fn memory_limit_bytes(&self) -> u64 {
        match self.pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes as u64,
            _ => u64::MAX,
        }
    }

    /// The values of the file's identity partitions, for columns that the file itself leaves out.
    fn identity_values(&self, entry: &DataFileEntry) -> HashMap<i32, ScalarValue> {
        let Some(partition_spec) = self.table.metadata.partition_spec_by_id(entry.spec_id) else {
            return HashMap::new();
        };
        let values = partition_spec.fields().iter().zip(entry.data_file.partition().iter());
        values
            .filter(|(field, _)| field.transform == Transform::Identity)
            .filter_map(|(field, value)| {
                let column = self.arrow.fields().iter().find(|column| field_id(column) == Some(field.source_id))?;
                let Some(Literal::Primitive(value)) = value else { return None };
                Some((field.source_id, scalar(value, column.data_type())?))
            })
            .collect()
    }
}
