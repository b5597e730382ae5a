//! The ledger's bounds and what counts as applied.

use super::*;
use crate::{Error, testing::*};

async fn metadata() -> TableMetadata {
    TestLake::new().await.table().await.metadata.as_ref().clone()
}

fn with_property(metadata: TableMetadata, json: &str) -> TableMetadata {
    let properties = [(LEDGER_PROPERTY.to_owned(), json.to_owned())].into();
    metadata.into_builder(None).set_properties(properties).unwrap().build().unwrap().metadata
}

#[tokio::test]
async fn a_ledger_survives_its_json() {
    let metadata = metadata().await;
    let mut ledger = Ledger::parse(&metadata).unwrap();
    assert_eq!(ledger, Ledger::default());
    ledger.record(&metadata, &ledger_entry("run-1"), None, Some(Timestamp::UNIX_EPOCH));
    ledger.record(&metadata, &ledger_entry("run-2"), None, None);
    let read = Ledger::parse(&with_property(metadata.clone(), &ledger.to_json())).unwrap();
    assert_eq!(read, ledger);
    assert_eq!(read.forgotten_before(), None);
    let runs: Vec<_> = read.runs.iter().map(|run| run.run_id.as_str()).collect();
    assert_eq!(runs, ["run-2", "run-1"], "newest first");
    assert_eq!(read.partitions(&metadata)["2025-06-04T00:00:00Z"], "objects of run-2");
    assert_eq!(read.applied("inputs of run-1", "contract", &metadata).unwrap().run_id, "run-1");
    assert_eq!(read.applied("inputs of run-1", "another contract", &metadata), None);
    assert_eq!(read.applied("other inputs", "contract", &metadata), None);
}

#[tokio::test]
async fn a_run_that_is_recorded_again_is_there_once() {
    let metadata = metadata().await;
    let mut ledger = Ledger::default();
    for _ in 0..3 {
        ledger.record(&metadata, &ledger_entry("run-1"), None, None);
    }
    assert_eq!(ledger.runs.len(), 1);
}

#[tokio::test]
async fn the_oldest_are_forgotten() {
    let metadata = metadata().await;
    let mut ledger = Ledger::default();
    for n in 0..1_000 {
        let mut entry = ledger_entry(&format!("run-{n}"));
        let start: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        let start = start + jiff::SignedDuration::from_hours(n);
        entry.partitions = [(start.to_string(), "d".repeat(64))].into();
        ledger.record(&metadata, &entry, None, None);
    }
    assert_eq!(ledger.runs.len(), RUNS_MAX);
    assert_eq!(ledger.runs[0].run_id, "run-999");
    let partitions = ledger.partitions(&metadata);
    assert_eq!(partitions.len(), PARTITIONS_MAX);
    let first = "2025-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(1_000 - 768);
    assert_eq!(partitions.keys().next().unwrap(), &first.to_string());
    assert_eq!(ledger.forgotten_before(), Some(first.to_string().as_str()));
    assert!(ledger.to_json().len() <= JSON_BYTES_MAX);
}

#[tokio::test]
async fn the_json_keeps_to_its_limit() {
    let metadata = metadata().await;
    let mut ledger = Ledger::default();
    for n in 0..50 {
        let entry = LedgerEntry { job: "j".repeat(10_000), ..ledger_entry(&format!("run-{n}")) };
        ledger.record(&metadata, &entry, None, None);
    }
    let json = ledger.to_json();
    assert!(json.len() <= JSON_BYTES_MAX, "{}", json.len());
    let read = Ledger::parse(&with_property(metadata, &json)).unwrap();
    assert_eq!(read.runs[0].run_id, "run-49", "the newest stay");
}

#[tokio::test]
async fn a_ledger_that_is_none_is_an_error() {
    let test = TestLake::new().await;
    let change = crate::Change {
        properties: [(LEDGER_PROPERTY.to_owned(), "{\"runs\": 7}".to_owned())].into(),
        ..test.change(crate::ChangeKind::MetadataOnly).await
    };
    test.commit(&change).await.unwrap();
    let error = test.table().await.ledger().unwrap_err();
    assert!(matches!(&error, Error::Ledger(_)), "{error:?}");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let entry = Some(ledger_entry("run-1"));
    let change = crate::Change { ledger_entry: entry, ..test.change(crate::ChangeKind::MetadataOnly).await };
    assert!(test.commit(&change).await.is_err(), "it is not overwritten");
}
