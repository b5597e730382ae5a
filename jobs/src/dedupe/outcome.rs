//! What execution found, in the words of the run report.

use std::collections::BTreeMap;

use engine::dedupe::Batch;

use crate::report::{Quality, Reject, Report, Rows};

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
            observed: check.observed.unwrap_or(f64::NAN),
            expected: check.expected.clone(),
        })
        .collect();
}
