//! What is known of a table's snapshots and refs before the decision, and how the decision is counted.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lake::{
    Table,
    spec::{Snapshot, SnapshotReference, SnapshotRetention},
};
use plan::expire::{Action, Facts, RefFacts, RefKind, Request, SnapshotFacts, Verdicts};

use crate::{
    error::{JobError, Kind, Result},
    report::{SnapshotReason, Snapshots},
};

/// The facts of a table as it was read.
pub fn facts(table: &Table, request: Request, now: Timestamp) -> Result<Facts> {
    let metadata = &table.metadata;
    let mut refs: BTreeMap<_, _> = table.refs().iter().map(|(name, of)| (name.clone(), ref_facts(of))).collect();
    // Tables of engines that know no refs have a current snapshot alone.
    if let Some(snapshot_id) = metadata.current_snapshot_id() {
        let kind = RefKind::Branch { snapshots_min: None, snapshot_age_max_ms: None };
        refs.entry("main".to_owned()).or_insert(RefFacts { snapshot_id, kind, ref_age_max_ms: None });
    }
    Ok(Facts {
        table: table.name.clone(),
        request,
        snapshots: metadata.snapshots().map(|snapshot| snapshot_facts(table, snapshot)).collect::<Result<_>>()?,
        refs,
        properties: metadata.properties().clone().into_iter().collect(),
        now,
    })
}

fn snapshot_facts(table: &Table, snapshot: &Snapshot) -> Result<SnapshotFacts> {
    let (snapshot_id, ms) = (snapshot.snapshot_id(), snapshot.timestamp_ms());
    let committed_at = Timestamp::from_millisecond(ms).map_err(|error| {
        JobError::new(Kind::Failed, format!("snapshot {snapshot_id} of {} has no possible time: {error}", table.name))
    })?;
    Ok(SnapshotFacts { snapshot_id, parent_id: snapshot.parent_snapshot_id(), committed_at })
}

fn ref_facts(of: &SnapshotReference) -> RefFacts {
    let (kind, ref_age_max_ms) = match of.retention {
        SnapshotRetention::Branch { min_snapshots_to_keep, max_snapshot_age_ms, max_ref_age_ms } => (
            RefKind::Branch { snapshots_min: min_snapshots_to_keep, snapshot_age_max_ms: max_snapshot_age_ms },
            max_ref_age_ms,
        ),
        SnapshotRetention::Tag { max_ref_age_ms } => (RefKind::Tag, max_ref_age_ms),
    };
    RefFacts { snapshot_id: of.snapshot_id, kind, ref_age_max_ms }
}

/// The verdicts by their reasons, for the report.
pub fn counts(verdicts: &Verdicts) -> Snapshots {
    let mut counts = Snapshots::default();
    for snapshot in &verdicts.snapshots {
        match snapshot.action {
            Action::Keep => counts.kept += 1,
            Action::Expire => counts.expired += 1,
        }
    }
    for action in [Action::Keep, Action::Expire] {
        let reason = |(reason, snapshots): (&str, u64)| SnapshotReason { action, reason: reason.to_owned(), snapshots };
        counts.reasons.extend(verdicts.reasons(action).into_iter().map(reason));
    }
    let dropped = verdicts.refs.iter().filter(|of| of.action == Action::Expire);
    counts.refs_expired = dropped.map(|of| format!("{} {}", of.kind, of.name)).collect();
    counts
}
