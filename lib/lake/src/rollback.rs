//! What a table said of its runs and deletions while an earlier snapshot was its current one: the state that going back to
//! that snapshot restores.

use std::sync::Arc;

use iceberg::spec::TableMetadata;

use crate::{
    Error, Ledger, Result, TOMBSTONES_PROPERTY, Table,
    error::ErrorKind,
    table::{ancestors, parse_metadata},
};

/// The state that goes with a snapshot.
#[derive(Debug, Clone)]
pub struct EarlierState {
    /// The ledger.
    pub ledger: Ledger,
    /// Where the tombstones lie.
    pub tombstones: Option<String>,
    /// The version of the table that says so was read. Otherwise the ledger is today's without what came later, and knows
    /// less than it did then.
    pub is_exact: bool,
}

impl Table {
    /// What the last version with that current snapshot, an ancestor of the head, said. The metadata log leads to it; where
    /// that does not reach so far back, or its object is gone, the rest is worked out.
    pub async fn state_at(&self, snapshot_id: i64) -> Result<EarlierState> {
        let state = match self.version_with_head(snapshot_id).await? {
            Some(version) => EarlierState {
                ledger: Ledger::parse(&version)?,
                tombstones: version.properties().get(TOMBSTONES_PROPERTY).cloned(),
                is_exact: true,
            },
            None => EarlierState {
                ledger: self.ledger()?.rolled_back(&self.metadata, snapshot_id),
                tombstones: ancestors(&self.metadata, snapshot_id)
                    .find_map(|of| of.summary().additional_properties.get(TOMBSTONES_PROPERTY).cloned()),
                is_exact: false,
            },
        };
        Ok(EarlierState { tombstones: self.existing(state.tombstones).await?, ..state })
    }

    async fn version_with_head(&self, snapshot_id: i64) -> Result<Option<Arc<TableMetadata>>> {
        let log = self.metadata.history();
        let Some(last) = log.iter().rposition(|entry| entry.snapshot_id == snapshot_id) else { return Ok(None) };
        let until = log.get(last + 1).map_or(i64::MAX, |next| next.timestamp_ms);
        let versions = self.metadata.metadata_log().iter().rev().filter(|version| version.timestamp_ms <= until);
        for version in versions {
            let bytes = match self.storage.read(&version.metadata_file).await {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            match parse_metadata(bytes).await {
                Ok(metadata) if metadata.current_snapshot_id() == Some(snapshot_id) => {
                    return Ok(Some(Arc::new(metadata)));
                }
                Ok(_) | Err(_) => {}
            }
        }
        Ok(None)
    }

    /// The location of an object that is still there.
    async fn existing(&self, location: Option<String>) -> Result<Option<String>> {
        let Some(location) = location else { return Ok(None) };
        match self.storage.head(&location).await {
            Ok(_) => Ok(Some(location)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn is_gone(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound
}
