//! The manifests of the next snapshot: those that stay as they are, those that lose a file and are written again, and
//! new ones for new files.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use contract::TableName;
use futures::TryStreamExt;
use iceberg::spec::{DataFile, ManifestContentType, ManifestFile, PartitionSpec, SchemaRef, StructType, TableMetadata};

use super::{
    CommitError, Conflict,
    cluster::manifest_gone,
    encode::{Form, encode},
    merge::merge_small,
    names::AttemptFiles,
    summary::Sums,
};
use crate::{
    Change, ChangeKind, ManifestSwap, Removal, Result, Table,
    manifest::{Entry, Manifest, may_have_live_files},
};

/// Files in one new manifest: about 8 MB with bounds of thirty columns.
const ENTRIES_PER_MANIFEST_MAX: usize = 8_000;

/// The manifests of the next snapshot, and what changed in them.
#[derive(Debug)]
pub(super) struct NextManifests {
    /// New ones first.
    pub manifests: Vec<ManifestFile>,
    /// What was added and removed.
    pub sums: Sums,
}

/// Makes the manifests of the snapshot `snapshot_id` on top of the current head. `shape` is the metadata with the
/// schema and partition specs that new files were written for.
pub(super) async fn next_manifests(
    current: &Table,
    shape: &TableMetadata,
    change: &Change,
    snapshot_id: i64,
    files: &mut AttemptFiles<'_>,
) -> Result<NextManifests> {
    let list = match current.head() {
        Some(head) => current.manifest_list(head).await?,
        None => Vec::new(),
    };
    // A manifest of nothing but deletions told its own snapshot's story; the next one has no use for it.
    let live: Vec<_> = list.into_iter().filter(may_have_live_files).collect();
    let mut sums = Sums::default();
    if let Some(swap) = &change.manifests {
        let manifests = exchange(current, live, swap, snapshot_id, &mut sums)?;
        return Ok(NextManifests { manifests, sums });
    }
    let mut drafts = new_manifests(&current.name, shape, change, &mut sums)?;
    let (kept, rewritten) = remove(current, change, live, &mut sums).await?;
    drafts.extend(rewritten);
    let (kept, merged) = merge_small(current, kept).await?;
    drafts.extend(merged);
    let mut manifests = Vec::with_capacity(drafts.len() + kept.len());
    for draft in drafts {
        manifests.push(draft.write(&current.name, snapshot_id, files).await?);
    }
    manifests.extend(kept);
    Ok(NextManifests { manifests, sums })
}

/// A manifest that is about to be written.
#[derive(Debug)]
pub(super) struct Draft {
    pub schema: SchemaRef,
    pub spec: PartitionSpec,
    /// The values of a partition.
    pub partition: StructType,
    pub content: ManifestContentType,
    pub entries: Vec<DraftEntry>,
}

/// An entry of a draft.
#[derive(Debug)]
pub(super) enum DraftEntry {
    /// A new file; with a data sequence number when it stands for older rows.
    Added(Box<DataFile>, Option<i64>),
    /// A file that stays.
    Existing(Entry),
    /// A file that goes with this snapshot.
    Removed(Entry),
}

/// Manifests for the change's new files, one writer per partition spec and content.
fn new_manifests(
    table: &TableName,
    shape: &TableMetadata,
    change: &Change,
    sums: &mut Sums,
) -> std::result::Result<Vec<Draft>, CommitError> {
    // Compaction keeps the data sequence number of the snapshot it read: deletes that came later still apply.
    let sequence_number = match change.kind {
        ChangeKind::Replace => {
            let base = change.base_snapshot_id.and_then(|id| shape.snapshot_by_id(id));
            Some(base.map_or(0, |base| base.sequence_number()))
        }
        _ => None,
    };
    let mut by_spec: BTreeMap<(u8, i32), Vec<DraftEntry>> = BTreeMap::new();
    let data = change.added.iter().map(|file| (ManifestContentType::Data, file));
    let deletes = change.added_deletes.iter().map(|file| (ManifestContentType::Deletes, file));
    for (content, staged) in data.chain(deletes) {
        sums.add(staged.spec_id, &staged.data_file);
        let entry = DraftEntry::Added(Box::new(staged.data_file.clone()), sequence_number);
        by_spec.entry((content as u8, staged.spec_id)).or_default().push(entry);
    }
    let mut drafts = Vec::new();
    for ((content, spec_id), mut entries) in by_spec {
        let spec = shape.partition_spec_by_id(spec_id).ok_or_else(|| CommitError::InvalidChange {
            table: table.clone(),
            problem: format!("a file was written for partition spec {spec_id}, which the table does not have"),
        })?;
        let content = if content == ManifestContentType::Data as u8 {
            ManifestContentType::Data
        } else {
            ManifestContentType::Deletes
        };
        let schema = shape.current_schema();
        let partition = spec.partition_type(schema).map_err(|source| build_error(table, source))?;
        while !entries.is_empty() {
            let rest = entries.split_off(entries.len().min(ENTRIES_PER_MANIFEST_MAX));
            let (schema, spec) = (Arc::clone(schema), spec.as_ref().clone());
            drafts.push(Draft { schema, spec, partition: partition.clone(), content, entries });
            entries = rest;
        }
    }
    Ok(drafts)
}

/// Takes files out of the manifests that hold them. A file that no manifest holds is a conflict.
async fn remove(
    current: &Table,
    change: &Change,
    manifests: Vec<ManifestFile>,
    sums: &mut Sums,
) -> Result<(Vec<ManifestFile>, Vec<Draft>)> {
    let removed = || change.removed.iter().chain(&change.removed_deletes);
    let mut wanted: HashMap<&str, &Removal> = removed().map(|gone| (gone.path.as_str(), gone)).collect();
    let may_hold = |file: &ManifestFile| removed().any(|gone| gone.spec_id == file.partition_spec_id);
    // What the list says of a manifest's oldest file says where to look first; its entries say what is so.
    let is_likely =
        |file: &ManifestFile| may_hold(file) && removed().any(|gone| gone.sequence_number >= file.min_sequence_number);
    let (likely, others): (Vec<_>, Vec<_>) = manifests.into_iter().partition(is_likely);
    let (unlikely, mut kept): (Vec<_>, Vec<_>) = others.into_iter().partition(may_hold);
    let mut drafts = Vec::new();
    for searched in [likely, unlikely] {
        let mut searched_count = 0;
        let mut read = current.manifests(searched.iter().filter(|_| !wanted.is_empty()));
        while !wanted.is_empty()
            && let Some((file, manifest)) = read.try_next().await?
        {
            searched_count += 1;
            match without(&mut wanted, file, manifest, sums) {
                Some(draft) => drafts.push(draft),
                None => kept.push(file.clone()),
            }
        }
        drop(read);
        kept.extend(searched.into_iter().skip(searched_count));
    }
    if let Some(file) = wanted.into_keys().min() {
        let conflict = Conflict::ReplacedGone { file: file.to_owned() };
        return Err(CommitError::Conflict { table: current.name.clone(), conflict, retry_plan: true }.into());
    }
    Ok((kept, drafts))
}

/// A manifest without the files that go; `None` when it has none of them.
fn without(
    wanted: &mut HashMap<&str, &Removal>,
    file: &ManifestFile,
    manifest: Manifest,
    sums: &mut Sums,
) -> Option<Draft> {
    let wanted_before = wanted.len();
    let mut entries = Vec::with_capacity(manifest.entries.len());
    for entry in manifest.entries.into_iter().filter(Entry::is_live) {
        let path = entry.data_file.file_path();
        // The same path with another number is another file in its place, added since the plan read the table.
        if wanted.get(path).is_some_and(|gone| gone.sequence_number == entry.sequence_number) {
            wanted.remove(path);
            sums.remove(file.partition_spec_id, &entry.data_file);
            entries.push(DraftEntry::Removed(entry));
        } else {
            entries.push(DraftEntry::Existing(entry));
        }
    }
    let Manifest { schema, spec, partition, content, .. } = manifest;
    (wanted.len() < wanted_before).then_some(Draft { schema, spec, partition, content, entries })
}

/// Puts staged manifests in the place of others. One that is gone is a conflict: another writer has taken a file out of it,
/// or merged it. What others have added stays as it is.
fn exchange(
    current: &Table,
    manifests: Vec<ManifestFile>,
    swap: &ManifestSwap,
    snapshot_id: i64,
    sums: &mut Sums,
) -> std::result::Result<Vec<ManifestFile>, CommitError> {
    let mut wanted: HashSet<&str> = swap.removed.iter().map(String::as_str).collect();
    let (replaced, kept): (Vec<_>, Vec<_>) =
        manifests.into_iter().partition(|file| wanted.remove(file.manifest_path.as_str()));
    if let Some(path) = wanted.into_iter().min() {
        return Err(manifest_gone(current, path));
    }
    let counts = |of: &[ManifestFile]| {
        let sum = |(files, rows): (u64, u64), file: &ManifestFile| {
            let live =
                u64::from(file.added_files_count.unwrap_or(0)) + u64::from(file.existing_files_count.unwrap_or(0));
            (files + live, rows + file.added_rows_count.unwrap_or(0) + file.existing_rows_count.unwrap_or(0))
        };
        of.iter().fold((0, 0), sum)
    };
    if counts(&replaced) != counts(&swap.added) {
        let problem = format!("its manifests have other files than those that they replace: {:?}", counts(&swap.added));
        return Err(CommitError::InvalidChange { table: current.name.clone(), problem });
    }
    sums.manifests =
        Some([swap.added.len(), kept.len(), replaced.len(), usize::try_from(swap.files).unwrap_or(usize::MAX)]);
    let ours = swap.added.iter().map(|file| ManifestFile { added_snapshot_id: snapshot_id, ..file.clone() });
    Ok(ours.chain(kept).collect())
}

impl Draft {
    /// Writes the manifest.
    pub(super) async fn write(
        self,
        table: &TableName,
        snapshot_id: i64,
        files: &mut AttemptFiles<'_>,
    ) -> Result<ManifestFile> {
        let encoded = self.encode(Some(snapshot_id));
        let (mut manifest, bytes) = encoded.map_err(|source| build_error(table, source))?;
        manifest.manifest_path = files.write_manifest(bytes).await?;
        Ok(manifest)
    }

    /// Without a snapshot for one that has no new files: which snapshot adds it is then said by the list alone.
    pub(super) fn encode(&self, snapshot_id: Option<i64>) -> iceberg::Result<(ManifestFile, Bytes)> {
        let Self { schema, spec, partition, content, entries } = self;
        encode(&Form { schema, spec, partition, content: *content, snapshot_id }, entries)
    }
}

/// A failure of the crate that makes metadata.
pub(super) fn build_error(table: &TableName, source: iceberg::Error) -> CommitError {
    CommitError::Build { table: table.clone(), source: Box::new(source) }
}
