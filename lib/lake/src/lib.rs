//! The lake: storage, raw-zone listing, tables and snapshots, and the one commit that changes a table.
//!
//! Owns every byte that leaves the process and every pointer that moves. Refuses to know query engines, command lines
//! and the environment.

mod avro_name;
pub mod catalog;
mod change;
mod check;
mod commit;
mod compaction;
mod create;
mod data_layout;
mod error;
mod evolve;
pub mod faults;
mod files;
mod foreign;
mod gather;
mod inventory;
mod ledger;
mod manifest;
mod murmur3;
mod name_mapping;
pub mod raw;
mod reachable;
mod reclaim;
mod rollback;
mod schema;
mod skim;
mod staging;
mod storage;
mod table;
#[cfg(test)]
mod testing;
mod tiers;

/// The table format's own types: schemas, partition specs, data files, values.
pub use iceberg::spec;

pub use change::{Change, ChangeKind, Expiry, KeyScope, ManifestSwap, Removal, Rollback, SchemaUpdate, StagedFile};
pub use check::{Finding, check};
pub use commit::{CommitError, CommitInputs, CommitOptions, Committed, Conflict, commit, stage_manifests};
pub use compaction::{CompactionFiles, sort_order_text};
pub use error::{Cause, Error, ErrorKind, Failure, Operation, Result};
pub use evolve::{EvolveError, evolve};
pub use files::{ApplicableDeletes, DataFileEntry, DeleteIndex, LiveFiles, comparable as comparable_partition};
pub use foreign::{Foreign, foreign};
pub use inventory::{Inventory, ManifestSize, inventory};
pub use ledger::{Forgotten, LEDGER_PROPERTY, Ledger, LedgerEntry, LedgerError, SeenFiles};
pub use murmur3::murmur3_32;
pub use reachable::{Obsolete, TOMBSTONES_PROPERTY, obsolete, references};
pub use reclaim::{Reclaimed, delete_objects, reclaim};
pub use rollback::EarlierState;
pub use schema::{partition_spec_for, schema_for, sort_order_for};
pub use staging::{Staging, discard_staged, partition_path};
pub use storage::{
    ClassedObject, Classes, Lifecycle, Location, ObjectState, RequestCounts, S3Options, Storage, StorageOptions,
    StoreWrapper, Tags,
};
pub use table::{Lake, Table, TableError, TablePart};
pub use tiers::{Moved, move_object, tag_object};
