//! Evolution as data: a contract, another one, and what becomes of the table.

use iceberg::spec::{FormatVersion, TableMetadataBuilder};

use super::*;
use crate::{
    schema::{partition_spec_for, schema_for, sort_order_for},
    testing::contract,
};

/// A contract of these properties (YAML flow maps, one per line), keyed by `id`, partitioned by day of `at`.
fn contract_of(columns: &str) -> Contract {
    let columns = columns.trim().lines().map(|line| format!("      - {}\n", line.trim())).collect::<String>();
    contract(&format!(
        "
apiVersion: v3.1.0
kind: DataContract
id: iot.t
version: 1.0.0
status: active
schema:
  - name: t
    physicalName: curated.t
    properties:
      - {{name: id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}}
      - {{name: at, logicalType: timestamp, physicalType: timestamptz, required: true, partitioned: true, \
         partitionKeyPosition: 1, customProperties: [{{property: etl.partitionTransform, value: day}}]}}
{columns}"
    ))
}

fn table_of(contract: &Contract) -> TableMetadata {
    let schema = schema_for(contract).unwrap();
    let spec = partition_spec_for(contract, &schema).unwrap();
    let order = sort_order_for(contract, &schema).unwrap();
    let built =
        TableMetadataBuilder::new(schema, spec, order, "s3://b/t".to_owned(), FormatVersion::V2, Default::default());
    built.unwrap().build().unwrap().metadata
}

/// Descriptions of the evolution from one contract to another, and the new schema.
fn evolved(from: &str, to: &str) -> (Vec<String>, Schema) {
    let update = evolve(&table_of(&contract_of(from)), &contract_of(to), &[]).unwrap().unwrap();
    (update.descriptions, update.schema)
}

fn refused(from: &str, to: &str) -> String {
    evolve(&table_of(&contract_of(from)), &contract_of(to), &[]).unwrap_err().to_string()
}

#[test]
fn the_same_contract_changes_nothing() {
    let columns = "{name: a, logicalType: integer, physicalType: int}
        {name: s, logicalType: object, properties: [{name: x, logicalType: integer, physicalType: long}]}";
    let contract = contract_of(columns);
    assert!(evolve(&table_of(&contract), &contract, &[]).unwrap().is_none());
}

#[test]
fn new_columns_get_new_ids_and_go_last() {
    let (descriptions, schema) = evolved(
        "{name: s, logicalType: object, properties: [{name: x, logicalType: integer, physicalType: long}]}",
        "{name: b, logicalType: string}
         {name: s, logicalType: object, properties: [{name: y, logicalType: string}, {name: x, logicalType: integer, physicalType: long}]}",
    );
    assert_eq!(descriptions, ["added column s.y string", "added column b string"]);
    let ids: Vec<_> = ["id", "at", "s", "s.x", "s.y", "b"].map(|name| schema.field_id_by_name(name).unwrap()).into();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6]);
    let order: Vec<_> = schema.as_struct().fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(order, ["id", "at", "s", "b"]);
}

#[test]
fn types_widen() {
    let (descriptions, schema) = evolved(
        "{name: a, logicalType: integer, physicalType: int}
         {name: b, logicalType: number, physicalType: float}
         {name: c, logicalType: number, physicalType: 'decimal(9,2)'}",
        "{name: a, logicalType: integer, physicalType: long}
         {name: b, logicalType: number, physicalType: double}
         {name: c, logicalType: number, physicalType: 'decimal(12,2)'}",
    );
    assert_eq!(
        descriptions,
        [
            "widened column a from int to long",
            "widened column b from float to double",
            "widened column c from decimal(9, 2) to decimal(12, 2)"
        ]
    );
    assert_eq!(schema.field_id_by_name("a"), Some(3));
}

#[test]
fn a_renamed_column_keeps_its_id() {
    let (descriptions, schema) = evolved(
        "{name: temp, logicalType: number, physicalType: double}",
        "{name: temperature, logicalType: number, physicalType: double, customProperties: [{property: etl.renamedFrom, value: temp}]}",
    );
    assert_eq!(descriptions, ["renamed column temp to temperature"]);
    assert_eq!(schema.field_id_by_name("temperature"), Some(3));
    assert_eq!(schema.field_id_by_name("temp"), None);
}

#[test]
fn required_may_become_optional_and_not_the_reverse() {
    let (descriptions, schema) =
        evolved("{name: a, logicalType: string, required: true}", "{name: a, logicalType: string}");
    assert_eq!(descriptions, ["made column a optional"]);
    assert!(!schema.field_by_name("a").unwrap().required);
    // The contract is stricter than the table: rows are judged by it, the table stays.
    let lax = table_of(&contract_of("{name: a, logicalType: string}"));
    assert!(evolve(&lax, &contract_of("{name: a, logicalType: string, required: true}"), &[]).unwrap().is_none());
}

#[test]
fn a_column_that_the_contract_dropped_stays() {
    let table = table_of(&contract_of("{name: a, logicalType: string}\n{name: b, logicalType: string}"));
    assert!(evolve(&table, &contract_of("{name: b, logicalType: string}"), &[]).unwrap().is_none());
}

#[test]
fn comments_follow() {
    let (descriptions, schema) =
        evolved("{name: a, logicalType: string}", "{name: a, logicalType: string, description: the a}");
    assert_eq!(descriptions, ["described column a"]);
    assert_eq!(schema.field_by_name("a").unwrap().doc.as_deref(), Some("the a"));
}

#[test]
fn columns_of_the_raw_files_are_added_once() {
    let contract = contract_of("{name: a, logicalType: string}");
    let new = contract_of("{name: firmware, logicalType: string}").column("firmware").unwrap().clone();
    let metadata = table_of(&contract);
    let update = evolve(&metadata, &contract, std::slice::from_ref(&new)).unwrap().unwrap();
    assert_eq!(update.descriptions, ["added column firmware string"]);
    assert_eq!(update.base_schema_id, 0);
    let metadata = metadata.into_builder(None).add_current_schema(update.schema).unwrap().build().unwrap().metadata;
    assert!(evolve(&metadata, &contract, &[new]).unwrap().is_none());
    assert!(evolve(&metadata, &contract, &[]).unwrap().is_none(), "and it stays when they no longer have it");
}

#[test]
fn breaking_changes_are_refused_by_name() {
    let int = "{name: a, logicalType: integer, physicalType: int}";
    let long = "{name: a, logicalType: integer, physicalType: long}";
    let text = "{name: a, logicalType: string}";
    let required = "{name: a, logicalType: string, required: true}";
    let object = "{name: a, logicalType: object, properties: [{name: x, logicalType: integer, physicalType: long}]}";
    let inner = "{name: a, logicalType: object, properties: [{name: x, logicalType: string}]}";
    let upper = "{name: A, logicalType: string}";
    let cases = [
        (long, int, "column a is long in the table and int in the contract"),
        (int, text, "column a is int in the table and string in the contract"),
        (text, object, "column a is string in the table and a struct in the contract"),
        (object, inner, "column a.x is long in the table and string in the contract"),
        ("", required, "column a is new and required"),
        (required, "", "column a is required in the table and not in the contract"),
        (text, upper, "column A is in the table under a name that differs by case only"),
    ];
    for (from, to, message) in cases {
        assert_eq!(refused(from, to), format!("evolve table curated.t: {message}"));
    }
}

#[test]
fn another_key_or_partitioning_is_refused() {
    let before = contract_of("{name: a, logicalType: string, required: true}");
    let mut other_key = before.clone();
    other_key.key = vec!["id".to_owned(), "a".to_owned()];
    let error = evolve(&table_of(&before), &other_key, &[]).unwrap_err();
    assert_eq!(error.to_string(), r#"evolve table curated.t: its key is ["id"], and the contract's is ["a", "id"]"#);
    let mut other_spec = before.clone();
    other_spec.partition[0].transform = contract::Transform::Hour;
    let error = evolve(&table_of(&before), &other_spec, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"evolve table curated.t: it is partitioned by ["day(at)"], and the contract by ["hour(at)"]"#
    );
    assert!(error.help().is_some());
}
