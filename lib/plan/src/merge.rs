//! How a merge changes each file that it touches: written again, or marked by position deletes.

use std::fmt;

use contract::MergeMode;
use serde::{Deserialize, Serialize};

/// What is known of one live data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its path, as the manifest has it.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Rows in it, dead or alive.
    pub rows: u64,
    /// How many of them deletes hide already.
    pub dead_rows: u64,
    /// Position delete files that apply to it.
    pub delete_files: u64,
    /// How many of its live rows the merge updates or deletes.
    pub touched_rows: u64,
}

/// In [`MergeMode::Auto`], a file of which at least this share is dead after the merge is written again: below it a
/// position delete costs readers less than a rewrite costs the writer.
pub const DEAD_SHARE_MAX: f64 = 0.1;

/// In [`MergeMode::Auto`], a file with fewer bytes is written again: that costs no more than a delete file does.
pub const REWRITE_BYTES_MIN: u64 = 1 << 20;

/// In [`MergeMode::Auto`], a file to which this many position delete files apply is written again, so that a reader
/// never has to open more of them.
pub const DELETE_FILES_MAX: u64 = 8;

/// What happens to one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDecision {
    /// The file.
    pub path: String,
    /// What happens to it.
    pub action: Action,
    /// Why.
    pub reason: String,
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Its rows are written again with the changes in place; the file leaves the table.
    Rewrite,
    /// The file stays, its touched rows are marked as deleted and the new versions are added beside it.
    PositionDelete,
    /// Nothing.
    Untouched,
}

/// Decides for each file, in the order given.
pub fn decide(mode: MergeMode, files: &[FileFacts]) -> Vec<FileDecision> {
    files
        .iter()
        .map(|file| {
            let (action, reason) = decide_file(mode, file);
            FileDecision { path: file.path.clone(), action, reason }
        })
        .collect()
}

fn decide_file(mode: MergeMode, file: &FileFacts) -> (Action, String) {
    if file.touched_rows == 0 {
        return (Action::Untouched, "no row of it changes".to_owned());
    }
    let touched = format!("{} of {} rows change", file.touched_rows, file.rows);
    match mode {
        MergeMode::CopyOnWrite => (Action::Rewrite, format!("{touched}; the contract says copy-on-write")),
        MergeMode::MergeOnRead => (Action::PositionDelete, format!("{touched}; the contract says merge-on-read")),
        MergeMode::Auto => decide_by_cost(file, &touched),
    }
}

fn decide_by_cost(file: &FileFacts, touched: &str) -> (Action, String) {
    let dead_share = (file.dead_rows + file.touched_rows) as f64 / file.rows.max(1) as f64;
    let limit = format!("{:.0} %", DEAD_SHARE_MAX * 100.0);
    let dead = match file.dead_rows {
        0 => touched.to_owned(),
        before => format!("{touched}, {before} were deleted before"),
    };
    if file.bytes < REWRITE_BYTES_MIN {
        return (Action::Rewrite, format!("{touched}; it is smaller than {} MiB", REWRITE_BYTES_MIN >> 20));
    }
    if dead_share >= DEAD_SHARE_MAX {
        return (Action::Rewrite, format!("{dead}: {limit} or more"));
    }
    if file.delete_files >= DELETE_FILES_MAX {
        return (Action::Rewrite, format!("{touched}; it has {} delete files already", file.delete_files));
    }
    (Action::PositionDelete, format!("{dead}: less than {limit}"))
}

impl fmt::Display for FileDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let action = match self.action {
            Action::Rewrite => "rewrite",
            Action::PositionDelete => "position delete",
            Action::Untouched => "leave",
        };
        write!(f, "{action} {}: {}", self.path, self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: u64 = 64 << 20;

    fn decisions(mode: MergeMode) -> String {
        let files = [
            ("none", BIG, 100, 0, 0, 0),
            ("few", BIG, 100, 0, 0, 9),
            ("limit", BIG, 100, 0, 0, 10),
            ("all", BIG, 100, 0, 0, 100),
            ("small", REWRITE_BYTES_MIN - 1, 100, 0, 0, 1),
            ("just-big", REWRITE_BYTES_MIN, 100, 0, 0, 1),
            ("half-dead", BIG, 100, 5, 1, 5),
            ("a-little-dead", BIG, 100, 5, 1, 4),
            ("often-hit", BIG, 1000, 7, DELETE_FILES_MAX - 1, 1),
            ("too-often-hit", BIG, 1000, 8, DELETE_FILES_MAX, 1),
        ];
        let files: Vec<_> = files
            .into_iter()
            .map(|(path, bytes, rows, dead_rows, delete_files, touched_rows)| FileFacts {
                path: path.to_owned(),
                bytes,
                rows,
                dead_rows,
                delete_files,
                touched_rows,
            })
            .collect();
        decide(mode, &files).iter().map(|decision| format!("{decision}\n")).collect()
    }

    #[test]
    fn auto_weighs_readers_against_the_writer() {
        insta::assert_snapshot!(decisions(MergeMode::Auto), @"
        leave none: no row of it changes
        position delete few: 9 of 100 rows change: less than 10 %
        rewrite limit: 10 of 100 rows change: 10 % or more
        rewrite all: 100 of 100 rows change: 10 % or more
        rewrite small: 1 of 100 rows change; it is smaller than 1 MiB
        position delete just-big: 1 of 100 rows change: less than 10 %
        rewrite half-dead: 5 of 100 rows change, 5 were deleted before: 10 % or more
        position delete a-little-dead: 4 of 100 rows change, 5 were deleted before: less than 10 %
        position delete often-hit: 1 of 1000 rows change, 7 were deleted before: less than 10 %
        rewrite too-often-hit: 1 of 1000 rows change; it has 8 delete files already
        ");
    }

    #[test]
    fn the_contract_decides_otherwise() {
        insta::assert_snapshot!(decisions(MergeMode::MergeOnRead), @"
        leave none: no row of it changes
        position delete few: 9 of 100 rows change; the contract says merge-on-read
        position delete limit: 10 of 100 rows change; the contract says merge-on-read
        position delete all: 100 of 100 rows change; the contract says merge-on-read
        position delete small: 1 of 100 rows change; the contract says merge-on-read
        position delete just-big: 1 of 100 rows change; the contract says merge-on-read
        position delete half-dead: 5 of 100 rows change; the contract says merge-on-read
        position delete a-little-dead: 4 of 100 rows change; the contract says merge-on-read
        position delete often-hit: 1 of 1000 rows change; the contract says merge-on-read
        position delete too-often-hit: 1 of 1000 rows change; the contract says merge-on-read
        ");
        let rewritten = decisions(MergeMode::CopyOnWrite);
        assert_eq!(rewritten.matches("rewrite ").count(), 9, "{rewritten}");
        assert!(
            rewritten.contains("rewrite few: 9 of 100 rows change; the contract says copy-on-write"),
            "{rewritten}"
        );
    }
}
