//! Which rows of a data file are deleted: position deletes and equality deletes, of any writer
//! (<https://iceberg.apache.org/spec/#delete-formats>).
//!
//! Each delete file is read once per reader, however many data files it applies to. Which delete files apply to a data
//! file is planned elsewhere; the sequence number rule for single keys is here.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, BooleanBufferBuilder, Int64Array},
    datatypes::{DataType, Field, FieldRef, Int64Type},
    row::{RowConverter, SortField},
};
use datafusion::{
    error::DataFusionError,
    execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation},
};
use futures::TryStreamExt;
use lake::{
    DataFileEntry,
    spec::{MappedField, NameMapping},
};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use tokio::sync::OnceCell;

use super::{delete_plan::KeyScope, key_set::KeySet, mapping::ColumnMap, names::with_ids, reader::Shared};
use crate::{Error, ReadOptions, Result};

/// Reserved field ids of the columns of a position delete file.
const FILE_PATH_ID: i32 = 2_147_483_546;
const POSITION_ID: i32 = 2_147_483_545;
const BATCH_ROWS: usize = 8192;

/// The delete files that one reader has read.
#[derive(Debug)]
pub(super) struct DeleteCache {
    memory: Mutex<MemoryReservation>,
    positions: Cells<String, PositionsByPath>,
    keys: Cells<usize, DeletedKeys>,
}

/// Deleted rows of each data file, ascending, as one position delete file has them.
type PositionsByPath = HashMap<String, Vec<i64>>;

/// The keys that all equality deletes of one scope name.
#[derive(Debug)]
pub(super) struct DeletedKeys {
    fields: Vec<FieldRef>,
    converter: RowConverter,
    keys: KeySet,
}

/// What is deleted of one data file.
#[derive(Debug)]
pub(super) struct FileDeletes {
    sequence_number: i64,
    /// Row numbers, ascending.
    positions: Vec<i64>,
    keys: Vec<Arc<DeletedKeys>>,
}

impl DeleteCache {
    pub(super) fn new(pool: &Arc<dyn MemoryPool>) -> Self {
        let memory = Mutex::new(MemoryConsumer::new("deletes of a table").register(pool));
        Self { memory, positions: Cells::default(), keys: Cells::default() }
    }

    /// Reads the deletes that apply to a data file.
    pub(super) async fn for_file(&self, shared: &Shared, entry: &DataFileEntry) -> Result<FileDeletes> {
        let sequence_number = entry.sequence_number;
        let mut deletes = FileDeletes { sequence_number, positions: Vec::new(), keys: Vec::new() };
        let Some(planned) = shared.plan.of(entry)? else { return Ok(deletes) };
        for delete in &planned.positions {
            let path = delete.data_file.file_path();
            let read = self.positions.get(path.to_owned(), self.read_positions(shared, delete)).await?;
            deletes.positions.extend(read.get(entry.data_file.file_path()).into_iter().flatten().copied());
        }
        deletes.positions.sort_unstable();
        deletes.positions.dedup();
        for scope in &planned.scopes {
            deletes.keys.push(self.keys.get(*scope, self.read_keys(shared, shared.plan.scope(*scope))).await?);
        }
        Ok(deletes)
    }

    async fn read_positions(&self, shared: &Shared, delete: &DataFileEntry) -> Result<PositionsByPath> {
        let file = shared.open(&delete.data_file).await?;
        // Some writers leave out the ids of these two; their names are as fixed.
        let names = NameMapping::new(vec![
            MappedField::new(Some(FILE_PATH_ID), vec!["file_path".to_owned()], vec![]),
            MappedField::new(Some(POSITION_ID), vec!["pos".to_owned()], vec![]),
        ]);
        let schema = with_ids(file.location(), &file.arrow_schema(), Some(&names))?;
        let wanted =
            [with_id("file_path", DataType::Utf8View, FILE_PATH_ID), with_id("pos", DataType::Int64, POSITION_ID)];
        let map = ColumnMap::new(file.location(), &schema, &wanted, &HashMap::new())?;
        let mut batches = file.read(whole(map.roots().to_vec()));
        let mut by_path = PositionsByPath::new();
        while let Some(batch) = batches.try_next().await? {
            let columns = map.apply(map.roots(), &batch)?;
            let (paths, positions) = (columns[0].as_string_view(), columns[1].as_primitive::<Int64Type>());
            if paths.null_count() + positions.null_count() > 0 {
                let reason = "a position delete without path or position".to_owned();
                return Err(Error::Unreadable { location: file.location().to_owned(), reason });
            }
            self.reserve(shared, batch.num_rows() * size_of::<i64>())?;
            let mut row = 0;
            while row < batch.num_rows() {
                // Rows are sorted by path, so that one lookup serves a run of them.
                let path = paths.value(row);
                let end = (row..batch.num_rows()).find(|next| paths.value(*next) != path).unwrap_or(batch.num_rows());
                let run = &positions.values()[row..end];
                match by_path.get_mut(path) {
                    Some(known) => known.extend_from_slice(run),
                    None => {
                        self.reserve(shared, path.len() + size_of::<(String, Vec<i64>)>())?;
                        by_path.insert(path.to_owned(), run.to_vec());
                    }
                }
                row = end;
            }
        }
        Ok(by_path)
    }

    async fn read_keys(&self, shared: &Shared, scope: &KeyScope) -> Result<DeletedKeys> {
        let fields = scope.equality_ids.iter().map(|id| shared.key_field(*id)).collect::<Result<Vec<_>>>()?;
        let sort_fields = fields.iter().map(|field| SortField::new(field.data_type().clone())).collect();
        let converter = RowConverter::new(sort_fields).map_err(failed)?;
        let mut keys = KeySet::default();
        for delete in &scope.deletes {
            let file = shared.open(&delete.data_file).await?;
            let schema = with_ids(file.location(), &file.arrow_schema(), shared.names.as_ref())?;
            let map = ColumnMap::new(file.location(), &schema, &fields, &HashMap::new())?;
            let mut batches = file.read(whole(map.roots().to_vec()));
            while let Some(batch) = batches.try_next().await? {
                let rows = converter.convert_columns(&map.apply(map.roots(), &batch)?).map_err(failed)?;
                let size_before = keys.size_bytes();
                rows.iter().for_each(|row| keys.insert(row.as_ref(), delete.sequence_number));
                self.reserve(shared, keys.size_bytes() - size_before)?;
            }
        }
        Ok(DeletedKeys { fields, converter, keys })
    }

    fn reserve(&self, shared: &Shared, bytes: usize) -> Result<()> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.try_grow(bytes).map_err(|error| match error {
            DataFusionError::ResourcesExhausted(reason) => Error::Memory {
                limit_bytes: shared.memory_limit_bytes(),
                reason: format!("the deletes of table {} do not fit: compact it first. {reason}", shared.table.name),
            },
            other => Error::compute("failed to reserve memory for deletes", other),
        })
    }
}

impl FileDeletes {
    /// Whether row numbers are needed to know which rows are alive.
    pub(super) fn by_position(&self) -> bool {
        !self.positions.is_empty()
    }

    /// The columns by which rows are deleted, in the order that [`Self::alive`] takes them.
    pub(super) fn key_fields(&self) -> impl Iterator<Item = &FieldRef> {
        self.keys.iter().flat_map(|keys| &keys.fields)
    }

    /// Which rows of a batch are alive; `None` when all are. `row_numbers` ascend.
    pub(super) fn alive(
        &self,
        rows: usize,
        row_numbers: Option<&Int64Array>,
        key_columns: &[ArrayRef],
    ) -> Result<Option<BooleanArray>> {
        let mut alive = BooleanBufferBuilder::new(rows);
        alive.append_n(rows, true);
        let mut dead = false;
        if let Some(numbers) = row_numbers.map(Int64Array::values).filter(|numbers| !numbers.is_empty()) {
            let start = self.positions.partition_point(|position| *position < numbers[0]);
            let end = self.positions.partition_point(|position| *position <= numbers[numbers.len() - 1]);
            for position in &self.positions[start..end] {
                if let Ok(row) = numbers.binary_search(position) {
                    alive.set_bit(row, false);
                    dead = true;
                }
            }
        }
        let mut columns = key_columns;
        for keys in &self.keys {
            let (own, rest) = columns.split_at(keys.fields.len());
            columns = rest;
            let values = keys.converter.convert_columns(own).map_err(failed)?;
            for (row, key) in values.iter().enumerate() {
                // An equality delete only hits rows that were there before it: of an older sequence number.
                if keys.keys.newest(key.as_ref()).is_some_and(|newest| newest > self.sequence_number) {
                    alive.set_bit(row, false);
                    dead = true;
                }
            }
        }
        Ok(dead.then(|| BooleanArray::new(alive.finish(), None)))
    }
}

fn with_id(name: &str, data_type: DataType, id: i32) -> FieldRef {
    let metadata = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
    Arc::new(Field::new(name, data_type, false).with_metadata(metadata))
}

fn whole(roots: Vec<usize>) -> ReadOptions {
    ReadOptions { roots, row_groups: None, selection: None, batch_rows: BATCH_ROWS, row_number: false }
}

fn failed(source: arrow::error::ArrowError) -> Error {
    Error::compute("failed to compare keys of equality deletes", source)
}

/// Values that are made once and awaited by everybody who asks meanwhile.
#[derive(Debug)]
struct Cells<K, V>(Mutex<HashMap<K, Arc<OnceCell<Arc<V>>>>>);

impl<K, V> Default for Cells<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V> Cells<K, V> {
    async fn get(&self, key: K, make: impl Future<Output = Result<V>>) -> Result<Arc<V>> {
        let cell = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
        cell.get_or_try_init(|| async { make.await.map(Arc::new) }).await.cloned()
    }
}
