//! Metadata of other tables below a table's location, by which it shows that not everything there is this table's.
//!
//! Refuses to know what follows from it.

use std::{cell::RefCell, collections::BTreeSet, fmt, io::Read};

use flate2::read::MultiGzDecoder;
use futures::{StreamExt, TryStreamExt, stream};
use serde::{
    Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::{Error, Result, Storage, Table};

/// Unknown metadata.json files that are looked into; each is one small request.
const LOOKED_INTO_MAX: usize = 100_000;

/// Requests at once.
const READS_CONCURRENT_MAX: usize = 32;

/// Bytes of a metadata.json that are read first: every writer has the table's id among the first of its fields.
const START_BYTES: u64 = 4 * 1024;

/// Something below a table's location that belongs to another table, or may.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// The object, or the folder of it.
    pub location: String,
    /// What it is, completing "{location} is …".
    pub what: String,
}

/// What below a table's location speaks of another table. `unknown` are the objects there that the table does not refer to,
/// with their sizes.
///
/// Of a metadata.json the table's id is read, to tell versions that were superseded from tables that live in the same place.
pub async fn foreign<'a>(table: &Table, unknown: impl Iterator<Item = (&'a str, u64)>) -> Result<Vec<Foreign>> {
    let (mut signs, mut documents) = (BTreeSet::new(), Vec::new());
    for (location, size) in unknown {
        match sign(location) {
            Some(Sign::Document) => documents.push((location.to_owned(), size)),
            Some(Sign::Of { folder, what }) => _ = signs.insert((folder, what)),
            None => {}
        }
    }
    let foreign = |(folder, what): (&str, &str)| Foreign { location: folder.to_owned(), what: what.to_owned() };
    let mut found: Vec<Foreign> = signs.into_iter().map(foreign).collect();
    if let Some((first, _)) = documents.get(LOOKED_INTO_MAX) {
        let what = format!(
            "one of {} metadata.json files that the table's log does not name: more than {LOOKED_INTO_MAX} are not looked into",
            documents.len()
        );
        found.push(Foreign { location: first.clone(), what });
        return Ok(found);
    }
    let ours = table.metadata.uuid().to_string();
    let reads = documents.into_iter().map(|(location, size)| document(&table.storage, location, size));
    let mut reads = stream::iter(reads.collect::<Vec<_>>()).buffered(READS_CONCURRENT_MAX);
    while let Some(read) = reads.try_next().await? {
        let (location, what) = match read {
            // A table of format version 1 may have no id: then its log alone says what is its own.
            Some((_, Some(Id::Table(id)))) if id.eq_ignore_ascii_case(&ours) && !is_nil(&ours) => continue,
            Some((location, Some(Id::Table(id)))) => (location, format!("metadata of another table, {id}")),
            Some((location, Some(Id::View(id)))) => (location, format!("metadata of a view, {id}")),
            Some((location, None)) => (location, "metadata that does not say of which table".to_owned()),
            None => continue,
        };
        found.push(Foreign { location, what });
    }
    Ok(found)
}

fn is_nil(id: &str) -> bool {
    id.bytes().all(|byte| matches!(byte, b'0' | b'-'))
}

/// What a name says about an object.
enum Sign<'a> {
    /// It may be a metadata.json of Iceberg.
    Document,
    /// It is part of something that has a place of its own.
    Of { folder: &'a str, what: &'static str },
}

fn sign(location: &str) -> Option<Sign<'_>> {
    for (part, what) in [("/_delta_log/", "the log of a Delta table"), ("/.hoodie/", "metadata of a Hudi table")] {
        if let Some(at) = location.find(part) {
            return Some(Sign::Of { folder: &location[..at + part.len() - 1], what });
        }
    }
    let name = location.rsplit('/').next().unwrap_or_default();
    let is_document =
        |ending: &str| name.strip_suffix(ending).is_some_and(|before| matches!(before, "") || before.ends_with('.'));
    if ["metadata.json", "metadata.json.gz"].into_iter().any(is_document) {
        return Some(Sign::Document);
    }
    (name == "version-hint.text").then_some(Sign::Of { folder: location, what: "the version hint of another table" })
}

/// Whose metadata a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Id {
    Table(String),
    View(String),
}

/// Whose metadata an object is, where it says so; `None` when it is gone.
async fn document(storage: &Storage, location: String, size: u64) -> Result<Option<(String, Option<Id>)>> {
    for bytes_max in [START_BYTES, u64::MAX] {
        let start = match storage.read_start(&location, size, bytes_max).await {
            Ok(start) => start,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let id = id_of(&start);
        if id.is_some() || size <= bytes_max {
            return Ok(Some((location, id)));
        }
    }
    Ok(Some((location, None)))
}

/// The id in a document, or in as much of it as is there.
fn id_of(start: &[u8]) -> Option<Id> {
    let mut unpacked = Vec::new();
    let start = if start.starts_with(&[0x1f, 0x8b]) {
        // What could be unpacked until the bytes end is there all the same.
        let _ = MultiGzDecoder::new(start).read_to_end(&mut unpacked);
        unpacked.as_slice()
    } else {
        start
    };
    let found = RefCell::new(None);
    // An error at the end of the bytes says nothing about the fields before it.
    let _ = serde_json::Deserializer::from_slice(start).deserialize_map(Ids(&found));
    found.into_inner()
}

struct Ids<'a>(&'a RefCell<Option<Id>>);

impl<'de> Visitor<'de> for Ids<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the metadata of a table")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            let id = match key.as_str() {
                "table-uuid" => Id::Table(map.next_value()?),
                "view-uuid" => Id::View(map.next_value()?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            self.0.replace(Some(id));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
