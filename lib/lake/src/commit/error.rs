//! Why a change was not committed, or may have been.

use contract::TableName;

use crate::{Error, error::ErrorKind};

/// Why a change was not committed, or may have been. Messages complete "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The table changed in a way that the change does not allow for.
    #[error("commit to table {table}: {conflict}")]
    Conflict {
        /// The table.
        table: TableName,
        /// What is in the way.
        conflict: Conflict,
        /// The plan no longer fits the table: make another from its new head. When false, committing the same
        /// change again may work.
        retry_plan: bool,
    },
    /// The swap may or may not have happened, and the time to find out is over. Nothing was deleted.
    #[error("commit to table {table}: it is not known whether {metadata_location} became its version")]
    OutcomeUnknown {
        /// The table.
        table: TableName,
        /// What the pointer would be.
        metadata_location: String,
        /// The snapshot that would be its head.
        snapshot_id: Option<i64>,
        /// The last failure.
        #[source]
        source: Box<Error>,
    },
    /// The catalog refused.
    #[error("commit to table {table}: the catalog refused")]
    Rejected {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The table is no longer in its catalog.
    #[error("commit to table {table}: the catalog no longer has it")]
    TableGone {
        /// The table.
        table: TableName,
    },
    /// A table that we would not write right.
    #[error("write to table {table}: {what}")]
    Unwritable {
        /// The table.
        table: TableName,
        /// What it is.
        what: String,
        /// What to do.
        help: String,
    },
    /// A change that no table could take: an error in the job that made it.
    #[error("commit to table {table}: the change is not sound: {problem}")]
    InvalidChange {
        /// The table.
        table: TableName,
        /// What is wrong with it.
        problem: String,
    },
    /// The next version could not be made.
    #[error("commit to table {table}: its next version cannot be made")]
    Build {
        /// The table.
        table: TableName,
        /// Why.
        #[source]
        source: Box<iceberg::Error>,
    },
}

/// What is in the way of a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another writer added a file that may hold a key of ours.
    #[error("snapshot {snapshot_id} added {file}, which may hold keys of this change")]
    NewData {
        /// The file.
        file: String,
        /// The snapshot that added it.
        snapshot_id: i64,
    },
    /// Another writer added deletes that may hit rows of ours.
    #[error("snapshot {snapshot_id} added the deletes {file}, which may hit rows of this change")]
    NewDelete {
        /// The delete file.
        file: String,
        /// The snapshot that added it.
        snapshot_id: i64,
    },
    /// Another writer deleted rows of a file that we replace.
    #[error("snapshot {snapshot_id} deleted rows of {file}, which this change replaces")]
    DeleteForReplaced {
        /// The file that we replace.
        file: String,
        /// The snapshot that added the deletes.
        snapshot_id: i64,
    },
    /// A manifest that we replace is no longer in the table.
    #[error("the manifest {manifest}, which this change replaces, is no longer part of the table")]
    ManifestGone {
        /// The manifest.
        manifest: String,
    },
    /// A file that we replace is no longer live.
    #[error("{file}, which this change replaces, is no longer part of the table")]
    ReplacedGone {
        /// The file.
        file: String,
    },
    /// A file came to the table, or came back, to which a delete file applies that we remove.
    #[error("snapshot {snapshot_id} added {file}, to which a delete file applies that this change removes")]
    DeleteNeeded {
        /// The data file.
        file: String,
        /// The snapshot that added it.
        snapshot_id: i64,
    },
    /// A file that our position deletes point into was removed.
    #[error("snapshot {snapshot_id} removed {file}, which deletes of this change point into")]
    ReferencedGone {
        /// The file.
        file: String,
        /// The snapshot that removed it.
        snapshot_id: i64,
    },
    /// Another run has taken raw files that this change has rows of, and there is no key to tell them apart.
    #[error("another run took in files of {inputs} meanwhile")]
    InputsTaken {
        /// The raw partition, or the run that read the same files.
        inputs: String,
    },
    /// The snapshot that the plan read is not in the history of the head: expired, or rolled back.
    #[error("snapshot {}, which the plan read, is not in the history of the table", name(*base))]
    BaseNotInHistory {
        /// The snapshot that the plan read.
        base: Option<i64>,
    },
    /// Another writer changed the table since the plan, which would be undone unseen.
    #[error("the current snapshot was {} and is {}", name(*planned), name(*found))]
    HeadMoved {
        /// The current snapshot when the plan was made.
        planned: Option<i64>,
        /// The current snapshot.
        found: Option<i64>,
    },
    /// Another writer changed the schema that our schema update was made from.
    #[error("the schema changed from version {expected} to {found}")]
    SchemaChanged {
        /// Schema id that the update was made from.
        expected: i32,
        /// Schema id of the table now.
        found: i32,
    },
    /// Another writer changed a property that our change sets.
    #[error("the property {name} changed")]
    PropertyChanged {
        /// The property.
        name: String,
    },
    /// Another writer changed what keeps snapshots: refs, or the properties that say how long.
    #[error("what keeps snapshots changed: {what}")]
    RetentionChanged {
        /// What is different, for people.
        what: String,
    },
    /// Another table lies under the name now.
    #[error("another table was made under its name")]
    TableReplaced,
    /// Other writers were first, every time.
    #[error("other writers were first {attempts} times")]
    RaceLost {
        /// Attempts made.
        attempts: u32,
    },
}

fn name(snapshot_id: Option<i64>) -> String {
    snapshot_id.map_or_else(|| "none".to_owned(), |id| id.to_string())
}

impl CommitError {
    /// What it means for the run.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::OutcomeUnknown { .. } => ErrorKind::OutcomeUnknown,
            Self::Rejected { source, .. } => source.kind(),
            Self::TableGone { .. } => ErrorKind::NotFound,
            Self::Unwritable { .. } => ErrorKind::Refused,
            Self::InvalidChange { .. } | Self::Build { .. } => ErrorKind::Failed,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Conflict { .. } => Some("run the job again: nothing was changed".to_owned()),
            Self::OutcomeUnknown { .. } => Some(
                "run the job again: it finds out, and does nothing twice. Delete nothing of this run before".to_owned(),
            ),
            Self::Rejected { source, .. } => source.help(),
            Self::TableGone { .. } => Some("check whether it was dropped or renamed".to_owned()),
            Self::Unwritable { help, .. } => Some(help.clone()),
            Self::InvalidChange { .. } | Self::Build { .. } => None,
        }
    }
}
