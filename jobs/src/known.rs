//! What a table's ledger says, in the words of plans.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lake::Table;
use plan::{
    Interval,
    dedupe::{AppliedRun, PartitionMark},
};

use crate::error::Result;

/// What the table's ledger says.
#[derive(Default)]
pub struct Known {
    /// Runs whose rows are in the table, newest first.
    pub runs: Vec<AppliedRun>,
    /// Raw partitions by their start.
    pub marks: BTreeMap<Timestamp, PartitionMark>,
    /// What it may have known of partitions before this one is forgotten.
    pub forgotten_before: Option<Timestamp>,
}

impl Known {
    /// Of a table; of none, nothing is known.
    pub fn of(table: Option<&Table>) -> Result<Self> {
        let Some(table) = table else { return Ok(Self::default()) };
        let ledger = table.ledger()?;
        let runs = ledger.runs.iter().filter(|run| ledger.run(&run.run_id, &table.metadata).is_some());
        let runs = runs.map(|run| AppliedRun {
            run_id: run.run_id.clone(),
            interval: run.interval_start.zip(run.interval_end).and_then(|(start, end)| Interval::new(start, end).ok()),
            input_digest: run.input_digest.clone(),
            contract_digest: run.contract_digest.clone(),
        });
        // A mark that is not ours to read makes its partition look new, which is safe where there is a key.
        let marks = ledger
            .partitions(&table.metadata)
            .into_iter()
            .filter_map(|(start, mark)| Some((start.parse().ok()?, mark.parse().ok()?)));
        let forgotten_before = ledger.forgotten_before().and_then(|start| start.parse().ok());
        Ok(Self { runs: runs.collect(), marks: marks.collect(), forgotten_before })
    }
}
