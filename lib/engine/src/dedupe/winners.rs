//! Winners among duplicates, found from keys alone: every row as an entry of 32 bytes, grouped by fingerprint.
//!
//! Entries are spread over hash partitions that are resolved one by one on all cores. When all entries would not fit in
//! memory the keys are read in several rounds, each of which keeps one share of the partitions; nothing is spilled.

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::row::Rows;
use hashbrown::HashTable;

use super::{
    tenants::Tags,
    verdicts::{RowAddress, Verdict, Verdicts},
};
use crate::keys::compare_ranks;

/// Hash partitions: small enough to fit a core's cache, many enough to share among cores and rounds.
const PARTITIONS: usize = 256;
/// Most entries per allocation: partitions grow without ever being copied.
const CHUNK_ENTRIES_MAX: usize = 1_024;
/// Entries of a partition's first allocation; each later one is as large as all before it, up to the most.
const CHUNK_ENTRIES_MIN: usize = 8;

/// A row as its key, rank and place.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    fingerprint: u128,
    rank: u64,
    at: RowAddress,
}

/// Bytes one row needs while winners are found: its entry and its share of a hash table.
pub const ENTRY_BYTES: u64 = size_of::<Entry>() as u64 + 8;

/// The share of hash partitions that a round keeps.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// This round, from 0.
    pub index: usize,
    /// How many there are, 1 to 256.
    pub count: usize,
}

impl Round {
    /// All rounds that are needed to keep `rows` entries within `memory_bytes`.
    pub fn all(rows: u64, memory_bytes: u64) -> Vec<Self> {
        let needed = (rows * ENTRY_BYTES).div_ceil(memory_bytes.max(1)).clamp(1, PARTITIONS as u64);
        let count = usize::try_from(needed).expect("at most 256");
        (0..count).map(|index| Self { index, count }).collect()
    }

    /// Whether keys with this fingerprint belong to the round.
    pub fn keeps(self, fingerprint: u128) -> bool {
        partition_of(fingerprint) % self.count == self.index
    }
}

fn partition_of(fingerprint: u128) -> usize {
    usize::from(fingerprint.to_le_bytes()[0])
}

/// Of bits that are the key's whatever a fingerprint's upper ones are.
fn hash_of(fingerprint: u128) -> u64 {
    u64::from_le_bytes(fingerprint.to_le_bytes()[4..12].try_into().expect("eight bytes"))
}

/// Entries that one task has read, of however many files: what it takes follows the entries, not the files.
#[derive(Debug)]
pub struct Collector {
    partitions: Vec<Vec<Vec<Entry>>>,
}

impl Default for Collector {
    fn default() -> Self {
        Self { partitions: (0..PARTITIONS).map(|_| Vec::new()).collect() }
    }
}

impl Collector {
    /// Adds a row.
    pub fn push(&mut self, fingerprint: u128, rank: u64, at: RowAddress) {
        let chunks = &mut self.partitions[partition_of(fingerprint)];
        if chunks.last().is_none_or(|chunk| chunk.len() == chunk.capacity()) {
            let entries = chunks.iter().map(Vec::len).take(CHUNK_ENTRIES_MAX / CHUNK_ENTRIES_MIN).sum::<usize>();
            chunks.push(Vec::with_capacity(entries.clamp(CHUNK_ENTRIES_MIN, CHUNK_ENTRIES_MAX)));
        }
        chunks.last_mut().expect("pushed above").push(Entry { fingerprint, rank, at });
    }

    /// Entries that there is room for.
    #[cfg(test)]
    fn capacity(&self) -> usize {
        self.partitions.iter().flatten().map(Vec::capacity).sum()
    }
}

/// Whole ranks of rows for orders that a word cannot hold, by file and in order of rows.
#[derive(Debug, Default)]
pub struct RankBytes {
    files: Vec<Mutex<Vec<(u64, Rows)>>>,
}

impl RankBytes {
    /// Room for the ranks of this many files.
    pub fn new(files: usize) -> Self {
        Self { files: (0..files).map(|_| Mutex::default()).collect() }
    }

    /// Keeps the ranks of rows of a file that start at `first_row`.
    pub fn push(&self, file: usize, first_row: u64, rows: Rows) {
        self.files[file].lock().expect("no holder panics").push((first_row, rows));
    }

    /// Bytes held.
    pub fn size(&self) -> u64 {
        let rows = |file: &Mutex<Vec<(u64, Rows)>>| -> u64 {
            file.lock().expect("no holder panics").iter().map(|(_, rows)| rows.size() as u64).sum()
        };
        self.files.iter().map(rows).sum()
    }

    /// Calls `with` with the rank of a row; `None` where a word is enough.
    fn with<T>(&self, at: RowAddress, with: impl FnOnce(Option<&[u8]>) -> T) -> T {
        let Some(file) = self.files.get(at.file()) else { return with(None) };
        let batches = file.lock().expect("no holder panics");
        let batch = batches.partition_point(|(first_row, _)| *first_row <= at.row());
        let Some((first_row, rows)) = batch.checked_sub(1).map(|batch| &batches[batch]) else { return with(None) };
        let row = usize::try_from(at.row() - first_row).expect("a row of a batch in memory");
        let bytes = rows.row(row).as_ref().to_vec();
        drop(batches);
        with(Some(&bytes))
    }
}

/// One row for each key.
#[derive(Debug)]
pub struct Winners {
    partitions: Vec<Partition>,
    tags: Tags,
}

#[derive(Debug, Default)]
struct Partition {
    entries: Vec<Entry>,
    index: HashTable<u32>,
    /// Rows of keys that several tenants have.
    conflicts: Vec<RowAddress>,
}

/// Finds the winner of every key; all other rows get the verdict duplicate. Of rows that rank alike the first by file and
/// row number wins, so that every run picks the same. A key that several tenants have has no winner: all of its rows are
/// invalid.
pub fn resolve(
    collectors: Vec<Collector>,
    ranks: &RankBytes,
    verdicts: &Verdicts,
    tags: Tags,
    threads: usize,
) -> Winners {
    let mut gathered: Vec<Vec<Vec<Entry>>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for collector in collectors {
        for (all, chunks) in gathered.iter_mut().zip(collector.partitions) {
            all.extend(chunks);
        }
    }
    let work: Vec<Mutex<Vec<Vec<Entry>>>> = gathered.into_iter().map(Mutex::new).collect();
    let done: Vec<Mutex<Partition>> = (0..PARTITIONS).map(|_| Mutex::default()).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let partition = next.fetch_add(1, Ordering::Relaxed);
                    let Some(chunks) = work.get(partition) else { break };
                    let chunks = std::mem::take(&mut *chunks.lock().expect("no holder panics"));
                    *done[partition].lock().expect("no holder panics") =
                        resolve_partition(&chunks, ranks, verdicts, tags);
                }
            });
        }
    });
    let partitions = done.into_iter().map(|partition| partition.into_inner().expect("no holder panics")).collect();
    Winners { partitions, tags }
}

fn resolve_partition(chunks: &[Vec<Entry>], ranks: &RankBytes, verdicts: &Verdicts, tags: Tags) -> Partition {
    let rows = chunks.iter().map(Vec::len).sum();
    let mut partition =
        Partition { entries: Vec::with_capacity(rows), index: HashTable::with_capacity(rows), conflicts: Vec::new() };
    let mut contested: HashSet<u128> = HashSet::new();
    for entry in chunks.iter().flatten().copied() {
        let Partition { entries, index, .. } = &mut partition;
        let (hash, key) = (hash_of(entry.fingerprint), tags.key(entry.fingerprint));
        let found = index.find(hash, |place| tags.key(entries[*place as usize].fingerprint) == key).copied();
        let Some(place) = found else {
            partition.add(entry);
            continue;
        };
        let winner = &mut entries[place as usize];
        if tags.conflict(entry.fingerprint, winner.fingerprint) {
            contested.insert(key);
        }
        let loser = if beats(&entry, winner, ranks) { std::mem::replace(winner, entry) } else { entry };
        winner.fingerprint = tags.inherit(winner.fingerprint, loser.fingerprint);
        verdicts.set(loser.at, Verdict::Duplicate);
    }
    if !contested.is_empty() {
        let is_contested = |entry: &Entry| contested.contains(&tags.key(entry.fingerprint));
        let conflicts = chunks.iter().flatten().filter(|entry| is_contested(entry));
        let mut clean = Partition { conflicts: conflicts.map(|entry| entry.at).collect(), ..Partition::default() };
        clean.conflicts.iter().for_each(|at| _ = verdicts.set(*at, Verdict::Invalid));
        partition.entries.into_iter().filter(|entry| !is_contested(entry)).for_each(|entry| clean.add(entry));
        partition = clean;
    }
    partition.entries.shrink_to_fit();
    partition
}

impl Partition {
    fn add(&mut self, entry: Entry) {
        let place = u32::try_from(self.entries.len()).expect("a partition holds fewer than 2^32 rows");
        self.entries.push(entry);
        let entries = &self.entries;
        let hash = |place: &u32| hash_of(entries[*place as usize].fingerprint);
        self.index.insert_unique(hash_of(entry.fingerprint), place, hash);
    }
}

fn beats(challenger: &Entry, holder: &Entry, ranks: &RankBytes) -> bool {
    let by_rank =
        ranks.with(challenger.at, |a| ranks.with(holder.at, |b| compare_ranks((challenger.rank, a), (holder.rank, b))));
    by_rank.then_with(|| holder.at.position().cmp(&challenger.at.position())).is_gt()
}

/// A winner with a certain key.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Its place.
    pub at: RowAddress,
    /// How its rank compares to the one that was given.
    pub ordering: std::cmp::Ordering,
    /// It is one tenant's and the fingerprint that was given another's.
    pub is_of_another_tenant: bool,
}

impl Winners {
    /// The winner with this key, and how its rank compares to a given one.
    pub fn find(&self, fingerprint: u128, rank: (u64, Option<&[u8]>), ranks: &RankBytes) -> Option<Found> {
        let partition = &self.partitions[partition_of(fingerprint)];
        let key = self.tags.key(fingerprint);
        let place = partition
            .index
            .find(hash_of(fingerprint), |place| self.tags.key(partition.entries[*place as usize].fingerprint) == key)?;
        let entry = &partition.entries[*place as usize];
        let ordering = ranks.with(entry.at, |bytes| compare_ranks((entry.rank, bytes), rank));
        let is_of_another_tenant = self.tags.conflict(entry.fingerprint, fingerprint);
        Some(Found { at: entry.at, ordering, is_of_another_tenant })
    }

    /// Rows of keys that several tenants have.
    pub fn conflicts(&self) -> impl Iterator<Item = RowAddress> {
        self.partitions.iter().flat_map(|partition| &partition.conflicts).copied()
    }

    /// Places of all winners.
    pub fn iter(&self) -> impl Iterator<Item = RowAddress> {
        self.partitions.iter().flat_map(|partition| partition.entries.iter().map(|entry| entry.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_follows_the_entries() {
        let mut collector = Collector::default();
        let mut pushed = 0;
        for (entries, room_max) in [(1, 8), (256, 4 * 256 * 8), (100_000, 200_000 + 256 * 8), (1_000_000, 1_300_000)] {
            while pushed < entries {
                collector.push(u128::from(pushed as u64), 0, RowAddress::new(0, pushed as u64, false));
                pushed += 1;
            }
            let room = collector.capacity();
            assert!((entries..=room_max).contains(&room), "{room} for {entries}");
        }
    }
}
