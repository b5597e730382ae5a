//! What can go wrong between reading rows and staging files.

use datafusion::error::DataFusionError;

use crate::sql::{of_any, words};

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure of the engine. Each names the file, column or statement it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Storage, table or metadata could not be read or written.
    #[error(transparent)]
    Lake(#[from] lake::Error),
    /// A file is not the Parquet it should be: truncated, damaged, or no Parquet at all.
    #[error("failed to read {location}: {reason}")]
    Unreadable {
        /// The file.
        location: String,
        /// What the decoder said.
        reason: String,
    },
    /// A file changed between listing and reading.
    #[error("{location} was replaced or deleted while the run was reading it")]
    Replaced {
        /// The file.
        location: String,
    },
    /// A raw file holds a value that its footer rules out: every value must be looked at.
    #[error("{location}: column {column} holds what its footer rules out")]
    Unproven {
        /// The file.
        location: String,
        /// The column.
        column: String,
    },
    /// A data or delete file of a table is missing or damaged.
    #[error("table {table} cannot be read: its file {location} {problem}")]
    TableFile {
        /// The table.
        table: String,
        /// The file.
        location: String,
        /// Completes "{location} …".
        problem: String,
    },
    /// The table or its files use something that cannot be read right.
    #[error("{subject} cannot be read: {reason}")]
    Unsupported {
        /// Table, file or column.
        subject: String,
        /// What is in the way, and what to do.
        reason: String,
    },
    /// A raw file's columns contradict the contract or each other.
    #[error("{location}: {reason}")]
    Columns {
        /// The file.
        location: String,
        /// Which columns and why.
        reason: String,
    },
    /// The table holds a key more than once.
    #[error("table {table} holds {rows} rows with key {key}: `etl check {table}` shows them")]
    DuplicateKey {
        /// The table.
        table: String,
        /// The key, as text.
        key: String,
        /// How many rows.
        rows: u64,
    },
    /// The rows of a run do not add up.
    #[error("row balance broken: read {read}, accounted for {accounted}; nothing was committed")]
    Balance {
        /// Rows read.
        read: u64,
        /// Sum of the outcomes.
        accounted: u64,
    },
    /// A MERGE statement that would break a promise of the table.
    #[error("merge: {reason}")]
    Merge {
        /// What is wrong with it, and what to write instead.
        reason: String,
    },
    /// A rule of a contract that cannot be asked.
    #[error("check {name}: {reason}")]
    Rule {
        /// The rule's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A statement that names a table which is not there.
    #[error("there is no table {table}")]
    NoTable {
        /// The table as the statement names it.
        table: String,
    },
    /// A SQL statement or expression that cannot be run.
    #[error("{subject}: {}", words(cause))]
    Sql {
        /// The statement's name: a check, a query.
        subject: String,
        /// What the planner or executor said.
        cause: Box<DataFusionError>,
    },
    /// The memory limit is too low for the work.
    #[error("memory limit of {limit_bytes} bytes is too low: {reason}")]
    Memory {
        /// The limit.
        limit_bytes: u64,
        /// What did not fit.
        reason: String,
    },
    /// The disk that operators spill to is full.
    #[error("{subject}: the disk of the spill folder {folder} is full")]
    SpillFull {
        /// The statement's name: a check, a query.
        subject: String,
        /// The folder.
        folder: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The caller asked to stop. What was staged has been taken back.
    #[error("stopped")]
    Stopped,
    /// A defect or a failure of arrow, parquet or DataFusion while working on batches.
    #[error("{action}: {source}")]
    Compute {
        /// What was being done, a lowercase fragment.
        action: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// An arrow, parquet or DataFusion failure while doing `action`.
    pub fn compute(action: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        let source = if source.is::<DataFusionError>() { of_any(source.as_ref()).into() } else { source };
        Self::Compute { action: action.into(), source }
    }
}
