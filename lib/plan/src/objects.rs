//! The objects that tables consist of, by kind, and sums of them.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// What an object is to its table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// Rows.
    DataFile,
    /// Position or equality deletes.
    DeleteFile,
    /// A manifest.
    Manifest,
    /// The list of a snapshot's manifests.
    ManifestList,
    /// Statistics of a snapshot, or of its partitions.
    Statistics,
    /// Deletions that a contract has remembered.
    Tombstones,
    /// A metadata.json.
    Metadata,
    /// Anything else.
    Other,
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataFile => "data file",
            Self::DeleteFile => "delete file",
            Self::Manifest => "manifest",
            Self::ManifestList => "manifest list",
            Self::Statistics => "statistics file",
            Self::Tombstones => "tombstone file",
            Self::Metadata => "metadata file",
            Self::Other => "other file",
        })
    }
}

/// One object of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// Absolute location.
    pub location: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Its size; 0 where the table does not record it, as for manifest lists.
    pub bytes: u64,
}

/// How many objects of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTotal {
    /// The kind.
    pub kind: ObjectKind,
    /// How many.
    pub files: u64,
    /// Sum of their sizes, as far as they are known.
    pub bytes: u64,
}

/// Sums by kind, in the order of the kinds.
pub fn totals<'a>(objects: impl IntoIterator<Item = &'a Object>) -> Vec<KindTotal> {
    let mut totals: BTreeMap<ObjectKind, KindTotal> = BTreeMap::new();
    for object in objects {
        let kind = object.kind;
        let total = totals.entry(kind).or_insert(KindTotal { kind, files: 0, bytes: 0 });
        total.files += 1;
        total.bytes += object.bytes;
    }
    totals.into_values().collect()
}
