//! The rows of a group's files, file after file: row groups as they lie there, or batches without the rows that deletes
//! hide. Reads ahead, so that storage is not waited for between files.

use std::{collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use lake::DataFileEntry;
use parquet::schema::types::SchemaDescriptor;
use plan::compact::How;
use tokio::sync::mpsc;

use crate::{
    Error, ParquetFile, Result,
    curated::{RowOptions, TableReader},
    parquet_file::chunks::RowGroupChunks,
    writer::can_copy,
};

/// Files that are opened ahead of the one that is written, at most.
const FILES_AHEAD_MAX: u64 = 4;
/// They are no larger than this together: what is read ahead is in memory.
const AHEAD_BYTES_MAX: u64 = 64 << 20;
/// Batches of a file that are decoded ahead.
const BATCHES_AHEAD: usize = 2;
/// A first row group up to this size is fetched with the footer.
const FETCH_AHEAD_BYTES_MAX: i64 = 16 << 20;
/// Rows that are decoded at a time.
pub(super) const BATCH_ROWS: usize = 16_384;

/// A file, and how its rows are wanted.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) entry: DataFileEntry,
    pub(super) how: How,
}

/// Rows on their way.
#[derive(Debug)]
pub(super) enum Piece {
    /// A row group, and the NaNs in it by field id as far as they are known.
    Copied(RowGroupChunks, HashMap<i32, u64>),
    /// Rows in the table's columns.
    Rows(RecordBatch),
}

impl Piece {
    /// How many rows.
    pub(super) fn rows(&self) -> u64 {
        match self {
            Self::Copied(chunks, _) => u64::try_from(chunks.metadata.num_rows()).unwrap_or(0),
            Self::Rows(batch) => batch.num_rows() as u64,
        }
    }
}

/// The rows of the files, in their order. Files are copied only to the columns `copied`, and where no delete applies.
pub(super) fn pieces(
    reader: TableReader,
    inputs: Vec<Input>,
    columns: Arc<[i32]>,
    copied: Option<SchemaDescriptor>,
) -> BoxStream<'static, Result<Piece>> {
    let copied = copied.map(Arc::new);
    let largest = inputs.iter().map(|input| input.entry.data_file.file_size_in_bytes()).max().unwrap_or(0);
    let files_ahead = (AHEAD_BYTES_MAX / largest.max(1)).clamp(1, FILES_AHEAD_MAX) as usize;
    stream::iter(inputs)
        .map(move |input| {
            let (reader, columns, copied) = (reader.clone(), Arc::clone(&columns), copied.clone());
            let task = SpawnedTask::spawn(async move { open(&reader, input, &columns, copied.as_deref()).await });
            async { task.join().await.map_err(|source| Error::compute("failed to open a data file", source))? }
        })
        .buffered(files_ahead)
        .try_flatten()
        .boxed()
}

/// The rows of the files, all of them decoded.
pub(super) fn decoded(
    reader: TableReader,
    files: Vec<DataFileEntry>,
    columns: Arc<[i32]>,
) -> BoxStream<'static, Result<RecordBatch>> {
    let inputs = files.into_iter().map(|entry| Input { entry, how: How::Decode });
    let rows = |piece| std::future::ready(Ok(if let Piece::Rows(batch) = piece { Some(batch) } else { None }));
    pieces(reader, inputs.collect(), columns, None).try_filter_map(rows).boxed()
}

async fn open(
    reader: &TableReader,
    input: Input,
    columns: &[i32],
    copied: Option<&SchemaDescriptor>,
) -> Result<BoxStream<'static, Result<Piece>>> {
    let Input { entry, how } = input;
    let file = reader.open(&entry).await?;
    let rows_recorded = entry.data_file.record_count();
    if file.rows() != rows_recorded {
        return Err(Error::TableFile {
            table: reader.table().name.to_string(),
            location: file.location().to_owned(),
            problem: format!("has {} rows where its manifest says {rows_recorded}", file.rows()),
        });
    }
    let is_copied = how == How::Copy && !reader.has_deletes(&entry);
    if is_copied && copied.is_some_and(|columns| can_copy(columns, &file)) {
        return row_groups(file, &entry).await;
    }
    if how == How::Copy {
        tracing::debug!(file.location = file.location(), "a file is decoded: its columns are not quite the table's");
    }
    let options = RowOptions { batch_rows: BATCH_ROWS, ..RowOptions::default() };
    let batches = reader.read_open(&file, &entry, columns, options).await?;
    Ok(ahead(batches).map_ok(Piece::Rows).boxed())
}

/// The row groups of a file; the first one at once where it is small, as most files' only one is.
async fn row_groups(file: ParquetFile, entry: &DataFileEntry) -> Result<BoxStream<'static, Result<Piece>>> {
    let count = file.metadata().num_row_groups();
    let nans = nans_of_each(entry, count);
    let is_small = |index: usize| file.metadata().row_group(index).compressed_size() <= FETCH_AHEAD_BYTES_MAX;
    let first = match count {
        0 => None,
        _ if is_small(0) => Some(Ok(Piece::Copied(file.row_group_chunks(0).await?, nans.clone()))),
        _ => None,
    };
    let rest = usize::from(first.is_some())..count;
    let rest = stream::iter(rest).then(move |index| {
        let (file, nans) = (file.clone(), nans.clone());
        async move { Ok(Piece::Copied(file.row_group_chunks(index).await?, nans)) }
    });
    Ok(stream::iter(first).chain(rest).boxed())
}

/// What the manifest's counts of NaN say of each row group: that there is none, or, of a single one, how many.
fn nans_of_each(entry: &DataFileEntry, row_groups: usize) -> HashMap<i32, u64> {
    let counts = entry.data_file.nan_value_counts().iter();
    counts.filter(|(_, count)| **count == 0 || row_groups == 1).map(|(id, count)| (*id, *count)).collect()
}

/// Makes batches on a task of its own, some ahead of who takes them.
pub(super) fn ahead(mut batches: BoxStream<'static, Result<RecordBatch>>) -> BoxStream<'static, Result<RecordBatch>> {
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let task = SpawnedTask::spawn(async move {
        while let Some(batch) = batches.next().await {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
    });
    stream::unfold((receiver, Some(task)), |(mut receiver, mut task)| async move {
        if let Some(batch) = receiver.recv().await {
            return Some((batch, (receiver, task)));
        }
        // A task that has panicked sends no more either, and that is no end of the file.
        let ended = task.take()?.join().await;
        let error = ended.err()?;
        Some((Err(Error::compute("failed to decode a data file", error)), (receiver, task)))
    })
    .boxed()
}
