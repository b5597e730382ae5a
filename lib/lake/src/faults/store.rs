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

/// A store with faults.
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
    deletes_per_request: usize,
}

impl FaultyStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>, faults: Faults, deletes_per_request: usize) -> Self {
        Self { inner, faults, deletes_per_request }
    }

    fn stepped_list(
        &self,
        prefix: Option<&Path>,
        objects: BoxStream<'static, Result<ObjectMeta>>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let faults = self.faults.clone();
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
        let delete = move |request: Vec<Result<Path>>| {
            let (inner, faults) = (inner.clone(), faults.clone());
            async move {
                let first = request.iter().find_map(|path| path.as_ref().ok()).cloned().unwrap_or_default();
                let lost = match faults.step(&format!("delete {} from {first} on", request.len())) {
                    Ok(lost) => lost,
                    Err(failure) => return vec![Err(failed(failure))],
                };
                let answers = inner.delete_stream(stream::iter(request).boxed()).collect().await;
                if lost { vec![Err(failed(unavailable()))] } else { answers }
            }
        };
        locations.chunks(self.deletes_per_request).then(delete).map(stream::iter).flatten().boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.stepped_list(prefix, self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.stepped_list(prefix, self.inner.list_with_offset(prefix, offset))
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
