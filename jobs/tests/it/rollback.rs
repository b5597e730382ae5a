//! Going back to an earlier snapshot with a fault at every step: the table is as before or as it was then, the same command
//! again brings it there, and the next run takes in again what was undone.

use std::sync::atomic::Ordering::Relaxed;

use serde_json::json;

use crate::{
    bad_input::succeeds,
    batches::{self, TABLE},
    faults::{FAULT, PAIRS, STEPS_MAX, batches_of_two_hours},
    lake::{Lake, Tier},
    model::Model,
};

/// Every step of a rollback, with faults of one kind.
pub fn faults(fault: &str) -> Result<(), String> {
    let [first, second] = batches_of_two_hours();
    let mut then = Model::default();
    then.apply(&first.concat());
    let mut now = then.clone();
    now.apply(&second.concat());
    let lake = Lake::new(Tier::Local, &format!("rollback-fault-{fault}"), &[batches::table()]);
    batches::place(&lake, 0, &first);
    let ran = lake.run(&batches::dedupe(0));
    let earlier = ran.reports[0]["output"]["snapshot_after"].as_i64().ok_or("no snapshot")?.to_string();
    batches::place(&lake, 1, &second);
    let words = ["rollback", TABLE, "--to", &earlier, "--yes"];
    for step in 1..STEPS_MAX {
        succeeds(&lake, 1)?;
        batches::compare(&lake, &now)?;
        let ran = lake.start(&words, &[(FAULT, &format!("{step}:{fault}"))]).wait();
        let at = |error: String| format!("{fault} at step {step}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        // Either version, and the one that it says.
        let is_back = batches::compare(&lake, &then).is_ok();
        if !is_back {
            batches::compare(&lake, &now).map_err(at)?;
        }
        if ran.exit == 0 && !is_back {
            return Err(at("it says that it went back".to_owned()));
        }
        batches::check(&lake).map_err(at)?;
        let again = lake.run(&words);
        if again.exit != 0 {
            return Err(at(format!("once more it ended {}: {}", again.exit, again.stderr)));
        }
        let status = if is_back { "unchanged" } else { "committed" };
        if again.reports[0]["status"] != json!(status) {
            return Err(at(format!("once more it is {} where {status} is expected", again.reports[0]["status"])));
        }
        batches::compare(&lake, &then).map_err(at)?;
        batches::check(&lake).map_err(at)?;
        PAIRS[Tier::Local as usize].fetch_add(1, Relaxed);
        let has_ended = ran.exit == 0 && ran.stderr.contains("fault.steps=");
        let steps = ran
            .stderr
            .split_once("fault.steps=")
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok());
        if has_ended && steps.is_some_and(|taken| taken < step) {
            return Ok(());
        }
    }
    Err(format!("it takes more than {STEPS_MAX} steps"))
}
