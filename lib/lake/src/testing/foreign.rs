//! Tables of other engines (`tests/fixtures/tables`), copied so that they can be written to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use object_store::{ObjectStore, local::LocalFileSystem};

use super::FakeCatalog;
use crate::{Lake, S3Options, Storage, StorageOptions, StoreWrapper, Table};

/// The bucket that the tables lie in, as a folder.
#[derive(Debug)]
struct Folder(PathBuf);

impl StoreWrapper for Folder {
    fn wrap(&self, _: &str, _: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(LocalFileSystem::new_with_prefix(&self.0).unwrap())
    }
}

/// All foreign tables, in a lake of their own.
pub(crate) struct ForeignLake {
    pub lake: Lake,
    _folder: tempfile::TempDir,
}

impl ForeignLake {
    pub(crate) fn new() -> Self {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tables");
        let folder = tempfile::tempdir().unwrap();
        copy(&fixtures.join("objects"), folder.path());
        let s3 = S3Options {
            region: None,
            endpoint: None,
            credentials: None,
            path_style: false,
            allow_http: false,
            now: || SystemTime::UNIX_EPOCH,
        };
        let wrapper: Arc<dyn StoreWrapper> = Arc::new(Folder(folder.path().to_owned()));
        let storage = Storage::new(StorageOptions { s3: Some(s3), wrapper: Some(wrapper) });
        let catalog = Arc::new(FakeCatalog::default());
        let locations = std::fs::read(fixtures.join("metadata_locations.json")).unwrap();
        let locations: BTreeMap<String, String> = serde_json::from_slice(&locations).unwrap();
        for (name, location) in locations {
            catalog.register(&name.parse().unwrap(), &location);
        }
        Self { lake: Lake { catalog, storage, warehouse: "s3://foreign/ours".to_owned() }, _folder: folder }
    }

    pub(crate) async fn table(&self, name: &str) -> Table {
        self.lake.table(&name.parse().unwrap()).await.unwrap().unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
