//! From joined rows to staged files: new rows are held against the contract and written, and the rows that they replace
//! leave their files.

use std::{collections::HashMap, sync::Arc};

use arrow::array::RecordBatch;
use datafusion::{dataframe::DataFrame, physical_plan::execute_stream, prelude::SessionContext};
use futures::TryStreamExt;
use lake::{DataFileEntry, KeyScope, spec::DataFile};

use super::{
    Merge,
    join::{self, KeyBounds},
    refused,
    statement::Statement,
    tally::{Taken, Tally},
};
use crate::{
    Error, Result,
    curated::{CuratedTable, RowOptions, sql_error},
    dedupe::{Balance, Outcome, Touched, TouchedFile, datum_of},
    types::arrow_schema,
    writer::{TableWriter, TableWriterOptions},
};

/// Carries a statement out over the rows of its source. After an error nothing that was staged is left behind, as far as
/// it can be deleted.
pub async fn stage(
    merge: &Merge,
    table: &Arc<CuratedTable>,
    statement: &Statement,
    source: Vec<RecordBatch>,
) -> Result<Outcome> {
    // Operators work at the same time.
    let memory_bytes = merge.writer.memory_bytes / 2;
    let writer = Arc::new(TableWriter::new(TableWriterOptions { memory_bytes, ..merge.writer.clone() })?);
    let staged = stage_into(&writer, merge, table, statement, source).await;
    if matches!(staged, Ok(Outcome::Staged { .. })) {
        return staged;
    }
    let cause = writer.failure();
    if let Err(error) = writer.abort().await {
        tracing::warn!(%error, "failed to remove staged files");
    }
    match staged {
        Err(Error::Stopped) => Err(Error::Stopped),
        Err(error) => Err(cause.unwrap_or(error)),
        closed => closed,
    }
}

async fn stage_into(
    writer: &Arc<TableWriter>,
    merge: &Merge,
    table: &Arc<CuratedTable>,
    statement: &Statement,
    source: Vec<RecordBatch>,
) -> Result<Outcome> {
    let failed = |error| sql_error(&merge.session, "merge", error);
    let schema = arrow_schema(&merge.schema)?;
    let bounds = join::key_bounds(statement, &schema, &source).map_err(failed)?;
    let mut tally = Tally::new(merge, statement, &schema, source.iter().map(RecordBatch::num_rows).sum())?;
    let pairs = join::plan(statement, table, &source, &bounds).map_err(failed)?;
    drop(source);
    let write = async {
        let mut state = merge.session.context().state();
        // A pair has the table's row twice: as it was, and as it becomes.
        let batch_rows = merge.session.batch_rows(table.row_bytes() * 2);
        *state.config_mut() = state.config().clone().with_batch_size(batch_rows);
        let context = SessionContext::new_with_state(state);
        let plan = DataFrame::new(context.state(), pairs).create_physical_plan().await.map_err(failed)?;
        let mut pairs = execute_stream(Arc::clone(&plan), context.task_ctx()).map_err(failed)?;
        while let Some(batch) = pairs.try_next().await.map_err(failed)? {
            writer.write(tally.add(&batch)?).await?;
        }
        merge.session.ended(&plan);
        Ok(())
    };
    merge.stop.unless(write).await?;
    let (batch, taken) = tally.finish()?;
    if batch.balance.invalid > 0 {
        let rules: Vec<_> = batch.rejects.iter().map(|reject| format!("{} {}", reject.rule, reject.count)).collect();
        let reason = format!("{} rows would break the contract: {}", batch.balance.invalid, rules.join(", "));
        return Ok(Outcome::GateClosed { batch, reasons: vec![reason] });
    }

    let touched = merge.stop.unless(touched_files(merge, taken)).await?;
    let touched = Touched::decide(merge.contract.merge_mode, Some(&merge.table), touched);
    let threads = merge.session.options().threads;
    let survivors = merge.stop.unless(touched.rewrite(&merge.table, &schema, writer, threads)).await?;
    let added = merge.stop.unless(writer.close()).await?;
    let written: u64 = added.iter().map(DataFile::record_count).sum();
    let expected = survivors + changed_rows(&batch.balance);
    if written != expected {
        return Err(Error::Balance { read: expected, accounted: written });
    }
    let added_deletes = touched.write_deletes(&merge.delete_options()).await?;
    Ok(Outcome::Staged {
        batch,
        added,
        added_deletes,
        removed: touched.removals(),
        referenced: touched.referenced(),
        key_scope: key_scope(merge, statement, &bounds),
        tombstones: None,
    })
}

/// Rows that the statement itself writes.
fn changed_rows(balance: &Balance) -> u64 {
    balance.inserted + balance.updated - balance.deleted
}

/// The files of the table with rows that go.
async fn touched_files(merge: &Merge, mut taken: Taken) -> Result<Vec<TouchedFile>> {
    let live = &merge.table.live().data;
    let entries: HashMap<&str, &DataFileEntry> =
        live.iter().map(|entry| (entry.data_file.file_path(), entry)).collect();
    let mut touched = Vec::new();
    for (file, rows) in &mut taken {
        rows.sort_unstable();
        if rows.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(refused(
                "two rows of the source change the same row of the table: let the source have each key once",
            ));
        }
        let rows: Vec<u64> = rows.iter().filter(|(_, goes)| *goes).map(|(row, _)| *row).collect();
        let entry = entries.get(file.as_str()).ok_or_else(|| refused(format!("{file} is no file of the table")))?;
        if !rows.is_empty() {
            let live_rows = live_rows(merge, entry).await?;
            touched.push(TouchedFile { entry: (*entry).clone(), rows, live_rows });
        }
    }
    touched.sort_by(|one, other| one.entry.data_file.file_path().cmp(other.entry.data_file.file_path()));
    Ok(touched)
}

async fn live_rows(merge: &Merge, entry: &DataFileEntry) -> Result<u64> {
    if !merge.table.has_deletes(entry) {
        return Ok(entry.data_file.record_count());
    }
    let batches = merge.table.read(entry, &[], RowOptions::default());
    batches.try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows() as u64) }).await
}

/// Where rows lie that another writer must not have added meanwhile.
fn key_scope(merge: &Merge, statement: &Statement, bounds: &[KeyBounds]) -> KeyScope {
    let datum = |of: &KeyBounds| {
        let field = merge.schema.field_by_name(&of.column)?;
        let kind = field.field_type.as_primitive_type()?;
        Some((field.id, (datum_of(kind, &of.min)?, datum_of(kind, &of.max)?)))
    };
    // Rows that nobody's source matches may be anywhere.
    let is_anywhere = statement.takes_unmatched_rows();
    KeyScope {
        spec_id: merge.partition_spec.spec_id(),
        partitions: None,
        bounds: bounds.iter().filter(|_| !is_anywhere).filter_map(datum).collect(),
    }
}
