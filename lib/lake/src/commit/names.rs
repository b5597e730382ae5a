//! The metadata files of one attempt: their names, which nothing ever had before, and the list of what was written.

use bytes::Bytes;
use uuid::Uuid;

use crate::{Result, Storage, Table};

/// What one attempt writes.
#[derive(Debug)]
pub(super) struct AttemptFiles<'a> {
    storage: &'a Storage,
    folder: String,
    version: u64,
    commit: Uuid,
    attempt: u32,
    manifests: usize,
    /// Everything that was written, or may have been.
    pub written: Vec<String>,
}

impl<'a> AttemptFiles<'a> {
    /// Names for one attempt of the commit identified by `commit`.
    pub(super) fn new(current: &'a Table, commit: Uuid, attempt: u32) -> Self {
        let folder = current.metadata_folder();
        let version = version_of(&current.pointer.metadata_location).map_or(0, |version| version + 1);
        Self { storage: &current.storage, folder, version, commit, attempt, manifests: 0, written: Vec::new() }
    }

    pub(super) async fn write_manifest(&mut self, bytes: Bytes) -> Result<String> {
        let name = format!("{}-{}-m{}.avro", self.commit, self.attempt, self.manifests);
        self.manifests += 1;
        self.write(&name, bytes).await
    }

    pub(super) async fn write_manifest_list(&mut self, snapshot_id: i64, bytes: Bytes) -> Result<String> {
        self.write(&format!("snap-{snapshot_id}-{}-{}.avro", self.attempt, self.commit), bytes).await
    }

    /// `suffix` says how the document is compressed, as Java names it: `.gz`, or nothing.
    pub(super) async fn write_metadata(&mut self, unique: Uuid, suffix: &str, bytes: Bytes) -> Result<String> {
        let name = metadata_name(self.version, unique, suffix);
        self.write(&name, bytes).await
    }

    async fn write(&mut self, name: &str, bytes: Bytes) -> Result<String> {
        let location = format!("{}/{name}", self.folder);
        // Before the write: one that failed may still have happened.
        self.written.push(location.clone());
        self.storage.write_new(&location, bytes).await?;
        Ok(location)
    }
}

/// The table property that moves the metadata folder.
pub(crate) const METADATA_PATH: &str = "write.metadata.path";

impl Table {
    /// Where its metadata files lie.
    pub fn metadata_folder(&self) -> String {
        metadata_folder(self.metadata.location(), self.metadata.properties().get(METADATA_PATH))
    }
}

/// Where a table's metadata files lie.
pub(crate) fn metadata_folder(location: &str, moved_to: Option<&String>) -> String {
    match moved_to {
        Some(folder) => folder.trim_end_matches('/').to_owned(),
        None => format!("{}/metadata", location.trim_end_matches('/')),
    }
}

/// The name of a metadata.json, as Java, PyIceberg and others write and parse it.
pub(crate) fn metadata_name(version: u64, unique: Uuid, suffix: &str) -> String {
    format!("{version:05}-{unique}{suffix}.metadata.json")
}

/// The version in a metadata.json's name; `None` for names of another making.
fn version_of(metadata_location: &str) -> Option<u64> {
    let name = metadata_location.rsplit('/').next()?;
    name.split_once('-')?.0.parse().ok()
}
