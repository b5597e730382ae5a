//! A change: everything that one commit does to one table, and what must still be true for it to be right.
//!
//! Jobs stage files and describe them here; nothing in a change is live until [`crate::commit()`] has swapped the
//! table's pointer.

use std::collections::BTreeMap;

use contract::TableName;
use iceberg::spec::{DataFile, ManifestFile, Schema, Struct, UnboundPartitionSpec};

use crate::{LedgerEntry, Obsolete, Table};

/// The next version of one table, staged and not yet committed.
#[derive(Debug, Clone)]
pub struct Change {
    /// The table.
    pub table: TableName,
    /// Current snapshot of `main` when the plan read the table; `None` for a table without one.
    pub base_snapshot_id: Option<i64>,
    /// What kind of change it is: decides the snapshot's operation and which conflicts are looked for.
    pub kind: ChangeKind,
    /// Data files to add. Their objects exist.
    pub added: Vec<StagedFile>,
    /// Position delete files to add. Their objects exist.
    pub added_deletes: Vec<StagedFile>,
    /// Data files to remove.
    pub removed: Vec<Removal>,
    /// Delete files to remove: nothing that stays is older than they are, so that they apply to no row.
    pub removed_deletes: Vec<Removal>,
    /// Manifests that others take the place of, with the same live files; nothing else changes then.
    pub manifests: Option<ManifestSwap>,
    /// Data files that the added position deletes point into: they must still be live.
    pub referenced: Vec<String>,
    /// Where keys of ours may lie: an added file of another writer that may hold one of them is a conflict.
    /// `None` for a change without keys.
    pub key_scope: Option<KeyScope>,
    /// A new schema or partition spec, applied before the files.
    pub schema_update: Option<SchemaUpdate>,
    /// Snapshots and refs to drop. The objects that only they need are taken back after the commit.
    pub expiry: Option<Expiry>,
    /// An earlier snapshot that becomes the current one again.
    pub rollback: Option<Rollback>,
    /// The run that made it, kept in the ledger of the table's properties.
    pub ledger_entry: Option<LedgerEntry>,
    /// What the ledger must still say of raw partitions, by their start, `None` for nothing. For a table without a key:
    /// rows of files that another run has taken meanwhile would be there twice.
    pub expected_marks: BTreeMap<String, Option<String>>,
    /// Table properties to set beside the ledger.
    pub properties: BTreeMap<String, String>,
    /// For the snapshot summary: `etl.run-id`, `etl.job`, `etl.interval`, `etl.input-digest`, row balance.
    pub summary: BTreeMap<String, String>,
}

impl Change {
    /// A change of a table as it was read that does nothing yet.
    pub fn new(table: &Table, kind: ChangeKind) -> Self {
        Self {
            table: table.name.clone(),
            base_snapshot_id: table.metadata.current_snapshot_id(),
            kind,
            added: Vec::new(),
            added_deletes: Vec::new(),
            removed: Vec::new(),
            removed_deletes: Vec::new(),
            manifests: None,
            referenced: Vec::new(),
            key_scope: None,
            schema_update: None,
            expiry: None,
            rollback: None,
            ledger_entry: None,
            expected_marks: BTreeMap::new(),
            properties: BTreeMap::new(),
            summary: BTreeMap::new(),
        }
    }
}

/// What kind of change it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Rows are only added and nothing was matched against the table.
    Append,
    /// The result of a keyed MERGE: serializable, also when it found no match and only adds files.
    Merge,
    /// The same rows in other files (compaction): keeps the data sequence number of its base.
    Replace,
    /// Only properties, schema, the ledger or the kept snapshots change; no snapshot is made.
    MetadataOnly,
}

/// What a table forgets.
#[derive(Debug, Clone, Default)]
pub struct Expiry {
    /// Snapshots. Those that are gone by then are no conflict.
    pub snapshot_ids: Vec<i64>,
    /// Branches and tags.
    pub refs: Vec<String>,
    /// What only these snapshots needed when the change was made: deleted by [`crate::reclaim()`] after the commit, except
    /// what the table needs by then.
    pub obsolete: Obsolete,
}

/// Going back to an earlier snapshot.
#[derive(Debug, Clone)]
pub struct Rollback {
    /// The snapshot, an ancestor of the current one.
    pub snapshot_id: i64,
    /// Table properties that go, as what they stand for came later.
    pub removed_properties: Vec<String>,
}

/// A file that lies in storage and waits for its commit.
#[derive(Debug, Clone)]
pub struct StagedFile {
    /// Path, partition, counts, sizes and bounds.
    pub data_file: DataFile,
    /// The partition spec it was written for: the data file has it too, and does not tell.
    pub spec_id: i32,
}

/// Staged manifests in the place of others, made by [`crate::stage_manifests()`].
#[derive(Debug, Clone, Default)]
pub struct ManifestSwap {
    /// Paths of those that go.
    pub removed: Vec<String>,
    /// Those that come: they have been written, and name live files only.
    pub added: Vec<ManifestFile>,
    /// Files that they name.
    pub files: u64,
}

/// A live file that the change replaces.
#[derive(Debug, Clone)]
pub struct Removal {
    /// Its path, as the manifest has it.
    pub path: String,
    /// The partition spec it was written for.
    pub spec_id: i32,
    /// Its partition.
    pub partition: Struct,
    /// Its data sequence number.
    pub sequence_number: i64,
}

/// Where the keys of a merge may lie.
#[derive(Debug, Clone, Default)]
pub struct KeyScope {
    /// Partition spec that `partitions` speaks of.
    pub spec_id: i32,
    /// The partitions that the keys belong to; `None` when a key may be in any partition.
    pub partitions: Option<Vec<Struct>>,
    /// Smallest and largest value of each key column in the batch, by field id.
    pub bounds: BTreeMap<i32, (iceberg::spec::Datum, iceberg::spec::Datum)>,
}

/// A new shape of the table.
#[derive(Debug, Clone)]
pub struct SchemaUpdate {
    /// The complete new schema; existing fields keep their ids.
    pub schema: Schema,
    /// The new default partition spec when it changes.
    pub partition_spec: Option<UnboundPartitionSpec>,
    /// The current schema id that the update was made from: another one at commit time is a conflict.
    pub base_schema_id: i32,
    /// What changed, for people: `added column note string`.
    pub descriptions: Vec<String>,
}
