//! Which objects a table refers to, and which of them only some of its snapshots do.
//!
//! Locations are compared in one spelling ([`Location`]), so that `s3a://` and `s3://` name one object.

use std::collections::{BTreeSet, HashMap, HashSet};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use iceberg::spec::{DataContentType, ManifestFile, SnapshotRef, TableMetadata};
use plan::objects::{Object, ObjectKind};

use crate::{
    Location, Result, Table,
    commit::{METADATA_PATH, metadata_folder},
    manifest::{MANIFESTS_CONCURRENT_MAX, may_have_live_files},
};

/// The table property, and the entry of a snapshot's summary, that names the table's tombstones.
pub const TOMBSTONES_PROPERTY: &str = "etl.tombstones";

/// Objects that only some snapshots of a table needed when it was looked at.
#[derive(Debug, Clone, Default)]
pub struct Obsolete {
    /// By location, in one spelling.
    objects: HashMap<String, Object>,
    /// Manifests whose live files were taken out already: they never change.
    taken_out: HashSet<String>,
}

impl Obsolete {
    /// The objects.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// Takes out what a version of a table needs for snapshots that are not `expired`.
    pub(crate) async fn spare(&mut self, table: &Table, expired: &BTreeSet<i64>) -> Result<()> {
        let kept = snapshots(&table.metadata, |id| !expired.contains(&id));
        for object in beside_manifests(&table.metadata, &kept) {
            self.objects.remove(&spelled(&object.location));
        }
        if let Some(tombstones) = table.metadata.properties().get(TOMBSTONES_PROPERTY) {
            self.objects.remove(&spelled(tombstones));
        }
        let manifests = manifests(table, &kept).await?;
        for manifest in manifests.values() {
            self.objects.remove(&spelled(&manifest.manifest_path));
        }
        if !self.objects.values().any(|object| is_listed_in_manifests(object.kind)) {
            return Ok(());
        }
        let new = manifests.into_iter().filter(|(location, _)| !self.taken_out.contains(location));
        let new: HashMap<String, ManifestFile> = new.collect();
        let mut read = table.manifests(new.values().filter(|file| may_have_live_files(file)));
        while let Some((_, manifest)) = read.try_next().await? {
            for entry in manifest.entries.iter().filter(|entry| entry.is_live()) {
                self.objects.remove(&spelled(entry.data_file.file_path()));
            }
        }
        drop(read);
        self.taken_out.extend(new.into_keys());
        Ok(())
    }

    /// The objects in the order in which they go: files first, what names them last.
    pub(crate) fn into_objects(self) -> Vec<Object> {
        let mut objects: Vec<_> = self.objects.into_values().collect();
        objects.sort_by(|a, b| (a.kind, &a.location).cmp(&(b.kind, &b.location)));
        objects
    }
}

/// The objects that only these snapshots of a table need. An object that cannot be read is an error.
pub async fn obsolete(table: &Table, expired: &[i64]) -> Result<Obsolete> {
    let expired: BTreeSet<i64> = expired.iter().copied().collect();
    let gone = snapshots(&table.metadata, |id| expired.contains(&id));
    let kept = snapshots(&table.metadata, |id| !expired.contains(&id));
    let mut objects: HashMap<String, Object> = HashMap::new();
    let mut add = |object: Object| objects.insert(spelled(&object.location), object);
    for object in beside_manifests(&table.metadata, &gone) {
        add(object);
    }
    // A manifest of a kept snapshot holds nothing that only others need.
    let of_kept = manifests(table, &kept).await?;
    let mut only: HashMap<String, ManifestFile> = manifests(table, &gone).await?;
    only.retain(|location, _| !of_kept.contains_key(location));
    let mut read = table.manifests(only.values());
    while let Some((file, manifest)) = read.try_next().await? {
        add(manifest_object(file));
        for entry in manifest.entries.iter().filter(|entry| entry.is_live()) {
            add(data_object(&entry.data_file));
        }
    }
    drop(read);
    let mut obsolete = Obsolete { objects, taken_out: HashSet::new() };
    obsolete.spare(table, &expired).await?;
    Ok(obsolete)
}

/// Everything that a version of a table refers to, by location in one spelling. An object that cannot be read is an error.
pub async fn references(table: &Table) -> Result<HashMap<String, ObjectKind>> {
    let metadata = &table.metadata;
    let all = snapshots(metadata, |_| true);
    let mut references: HashMap<String, ObjectKind> = HashMap::new();
    let mut add = |location: &str, kind| references.insert(spelled(location), kind);
    add(&table.pointer.metadata_location, ObjectKind::Metadata);
    for entry in metadata.metadata_log() {
        add(&entry.metadata_file, ObjectKind::Metadata);
    }
    // Tables that a Hadoop catalog once had are found by it.
    let folder = metadata_folder(metadata.location(), metadata.properties().get(METADATA_PATH));
    add(&format!("{folder}/version-hint.text"), ObjectKind::Metadata);
    if let Some(tombstones) = metadata.properties().get(TOMBSTONES_PROPERTY) {
        add(tombstones, ObjectKind::Tombstones);
    }
    for object in beside_manifests(metadata, &all) {
        add(&object.location, object.kind);
    }
    let manifests = manifests(table, &all).await?;
    let mut read = table.manifests(manifests.values());
    while let Some((file, manifest)) = read.try_next().await? {
        add(&file.manifest_path, ObjectKind::Manifest);
        for entry in manifest.entries.iter().filter(|entry| entry.is_live()) {
            let object = data_object(&entry.data_file);
            add(&object.location, object.kind);
        }
    }
    drop(read);
    Ok(references)
}

pub(crate) fn snapshots(metadata: &TableMetadata, wanted: impl Fn(i64) -> bool) -> Vec<&SnapshotRef> {
    metadata.snapshots().filter(|snapshot| wanted(snapshot.snapshot_id())).collect()
}

/// What snapshots name themselves: their manifest list, their statistics, the tombstones of their time.
pub(crate) fn beside_manifests(metadata: &TableMetadata, of: &[&SnapshotRef]) -> Vec<Object> {
    let ids: HashSet<i64> = of.iter().map(|snapshot| snapshot.snapshot_id()).collect();
    let object = |location: &str, kind, bytes: i64| {
        let bytes = u64::try_from(bytes).unwrap_or(0);
        Object { location: location.to_owned(), kind, bytes }
    };
    let mut objects = Vec::new();
    for snapshot in of {
        objects.push(object(snapshot.manifest_list(), ObjectKind::ManifestList, 0));
        if let Some(tombstones) = snapshot.summary().additional_properties.get(TOMBSTONES_PROPERTY) {
            objects.push(object(tombstones, ObjectKind::Tombstones, 0));
        }
    }
    for file in metadata.statistics_iter().filter(|file| ids.contains(&file.snapshot_id)) {
        objects.push(object(&file.statistics_path, ObjectKind::Statistics, file.file_size_in_bytes));
    }
    for file in metadata.partition_statistics_iter().filter(|file| ids.contains(&file.snapshot_id)) {
        objects.push(object(&file.statistics_path, ObjectKind::Statistics, file.file_size_in_bytes));
    }
    objects
}

/// The manifests of snapshots, each once, by location in one spelling.
async fn manifests(table: &Table, of: &[&SnapshotRef]) -> Result<HashMap<String, ManifestFile>> {
    let reads: Vec<BoxFuture<'_, Result<Vec<ManifestFile>>>> =
        of.iter().map(|snapshot| async move { table.manifest_list(snapshot).await }.boxed()).collect();
    let mut lists = stream::iter(reads).buffered(MANIFESTS_CONCURRENT_MAX);
    let mut manifests = HashMap::new();
    while let Some(list) = lists.try_next().await? {
        manifests.extend(list.into_iter().map(|file| (spelled(&file.manifest_path), file)));
    }
    Ok(manifests)
}

fn manifest_object(file: &ManifestFile) -> Object {
    let bytes = u64::try_from(file.manifest_length).unwrap_or(0);
    Object { location: file.manifest_path.clone(), kind: ObjectKind::Manifest, bytes }
}

fn data_object(file: &iceberg::spec::DataFile) -> Object {
    let kind = match file.content_type() {
        DataContentType::Data => ObjectKind::DataFile,
        DataContentType::PositionDeletes | DataContentType::EqualityDeletes => ObjectKind::DeleteFile,
    };
    Object { location: file.file_path().to_owned(), kind, bytes: file.file_size_in_bytes() }
}

fn is_listed_in_manifests(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::DataFile | ObjectKind::DeleteFile)
}

/// One spelling of a location; what is none of ours stays as it is, and equals nothing but itself.
pub(crate) fn spelled(location: &str) -> String {
    Location::parse(location).map_or_else(|_| location.to_owned(), |location| location.to_string())
}
