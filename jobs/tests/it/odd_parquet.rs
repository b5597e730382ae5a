//! Parquet of odd kinds (tests/fixtures/odd-parquet), each the way that a user goes with raw files of his own: `init --from`,
//! `contract check`, `dedupe`, `query`, `check`, `compact`. Beside each file lies what must come of it.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    case::fixtures,
    here,
    lake::{Lake, Ran, Tier},
};

const TABLE: &str = "curated.odd";

/// A file that is fine, beside those that cannot be read.
const FINE: &str = "group-without-rows";

/// All of them.
pub fn run() -> Result<(), String> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .map_err(|error| error.to_string())?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 40, "{} odd files are here", names.len());
    let failed: Vec<String> = names.iter().filter_map(|name| Some(format!("{name}: {}", one(name).err()?))).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("\n")) }
}

fn folder() -> PathBuf {
    fixtures().join("odd-parquet")
}

fn one(name: &str) -> Result<(), String> {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).map_err(|error| error.to_string())?;
    let expected: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let lake = Lake::new(Tier::Local, &format!("odd-{name}"), &[]);
    fs::remove_file(lake.folder().join("etl.toml")).map_err(|error| error.to_string())?;
    let bytes = |name: &str| fs::read(folder().join(format!("{name}.parquet"))).map_err(|error| error.to_string());
    lake.put(&format!("2025/06/04/{name}.parquet"), bytes(name)?);
    let unreadable = expected["unreadable"].as_str();
    if unreadable.is_some() {
        lake.put("2025/06/04/fine.parquet", bytes(FINE)?);
    }
    let raw = lake.folder().join("raw/").display().to_string();
    succeed(&here::run(&lake, &["init", "--from", &raw, "--table", TABLE]), "init")?;
    let contract =
        fs::read_to_string(lake.folder().join("schemas/odd.odcs.yaml")).map_err(|error| error.to_string())?;
    for column in expected["left_out"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        holds(&contract, &format!("column {column} is left out"))?;
    }
    succeed(&here::run(&lake, &["contract", "check"]), "contract check")?;
    let ran = here::run(&lake, &["dedupe", "--date", "2025-06-04"]);
    if let Some(words) = expected["refused"].as_str() {
        let said = format!("{} {:?}", ran.stderr, ran.reports);
        return if ran.exit == 0 { Err("it was not refused".to_owned()) } else { holds(&said, words) };
    }
    succeed(&ran, "dedupe")?;
    let report = ran.reports.first().ok_or("no report")?;
    if let Some(words) = unreadable {
        let reject = of_rule(report, "file.unreadable").ok_or("it was not set aside")?;
        let sample = reject["sample"].as_str().unwrap_or_default();
        holds(sample, &format!("{name}.parquet"))?;
        holds(sample, words)?;
        let ids = rows(&lake)?.into_iter().map(|row| json!({"id": row["id"]})).collect::<Vec<_>>();
        return same("rows", &ids, &rows_of(FINE)?);
    }
    for (rule, count) in expected["rejects"].as_object().into_iter().flatten() {
        let found = of_rule(report, rule).map_or(&Value::Null, |reject| &reject["count"]);
        if found != count {
            return Err(format!("{found} rows break {rule}, not {count}: {report}"));
        }
    }
    if let Some(words) = expected["warning"].as_str() {
        holds(&report["warnings"].to_string(), words)?;
        holds(&report["warnings"].to_string(), &format!("{name}.parquet"))?;
    }
    let wanted = sorted(expected["rows"].as_array().cloned().unwrap_or_default());
    same("rows", &rows(&lake)?, &wanted)?;
    succeed(&here::run(&lake, &["check"]), "check")?;
    succeed(&here::run(&lake, &["compact", "--rewrite-all", "--include-active"]), "compact")?;
    same("rows after compaction", &rows(&lake)?, &wanted)?;
    // What went to quarantine comes back to quarantine, as often as it is replayed.
    if expected["rejects"].is_object() {
        let folder = lake.folder().join("quarantine/odd/").display().to_string();
        let again = here::run(&lake, &["dedupe", TABLE, "--replay", &folder]);
        succeed(&again, "replay")?;
        let report = again.reports.first().ok_or("no report")?;
        if report["rows"]["invalid"] != report["rows"]["read"] || report["rows"]["read"] == json!(0) {
            return Err(format!("replayed rows are not invalid again: {report}"));
        }
    }
    Ok(())
}

fn of_rule<'r>(report: &'r Value, rule: &str) -> Option<&'r Value> {
    report["rejects"].as_array()?.iter().find(|reject| reject["rule"] == rule)
}

fn rows_of(name: &str) -> Result<Vec<Value>, String> {
    let text = fs::read_to_string(folder().join(format!("{name}.json"))).map_err(|error| error.to_string())?;
    let expected: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(sorted(expected["rows"].as_array().cloned().unwrap_or_default()))
}

fn rows(lake: &Lake) -> Result<Vec<Value>, String> {
    here::rows(lake, TABLE).map(sorted)
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(Value::to_string);
    rows
}

fn same(what: &str, found: &[Value], wanted: &[Value]) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what} are {found:?}, not {wanted:?}")) }
}

fn succeed(ran: &Ran, what: &str) -> Result<(), String> {
    if ran.exit == 0 { Ok(()) } else { Err(format!("{what} ended {}: {}{}", ran.exit, ran.stdout, ran.stderr)) }
}

fn holds(text: &str, words: &str) -> Result<(), String> {
    if text.contains(words) { Ok(()) } else { Err(format!("{words:?} is not in {text}")) }
}
