//! Real processes killed at random moments, each followed by the same command again: the table is that of an undisturbed
//! run, and `etl check` is content before and after. `ETL_KILLS` says how many.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use crate::{
    batches::{self, File, MERGE_MODES, TABLE},
    lake::{Lake, Tier},
    model::Model,
    services::number,
};

/// Lakes that share the work.
pub const TRIALS: u64 = 4;

/// Processes killed while they were at work, on each tier.
pub static KILLED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Processes that ended before the kill came are tried again this often for each that is wanted.
const TRIES_MAX: u64 = 4;

/// One lake's share of the kills.
pub fn run(tier: Tier, trial: u64) -> Result<(), String> {
    let wanted = number("ETL_KILLS", 40).div_ceil(TRIALS);
    let mut seed = [7; 32];
    seed[0] = u8::try_from(trial).unwrap_or(0);
    let mut random = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let mut pick = |limit: u64| (0..limit).new_tree(&mut random).expect("a number").current();
    let mut files = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let strategy = proptest::collection::vec(proptest::collection::vec(batches::row(200), 50..200), 1..4);
    let mut batch = || -> Vec<File> { strategy.new_tree(&mut files).expect("a batch").current() };

    let mode = MERGE_MODES[usize::from(trial % 2 == 1)];
    let lake = Lake::new(tier, &format!("kill-{trial}"), &[batches::table_merged(mode)]);
    let mut model = Model::default();
    let first = batch();
    batches::place(&lake, 0, &first);
    let started = Instant::now();
    ended(&lake, 0, 0)?;
    let mut usual = started.elapsed();
    model.apply(&first.concat());

    let mut killed = 0;
    for hour in 1.. {
        if killed >= wanted || hour > usize::try_from(wanted * TRIES_MAX).unwrap_or(usize::MAX) {
            break;
        }
        let rows = batch();
        batches::place(&lake, hour, &rows);
        let micros = u64::try_from(usual.as_micros()).unwrap_or(u64::MAX);
        let mut running = lake.start(&batches::dedupe(hour), &[]);
        std::thread::sleep(Duration::from_micros(pick(micros)));
        running.child.kill().map_err(|error| error.to_string())?;
        let ran = running.wait();
        let at = |error: String| format!("hour {hour}, killed or ended {}: {error}", ran.exit);
        if ran.exit == -1 {
            killed += 1;
            KILLED[tier as usize].fetch_add(1, Relaxed);
        }
        // The old table or the new one, nothing between.
        batches::check(&lake).map_err(at)?;
        let before = model.clone();
        model.apply(&rows.concat());
        let is_new = batches::compare(&lake, &model).is_ok();
        if !is_new {
            batches::compare(&lake, &before).map_err(at)?;
        }
        let started = Instant::now();
        ended(&lake, hour, 0).map_err(at)?;
        if !is_new {
            // The latest, not the longest: after one slow run the kills of all others would come too late.
            usual = started.elapsed();
        }
        batches::compare(&lake, &model).map_err(at)?;
        batches::check(&lake).map_err(at)?;
    }
    if killed < wanted {
        return Err(format!("only {killed} of {wanted} processes were at work when the kill came"));
    }
    Ok(())
}

/// Runs an hour and expects that end.
fn ended(lake: &Lake, hour: usize, exit: i32) -> Result<(), String> {
    let ran = lake.run(&batches::dedupe(hour));
    if ran.exit == exit { Ok(()) } else { Err(format!("{TABLE}: ended {}: {}", ran.exit, ran.stderr)) }
}
