//! Each job with a fault, or a merge, at every one of its steps.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use serde_json::{Value, json};

use super::{MUCH_LATER, World, ended, equal, hour_of, objects, stray, world_merged};
use crate::{
    batches,
    faults::{self, FAULT},
    here,
    lake::{Lake, Ran, Tier},
};

/// (step, fault) pairs tried.
pub static PAIRS: AtomicU64 = AtomicU64::new(0);

/// A whole expiry at every step of a merge.
pub fn expire_beside_dedupe(tier: Tier) -> Result<(), String> {
    let expire: fn(&Lake) -> Ran = |lake| here::run(lake, &["expire", "--older-than", "2025-06-06", "--yes"]);
    beside(tier, "expire-beside-dedupe", &batches::dedupe(3), expire)
}

/// A compaction of all there is, in several commits. A second one finds nothing to do.
fn compaction() -> Vec<String> {
    let words = ["compact", "--min-input-files", "2", "--delete-file-threshold", "1", "--include-active"];
    let more = ["--max-commits", "3", "--min-copy-size-bytes", "1"];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// A whole compaction at every step of a merge.
pub fn compact_beside_dedupe(tier: Tier) -> Result<(), String> {
    beside(tier, "compact-beside-dedupe", &batches::dedupe(3), |lake| here::run(lake, &compaction()))
}

/// A whole merge at every step of a compaction.
pub fn dedupe_beside_compact(tier: Tier) -> Result<(), String> {
    beside(tier, "dedupe-beside-compact", &compaction(), |lake| here::run(lake, &batches::dedupe(3)))
}

/// A whole merge at every step of an expiry.
pub fn dedupe_beside_expire(tier: Tier) -> Result<(), String> {
    let words = ["expire", "--older-than", "2025-06-06", "--yes"].map(str::to_owned);
    beside(tier, "dedupe-beside-expire", &words, |lake| here::run(lake, &batches::dedupe(3)))
}

/// A whole merge at every step of a search for orphans, while every file is old.
pub fn dedupe_beside_orphans(tier: Tier) -> Result<(), String> {
    let words = ["orphans", "--yes", "--max-fraction", "1"].map(str::to_owned);
    beside(tier, "dedupe-beside-orphans", &words, |lake| here::run(lake, &batches::dedupe(3)))
}

/// Stops a run at every step, does something else, and lets it go on: the merge that one of them is has been done, and
/// every kept snapshot is whole.
fn beside(tier: Tier, name: &str, words: &[String], other: impl Fn(&Lake) -> Ran) -> Result<(), String> {
    let mode = batches::MERGE_MODES[usize::from(name.contains("compact"))];
    let mut world = world_merged(tier, name, 3, mode)?;
    stray(&world.lake, "data/stray.parquet");
    let files = hour_of(3);
    batches::place(&world.lake, 3, &files);
    world.model.apply(&files.concat());
    world.lake.now = MUCH_LATER.to_owned();
    let start = Saved::of(&world.lake);
    let steps = faults::count(&world.lake, words)?;
    for step in 1..=steps {
        start.restore(&world.lake);
        let at = |error: String| format!("stopped at step {step} of {steps}: {error}");
        let mut beside = None;
        let ran = faults::pause(&world.lake, words, step, |_| beside = Some(other(&world.lake)));
        ended(beside.ok_or("it was not run")?, 0).map_err(at)?;
        if ran.exit == 75 {
            ended(here::run(&world.lake, words), 0).map_err(at)?;
        } else {
            ended(ran, 0).map_err(at)?;
        }
        // Whichever of them the merge was, it is done.
        let again = ended(here::run(&world.lake, &batches::dedupe(3)), 0).map_err(at)?;
        equal("the merge again", &again.reports[0]["status"], &json!("unchanged")).map_err(at)?;
        world.is_right(&[]).map_err(at)?;
    }
    Ok(())
}

/// A week after [`MUCH_LATER`].
const WEEK_AFTER: &str = "2100-01-08T00:00:00Z";

/// Every step of a job, with a fault of each kind: the table has its rows, kept snapshots read as before, and the same
/// command again (of `maintain` once more in a week) leaves nothing that is not needed.
pub fn faults(job: &str, fault: &str) -> Result<(), String> {
    let words: Vec<String> = match job {
        "expire" => ["expire", "--older-than", "1h", "--retain-last", "2", "--yes"].map(str::to_owned).into(),
        "compact" => compaction(),
        "maintain" => ["maintain", "--yes"].map(str::to_owned).into(),
        _ => ["orphans", "--max-fraction", "1", "--yes"].map(str::to_owned).into(),
    };
    let (hours, kept): (usize, &[usize]) = match job {
        "expire" => (4, &[2, 3]),
        "compact" => (2, &[1]),
        // As many small files as it takes for a compaction, of which nothing but the last snapshot is kept.
        "maintain" => (5, &[]),
        _ => (4, &[0, 1, 2, 3]),
    };
    let mode = batches::MERGE_MODES[usize::from(["compact", "maintain"].contains(&job))];
    let mut world = world_merged(Tier::Local, &format!("{job}-fault-{fault}"), hours, mode)?;
    stray(&world.lake, "data/stray.parquet");
    stray(&world.lake, "metadata/stray-m0.avro");
    world.lake.now = MUCH_LATER.to_owned();
    let start = Saved::of(&world.lake);
    let before = objects(&world.lake);
    let steps = faults::count(&world.lake, &words)?;
    let undisturbed = sweep(&world, job)?;
    for step in 1..=steps {
        start.restore(&world.lake);
        let ran = world.lake.start(&words, &[(FAULT, &format!("{step}:{fault}"))]).wait();
        let at =
            |error: String| format!("{fault} at step {step} of {steps}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        world.is_right(kept).map_err(at)?;
        if ran.exit == 0 {
            // A deletion that failed is said, with the number of what is left.
            let says = |report: &Value, left: u64| {
                let is_said = report["warnings"].to_string().contains("were not deleted");
                equal("a warning for what is left", &is_said, &(left > 0)).map_err(at)
            };
            let left = |report: &Value| report["deleted"]["left"].as_u64().unwrap_or(0);
            let report = &ran.reports[0];
            let mut all = left(report);
            for step in report["steps"].as_array().into_iter().flatten().map(|step| &step["report"]) {
                says(step, left(step))?;
                all += left(step);
            }
            // What a step says, the whole run says, too.
            says(report, all)?;
        } else if job == "maintain" {
            // A step that failed comes after others that have deleted, or before them.
        } else if ran.exit != -1 && ran.reports[0]["compaction"]["commits"].as_u64().unwrap_or(0) == 0 {
            let is_harmless = objects(&world.lake).is_superset(&before);
            equal("a run that failed has deleted nothing", &is_harmless, &true).map_err(at)?;
            if job == "compact" {
                equal("and left nothing behind", &objects(&world.lake), &before).map_err(at)?;
            }
        }
        ended(here::run(&world.lake, &words), 0).map_err(at)?;
        if job == "maintain" {
            // What compactions of both runs have replaced may go in some days, when the snapshots that they made are old.
            WEEK_AFTER.clone_into(&mut world.lake.now);
            ended(here::run(&world.lake, &words), 0).map_err(at)?;
            MUCH_LATER.clone_into(&mut world.lake.now);
        }
        world.is_right(kept).map_err(at)?;
        let swept = sweep(&world, job).map_err(at)?;
        equal("what is left in the end", &swept, &undisturbed).map_err(at)?;
        PAIRS.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Removes orphans, and gives how many objects of each kind are left.
fn sweep(world: &World, job: &str) -> Result<BTreeMap<String, usize>, String> {
    ended(here::run(&world.lake, &["orphans", "--max-fraction", "1", "--yes"]), 0)?;
    let mut kinds = BTreeMap::new();
    for path in objects(&world.lake) {
        let extension = path.rsplit('.').next().unwrap_or_default().to_owned();
        // How manifests are put together depends on which group was committed first.
        if ["compact", "maintain"].contains(&job) && extension != "parquet" {
            continue;
        }
        // Versions of the table are kept by the log, also those of a lost attempt's sibling.
        if extension != "json" || job == "orphans" {
            *kinds.entry(extension).or_default() += 1;
        }
    }
    Ok(kinds)
}

/// A local lake as it was, to start from again: locations are absolute, so that it must lie where it lay.
pub struct Saved(tempfile::TempDir);

/// What runs write to.
const WRITTEN: [&str; 2] = ["warehouse", "catalog.db"];

impl Saved {
    pub fn of(lake: &Lake) -> Self {
        let saved = Self(tempfile::tempdir().expect("a temporary folder"));
        WRITTEN.iter().for_each(|name| copy(&lake.folder().join(name), &saved.0.path().join(name)));
        saved
    }

    pub fn restore(&self, lake: &Lake) {
        for name in WRITTEN {
            let path = lake.folder().join(name);
            if path.is_dir() {
                fs::remove_dir_all(&path).expect("the folder is removed");
            }
            copy(&self.0.path().join(name), &path);
        }
        for name in ["catalog.db-wal", "catalog.db-shm", "catalog.db-journal"] {
            drop(fs::remove_file(lake.folder().join(name))); // most are not there
        }
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).expect("the file is copied");
        return;
    }
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the folder is listed") {
        let name = entry.expect("the folder is listed").file_name();
        copy(&from.join(&name), &to.join(&name));
    }
}
