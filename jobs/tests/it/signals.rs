//! Ctrl-C and SIGTERM at every step of input and output: the run ends 130 or 143 and has left nothing, or it was committing
//! and ends that; the same command again succeeds.

use std::{
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{
    bad_input::{fails_cleanly, only_empty_table, same_state, succeeds},
    batches::{self, File},
    faults::{self, STEPS_MAX, batches_of_two_hours, later},
    lake::{Lake, Tier},
    model::Model,
};

/// Runs that were interrupted, on each tier.
pub static INTERRUPTED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Every step of a run, with these signals in turn: of one that makes the table, on the first tier, and of runs that change it.
pub fn run(tier: Tier, signals: &[&str]) -> Result<(), String> {
    let signal_at = |step: usize| signals[step % signals.len()];
    let [first, second] = batches_of_two_hours();
    let mut interrupted = 0;
    // A lake for each step of the run that makes the table; then one for all the others, an hour a step.
    for step in (1..STEPS_MAX).take_while(|_| tier == Tier::Local) {
        let lake = Lake::new(tier, &format!("signal-{}-new-{step}", signals.concat()), &[batches::table()]);
        match at_step(&lake, 0, &first, step, signal_at(0))? {
            Some(is_interrupted) => interrupted += u64::from(is_interrupted),
            None => break,
        }
    }
    let lake = Lake::new(tier, &format!("signal-{}", signals.concat()), &[batches::table()]);
    let mut model = Model::default();
    batches::place(&lake, 0, &first);
    succeeds(&lake, 0)?;
    model.apply(&first.concat());
    for (hour, step) in (1..STEPS_MAX).enumerate().map(|(index, step)| (index + 1, step)) {
        let rows = later(&second, step);
        model.apply(&rows.concat());
        match at_step(&lake, hour, &rows, step, signal_at(hour))? {
            Some(is_interrupted) => interrupted += u64::from(is_interrupted),
            None => break,
        }
    }
    batches::compare(&lake, &model)?;
    batches::check(&lake)?;
    INTERRUPTED[tier as usize].fetch_add(interrupted, Relaxed);
    if interrupted == 0 { Err("no run was interrupted".to_owned()) } else { Ok(()) }
}

/// Stops a run at a step, sends the signal, lets it go on, and does the hour again. Whether it was interrupted; `None` when the
/// run did not come to that step.
fn at_step(lake: &Lake, hour: usize, files: &[File], step: u64, signal: &str) -> Result<Option<bool>, String> {
    let (exit, word) = if signal == "INT" { (130, "interrupted") } else { (143, "terminated") };
    batches::place(lake, hour, files);
    let before = lake.state();
    let mut came = false;
    let ran = faults::pause(lake, &batches::dedupe(hour), step, |id| {
        let Some(id) = id else { return };
        came = true;
        let sent = Command::new("kill").args([&format!("-{signal}"), &id.to_string()]).status();
        assert!(sent.expect("kill is there").success(), "process {id} is gone");
    });
    let after = lake.state();
    let at = |error: String| format!("hour {hour}, {signal} at step {step}: {error}\n{}", ran.stderr);
    if ran.exit != 0 {
        fails_cleanly(&ran, exit, &[word, "run the same command again"]).map_err(at)?;
        // It may have made the table: whole, and without rows.
        if hour == 0 { only_empty_table(&after) } else { same_state(&before, &after) }.map_err(at)?;
    }
    succeeds(lake, hour).map_err(at)?;
    Ok(came.then_some(ran.exit != 0))
}
