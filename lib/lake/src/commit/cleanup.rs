//! Deleting what a definite failure left behind: only files that this commit wrote and no version of the table uses.

use contract::TableName;

use crate::Storage;

/// Deletes files. The outcome of the commit is settled by now, so a failure is told and changes nothing: `etl orphans`
/// finds what stays.
pub(super) async fn clean_up(storage: &Storage, table: &TableName, files: Vec<String>) {
    let count = files.len();
    if let Err(error) = storage.delete_all(files).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(table.name = %table, files.count = count, error, "metadata files of a lost attempt were not deleted");
    }
}
