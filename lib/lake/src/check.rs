//! What must hold of every table, looked at from its metadata: files exist, live once, numbers rise, sums are right.
//!
//! Keys and rows are the engine's to check.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use iceberg::spec::{DataContentType, FormatVersion, ManifestFile, ManifestStatus, Snapshot};

use crate::{
    Error, ErrorKind, Result, Table, TableError, TablePart,
    manifest::{MANIFESTS_CONCURRENT_MAX, Manifest},
};

/// Objects that are asked for their size at once.
const OBJECTS_CONCURRENT_MAX: usize = 32;

/// Something that should not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Finding {
    /// Invariant 1: a file that a snapshot needs is gone.
    #[error("{location} does not exist, and snapshot {snapshot_id} needs it")]
    Missing {
        /// The object.
        location: String,
        /// The newest kept snapshot that needs it.
        snapshot_id: i64,
    },
    /// Invariant 1: a file is not the one that was recorded.
    #[error("{location} has {actual} bytes and is recorded with {recorded}")]
    Size {
        /// The object.
        location: String,
        /// In bytes.
        recorded: u64,
        /// In bytes.
        actual: u64,
    },
    /// A manifest or manifest list that cannot be read.
    #[error("{part} {location} of snapshot {snapshot_id} cannot be read: {reason}")]
    Unreadable {
        /// What kind of object.
        part: TablePart,
        /// The object.
        location: String,
        /// The snapshot.
        snapshot_id: i64,
        /// Why.
        reason: String,
    },
    /// Invariant 2: a file that counts twice.
    #[error("snapshot {snapshot_id} has {path} live {count} times")]
    LiveTwice {
        /// The file.
        path: String,
        /// The snapshot.
        snapshot_id: i64,
        /// How often.
        count: usize,
    },
    /// Invariant 2: a file that is there and gone.
    #[error("snapshot {snapshot_id} has {path} both live and deleted")]
    LiveAndDeleted {
        /// The file.
        path: String,
        /// The snapshot.
        snapshot_id: i64,
    },
    /// Invariant 3: a snapshot that is not newer than its parent.
    #[error("snapshot {snapshot_id} has sequence number {sequence_number}, and its parent {parent}")]
    SequenceNumber {
        /// The snapshot.
        snapshot_id: i64,
        /// Its number.
        sequence_number: i64,
        /// Its parent's number.
        parent: i64,
    },
    /// Invariant 3: parents that lead back.
    #[error("the parents of snapshot {snapshot_id} lead back to it")]
    ParentLoop {
        /// The snapshot.
        snapshot_id: i64,
    },
    /// Invariant 4: a total that is not the sum of the live files.
    #[error("snapshot {snapshot_id} records {name} = {recorded}, and its live files add up to {actual}")]
    Total {
        /// The snapshot.
        snapshot_id: i64,
        /// The summary's property.
        name: &'static str,
        /// What it says.
        recorded: String,
        /// What is so.
        actual: u64,
    },
    /// A manifest list that counts other files or rows than its manifest has.
    #[error("snapshot {snapshot_id} lists {manifest} with {name} = {recorded}, and it has {actual}")]
    ListedCount {
        /// The manifest.
        manifest: String,
        /// The newest kept snapshot that lists it so.
        snapshot_id: i64,
        /// The list's field.
        name: &'static str,
        /// What it says.
        recorded: u64,
        /// What is so.
        actual: u64,
    },
    /// A manifest list by which a manifest's files are newer than they are.
    #[error(
        "snapshot {snapshot_id} lists {manifest} with min_sequence_number = {recorded}, and a file in it has {actual}"
    )]
    ListedSequenceNumber {
        /// The manifest.
        manifest: String,
        /// The newest kept snapshot that lists it so.
        snapshot_id: i64,
        /// What the list says.
        recorded: i64,
        /// The lowest of its live files.
        actual: i64,
    },
}

/// Looks at every kept snapshot of a table. An empty list means that nothing was found; a failure of storage is an error.
pub async fn check(table: &Table) -> Result<Vec<Finding>> {
    let mut snapshots: Vec<_> = table.metadata.snapshots().collect();
    snapshots.sort_by_key(|snapshot| std::cmp::Reverse((snapshot.sequence_number(), snapshot.snapshot_id())));
    let mut checked = Checked::default();
    for snapshot in snapshots {
        check_parents(table, snapshot, &mut checked.findings);
        check_snapshot(table, snapshot, &mut checked).await?;
    }
    let sizes = check_objects(table, checked.objects).await?;
    checked.findings.extend(sizes);
    checked.findings.sort();
    checked.findings.dedup();
    Ok(checked.findings)
}

#[derive(Debug, Default)]
struct Checked {
    /// Manifests are shared by snapshots: what each holds is read once.
    manifests: HashMap<String, Contents>,
    /// Recorded size where there is one, and the snapshot that needs the object.
    objects: BTreeMap<String, (Option<u64>, i64)>,
    /// Manifests whose place in a list was looked at: it is the same in every list.
    listed: HashSet<String>,
    findings: Vec<Finding>,
}

/// What a manifest says, as far as it is checked.
#[derive(Debug, Default)]
struct Contents {
    live: Vec<LiveFile>,
    /// Deleted files, with the snapshot that deleted them.
    deleted: Vec<(String, i64)>,
    /// Files and rows by what a list calls their count.
    counts: [(&'static str, u64); 6],
    /// The lowest sequence number of its live files.
    sequence_number_min: Option<i64>,
}

/// Of each status, the names of the counts of files and of rows.
const COUNTS: [(ManifestStatus, &str, &str); 3] = [
    (ManifestStatus::Added, "added_files_count", "added_rows_count"),
    (ManifestStatus::Existing, "existing_files_count", "existing_rows_count"),
    (ManifestStatus::Deleted, "deleted_files_count", "deleted_rows_count"),
];

#[derive(Debug)]
struct LiveFile {
    path: String,
    content: DataContentType,
    records: u64,
    bytes: u64,
}

impl From<Manifest> for Contents {
    fn from(manifest: Manifest) -> Self {
        let mut contents = Self::default();
        for (place, (status, files, rows)) in COUNTS.into_iter().enumerate() {
            let entries = manifest.entries.iter().filter(|entry| entry.status == status);
            let counted = entries.fold((0, 0), |(n, sum), entry| (n + 1, sum + entry.data_file.record_count()));
            contents.counts[2 * place] = (files, counted.0);
            contents.counts[2 * place + 1] = (rows, counted.1);
        }
        let live = manifest.entries.iter().filter(|entry| entry.is_live());
        contents.sequence_number_min = live.map(|entry| entry.sequence_number).min();
        for entry in manifest.entries {
            let path = entry.data_file.file_path().to_owned();
            if !entry.is_live() {
                contents.deleted.push((path, entry.snapshot_id));
                continue;
            }
            let (content, records) = (entry.data_file.content_type(), entry.data_file.record_count());
            contents.live.push(LiveFile { path, content, records, bytes: entry.data_file.file_size_in_bytes() });
        }
        contents
    }
}

fn check_parents(table: &Table, snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let snapshot_id = snapshot.snapshot_id();
    let Some(parent) = snapshot.parent_snapshot_id().and_then(|id| table.metadata.snapshot_by_id(id)) else { return };
    let (sequence_number, of_parent) = (snapshot.sequence_number(), parent.sequence_number());
    if table.metadata.format_version() != FormatVersion::V1 && sequence_number != 0 && sequence_number <= of_parent {
        findings.push(Finding::SequenceNumber { snapshot_id, sequence_number, parent: of_parent });
    }
    if table.ancestors(parent.snapshot_id()).any(|ancestor| ancestor.snapshot_id() == snapshot_id) {
        findings.push(Finding::ParentLoop { snapshot_id });
    }
}

async fn check_snapshot(table: &Table, snapshot: &Snapshot, checked: &mut Checked) -> Result<()> {
    let snapshot_id = snapshot.snapshot_id();
    let manifests = match table.listed_manifests(snapshot).await {
        Ok(manifests) => manifests,
        Err(error) => {
            return checked.unreadable(error, TablePart::ManifestList, snapshot.manifest_list(), snapshot_id);
        }
    };
    for file in &manifests {
        let recorded = u64::try_from(file.manifest_length).ok();
        checked.objects.entry(file.manifest_path.clone()).or_insert((recorded, snapshot_id));
    }
    checked.read_manifests(table, &manifests, snapshot_id).await?;
    let read = manifests.iter().filter_map(|file| checked.manifests.get(&file.manifest_path));
    let contents: Vec<&Contents> = read.collect();
    let live = || contents.iter().flat_map(|contents| &contents.live);
    for file in live() {
        checked.objects.entry(file.path.clone()).or_insert((Some(file.bytes), snapshot_id));
    }
    let mut findings = check_paths(&contents, snapshot_id);
    for file in manifests.iter().filter(|file| checked.listed.insert(file.manifest_path.clone())) {
        let contents = checked.manifests.get(&file.manifest_path);
        findings.extend(contents.into_iter().flat_map(|contents| check_listed(file, contents, snapshot_id)));
    }
    if contents.len() == manifests.len() {
        findings.extend(check_totals(snapshot, totals(live())));
    }
    checked.findings.extend(findings);
    Ok(())
}

/// What a list says of a manifest, where it says something. Of a lower number than the lowest nothing follows.
fn check_listed(file: &ManifestFile, contents: &Contents, snapshot_id: i64) -> Vec<Finding> {
    let files = [file.added_files_count, file.existing_files_count, file.deleted_files_count];
    let rows = [file.added_rows_count, file.existing_rows_count, file.deleted_rows_count];
    let listed = files.into_iter().zip(rows).flat_map(|(files, rows)| [files.map(u64::from), rows]);
    let manifest = || file.manifest_path.clone();
    let wrong = listed.zip(contents.counts).filter_map(|(recorded, (name, actual))| {
        let recorded = recorded.filter(|recorded| *recorded != actual)?;
        Some(Finding::ListedCount { manifest: manifest(), snapshot_id, name, recorded, actual })
    });
    let mut findings: Vec<Finding> = wrong.collect();
    if let Some(actual) = contents.sequence_number_min.filter(|actual| *actual < file.min_sequence_number) {
        let recorded = file.min_sequence_number;
        findings.push(Finding::ListedSequenceNumber { manifest: manifest(), snapshot_id, recorded, actual });
    }
    findings
}

/// Invariant 2.
fn check_paths(contents: &[&Contents], snapshot_id: i64) -> Vec<Finding> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for file in contents.iter().flat_map(|contents| &contents.live) {
        *counts.entry(&file.path).or_default() += 1;
    }
    let twice = counts.iter().filter(|(_, count)| **count > 1);
    let mut findings: Vec<Finding> = twice
        .map(|(path, count)| Finding::LiveTwice { path: (*path).to_owned(), snapshot_id, count: *count })
        .collect();
    // What an older snapshot deleted may have come back; what this one deleted may not be live in it.
    let deleted = contents.iter().flat_map(|contents| &contents.deleted).filter(|(_, by)| *by == snapshot_id);
    let both: BTreeSet<&String> =
        deleted.map(|(path, _)| path).filter(|path| counts.contains_key(path.as_str())).collect();
    findings.extend(both.into_iter().map(|path| Finding::LiveAndDeleted { path: path.clone(), snapshot_id }));
    findings
}

/// Invariant 4, for the totals that are recorded.
fn check_totals(snapshot: &Snapshot, totals: [(&'static str, u64); 4]) -> Vec<Finding> {
    let wrong = |(name, actual): (&'static str, u64)| {
        let recorded = snapshot.summary().additional_properties.get(name)?;
        let finding =
            || Finding::Total { snapshot_id: snapshot.snapshot_id(), name, recorded: recorded.clone(), actual };
        (recorded.parse() != Ok(actual)).then(finding)
    };
    totals.into_iter().filter_map(wrong).collect()
}

fn totals<'a>(live: impl Iterator<Item = &'a LiveFile>) -> [(&'static str, u64); 4] {
    let (mut data_files, mut delete_files, mut records, mut bytes) = (0, 0, 0, 0);
    for file in live {
        bytes += file.bytes;
        if file.content == DataContentType::Data {
            data_files += 1;
            records += file.records;
        } else {
            delete_files += 1;
        }
    }
    [
        ("total-data-files", data_files),
        ("total-delete-files", delete_files),
        ("total-records", records),
        ("total-files-size", bytes),
    ]
}

impl Checked {
    /// Reads the manifests that no other snapshot has read yet.
    async fn read_manifests(&mut self, table: &Table, manifests: &[ManifestFile], snapshot_id: i64) -> Result<()> {
        let new: Vec<_> = manifests.iter().filter(|file| !self.manifests.contains_key(&file.manifest_path)).collect();
        let reads: Vec<BoxFuture<'_, _>> =
            new.into_iter().map(|file| async move { (file, table.manifest(file).await) }.boxed()).collect();
        let mut read = stream::iter(reads).buffered(MANIFESTS_CONCURRENT_MAX);
        while let Some((file, manifest)) = read.next().await {
            match manifest {
                Ok(manifest) => {
                    self.manifests.insert(file.manifest_path.clone(), manifest.into());
                }
                Err(error) => self.unreadable(error, TablePart::Manifest, &file.manifest_path, snapshot_id)?,
            }
        }
        Ok(())
    }

    /// What is missing or corrupt is a finding; what could not be asked is an error.
    fn unreadable(&mut self, error: Error, part: TablePart, location: &str, snapshot_id: i64) -> Result<()> {
        let location = location.to_owned();
        let finding = match &error {
            Error::Table(TableError::Missing { .. }) => Finding::Missing { location, snapshot_id },
            Error::Table(TableError::Corrupt { source, .. }) => {
                Finding::Unreadable { part, location, snapshot_id, reason: source.to_string() }
            }
            _ => return Err(error),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
        Ok(())
    }
}

async fn check_objects(table: &Table, objects: BTreeMap<String, (Option<u64>, i64)>) -> Result<Vec<Finding>> {
    let asked = objects.into_iter().map(|(location, (recorded, snapshot_id))| async move {
        match table.storage.head(&location).await {
            Ok(object) => {
                let wrong = recorded.filter(|recorded| *recorded != object.size);
                Ok(wrong.map(|recorded| Finding::Size { location, recorded, actual: object.size }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(Finding::Missing { location, snapshot_id })),
            Err(error) => Err(error),
        }
    });
    let asked: Vec<BoxFuture<'_, Result<Option<Finding>>>> = asked.map(FutureExt::boxed).collect();
    let found: Vec<_> = stream::iter(asked).buffered(OBJECTS_CONCURRENT_MAX).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests;
