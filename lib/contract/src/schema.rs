//! The JSON Schema of the documents that the parser reads, for editors and other checkers.

use serde_json::{Map, Value, json};

use crate::keys::{
    COLUMN_PROPERTY, COLUMN_SETTINGS, DOCUMENT, Definition, Key, SETTING_PREFIX, Shape, TABLE_PROPERTY, TABLE_SETTINGS,
};

/// The JSON Schema (draft 2020-12) of contracts: the standard's keys and our settings, each described.
///
/// It is made from the tables that the parser itself walks. It knows shapes; what only a whole contract shows (that a
/// key column exists, that a constraint fits its type) the parser alone says.
pub fn json_schema() -> Value {
    let mut definitions = Map::new();
    collect(&DOCUMENT, &mut definitions);
    let root = definitions.remove(DOCUMENT.name).unwrap_or_default();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Table contract of etl (Open Data Contract Standard 3.1)",
    });
    if let (Value::Object(schema), Value::Object(root)) = (&mut schema, root) {
        schema.extend(root);
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn collect(definition: &'static Definition, definitions: &mut Map<String, Value>) {
    if definitions.contains_key(definition.name) {
        return;
    }
    definitions.insert(definition.name.to_owned(), definition_schema(definition));
    for key in definition.keys {
        if let Shape::Map(inner) | Shape::Maps(inner) = key.shape {
            collect(inner, definitions);
        }
    }
}

fn definition_schema(definition: &Definition) -> Value {
    let properties: Map<String, Value> =
        definition.keys.iter().map(|key| (key.name.to_owned(), key_schema(key))).collect();
    let required: Vec<&str> = definition.keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    for (known, settings) in [(&TABLE_PROPERTY, TABLE_SETTINGS), (&COLUMN_PROPERTY, COLUMN_SETTINGS)] {
        if known.name == definition.name {
            schema["properties"]["property"]["anyOf"] = property_names(settings);
            schema["allOf"] = settings.iter().map(value_schema).collect();
        }
    }
    schema
}

/// Our own names one by one, and every name of other tools.
fn property_names(settings: &[Key]) -> Value {
    let ours = settings.iter().map(|key| json!({"const": key.name, "description": key.about}));
    let others = json!({"not": {"pattern": format!("^{}", SETTING_PREFIX.replace('.', "\\."))}});
    ours.chain([others]).collect()
}

fn value_schema(setting: &Key) -> Value {
    json!({
        "if": {"properties": {"property": {"const": setting.name}}, "required": ["property"]},
        "then": {"properties": {"value": key_schema(setting)}},
    })
}

fn key_schema(key: &Key) -> Value {
    let mut schema = shape_schema(key.shape);
    schema["description"] = json!(key.about);
    schema
}

fn shape_schema(shape: Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Text => json!({"type": "string"}),
        Shape::Boolean => json!({"type": "boolean"}),
        Shape::Number => json!({"type": "number"}),
        Shape::Integer(least) => json!({"type": "integer", "minimum": least}),
        Shape::Ratio => json!({"type": "number", "minimum": 0, "maximum": 1}),
        Shape::TextOrNumber => json!({"type": ["string", "number"]}),
        Shape::BooleanOrNumber => json!({"type": ["boolean", "number"]}),
        Shape::Scalar => json!({"type": ["string", "number", "boolean"]}),
        Shape::Choice(choices) => json!({"type": "string", "enum": choices}),
        Shape::TextOrTexts => json!({"type": ["string", "array"], "items": {"type": "string"}}),
        Shape::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Shape::Scalars => json!({"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}}),
        Shape::Range => json!({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}),
        Shape::ScalarMap => json!({"type": "object", "additionalProperties": shape_schema(Shape::Scalar)}),
        Shape::Map(definition) => json!({"$ref": format!("#/$defs/{}", definition.name)}),
        Shape::Maps(definition) => {
            json!({"type": "array", "items": {"$ref": format!("#/$defs/{}", definition.name)}})
        }
    }
}

#[cfg(test)]
mod tests {
    //! The schema is held against the parser's own pass over shapes: a document with every key in it is changed in
    //! every place in several ways, and both must agree on each of the results.

    use super::*;
    use crate::{
        shape::check_document,
        yaml::{self, Entry, Node, Scalar},
    };

    const WIDE: &str = include_str!("../tests/contract/wide.odcs.yaml");

    #[test]
    fn every_setting_is_described() {
        for (definition, settings) in [(&TABLE_PROPERTY, TABLE_SETTINGS), (&COLUMN_PROPERTY, COLUMN_SETTINGS)] {
            let schema = json_schema();
            let names = &schema["$defs"][definition.name]["properties"]["property"]["anyOf"];
            for setting in settings {
                let entry = names.as_array().unwrap().iter().find(|entry| entry["const"] == setting.name).unwrap();
                assert!(entry["description"].as_str().unwrap().len() > 10, "{}", setting.name);
                assert!(WIDE.contains(setting.name), "{} is not in the wide contract", setting.name);
            }
        }
    }

    #[test]
    fn parser_and_schema_agree_on_every_change_of_a_document() {
        let schema = json_schema();
        let node = yaml::read(WIDE).unwrap();
        assert!(check_document(&node).is_ok() && validates(&schema, &schema, &json_of(&node)));
        let mut refused = 0;
        let places = count(&node);
        for place in 0..places {
            for change in 0..CHANGES {
                let mut changed = node.clone();
                apply(&mut changed, &mut place.clone(), change);
                let value = json_of(&changed);
                let parser = check_document(&changed);
                let agreed = parser.is_ok() == validates(&schema, &schema, &value);
                assert!(agreed, "place {place}, change {change}: {parser:?}\n{value:#}");
                refused += usize::from(parser.is_err());
            }
        }
        assert!(refused > places, "the changes are meant to break something: {refused} of {places} × {CHANGES}");
    }

    const CHANGES: usize = 9;

    fn count(node: &Node) -> usize {
        let children = node.entries().iter().map(|entry| &entry.node).chain(node.items());
        1 + children.map(count).sum::<usize>()
    }

    /// Changes the node that is `place` nodes ahead.
    fn apply(node: &mut Node, place: &mut usize, change: usize) -> bool {
        if *place == 0 {
            let number = |digits: &str| yaml::Value::Scalar(Scalar::Number(digits.to_owned()));
            let text = |text: &str| yaml::Value::Scalar(Scalar::Text(text.to_owned()));
            node.value = match (change, node.value.clone()) {
                (0, _) => text("x"),
                (1, _) => number("5"),
                (2, _) => number("-0.5"),
                (3, _) => yaml::Value::Scalar(Scalar::Boolean(true)),
                (4, _) => yaml::Value::List(Vec::new()),
                (5, _) => yaml::Value::Map(Vec::new()),
                (6, _) => yaml::Value::List(vec![node.clone()]),
                (7, yaml::Value::Map(mut entries)) => {
                    entries.push(Entry { key: "stray".to_owned(), place: node.place, node: node.clone() });
                    yaml::Value::Map(entries)
                }
                (8, yaml::Value::Map(mut entries)) => {
                    entries.pop();
                    yaml::Value::Map(entries)
                }
                (7, yaml::Value::Scalar(Scalar::Text(_))) => text("etl.stray"),
                (_, value) => value,
            };
            return true;
        }
        *place -= 1;
        match &mut node.value {
            yaml::Value::Map(entries) => entries.iter_mut().any(|entry| apply(&mut entry.node, place, change)),
            yaml::Value::List(items) => items.iter_mut().any(|item| apply(item, place, change)),
            yaml::Value::Scalar(_) => false,
        }
    }

    fn json_of(node: &Node) -> Value {
        match &node.value {
            yaml::Value::Scalar(Scalar::Null) => Value::Null,
            yaml::Value::Scalar(Scalar::Boolean(value)) => json!(value),
            yaml::Value::Scalar(Scalar::Number(digits)) => serde_json::from_str(digits).unwrap(),
            yaml::Value::Scalar(Scalar::Text(text)) => json!(text),
            yaml::Value::List(items) => items.iter().map(json_of).collect(),
            yaml::Value::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), json_of(&entry.node))).collect())
            }
        }
    }

    /// As much of JSON Schema as is written above; an unknown keyword is a failure of the test.
    fn validates(root: &Value, schema: &Value, value: &Value) -> bool {
        let all = |schemas: &Value| schemas.as_array().unwrap().iter().all(|inner| validates(root, inner, value));
        schema.as_object().unwrap().iter().all(|(keyword, operand)| match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "then" => true,
            "$ref" => {
                validates(root, root.pointer(operand.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value)
            }
            "type" => match operand {
                Value::Array(types) => types.iter().any(|kind| is_of(value, kind.as_str().unwrap())),
                kind => is_of(value, kind.as_str().unwrap()),
            },
            "enum" => operand.as_array().unwrap().contains(value),
            "const" => operand == value,
            // Only `^` and literal text is used.
            "pattern" => value.as_str().is_none_or(|text| {
                text.starts_with(&operand.as_str().unwrap().strip_prefix('^').unwrap().replace('\\', ""))
            }),
            "minimum" => value.as_f64().is_none_or(|number| number >= operand.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= operand.as_f64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= operand.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= operand.as_u64().unwrap()),
            "items" => value.as_array().is_none_or(|items| items.iter().all(|item| validates(root, operand, item))),
            "required" => value.as_object().is_none_or(|object| {
                operand.as_array().unwrap().iter().all(|key| object.contains_key(key.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|object| {
                let mut known = operand.as_object().unwrap().iter();
                known.all(|(key, inner)| object.get(key).is_none_or(|value| validates(root, inner, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                let mut others = object.iter().filter(|(key, _)| schema["properties"].get(*key).is_none());
                others.all(
                    |(_, value)| if operand.is_object() { validates(root, operand, value) } else { *operand != false },
                )
            }),
            "anyOf" => operand.as_array().unwrap().iter().any(|inner| validates(root, inner, value)),
            "allOf" => all(operand),
            "not" => !validates(root, operand, value),
            "if" => !validates(root, operand, value) || validates(root, &schema["then"], value),
            other => panic!("the schema uses {other}"),
        })
    }

    fn is_of(value: &Value, kind: &str) -> bool {
        match kind {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "number" => value.is_number(),
            "integer" => value.is_i64() || value.is_u64(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("the schema uses type {other}"),
        }
    }
}
