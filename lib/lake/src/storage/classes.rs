//! What S3 can do and object_store has no words for: storage classes, copies onto themselves, tags, restores, lifecycle rules.
//!
//! Owns one method for each request, each counted, a step for faults, and with errors cut down to what may be shown. Refuses
//! to decide: what requests together mean is said in `tiers`.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Region, RequestChecksumCalculation, ResponseChecksumValidation, retry::RetryConfig,
        timeout::TimeoutConfig,
    },
    error::SdkError,
    operation::{get_object_tagging::GetObjectTaggingOutput, head_object::HeadObjectOutput},
    primitives::DateTime,
    types::{
        BucketVersioningStatus, ChecksumMode, CompletedMultipartUpload, CompletedPart, GlacierJobParameters,
        RestoreRequest, StorageClass, Tag, Tagging, Tier,
    },
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use contract::ColdClass;
use jiff::Timestamp;
use object_store::ObjectMeta;
use plan::{prices::RestoreTier, tier::RestoreState};

use super::{
    Location, S3Options, StoreWrapper,
    requests::{Requests, count},
};
use crate::{
    Error, Failure, Operation, Result,
    error::{from_failure, sdk},
};

const SERVICE: &str = "S3";
const ATTEMPTS_MAX: u32 = 6;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A copy of 5 GiB is answered when it is done.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(600);

/// Storage classes of S3. Cheap to clone.
#[derive(Clone)]
pub struct Classes {
    client: Client,
    requests: Arc<Requests>,
    wrapper: Option<Arc<dyn StoreWrapper>>,
}

impl ClassedObject {
    /// As lists without classes have it; `None` when its key is no path.
    pub(crate) fn meta(&self) -> Option<ObjectMeta> {
        Some(ObjectMeta {
            location: Location::parse(&self.location).ok()?.path().ok()?,
            last_modified: std::time::SystemTime::from(self.modified).into(),
            size: self.bytes,
            e_tag: Some(self.etag.clone()).filter(|etag| !etag.is_empty()),
            version: None,
        })
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Classes")
    }
}

/// An object as a list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassedObject {
    /// Absolute location.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Its version.
    pub etag: String,
    /// When it was written, or last copied.
    pub modified: Timestamp,
    /// Its storage class, as S3 spells it.
    pub class: String,
}

/// What one request says of an object.
#[derive(Debug, Clone)]
pub struct ObjectState {
    /// Its size.
    pub bytes: u64,
    /// Its version.
    pub etag: String,
    /// Its storage class, as S3 spells it.
    pub class: String,
    /// Of an archived object: whether it is being brought back.
    pub restore: RestoreState,
    /// Everything else, for a copy that must keep it.
    pub(crate) head: Box<HeadObjectOutput>,
}

/// Tags of an object.
pub type Tags = BTreeMap<String, String>;

impl Classes {
    pub(super) fn new(options: &S3Options, requests: Arc<Requests>, wrapper: Option<Arc<dyn StoreWrapper>>) -> Self {
        let timeouts =
            TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_timeout(OPERATION_TIMEOUT).build();
        let mut config = Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(options.region.clone().unwrap_or_else(|| "us-east-1".to_owned())))
            .force_path_style(options.path_style)
            // Services beside AWS do not know the SDK's own checksums.
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
            .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS_MAX))
            .timeout_config(timeouts);
        config.set_endpoint_url(options.endpoint.clone());
        config.set_credentials_provider(options.credentials.clone());
        Self { client: Client::from_conf(config.build()), requests, wrapper }
    }

    /// Every object below a folder, of all pages, in order of location.
    pub async fn list(&self, folder: &str) -> Result<Vec<ClassedObject>> {
        let (bucket, prefix) = bucket_and_key(folder)?;
        let prefix = if prefix.is_empty() { prefix } else { prefix + "/" };
        let read = async {
            let request = self.client.list_objects_v2().bucket(&bucket).prefix(prefix);
            let mut pages = request.into_paginator().send();
            let mut objects = Vec::new();
            while let Some(page) = pages.next().await {
                count(&self.requests.list);
                for object in page?.contents.unwrap_or_default() {
                    let key = object.key.unwrap_or_default();
                    objects.push(ClassedObject {
                        location: format!("s3://{bucket}/{key}"),
                        bytes: object.size.unwrap_or(0).try_into().unwrap_or(0),
                        etag: object.e_tag.unwrap_or_default(),
                        modified: instant(object.last_modified),
                        class: object.storage_class.map_or_else(standard, |class| class.as_str().to_owned()),
                    });
                }
            }
            Ok(objects)
        };
        let mut objects = self.step(Operation::List, folder, "list classes", read).await?;
        objects.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// What an object is now.
    pub async fn state(&self, location: &str) -> Result<ObjectState> {
        let head = self.head(location, None).await?;
        Ok(ObjectState {
            bytes: head.content_length.unwrap_or(0).try_into().unwrap_or(0),
            etag: head.e_tag.clone().unwrap_or_default(),
            class: head.storage_class.as_ref().map_or_else(standard, |class| class.as_str().to_owned()),
            restore: restore_state(head.restore.as_deref()),
            head: Box::new(head),
        })
    }

    /// Bytes of one part of an object that was written in parts, and how many parts there are.
    pub(crate) async fn part(&self, location: &str, number: i32) -> Result<(u64, i32)> {
        let head = self.head(location, Some(number)).await?;
        Ok((head.content_length.unwrap_or(0).try_into().unwrap_or(0), head.parts_count.unwrap_or(1)))
    }

    async fn head(&self, location: &str, part: Option<i32>) -> Result<HeadObjectOutput> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.head);
        let request = self.client.head_object().bucket(bucket).key(key).checksum_mode(ChecksumMode::Enabled);
        self.step(Operation::Inspect, location, "head class", request.set_part_number(part).send()).await
    }

    /// Copies an object onto itself, if it still is the one of this state: all of it in one request, for 5 GiB at most.
    pub(crate) async fn copy(&self, location: &str, state: &ObjectState, to: ColdClass) -> Result<()> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.copy);
        let request = self
            .client
            .copy_object()
            .copy_source(copy_source(&bucket, &key))
            .bucket(bucket)
            .key(key)
            .storage_class(class(to))
            .copy_source_if_match(&state.etag)
            .if_match(&state.etag)
            .set_server_side_encryption(state.head.server_side_encryption.clone())
            .set_website_redirect_location(state.head.website_redirect_location.clone());
        self.step(Operation::Copy, location, "copy class", request.send()).await.map(drop)
    }

    /// Starts a copy in parts that will have everything that the object has, but its class.
    pub(crate) async fn start_copy(
        &self,
        location: &str,
        state: &ObjectState,
        tags: &Tags,
        to: ColdClass,
    ) -> Result<String> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.multipart);
        let head = &state.head;
        let tagging = tags.iter().map(|(key, value)| format!("{}={}", encoded(key, ""), encoded(value, "")));
        let tagging = tagging.collect::<Vec<_>>().join("&");
        let request = self
            .client
            .create_multipart_upload()
            .bucket(bucket)
            .key(key)
            .storage_class(class(to))
            .set_tagging(Some(tagging).filter(|tagging| !tagging.is_empty()))
            .set_metadata(head.metadata.clone())
            .set_content_type(head.content_type.clone())
            .set_content_encoding(head.content_encoding.clone())
            .set_content_language(head.content_language.clone())
            .set_content_disposition(head.content_disposition.clone())
            .set_cache_control(head.cache_control.clone())
            .set_website_redirect_location(head.website_redirect_location.clone())
            .set_server_side_encryption(head.server_side_encryption.clone());
        let started = self.step(Operation::Copy, location, "start copy", request.send()).await?;
        started.upload_id.ok_or_else(|| self.unexpected(Operation::Copy, location, "a copy without an id"))
    }

    /// Copies bytes of an object into a part of its copy, if it still is the one of this `ETag`.
    pub(crate) async fn copy_part(
        &self,
        location: &str,
        etag: &str,
        upload_id: &str,
        number: i32,
        range: std::ops::Range<u64>,
    ) -> Result<CompletedPart> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.multipart);
        let request = self
            .client
            .upload_part_copy()
            .copy_source(copy_source(&bucket, &key))
            .copy_source_if_match(etag)
            .copy_source_range(format!("bytes={}-{}", range.start, range.end - 1))
            .bucket(bucket)
            .key(key)
            .upload_id(upload_id)
            .part_number(number);
        let answer = self.step(Operation::Copy, location, "copy part", request.send()).await?;
        let etag = answer.copy_part_result.and_then(|part| part.e_tag);
        Ok(CompletedPart::builder().part_number(number).set_e_tag(etag).build())
    }

    /// Puts the copy in the object's place, if that still is the one of this `ETag`.
    pub(crate) async fn complete_copy(
        &self,
        location: &str,
        etag: &str,
        upload_id: &str,
        parts: Vec<CompletedPart>,
    ) -> Result<()> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.multipart);
        let request = self
            .client
            .complete_multipart_upload()
            .bucket(bucket)
            .key(key)
            .upload_id(upload_id)
            .if_match(etag)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        self.step(Operation::Copy, location, "complete copy", request.send()).await.map(drop)
    }

    /// Gives a copy in parts up.
    pub(crate) async fn abort_copy(&self, location: &str, upload_id: &str) -> Result<()> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.multipart);
        let request = self.client.abort_multipart_upload().bucket(bucket).key(key).upload_id(upload_id);
        self.step(Operation::Delete, location, "abort copy", request.send()).await.map(drop)
    }

    /// Asks for an archived object: a copy that can be read for some days. Done already is done.
    pub async fn restore(&self, location: &str, days: u32, tier: RestoreTier) -> Result<()> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.put);
        let tier = match tier {
            RestoreTier::Bulk => Tier::Bulk,
            RestoreTier::Standard => Tier::Standard,
            RestoreTier::Expedited => Tier::Expedited,
        };
        let not_sent = |error| from_failure(Operation::Restore, location.to_owned(), sdk::not_sent(SERVICE, error));
        let parameters = GlacierJobParameters::builder().tier(tier).build().map_err(not_sent)?;
        let wanted = RestoreRequest::builder()
            .days(days.try_into().unwrap_or(i32::MAX))
            .glacier_job_parameters(parameters)
            .build();
        let request = self.client.restore_object().bucket(bucket).key(key).restore_request(wanted).send();
        let underway = |failure: &Failure| failure.code.as_deref() == Some("RestoreAlreadyInProgress");
        match self.try_step(Operation::Restore, location, "restore", request).await? {
            Ok(_) => Ok(()),
            Err(failure) if underway(&failure) => Ok(()),
            Err(failure) => Err(from_failure(Operation::Restore, location.to_owned(), failure)),
        }
    }

    /// The tags of an object.
    pub async fn tags(&self, location: &str) -> Result<Tags> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.get);
        let request = self.client.get_object_tagging().bucket(bucket).key(key);
        let GetObjectTaggingOutput { tag_set, .. } =
            self.step(Operation::Inspect, location, "get tags", request.send()).await?;
        Ok(tag_set.into_iter().map(|tag| (tag.key, tag.value)).collect())
    }

    /// Gives an object these tags, and no others.
    pub(crate) async fn set_tags(&self, location: &str, tags: &Tags) -> Result<()> {
        let (bucket, key) = bucket_and_key(location)?;
        count(&self.requests.put);
        let not_sent = |error| from_failure(Operation::Tag, location.to_owned(), sdk::not_sent(SERVICE, error));
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build());
        let tags = tags.collect::<Result<Vec<_>, _>>().map_err(not_sent)?;
        let tagging = Tagging::builder().set_tag_set(Some(tags)).build().map_err(not_sent)?;
        let request = self.client.put_object_tagging().bucket(bucket).key(key).tagging(tagging);
        self.step(Operation::Tag, location, "put tags", request.send()).await.map(drop)
    }

    /// Whether a bucket keeps what is replaced as an older version.
    pub async fn keeps_versions(&self, bucket: &str) -> Result<bool> {
        count(&self.requests.get);
        let location = format!("s3://{bucket}/");
        let request = self.client.get_bucket_versioning().bucket(bucket);
        let answer = self.step(Operation::Inspect, &location, "get versioning", request.send()).await?;
        Ok(answer.status == Some(BucketVersioningStatus::Enabled))
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// One step of IO, with its error in our words.
    pub(super) async fn step<T, E>(
        &self,
        operation: Operation,
        location: &str,
        what: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T>
    where
        E: ProvideErrorMetadata + std::error::Error + fmt::Debug + Send + Sync + 'static,
    {
        let answer = self.try_step(operation, location, what, call).await?;
        answer.map_err(|failure| match failure.code.as_deref() {
            Some("PreconditionFailed" | "ConditionalRequestConflict") => {
                Error::Changed { operation, location: location.to_owned() }
            }
            // Of a copy: its source is archived.
            Some("ObjectNotInActiveTierError") => {
                Error::Archived { operation, location: location.to_owned(), source: failure.into() }
            }
            _ => from_failure(operation, location.to_owned(), failure),
        })
    }

    /// One step of IO; what the service answered is the caller's to understand.
    pub(super) async fn try_step<T, E>(
        &self,
        operation: Operation,
        location: &str,
        what: &str,
        call: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<Result<T, Failure>>
    where
        E: ProvideErrorMetadata + std::error::Error + fmt::Debug + Send + Sync + 'static,
    {
        let failed = |failure| from_failure(operation, location.to_owned(), failure);
        let is_lost = match &self.wrapper {
            Some(wrapper) => wrapper.step(&format!("{what} {location}")).map_err(failed)?,
            None => false,
        };
        let answer = call.await.map_err(|error| sdk::failure(SERVICE, &error));
        if is_lost {
            return Err(failed(Failure::new(SERVICE, Some(503), Some("ServiceUnavailable"), "no answer")));
        }
        Ok(answer)
    }

    fn unexpected(&self, operation: Operation, location: &str, what: &str) -> Error {
        from_failure(operation, location.to_owned(), Failure::new(SERVICE, None, None, what))
    }
}

fn bucket_and_key(location: &str) -> Result<(String, String)> {
    match Location::parse(location)? {
        Location::S3 { bucket, key } => Ok((bucket, key)),
        Location::Local { .. } => {
            Err(Error::Location { location: location.to_owned(), reason: "a folder has no storage classes".to_owned() })
        }
    }
}

/// The source of a copy is a header, and so is written like a path of a URL.
fn copy_source(bucket: &str, key: &str) -> String {
    format!("{bucket}/{}", encoded(key, "/"))
}

/// Percent-encoded, but for letters, digits, `-._~` and these.
fn encoded(text: &str, plain: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match char::from(byte) {
            c if c.is_ascii_alphanumeric() || "-._~".contains(c) || plain.contains(c) => encoded.push(c),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

fn class(class: ColdClass) -> StorageClass {
    StorageClass::from(class.name())
}

fn standard() -> String {
    StorageClass::Standard.as_str().to_owned()
}

fn instant(time: Option<DateTime>) -> Timestamp {
    let time = time.and_then(|time| {
        let nanos = time.subsec_nanos().try_into().ok()?;
        Timestamp::new(time.secs(), nanos).ok()
    });
    // An object without a time counts as new, which leaves it where it is.
    time.unwrap_or(Timestamp::MAX)
}

/// `ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"`
fn restore_state(header: Option<&str>) -> RestoreState {
    let Some(header) = header else { return RestoreState::Archived };
    if header.contains("ongoing-request=\"true\"") {
        return RestoreState::Restoring;
    }
    let until = header.split_once("expiry-date=\"").and_then(|(_, rest)| rest.split('"').next());
    let until = until.and_then(|text| jiff::fmt::rfc2822::parse(text).ok());
    RestoreState::Readable { until: until.map(|time| time.timestamp()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restore_is_read_from_its_header() {
        let until = "2012-12-21T00:00:00Z".parse().ok();
        for (header, state) in [
            (None, RestoreState::Archived),
            (Some("ongoing-request=\"true\""), RestoreState::Restoring),
            (
                Some("ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2012 00:00:00 GMT\""),
                RestoreState::Readable { until },
            ),
            (Some("ongoing-request=\"false\""), RestoreState::Readable { until: None }),
        ] {
            assert_eq!(restore_state(header), state, "{header:?}");
        }
    }

    #[test]
    fn the_source_of_a_copy_is_encoded() {
        assert_eq!(copy_source("b", "a/year=2025/ü +%.parquet"), "b/a/year%3D2025/%C3%BC%20%2B%25.parquet");
    }
}
