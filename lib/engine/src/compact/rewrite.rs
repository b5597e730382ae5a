//! From a group of the plan to staged files: copied, decoded or sorted; and what must add up before they are handed on.

use std::{collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use lake::{DataFileEntry, Removal, StagedFile, comparable_partition, spec::DataFile};
use plan::compact::{Arrange, Group};

use super::{
    order::Order,
    pieces::{Input, Piece, pieces},
    sorted::sorted,
};
use crate::{
    Error, Result, Session, Stop, TableWriter, TableWriterOptions, curated::TableReader, types::field_id,
    writer::PartitionWriter,
};

/// What all groups of one run are rewritten with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rewriter {
    session: Session,
    reader: TableReader,
    entries: Arc<HashMap<String, DataFileEntry>>,
    writer: TableWriterOptions,
    stop: Stop,
}

/// A group that was written again and waits for its commit.
#[derive(Debug)]
pub struct Rewritten {
    /// Files to add.
    pub added: Vec<StagedFile>,
    /// Files to remove.
    pub removed: Vec<Removal>,
    /// Rows of the old files, dead or alive.
    pub rows_before: u64,
    /// Rows of the new ones.
    pub rows_after: u64,
    /// Size of the old files.
    pub bytes_before: u64,
    /// Size of the new ones.
    pub bytes_after: u64,
    /// Rows that were taken over without decoding them.
    pub rows_copied: u64,
}

impl Rewritten {
    /// Everything that was staged, to be taken back.
    pub fn locations(&self) -> Vec<String> {
        self.added.iter().map(|file| file.data_file.file_path().to_owned()).collect()
    }
}

impl Rewriter {
    /// Rewrites files of the snapshot that the reader reads. The writer's options say how much memory one group may use;
    /// its target size and sort order are the group's.
    pub fn new(session: &Session, reader: TableReader, writer: TableWriterOptions, stop: Stop) -> Self {
        let entries = reader.live().data.iter().map(|entry| (entry.data_file.file_path().to_owned(), entry.clone()));
        Self { session: session.clone(), entries: Arc::new(entries.collect()), reader, writer, stop }
    }

    /// Writes a group again. After an error nothing that was staged is left behind, as far as it can be deleted.
    pub async fn rewrite(&self, group: &Group) -> Result<Rewritten> {
        let inputs = self.inputs(group)?;
        let Some(first) = inputs.first() else { return Err(unsound(group, "it has no files")) };
        let is_of_old_spec = first.entry.spec_id != self.writer.spec.spec_id();
        let same = |input: &Input| {
            input.entry.spec_id == first.entry.spec_id
                && comparable_partition(input.entry.data_file.partition())
                    == comparable_partition(first.entry.data_file.partition())
        };
        if !inputs.iter().all(same) {
            return Err(unsound(group, "its files are of several partitions"));
        }
        let metadata = &self.reader.table().metadata;
        let options = TableWriterOptions {
            target_file_bytes: group.file_bytes,
            sort_order: match group.arrange {
                Arrange::TableOrder { .. } => Some(Arc::clone(metadata.default_sort_order())),
                _ => None,
            },
            ..self.writer.clone()
        };
        let removed = inputs.iter().map(|input| input.entry.removal()).collect();
        let sum = |of: fn(&DataFile) -> u64| inputs.iter().map(|input| of(&input.entry.data_file)).sum::<u64>();
        let (rows_before, bytes_before) = (sum(DataFile::record_count), sum(DataFile::file_size_in_bytes));
        let (files, counts) = if is_of_old_spec {
            self.scatter(group, inputs, options).await?
        } else {
            self.pack(group, inputs, options, rows_before).await?
        };
        let spec_id = self.writer.spec.spec_id();
        Ok(Rewritten {
            rows_before,
            rows_after: files.iter().map(DataFile::record_count).sum(),
            bytes_before,
            bytes_after: files.iter().map(DataFile::file_size_in_bytes).sum(),
            rows_copied: counts.copied,
            added: files.into_iter().map(|data_file| StagedFile { data_file, spec_id }).collect(),
            removed,
        })
    }

    /// The group's files as the snapshot has them.
    fn inputs(&self, group: &Group) -> Result<Vec<Input>> {
        let input = |file: &plan::compact::GroupFile| {
            let entry = self.entries.get(&file.path).cloned();
            let entry = entry.ok_or_else(|| unsound(group, &format!("{} is no live file of the table", file.path)))?;
            Ok(Input { entry, how: file.how })
        };
        group.files.iter().map(input).collect()
    }

    /// Into files of the same partition, one after the other.
    async fn pack(
        &self,
        group: &Group,
        inputs: Vec<Input>,
        options: TableWriterOptions,
        rows_expected: u64,
    ) -> Result<(Vec<DataFile>, Counts)> {
        let partition = inputs[0].entry.data_file.partition().clone();
        let copies = group.arrange == Arrange::Pack && group.copied() > 0;
        let mut writer = PartitionWriter::new(&options, partition, rows_expected, copies)?;
        let written = async {
            let mut counts = Counts::default();
            let mut pieces = self.pieces(group, inputs, copies.then(|| writer.columns()))?;
            // Reading may be dropped at any moment; a file that is being stored may not: it could appear after it was
            // taken back.
            while let Some(piece) = self.stop.unless(pieces.try_next()).await? {
                counts.add(&piece);
                match piece {
                    Piece::Rows(batch) => writer.write(batch).await?,
                    Piece::Copied(chunks, nans) => writer.copy(chunks, &nans).await?,
                }
            }
            let files = writer.close().await?;
            counts.check(&files)?;
            Ok((files, counts))
        };
        let written = written.await;
        if written.is_err()
            && let Err(error) = writer.abort().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to remove staged files");
        }
        written
    }

    /// Into whichever partitions the table's current spec puts the rows.
    async fn scatter(
        &self,
        group: &Group,
        inputs: Vec<Input>,
        options: TableWriterOptions,
    ) -> Result<(Vec<DataFile>, Counts)> {
        let writer = TableWriter::new(options)?;
        let written = self.stop.unless(async {
            let mut counts = Counts::default();
            let mut pieces = self.pieces(group, inputs, None)?;
            while let Some(piece) = pieces.try_next().await? {
                counts.add(&piece);
                if let Piece::Rows(batch) = piece {
                    writer.write(batch).await?;
                }
            }
            let files = writer.close().await?;
            counts.check(&files)?;
            Ok((files, counts))
        });
        let written = written.await;
        let Err(error) = written else { return written };
        let cause = writer.failure();
        if let Err(error) = writer.abort().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "failed to remove staged files");
        }
        Err(if matches!(error, Error::Stopped) { error } else { cause.unwrap_or(error) })
    }

    /// The rows that are alive, in the order of the group.
    fn pieces(
        &self,
        group: &Group,
        inputs: Vec<Input>,
        copied: Option<parquet::schema::types::SchemaDescriptor>,
    ) -> Result<BoxStream<'static, Result<Piece>>> {
        let pool = &self.session.context().runtime_env().memory_pool;
        // With its own deletes, which go with it: those of a whole table need not fit.
        let reader = self.reader.with_memory(pool, self.session.options().read_bytes());
        let columns: Arc<[i32]> = reader.schema().fields().iter().filter_map(|field| field_id(field)).collect();
        let entries: Vec<DataFileEntry> = inputs.iter().map(|input| input.entry.clone()).collect();
        match Order::of(&group.arrange, reader.table(), &entries)? {
            None => Ok(pieces(reader, inputs, columns, copied)),
            Some(order) => {
                let rows: BoxStream<'static, Result<RecordBatch>> =
                    sorted(&self.session, reader, entries, columns, order)?;
                Ok(rows.map_ok(Piece::Rows).boxed())
            }
        }
    }
}

/// What came in.
#[derive(Debug, Default)]
struct Counts {
    rows: u64,
    copied: u64,
}

impl Counts {
    fn add(&mut self, piece: &Piece) {
        let rows = piece.rows();
        self.rows += rows;
        if matches!(piece, Piece::Copied(..)) {
            self.copied += rows;
        }
    }

    /// What came in must be what went out.
    fn check(&self, files: &[DataFile]) -> Result<()> {
        let written = files.iter().map(DataFile::record_count).sum();
        if self.rows == written { Ok(()) } else { Err(Error::Balance { read: self.rows, accounted: written }) }
    }
}

fn unsound(group: &Group, reason: &str) -> Error {
    Error::compute(format!("failed to write files of {} again", group.partition), reason.to_owned())
}
