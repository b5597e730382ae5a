//! Writes batches into the Parquet files of a table: scattered over its partitions, encoded on all cores, within a
//! memory limit.
//!
//! Owns everything between a batch and a described file. Refuses to know where rows come from and what is done with
//! the files: nothing that it writes is live.

mod chunk;
mod file;
mod layout;
mod options;
mod position_deletes;
mod settings;
mod shard;
mod shared;
mod sorted;
mod upload;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
};

use arrow::array::RecordBatch;
use lake::spec::{DataFile, Struct, TableMetadata};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
};

use crate::{Error, Partitioner, Result, types::arrow_schema};
use chunk::{Input, Slice, batch_bytes};
pub use options::{FileName, TableWriterOptions};
pub use position_deletes::{DeleteFileName, PositionDeleteOptions, PositionDeletes, write_position_deletes};
pub use settings::FileSettings;
use shard::{Message, Shard};
use shared::{PERMIT_BYTES, Shared, Waiting, lock};
use sorted::Sort;

/// Messages under way to one shard.
const MESSAGES_MAX: usize = 8;

/// Fails for a table that no [`TableWriter`] could write: by its types, partitioning, sort order or properties. Looks at
/// nothing but metadata.
pub fn check_settings(metadata: &TableMetadata) -> Result<()> {
    let schema = metadata.current_schema();
    arrow_schema(schema)?;
    Partitioner::new(schema, metadata.default_partition_spec())?;
    Sort::new(schema, metadata.default_sort_order())?;
    FileSettings::new(metadata.properties(), None).map(drop)
}

/// Writes batches into files of one table.
///
/// Every partition has one writer, so a partition gets one file after the other. Dropping the writer gives up what is
/// not finished; files that are stay, see [`Self::written`].
#[derive(Debug)]
pub struct TableWriter {
    shared: Arc<Shared>,
    partitioner: Partitioner,
    senders: Vec<mpsc::Sender<Message>>,
    tasks: Vec<JoinHandle<()>>,
    /// The shard of every partition seen so far.
    shard_of: Mutex<HashMap<Struct, usize>>,
}

impl TableWriter {
    /// Starts a writer, on the tokio runtime of the caller. Nothing is stored yet. Fails for types, transforms and
    /// settings that cannot be written.
    pub fn new(options: TableWriterOptions) -> Result<Self> {
        let partitioner = Partitioner::new(&options.schema, &options.spec)?;
        let shared = Arc::new(Shared::new(&options)?);
        let (mut senders, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..shared.shards {
            let (sender, messages) = mpsc::channel(MESSAGES_MAX);
            senders.push(sender);
            tasks.push(tokio::spawn(Shard::new(Arc::clone(&shared)).run(messages)));
        }
        Ok(Self { shared, partitioner, senders, tasks, shard_of: Mutex::default() })
    }

    /// Takes a batch in the layout of [`crate::arrow_schema`]; returns when there is room for the next. May be called
    /// from many tasks at once: the batches come in no particular order then.
    ///
    /// Fails for a batch of another layout, for NULL in a required column, and with the failure of an earlier batch.
    pub async fn write(&self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.shared.layout.check(&batch)?;
        let permit = self.admit(batch_bytes(&batch)).await?;
        let partitioned = self.partitioner.partition(&batch)?;
        let input = Arc::new(Input { batch, _permit: Some(permit) });
        let mut slices: Vec<Vec<(Struct, Slice)>> = self.senders.iter().map(|_| Vec::new()).collect();
        let is_single = partitioned.keys.len() == 1;
        for (key, rows) in partitioned.iter() {
            let rows = if is_single { None } else { Some(rows.to_vec()) };
            slices[self.shard_of(key)].push((key.clone(), Slice { input: Arc::clone(&input), rows }));
        }
        drop(input);
        for (sender, slices) in self.senders.iter().zip(slices) {
            if !slices.is_empty() && sender.send(Message::Rows(slices)).await.is_err() {
                return Err(self.shared.take_failure());
            }
        }
        Ok(())
    }

    /// Where files have been stored so far, or may have been: what to delete when their commit does not happen. Never a
    /// location at which another object was found.
    pub fn written(&self) -> Vec<String> {
        self.shared.written().clone()
    }

    /// The most memory that row groups and sort buffers took at once, in bytes.
    pub fn encoded_bytes_peak(&self) -> usize {
        self.shared.encoded_bytes_peak.load(Ordering::SeqCst)
    }

    /// Ends all files and describes them, ordered by location. They are durable. After a failure none of them is left
    /// behind, as far as they can be deleted.
    pub async fn close(mut self) -> Result<Vec<DataFile>> {
        self.join().await;
        if self.shared.has_failed.load(Ordering::SeqCst) {
            self.delete_written().await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "files of a failed writer were not deleted");
            });
            return Err(self.shared.take_failure());
        }
        let mut files = std::mem::take(&mut *lock(&self.shared.finished));
        files.sort_by(|a, b| a.file_path().cmp(b.file_path()));
        Ok(files)
    }

    /// Gives up and deletes what was written.
    pub async fn abort(mut self) -> Result<()> {
        self.shared.is_given_up.store(true, Ordering::SeqCst);
        self.join().await;
        self.delete_written().await
    }

    async fn join(&mut self) {
        self.senders.clear();
        for task in std::mem::take(&mut self.tasks) {
            if let Err(error) = task.await {
                self.shared.fail(Error::compute("failed to write", error));
            }
        }
    }

    async fn delete_written(&self) -> Result<()> {
        Ok(self.shared.outlet.storage.delete_all(self.written()).await?)
    }

    /// Waits until there is memory for a batch.
    async fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let shared = &self.shared;
        // A batch larger than all there is gets all there is.
        let permits = bytes.div_ceil(PERMIT_BYTES).clamp(1, shared.input_permits) as u32;
        if let Ok(permit) = Arc::clone(&shared.input_memory).try_acquire_many_owned(permits) {
            return Ok(permit);
        }
        let _waiting = Waiting::begin(&shared.waiting);
        // Shards that nothing is sent to would keep what they have gathered. What they get from now on they do not.
        for sender in &self.senders {
            sender.send(Message::Drain).await.map_err(|_| shared.take_failure())?;
        }
        Arc::clone(&shared.input_memory).acquire_many_owned(permits).await.map_err(|_| shared.take_failure())
    }

    /// Partitions are dealt out in turn: a hash would give some shards several of the few that matter.
    fn shard_of(&self, key: &Struct) -> usize {
        let mut shard_of = lock(&self.shard_of);
        if let Some(shard) = shard_of.get(key) {
            return *shard;
        }
        let shard = shard_of.len() % self.senders.len();
        shard_of.insert(key.clone(), shard);
        shard
    }
}

impl Drop for TableWriter {
    fn drop(&mut self) {
        // Shards that still run remove their uploads and end.
        self.shared.is_given_up.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
