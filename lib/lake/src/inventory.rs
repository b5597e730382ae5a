//! What a table consists of, from its metadata alone: the files of its current snapshot, and how much only older ones need.
//!
//! For tables of hundreds of thousands of files: what is kept of a file of the current snapshot is without its column
//! metrics, and of an older one a few bytes. Refuses to know what of it is good or bad.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::{DataContentType, DataFile, DataFileBuilder, ManifestContentType, ManifestFile, SnapshotRef};
use plan::objects::{KindTotal, ObjectKind};
use tokio::task::JoinError;

use crate::{
    DataFileEntry, LiveFiles, Result, TOMBSTONES_PROPERTY, Table,
    manifest::may_have_live_files,
    reachable::{beside_manifests, snapshots, spelled},
};

/// Objects of metadata that are read at once. Each is a small request, and S3 answers in tens of milliseconds.
const READS_CONCURRENT_MAX: usize = 32;

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

/// Which snapshots need an object.
#[derive(Debug, Clone, Copy, Default)]
struct Needed {
    by_head: bool,
    /// Also the current one.
    by_kept: bool,
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
    let manifests = manifests(table, &expired).await?;
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
    let reads =
        manifests.into_iter().filter(|(manifest, _)| may_have_live_files(manifest)).map(|(manifest, needed)| {
            let table = table.clone();
            // On a thread of its own: reading is waiting, and understanding a manifest is work.
            async move { ended(tokio::spawn(async move { read(&table, &manifest, needed).await }).await) }
        });
    let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(READS_CONCURRENT_MAX);
    while let Some(read) = reads.try_next().await? {
        for (identity, kind, bytes) in read.files {
            objects.add(identity, kind, bytes, read.needed);
        }
        for entry in read.live {
            match entry.data_file.content_type() {
                DataContentType::Data => inventory.live.data.push(entry),
                DataContentType::PositionDeletes => inventory.live.position_deletes.push(entry),
                DataContentType::EqualityDeletes => inventory.live.equality_deletes.push(entry),
            }
        }
        inventory.unreadable = inventory.unreadable.or(read.unreadable);
    }
    inventory.history = objects.totals(|needed| !needed.by_head);
    inventory.expiring = objects.totals(|needed| !needed.by_kept);
    Ok(inventory)
}

/// Every manifest once, with who needs it, in an order that does not change.
async fn manifests(table: &Table, expired: &HashSet<i64>) -> Result<Vec<(ManifestFile, Needed)>> {
    let head = table.metadata.current_snapshot_id();
    let all: Vec<SnapshotRef> = table.metadata.snapshots().cloned().collect();
    let reads = all.into_iter().map(|snapshot| {
        let table = table.clone();
        let id = snapshot.snapshot_id();
        let needed = Needed { by_head: Some(id) == head, by_kept: !expired.contains(&id) };
        async move { ended(tokio::spawn(async move { Ok((table.manifest_list(&snapshot).await?, needed)) }).await) }
    });
    let mut lists = stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS_CONCURRENT_MAX);
    let mut manifests: HashMap<String, (ManifestFile, Needed)> = HashMap::new();
    while let Some((list, needed)) = lists.try_next().await? {
        for manifest in list {
            match manifests.get_mut(&manifest.manifest_path) {
                Some((_, known)) => known.or(needed),
                None => _ = manifests.insert(manifest.manifest_path.clone(), (manifest, needed)),
            }
        }
    }
    let mut manifests: Vec<_> = manifests.into_values().collect();
    manifests
        .sort_by(|(a, _), (b, _)| (a.sequence_number, &a.manifest_path).cmp(&(b.sequence_number, &b.manifest_path)));
    Ok(manifests)
}

async fn read(table: &Table, file: &ManifestFile, needed: Needed) -> Result<Read> {
    let manifest = table.manifest(file).await?;
    let mut read =
        Read { needed, files: Vec::with_capacity(manifest.entries.len()), live: Vec::new(), unreadable: None };
    for entry in manifest.entries.into_iter().filter(|entry| entry.is_live()) {
        let data_file = entry.data_file;
        let is_data = data_file.content_type() == DataContentType::Data;
        let kind = if is_data { ObjectKind::DataFile } else { ObjectKind::DeleteFile };
        read.files.push((identity(data_file.file_path()), kind, data_file.file_size_in_bytes()));
        if !needed.by_head {
            continue;
        }
        if read.unreadable.is_none() {
            read.unreadable = table.refuse_unreadable(&data_file).err().map(|error| error.to_string());
        }
        read.live.push(DataFileEntry {
            spec_id: file.partition_spec_id,
            sequence_number: entry.sequence_number,
            snapshot_id: entry.snapshot_id,
            data_file: if is_data { without_metrics(&data_file) } else { data_file },
        });
    }
    Ok(read)
}

/// A task's result; its panic goes on here.
fn ended<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => unreachable!("nobody cancels these tasks"),
    }
}

/// The file as far as plans look at it: with the metrics of twenty columns half a million of them would not fit.
fn without_metrics(file: &Arc<DataFile>) -> Arc<DataFile> {
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec));
    if let Some(id) = file.sort_order_id() {
        builder.sort_order_id(id);
    }
    // What is required is set above; if that ever changes the whole file is as good, and larger.
    builder.build().map_or_else(|_| file.clone(), Arc::new)
}

impl Needed {
    fn or(&mut self, other: Self) {
        self.by_head |= other.by_head;
        self.by_kept |= other.by_kept;
    }
}

/// What stands for a location: a report may take two of a million locations for one without anybody noticing, and 64 bits
/// make even that unlikely. Nothing is deleted by it.
fn identity(location: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    spelled(location).hash(&mut hasher);
    hasher.finish()
}

fn bytes_of(manifest: &ManifestFile) -> u64 {
    u64::try_from(manifest.manifest_length).unwrap_or(0)
}

/// Every object that snapshots need.
#[derive(Default)]
struct Objects(HashMap<u64, (ObjectKind, u64, Needed)>);

impl Objects {
    fn add(&mut self, identity: u64, kind: ObjectKind, bytes: u64, needed: Needed) {
        self.0.entry(identity).or_insert((kind, bytes, Needed::default())).2.or(needed);
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
