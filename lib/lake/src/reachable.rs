//! Which objects a table refers to, and which of them only some of its snapshots do.
//!
//! Locations are compared in one spelling ([`Location`]), so that `s3a://` and `s3://` name one object.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    pin::pin,
    sync::Arc,
};

use futures::{Stream, TryStreamExt};
use iceberg::spec::{DataContentType, ManifestFile, SnapshotRef, TableMetadata};
use plan::objects::{Object, ObjectKind};

use crate::{
    Location, Result, Table,
    commit::{METADATA_PATH, metadata_folder},
    gather::{self, Needed, NeededManifest},
    manifest::{inline_manifests, may_have_live_files},
    skim::LiveObject,
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
    fn add(&mut self, object: Object) {
        self.objects.insert(spelled(&object.location), object);
    }

    /// The objects.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.objects.values()
    }

    /// Takes out what a version of a table needs for snapshots that are not `expired`.
    pub(crate) async fn spare(&mut self, table: &Table, expired: &BTreeSet<i64>) -> Result<()> {
        let kept = snapshots(&table.metadata, |id| !expired.contains(&id));
        let manifests = gather::manifests(table, with(&kept, Needed { by_head: false, by_kept: true })).await?;
        self.spare_named(table, &kept, &manifests);
        if !self.objects.values().any(|object| is_listed_in_manifests(object.kind)) {
            return Ok(());
        }
        let new: Vec<NeededManifest> =
            manifests.into_iter().filter(|(file, _)| !self.taken_out.contains(&spelled(&file.manifest_path))).collect();
        let read: Vec<String> = new.iter().map(|(file, _)| spelled(&file.manifest_path)).collect();
        let mut reads = pin!(live_objects(table, new, |object| spelled(object.path)));
        while let Some(locations) = reads.try_next().await? {
            for location in &locations {
                self.objects.remove(location);
            }
        }
        self.taken_out.extend(read);
        Ok(())
    }

    /// Takes out what these snapshots and their manifests are themselves.
    fn spare_named(&mut self, table: &Table, kept: &[&SnapshotRef], manifests: &[NeededManifest]) {
        for object in beside_manifests(&table.metadata, kept) {
            self.objects.remove(&spelled(&object.location));
        }
        if let Some(tombstones) = table.metadata.properties().get(TOMBSTONES_PROPERTY) {
            self.objects.remove(&spelled(tombstones));
        }
        for (file, _) in manifests {
            self.objects.remove(&spelled(&file.manifest_path));
        }
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
    let needed = |by_kept| Needed { by_head: false, by_kept };
    let all = with(&gone, needed(false)).into_iter().chain(with(&kept, needed(true)));
    let manifests = gather::manifests(table, all.collect()).await?;
    let (of_kept, only): (Vec<_>, Vec<_>) = manifests.into_iter().partition(|(_, needed)| needed.by_kept);
    // Most files of a manifest that only old snapshots have are in merged ones too: they are told by numbers, since their
    // names are many. Two names with one number, and a file is left for `etl orphans`.
    let mut spared: HashSet<u64> = HashSet::new();
    let mut reads = pin!(live_objects(table, of_kept.clone(), |object| identity(object.path)));
    while let Some(identities) = reads.try_next().await? {
        spared.extend(identities);
    }
    let mut obsolete = Obsolete::default();
    for object in beside_manifests(&table.metadata, &gone) {
        obsolete.add(object);
    }
    for (file, _) in &only {
        obsolete.add(manifest_object(file));
    }
    let spared = Arc::new(spared);
    let mut reads = pin!(gather::read(table, with_live_files(only), move |table, file, _, bytes| {
        let mut objects = Vec::new();
        table.live_objects(file, &bytes, |object| {
            if !spared.contains(&identity(object.path)) {
                objects.push(data_object(object));
            }
        })?;
        Ok(objects)
    }));
    while let Some(objects) = reads.try_next().await? {
        objects.into_iter().for_each(|object| obsolete.add(object));
    }
    obsolete.spare_named(table, &kept, &of_kept);
    obsolete.taken_out = of_kept.iter().map(|(file, _)| spelled(&file.manifest_path)).collect();
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
    let manifests = gather::manifests(table, with(&all, Needed::default())).await?;
    for (file, _) in &manifests {
        add(&file.manifest_path, ObjectKind::Manifest);
    }
    let mut reads = pin!(live_objects(table, manifests, |object| (spelled(object.path), kind_of(object.content))));
    while let Some(objects) = reads.try_next().await? {
        references.extend(objects);
    }
    Ok(references)
}

fn with(snapshots: &[&SnapshotRef], needed: Needed) -> Vec<(SnapshotRef, Needed)> {
    snapshots.iter().map(|snapshot| (Arc::clone(snapshot), needed)).collect()
}

fn with_live_files(mut manifests: Vec<NeededManifest>) -> Vec<NeededManifest> {
    manifests.retain(|(file, _)| may_have_live_files(file));
    manifests
}

/// Something of every live file of these manifests, manifest by manifest.
fn live_objects<R: Send + 'static>(
    table: &Table,
    manifests: Vec<NeededManifest>,
    of: impl Fn(LiveObject<'_>) -> R + Send + Sync + 'static,
) -> impl Stream<Item = Result<Vec<R>>> + Send {
    gather::read(table, with_live_files(manifests), move |table, file, _, bytes| {
        let mut found = Vec::new();
        table.live_objects(file, &bytes, |object| found.push(of(object)))?;
        Ok(found)
    })
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
        if inline_manifests(snapshot).is_none() {
            objects.push(object(snapshot.manifest_list(), ObjectKind::ManifestList, 0));
        }
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

fn manifest_object(file: &ManifestFile) -> Object {
    let bytes = u64::try_from(file.manifest_length).unwrap_or(0);
    Object { location: file.manifest_path.clone(), kind: ObjectKind::Manifest, bytes }
}

fn data_object(object: LiveObject<'_>) -> Object {
    Object { location: object.path.to_owned(), kind: kind_of(object.content), bytes: object.bytes }
}

pub(crate) fn kind_of(content: DataContentType) -> ObjectKind {
    match content {
        DataContentType::Data => ObjectKind::DataFile,
        DataContentType::PositionDeletes | DataContentType::EqualityDeletes => ObjectKind::DeleteFile,
    }
}

fn is_listed_in_manifests(kind: ObjectKind) -> bool {
    matches!(kind, ObjectKind::DataFile | ObjectKind::DeleteFile)
}

/// What stands for a location where there are too many to keep: two of a million share one in 64 bits once in millions of
/// times, and what that means must be harmless.
pub(crate) fn identity(location: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    spelled(location).hash(&mut hasher);
    hasher.finish()
}

/// One spelling of a location; what is none of ours stays as it is, and equals nothing but itself.
pub(crate) fn spelled(location: &str) -> String {
    match location.split_at_checked(1) {
        // As nearly all are, and there are millions of them.
        Some(("s", _)) if location.strip_prefix("s3://").is_some_and(is_plain) => location.to_owned(),
        Some(("/", path)) if is_plain(path) => format!("file:///{path}"),
        _ => Location::parse(location).map_or_else(|_| location.to_owned(), |location| location.to_string()),
    }
}

/// Names and slashes that mean themselves, at least one slash among them.
fn is_plain(path: &str) -> bool {
    let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'=');
    let is_name = |name: &str| !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_usual);
    path.contains('/') && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_to_a_spelling_is_the_long_one() {
        let odd = [
            "a/b", "b//k", "b/./k", "b/../k", "b/k/", "b/k.", "b/.k", "b", "", "/", "b/k=1/ü", "b/a%20b", "b/a b",
            "b/k\u{1}",
        ];
        for path in odd {
            for prefix in ["s3://", "s3a://", "/", "//", "file:///", "file:/", ""] {
                let text = format!("{prefix}{path}");
                let parsed = Location::parse(&text).map_or_else(|_| text.clone(), |location| location.to_string());
                assert_eq!(spelled(&text), parsed);
            }
        }
    }
}
