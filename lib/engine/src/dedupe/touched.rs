//! What becomes of the table's files that a merge touches: written again without the rows that go, or left in place with
//! those rows marked by position deletes. The decision is [`plan::merge`]'s.

use std::{collections::HashMap, sync::Arc};

use arrow::{array::BooleanArray, datatypes::SchemaRef};
use contract::MergeMode;
use futures::{StreamExt, TryStreamExt, stream};
use lake::{DataFileEntry, Removal, StagedFile, spec::Struct};
use plan::merge::{Action, FileFacts};

use super::{
    matching::{ROW_OPTIONS, field_ids, split_row_numbers},
    payload::{kept, strict},
};
use crate::{
    Error, PositionDeleteOptions, PositionDeletes, Result,
    curated::TableReader,
    tasks::on_file,
    writer::{TableWriter, write_position_deletes},
};

/// A file of the table and the rows of it that the change replaces or deletes.
#[derive(Debug, Clone)]
pub struct TouchedFile {
    /// The file.
    pub entry: DataFileEntry,
    /// Positions, ascending.
    pub rows: Vec<u64>,
    /// Rows of the file that no delete hides, the touched ones among them.
    pub live_rows: u64,
}

/// The touched files by what becomes of them.
#[derive(Debug, Default)]
pub struct Touched {
    /// Written again; the file leaves the table.
    pub rewritten: Vec<TouchedFile>,
    /// Left in place; the rows are marked.
    pub marked: Vec<TouchedFile>,
}

impl Touched {
    /// Decides for each file.
    pub fn decide(mode: MergeMode, reader: Option<&TableReader>, files: Vec<TouchedFile>) -> Self {
        let facts: Vec<FileFacts> = files.iter().map(|file| facts(file, reader)).collect();
        let mut touched = Self::default();
        for (file, decision) in files.into_iter().zip(plan::merge::decide(mode, &facts)) {
            tracing::debug!(file.location = %decision.path, action = ?decision.action, reason = %decision.reason, "a file is touched");
            match decision.action {
                Action::Rewrite => touched.rewritten.push(file),
                Action::PositionDelete => touched.marked.push(file),
                Action::Untouched => {}
            }
        }
        touched
    }

    /// What leaves the table.
    pub fn removals(&self) -> Vec<Removal> {
        self.rewritten.iter().map(removal).collect()
    }

    /// The files that position deletes point into: they must still be live when the change is committed.
    pub fn referenced(&self) -> Vec<String> {
        self.marked.iter().map(|file| file.entry.data_file.file_path().to_owned()).collect()
    }

    /// Writes what stays of each file that is written again, `threads` files at once. Returns how many rows that were.
    pub async fn rewrite(
        &self,
        reader: &Arc<TableReader>,
        schema: &SchemaRef,
        writer: &Arc<TableWriter>,
        threads: usize,
    ) -> Result<u64> {
        stream::iter(self.rewritten.clone())
            .map(|file| {
                let (reader, writer, schema) = (Arc::clone(reader), Arc::clone(writer), Arc::clone(schema));
                let location = file.entry.data_file.file_path().to_owned();
                on_file(location, async move { rewrite_file(&file, &reader, &schema, &writer).await })
            })
            .buffer_unordered(threads.max(1))
            .try_fold(0, |total, rows| async move { Ok(total + rows) })
            .await
    }

    /// Writes the position deletes, one file for each partition. What was marked must be what was counted.
    pub async fn write_deletes(&self, options: &PositionDeleteOptions) -> Result<Vec<StagedFile>> {
        let mut deletes: Vec<PositionDeletes> = Vec::new();
        let mut places: HashMap<(i32, &Struct), usize> = HashMap::new();
        for file in &self.marked {
            let (spec_id, partition) = (file.entry.spec_id, file.entry.data_file.partition());
            let place = *places.entry((spec_id, partition)).or_insert_with(|| {
                deletes.push(PositionDeletes { partition: partition.clone(), spec_id, files: Vec::new() });
                deletes.len() - 1
            });
            deletes[place].files.push((file.entry.data_file.file_path().to_owned(), file.rows.clone()));
        }
        let spec_ids: Vec<i32> = deletes.iter().map(|deletes| deletes.spec_id).collect();
        let files = write_position_deletes(options, deletes).await?;
        let (marked, expected) = (
            files.iter().map(|file| file.record_count()).sum::<u64>(),
            self.marked.iter().map(|file| file.rows.len() as u64).sum::<u64>(),
        );
        let staged = spec_ids.into_iter().zip(files);
        let staged: Vec<StagedFile> = staged.map(|(spec_id, data_file)| StagedFile { data_file, spec_id }).collect();
        if marked != expected || staged.len() != places.len() {
            let locations = staged.iter().map(|file| file.data_file.file_path().to_owned()).collect();
            if let Err(error) = options.storage.delete_all(locations).await {
                tracing::warn!(%error, "failed to remove staged files");
            }
            return Err(Error::Balance { read: expected, accounted: marked });
        }
        Ok(staged)
    }
}

async fn rewrite_file(
    file: &TouchedFile,
    reader: &TableReader,
    schema: &SchemaRef,
    writer: &TableWriter,
) -> Result<u64> {
    let columns: Vec<usize> = (0..schema.fields().len()).collect();
    let mut batches = reader.read(&file.entry, &field_ids(schema, &columns), ROW_OPTIONS);
    let mut survivors = 0;
    while let Some(batch) = batches.next().await {
        let (batch, numbers) = split_row_numbers(&batch?)?;
        let keep: BooleanArray = numbers.iter().map(|row| Some(file.rows.binary_search(row).is_err())).collect();
        if keep.true_count() > 0 {
            let batch = strict(&kept(batch, &keep)?, schema)?;
            survivors += batch.num_rows() as u64;
            writer.write(batch).await?;
        }
    }
    Ok(survivors)
}

fn facts(file: &TouchedFile, reader: Option<&TableReader>) -> FileFacts {
    let data_file = &file.entry.data_file;
    FileFacts {
        path: data_file.file_path().to_owned(),
        bytes: data_file.file_size_in_bytes(),
        rows: data_file.record_count(),
        dead_rows: data_file.record_count().saturating_sub(file.live_rows),
        delete_files: reader.map_or(0, |reader| reader.position_delete_files(&file.entry)),
        touched_rows: file.rows.len() as u64,
    }
}

fn removal(file: &TouchedFile) -> Removal {
    Removal {
        path: file.entry.data_file.file_path().to_owned(),
        spec_id: file.entry.spec_id,
        partition: file.entry.data_file.partition().clone(),
        sequence_number: file.entry.sequence_number,
    }
}
