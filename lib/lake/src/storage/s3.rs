//! S3: one client per bucket, with the credentials of aws-config.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError};
use object_store::{
    BackoffConfig, ClientOptions, CredentialProvider, ObjectStore, RetryConfig,
    aws::{AmazonS3Builder, AwsCredential},
};
use tokio::sync::Mutex;

use crate::{
    Result,
    error::{Failure, Operation, from_store},
};

/// How S3, or something that speaks its protocol, is reached.
#[derive(Clone)]
pub struct S3Options {
    /// The buckets' region; `us-east-1` when there is none, which is right for most other services.
    pub region: Option<String>,
    /// Another service than AWS: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// Who we are. Asked again shortly before what it gave expires.
    pub credentials: Option<SharedCredentialsProvider>,
    /// `endpoint/bucket/key` instead of `bucket.endpoint/key`.
    pub path_style: bool,
    /// Whether the endpoint may be `http://`.
    pub allow_http: bool,
    /// The clock that credentials expire by.
    pub now: fn() -> SystemTime,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .field("path_style", &self.path_style)
            .field("allow_http", &self.allow_http)
            .finish_non_exhaustive()
    }
}

/// Makes the stores.
pub(super) struct S3 {
    options: S3Options,
    credentials: Arc<Credentials>,
}

/// A request ends after this, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES_MAX: usize = 6;
const RETRY_TIMEOUT: Duration = Duration::from_secs(90);

impl S3 {
    pub(super) fn new(options: S3Options) -> Self {
        let provider = options.credentials.clone();
        let credentials = Arc::new(Credentials { provider, now: options.now, cached: Mutex::default() });
        Self { options, credentials }
    }

    pub(super) fn store(&self, bucket: &str) -> Result<Arc<dyn ObjectStore>> {
        let region = self.options.region.as_deref().unwrap_or("us-east-1");
        // A dot in the bucket's name breaks the certificate of bucket.s3.amazonaws.com.
        let path_style = self.options.path_style || bucket.contains('.');
        let client = ClientOptions::new()
            .with_allow_http(self.options.allow_http)
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(region)
            .with_client_options(client)
            .with_retry(retry_config())
            .with_virtual_hosted_style_request(!path_style)
            .with_credentials(self.credentials.clone());
        if let Some(endpoint) = self.endpoint(region) {
            builder = builder.with_endpoint(if path_style { endpoint } else { with_bucket(&endpoint, bucket) });
        }
        let store = builder.build().map_err(|e| from_store(Operation::Read, &format!("s3://{bucket}/"), e))?;
        Ok(Arc::new(store))
    }

    fn endpoint(&self, region: &str) -> Option<String> {
        let given = self.options.endpoint.as_deref().map(|endpoint| endpoint.trim_end_matches('/').to_owned());
        given.or_else(|| region.starts_with("cn-").then(|| format!("https://s3.{region}.amazonaws.com.cn")))
    }
}

fn retry_config() -> RetryConfig {
    let backoff =
        BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(10), base: 2. };
    RetryConfig { backoff, max_retries: RETRIES_MAX, retry_timeout: RETRY_TIMEOUT }
}

/// `https://s3.example.com` → `https://bucket.s3.example.com`.
fn with_bucket(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => format!("{bucket}.{endpoint}"),
    }
}

/// Credentials of aws-config for object_store, kept until they expire.
struct Credentials {
    provider: Option<SharedCredentialsProvider>,
    now: fn() -> SystemTime,
    cached: Mutex<Option<Cached>>,
}

struct Cached {
    credential: Arc<AwsCredential>,
    expires_at: Option<SystemTime>,
}

/// Asked again this long before they expire: a request lives as long, with its retries.
const EXPIRY_MARGIN: Duration = Duration::from_secs(300);

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // Held while the provider is asked, so that it is asked once for all requests that wait.
        let mut cached = self.cached.lock().await;
        let fresh_until = (self.now)() + EXPIRY_MARGIN;
        if let Some(cached) = &*cached
            && cached.expires_at.is_none_or(|expires_at| expires_at > fresh_until)
        {
            return Ok(cached.credential.clone());
        }
        let provider = self.provider.as_ref().ok_or_else(|| no_credentials("none are configured"))?;
        let given = provider.provide_credentials().await.map_err(|error| translate(&error))?;
        let credential = Arc::new(AwsCredential {
            key_id: given.access_key_id().to_owned(),
            secret_key: given.secret_access_key().to_owned(),
            token: given.session_token().map(str::to_owned),
        });
        *cached = Some(Cached { credential: credential.clone(), expires_at: given.expiry() });
        Ok(credential)
    }
}

fn translate(error: &CredentialsError) -> object_store::Error {
    let mut message = error.to_string();
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        message = format!("{message}: {source}");
        next = source.source();
    }
    match error {
        CredentialsError::ProviderTimedOut(_) => {
            let failure = Failure::new("the credential provider", None, Some(Failure::TIMEOUT), &message);
            object_store::Error::Generic { store: "S3", source: failure.into() }
        }
        _ => no_credentials(&message),
    }
}

fn no_credentials(message: &str) -> object_store::Error {
    let failure = Failure::new("the credential provider", None, Some(Failure::CREDENTIALS), message);
    object_store::Error::Unauthenticated { path: String::new(), source: failure.into() }
}
