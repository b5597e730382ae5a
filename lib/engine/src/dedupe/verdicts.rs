//! What became of every raw row: one byte each, so that a run can account for all of them before it commits.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;

use crate::{Error, Result};

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Not decided yet. A row that still is when the run ends breaks the balance.
    Pending = 0,
    /// Breaks a rule of severity error.
    Invalid = 1,
    /// Another row of the batch with the same key won.
    Duplicate = 2,
    /// The table holds a newer row.
    Stale = 3,
    /// The table holds the same row, or a deletion found nothing to delete.
    Unchanged = 4,
    /// A new key.
    Insert = 5,
    /// Replaces the table's row.
    Update = 6,
    /// Removes the table's row.
    Delete = 7,
    /// Found in the table; how it compares is still open.
    Matched = 8,
}

impl Verdict {
    fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Invalid,
            2 => Self::Duplicate,
            3 => Self::Stale,
            4 => Self::Unchanged,
            5 => Self::Insert,
            6 => Self::Update,
            7 => Self::Delete,
            8 => Self::Matched,
            _ => Self::Pending,
        }
    }
}

/// Where a raw row lies: its file's index in the interval, its number in the file, and whether it asks for deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowAddress(u64);

const ROW_BITS: u32 = 40;
const DELETE_BIT: u64 = 1 << 63;

impl RowAddress {
    /// Files per interval and rows per file that an address can hold.
    pub const FILES_MAX: usize = 1 << 23;

    /// The address of a row.
    pub fn new(file: usize, row: u64, is_delete: bool) -> Self {
        debug_assert!(file < Self::FILES_MAX && row < 1 << ROW_BITS);
        Self((file as u64) << ROW_BITS | row | if is_delete { DELETE_BIT } else { 0 })
    }

    /// Index of the file.
    pub fn file(self) -> usize {
        usize::try_from((self.0 & !DELETE_BIT) >> ROW_BITS).expect("made from a usize")
    }

    /// Number of the row in its file.
    pub fn row(self) -> u64 {
        self.0 & ((1 << ROW_BITS) - 1)
    }

    /// Whether the row asks for deletion.
    pub fn is_delete(self) -> bool {
        self.0 & DELETE_BIT != 0
    }

    /// File and row, for comparing addresses by position alone.
    pub fn position(self) -> u64 {
        self.0 & !DELETE_BIT
    }
}

/// The verdicts of all rows of an interval.
#[derive(Debug)]
pub struct Verdicts {
    files: Vec<Vec<AtomicU8>>,
}

/// How the rows of a run add up: `read = invalid + duplicate + stale + unchanged + inserted + updated`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Balance {
    /// Rows read.
    pub read: u64,
    /// Rows that break a rule; they are in quarantine.
    pub invalid: u64,
    /// Rows that lost against another of the batch.
    pub duplicate: u64,
    /// Rows older than the table's.
    pub stale: u64,
    /// Rows that the table already holds.
    pub unchanged: u64,
    /// Rows with a new key.
    pub inserted: u64,
    /// Rows that replaced or deleted the table's.
    pub updated: u64,
    /// Of the updated ones, those that deleted.
    pub deleted: u64,
}

impl Balance {
    /// Whether the table stays as it is.
    pub fn is_noop(&self) -> bool {
        self.inserted + self.updated == 0
    }
}

impl Verdicts {
    /// All rows pending; `rows` per file.
    pub fn new(rows: impl IntoIterator<Item = u64>) -> Self {
        let pending = |rows: u64| (0..rows).map(|_| AtomicU8::new(Verdict::Pending as u8)).collect();
        Self { files: rows.into_iter().map(pending).collect() }
    }

    /// Sets a row's verdict and returns what it was.
    pub fn set(&self, at: RowAddress, verdict: Verdict) -> Verdict {
        let row = usize::try_from(at.row()).expect("a row of a file in memory");
        Verdict::from_byte(self.files[at.file()][row].swap(verdict as u8, Ordering::Relaxed))
    }

    /// A row's verdict.
    pub fn get(&self, file: usize, row: u64) -> Verdict {
        let row = usize::try_from(row).expect("a row of a file in memory");
        Verdict::from_byte(self.files[file][row].load(Ordering::Relaxed))
    }

    /// How many rows of a file have one of these verdicts.
    pub fn count(&self, file: usize, wanted: &[Verdict]) -> u64 {
        let mut counts = [0_u64; 9];
        for verdict in &self.files[file] {
            counts[usize::from(verdict.load(Ordering::Relaxed)).min(8)] += 1;
        }
        wanted.iter().map(|verdict| counts[*verdict as usize]).sum()
    }

    /// Rows of a file.
    pub fn rows(&self, file: usize) -> u64 {
        self.files[file].len() as u64
    }

    /// Adds everything up. A row without a final verdict is an error: there is no balance that does not hold.
    pub fn balance(&self) -> Result<Balance> {
        let mut balance = Balance::default();
        for file in 0..self.files.len() {
            let count = |verdict| self.count(file, &[verdict]);
            balance.read += self.rows(file);
            balance.invalid += count(Verdict::Invalid);
            balance.duplicate += count(Verdict::Duplicate);
            balance.stale += count(Verdict::Stale);
            balance.unchanged += count(Verdict::Unchanged);
            balance.inserted += count(Verdict::Insert);
            balance.updated += count(Verdict::Update) + count(Verdict::Delete);
            balance.deleted += count(Verdict::Delete);
        }
        let Balance { read, invalid, duplicate, stale, unchanged, inserted, updated, .. } = balance;
        let accounted = invalid + duplicate + stale + unchanged + inserted + updated;
        if accounted != read {
            return Err(Error::Balance { read, accounted });
        }
        Ok(balance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_without_a_verdict_breaks_the_balance() {
        let verdicts = Verdicts::new([2, 1]);
        verdicts.set(RowAddress::new(0, 0, false), Verdict::Insert);
        verdicts.set(RowAddress::new(0, 1, true), Verdict::Delete);
        let error = verdicts.balance().unwrap_err();
        assert_eq!(error.to_string(), "row balance broken: read 3, accounted for 2; nothing was committed");
        verdicts.set(RowAddress::new(1, 0, false), Verdict::Stale);
        assert_eq!(verdicts.balance().unwrap().deleted, 1);
    }

    #[test]
    fn an_address_keeps_file_row_and_deletion() {
        let at = RowAddress::new(4_000_000, (1 << 40) - 1, true);
        assert_eq!((at.file(), at.row(), at.is_delete()), (4_000_000, (1 << 40) - 1, true));
        assert!(!RowAddress::new(1, 2, false).is_delete());
    }
}
