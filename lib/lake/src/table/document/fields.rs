//! What a metadata.json must have (<https://iceberg.apache.org/spec/#table-metadata-fields>), and which of its fields is not so.

use iceberg::spec::{PrimitiveType, Transform};
use serde_json::Value;

/// What a field is to be.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    List,
    Map,
    /// A map whose values are text.
    Texts,
    Uuid,
    Transform,
    OneOf(&'static [&'static str]),
}

use Kind::{List, Map, Number, OneOf, Text, Texts, Uuid};

/// The fields by their paths, `[]` for each item of a list and `{}` for each value of a map; whether one is required.
const FIELDS: &[(&str, Kind, bool)] = &[
    ("table-uuid", Uuid, false),
    ("location", Text, true),
    ("last-sequence-number", Number, false),
    ("last-updated-ms", Number, true),
    ("last-column-id", Number, true),
    ("current-schema-id", Number, false),
    ("schemas", List, false),
    ("schemas[].schema-id", Number, true),
    ("schemas[].identifier-field-ids", List, false),
    ("partition-spec", List, false),
    ("partition-specs", List, false),
    ("partition-specs[].spec-id", Number, true),
    ("partition-specs[].fields", List, true),
    ("partition-specs[].fields[].source-id", Number, true),
    ("partition-specs[].fields[].field-id", Number, true),
    ("partition-specs[].fields[].name", Text, true),
    ("partition-specs[].fields[].transform", Kind::Transform, true),
    ("default-spec-id", Number, false),
    ("last-partition-id", Number, false),
    ("properties", Texts, false),
    ("current-snapshot-id", Number, false),
    ("snapshots", List, false),
    ("snapshots[].snapshot-id", Number, true),
    ("snapshots[].parent-snapshot-id", Number, false),
    ("snapshots[].sequence-number", Number, false),
    ("snapshots[].timestamp-ms", Number, true),
    ("snapshots[].manifest-list", Text, true),
    ("snapshots[].summary", Texts, true),
    ("snapshots[].schema-id", Number, false),
    ("snapshot-log", List, false),
    ("snapshot-log[].snapshot-id", Number, true),
    ("snapshot-log[].timestamp-ms", Number, true),
    ("metadata-log", List, false),
    ("metadata-log[].metadata-file", Text, true),
    ("metadata-log[].timestamp-ms", Number, true),
    ("sort-orders", List, false),
    ("sort-orders[].order-id", Number, true),
    ("sort-orders[].fields", List, true),
    ("sort-orders[].fields[].source-id", Number, true),
    ("sort-orders[].fields[].transform", Kind::Transform, true),
    ("sort-orders[].fields[].direction", OneOf(&["asc", "desc"]), true),
    ("sort-orders[].fields[].null-order", OneOf(&["nulls-first", "nulls-last"]), true),
    ("default-sort-order-id", Number, false),
    ("refs", Map, false),
    ("refs{}.snapshot-id", Number, true),
    ("refs{}.type", OneOf(&["branch", "tag"]), true),
    ("statistics", List, false),
    ("statistics[].snapshot-id", Number, true),
    ("statistics[].statistics-path", Text, true),
    ("statistics[].blob-metadata[].type", Text, true),
    ("statistics[].blob-metadata[].snapshot-id", Number, true),
    ("statistics[].blob-metadata[].sequence-number", Number, true),
    ("statistics[].blob-metadata[].fields", List, true),
    ("partition-statistics", List, false),
    ("partition-statistics[].snapshot-id", Number, true),
    ("partition-statistics[].statistics-path", Text, true),
];

/// The first field that is not as it must be, as a sentence.
pub(super) fn problem(document: &Value) -> Option<String> {
    let Value::Object(table) = document else { return Some("it is no JSON object".to_owned()) };
    let version = match table.get("format-version").map(Value::as_u64) {
        None => return Some("`format-version` is missing".to_owned()),
        Some(Some(version @ 1..=3)) => version,
        Some(_) => return Some(format!("`format-version` is {}, and etl reads 1 to 3", table["format-version"])),
    };
    for (path, kind, is_required) in FIELDS {
        let mut found = None;
        each(document, path, String::new(), &mut |at, value| {
            let wrong = match value {
                Some(value) => kind.problem(value),
                None if *is_required => Some("is missing".to_owned()),
                None => None,
            };
            if let Some(wrong) = wrong {
                found.get_or_insert(format!("`{at}` {wrong}"));
            }
        });
        if found.is_some() {
            return found;
        }
    }
    let missing = |name: &&str| !table.contains_key(*name);
    let needed: &[&str] = match version {
        1 if table.contains_key("schemas") => &[],
        1 => &["schema"],
        _ => &["schemas", "partition-specs"],
    };
    if let Some(name) = needed.iter().find(|name| missing(name)) {
        return Some(format!("`{name}` is missing"));
    }
    let schemas = table.get("schemas").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let named = schemas.iter().enumerate().map(|(index, schema)| (format!("schemas[{index}]"), schema));
    let single = table.get("schema").map(|schema| ("schema".to_owned(), schema));
    named.chain(single).find_map(|(at, schema)| type_problem(&at, schema)).or_else(|| dangling(document))
}

/// An id that names nothing.
fn dangling(document: &Value) -> Option<String> {
    let has = |list: &str, id: &str, wanted: &Value| {
        document[list].as_array().is_some_and(|items| items.iter().any(|item| item[id] == *wanted))
    };
    let ids = [
        ("current-schema-id", "schemas", "schema-id", None),
        ("default-spec-id", "partition-specs", "spec-id", None),
        ("default-sort-order-id", "sort-orders", "order-id", Some(0)),
        ("current-snapshot-id", "snapshots", "snapshot-id", Some(-1)),
    ];
    for (name, list, id, none) in ids {
        let wanted = &document[name];
        let is_none = wanted.is_null() || none.is_some_and(|none| wanted.as_i64() == Some(none));
        // Of version 1 the lists came later.
        if !is_none && document.get(list).is_some() && !has(list, id, wanted) {
            return Some(format!("`{name}` is {wanted}, which `{list}` does not have"));
        }
    }
    let refs = document["refs"].as_object()?;
    let lost = refs.iter().find(|(_, of)| !has("snapshots", "snapshot-id", &of["snapshot-id"]))?;
    Some(format!("`refs.{}` is snapshot {}, which `snapshots` does not have", lost.0, lost.1["snapshot-id"]))
}

/// Visits what lies at a path, once for each of its parents that is there; `None` for what is missing.
fn each<'a>(value: &'a Value, path: &str, at: String, visit: &mut impl FnMut(String, Option<&'a Value>)) {
    let Some((first, rest)) = path.split_once('.') else { return visit(format!("{at}{path}"), value.get(path)) };
    if let Some(name) = first.strip_suffix("[]") {
        for (index, item) in value[name].as_array().into_iter().flatten().enumerate() {
            each(item, rest, format!("{at}{name}[{index}]."), visit);
        }
    } else if let Some(name) = first.strip_suffix("{}") {
        for (key, item) in value[name].as_object().into_iter().flatten() {
            each(item, rest, format!("{at}{name}.{key}."), visit);
        }
    }
}

impl Kind {
    fn problem(self, value: &Value) -> Option<String> {
        let is_right = match self {
            Text => value.is_string(),
            Number => value.is_i64(),
            List => value.is_array(),
            Map => value.is_object(),
            Texts => value.as_object().is_some_and(|values| values.values().all(Value::is_string)),
            Uuid => value.as_str().is_some_and(|text| uuid::Uuid::try_parse(text).is_ok()),
            Kind::Transform => serde_json::from_value::<Transform>(value.clone()).is_ok(),
            OneOf(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        };
        let wanted = match self {
            _ if is_right => return None,
            Text => "text".to_owned(),
            Number => "a whole number".to_owned(),
            List => "a list".to_owned(),
            Map => "a map".to_owned(),
            Texts => "a map of text".to_owned(),
            Uuid => "a UUID".to_owned(),
            Kind::Transform => "a transform".to_owned(),
            OneOf(words) => words.join(" or "),
        };
        Some(format!("is {}, and not {wanted}", shown(value)))
    }
}

/// What is wrong with a type, nested ones included.
fn type_problem(at: &str, value: &Value) -> Option<String> {
    let part = |name: &str| match value.get(name) {
        None => Some(format!("`{at}.{name}` is missing")),
        Some(of) => type_problem(&format!("{at}.{name}"), of),
    };
    let number = |name: &str| match value.get(name) {
        Some(id) if id.is_i64() => None,
        Some(id) => Some(format!("`{at}.{name}` is {}, and not a whole number", shown(id))),
        None => Some(format!("`{at}.{name}` is missing")),
    };
    match value {
        Value::String(_) => {
            let is_known = serde_json::from_value::<PrimitiveType>(value.clone()).is_ok();
            (!is_known).then(|| format!("`{at}` is {value}, a type that etl does not know"))
        }
        Value::Object(_) => match value["type"].as_str() {
            Some("struct") => {
                let Some(fields) = value["fields"].as_array() else { return Some(format!("`{at}.fields` is missing")) };
                fields
                    .iter()
                    .enumerate()
                    .find_map(|(index, field)| field_problem(&format!("{at}.fields[{index}]"), field))
            }
            Some("list") => number("element-id").or_else(|| part("element")),
            Some("map") => {
                number("key-id").or_else(|| number("value-id")).or_else(|| part("key")).or_else(|| part("value"))
            }
            _ => Some(format!("`{at}.type` is {}, a type that etl does not know", shown(&value["type"]))),
        },
        _ => Some(format!("`{at}` is {}, and not a type", shown(value))),
    }
}

fn field_problem(at: &str, field: &Value) -> Option<String> {
    for (name, kind) in [("id", Number), ("name", Text)] {
        let wrong = match field.get(name) {
            None => Some("is missing".to_owned()),
            Some(value) => kind.problem(value),
        };
        if let Some(wrong) = wrong {
            return Some(format!("`{at}.{name}` {wrong}"));
        }
    }
    match field.get("type") {
        None => Some(format!("`{at}.type` is missing")),
        Some(of) => type_problem(&format!("{at}.type"), of),
    }
}

/// A value, or the beginning of a long one.
fn shown(value: &Value) -> String {
    const CHARS_MAX: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
