//! Faults on purpose, through a variable that the program reads for tests alone: `ETL_FAULT=N:before|after|stop|pause|panic`,
//! or `count`. At I/O step N the step fails before its effect, fails after it, the process ends, it stops until it is
//! continued, or it panics; `count` says on stderr how many steps the run took: `fault.steps=N`.

use std::{
    fs,
    process::Command,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::{
    bad_input::{only_empty_table, same_state, succeeds},
    batches::{self, File},
    lake::{Lake, Ran, Tier},
    model::{Model, Row},
    noise,
    services::glue_faults,
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

/// Stops a run at a step, does something (given the process, unless it ended without having come to that step), and lets it
/// go on.
pub fn pause(lake: &Lake, arguments: &[impl AsRef<str>], step: u64, meanwhile: impl FnOnce(Option<u32>)) -> Ran {
    let mut running = lake.start(arguments, &[(FAULT, &format!("{step}:pause"))]);
    let id = running.child.id();
    // It stops itself, or ends without having come to that step.
    while running.child.try_wait().expect("it was started here").is_none() && state(id) != Some('T') {
        std::thread::sleep(Duration::from_millis(1));
    }
    let is_stopped = state(id) == Some('T');
    meanwhile(is_stopped.then_some(id));
    if is_stopped {
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

/// Steps that a run may take; more, and something runs away.
pub const STEPS_MAX: u64 = 200;

/// (step, fault) pairs tried on each tier.
pub static PAIRS: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// Every step of a run that makes the table, and of runs that change it, with a fault of each kind: nothing that was there is
/// gone, what a run that ended by itself staged is taken back, the same command again succeeds, the table is that of an
/// undisturbed run, and `check` is content.
pub fn run(tier: Tier, fault: &str) -> Result<(), String> {
    let [first, second] = batches_of_two_hours();
    let mut model = Model::default();
    model.apply(&first.concat());
    // A lake for each step of the run that makes the table; then one for all the others, an hour a step.
    for step in 1..STEPS_MAX {
        let lake = Lake::new(tier, &format!("fault-{fault}-new-{step}"), &[batches::table()]);
        batches::place(&lake, 0, &first);
        if !pair(&lake, 0, step, fault, &model)? {
            break;
        }
        PAIRS[tier as usize].fetch_add(1, Relaxed);
    }
    let lake = Lake::new(tier, &format!("fault-{fault}"), &[batches::table()]);
    batches::place(&lake, 0, &first);
    succeeds(&lake, 0)?;
    for step in 1..STEPS_MAX {
        let hour = usize::try_from(step).map_err(|error| error.to_string())?;
        let files = later(&second, step);
        batches::place(&lake, hour, &files);
        model.apply(&files.concat());
        if !pair(&lake, hour, step, fault, &model)? {
            return Ok(());
        }
        PAIRS[tier as usize].fetch_add(1, Relaxed);
    }
    Err(format!("a run takes more than {STEPS_MAX} steps"))
}

/// One fault at one step of an hour, and the same hour again. Whether the run came to that step.
fn pair(lake: &Lake, hour: usize, step: u64, fault: &str, expected: &Model) -> Result<bool, String> {
    let before = lake.state();
    let ran = lake.start(&batches::dedupe(hour), &[(FAULT, &format!("{step}:{fault}"))]).wait();
    let after = lake.state();
    let at =
        |error: String| format!("hour {hour}, {fault} at step {step}, ended {}: {error}\n{}", ran.exit, ran.stderr);
    if let Some(lost) = before.iter().find(|(name, bytes)| !is_pointer(name) && after.get(*name) != Some(bytes)) {
        return Err(at(format!("{} is gone, or is another", lost.0)));
    }
    let is_committed = after.keys().any(|name| name.contains("/snap-") && !before.contains_key(name));
    let is_moved = before.iter().any(|(name, bytes)| is_pointer(name) && after.get(name) != Some(bytes));
    if ran.exit == 0 || is_moved {
        if !is_committed || ![0, -1].contains(&ran.exit) {
            return Err(at("what it says of itself is not so".to_owned()));
        }
        batches::check(lake).map_err(at)?;
    } else if ran.exit != -1 {
        // One that failed by itself has taken back what it staged.
        if hour == 0 { only_empty_table(&after) } else { same_state(&before, &after) }.map_err(at)?;
    }
    succeeds(lake, hour).map_err(at)?;
    batches::compare(lake, expected).map_err(at)?;
    batches::check(lake).map_err(at)?;
    Ok(ran.exit == -1 || steps_of(&ran).is_some_and(|taken| taken >= step))
}

/// A panic at every third step of a run: one message says that it is a bug, without the words of Rust's own; and the same
/// command again does the work.
pub fn panics() -> Result<(), String> {
    let [first, second] = batches_of_two_hours();
    let mut model = Model::default();
    model.apply(&first.concat());
    let lake = Lake::new(Tier::Local, "fault-panic", &[batches::table()]);
    batches::place(&lake, 0, &first);
    succeeds(&lake, 0)?;
    for step in (1..STEPS_MAX).step_by(3) {
        let hour = usize::try_from(step).map_err(|error| error.to_string())?;
        let files = later(&second, step);
        batches::place(&lake, hour, &files);
        model.apply(&files.concat());
        let ran = lake.start(&batches::dedupe(hour), &[(FAULT, &format!("{step}:panic"))]).wait();
        let is_over = ran.exit == 0 && steps_of(&ran).is_some_and(|taken| taken < step);
        let at = |error: String| format!("panic at step {step}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        if ran.exit != 0 {
            let messages = ran.stderr.lines().filter(|line| line.starts_with("error: ")).count();
            if ran.exit != 1 || messages != 1 || ran.stderr.contains("thread '") || !ran.stderr.contains("on purpose") {
                return Err(at("one message is expected, without the words of Rust's own".to_owned()));
            }
        } else if ran.stderr.contains("a panic on purpose") && !ran.stderr.contains("warning") {
            return Err(at("it panicked and is said to be done".to_owned()));
        }
        succeeds(&lake, hour).map_err(at)?;
        batches::compare(&lake, &model).map_err(at)?;
        if is_over {
            return Ok(());
        }
    }
    Err(format!("a run takes more than {STEPS_MAX} steps"))
}

fn is_pointer(name: &str) -> bool {
    !name.contains("/metadata/") && !name.contains("/data/")
}

/// The second batch, newer with each step, so that there is always something to update, to delete and to insert.
pub fn later(files: &[File], step: u64) -> Vec<File> {
    let mut files = files.to_vec();
    for (index, row) in files.iter_mut().flatten().enumerate() {
        row.rank = u8::try_from(step % 50 + 5).ok();
        row.is_delete = index as u64 == step % 3;
    }
    files
}

/// Every step of an upload in parts, which only large files take.
pub fn uploads(fault: &str) -> Result<(), String> {
    const UPLOAD: [&str; 3] = ["start upload", "put part", "complete upload"];
    let world = |name: &str| noise::new(Tier::Cloud, &format!("fault-upload-{fault}-{name}"));
    let dedupe = batches::dedupe(0);
    let counted = world("count")?;
    let ran = counted.start(&[&dedupe[..], &["-vv".to_owned()]].concat(), &[(FAULT, "count")]).wait();
    let is_upload = |line: &&str| UPLOAD.iter().any(|what| line.contains(&format!("fault.what=\"{what}")));
    let number = |line: &str| line.split_once("fault.step=")?.1.split(' ').next()?.parse().ok();
    let steps: Vec<u64> = ran.stderr.lines().filter(is_upload).filter_map(number).collect();
    if steps.len() < 4 {
        return Err(format!("no upload in two parts, exit {}: {steps:?}\n{}", ran.exit, ran.stderr));
    }
    for step in steps {
        let lake = world(&step.to_string())?;
        let ran = lake.start(&dedupe, &[(FAULT, &format!("{step}:{fault}"))]).wait();
        let at = |error: String| format!("{fault} at step {step}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        let left =
            lake.warehouse().into_iter().map(|(location, _)| location).filter(|location| location.contains("/data/"));
        let left: Vec<_> = left.collect();
        if ![0, -1].contains(&ran.exit) && !left.is_empty() {
            return Err(at(format!("it left {left:?}")));
        }
        succeeds(&lake, 0).map_err(at)?;
        noise::is_whole(&lake).map_err(at)?;
        PAIRS[Tier::Cloud as usize].fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Every request to Glue: refused for now before its effect, or applied and its answer lost on the way.
pub fn glue(when: &str) -> Result<(), String> {
    let [first, second] = batches_of_two_hours();
    let mut model = Model::default();
    model.apply(&first.concat());
    let after_first = model.clone();
    model.apply(&second.concat());
    for (hour, action) in
        [(0, "GetTable"), (0, "CreateTable"), (0, "CreateDatabase"), (1, "GetTable"), (1, "UpdateTable")]
    {
        for skip in 0.. {
            let lake =
                Lake::new(Tier::Cloud, &format!("fault-glue-{when}-{hour}-{action}-{skip}"), &[batches::table()]);
            batches::place(&lake, 0, &first);
            batches::place(&lake, 1, &second);
            if hour == 1 {
                succeeds(&lake, 0)?;
            }
            let how = if when == "before" { "\"status\":503" } else { "\"drop\":true" };
            let database = lake.namespace();
            let fault = format!(
                "{{\"action\":\"{action}\",\"database\":\"{database}\",\"skip\":{skip},\"when\":\"{when}\",{how}}}"
            );
            glue_faults("POST", &fault);
            let ran = lake.run(&batches::dedupe(hour));
            let at = |error: String| format!("{action} {skip} {when}, ended {}: {error}\n{}", ran.exit, ran.stderr);
            if ![0, 75].contains(&ran.exit) {
                return Err(at("it should be done, or be tried again".to_owned()));
            }
            let came = !glue_faults("DELETE", &format!("{{\"database\":\"{database}\"}}"));
            succeeds(&lake, hour).map_err(at)?;
            batches::compare(&lake, if hour == 0 { &after_first } else { &model }).map_err(at)?;
            batches::check(&lake).map_err(at)?;
            if !came {
                break;
            }
            PAIRS[Tier::Cloud as usize].fetch_add(1, Relaxed);
        }
    }
    Ok(())
}

/// Inserts, duplicates and an invalid row; then an update, a deletion, a stale row and one that moves.
pub fn batches_of_two_hours() -> [Vec<File>; 2] {
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
