//! Commits groups that are ready. One that another writer was quicker with is taken out, and the others land.

use std::collections::BTreeMap;

use lake::{
    Change, ChangeKind, CommitError, CommitOptions, Committed, Conflict, TOMBSTONES_PROPERTY, Table, discard_staged,
};

use super::apply::{Apply, Run, Staged};
use crate::{
    error::Result,
    report::{Compacted, Inputs, Report, Status},
};

impl Apply<'_> {
    /// Commits what is staged, without the groups that another writer was quicker with.
    pub(super) async fn commit(&mut self, run: &mut Run<'_>, report: &mut Report) -> Result<()> {
        let lake = self.job.lake().await?;
        let options = CommitOptions::default();
        loop {
            let change = self.change(run, report);
            if change.removed.is_empty() && change.removed_deletes.is_empty() {
                return Ok(());
            }
            self.parts += 1;
            match lake::commit(lake, run.table, &change, &self.job.commit_inputs(), &options).await {
                Ok(committed) => {
                    describe(&change, &committed, &run.staged, report);
                    let removed = change.removed.into_iter().chain(change.removed_deletes).map(|gone| gone.path);
                    run.gone.extend(removed);
                    run.staged.clear();
                    return Ok(());
                }
                Err(lake::Error::Commit(CommitError::Conflict { conflict, retry_plan: true, .. })) => {
                    tracing::info!(table.name = %run.table.name, %conflict, "another writer was quicker");
                    let dropped = run.drop_lost(&conflict);
                    report.compaction.get_or_insert_default().groups_lost += dropped.len() as u64;
                    discard(run, dropped).await;
                }
                Err(error) => {
                    if matches!(&error, lake::Error::Commit(CommitError::OutcomeUnknown { .. })) {
                        // They may be part of the table.
                        run.staged.clear();
                    }
                    return Err(error.into());
                }
            }
        }
    }

    fn change(&self, run: &Run<'_>, report: &Report) -> Change {
        let removed: Vec<_> = run.staged.iter().flat_map(|(_, rewritten)| rewritten.removed.clone()).collect();
        let removed_deletes = if run.drops_deletes {
            let before = run.gone.iter().map(String::as_str);
            let gone = before.chain(removed.iter().map(|gone| gone.path.as_str())).collect();
            let dangling = run.reader.live().dangling_deletes(&gone);
            dangling.into_iter().filter(|delete| !run.gone.contains(&delete.path)).collect()
        } else {
            Vec::new()
        };
        Change {
            added: run.staged.iter().flat_map(|(_, rewritten)| rewritten.added.clone()).collect(),
            removed,
            removed_deletes,
            summary: self.summary(run.table, report),
            ..Change::new(run.table, ChangeKind::Replace)
        }
    }

    /// What a snapshot of this run says of it.
    pub(super) fn summary(&self, table: &Table, report: &Report) -> BTreeMap<String, String> {
        let mut summary = BTreeMap::from([
            ("etl.run-id".to_owned(), report.run_id.clone()),
            ("etl.job".to_owned(), report.job.clone()),
            ("etl.part".to_owned(), self.parts.to_string()),
        ]);
        // For the expiry of snapshots: a tombstone file goes with the last of them that names it.
        let tombstones = table.metadata.properties().get(TOMBSTONES_PROPERTY);
        summary.extend(tombstones.map(|at| (TOMBSTONES_PROPERTY.to_owned(), at.clone())));
        summary
    }
}

impl Run<'_> {
    /// Takes out of what is staged whatever the conflict speaks of: a group, the delete files, or all.
    fn drop_lost(&mut self, conflict: &Conflict) -> Vec<Staged> {
        let file = match conflict {
            Conflict::DeleteForReplaced { file, .. } | Conflict::ReplacedGone { file } => Some(file),
            _ => None,
        };
        let has = |(_, rewritten): &Staged| rewritten.removed.iter().any(|gone| Some(&gone.path) == file);
        let dropped: Vec<Staged> = match self.staged.iter().position(has) {
            Some(index) => vec![self.staged.swap_remove(index)],
            // A delete file that another compaction has removed, or that is needed again.
            None if self.drops_deletes && (file.is_some() || matches!(conflict, Conflict::DeleteNeeded { .. })) => {
                self.drops_deletes = false;
                Vec::new()
            }
            None => {
                self.drops_deletes = false;
                std::mem::take(&mut self.staged)
            }
        };
        self.lost.extend(dropped.iter().map(|(partition, _)| partition.clone()));
        dropped
    }
}

/// Takes staged files back.
pub(super) async fn discard(run: &Run<'_>, staged: Vec<Staged>) {
    let locations: Vec<String> = staged.iter().flat_map(|(_, rewritten)| rewritten.locations()).collect();
    if !locations.is_empty() {
        discard_staged(&run.table.storage, &run.table.name, locations).await;
    }
}

fn describe(change: &Change, committed: &Committed, staged: &[Staged], report: &mut Report) {
    report.status = Status::Committed;
    report.commit_retries += committed.retries;
    let output = &mut report.output;
    output.snapshot_after = committed.snapshot_id;
    output.metadata_location = Some(committed.metadata_location.clone());
    output.files_added += change.added.len() as u64;
    output.files_removed += change.removed.len() as u64;
    let Inputs { files, bytes, rows } = &mut report.inputs;
    let compaction: &mut Compacted = report.compaction.get_or_insert_default();
    compaction.commits += 1;
    compaction.groups += staged.len() as u64;
    compaction.delete_files_removed += change.removed_deletes.len() as u64;
    for (_, rewritten) in staged {
        *files += rewritten.removed.len() as u64;
        *bytes += rewritten.bytes_before;
        *rows += rewritten.rows_before;
        output.bytes_written += rewritten.bytes_after;
        compaction.bytes_removed += rewritten.bytes_before;
        compaction.rows += rewritten.rows_after;
        compaction.rows_deleted += rewritten.rows_before - rewritten.rows_after;
        compaction.rows_copied += rewritten.rows_copied;
    }
}
