//! S3 as a server in this process plays it, and the answers that only a real one gives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;
use crate::ErrorKind;

const SECRET: &str = "secret-of-the-test";
const TOKEN: &str = "token-of-the-test";

/// The clock that credentials expire by; requests are signed by the real one.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_750_000_000)
}

#[expect(clippy::disallowed_methods, reason = "a test is told where its servers are by the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn options(endpoint: String) -> S3Options {
    let credentials = Credentials::new("AKIATEST", SECRET, Some(TOKEN.to_owned()), None, "test");
    S3Options {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        credentials: Some(SharedCredentialsProvider::new(credentials)),
        path_style: true,
        allow_http: true,
        now,
    }
}

fn storage(endpoint: String) -> Storage {
    Storage::new(StorageOptions { s3: Some(options(endpoint)), wrapper: None })
}

/// A whole S3 server over a folder; its buckets are the folders in there.
async fn server(root: &std::path::Path) -> String {
    let files = s3s_fs::FileSystem::new(root).unwrap();
    let mut builder = s3s::service::S3ServiceBuilder::new(files);
    builder.set_auth(s3s::auth::SimpleAuth::from_single("AKIATEST", SECRET));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                let http = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = http.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    endpoint
}

/// A server that answers each request from its head; `None` drops the connection.
async fn answering(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                let head = loop {
                    let read = socket.read(&mut buffer).await.unwrap_or(0);
                    request.extend_from_slice(&buffer[..read]);
                    let text = String::from_utf8_lossy(&request).into_owned();
                    let Some((head, body)) = text.split_once("\r\n\r\n") else {
                        if read == 0 {
                            return;
                        }
                        continue;
                    };
                    let length = head
                        .to_lowercase()
                        .split_once("content-length: ")
                        .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse::<usize>().unwrap());
                    if body.len() >= length {
                        break head.to_owned();
                    }
                };
                if let Some(text) = answer(&head) {
                    let _ = socket.write_all(text.as_bytes()).await;
                }
            });
        }
    });
    endpoint
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
}

fn xml(code: &str, more: &str) -> String {
    format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>what it says</Message>{more}</Error>")
}

/// The error of reading one object from a server that always answers so.
async fn refused(status: &'static str, code: &'static str, more: &'static str) -> Error {
    let endpoint = answering(move |_| Some(response(status, "", &xml(code, more)))).await;
    storage(endpoint).read("s3://bucket/k").await.unwrap_err()
}

#[tokio::test]
async fn s3_conforms() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("bucket")).unwrap();
    let storage = storage(server(root.path()).await);
    tests::conforms(&storage, "s3://bucket/some/lake", tests::IfMatch::Ignored).await;
    let counts = storage.requests();
    assert!(counts.put > 10 && counts.get > 10 && counts.list >= 5 && counts.multipart >= 4, "{counts:?}");
}

/// A server of its own: the emulator, whose S3 takes any credentials and lets anybody make a bucket. The program's own tests
/// run against MinIO.
#[tokio::test]
async fn s3_of_another_process_conforms() {
    let Some(endpoint) = variable("ETL_TEST_GLUE_ENDPOINT") else {
        let message = "SKIPPED s3 of another process: ETL_TEST_GLUE_ENDPOINT is not set";
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{message}\n").as_bytes());
        return;
    };
    let bucket = variable("ETL_TEST_S3_BUCKET").unwrap_or_else(|| "etl-test".to_owned());
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let create = format!("PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(create.as_bytes()).await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();

    let options = options(endpoint.clone());
    let storage = Storage::new(StorageOptions { s3: Some(options), wrapper: None });
    let folder = format!("s3://{bucket}/{}", uuid::Uuid::new_v4());
    tests::conforms(&storage, &folder, tests::IfMatch::Honoured).await;
}

#[tokio::test]
async fn a_replaced_object_is_not_read() {
    let endpoint = answering(|head| {
        assert!(head.to_lowercase().contains("if-match: \"etag\""), "{head}");
        Some(response("412 Precondition Failed", "", &xml("PreconditionFailed", "")))
    })
    .await;
    let error = storage(endpoint).read_if_match("s3://bucket/k", "\"etag\"").await.unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error:?}");
}

#[tokio::test]
async fn refusals_are_told_apart_and_keep_secrets() {
    let secrets = "<AWSAccessKeyId>AKIATEST</AWSAccessKeyId><Token-0>token-of-the-test</Token-0>";
    let denied = refused("403 Forbidden", "AccessDenied", secrets).await;
    assert!(
        matches!(&denied, Error::AccessDenied { operation: Operation::Read, location, .. } if location == "s3://bucket/k")
    );
    let expired = refused("400 Bad Request", "ExpiredToken", secrets).await;
    assert!(matches!(expired, Error::Credentials { .. }), "{expired:?}");
    let signature = refused("403 Forbidden", "SignatureDoesNotMatch", secrets).await;
    assert!(matches!(signature, Error::Credentials { .. }), "{signature:?}");
    let bucket = refused("404 Not Found", "NoSuchBucket", "").await;
    assert!(matches!(bucket, Error::BucketMissing { .. }), "{bucket:?}");
    let key = refused("404 Not Found", "NoSuchKey", "").await;
    assert!(matches!(key, Error::NotFound { .. }), "{key:?}");
    let archived = refused("403 Forbidden", "InvalidObjectState", "").await;
    assert!(matches!(archived, Error::Archived { .. }), "{archived:?}");
    let region = refused("400 Bad Request", "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>").await;
    assert!(matches!(&region, Error::WrongRegion { actual: Some(actual), .. } if actual == "eu-west-1"), "{region:?}");
    let moved = refused("301 Moved Permanently", "PermanentRedirect", "").await;
    assert!(matches!(moved, Error::WrongRegion { .. }), "{moved:?}");
    for error in [denied, expired, signature, bucket, region, moved, archived] {
        let mut shown = format!("{error:?} {error} {}", error.help().unwrap_or_default());
        let mut next = std::error::Error::source(&error);
        while let Some(source) = next {
            shown.push_str(&format!(" {source} {source:?}"));
            next = source.source();
        }
        assert!(!shown.contains("AKIATEST") && !shown.contains(TOKEN) && !shown.contains(SECRET), "{shown}");
    }
}

#[tokio::test]
async fn throttling_is_waited_out() {
    let requests = Arc::new(AtomicUsize::new(0));
    let count = requests.clone();
    let endpoint = answering(move |_| {
        Some(match count.fetch_add(1, Ordering::SeqCst) {
            0 => response("503 Slow Down", "", &xml("SlowDown", "")),
            1 => response("429 Too Many Requests", "", &xml("TooManyRequests", "")),
            _ => response("200 OK", "ETag: \"e\"\r\nLast-Modified: Wed, 04 Jun 2025 00:00:00 GMT\r\n", "body"),
        })
    })
    .await;
    assert_eq!(storage(endpoint).read("s3://bucket/k").await.unwrap(), "body");
    assert_eq!(requests.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_found_again() {
    let puts = Arc::new(AtomicUsize::new(0));
    let count = puts.clone();
    let endpoint = answering(move |head| {
        if head.starts_with("GET") {
            let headers = "ETag: \"e\"\r\nLast-Modified: Wed, 04 Jun 2025 00:00:00 GMT\r\n";
            return Some(response("200 OK", headers, "ours"));
        }
        assert!(head.to_lowercase().contains("if-none-match: *"), "{head}");
        // The first takes effect and is not answered; the second finds the object there.
        match count.fetch_add(1, Ordering::SeqCst) {
            0 => None,
            _ => Some(response("412 Precondition Failed", "", &xml("PreconditionFailed", ""))),
        }
    })
    .await;
    let storage = storage(endpoint);
    storage.write_new("s3://bucket/k", Bytes::from_static(b"ours")).await.unwrap();
    assert_eq!(puts.load(Ordering::SeqCst), 2);
    let other = storage.write_new("s3://bucket/k", Bytes::from_static(b"other")).await.unwrap_err();
    assert!(matches!(other, Error::Occupied { .. }), "{other:?}");
}

#[tokio::test]
async fn a_page_that_fails_fails_the_list() {
    let endpoint = answering(|head| {
        let page = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken>\
                    <Contents><Key>a/1</Key><LastModified>2025-06-04T00:00:00Z</LastModified><ETag>e</ETag>\
                    <Size>1</Size></Contents></ListBucketResult>";
        Some(match head.contains("continuation-token") {
            false => response("200 OK", "", page),
            true => response("403 Forbidden", "", &xml("AccessDenied", "")),
        })
    })
    .await;
    let error = storage(endpoint).list("s3://bucket/a/").await.unwrap_err();
    assert!(matches!(error, Error::AccessDenied { operation: Operation::List, .. }), "{error:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_transient() {
    let mut options = options("http://127.0.0.1:9".to_owned());
    options.credentials = None;
    let without = Storage::new(StorageOptions { s3: Some(options), wrapper: None });
    let error = without.read("s3://bucket/k").await.unwrap_err();
    assert!(matches!(error, Error::Credentials { .. }) && error.kind() == ErrorKind::Configuration, "{error:?}");
}

/// Gives credentials that expire, and counts how often it is asked.
#[derive(Debug)]
struct Expiring(Arc<AtomicUsize>, SystemTime);

impl ProvideCredentials for Expiring {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        if self.0.fetch_add(1, Ordering::SeqCst) == 9 {
            return future::ProvideCredentials::ready(Err(CredentialsError::not_loaded("gone")));
        }
        future::ProvideCredentials::ready(Ok(Credentials::new("AKIATEST", SECRET, None, Some(self.1), "test")))
    }
}

#[tokio::test]
async fn credentials_are_asked_for_again_when_they_expire() {
    let answer = |_: &str| {
        let headers = "ETag: \"e\"\r\nLast-Modified: Wed, 04 Jun 2025 00:00:00 GMT\r\n";
        Some(response("200 OK", headers, "body"))
    };
    let endpoint = answering(answer).await;
    for (lifetime_seconds, expected) in [(3600, 1), (60, 3)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let expires_at = now() + std::time::Duration::from_secs(lifetime_seconds);
        let provider = SharedCredentialsProvider::new(Expiring(asked.clone(), expires_at));
        let options = S3Options { credentials: Some(provider), ..options(endpoint.clone()) };
        let storage = Storage::new(StorageOptions { s3: Some(options), wrapper: None });
        for _ in 0..3 {
            storage.read("s3://bucket/k").await.unwrap();
        }
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}

#[test]
fn debug_shows_no_secrets() {
    let storage = storage("http://127.0.0.1:9".to_owned());
    let (store, _) = storage.resolve("s3://bucket/k").unwrap();
    let shown = format!("{storage:?} {store:?} {store}");
    assert!(shown.contains("us-east-1"));
    assert!(!shown.contains(SECRET) && !shown.contains(TOKEN) && !shown.contains("AKIATEST"), "{shown}");
}

/// What a look at a whole raw zone asks for: a page of 1,000 objects at a time, however old the folders are.
#[tokio::test]
async fn a_raw_zone_is_listed_by_what_is_there() {
    use crate::raw::{Beside, IgnoredReason, RawTemplate, sweep};
    let keep = tempfile::tempdir().unwrap();
    let write = |path: String| {
        let path = keep.path().join("zone/raw").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "x").unwrap();
    };
    // Eighteen months ago the last file came, in 1970 a device had no clock, and one of 2099 will have none.
    for hour in 0..24 {
        write(format!("2024/06/04/{hour:02}/a.parquet"));
    }
    for stray in
        ["1970/01/01/00/a.parquet", "2099/12/31/23/a.parquet", "2024/06/04/a.parquet", "2024/06/31/00/a.parquet"]
    {
        write(stray.to_owned());
    }
    let storage = storage(server(keep.path()).await);
    let template = RawTemplate::parse("s3://zone/raw/{yyyy}/{MM}/{dd}/{HH}/", jiff::tz::TimeZone::UTC).unwrap();
    let mut files = Vec::new();
    let see = |file: crate::raw::RawFile, _| {
        files.push(file.location);
        Ok(())
    };
    let rest = sweep(&storage, &template, &Beside::default(), None, see).await.unwrap();
    assert_eq!(storage.requests(), RequestCounts { list: 1, ..RequestCounts::default() });
    assert_eq!((files.len(), files.is_sorted()), (26, true));
    assert_eq!(rest.counts, [(IgnoredReason::NoPartition, 1), (IgnoredReason::NoSuchTime, 1)].into());

    // A day is one request, too.
    let day = template.day(jiff::civil::date(2024, 6, 4)).unwrap();
    let listing = crate::raw::list(&storage, &template, day, &Beside::default()).await.unwrap();
    assert_eq!((listing.files.len(), listing.ignored.len(), storage.requests().list), (24, 1, 2));
}

/// A key that other clients can write and that is no path keeps nothing else from being found.
#[tokio::test]
async fn a_key_that_is_no_path_is_named() {
    use crate::raw::{Beside, IgnoredReason, RawTemplate, list, sweep};
    let endpoint = answering(|_| {
        let key = |key: &str| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2025-06-04T00:00:00Z</LastModified><ETag>e</ETag><Size>1</Size>\
                 </Contents>"
            )
        };
        let keys = ["raw/2025/06/04//x", "raw/2025/06/04/10/a", "raw/2025/06/04/11/b"].map(key).concat();
        let page = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>");
        Some(response("200 OK", "Content-Type: application/xml\r\n", &page))
    })
    .await;
    let storage = storage(endpoint);
    let template = RawTemplate::parse("s3://zone/raw/{yyyy}/{MM}/{dd}/{HH}/", jiff::tz::TimeZone::UTC).unwrap();
    let mut files = Vec::new();
    let see = |file: crate::raw::RawFile, _| {
        files.push(file.location);
        Ok(())
    };
    let rest = sweep(&storage, &template, &Beside::default(), None, see).await.unwrap();
    assert_eq!(files, ["s3://zone/raw/2025/06/04/10/a", "s3://zone/raw/2025/06/04/11/b"]);
    assert_eq!(rest.samples[0].location, "s3://zone/raw/2025/06/04//x");
    assert_eq!(rest.counts, [(IgnoredReason::NoPartition, 1)].into());
    let day = template.day(jiff::civil::date(2025, 6, 4)).unwrap();
    let listing = list(&storage, &template, day, &Beside::default()).await.unwrap();
    assert_eq!((listing.files.len(), listing.ignored.len()), (2, 1));
}
