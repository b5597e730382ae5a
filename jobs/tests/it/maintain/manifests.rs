//! Manifests written again by `etl compact`, alone and with a fault or a merge at every step.

use serde_json::{Value, json};

use super::{
    MUCH_LATER, World, agrees,
    beside::{PAIRS, Saved},
    ended, equal, hour_of, later, objects, world_with,
};
use crate::{
    batches::{self, MERGE_MODES},
    faults::{self, FAULT},
    here,
    lake::Tier,
};

/// Every hour brings manifests of data and of deletes for the same three days.
const HOURS: usize = 6;

/// No file is written again, so that manifests are all there is to do.
const WORDS: [&str; 4] = ["compact", "--keep-dangling-deletes", "--where", "event_time < '2000-01-01'"];

fn overlapping(tier: Tier, name: &str) -> Result<World, String> {
    // About two files each are enough for a manifest of its own.
    world_with(tier, name, HOURS, batches::table_of_manifests(MERGE_MODES[1], 8_000))
}

fn words() -> Vec<String> {
    WORDS.map(str::to_owned).into()
}

fn rewritten(report: &Value) -> (u64, u64) {
    let of = |name: &str| report["compaction"][name].as_u64().unwrap_or(0);
    (of("manifests_rewritten"), of("manifests_written"))
}

/// What is rewritten and why, that everything reads as before, and that once is enough.
pub fn compact_manifests(tier: Tier) -> Result<(), String> {
    let mut world = overlapping(tier, "compact-manifests")?;
    let before = objects(&world.lake);
    let unwanted = [&WORDS[..], &["--no-rewrite-manifests"]].concat();
    let kept = ended(later(&mut world.lake, MUCH_LATER, &unwanted), 0)?;
    equal("the status when nobody wants it", &kept.reports[0]["status"], &json!("unchanged"))?;
    let dry = ended(later(&mut world.lake, MUCH_LATER, &[&WORDS[..], &["--dry-run"]].concat()), 0)?;
    let rewrites = dry.reports[0]["plan"]["manifests"]["rewrites"].as_array().ok_or("no rewrites")?.clone();
    let why = rewrites.iter().all(|of| of["reasons"].to_string().contains("a scan of one partition opens up to"));
    equal("why", &why, &true)?;
    let hurried = ended(later(&mut world.lake, MUCH_LATER, &[&WORDS[..], &["--max-time", "0s"]].concat()), 0)?;
    equal("warnings", &hurried.reports[0]["warnings"].to_string().contains("for want of time"), &true)?;
    equal("objects so far", &objects(&world.lake), &before)?;

    let ran = ended(later(&mut world.lake, MUCH_LATER, &WORDS), 0)?;
    let report = &ran.reports[0];
    equal("status", &report["status"], &json!("committed"))?;
    let planned: usize = rewrites.iter().filter_map(|of| Some(of["paths"].as_array()?.len())).sum();
    equal("manifests rewritten", &rewritten(report).0, &(planned as u64))?;
    equal("of both kinds", &rewrites.len(), &2)?;
    equal(
        "no file is touched",
        &json!([report["output"]["files_added"], report["compaction"]["groups"]]),
        &json!([0, 0]),
    )?;
    let data = |of: &std::collections::BTreeSet<String>| of.iter().filter(|path| path.ends_with(".parquet")).count();
    equal("files", &data(&objects(&world.lake)), &data(&before))?;
    equal("in words", &ran.stdout.contains(&format!("{planned} manifests rewritten as")), &true)?;
    world.compacted(report)?;
    agrees(&world, &(0..=HOURS).collect::<Vec<_>>())?;

    let again = ended(later(&mut world.lake, MUCH_LATER, &WORDS), 0)?;
    equal("again", &again.reports[0]["status"], &json!("unchanged"))?;
    // Life goes on: deletes of before still apply, new ones too, and what was replaced goes with its snapshots.
    world.take_in(HOURS)?;
    let expire = ["expire", "--older-than", "2200-01-01", "--retain-last", "2", "--yes"];
    ended(later(&mut world.lake, MUCH_LATER, &expire), 0)?;
    world.is_right(&[HOURS, HOURS + 1])?;
    let manifests = |of: &std::collections::BTreeSet<String>| {
        of.iter().filter(|path| path.contains("-m")).cloned().collect::<Vec<_>>()
    };
    equal("manifests of before", &manifests(&objects(&world.lake)).iter().any(|path| before.contains(path)), &false)?;
    let files = ended(later(&mut world.lake, MUCH_LATER, &["compact", "--rewrite-all", "--include-active"]), 0)?;
    world.compacted_since(&files.reports[0], &[HOURS, HOURS + 1])
}

/// A whole merge at every step of a rewrite.
pub fn dedupe_beside_manifests(tier: Tier) -> Result<(), String> {
    let mut world = overlapping(tier, "dedupe-beside-manifests")?;
    let start = with_next_hour(&mut world);
    let steps = faults::count(&world.lake, &words())?;
    let mut landed = 0;
    for step in 1..=steps {
        start.restore(&world.lake);
        let at = |error: String| format!("stopped at step {step} of {steps}: {error}");
        let mut beside = None;
        let ran = faults::pause(&world.lake, &words(), step, |_| {
            beside = Some(here::run(&world.lake, &batches::dedupe(HOURS)));
        });
        ended(beside.ok_or("it was not run")?, 0).map_err(at)?;
        let ran = ended(ran, 0).map_err(at)?;
        landed += u64::from(rewritten(&ran.reports[0]).0 > 0);
        world.is_right(&[]).map_err(at)?;
    }
    // A merge that is done at once never keeps a rewrite from landing.
    equal("rewrites that landed", &landed, &steps)
}

/// A whole rewrite at every step of a merge.
pub fn manifests_beside_dedupe(tier: Tier) -> Result<(), String> {
    let mut world = overlapping(tier, "manifests-beside-dedupe")?;
    let start = with_next_hour(&mut world);
    let merge = batches::dedupe(HOURS);
    let steps = faults::count(&world.lake, &merge)?;
    for step in 1..=steps {
        start.restore(&world.lake);
        let at = |error: String| format!("stopped at step {step} of {steps}: {error}");
        let mut beside = None;
        let ran = faults::pause(&world.lake, &merge, step, |_| beside = Some(here::run(&world.lake, &words())));
        let beside = ended(beside.ok_or("it was not run")?, 0).map_err(at)?;
        equal("the rewrite landed", &(rewritten(&beside.reports[0]).0 > 0), &true).map_err(at)?;
        // The writer waits for nothing: rows of its files are where they were.
        ended(ran, 0).map_err(at)?;
        world.is_right(&[]).map_err(at)?;
    }
    Ok(())
}

/// The raw files of one more hour, which the model has and the table not yet.
fn with_next_hour(world: &mut World) -> Saved {
    let files = hour_of(HOURS);
    batches::place(&world.lake, HOURS, &files);
    world.model.apply(&files.concat());
    world.lake.now = MUCH_LATER.to_owned();
    Saved::of(&world.lake)
}

/// Every step of a rewrite, with a fault: the table has its rows, and the same command again leaves nothing that is not needed.
pub fn faults_of_manifests(fault: &str) -> Result<(), String> {
    let mut world = overlapping(Tier::Local, &format!("manifests-fault-{fault}"))?;
    world.lake.now = MUCH_LATER.to_owned();
    let start = Saved::of(&world.lake);
    let before = objects(&world.lake);
    let kept: Vec<usize> = (0..HOURS).collect();
    let steps = faults::count(&world.lake, &words())?;
    let undisturbed = sweep(&world)?;
    for step in 1..=steps {
        start.restore(&world.lake);
        let ran = world.lake.start(&words(), &[(FAULT, &format!("{step}:{fault}"))]).wait();
        let at =
            |error: String| format!("{fault} at step {step} of {steps}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        world.is_right(&kept).map_err(at)?;
        if ran.exit > 0 && rewritten(&ran.reports[0]).0 == 0 {
            equal("a run that failed has left nothing behind", &objects(&world.lake), &before).map_err(at)?;
        }
        ended(here::run(&world.lake, &words()), 0).map_err(at)?;
        world.is_right(&kept).map_err(at)?;
        equal("what is left in the end", &sweep(&world).map_err(at)?, &undisturbed).map_err(at)?;
        PAIRS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}

/// Removes orphans, and gives how many objects of data and of manifests are left.
fn sweep(world: &World) -> Result<[usize; 2], String> {
    ended(here::run(&world.lake, &["orphans", "--max-fraction", "1", "--yes"]), 0)?;
    let objects = objects(&world.lake);
    Ok([".parquet", ".avro"].map(|end| objects.iter().filter(|path| path.ends_with(end)).count()))
}
