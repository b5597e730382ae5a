//! The program as its users run it: golden cases, random batches, faults, kills and races, each with real processes.
//!
//! Every test is a trial with a name; what cannot run here is ignored, never passed, and the last lines say how many ran on
//! which tier. `cargo test -p jobs --test it -- clean` runs the trials whose name holds `clean`.

mod batches;
mod case;
mod faults;
mod foreign;
mod golden;
mod here;
mod kill;
mod lake;
mod merges;
mod model;
mod property;
mod pyiceberg;
mod race;
mod reader;
mod refusals;
mod rooms;
mod rows;
mod services;
mod tally;

use std::{io::Write, process::ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

use crate::{lake::Tier, services::SERVICES};

/// Each trial runs several processes after each other.
const TRIALS_AT_ONCE: usize = 3;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(TRIALS_AT_ONCE));
    let names = case::names();
    let mut trials = Vec::new();
    for (name, rule) in rooms::RULES {
        trials.push(Trial::test(format!("rooms::{name}"), move || Ok(rule()?)));
    }
    for name in names.clone() {
        trials.push(Trial::test(format!("fixture::{name}"), move || Ok(case::Case::read(&name)?.build()?)));
    }
    for tier in Tier::ALL {
        for name in names.clone() {
            trials.push(trial(tier, format!("{}::{name}", tier.name()), move || golden::run(tier, &name)));
        }
    }
    for share in 0..property::TRIALS {
        trials.push(trial(Tier::Local, format!("local::property-{share}"), move || property::run(share)));
    }
    for fault in ["before", "after", "stop"] {
        trials.push(trial(Tier::Local, format!("local::fault-{fault}"), move || faults::run(Tier::Local, fault)));
    }
    for name in foreign::names() {
        trials.push(foreign_trial(name.to_owned(), move || foreign::merge(name)));
    }
    trials.push(foreign_trial("version-1".to_owned(), foreign::version_1));
    for (name, run) in pyiceberg::TRIALS.into_iter().chain(refusals::TRIALS) {
        let trial = trial(Tier::Local, format!("local::pyiceberg-{name}"), run);
        trials.push(trial.with_ignored_flag(SERVICES.python.is_none()));
    }
    for tier in Tier::ALL {
        for share in 0..kill::TRIALS {
            trials.push(trial(tier, format!("{}::kill-{share}", tier.name()), move || kill::run(tier, share)));
        }
        for round in 0..services::number("ETL_RACES", 3) {
            trials.push(trial(tier, format!("{}::race-{round}", tier.name()), move || race::run(tier, round)));
            let name = format!("{}::race-without-key-{round}", tier.name());
            trials.push(trial(tier, name, move || race::run_without_key(tier, round)));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    reader::stop();
    foreign::clean_up();
    SERVICES.clean_up();
    if !arguments.list {
        _ = std::io::stdout().write_all(tally::text(names.len() as u64).as_bytes());
    }
    conclusion.exit_code()
}

/// A trial; ignored where the tier cannot run.
fn trial(tier: Tier, name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    Trial::test(name, || run().map_err(Failed::from)).with_ignored_flag(tier.missing().is_some())
}

/// A trial on a table of another engine.
fn foreign_trial(name: String, run: impl FnOnce() -> Result<(), String> + Send + 'static) -> Trial {
    let trial = trial(Tier::Cloud, format!("cloud::foreign-{name}"), run);
    trial.with_ignored_flag(foreign::missing().is_some())
}
