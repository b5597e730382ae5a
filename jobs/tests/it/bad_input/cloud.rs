//! Bad input on S3 with Glue: credentials, regions, buckets, and every action that may be denied.

use super::{Case, Spoiled, Start};
use crate::{
    lake::{Lake, Tier},
    proxy::{self, Answer},
    services::{SERVICES, glue_faults},
};

const fn case(
    name: &'static str,
    start: Start,
    spoil: fn(&Lake) -> Spoiled,
    exit: i32,
    says: &'static [&'static str],
) -> Case {
    Case { name, tier: Tier::Cloud, start, spoil, exit, says }
}

const DENIED: &str = "access denied";
const WHO: &str = "aws sts get-caller-identity";

/// Each with the parts that its message must have.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    case("no-credentials", Start::Table, |_| without_credentials(), 2,
        &["no usable AWS credentials", "AWS_PROFILE", "aws sso login"]),
    case("wrong-secret", Start::Table, |_| Spoiled::environment([("AWS_SECRET_ACCESS_KEY", "not-the-one".to_owned())]), 2,
        &["no usable AWS credentials", "s3://", "AWS_PROFILE"]),
    case("region-that-is-named", Start::Table, |_| answer("GET", "", wrong_region), 2,
        &["s3://", "the bucket is in eu-central-1", "--region eu-central-1"]),
    case("region-that-is-not-named", Start::Table, |_| answer("", "", || Answer { status: "301 Moved Permanently", body: String::new() }), 2,
        &["s3://", "the bucket is in another region", "--region"]),
    case("raw-bucket-missing", Start::Table, |lake| edit_config(lake, "source = ", "no-such-bucket-of-etl"), 2,
        &["s3://no-such-bucket-of-etl/", "there is no bucket of this name", "check the bucket's name"]),
    case("warehouse-bucket-missing", Start::Nothing, |lake| edit_config(lake, "warehouse = ", "no-such-bucket-of-etl"), 2,
        &["s3://no-such-bucket-of-etl/", "there is no bucket of this name", "check the bucket's name"]),

    case("denied-to-list", Start::Table, |_| answer("GET", "list-type=2", Answer::denied), 2, &["list s3://", "/raw/", DENIED, WHO]),
    case("denied-to-read-raw", Start::Table, |_| answer("GET", "/raw/", Answer::denied), 2, &["read s3://", "/raw/", DENIED, WHO]),
    case("denied-to-read-metadata", Start::Table, |_| answer("GET", ".metadata.json", Answer::denied), 2,
        &["read s3://", ".metadata.json", DENIED, WHO]),
    case("denied-to-read-manifests", Start::Table, |_| answer("GET", ".avro", Answer::denied), 2, &["read s3://", ".avro", DENIED, WHO]),
    case("denied-to-read-data", Start::Table, |_| answer("GET", "/data/", Answer::denied), 2, &["read s3://", "/data/", DENIED, WHO]),
    case("denied-to-make-the-table", Start::Nothing, |_| answer("PUT", "/metadata/", Answer::denied), 2,
        &["write s3://", "/metadata/", DENIED, WHO]),
    case("denied-to-write-data", Start::Table, |_| answer("PUT", "/data/", Answer::denied), 2, &["write s3://", "/data/", DENIED, WHO]),
    case("denied-to-write-quarantine", Start::Table, |_| answer("PUT", "/quarantine/", Answer::denied), 2,
        &["write s3://", "/quarantine/", DENIED, WHO]),
    case("denied-to-write-tombstones", Start::Table, |_| answer("PUT", "/etl-tombstones-", Answer::denied), 2,
        &["write s3://", "/etl-tombstones-", DENIED, WHO]),
    case("denied-to-write-a-manifest", Start::Table, |_| answer("PUT", "-m0.avro", Answer::denied), 2, &["write s3://", "-m0.avro", DENIED, WHO]),
    case("denied-to-write-a-manifest-list", Start::Table, |_| answer("PUT", "/snap-", Answer::denied), 2, &["write s3://", "/snap-", DENIED, WHO]),
    case("denied-to-write-metadata", Start::Table, |_| answer("PUT", ".metadata.json", Answer::denied), 2,
        &["write s3://", ".metadata.json", DENIED, WHO]),
    case("not-available-to-write", Start::Table, |_| answer("PUT", "/data/", || Answer::error("501 Not Implemented", "NotImplemented", "")), 75,
        &["write s3://", "/data/", "the service is not available", "run again"]),

    case("glue-denies-to-look", Start::Table, |lake| glue(lake, "GetTable"), 2, &["glue table", DENIED, "allow this identity to read", WHO]),
    case("glue-denies-to-create", Start::Nothing, |lake| glue(lake, "CreateTable"), 2,
        &["glue table", DENIED, "allow this identity to create", WHO]),
    case("glue-denies-the-database", Start::Nothing, |lake| glue(lake, "CreateDatabase"), 2,
        &["glue database", DENIED, "allow this identity to create", WHO]),
    case("glue-denies-to-update", Start::Table, |lake| glue(lake, "UpdateTable"), 2,
        &["commit to table", "glue table", DENIED, "allow this identity to update", WHO]),
];

fn without_credentials() -> Spoiled {
    Spoiled::environment([("AWS_ACCESS_KEY_ID", String::new()), ("AWS_SECRET_ACCESS_KEY", String::new())])
}

fn wrong_region() -> Answer {
    Answer::error("400 Bad Request", "AuthorizationHeaderMalformed", "<Region>eu-central-1</Region>")
}

/// S3 answers so to requests of this method whose target has this part.
fn answer(method: &'static str, part: &'static str, answer: fn() -> Answer) -> Spoiled {
    let server = SERVICES.s3.as_ref().expect("the tier is there").endpoint.clone();
    let proxy = proxy::start(&server, move |asked, target| {
        // Keys stand in a target as they are, but for `=`.
        let target = target.replace("%3D", "=");
        (asked.contains(method) && target.contains(part)).then(answer)
    });
    Spoiled::environment([("AWS_ENDPOINT_URL_S3", proxy)])
}

/// Another bucket in a line of etl.toml.
fn edit_config(lake: &Lake, key: &str, bucket: &str) -> Spoiled {
    let path = lake.folder().join("etl.toml");
    let was = std::fs::read_to_string(&path).expect("it is there");
    let own = &SERVICES.s3.as_ref().expect("the tier is there").name;
    let lines: Vec<_> = was
        .lines()
        .map(|line| if line.starts_with(key) { line.replace(own, bucket) } else { line.to_owned() })
        .collect();
    std::fs::write(&path, lines.join("\n")).expect("it is written");
    Spoiled::until(move |_| std::fs::write(&path, was).expect("it is written"))
}

/// Glue denies an action on this lake's tables.
fn glue(lake: &Lake, action: &str) -> Spoiled {
    let database = lake.namespace();
    let fault = format!(
        "{{\"action\":\"{action}\",\"database\":\"{database}\",\"times\":1000,\"code\":\"AccessDeniedException\"}}"
    );
    glue_faults("POST", &fault);
    Spoiled::until(move |_| _ = glue_faults("DELETE", &format!("{{\"database\":\"{database}\"}}")))
}
