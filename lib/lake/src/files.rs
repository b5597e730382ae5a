//! The live files of a snapshot, and which deletes apply to which data files
//! (<https://iceberg.apache.org/spec/#scan-planning>).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    pin::pin,
    sync::Arc,
};

use futures::TryStreamExt;
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Datum, Literal, ManifestContentType, ManifestFile,
    PrimitiveLiteral, Schema, Struct,
};

use crate::{
    Removal, Result, Table, TableError,
    gather::{self, Needed},
    manifest::{Entry, may_have_live_files},
    skim::{self, Detail, LiveObject},
};

/// Field id of `file_path` in a position delete file.
pub(crate) const DELETE_FILE_PATH_ID: i32 = 2_147_483_546;

/// The live files of one snapshot.
#[derive(Debug, Clone, Default)]
pub struct LiveFiles {
    /// Data files.
    pub data: Vec<DataFileEntry>,
    /// Position delete files.
    pub position_deletes: Vec<DataFileEntry>,
    /// Equality delete files.
    pub equality_deletes: Vec<DataFileEntry>,
    /// Partition specs without fields: their equality deletes apply to every data file.
    pub unpartitioned_spec_ids: BTreeSet<i32>,
}

/// A file with what its manifest says of it.
#[derive(Debug, Clone)]
pub struct DataFileEntry {
    /// Path, partition, counts, bounds.
    pub data_file: Arc<DataFile>,
    /// Partition spec of its manifest.
    pub spec_id: i32,
    /// Data sequence number, which decides which deletes apply.
    pub sequence_number: i64,
    /// Snapshot that added it.
    pub snapshot_id: i64,
}

impl DataFileEntry {
    pub(crate) fn of(manifest: &ManifestFile, entry: Entry) -> Self {
        let Entry { snapshot_id, sequence_number, data_file, .. } = entry;
        Self { data_file, spec_id: manifest.partition_spec_id, sequence_number, snapshot_id }
    }

    /// The file's end, as a change has it.
    pub fn removal(&self) -> Removal {
        Removal {
            path: self.data_file.file_path().to_owned(),
            spec_id: self.spec_id,
            partition: self.data_file.partition().clone(),
            sequence_number: self.sequence_number,
        }
    }
}

/// The deletes that apply to one data file.
#[derive(Debug, Clone, Default)]
pub struct ApplicableDeletes<'a> {
    /// Position delete files.
    pub position: Vec<&'a DataFileEntry>,
    /// Equality delete files.
    pub equality: Vec<&'a DataFileEntry>,
}

impl Table {
    /// The files of a snapshot. Refuses what we could not read right: deletion vectors, formats other than Parquet,
    /// columns with defaults, encryption.
    pub async fn live_files(&self, snapshot_id: i64) -> Result<LiveFiles> {
        let snapshot = self.snapshot(snapshot_id)?;
        self.refuse_defaults()?;
        let manifests = self.manifest_list(snapshot).await?;
        let mut live = LiveFiles { unpartitioned_spec_ids: self.unpartitioned_spec_ids(), ..LiveFiles::default() };
        let mut read = self.manifests(manifests.iter().filter(|file| may_have_live_files(file)));
        while let Some((file, manifest)) = read.try_next().await? {
            for entry in manifest.entries.into_iter().filter(Entry::is_live) {
                self.refuse_unreadable(&entry.data_file)?;
                live.push(DataFileEntry::of(file, entry));
            }
        }
        Ok(live)
    }

    /// The same without column metrics, but for the bounds of these columns: half a million files do not fit into memory
    /// with them.
    pub async fn live_files_in_short(&self, snapshot_id: i64, bounds_of: &[i32]) -> Result<LiveFiles> {
        let snapshot = self.snapshot(snapshot_id)?;
        self.refuse_defaults()?;
        let mut manifests = gather::manifests(self, vec![(Arc::clone(snapshot), Needed::default())]).await?;
        manifests.retain(|(file, _)| may_have_live_files(file));
        let bounds_of = bounds_of.to_vec();
        let mut read = pin!(gather::read(self, manifests, move |table, file, _, bytes| {
            let entries = table.live_entries(file, &bytes, &bounds_of)?;
            entries.iter().try_for_each(|entry| table.refuse_unreadable(&entry.data_file))?;
            Ok(entries.into_iter().map(|entry| DataFileEntry::of(file, entry)).collect::<Vec<_>>())
        }));
        let mut live = LiveFiles { unpartitioned_spec_ids: self.unpartitioned_spec_ids(), ..LiveFiles::default() };
        while let Some(entries) = read.try_next().await? {
            entries.into_iter().for_each(|entry| live.push(entry));
        }
        Ok(live)
    }

    /// The manifest of the current snapshot in which a file is live.
    pub async fn manifest_with(&self, path: &str) -> Result<Option<String>> {
        let Some(head) = self.head() else { return Ok(None) };
        let manifests = self.manifest_list(head).await?;
        let mut read = self.manifests(&manifests);
        while let Some((file, manifest)) = read.try_next().await? {
            if manifest.entries.iter().any(|entry| entry.is_live() && entry.data_file.file_path() == path) {
                return Ok(Some(file.manifest_path.clone()));
            }
        }
        Ok(None)
    }

    fn refuse_defaults(&self) -> std::result::Result<(), TableError> {
        let Some(column) = column_with_default(self.metadata.current_schema()) else { return Ok(()) };
        let what = format!("gives column {column} a default for rows written before it");
        let help = "read the table with an engine of format version 3";
        Err(self.unsupported(&self.pointer.metadata_location, &what, help))
    }

    /// The live entries of a manifest: of data files without column metrics, but for the bounds of these columns.
    pub(crate) fn live_entries(&self, file: &ManifestFile, bytes: &[u8], bounds_of: &[i32]) -> Result<Vec<Entry>> {
        let is_data = file.content == ManifestContentType::Data;
        if is_data && let Some(manifest) = self.skim_manifest(file, bytes, Detail::DataInShort(bounds_of)) {
            return Ok(manifest.entries);
        }
        let mut entries = self.parse_manifest(file, bytes)?.entries;
        entries.retain(Entry::is_live);
        for entry in entries.iter_mut().filter(|entry| entry.data_file.content_type() == DataContentType::Data) {
            entry.data_file = in_short(&entry.data_file, bounds_of);
        }
        Ok(entries)
    }

    /// Visits the live files of a manifest as objects; some twice before an error.
    pub(crate) fn live_objects(
        &self,
        file: &ManifestFile,
        bytes: &[u8],
        mut visit: impl FnMut(LiveObject<'_>),
    ) -> Result<()> {
        if skim::live_objects(bytes, &mut visit).is_some() {
            return Ok(());
        }
        for entry in self.parse_manifest(file, bytes)?.entries.iter().filter(|entry| entry.is_live()) {
            let file = &entry.data_file;
            let (path, content) = (file.file_path(), file.content_type());
            visit(LiveObject { path, content, bytes: file.file_size_in_bytes() });
        }
        Ok(())
    }

    /// Partition specs without fields, or with void ones only.
    pub(crate) fn unpartitioned_spec_ids(&self) -> BTreeSet<i32> {
        let specs = self.metadata.partition_specs_iter();
        specs.filter(|spec| spec.is_unpartitioned()).map(|spec| spec.spec_id()).collect()
    }

    pub(crate) fn refuse_unreadable(&self, file: &DataFile) -> std::result::Result<(), TableError> {
        let path = file.file_path();
        if file.key_metadata().is_some_and(|key| !key.is_empty()) {
            return Err(self.encrypted(path));
        }
        if file.file_format() == DataFileFormat::Puffin || file.content_offset().is_some() {
            let help = "compact the table with the engine that wrote it, or rewrite its deletes as position deletes";
            return Err(self.unsupported(path, "holds deletion vectors", help));
        }
        if file.file_format() != DataFileFormat::Parquet {
            let what = format!("is {} and not Parquet", file.file_format());
            return Err(self.unsupported(
                path,
                &what,
                "rewrite the table's files as Parquet with the engine that wrote it",
            ));
        }
        Ok(())
    }
}

/// The first column, nested ones included, whose absence from a file does not mean NULL.
fn column_with_default(schema: &Schema) -> Option<&str> {
    let mut ids: Vec<_> = schema.field_id_to_name_map().iter().collect();
    ids.sort();
    let has_default = |id: &i32| schema.field_by_id(*id).is_some_and(|field| field.initial_default.is_some());
    ids.into_iter().find(|(id, _)| has_default(id)).map(|(_, name)| name.as_str())
}

/// The file as far as plans look at it.
pub(crate) fn in_short(file: &Arc<DataFile>, bounds_of: &[i32]) -> Arc<DataFile> {
    let bounds = |all: &HashMap<i32, Datum>| {
        let wanted = all.iter().filter(|(id, _)| bounds_of.contains(id));
        wanted.map(|(id, bound)| (*id, bound.clone())).collect()
    };
    let mut builder = DataFileBuilder::default();
    builder
        .content(file.content_type())
        .file_path(file.file_path().to_owned())
        .file_format(file.file_format())
        .partition(file.partition().clone())
        .record_count(file.record_count())
        .file_size_in_bytes(file.file_size_in_bytes())
        .lower_bounds(bounds(file.lower_bounds()))
        .upper_bounds(bounds(file.upper_bounds()))
        .key_metadata(file.key_metadata().map(<[u8]>::to_vec))
        .split_offsets(file.split_offsets().map(<[i64]>::to_vec))
        .content_offset(file.content_offset());
    if let Some(id) = file.sort_order_id() {
        builder.sort_order_id(id);
    }
    // What is required is set above; if that ever changes the whole file is as good, and larger.
    builder.build().map_or_else(|_| file.clone(), Arc::new)
}

impl LiveFiles {
    pub(crate) fn push(&mut self, entry: DataFileEntry) {
        match entry.data_file.content_type() {
            DataContentType::Data => self.data.push(entry),
            DataContentType::PositionDeletes => self.position_deletes.push(entry),
            DataContentType::EqualityDeletes => self.equality_deletes.push(entry),
        }
    }

    /// The deletes that apply to one data file. For many, make a [`LiveFiles::delete_index`] once.
    pub fn deletes_for(&self, file: &DataFileEntry) -> ApplicableDeletes<'_> {
        self.delete_index().for_file(file)
    }

    /// Delete files that apply to no data file but those at `gone`, as removals. New files that stand for rows of this
    /// snapshot are none that they apply to: position deletes cannot name them, and no equality delete is newer.
    pub fn dangling_deletes(&self, gone: &HashSet<&str>) -> Vec<Removal> {
        let index = self.delete_index();
        let mut needed: HashSet<&str> = HashSet::new();
        for file in self.data.iter().filter(|file| !gone.contains(file.data_file.file_path())) {
            let ApplicableDeletes { position, equality } = index.for_file(file);
            needed.extend(position.into_iter().chain(equality).map(|delete| delete.data_file.file_path()));
        }
        let deletes = self.position_deletes.iter().chain(&self.equality_deletes);
        deletes.filter(|delete| !needed.contains(delete.data_file.file_path())).map(DataFileEntry::removal).collect()
    }

    /// All deletes, ready to be looked up.
    pub fn delete_index(&self) -> DeleteIndex<'_> {
        DeleteIndex::new(self.position_deletes.iter().chain(&self.equality_deletes), &self.unpartitioned_spec_ids)
    }
}

/// Delete files by what they can apply to.
#[derive(Debug, Clone, Default)]
pub struct DeleteIndex<'a> {
    equality_everywhere: Vec<&'a DataFileEntry>,
    equality: HashMap<(i32, Struct), Vec<&'a DataFileEntry>>,
    position: HashMap<(i32, Struct), Vec<&'a DataFileEntry>>,
    position_by_path: HashMap<String, Vec<&'a DataFileEntry>>,
}

impl<'a> DeleteIndex<'a> {
    /// Sorts delete files into the index.
    pub(crate) fn new(deletes: impl Iterator<Item = &'a DataFileEntry>, unpartitioned: &BTreeSet<i32>) -> Self {
        let mut index = Self::default();
        for delete in deletes {
            let partition = || (delete.spec_id, comparable(delete.data_file.partition()));
            let to = match delete.data_file.content_type() {
                DataContentType::Data => continue,
                DataContentType::EqualityDeletes if unpartitioned.contains(&delete.spec_id) => {
                    &mut index.equality_everywhere
                }
                DataContentType::EqualityDeletes => index.equality.entry(partition()).or_default(),
                DataContentType::PositionDeletes => match referenced_path(&delete.data_file) {
                    Some(path) => index.position_by_path.entry(path).or_default(),
                    None => index.position.entry(partition()).or_default(),
                },
            };
            to.push(delete);
        }
        index
    }

    /// The deletes that apply to a data file.
    pub fn for_file(&self, file: &DataFileEntry) -> ApplicableDeletes<'a> {
        let data_file = &file.data_file;
        self.applicable(data_file.file_path(), file.spec_id, data_file.partition(), file.sequence_number)
    }

    /// The deletes that apply to the data file of that path, partition and data sequence number.
    pub(crate) fn applicable(
        &self,
        path: &str,
        spec_id: i32,
        partition: &Struct,
        sequence_number: i64,
    ) -> ApplicableDeletes<'a> {
        let partition = (spec_id, comparable(partition));
        let by_path = self.position_by_path.get(path).into_iter().flatten();
        let by_partition = self.position.get(&partition).into_iter().flatten();
        let position = by_path.chain(by_partition.filter(|delete| may_name_path(&delete.data_file, path)));
        let by_partition = self.equality.get(&partition).into_iter().flatten();
        let equality = self.equality_everywhere.iter().chain(by_partition);
        // A position delete may point into files of its own commit; an equality delete only hits older rows.
        ApplicableDeletes {
            position: position.filter(|delete| delete.sequence_number >= sequence_number).copied().collect(),
            equality: equality.filter(|delete| delete.sequence_number > sequence_number).copied().collect(),
        }
    }
}

/// The one data file that all deletes of a position delete file point into, when its metadata says so, in one way.
fn referenced_path(delete: &DataFile) -> Option<String> {
    match (delete.referenced_data_file(), path_bounds(delete)) {
        (Some(path), bounds) => is_within(&path, bounds).then_some(path),
        (None, (Some(lower), Some(upper))) if lower == upper => Some(lower.to_owned()),
        _ => None,
    }
}

/// A path outside of the bounds is not in the file. Where the metadata names one data file, and bounds that it is not in, one
/// of them is wrong: only reading the file tells what it names.
fn may_name_path(delete: &DataFile, path: &str) -> bool {
    delete.referenced_data_file().is_some() || is_within(path, path_bounds(delete))
}

/// Bounds may be cut short, but then downwards and upwards.
fn is_within(path: &str, (lower, upper): (Option<&str>, Option<&str>)) -> bool {
    lower.is_none_or(|lower| lower <= path) && upper.is_none_or(|upper| path <= upper)
}

fn path_bounds(delete: &DataFile) -> (Option<&str>, Option<&str>) {
    fn text(bound: Option<&Datum>) -> Option<&str> {
        match bound.map(Datum::literal) {
            Some(PrimitiveLiteral::String(path)) => Some(path),
            _ => None,
        }
    }
    (text(delete.lower_bounds().get(&DELETE_FILE_PATH_ID)), text(delete.upper_bounds().get(&DELETE_FILE_PATH_ID)))
}

/// A partition as it compares across schemas: a manifest from before a column was widened has its narrower values.
pub fn comparable(partition: &Struct) -> Struct {
    let widen = |literal: &Literal| match literal {
        Literal::Primitive(PrimitiveLiteral::Int(value)) => Literal::long(i64::from(*value)),
        Literal::Primitive(PrimitiveLiteral::Float(value)) => Literal::double(f64::from(value.0)),
        other => other.clone(),
    };
    partition.iter().map(|value| value.map(widen)).collect()
}

#[cfg(test)]
mod tests;
