//! The program as its users run it: golden cases, random batches, faults, kills and races, each with real processes.
//!
//! Every test is a trial with a name; what cannot run here is ignored, never passed, and the last lines say how many ran on
//! which tier. `cargo test -p jobs --test it -- clean` runs the trials whose name holds `clean`.

mod bad_input;
mod batches;
mod case;
mod damage;
mod faults;
mod foreign;
mod golden;
mod here;
mod init;
mod kill;
mod lake;
mod maintain;
mod memory;
mod merges;
mod model;
mod names;
mod noise;
mod odd_parquet;
mod odd_tables;
mod property;
mod proxy;
mod pyiceberg;
mod race;
mod reader;
mod refusals;
mod rollback;
mod rooms;
mod rows;
mod services;
mod shapes;
mod signals;
mod statement;
mod tally;
mod tier;

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
    trials.push(trial(Tier::Local, "local::odd-parquet".to_owned(), odd_parquet::run));
    trials.push(trial(Tier::Local, "local::statement-random".to_owned(), statement::run));
    trials.push(trial(Tier::Local, "local::statement-beside-another".to_owned(), statement::beside_another));
    for fault in ["before", "after", "stop"] {
        for tier in Tier::ALL {
            trials.push(trial(tier, format!("{}::fault-{fault}", tier.name()), move || faults::run(tier, fault)));
        }
        trials.push(trial(Tier::Cloud, format!("cloud::fault-upload-{fault}"), move || faults::uploads(fault)));
        trials.push(trial(Tier::Local, format!("local::rollback-fault-{fault}"), move || rollback::faults(fault)));
        let name = format!("local::statement-fault-{fault}");
        trials.push(trial(Tier::Local, name, move || statement::with_faults(fault)));
    }
    trials.push(trial(Tier::Local, "local::fault-panic".to_owned(), faults::panics));
    for name in foreign::names() {
        trials.push(foreign_trial(name.to_owned(), move || foreign::merge(name)));
    }
    for name in foreign::names() {
        trials.push(foreign_trial(format!("compact-{name}"), move || foreign::compact(name)));
    }
    trials.push(foreign_trial("version-1".to_owned(), foreign::version_1));
    for (name, run) in pyiceberg::TRIALS.into_iter().chain(refusals::TRIALS) {
        let trial = trial(Tier::Local, format!("local::pyiceberg-{name}"), run);
        trials.push(trial.with_ignored_flag(SERVICES.python.is_none()));
    }
    for (name, needs_python, run) in names::TRIALS {
        let trial = trial(Tier::Local, format!("local::names-{name}"), run);
        trials.push(trial.with_ignored_flag(needs_python && SERVICES.python.is_none()));
    }
    for when in ["before", "after"] {
        trials.push(trial(Tier::Cloud, format!("cloud::fault-glue-{when}"), move || faults::glue(when)));
    }
    for case in bad_input::cases() {
        let name = format!("{}::bad-{}", case.tier.name(), case.name);
        let needs_python = case.name == "catalog-locked" && !bad_input::has_python();
        trials.push(given(!needs_python, trial(case.tier, name, || bad_input::run(case))));
    }
    let needs_root: [(&str, Run); 3] = [
        ("full-disk", bad_input::full_disk),
        ("full-catalog-disk", bad_input::full_catalog_disk),
        ("full-spill-disk", bad_input::full_spill_disk),
    ];
    for (name, run) in needs_root {
        trials.push(given(bad_input::can_mount(), trial(Tier::Local, format!("local::bad-{name}"), run)));
    }
    trials.push(trial(Tier::Local, "local::bad-memory-of-a-query".to_owned(), bad_input::memory_of_a_query));
    trials.push(trial(Tier::Local, "local::bad-memory-of-a-run".to_owned(), bad_input::memory_of_a_run));
    for share in 0..damage::TRIALS {
        let trial = trial(Tier::Local, format!("local::damaged-{share}"), move || damage::run(share));
        trials.push(trial.with_ignored_flag(SERVICES.python.is_none()));
    }
    for (name, run) in shapes::TRIALS {
        trials.push(trial(Tier::Local, format!("local::shape-{name}"), run));
    }
    for signal in ["INT", "TERM"] {
        trials
            .push(trial(Tier::Local, format!("local::signal-{signal}"), move || signals::run(Tier::Local, &[signal])));
    }
    trials.push(trial(Tier::Cloud, "cloud::signal".to_owned(), || signals::run(Tier::Cloud, &["INT", "TERM"])));
    for job in ["compact", "expire", "orphans", "maintain"] {
        for fault in ["before", "after", "stop"] {
            trials
                .push(trial(Tier::Local, format!("local::{job}-fault-{fault}"), move || maintain::faults(job, fault)));
        }
    }
    for fault in ["before", "after", "stop"] {
        let name = format!("local::manifests-fault-{fault}");
        trials.push(trial(Tier::Local, name, move || maintain::faults_of_manifests(fault)));
    }
    trials.push(trial(Tier::Local, "local::init-layouts".to_owned(), init::layouts));
    trials.push(trial(Tier::Local, "local::init-other-tables".to_owned(), init::other_tables));
    trials.push(trial(Tier::Local, "local::tier-folder".to_owned(), || tier::folder(Tier::Local)));
    for (name, run) in tier::TRIALS {
        trials.push(trial(Tier::Cloud, format!("cloud::tier-{name}"), run));
    }
    for fault in ["before", "after", "stop"] {
        trials.push(trial(Tier::Cloud, format!("cloud::tier-fault-{fault}"), move || tier::faults(fault)));
    }
    for name in odd_tables::names() {
        trials.push(trial(Tier::Local, format!("local::odd-table-{name}"), move || odd_tables::run(&name)));
    }
    for share in 0..maintain::TRIALS {
        trials.push(trial(Tier::Local, format!("local::maintain-property-{share}"), move || maintain::property(share)));
    }
    for tier in Tier::ALL {
        let beside = if tier == Tier::Local { &maintain::BESIDE[..] } else { &[] };
        for (name, needs_python, run) in maintain::ALONE.iter().chain(beside).chain(&maintain::UPKEEP).copied() {
            let is_missing = tier.missing().is_some() || (needs_python && SERVICES.python.is_none());
            let trial = trial(tier, format!("{}::{name}", tier.name()), move || run(tier));
            trials.push(trial.with_ignored_flag(is_missing));
        }
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

/// What a trial does.
type Run = fn() -> Result<(), String>;

/// The trial; ignored where something that it needs is not there.
fn given(is_there: bool, trial: Trial) -> Trial {
    if is_there { trial } else { trial.with_ignored_flag(true) }
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
