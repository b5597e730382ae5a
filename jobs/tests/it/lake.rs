//! A lake for one test: a folder with etl.toml and contracts, and raw zone, warehouse and catalog in it or on S3 and
//! Glue. What is the same on both is written once, here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    reader,
    services::{SERVICES, send},
};

/// A run that takes longer hangs.
const RUN_SECONDS_MAX: u64 = 120;

/// What cases call the namespace of their tables.
const NAMESPACE: &str = "curated";

/// The time that every run is told, unless a step says otherwise.
pub const NOW: &str = "2025-06-05T00:00:00Z";

/// Where a lake lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// A folder and a SQLite catalog.
    Local,
    /// S3 and Glue.
    Cloud,
}

impl Tier {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Local, Self::Cloud];

    /// In names of tests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Cloud => "cloud",
        }
    }

    /// Why it cannot run here.
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Local => None,
            Self::Cloud => SERVICES.missing_for_cloud(),
        }
    }
}

/// Who knows the tables of a lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Catalog {
    /// A file in the lake's folder.
    Sqlite,
    /// The Glue emulator.
    Glue,
}

/// A table of etl.toml.
#[derive(Debug, Clone)]
pub struct TableSetup {
    /// `curated.telemetry`.
    pub name: String,
    /// The contract document.
    pub contract: String,
    /// Path template below the raw zone.
    pub source: String,
    /// Zone of the template.
    pub timezone: Option<String>,
}

/// A lake.
#[derive(Debug)]
pub struct Lake {
    pub tier: Tier,
    catalog: Catalog,
    /// Distinguishes lakes of one tier: prefix in the bucket, namespace in Glue.
    name: String,
    dir: TempDir,
    /// The time that runs are told.
    pub now: String,
}

/// What is where: pointers and objects by name.
pub type State = BTreeMap<String, Vec<u8>>;

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    /// What the shell was told; -1 for a signal.
    pub exit: i32,
    /// All of it.
    pub stdout: String,
    /// All of it.
    pub stderr: String,
    /// One per table.
    pub reports: Vec<Value>,
}

/// A run in progress.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub child: Child,
    dir: PathBuf,
}

impl Lake {
    /// An empty lake. Names may repeat from one run of the tests to the next, not within one.
    pub fn new(tier: Tier, name: &str, tables: &[TableSetup]) -> Self {
        let catalog = match tier {
            Tier::Local => Catalog::Sqlite,
            Tier::Cloud => Catalog::Glue,
        };
        Self::with_catalog(tier, catalog, name, tables)
    }

    /// The same, with a catalog of one's choice.
    pub fn with_catalog(tier: Tier, catalog: Catalog, name: &str, tables: &[TableSetup]) -> Self {
        let dir = TempDir::with_prefix("etl-").expect("a temporary folder");
        let lake = Self { tier, catalog, name: name.to_owned(), dir, now: NOW.to_owned() };
        fs::create_dir_all(lake.dir.path().join("schemas")).expect("a folder");
        let mut config = lake.config();
        for table in tables {
            lake.set_contract(table);
            let name = lake.local(&table.name);
            config.push_str(&format!("[table.{name:?}]\ncontract = {:?}\n", contract_name(&table.name)));
            config.push_str(&format!("source = {:?}\n", lake.location(&format!("raw/{}", table.source))));
            config.push_str(&format!("quarantine = {:?}\n", lake.location(&format!("quarantine/{}/", table.name))));
            if let Some(zone) = &table.timezone {
                config.push_str(&format!("timezone = {zone:?}\n"));
            }
        }
        fs::write(lake.dir.path().join("etl.toml"), config).expect("etl.toml is written");
        lake
    }

    fn config(&self) -> String {
        let catalog = match self.catalog {
            Catalog::Sqlite => "catalog = \"sqlite\"\nuri = \"catalog.db\"\n",
            Catalog::Glue => "catalog = \"glue\"\nregion = \"us-east-1\"\n",
        };
        let warehouse = self.location("warehouse");
        format!("version = 1\n[lake]\n{catalog}warehouse = {warehouse:?}\ncontracts = \"schemas\"\n")
    }

    /// Writes a table's contract, or another version of it.
    pub fn set_contract(&self, table: &TableSetup) {
        let path = self.dir.path().join(format!("schemas/{}.odcs.yaml", contract_name(&table.name)));
        fs::write(path, self.local(&table.contract)).expect("the contract is written");
    }

    /// Where it lies.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The folder with etl.toml.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// In Glue the namespace is this lake's own.
    pub fn local(&self, text: &str) -> String {
        match self.catalog {
            Catalog::Sqlite => text.to_owned(),
            Catalog::Glue => text.replace(NAMESPACE, &self.namespace()),
        }
    }

    /// The namespace of its tables in Glue.
    pub fn namespace(&self) -> String {
        let name = self.name.replace(|c: char| !c.is_ascii_alphanumeric(), "_").to_lowercase();
        // The same emulator may serve several runs of the tests.
        format!("{name}_{}", std::process::id())
    }

    /// A location in the lake: relative to its folder, or on S3.
    pub fn location(&self, path: &str) -> String {
        match (self.tier, &SERVICES.s3) {
            (Tier::Cloud, Some(bucket)) => format!("s3://{}/{}/{path}", bucket.name, self.name),
            _ => path.to_owned(),
        }
    }

    /// Puts an object into the raw zone.
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        self.put_anywhere(&format!("raw/{path}"), bytes);
    }

    /// Puts an object anywhere into the lake.
    pub fn put_anywhere(&self, path: &str, bytes: Vec<u8>) {
        match (self.tier, &SERVICES.s3) {
            (Tier::Cloud, Some(bucket)) => bucket.put(&format!("{}/{path}", self.name), bytes),
            _ => {
                let path = self.dir.path().join(path);
                fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
                fs::write(path, bytes).expect("the file is written");
            }
        }
    }

    /// The objects below a folder of the lake, by their path there.
    pub fn names_below(&self, folder: &str) -> BTreeSet<String> {
        let (found, prefix) = match (self.tier, &SERVICES.s3) {
            (Tier::Cloud, Some(bucket)) => {
                let prefix = format!("{}/{folder}", self.name);
                (bucket.read_all(&prefix), prefix)
            }
            _ => {
                let prefix = self.dir.path().join(folder);
                (read_all(&prefix), prefix.display().to_string())
            }
        };
        let below = |name: &str| name.strip_prefix(&prefix).unwrap_or(name).trim_start_matches('/').to_owned();
        found.iter().map(|(name, _)| below(name)).collect()
    }

    /// Removes an object of the raw zone.
    pub fn remove(&self, path: &str) {
        match (self.tier, &SERVICES.s3) {
            (Tier::Cloud, Some(bucket)) => bucket.delete(&format!("{}/raw/{path}", self.name)),
            _ => fs::remove_file(self.dir.path().join("raw").join(path)).expect("the raw file is removed"),
        }
    }

    /// The objects in a table's quarantine, with their locations.
    pub fn quarantine(&self, table: &str) -> Vec<(String, Vec<u8>)> {
        let folder = format!("quarantine/{table}");
        match (self.tier, &SERVICES.s3) {
            (Tier::Cloud, Some(bucket)) => bucket.read_all(&format!("{}/{folder}", self.name)),
            _ => read_all(&self.dir.path().join(folder)),
        }
    }

    /// Every object of the warehouse but the records of runs, with its location, sorted.
    pub fn warehouse(&self) -> Vec<(String, Vec<u8>)> {
        let mut objects = match (self.tier, &SERVICES.s3) {
            (Tier::Cloud, Some(bucket)) => bucket.read_all(&format!("{}/warehouse", self.name)),
            _ => read_all(&self.dir.path().join("warehouse")),
        };
        objects.retain(|(location, _)| !location.contains("/.etl/"));
        objects.sort();
        objects
    }

    /// Replaces or removes an object of the warehouse.
    pub fn set(&self, location: &str, bytes: Option<&[u8]>) {
        match (self.tier, &SERVICES.s3, bytes) {
            (Tier::Cloud, Some(bucket), Some(bytes)) => bucket.put(location, bytes.to_vec()),
            (Tier::Cloud, Some(bucket), None) => bucket.delete(location),
            (.., Some(bytes)) => fs::write(location, bytes).expect("the object is written"),
            (.., None) => fs::remove_file(location).expect("the object is removed"),
        }
    }

    /// What a run that fails must leave as it was: where the tables stand, and every object of the warehouse.
    pub fn state(&self) -> State {
        let mut state: State = self.warehouse().into_iter().collect();
        match (self.tier, &SERVICES.glue) {
            (Tier::Cloud, Some(glue)) => {
                let tables = ask_glue(glue, "GetTables", &json!({"DatabaseName": self.namespace()}));
                for table in tables["TableList"].as_array().into_iter().flatten() {
                    let at = format!("{} {}", table["VersionId"], table["Parameters"]["metadata_location"]);
                    state.insert(format!("pointer of {}", table["Name"]), at.into_bytes());
                }
            }
            // A file without tables is as good as none.
            _ if state.is_empty() => {}
            _ => drop(
                state.insert("catalog.db".to_owned(), fs::read(self.folder().join("catalog.db")).unwrap_or_default()),
            ),
        }
        state
    }

    /// The program, in this lake.
    pub fn command(&self, arguments: &[impl AsRef<str>]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_etl"));
        command.env_clear().current_dir(self.dir.path()).env("HOME", self.dir.path()).env("ETL_NOW", &self.now);
        if let (Tier::Cloud, Some(bucket), Some(glue)) = (self.tier, &SERVICES.s3, &SERVICES.glue) {
            command
                .env("AWS_ACCESS_KEY_ID", &bucket.access_key)
                .env("AWS_SECRET_ACCESS_KEY", &bucket.secret_key)
                .env("AWS_REGION", "us-east-1")
                .env("AWS_EC2_METADATA_DISABLED", "true")
                .env("AWS_ENDPOINT_URL_S3", &bucket.endpoint)
                .env("AWS_ENDPOINT_URL_GLUE", glue);
        }
        command.args(arguments.iter().map(|argument| self.local(argument.as_ref())));
        command
    }

    /// Starts the program. What it says and reports goes to files of this run alone.
    pub fn start(&self, arguments: &[impl AsRef<str>], environment: &[(&str, &str)]) -> Running {
        let dir = tempfile::Builder::new().prefix("run-").tempdir_in(self.dir.path()).expect("a folder").keep();
        let file = |name: &str| fs::File::create(dir.join(name)).expect("a file");
        let mut command = self.command(arguments);
        command.env("ETL_REPORT", dir.join("report.json")).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        Running { child: command.spawn().expect("etl starts"), dir }
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[impl AsRef<str>]) -> Ran {
        self.start(arguments, &[]).wait()
    }

    /// Rows that `etl query` gives for a statement.
    pub fn query(&self, sql: &str) -> Result<Vec<Value>, String> {
        let ran = self.run(&["query", "--full-scan", "--output", "json", sql]);
        if ran.exit != 0 {
            return Err(format!("etl query ended {}: {}", ran.exit, ran.stderr));
        }
        parse_json(&ran.stdout)
    }

    /// Rows of the whole table.
    pub fn rows(&self, table: &str) -> Result<Vec<Value>, String> {
        let (namespace, name) = table.split_once('.').unwrap_or((NAMESPACE, table));
        self.query(&format!("SELECT * FROM {namespace}.\"{name}\""))
    }

    /// What PyIceberg must be told to find a table.
    pub fn request(&self, table: &str) -> Value {
        let mut request = json!({"table": self.local(table)});
        if let (Tier::Cloud, Some(bucket)) = (self.tier, &SERVICES.s3) {
            request["s3_endpoint"] = json!(bucket.endpoint);
            request["access_key"] = json!(bucket.access_key);
            request["secret_key"] = json!(bucket.secret_key);
        }
        match (self.catalog, &SERVICES.glue) {
            (Catalog::Glue, Some(glue)) => request["glue"] = json!(glue),
            _ => request["catalog"] = json!(format!("sqlite:///{}", self.sqlite().display())),
        }
        request
    }

    /// The SQLite catalog.
    pub fn sqlite(&self) -> PathBuf {
        self.dir.path().join("catalog.db")
    }

    /// Rows of every snapshot as PyIceberg reads them: `(snapshot id, rows)`, oldest first. Empty without such a table.
    pub fn snapshots(&self, table: &str) -> Result<Vec<(i64, Vec<Value>)>, String> {
        let mut request = self.request(table);
        request["all_snapshots"] = json!(true);
        let answer = match reader::ask(&request) {
            Err(error) if error.contains("NoSuchTableError") || error.contains("no SQLite catalog") => {
                return Ok(Vec::new());
            }
            answer => answer?,
        };
        let snapshots = answer.as_array().map_or(&[][..], Vec::as_slice);
        let rows = |snapshot: &Value| snapshot["rows"].as_array().cloned().unwrap_or_default();
        Ok(snapshots.iter().filter_map(|snapshot| Some((snapshot["snapshot_id"].as_i64()?, rows(snapshot)))).collect())
    }

    /// Where new tables go, as PyIceberg takes it.
    pub fn new_tables(&self) -> String {
        match self.tier {
            Tier::Local => format!("file://{}", self.dir.path().join("warehouse").display()),
            Tier::Cloud => self.location("warehouse"),
        }
    }
}

impl Drop for Lake {
    /// A query lists all of Glue: what is left there makes every later one slower.
    fn drop(&mut self) {
        if let (Tier::Cloud, Some(glue), false) = (self.tier, &SERVICES.glue, std::thread::panicking()) {
            ask_glue(glue, "DeleteDatabase", &json!({"Name": self.namespace()}));
        }
    }
}

/// One request to the Glue emulator, which asks for no signature.
fn ask_glue(endpoint: &str, action: &str, request: &Value) -> Value {
    let target = format!("AWSGlue.{action}");
    let headers = [("X-Amz-Target", target.as_str()), ("Content-Type", "application/x-amz-json-1.1")];
    let url = format!("{}/", endpoint.trim_end_matches('/'));
    let answer = send("POST", &url, &headers, request.to_string().as_bytes());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    serde_json::from_str(body).unwrap_or_default()
}

impl Running {
    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it was started here") {
                break status;
            }
            if started.elapsed() > Duration::from_secs(RUN_SECONDS_MAX) {
                self.child.kill().expect("it was started here");
                let stderr = fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
                panic!("etl did not end within {RUN_SECONDS_MAX} s: {stderr}");
            }
            std::thread::sleep(Duration::from_millis(3));
        };
        self.ended(status)
    }

    fn ended(&self, status: ExitStatus) -> Ran {
        let text = |name: &str| fs::read_to_string(self.dir.join(name)).unwrap_or_default();
        let report = text("report.json");
        Ran {
            exit: status.code().unwrap_or(-1),
            stdout: text("stdout"),
            stderr: text("stderr"),
            reports: parse_json(&report).unwrap_or_else(|error| panic!("the report cannot be read: {error}")),
        }
    }
}

/// JSON documents after each other; an array stands for its items.
pub fn parse_json(text: &str) -> Result<Vec<Value>, String> {
    let mut values = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter() {
        match value.map_err(|error| format!("{error} in {text:?}"))? {
            Value::Array(items) => values.extend(items),
            value => values.push(value),
        }
    }
    Ok(values)
}

fn read_all(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("the folder is listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), fs::read(&path).expect("the file is read")));
            }
        }
    }
    found.sort();
    found
}

fn contract_name(table: &str) -> &str {
    table.split_once('.').map_or(table, |(_, name)| name)
}
