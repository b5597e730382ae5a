//! Writes batches into the Parquet files of a table: scattered over its partitions, encoded on all cores, within a
//! memory limit.
//!
//! Owns everything between a batch and a described file. Refuses to know where rows come from and what is done with
//! the files: nothing that it writes is live.

mod buffer;
mod chunk;
mod encoder;
mod file;
mod layout;
mod options;
mod partition_writer;
mod position_deletes;
mod settings;
mod shard;
mod shared;
mod sorted;
mod upload;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use arrow::array::RecordBatch;
use lake::spec::{DataFile, Struct, TableMetadata};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::{AbortHandle, JoinHandle},
};

use crate::{Error, Partitioner, Result, tasks::bug, types::arrow_schema};
pub(crate) use chunk::batch_bytes;
use chunk::{Input, Slice};
pub use options::{FileName, TableWriterOptions};
pub(crate) use partition_writer::{PartitionWriter, can_copy};
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

/// How long [`TableWriter::abort`] waits for uploads under way: a service that does not answer must not hold up a process
/// that was asked to end.
const ABORT_WAIT: Duration = Duration::from_secs(20);

/// Writes batches into files of one table.
///
/// Every partition has one writer, so a partition gets one file after the other. Dropping the writer gives up what is
/// not finished; files that are stay, see [`Self::written`].
#[derive(Debug)]
pub struct TableWriter {
    shared: Arc<Shared>,
    partitioner: Partitioner,
    senders: Vec<mpsc::Sender<Message>>,
    tasks: tokio::sync::Mutex<Vec<JoinHandle<()>>>,
    aborts: Vec<AbortHandle>,
    /// The shard of every partition seen so far.
    shard_of: Mutex<HashMap<Struct, usize>>,
}

impl TableWriter {
    /// Starts a writer, on the tokio runtime of the caller. Nothing is stored yet. Fails for types, transforms and
    /// settings that cannot be written.
    pub fn new(options: TableWriterOptions) -> Result<Self> {
        let partitioner = Partitioner::new(&options.schema, &options.spec)?;
        let shared = Arc::new(Shared::new(&options)?);
        let (mut senders, mut tasks) = (Vec::new(), Vec::<JoinHandle<()>>::new());
        for _ in 0..shared.shards {
            let (sender, messages) = mpsc::channel(MESSAGES_MAX);
            senders.push(sender);
            tasks.push(tokio::spawn(Shard::new(Arc::clone(&shared)).run(messages)));
        }
        let aborts = tasks.iter().map(JoinHandle::abort_handle).collect();
        Ok(Self { shared, partitioner, senders, tasks: tasks.into(), aborts, shard_of: Mutex::default() })
    }

    /// Takes a batch in the layout of [`crate::arrow_schema`]; returns when there is room for the next. May be called
    /// from many tasks at once: the batches come in no particular order then.
    ///
    /// Fails for a batch of another layout, for NULL in a required column, and when an earlier batch has failed: why, is for
    /// [`Self::failure`] to say.
    pub async fn write(&self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.shared.layout.check(&batch)?;
        let bytes = batch_bytes(&batch);
        let permit = self.admit(bytes).await?;
        let partitioned = self.partitioner.partition(&batch)?;
        let input = Arc::new(Input::admitted(batch, bytes, permit));
        let mut slices: Vec<Vec<(Struct, Slice)>> = self.senders.iter().map(|_| Vec::new()).collect();
        let is_single = partitioned.keys.len() == 1;
        for (key, rows) in partitioned.iter() {
            let rows = if is_single { None } else { Some(rows.to_vec()) };
            slices[self.shard_of(key)].push((key.clone(), Slice { input: Arc::clone(&input), rows }));
        }
        drop(input);
        for (sender, slices) in self.senders.iter().zip(slices) {
            if !slices.is_empty() && sender.send(Message::Rows(slices)).await.is_err() {
                return Err(Shared::failed_before());
            }
        }
        if bytes > self.shared.input_permits * PERMIT_BYTES {
            // More than there is room for: the caller makes no other before this one is encoded.
            drop(self.admit(bytes).await?);
        }
        Ok(())
    }

    /// Where files have been stored so far, or may have been: what to delete when their commit does not happen. Never a
    /// location at which another object was found.
    pub fn written(&self) -> Vec<String> {
        self.shared.written().clone()
    }

    /// The first failure of storing or encoding, once: what is written at the same time fails because of it.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.shared.failure).take()
    }

    /// The most memory that row groups and sort buffers took at once, in bytes.
    pub fn encoded_bytes_peak(&self) -> usize {
        self.shared.encoded_bytes_peak.load(Ordering::SeqCst)
    }

    /// Ends all files and describes them, ordered by location. They are durable. After a failure none of them is left
    /// behind, as far as they can be deleted. May be dropped: then [`Self::abort`] takes everything back.
    pub async fn close(&self) -> Result<Vec<DataFile>> {
        for sender in &self.senders {
            // One that has failed hears nothing more.
            _ = sender.send(Message::End).await;
        }
        self.join().await;
        if self.shared.has_failed.load(Ordering::SeqCst) {
            self.delete_written().await.unwrap_or_else(|error| {
                tracing::warn!(error = &error as &dyn std::error::Error, "files of a failed writer were not deleted");
            });
            return Err(self.failure().unwrap_or_else(Shared::failed_before));
        }
        let mut files = std::mem::take(&mut *lock(&self.shared.finished));
        files.sort_by(|a, b| a.file_path().cmp(b.file_path()));
        Ok(files)
    }

    /// Gives up, also while others still hand in batches: waits for uploads under way, since one that nobody waits for may
    /// still become an object, and deletes what was written.
    pub async fn abort(&self) -> Result<()> {
        self.shared.is_given_up.store(true, Ordering::SeqCst);
        self.shared.input_memory.close();
        for sender in &self.senders {
            // A full queue wakes its shard as well, and a shard that has ended needs no waking.
            _ = sender.try_send(Message::End);
        }
        if tokio::time::timeout(ABORT_WAIT, self.join()).await.is_err() {
            tracing::warn!("uploads under way were not answered in time: files of this run may stay behind");
            self.aborts.iter().for_each(AbortHandle::abort);
        }
        self.delete_written().await
    }

    /// Waits for all shards. May be dropped and called again.
    async fn join(&self) {
        let mut tasks = self.tasks.lock().await;
        while let Some(task) = tasks.last_mut() {
            let ended = task.await;
            tasks.pop();
            if let Err(error) = ended {
                self.shared.fail(Error::compute("failed to write", bug(error)));
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
            sender.send(Message::Drain).await.map_err(|_| Shared::failed_before())?;
        }
        Arc::clone(&shared.input_memory).acquire_many_owned(permits).await.map_err(|_| Shared::failed_before())
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
