//! Tables of other engines (`tests/fixtures/tables`), and odd ones (`tests/fixtures/odd-tables`), copied so that they can be
//! written to.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use object_store::{ObjectStore, local::LocalFileSystem};
use serde_json::Value;

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
        let locations = std::fs::read(fixtures("tables/metadata_locations.json")).unwrap();
        Self::of("tables", serde_json::from_slice(&locations).unwrap())
    }

    /// The odd ones, in the namespace `odd`.
    pub(crate) fn odd() -> Self {
        let tables: BTreeMap<String, Value> =
            serde_json::from_slice(&std::fs::read(fixtures("odd-tables/tables.json")).unwrap()).unwrap();
        let location = |of: &Value| of["metadata"].as_str().unwrap().to_owned();
        Self::of("odd-tables", tables.iter().map(|(name, of)| (format!("odd.{name}"), location(of))).collect())
    }

    fn of(tables: &str, locations: BTreeMap<String, String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy(&fixtures(tables).join("objects"), folder.path());
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
        for (name, location) in locations {
            catalog.register(&name.parse().unwrap(), &location);
        }
        Self { lake: Lake { catalog, storage, warehouse: "s3://foreign/ours".to_owned() }, _folder: folder }
    }

    /// Names of all tables.
    pub(crate) async fn names(&self) -> Vec<contract::TableName> {
        self.lake.catalog.list().await.unwrap()
    }

    pub(crate) async fn table(&self, name: &str) -> Table {
        self.lake.table(&name.parse().unwrap()).await.unwrap().unwrap()
    }
}

fn fixtures(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures").join(path)
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
