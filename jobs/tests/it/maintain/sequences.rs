//! Everything that changes a table or its objects, in random order: rows and kept snapshots stay as they were, and nothing
//! that is needed is ever deleted.
//!
//! Each sequence has a number, which is its seed: `ETL_MAINTENANCE_SEQUENCES` of them (2,000), from the number
//! `ETL_MAINTENANCE_SEED` (1) on. What is needed is found by `version.rs`, without the program.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use jiff::{SignedDuration, Timestamp};
use lake::{
    catalog::{Catalog, Pointer, Swap},
    faults::{Fault, FaultPlan, Faults},
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use serde_json::{Value, json};

use super::{
    equal,
    version::{Snapshot, Version, Versions},
};
use crate::{
    batches::{self, File, MERGE_MODES, TABLE},
    here,
    lake::{Lake, Ran, TableSetup, Tier},
    memory::{BUCKET, Memory, Object},
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

/// Characters that make a file large enough for other classes: a row has them.
const PADDING: usize = 140_000;

/// The age from which a raw file may be archived, and from which a curated one may.
const ARCHIVED_HOURS: i64 = 90 * 24;

/// A table, and what happens to it.
#[derive(Debug, Clone)]
struct Sequence {
    merge_mode: &'static str,
    classes: Classes,
    steps: Vec<Step>,
}

/// Which classes the contract has rules for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Classes {
    None,
    /// Raw files may be archived.
    Raw,
    /// Curated ones too.
    All,
}

#[derive(Debug, Clone)]
struct Step {
    /// Since the step before.
    hours: i64,
    operation: Operation,
    /// The step of input and output at which the first try fails, and whether it has had its effect.
    fault: Option<(u64, bool)>,
}

#[derive(Debug, Clone)]
enum Operation {
    /// Raw files are taken in.
    TakeIn(Vec<File>),
    /// An hour that was taken in, once more.
    Again(usize),
    /// A statement changes a row, or deletes it.
    Statement(u8, Option<u8>),
    Compact(&'static [&'static str]),
    /// Snapshots older than so many hours, but for the last ones.
    Expire(i64, usize),
    Orphans,
    /// All that the table needs.
    Maintain,
    /// Another engine makes a tag, or a branch, of the current snapshot.
    Name(bool),
    /// It drops the oldest of these.
    Unname,
    Tier,
    Restore,
}

const COMPACTIONS: [&[&str]; 4] = [
    &["--rewrite-all", "--include-active", "--min-copy-size-bytes", "1"],
    &["--rewrite-all", "--include-active", "--sort", "temperature DESC, event_id"],
    &["--min-input-files", "2", "--include-active", "--z-order", "event_time,temperature", "--max-commits", "2"],
    &["--min-input-files", "2", "--delete-file-threshold", "1"],
];

fn sequence() -> impl Strategy<Value = Sequence> {
    let classes = prop_oneof![6 => Just(Classes::None), 1 => Just(Classes::Raw), 1 => Just(Classes::All)];
    let mode = proptest::sample::select(&MERGE_MODES[..]);
    (mode, classes).prop_flat_map(|(merge_mode, classes)| {
        let first =
            files(classes).prop_map(|files| Step { hours: 1, operation: Operation::TakeIn(files), fault: None });
        let others = proptest::collection::vec(step(classes), 4..10);
        (first, others).prop_map(move |(first, others)| Sequence {
            merge_mode,
            classes,
            steps: [vec![first], others].concat(),
        })
    })
}

fn step(classes: Classes) -> impl Strategy<Value = Step> {
    // Deletions are remembered for 90 days (`batches::table`); what is archived is older.
    let hours: &[i64] = if classes == Classes::None { &[1, 1, 26, 8 * 24] } else { &[1, 26, 100 * 24, 200 * 24] };
    let fault = proptest::option::weighted(0.12, (1..60u64, any::<bool>()));
    (proptest::sample::select(hours), operation(classes), fault).prop_map(|(hours, operation, fault)| Step {
        hours,
        operation,
        fault,
    })
}

fn operation(classes: Classes) -> BoxedStrategy<Operation> {
    let tierings = prop_oneof![4 => Just(Operation::Tier), 1 => Just(Operation::Restore)];
    let any_lake = prop_oneof![
        8 => files(classes).prop_map(Operation::TakeIn),
        1 => (0..4usize).prop_map(Operation::Again),
        2 => (0..6u8, proptest::option::of(0..3u8)).prop_map(|(key, value)| Operation::Statement(key, value)),
        6 => proptest::sample::select(&COMPACTIONS[..]).prop_map(Operation::Compact),
        5 => (proptest::sample::select(&[0, 24, 150 * 24][..]), 1..4usize)
            .prop_map(|(hours, last)| Operation::Expire(hours, last)),
        4 => Just(Operation::Orphans),
        2 => Just(Operation::Maintain),
        2 => any::<bool>().prop_map(Operation::Name),
        1 => Just(Operation::Unname),
    ];
    match classes {
        Classes::None => any_lake.boxed(),
        _ => prop_oneof![3 => any_lake, 1 => tierings].boxed(),
    }
}

fn files(classes: Classes) -> impl Strategy<Value = Vec<File>> {
    let row = batches::row(6).prop_map(move |row| Row { is_delete: row.is_delete && classes == Classes::None, ..row });
    proptest::collection::vec(proptest::collection::vec(row, 1..5), 1..3)
}

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
    let numbers = first..first + number("ETL_MAINTENANCE_SEQUENCES", 2_000);
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
        let expired = expiry.map_or_else(BTreeSet::new, |(cutoff, last)| before.expired(cutoff, last, is_newer));
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
        // What was a small part of the files when it was planned may be a large one when others are gone.
        if ran.exit == 0 || (is_maintain && said(&ran).contains("files look like orphans")) {
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

    /// The table has the model's rows; every snapshot that was not to expire is there and as it was; and everything that
    /// the table refers to is there.
    fn is_right(&mut self, before: &Seen, after: &Seen, expired: &BTreeSet<i64>) -> Result<(), String> {
        let Some(version) = &after.version else { return Ok(()) };
        let rows: Vec<Row> = self.model.rows.values().cloned().collect();
        let current = version.current.map(|id| &version.snapshots[&id]);
        equal("rows", &current.map_or(&[][..], Snapshot::rows), &&rows[..])?;
        for (id, snapshot) in &version.snapshots {
            // One that is new was made of the rows as they are now.
            let then = self.history.entry(*id).or_insert_with(|| rows.clone());
            equal(&format!("rows of snapshot {id}"), &snapshot.rows(), &&then[..])?;
        }
        let of = |seen: &Seen| -> BTreeSet<i64> {
            seen.version.iter().flat_map(|version| version.snapshots.keys().copied()).collect()
        };
        let kept: BTreeSet<i64> = of(before).difference(expired).copied().collect();
        let old: BTreeSet<i64> = of(after).intersection(&of(before)).copied().collect();
        equal("snapshots that are kept", &old, &kept)?;
        match version.needs().into_iter().find(|key| !after.objects.contains_key(*key)) {
            Some(missing) => Err(format!("{missing} is needed, and is not there")),
            None => Ok(()),
        }
    }

    /// Nothing that was deleted since was referred to by the table at that moment, or after the operation, or before it by a
    /// snapshot that was kept; and nothing of the table was written over.
    fn deletions(&mut self, from: usize, before: &Seen, after: &Seen) -> Result<(), String> {
        let record = self.memory.record();
        for deletion in &record.deletions[from..] {
            let key = &deletion.key;
            if !key.starts_with("warehouse/") {
                return Err(format!("{key} was deleted, which is nobody's"));
            }
            for location in deletion.tables.values() {
                if self.versions.at(location)?.needs().contains(key) {
                    return Err(format!("{key} was deleted, to which {location} referred then"));
                }
            }
            if let (Some(before), Some(after)) = (&before.version, &after.version) {
                let kept = before.snapshots.iter().filter(|(id, _)| after.snapshots.contains_key(id));
                let is_needed = kept.flat_map(|(_, snapshot)| snapshot.needs()).any(|needed| needed == key);
                if is_needed || after.needs().contains(key) {
                    return Err(format!("{key} was deleted, and a version before or after refers to it"));
                }
            }
        }
        DELETED.fetch_add((record.deletions.len() - from) as u64, Relaxed);
        let overwritten: Vec<_> = record.overwritten.iter().filter(|key| key.starts_with(PLACE)).collect();
        equal("objects of the table that were written over", &overwritten, &Vec::new())
    }

    /// What went to the archive was old and in the table, and is nothing that every read needs; and a tiering changes classes
    /// alone.
    fn classes(&self, before: &Seen, after: &Seen, operation: &Operation) -> Result<(), String> {
        for (key, _) in after.objects.iter().filter(|(_, object)| object.is_archived()) {
            if before.objects.get(key).is_some_and(Object::is_archived) {
                continue;
            }
            let taken = self.taken.iter().find(|(_, keys)| keys.contains(key));
            let current = after.version.as_ref().and_then(|version| Some(&version.snapshots[&version.current?]));
            let is_allowed = match taken {
                Some((hour, _)) => *hour + SignedDuration::from_hours(ARCHIVED_HOURS) < self.now,
                None => self.classes == Classes::All && current.is_some_and(|current| current.data().contains(key)),
            };
            equal(&format!("whether {key} may be archived"), &is_allowed, &true)?;
        }
        if matches!(operation, Operation::Tier | Operation::Restore) {
            let bytes = |seen: &Seen| -> Vec<_> {
                let table = seen.objects.iter().filter(|(key, _)| !key.contains("/.etl/"));
                table.map(|(key, object)| (key.clone(), object.etag.clone(), object.bytes.clone())).collect()
            };
            equal("objects but for their classes", &(bytes(before) == bytes(after)), &true)?;
        }
        Ok(())
    }

    /// After orphans are gone, everything old is needed.
    fn nothing_is_left(&self, after: &Seen, strays: &[(String, bool)]) -> Result<(), String> {
        let Some(version) = &after.version else { return Ok(()) };
        let (needs, cutoff) = (version.needs(), self.now - SignedDuration::from_hours(7 * 24));
        let is_left = |(key, object): &(&String, &Object)| {
            key.starts_with(PLACE) && object.modified < cutoff && !needs.contains(*key)
        };
        let left: Vec<_> = after.objects.iter().filter(is_left).map(|(key, _)| key).collect();
        equal("old objects that nothing refers to", &left, &Vec::new())?;
        for (key, is_old) in strays {
            equal(&format!("whether {key} is there"), &after.objects.contains_key(key), &!is_old)?;
        }
        Ok(())
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

/// A lake between two operations.
struct Seen {
    version: Option<Arc<Version>>,
    objects: BTreeMap<String, Object>,
}

impl Seen {
    fn of(world: &mut World<'_>) -> Result<Self, String> {
        let version = match world.pointer() {
            Some(pointer) => Some(world.versions.at(&pointer.metadata_location)?),
            None => None,
        };
        Ok(Self { version, objects: world.memory.objects() })
    }

    /// Snapshots that nothing keeps: no tag, no branch among its last ones, no youth.
    fn expired(&self, cutoff: Timestamp, last: usize, main_is_ahead: bool) -> BTreeSet<i64> {
        let Some(version) = &self.version else { return BTreeSet::new() };
        let is_young = |snapshot: &Snapshot| snapshot.committed_ms >= cutoff.as_millisecond();
        let mut kept = BTreeSet::new();
        for (name, of) in version.document["refs"].as_object().into_iter().flatten() {
            let mut next = of["snapshot-id"].as_i64();
            let mut count = usize::from(main_is_ahead && name == "main");
            while let Some((id, snapshot)) = next.and_then(|id| Some((id, version.snapshots.get(&id)?))) {
                if count > 0 && (of["type"] == "tag" || (count >= last && !is_young(snapshot))) {
                    break;
                }
                kept.insert(id);
                count += 1;
                next = snapshot.parent;
            }
        }
        version.snapshots.keys().copied().filter(|id| !kept.contains(id)).collect()
    }
}

/// What only expired snapshots needed is gone with them.
fn freed(before: &Seen, after: &Seen) -> Result<(), String> {
    let (Some(before), Some(version)) = (&before.version, &after.version) else { return Ok(()) };
    let (kept, needs) = (&version.snapshots, version.needs());
    let gone = before.snapshots.iter().filter(|(id, _)| !kept.contains_key(id));
    let is_left = |key: &&String| after.objects.contains_key(*key) && !needs.contains(key);
    let left: BTreeSet<_> = gone.flat_map(|(_, snapshot)| snapshot.needs()).filter(is_left).collect();
    equal("objects that only expired snapshots needed", &left, &BTreeSet::new())
}

fn table(sequence: &Sequence) -> TableSetup {
    let rules: &[(&str, &str)] = match sequence.classes {
        Classes::None => &[],
        Classes::Raw => {
            &[("etl.tier.raw", "{30d: STANDARD_IA, 90d: GLACIER}"), ("etl.tier.curated", "{60d: STANDARD_IA}")]
        }
        Classes::All => &[
            ("etl.tier.raw", "{90d: DEEP_ARCHIVE}"),
            ("etl.tier.curated", "{60d: STANDARD_IA, 90d: GLACIER}"),
            ("etl.tier.archived", "true"),
        ],
    };
    // What is the same in every row would be small otherwise.
    let properties = ("etl.tableProperties", "{write.parquet.compression-codec: uncompressed}");
    let padding = ["{name: padding, logicalType: string}"];
    match sequence.classes {
        Classes::None => batches::table_merged(sequence.merge_mode),
        _ => batches::table_with(sequence.merge_mode, &padding, &[rules, &[properties]].concat()),
    }
}

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
