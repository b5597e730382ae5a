//! What can go wrong in the lake: typed, naming the input, and knowing whether another attempt may help.
//!
//! Secrets never get here: answers of a store are cut down to status, code and message before they become a source.

mod failure;
pub(crate) mod sdk;
mod store;

pub use failure::Failure;
pub(crate) use store::{find, from_failure, from_store};

use std::fmt;

use crate::{CommitError, EvolveError, LedgerError, TableError};

/// The result of everything in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What lies beneath an error, where its type does not matter to anybody.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What the lake could not do. Messages complete "failed to …" and leave the source to `source()`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    // Storage.
    /// A location that cannot be used, or a key that no location can name.
    #[error("use location {location:?}: {reason}")]
    Location {
        /// As given.
        location: String,
        /// Why not, and what to write.
        reason: String,
    },
    /// The credentials are good and do not suffice.
    #[error("{operation} {location}: access denied")]
    AccessDenied {
        /// What was tried.
        operation: Operation,
        /// An object, a folder, or a catalog table.
        location: String,
        /// What the service said.
        #[source]
        source: Cause,
    },
    /// There are no credentials, or they have expired or are not accepted.
    #[error("{operation} {location}: no usable AWS credentials")]
    Credentials {
        /// What was tried.
        operation: Operation,
        /// An object, a folder, or a catalog table.
        location: String,
        /// What the service or the provider said.
        #[source]
        source: Cause,
    },
    /// The bucket does not exist.
    #[error("{operation} {location}: there is no bucket of this name")]
    BucketMissing {
        /// What was tried.
        operation: Operation,
        /// An object or a folder in it.
        location: String,
        /// What the service said.
        #[source]
        source: Cause,
    },
    /// The bucket lies in another region than the one we ask.
    #[error("{operation} {location}: the bucket is in {}", actual.as_deref().unwrap_or("another region"))]
    WrongRegion {
        /// What was tried.
        operation: Operation,
        /// An object or a folder in it.
        location: String,
        /// Where it is, when the service said so.
        actual: Option<String>,
        /// What the service said.
        #[source]
        source: Cause,
    },
    /// The object, folder or table does not exist.
    #[error("{operation} {location}: not found")]
    NotFound {
        /// What was tried.
        operation: Operation,
        /// What is missing.
        location: String,
    },
    /// The object is no longer the one that was frozen by its `ETag`.
    #[error("{operation} {location}: the object was replaced since it was listed")]
    Changed {
        /// What was tried.
        operation: Operation,
        /// The object.
        location: String,
    },
    /// Another object lies where a new one was to be written. Nothing is ever overwritten.
    #[error("write {location}: another object is there")]
    Occupied {
        /// The object.
        location: String,
    },
    /// After a copy onto itself an object was not what it had been.
    #[error("move {location} to {class}: afterwards it has another {what}")]
    Differs {
        /// The object.
        location: String,
        /// Where it was to go.
        class: String,
        /// What is not the same.
        what: &'static str,
    },
    /// An object that a copy onto itself would not leave as it is.
    #[error("move {location} to {class}: {reason}")]
    NotCopyable {
        /// The object.
        location: String,
        /// Where it was to go.
        class: String,
        /// Why not.
        reason: String,
    },
    /// The object is archived and must be restored before it can be read.
    #[error("{operation} {location}: the object is archived")]
    Archived {
        /// What was tried.
        operation: Operation,
        /// The object.
        location: String,
        /// What the service said.
        #[source]
        source: Cause,
    },
    /// The disk is full.
    #[error("{operation} {location}: the disk is full")]
    DiskFull {
        /// What was tried.
        operation: Operation,
        /// The file.
        location: String,
        /// What the system said.
        #[source]
        source: Cause,
    },
    /// Throttled, timed out, not reachable, 5xx. For a write it may have happened.
    #[error("{operation} {location}: the service is not available")]
    Unavailable {
        /// What was tried.
        operation: Operation,
        /// An object, a folder, or a catalog table.
        location: String,
        /// What the service said.
        #[source]
        source: Cause,
    },
    /// Any other failure of storage.
    #[error("{operation} {location}")]
    Storage {
        /// What was tried.
        operation: Operation,
        /// An object or a folder.
        location: String,
        /// What the store said.
        #[source]
        source: Cause,
    },

    // Catalogs.
    /// Another process holds the catalog longer than we wait.
    #[error("{operation} {catalog}: the catalog is locked by another process")]
    CatalogLocked {
        /// What was tried.
        operation: Operation,
        /// The catalog and table.
        catalog: String,
        /// What the catalog said.
        #[source]
        source: Cause,
    },
    /// What lies there is not a catalog of Iceberg tables.
    #[error("open catalog {catalog}: it is not an Iceberg catalog")]
    CatalogUnreadable {
        /// The catalog.
        catalog: String,
        /// What was found.
        #[source]
        source: Cause,
    },
    /// Any other failure of a catalog.
    #[error("{operation} {catalog}")]
    Catalog {
        /// What was tried.
        operation: Operation,
        /// The catalog and table.
        catalog: String,
        /// What the catalog said.
        #[source]
        source: Cause,
    },
    /// A catalog entry that is not a table we could commit to.
    #[error("use {catalog} as an Iceberg table: {reason}")]
    NotIceberg {
        /// The catalog and table.
        catalog: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that the catalog could not keep as it is.
    #[error("use table name {table}: {reason}")]
    TableName {
        /// The name.
        table: String,
        /// Why not, and what to write.
        reason: String,
    },

    // The raw zone.
    /// A path template that says nothing, or too much.
    #[error("use path template {template:?}: {reason}")]
    Template {
        /// As given.
        template: String,
        /// Why not, and what to write.
        reason: String,
    },
    /// An interval that does not fall on the template's partitions.
    #[error("list raw interval {interval}: {reason}")]
    Interval {
        /// As given, in UTC.
        interval: String,
        /// Why not, and what to write.
        reason: String,
    },

    // The table format.
    /// A failure inside the iceberg crate; errors of ours beneath it decide what kind it is.
    #[error("{doing}")]
    Iceberg {
        /// Completes "failed to …".
        doing: String,
        /// What it said.
        #[source]
        source: Box<iceberg::Error>,
    },

    // Tables.
    /// A table cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A change was not committed, or may have been.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A contract does not fit its table.
    #[error(transparent)]
    Evolve(Box<EvolveError>),
    /// A table's ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<EvolveError> for Error {
    fn from(error: EvolveError) -> Self {
        Self::Evolve(Box::new(error))
    }
}

/// What was tried with an object, a folder or a catalog entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words are the documentation")]
pub enum Operation {
    Read,
    Inspect,
    List,
    Write,
    Delete,
    Copy,
    Create,
    Update,
    Restore,
    Tag,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Inspect => "inspect",
            Self::List => "list",
            Self::Write => "write",
            Self::Delete => "delete",
            Self::Copy => "copy",
            Self::Create => "create",
            Self::Update => "update",
            Self::Restore => "restore",
            Self::Tag => "tag",
        })
    }
}

/// What an error means for the run, and so for its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// What we were told to do cannot be done: configuration, credentials, names.
    Configuration,
    /// Something that should exist does not.
    NotFound,
    /// The credentials do not suffice.
    AccessDenied,
    /// It may work in a minute.
    Transient,
    /// Somebody else was first; running again is safe.
    Conflict,
    /// It may or may not have happened; running again finds out.
    OutcomeUnknown,
    /// What lies there cannot be what it should be.
    Corrupt,
    /// We could, and will not.
    Refused,
    /// Anything else.
    Failed,
}

impl Error {
    /// What an error of a store from [`crate::Storage::resolve`] means for the operation that met it.
    pub fn from_store(operation: Operation, location: &str, error: object_store::Error) -> Self {
        from_store(operation, location, error)
    }

    /// What it means for the run.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Credentials { .. }
            | Self::WrongRegion { .. }
            | Self::BucketMissing { .. }
            | Self::TableName { .. }
            | Self::Template { .. }
            | Self::Interval { .. } => ErrorKind::Configuration,
            Self::AccessDenied { .. } => ErrorKind::AccessDenied,
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Changed { .. } => ErrorKind::Conflict,
            Self::Location { .. } | Self::Occupied { .. } | Self::Archived { .. } | Self::NotIceberg { .. } => {
                ErrorKind::Refused
            }
            Self::Unavailable { .. } | Self::CatalogLocked { .. } => ErrorKind::Transient,
            Self::CatalogUnreadable { .. } | Self::Differs { .. } => ErrorKind::Corrupt,
            Self::NotCopyable { .. } => ErrorKind::Refused,
            Self::DiskFull { .. } | Self::Storage { .. } | Self::Catalog { .. } => ErrorKind::Failed,
            Self::Iceberg { source, .. } => beneath(source).map_or(ErrorKind::Failed, Self::kind),
            Self::Table(error) => error.kind(),
            Self::Commit(error) => error.kind(),
            Self::Evolve(error) => error.kind(),
            Self::Ledger(error) => error.kind(),
        }
    }

    /// Whether the same call may succeed in a moment.
    pub fn is_transient(&self) -> bool {
        self.kind() == ErrorKind::Transient
    }

    /// What to do about it, where we know.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::AccessDenied { operation, location, .. } => Some(format!(
                "allow this identity to {operation} {location}; `aws sts get-caller-identity` shows who it is"
            )),
            Self::Credentials { .. } => {
                Some("set AWS_PROFILE, or run `aws sso login`, or give the task a role".to_owned())
            }
            Self::BucketMissing { .. } => Some("check the bucket's name in the configuration".to_owned()),
            Self::WrongRegion { actual: Some(actual), .. } => Some(format!("run with --region {actual}")),
            Self::WrongRegion { .. } => Some("run with --region set to the bucket's region".to_owned()),
            Self::Changed { .. } => Some("run again: the new object is read as a whole".to_owned()),
            Self::Occupied { .. } => Some("another run wrote there; run again".to_owned()),
            Self::Differs { .. } => {
                Some("another program writes there as well, or the service is not S3; compare with a backup".to_owned())
            }
            Self::NotCopyable { .. } => Some("etl tier --lifecycle moves it without a copy".to_owned()),
            Self::Archived { .. } => Some("restore it first: etl tier restore".to_owned()),
            Self::DiskFull { .. } => Some("free space, or point temporary files at a larger disk".to_owned()),
            Self::Unavailable { .. } => {
                Some("run again; check the endpoint and the network when it stays so".to_owned())
            }
            Self::CatalogLocked { .. } => Some("run again when the other process has ended".to_owned()),
            Self::CatalogUnreadable { .. } => Some("check `lake.uri` in the configuration".to_owned()),
            Self::Iceberg { source, .. } => beneath(source).and_then(Self::help),
            Self::Table(error) => error.help(),
            Self::Commit(error) => error.help(),
            Self::Evolve(error) => error.help(),
            Self::Ledger(error) => error.help(),
            _ => None,
        }
    }
}

/// The error of ours that the iceberg crate carries, if it does.
fn beneath(error: &iceberg::Error) -> Option<&Error> {
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        if let Some(ours) = source.downcast_ref::<Error>() {
            return Some(ours);
        }
        next = source.source();
    }
    None
}
