//! A list and the references in, keep or delete and the reason for each out.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{AGE_MIN, Facts, Found, Kept, Listed, Orphan, OrphansPlan};
use crate::{OlderThan, expire::gc_disabled, objects::ObjectKind};

/// What the local storage calls a file that is being written. It stays when the process is killed.
const STAGED_NAME: (&str, &str) = (".etl-", ".tmp");

/// Decides. The same facts give the same plan.
pub fn decide(facts: &Facts) -> OrphansPlan {
    let reasons = refusals(facts);
    if !reasons.is_empty() {
        return OrphansPlan::Refused { reasons, orphans: Vec::new() };
    }
    let cutoff = facts.older_than.cutoff(facts.now);
    let mut kept: BTreeMap<String, Kept> = BTreeMap::new();
    let mut orphans = Vec::new();
    for object in &facts.objects {
        match keep(facts, object, cutoff) {
            Some(reason) => {
                let kept = kept.entry(reason.clone()).or_insert_with(|| Kept { reason, files: 0, bytes: 0 });
                kept.files += 1;
                kept.bytes += object.bytes;
            }
            None => orphans.push(orphan(facts, object)),
        }
    }
    orphans.sort_by(|a, b| a.location.cmp(&b.location));
    if let Some(reason) = too_many(facts, &orphans) {
        return OrphansPlan::Refused { reasons: vec![reason], orphans };
    }
    let none = orphans.is_empty();
    let kept = kept.into_values().collect();
    let found = Found { table: facts.table.clone(), location: facts.location.clone(), kept, orphans, money: None };
    if none { OrphansPlan::NoOrphans(found) } else { OrphansPlan::DeleteOrphans(found) }
}

/// Why nothing may be deleted at all.
fn refusals(facts: &Facts) -> Vec<String> {
    let mut reasons: Vec<String> = gc_disabled(&facts.properties).into_iter().collect();
    if facts.older_than.cutoff(facts.now) > OlderThan::Age(AGE_MIN).cutoff(facts.now) {
        reasons.push(format!(
            "--older-than {} reaches into the last {AGE_MIN}: a run under way may have staged files then",
            facts.older_than
        ));
    }
    let shared = facts
        .neighbours
        .iter()
        .filter(|(location, _)| is_within(location, &facts.location) || is_within(&facts.location, location));
    for (location, table) in shared {
        let here = &facts.location;
        reasons.push(format!(
            "table {table} lies in {location}, and this one in {here}: its files would look like orphans"
        ));
    }
    let here = authority(&facts.location);
    let mut elsewhere: Vec<_> = facts.references.keys().filter(|location| authority(location) != here).collect();
    elsewhere.sort();
    if let Some(first) = elsewhere.first() {
        let more = match elsewhere.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let location = &facts.location;
        reasons.push(format!(
            "the table refers to {first}{more}, which has another scheme or bucket than its location {location}: what is \
             listed there cannot be told from what is meant"
        ));
    }
    if !facts.references.keys().any(|location| is_within(location, &facts.location)) {
        reasons.push(format!("the table refers to nothing below its location {}", facts.location));
    }
    reasons
}

/// Why an object is kept; `None` for an orphan.
fn keep(facts: &Facts, object: &Listed, cutoff: Timestamp) -> Option<String> {
    let location = object.location.as_str();
    let Some(path) = below(location, &facts.location) else {
        return Some("outside of the table's location".to_owned());
    };
    if let Some(kind) = facts.references.get(location) {
        return Some(format!("the table refers to it: {kind}"));
    }
    // A raw zone at the root of the bucket says nothing about the tables below it.
    let is_reserved = |folder: &str| below(folder, &facts.location).is_some() && is_within(location, folder);
    if let Some((_, whose)) = facts.reserved.iter().find(|(folder, _)| is_reserved(folder)) {
        return Some(whose.clone());
    }
    if is_hidden(path) {
        return Some("hidden: a part of its path begins with . or _".to_owned());
    }
    (object.modified >= cutoff).then(|| format!("not older than {}", facts.older_than))
}

fn orphan(facts: &Facts, object: &Listed) -> Orphan {
    Orphan {
        location: object.location.clone(),
        kind: kind_of(below(&object.location, &facts.location).unwrap_or_default()),
        bytes: object.bytes,
        modified: object.modified,
        reason: format!("no version of the table refers to it, and it was written {}", object.modified),
    }
}

/// Why so many objects do not go at once. Superseded metadata.json files are expected to pile up, and count for nothing.
fn too_many(facts: &Facts, orphans: &[Orphan]) -> Option<String> {
    let is_metadata = |location: &str| location.ends_with(".metadata.json");
    let counts = |location: &&str| !is_metadata(location);
    let all = facts.objects.iter().map(|object| object.location.as_str()).filter(counts).count();
    let gone = orphans.iter().map(|orphan| orphan.location.as_str()).filter(counts).count();
    let fraction = gone as f64 / all.max(1) as f64;
    (fraction > facts.fraction_max).then(|| {
        format!(
            "{gone} of {all} files look like orphans, {:.0} % where --max-fraction allows {:.0} %: look at the list \
             (--dry-run), and allow more when it is right",
            fraction * 100.0,
            facts.fraction_max * 100.0
        )
    })
}

/// Folders and files that tools hide are theirs; partitions by a column whose name begins so are not hidden.
fn is_hidden(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    if name.starts_with(STAGED_NAME.0) && name.ends_with(STAGED_NAME.1) {
        return false;
    }
    path.split('/').any(|part| part.starts_with('.') || (part.starts_with('_') && !part.contains('=')))
}

fn kind_of(path: &str) -> ObjectKind {
    let name = path.rsplit('/').next().unwrap_or_default();
    let ends = |suffix: &str| name.ends_with(suffix);
    if name.starts_with("etl-tombstones-") {
        ObjectKind::Tombstones
    } else if ends("-deletes.parquet") {
        ObjectKind::DeleteFile
    } else if ends(".parquet") || ends(".orc") {
        ObjectKind::DataFile
    } else if ends(".metadata.json") {
        ObjectKind::Metadata
    } else if name.starts_with("snap-") && ends(".avro") {
        ObjectKind::ManifestList
    } else if ends(".avro") {
        if path.starts_with("metadata/") { ObjectKind::Manifest } else { ObjectKind::DataFile }
    } else if ends(".stats") || ends(".puffin") {
        ObjectKind::Statistics
    } else {
        ObjectKind::Other
    }
}

/// The path of a location below a folder.
fn below<'a>(location: &'a str, folder: &str) -> Option<&'a str> {
    location.strip_prefix(folder.trim_end_matches('/'))?.strip_prefix('/')
}

/// The location is the folder or lies below it.
fn is_within(location: &str, folder: &str) -> bool {
    location.trim_end_matches('/') == folder.trim_end_matches('/') || below(location, folder).is_some()
}

/// Scheme and bucket: what locations must share to be compared.
fn authority(location: &str) -> &str {
    let end = location.find("://").map_or(0, |at| at + 3);
    let path = location[end..].find('/').map_or(location.len(), |at| end + at);
    &location[..path]
}

#[cfg(test)]
mod tests;
