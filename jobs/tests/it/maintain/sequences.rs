//! Everything that changes a table or its objects, in random order: rows and kept snapshots stay as they were, and nothing
//! that is needed is ever deleted.
//!
//! Each sequence has a number, which is its seed: `ETL_MAINTENANCE_SEQUENCES` of them (500; `scripts/fuzz maintenance` runs
//! 2,000), from the number `ETL_MAINTENANCE_SEED` (1) on. What is needed is found by `version.rs`, without the program.

mod drawn;
mod held;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use jiff::{SignedDuration, Timestamp};
use lake::{
    catalog::{Catalog, Pointer, Swap},
    faults::{Fault, FaultPlan, Faults},
};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::{Value, json};

use self::{
    drawn::{Classes, Operation, PADDING, Sequence, Step, sequence, table},
    held::{Seen, freed},
};
use super::{equal, version::Versions};
use crate::{
    batches::{self, TABLE},
    here,
    lake::{Lake, Ran, Tier},
    memory::{BUCKET, Memory},
    model::{Model, Row},
    services::number,
};

/// Trials that share the sequences.
pub const TRIALS: u64 = 8;

/// Sequences that have passed.
pub static SEQUENCES: AtomicU64 = AtomicU64::new(0);
/// Those among them whose objects went to other storage classes.
pub static TIERED: AtomicU64 = AtomicU64::new(0);
/// Operations that met a fault, and were done by the next run.
pub static FAULTS: AtomicU64 = AtomicU64::new(0);
/// Objects that were deleted, none of which was needed.
pub static DELETED: AtomicU64 = AtomicU64::new(0);

/// Where the table lies in the bucket.
const PLACE: &str = "warehouse/curated/telemetry/";

/// When a sequence begins.
const START: &str = "2025-06-05T00:00:00Z";

/// One share of the sequences. Without optimization a run needs more of the stack than a thread has that nobody asked for.
pub fn property(trial: u64) -> Result<(), String> {
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || share(trial));
    thread.expect("a thread starts").join().expect("what fails is said, and nothing panics")
}

const STACK_BYTES: usize = 32 << 20;

fn share(trial: u64) -> Result<(), String> {
    let memory = Memory::default();
    let endpoint = memory.serve();
    let opened = memory.open(&endpoint, None);
    let first = number("ETL_MAINTENANCE_SEED", 1);
    let numbers = first..first + number("ETL_MAINTENANCE_SEQUENCES", 500);
    for number in numbers.filter(|number| number % TRIALS == trial) {
        let mut seed = [11; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 100, ..Config::default() };
        let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
        let result = runner.run(&sequence(), |sequence| {
            memory.clear();
            let mut world = World::new(&memory, &opened, &endpoint, &sequence);
            world.follow(&sequence).map_err(TestCaseError::fail)?;
            TIERED.fetch_add(u64::from(sequence.classes != Classes::None), Relaxed);
            Ok(())
        });
        result.map_err(|error| {
            let (reason, smallest) = match error {
                TestError::Fail(reason, sequence) => (reason, format!("{sequence:?}")),
                TestError::Abort(reason) => (reason, String::new()),
            };
            format!("ETL_MAINTENANCE_SEED={number} ETL_MAINTENANCE_SEQUENCES=1: {reason}\n{smallest}")
        })?;
        SEQUENCES.fetch_add(1, Relaxed);
    }
    Ok(())
}

struct World<'a> {
    memory: &'a Memory,
    opened: &'a lake::Lake,
    endpoint: &'a str,
    classes: Classes,
    lake: Lake,
    versions: Versions,
    now: Timestamp,
    model: Model,
    /// The rows of each snapshot there ever was.
    history: BTreeMap<i64, Vec<Row>>,
    /// Hours that were taken in, and the keys of their files.
    taken: Vec<(Timestamp, Vec<String>)>,
    /// How many names another engine has given.
    names: usize,
}

impl<'a> World<'a> {
    fn new(memory: &'a Memory, opened: &'a lake::Lake, endpoint: &'a str, sequence: &Sequence) -> Self {
        let mut lake = Lake::new(Tier::Local, "maintain", &[table(sequence)]);
        let config = format!(
            "version = 1\n[lake]\ncatalog = \"sqlite\"\nwarehouse = \"s3://{BUCKET}/warehouse\"\ncontracts = \"schemas\"\n\
             [table.\"{TABLE}\"]\ncontract = \"telemetry\"\nsource = \"s3://{BUCKET}/raw/{{yyyy}}/{{MM}}/{{dd}}/{{HH}}/\"\n\
             quarantine = \"s3://{BUCKET}/quarantine/\"\n"
        );
        std::fs::write(lake.folder().join("etl.toml"), config).expect("etl.toml is written");
        lake.now = START.to_owned();
        Self {
            memory,
            opened,
            endpoint,
            classes: sequence.classes,
            lake,
            versions: Versions::new(memory.clone()),
            now: START.parse().expect("a time"),
            model: Model::default(),
            history: BTreeMap::new(),
            taken: Vec::new(),
            names: 0,
        }
    }

    fn follow(&mut self, sequence: &Sequence) -> Result<(), String> {
        for (index, step) in sequence.steps.iter().enumerate() {
            self.now += SignedDuration::from_hours(step.hours);
            self.lake.now = self.now.to_string();
            self.memory.set_now(self.now);
            self.step(step).map_err(|error| format!("step {index}: {error}"))?;
        }
        self.reads()
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let before = Seen::of(self)?;
        let deleted = self.memory.record().deletions.len();
        // Before the first row there is no table, and nothing to do for most jobs.
        let current = before.version.as_ref().and_then(|version| version.current);
        let mut expiry = None;
        let mut strays = Vec::new();
        match &step.operation {
            Operation::TakeIn(files) => {
                let keys: Vec<_> = (0..files.len())
                    .map(|index| format!("raw/{}/{index}.parquet", self.now.strftime("%Y/%m/%d/%H")))
                    .collect();
                let padding = if self.classes == Classes::None { 0 } else { PADDING };
                for (key, rows) in keys.iter().zip(files) {
                    self.memory.put(key, batches::parquet(rows.iter(), padding), self.now);
                }
                self.taken.push((self.now, keys));
                self.model.apply(&files.concat());
                self.run(&dedupe(self.now), step.fault)?;
            }
            Operation::Again(which) => {
                let (hour, _) = self.taken[which % self.taken.len()];
                self.run(&dedupe(hour), step.fault)?;
            }
            Operation::Statement(key, value) if current.is_some() => {
                let clause = match value {
                    Some(value) => format!("UPDATE SET temperature = {value}"),
                    None => "DELETE".to_owned(),
                };
                let statement = format!(
                    "MERGE INTO {TABLE} AS t USING (VALUES ('d', '{key}')) AS s (device_id, event_id) \
                     ON t.device_id = s.device_id AND t.event_id = s.event_id WHEN MATCHED THEN {clause}"
                );
                match (value, self.model.rows.get_mut(key)) {
                    (Some(value), Some(row)) => row.value = *value,
                    (Some(_), None) => {}
                    (None, _) => drop(self.model.rows.remove(key)),
                }
                self.run(&["merge".to_owned(), statement], step.fault)?;
            }
            Operation::Compact(how) => {
                let words = ["compact"].iter().chain(*how).map(|word| (*word).to_owned());
                self.run(&words.collect::<Vec<_>>(), step.fault)?;
            }
            Operation::Expire(hours, last) => {
                expiry = Some((self.now - SignedDuration::from_hours(*hours), *last));
                let words = format!("expire --older-than {hours}h --retain-last {last} --yes");
                self.run(&split(&words), step.fault)?;
            }
            Operation::Orphans if before.version.is_some() => {
                strays = self.stray();
                self.run(&split("orphans --max-fraction 1 --yes"), step.fault)?;
            }
            Operation::Maintain if before.version.is_some() => {
                expiry = Some((self.now - SignedDuration::from_hours(5 * 24), 1));
                // Many of few files are refused, which is a warning.
                self.stray();
                self.run(&split("maintain --yes"), step.fault)?;
            }
            Operation::Name(is_tag) if current.is_some() => {
                self.names += 1;
                let kind = if *is_tag { "tag" } else { "branch" };
                let name = format!("{kind}-{}", self.names);
                self.other_engine(&|refs| refs[&name] = json!({"snapshot-id": current, "type": kind}))?;
            }
            Operation::Unname if before.version.is_some() => self.other_engine(&|refs| {
                let name = refs.as_object().and_then(|refs| refs.keys().filter(|name| *name != "main").min().cloned());
                if let Some((refs, name)) = refs.as_object_mut().zip(name) {
                    refs.remove(&name);
                }
            })?,
            Operation::Tier => self.run(&split("tier --yes"), step.fault)?,
            Operation::Restore => self.restore()?,
            Operation::Statement(..)
            | Operation::Orphans
            | Operation::Maintain
            | Operation::Name(_)
            | Operation::Unname => {}
        }
        let after = Seen::of(self)?;
        // A compaction that came first has made one more.
        let is_newer = after.version.as_ref().is_some_and(|version| version.current != current);
        let expired = expiry.map_or_else(BTreeSet::new, |(cutoff, last)| {
            // `maintain` decides before its compaction makes one more. With a fault it runs twice, and may find it then.
            let planned = before.expired(cutoff, last, false);
            let stayed = |id| after.version.as_ref().is_some_and(|of| of.snapshots.contains_key(&id));
            let is_left = if step.fault.is_none() { planned.is_empty() } else { current.is_none_or(stayed) };
            if matches!(step.operation, Operation::Maintain) && is_left {
                return planned;
            }
            before.expired(cutoff, last, is_newer)
        });
        self.is_right(&before, &after, &expired)?;
        self.deletions(deleted, &before, &after)?;
        self.classes(&before, &after, &step.operation)?;
        match step.operation {
            Operation::Orphans if after.version.is_some() => self.nothing_is_left(&after, &strays),
            Operation::Expire(..) if step.fault.is_none() => freed(&before, &after),
            _ => Ok(()),
        }
    }

    /// Runs a job to its end: once with the fault, then without one. What is archived and in the way is brought back first.
    fn run(&mut self, words: &[String], fault: Option<(u64, bool)>) -> Result<(), String> {
        if let Some((step, has_effect)) = fault {
            let plan = FaultPlan { step, fault: if has_effect { Fault::After } else { Fault::Before } };
            let faults = Faults::new(Some(plan), |_| ());
            let ran = here::run_in(&self.lake, &self.memory.open(self.endpoint, Some(&faults)), words);
            if ![0, 1, 75].contains(&ran.exit) {
                return Err(format!("with a fault it ended {}: {}", ran.exit, said(&ran)));
            }
            FAULTS.fetch_add(u64::from(faults.steps() >= step), Relaxed);
        }
        let before = (self.pointer(), self.keys());
        let ran = here::run_in(&self.lake, self.opened, words);
        let is_maintain = words[0] == "maintain";
        if ran.exit == 0 {
            return Ok(());
        }
        let is_archived = self.classes == Classes::All && said(&ran).contains("archive");
        if !is_archived || ![1, 75].contains(&ran.exit) {
            return Err(format!("ended {}: {}", ran.exit, said(&ran)));
        }
        // The other steps of `maintain` have been done.
        if !is_maintain {
            equal("the table of a run that met what is archived", &self.pointer(), &before.0)?;
            equal("what such a run leaves", &self.keys(), &before.1)?;
        }
        self.restore()?;
        self.memory.finish_restores();
        let ran = here::run_in(&self.lake, self.opened, words);
        if ran.exit == 0 { Ok(()) } else { Err(format!("after a restore it ended {}: {}", ran.exit, said(&ran))) }
    }

    fn restore(&self) -> Result<(), String> {
        let ran = here::run_in(&self.lake, self.opened, &split(&format!("tier restore {TABLE} --all --yes")));
        if ran.exit == 0 { Ok(()) } else { Err(format!("the restore ended {}: {}", ran.exit, said(&ran))) }
    }

    /// Files that nothing refers to: one old, one young.
    fn stray(&self) -> Vec<(String, bool)> {
        [(8 * 24, true), (6 * 24, false)]
            .map(|(hours, is_old)| {
                let written = self.now - SignedDuration::from_hours(hours);
                let key = format!("{PLACE}data/stray-{}.parquet", written.as_second());
                self.memory.put(&key, "stray", written);
                (key, is_old)
            })
            .into()
    }

    /// Commits the table's metadata with other refs.
    fn other_engine(&mut self, change: &dyn Fn(&mut Value)) -> Result<(), String> {
        let pointer = self.pointer().ok_or("there is no table")?;
        let mut document = self.versions.at(&pointer.metadata_location)?.document.clone();
        change(&mut document["refs"]);
        let log = document["metadata-log"].as_array_mut().ok_or("there is no log")?;
        log.push(json!({"metadata-file": pointer.metadata_location, "timestamp-ms": self.now.as_millisecond()}));
        document["last-updated-ms"] = json!(self.now.as_millisecond());
        let key = format!("{PLACE}metadata/{}-other.metadata.json", self.now.as_second());
        self.memory.put(&key, document.to_string(), self.now);
        let metadata = serde_json::from_value(document).map_err(|error| error.to_string())?;
        let table = TABLE.parse().expect("a name");
        let location = format!("s3://{BUCKET}/{key}");
        let swapped = here::RUNTIME.block_on(self.memory.swap(&table, &pointer, &location, &metadata));
        if matches!(swapped, Swap::Committed) { Ok(()) } else { Err(format!("{swapped:?}")) }
    }

    /// The program itself reads every snapshot that is left, when everything is readable.
    fn reads(&mut self) -> Result<(), String> {
        let seen = Seen::of(self)?;
        let Some(version) = &seen.version else { return Ok(()) };
        self.memory.bring_all_back();
        let run = |words: &[String]| {
            let ran = here::run_in(&self.lake, self.opened, words);
            if ran.exit == 0 { Ok(ran) } else { Err(format!("{words:?} ended {}: {}", ran.exit, said(&ran))) }
        };
        run(&["check".to_owned()])?;
        for id in version.snapshots.keys() {
            let statement = format!("SELECT {COLUMNS} FROM {TABLE} FOR VERSION AS OF {id}");
            let ran = run(&["query".to_owned(), "--full-scan".to_owned(), statement])?;
            batches::compare_rows(&crate::lake::parse_json(&ran.stdout)?, self.history[id].iter())
                .map_err(|error| format!("snapshot {id}: {error}"))?;
        }
        Ok(())
    }

    fn pointer(&self) -> Option<Pointer> {
        self.memory.pointer(&TABLE.parse().expect("a name"))
    }

    /// What lies below the table's location.
    fn keys(&self) -> BTreeSet<String> {
        self.memory.objects().into_keys().filter(|key| key.starts_with(PLACE)).collect()
    }
}

/// The columns that the model knows.
const COLUMNS: &str = "device_id, event_id, event_time, temperature, ingest_time, op";

fn dedupe(hour: Timestamp) -> Vec<String> {
    split(&format!("dedupe --start {hour} --end {}", hour + SignedDuration::from_hours(1)))
}

fn split(words: &str) -> Vec<String> {
    words.split_whitespace().map(str::to_owned).collect()
}

/// What a run said: of itself, and of its table.
fn said(ran: &Ran) -> String {
    let reports: Vec<_> = ran.reports.iter().map(|report| report["error"].to_string()).collect();
    format!("{}{}", ran.stderr, reports.concat())
}
