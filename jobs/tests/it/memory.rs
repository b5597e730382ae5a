//! A lake in the memory of this process: one bucket with storage classes, and one catalog.
//!
//! Owns the time that its objects are of, and a record of what was deleted when, and of what was written over. The program
//! reads and writes objects without a server between; what only S3 has words for goes through one in this process
//! (`memory/s3.rs`). Refuses to know tables.

mod s3;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use bytes::Bytes;
use contract::TableName;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use jiff::Timestamp;
use lake::{
    Failure, S3Options, Storage, StorageOptions, StoreWrapper,
    catalog::{Catalog, Pointer, Swap},
    faults::Faults,
    spec::TableMetadata,
};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};

/// The bucket's name.
pub const BUCKET: &str = "lake";

/// Who may use the server.
const ACCESS_KEY: &str = "AKIATEST";
const SECRET_KEY: &str = "secret";

/// Cheap to clone: all clones are one lake.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    now: Timestamp,
    objects: BTreeMap<String, Object>,
    tables: BTreeMap<TableName, Pointer>,
    record: Record,
    etags: u64,
}

/// An object of the bucket.
#[derive(Debug, Clone)]
pub struct Object {
    pub bytes: Bytes,
    pub etag: String,
    pub modified: Timestamp,
    pub class: String,
    restore: Restore,
}

/// What has been asked of an archived object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restore {
    Nothing,
    /// For so many days.
    Asked(i32),
    Until(Timestamp),
}

/// What can never be undone.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// Each deletion of an object that was there.
    pub deletions: Vec<Deletion>,
    /// Keys of objects that others were written over.
    pub overwritten: Vec<String>,
    /// Bytes of what was deleted, by key.
    pub gone: BTreeMap<String, Bytes>,
}

/// An object that was deleted.
#[derive(Debug, Clone)]
pub struct Deletion {
    pub key: String,
    /// Where each table stood at that moment.
    pub tables: BTreeMap<TableName, String>,
}

impl Object {
    pub fn is_archived(&self) -> bool {
        ["GLACIER", "DEEP_ARCHIVE"].contains(&self.class.as_str())
    }

    fn is_readable(&self, now: Timestamp) -> bool {
        !self.is_archived() || matches!(self.restore, Restore::Until(until) if now <= until)
    }
}

impl Memory {
    /// Everything anew.
    pub fn clear(&self) {
        *self.state() = State::default();
    }

    /// The time that objects are written at from now on.
    pub fn set_now(&self, now: Timestamp) {
        self.state().now = now;
    }

    /// Puts an object there, written at that time.
    pub fn put(&self, key: &str, bytes: impl Into<Bytes>, modified: Timestamp) {
        self.state().write(key, bytes.into(), modified);
    }

    /// What lies there.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        self.state().objects.clone()
    }

    /// The bytes of an object, archived or deleted as it may be.
    pub fn bytes(&self, key: &str) -> Option<Bytes> {
        let state = self.state();
        let object = state.objects.get(key).map(|object| object.bytes.clone());
        object.or_else(|| state.record.gone.get(key).cloned())
    }

    /// A table that lies there, whoever made it.
    pub fn register(&self, table: &TableName, metadata_location: &str) {
        self.state().tables.insert(table.clone(), pointer(metadata_location));
    }

    /// Where a table stands.
    pub fn pointer(&self, table: &TableName) -> Option<Pointer> {
        self.state().tables.get(table).cloned()
    }

    /// What was deleted and written over so far.
    pub fn record(&self) -> Record {
        self.state().record.clone()
    }

    /// What was asked for can be read.
    pub fn finish_restores(&self) {
        let mut state = self.state();
        let now = state.now;
        for object in state.objects.values_mut() {
            if let Restore::Asked(days) = object.restore {
                object.restore = Restore::Until(now + jiff::SignedDuration::from_hours(24 * i64::from(days)));
            }
        }
    }

    /// Everything in the archive can be read.
    pub fn bring_all_back(&self) {
        self.state().objects.values_mut().for_each(|object| object.restore = Restore::Asked(1));
        self.finish_restores();
    }

    /// The lake as the program uses it, with faults where there are some. `endpoint` is that of [`Self::serve`].
    pub fn open(&self, endpoint: &str, faults: Option<&Faults>) -> lake::Lake {
        let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
        let s3 = S3Options {
            region: Some("us-east-1".to_owned()),
            endpoint: Some(endpoint.to_owned()),
            credentials: Some(SharedCredentialsProvider::new(credentials)),
            path_style: true,
            allow_http: true,
            now: || SystemTime::UNIX_EPOCH,
        };
        let wrapper = Wrapper { memory: self.clone(), faults: faults.cloned() };
        let catalog: Arc<dyn Catalog> = match faults {
            Some(faults) => Arc::new(faults.catalog(Arc::new(self.clone()))),
            None => Arc::new(self.clone()),
        };
        lake::Lake {
            catalog,
            storage: Storage::new(StorageOptions { s3: Some(s3), wrapper: Some(Arc::new(wrapper)) }),
            warehouse: format!("s3://{BUCKET}/warehouse"),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&mut self, key: &str, bytes: Bytes, modified: Timestamp) -> String {
        self.etags += 1;
        let etag = format!("\"{:032x}\"", self.etags);
        let (class, restore) = ("STANDARD".to_owned(), Restore::Nothing);
        let object = Object { bytes, etag: etag.clone(), modified, class, restore };
        if self.objects.insert(key.to_owned(), object).is_some() {
            self.record.overwritten.push(key.to_owned());
        }
        etag
    }

    fn delete(&mut self, key: &str) {
        let Some(object) = self.objects.remove(key) else { return };
        let at = |(name, pointer): (&TableName, &Pointer)| (name.clone(), pointer.metadata_location.clone());
        let tables = self.tables.iter().map(at).collect();
        self.record.deletions.push(Deletion { key: key.to_owned(), tables });
        self.record.gone.insert(key.to_owned(), object.bytes);
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memory")
    }
}

/// The objects in place of the bucket's; faults lie above.
#[derive(Debug)]
struct Wrapper {
    memory: Memory,
    faults: Option<Faults>,
}

impl StoreWrapper for Wrapper {
    fn wrap(&self, bucket_or_root: &str, _: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        assert_eq!(bucket_or_root, BUCKET, "a test has one bucket, and nothing on the disk");
        let store: Arc<dyn ObjectStore> = Arc::new(self.memory.clone());
        self.faults.as_ref().map_or_else(|| store.clone(), |faults| faults.wrap(bucket_or_root, store.clone()))
    }

    fn step(&self, what: &str) -> std::result::Result<bool, Failure> {
        self.faults.as_ref().map_or(Ok(false), |faults| StoreWrapper::step(faults, what))
    }
}

fn time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.as_millisecond().try_into().unwrap_or(0))
}

fn meta(key: &str, object: &Object) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(key),
        last_modified: time(object.modified).into(),
        size: object.bytes.len() as u64,
        e_tag: Some(object.etag.clone()),
        version: None,
    }
}

fn not_found(key: &str) -> Error {
    Error::NotFound { path: key.to_owned(), source: "it is not there".into() }
}

#[async_trait]
impl ObjectStore for Memory {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (mut state, key) = (self.state(), location.as_ref());
        match (&options.mode, state.objects.get(key)) {
            (PutMode::Create, Some(_)) => {
                let source = "another object is there".into();
                return Err(Error::AlreadyExists { path: key.to_owned(), source });
            }
            (PutMode::Update(version), found)
                if found.is_none_or(|found| Some(&found.etag) != version.e_tag.as_ref()) =>
            {
                return Err(Error::Precondition { path: key.to_owned(), source: "it was replaced".into() });
            }
            _ => {}
        }
        let now = state.now;
        let e_tag = Some(state.write(key, payload.into(), now));
        Ok(PutResult { e_tag, version: None })
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(Error::NotImplemented { operation: "an upload in parts".to_owned(), implementer: self.to_string() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (state, key) = (self.state(), location.as_ref());
        let object = state.objects.get(key).ok_or_else(|| not_found(key))?;
        let meta = meta(key, object);
        options.check_preconditions(&meta)?;
        if !options.head && !object.is_readable(state.now) {
            let failure = Failure::new("S3", Some(403), Some("InvalidObjectState"), "the object is archived");
            return Err(Error::Generic { store: "S3", source: failure.into() });
        }
        let range = match &options.range {
            Some(range) => {
                range.as_range(meta.size).map_err(|error| Error::Generic { store: "S3", source: error.into() })?
            }
            None => 0..meta.size,
        };
        let place = |at: u64| usize::try_from(at).expect("objects fit into memory");
        let bytes = object.bytes.slice(place(range.start)..place(range.end));
        let payload = GetResultPayload::Stream(stream::once(async { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: object_store::Attributes::default() })
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let memory = self.clone();
        let delete =
            move |location: Result<Path>| location.inspect(|location| memory.state().delete(location.as_ref()));
        locations.map(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let state = self.state();
        let below = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let found = state.objects.iter().filter(|(key, _)| key.starts_with(&below));
        let found: Vec<_> = found.map(|(key, object)| Ok(meta(key, object))).collect();
        stream::iter(found).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let below = prefix.map_or_else(String::new, |prefix| format!("{prefix}/"));
        let mut listed = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        for (key, object) in &self.state().objects {
            let Some(rest) = key.strip_prefix(&below) else { continue };
            let Some((folder, _)) = rest.split_once('/') else {
                listed.objects.push(meta(key, object));
                continue;
            };
            let folder = Path::from(format!("{below}{folder}"));
            if listed.common_prefixes.last() != Some(&folder) {
                listed.common_prefixes.push(folder);
            }
        }
        Ok(listed)
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotImplemented { operation: "a copy".to_owned(), implementer: self.to_string() })
    }
}

#[async_trait]
impl Catalog for Memory {
    async fn load(&self, table: &TableName) -> lake::Result<Option<Pointer>> {
        Ok(self.pointer(table))
    }

    async fn list(&self) -> lake::Result<Vec<TableName>> {
        Ok(self.state().tables.keys().cloned().collect())
    }

    async fn create(&self, table: &TableName, metadata_location: &str, _: &TableMetadata) -> Swap {
        let mut state = self.state();
        if state.tables.contains_key(table) {
            return Swap::Conflict;
        }
        state.tables.insert(table.clone(), pointer(metadata_location));
        Swap::Committed
    }

    async fn swap(&self, table: &TableName, expected: &Pointer, metadata_location: &str, _: &TableMetadata) -> Swap {
        match self.state().tables.get_mut(table) {
            Some(now) if now == expected => {
                *now = pointer(metadata_location);
                Swap::Committed
            }
            _ => Swap::Conflict,
        }
    }
}

/// No two versions have one metadata location.
fn pointer(metadata_location: &str) -> Pointer {
    Pointer { metadata_location: metadata_location.to_owned(), token: metadata_location.to_owned() }
}
