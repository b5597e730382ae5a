//! Storage: where objects lie, on S3 or on a local disk, behind one set of calls that name what they touch.
//!
//! Nothing is ever overwritten, every list is whole or an error, and no answer that carries a secret gets out.
//! Refuses to know tables, catalogs and the environment.

mod classes;
mod file_io;
mod lifecycle;
mod local;
mod location;
mod requests;
mod s3;
mod sealed;

pub use classes::{ClassedObject, Classes, ObjectState, Tags};
pub use lifecycle::Lifecycle;
pub use location::Location;
pub use requests::RequestCounts;
pub use s3::S3Options;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future, stream};
use object_store::{
    Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
    path::Path as ObjectPath,
};

use crate::{
    Error, Result,
    error::{Failure, Operation, find, from_store},
};
use requests::Requests;

/// Wraps every store that is made: faults in tests, traces.
pub trait StoreWrapper: fmt::Debug + Send + Sync {
    /// The store to use instead of `store`, which holds the bucket of this name, or `/` for local files.
    fn wrap(&self, bucket_or_root: &str, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>;

    /// Before a request that no store makes. An error is what becomes of it, without effect; `true` asks for one after it.
    fn step(&self, _what: &str) -> Result<bool, Failure> {
        Ok(false)
    }
}

/// How storage is reached.
#[derive(Debug, Clone, Default)]
pub struct StorageOptions {
    /// For `s3://` locations; without it they are refused.
    pub s3: Option<S3Options>,
    /// Wraps every store.
    pub wrapper: Option<Arc<dyn StoreWrapper>>,
}

/// All storage of a run: cheap to clone, one store per bucket.
#[derive(Clone)]
pub struct Storage(Arc<Inner>);

struct Inner {
    options: StorageOptions,
    s3: Option<s3::S3>,
    classes: OnceLock<Classes>,
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
    requests: Arc<Requests>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Storage {
    /// Storage by these options. Nothing is asked of any service yet.
    pub fn new(options: StorageOptions) -> Self {
        let s3 = options.s3.clone().map(s3::S3::new);
        let stores = Mutex::default();
        Self(Arc::new(Inner { options, s3, classes: OnceLock::new(), stores, requests: Arc::default() }))
    }

    /// Local files only.
    pub fn local() -> Self {
        Self::new(StorageOptions::default())
    }

    /// The store of a location and the path in it. Shared by everybody, counted, and free of secrets in its errors.
    pub fn resolve(&self, location: &str) -> Result<(Arc<dyn ObjectStore>, ObjectPath)> {
        let parsed = Location::parse(location)?;
        let path = parsed.path()?;
        Ok((self.store(&parsed)?, path))
    }

    /// The location of a path in the same bucket, or on the same disk, as `beside`: the reverse of [`Self::resolve`].
    pub fn location_of(&self, beside: &str, path: &ObjectPath) -> Result<String> {
        Ok(Location::parse(beside)?.with_path(path).to_string())
    }

    /// A whole object.
    pub async fn read(&self, location: &str) -> Result<Bytes> {
        self.get(location, GetOptions::default()).await
    }

    /// A whole object, if it still is the one of this `ETag`; otherwise [`Error::Changed`].
    pub async fn read_if_match(&self, location: &str, etag: &str) -> Result<Bytes> {
        self.get(location, GetOptions { if_match: Some(etag.to_owned()), ..GetOptions::default() }).await
    }

    /// Writes an object in the place of what is there, if anything: readers see the one or the other. For objects that are
    /// no part of a table.
    pub async fn replace(&self, location: &str, bytes: Bytes) -> Result<()> {
        let (store, path) = self.resolve(location)?;
        let sent = store.put_opts(&path, PutPayload::from(bytes), PutMode::Overwrite.into()).await;
        sent.map(|_| ()).map_err(|error| from_store(Operation::Write, location, error))
    }

    /// Writes an object that must not exist yet: [`Error::Occupied`] when another one does. On return it is durable.
    ///
    /// Finding exactly these bytes counts as success: they are ours, from a request whose answer was lost.
    pub async fn write_new(&self, location: &str, bytes: Bytes) -> Result<()> {
        let (store, path) = self.resolve(location)?;
        let mut resends_left = RESENDS_MAX;
        loop {
            let sent = store.put_opts(&path, PutPayload::from(bytes.clone()), PutMode::Create.into()).await;
            let Err(error) = sent else { return Ok(()) };
            let resend = if matches!(error, StoreError::AlreadyExists { .. }) {
                match self.read(location).await {
                    Ok(found) if found == bytes => return Ok(()),
                    Ok(_) => false,
                    // S3 answers so while another write of this key is under way, too.
                    Err(Error::NotFound { .. }) => true,
                    Err(error) => return Err(error),
                }
            } else {
                // The store repeats requests that were refused for now. One without an answer it does not repeat,
                // for a conditional write; here that is safe, since the second finds the bytes of the first.
                find::<Failure>(&error).is_some_and(Failure::is_unanswered)
            };
            if resends_left == 0 || !resend {
                return Err(from_store(Operation::Write, location, error));
            }
            resends_left -= 1;
            tracing::warn!(object.location = location, "no sure answer to a write, sending it again");
        }
    }

    /// The first bytes of an object of this size, at most so many of them.
    pub async fn read_start(&self, location: &str, size: u64, bytes_max: u64) -> Result<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let range = Some((0..size.min(bytes_max)).into());
        self.get(location, GetOptions { range, ..GetOptions::default() }).await
    }

    /// Size, `ETag` and time of an object.
    pub async fn head(&self, location: &str) -> Result<ObjectMeta> {
        let (store, path) = self.resolve(location)?;
        store.head(&path).await.map_err(|error| from_store(Operation::Inspect, location, error))
    }

    /// Whether the object exists.
    pub async fn exists(&self, location: &str) -> Result<bool> {
        match self.head(location).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Deletes objects, in bulk where the store can. Missing ones are fine. After an error some may be gone.
    pub async fn delete_all(&self, locations: Vec<String>) -> Result<()> {
        for objects in by_store(locations)? {
            let first = objects[0].0.clone();
            let (store, _) = self.resolve(&first)?;
            let paths = stream::iter(objects.into_iter().map(|(_, path)| Ok(path))).boxed();
            let mut deleted = store.delete_stream(paths);
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(_) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(from_store(Operation::Delete, &first, error)),
                }
            }
        }
        Ok(())
    }

    /// Deletes objects as [`Self::delete_all`] does, and goes on after an error. Gives the locations that are left and the
    /// first error; missing objects are not left.
    pub async fn delete_each(&self, locations: Vec<String>) -> (Vec<String>, Option<Error>) {
        let (mut left, mut first_error) = (Vec::new(), None);
        let objects = match by_store(locations.clone()) {
            Ok(objects) => objects,
            Err(error) => return (locations, Some(error)),
        };
        for objects in objects {
            let store = match self.resolve(&objects[0].0) {
                Ok((store, _)) => store,
                Err(error) => {
                    left.extend(objects.into_iter().map(|(location, _)| location));
                    first_error.get_or_insert(error);
                    continue;
                }
            };
            let first = objects[0].0.clone();
            let paths: Vec<_> = objects.iter().map(|(_, path)| Ok(path.clone())).collect();
            let mut waiting: BTreeMap<ObjectPath, String> =
                objects.into_iter().map(|(location, path)| (path, location)).collect();
            let mut deleted = store.delete_stream(stream::iter(paths).boxed());
            while let Some(result) = deleted.next().await {
                match result {
                    Ok(path) => drop(waiting.remove(&path)),
                    Err(StoreError::NotFound { path, .. }) => {
                        // As the store spells it: the local disk with its first slash.
                        if let Ok(path) = ObjectPath::parse(path.trim_start_matches('/')) {
                            waiting.remove(&path);
                        }
                    }
                    Err(error) => drop(first_error.get_or_insert(from_store(Operation::Delete, &first, error))),
                }
            }
            left.extend(waiting.into_values());
        }
        left.sort();
        (left, first_error)
    }

    /// Every object below a folder, of all pages, sorted by path. A missing folder is empty.
    pub async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>> {
        let mut objects = self.list_as(folder, Ok).await?;
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// Something of every object below a folder, in no order: of millions only that is in memory.
    pub async fn list_as<T>(&self, folder: &str, of: impl Fn(ObjectMeta) -> Result<T>) -> Result<Vec<T>> {
        let (store, path) = self.resolve(folder)?;
        let prefix = (!path.as_ref().is_empty()).then_some(&path);
        let listed = store.list(prefix).map_err(|error| from_store(Operation::List, folder, error));
        listed.and_then(|object| future::ready(of(object))).try_collect().await
    }

    /// Shows every object below a folder, one after the other, of those whose location comes after `after` where it is given:
    /// in order of location on S3, folder by folder on a disk. An object that `of` refuses ends it.
    pub async fn list_each(
        &self,
        folder: &str,
        after: Option<&str>,
        mut of: impl FnMut(ObjectMeta) -> Result<()>,
    ) -> Result<()> {
        let (store, path) = self.resolve(folder)?;
        let prefix = (!path.as_ref().is_empty()).then_some(&path);
        let mut listed = match after {
            Some(after) => store.list_with_offset(prefix, &Location::parse(after)?.path()?),
            None => store.list(prefix),
        };
        while let Some(object) = listed.try_next().await.map_err(|error| from_store(Operation::List, folder, error))? {
            of(object)?;
        }
        Ok(())
    }

    /// What lies directly in a folder: locations of folders, with a slash at their end, and objects.
    pub async fn list_directly(&self, folder: &str) -> Result<(Vec<String>, Vec<ObjectMeta>)> {
        let (store, path) = self.resolve(folder)?;
        let prefix = (!path.as_ref().is_empty()).then_some(&path);
        let listed = store.list_with_delimiter(prefix).await;
        let listed = listed.map_err(|error| from_store(Operation::List, folder, error))?;
        let location = |path: &ObjectPath| Ok(self.location_of(folder, path)? + "/");
        Ok((listed.common_prefixes.iter().map(location).collect::<Result<_>>()?, listed.objects))
    }

    /// The same storage for the iceberg crate.
    pub fn file_io(&self) -> iceberg::io::FileIO {
        file_io::file_io(self.clone())
    }

    /// The same place without links in its path; as it is where there are none, or nothing is there.
    pub fn without_links(&self, location: &str) -> String {
        let real = match Location::parse(location) {
            Ok(Location::Local { path }) => std::fs::canonicalize(format!("/{path}")).ok(),
            _ => None,
        };
        real.and_then(|path| path.to_str().map(|path| format!("file://{path}"))).unwrap_or_else(|| location.to_owned())
    }

    /// The region of its buckets, where that is known; `None` without S3.
    pub fn region(&self) -> Option<&str> {
        self.0.options.s3.as_ref()?.region.as_deref()
    }

    /// Storage classes of S3, where there is a connection to it.
    pub fn classes(&self) -> Result<&Classes> {
        let Some(s3) = &self.0.options.s3 else {
            let reason = "no S3 connection is configured".to_owned();
            return Err(Error::Location { location: "s3://".to_owned(), reason });
        };
        let (requests, wrapper) = (&self.0.requests, &self.0.options.wrapper);
        Ok(self.0.classes.get_or_init(|| Classes::new(s3, requests.clone(), wrapper.clone())))
    }

    /// Requests made so far.
    pub fn requests(&self) -> RequestCounts {
        self.0.requests.counts()
    }

    async fn get(&self, location: &str, options: GetOptions) -> Result<Bytes> {
        let (store, path) = self.resolve(location)?;
        let failed = |error| from_store(Operation::Read, location, error);
        store.get_opts(&path, options).await.map_err(failed)?.bytes().await.map_err(failed)
    }

    fn store(&self, location: &Location) -> Result<Arc<dyn ObjectStore>> {
        let root = location.root();
        let mut stores = self.0.stores.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(root) {
            return Ok(store.clone());
        }
        let store: Arc<dyn ObjectStore> = match (location, &self.0.s3) {
            (Location::Local { .. }, _) => Arc::new(local::LocalDisk),
            (Location::S3 { bucket, .. }, Some(s3)) => s3.store(bucket)?,
            (Location::S3 { .. }, None) => {
                let reason = "no S3 connection is configured".to_owned();
                return Err(Error::Location { location: location.to_string(), reason });
            }
        };
        let store = match &self.0.options.wrapper {
            Some(wrapper) => wrapper.wrap(root, store),
            None => store,
        };
        let is_local = matches!(location, Location::Local { .. });
        let store = sealed::Sealed::around(store, self.0.requests.clone(), is_local);
        stores.insert(root.to_owned(), store.clone());
        Ok(store)
    }
}

/// Objects in one page of a list, and in one deletion, on S3.
pub(crate) const PAGE_OBJECTS: usize = 1_000;

/// Objects by the store that holds them, each group with at least one.
fn by_store(locations: Vec<String>) -> Result<Vec<Vec<(String, ObjectPath)>>> {
    let mut by_store: BTreeMap<String, Vec<(String, ObjectPath)>> = BTreeMap::new();
    for location in locations {
        let parsed = Location::parse(&location)?;
        let path = parsed.path()?;
        by_store.entry(parsed.root().to_owned()).or_default().push((location, path));
    }
    Ok(by_store.into_values().collect())
}

/// How often a write without an answer is sent again.
const RESENDS_MAX: u32 = 2;

#[cfg(test)]
mod s3_tests;
#[cfg(test)]
mod tests;
