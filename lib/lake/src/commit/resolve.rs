//! The swap, and finding out what became of it when its answer was lost.

use contract::TableName;

use super::{expiry::is_forgotten, rollback::is_rolled_back, run::Pace, snapshot::NextVersion};
use crate::{
    Change, ChangeKind, Error, Lake, Ledger, Operation, Table,
    catalog::{Pointer, Swap},
};

/// How a swap ended, once everything that can be known is.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The version is the table's, or was before others went on from it.
    Committed,
    /// Another writer was first, and ours can no longer happen.
    Lost,
    /// Refused for good.
    Rejected(Error),
    /// The table is gone from its catalog; whether ours was its last version does not matter any more.
    Gone,
    /// Time is over.
    Unknown(Error),
}

/// Swaps the pointer from `current` to `next`.
///
/// Once an answer is lost only the table itself is believed: a conflict answered to a repetition may be our own success,
/// and a refusal of a repetition says nothing of the first request.
pub(super) async fn swap(
    lake: &Lake,
    current: &Table,
    next: &NextVersion,
    change: &Change,
    pace: &mut Pace<'_>,
) -> Outcome {
    let mut lost_answer = None;
    loop {
        let answer = send(lake, &current.name, &current.pointer, next, pace).await;
        match (answer, &lost_answer) {
            (Swap::Committed, _) => return Outcome::Committed,
            (Swap::Conflict, None) => return Outcome::Lost,
            (Swap::Rejected(error), None) => return Outcome::Rejected(error),
            (Swap::Conflict, Some(_)) => {}
            (Swap::Rejected(error) | Swap::Unknown(error), _) => {
                tracing::warn!(table.name = %current.name, error = &error as &dyn std::error::Error, "the swap's answer was lost");
                lost_answer = Some(error);
            }
        }
        match find_out(lake, current, next, change, pace).await {
            Found::Ours => return Outcome::Committed,
            Found::Absent => return Outcome::Lost,
            Found::Gone => return Outcome::Gone,
            Found::Unchanged if pace.wait().await => {}
            Found::Unchanged => {
                let error = lost_answer.expect("the table is only asked after an answer was lost");
                return Outcome::Unknown(error);
            }
            Found::Nothing(error) => return Outcome::Unknown(error),
        }
    }
}

/// One request. What has not ended at the deadline may still happen.
async fn send(lake: &Lake, table: &TableName, expected: &Pointer, next: &NextVersion, pace: &Pace<'_>) -> Swap {
    let request = lake.catalog.swap(table, expected, &next.metadata_location, &next.metadata);
    tokio::time::timeout_at(pace.deadline, request)
        .await
        .unwrap_or_else(|elapsed| Swap::Unknown(no_answer(table, elapsed)))
}

fn no_answer(table: &TableName, elapsed: tokio::time::error::Elapsed) -> Error {
    Error::Unavailable { operation: Operation::Update, location: table.to_string(), source: Box::new(elapsed) }
}

/// What the table says of our version.
#[derive(Debug)]
enum Found {
    /// It is there.
    Ours,
    /// It is not, and the token that fences it has changed.
    Absent,
    /// Nothing has changed: our request may still be on its way.
    Unchanged,
    /// There is no such table.
    Gone,
    /// The table could not be read until the deadline.
    Nothing(Error),
}

/// Reads the table until it says what became of our version.
async fn find_out(lake: &Lake, current: &Table, next: &NextVersion, change: &Change, pace: &mut Pace<'_>) -> Found {
    loop {
        let error = match lake.catalog.load(&current.name).await {
            Ok(None) => return Found::Gone,
            Ok(Some(pointer)) if pointer.metadata_location == next.metadata_location => return Found::Ours,
            Ok(Some(pointer)) if pointer == current.pointer => return Found::Unchanged,
            Ok(Some(pointer)) => match Table::open(&lake.storage, &current.name, pointer).await {
                Ok(table) if holds(&table, next, change) => return Found::Ours,
                Ok(_) => return Found::Absent,
                Err(error) => error,
            },
            Err(error) => error,
        };
        if !pace.wait().await {
            return Found::Nothing(error);
        }
    }
}

/// Whether the table's version is ours or grew out of it. The metadata log alone does not say: it is capped.
pub(super) fn is_part_of(table: &Table, next: &NextVersion) -> bool {
    let metadata = &table.metadata;
    let is_current = table.pointer.metadata_location == next.metadata_location;
    let logged = metadata.metadata_log().iter().any(|entry| entry.metadata_file == next.metadata_location);
    is_current || logged || next.snapshot_id.is_some_and(|id| metadata.snapshot_by_id(id).is_some())
}

/// The same, for a version whose names may have gone by now: its run or its effect are witnesses too.
fn holds(table: &Table, next: &NextVersion, change: &Change) -> bool {
    let in_ledger = change.ledger_entry.as_ref().is_some_and(|entry| {
        Ledger::parse(&table.metadata).is_ok_and(|ledger| ledger.runs.iter().any(|run| run.run_id == entry.run_id))
    });
    is_part_of(table, next) || in_ledger || has_effect(table, next, change)
}

/// A change that leaves no name behind is there when what it says is so.
fn has_effect(table: &Table, next: &NextVersion, change: &Change) -> bool {
    let is_set = |(name, value): (&String, &String)| table.metadata.properties().get(name) == Some(value);
    let nameless = change.kind == ChangeKind::MetadataOnly && change.ledger_entry.is_none();
    nameless
        && change.rollback.as_ref().is_none_or(|_| is_rolled_back(&table.metadata, &next.metadata))
        && change.expiry.as_ref().is_none_or(|expiry| is_forgotten(&table.metadata, expiry))
        && change.properties.iter().all(is_set)
        && table.metadata.current_schema().as_struct() == next.metadata.current_schema().as_struct()
}
