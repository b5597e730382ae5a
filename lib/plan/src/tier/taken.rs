//! Whether the rows of raw files are in the table, by its ledger.

use std::collections::BTreeMap;

use contract::Duration;
use jiff::Timestamp;

use crate::dedupe::{Forgotten, PartitionMark, RawFile, window_start};

/// Whether the rows of a raw file are in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// They are, and so are those of the files beside it.
    Yes,
    /// They are, and files still arrive in its partition as usual.
    LookedAtAgain,
    /// They are, and those of another file of its partition are not.
    Beside,
    /// They are not.
    No,
    /// The ledger remembers no partition that old: they may be, or not.
    Forgotten,
}

/// What a ledger knows of raw partitions.
#[derive(Debug, Clone, Default)]
pub struct Partitions {
    /// What it says of each, by its start.
    pub marks: BTreeMap<Timestamp, PartitionMark>,
    /// What it may have known of partitions without a mark.
    pub forgotten: Forgotten,
    /// How long after their time files of a partition still arrive as usual.
    pub lateness: Option<Duration>,
    /// The time.
    pub now: Timestamp,
    /// A person has said that what the ledger has forgotten is in the table.
    pub forgotten_is_taken: bool,
}

impl Partitions {
    /// For each of the files whether it is taken. Files of one partition must be given together, all that it has.
    pub fn taken(&self, files: &[RawFile]) -> Vec<Taken> {
        let mut by_partition: BTreeMap<Option<Timestamp>, Vec<&RawFile>> = BTreeMap::new();
        for file in files {
            by_partition.entry(file.arrival.map(|arrival| arrival.start())).or_default().push(file);
        }
        let mut taken: BTreeMap<&str, Taken> = BTreeMap::new();
        for (start, files) in by_partition {
            let applied = match start.and_then(|start| self.marks.get(&start)) {
                Some(mark) => mark.applied(&files),
                None => Vec::new(),
            };
            let is_whole = applied.len() == files.len();
            for file in files {
                let is_applied = applied.iter().any(|other| other.key == file.key);
                taken.insert(&file.key, self.one(start, is_applied, is_whole));
            }
        }
        files.iter().map(|file| taken.get(file.key.as_str()).copied().unwrap_or(Taken::No)).collect()
    }

    fn one(&self, start: Option<Timestamp>, is_applied: bool, is_whole: bool) -> Taken {
        let Some(start) = start else { return Taken::No };
        let is_forgotten = !self.marks.contains_key(&start) && self.forgotten.has(start);
        let is_looked_at = window_start(&self.marks, self.lateness, self.now).is_some_and(|since| since <= start);
        match (is_applied, is_whole) {
            (false, _) if is_forgotten && self.forgotten_is_taken => Taken::Yes,
            (false, _) if is_forgotten => Taken::Forgotten,
            (false, _) => Taken::No,
            (true, false) => Taken::Beside,
            (true, true) if is_looked_at => Taken::LookedAtAgain,
            (true, true) => Taken::Yes,
        }
    }
}
