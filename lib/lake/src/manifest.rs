//! Reading manifest lists and manifests: bytes in, entries out with everything inherited that they leave to their
//! manifest. Refuses encrypted ones.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream},
};
use iceberg::spec::{
    DataFile, ManifestContentType, ManifestFile, ManifestList, ManifestStatus, PartitionSpec, SchemaRef, Snapshot,
};

use crate::{Result, Table, TableError, table::TablePart};

/// Manifests that are read at once: each is a request of some hundred kilobytes, and S3 answers in tens of milliseconds.
pub(crate) const MANIFESTS_CONCURRENT_MAX: usize = 16;

/// A manifest with its entries.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The schema it was written with.
    pub schema: SchemaRef,
    /// The partition spec of all its files.
    pub spec: PartitionSpec,
    /// Data files or delete files.
    pub content: ManifestContentType,
    /// In the order of the file.
    pub entries: Vec<Entry>,
}

/// What a manifest says of one file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Added, existing or deleted.
    pub status: ManifestStatus,
    /// The snapshot that added it, or deleted it when that is its status.
    pub snapshot_id: i64,
    /// Data sequence number.
    pub sequence_number: i64,
    /// Sequence number of the snapshot that added the file itself.
    pub file_sequence_number: i64,
    /// The file.
    pub data_file: Arc<DataFile>,
}

impl Entry {
    /// The file is part of the snapshot.
    pub(crate) fn is_live(&self) -> bool {
        self.status != ManifestStatus::Deleted
    }
}

/// The manifest may hold files that are live.
pub(crate) fn may_have_live_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files()
}

impl Table {
    /// The manifests of a snapshot.
    pub(crate) async fn manifest_list(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
        self.parse_manifest_list(snapshot, &self.manifest_list_bytes(snapshot).await?)
    }

    /// The manifest list of a snapshot as it lies there.
    pub(crate) async fn manifest_list_bytes(&self, snapshot: &Snapshot) -> Result<Bytes> {
        let location = snapshot.manifest_list();
        if snapshot.encryption_key_id().is_some() {
            return Err(self.encrypted(location).into());
        }
        self.read_part(TablePart::ManifestList, location).await
    }

    /// What that says.
    pub(crate) fn parse_manifest_list(&self, snapshot: &Snapshot, bytes: &[u8]) -> Result<Vec<ManifestFile>> {
        let list = ManifestList::parse_with_version(bytes, self.metadata.format_version())
            .map_err(|source| self.corrupt(TablePart::ManifestList, snapshot.manifest_list(), source))?;
        Ok(list.consume_entries().into_iter().collect())
    }

    /// The entries of a manifest.
    pub(crate) async fn manifest(&self, file: &ManifestFile) -> Result<Manifest> {
        self.parse_manifest(file, &self.manifest_bytes(file).await?)
    }

    /// A manifest as it lies there.
    pub(crate) async fn manifest_bytes(&self, file: &ManifestFile) -> Result<Bytes> {
        let location = &file.manifest_path;
        if file.key_metadata.as_ref().is_some_and(|key| !key.is_empty()) {
            return Err(self.encrypted(location).into());
        }
        self.read_part(TablePart::Manifest, location).await
    }

    /// What that says.
    pub(crate) fn parse_manifest(&self, file: &ManifestFile, bytes: &[u8]) -> Result<Manifest> {
        let location = &file.manifest_path;
        let parsed = iceberg::spec::Manifest::parse_avro(bytes)
            .map_err(|source| self.corrupt(TablePart::Manifest, location, source))?;
        let (entries, metadata) = parsed.into_parts();
        let entries = entries
            .into_iter()
            .map(|entry| {
                let entry = Arc::unwrap_or_clone(entry);
                let numbers = Inherited {
                    snapshot_id: entry.snapshot_id,
                    sequence_number: entry.sequence_number,
                    file_sequence_number: entry.file_sequence_number,
                };
                inherit(entry.status, numbers, entry.data_file, file)
            })
            .collect::<iceberg::Result<Vec<_>>>()
            .map_err(|source| self.corrupt(TablePart::Manifest, location, source))?;
        let spec = metadata.partition_spec().clone().with_spec_id(file.partition_spec_id);
        Ok(Manifest { schema: Arc::clone(metadata.schema()), spec, content: file.content, entries })
    }

    /// The entries of many manifests, in their order, some read ahead.
    pub(crate) fn manifests<'a>(
        &'a self,
        files: impl IntoIterator<Item = &'a ManifestFile>,
    ) -> BoxStream<'a, Result<(&'a ManifestFile, Manifest)>> {
        // Boxed, and without a closure that lives on: rustc cannot prove such futures `Send` for every lifetime.
        let reads: Vec<BoxFuture<'a, _>> =
            files.into_iter().map(|file| async move { Ok((file, self.manifest(file).await?)) }.boxed()).collect();
        stream::iter(reads).buffered(MANIFESTS_CONCURRENT_MAX).boxed()
    }

    async fn read_part(&self, part: TablePart, location: &str) -> Result<Bytes> {
        self.storage.read(location).await.map_err(|e| TableError::from_read(&self.name, part, location, e))
    }

    fn corrupt(&self, part: TablePart, location: &str, source: iceberg::Error) -> TableError {
        TableError::Corrupt { table: self.name.clone(), part, location: location.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn encrypted(&self, location: &str) -> TableError {
        self.unsupported(location, "is encrypted", "read it with the engine that holds its keys")
    }

    pub(crate) fn unsupported(&self, location: &str, what: &str, help: &str) -> TableError {
        TableError::Unsupported {
            table: self.name.clone(),
            location: location.to_owned(),
            what: what.to_owned(),
            help: help.to_owned(),
        }
    }
}

/// What an entry may leave to its manifest.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Inherited {
    pub snapshot_id: Option<i64>,
    pub sequence_number: Option<i64>,
    pub file_sequence_number: Option<i64>,
}

/// Fills in what an entry leaves to its manifest (<https://iceberg.apache.org/spec/#sequence-number-inheritance>).
pub(crate) fn inherit(
    status: ManifestStatus,
    numbers: Inherited,
    data_file: DataFile,
    file: &ManifestFile,
) -> iceberg::Result<Entry> {
    // Only new files inherit, and everything in a manifest of format version 1, whose numbers are all 0.
    let inherited = (status == ManifestStatus::Added || file.sequence_number == 0).then_some(file.sequence_number);
    let number = |own: Option<i64>| {
        own.or(inherited).ok_or_else(|| {
            let message = format!("entry {} has no sequence number", data_file.file_path());
            iceberg::Error::new(iceberg::ErrorKind::DataInvalid, message)
        })
    };
    Ok(Entry {
        status,
        snapshot_id: numbers.snapshot_id.unwrap_or(file.added_snapshot_id),
        sequence_number: number(numbers.sequence_number)?,
        file_sequence_number: number(numbers.file_sequence_number)?,
        data_file: Arc::new(data_file),
    })
}
