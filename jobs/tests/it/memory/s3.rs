//! What S3 alone has words for, spoken by a server in this process: classes in lists, copies of objects onto themselves,
//! tags, restores.
//!
//! Reads and writes of objects do not come here.

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use s3s::{
    S3, S3Request, S3Response, S3Result,
    auth::SimpleAuth,
    dto::{
        CopyObjectInput, CopyObjectOutput, CopyObjectResult, CopySource, ETag, ETagCondition, GetBucketVersioningInput,
        GetBucketVersioningOutput, GetObjectTaggingInput, GetObjectTaggingOutput, HeadObjectInput, HeadObjectOutput,
        ListObjectsV2Input, ListObjectsV2Output, Object as Listed, ObjectStorageClass, RestoreObjectInput,
        RestoreObjectOutput, StorageClass,
    },
    s3_error,
    service::S3ServiceBuilder,
};
use tokio::net::TcpListener;

use super::{ACCESS_KEY, Memory, Object, Restore, SECRET_KEY, time};
use crate::here::RUNTIME;

/// Objects in one page of a list: few, so that lists have several.
const PAGE_OBJECTS: usize = 10;

impl Memory {
    /// Starts a server of this lake, which ends with the process. Gives its endpoint.
    pub fn serve(&self) -> String {
        let mut builder = S3ServiceBuilder::new(self.clone());
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();
        let listener = RUNTIME.block_on(TcpListener::bind("127.0.0.1:0")).expect("there is a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("it is bound"));
        RUNTIME.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    // A connection that breaks is the client's to notice.
                    drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await);
                });
            }
        });
        endpoint
    }
}

fn etag(object: &Object) -> ETag {
    ETag::Strong(object.etag.trim_matches('"').to_owned())
}

fn is(condition: Option<&ETagCondition>, object: &Object) -> bool {
    match condition {
        Some(ETagCondition::ETag(wanted)) => wanted.value() == etag(object).value(),
        Some(ETagCondition::Any) | None => true,
    }
}

#[async_trait::async_trait]
impl S3 for Memory {
    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let (prefix, after) = (input.prefix.unwrap_or_default(), input.continuation_token.unwrap_or_default());
        let state = self.state();
        let mut found = state
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(&prefix) && key.as_str() > after.as_str())
            .peekable();
        let listed = |(key, object): (&String, &Object)| Listed {
            key: Some(key.clone()),
            e_tag: Some(etag(object)),
            size: i64::try_from(object.bytes.len()).ok(),
            last_modified: Some(time(object.modified).into()),
            storage_class: Some(ObjectStorageClass::from(object.class.clone())),
            ..Listed::default()
        };
        let contents: Vec<_> = found.by_ref().take(PAGE_OBJECTS).map(listed).collect();
        let last = contents.last().and_then(|object| object.key.clone());
        Ok(S3Response::new(ListObjectsV2Output {
            is_truncated: Some(found.peek().is_some()),
            next_continuation_token: found.peek().and(last),
            contents: Some(contents),
            ..ListObjectsV2Output::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let state = self.state();
        let object = state.objects.get(&request.input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        let date = |until: jiff::Timestamp| until.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Ok(S3Response::new(HeadObjectOutput {
            content_length: i64::try_from(object.bytes.len()).ok(),
            e_tag: Some(etag(object)),
            last_modified: Some(time(object.modified).into()),
            // As S3 does: nothing is said of the usual one.
            storage_class: (object.class != "STANDARD").then(|| StorageClass::from(object.class.clone())),
            restore: match object.restore {
                Restore::Asked(_) => Some("ongoing-request=\"true\"".to_owned()),
                Restore::Until(until) if state.now <= until => {
                    Some(format!("ongoing-request=\"false\", expiry-date=\"{}\"", date(until)))
                }
                Restore::Nothing | Restore::Until(_) => None,
            },
            ..HeadObjectOutput::default()
        }))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = request.input;
        let CopySource::Bucket { key, .. } = &input.copy_source else { return Err(s3_error!(NotImplemented)) };
        // Another place would be another object, which the program never makes so.
        let (true, Some(class)) = (**key == *input.key, &input.storage_class) else {
            return Err(s3_error!(InvalidRequest));
        };
        let mut state = self.state();
        let now = state.now;
        let object = state.objects.get_mut(&input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        if !is(input.copy_source_if_match.as_ref(), object) {
            return Err(s3_error!(PreconditionFailed));
        }
        if !object.is_readable(now) {
            return Err(s3_error!(InvalidObjectState));
        }
        (object.class, object.modified, object.restore) = (class.as_str().to_owned(), now, Restore::Nothing);
        let result = CopyObjectResult {
            e_tag: Some(etag(object)),
            last_modified: Some(time(now).into()),
            ..CopyObjectResult::default()
        };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..CopyObjectOutput::default() }))
    }

    async fn restore_object(
        &self,
        request: S3Request<RestoreObjectInput>,
    ) -> S3Result<S3Response<RestoreObjectOutput>> {
        let days = request.input.restore_request.and_then(|wanted| wanted.days);
        let mut state = self.state();
        let object = state.objects.get_mut(&request.input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        match (object.is_archived(), object.restore, days) {
            (true, Restore::Asked(_), _) => return Err(s3_error!(RestoreAlreadyInProgress)),
            (true, _, Some(days)) => object.restore = Restore::Asked(days),
            _ => return Err(s3_error!(InvalidObjectState)),
        }
        Ok(S3Response::new(RestoreObjectOutput::default()))
    }

    async fn get_object_tagging(
        &self,
        request: S3Request<GetObjectTaggingInput>,
    ) -> S3Result<S3Response<GetObjectTaggingOutput>> {
        self.state().objects.get(&request.input.key).ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(S3Response::new(GetObjectTaggingOutput::default()))
    }

    async fn get_bucket_versioning(
        &self,
        _: S3Request<GetBucketVersioningInput>,
    ) -> S3Result<S3Response<GetBucketVersioningOutput>> {
        Ok(S3Response::new(GetBucketVersioningOutput::default()))
    }
}
