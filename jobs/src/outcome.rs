//! What execution found and a commit did, in the words of the run report.

use std::collections::BTreeMap;

use engine::dedupe::Batch;
use lake::{Change, ChangeKind, Committed};

use crate::report::{Quality, Reject, Report, Rows, Status};

/// The balance as ledger and snapshot have it.
pub fn rows_by_outcome(rows: &Rows) -> BTreeMap<String, u64> {
    [
        ("read", rows.read),
        ("invalid", rows.invalid),
        ("duplicate", rows.duplicate),
        ("stale", rows.stale),
        ("unchanged", rows.unchanged),
        ("inserted", rows.inserted),
        ("updated", rows.updated),
    ]
    .into_iter()
    .map(|(outcome, count)| (outcome.to_owned(), count))
    .collect()
}

/// Puts what the batch amounted to into the report.
pub fn describe(batch: &Batch, report: &mut Report) {
    let balance = &batch.balance;
    report.inputs.rows = balance.read;
    report.rows = Rows {
        read: balance.read,
        invalid: balance.invalid,
        duplicate: balance.duplicate,
        stale: balance.stale,
        unchanged: balance.unchanged,
        inserted: balance.inserted,
        updated: balance.updated,
    };
    report.rejects = batch
        .rejects
        .iter()
        .map(|reject| Reject { rule: reject.rule.clone(), count: reject.count, sample: reject.sample.clone() })
        .collect();
    report.quality = batch
        .quality
        .iter()
        .map(|check| Quality {
            rule: check.rule.clone(),
            severity: check.severity.to_owned(),
            passed: check.passed,
            observed: check.observed.filter(|number| number.is_finite()),
            expected: check.expected.clone(),
        })
        .collect();
}

/// The change is the table's new version.
pub fn committed(change: &Change, committed: &Committed, report: &mut Report) {
    report.status = Status::Committed;
    let output = &mut report.output;
    output.snapshot_before = committed.snapshot_before;
    output.snapshot_after = committed.snapshot_id;
    output.metadata_location = Some(committed.metadata_location.clone());
    output.files_added = change.added.len() as u64;
    output.files_removed = change.removed.len() as u64;
    output.delete_files_added = change.added_deletes.len() as u64;
    output.bytes_written =
        change.added.iter().chain(&change.added_deletes).map(|file| file.data_file.file_size_in_bytes()).sum();
    report.schema_changes = change.schema_update.iter().flat_map(|update| update.descriptions.clone()).collect();
    if change.kind == ChangeKind::MetadataOnly {
        report.reason = Some("no row changed".to_owned());
    }
}
