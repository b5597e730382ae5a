//! The live files of a snapshot, and which deletes apply to which data files
//! (<https://iceberg.apache.org/spec/#scan-planning>).

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use futures::TryStreamExt;
use iceberg::spec::{DataContentType, DataFile, DataFileFormat, Datum, Literal, PrimitiveLiteral, Schema, Struct};

use crate::{Removal, Result, Table, TableError, manifest::may_have_live_files};

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
        if let Some(column) = column_with_default(self.metadata.current_schema()) {
            let what = format!("gives column {column} a default for rows written before it");
            let help = "read the table with an engine of format version 3";
            return Err(self.unsupported(&self.pointer.metadata_location, &what, help).into());
        }
        let manifests = self.manifest_list(snapshot).await?;
        let mut live = LiveFiles { unpartitioned_spec_ids: self.unpartitioned_spec_ids(), ..LiveFiles::default() };
        let mut read = self.manifests(manifests.iter().filter(|file| may_have_live_files(file)));
        while let Some((file, manifest)) = read.try_next().await? {
            for entry in manifest.entries.into_iter().filter(|entry| entry.is_live()) {
                self.refuse_unreadable(&entry.data_file)?;
                let to = match entry.data_file.content_type() {
                    DataContentType::Data => &mut live.data,
                    DataContentType::PositionDeletes => &mut live.position_deletes,
                    DataContentType::EqualityDeletes => &mut live.equality_deletes,
                };
                to.push(DataFileEntry {
                    spec_id: file.partition_spec_id,
                    sequence_number: entry.sequence_number,
                    snapshot_id: entry.snapshot_id,
                    data_file: entry.data_file,
                });
            }
        }
        Ok(live)
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

impl LiveFiles {
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

/// The one data file that all deletes of a position delete file point into, when its metadata says so.
fn referenced_path(delete: &DataFile) -> Option<String> {
    delete.referenced_data_file().or_else(|| match path_bounds(delete) {
        (Some(lower), Some(upper)) if lower == upper => Some(lower.to_owned()),
        _ => None,
    })
}

/// Bounds may be cut short, but then downwards and upwards: a path outside of them is not in the file.
fn may_name_path(delete: &DataFile, path: &str) -> bool {
    let (lower, upper) = path_bounds(delete);
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
