//! Storage classes beside the other jobs of maintenance: what `compact` does about archived files, and `tier` as a step of
//! `maintain`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{ARCHIVED, RAW, World, says, table, world};
use crate::{
    batches,
    lake::parse_json,
    maintain::{ended, equal},
    noise,
};

/// Small files that are enough to be packed.
const FILES: usize = 5;

/// A day after all that was written.
const NEXT_DAY: &str = "2100-01-02T00:00:00Z";

/// The class of each object below a prefix, with how many there are.
type Counts = BTreeMap<String, u64>;

/// Two days of small files: those of the one are archived, and only those of the other are packed; then they move, too.
pub fn maintain() -> Result<(), String> {
    let mut world = world("maintain", &[RAW, ARCHIVED[0], ARCHIVED[1]])?;
    add_day(&world, "2025-06-10", 10)?;
    let tiered = ended(world.run(&["tier", "--yes", "--zone", "curated"]), 0)?;
    equal("status", &tiered.reports[0]["status"], &json!("moved"))?;
    equal("archived", &classes(&world), &counts(&[("GLACIER", 2 + FILES)]))?;
    let archived = world.data();
    add_day(&world, "2025-06-20", 20)?;
    // No partition still receives data.
    world.lake.now = NEXT_DAY.to_owned();
    glance(&world)?;
    // Files that would be packed stay, and what bringing them back takes is said; the others are packed.
    let dry = ended(world.run(&["compact", "--dry-run"]), 0)?;
    let plan = &dry.reports[0]["plan"];
    equal("groups", &plan["groups"].as_array().map(Vec::len), &Some(1))?;
    stays_archived(&dry.reports[0], FILES)?;
    let kept: Vec<_> = plan["kept"].as_array().into_iter().flatten().filter(|of| is_archived(of)).collect();
    equal("the archived partition", &kept.len(), &1)?;

    let dry = ended(world.run(&["maintain", "--dry-run"]), 0)?;
    let tier = step(&dry.reports[0], "tier")?;
    equal("tier", &tier["action"], &json!("run"))?;
    equal("its plan", &tier["report"]["plan"]["decision"], &json!("transitions"))?;
    let costs = tier["money"]["cost"]["dollars"].as_f64().ok_or("no cost")?;
    equal("it costs something", &(costs > 0.0), &true)?;
    equal("it saves", &(tier["money"]["saving_per_month"]["dollars"].as_f64() > Some(0.0)), &true)?;
    let asked = ended(world.run(&["maintain"]), 2)?;
    says(&asked, &["delete objects for good, and change what objects cost and how fast they can be read"])?;
    equal("nothing moved", &classes(&world), &counts(&[("GLACIER", 2 + FILES), ("STANDARD", FILES)]))?;

    // As many moves as can be paid for: each costs 0.00003 $, or 0.00001 $ to Standard-IA.
    let cheap = ended(world.run(&["tier", "--yes", "--zone", "raw", "--max-dollars", "0.00005"]), 0)?;
    let report = &cheap.reports[0];
    let costs = report["money"]["cost"]["dollars"].as_f64().ok_or("no cost")?;
    equal("what it may cost", &(costs > 0.0 && costs <= 0.00005), &true)?;
    equal("the rest is said", &report["kept"].to_string().contains("left for the next run by --max-dollars"), &true)?;

    let ran = ended(world.run(&["maintain", "--yes"]), 0)?;
    let report = &ran.reports[0];
    equal("status", &report["status"], &json!("committed"))?;
    let compact = &step(report, "compact")?["report"];
    equal("compact", &compact["status"], &json!("committed"))?;
    equal("files that were packed", &compact["output"]["files_removed"], &json!(FILES))?;
    stays_archived(compact, FILES)?;
    let tier = &step(report, "tier")?["report"];
    equal("tier", &tier["status"], &json!("moved"))?;
    equal("money", &(tier["money"]["cost"]["dollars"].as_f64() > Some(0.0)), &true)?;
    // The packed file went with them; what it replaces lies where it lay, for expire to delete.
    let now = classes(&world);
    equal("archived", &now.get("GLACIER"), &Some(&(3 + FILES as u64)))?;
    equal("archived files are still there", &archived.iter().all(|path| world.seen(path).class == "GLACIER"), &true)?;

    let again = ended(world.run(&["maintain", "--yes"]), 0)?;
    equal("again", &again.reports[0]["status"], &json!("unchanged"))?;
    says(
        &ended(world.run(&["query", "--full-scan", "SELECT count(DISTINCT payload) FROM curated.telemetry"]), 1)?,
        &["archived"],
    )?;

    // A contract that does not speak of archives: the groups that meet an archived file say what it takes, and change nothing.
    world.lake.set_contract(&table(&[RAW]));
    let before = world.bucket.names(&format!("{}/warehouse", world.name));
    let refused = ended(world.run(&["compact", "--rewrite-all"]), 1)?;
    says(
        &refused,
        &["stay as they are", "archived: ", "costs", "5 hours", "etl tier restore curated.telemetry --zone curated"],
    )?;
    let staged = world.bucket.names(&format!("{}/warehouse", world.name));
    let staged: Vec<_> = staged.into_iter().filter(|name| !before.contains(name) && !name.contains("/.etl/")).collect();
    equal("staged", &staged, &Vec::new())?;
    world.lake.set_contract(&table(&[RAW, ARCHIVED[0], ARCHIVED[1]]));

    // What was brought back is packed like everything else, and the rows are what they were.
    ended(world.run(&["tier", "restore", batches::TABLE, "--zone", "curated", "--all", "--yes"]), 0)?;
    let under_way = ended(world.run(&["compact"]), 0)?;
    equal("on its way", &under_way.reports[0]["kept"].to_string().contains("still being brought back"), &true)?;
    world.emulate(json!({"finish_restores": true}))?;
    let packed = ended(world.run(&["compact"]), 0)?;
    equal("packed", &packed.reports[0]["output"]["files_removed"], &json!(FILES))?;
    equal("rows", &world.rows("")?, &(40 * (2 + 2 * FILES as u64)))?;
    ended(world.run(&["check"]), 0).map(drop)
}

/// What `inspect` says of classes is what lies there, and what `tier` would do is what it does.
fn glance(world: &World) -> Result<(), String> {
    let health = |words: &[&str]| {
        let ran = ended(world.run(&[&["inspect", "--output", "json"][..], words].concat()), 0)?;
        parse_json(&ran.stdout)?.pop().ok_or_else(|| "it said nothing".to_owned())
    };
    let job = |health: &Value, name: &str| {
        health["jobs"].as_array().into_iter().flatten().find(|of| of["job"] == name).cloned().unwrap_or_default()
    };
    let bare = health(&[])?;
    equal("classes that are taken for granted", &bare["storage"]["classes"].as_array().map(Vec::len), &Some(1))?;
    equal("tier is not looked at", &job(&bare, "tier")["would"], &json!("unknown"))?;
    let text = ended(world.run(&["inspect"]), 0)?;
    equal("what is taken for granted", &text.stdout.contains("as if all of it were in Standard"), &true)?;

    let listed = health(&["--storage"])?;
    let mut said = Counts::new();
    let mut sums = (0, 0.0);
    for class in listed["storage"]["classes"].as_array().into_iter().flatten() {
        let number = |key: &str| class[key].as_u64().unwrap_or(0);
        said.insert(class["class"].as_str().unwrap_or_default().to_owned(), number("files"));
        // 32 KiB of index for each archived object; nothing in Standard.
        let overhead = if class["class"] == "GLACIER" { number("files") * 32_768 } else { 0 };
        equal("charged as", &number("billable_bytes"), &(number("bytes") + overhead))?;
        sums.0 += number("bytes");
        sums.1 += class["per_month"]["dollars"].as_f64().ok_or("no price")?;
    }
    let folder = format!("{}/warehouse", world.name);
    let location = listed["location"].as_str().unwrap_or_default();
    let below = location.split_once(&folder).map(|(_, path)| format!("{folder}{path}")).ok_or("no location")?;
    let objects = world.bucket.names(&below);
    let all = world.classes_of(objects.iter().map(String::as_str));
    equal("classes", &said, &all)?;
    let path = |name: &String| name.replacen(&format!("{}/", world.name), "", 1);
    let bytes: u64 = objects.iter().filter_map(|name| world.seen(&path(name)).bytes.parse::<u64>().ok()).sum();
    equal("bytes", &sums.0, &bytes)?;
    let per_month = listed["storage"]["per_month"]["dollars"].as_f64().ok_or("no sum")?;
    equal("the sum", &((per_month - sums.1).abs() < 1e-9), &true)?;
    // Archived files are not counted among those that would be written again.
    let compact = job(&listed, "compact");
    equal("compact", &compact["what"].as_str().is_some_and(|what| what.starts_with("write 5 files")), &true)?;
    let tier = job(&listed, "tier");
    equal("tier", &tier["would"], &json!("act"))?;
    let dry = ended(world.run(&["tier", "--dry-run"]), 0)?;
    equal("its money", &tier["money"], &dry.reports[0]["plan"]["money"])
}

/// Raw files of so many hours with events of one day, all of them in the table.
fn add_day(world: &World, day: &str, hour: usize) -> Result<(), String> {
    for hour in hour..hour + FILES {
        world.put_raw(hour, noise::file_of(&format!("{day}T12:00"), 40, 8_000, hour as u64)?)?;
        ended(world.run(&batches::dedupe(hour)), 0)?;
    }
    Ok(())
}

fn classes(world: &World) -> Counts {
    let data = world.data();
    let names: Vec<_> = data.iter().map(|path| format!("{}/{path}", world.name)).collect();
    world.classes_of(names.iter().map(String::as_str))
}

fn counts(of: &[(&str, usize)]) -> Counts {
    of.iter().map(|(class, files)| ((*class).to_owned(), *files as u64)).collect()
}

fn is_archived(kept: &Value) -> bool {
    kept["reason"].as_str().is_some_and(|reason| reason.starts_with("archived: "))
}

/// The report says which files stay in the archive, and what it takes to have them.
fn stays_archived(report: &Value, files: usize) -> Result<(), String> {
    let kept = report["kept"].as_array().into_iter().flatten().find(|kept| is_archived(kept));
    let kept = kept.ok_or_else(|| format!("nothing archived is kept: {report}"))?;
    equal("files", &kept["files"], &json!(files))?;
    let reason = kept["reason"].as_str().unwrap_or_default();
    let words =
        ["curated objects (", ".parquet", "costs", "5 hours", "etl tier restore curated.telemetry --zone curated"];
    match words.iter().find(|word| !reason.contains(**word)) {
        None => Ok(()),
        Some(word) => Err(format!("it does not say {word:?}: {reason}")),
    }
}

fn step<'a>(report: &'a Value, name: &str) -> Result<&'a Value, String> {
    let steps = report["steps"].as_array().map_or(&[][..], Vec::as_slice);
    steps.iter().find(|step| step["job"] == name).ok_or_else(|| format!("no step {name} in {report}"))
}

impl World {
    /// The classes of objects of the bucket, with how many have each.
    fn classes_of<'a>(&self, names: impl Iterator<Item = &'a str>) -> Counts {
        let mut counts = Counts::new();
        for name in names {
            let path = name.strip_prefix(&format!("{}/", self.name)).unwrap_or(name);
            *counts.entry(self.seen(path).class).or_default() += 1;
        }
        counts
    }
}
