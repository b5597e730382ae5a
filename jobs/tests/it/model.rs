//! What a table holds after random batches, in forty lines: nothing of how the program does it.

use std::collections::BTreeMap;

/// A raw row. `rank` is its place in the winner order; a missing one never wins.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The key; a row without one is invalid.
    pub key: Option<u8>,
    /// Event time: a day, and so a partition.
    pub day: u8,
    /// At most [`VALUE_MAX`], or the row is invalid.
    pub value: u8,
    /// Larger is newer.
    pub rank: Option<u8>,
    /// The row says that its key is gone.
    pub is_delete: bool,
}

/// Largest valid value.
pub const VALUE_MAX: u8 = 2;

/// Outcomes in the order of the report.
pub const OUTCOMES: [&str; 7] = ["read", "invalid", "duplicate", "stale", "unchanged", "inserted", "updated"];

/// The table, and the deletions it remembers.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Rows by key.
    pub rows: BTreeMap<u8, Row>,
    gone: BTreeMap<u8, Option<u8>>,
}

impl Model {
    /// Merges a batch, its rows in the order of file and row number, and counts outcomes.
    pub fn apply(&mut self, batch: &[Row]) -> BTreeMap<&'static str, u64> {
        let mut counts: BTreeMap<_, _> = OUTCOMES.map(|outcome| (outcome, 0)).into();
        let mut count = |outcome| *counts.entry(outcome).or_default() += 1;
        let mut winners: BTreeMap<u8, &Row> = BTreeMap::new();
        for row in batch {
            count("read");
            match row.key {
                Some(key) if row.value <= VALUE_MAX => match winners.get(&key) {
                    Some(other) => {
                        count("duplicate");
                        if row.rank > other.rank {
                            winners.insert(key, row);
                        }
                    }
                    None => drop(winners.insert(key, row)),
                },
                _ => count("invalid"),
            }
        }
        for (key, row) in winners {
            let (there, gone) = (self.rows.get(&key), self.gone.get(&key));
            let is_newer = there.map(|there| row.rank > there.rank).or(gone.map(|gone| row.rank > *gone));
            count(match (is_newer.unwrap_or(true), row.is_delete, there) {
                (true, true, Some(_)) | (true, false, Some(_)) => "updated",
                (true, true, None) => "unchanged",
                (true, false, None) => "inserted",
                (false, true, None) if gone == Some(&row.rank) => "unchanged",
                (false, false, Some(there)) if there == row => "unchanged",
                (false, ..) => "stale",
            });
            if is_newer.unwrap_or(true) {
                self.rows.remove(&key);
                self.gone.remove(&key);
                if row.is_delete {
                    self.gone.insert(key, row.rank);
                } else {
                    self.rows.insert(key, row.clone());
                }
            }
        }
        counts
    }
}
