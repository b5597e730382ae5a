//! metadata.json without the table's history, for those who read its current version: of two thousand snapshots with their
//! summaries they need one, and to understand them all takes longer than many a query.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Smaller documents are read as they are: it is no time at all.
const BYTES_MIN: usize = 64 * 1024;

/// The document with the snapshots that `main`, branches and tags point at alone, and without its logs; `None` where it is
/// small, compressed or nothing of the kind.
pub(super) fn without_history(document: &[u8]) -> Option<Vec<u8>> {
    if document.len() < BYTES_MIN { None } else { shortened(document) }
}

fn shortened(document: &[u8]) -> Option<Vec<u8>> {
    let Pointers { current_snapshot_id, refs, snapshots } = serde_json::from_slice(document).ok()?;
    let refs = refs.unwrap_or_default();
    let wanted: HashSet<i64> = refs.values().map(|of| of.snapshot_id).chain(current_snapshot_id).collect();
    let keeps: Vec<bool> = snapshots.iter().map(|of| wanted.contains(&of.snapshot_id)).collect();
    let short = Document { keeps: &keeps }.deserialize(&mut serde_json::Deserializer::from_slice(document)).ok()?;
    serde_json::to_vec(&short).ok()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Pointers {
    current_snapshot_id: Option<i64>,
    refs: Option<BTreeMap<String, Id>>,
    snapshots: Vec<Id>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Id {
    snapshot_id: i64,
}

/// Reads the document, and of its snapshots those that are kept.
struct Document<'a> {
    keeps: &'a [bool],
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut document = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = match key.as_str() {
                "snapshot-log" | "metadata-log" => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                "snapshots" => Value::Array(map.next_value_seed(Snapshots { keeps: self.keeps })?),
                _ => map.next_value()?,
            };
            document.insert(key, value);
        }
        Ok(document)
    }
}

struct Snapshots<'a> {
    keeps: &'a [bool],
}

impl<'de> DeserializeSeed<'de> for Snapshots<'_> {
    type Value = Vec<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Snapshots<'_> {
    type Value = Vec<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("snapshots")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut kept = Vec::new();
        for keeps in self.keeps {
            match keeps {
                true => kept.extend(seq.next_element::<Value>()?),
                false => drop(seq.next_element::<IgnoredAny>()?),
            }
        }
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::custom("more snapshots than before")),
            None => Ok(kept),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Table, table::parse_metadata, testing::TestLake};

    #[tokio::test]
    async fn a_table_without_history_is_the_same_to_its_readers() {
        let test = TestLake::new().await;
        for day in 1..=3 {
            test.append(day, "a", "z", 10).await;
        }
        let table = test.table().await;
        let whole = table.storage.read(&table.pointer.metadata_location).await.unwrap();
        let short = parse_metadata(shortened(&whole).unwrap().into()).await.unwrap();
        assert_eq!((table.metadata.snapshots().len(), short.snapshots().len()), (3, 1));
        let short = Table { metadata: short.into(), ..table.clone() };
        assert_eq!(short.head(), table.head());
        assert_eq!(short.refs(), table.refs());
        assert_eq!(short.metadata.current_schema(), table.metadata.current_schema());
        assert_eq!(short.metadata.properties(), table.metadata.properties());
        let head = table.head().unwrap().snapshot_id();
        assert_eq!(short.live_files(head).await.unwrap().data.len(), 3);
    }

    #[test]
    fn what_branches_and_tags_point_at_stays() {
        let document = r#"{"format-version":2,"current-snapshot-id":3,"properties":{"a":"b"},
            "snapshots":[{"snapshot-id":1,"summary":{"operation":"append"}},{"snapshot-id":2},{"snapshot-id":3,"schema-id":0}],
            "refs":{"main":{"snapshot-id":3,"type":"branch"},"first":{"snapshot-id":1,"type":"tag"}},
            "snapshot-log":[{"snapshot-id":1,"timestamp-ms":1}],"metadata-log":[]}"#;
        let short: Value = serde_json::from_slice(&shortened(document.as_bytes()).unwrap()).unwrap();
        let wanted = serde_json::json!({
            "format-version": 2,
            "current-snapshot-id": 3,
            "properties": {"a": "b"},
            "snapshots": [{"snapshot-id": 1, "summary": {"operation": "append"}}, {"snapshot-id": 3, "schema-id": 0}],
            "refs": {"main": {"snapshot-id": 3, "type": "branch"}, "first": {"snapshot-id": 1, "type": "tag"}},
        });
        assert_eq!(short, wanted);
    }

    #[test]
    fn anything_else_is_left_to_those_who_say_what_is_wrong() {
        for document in ["", "{}", "[]", r#"{"snapshots":null}"#, r#"{"snapshots":[{"id":1}]}"#, "\u{1f}\u{8b}"] {
            assert_eq!(shortened(document.as_bytes()), None, "{document}");
        }
        assert_eq!(without_history(br#"{"current-snapshot-id":null,"snapshots":[]}"#), None, "small");
    }
}
