//! What can be wrong with a contract, and where.

use std::path::PathBuf;

/// The result of reading a contract.
pub type Result<T> = std::result::Result<T, Error>;

/// A contract or name that cannot be used. Every variant names the input and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A place in a document that is wrong: unknown key, wrong type, contradiction.
    #[error("{}:{line}:{column}: {message}\n  help: {help}", path.display())]
    Document {
        /// The document as the user named it.
        path: PathBuf,
        /// 1-based.
        line: usize,
        /// 1-based.
        column: usize,
        /// What is wrong, as a lowercase fragment.
        message: String,
        /// How to mend it.
        help: String,
    },
    /// A table name that no catalog could hold.
    #[error("table name {name:?} cannot be used: {reason}")]
    TableName {
        /// The name as given.
        name: String,
        /// Why not, and what to write.
        reason: String,
    },
}
