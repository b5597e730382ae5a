//! The outermost layer of every store: counts requests, and cuts errors down to what may be shown.
//!
//! S3 answers a refused request with the access key, the session token and the signed request in the body, and
//! `object_store` puts that body into its errors.

use std::{error::Error as StdError, fmt, ops::Range, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
    client::{HttpError, HttpErrorKind},
    path::Path,
};

use super::{
    PAGE_OBJECTS,
    requests::{Requests, count},
};
use crate::error::{Failure, find};

/// A store that counts its requests and keeps secrets.
#[derive(Debug)]
pub(super) struct Sealed {
    inner: Arc<dyn ObjectStore>,
    requests: Arc<Requests>,
    is_local: bool,
}

impl Sealed {
    pub(super) fn around(inner: Arc<dyn ObjectStore>, requests: Arc<Requests>, is_local: bool) -> Arc<dyn ObjectStore> {
        Arc::new(Self { inner, requests, is_local })
    }

    /// A list, each of whose pages is a request.
    fn counted(&self, list: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (requests, is_local) = (self.requests.clone(), self.is_local);
        count(&self.requests.list);
        let mut listed: usize = 0;
        let counted = list.inspect_ok(move |_| {
            listed += 1;
            if !is_local && listed.is_multiple_of(PAGE_OBJECTS) {
                count(&requests.list);
            }
        });
        counted.map_err(move |error| if is_local { error } else { sealed(error) }).boxed()
    }

    /// Local errors hold nothing but paths, and their `io::Error` is still wanted.
    fn seal(&self, error: Error) -> Error {
        if self.is_local { error } else { sealed(error) }
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Sealed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        count(&self.requests.put);
        self.inner.put_opts(location, payload, options).await.map_err(|e| self.seal(e))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        count(&self.requests.multipart);
        let inner = self.inner.put_multipart_opts(location, options).await.map_err(|e| self.seal(e))?;
        Ok(Box::new(SealedUpload { inner, requests: self.requests.clone(), is_local: self.is_local }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        count(if options.head { &self.requests.head } else { &self.requests.get });
        let mut result = self.inner.get_opts(location, options).await.map_err(|e| self.seal(e))?;
        if let GetResultPayload::Stream(stream) = result.payload {
            result.payload = GetResultPayload::Stream(stream.map_err(sealed).boxed());
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.is_local {
            count(&self.requests.get);
            return self.inner.get_ranges(location, ranges).await;
        }
        // As the S3 store does it, but through `get_opts` of this layer, so that each request is counted.
        let fetch = |range: Range<u64>| async move {
            let options = GetOptions { range: Some(range.into()), ..GetOptions::default() };
            self.get_opts(location, options).await?.bytes().await
        };
        object_store::coalesce_ranges(ranges, fetch, object_store::OBJECT_STORE_COALESCE_DEFAULT).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (requests, is_local) = (self.requests.clone(), self.is_local);
        let per_request = if is_local { 1 } else { PAGE_OBJECTS };
        let mut index: usize = 0;
        let counted = locations.inspect(move |_| {
            if index.is_multiple_of(per_request) {
                count(&requests.delete);
            }
            index += 1;
        });
        let seal = move |error| if is_local { error } else { sealed(error) };
        self.inner.delete_stream(counted.boxed()).map_err(seal).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.counted(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        count(&self.requests.list);
        self.inner.list_with_delimiter(prefix).await.map_err(|e| self.seal(e))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        count(&self.requests.copy);
        self.inner.copy_opts(from, to, options).await.map_err(|e| self.seal(e))
    }
}

#[derive(Debug)]
struct SealedUpload {
    inner: Box<dyn MultipartUpload>,
    requests: Arc<Requests>,
    is_local: bool,
}

impl SealedUpload {
    fn seal(&self, error: Error) -> Error {
        if self.is_local { error } else { sealed(error) }
    }
}

#[async_trait]
impl MultipartUpload for SealedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        count(&self.requests.multipart);
        let (part, is_local) = (self.inner.put_part(data), self.is_local);
        Box::pin(async move { part.await.map_err(|error| if is_local { error } else { sealed(error) }) })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        count(&self.requests.multipart);
        self.inner.complete().await.map_err(|e| self.seal(e))
    }

    async fn abort(&mut self) -> Result<()> {
        count(&self.requests.multipart);
        self.inner.abort().await.map_err(|e| self.seal(e))
    }
}

/// The same error with a [`Failure`] as its only source.
fn sealed(error: Error) -> Error {
    const STORE: &str = "S3";
    if let Error::InvalidPath { .. } | Error::JoinError { .. } | Error::NotImplemented { .. } = error {
        return error;
    }
    let failure = find::<Failure>(&error).cloned().unwrap_or_else(|| failure(&error));
    match error {
        Error::NotFound { path, .. } if failure.code.as_deref() != Some("NoSuchBucket") => {
            Error::NotFound { path, source: failure.into() }
        }
        Error::AlreadyExists { path, .. } => Error::AlreadyExists { path, source: failure.into() },
        Error::Precondition { path, .. } => Error::Precondition { path, source: failure.into() },
        Error::NotModified { path, .. } => Error::NotModified { path, source: failure.into() },
        Error::PermissionDenied { path, .. } => Error::PermissionDenied { path, source: failure.into() },
        Error::Unauthenticated { path, .. } => Error::Unauthenticated { path, source: failure.into() },
        _ => Error::Generic { store: STORE, source: failure.into() },
    }
}

/// Status, code and message, found in the text: the client's own error types are private.
fn failure(error: &Error) -> Failure {
    const SERVICE: &str = "S3";
    let text = error.to_string();
    if let Some(http) = find::<HttpError>(error) {
        let code = match http.kind() {
            HttpErrorKind::Timeout => Failure::TIMEOUT,
            _ => Failure::CONNECTION,
        };
        return Failure::new(SERVICE, None, Some(code), &innermost(http));
    }
    if text.contains("redirect without LOCATION") {
        return Failure::new(SERVICE, Some(301), Some("PermanentRedirect"), "the bucket is in another region");
    }
    let status =
        text.split_once("status code: ").and_then(|(_, rest)| rest.get(..3)).and_then(|digits| digits.parse().ok());
    if text.contains("<Code>") {
        return Failure::from_xml(SERVICE, status, &text);
    }
    if let Some((_, rest)) = text.split_once("(code: ") {
        // One key of a bulk deletion.
        let code = rest.trim_end_matches(')');
        return Failure::new(SERVICE, status, Some(code), "one of the keys could not be deleted");
    }
    let message = match status {
        Some(_) => String::new(),
        None => text.split('<').next().unwrap_or_default().to_owned(),
    };
    Failure::new(SERVICE, status, None, &message)
}

/// The last source's text: `connection refused` rather than `error sending request`.
fn innermost(error: &dyn StdError) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generic(text: &str) -> Error {
        Error::Generic { store: "S3", source: text.into() }
    }

    #[test]
    fn an_answer_that_carries_the_token_is_cut_down() {
        let error = generic(
            "Error performing GET https://b.s3.amazonaws.com/k in 1.2s - Server returned non-2xx status code: 403 \
             Forbidden: <Error><Code>SignatureDoesNotMatch</Code><Message>The request signature we calculated does \
             not match.</Message><AWSAccessKeyId>AKIAEXAMPLE</AWSAccessKeyId><CanonicalRequest>x-amz-security-token:\
             FwoGZX</CanonicalRequest></Error>",
        );
        let sealed = sealed(error);
        let shown = format!("{sealed} {sealed:?}");
        assert!(shown.contains("403") && shown.contains("SignatureDoesNotMatch"), "{shown}");
        assert!(!shown.contains("AKIA") && !shown.contains("FwoG"), "{shown}");
    }

    #[test]
    fn the_region_of_a_bucket_is_read_from_the_answer() {
        let error = generic(
            "Server returned non-2xx status code: 400 Bad Request: <Error><Code>AuthorizationHeaderMalformed</Code>\
             <Message>the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>",
        );
        assert_eq!(failure(&error).region.as_deref(), Some("eu-west-1"));
        assert_eq!(failure(&generic("Received redirect without LOCATION, this")).status, Some(301));
    }
}
