//! `etl init --from`: what it makes of layouts that people have, as they would run it.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use crate::case::fixtures;

/// Raw rows as another writer leaves them.
const SAMPLE: &str = "pyarrow-snappy.parquet";

/// Layout by layout: files below the raw folder, what etl.toml must say, and what is said.
const LAYOUTS: [(&str, &[&str], &[&str]); 5] = [
    (
        "2ndfloor",
        &["2025/6/4/a.parquet", "2025/6/14/a.parquet"],
        &["[table.\"curated.t_2ndfloor\"]", "2ndfloor/{yyyy}/{M}/{d}/\""],
    ),
    (
        "04",
        &["eu/dt=20250604/a.parquet", "us/dt=20250605/a.parquet"],
        &["[table.\"curated.t_04\"]", "04/*/dt={yyyy}{MM}{dd}/\""],
    ),
    ("names", &["events-20250604-1.parquet", "events-20250605-1.parquet"], &["names/events-{yyyy}{MM}{dd}*.parquet\""]),
    ("weeks", &["2025/W23/06/a.parquet"], &["# guess: \"W23\" stays as it is", "weeks/{yyyy}/W23/{MM}/\""]),
    ("strays", &["2025/06/04/a.parquet", "2025/06/31/a.parquet"], &["# guess: 1 of 2 files fit no interval"]),
];

/// A table of another format is refused, since files that it has removed lie there.
const REFUSED: [(&str, &str); 3] = [
    ("_delta_log/00000000000000000000.json", "the log of a Delta table"),
    ("metadata/v1.metadata.json", "metadata of an Iceberg table"),
    (".hoodie/hoodie.properties", "metadata of a Hudi table"),
];

/// What is guessed is said; and then `contract check` is content and `dedupe` plans.
pub fn layouts() -> Result<(), String> {
    for (folder, files, words) in LAYOUTS {
        let dir = TempDir::with_prefix("etl-init-").expect("a temporary folder");
        for file in files {
            put(&dir.path().join("raw").join(folder).join(file));
        }
        etl(dir.path(), &["init", "--from", &format!("raw/{folder}")], 0)?;
        let config = fs::read_to_string(dir.path().join("etl.toml")).map_err(|error| error.to_string())?;
        if let Some(missing) = words.iter().find(|word| !config.contains(**word)) {
            return Err(format!("{folder}: etl.toml does not say {missing}:\n{config}"));
        }
        etl(dir.path(), &["contract", "check"], 0)?;
        etl(dir.path(), &["dedupe", "--pending", "--dry-run"], 0)?;
    }
    Ok(())
}

/// Nothing is written where a table of another format lies.
pub fn other_tables() -> Result<(), String> {
    for (file, words) in REFUSED {
        let dir = TempDir::with_prefix("etl-init-").expect("a temporary folder");
        put(&dir.path().join("raw/t/2025/06/04/a.parquet"));
        put(&dir.path().join("raw/t").join(file));
        let said = etl(dir.path(), &["init", "--from", "raw/t"], 1)?;
        if !said.contains(words) || dir.path().join("etl.toml").exists() {
            return Err(format!("{file}: {said}"));
        }
    }
    Ok(())
}

fn put(path: &Path) {
    fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder can be made");
    fs::copy(fixtures().join("parquet").join(SAMPLE), path).expect("the sample can be copied");
}

/// Runs it; what it says on stderr.
fn etl(folder: &Path, arguments: &[&str], exit: i32) -> Result<String, String> {
    let ran = Command::new(env!("CARGO_BIN_EXE_etl")).args(arguments).current_dir(folder).output();
    let ran = ran.map_err(|error| error.to_string())?;
    let stderr = String::from_utf8_lossy(&ran.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
    if ran.status.code() == Some(exit) {
        Ok(stderr)
    } else {
        Err(format!("{arguments:?} ended {:?}: {stderr}", ran.status))
    }
}
