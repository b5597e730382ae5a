//! A store whose calls are steps: also each part of an upload, each request that deletes, and each list as a whole.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use futures::{StreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart, path::Path,
};

use super::{Faults, unavailable};
use crate::Failure;

/// Objects of one bulk deletion on S3.
pub(super) const BULK_OBJECTS_MAX: usize = 1_000;

/// A store with faults.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    /// Objects that one request deletes.
    deleted_at_once: usize,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, faults: Faults, deleted_at_once: usize) -> Self {
        Self { inner, faults, deleted_at_once }
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

fn failed(failure: Failure) -> Error {
    Error::Generic { store: "S3", source: failure.into() }
}

async fn stepped<T>(faults: &Faults, what: &str, path: &Path, call: impl Future<Output = Result<T>>) -> Result<T> {
    let lost = faults.step(&format!("{what} {path}")).map_err(failed)?;
    let answer = call.await;
    if lost { Err(failed(unavailable())) } else { answer }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        stepped(&self.faults, "put", location, self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let start = self.inner.put_multipart_opts(location, options);
        let inner = stepped(&self.faults, "start upload", location, start).await?;
        Ok(Box::new(FaultyUpload { inner, location: location.clone(), faults: self.faults.clone() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let what = if options.head { "head" } else { "get" };
        stepped(&self.faults, what, location, self.inner.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, faults) = (self.inner.clone(), self.faults.clone());
        let delete = move |locations: Vec<Result<Path>>| {
            let (inner, faults) = (inner.clone(), faults.clone());
            async move {
                let Some(Ok(first)) = locations.first() else { return locations };
                let first = first.clone();
                let call = async { Ok(inner.delete_stream(stream::iter(locations).boxed()).collect::<Vec<_>>().await) };
                stepped(&faults, "delete", &first, call).await.unwrap_or_else(|error| vec![Err(error)])
            }
        };
        locations.chunks(self.deleted_at_once).then(delete).flat_map(stream::iter).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (objects, faults) = (self.inner.list(prefix), self.faults.clone());
        let what = format!("list {}", prefix.cloned().unwrap_or_default());
        stream::once(async move {
            match faults.step(&what) {
                Err(failure) => stream::once(async { Err(failed(failure)) }).boxed(),
                Ok(false) => objects,
                // A later page fails.
                Ok(true) => objects.chain(stream::once(async { Err(failed(unavailable())) })).boxed(),
            }
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        stepped(&self.faults, "list", &path, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        stepped(&self.faults, "copy", to, self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    inner: Box<dyn MultipartUpload>,
    location: Path,
    faults: Faults,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, faults, location) = (self.inner.put_part(data), self.faults.clone(), self.location.clone());
        Box::pin(async move { stepped(&faults, "put part", &location, part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        stepped(&self.faults, "complete upload", &self.location, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        stepped(&self.faults, "abort upload", &self.location, self.inner.abort()).await
    }
}
