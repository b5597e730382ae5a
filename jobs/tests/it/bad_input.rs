//! Bad input of every kind: the run ends with one message that names the input and the way out, with the right exit code,
//! and leaves table and staging as they were; with the cause removed, the same command succeeds.

mod cloud;
mod disk;
mod local;

use std::sync::OnceLock;

use crate::{
    batches,
    faults::batches_of_two_hours,
    lake::{Lake, Ran, State, Tier},
    model::Model,
};

/// One kind of bad input.
pub struct Case {
    /// In names of tests.
    pub name: &'static str,
    /// Where it is tried.
    pub tier: Tier,
    /// What is there before.
    pub start: Start,
    /// Makes the input bad.
    pub spoil: fn(&Lake) -> Spoiled,
    /// What the shell is told.
    pub exit: i32,
    /// Parts of the message: the input, and the way out.
    pub says: &'static [&'static str],
}

/// What is there before a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// No table; the run would make it.
    Nothing,
    /// A table with rows; the run would change some.
    Table,
}

/// Input that has been made bad.
pub struct Spoiled {
    /// The command line, when it is not the usual one.
    pub arguments: Option<Vec<String>>,
    /// Variables of the run.
    pub environment: Vec<(&'static str, String)>,
    /// Removes the cause.
    pub undo: Box<dyn FnOnce(&Lake)>,
}

impl Spoiled {
    /// By a change that is undone like this.
    fn until(undo: impl FnOnce(&Lake) + 'static) -> Self {
        Self { arguments: None, environment: Vec::new(), undo: Box::new(undo) }
    }

    /// By a command line.
    fn arguments(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Self { arguments: Some(arguments), ..Self::until(|_| ()) }
    }

    /// By variables.
    fn environment(variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self { environment: variables.into_iter().collect(), ..Self::until(|_| ()) }
    }
}

/// All cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    local::CASES.iter().chain(cloud::CASES)
}

/// Disks that are full, which need the right to mount.
pub use disk::{can_mount, full_catalog_disk, full_disk, full_spill_disk, memory_of_a_query, memory_of_a_run};

/// Tries one.
pub fn run(case: &Case) -> Result<(), String> {
    let hours = batches_of_two_hours();
    let lake = Lake::new(case.tier, &format!("bad-{}", case.name), &[batches::table()]);
    let mut model = Model::default();
    let hour = usize::from(case.start == Start::Table);
    for (earlier, files) in hours.iter().enumerate().take(hour + 1) {
        batches::place(&lake, earlier, files);
        model.apply(&files.concat());
        if earlier < hour {
            succeeds(&lake, earlier)?;
        }
    }
    let spoiled = (case.spoil)(&lake);
    let before = lake.state();
    let environment: Vec<_> = spoiled.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let arguments = spoiled.arguments.unwrap_or_else(|| batches::dedupe(hour));
    let ran = lake.start(&arguments, &environment).wait();
    fails_cleanly(&ran, case.exit, case.says)?;
    same_state(&before, &lake.state()).map_err(|error| format!("{error}\n{}", ran.stderr))?;
    (spoiled.undo)(&lake);
    succeeds(&lake, hour)?;
    batches::compare(&lake, &model)?;
    batches::check(&lake)
}

/// One message with these parts, and that exit code, in shell and report.
pub fn fails_cleanly(ran: &Ran, exit: i32, says: &[&str]) -> Result<(), String> {
    if ran.exit != exit {
        return Err(format!("exit {} where {exit} is expected\n{}{}", ran.exit, ran.stdout, ran.stderr));
    }
    let lines = || ran.stderr.lines().skip_while(|line| !line.starts_with("error: "));
    let messages = lines().filter(|line| line.starts_with("error: ")).count();
    if messages != 1 {
        return Err(format!("{messages} messages where one is expected: {}", ran.stderr));
    }
    let message = lines().collect::<Vec<_>>().join("\n");
    if let Some(missing) = says.iter().find(|part| !message.contains(**part)) {
        return Err(format!("the message does not say {missing:?}: {}", ran.stderr));
    }
    let unwanted = ["panicked", "backtrace", "AKIASECRETOFTHETEST", "os error 0"];
    if let Some(unwanted) = unwanted.iter().find(|part| ran.stderr.contains(**part)) {
        return Err(format!("stderr has {unwanted:?}: {}", ran.stderr));
    }
    match ran.reports.last() {
        // The command line itself was not understood.
        None if exit == 2 => Ok(()),
        Some(report) if report["exit_code"] == exit && report["error"].is_object() => Ok(()),
        report => Err(format!("the report does not say so: {report:?}")),
    }
}

/// Neither pointer nor objects have changed.
pub fn same_state(before: &State, after: &State) -> Result<(), String> {
    let mut differences = Vec::new();
    for (name, bytes) in before {
        match after.get(name) {
            None => differences.push(format!("{name} is gone")),
            Some(now) if now != bytes => differences.push(format!("{name} has changed")),
            Some(_) => {}
        }
    }
    differences.extend(after.keys().filter(|name| !before.contains_key(*name)).map(|name| format!("{name} is new")));
    if differences.is_empty() { Ok(()) } else { Err(format!("the run left its traces: {}", differences.join("; "))) }
}

/// At most the first version of the table, which is without rows.
pub fn only_empty_table(after: &State) -> Result<(), String> {
    let objects = || after.keys().filter(|name| name.contains('/'));
    let is_first = |name: &&String| name.contains("/metadata/00000-");
    let others: Vec<_> = objects().filter(|name| !is_first(name)).collect();
    if others.is_empty() && objects().count() <= 1 {
        Ok(())
    } else {
        Err(format!("the run left its traces: {:?}", after.keys()))
    }
}

/// The undisturbed run of an hour.
pub fn succeeds(lake: &Lake, hour: usize) -> Result<(), String> {
    let ran = lake.run(&batches::dedupe(hour));
    if ran.exit == 0 { Ok(()) } else { Err(format!("the undisturbed run ended {}: {}", ran.exit, ran.stderr)) }
}

/// A Python, for what Rust has no word for in these tests; asked for once.
pub fn has_python() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| crate::services::SERVICES.python.is_some())
}
