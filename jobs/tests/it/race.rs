//! Processes that merge overlapping batches into one table at once end with the rows of a serial run. `ETL_RACES` says how
//! often.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    batches::{self, File, MERGE_MODES},
    lake::{Lake, Tier},
    model::Model,
};

/// Processes at once.
const PROCESSES: usize = 8;

/// How often a process that was told to run again does so.
const AGAIN_MAX: usize = 20;

/// Commits that were tried again because another process was first: the races that took place.
pub static RETRIES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// One race of merges.
pub fn run(tier: Tier, round: u64) -> Result<(), String> {
    let mut random = random(round);
    // Ranks that differ, so that the order in which batches land does not matter; no deletions, for the same reason.
    let mut hours: Vec<Vec<File>> = Vec::new();
    for rank in (0..).take(PROCESSES - 1) {
        let mut file = file(&mut random)?;
        for row in &mut file {
            row.is_delete = false;
            row.rank = Some(rank);
        }
        hours.push(vec![file]);
    }
    let mode = MERGE_MODES[usize::from(round % 2 == 1)];
    let lake = Lake::new(tier, &format!("race-{round}"), &[batches::table_merged(mode)]);
    // The last process is a schedule that fired twice: it has the same hour as the first.
    all_at_once(&lake, &hours)?;
    let mut model = Model::default();
    for files in &hours {
        model.apply(&files.concat());
    }
    batches::compare(&lake, &model)?;
    batches::check(&lake)
}

/// One race of appends to a table without a key: every schedule fires twice, and no raw file counts twice.
pub fn run_without_key(tier: Tier, round: u64) -> Result<(), String> {
    let mut random = random(round);
    let mut hours: Vec<Vec<File>> = Vec::new();
    for _ in 0..PROCESSES / 2 {
        let mut file = file(&mut random)?;
        file.retain(|row| row.key.is_some());
        hours.push(vec![file]);
    }
    let lake = Lake::new(tier, &format!("race-without-key-{round}"), &[batches::table_without_key()]);
    all_at_once(&lake, &hours)?;
    let all = hours.concat().concat();
    batches::compare_rows(&lake.rows(batches::TABLE)?, all.iter())?;
    batches::check(&lake)
}

fn random(round: u64) -> TestRunner {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&round.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

fn file(random: &mut TestRunner) -> Result<File, String> {
    let rows = proptest::collection::vec(batches::row(30), 20..60);
    Ok(rows.new_tree(random).map_err(|error| error.to_string())?.current())
}

/// Runs the processes, each with an hour, the hours in turn.
fn all_at_once(lake: &Lake, hours: &[Vec<File>]) -> Result<(), String> {
    hours.iter().enumerate().for_each(|(hour, files)| batches::place(lake, hour, files));
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
        RETRIES[lake.tier as usize].fetch_add(retries.sum(), Relaxed);
        if ran.exit != 0 {
            return Err(format!("hour {hour} ended {}: {}", ran.exit, ran.stderr));
        }
    }
    Ok(())
}
