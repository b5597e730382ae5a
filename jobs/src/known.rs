//! What a table's ledger says, in the words of plans.

use jiff::Timestamp;
use lake::{SeenFiles, Table};
use plan::{
    Interval,
    dedupe::{AppliedRun, Forgotten, Memory, Seen},
};

use crate::error::Result;

/// What the table's ledger says.
#[derive(Default)]
pub struct Known {
    /// Runs whose rows are in the table, newest first.
    pub runs: Vec<AppliedRun>,
    /// Of the raw zone.
    pub memory: Memory,
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
        let forgotten = ledger.forgotten(&table.metadata);
        let time = |text: Option<String>| text.and_then(|text| text.parse::<Timestamp>().ok());
        let forgotten = Forgotten {
            from: time(forgotten.from),
            before: time(forgotten.before),
            after: time(forgotten.after),
            seen: forgotten.seen.map(|SeenFiles { at, until, files }| Seen { at, until, files }),
        };
        let counted = ledger.runs.iter().filter(|run| ledger.run(&run.run_id, &table.metadata).is_some());
        let oldest_run = counted.filter_map(|run| run.committed_at).min();
        Ok(Self { runs: runs.collect(), memory: Memory { marks: marks.collect(), forgotten, oldest_run } })
    }
}
