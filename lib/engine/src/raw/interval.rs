//! Opening the files of an interval: footers first, so that every later decision knows rows, columns and types. There may
//! be tens of thousands of files, so little is kept of each.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use bytes::Bytes;
use contract::{Column, Contract};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use lake::{Storage, spec};

use crate::{Error, Result, observe::time_range, parquet_file::ParquetFile, types::iceberg_type};

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

/// The raw files of a run. Of each it keeps what every later decision needs, not the footer: that is read again by whoever
/// reads rows.
#[derive(Debug, Clone)]
pub struct RawInterval {
    storage: Storage,
    read_bytes: Option<u64>,
    pub(super) files: Vec<Arc<OpenFile>>,
    /// Objects left out because they cannot be read.
    pub unreadable: Vec<UnreadableFile>,
    /// Objects whose footer contradicts itself, in words; they are read all the same.
    pub contradictions: Vec<String>,
}

/// A file whose footer has been read.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub input: RawInput,
    pub rows: u64,
    pub shape: Arc<FileShape>,
    /// Root columns without a NULL, as the footer proves; nested ones are never among them.
    without_nulls: Box<[u64]>,
    event_time: Option<(Timestamp, Timestamp)>,
    /// What opening it again needs; empty when that is read again.
    end: Bytes,
}

/// The columns of a file, shared by all files that have the same.
#[derive(Debug)]
pub(super) struct FileShape {
    pub schema: SchemaRef,
}

/// What to note of raw files beside their rows and columns.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Names that the raw column with the event time may have, whose range is wanted; the first that a file has counts.
    pub event_time: Vec<String>,
    /// Bytes of small files and of footers to keep, at most: what is kept is not requested again.
    pub kept_bytes_max: u64,
    /// Memory for reading one file; a default unless said.
    pub read_bytes: Option<u64>,
}

impl RawInterval {
    /// Opens every input; one that is not Parquet is set aside with its reason. Fails when an input was replaced or
    /// storage does not answer.
    pub async fn open(storage: &Storage, inputs: &[RawInput], options: &OpenOptions) -> Result<Self> {
        let (interval, failed) = Self::look(storage, inputs, options).await;
        failed.into_iter().next().map_or(Ok(interval), |(_, error)| Err(error))
    }

    /// Opens every input that it can: one that is not Parquet is set aside with its reason, and those that storage does
    /// not give come back with why.
    pub async fn look(storage: &Storage, inputs: &[RawInput], options: &OpenOptions) -> (Self, Vec<(String, Error)>) {
        let mut opened = stream::iter(inputs)
            .map(|input| async move {
                let file = open(storage, input, Bytes::new()).await;
                (input, file)
            })
            .buffered(OPEN_CONCURRENCY);
        let mut interval = Self {
            storage: storage.clone(),
            read_bytes: options.read_bytes,
            files: Vec::with_capacity(inputs.len()),
            unreadable: Vec::new(),
            contradictions: Vec::new(),
        };
        let (mut failed, mut shapes, mut kept_bytes) = (Vec::new(), HashMap::new(), 0);
        while let Some((input, file)) = opened.next().await {
            match file {
                Ok(file) => {
                    interval.contradictions.extend(contradiction(&file));
                    let mut open = OpenFile::of(input, &file, &mut shapes, &options.event_time);
                    if kept_bytes + file.end().len() as u64 <= options.kept_bytes_max {
                        kept_bytes += file.end().len() as u64;
                        open.end = file.end().clone();
                    }
                    interval.files.push(Arc::new(open));
                }
                Err(Error::Unreadable { reason, .. }) => {
                    interval.unreadable.push(UnreadableFile { input: input.clone(), reason });
                }
                Err(error) => failed.push((input.location.clone(), error)),
            }
        }
        (interval, failed)
    }

    /// Takes a file out that turned out to be damaged inside.
    pub fn set_aside(&mut self, location: &str, reason: String) {
        if let Some(index) = self.files.iter().position(|file| file.input.location == location) {
            let file = self.files.remove(index);
            self.unreadable.push(UnreadableFile { input: file.input.clone(), reason });
        }
    }

    /// Rows of all files, as their footers say.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// How many files can be read.
    pub fn file_count(&self) -> usize {
        self.files.len()
    }

    /// What the footer of each readable file says, in the order of the inputs.
    pub fn footers(&self) -> impl Iterator<Item = Footer<'_>> {
        self.files.iter().map(|file| Footer {
            location: &file.input.location,
            rows: file.rows,
            event_time: file.event_time,
        })
    }

    /// The different sets of columns that files have, in order of first appearance: how many files have each, the first of
    /// them, and the columns, each with the table type that its values fit, `None` where there is none.
    pub fn columns(&self) -> Vec<FileColumns<'_>> {
        let mut places: HashMap<*const FileShape, usize> = HashMap::new();
        let mut found: Vec<FileColumns<'_>> = Vec::new();
        for file in &self.files {
            let place = *places.entry(Arc::as_ptr(&file.shape)).or_insert_with(|| {
                let fields = file.shape.schema.fields().iter();
                let columns = fields.map(|field| (field.name().as_str(), declared_type(field))).collect();
                found.push(FileColumns { files: 0, location: &file.input.location, columns });
                found.len() - 1
            });
            found[place].files += 1;
        }
        found
    }

    /// Opens a file for reading its rows.
    pub(super) fn reopen(&self, file: usize) -> impl Future<Output = Result<ParquetFile>> + Send + use<> {
        let (storage, read_bytes, file) = (self.storage.clone(), self.read_bytes, Arc::clone(&self.files[file]));
        async move {
            let opened = open(&storage, &file.input, file.end.clone()).await?;
            Ok(match read_bytes {
                Some(read_bytes) => opened.with_read_bytes(read_bytes),
                None => opened,
            })
        }
    }

    /// Columns that neither the contract nor the table knows, in order of first appearance. A column that has two types
    /// takes the wider one when that is lossless; otherwise its type is `None`.
    pub fn new_columns(&self, contract: &Contract, table: Option<&spec::Schema>) -> Vec<NewColumn> {
        let mut known: HashSet<String> = HashSet::new();
        for column in &contract.columns {
            known.insert(column.source.as_ref().unwrap_or(&column.name).to_lowercase());
            known.insert(column.name.to_lowercase());
            known.extend(column.renamed_from.iter().map(|name| name.to_lowercase()));
        }
        known
            .extend(table.iter().flat_map(|schema| schema.as_struct().fields()).map(|field| field.name.to_lowercase()));
        let mut order = Vec::new();
        let mut found: BTreeMap<String, NewColumn> = BTreeMap::new();
        for shape in self.columns() {
            for (name, column_type) in shape.columns {
                let lower = name.to_lowercase();
                if known.contains(&lower) || lower.starts_with(QUARANTINE_PREFIX) {
                    continue;
                }
                if let Some(before) = found.get_mut(&lower) {
                    before.column_type = wider(before.column_type.take(), column_type);
                } else {
                    order.push(lower.clone());
                    let location = shape.location.to_owned();
                    found.insert(lower, NewColumn { name: name.to_owned(), column_type, location });
                }
            }
        }
        order.into_iter().filter_map(|lower| found.remove(&lower)).collect()
    }
}

/// What a file's footer says.
#[derive(Debug, Clone, Copy)]
pub struct Footer<'a> {
    /// The file.
    pub location: &'a str,
    /// Its rows.
    pub rows: u64,
    /// Smallest and largest value of the column that was asked for, when it is a timestamp or a date and the
    /// statistics tell.
    pub event_time: Option<(Timestamp, Timestamp)>,
}

/// Columns that files have.
#[derive(Debug, Clone)]
pub struct FileColumns<'a> {
    /// How many files have these.
    pub files: u64,
    /// The first of them.
    pub location: &'a str,
    /// Name and table type of each.
    pub columns: Vec<(&'a str, Option<contract::Type>)>,
}

async fn open(storage: &Storage, input: &RawInput, end: Bytes) -> Result<ParquetFile> {
    let (store, path) = storage.resolve(&input.location)?;
    ParquetFile::open_again(store, path, input.location.clone(), input.size, input.etag.clone(), end).await
}

impl OpenFile {
    fn of(
        input: &RawInput,
        file: &ParquetFile,
        shapes: &mut HashMap<Fields, Arc<FileShape>>,
        event_time: &[String],
    ) -> Self {
        let schema = file.arrow_schema();
        let shape = match shapes.get(schema.fields()) {
            Some(shape) => Arc::clone(shape),
            None => {
                let shape = Arc::new(FileShape { schema: Arc::clone(&schema) });
                shapes.insert(schema.fields().clone(), Arc::clone(&shape));
                shape
            }
        };
        Self {
            input: input.clone(),
            rows: file.rows(),
            without_nulls: without_nulls(file, &schema),
            shape,
            event_time: event_time
                .iter()
                .find(|column| schema.column_with_name(column).is_some())
                .and_then(|column| time_range(file, &schema, column)),
            end: Bytes::new(),
        }
    }

    /// Whether the footer proves that a root column has no NULL.
    pub fn no_nulls(&self, root: usize) -> bool {
        self.without_nulls.get(root / 64).is_some_and(|word| word >> (root % 64) & 1 == 1)
    }
}

fn contradiction(file: &ParquetFile) -> Option<String> {
    let claimed = file.rows_claimed()?;
    let (location, rows) = (file.location(), file.rows());
    Some(format!("{location} has {claimed} rows by its footer, and its row groups have {rows}: these were read"))
}

/// A bit for each root column that is not nested and, as the footer proves, has no NULL.
fn without_nulls(file: &ParquetFile, schema: &Schema) -> Box<[u64]> {
    let metadata = file.metadata();
    let descriptor = metadata.file_metadata().schema_descr();
    let mut bits = vec![0_u64; schema.fields().len().div_ceil(64)];
    for leaf in 0..descriptor.num_columns() {
        let root = descriptor.get_column_root_idx(leaf);
        let is_proven = descriptor.column(leaf).max_def_level() == 0
            || metadata.row_groups().iter().all(|group| {
                group.column(leaf).statistics().and_then(|statistics| statistics.null_count_opt()) == Some(0)
            });
        if is_proven && root < schema.fields().len() && !schema.field(root).data_type().is_nested() {
            bits[root / 64] |= 1 << (root % 64);
        }
    }
    bits.into_boxed_slice()
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

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, Int64Array, RecordBatch},
        datatypes::Int64Type,
    };
    use futures::TryStreamExt;
    use parquet::arrow::ArrowWriter;

    use super::*;
    use crate::ReadOptions;

    /// Files of one row each, in a folder.
    fn files(folder: &std::path::Path, count: i64) -> Vec<RawInput> {
        let write = |number: i64| {
            let (a, b): (ArrayRef, ArrayRef) =
                (Arc::new(Int64Array::from(vec![number])), Arc::new(Int64Array::from(vec![None::<i64>])));
            let batch = RecordBatch::try_from_iter_with_nullable([("a", a, true), ("b", b, true)]).unwrap();
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
            writer.write(&batch).unwrap();
            let (bytes, path) = (writer.into_inner().unwrap(), folder.join(format!("{number}.parquet")));
            std::fs::write(&path, &bytes).unwrap();
            let location = format!("file://{}", path.display());
            RawInput { location, etag: None, size: bytes.len() as u64, partition_start: Timestamp::UNIX_EPOCH }
        };
        (0..count).map(write).collect()
    }

    async fn value(interval: &RawInterval, file: usize) -> Result<i64> {
        let parquet = interval.reopen(file).await?;
        let options =
            ReadOptions { roots: vec![0], row_groups: None, selection: None, batch_rows: 10, row_number: false };
        let batches: Vec<RecordBatch> = parquet.read(options).try_collect().await?;
        Ok(arrow::array::AsArray::as_primitive::<Int64Type>(batches[0].column(0)).value(0))
    }

    #[tokio::test]
    async fn small_files_are_requested_once_as_far_as_memory_goes() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = files(folder.path(), 10);
        let storage = Storage::local();
        let kept_bytes_max = inputs[..4].iter().map(|input| input.size).sum::<u64>() + 10;
        let options = OpenOptions { kept_bytes_max, ..OpenOptions::default() };
        let interval = RawInterval::open(&storage, &inputs, &options).await.unwrap();
        for input in &inputs {
            std::fs::remove_file(input.location.trim_start_matches("file://")).unwrap();
        }
        for file in 0..4 {
            assert_eq!(value(&interval, file).await.unwrap(), file as i64);
        }
        for file in 4..10 {
            assert!(matches!(value(&interval, file).await, Err(Error::Replaced { .. })));
        }
    }

    #[tokio::test]
    async fn files_of_the_same_columns_share_what_is_known_of_them() {
        let folder = tempfile::tempdir().unwrap();
        let mut inputs = files(folder.path(), 5);
        inputs[2].size += 1;
        let storage = Storage::local();
        let interval = RawInterval::open(&storage, &inputs, &OpenOptions::default()).await.unwrap();
        assert_eq!((interval.file_count(), interval.unreadable.len(), interval.rows()), (4, 1, 4));
        assert!(interval.files.iter().all(|file| Arc::ptr_eq(&file.shape, &interval.files[0].shape)));
        assert!(interval.files.iter().all(|file| file.no_nulls(0) && !file.no_nulls(1)));
        let columns = interval.columns();
        assert_eq!((columns.len(), columns[0].files), (1, 4));
    }
}
