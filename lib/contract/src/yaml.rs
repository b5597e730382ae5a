//! A YAML document as a tree in which every key and value knows its line and column.
//!
//! Owns the one call into the YAML library. Refuses to know what a contract is.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use crate::problem::{Checked, Place, Problem};

/// A value and where it stands. Two nodes are equal when their values are.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// One value. Numbers keep their digits, so that a decimal is not rounded on its way through a float.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) node: Node,
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.node == other.node
    }
}

/// Reads one document.
pub(crate) fn read(text: &str) -> Checked<Node> {
    let options = serde_saphyr::options! { strict_booleans: true, with_snippet: false };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(text, raw)),
        Err(error) => {
            let place = error.location().map_or(Place { line: 1, column: 1 }, place);
            let said = error.without_snippet().render_with_formatter(&serde_saphyr::UserMessageFormatter);
            let message = said.split(" at line ").next().unwrap_or(&said).to_owned();
            Err(Problem::new(
                place,
                format!("not a YAML document: {message}"),
                "mend the YAML there; check indentation and quotes",
            ))
        }
    }
}

impl Node {
    /// The value of a key; a key without a value counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node).filter(|node| !node.is_null())
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    pub(crate) fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    /// The items of the list under a key; none when there is no such key.
    pub(crate) fn list(&self, key: &str) -> &[Node] {
        self.get(key).map_or(&[], Node::items)
    }

    /// A list's items, or the node itself when it is a single value.
    pub(crate) fn one_or_many(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(Scalar::Text(text)) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Scalar(Scalar::Boolean(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        match &self.value {
            Value::Scalar(Scalar::Number(digits)) => digits.parse().ok(),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<f64> {
        match &self.value {
            Value::Scalar(Scalar::Number(digits)) => digits.parse().ok().filter(|number: &f64| number.is_finite()),
            _ => None,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        self.value == Value::Scalar(Scalar::Null)
    }

    /// What the value is, for messages: ``the number 5``, `a list`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Scalar(Scalar::Null) => "nothing".to_owned(),
            Value::Scalar(Scalar::Boolean(value)) => format!("the boolean {value}"),
            Value::Scalar(Scalar::Number(digits)) => format!("the number {digits}"),
            Value::Scalar(Scalar::Text(text)) => format!("the text {text:?}"),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

enum Raw {
    Null,
    Boolean(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

fn node(text: &str, raw: Spanned<Raw>) -> Node {
    let scalar = |scalar| Value::Scalar(scalar);
    let value = match raw.value {
        Raw::Null => scalar(Scalar::Null),
        Raw::Boolean(value) => scalar(Scalar::Boolean(value)),
        Raw::Integer(value) => scalar(Scalar::Number(value.to_string())),
        Raw::Float(value) => scalar(Scalar::Number(digits(text, raw.defined, value))),
        Raw::Text(value) => scalar(Scalar::Text(value)),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(text, item)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry { place: place(key.referenced), key: key.value, node: node(text, value) })
                .collect(),
        ),
    };
    Node { place: place(raw.referenced), value }
}

/// The number as it was written, if that reads back as the same number.
fn digits(text: &str, location: Location, value: f64) -> String {
    let span = location.span();
    let written = span.byte_offset().zip(span.byte_len()).and_then(|(start, length)| {
        text.get(usize::try_from(start).ok()?..usize::try_from(start.checked_add(length)?).ok()?)
    });
    match written.map(str::trim).filter(|written| written.parse() == Ok(value)) {
        Some(written) => written.to_owned(),
        None => value.to_string(),
    }
}

fn place(location: Location) -> Place {
    let bounded = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Place { line: bounded(location.line()), column: bounded(location.column()) }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Boolean(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Integer(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Integer(value))
    }

    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Raw, E> {
        i128::try_from(value).map(Raw::Integer).map_err(|_| E::custom("a number of more than 38 digits"))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Raw>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            if entries.iter().any(|(other, _)| other.value == key.value) {
                return Err(A::Error::custom(format!("the key {:?} stands twice", key.value)));
            }
            entries.push((key, value));
        }
        Ok(Raw::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_know_their_place() {
        let node = read("a: 1\nb:\n  - {c: 2.50, d: on}\n").unwrap();
        let entry = &node.entries()[1];
        assert_eq!((entry.key.as_str(), entry.place), ("b", Place { line: 2, column: 1 }));
        let item = &node.list("b")[0];
        assert_eq!(item.place, Place { line: 3, column: 5 });
        assert_eq!(item.entries()[1].place, Place { line: 3, column: 15 });
        assert_eq!(item.get("c").unwrap().value, Value::Scalar(Scalar::Number("2.50".into())));
        assert_eq!(item.get("d").unwrap().text(), Some("on"));
    }

    #[test]
    fn long_numbers_keep_their_digits() {
        let node =
            read("a: 12345678901234567890123456789012345678\nb: 0.1234567890123456789012345678901234567\n").unwrap();
        assert_eq!(node.get("a").unwrap().describe(), "the number 12345678901234567890123456789012345678");
        assert_eq!(node.get("b").unwrap().describe(), "the number 0.1234567890123456789012345678901234567");
    }

    #[test]
    fn broken_yaml_is_placed() {
        let place = |text| read(text).unwrap_err().place;
        assert_eq!(place("a: [1, 2\nb: 3\n"), Place { line: 2, column: 2 });
        assert_eq!(place("a: 1\na: 2\n"), Place { line: 2, column: 1 });
    }
}
