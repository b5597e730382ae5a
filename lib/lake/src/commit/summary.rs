//! What a snapshot's summary says: our own sums, under Java's names
//! (<https://iceberg.apache.org/spec/#optional-snapshot-summary-fields>).

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, Operation, Snapshot, Struct, Summary};

use crate::{Change, ChangeKind, files::comparable};

/// What a commit adds and removes.
#[derive(Debug, Default)]
pub(super) struct Sums {
    added: Counts,
    removed: Counts,
    partitions: HashSet<(i32, Struct)>,
    /// Manifests that were created, kept and replaced, and entries in the created ones, where that is what the commit does.
    pub manifests: Option<[usize; 4]>,
}

#[derive(Debug, Default)]
struct Counts {
    data_files: u64,
    position_delete_files: u64,
    equality_delete_files: u64,
    records: u64,
    position_deletes: u64,
    equality_deletes: u64,
    file_bytes: u64,
}

impl Sums {
    pub(super) fn add(&mut self, spec_id: i32, file: &DataFile) {
        self.added.count(file);
        self.partitions.insert((spec_id, comparable(file.partition())));
    }

    pub(super) fn remove(&mut self, spec_id: i32, file: &DataFile) {
        self.removed.count(file);
        self.partitions.insert((spec_id, comparable(file.partition())));
    }

    /// The summary of the snapshot that follows `parent`.
    pub(super) fn summary(&self, change: &Change, parent: Option<&Snapshot>) -> Summary {
        let mut properties: HashMap<String, String> = change.summary.clone().into_iter().collect();
        let (added, removed) = (&self.added, &self.removed);
        let counted = [
            ("added-data-files", added.data_files),
            ("added-delete-files", added.position_delete_files + added.equality_delete_files),
            ("added-position-delete-files", added.position_delete_files),
            ("added-equality-delete-files", added.equality_delete_files),
            ("added-records", added.records),
            ("added-position-deletes", added.position_deletes),
            ("added-equality-deletes", added.equality_deletes),
            ("added-files-size", added.file_bytes),
            ("deleted-data-files", removed.data_files),
            ("removed-delete-files", removed.position_delete_files + removed.equality_delete_files),
            ("removed-position-delete-files", removed.position_delete_files),
            ("removed-equality-delete-files", removed.equality_delete_files),
            ("deleted-records", removed.records),
            ("removed-position-deletes", removed.position_deletes),
            ("removed-equality-deletes", removed.equality_deletes),
            ("removed-files-size", removed.file_bytes),
        ];
        for (name, count) in counted.into_iter().filter(|(_, count)| *count > 0) {
            properties.insert(name.to_owned(), count.to_string());
        }
        properties.insert("changed-partition-count".to_owned(), self.partitions.len().to_string());
        const OF_MANIFESTS: [&str; 4] =
            ["manifests-created", "manifests-kept", "manifests-replaced", "entries-processed"];
        for (name, count) in OF_MANIFESTS.into_iter().zip(self.manifests.iter().flatten()) {
            properties.insert(name.to_owned(), count.to_string());
        }
        let delete_files = |counts: &Counts| counts.position_delete_files + counts.equality_delete_files;
        let totals = [
            ("total-data-files", added.data_files, removed.data_files),
            ("total-delete-files", delete_files(added), delete_files(removed)),
            ("total-records", added.records, removed.records),
            ("total-files-size", added.file_bytes, removed.file_bytes),
            ("total-position-deletes", added.position_deletes, removed.position_deletes),
            ("total-equality-deletes", added.equality_deletes, removed.equality_deletes),
        ];
        for (name, added, removed) in totals {
            // A table of the change's author may say anything: what is not known, or cannot be right, is left out.
            let total = total_before(parent, name).and_then(|before| (before + added).checked_sub(removed));
            match total {
                Some(total) => properties.insert(name.to_owned(), total.to_string()),
                None => properties.remove(name),
            };
        }
        Summary { operation: self.operation(change.kind), additional_properties: properties }
    }

    /// What other writers will validate against: an append removed nothing, a delete added no rows.
    fn operation(&self, kind: ChangeKind) -> Operation {
        let added_deletes = self.added.position_delete_files + self.added.equality_delete_files > 0;
        let removed_data = self.removed.data_files > 0;
        match kind {
            ChangeKind::Replace => Operation::Replace,
            _ if !removed_data && !added_deletes => Operation::Append,
            _ if self.added.data_files == 0 => Operation::Delete,
            _ => Operation::Overwrite,
        }
    }
}

impl Counts {
    fn count(&mut self, file: &DataFile) {
        self.file_bytes += file.file_size_in_bytes();
        match file.content_type() {
            DataContentType::Data => {
                self.data_files += 1;
                self.records += file.record_count();
            }
            DataContentType::PositionDeletes => {
                self.position_delete_files += 1;
                self.position_deletes += file.record_count();
            }
            DataContentType::EqualityDeletes => {
                self.equality_delete_files += 1;
                self.equality_deletes += file.record_count();
            }
        }
    }
}

/// A total before this commit: 0 for the first snapshot, unknown when the parent does not say.
fn total_before(parent: Option<&Snapshot>, name: &str) -> Option<u64> {
    match parent {
        None => Some(0),
        Some(parent) => parent.summary().additional_properties.get(name)?.parse().ok(),
    }
}
