//! The rooms of the workspace: what each may import, and what none may do. Reads sources and manifests, runs nothing.
//!
//! Owns the table that ARCHITECTURE.md describes; a new edge between rooms changes both. Each rule says file and line of what
//! breaks it. Refuses to know what the program does.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One rule: `Err` has a line for each place that breaks it.
pub type Rule = fn() -> Result<(), String>;

/// What holds, by name. `Err` has a line for each place that breaks the rule.
pub const RULES: [(&str, Rule); 6] = [
    ("every_member_is_a_room", every_member_is_a_room),
    ("a_room_imports_what_it_may", a_room_imports_what_it_may),
    ("plans_and_contracts_wait_for_nothing", plans_and_contracts_wait_for_nothing),
    ("only_main_reads_clock_and_environment", only_main_reads_clock_and_environment),
    ("no_job_imports_another", no_job_imports_another),
    ("the_engine_commits_nothing", the_engine_commits_nothing),
];

/// A room: its folder, and what it may depend on.
struct Room {
    folder: &'static str,
    may_import: &'static [&'static str],
    /// Of its tests and examples alone.
    tests_may_import: &'static [&'static str],
}

/// Plain types and small tools that decide nothing.
const PLAIN: [&str; 4] = ["serde", "serde_json", "thiserror", "jiff"];

/// Named by the lake for their features alone (see the workspace's Cargo.toml); no source imports them.
const FEATURES_ALONE: [&str; 5] = ["hyper", "hyper-util", "simdutf8", "subtle", "time"];

#[rustfmt::skip]
const ROOMS: [Room; 5] = [
    Room {
        folder: "lib/contract",
        may_import: &["regex", "serde-saphyr", "xxhash-rust"],
        tests_may_import: &["proptest"],
    },
    Room {
        folder: "lib/plan",
        may_import: &["contract", "xxhash-rust"],
        tests_may_import: &["insta"],
    },
    Room {
        folder: "lib/lake",
        may_import: &[
            "contract", "plan", "apache-avro", "async-trait", "aws-config", "aws-credential-types", "aws-sdk-glue", "aws-sdk-s3",
            "aws-smithy-runtime-api", "aws-smithy-types", "bytes", "flate2", "futures", "iceberg", "object_store", "sqlx",
            "tokio", "tracing", "typetag", "url", "uuid",
        ],
        tests_may_import: &["s3s", "s3s-fs", "tempfile"],
    },
    Room {
        folder: "lib/engine",
        may_import: &[
            "contract", "plan", "lake", "arrow", "async-trait", "bytes", "datafusion", "futures", "hashbrown", "object_store",
            "parquet", "regex", "tokio", "tracing", "url", "uuid", "xxhash-rust",
        ],
        tests_may_import: &["iceberg", "mimalloc", "proptest", "tempfile"],
    },
    Room {
        folder: "jobs",
        may_import: &[
            "contract", "plan", "lake", "engine", "arrow", "aws-config", "aws-types", "clap", "clap_complete", "clap_mangen",
            "futures", "indicatif", "libc", "libmimalloc-sys", "mimalloc", "parquet", "tokio", "toml", "tracing", "tracing-subscriber", "uuid",
        ],
        tests_may_import: &[
            "apache-avro", "assert_cmd", "async-trait", "aws-credential-types", "bytes", "hyper-util", "insta", "libtest-mimic",
            "object_store", "proptest", "s3s", "serde-saphyr", "tempfile",
        ],
    },
];

/// The only file that reads the clock, the environment and the command line.
const MAIN: &str = "jobs/src/main.rs";

/// Calls that belong there.
const SURROUNDINGS: [&str; 8] = [
    "env::var",
    "env::args",
    "env::temp_dir",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "Utc::now",
    "Local::now",
];

fn every_member_is_a_room() -> Result<(), String> {
    let manifest = read("Cargo.toml")?;
    let rooms: BTreeSet<_> = ROOMS.iter().map(|room| room.folder).collect();
    let members: Vec<_> = numbered(&manifest).find(|(_, line)| line.starts_with("members")).into_iter().collect();
    let broken = members.iter().flat_map(|(number, line)| {
        let members: BTreeSet<_> = line.split('"').skip(1).step_by(2).collect();
        let differ: Vec<_> = members.symmetric_difference(&rooms).copied().collect();
        (!differ.is_empty())
            .then(|| format!("Cargo.toml:{number}: the rooms of rooms.rs differ in {}", differ.join(", ")))
    });
    verdict(broken.chain(members.is_empty().then(|| "Cargo.toml: it has no line `members = […]`".to_owned())).collect())
}

fn a_room_imports_what_it_may() -> Result<(), String> {
    let mut broken = Vec::new();
    for room in &ROOMS {
        let manifest = format!("{}/Cargo.toml", room.folder);
        for import in imports(&read(&manifest)?) {
            let name = import.name.as_str();
            let allowed = PLAIN.contains(&name)
                || room.may_import.contains(&name)
                || (room.folder == "lib/lake" && FEATURES_ALONE.contains(&name))
                || (import.of_tests && room.tests_may_import.contains(&name));
            if !allowed {
                let (whose, may) = match import.of_tests {
                    true => ("tests of ", [room.may_import, room.tests_may_import].concat()),
                    false => ("", room.may_import.to_vec()),
                };
                broken.push(format!(
                    "{manifest}:{}: {whose}{} may not import {name}, only {}, {}: see the rooms in ARCHITECTURE.md",
                    import.line,
                    room.folder,
                    PLAIN.join(", "),
                    may.join(", ")
                ));
            }
        }
    }
    for source in sources("lib/lake/src")? {
        let imports = FEATURES_ALONE.map(|name| format!("use {}::", name.replace('-', "_")));
        source.find(&imports.each_ref().map(String::as_str), "this crate is there for its features alone", &mut broken);
    }
    verdict(broken)
}

fn plans_and_contracts_wait_for_nothing() -> Result<(), String> {
    let mut broken = Vec::new();
    for folder in ["lib/contract/src", "lib/plan/src"] {
        for source in sources(folder)? {
            source.find(&["async fn", "async {", "async move", ".await"], "a decision is synchronous", &mut broken);
        }
    }
    verdict(broken)
}

fn only_main_reads_clock_and_environment() -> Result<(), String> {
    let mut broken = Vec::new();
    for room in &ROOMS {
        for source in sources(&format!("{}/src", room.folder))? {
            if source.name != MAIN {
                source.find(
                    &SURROUNDINGS,
                    "only jobs/src/main.rs reads clock and environment: take it as an argument",
                    &mut broken,
                );
            }
        }
    }
    verdict(broken)
}

/// What is no job and may name several: the command line, and the maintenance jobs side by side.
const MAY_NAME_JOBS: [&str; 3] = ["cli", "lib", "upkeep"];

fn no_job_imports_another() -> Result<(), String> {
    let all = sources("jobs/src")?;
    // A job is a file with arguments of its own, and what lies in the folder of its name.
    let is_job =
        |source: &&Source| source.lines.iter().any(|line| line.starts_with("#[derive(") && line.contains("Args"));
    let jobs: BTreeSet<_> =
        all.iter().filter(is_job).map(|source| source.module()).filter(|module| module != "cli").collect();
    let mut broken = Vec::new();
    for source in all.iter().filter(|source| !MAY_NAME_JOBS.contains(&source.module().as_str())) {
        for (number, module) in source.named_in("crate::") {
            if module == source.module() || !jobs.contains(&module) {
                continue;
            }
            let (name, own) = (&source.name, source.module());
            broken.push(match jobs.contains(&own) {
                true => format!(
                    "{name}:{number}: no job imports another: move what both use beside {own}.rs and {module}.rs"
                ),
                false => format!("{name}:{number}: only {} name jobs", MAY_NAME_JOBS.join(", ")),
            });
        }
    }
    if jobs.is_empty() {
        broken.push("jobs/src: no file derives Args".to_owned());
    }
    verdict(broken)
}

fn the_engine_commits_nothing() -> Result<(), String> {
    let mut broken = Vec::new();
    for source in sources("lib/engine/src")? {
        for (number, name) in source.named_in("lake::") {
            if ["Lake", "catalog", "commit"].contains(&name.as_str()) {
                broken.push(format!(
                    "{}:{number}: lake::{name}: the engine stages files; a job commits them",
                    source.name
                ));
            }
        }
    }
    verdict(broken)
}

/// A line of a manifest that names a dependency.
struct Import {
    name: String,
    line: usize,
    of_tests: bool,
}

/// The dependencies of a manifest, also those of one platform and of build scripts. A renamed crate counts by its own name.
fn imports(manifest: &str) -> Vec<Import> {
    let mut imports = Vec::new();
    let mut section = "";
    for (line, text) in numbered(manifest) {
        if let Some(header) = text.strip_prefix('[') {
            section = header.trim_end_matches(']');
            // [dependencies.NAME], [target.'…'.dependencies.NAME]
            if let Some((before, name)) = section.rsplit_once("dependencies.") {
                imports.push(Import { name: name.to_owned(), line, of_tests: before.ends_with("dev-") });
            }
            continue;
        }
        if !section.ends_with("dependencies") || text.is_empty() || text.starts_with('#') {
            continue;
        }
        let name = text.split(['.', '=', ' ']).next().unwrap_or_default().trim_matches('"');
        let own = text.split_once("package").and_then(|(_, rest)| rest.split('"').nth(1));
        imports.push(Import {
            name: own.unwrap_or(name).to_owned(),
            line,
            of_tests: section.ends_with("dev-dependencies"),
        });
    }
    imports
}

/// A Rust file without its comments and the tests at its end; line numbers stay.
struct Source {
    /// From the workspace's root, with `/`.
    name: String,
    lines: Vec<String>,
}

impl Source {
    fn read(path: &Path) -> Result<Self, String> {
        let name = path.strip_prefix(root()).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let text = fs::read_to_string(path).map_err(|error| format!("failed to read {name}: {error}"))?;
        let mut lines: Vec<_> =
            text.lines()
                .map(|line| {
                    if line.trim_start().starts_with("//") { "" } else { line.split(" // ").next().unwrap_or_default() }
                })
                .map(str::to_owned)
                .collect();
        let tests = lines
            .windows(2)
            .position(|pair| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{'));
        lines.truncate(tests.unwrap_or(lines.len()));
        Ok(Self { name, lines })
    }

    /// Says where one of the words stands.
    fn find(&self, words: &[&str], rule: &str, broken: &mut Vec<String>) {
        for (index, line) in self.lines.iter().enumerate() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                broken.push(format!("{}:{}: {word}: {rule}", self.name, index + 1));
            }
        }
    }

    /// The module of the crate that it is or lies in: `dedupe` of `jobs/src/dedupe/facts.rs`.
    fn module(&self) -> String {
        let inside = self.name.split_once("/src/").map_or("", |(_, inside)| inside);
        inside.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned()
    }

    /// What it names in a crate, with lines: `crate::NAME`, or NAME first in a part of `use crate::{…}`.
    fn named_in(&self, prefix: &str) -> Vec<(usize, String)> {
        let mut named = Vec::new();
        let text = self.lines.join("\n");
        for (at, start) in text.match_indices(prefix) {
            let mut depth = 0;
            let mut expects_name = true;
            let mut name = String::new();
            let after = at + start.len();
            for (offset, letter) in text[after..].char_indices() {
                if letter.is_alphanumeric() || letter == '_' {
                    name.push(letter);
                    continue;
                }
                if expects_name && depth <= 1 && !name.is_empty() {
                    let line = text[..after + offset].matches('\n').count() + 1;
                    named.push((line, std::mem::take(&mut name)));
                    expects_name = false;
                }
                name.clear();
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => expects_name = true,
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        }
        named
    }
}

/// Every Rust file below a folder that is no test.
fn sources(folder: &str) -> Result<Vec<Source>, String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|error| format!("failed to list {}: {error}", folder.display()))?;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            if stem == "tests" || stem.ends_with("_tests") || stem == "testing" || stem == "conformance" {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source::read(&path)?);
            }
        }
    }
    if found.is_empty() {
        return Err(format!("{folder}: no Rust file"));
    }
    found.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(found)
}

fn read(file: &str) -> Result<String, String> {
    fs::read_to_string(root().join(file)).map_err(|error| format!("failed to read {file}: {error}"))
}

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()))
}

fn verdict(broken: Vec<String>) -> Result<(), String> {
    if broken.is_empty() { Ok(()) } else { Err(broken.join("\n")) }
}
