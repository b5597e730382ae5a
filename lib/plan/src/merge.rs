//! How a merge changes each file that it touches: written again, or marked by position deletes.

use std::fmt;

use contract::MergeMode;
use serde::{Deserialize, Serialize};

/// What is known of one live data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// Its path, as the manifest has it.
    pub path: String,
    /// Live rows in it, without those that deletes hide.
    pub rows: u64,
    /// How many of them the merge updates or deletes.
    pub touched_rows: u64,
}

/// What decides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Policy {
    /// What the contract says.
    pub mode: MergeMode,
    /// Whether position deletes can be written. Without it everything is copy-on-write.
    pub position_deletes_allowed: bool,
    /// In [`MergeMode::Auto`], a file of which at least this share is touched is written again. Between 0 and 1.
    pub rewrite_share_min: f64,
}

impl Policy {
    /// Copy-on-write only.
    pub const COPY_ON_WRITE: Self =
        Self { mode: MergeMode::CopyOnWrite, position_deletes_allowed: false, rewrite_share_min: REWRITE_SHARE_MIN };
}

/// Below this share of touched rows a position delete costs readers less than a rewrite costs the writer.
pub const REWRITE_SHARE_MIN: f64 = 0.1;

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
pub fn decide(policy: &Policy, files: &[FileFacts]) -> Vec<FileDecision> {
    files
        .iter()
        .map(|file| {
            let (action, reason) = decide_file(policy, file);
            FileDecision { path: file.path.clone(), action, reason }
        })
        .collect()
}

fn decide_file(policy: &Policy, file: &FileFacts) -> (Action, String) {
    if file.touched_rows == 0 {
        return (Action::Untouched, "no row of it changes".to_owned());
    }
    let touched = format!("{} of {} rows change", file.touched_rows, file.rows);
    if !policy.position_deletes_allowed {
        return (Action::Rewrite, format!("{touched}; only copy-on-write is available"));
    }
    match policy.mode {
        MergeMode::CopyOnWrite => (Action::Rewrite, format!("{touched}; the contract says copy-on-write")),
        MergeMode::MergeOnRead => (Action::PositionDelete, format!("{touched}; the contract says merge-on-read")),
        MergeMode::Auto => {
            let limit = format!("{:.0} %", policy.rewrite_share_min * 100.0);
            let share = file.touched_rows as f64 / file.rows.max(1) as f64;
            if share >= policy.rewrite_share_min {
                (Action::Rewrite, format!("{touched}, {limit} or more"))
            } else {
                (Action::PositionDelete, format!("{touched}, less than {limit}"))
            }
        }
    }
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

    fn decisions(mode: MergeMode, position_deletes_allowed: bool) -> String {
        let policy = Policy { mode, position_deletes_allowed, rewrite_share_min: REWRITE_SHARE_MIN };
        let files = [("none", 100, 0), ("few", 100, 9), ("limit", 100, 10), ("all", 100, 100), ("empty", 0, 0)];
        let files: Vec<_> = files
            .into_iter()
            .map(|(path, rows, touched_rows)| FileFacts { path: path.to_owned(), rows, touched_rows })
            .collect();
        decide(&policy, &files).iter().map(|decision| format!("{decision}\n")).collect()
    }

    #[test]
    fn auto_decides_by_share() {
        insta::assert_snapshot!(decisions(MergeMode::Auto, true), @"
        leave none: no row of it changes
        position delete few: 9 of 100 rows change, less than 10 %
        rewrite limit: 10 of 100 rows change, 10 % or more
        rewrite all: 100 of 100 rows change, 10 % or more
        leave empty: no row of it changes
        ");
    }

    #[test]
    fn the_contract_decides_otherwise() {
        insta::assert_snapshot!(decisions(MergeMode::MergeOnRead, true), @"
        leave none: no row of it changes
        position delete few: 9 of 100 rows change; the contract says merge-on-read
        position delete limit: 10 of 100 rows change; the contract says merge-on-read
        position delete all: 100 of 100 rows change; the contract says merge-on-read
        leave empty: no row of it changes
        ");
        insta::assert_snapshot!(decisions(MergeMode::CopyOnWrite, true), @"
        leave none: no row of it changes
        rewrite few: 9 of 100 rows change; the contract says copy-on-write
        rewrite limit: 10 of 100 rows change; the contract says copy-on-write
        rewrite all: 100 of 100 rows change; the contract says copy-on-write
        leave empty: no row of it changes
        ");
    }

    #[test]
    fn without_position_deletes_everything_is_rewritten() {
        insta::assert_snapshot!(decisions(MergeMode::MergeOnRead, false), @"
        leave none: no row of it changes
        rewrite few: 9 of 100 rows change; only copy-on-write is available
        rewrite limit: 10 of 100 rows change; only copy-on-write is available
        rewrite all: 100 of 100 rows change; only copy-on-write is available
        leave empty: no row of it changes
        ");
    }
}
