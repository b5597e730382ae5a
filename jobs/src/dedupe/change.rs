//! What a run has staged, described as the table's next version.

use std::collections::BTreeMap;

use engine::dedupe::tombstones;
use lake::{Change, ChangeKind, LedgerEntry, Removal, SchemaUpdate, SeenFiles, StagedFile, Table, spec};
use plan::dedupe::Seen;

use super::apply::Apply;
use crate::{outcome::rows_by_outcome, report::Report};

/// What execution left to be committed.
pub struct Staged {
    /// Data files to add.
    pub added: Vec<spec::DataFile>,
    /// Position delete files to add.
    pub added_deletes: Vec<StagedFile>,
    /// Files to remove.
    pub removed: Vec<Removal>,
    /// Files that the position deletes point into.
    pub referenced: Vec<String>,
    /// Where the batch's keys may lie.
    pub key_scope: lake::KeyScope,
    /// New location of the tombstones, when they changed.
    pub tombstones: Option<String>,
    /// A new shape of the table.
    pub schema_update: Option<SchemaUpdate>,
}

impl Staged {
    /// Everything that was staged, to be taken back.
    pub fn locations(&self) -> Vec<String> {
        let files = self.added.iter().chain(self.added_deletes.iter().map(|file| &file.data_file));
        files.map(|file| file.file_path().to_owned()).chain(self.tombstones.clone()).collect()
    }
}

impl Apply<'_> {
    /// The next version of the table.
    pub fn change(&self, table: &Table, staged: Staged, report: &Report) -> Change {
        let no_files = staged.added.is_empty() && staged.added_deletes.is_empty() && staged.removed.is_empty();
        let kind = match (no_files, self.contract.key.is_empty()) {
            (true, _) => ChangeKind::MetadataOnly,
            (false, true) => ChangeKind::Append,
            (false, false) => ChangeKind::Merge,
        };
        let spec_id = table.metadata.default_partition_spec().spec_id();
        let mut summary = BTreeMap::from([
            ("etl.run-id".to_owned(), report.run_id.clone()),
            ("etl.job".to_owned(), report.job.clone()),
            ("etl.input-digest".to_owned(), self.plan.input_digest.clone()),
        ]);
        if let Some(interval) = &self.plan.interval {
            summary.insert("etl.interval".to_owned(), interval.to_string());
        }
        let rows = rows_by_outcome(&report.rows);
        // For the expiry of snapshots: a tombstone file goes with the last of them that names it.
        let tombstones = staged.tombstones.as_ref().or_else(|| table.metadata.properties().get(tombstones::PROPERTY));
        summary.extend(tombstones.map(|at| (tombstones::PROPERTY.to_owned(), at.clone())));
        summary.extend(rows.iter().map(|(outcome, count)| (format!("etl.rows.{outcome}"), count.to_string())));
        let expected_marks = &self.plan.expected_marks;
        Change {
            added: staged.added.into_iter().map(|data_file| StagedFile { data_file, spec_id }).collect(),
            added_deletes: staged.added_deletes,
            removed: staged.removed,
            referenced: staged.referenced,
            key_scope: (kind == ChangeKind::Merge).then_some(staged.key_scope),
            schema_update: staged.schema_update,
            ledger_entry: Some(self.ledger_entry(report, rows)),
            expected_marks: expected_marks
                .iter()
                .map(|(start, mark)| (start.to_string(), mark.as_ref().map(ToString::to_string)))
                .collect(),
            properties: staged.tombstones.map(|at| (tombstones::PROPERTY.to_owned(), at)).into_iter().collect(),
            summary,
            ..Change::new(table, kind)
        }
    }

    fn ledger_entry(&self, report: &Report, rows: BTreeMap<String, u64>) -> LedgerEntry {
        LedgerEntry {
            run_id: report.run_id.clone(),
            job: report.job.clone(),
            interval_start: self.plan.interval.as_ref().map(|interval| interval.start()),
            interval_end: self.plan.interval.as_ref().map(|interval| interval.end()),
            input_digest: self.plan.input_digest.clone(),
            contract_digest: self.plan.contract_digest.clone(),
            snapshot_id: None,
            committed_at: None,
            rows,
            partitions: self.plan.marks.iter().map(|(start, mark)| (start.to_string(), mark.to_string())).collect(),
            seen: self.plan.seen.clone().map(|Seen { at, until, files }| SeenFiles { at, until, files }),
            forgotten: None,
        }
    }
}
