//! Faults on purpose, through a variable that the program reads for tests alone: `ETL_FAULT=N:before|after|stop|pause`,
//! or `count`. At I/O step N the step fails before its effect, fails after it, the process ends, or it stops until it is
//! continued; `count` says on stderr how many steps the run took: `fault.steps=N`.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{
    batches::{self, File},
    lake::{Lake, Ran, Tier},
    model::{Model, Row},
};

/// The variable.
pub const FAULT: &str = "ETL_FAULT";

/// How many steps a run takes. It does its work.
pub fn count(lake: &Lake, arguments: &[String]) -> Result<u64, String> {
    let ran = lake.start(arguments, &[(FAULT, "count")]).wait();
    let steps = steps_of(&ran).filter(|_| ran.exit == 0);
    steps.ok_or_else(|| format!("no count of steps, exit {}: {}", ran.exit, ran.stderr))
}

/// How many steps a run took that came to its end.
fn steps_of(ran: &Ran) -> Option<u64> {
    let (_, rest) = ran.stderr.split_once("fault.steps=")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Stops a run at a step, does something, and lets it go on.
pub fn pause(lake: &Lake, arguments: &[impl AsRef<str>], step: u64, meanwhile: impl FnOnce()) -> Ran {
    let mut running = lake.start(arguments, &[(FAULT, &format!("{step}:pause"))]);
    let id = running.child.id();
    // It stops itself, or ends without having come to that step.
    while running.child.try_wait().expect("it was started here").is_none() && state(id) != Some('T') {
        std::thread::sleep(Duration::from_millis(1));
    }
    meanwhile();
    if state(id) == Some('T') {
        let continued = Command::new("kill").args(["-CONT", &id.to_string()]).status();
        assert!(continued.expect("kill is there").success(), "process {id} does not go on");
    }
    running.wait()
}

/// The state of a process: `T` is stopped.
fn state(id: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// (step, fault) pairs tried.
pub static PAIRS: AtomicU64 = AtomicU64::new(0);

/// Every step of a run, and of the first run that makes the table, with a fault of each kind: `check` is content, the same
/// command again succeeds, and the table is that of an undisturbed run.
pub fn run(tier: Tier, fault: &str) -> Result<(), String> {
    let hours = batches_of_two_hours();
    let mut model = Model::default();
    for (hour, files) in hours.iter().enumerate() {
        let world = |name: &str| -> Result<Lake, String> {
            let lake = Lake::new(tier, &format!("fault-{fault}-{hour}-{name}"), &[batches::table()]);
            for (earlier, files) in hours.iter().enumerate().take(hour + 1) {
                batches::place(&lake, earlier, files);
                if earlier < hour {
                    succeeds(&lake, earlier)?;
                }
            }
            Ok(lake)
        };
        let before = model.clone();
        model.apply(&files.concat());
        let steps = count(&world("count")?, &batches::dedupe(hour))?;
        for step in 1..=steps {
            let lake = world(&step.to_string())?;
            let ran = lake.start(&batches::dedupe(hour), &[(FAULT, &format!("{step}:{fault}"))]).wait();
            let at = |error: String| {
                format!("hour {hour}, {fault} at step {step} of {steps}, ended {}: {error}\n{}", ran.exit, ran.stderr)
            };
            let is_new = batches::compare(&lake, &model).is_ok();
            // A table that was not made yet can be neither read nor checked.
            if is_new || hour > 0 {
                batches::check(&lake).map_err(at)?;
            }
            if ran.exit == 0 && !is_new {
                return Err(at("it says that it is done, and it is not".to_owned()));
            }
            if !is_new && hour > 0 {
                batches::compare(&lake, &before).map_err(at)?;
            }
            succeeds(&lake, hour).map_err(at)?;
            batches::compare(&lake, &model).map_err(at)?;
            batches::check(&lake).map_err(at)?;
            // Steps that run at once may be one fewer the next time: a fault that never came counts for nothing.
            if ran.exit == -1 || steps_of(&ran).is_some_and(|taken| taken >= step) {
                PAIRS.fetch_add(1, Relaxed);
            }
        }
    }
    Ok(())
}

fn succeeds(lake: &Lake, hour: usize) -> Result<(), String> {
    let ran = lake.run(&batches::dedupe(hour));
    if ran.exit == 0 {
        Ok(())
    } else {
        Err(format!("the undisturbed run of hour {hour} ended {}: {}", ran.exit, ran.stderr))
    }
}

/// Inserts, duplicates and an invalid row; then an update, a deletion, a stale row and one that moves.
fn batches_of_two_hours() -> [Vec<File>; 2] {
    let row = |key: u8, day, value, rank, is_delete| Row { key: Some(key), day, value, rank: Some(rank), is_delete };
    let first = vec![
        vec![row(1, 0, 0, 1, false), row(2, 0, 1, 1, false), row(3, 1, 1, 1, false), row(1, 0, 0, 1, false)],
        vec![row(4, 1, 9, 1, false), row(5, 2, 2, 3, false)],
    ];
    let second = vec![vec![
        row(1, 0, 2, 2, false),
        row(2, 0, 0, 2, true),
        row(3, 2, 1, 2, false),
        row(5, 2, 0, 2, false),
        row(6, 0, 9, 1, false),
        row(7, 1, 1, 1, false),
    ]];
    [first, second]
}
