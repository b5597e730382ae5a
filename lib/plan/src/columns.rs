//! What becomes of raw columns that the contract does not know, and of the contract's columns that raw files lack.

pub mod absent;

use std::fmt;

use contract::NewColumns;
use serde::{Deserialize, Serialize};

/// A column that raw files have and the contract does not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnknownColumn {
    /// Its name in the raw files.
    pub name: String,
    /// The table type it would get, as Iceberg writes it; `None` when the raw files disagree or no type fits.
    pub table_type: Option<String>,
    /// How many of the run's files have it.
    pub files: u64,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnDecision {
    /// The column.
    pub name: String,
    /// What becomes of it.
    pub action: ColumnAction,
    /// Why.
    pub reason: String,
}

/// What becomes of an unknown column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnAction {
    /// It is added to the table as an optional column of that type.
    Add(String),
    /// Its values are left out.
    LeaveOut,
    /// The run is refused.
    Refuse,
}

/// Decides for each column, by name.
pub fn decide(policy: NewColumns, columns: &[UnknownColumn]) -> Vec<ColumnDecision> {
    let mut columns: Vec<_> = columns.iter().collect();
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    columns
        .into_iter()
        .map(|column| {
            let (action, reason) = decide_column(policy, column);
            ColumnDecision { name: column.name.clone(), action, reason }
        })
        .collect()
}

fn decide_column(policy: NewColumns, column: &UnknownColumn) -> (ColumnAction, String) {
    let seen = format!(
        "{} raw file{} it and the contract does not",
        column.files,
        if column.files == 1 { " has" } else { "s have" }
    );
    match (policy, &column.table_type) {
        (NewColumns::Discard, _) => (ColumnAction::LeaveOut, format!("{seen}; etl.newColumns is discard")),
        (NewColumns::Freeze, _) => (ColumnAction::Refuse, format!("{seen}; etl.newColumns is freeze")),
        (NewColumns::Evolve, Some(table_type)) => {
            (ColumnAction::Add(table_type.clone()), format!("{seen}; etl.newColumns is evolve"))
        }
        (NewColumns::Evolve, None) => {
            (ColumnAction::LeaveOut, format!("{seen}; etl.newColumns is evolve, but no one type fits its values"))
        }
    }
}

impl fmt::Display for ColumnDecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            ColumnAction::Add(table_type) => write!(f, "add column {:?} {table_type}: {}", self.name, self.reason),
            ColumnAction::LeaveOut => write!(f, "leave out column {:?}: {}", self.name, self.reason),
            ColumnAction::Refuse => write!(f, "unknown column {:?}: {}", self.name, self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decisions(policy: NewColumns) -> String {
        let columns = [
            UnknownColumn { name: "signal".to_owned(), table_type: Some("double".to_owned()), files: 1 },
            UnknownColumn { name: "note".to_owned(), table_type: None, files: 3 },
        ];
        decide(policy, &columns).iter().map(|decision| format!("{decision}\n")).collect()
    }

    #[test]
    fn each_policy() {
        insta::assert_snapshot!(decisions(NewColumns::Evolve), @r#"
        leave out column "note": 3 raw files have it and the contract does not; etl.newColumns is evolve, but no one type fits its values
        add column "signal" double: 1 raw file has it and the contract does not; etl.newColumns is evolve
        "#);
        insta::assert_snapshot!(decisions(NewColumns::Freeze), @r#"
        unknown column "note": 3 raw files have it and the contract does not; etl.newColumns is freeze
        unknown column "signal": 1 raw file has it and the contract does not; etl.newColumns is freeze
        "#);
        insta::assert_snapshot!(decisions(NewColumns::Discard), @r#"
        leave out column "note": 3 raw files have it and the contract does not; etl.newColumns is discard
        leave out column "signal": 1 raw file has it and the contract does not; etl.newColumns is discard
        "#);
    }
}
