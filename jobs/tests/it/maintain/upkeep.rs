//! `etl inspect` and `etl maintain`: what they say is what is there, and what `maintain` does is what the jobs do.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{MUCH_LATER, Named, ended, equal, later, objects, stray, world};
use crate::{
    here,
    lake::{Lake, Tier, parse_json},
};

/// On each tier.
pub const UPKEEP: [Named; 4] = [
    ("inspect", false, inspect),
    ("maintain", false, maintain),
    ("maintain-budget", false, budget),
    ("maintain-refused", false, refused),
];

/// What is said of a table is what lies there, and looking changes nothing.
fn inspect(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "inspect", 3)?;
    stray(&world.lake, "data/stray.parquet");
    let before = objects(&world.lake);
    let health = health(&mut world.lake, &["inspect"])?;
    let rows = world.model.rows.len();
    equal("rows", &health["data"]["rows"], &json!(rows))?;
    equal("snapshots", &health["history"]["snapshots"], &json!(3))?;
    equal("the head", &health["head"]["snapshot_id"], &json!(world.history[2].0))?;
    equal("a branch", &health["history"]["refs"][0]["name"], &json!("main"))?;
    let data_files = |of: &Value| of.as_u64().unwrap_or(0);
    let listed = &health["partitions"]["largest"];
    let in_partitions: u64 = listed.as_array().ok_or("no partitions")?.iter().map(|of| data_files(&of["files"])).sum();
    equal("files of all partitions", &json!(in_partitions), &health["data"]["files"])?;
    equal("not listed", &health["storage"]["listed"], &json!(false))?;
    equal("orphans are not known", &job(&health, "orphans")["would"], &json!("unknown"))?;
    equal("nothing is tiered", &job(&health, "tier")["would"], &json!("nothing"))?;

    // What expire would free is what expire finds, to the byte and the cent.
    let dry = ended(later(&mut world.lake, MUCH_LATER, &["expire", "--dry-run"]), 0)?;
    let expire = job(&health, "expire");
    equal("expire", &expire["would"], &json!("act"))?;
    equal("money", &expire["money"], &dry.reports[0]["plan"]["money"])?;
    let freed = dry.reports[0]["plan"]["deletes"].as_array().ok_or("no deletes")?;
    let freed: u64 = freed.iter().map(|of| data_files(&of["files"])).sum();
    let said = expire["what"].as_str().unwrap_or_default();
    equal(&format!("{freed} in {said:?}"), &said.contains(&format!("delete {freed} files")), &true)?;

    let health = self::health(&mut world.lake, &["inspect", "--storage"])?;
    equal("listed", &health["storage"]["listed"], &json!(true))?;
    equal("objects", &health["storage"]["classes"][0]["files"], &json!(before.len()))?;
    equal("orphans", &job(&health, "orphans")["would"], &json!("act"))?;
    equal("objects after looking", &objects(&world.lake), &before)?;
    world.is_right(&[0, 1, 2])
}

/// All that a table needs in one command: asked once, done in order, and then there is nothing left to do.
fn maintain(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "maintain", 6)?;
    stray(&world.lake, "data/stray.parquet");
    let before = objects(&world.lake);
    let dry = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--dry-run"]), 0)?;
    equal("status", &dry.reports[0]["status"], &json!("planned"))?;
    let jobs: Vec<_> = steps(&dry.reports[0]).iter().map(|step| step["job"].clone()).collect();
    equal("the order", &jobs, &["compact", "expire", "orphans", "tier"].map(|job| json!(job)).to_vec())?;
    for step in steps(&dry.reports[0]).iter().filter(|step| step["job"] != "tier") {
        equal("a reason", &step["why"].as_str().is_some_and(|why| !why.is_empty()), &true)?;
        equal("the plan", &step["report"]["plan"]["decision"].is_string(), &true)?;
    }
    let not_tiered = json!("its contract has no etl.tier.raw and no etl.tier.curated");
    equal("no rules", &step(&dry.reports[0], "tier")?["why"], &not_tiered)?;
    equal("objects after a dry run", &objects(&world.lake), &before)?;
    let asked = ended(later(&mut world.lake, MUCH_LATER, &["maintain"]), 2)?;
    equal("steps are said", &steps(&asked.reports[0]).len(), &4)?;
    equal("objects without an answer", &objects(&world.lake), &before)?;
    if tier == Tier::Local {
        world.lake.now = MUCH_LATER.to_owned();
        let no = ended(here::answer(&world.lake, &["maintain"], false), 0)?;
        equal("after no", &no.reports[0]["status"], &json!("planned"))?;
        equal("objects after no", &objects(&world.lake), &before)?;
    }

    let ran = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes"]), 0)?;
    let report = &ran.reports[0];
    equal("status", &report["status"], &json!("committed"))?;
    equal("one report for a table", &ran.reports.len(), &1)?;
    for (name, status) in [("expire", "committed"), ("orphans", "deleted")] {
        let step = step(report, name)?;
        equal(name, &step["action"], &json!("run"))?;
        equal(name, &step["report"]["status"], &json!(status))?;
    }
    equal("the stray is gone", &objects(&world.lake).contains("data/stray.parquet"), &false)?;
    equal("less lies there", &(objects(&world.lake).len() < before.len()), &true)?;
    equal("the last snapshot", &report["output"]["snapshot_after"].is_i64(), &true)?;
    world.is_right(&[])?;
    let again = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes"]), 0)?;
    equal("again", &again.reports[0]["status"], &json!("unchanged"))?;
    equal("why", &again.reports[0]["reason"], &json!("no job has anything to do"))?;
    let runs = world.lake.run(&["runs"]);
    equal("a line of the run", &runs.stdout.contains("  maintain  "), &true)?;
    let id = report["run_id"].as_str().ok_or("no id")?.to_owned();
    let shown = ended(world.lake.run(&["runs", &id]), 0)?;
    equal("its steps are shown", &shown.stdout.contains("snapshots expired"), &true)
}

/// What does not fit is left, said, and found again by the next run.
fn budget(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "maintain-budget", 3)?;
    stray(&world.lake, "data/stray.parquet");
    let before = objects(&world.lake);
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes", "--budget-time", "0s"]), 0)?;
    for step in steps(&ran.reports[0]).iter().filter(|step| step["what"].is_string()) {
        equal("a step without time", &step["action"], &json!("later"))?;
        equal("why", &step["why"].as_str().is_some_and(|why| why.contains("--budget-time")), &true)?;
    }
    equal("objects without time", &objects(&world.lake), &before)?;
    // The new metadata of an expiry is a PUT; deletions are free.
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes", "--budget-dollars", "0"]), 0)?;
    equal("expire", &step(&ran.reports[0], "expire")?["action"], &json!("later"))?;
    equal("orphans", &step(&ran.reports[0], "orphans")?["report"]["status"], &json!("deleted"))?;
    equal("status", &ran.reports[0]["status"], &json!("deleted"))?;
    world.is_right(&[0, 1, 2])?;
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes", "--budget-bytes", "1GiB"]), 0)?;
    equal("expire", &step(&ran.reports[0], "expire")?["report"]["status"], &json!("committed"))?;
    for words in [
        &["maintain", "--budget-time", "soon"][..],
        &["maintain", "--budget-dollars", "-1"],
        &["maintain", "--budget-bytes", "many"],
        &["maintain", "curated.none"],
    ] {
        ended(world.lake.run(words), 2)?;
    }
    world.is_right(&[])
}

/// What one job refuses keeps the others from nothing, and is a warning; a table that cannot be read is a failure, and
/// nothing is touched.
fn refused(tier: Tier) -> Result<(), String> {
    let mut world = world(tier, "maintain-refused", 3)?;
    (0..80).for_each(|n| stray(&world.lake, &format!("data/stray-{n}.parquet")));
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes"]), 0)?;
    let report = &ran.reports[0];
    equal("orphans", &step(report, "orphans")?["action"], &json!("refused"))?;
    equal("a warning", &report["warnings"].to_string().contains("orphans refuses"), &true)?;
    equal("expire", &step(report, "expire")?["report"]["status"], &json!("committed"))?;
    equal("strays", &objects(&world.lake).iter().filter(|path| path.contains("stray")).count(), &80)?;
    world.is_right(&[])?;

    let manifests: BTreeSet<String> = world
        .lake
        .warehouse()
        .into_iter()
        .map(|(location, _)| location)
        .filter(|at| at.ends_with("-m0.avro"))
        .collect();
    manifests.iter().for_each(|location| world.lake.set(location, Some(b"no manifest")));
    let before = objects(&world.lake);
    let ran = ended(later(&mut world.lake, MUCH_LATER, &["maintain", "--yes"]), 1)?;
    equal("status", &ran.reports[0]["status"], &json!("failed"))?;
    equal("objects", &objects(&world.lake), &before)?;
    ended(later(&mut world.lake, MUCH_LATER, &["inspect"]), 1)?;
    Ok(())
}

/// The one document of `etl inspect`.
fn health(lake: &mut Lake, words: &[&str]) -> Result<Value, String> {
    let ran = ended(later(lake, MUCH_LATER, &[words, &["--output", "json", "--partitions", "1000"]].concat()), 0)?;
    parse_json(&ran.stdout)?.pop().ok_or_else(|| "it said nothing".to_owned())
}

fn job<'a>(health: &'a Value, name: &str) -> &'a Value {
    let jobs = health["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    jobs.iter().find(|of| of["job"] == name).unwrap_or(&Value::Null)
}

fn steps(report: &Value) -> &[Value] {
    report["steps"].as_array().map_or(&[][..], Vec::as_slice)
}

fn step<'a>(report: &'a Value, name: &str) -> Result<&'a Value, String> {
    steps(report).iter().find(|step| step["job"] == name).ok_or_else(|| format!("no step {name} in {report}"))
}
