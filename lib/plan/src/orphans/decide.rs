//! A list and the references in, keep or delete and the reason for each out.

use std::collections::{BTreeMap, HashSet};

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
    let decoded: HashSet<String> = facts.references.keys().filter_map(|location| percent_decoded(location)).collect();
    let mut orphans = Vec::new();
    for object in &facts.objects {
        match keep(facts, &decoded, object, cutoff) {
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
    if let Some((location, what)) = facts.foreign.first_key_value() {
        let more = match facts.foreign.len() {
            1 => String::new(),
            count => format!(", the first of {count} such signs"),
        };
        reasons.push(format!(
            "{location} is {what}{more}: files of another table would look like orphans of this one; move one of the two \
             to a place of its own, or away what is left of a table that is gone"
        ));
    }
    let here = authority(&facts.location);
    let mut elsewhere: Vec<_> = facts.references.keys().filter(|location| authority(location) != here).collect();
    elsewhere.sort();
    if let Some(first) = elsewhere.first() {
        let more = and_more(elsewhere.len());
        let location = &facts.location;
        reasons.push(format!(
            "the table refers to {first}{more}, which has another scheme or bucket than its location {location}: what is \
             listed there cannot be told from what is meant"
        ));
    }
    let mut odd: Vec<_> = facts.references.keys().filter(|location| is_odd(location)).collect();
    odd.sort();
    if let Some(first) = odd.first() {
        let more = and_more(odd.len());
        reasons.push(format!(
            "the table refers to {first}{more}, with `//`, `/./` or `/../` in it: which listed file is meant cannot be told"
        ));
    }
    if !facts.references.keys().any(|location| is_within(location, &facts.location)) {
        reasons.push(format!("the table refers to nothing below its location {}", facts.location));
    }
    reasons
}

/// The others of so many of which one is named.
fn and_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        count => format!(" and {} more", count - 1),
    }
}

/// Why an object is kept; `None` for an orphan.
fn keep(facts: &Facts, decoded: &HashSet<String>, object: &Listed, cutoff: Timestamp) -> Option<String> {
    let location = object.location.as_str();
    let Some(path) = below(location, &facts.location) else {
        return Some("outside of the table's location".to_owned());
    };
    if let Some(kind) = facts.references.get(location) {
        return Some(format!("the table refers to it: {kind}"));
    }
    // Some writers name `a%20b` what lies there as `a b`, or the other way round.
    if decoded.contains(location)
        || percent_decoded(location).is_some_and(|plain| facts.references.contains_key(&plain))
    {
        return Some("the table refers to it, percent-encoded".to_owned());
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

/// A part of the path is one that systems read differently.
fn is_odd(location: &str) -> bool {
    let path = &location[authority(location).len()..];
    path.split('/').skip(1).any(|part| matches!(part, "" | "." | ".."))
}

/// The location with what stands for each `%xx`; `None` when there is nothing of the kind, or no text comes of it.
fn percent_decoded(location: &str) -> Option<String> {
    let mut parts = location.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    let mut is_encoded = false;
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                decoded.extend_from_slice(&part.as_bytes()[2..]);
                is_encoded = true;
            }
            None => {
                decoded.push(b'%');
                decoded.extend_from_slice(part.as_bytes());
            }
        }
    }
    is_encoded.then(|| String::from_utf8(decoded).ok()).flatten()
}

/// Scheme and bucket: what locations must share to be compared.
fn authority(location: &str) -> &str {
    let end = location.find("://").map_or(0, |at| at + 3);
    let path = location[end..].find('/').map_or(location.len(), |at| end + at);
    &location[..path]
}

#[cfg(test)]
mod tests;
