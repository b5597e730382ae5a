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
    DataFile, ManifestContentType, ManifestFile, ManifestList, ManifestStatus, NestedField, PartitionField,
    PartitionSpec, Schema, SchemaRef, Snapshot, StructType,
};

use crate::{
    Error, Location, Result, Table, TableError,
    skim::{self, Container, Detail, Shape},
    table::{TablePart, document::INLINE},
};

/// Manifests that are read at once: each is a request of some hundred kilobytes, and S3 answers in tens of milliseconds.
pub(crate) const MANIFESTS_CONCURRENT_MAX: usize = 16;

/// A manifest with its entries.
#[derive(Debug)]
pub(crate) struct Manifest {
    /// The schema it was written with.
    pub schema: SchemaRef,
    /// The partition spec of all its files.
    pub spec: PartitionSpec,
    /// The values of a partition.
    pub partition: StructType,
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

/// The manifest may hold files that are live. A list that counts no file at all in it is wrong, or was made without counting.
pub(crate) fn may_have_live_files(manifest: &ManifestFile) -> bool {
    manifest.has_added_files() || manifest.has_existing_files() || !has_counts(manifest)
}

/// The list counts the manifest's files and rows.
fn has_counts(manifest: &ManifestFile) -> bool {
    let files = [manifest.added_files_count, manifest.existing_files_count, manifest.deleted_files_count];
    let rows = [manifest.added_rows_count, manifest.existing_rows_count, manifest.deleted_rows_count];
    files.iter().all(Option::is_some)
        && rows.iter().all(Option::is_some)
        && files.iter().flatten().any(|count| *count > 0)
}

/// The locations of a snapshot's manifests, where it has no list of them.
pub(crate) fn inline_manifests(snapshot: &Snapshot) -> Option<Vec<String>> {
    serde_json::from_str(snapshot.manifest_list().strip_prefix(INLINE)?).ok()
}

impl Table {
    /// The manifests of a snapshot, with counts of their files.
    pub(crate) async fn manifest_list(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
        let mut files = self.listed_manifests(snapshot).await?;
        let uncounted: Vec<usize> = (0..files.len()).filter(|index| !has_counts(&files[*index])).collect();
        for index in uncounted {
            // One that cannot be read is met again by those who need it.
            if let Ok(manifest) = self.manifest(&files[index]).await {
                count(&mut files[index], &manifest);
            }
        }
        Ok(files)
    }

    /// The manifests of a snapshot as they are listed.
    pub(crate) async fn listed_manifests(&self, snapshot: &Snapshot) -> Result<Vec<ManifestFile>> {
        let Some(locations) = inline_manifests(snapshot) else {
            return self.parse_manifest_list(snapshot, &self.manifest_list_bytes(snapshot).await?);
        };
        let mut files = Vec::with_capacity(locations.len());
        for location in locations {
            let bytes = self.read_part(TablePart::Manifest, &location).await?;
            files.push(unlisted(location, &bytes, snapshot));
        }
        Ok(files)
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
        let mut files = Vec::new();
        let read = skim::manifest_list(bytes, true, |listed| {
            files.push(listed.manifest()?);
            Some(())
        });
        let corrupt = |source| self.corrupt(TablePart::ManifestList, snapshot.manifest_list(), source);
        if read.is_none() {
            let list = ManifestList::parse_with_version(bytes, self.metadata.format_version()).map_err(corrupt)?;
            files = list.consume_entries().into_iter().collect();
        }
        // A location that nothing can lie at says nothing of itself: its list is what is damaged.
        for file in &files {
            if let Err(Error::Location { location, reason }) = Location::parse(&file.manifest_path) {
                let message = format!("it lists a manifest at {location:?}, where none can lie: {reason}");
                return Err(corrupt(iceberg::Error::new(iceberg::ErrorKind::DataInvalid, message)).into());
            }
        }
        Ok(files)
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
        let read = self.skim_manifest(file, bytes, Detail::Whole);
        Ok(read.ok_or_else(|| self.corrupt(TablePart::Manifest, &file.manifest_path, damage(bytes)))?)
    }

    /// The same, as much as is wanted; `None` where [`crate::skim`] does not understand it.
    pub(crate) fn skim_manifest(&self, file: &ManifestFile, bytes: &[u8], detail: Detail<'_>) -> Option<Manifest> {
        let container = Container::open(bytes)?;
        let schema: SchemaRef = match container.metadata.get("schema") {
            Some(json) => Arc::new(serde_json::from_slice(json).ok()?),
            // BigQuery leaves it out.
            None => Arc::clone(self.metadata.current_schema()),
        };
        let spec_id = file.partition_spec_id;
        let spec = match container.metadata.get("partition-spec") {
            Some(json) => partition_spec(json, spec_id)?,
            None => self.metadata.partition_spec_by_id(spec_id)?.as_ref().clone(),
        };
        let partition = self.partition_type(&spec, &schema)?;
        let shape = Shape { partition: &partition, schema: &schema, spec_id: file.partition_spec_id, detail };
        let entries = skim::entries(&container, file, shape)?;
        Some(Manifest { schema, spec, partition, content: file.content, entries })
    }

    /// The types of a spec's values. A column that the schema lacks may be in another schema of the table.
    pub(crate) fn partition_type(&self, spec: &PartitionSpec, schema: &Schema) -> Option<StructType> {
        let source = |id: i32| {
            let elsewhere = || self.metadata.schemas_iter().find_map(|schema| schema.field_by_id(id));
            schema.field_by_id(id).or_else(elsewhere)
        };
        let value = |field: &PartitionField| {
            let value_type = field.transform.result_type(&source(field.source_id)?.field_type).ok()?;
            Some(NestedField::optional(field.field_id, &field.name, value_type).into())
        };
        spec.fields().iter().map(value).collect::<Option<_>>().map(StructType::new)
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

/// The id of the first partition field in manifests that do not say them, as format version 1 has it.
const FIRST_PARTITION_FIELD_ID: i32 = 1000;

/// The partition spec in a manifest's header. It is taken as it stands: names that are in each other's way in the schema of
/// that time do no harm, since nothing here goes by them.
fn partition_spec(json: &[u8], spec_id: i32) -> Option<PartitionSpec> {
    let mut fields: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_slice(json).ok()?;
    for (id, field) in (FIRST_PARTITION_FIELD_ID..).zip(&mut fields) {
        field.entry("field-id").or_insert_with(|| id.into());
    }
    serde_json::from_value(serde_json::json!({"spec-id": spec_id, "fields": fields})).ok()
}

/// What is wrong with a manifest that could not be read. The crate knows best, unless it knows nothing of it.
fn damage(bytes: &[u8]) -> iceberg::Error {
    let unknown = || {
        let message = "it is damaged, or written in a form that etl does not know";
        iceberg::Error::new(iceberg::ErrorKind::DataInvalid, message)
    };
    iceberg::spec::Manifest::parse_avro(bytes).err().unwrap_or_else(unknown)
}

/// A manifest of format version 1 that no list speaks of.
fn unlisted(location: String, bytes: &[u8], snapshot: &Snapshot) -> ManifestFile {
    ManifestFile {
        manifest_path: location,
        manifest_length: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
        partition_spec_id: skim::partition_spec_id(bytes).unwrap_or(0),
        content: ManifestContentType::Data,
        sequence_number: 0,
        min_sequence_number: 0,
        added_snapshot_id: snapshot.snapshot_id(),
        added_files_count: None,
        existing_files_count: None,
        deleted_files_count: None,
        added_rows_count: None,
        existing_rows_count: None,
        deleted_rows_count: None,
        partitions: None,
        key_metadata: None,
        first_row_id: None,
    }
}

/// Fills in the counts that a list has of a manifest.
fn count(file: &mut ManifestFile, manifest: &Manifest) {
    let of = |status: ManifestStatus| {
        let entries = manifest.entries.iter().filter(|entry| entry.status == status);
        entries.fold((0, 0), |(files, rows), entry| (files + 1, rows + entry.data_file.record_count()))
    };
    let [added, existing, deleted] = [ManifestStatus::Added, ManifestStatus::Existing, ManifestStatus::Deleted].map(of);
    (file.added_files_count, file.added_rows_count) = (Some(added.0), Some(added.1));
    (file.existing_files_count, file.existing_rows_count) = (Some(existing.0), Some(existing.1));
    (file.deleted_files_count, file.deleted_rows_count) = (Some(deleted.0), Some(deleted.1));
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
