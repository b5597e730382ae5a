//! The one place in the workspace that changes a table.
//!
//! A commit turns a [`crate::Change`] into the table's next version, while others write to the same table:
//!
//! 1. read the pointer ([`run`]);
//! 2. refuse tables that we would not write right ([`writable`]), and validate the change against what others committed since the plan read the table ([`validate`]);
//! 3. write manifests, manifest list and metadata.json under names that were never used ([`manifests`], [`encode`], [`merge`],
//!    [`snapshot`], [`expiry`], [`rollback`], [`names`]);
//! 4. swap the pointer, once;
//! 5. when it is not known whether that happened, read the pointer again until it is ([`resolve`]);
//! 6. delete what this commit wrote and no version uses, only when the outcome is definite ([`cleanup`]);
//! 7. when another writer was first, start again with the same data files.
//!
//! Beside it lies what stages manifests for such a change ([`cluster`]).
//!
//! Refuses to know clocks, randomness, engines and what a job is for.

mod cleanup;
mod cluster;
mod encode;
mod error;
mod expiry;
mod manifests;
mod merge;
mod names;
mod resolve;
mod rollback;
mod run;
mod snapshot;
mod summary;
#[cfg(test)]
pub(crate) mod tests;
mod validate;
mod writable;

pub use cluster::stage_manifests;
pub use error::{CommitError, Conflict};
pub(crate) use names::{METADATA_PATH, metadata_folder, metadata_name};
pub use run::{CommitInputs, CommitOptions, Committed, commit};
pub(crate) use snapshot::{at, encode_metadata};
