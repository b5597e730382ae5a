//! Whether a change is still right after what others committed since its plan read the table.
//!
//! Walks the snapshots from the head back to the base, and in each looks at the manifests that it added. What is not
//! known for certain counts as a conflict.

use std::collections::{BTreeSet, HashSet};

use futures::TryStreamExt;
use iceberg::spec::{
    DataContentType, DataFile, DataFileFormat, Datum, ManifestContentType, ManifestStatus, Operation, PrimitiveType,
    SnapshotRef,
};

use super::{
    CommitError, Conflict,
    expiry::{held, retention_conflict},
    rollback::rollback_conflict,
};
use crate::{
    Change, ChangeKind, DataFileEntry, KeyScope, Removal, Result, StagedFile, Table,
    files::{DeleteIndex, comparable},
    manifest::Entry,
};

/// Looks for conflicts between the change and the history from its base to the head of `current`; `planned` is the table
/// as the plan read it. That replaced files
/// are still live is seen when their manifests are written again.
pub(super) async fn validate(planned: &Table, current: &Table, change: &Change) -> Result<()> {
    let of_metadata = schema_conflict(current, change)
        .or_else(|| property_conflict(planned, current, change))
        .or_else(|| retention_conflict(planned, current, change))
        .or_else(|| rollback_conflict(planned, current, change));
    let found = match of_metadata {
        Some(conflict) => Some(conflict),
        None => match inputs_taken(current, change)? {
            Some(conflict) => Some(conflict),
            None => history_conflict(current, change).await?,
        },
    };
    let table = || current.name.clone();
    if let Some(conflict) = found {
        return Err(CommitError::Conflict { table: table(), conflict, retry_plan: true }.into());
    }
    match change.expiry.as_ref().and_then(|expiry| held(&current.metadata, expiry)) {
        Some(problem) => Err(CommitError::InvalidChange { table: table(), problem }.into()),
        None => Ok(()),
    }
}

fn schema_conflict(current: &Table, change: &Change) -> Option<Conflict> {
    let expected = change.schema_update.as_ref()?.base_schema_id;
    let found = current.metadata.current_schema_id();
    (expected != found).then_some(Conflict::SchemaChanged { expected, found })
}

/// *Inputs taken*: without a key nothing else keeps the rows of a raw file from being there twice.
fn inputs_taken(current: &Table, change: &Change) -> Result<Option<Conflict>> {
    let Some(entry) = change.ledger_entry.as_ref().filter(|_| change.kind == ChangeKind::Append) else {
        return Ok(None);
    };
    let ledger = current.ledger()?;
    let marks = ledger.partitions(&current.metadata);
    let moved =
        change.expected_marks.iter().find(|(start, mark)| marks.get(start.as_str()).copied() != mark.as_deref());
    if let Some((start, _)) = moved {
        return Ok(Some(Conflict::InputsTaken { inputs: format!("raw partition {start}") }));
    }
    // A replay has no partitions: it is known by the digest of its files.
    let same = ledger.applied(&entry.input_digest, &entry.contract_digest, &current.metadata);
    Ok(same.map(|run| Conflict::InputsTaken { inputs: format!("run {}", run.run_id) }))
}

/// A property that the change sets was set by another writer meanwhile: what it stands for, as the file of tombstones, was
/// made from the value that the plan read.
fn property_conflict(planned: &Table, current: &Table, change: &Change) -> Option<Conflict> {
    let value = |table: &Table, name: &String| table.metadata.properties().get(name).cloned();
    let name = change.properties.keys().find(|name| value(planned, name) != value(current, name))?;
    Some(Conflict::PropertyChanged { name: name.clone() })
}

async fn history_conflict(current: &Table, change: &Change) -> Result<Option<Conflict>> {
    let checks = Checks::of(change);
    if !checks.any() {
        return Ok(None);
    }
    let Some(history) = history(current, change.base_snapshot_id) else {
        return Ok(Some(Conflict::BaseNotInHistory { base: change.base_snapshot_id }));
    };
    let mut new_deletes = Vec::new();
    for snapshot in history {
        let added = AddedBy::read(current, snapshot, checks).await?;
        let conflict = new_data(&added, change, checks)
            .or_else(|| new_delete(&added, change, checks))
            .or_else(|| referenced_gone(&added, change, checks))
            .or_else(|| delete_needed(current, &added, change));
        if conflict.is_some() {
            return Ok(conflict);
        }
        new_deletes.extend(added.deletes);
    }
    Ok(delete_for_replaced(current, &new_deletes, change, checks))
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Checks {
    new_data: bool,
    new_deletes: bool,
    deletes_for_replaced: bool,
    referenced_live: bool,
    removes_deletes: bool,
    /// The change's files keep the data sequence number of its base.
    keeps_sequence_number: bool,
}

impl Checks {
    fn of(change: &Change) -> Self {
        let merge = change.kind == ChangeKind::Merge;
        let replace = change.kind == ChangeKind::Replace;
        let position_deletes = !change.added_deletes.is_empty();
        Self {
            new_data: merge,
            new_deletes: merge && position_deletes,
            deletes_for_replaced: (merge || replace) && !change.removed.is_empty(),
            referenced_live: !change.referenced.is_empty(),
            removes_deletes: !change.removed_deletes.is_empty(),
            keeps_sequence_number: replace,
        }
    }

    fn any(self) -> bool {
        self.new_data || self.new_deletes || self.deletes_for_replaced || self.referenced_live || self.removes_deletes
    }
}

/// Snapshots after `base` up to the head, newest first; `None` when the walk does not reach the base.
fn history(current: &Table, base: Option<i64>) -> Option<Vec<&SnapshotRef>> {
    let mut newer = Vec::new();
    let mut next = current.metadata.current_snapshot_id();
    while next != base {
        let snapshot = current.metadata.snapshot_by_id(next?)?;
        newer.push(snapshot);
        // A parent chain that loops is as good as one that does not reach the base.
        if newer.len() > current.metadata.snapshots().len() {
            return None;
        }
        next = snapshot.parent_snapshot_id();
    }
    Some(newer)
}

/// What one snapshot of the history did, as far as it is looked at.
#[derive(Debug, Default)]
struct AddedBy {
    snapshot_id: i64,
    data: Vec<DataFileEntry>,
    deletes: Vec<DataFileEntry>,
    removed_data: HashSet<String>,
}

impl AddedBy {
    async fn read(current: &Table, snapshot: &SnapshotRef, checks: Checks) -> Result<Self> {
        let snapshot_id = snapshot.snapshot_id();
        let mut added = Self { snapshot_id, ..Self::default() };
        let operation = &snapshot.summary().operation;
        // Compaction moves rows that were there before; an append has no deletes, a delete no rows.
        let data =
            checks.removes_deletes || checks.new_data && matches!(operation, Operation::Append | Operation::Overwrite);
        let deletes = (checks.new_deletes || checks.deletes_for_replaced)
            && matches!(operation, Operation::Overwrite | Operation::Delete);
        let removed = checks.referenced_live
            && matches!(operation, Operation::Overwrite | Operation::Replace | Operation::Delete);
        if !(data || deletes || removed) {
            return Ok(added);
        }
        let manifests = current.manifest_list(snapshot).await?;
        let own = manifests.iter().filter(|file| {
            file.added_snapshot_id == snapshot_id
                && match file.content {
                    ManifestContentType::Data => data || removed,
                    ManifestContentType::Deletes => deletes,
                }
        });
        let mut read = current.manifests(own);
        while let Some((file, manifest)) = read.try_next().await? {
            for entry in manifest.entries.into_iter().filter(|entry| entry.snapshot_id == snapshot_id) {
                let is_data = entry.data_file.content_type() == DataContentType::Data;
                match entry.status {
                    ManifestStatus::Added if is_data && data => added.data.push(located(entry, file.partition_spec_id)),
                    ManifestStatus::Added if !is_data => added.deletes.push(located(entry, file.partition_spec_id)),
                    ManifestStatus::Deleted if is_data && removed => {
                        added.removed_data.insert(entry.data_file.file_path().to_owned());
                    }
                    _ => {}
                }
            }
        }
        Ok(added)
    }
}

fn located(entry: Entry, spec_id: i32) -> DataFileEntry {
    let Entry { snapshot_id, sequence_number, data_file, .. } = entry;
    DataFileEntry { data_file, spec_id, sequence_number, snapshot_id }
}

/// *New data*: an added file may hold a key of ours.
fn new_data(added: &AddedBy, change: &Change, checks: Checks) -> Option<Conflict> {
    let file = added.data.iter().find(|file| checks.new_data && may_hold_key(change.key_scope.as_ref(), file))?;
    let (file, snapshot_id) = (file.data_file.file_path().to_owned(), added.snapshot_id);
    Some(Conflict::NewData { file, snapshot_id })
}

/// *New deletes*: a delete newer than base may hit our rows.
fn new_delete(added: &AddedBy, change: &Change, checks: Checks) -> Option<Conflict> {
    let file = added.deletes.iter().find(|file| checks.new_deletes && may_hold_key(change.key_scope.as_ref(), file))?;
    let (file, snapshot_id) = (file.data_file.file_path().to_owned(), added.snapshot_id);
    Some(Conflict::NewDelete { file, snapshot_id })
}

/// *Referenced files live*: a file that our position deletes point into was removed.
fn referenced_gone(added: &AddedBy, change: &Change, checks: Checks) -> Option<Conflict> {
    let gone = |path: &&String| checks.referenced_live && added.removed_data.contains(path.as_str());
    let file = change.referenced.iter().find(gone)?.clone();
    Some(Conflict::ReferencedGone { file, snapshot_id: added.snapshot_id })
}

/// *Deletes dangle*: a data file that came since is old enough for a delete file that we remove, as files of another
/// compaction may be. Names are never used twice, so that of position deletes those of its own commit do not count.
fn delete_needed(current: &Table, added: &AddedBy, change: &Change) -> Option<Conflict> {
    let unpartitioned = current.unpartitioned_spec_ids();
    let applies = |gone: &Removal, file: &DataFileEntry| {
        let partition = comparable(&gone.partition) == comparable(file.data_file.partition());
        let is_in_reach = unpartitioned.contains(&gone.spec_id) || gone.spec_id == file.spec_id && partition;
        is_in_reach && file.sequence_number < gone.sequence_number
    };
    let is_needed = |file: &&DataFileEntry| change.removed_deletes.iter().any(|gone| applies(gone, file));
    let file = added.data.iter().find(is_needed)?.data_file.file_path().to_owned();
    Some(Conflict::DeleteNeeded { file, snapshot_id: added.snapshot_id })
}

/// *Deletes for replaced files*: a delete newer than base applies to a file that we replace. Files that keep the
/// sequence number of the base stay older than new equality deletes, which then apply to them as they did before.
fn delete_for_replaced(
    current: &Table,
    new_deletes: &[DataFileEntry],
    change: &Change,
    checks: Checks,
) -> Option<Conflict> {
    if !checks.deletes_for_replaced || new_deletes.is_empty() {
        return None;
    }
    let index = DeleteIndex::new(new_deletes.iter(), &current.unpartitioned_spec_ids());
    change.removed.iter().find_map(|gone| {
        let hits = index.applicable(&gone.path, gone.spec_id, &gone.partition, gone.sequence_number);
        let equality = hits.equality.first().filter(|_| !checks.keeps_sequence_number);
        let hit = hits.position.first().or(equality)?;
        Some(Conflict::DeleteForReplaced { file: gone.path.clone(), snapshot_id: hit.snapshot_id })
    })
}

/// Whether a file, of data or of deletes, may hold a key of ours.
fn may_hold_key(scope: Option<&KeyScope>, file: &DataFileEntry) -> bool {
    let Some(scope) = scope else { return true };
    let elsewhere = scope.partitions.as_ref().is_some_and(|ours| {
        let theirs = comparable(file.data_file.partition());
        scope.spec_id == file.spec_id && !ours.iter().any(|ours| comparable(ours) == theirs)
    });
    if elsewhere {
        return false;
    }
    // Partitions of another spec do not compare with ours: that is doubt, whatever the bounds say.
    if scope.partitions.is_some() && scope.spec_id != file.spec_id {
        return true;
    }
    !scope.bounds.iter().any(|(field_id, ours)| is_outside(&file.data_file, *field_id, ours))
}

/// Whether all values of a column certainly lie below or above ours.
fn is_outside(file: &DataFile, field_id: i32, (smallest, largest): &(Datum, Datum)) -> bool {
    // Java orders the halves of a UUID by sign, so its bounds are not bounds as we compare.
    if smallest.data_type() == &PrimitiveType::Uuid {
        return false;
    }
    let below = file.upper_bounds().get(&field_id).is_some_and(|upper| upper < smallest);
    let above = file.lower_bounds().get(&field_id).is_some_and(|lower| lower > largest);
    below || above
}

/// Refuses a change that no table could take.
pub(super) fn check_change(current: &Table, change: &Change) -> std::result::Result<(), CommitError> {
    let invalid = |problem: String| CommitError::InvalidChange { table: current.name.clone(), problem };
    if change.table != current.name {
        return Err(invalid(format!("it is for table {}", change.table)));
    }
    let mut paths = BTreeSet::new();
    let added = change.added.iter().map(|file| (file, DataContentType::Data));
    let deletes = change.added_deletes.iter().map(|file| (file, DataContentType::PositionDeletes));
    for (staged, content) in added.chain(deletes) {
        let path = staged.data_file.file_path();
        if !paths.insert(path) {
            return Err(invalid(format!("it names {path} twice")));
        }
        check_staged(current, change, staged, content).map_err(|problem| invalid(format!("{path} {problem}")))?;
    }
    for gone in change.removed.iter().chain(&change.removed_deletes) {
        if !paths.insert(&gone.path) {
            return Err(invalid(format!("it names {} twice", gone.path)));
        }
    }
    let removes_nothing = change.removed_deletes.is_empty();
    let removes = !change.removed.is_empty() || !change.added_deletes.is_empty();
    if change.manifests.is_some() {
        let moves_files = removes || !removes_nothing || !change.added.is_empty();
        return match change.kind {
            ChangeKind::Replace if !moves_files => Ok(()),
            _ => Err(invalid("manifests are rewritten without any other change".to_owned())),
        };
    }
    match change.kind {
        kind if kind != ChangeKind::Replace && !change.removed_deletes.is_empty() => {
            Err(invalid("only a compaction removes delete files".to_owned()))
        }
        ChangeKind::Append if removes => Err(invalid("an append removes nothing".to_owned())),
        ChangeKind::MetadataOnly if removes || !change.added.is_empty() => {
            Err(invalid("a change of metadata only has no files".to_owned()))
        }
        kind if kind != ChangeKind::MetadataOnly && change.rollback.is_some() => {
            Err(invalid("only a change of metadata only goes back".to_owned()))
        }
        kind if kind != ChangeKind::MetadataOnly && change.expiry.is_some() => {
            Err(invalid("only a change of metadata only makes snapshots expire".to_owned()))
        }
        ChangeKind::Replace if !change.added_deletes.is_empty() => {
            Err(invalid("a compaction adds no deletes".to_owned()))
        }
        ChangeKind::Replace if change.removed.is_empty() && (removes_nothing || !change.added.is_empty()) => {
            Err(invalid("a compaction replaces files".to_owned()))
        }
        _ => Ok(()),
    }
}

fn check_staged(
    current: &Table,
    change: &Change,
    staged: &StagedFile,
    content: DataContentType,
) -> std::result::Result<(), String> {
    let file = &staged.data_file;
    if file.content_type() != content {
        return Err(format!("is not a file of {content:?}"));
    }
    if file.file_format() != DataFileFormat::Parquet {
        return Err("is not Parquet".to_owned());
    }
    // A spec that comes with the change is bound later, when it has its id.
    if change.schema_update.as_ref().is_some_and(|update| update.partition_spec.is_some()) {
        return Ok(());
    }
    let spec = current.metadata.partition_spec_by_id(staged.spec_id);
    let spec =
        spec.ok_or_else(|| format!("is for partition spec {}, which the table does not have", staged.spec_id))?;
    let (values, fields) = (file.partition().fields().len(), spec.fields().len());
    if values != fields {
        return Err(format!("has {values} partition values where its spec has {fields} fields"));
    }
    Ok(())
}
