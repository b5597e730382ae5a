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
    assert_eq!(read.forgotten(&metadata), Forgotten::default());
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
        let start = start + SignedDuration::from_hours(n);
        entry.partitions = [(start.to_string(), "d".repeat(64))].into();
        ledger.record(&metadata, &entry, None, None);
    }
    assert_eq!(ledger.runs.len(), RUNS_MAX);
    assert_eq!(ledger.runs[0].run_id, "run-999");
    let partitions = ledger.partitions(&metadata);
    assert_eq!(partitions.len(), PARTITIONS_MAX);
    let first = "2025-01-01T00:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(1_000 - 768);
    assert_eq!(partitions.keys().next().unwrap(), &first.to_string());
    assert_eq!(ledger.forgotten(&metadata).before, Some(first.to_string()));
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

fn run_of(run_id: &str, starts: &[&str]) -> LedgerEntry {
    let partitions = starts.iter().map(|start| ((*start).to_owned(), "m".to_owned())).collect();
    LedgerEntry { partitions, ..ledger_entry(run_id) }
}

fn hour(n: i64) -> String {
    let start: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
    (start + SignedDuration::from_hours(n)).to_string()
}

/// A folder of 1970 and one of 2099 are remembered beside the newest partitions, and push none of them out.
#[tokio::test]
async fn strays_are_remembered_beside_the_newest() {
    let metadata = metadata().await;
    let now = Some("2025-02-15T00:00:00Z".parse().unwrap());
    let mut ledger = Ledger::default();
    ledger.record(&metadata, &run_of("strays", &["1970-01-01T00:00:00Z", "2099-01-01T00:00:00Z"]), None, now);
    for n in 0..1_000 {
        ledger.record(&metadata, &run_of(&format!("run-{n}"), &[&hour(n)]), None, now);
    }
    let known = ledger.partitions(&metadata);
    assert_eq!(known.len(), PARTITIONS_MAX + 2);
    assert!(known.contains_key("1970-01-01T00:00:00Z") && known.contains_key("2099-01-01T00:00:00Z"));
    let forgotten = ledger.forgotten(&metadata);
    assert_eq!((forgotten.from, forgotten.before), (Some(hour(0)), Some(hour(1_000 - 768))));
    assert_eq!(forgotten.after, None);

    // Of too many strays the last applied stay, and it is said where forgotten ones lie.
    for year in 2100..2200 {
        let start = format!("{year}-01-01T00:00:00Z");
        ledger.record(&metadata, &run_of(&start, &[&start]), None, now);
    }
    let known = ledger.partitions(&metadata);
    assert_eq!(known.len(), PARTITIONS_MAX + PARTITIONS_ASIDE_MAX);
    assert!(known.contains_key("2199-01-01T00:00:00Z") && !known.contains_key("1970-01-01T00:00:00Z"));
    let forgotten = ledger.forgotten(&metadata);
    assert_eq!(forgotten.from.as_deref(), Some("1970-01-01T00:00:00Z"));
    assert_eq!(forgotten.after.as_deref(), Some("2099-01-01T00:00:00Z"));
    let read = Ledger::parse(&with_property(metadata.clone(), &ledger.to_json())).unwrap();
    assert_eq!(read, ledger);
}

#[tokio::test]
async fn what_was_seen_stays_until_another_run_has_looked() {
    let metadata = metadata().await;
    let seen = |until: &str| SeenFiles {
        at: until.parse().unwrap(),
        until: until.parse().unwrap(),
        files: [("2025-01".to_owned(), 7)].into(),
    };
    let first = seen("2025-02-01T00:00:00Z");
    let mut ledger = Ledger::default();
    ledger.record(&metadata, &LedgerEntry { seen: Some(first.clone()), ..run_of("a", &[&hour(0)]) }, None, None);
    ledger.record(&metadata, &run_of("b", &[&hour(1)]), None, None);
    assert_eq!(ledger.forgotten(&metadata).seen, Some(first));
    let second = seen("2025-02-02T00:00:00Z");
    ledger.record(&metadata, &LedgerEntry { seen: Some(second.clone()), ..run_of("c", &[&hour(2)]) }, None, None);
    assert_eq!(ledger.forgotten(&metadata).seen, Some(second));
    for n in 0..30 {
        ledger.record(&metadata, &run_of(&format!("run-{n}"), &[&hour(n)]), None, None);
    }
    let with_files = |run: &&LedgerEntry| {
        run.forgotten.as_ref().is_some_and(|it| it.seen.as_ref().is_some_and(|seen| !seen.files.is_empty()))
    };
    assert_eq!(ledger.runs.iter().filter(with_files).count(), 1, "counts are kept once");
    assert_eq!(ledger.runs.iter().filter(|run| run.forgotten.is_some()).count(), RUNS_WITH_FORGOTTEN_MAX);
}

/// As earlier versions wrote it.
#[tokio::test]
async fn a_ledger_of_an_earlier_version_is_read_and_carried_on() {
    let metadata = metadata().await;
    let json = r#"{"runs":[{"run_id":"r","job":"dedupe","interval_start":null,"interval_end":null,"input_digest":"i",
        "contract_digest":"c","snapshot_id":null,"committed_at":"2025-02-01T00:00:00Z","rows":{}}],
        "partitions":{"2025-01-02T00:00:00Z":["1:d:c",null]},"forgotten_before":"2025-01-02T00:00:00Z"}"#;
    let mut ledger = Ledger::parse(&with_property(metadata.clone(), json)).unwrap();
    let before = Forgotten { before: Some("2025-01-02T00:00:00Z".to_owned()), ..Forgotten::default() };
    assert_eq!(ledger.forgotten(&metadata), before);
    for n in 48..900 {
        ledger.record(&metadata, &run_of(&format!("run-{n}"), &[&hour(n)]), None, None);
    }
    // Nobody knows how old what it had forgotten was.
    assert_eq!(ledger.forgotten(&metadata), Forgotten { before: Some(hour(900 - 768)), ..Forgotten::default() });
}
