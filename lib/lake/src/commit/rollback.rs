//! Going back: an ancestor of the head becomes the current snapshot again, as Spark's `rollback_to_snapshot` does it.
//! Snapshots after it stay in the table, outside of its history, until they expire.

use iceberg::spec::TableMetadata;
use serde_json::{Value, json};

use super::Conflict;
use crate::{Change, Rollback, Table, table::ancestors};

/// What was planned to be undone is not what came after the snapshot: another writer was there, or the snapshot is gone.
pub(super) fn rollback_conflict(planned: &Table, current: &Table, change: &Change) -> Option<Conflict> {
    let rollback = change.rollback.as_ref()?;
    let head = current.metadata.current_snapshot_id();
    if head != change.base_snapshot_id {
        return Some(Conflict::HeadMoved { planned: change.base_snapshot_id, found: head });
    }
    let is_ancestor = |id| ancestors(&current.metadata, id).any(|of| of.snapshot_id() == rollback.snapshot_id);
    if !head.is_some_and(is_ancestor) {
        return Some(Conflict::BaseNotInHistory { base: Some(rollback.snapshot_id) });
    }
    let (then, now) = (planned.refs(), current.refs());
    let moved = now.iter().find(|(name, of)| then.get(*name).is_none_or(|then| then.snapshot_id != of.snapshot_id));
    if let Some((name, _)) = moved {
        return Some(Conflict::RetentionChanged { what: format!("ref {name}") });
    }
    let value = |table: &Table, name: &String| table.metadata.properties().get(name).cloned();
    let name = rollback.removed_properties.iter().find(|name| value(planned, name) != value(current, name))?;
    Some(Conflict::PropertyChanged { name: name.clone() })
}

/// Makes the snapshot current in a metadata document.
pub(super) fn roll_back(document: &mut Value, rollback: &Rollback) {
    document["current-snapshot-id"] = rollback.snapshot_id.into();
    document["refs"]["main"]["snapshot-id"] = rollback.snapshot_id.into();
    if let Some(properties) = document.get_mut("properties").and_then(Value::as_object_mut) {
        properties.retain(|name, _| !rollback.removed_properties.contains(name));
    }
}

/// The line of the log that says when the snapshot became current again.
pub(super) fn log_entry(rollback: &Rollback, now_ms: i64) -> Value {
    json!({"snapshot-id": rollback.snapshot_id, "timestamp-ms": now_ms})
}

/// Whether the table went back as `next` does, whatever came after it.
pub(super) fn is_rolled_back(metadata: &TableMetadata, next: &TableMetadata) -> bool {
    next.history().last().is_some_and(|ours| metadata.history().contains(ours))
}
