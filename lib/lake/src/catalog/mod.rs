//! Catalogs: who knows where a table's current metadata lies. One small trait, and one compare-and-swap.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod glue;
mod sqlite;

pub use glue::Glue;
pub use sqlite::Sqlite;

use async_trait::async_trait;
use contract::TableName;
use iceberg::spec::TableMetadata;

use crate::{Error, Result};

/// Where a table stands: the location of its metadata, and the token that fences the next swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Absolute location of the current metadata.json.
    pub metadata_location: String,
    /// What a swap must still find: Glue's `VersionId`, or the metadata location itself.
    pub token: String,
}

/// How one attempt at a swap ended.
#[derive(Debug)]
pub enum Swap {
    /// The pointer is ours.
    Committed,
    /// Another writer was first. Definite.
    Conflict,
    /// Refused for good: validation, access denied, not found. Definite.
    Rejected(Error),
    /// It may or may not have happened: a lost answer, a 5xx, a timeout, a failed COMMIT.
    Unknown(Error),
}

/// A catalog of Iceberg tables.
#[async_trait]
pub trait Catalog: std::fmt::Debug + Send + Sync {
    /// Where the table stands; `None` when there is no such table.
    async fn load(&self, table: &TableName) -> Result<Option<Pointer>>;

    /// All Iceberg tables, sorted by name.
    async fn list(&self) -> Result<Vec<TableName>>;

    /// Registers a new table whose first metadata lies at `metadata_location`. A table of that name is a conflict.
    /// Makes the namespace when it is missing.
    async fn create(&self, table: &TableName, metadata_location: &str, metadata: &TableMetadata) -> Swap;

    /// Moves the pointer from `expected` to `metadata_location`, if it still is what was expected.
    async fn swap(
        &self,
        table: &TableName,
        expected: &Pointer,
        metadata_location: &str,
        metadata: &TableMetadata,
    ) -> Swap;
}
