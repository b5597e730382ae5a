//! Processes that merge overlapping batches into one table at once end with the rows of a serial run. `ETL_RACES` says how
//! often.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    batches::{self, File},
    lake::{Lake, Tier},
    model::Model,
};

/// Processes at once.
const PROCESSES: usize = 8;

/// How often a process that was told to run again does so.
const AGAIN_MAX: usize = 20;

/// Commits that were tried again because another process was first: the races that took place.
pub static RETRIES: AtomicU64 = AtomicU64::new(0);

/// One race.
pub fn run(tier: Tier, round: u64) -> Result<(), String> {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&round.to_le_bytes());
    let mut random = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    // Ranks that differ, so that the order in which batches land does not matter; no deletions, for the same reason.
    let mut hours: Vec<Vec<File>> = Vec::new();
    for rank in (0..).take(PROCESSES - 1) {
        let strategy = proptest::collection::vec(batches::row(30), 20..60);
        let mut file = strategy.new_tree(&mut random).map_err(|error| error.to_string())?.current();
        for row in &mut file {
            row.is_delete = false;
            row.rank = Some(rank);
        }
        hours.push(vec![file]);
    }
    let lake = Lake::new(tier, &format!("race-{round}"), &[batches::table()]);
    hours.iter().enumerate().for_each(|(hour, files)| batches::place(&lake, hour, files));

    // The last process is a schedule that fired twice: it has the same hour as the first.
    let taken: Vec<usize> = (0..PROCESSES).map(|process| process % hours.len()).collect();
    let mut running: Vec<_> = taken.iter().map(|hour| Some(lake.start(&batches::dedupe(*hour), &[]))).collect();
    for (process, hour) in running.iter_mut().zip(&taken) {
        let mut ran = process.take().ok_or("a process")?.wait();
        for _ in 0..AGAIN_MAX {
            if ran.exit != 75 {
                break;
            }
            ran = lake.run(&batches::dedupe(*hour));
        }
        let retries = ran.reports.iter().filter_map(|report| report["commit_retries"].as_u64());
        RETRIES.fetch_add(retries.sum(), Relaxed);
        if ran.exit != 0 {
            return Err(format!("hour {hour} ended {}: {}", ran.exit, ran.stderr));
        }
    }
    let mut model = Model::default();
    for files in &hours {
        model.apply(&files.concat());
    }
    batches::compare(&lake, &model)?;
    batches::check(&lake)
}
