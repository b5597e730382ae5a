//! metadata.json as other writers leave it: with fields missing, NULL or spelled in an older way. What the specification or
//! other readers say of such a document is filled in; of anything else the field is named.
//!
//! For documents that the iceberg crate does not read as they are: a few in a million.

mod fields;

use std::{fmt, io::Read};

use flate2::read::MultiGzDecoder;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Stands in the place of a manifest list's location where a snapshot of format version 1 names its manifests itself; a JSON
/// list of their locations follows.
pub(crate) const INLINE: &str = "inline:";

/// The id of the first partition field where a spec says none.
const PARTITION_FIELD_ID_FIRST: i64 = 1000;

/// Why a document cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, with the field: "`last-column-id` is missing".
    pub what: String,
    /// What is lost when an earlier version of the table takes its place, where the document says.
    pub lost: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {}

/// The document with what it leaves out filled in, to be read again, and as it was.
pub(super) fn repaired(bytes: &[u8]) -> Result<(Vec<u8>, Value), Problem> {
    let problem = |what: String| Problem { what, lost: None };
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        let read = MultiGzDecoder::new(bytes).read_to_end(&mut unpacked);
        read.map_err(|error| problem(format!("it cannot be unpacked: {error}")))?;
        unpacked.as_slice()
    } else {
        bytes
    };
    if bytes.is_empty() {
        return Err(problem("it is empty".to_owned()));
    }
    let document: Value = serde_json::from_slice(bytes).map_err(|error| problem(format!("it is no JSON: {error}")))?;
    let repaired = repair(document.clone());
    match fields::problem(&repaired) {
        Some(what) => Err(Problem { what, lost: lost(&document) }),
        None => Ok((repaired.to_string().into_bytes(), document)),
    }
}

/// What would be lost with the version before: everything committed since its time.
pub(super) fn lost(document: &Value) -> Option<String> {
    let log = document["metadata-log"].as_array()?;
    let before = log.iter().max_by_key(|entry| entry["timestamp-ms"].as_i64())?;
    let (file, since) = (before["metadata-file"].as_str()?, before["timestamp-ms"].as_i64()?);
    let snapshots = document["snapshots"].as_array().map_or(&[][..], Vec::as_slice);
    let newer = snapshots.iter().filter(|of| of["timestamp-ms"].as_i64().is_none_or(|ms| ms > since));
    let ids: Vec<String> = newer.map(|of| of["snapshot-id"].to_string()).collect();
    let since = Timestamp::from_millisecond(since).map_or_else(|_| since.to_string(), |at| at.to_string());
    let which = match ids.as_slice() {
        [] => "no snapshot, but other changes perhaps".to_owned(),
        ids => format!("snapshot {}", ids.join(", ")),
    };
    Some(format!("the version before it, {file}, lacks what was committed after {since}: {which}"))
}

/// Fills in what is missing.
fn repair(mut document: Value) -> Value {
    without_nulls(&mut document);
    let Value::Object(table) = &mut document else { return document };
    let version = table.get("format-version").and_then(Value::as_i64).unwrap_or(0);
    texts(table.get_mut("properties"));
    let schemas = items(table, "schemas");
    let has_schema = |id: i64| schemas.iter().any(|schema| schema["schema-id"].as_i64().unwrap_or(0) == id);
    let schema_id = if has_schema(0) { None } else { schemas.first().and_then(|schema| schema["schema-id"].as_i64()) };
    set(table, "current-schema-id", json!(schema_id.unwrap_or(0)));
    for schema in items_mut(table, "schemas") {
        set_in(schema, "schema-id", json!(0));
        repair_schema(schema);
    }
    if let Some(schema) = table.get_mut("schema") {
        repair_schema(schema);
    }
    // What format version 1 says twice is said right in the lists, which came later.
    for (single, list) in [("schema", "schemas"), ("partition-spec", "partition-specs")] {
        if !items(table, list).is_empty() {
            table.remove(single);
        }
    }
    for spec in items_mut(table, "partition-specs") {
        set_in(spec, "spec-id", json!(0));
        repair_fields(spec.get_mut("fields"));
    }
    repair_fields(table.get_mut("partition-spec"));
    for order in items_mut(table, "sort-orders") {
        repair_order(order);
    }
    for snapshot in items_mut(table, "snapshots") {
        repair_snapshot(snapshot, version);
    }
    for statistics in items_mut(table, "statistics") {
        set_in(statistics, "file-size-in-bytes", json!(0));
        set_in(statistics, "file-footer-size-in-bytes", json!(0));
        set_in(statistics, "blob-metadata", json!([]));
    }
    for statistics in items_mut(table, "partition-statistics") {
        set_in(statistics, "file-size-in-bytes", json!(0));
    }
    if version != 1 {
        set(table, "sort-orders", json!([]));
        set(table, "default-spec-id", json!(0));
        set(table, "table-uuid", json!("00000000-0000-0000-0000-000000000000"));
        let newest =
            items(table, "snapshots").iter().filter_map(|of| of["sequence-number"].as_i64()).max().unwrap_or(0);
        at_least(table, "last-sequence-number", newest);
    }
    if version == 1 {
        // Sort orders came later, and of this version nothing is written.
        let default = table.get("default-sort-order-id").cloned().unwrap_or_default();
        if !items(table, "sort-orders").iter().any(|order| order["order-id"] == default) {
            table.remove("default-sort-order-id");
        }
    }
    if version == 3 {
        set(table, "next-row-id", json!(0));
    }
    set(table, "default-sort-order-id", json!(0));
    let ids = items(table, "partition-specs").iter().flat_map(|spec| spec["fields"].as_array().into_iter().flatten());
    let last_id = ids.filter_map(|field| field["field-id"].as_i64()).max().unwrap_or(PARTITION_FIELD_ID_FIRST - 1);
    set(table, "last-partition-id", json!(last_id));
    // Of an empty table -1 says that there is no snapshot.
    if let Some(main) = table.get("refs").and_then(|refs| refs["main"]["snapshot-id"].as_i64()) {
        set(table, "current-snapshot-id", json!(main));
    }
    repair_times(table);
    document
}

/// The logs in the order of time, and nothing after the last change.
fn repair_times(table: &mut Map<String, Value>) {
    let time = |entry: &Value| entry["timestamp-ms"].as_i64().unwrap_or(0);
    let mut last = 0;
    for log in ["snapshot-log", "metadata-log"] {
        let entries = items_mut(table, log);
        entries.sort_by_key(time);
        last = last.max(entries.last().map_or(0, time));
    }
    if !table.contains_key("last-updated-ms") {
        last = last.max(items(table, "snapshots").iter().map(time).max().unwrap_or(0));
    }
    at_least(table, "last-updated-ms", last);
}

fn repair_snapshot(snapshot: &mut Value, version: i64) {
    set_in(snapshot, "summary", json!({}));
    texts(snapshot.get_mut("summary"));
    if let Some(summary) = snapshot.get_mut("summary") {
        let operation = summary["operation"].as_str().map(str::to_lowercase);
        // What says nothing may have done anything.
        let known = ["append", "replace", "overwrite", "delete"].into_iter();
        let operation = known.into_iter().find(|known| operation.as_deref() == Some(known)).unwrap_or("overwrite");
        if let Some(summary) = summary.as_object_mut() {
            summary.insert("operation".to_owned(), json!(operation));
        }
    }
    if version != 3 {
        set_in(snapshot, "sequence-number", json!(0));
    }
    let Some(fields) = snapshot.as_object_mut() else { return };
    if let Some(manifests) = fields.remove("manifests")
        && manifests.is_array()
        && !fields.contains_key("manifest-list")
    {
        fields.insert("manifest-list".to_owned(), json!(format!("{INLINE}{manifests}")));
    }
}

fn repair_order(order: &mut Value) {
    set_in(order, "order-id", json!(1));
    set_in(order, "fields", json!([]));
    for field in order.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
        one_source(field);
        set_in(field, "transform", json!("identity"));
        set_in(field, "direction", json!("asc"));
        let nulls = if field["direction"] == json!("asc") { "nulls-first" } else { "nulls-last" };
        set_in(field, "null-order", json!(nulls));
    }
}

/// Ids of the fields of a partition spec (<https://iceberg.apache.org/spec/#partition-spec-json-serialization>): in format
/// version 1 they may be missing, and are then counted up.
pub(crate) fn repair_fields(fields: Option<&mut Value>) {
    let Some(fields) = fields.and_then(Value::as_array_mut) else { return };
    let all_have_ids = fields.iter().all(|field| field["field-id"].is_i64());
    for (field, id) in fields.iter_mut().zip(PARTITION_FIELD_ID_FIRST..) {
        one_source(field);
        if let Some(field) = field.as_object_mut().filter(|_| !all_have_ids) {
            field.insert("field-id".to_owned(), json!(id));
        }
    }
}

/// Later writers list the columns of a transform, also of those that have one.
fn one_source(field: &mut Value) {
    if let Some([id]) = field["source-ids"].as_array().map(Vec::as_slice) {
        let id = id.clone();
        set_in(field, "source-id", id);
    }
}

/// A column that does not say whether it is required is not.
fn repair_schema(schema: &mut Value) {
    set_in(schema, "type", json!("struct"));
    repair_type(schema);
}

fn repair_type(of: &mut Value) {
    match of["type"].as_str() {
        Some("struct") => {
            for field in of.get_mut("fields").and_then(Value::as_array_mut).into_iter().flatten() {
                set_in(field, "required", json!(false));
                field.get_mut("type").into_iter().for_each(repair_type);
            }
        }
        Some("list") => {
            set_in(of, "element-required", json!(false));
            of.get_mut("element").into_iter().for_each(repair_type);
        }
        Some("map") => {
            set_in(of, "value-required", json!(false));
            for part in ["key", "value"] {
                of.get_mut(part).into_iter().for_each(repair_type);
            }
        }
        _ => {}
    }
}

/// A NULL says no more than a field that is missing.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Numbers and truth values where there is to be text.
fn texts(values: Option<&mut Value>) {
    for value in values.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        if value.is_number() || value.is_boolean() {
            *value = json!(value.to_string());
        }
    }
}

fn items<'a>(table: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    table.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn items_mut<'a>(table: &'a mut Map<String, Value>, name: &str) -> &'a mut [Value] {
    table.get_mut(name).and_then(Value::as_array_mut).map_or(&mut [], Vec::as_mut_slice)
}

fn set(table: &mut Map<String, Value>, name: &str, value: Value) {
    table.entry(name).or_insert(value);
}

fn set_in(of: &mut Value, name: &str, value: Value) {
    if let Some(fields) = of.as_object_mut() {
        set(fields, name, value);
    }
}

fn at_least(table: &mut Map<String, Value>, name: &str, least: i64) {
    match table.get(name) {
        Some(number) if number.as_i64().is_none_or(|number| number >= least) => {}
        _ => _ = table.insert(name.to_owned(), json!(least)),
    }
}

#[cfg(test)]
mod tests;
