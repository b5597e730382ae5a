//! What no run has taken: the raw zone as it lies there, held against what the ledger remembers and what it has forgotten.

use std::collections::{BTreeMap, BTreeSet};

use contract::Duration;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde::{Deserialize, Serialize};

use crate::{
    Interval,
    dedupe::{PartitionMark, RawFile},
};

/// What the ledger may have known of raw partitions that it has no mark of any more.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgotten {
    /// No older partition was forgotten; `None` where that is not known.
    pub from: Option<Timestamp>,
    /// Partitions before this one were; `None` while none was.
    pub before: Option<Timestamp>,
    /// So were some from this one on, whose time had not come yet.
    pub after: Option<Timestamp>,
    /// What the last run that looked at the whole raw zone has seen there.
    pub seen: Option<Seen>,
}

/// What lay in a raw zone when a run looked at all of it. Every file of it was taken, or named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When the run looked.
    pub at: Timestamp,
    /// When the newest of the files was written.
    pub until: Timestamp,
    /// How many files lay in the partitions of each month: `2025-06`, in UTC.
    pub files: BTreeMap<String, u64>,
}

impl Forgotten {
    /// Whether a partition without a mark may have been applied.
    pub fn has(&self, start: Timestamp) -> bool {
        let is_old = self.before.is_some_and(|before| start < before && self.from.is_none_or(|from| from <= start));
        is_old || self.after.is_some_and(|after| after <= start)
    }
}

/// What the ledger says of the raw zone.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// Marks of raw partitions, by their start.
    pub marks: BTreeMap<Timestamp, PartitionMark>,
    /// What was forgotten.
    pub forgotten: Forgotten,
    /// When the oldest run was committed that the ledger still knows.
    pub oldest_run: Option<Timestamp>,
}

impl Memory {
    /// From which partition on a look is enough: of a large raw zone of which all was seen within a day, from where files
    /// still arrive as usual. `None` for all of it.
    pub fn look_from(&self, lateness: Option<Duration>, now: Timestamp) -> Option<Timestamp> {
        let seen = self.forgotten.seen.as_ref()?;
        let is_large = seen.files.values().sum::<u64>() > SMALL_FILES_MAX;
        let is_fresh = seen.at <= now && now.duration_since(seen.at) < WHOLE_LOOK_EVERY;
        if is_large && is_fresh { window_start(&self.marks, lateness, now) } else { None }
    }
}

/// Sorts raw files by whether a run has taken them, while they are listed.
#[derive(Debug)]
pub struct PendingFiles {
    memory: Memory,
    is_keyed: bool,
    window_start: Option<Timestamp>,
    /// Files of a partition come after each other.
    is_contiguous: bool,
    now: Timestamp,
    current: Option<Timestamp>,
    marked: BTreeMap<Timestamp, Vec<RawFile>>,
    found: Found,
    files: BTreeMap<String, u64>,
    files_seen_then: BTreeMap<String, i64>,
    newest: Option<Timestamp>,
    late: Vec<RawFile>,
}

/// What lies in the raw zone, as far as a run has to know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Files of partitions in which something is new, with those beside them that are not.
    pub files: Vec<RawFile>,
    /// Further files; they are in the table.
    pub settled: u64,
    /// Partitions that the ledger has forgotten, in which late files lie that are to be taken. `files` has none of theirs.
    pub late: BTreeSet<Interval>,
    /// Late files that are not taken, oldest partition first: too many, or of a table without a key.
    pub named: Vec<RawFile>,
    /// Months with more files than were seen there, although none of them is younger; and how many.
    pub grown: BTreeMap<String, u64>,
    /// For the ledger.
    pub seen: Option<Seen>,
}

/// Late files that are taken from partitions that the ledger has forgotten. More of them are no late files: somebody has
/// copied the raw zone, or moved it to another storage class.
pub const LATE_FILES_MAX: usize = 1_000;

/// A raw zone of no more files is looked at as a whole each time: that is 20 requests on S3.
const SMALL_FILES_MAX: u64 = 20_000;

/// All of a larger one is looked at so often.
const WHOLE_LOOK_EVERY: SignedDuration = SignedDuration::from_hours(24);

/// Where nothing else is declared, a partition is late after this.
const LATENESS_DEFAULT: SignedDuration = SignedDuration::from_hours(24);

/// Partitions may be ahead of the clock by as much as zones are apart, and a little more.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(48);

/// The start of the time in which files still arrive as usual: so long before the newest applied partition whose time has
/// come. `None` when nothing was applied.
pub fn window_start(
    marks: &BTreeMap<Timestamp, PartitionMark>,
    lateness: Option<Duration>,
    now: Timestamp,
) -> Option<Timestamp> {
    let newest = *marks.range(..=has_come(now)).next_back()?.0;
    let lateness = lateness.map_or(LATENESS_DEFAULT, |lateness| {
        SignedDuration::from_secs(lateness.seconds.try_into().unwrap_or(i64::MAX))
    });
    Some(newest.checked_sub(lateness).unwrap_or(Timestamp::MIN))
}

fn has_come(now: Timestamp) -> Timestamp {
    now.checked_add(AHEAD_MAX).unwrap_or(Timestamp::MAX)
}

impl PendingFiles {
    /// Nothing is listed yet. `is_contiguous` says that the files of a partition will come after each other.
    pub fn new(
        memory: Memory,
        lateness: Option<Duration>,
        is_keyed: bool,
        is_contiguous: bool,
        now: Timestamp,
    ) -> Self {
        Self {
            window_start: window_start(&memory.marks, lateness, now),
            memory,
            is_keyed,
            is_contiguous,
            now,
            current: None,
            marked: BTreeMap::new(),
            found: Found::default(),
            files: BTreeMap::new(),
            files_seen_then: BTreeMap::new(),
            newest: None,
            late: Vec::new(),
        }
    }

    /// Takes note of a file and its partition.
    pub fn see(&mut self, file: RawFile) {
        let Some(arrival) = file.arrival else { return };
        let start = arrival.start();
        if self.is_contiguous && self.current != Some(start) {
            self.settle_all();
        }
        self.current = Some(start);
        self.count(&file, start);
        if self.memory.marks.contains_key(&start) {
            self.marked.entry(start).or_default().push(file);
        } else if !self.memory.forgotten.has(start) {
            self.uncount(start, &[&file]);
            self.found.files.push(file);
        } else if self.is_late(&file) {
            self.late.push(file);
        } else {
            self.found.settled += 1;
        }
    }

    /// What was found, when only a part was listed: nobody knows what lies in the rest.
    pub fn finish_part(self) -> Found {
        Found { grown: BTreeMap::new(), seen: None, ..self.finish() }
    }

    /// What was found, when all was listed.
    pub fn finish(mut self) -> Found {
        self.settle_all();
        let mut found = self.found;
        if self.is_keyed && self.late.len() <= LATE_FILES_MAX {
            found.late = self.late.iter().filter_map(|file| file.arrival).collect();
        } else {
            found.named = self.late;
            found.named.sort_by(|a, b| (a.arrival, &a.key).cmp(&(b.arrival, &b.key)));
        }
        if self.memory.forgotten.before.is_some() {
            let grown = self
                .files_seen_then
                .into_iter()
                .filter_map(|(month, more)| Some((month, u64::try_from(more).ok().filter(|more| *more > 0)?)));
            found.grown = grown.collect();
        }
        found.seen = self.newest.map(|until| Seen { at: self.now, until, files: self.files });
        found
    }

    fn count(&mut self, file: &RawFile, start: Timestamp) {
        let month = month(start);
        if let Some(seen) = &self.memory.forgotten.seen {
            let then = self
                .files_seen_then
                .entry(month.clone())
                .or_insert_with(|| -seen.files.get(&month).copied().unwrap_or(0).cast_signed());
            *then += i64::from(file.modified <= seen.until);
        }
        *self.files.entry(month).or_default() += 1;
        self.newest = self.newest.max(Some(file.modified));
    }

    /// Files that are known to be new, whenever they were written: their month has not grown unseen.
    fn uncount(&mut self, start: Timestamp, files: &[&RawFile]) {
        if let Some(seen) = &self.memory.forgotten.seen {
            let old = files.iter().filter(|file| file.modified <= seen.until).count();
            *self.files_seen_then.entry(month(start)).or_default() -= i64::try_from(old).unwrap_or(i64::MAX);
        }
    }

    /// Whether a file of a partition that is no longer remembered was written after it was.
    fn is_late(&self, file: &RawFile) -> bool {
        let until = self.memory.forgotten.seen.as_ref().map(|seen| seen.until).or(self.memory.oldest_run);
        until.is_some_and(|until| until < file.modified)
    }

    fn settle_all(&mut self) {
        for (start, files) in std::mem::take(&mut self.marked) {
            self.settle(start, files);
        }
    }

    /// Holds all files of a partition against its mark.
    fn settle(&mut self, start: Timestamp, files: Vec<RawFile>) {
        let applied = match self.memory.marks.get(&start) {
            Some(mark) => mark.applied(&files.iter().collect::<Vec<_>>()).len(),
            None => 0,
        };
        if applied == files.len() {
            self.found.settled += files.len() as u64;
            return;
        }
        let is_in_window = self.window_start.is_none_or(|since| since <= start) && start <= has_come(self.now);
        if applied == 0 && !is_in_window {
            // Files that are older than what people keep go one by one: what is left of them is in the table.
            let (late, rest): (Vec<_>, Vec<_>) = files.into_iter().partition(|file| self.is_late(file));
            match (late.is_empty(), self.is_keyed) {
                (true, _) => self.found.settled += rest.len() as u64,
                (false, true) => self.found.files.extend(late.into_iter().chain(rest)),
                (false, false) => {
                    self.found.settled += rest.len() as u64;
                    self.late.extend(late);
                }
            }
            return;
        }
        self.uncount(start, &PartitionMark::new_files(self.memory.marks.get(&start), &files));
        self.found.files.extend(files);
    }
}

fn month(start: Timestamp) -> String {
    let date = start.to_zoned(TimeZone::UTC).date();
    format!("{:04}-{:02}", date.year(), date.month())
}

#[cfg(test)]
mod tests;
