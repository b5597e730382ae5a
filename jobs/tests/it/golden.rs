//! Runs a golden case: after each step exit code, report, quarantine and the rows of the table are what the case says;
//! at the end `etl check` is content, a rerun changes nothing, and PyIceberg agrees at every snapshot.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::{
    case::{Case, Counts, Expect, Step},
    lake::{Lake, Ran, TableSetup, Tier, parse_json},
    rows::{Rows, display},
    services::SERVICES,
    tally,
};

/// Runs a case.
pub fn run(tier: Tier, name: &str) -> Result<(), String> {
    let case = Case::read(name)?;
    for moment in moments(tier, &case, name)? {
        let mut world =
            World::new(tier, &case, &format!("{name}{}", moment.map_or_else(String::new, |k| format!("-{k}"))))?;
        for (index, step) in case.steps.iter().enumerate() {
            let at = moment.map_or_else(String::new, |moment| format!(", objects coming at I/O step {moment}"));
            world.step(step, moment).map_err(|error| format!("step {}{at}: {error}", index + 1))?;
        }
        world.finish(&case)?;
    }
    tally::case(tier);
    Ok(())
}

/// For a step with objects that come while it runs: every moment. Otherwise once.
fn moments(tier: Tier, case: &Case, name: &str) -> Result<Vec<Option<u64>>, String> {
    let Some(place) = case.steps.iter().position(|step| !step.during.is_empty()) else { return Ok(vec![None]) };
    let mut world = World::new(tier, case, &format!("{name}-count"))?;
    for step in &case.steps[..place] {
        world.step(step, None)?;
    }
    let step = &case.steps[place];
    world.prepare(step)?;
    let steps = crate::faults::count(&world.lake, &step.run.list())?;
    // What differs between the tiers is tried at every step by the storage's own tests.
    let apart = if tier == Tier::Cloud { 4 } else { 1 };
    Ok((1..=steps).step_by(apart).map(Some).collect())
}

/// A lake, and what it should hold.
struct World<'a> {
    case: &'a Case,
    lake: Lake,
    tables: Vec<TableSetup>,
    expected: BTreeMap<String, Known>,
    /// Snapshot of the first table after each step.
    left: Vec<Option<i64>>,
    last_dedupe: Option<Vec<String>>,
}

/// What a table should hold.
#[derive(Default)]
struct Known {
    rows: Rows,
    /// `None` where the case does not say.
    quarantine: Option<Rows>,
    /// Objects came while a run was at work.
    is_disturbed: bool,
    /// The current snapshot.
    current: Option<i64>,
    /// Rows by snapshot.
    snapshots: BTreeMap<i64, Vec<String>>,
}

impl<'a> World<'a> {
    fn new(tier: Tier, case: &'a Case, name: &str) -> Result<Self, String> {
        let tables = case.tables()?;
        let lake = Lake::new(tier, name, &tables);
        let expected = tables
            .iter()
            .map(|table| (table.name.clone(), Known { quarantine: Some(Rows::default()), ..Known::default() }))
            .collect();
        Ok(Self { case, lake, tables, expected, left: Vec::new(), last_dedupe: None })
    }

    /// What happens before a command.
    fn prepare(&mut self, step: &Step) -> Result<(), String> {
        for (path, object) in &step.raw {
            self.case.place(&self.lake, path, object)?;
        }
        if let Some(contract) = &step.contract {
            self.tables[0].contract = self.case.contract(contract)?;
            self.lake.set_contract(&self.tables[0]);
        }
        if let Some(now) = &step.now {
            self.lake.now.clone_from(now);
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, moment: Option<u64>) -> Result<(), String> {
        self.prepare(step)?;
        let mut words: Vec<String> = step.run.list().iter().map(|word| self.fill(word)).collect();
        if step.output.is_some() {
            words.extend(["--output".to_owned(), "json".to_owned()]);
        }
        let ran = match moment {
            Some(moment) if !step.during.is_empty() => {
                return self.disturbed(step, &words, moment);
            }
            _ => self.lake.run(&words),
        };
        self.compare_shell(step, &ran)?;
        // A statement that is refused has no report.
        if ["dedupe", "rollback"].contains(&words[0].as_str()) || (words[0] == "merge" && ran.exit != 2) {
            let first = self.tables[0].name.clone();
            let expects = std::iter::once((&first, &step.expect)).chain(&step.others);
            for (table, expect) in expects {
                self.compare(table, expect, &ran).map_err(|error| format!("{table}: {error}\n{}", ran.stderr))?;
            }
            if words[0] == "dedupe" {
                self.last_dedupe = (ran.exit == 0 && !words.iter().any(|word| word == "--dry-run")).then_some(words);
            }
        }
        if let Some(output) = &step.output {
            let expected = self.case.rows(output)?;
            let got = parse_json(&ran.stdout)?;
            same("the query", &expected.canonical(), &expected.canonical_of(&got))?;
        }
        self.left.push(self.expected[&self.tables[0].name].current);
        Ok(())
    }

    /// Objects came during the run: it did its work, or failed by name and changed nothing. Once more, and the table is
    /// what the step expects.
    fn disturbed(&mut self, step: &Step, words: &[String], moment: u64) -> Result<(), String> {
        let mut placed = Ok(());
        let ran = crate::faults::pause(&self.lake, words, moment, |_| {
            placed = step.during.iter().try_for_each(|(path, object)| self.case.place(&self.lake, path, object));
        });
        placed?;
        if ![0, 1, 75].contains(&ran.exit) {
            return Err(format!("the run ended {}: {}", ran.exit, ran.stderr));
        }
        let names = step.during.keys().filter_map(|path| path.rsplit('/').next());
        if ran.exit == 1 && !names.into_iter().any(|name| ran.stderr.contains(name)) {
            return Err(format!("the message does not name what changed: {}", ran.stderr));
        }
        let table = self.tables[0].name.clone();
        if ran.exit == 0 {
            self.check(&table)?;
        }
        let again = self.lake.run(words);
        self.compare_shell(step, &again)?;
        self.check(&table)?;
        let known = self.expected.get_mut(&table).ok_or("no such table")?;
        known.is_disturbed = true;
        if let Some(text) = &step.expect.table {
            known.rows = self.case.rows(text)?;
            same("rows", &known.rows.canonical(), &known.rows.canonical_of(&self.lake.rows(&table)?))?;
        }
        self.last_dedupe = Some(words.to_vec());
        Ok(())
    }

    /// Placeholders of a command.
    fn fill(&self, word: &str) -> String {
        let mut word = word.replace("{raw}", &self.lake.location("raw"));
        for (index, snapshot) in self.left.iter().enumerate() {
            let id = snapshot.map_or_else(String::new, |id| id.to_string());
            word = word.replace(&format!("{{snapshot {}}}", index + 1), &id);
        }
        word
    }

    fn compare_shell(&self, step: &Step, ran: &Ran) -> Result<(), String> {
        if ran.exit != step.exit {
            return Err(format!("exit {} where {} is expected\n{}{}", ran.exit, step.exit, ran.stdout, ran.stderr));
        }
        says("stdout", &ran.stdout, &step.stdout, &self.lake)?;
        says("stderr", &ran.stderr, &step.stderr, &self.lake)
    }

    fn compare(&mut self, table: &str, expect: &Expect, ran: &Ran) -> Result<(), String> {
        let lake = &self.lake;
        let report = ran
            .reports
            .iter()
            .find(|report| report["table"] == json!(lake.local(table)))
            .or_else(|| ran.reports.iter().find(|report| report["table"].is_null()))
            .ok_or_else(|| format!("no report of it among {:?}", ran.reports))?;
        compare_report(lake, expect, report)?;

        let known = self.expected.get_mut(table).ok_or("no such table in the case")?;
        if let Some(text) = &expect.table {
            known.rows = self.case.rows(text)?;
        }
        if let Some(text) = &expect.quarantine {
            known.quarantine = if text == "any" { None } else { Some(self.case.rows(text)?) };
        }
        let rows = known.rows.canonical();
        if let Some(after) = report["output"]["snapshot_after"].as_i64() {
            known.current = Some(after);
            let before = known.snapshots.insert(after, rows.clone());
            if before.is_some_and(|before| before != rows) {
                return Err(format!("other rows are expected, but the snapshot is still {after}"));
            }
        }
        if !known.snapshots.is_empty() {
            same("rows", &rows, &known.rows.canonical_of(&lake.rows(table)?))?;
        } else if !rows.is_empty() {
            return Err("rows are expected, and there is no snapshot".to_owned());
        }
        known.quarantine.as_ref().map_or(Ok(()), |expected| compare_quarantine(lake, table, expected))
    }

    fn check(&self, table: &str) -> Result<(), String> {
        let ran = self.lake.run(&["check", table]);
        if ran.exit == 0 { Ok(()) } else { Err(format!("check ended {}: {}{}", ran.exit, ran.stdout, ran.stderr)) }
    }

    /// What must hold after every case.
    fn finish(&self, case: &Case) -> Result<(), String> {
        for (table, _) in self.expected.iter().filter(|(_, known)| !known.snapshots.is_empty()) {
            self.check(table)?;
        }
        if let (true, Some(words)) = (case.rerun, &self.last_dedupe) {
            let ran = self.lake.run(words);
            let moved = |report: &&Value| {
                let output = &report["output"];
                report["status"] != json!("unchanged")
                    || report["rows"]["read"] != json!(0)
                    || output["snapshot_before"] != output["snapshot_after"]
            };
            if ran.exit != 0 || ran.reports.iter().any(|report| moved(&report)) {
                return Err(format!("the rerun ended {} and did something: {:?}{}", ran.exit, ran.reports, ran.stderr));
            }
        }
        if SERVICES.python.is_none() {
            tally::pairs_skipped(self.expected.len() as u64);
            return Ok(());
        }
        for (table, known) in &self.expected {
            let snapshots = self.lake.snapshots(table)?;
            if let Some(id) = known.snapshots.keys().find(|id| !snapshots.iter().any(|(seen, _)| seen == *id)) {
                return Err(format!("PyIceberg sees no snapshot {id} of {table}"));
            }
            for (id, rows) in snapshots {
                let expected = match known.snapshots.get(&id) {
                    Some(expected) => expected,
                    // A run that was disturbed leaves what no step describes.
                    None if known.is_disturbed => continue,
                    None => return Err(format!("{table} has a snapshot {id} that no step made")),
                };
                same(&format!("PyIceberg, {table} at {id}"), expected, &known.rows.canonical_of(&rows))?;
                tally::pair();
            }
        }
        Ok(())
    }
}

fn compare_report(lake: &Lake, expect: &Expect, report: &Value) -> Result<(), String> {
    let given = match &expect.rows {
        Counts::These(given) => Some(given),
        Counts::Any(_) => None,
    };
    let usual = match (given.is_none_or(BTreeMap::is_empty), expect.error.is_empty()) {
        (_, false) => "failed",
        (false, true) => "committed",
        (true, true) => "unchanged",
    };
    let status = expect.status.as_deref().unwrap_or(usual);
    if report["status"] != json!(status) {
        return Err(format!("status {} where {status:?} is expected: {report}", report["status"]));
    }
    let Value::Object(rows) = &report["rows"] else { return Err(format!("no balance in {report}")) };
    if let Some(given) = given {
        compare_counts("balance", rows, given, |name| name != "deleted")?;
    }
    if let Value::Object(output) = &report["output"] {
        compare_counts("output", output, &expect.files, |_| false)?;
    }
    let sum: u64 = ["invalid", "duplicate", "stale", "unchanged", "inserted", "updated"]
        .iter()
        .filter_map(|name| rows.get(*name)?.as_u64())
        .sum();
    if Some(sum) != rows.get("read").and_then(Value::as_u64) {
        return Err(format!("the rows do not add up: {rows:?}"));
    }

    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    let rejects = list("rejects")
        .into_iter()
        .map(|reject| format!("{}: {}", reject["rule"].as_str().unwrap_or_default(), reject["count"]));
    let mut rejects: Vec<_> = rejects.collect();
    rejects.sort();
    let expected: Vec<_> = expect.rejects.iter().map(|(rule, count)| format!("{rule}: {count}")).collect();
    if given.is_some() {
        same("rejects", &expected, &rejects)?;
    }
    for (rule, passed) in &expect.quality {
        let found = list("quality").into_iter().find(|quality| quality["rule"] == json!(rule));
        if found.as_ref().map(|quality| &quality["passed"]) != Some(&json!(passed)) {
            return Err(format!("check {rule} should be {passed}: {found:?}"));
        }
    }
    if let Some(changes) = &expect.schema_changes {
        let got = list("schema_changes");
        let fits = |(got, wanted): (&Value, &String)| got.as_str().is_some_and(|got| got.contains(wanted.as_str()));
        if got.len() != changes.len() || !got.iter().zip(changes).all(fits) {
            return Err(format!("schema changes {got:?} where {changes:?} are expected"));
        }
    }
    says("warnings", &report["warnings"].to_string(), &expect.warnings, lake)?;
    says("error", &report["error"].to_string(), &expect.error, lake)
}

/// The numbers that a case names, and others that must then be 0.
fn compare_counts(
    what: &str,
    got: &serde_json::Map<String, Value>,
    given: &BTreeMap<String, u64>,
    zero_unless_given: impl Fn(&str) -> bool,
) -> Result<(), String> {
    if let Some(unknown) = given.keys().find(|name| !got.contains_key(*name)) {
        return Err(format!("{what} has no {unknown:?}"));
    }
    let looked_at = || got.keys().filter(|name| given.contains_key(*name) || zero_unless_given(name));
    let expected: Vec<_> =
        looked_at().map(|name| format!("{name}: {}", given.get(name).copied().unwrap_or(0))).collect();
    let got: Vec<_> = looked_at().map(|name| format!("{name}: {}", got[name])).collect();
    same(what, &expected, &got)
}

fn compare_quarantine(lake: &Lake, table: &str, expected: &Rows) -> Result<(), String> {
    let mut batches: Vec<RecordBatch> = Vec::new();
    for (path, bytes) in lake.quarantine(table) {
        let read =
            ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).and_then(|builder| builder.build());
        let read = read.map_err(|error| format!("{path}: {error}"))?;
        batches.extend(read.collect::<Result<Vec<_>, _>>().map_err(|error| format!("{path}: {error}"))?);
    }
    let names: Vec<&str> = expected.columns.iter().map(|(name, _)| name.as_str()).collect();
    let (names, expected) = match names.as_slice() {
        [] => (vec!["_etl_rules", "_etl_file", "_etl_row"], Vec::new()),
        _ => (names.clone(), display(&[expected.batch()?], &names)?),
    };
    // The case names a file by the end of its location.
    let got: Vec<_> = display(&batches, &names)?.into_iter().map(|line| short(&line)).collect();
    same("quarantine", &sorted(expected), &sorted(got))
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

/// Locations without what comes before the file's name, and the rule of an unreadable file without the reason.
fn short(line: &str) -> String {
    let reason =
        line.split_once("file.unreadable: ").and_then(|(_, rest)| rest.split_once(']')).map(|(reason, _)| reason);
    let line = line.replace(&format!(": {}", reason.unwrap_or(": ")), "");
    let cells = line.split(" | ").map(|cell| match cell.rsplit_once('/') {
        Some((before, name)) if before.starts_with('/') || before.contains("://") => name,
        _ => cell,
    });
    cells.collect::<Vec<_>>().join(" | ")
}

fn says(what: &str, text: &str, parts: &[String], lake: &Lake) -> Result<(), String> {
    match parts.iter().find(|part| !text.contains(lake.local(part).as_str())) {
        Some(missing) => Err(format!("{what} does not say {missing:?}: {text}")),
        None => Ok(()),
    }
}

/// Lines that differ, as a diff.
pub fn same(what: &str, expected: &[String], got: &[String]) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    let mut text = format!("{what} differ, {} lines where {} are expected:", got.len(), expected.len());
    let mut rest = got.to_vec();
    for line in expected {
        match rest.iter().position(|other| other == line) {
            Some(place) => drop(rest.remove(place)),
            None => text.push_str(&format!("\n  - {line}")),
        }
    }
    rest.iter().for_each(|line| text.push_str(&format!("\n  + {line}")));
    Err(text)
}
