//! Every field of a metadata.json in turn, left out and NULL, against what PyIceberg makes of it.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use iceberg::spec::{Operation, TableMetadata};

use super::*;
use crate::table::{parse_metadata, refs};

/// By `tests/tools/make_odd_tables.py`.
const FIELDS: &str = include_str!("../../../../../tests/fixtures/odd-tables/fields.json");

/// What PyIceberg reads and we do not: it takes the time of reading for the snapshot's, knows of no snapshot, and has no partitions.
const REFUSED: [&str; 3] = ["snapshots", "snapshots/1/timestamp-ms", "partition-specs/0/fields"];

async fn parsed(document: &Value) -> Result<TableMetadata, Problem> {
    parse_metadata(document.to_string().into_bytes().into()).await
}

/// The document without a field, or with NULL there.
fn changed(document: &Value, path: &str, with_null: bool) -> Value {
    let mut document = document.clone();
    let (above, last) = path.rsplit_once('/').unwrap_or(("", path));
    let above = if above.is_empty() { String::new() } else { format!("/{above}") };
    let parent = document.pointer_mut(&above).unwrap().as_object_mut().unwrap();
    match with_null {
        true => _ = parent.insert(last.to_owned(), Value::Null),
        false => _ = parent.remove(last).unwrap(),
    }
    document
}

#[tokio::test]
async fn what_pyiceberg_reads_is_read_and_of_anything_else_the_field_is_named() {
    let fields: Value = serde_json::from_str(FIELDS).unwrap();
    let (mut read, mut refused) = (0, 0);
    for version in ["v1", "v2"] {
        let document = &fields[version]["document"];
        let whole = parsed(document).await.unwrap();
        for (path, theirs) in fields[version]["pyiceberg"].as_object().unwrap() {
            for with_null in [false, true] {
                let what = format!("{version} {path}, null: {with_null}");
                match parsed(&changed(document, path, with_null)).await {
                    Ok(table) => {
                        read += 1;
                        assert_eq!(table.current_snapshot_id(), Some(1002), "{what}");
                        let ids = |of: &TableMetadata| of.current_schema().field_id_to_name_map().clone();
                        assert_eq!(ids(&table), ids(&whole), "{what}");
                        assert_eq!(
                            table.default_partition_spec().fields(),
                            whole.default_partition_spec().fields(),
                            "{what}"
                        );
                        assert_eq!(table.snapshots().len(), 2, "{what}");
                        let has_tag = !path.starts_with("refs") && version == "v2";
                        assert!(refs(&table).contains_key("first") || !has_tag, "{what}");
                    }
                    Err(problem) => {
                        refused += 1;
                        let may = theirs["missing"] == json!(false) || REFUSED.contains(&path.as_str());
                        assert!(may, "{what}: {problem}");
                        let name = path.rsplit('/').next().unwrap();
                        let is_named = problem.what.contains(name)
                            || path == "snapshots" && problem.what.contains("current-snapshot-id");
                        assert!(is_named && problem.what.starts_with('`'), "{what}: {problem}");
                    }
                }
            }
        }
    }
    assert!(read > 200 && refused > 60, "{read} {refused}");
}

fn document() -> Value {
    let fields: Value = serde_json::from_str(FIELDS).unwrap();
    fields["v2"]["document"].clone()
}

#[tokio::test]
async fn what_is_filled_in_is_the_careful_guess() {
    let mut document = document();
    for name in ["last-sequence-number", "last-partition-id", "last-updated-ms", "refs", "current-schema-id"] {
        document.as_object_mut().unwrap().remove(name);
    }
    document["snapshots"][0]["summary"] = json!({"operation": "Append", "added-records": 2, "dynamic": true});
    document["snapshots"][1].as_object_mut().unwrap().remove("summary");
    document["partition-specs"][0]["fields"] =
        json!([{"name": "p", "source-ids": [3], "field-id": 1004, "transform": "identity"}]);
    let table = parsed(&document).await.unwrap();
    assert_eq!((table.last_sequence_number(), table.last_partition_id()), (2, 1004));
    assert_eq!(table.last_updated_ms(), 1_749_000_000_001);
    let summary = |id: i64| table.snapshot_by_id(id).unwrap().summary();
    assert_eq!((&summary(1001).operation, &summary(1002).operation), (&Operation::Append, &Operation::Overwrite));
    assert_eq!(summary(1001).additional_properties["added-records"], "2");
    assert_eq!(table.default_partition_spec().fields()[0].source_id, 3);
    // A number that is too low would be given twice.
    document["last-sequence-number"] = json!(1);
    assert_eq!(parsed(&document).await.unwrap().last_sequence_number(), 2);
}

#[tokio::test]
async fn fields_of_version_1_get_their_ids_in_order() {
    let fields: Value = serde_json::from_str(FIELDS).unwrap();
    let mut document = fields["v1"]["document"].clone();
    for name in
        ["partition-specs", "schemas", "last-partition-id", "default-spec-id", "sort-orders", "default-sort-order-id"]
    {
        document.as_object_mut().unwrap().remove(name);
    }
    document["partition-spec"] = json!([
        {"name": "a", "source-id": 1, "transform": "bucket[4]"}, {"name": "b", "source-id": 3, "transform": "identity"},
    ]);
    let table = parsed(&document).await.unwrap();
    let ids: Vec<i32> = table.default_partition_spec().fields().iter().map(|field| field.field_id).collect();
    assert_eq!(ids, [1000, 1001]);
}

#[tokio::test]
async fn documents_that_nobody_reads_are_said_by_their_field() {
    let cases: [(&str, Value, &str); 9] = [
        ("/format-version", json!(9), "`format-version` is 9, and etl reads 1 to 3"),
        ("/last-column-id", json!("4"), "`last-column-id` is \"4\", and not a whole number"),
        ("/table-uuid", json!("x"), "`table-uuid` is \"x\", and not a UUID"),
        (
            "/schemas/0/fields/1/type",
            json!("geometry"),
            "`schemas[0].fields[1].type` is \"geometry\", a type that etl does not know",
        ),
        ("/current-schema-id", json!(7), "`current-schema-id` is 7, which `schemas` does not have"),
        ("/current-snapshot-id", json!(7), "`current-snapshot-id` is 7, which `snapshots` does not have"),
        ("/refs/first/snapshot-id", json!(7), "`refs.first` is snapshot 7, which `snapshots` does not have"),
        ("/refs/first/type", json!("label"), "`refs.first.type` is \"label\", and not branch or tag"),
        ("/snapshots/0/summary", json!([]), "`snapshots[0].summary` is [], and not a map of text"),
    ];
    for (at, value, wanted) in cases {
        let mut document = document();
        *document.pointer_mut(at).unwrap() = value;
        let problem = parsed(&document).await.unwrap_err();
        assert_eq!(problem.what, wanted);
        let lost = problem.lost.unwrap();
        assert!(
            lost.contains("/v0.metadata.json, lacks what was committed after 2025-06-04T01:20:00Z: snapshot 1002"),
            "{lost}"
        );
    }
    for (bytes, wanted) in [("", "it is empty"), ("[]", "it is no JSON object"), ("{\"a\": ", "it is no JSON: EOF")] {
        let problem = parse_metadata(bytes.into()).await.unwrap_err();
        assert!(problem.what.starts_with(wanted) && problem.lost.is_none(), "{problem}");
    }
}

#[tokio::test]
async fn a_compressed_document_is_repaired_as_well() {
    let mut document = document();
    document.as_object_mut().unwrap().remove("sort-orders");
    document["default-sort-order-id"] = json!(0);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(document.to_string().as_bytes()).unwrap();
    let mut bytes = encoder.finish().unwrap();
    assert!(parse_metadata(bytes.clone().into()).await.is_ok());
    bytes.truncate(bytes.len() / 2);
    assert!(parse_metadata(bytes.into()).await.unwrap_err().what.starts_with("it cannot be unpacked"));
}
