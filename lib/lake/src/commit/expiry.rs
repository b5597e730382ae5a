//! Forgetting snapshots and refs: what of the metadata goes with them, and what another writer may not have changed.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{SnapshotReference, TableMetadata};
use serde_json::Value;

use super::Conflict;
use crate::{
    Change, Expiry, Table,
    table::{ancestors, refs},
};

/// Properties that decide whether and which snapshots expire begin so.
const RETENTION_PROPERTIES: [&str; 2] = ["gc.", "history.expire."];

/// What keeps snapshots is not what the plan saw. Branches that moved forward, and new snapshots, change nothing: what was
/// old enough to go still is.
pub(super) fn retention_conflict(planned: &Table, current: &Table, change: &Change) -> Option<Conflict> {
    let expiry = change.expiry.as_ref()?;
    let conflict = |what: String| Some(Conflict::RetentionChanged { what });
    if properties(&planned.metadata) != properties(&current.metadata) {
        return conflict("the table's properties".to_owned());
    }
    let expired: HashSet<i64> = expiry.snapshot_ids.iter().copied().collect();
    let before = refs(&planned.metadata);
    for (name, now) in refs(&current.metadata) {
        let is_as_planned = match before.get(&name) {
            Some(then) if expiry.refs.contains(&name) => *then == now,
            Some(then) => {
                then.retention == now.retention
                    && is_forward(&current.metadata, then, &now)
                    && (then.snapshot_id == now.snapshot_id || !expired.contains(&now.snapshot_id))
            }
            None => false,
        };
        if !is_as_planned {
            return conflict(format!("ref {name}"));
        }
    }
    None
}

/// A snapshot that must not go, with what holds it: the plan is wrong.
pub(super) fn held(metadata: &TableMetadata, expiry: &Expiry) -> Option<String> {
    let kept = refs(metadata).into_iter().filter(|(name, _)| !expiry.refs.contains(name));
    let heads = kept.map(|(name, of)| (format!("ref {name}"), of.snapshot_id));
    let current = metadata.current_snapshot_id().map(|id| ("the table as its current one".to_owned(), id));
    let (by, id) = current.into_iter().chain(heads).find(|(_, id)| expiry.snapshot_ids.contains(id))?;
    Some(format!("it makes snapshot {id} expire, which is held by {by}"))
}

fn properties(metadata: &TableMetadata) -> BTreeMap<&String, &String> {
    let decides = |name: &String| RETENTION_PROPERTIES.iter().any(|prefix| name.starts_with(prefix));
    metadata.properties().iter().filter(|(name, _)| decides(name)).collect()
}

/// The ref stands where it stood, or at a snapshot made on top of that.
fn is_forward(metadata: &TableMetadata, then: &SnapshotReference, now: &SnapshotReference) -> bool {
    ancestors(metadata, now.snapshot_id).any(|snapshot| snapshot.snapshot_id() == then.snapshot_id)
}

/// Takes snapshots and refs out of a metadata document, and what speaks of them.
pub(super) fn forget(document: &mut Value, expiry: &Expiry) {
    let gone: HashSet<i64> = expiry.snapshot_ids.iter().copied().collect();
    let is_gone = |item: &Value| item["snapshot-id"].as_i64().is_some_and(|id| gone.contains(&id));
    for list in ["snapshots", "statistics", "partition-statistics"] {
        if let Some(items) = document.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| !is_gone(item));
        }
    }
    if let Some(refs) = document.get_mut("refs").and_then(Value::as_object_mut) {
        refs.retain(|name, _| !expiry.refs.contains(name));
    }
    // With a gap, what came before it would seem to have been current until what came after.
    if let Some(log) = document.get_mut("snapshot-log").and_then(Value::as_array_mut)
        && let Some(last) = log.iter().rposition(is_gone)
    {
        log.drain(..=last);
    }
}

/// Whether nothing of it is left in the table.
pub(super) fn is_forgotten(metadata: &TableMetadata, expiry: &Expiry) -> bool {
    let refs = refs(metadata);
    expiry.snapshot_ids.iter().all(|id| metadata.snapshot_by_id(*id).is_none())
        && !expiry.refs.iter().any(|name| refs.contains_key(name))
}
