//! What holds after each operation, whatever it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    super::{
        equal,
        version::{Snapshot, Version},
    },
    DELETED, PLACE, World,
    drawn::{Classes, Operation},
};
use crate::{memory::Object, model::Row};

/// The age from which a raw file may be archived, and from which a curated one may.
const ARCHIVED_HOURS: i64 = 90 * 24;

/// A lake between two operations.
pub struct Seen {
    pub version: Option<Arc<Version>>,
    pub objects: BTreeMap<String, Object>,
}

impl Seen {
    pub fn of(world: &mut World<'_>) -> Result<Self, String> {
        let version = match world.pointer() {
            Some(pointer) => Some(world.versions.at(&pointer.metadata_location)?),
            None => None,
        };
        Ok(Self { version, objects: world.memory.objects() })
    }

    /// Snapshots that nothing keeps: no tag, no branch among its last ones, no youth.
    pub fn expired(&self, cutoff: Timestamp, last: usize, main_is_ahead: bool) -> BTreeSet<i64> {
        let Some(version) = &self.version else { return BTreeSet::new() };
        let is_young = |snapshot: &Snapshot| snapshot.committed_ms >= cutoff.as_millisecond();
        let mut kept = BTreeSet::new();
        for (name, of) in version.document["refs"].as_object().into_iter().flatten() {
            let mut next = of["snapshot-id"].as_i64();
            let mut count = usize::from(main_is_ahead && name == "main");
            while let Some((id, snapshot)) = next.and_then(|id| Some((id, version.snapshots.get(&id)?))) {
                if count > 0 && (of["type"] == "tag" || (count >= last && !is_young(snapshot))) {
                    break;
                }
                kept.insert(id);
                count += 1;
                next = snapshot.parent;
            }
        }
        version.snapshots.keys().copied().filter(|id| !kept.contains(id)).collect()
    }
}

/// What only expired snapshots needed is gone with them.
pub fn freed(before: &Seen, after: &Seen) -> Result<(), String> {
    let (Some(before), Some(version)) = (&before.version, &after.version) else { return Ok(()) };
    let (kept, needs) = (&version.snapshots, version.needs());
    let gone = before.snapshots.iter().filter(|(id, _)| !kept.contains_key(id));
    let is_left = |key: &&String| after.objects.contains_key(*key) && !needs.contains(key);
    let left: BTreeSet<_> = gone.flat_map(|(_, snapshot)| snapshot.needs()).filter(is_left).collect();
    equal("objects that only expired snapshots needed", &left, &BTreeSet::new())
}

impl World<'_> {
    /// The table has the model's rows; every snapshot that was not to expire is there and as it was; and everything that
    /// the table refers to is there.
    pub fn is_right(&mut self, before: &Seen, after: &Seen, expired: &BTreeSet<i64>) -> Result<(), String> {
        let Some(version) = &after.version else { return Ok(()) };
        let rows: Vec<Row> = self.model.rows.values().cloned().collect();
        let current = version.current.map(|id| &version.snapshots[&id]);
        equal("rows", &current.map_or(&[][..], Snapshot::rows), &&rows[..])?;
        for (id, snapshot) in &version.snapshots {
            // One that is new was made of the rows as they are now.
            let then = self.history.entry(*id).or_insert_with(|| rows.clone());
            equal(&format!("rows of snapshot {id}"), &snapshot.rows(), &&then[..])?;
        }
        let of = |seen: &Seen| -> BTreeSet<i64> {
            seen.version.iter().flat_map(|version| version.snapshots.keys().copied()).collect()
        };
        let kept: BTreeSet<i64> = of(before).difference(expired).copied().collect();
        let old: BTreeSet<i64> = of(after).intersection(&of(before)).copied().collect();
        equal("snapshots that are kept", &old, &kept)?;
        match version.needs().into_iter().find(|key| !after.objects.contains_key(*key)) {
            Some(missing) => Err(format!("{missing} is needed, and is not there")),
            None => Ok(()),
        }
    }

    /// Nothing that was deleted since was referred to by the table at that moment, or after the operation, or before it by a
    /// snapshot that was kept; and nothing of the table was written over.
    pub fn deletions(&mut self, from: usize, before: &Seen, after: &Seen) -> Result<(), String> {
        let record = self.memory.record();
        for deletion in &record.deletions[from..] {
            let key = &deletion.key;
            if !key.starts_with("warehouse/") {
                return Err(format!("{key} was deleted, which is nobody's"));
            }
            for location in deletion.tables.values() {
                if self.versions.at(location)?.needs().contains(key) {
                    return Err(format!("{key} was deleted, to which {location} referred then"));
                }
            }
            if let (Some(before), Some(after)) = (&before.version, &after.version) {
                let kept = before.snapshots.iter().filter(|(id, _)| after.snapshots.contains_key(id));
                let is_needed = kept.flat_map(|(_, snapshot)| snapshot.needs()).any(|needed| needed == key);
                if is_needed || after.needs().contains(key) {
                    return Err(format!("{key} was deleted, and a version before or after refers to it"));
                }
            }
        }
        DELETED.fetch_add((record.deletions.len() - from) as u64, Relaxed);
        let overwritten: Vec<_> = record.overwritten.iter().filter(|key| key.starts_with(PLACE)).collect();
        equal("objects of the table that were written over", &overwritten, &Vec::new())
    }

    /// What went to the archive was old and in the table, and is nothing that every read needs; and a tiering changes classes
    /// alone.
    pub fn classes(&self, before: &Seen, after: &Seen, operation: &Operation) -> Result<(), String> {
        for (key, _) in after.objects.iter().filter(|(_, object)| object.is_archived()) {
            if before.objects.get(key).is_some_and(Object::is_archived) {
                continue;
            }
            let taken = self.taken.iter().find(|(_, keys)| keys.contains(key));
            let current = after.version.as_ref().and_then(|version| Some(&version.snapshots[&version.current?]));
            let is_allowed = match taken {
                Some((hour, _)) => *hour + SignedDuration::from_hours(ARCHIVED_HOURS) < self.now,
                None => self.classes == Classes::All && current.is_some_and(|current| current.data().contains(key)),
            };
            equal(&format!("whether {key} may be archived"), &is_allowed, &true)?;
        }
        if matches!(operation, Operation::Tier | Operation::Restore) {
            let bytes = |seen: &Seen| -> Vec<_> {
                let table = seen.objects.iter().filter(|(key, _)| !key.contains("/.etl/"));
                table.map(|(key, object)| (key.clone(), object.etag.clone(), object.bytes.clone())).collect()
            };
            equal("objects but for their classes", &(bytes(before) == bytes(after)), &true)?;
        }
        Ok(())
    }

    /// After orphans are gone, everything old is needed.
    pub fn nothing_is_left(&self, after: &Seen, strays: &[(String, bool)]) -> Result<(), String> {
        let Some(version) = &after.version else { return Ok(()) };
        let (needs, cutoff) = (version.needs(), self.now - SignedDuration::from_hours(7 * 24));
        let is_left = |(key, object): &(&String, &Object)| {
            key.starts_with(PLACE) && object.modified < cutoff && !needs.contains(*key)
        };
        let left: Vec<_> = after.objects.iter().filter(is_left).map(|(key, _)| key).collect();
        equal("old objects that nothing refers to", &left, &Vec::new())?;
        for (key, is_old) in strays {
            equal(&format!("whether {key} is there"), &after.objects.contains_key(key), &!is_old)?;
        }
        Ok(())
    }
}
