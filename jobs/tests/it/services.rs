//! The servers that tests may use, as the environment names them (scripts/services prints it). One that is missing is
//! said once, and what needs it counts as skipped.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::{Arc, LazyLock},
    time::Duration,
};

use futures::TryStreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt,
    aws::{AmazonS3, AmazonS3Builder},
    path::Path,
    signer::Signer,
};

/// What the environment offers.
pub static SERVICES: LazyLock<Services> = LazyLock::new(Services::from_environment);

/// Requests to S3 that the tests make themselves run here.
pub static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().expect("a runtime starts"));

/// Servers and tools.
#[derive(Debug)]
pub struct Services {
    /// An S3 server with a bucket of this run.
    pub s3: Option<Bucket>,
    /// Endpoint of a Glue Data Catalog.
    pub glue: Option<String>,
    /// A Python that has PyIceberg.
    pub python: Option<String>,
}

/// A bucket for this run.
#[derive(Debug)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// The server.
    pub endpoint: String,
    /// Credentials, for Glue too.
    pub access_key: String,
    /// Credentials, for Glue too.
    pub secret_key: String,
    /// It was made here.
    is_ours: bool,
    store: Arc<AmazonS3>,
}

impl Services {
    #[expect(clippy::disallowed_methods, reason = "a test reads its own settings")]
    fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let s3 = variable("ETL_TEST_S3_ENDPOINT").map(|endpoint| {
            let access_key = variable("ETL_TEST_S3_ACCESS_KEY").unwrap_or_else(|| "test".to_owned());
            let secret_key = variable("ETL_TEST_S3_SECRET_KEY").unwrap_or_else(|| "test".to_owned());
            match variable("ETL_TEST_S3_BUCKET") {
                Some(name) => Bucket::named(name, endpoint, access_key, secret_key, false),
                None => {
                    let name = format!("etl-tests-{}", std::process::id());
                    Bucket::named(name, endpoint, access_key, secret_key, true)
                }
            }
        });
        Self { s3, glue: variable("ETL_TEST_GLUE_ENDPOINT"), python: variable("ETL_TEST_PYTHON") }
    }

    /// What keeps the cases from running on S3 and Glue.
    pub fn missing_for_cloud(&self) -> Option<String> {
        let missing = [
            self.s3.is_none().then_some("ETL_TEST_S3_ENDPOINT"),
            self.glue.is_none().then_some("ETL_TEST_GLUE_ENDPOINT"),
        ];
        let missing: Vec<_> = missing.into_iter().flatten().collect();
        (!missing.is_empty()).then(|| format!("{} not set", missing.join(" and ")))
    }

    /// Removes what this run left on the S3 server.
    pub fn clean_up(&self) {
        if let Some(bucket) = &self.s3 {
            bucket.empty(None);
        }
    }
}

impl Bucket {
    /// Another bucket on the same server; `None` where the environment gives a bucket, and we may make none.
    pub fn another(&self, name: &str) -> Option<Self> {
        let Self { endpoint, access_key, secret_key, .. } = self;
        let (endpoint, access_key, secret_key) = (endpoint.clone(), access_key.clone(), secret_key.clone());
        self.is_ours.then(|| Self::named(name.to_owned(), endpoint, access_key, secret_key, true))
    }

    /// A bucket in the Glue emulator's S3, which has storage classes.
    pub fn in_emulator(&self, name: &str) -> Option<Self> {
        let Self { access_key, secret_key, .. } = self;
        let endpoint = SERVICES.glue.as_deref()?.trim_end_matches('/').to_owned();
        Some(Self::named(name.to_owned(), endpoint, access_key.clone(), secret_key.clone(), true))
    }

    /// A bucket, made here where it is ours.
    fn named(name: String, endpoint: String, access_key: String, secret_key: String, is_ours: bool) -> Self {
        let store = AmazonS3Builder::new()
            .with_endpoint(&endpoint)
            .with_allow_http(true)
            .with_region("us-east-1")
            .with_bucket_name(&name)
            .with_access_key_id(&access_key)
            .with_secret_access_key(&secret_key)
            .build()
            .expect("the S3 endpoint is a URL");
        if is_ours {
            let minute = Duration::from_secs(60);
            let url = RUNTIME.block_on(store.signed_url("PUT".parse().expect("a method"), &Path::from(""), minute));
            let answer = send("PUT", url.expect("a URL is signed").as_str(), &[], b"");
            assert!(answer.contains(" 200 ") || answer.contains("BucketAlreadyOwnedByYou"), "no bucket: {answer}");
        }
        Self { name, endpoint, access_key, secret_key, is_ours, store: Arc::new(store) }
    }

    /// Removes what lies below a prefix. A test run that leaves objects behind is no failure.
    pub fn empty(&self, prefix: Option<&str>) {
        let prefix = prefix.map(|prefix| Path::parse(prefix).expect("the prefix is one that S3 takes"));
        let deleted = RUNTIME.block_on(async {
            let objects: Vec<_> = self.store.list(prefix.as_ref()).try_collect().await?;
            for object in objects {
                self.store.delete(&object.location).await?;
            }
            Ok::<_, object_store::Error>(())
        });
        drop(deleted);
    }

    /// Keys below a prefix, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let prefix = Path::parse(prefix).expect("the prefix is one that S3 takes");
        let objects: Result<Vec<_>, _> = RUNTIME.block_on(self.store.list(Some(&prefix)).try_collect());
        let mut names: Vec<String> =
            objects.expect("the bucket is listed").into_iter().map(|object| object.location.to_string()).collect();
        names.sort();
        names
    }

    /// Reads an object.
    pub fn get(&self, key: &str) -> Vec<u8> {
        let path = Path::parse(key).expect("the key is one that S3 takes");
        let read = RUNTIME.block_on(async { self.store.get(&path).await?.bytes().await });
        read.expect("the object is read").to_vec()
    }

    /// Writes an object.
    pub fn put(&self, key: &str, bytes: Vec<u8>) {
        let path = Path::parse(key).expect("the key is one that S3 takes");
        RUNTIME.block_on(self.store.put(&path, bytes.into())).expect("the object is written");
    }

    /// Removes an object.
    pub fn delete(&self, key: &str) {
        let path = Path::parse(key).expect("the key is one that S3 takes");
        RUNTIME.block_on(self.store.delete(&path)).expect("the object is removed");
    }

    /// Every object below a prefix.
    pub fn read_all(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let prefix = Path::parse(prefix).expect("the prefix is one that S3 takes");
        RUNTIME.block_on(async {
            let objects: Vec<_> = self.store.list(Some(&prefix)).try_collect().await.expect("the bucket is listed");
            let mut found = Vec::new();
            for object in objects {
                let got = self.store.get(&object.location).await.expect("the object is there");
                found.push((object.location.to_string(), got.bytes().await.expect("the object is read").to_vec()));
            }
            found
        })
    }
}

/// Asks the Glue emulator for faults (`POST`), or to forget those of a database (`DELETE`): whether one of them was still to
/// come.
pub fn glue_faults(method: &str, body: &str) -> bool {
    let endpoint = SERVICES.glue.as_deref().expect("the tier is there").trim_end_matches('/');
    let ask = |method: &str, body: &str| {
        let answer = send(method, &format!("{endpoint}/etl-faults"), &[], body.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    };
    let given: serde_json::Value = serde_json::from_str(body).expect("it is JSON");
    let database = format!("\"database\": {}", given["database"]);
    let state = ask("GET", "");
    let (faults, _) = state.split_once("\"calls\"").unwrap_or_default();
    let is_to_come = faults.contains(&database);
    ask(method, body);
    is_to_come
}

/// A number that the environment may set, for the size of a test.
#[expect(clippy::disallowed_methods, reason = "a test reads its own settings")]
pub fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// One HTTP request without a client: the servers are on this machine and answer in plain text.
pub fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> String {
    let rest = url
        .strip_prefix("http://")
        .unwrap_or_else(|| panic!("{url} is not an http URL: name a bucket in ETL_TEST_S3_BUCKET"));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut request = format!("{method} /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(host).expect("the server listens");
    stream.write_all(&[request.as_bytes(), body].concat()).expect("the request is sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the server answers");
    String::from_utf8_lossy(&answer).into_owned()
}
