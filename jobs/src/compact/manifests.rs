//! Rewrites manifests where that pays: after everything else, from the table as it is by then.

use contract::TableName;
use lake::{
    ChangeKind, CommitError, CommitOptions, Committed, Lake, ManifestSwap, Table, discard_staged, stage_manifests,
};
use plan::compact::{ManifestsPlan, decide_manifests};

use super::{REPLANS_MAX, apply::Apply};
use crate::{
    error::Result,
    report::{Report, Status},
};

impl Apply<'_> {
    /// Rewrites them in one commit. One that another writer changed meanwhile has the decision made again.
    pub async fn rewrite_manifests(&mut self, name: &TableName, report: &mut Report) -> Result<()> {
        for _ in 0..=REPLANS_MAX {
            let _step = self.job.program.progress.step(&name.to_string(), "looking at manifests");
            let interrupt = &self.job.program.interrupt;
            let Some(table) = interrupt.stops(self.job.lake().await?.table(name)).await?? else { return Ok(()) };
            let plan = decide_manifests(&interrupt.stops(table.manifests_facts()).await??, true);
            if plan.is_idle() {
                return Ok(());
            }
            tracing::debug!(table.name = %name, "{plan}");
            if !self.may_begin() {
                interrupt.check()?;
                report.warnings.push("manifests were not rewritten, for want of time: the next run does it".to_owned());
                return Ok(());
            }
            if self.rewrite(&table, &plan, report).await? {
                return Ok(());
            }
            tracing::info!(table.name = %name, "another writer changed manifests: deciding again");
        }
        let lost = "other writers kept changing the same manifests: the next run rewrites them";
        report.warnings.push(lost.to_owned());
        Ok(())
    }

    /// Whether it was done; not when another writer was quicker.
    async fn rewrite(&mut self, table: &Table, plan: &ManifestsPlan, report: &mut Report) -> Result<bool> {
        let lake = self.job.lake().await?;
        let mut written = Vec::new();
        let unique = (self.job.program.ids.random)();
        let staging = stage_manifests(table, &plan.rewrites, unique, &mut written);
        let done = match self.job.program.interrupt.stops(staging).await {
            Ok(Ok(swap)) => self.commit_manifests(lake, table, swap, report).await,
            Ok(Err(error)) => Err(error),
            Err(stopped) => {
                discard_staged(&table.storage, &table.name, written).await;
                return Err(stopped);
            }
        };
        match done {
            Ok(committed) => {
                describe(&committed, plan, written.len() as u64, report);
                Ok(true)
            }
            Err(error) => {
                // They may be part of the table.
                if !matches!(&error, lake::Error::Commit(CommitError::OutcomeUnknown { .. })) {
                    discard_staged(&table.storage, &table.name, written).await;
                }
                match error {
                    lake::Error::Commit(CommitError::Conflict { retry_plan: true, .. }) => Ok(false),
                    error => Err(error.into()),
                }
            }
        }
    }

    async fn commit_manifests(
        &mut self,
        lake: &Lake,
        table: &Table,
        swap: ManifestSwap,
        report: &Report,
    ) -> lake::Result<Committed> {
        self.parts += 1;
        let change = lake::Change {
            manifests: Some(swap),
            summary: self.summary(table, report),
            ..lake::Change::new(table, ChangeKind::Replace)
        };
        lake::commit(lake, table, &change, &self.job.commit_inputs(), &CommitOptions::default()).await
    }
}

fn describe(committed: &Committed, plan: &ManifestsPlan, written: u64, report: &mut Report) {
    report.status = Status::Committed;
    report.commit_retries += committed.retries;
    report.output.snapshot_after = committed.snapshot_id;
    report.output.metadata_location = Some(committed.metadata_location.clone());
    let compaction = report.compaction.get_or_insert_default();
    compaction.commits += 1;
    compaction.manifests_rewritten += plan.rewritten();
    compaction.manifests_written += written;
}
