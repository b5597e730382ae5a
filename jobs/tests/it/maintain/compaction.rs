//! Compaction with nobody beside it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{MUCH_LATER, World, agrees, ended, equal, later, objects, world_merged};
use crate::{
    batches::{self, MERGE_MODES, TABLE},
    lake::Tier,
};

/// Files of a few rows each, and deletes of rows in them.
fn marked(tier: Tier, name: &str, hours: usize) -> Result<World, String> {
    world_merged(tier, name, hours, MERGE_MODES[1])
}

fn reasons(report: &Value) -> BTreeSet<&str> {
    report["kept"].as_array().into_iter().flatten().filter_map(|kept| kept["reason"].as_str()).collect()
}

impl World {
    /// What a compaction has made reads as the table did.
    pub fn compacted(&mut self, report: &Value) -> Result<(), String> {
        self.compacted_since(report, &(0..self.history.len()).collect::<Vec<_>>())
    }

    /// The same, and so do these snapshots of before.
    pub fn compacted_since(&mut self, report: &Value, kept: &[usize]) -> Result<(), String> {
        let id = report["output"]["snapshot_after"].as_i64().ok_or("no snapshot")?;
        self.history.push((id, self.model.clone()));
        self.is_right(&[kept, &[self.history.len() - 1]].concat())
    }
}

/// What is written again and what is left, and that everything reads as before.
pub fn compact(tier: Tier) -> Result<(), String> {
    let mut world = marked(tier, "compact", 5)?;
    let before = objects(&world.lake);
    let words = ["compact", "--min-input-files", "2", "--min-copy-size-bytes", "1"];
    let early = ended(world.lake.run(&words), 0)?;
    equal("the status while data comes", &early.reports[0]["status"], &json!("unchanged"))?;
    equal("why", &reasons(&early.reports[0]), &BTreeSet::from(["its partition still receives data"]))?;
    let dry = ended(later(&mut world.lake, MUCH_LATER, &[&words[..], &["--dry-run"]].concat()), 0)?;
    equal("the dry run's status", &dry.reports[0]["status"], &json!("planned"))?;
    equal("the plan", &dry.reports[0]["plan"]["decision"], &json!("compact"))?;
    let hurried = ended(later(&mut world.lake, MUCH_LATER, &[&words[..], &["--max-time", "0s"]].concat()), 0)?;
    equal("without time", &hurried.reports[0]["status"], &json!("unchanged"))?;
    equal("warnings", &hurried.reports[0]["warnings"].to_string().contains("for want of time"), &true)?;
    equal("objects so far", &objects(&world.lake), &before)?;

    let ran = ended(later(&mut world.lake, MUCH_LATER, &words), 0)?;
    let report = &ran.reports[0];
    equal("status", &report["status"], &json!("committed"))?;
    let groups = dry.reports[0]["plan"]["groups"].as_array().ok_or("no groups")?;
    let planned: usize = groups.iter().filter_map(|group| Some(group["files"].as_array()?.len())).sum();
    equal("files removed", &report["output"]["files_removed"], &json!(planned))?;
    equal("a file for each group", &report["output"]["files_added"], &json!(groups.len()))?;
    let compaction = &report["compaction"];
    equal("commits", &compaction["commits"], &json!(1))?;
    let is_some = |name: &str| compaction[name].as_u64() > Some(0);
    equal("rows were copied, and left out", &(is_some("rows_copied"), is_some("rows_deleted")), &(true, true))?;
    equal("delete files went", &is_some("delete_files_removed"), &true)?;
    let (rows, deleted) = (compaction["rows"].as_u64(), compaction["rows_deleted"].as_u64());
    equal("rows add up", &report["inputs"]["rows"].as_u64(), &rows.zip(deleted).map(|(a, b)| a + b))?;
    world.compacted(report)?;
    agrees(&world, &(0..6).collect::<Vec<_>>())?;
    equal("nothing is deleted", &objects(&world.lake).is_superset(&before), &true)?;

    let again = ended(later(&mut world.lake, MUCH_LATER, &words), 0)?;
    equal("again", &again.reports[0]["status"], &json!("unchanged"))?;
    let sorted = [&words[..], &["--rewrite-all", "--sort", "temperature DESC, event_id"]].concat();
    let ran = ended(later(&mut world.lake, MUCH_LATER, &sorted), 0)?;
    equal("sorted rows are decoded", &ran.reports[0]["compaction"]["rows_copied"], &json!(0))?;
    world.compacted(&ran.reports[0])?;

    // Life goes on, and what was replaced goes with its snapshots.
    world.take_in(5)?;
    let expire = ["expire", "--older-than", "2200-01-01", "--retain-last", "2", "--yes"];
    ended(later(&mut world.lake, MUCH_LATER, &expire), 0)?;
    world.is_right(&[6, 7])?;
    let files = objects(&world.lake).into_iter().filter(|path| before.contains(path) && path.starts_with("data/"));
    equal("files of before the compactions", &files.count(), &0)?;
    for (bad, exit) in [
        (&["--where", "nothing = 1"][..], 2),
        (&["--where", "op LIKE '%D'"], 2),
        (&["--sort", "nothing"], 2),
        (&["--z-order", "op"], 2),
        (&["--min-file-size-bytes", "1GiB"], 2),
        (&["--sort", "a", "--no-sort"], 2),
        (&["--delete-ratio-threshold", "2"], 2),
    ] {
        let ran = later(&mut world.lake, MUCH_LATER, &[&["compact"], bad].concat());
        equal(&format!("exit of {bad:?}: {}", ran.stderr), &ran.exit, &exit)?;
    }
    world.is_right(&[6, 7])
}

/// Several commits, a filter, limits, and all or nothing.
pub fn commits(tier: Tier) -> Result<(), String> {
    let mut world = marked(tier, "compact-commits", 4)?;
    let base = ["compact", "--rewrite-all"];
    let filtered = ["--where", "event_time < '2025-06-03'"];
    let ran = ended(later(&mut world.lake, MUCH_LATER, &[&base[..], &filtered].concat()), 0)?;
    equal("what the filter leaves out", &reasons(&ran.reports[0]), &BTreeSet::from(["--where leaves it out"]))?;
    equal("groups by filter", &ran.reports[0]["compaction"]["groups"], &json!(1))?;
    world.compacted(&ran.reports[0])?;
    let limited = ["--max-files", "1", "--rewrite-job-order", "files-desc"];
    let ran = ended(later(&mut world.lake, MUCH_LATER, &[&base[..], &limited].concat()), 0)?;
    equal("files of one run", &ran.reports[0]["output"]["files_removed"], &json!(1))?;
    equal("the others", &reasons(&ran.reports[0]), &BTreeSet::from(["left for the next run by --max-files 1"]))?;
    world.compacted(&ran.reports[0])?;
    let ran = ended(later(&mut world.lake, MUCH_LATER, &[&base[..], &["--max-commits", "2"]].concat()), 0)?;
    let compaction = &ran.reports[0]["compaction"];
    equal("commits", &json!([compaction["commits"], compaction["groups"]]), &json!([2, 3]))?;
    world.compacted(&ran.reports[0])?;
    let alone = ["--max-commits", "2", "--no-partial-progress"];
    let ran = ended(later(&mut world.lake, MUCH_LATER, &[&base[..], &alone].concat()), 0)?;
    equal("all at once", &ran.reports[0]["compaction"]["commits"], &json!(1))?;
    world.compacted(&ran.reports[0])?;
    batches::check(&world.lake)?;
    let text = later(&mut world.lake, MUCH_LATER, &["compact", TABLE]);
    equal("there is nothing more", &ended(text, 0)?.stdout.contains("every file stays as it is"), &true)
}
