//! `etl compact`, `etl expire` and `etl orphans`: what is kept reads as before, what is not needed is gone, and nothing else, whatever
//! fails and whoever writes meanwhile.

mod alone;
mod beside;
mod compaction;
mod manifests;
mod sequences;
mod upkeep;
mod version;

pub use beside::{PAIRS, faults};
pub use manifests::faults_of_manifests;
pub use sequences::{DELETED, FAULTS, SEQUENCES, TIERED, TRIALS, property};
pub use upkeep::UPKEEP;

use std::collections::BTreeSet;

use self::{
    alone::{agrees, asks, expire, foreign, kept, linked, nested, orphans, shared},
    beside::{
        compact_beside_dedupe, dedupe_beside_compact, dedupe_beside_expire, dedupe_beside_orphans, expire_beside_dedupe,
    },
    compaction::{commits, compact},
    manifests::{compact_manifests, dedupe_beside_manifests, manifests_beside_dedupe},
};
use crate::{
    batches::{self, File, TABLE},
    here,
    lake::{Lake, Ran, TableSetup, Tier, parse_json},
    model::{Model, Row},
};

/// When everything that a test has written is old: files carry the machine's time, snapshots that of `ETL_NOW`.
const MUCH_LATER: &str = "2100-01-01T00:00:00Z";

/// One trial: its name, whether it needs PyIceberg, and what it does.
pub type Named = (&'static str, bool, fn(Tier) -> Result<(), String>);

/// On each tier.
pub const ALONE: [Named; 8] = [
    ("compact", false, compact),
    ("compact-manifests", false, compact_manifests),
    ("expire", false, expire),
    ("expire-foreign", true, foreign),
    ("expire-asks", false, asks),
    ("orphans", false, orphans),
    ("orphans-kept", false, kept),
    ("orphans-nested", false, nested),
];

/// In a folder alone.
pub const BESIDE: [Named; 10] = [
    ("compact-commits", false, commits),
    ("compact-beside-dedupe", false, compact_beside_dedupe),
    ("dedupe-beside-compact", false, dedupe_beside_compact),
    ("dedupe-beside-manifests", false, dedupe_beside_manifests),
    ("manifests-beside-dedupe", false, manifests_beside_dedupe),
    ("expire-beside-dedupe", false, expire_beside_dedupe),
    ("dedupe-beside-expire", false, dedupe_beside_expire),
    ("dedupe-beside-orphans", false, dedupe_beside_orphans),
    ("orphans-shared", true, shared),
    ("orphans-linked", false, linked),
];

/// A table of so many hours, an hour apart, with the rows that each left and the snapshot it made.
struct World {
    lake: Lake,
    model: Model,
    /// Snapshot and rows after each hour.
    history: Vec<(i64, Model)>,
}

fn world(tier: Tier, name: &str, hours: usize) -> Result<World, String> {
    world_merged(tier, name, hours, batches::MERGE_MODES[0])
}

fn world_merged(tier: Tier, name: &str, hours: usize, mode: &str) -> Result<World, String> {
    world_with(tier, name, hours, batches::table_merged(mode))
}

fn world_with(tier: Tier, name: &str, hours: usize, table: TableSetup) -> Result<World, String> {
    let lake = Lake::new(tier, name, &[table]);
    let mut world = World { lake, model: Model::default(), history: Vec::new() };
    for hour in 0..hours {
        world.take_in(hour)?;
    }
    Ok(world)
}

impl World {
    fn take_in(&mut self, hour: usize) -> Result<(), String> {
        let files = hour_of(hour);
        batches::place(&self.lake, hour, &files);
        self.lake.now = format!("2025-06-05T{hour:02}:00:00Z");
        let ran = ended(self.lake.run(&batches::dedupe(hour)), 0)?;
        self.model.apply(&files.concat());
        let id = ran.reports[0]["output"]["snapshot_after"].as_i64().ok_or("no snapshot")?;
        self.history.push((id, self.model.clone()));
        Ok(())
    }

    /// The table is whole, has the model's rows, and each of these snapshots reads as it did.
    fn is_right(&self, kept: &[usize]) -> Result<(), String> {
        ended(quick(&self.lake, &["check"]), 0)?;
        let table = self.lake.local(TABLE);
        let read = |from: &str| {
            let statement = format!("SELECT * FROM {from}");
            let ran = ended(quick(&self.lake, &["query", "--full-scan", &statement]), 0)?;
            parse_json(&ran.stdout)
        };
        batches::compare_with(&read(&table)?, &self.model)?;
        for index in kept {
            let (id, then) = &self.history[*index];
            let rows = read(&format!("{table} FOR VERSION AS OF {id}"))?;
            batches::compare_with(&rows, then).map_err(|error| format!("snapshot {index}: {error}"))?;
        }
        Ok(())
    }
}

/// Runs for a result in JSON, without a process of its own where that is possible.
fn quick(lake: &Lake, words: &[&str]) -> Ran {
    match lake.tier() {
        Tier::Local => here::run(lake, words),
        Tier::Cloud => lake.run(&[words, &["--output", "json"]].concat()),
    }
}

/// Rows that meet those of earlier hours: inserts, updates, and a deletion from the second hour on.
fn hour_of(hour: usize) -> Vec<File> {
    let rank = u8::try_from(hour).expect("few hours");
    let row = |key: u8, day, value, is_delete| Row { key: Some(key), day, value, rank: Some(rank), is_delete };
    let value = rank % 3;
    vec![
        vec![row(1, 0, value, false), row(2 + rank, 1, value, false)],
        vec![row(20 + rank, 2, value, false), row(1 + rank, 1, 0, hour > 0)],
    ]
}

/// What a run was, if it ended so.
pub fn ended(ran: Ran, exit: i32) -> Result<Ran, String> {
    if ran.exit == exit {
        Ok(ran)
    } else {
        Err(format!("ended {}, not {exit}: {}{}", ran.exit, ran.stdout, ran.stderr))
    }
}

/// One thing is as it should be; `what` says which.
pub fn equal<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} where {expected:?} is expected")) }
}

/// Runs maintenance later than everything else.
fn later(lake: &mut Lake, now: &str, words: &[&str]) -> Ran {
    let before = std::mem::replace(&mut lake.now, now.to_owned());
    let ran = lake.run(words);
    lake.now = before;
    ran
}

const NEXT_DAY: &str = "2025-06-06T00:00:00Z";

/// Where the table lies, from the lake's own folder or prefix.
const PLACE: &str = "warehouse";

/// A file that nothing refers to.
fn stray(lake: &Lake, path: &str) {
    stray_of(lake, path, b"stray");
}

fn stray_of(lake: &Lake, path: &str, bytes: &[u8]) {
    lake.put_anywhere(&format!("{PLACE}/{}/{path}", lake.local(TABLE).replace('.', "/")), bytes.to_vec());
}

/// Everything below the table's location, by its path there.
fn objects(lake: &Lake) -> BTreeSet<String> {
    lake.names_below(&format!("{PLACE}/{}", lake.local(TABLE).replace('.', "/")))
}
