//! Tables at one version: opening them and finding their snapshots. Knows the metadata file; what lies below a
//! snapshot is in `manifest` and `files`.

mod current;
pub(crate) mod document;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use contract::TableName;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use iceberg::{
    io::FileIO,
    spec::{FormatVersion, Snapshot, SnapshotRef, SnapshotReference, TableMetadata},
};

pub use self::document::Problem;
use crate::{
    Error, Location, Result, Storage,
    catalog::{Catalog, Pointer},
    error::ErrorKind,
    manifest::inline_manifests,
    reachable::spelled,
};

/// A catalog and the storage its tables lie in.
#[derive(Debug, Clone)]
pub struct Lake {
    /// Who knows the tables.
    pub catalog: Arc<dyn Catalog>,
    /// Where objects lie.
    pub storage: Storage,
    /// Absolute location under which new tables are made: `{warehouse}/{namespace}/{name}`.
    pub warehouse: String,
}

impl Lake {
    /// Opens a table at its current version; `None` when the catalog has no such table.
    pub async fn table(&self, name: &TableName) -> Result<Option<Table>> {
        match self.catalog.load(name).await? {
            Some(pointer) => Table::open(&self.storage, name, pointer).await.map(Some),
            None => Ok(None),
        }
    }

    /// The same for those who read the current version and change nothing: of its snapshots it has those alone that `main`,
    /// branches and tags point at, and no logs.
    pub async fn table_without_history(&self, name: &TableName) -> Result<Option<Table>> {
        let Some(pointer) = self.catalog.load(name).await? else { return Ok(None) };
        let bytes = Table::read(&self.storage, name, &pointer).await?;
        if let Some(short) = current::without_history(&bytes)
            && let Ok(table) = Table::of(&self.storage, name, pointer.clone(), short.into()).await
        {
            return Ok(Some(table));
        }
        Table::of(&self.storage, name, pointer, bytes).await.map(Some)
    }
}

/// Tables of a catalog whose metadata is read at once.
const TABLES_CONCURRENT_MAX: usize = 16;

impl Lake {
    /// Where every table of the catalog lies, in one spelling: its location first, then folders elsewhere that it has, or had,
    /// files in. A table that cannot be read is an error if its metadata is where ours could be: below `root`, as
    /// [`crate::Location::root`] has it; elsewhere it is left out.
    pub async fn locations(&self, root: &str) -> Result<BTreeMap<TableName, Vec<String>>> {
        let names = self.catalog.list().await?;
        let reads: Vec<BoxFuture<'_, Result<_>>> =
            names.into_iter().map(|name| self.location(name, root).boxed()).collect();
        let found: Vec<Option<_>> = stream::iter(reads).buffered(TABLES_CONCURRENT_MAX).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn location(&self, name: TableName, root: &str) -> Result<Option<(TableName, Vec<String>)>> {
        let Some(pointer) = self.catalog.load(&name).await? else { return Ok(None) };
        let may_be_near = Location::parse(&pointer.metadata_location).is_ok_and(|location| location.root() == root);
        match Table::open(&self.storage, &name, pointer).await {
            Ok(table) => Ok(Some((name, folders(&table)))),
            Err(error) if may_be_near || error.is_transient() => Err(error),
            Err(error) => {
                tracing::warn!(table.name = %name, error = &error as &dyn std::error::Error, "a table elsewhere cannot be read");
                Ok(None)
            }
        }
    }
}

/// Properties that name a folder for files of a table.
const FOLDERS: [&str; 4] =
    ["write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path"];

/// The folders that a table's metadata names, its location first.
fn folders(table: &Table) -> Vec<String> {
    let metadata = &table.metadata;
    let named = FOLDERS.iter().filter_map(|name| metadata.properties().get(*name)).map(|folder| spelled(folder));
    let lists = metadata.snapshots().filter(|of| inline_manifests(of).is_none()).map(|of| of.manifest_list());
    let objects = lists.chain([table.pointer.metadata_location.as_str()]);
    let folder = |object: &str| spelled(object).rsplit_once('/').map(|(folder, _)| folder.to_owned());
    let elsewhere: BTreeSet<String> = named.chain(objects.filter_map(folder)).collect();
    [spelled(metadata.location())].into_iter().chain(elsewhere).collect()
}

/// A table at one version.
#[derive(Debug, Clone)]
pub struct Table {
    /// Its name.
    pub name: TableName,
    /// Where the catalog pointed when it was opened.
    pub pointer: Pointer,
    /// Its metadata.
    pub metadata: Arc<TableMetadata>,
    /// Where its files lie.
    pub storage: Storage,
}

impl Table {
    /// Reads the version that a pointer names.
    pub(crate) async fn open(storage: &Storage, name: &TableName, pointer: Pointer) -> Result<Self> {
        let bytes = Self::read(storage, name, &pointer).await?;
        Self::of(storage, name, pointer, bytes).await
    }

    async fn read(storage: &Storage, name: &TableName, pointer: &Pointer) -> Result<Bytes> {
        let location = &pointer.metadata_location;
        storage.read(location).await.map_err(|e| TableError::from_read(name, TablePart::Metadata, location, e))
    }

    async fn of(storage: &Storage, name: &TableName, pointer: Pointer, metadata: Bytes) -> Result<Self> {
        let metadata = parse_metadata(metadata).await.map_err(|source| TableError::Document {
            table: name.clone(),
            location: pointer.metadata_location.clone(),
            source: Box::new(source),
        })?;
        Ok(Self { name: name.clone(), pointer, metadata: Arc::new(metadata), storage: storage.clone() })
    }

    /// The current snapshot of `main`; `None` for a table that never had one.
    pub fn head(&self) -> Option<&SnapshotRef> {
        self.metadata.current_snapshot()
    }

    /// A snapshot by its id.
    pub fn snapshot(&self, snapshot_id: i64) -> Result<&SnapshotRef> {
        let found = self.metadata.snapshot_by_id(snapshot_id);
        Ok(found.ok_or_else(|| self.no_snapshot(format!("id {snapshot_id}")))?)
    }

    /// The snapshot that was current at a time (milliseconds since 1970, UTC).
    pub fn snapshot_as_of(&self, timestamp_ms: i64) -> Result<&SnapshotRef> {
        let entry = self.metadata.history().iter().rfind(|entry| entry.timestamp_ms <= timestamp_ms);
        let found = entry.and_then(|entry| self.metadata.snapshot_by_id(entry.snapshot_id));
        Ok(found.ok_or_else(|| {
            let at = jiff::Timestamp::from_millisecond(timestamp_ms)
                .map_or_else(|_| timestamp_ms.to_string(), |at| at.to_string());
            self.no_snapshot(format!("time {at}"))
        })?)
    }

    /// The snapshot that a branch or tag points at.
    pub fn snapshot_of_ref(&self, name: &str) -> Result<&SnapshotRef> {
        let found = self.metadata.snapshot_for_ref(name);
        Ok(found.ok_or_else(|| self.no_snapshot(format!("ref {name:?}")))?)
    }

    /// Branches and tags by name.
    pub fn refs(&self) -> BTreeMap<String, SnapshotReference> {
        refs(&self.metadata)
    }

    /// Snapshots from one back to its oldest kept ancestor, itself first.
    pub fn ancestors(&self, snapshot_id: i64) -> impl Iterator<Item = &SnapshotRef> {
        ancestors(&self.metadata, snapshot_id)
    }

    fn no_snapshot(&self, wanted: String) -> TableError {
        TableError::NoSnapshot { table: self.name.clone(), wanted }
    }
}

/// Branches and tags by name: the crate keeps them to itself, except in the document it writes.
pub(crate) fn refs(metadata: &TableMetadata) -> BTreeMap<String, SnapshotReference> {
    #[derive(serde::Deserialize)]
    struct Document {
        refs: BTreeMap<String, SnapshotReference>,
    }
    // As text, of which everything else is passed over: a tree of twenty thousand snapshots is large.
    let document = serde_json::to_vec(metadata).ok();
    let refs = document.and_then(|document| serde_json::from_slice::<Document>(&document).ok());
    refs.map(|document| document.refs).unwrap_or_default()
}

/// Snapshots from one back to its oldest kept ancestor, itself first.
pub(crate) fn ancestors(metadata: &TableMetadata, snapshot_id: i64) -> impl Iterator<Item = &SnapshotRef> {
    let parent = |snapshot: &&SnapshotRef| {
        Snapshot::parent_snapshot_id(snapshot).and_then(|parent| metadata.snapshot_by_id(parent))
    };
    // Bounded by the number of snapshots, so that a corrupt parent chain that loops still ends.
    std::iter::successors(metadata.snapshot_by_id(snapshot_id), parent).take(metadata.snapshots().len())
}

/// Reads a metadata document, gzipped or not, also one of a writer that leaves out what can be filled in.
pub(crate) async fn parse_metadata(bytes: Bytes) -> std::result::Result<TableMetadata, Problem> {
    // Of format version 1 the crate knows no refs: a table may have a main branch and, as it seems, no current snapshot.
    let is_whole = |table: &TableMetadata| {
        table.format_version() != FormatVersion::V1
            || table.current_snapshot_id().is_some()
            || table.snapshots().len() == 0
    };
    if let Some(metadata) = read_metadata(bytes.clone()).await.ok().filter(is_whole) {
        return Ok(metadata);
    }
    let (repaired, document) = document::repaired(&bytes)?;
    let read = read_metadata(repaired.into()).await;
    read.map_err(|error| Problem { what: error.to_string(), lost: document::lost(&document) })
}

async fn read_metadata(bytes: Bytes) -> iceberg::Result<TableMetadata> {
    const SCRATCH: &str = "memory:/metadata.json";
    let scratch = FileIO::new_with_memory();
    scratch.new_output(SCRATCH)?.write(bytes).await?;
    TableMetadata::read_from(&scratch, SCRATCH).await
}

/// The parts of a table that are files of metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TablePart {
    /// metadata.json.
    Metadata,
    /// The list of a snapshot's manifests.
    ManifestList,
    /// A manifest.
    Manifest,
}

impl std::fmt::Display for TablePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Metadata => "metadata",
            Self::ManifestList => "manifest list",
            Self::Manifest => "manifest",
        })
    }
}

/// Why a table cannot be read. Messages complete "failed to …".
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// An object that the table's metadata names does not exist.
    #[error("read table {table}: its {part} {location} does not exist")]
    Missing {
        /// The table.
        table: TableName,
        /// What kind of object.
        part: TablePart,
        /// The object.
        location: String,
        /// What storage said.
        #[source]
        source: Box<Error>,
    },
    /// An object of the table's metadata cannot be understood.
    #[error("read table {table}: its {part} {location} is corrupt")]
    Corrupt {
        /// The table.
        table: TableName,
        /// What kind of object.
        part: TablePart,
        /// The object.
        location: String,
        /// What is wrong with it.
        #[source]
        source: Box<iceberg::Error>,
    },
    /// The table's metadata.json cannot be understood.
    #[error("read table {table}: its metadata {location} is corrupt")]
    Document {
        /// The table.
        table: TableName,
        /// The object.
        location: String,
        /// What is wrong with it.
        #[source]
        source: Box<Problem>,
    },
    /// Something that we would not read right, so we do not read it.
    #[error("read table {table}: {location} {what}")]
    Unsupported {
        /// The table.
        table: TableName,
        /// The file, or the metadata.
        location: String,
        /// What it has or is, completing "{location} …".
        what: String,
        /// What to do.
        help: String,
    },
    /// No such snapshot.
    #[error("find a snapshot of table {table} for {wanted}")]
    NoSnapshot {
        /// The table.
        table: TableName,
        /// What was asked for: an id, a time, a ref.
        wanted: String,
    },
}

impl TableError {
    /// What it means for the run.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing { .. } | Self::Corrupt { .. } | Self::Document { .. } => ErrorKind::Corrupt,
            Self::Unsupported { .. } => ErrorKind::Refused,
            Self::NoSnapshot { .. } => ErrorKind::NotFound,
        }
    }

    /// What to do about it.
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Document { source, .. } if source.lost.is_some() => {
                let lost = source.lost.as_deref().unwrap_or_default();
                format!("restore the object from the bucket's versions or a backup; {lost}; nothing was changed")
            }
            Self::Document { .. } | Self::Missing { part: TablePart::Metadata, .. } => {
                "restore the object from the bucket's versions or a backup: an earlier metadata.json lacks every commit \
                 that was made after it; nothing was changed"
                    .to_owned()
            }
            Self::Missing { table, .. } | Self::Corrupt { table, .. } => format!(
                "restore the object from the bucket's versions or a backup, or go back to a snapshot that does not \
                 need it: etl rollback {table} --to ID; nothing was changed"
            ),
            Self::Unsupported { help, .. } => help.clone(),
            Self::NoSnapshot { table, .. } => {
                format!(
                    "it may have been expired: `etl snapshots {table}` lists those that are kept, with branches and tags"
                )
            }
        })
    }

    /// A failed read of one of the table's parts: named when the object is missing, else passed on.
    pub(crate) fn from_read(table: &TableName, part: TablePart, location: &str, error: Error) -> Error {
        if error.kind() == ErrorKind::NotFound {
            let (table, location) = (table.clone(), location.to_owned());
            Self::Missing { table, part, location, source: Box::new(error) }.into()
        } else {
            error
        }
    }
}
