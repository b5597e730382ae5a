//! Glue as the emulator plays it: scripts/glue_emulator.py, at `ETL_TEST_GLUE_ENDPOINT`. Without it these tests say that
//! they are skipped.

use std::{io::Write, sync::Arc};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_sdk_glue::{config::Region, types::TableInput};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{super::conformance, *};
use crate::ErrorKind;

/// The emulator's endpoint; otherwise says loudly that a test is skipped.
#[expect(clippy::disallowed_methods, reason = "a test is told where its servers are by the environment")]
fn endpoint(test: &str) -> Option<String> {
    let endpoint = std::env::var("ETL_TEST_GLUE_ENDPOINT").ok();
    if endpoint.is_none() {
        let _ = writeln!(std::io::stderr(), "SKIPPED {test}: ETL_TEST_GLUE_ENDPOINT is not set");
    }
    endpoint
}

fn sdk_config() -> aws_config::SdkConfig {
    let credentials = Credentials::new("test", "secret-of-the-test", Some("token-of-the-test".into()), None, "test");
    aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

fn glue(endpoint: &str) -> Glue {
    Glue::new(&sdk_config(), Some(endpoint), None)
}

fn unique(what: &str) -> String {
    format!("{what}_{}_", uuid::Uuid::new_v4().simple())
}

/// A table of its own, created.
async fn table(endpoint: &str, what: &str) -> (TableName, Pointer) {
    let table: TableName = format!("{}.t", unique(what)).parse().unwrap();
    let created = glue(endpoint).create(&table, "s3://1", &conformance::metadata()).await;
    assert!(matches!(created, Swap::Committed), "{created:?}");
    let pointer = glue(endpoint).load(&table).await.unwrap().unwrap();
    (table, pointer)
}

/// Talks to the emulator's fault control.
async fn control(endpoint: &str, method: &str, body: &str) -> String {
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let length = body.len();
    let request = format!(
        "{method} /etl-faults HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}

/// One fault for the next call of `action` on this table.
async fn fault(endpoint: &str, table: &TableName, action: &str, more: &str) {
    let database = table.namespace();
    control(endpoint, "POST", &format!(r#"{{"action":"{action}","database":"{database}",{more}}}"#)).await;
}

async fn swap(glue: &Glue, table: &TableName, expected: &Pointer) -> Swap {
    glue.swap(table, expected, "s3://2", &conformance::metadata()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let Some(endpoint) = endpoint("glue: conforms") else { return };
    conformance::passes(|| Arc::new(glue(&endpoint)), &unique("suite")).await;
}

#[tokio::test]
async fn what_we_do_not_know_survives_a_swap() {
    let Some(endpoint) = endpoint("glue: what we do not know survives") else { return };
    let (table, _) = table(&endpoint, "keep").await;
    let glue = glue(&endpoint);
    let found = glue.get(&table).await.unwrap().unwrap();
    let mut parameters = found.parameters.clone().unwrap();
    parameters.insert("team".to_owned(), "iot".to_owned());
    let input = TableInput::builder()
        .name(table.name())
        .description("by hand")
        .owner("data")
        .retention(3)
        .set_storage_descriptor(found.storage_descriptor.clone())
        .set_parameters(Some(parameters))
        .build()
        .unwrap();
    glue.client.update_table().database_name(table.namespace()).table_input(input).send().await.unwrap();

    let expected = glue.load(&table).await.unwrap().unwrap();
    assert!(matches!(swap(&glue, &table, &expected).await, Swap::Committed));
    let found = glue.get(&table).await.unwrap().unwrap();
    assert_eq!((found.description(), found.owner(), found.retention()), (Some("by hand"), Some("data"), 3));
    assert_eq!(parameter(&found, "team"), Some("iot"));
    assert_eq!(parameter(&found, METADATA_LOCATION), Some("s3://2"));
    assert_eq!(parameter(&found, "previous_metadata_location"), Some("s3://1"));
    let column = &found.storage_descriptor().unwrap().columns()[0];
    assert_eq!((column.name(), column.r#type()), ("device_id", Some("string")));
}

#[tokio::test]
async fn a_swap_that_fails_after_its_effect_is_unknown_and_sent_once() {
    let Some(endpoint) = endpoint("glue: lost answers") else { return };
    for how in [r#""when":"after""#, r#""when":"after","drop":true"#, r#""when":"after","status":503"#] {
        let (table, expected) = table(&endpoint, "after").await;
        fault(&endpoint, &table, "UpdateTable", how).await;
        let ended = swap(&glue(&endpoint), &table, &expected).await;
        assert!(matches!(&ended, Swap::Unknown(error) if error.is_transient()), "{how}: {ended:?}");
        assert_eq!(glue(&endpoint).load(&table).await.unwrap().unwrap().metadata_location, "s3://2");
        // A repetition by the SDK would have been a second call, and would have looked like a conflict.
        let calls = control(&endpoint, "GET", "").await;
        let of_table =
            format!(r#""action": "UpdateTable", "database": "{}", "table": "t", "count": "#, table.namespace());
        assert!(calls.contains(&format!("{of_table}1}}")), "{how}: {calls}");
    }
}

#[tokio::test]
async fn a_swap_that_fails_before_its_effect_can_be_sent_again_as_it_is() {
    let Some(endpoint) = endpoint("glue: failures before the effect") else { return };
    let throttled = r#""code":"ThrottlingException""#;
    for how in [r#""when":"before""#, r#""drop":true"#, throttled, r#""code":"OperationTimeoutException""#] {
        let (table, expected) = table(&endpoint, "before").await;
        fault(&endpoint, &table, "UpdateTable", how).await;
        let glue = glue(&endpoint);
        let ended = swap(&glue, &table, &expected).await;
        assert!(matches!(ended, Swap::Unknown(_)), "{how}: {ended:?}");
        assert_eq!(glue.load(&table).await.unwrap().unwrap(), expected);
        assert!(matches!(swap(&glue, &table, &expected).await, Swap::Committed));
    }
}

#[tokio::test]
async fn a_swap_without_an_answer_is_given_up_in_time() {
    let Some(endpoint) = endpoint("glue: an answer that never comes") else { return };
    let (table, expected) = table(&endpoint, "hang").await;
    fault(&endpoint, &table, "UpdateTable", r#""when":"after","hang_seconds":5,"status":200"#).await;
    let glue = glue(&endpoint).with_swap_timeout(Duration::from_millis(500));
    let started = std::time::Instant::now();
    let ended = swap(&glue, &table, &expected).await;
    assert!(matches!(ended, Swap::Unknown(_)), "{ended:?}");
    assert!(started.elapsed() < Duration::from_secs(4));
}

#[tokio::test]
async fn a_refusal_is_definite_and_a_read_is_repeated() {
    let Some(endpoint) = endpoint("glue: refusals") else { return };
    let (table, expected) = table(&endpoint, "refuse").await;
    for (code, kind) in
        [("AccessDeniedException", ErrorKind::AccessDenied), ("InvalidInputException", ErrorKind::Failed)]
    {
        fault(&endpoint, &table, "UpdateTable", &format!(r#""code":"{code}""#)).await;
        match swap(&glue(&endpoint), &table, &expected).await {
            Swap::Rejected(error) => assert_eq!(error.kind(), kind, "{error:?}"),
            other => panic!("{code}: {other:?}"),
        }
    }
    fault(&endpoint, &table, "GetTable", r#""status":503,"times":2"#).await;
    assert_eq!(glue(&endpoint).load(&table).await.unwrap().unwrap(), expected);
    fault(&endpoint, &table, "GetTable", r#""code":"AccessDeniedException""#).await;
    let error = glue(&endpoint).load(&table).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    let shown = format!("{error} {error:?} {:?}", glue(&endpoint));
    assert!(shown.contains(&table.to_string()), "{shown}");
    assert!(!shown.contains("of-the-test"), "{shown}");
}

#[tokio::test]
async fn a_table_that_is_not_iceberg_is_refused_and_not_listed() {
    let Some(endpoint) = endpoint("glue: other tables") else { return };
    let (beside, _) = table(&endpoint, "other").await;
    let glue = glue(&endpoint);
    let hive = TableInput::builder().name("hive").build().unwrap();
    glue.client.create_table().database_name(beside.namespace()).table_input(hive).send().await.unwrap();
    let table = format!("{}.hive", beside.namespace()).parse().unwrap();
    assert!(matches!(glue.load(&table).await, Err(Error::NotIceberg { .. })));
    let listed = glue.list().await.unwrap();
    assert!(listed.contains(&beside) && !listed.contains(&table));
}

#[tokio::test]
async fn names_that_glue_would_fold_are_refused_without_asking() {
    let glue = glue("http://127.0.0.1:9");
    let created = glue.create(&"Curated.t".parse().unwrap(), "s3://1", &conformance::metadata()).await;
    assert!(matches!(created, Swap::Rejected(Error::TableName { .. })), "{created:?}");
}

#[tokio::test]
async fn a_service_that_is_not_there_is_unknown_for_a_change_and_transient_for_a_read() {
    let glue = glue("http://127.0.0.1:9");
    let table = "a.b".parse().unwrap();
    let created = glue.create(&table, "s3://1", &conformance::metadata()).await;
    assert!(matches!(created, Swap::Unknown(_)), "{created:?}");
    assert!(glue.load(&table).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn without_credentials_nothing_was_sent() {
    let config = || {
        let builder = aws_config::SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest());
        builder.region(Region::new("us-east-1"))
    };
    let expired = aws_credential_types::provider::error::CredentialsError::not_loaded("the session has expired");
    let failing = aws_credential_types::credential_fn::provide_credentials_fn(move || {
        let expired = aws_credential_types::provider::error::CredentialsError::not_loaded(expired.to_string());
        async move { Err(expired) }
    });
    let with_provider = config().credentials_provider(SharedCredentialsProvider::new(failing)).build();
    for config in [config().build(), with_provider] {
        let glue = Glue::new(&config, Some("http://127.0.0.1:9"), None);
        let created = glue.create(&"a.b".parse().unwrap(), "s3://1", &conformance::metadata()).await;
        let Swap::Rejected(error) = created else { panic!("{created:?}") };
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error:?}");
    }
}
