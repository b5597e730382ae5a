//! Holds a document against the tables of keys: unknown and missing keys, values of the wrong shape.
//!
//! After this pass the rest of the parser reads keys without asking what they look like.

use crate::{
    keys::{
        COLUMN_PROPERTY, COLUMN_SETTINGS, DOCUMENT, Definition, IGNORED, Key, SETTING_PREFIX, Shape, TABLE_PROPERTY,
        TABLE_SETTINGS,
    },
    problem::{Checked, Problem, suggest},
    yaml::{Node, Scalar, Value},
};

pub(crate) fn check_document(node: &Node) -> Checked<()> {
    check_map(node, &DOCUMENT, "the document")
}

fn check_map(node: &Node, definition: &'static Definition, name: &str) -> Checked<()> {
    let Value::Map(entries) = &node.value else {
        return Err(unlike(node, name, "a map of keys", "write `key: value` lines below it"));
    };
    for entry in entries {
        let Some(key) = definition.keys.iter().find(|key| key.name == entry.key) else {
            return Err(Problem::new(
                entry.place,
                format!("unknown key `{}` in {}", entry.key, definition.called),
                unknown_key_help(&entry.key, definition),
            ));
        };
        if !entry.node.is_null() {
            check_value(&entry.node, key.shape, key.name)?;
        }
    }
    for key in definition.keys.iter().filter(|key| key.required) {
        if node.get(key.name).is_none() {
            let message = match node.get("name").and_then(Node::text) {
                Some(name) => format!("{} {name:?} has no `{}`", definition.called, key.name),
                None => format!("{} has no `{}`", definition.called, key.name),
            };
            return Err(Problem::new(node.place, message, format!("add `{}:` ({})", key.name, fragment(key.about))));
        }
    }
    match settings_of(definition) {
        Some((settings, level)) => check_setting(node, settings, level),
        None => Ok(()),
    }
}

fn unknown_key_help(name: &str, definition: &Definition) -> String {
    if name.starts_with(SETTING_PREFIX) {
        return format!("settings go into customProperties: `- {{property: {name}, value: …}}`");
    }
    let known = |word: &str| definition.keys.iter().any(|key| key.name == word);
    match SYNONYMS.iter().find(|(other, ours)| name.eq_ignore_ascii_case(other) && known(ours)) {
        Some((_, ours)) => format!("did you mean `{ours}`?"),
        None => suggest(name, definition.keys.iter().filter(|key| key.about != IGNORED).map(|key| key.name)),
    }
}

/// What other formats call our keys.
const SYNONYMS: &[(&str, &str)] = &[
    ("columns", "properties"),
    ("fields", "properties"),
    ("models", "schema"),
    ("tables", "schema"),
    ("nullable", "required"),
    ("optional", "required"),
    ("type", "logicalType"),
    ("dataType", "logicalType"),
    ("doc", "description"),
    ("comment", "description"),
    ("checks", "quality"),
    ("constraints", "logicalTypeOptions"),
    ("sql", "query"),
    ("expression", "implementation"),
    ("key", "property"),
];

fn settings_of(definition: &Definition) -> Option<(&'static [Key], &'static str)> {
    match definition.name {
        name if name == TABLE_PROPERTY.name => Some((TABLE_SETTINGS, "table")),
        name if name == COLUMN_PROPERTY.name => Some((COLUMN_SETTINGS, "column")),
        _ => None,
    }
}

fn check_setting(entry: &Node, settings: &'static [Key], level: &str) -> Checked<()> {
    let (Some(property), Some(value)) = (entry.get("property"), entry.get("value")) else { return Ok(()) };
    let name = property.text().unwrap_or_default();
    if !name.starts_with(SETTING_PREFIX) {
        return Ok(());
    }
    if let Some(key) = settings.iter().find(|key| key.name == name) {
        return check_value(value, key.shape, key.name);
    }
    let elsewhere = TABLE_SETTINGS.iter().chain(COLUMN_SETTINGS).any(|key| key.name == name);
    let help = match (elsewhere, level) {
        (true, "column") => "it is a setting of the table: put it into the schema object's customProperties".to_owned(),
        (true, _) => "it is a setting of a column: put it into the column's customProperties".to_owned(),
        (false, _) => suggest(name, settings.iter().map(|key| key.name)),
    };
    Err(Problem::new(property.place, format!("unknown {level} setting `{name}`"), help))
}

fn check_value(node: &Node, shape: Shape, name: &str) -> Checked<()> {
    match (shape, &node.value) {
        (Shape::Any, _)
        | (Shape::Text | Shape::TextOrTexts | Shape::TextOrNumber | Shape::Scalar, Value::Scalar(Scalar::Text(_)))
        | (Shape::Boolean | Shape::BooleanOrNumber | Shape::Scalar, Value::Scalar(Scalar::Boolean(_)))
        | (
            Shape::Number | Shape::TextOrNumber | Shape::Scalar | Shape::BooleanOrNumber,
            Value::Scalar(Scalar::Number(_)),
        ) => Ok(()),
        (Shape::Text | Shape::TextOrTexts, Value::Scalar(scalar)) => {
            Err(unlike(node, name, "text", &quote_help(name, scalar)))
        }
        (Shape::Boolean, _) => Err(unlike(node, name, "a boolean", "write true or false")),
        (Shape::Integer(least), _) => match node.integer() {
            Some(integer) if integer >= least => Ok(()),
            _ => Err(unlike(
                node,
                name,
                &format!("an integer of at least {least}"),
                "write a whole number without quotes",
            )),
        },
        (Shape::Ratio, _) => match node.number() {
            Some(number) if (0.0..=1.0).contains(&number) => Ok(()),
            _ => Err(unlike(node, name, "a number from 0 to 1", "write 0.01 for one percent")),
        },
        (Shape::Number, _) => Err(unlike(node, name, "a number", "write a number without quotes")),
        (Shape::BooleanOrNumber, _) => {
            Err(unlike(node, name, "a number or a boolean", "write a number without quotes"))
        }
        (Shape::TextOrNumber, _) => Err(unlike(node, name, "text or a number", "write one value")),
        (Shape::Scalar, _) => Err(unlike(node, name, "one value", "write text, a number or a boolean")),
        (Shape::Choice(choices), _) => match node.text() {
            Some(text) if choices.contains(&text) => Ok(()),
            Some(text) => Err(Problem::new(
                node.place,
                format!("`{name}` cannot be {text:?}"),
                suggest(text, choices.iter().copied()),
            )),
            None => Err(unlike(node, name, "text", &format!("write one of {}", choices.join(", ")))),
        },
        (Shape::Text, _) => Err(unlike(node, name, "text", "write it on one line, or as a block after `|`")),
        (Shape::Texts | Shape::TextOrTexts, Value::List(items)) => {
            items.iter().try_for_each(|item| check_value(item, Shape::Text, name))
        }
        (Shape::Scalars, Value::List(items)) => {
            items.iter().filter(|item| !item.is_null()).try_for_each(|item| check_value(item, Shape::Scalar, name))
        }
        (Shape::Maps(definition), Value::List(items)) => {
            items.iter().try_for_each(|item| check_map(item, definition, &format!("an entry of `{name}`")))
        }
        (Shape::Texts | Shape::TextOrTexts | Shape::Scalars, _) => {
            Err(unlike(node, name, "a list", "write it in brackets: [a, b]"))
        }
        (Shape::Maps(_), _) => Err(unlike(node, name, "a list", "start each entry with `- `")),
        (Shape::Range, _) => match node.items() {
            [low, high] if low.number().is_some() && high.number().is_some() => Ok(()),
            _ => Err(unlike(node, name, "two numbers", "write [0, 100]")),
        },
        (Shape::ScalarMap, Value::Map(entries)) => {
            entries.iter().try_for_each(|entry| check_value(&entry.node, Shape::Scalar, &entry.key))
        }
        (Shape::ScalarMap, _) => Err(unlike(node, name, "a map", "write {key: value}")),
        (Shape::Map(definition), _) => check_map(node, definition, &format!("`{name}`")),
    }
}

fn quote_help(name: &str, scalar: &Scalar) -> String {
    let name = if name.starts_with(SETTING_PREFIX) { "value" } else { name };
    match scalar {
        Scalar::Number(text) => format!("put it in quotes: {name}: \"{text}\""),
        Scalar::Boolean(value) => format!("put it in quotes: {name}: \"{value}\""),
        Scalar::Null | Scalar::Text(_) => "write a value".to_owned(),
    }
}

fn unlike(node: &Node, name: &str, expected: &str, help: &str) -> Problem {
    let name = if name.contains(['`', ' ']) { name.to_owned() } else { format!("`{name}`") };
    Problem::new(node.place, format!("{name} must be {expected}, found {}", node.describe()), help)
}

fn fragment(sentence: &str) -> String {
    let mut characters = sentence.trim_end_matches('.').chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}
