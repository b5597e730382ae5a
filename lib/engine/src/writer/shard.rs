//! One of the tasks that write: it has some of the partitions, and each of those for itself alone.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use lake::spec::{DataFile, Struct};
use tokio::sync::mpsc;

use super::{
    buffer::RowBuffer,
    chunk::{Chunk, Slice},
    file::FileWriter,
    shared::{Shared, lock},
};
use crate::Result;

/// Rows of one partition that are gathered before they are encoded.
const GATHER_ROWS: usize = 16_384;

/// What a shard is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Rows, by partition.
    Rows(Vec<(Struct, Slice)>),
    /// Somebody waits for memory: encode what has been gathered.
    Drain,
    /// Nothing more will come.
    End,
}

/// A task that writes some of the partitions.
pub(super) struct Shard {
    shared: Arc<Shared>,
    partitions: HashMap<Struct, Partition>,
    /// Counts messages, to tell what was used last.
    clock: u64,
    /// Memory of this shard's files and sort buffers, as it was last told to everybody.
    memory_bytes: usize,
    finished: Vec<DataFile>,
}

#[derive(Default)]
struct Partition {
    gathered: Vec<Slice>,
    gathered_rows: usize,
    file: Option<FileWriter>,
    buffer: Option<RowBuffer>,
    memory_bytes: usize,
    used_at: u64,
}

impl Shard {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, partitions: HashMap::new(), clock: 0, memory_bytes: 0, finished: Vec::new() }
    }

    /// Writes what comes until nobody sends any more, and hands over the files. Removes its unfinished uploads when it
    /// fails or the writer is given up.
    pub(super) async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let written = self.write_all(&mut messages).await;
        let is_done = written.is_ok() && !self.shared.is_given_up.load(Ordering::SeqCst);
        if let Err(error) = written {
            self.shared.fail(error);
        }
        lock(&self.shared.finished).append(&mut self.finished);
        drop(messages);
        if !is_done {
            for partition in std::mem::take(&mut self.partitions).into_values() {
                if let Some(file) = partition.file {
                    file.abort().await;
                }
            }
        }
    }

    async fn write_all(&mut self, messages: &mut mpsc::Receiver<Message>) -> Result<()> {
        while let Some(message) = messages.recv().await {
            if self.shared.is_given_up.load(Ordering::SeqCst) {
                return Ok(());
            }
            self.clock += 1;
            let mut is_drained = false;
            match message {
                Message::End => break,
                Message::Drain => is_drained = true,
                Message::Rows(slices) => {
                    for (key, slice) in slices {
                        self.add(key, slice).await?;
                    }
                }
            }
            if is_drained || self.shared.waiting.load(Ordering::SeqCst) > 0 {
                self.drain().await?;
            }
        }
        if self.shared.is_given_up.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.drain().await?;
        let mut keys: Vec<Struct> = self.partitions.keys().cloned().collect();
        while let Some(key) = keys.pop() {
            if self.shared.is_given_up.load(Ordering::SeqCst) {
                return Ok(());
            }
            self.end_file(&key).await?;
        }
        Ok(())
    }

    async fn add(&mut self, key: Struct, slice: Slice) -> Result<()> {
        let clock = self.clock;
        let partition = self.partitions.entry(key.clone()).or_default();
        partition.used_at = clock;
        partition.gathered_rows += slice.len();
        partition.gathered.push(slice);
        if partition.gathered_rows >= GATHER_ROWS { self.encode(&key).await } else { Ok(()) }
    }

    async fn drain(&mut self) -> Result<()> {
        let waiting = self.partitions.iter().filter(|(_, partition)| partition.gathered_rows > 0);
        for key in waiting.map(|(key, _)| key.clone()).collect::<Vec<_>>() {
            self.encode(&key).await?;
        }
        Ok(())
    }

    /// Encodes what a partition has gathered, or puts it with the rows that wait to be sorted.
    async fn encode(&mut self, key: &Struct) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(key) else { return Ok(()) };
        partition.gathered_rows = 0;
        let chunk = Chunk::new(std::mem::take(&mut partition.gathered));
        let is_full = if let Some(sort) = &self.shared.sort {
            let buffer = partition.buffer.get_or_insert_default();
            buffer.push(&chunk, &self.shared.layout)?;
            sort.estimate_file_bytes(buffer.memory_bytes()) >= self.shared.target_file_bytes
        } else {
            if partition.file.is_none()
                && let Some(least_recent) = self.least_recent_file()
            {
                self.end_file(&least_recent).await?;
            }
            let file = self.open_file(key)?;
            file.write(chunk).await?;
            file.file_bytes() >= self.shared.target_file_bytes
        };
        if is_full {
            return self.end_file(key).await;
        }
        self.account(key);
        self.relieve().await
    }

    fn open_file(&mut self, key: &Struct) -> Result<&mut FileWriter> {
        let partition = self.partitions.entry(key.clone()).or_default();
        let file = match partition.file.take() {
            Some(file) => file,
            None => self.shared.new_file(key)?,
        };
        Ok(partition.file.insert(file))
    }

    /// The partition whose file is ended for the next: the one used least recently, when there are as many as there may
    /// be.
    fn least_recent_file(&self) -> Option<Struct> {
        let open = self.partitions.iter().filter(|(_, partition)| partition.file.is_some());
        if open.clone().count() < self.shared.shard_files_max {
            return None;
        }
        open.min_by_key(|(_, partition)| partition.used_at).map(|(key, _)| key.clone())
    }

    /// Tells everybody how much memory a partition has come to use.
    fn account(&mut self, key: &Struct) {
        let Some(partition) = self.partitions.get_mut(key) else { return };
        let file_bytes = partition.file.as_ref().map_or(0, FileWriter::memory_bytes);
        let now = file_bytes + partition.buffer.as_ref().map_or(0, RowBuffer::memory_bytes);
        let before = std::mem::replace(&mut partition.memory_bytes, now);
        self.memory_bytes = self.memory_bytes + now - before;
        self.shared.encoded_bytes.fetch_add(now, Ordering::SeqCst);
        let total = self.shared.encoded_bytes.fetch_sub(before, Ordering::SeqCst) - before;
        self.shared.encoded_bytes_peak.fetch_max(total, Ordering::SeqCst);
    }

    /// Ends row groups, then files, the largest first, while all shards together hold more than they may and this one
    /// more than its share: so every shard can always get its share.
    async fn relieve(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        while shared.encoded_bytes.load(Ordering::SeqCst) > shared.encoded_bytes_max
            && self.memory_bytes > shared.encoded_bytes_max / shared.shards
        {
            let largest = self.partitions.iter_mut().max_by_key(|(_, partition)| partition.memory_bytes);
            let Some((key, partition)) = largest else { return Ok(()) };
            let key = key.clone();
            match &mut partition.file {
                Some(file) if file.group_memory_bytes() * 2 >= partition.memory_bytes => {
                    file.end_row_group().await?;
                    self.account(&key);
                }
                _ => self.end_file(&key).await?,
            }
        }
        Ok(())
    }

    /// Ends the file of a partition, after sorting what waits for that.
    async fn end_file(&mut self, key: &Struct) -> Result<()> {
        let Some(partition) = self.partitions.get_mut(key) else { return Ok(()) };
        if let Some(buffer) = partition.buffer.take()
            && let Some(sort) = self.shared.sort.clone()
        {
            let memory_bytes = buffer.memory_bytes();
            let mut file = self.shared.new_file(key)?;
            for chunk in sort.sorted(buffer)? {
                file.write(chunk).await?;
            }
            let finished = self.shared.finish_file(key, file).await?;
            sort.learn(memory_bytes, finished.file_size_in_bytes());
            self.finished.push(finished);
        } else if let Some(file) = partition.file.take() {
            self.finished.push(self.shared.finish_file(key, file).await?);
        }
        self.account(key);
        if self.partitions.get(key).is_some_and(|partition| partition.gathered.is_empty()) {
            self.partitions.remove(key);
        }
        Ok(())
    }
}
