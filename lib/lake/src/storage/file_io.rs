//! The iceberg crate's storage traits over ours, so that manifests and metadata go through the same stores: counted,
//! sealed, never overwritten, and with the faults that tests put in.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream::BoxStream};
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage as IcebergStorage,
    StorageConfig, StorageFactory,
};
use object_store::{ObjectStore, ObjectStoreExt, path::Path as ObjectPath};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::Storage;
use crate::error::{Operation, from_store};

pub(super) fn file_io(storage: Storage) -> FileIO {
    FileIOBuilder::new(Arc::new(LakeStorage(storage))).build()
}

/// Storage as the iceberg crate wants it. It asks for serialization, to send storage to other processes; ours stays.
#[derive(Debug, Clone)]
struct LakeStorage(Storage);

impl Serialize for LakeStorage {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(ser::Error::custom("storage belongs to its process: it holds connections and credentials"))
    }
}

impl<'de> Deserialize<'de> for LakeStorage {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("storage belongs to its process: it holds connections and credentials"))
    }
}

#[typetag::serde]
impl StorageFactory for LakeStorage {
    fn build(&self, _: &StorageConfig) -> iceberg::Result<Arc<dyn IcebergStorage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde]
impl IcebergStorage for LakeStorage {
    async fn exists(&self, path: &str) -> iceberg::Result<bool> {
        self.0.exists(path).await.map_err(theirs)
    }

    async fn metadata(&self, path: &str) -> iceberg::Result<FileMetadata> {
        let size = self.0.head(path).await.map_err(theirs)?.size;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> iceberg::Result<Bytes> {
        self.0.read(path).await.map_err(theirs)
    }

    async fn reader(&self, path: &str) -> iceberg::Result<Box<dyn FileRead>> {
        let (store, object) = self.0.resolve(path).map_err(theirs)?;
        Ok(Box::new(Reader { store, object, location: path.to_owned() }))
    }

    async fn write(&self, path: &str, bytes: Bytes) -> iceberg::Result<()> {
        self.0.write_new(path, bytes).await.map_err(theirs)
    }

    async fn writer(&self, path: &str) -> iceberg::Result<Box<dyn FileWrite>> {
        Ok(Box::new(Writer { storage: self.0.clone(), location: path.to_owned(), bytes: Some(BytesMut::new()) }))
    }

    async fn delete(&self, path: &str) -> iceberg::Result<()> {
        self.0.delete_all(vec![path.to_owned()]).await.map_err(theirs)
    }

    async fn delete_prefix(&self, path: &str) -> iceberg::Result<()> {
        // Nobody here deletes what was not listed and judged one by one.
        let message = format!("refused to delete everything below {path}");
        Err(iceberg::Error::new(iceberg::ErrorKind::FeatureUnsupported, message))
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> iceberg::Result<()> {
        self.0.delete_all(paths.collect().await).await.map_err(theirs)
    }

    fn new_input(&self, path: &str) -> iceberg::Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> iceberg::Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }
}

struct Reader {
    store: Arc<dyn ObjectStore>,
    object: ObjectPath,
    location: String,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> iceberg::Result<Bytes> {
        let read = self.store.get_range(&self.object, range).await;
        read.map_err(|error| theirs(from_store(Operation::Read, &self.location, error)))
    }
}

/// Collects a metadata file and writes it at the end, in one piece: it is small, and then there whole or not at all.
struct Writer {
    storage: Storage,
    location: String,
    bytes: Option<BytesMut>,
}

impl Writer {
    fn closed(&self) -> iceberg::Error {
        iceberg::Error::new(iceberg::ErrorKind::Unexpected, format!("{} is closed already", self.location))
    }
}

#[async_trait]
impl FileWrite for Writer {
    async fn write(&mut self, bytes: Bytes) -> iceberg::Result<()> {
        let closed = self.closed();
        self.bytes.as_mut().ok_or(closed)?.extend_from_slice(&bytes);
        Ok(())
    }

    async fn close(&mut self) -> iceberg::Result<()> {
        let bytes = self.bytes.take().ok_or_else(|| self.closed())?;
        self.storage.write_new(&self.location, bytes.freeze()).await.map_err(theirs)
    }
}

fn theirs(error: crate::Error) -> iceberg::Error {
    let kind = match error.kind() {
        crate::error::ErrorKind::Corrupt => iceberg::ErrorKind::DataInvalid,
        _ => iceberg::ErrorKind::Unexpected,
    };
    iceberg::Error::new(kind, error.to_string()).with_source(error)
}
