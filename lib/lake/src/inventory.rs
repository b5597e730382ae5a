//! What a table consists of, from its metadata alone: the files of its current snapshot, and how much only older ones need.
//!
//! For tables of hundreds of thousands of files: what is kept of a file of the current snapshot is without its column
//! metrics, and of an older one a few bytes. Refuses to know what of it is good or bad.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    pin::pin,
    sync::Arc,
};

use bytes::Bytes;
use futures::TryStreamExt;
use iceberg::spec::{ManifestContentType, ManifestFile};
use plan::objects::{KindTotal, ObjectKind};

use crate::{
    DataFileEntry, LiveFiles, Result, TOMBSTONES_PROPERTY, Table,
    gather::{self, Needed},
    manifest::may_have_live_files,
    reachable::{beside_manifests, identity, kind_of, snapshots},
};

/// What a table consists of.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The manifests of the current snapshot.
    pub manifests: Vec<ManifestSize>,
    /// The files of the current snapshot. Its data files are without column metrics.
    pub live: LiveFiles,
    /// The first file that we would not read right, and why: `… holds deletion vectors`.
    pub unreadable: Option<String>,
    /// What older snapshots, branches and tags need and the current snapshot does not, by kind. Manifest lists count with
    /// 0 bytes: their sizes are written nowhere.
    pub history: Vec<KindTotal>,
    /// Of that, what only the snapshots need that were said to expire.
    pub expiring: Vec<KindTotal>,
}

/// A manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ManifestSize {
    /// Of delete files, not of data files.
    pub of_deletes: bool,
    /// Its size.
    pub bytes: u64,
}

/// What remains of a manifest that was read.
struct Read {
    needed: Needed,
    files: Vec<(u64, ObjectKind, u64)>,
    live: Vec<DataFileEntry>,
    unreadable: Option<String>,
}

/// Takes stock of a table, and of what would be left of it without the snapshots that are `expired`. An object of metadata
/// that cannot be read is an error.
pub async fn inventory(table: &Table, expired: &[i64]) -> Result<Inventory> {
    let expired: HashSet<i64> = expired.iter().copied().collect();
    let head = table.metadata.current_snapshot_id();
    let all = table.metadata.snapshots().map(|snapshot| {
        let id = snapshot.snapshot_id();
        (Arc::clone(snapshot), Needed { by_head: Some(id) == head, by_kept: !expired.contains(&id) })
    });
    let mut manifests = gather::manifests(table, all.collect()).await?;
    let mut inventory = Inventory {
        live: LiveFiles { unpartitioned_spec_ids: table.unpartitioned_spec_ids(), ..LiveFiles::default() },
        ..Inventory::default()
    };
    let mut objects = Objects::default();
    objects.add_beside_manifests(table, &expired);
    for (manifest, needed) in &manifests {
        objects.add(identity(&manifest.manifest_path), ObjectKind::Manifest, bytes_of(manifest), *needed);
        if needed.by_head {
            let of_deletes = manifest.content == ManifestContentType::Deletes;
            inventory.manifests.push(ManifestSize { of_deletes, bytes: bytes_of(manifest) });
        }
    }
    manifests.retain(|(manifest, _)| may_have_live_files(manifest));
    let mut reads = pin!(gather::read(table, manifests, read));
    while let Some(read) = reads.try_next().await? {
        for (identity, kind, bytes) in read.files {
            objects.add(identity, kind, bytes, read.needed);
        }
        read.live.into_iter().for_each(|entry| inventory.live.push(entry));
        inventory.unreadable = inventory.unreadable.or(read.unreadable);
    }
    inventory.history = objects.totals(|needed| !needed.by_head);
    inventory.expiring = objects.totals(|needed| !needed.by_kept);
    Ok(inventory)
}

fn read(table: &Table, file: &ManifestFile, needed: &Needed, bytes: Bytes) -> Result<Read> {
    let mut read = Read { needed: *needed, files: Vec::new(), live: Vec::new(), unreadable: None };
    if !needed.by_head {
        table.live_objects(file, &bytes, |object| {
            read.files.push((identity(object.path), kind_of(object.content), object.bytes));
        })?;
        return Ok(read);
    }
    for entry in table.live_entries(file, &bytes, &[])? {
        let data_file = &entry.data_file;
        let kind = kind_of(data_file.content_type());
        read.files.push((identity(data_file.file_path()), kind, data_file.file_size_in_bytes()));
        if read.unreadable.is_none() {
            read.unreadable = table.refuse_unreadable(data_file).err().map(|error| error.to_string());
        }
        read.live.push(DataFileEntry::of(file, entry));
    }
    Ok(read)
}

fn bytes_of(manifest: &ManifestFile) -> u64 {
    u64::try_from(manifest.manifest_length).unwrap_or(0)
}

/// Every object that snapshots need.
#[derive(Default)]
struct Objects(HashMap<u64, (ObjectKind, u64, Needed)>);

impl Objects {
    fn add(&mut self, identity: u64, kind: ObjectKind, bytes: u64, needed: Needed) {
        let (.., known) = self.0.entry(identity).or_insert((kind, bytes, Needed::default()));
        *known = *known | needed;
    }

    /// What snapshots name themselves, and what the table does.
    fn add_beside_manifests(&mut self, table: &Table, expired: &HashSet<i64>) {
        let head = table.metadata.current_snapshot_id();
        let of_head = Needed { by_head: true, by_kept: true };
        if let Some(tombstones) = table.metadata.properties().get(TOMBSTONES_PROPERTY) {
            self.add(identity(tombstones), ObjectKind::Tombstones, 0, of_head);
        }
        let of_kept = Needed { by_head: false, by_kept: true };
        let groups = [
            (of_head, snapshots(&table.metadata, |id| Some(id) == head)),
            (of_kept, snapshots(&table.metadata, |id| Some(id) != head && !expired.contains(&id))),
            (Needed::default(), snapshots(&table.metadata, |id| Some(id) != head && expired.contains(&id))),
        ];
        for (needed, snapshots) in groups {
            for object in beside_manifests(&table.metadata, &snapshots) {
                self.add(identity(&object.location), object.kind, object.bytes, needed);
            }
        }
    }

    fn totals(&self, wanted: impl Fn(Needed) -> bool) -> Vec<KindTotal> {
        let kinds: BTreeSet<ObjectKind> = self.0.values().map(|(kind, ..)| *kind).collect();
        let total = |kind: ObjectKind| {
            let of_kind = self.0.values().filter(|(of, _, needed)| *of == kind && wanted(*needed));
            let (files, bytes) = of_kind.fold((0, 0), |(files, bytes), (_, of, _)| (files + 1, bytes + of));
            KindTotal { kind, files, bytes }
        };
        kinds.into_iter().map(total).filter(|total| total.files > 0).collect()
    }
}

#[cfg(test)]
mod tests;
