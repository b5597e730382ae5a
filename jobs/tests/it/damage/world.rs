//! Two lakes that are damaged and made whole again: one with raw files alone, one with a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};

use super::{
    UNNOTICEABLE,
    change::{Random, change, parts},
};
use crate::{
    batches::{TABLE, dedupe},
    case::{ContractChanges, fixtures, usual_contract, write_parquet},
    lake::{Lake, Ran, TableSetup, Tier, parse_json},
    reader,
    rows::Rows,
    services::number,
};

/// A run that takes longer hangs.
const RUN_TIME_MAX: Duration = Duration::from_secs(10);

/// Name of the damaged raw file.
const DAMAGED: &str = "damaged.parquet";

const COLUMNS: &str = "device_id, event_id, event_time, temperature, ingest_time, tenant_id";

/// Rows of every damaged raw file when it is whole.
const FIXTURE_ROWS: u64 = 12;

/// Rows of the whole raw file that lies beside the damaged one.
const BESIDE: &str = "
    beside, 1, 2025-06-04T10:00, 20.5, 2025-06-04T10:01, acme
    beside, 2, 2025-06-04T11:00, 21.5, 2025-06-04T11:01, acme
    beside, 3, 2025-06-03T12:00, ,     2025-06-04T12:01, globex";

/// The table's second hour: two rows replace those of the fixtures, one is new.
const SECOND: &str = "
    dev-001, e-0001, 2025-06-04T00:00, 99.5, 2025-06-04T12:01, acme
    dev-002, e-0004, 2025-06-05T00:00, 98.5, 2025-06-04T12:01, acme
    second,  1,      2025-06-04T12:00, 20.5, 2025-06-04T12:01, acme";

/// Rows of the raw file that `etl dedupe` merges into the damaged table.
const THIRD: &str = "
    dev-003, e-0006, 2025-06-03T18:45, 97.5, 2025-06-04T13:01, acme
    third,   1,      2025-06-04T12:00, 20.5, 2025-06-04T12:01, acme";

/// The lakes of one share.
pub struct World {
    raw: Place,
    table: Place,
    /// Parquet files of other writers by name.
    fixtures: Vec<(String, Vec<u8>)>,
}

/// A lake as it is when it is whole.
struct Place {
    lake: Lake,
    files: BTreeMap<PathBuf, Vec<u8>>,
    /// The objects of its table, in the order in which they were written: their names are others in each process.
    objects: Vec<PathBuf>,
    /// Rows that may come out.
    known: BTreeSet<String>,
    /// Rows of the table.
    rows: Vec<String>,
}

impl World {
    /// Makes both lakes.
    pub fn new(share: u64) -> Result<Self, String> {
        let mut fixtures = Vec::new();
        for entry in fs::read_dir(fixtures_folder()).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.extension().is_some_and(|extension| extension == "parquet") {
                let name = path.file_name().expect("it was listed").to_string_lossy().into_owned();
                fixtures.push((name, fs::read(&path).map_err(|error| error.to_string())?));
            }
        }
        fixtures.sort();
        Ok(Self { raw: raw_lake(share, &fixtures)?, table: table_lake(share, &fixtures)?, fixtures })
    }

    /// Damages something, and looks at what comes of it.
    pub fn damage(&self, random: &mut Random) -> Result<(), String> {
        let with_objects = number("ETL_DAMAGED_OBJECTS", 0) > 0;
        match random.below(10) {
            5..=8 if with_objects => self.object(random),
            9 => self.text(random),
            _ => self.raw_file(random),
        }
    }

    /// A raw file: `etl dedupe` takes what is whole, and says what is not.
    fn raw_file(&self, random: &mut Random) -> Result<(), String> {
        let ((name, whole), (_, other)) = (random.one_of(&self.fixtures), random.one_of(&self.fixtures));
        let mut bytes = whole.clone();
        let how = change(&mut bytes, other, random);
        if bytes == *whole {
            return Ok(());
        }
        self.raw.restore();
        self.raw.lake.put(&raw_path(0, DAMAGED), bytes.clone());
        self.raw_file_taken(whole, &bytes).map_err(|error| format!("{name}, {how}: {error}"))
    }

    fn raw_file_taken(&self, whole: &[u8], bytes: &[u8]) -> Result<(), String> {
        let lake = &self.raw.lake;
        let ran = run(lake, &dedupe(0))?;
        let said = said(&ran);
        let is_named = said.contains(DAMAGED);
        if ran.exit != 0 {
            return if is_named { Ok(()) } else { Err(format!("exit {} without the file's name: {said}", ran.exit)) };
        }
        let report = ran.reports.last().ok_or("there is no report")?;
        let read = report["rows"]["read"].as_u64().unwrap_or_default();
        if read < FIXTURE_ROWS + 3 && !is_named {
            return Err(format!("read {read} rows, and nothing names the file: {said}"));
        }
        let rows = canonical(&lake.rows(TABLE)?);
        if rows.iter().filter(|row| row.contains("\"beside\"")).count() != 3 {
            return Err(format!("rows of the file beside it are missing: {rows:?}"));
        }
        let strange: Vec<_> = rows.iter().filter(|row| !self.raw.known.contains(*row)).collect();
        match strange.is_empty() {
            true => Ok(()),
            false => self.others_read(&strange, whole, bytes, &said),
        }
    }

    /// Every strange row is what another reader finds in the damaged file, or in one with a part of the damage.
    fn others_read(&self, strange: &[&String], whole: &[u8], damaged: &[u8], said: &str) -> Result<(), String> {
        let path = self.raw.lake.folder().join("judged.parquet");
        let (mut answers, mut found) = (Vec::new(), BTreeSet::new());
        for bytes in parts(whole, damaged) {
            fs::write(&path, bytes).map_err(|error| error.to_string())?;
            for op in ["parquet", "parquet-duckdb"] {
                match reader::ask(&json!({"op": op, "path": path})) {
                    Ok(rows) => found.extend(curated(rows.as_array().map_or(&[][..], Vec::as_slice), said)),
                    Err(error) => answers.push(error),
                }
            }
            if strange.iter().all(|row| found.contains(*row)) {
                UNNOTICEABLE.fetch_add(1, Relaxed);
                return Ok(());
            }
        }
        let row = strange.iter().find(|row| !found.contains(**row));
        Err(format!("a row that was not there: {row:?}\nother readers: {found:#?}\n{answers:#?}"))
    }

    /// An object of a table: reading and writing it gives the right rows or a message that names the object, and with the
    /// damage undone the table is whole.
    fn object(&self, random: &mut Random) -> Result<(), String> {
        self.table.restore();
        let objects: Vec<&PathBuf> = self.table.objects.iter().collect();
        let path = *random.one_of(&objects);
        let alike: Vec<_> = objects.into_iter().filter(|other| other.extension() == path.extension()).collect();
        let whole = &self.table.files[path];
        let mut bytes = whole.clone();
        let how = change(&mut bytes, &self.table.files[*random.one_of(&alike)], random);
        if bytes == *whole {
            return Ok(());
        }
        fs::write(path, &bytes).map_err(|error| error.to_string())?;
        let command = *random.one_of(&[
            &["check"][..],
            &["inspect"],
            &["inspect", "--storage"],
            &["compact", "--include-active"],
            &["expire", "--yes", "--older-than", "0s"],
            &["orphans", "--yes", "--older-than", "24h"],
            &["dedupe", "--date", "2025-06-05"],
            &["query", "--full-scan", "SELECT count(*) AS n FROM curated.telemetry"],
        ]);
        let name = path.file_name().expect("it was listed").to_string_lossy();
        let undo = || fs::write(path, whole).expect("the damage is undone");
        self.table_works(path, &bytes, command, undo).map_err(|error| format!("{name}, {how}, {command:?}: {error}"))
    }

    fn table_works(&self, path: &Path, damaged: &[u8], command: &[&str], undo: impl FnOnce()) -> Result<(), String> {
        let lake = &self.table.lake;
        let name = &*path.file_name().expect("it was listed").to_string_lossy();
        let query = run(lake, &["query", "--full-scan", "--output", "json", &format!("SELECT * FROM {TABLE}")])?;
        if query.exit != 0 {
            names(&query, name, &self.table.files)?;
        } else if !self.are_rows_right(&query, path, damaged)? {
            // What follows works on another table than the whole one.
            UNNOTICEABLE.fetch_add(1, Relaxed);
            return Ok(());
        }
        let ran = run(lake, command)?;
        if ran.exit == 0 {
            return Ok(());
        }
        names(&ran, name, &self.table.files)?;
        undo();
        let rows = canonical(&lake.rows(TABLE)?);
        if rows == self.table.rows { Ok(()) } else { Err(format!("the run failed and changed the rows: {rows:#?}")) }
    }

    /// Whether a query of the damaged table gives the rows of the whole one; when not, another reader must find the same, in
    /// it or in one with a part of the damage.
    fn are_rows_right(&self, query: &Ran, path: &Path, damaged: &[u8]) -> Result<bool, String> {
        let rows = canonical(&parse_json(&query.stdout)?);
        if rows == self.table.rows {
            return Ok(true);
        }
        let mut answers = Vec::new();
        for bytes in parts(&self.table.files[path], damaged) {
            fs::write(path, bytes).map_err(|error| error.to_string())?;
            let others = reader::ask(&self.table.lake.request(TABLE));
            let others = others.as_ref().map(|snapshots| canonical(rows_of(snapshots)));
            if others.as_ref() == Ok(&rows) {
                return Ok(false);
            }
            answers.push(others.map_or_else(Clone::clone, |others| difference(&others, &self.table.rows)));
        }
        Err(format!("other rows: {}\nanother reader: {}", difference(&rows, &self.table.rows), answers[0]))
    }

    /// A contract or etl.toml: whatever is no longer right in it is said, with the file's name.
    fn text(&self, random: &mut Random) -> Result<(), String> {
        self.table.restore();
        let texts = ["etl.toml", "schemas/telemetry.odcs.yaml"].map(|name| self.table.lake.folder().join(name));
        let place = random.below(2);
        let (path, other) = (&texts[place], &texts[1 - place]);
        let mut bytes = self.table.files[path].clone();
        let how = change(&mut bytes, &self.table.files[other], random);
        fs::write(path, &bytes).map_err(|error| error.to_string())?;
        let name = path.file_name().expect("it is one of the two").to_string_lossy();
        for command in [&["contract", "check"][..], &["dedupe", "--date", "2025-06-05"]] {
            let ran = run(&self.table.lake, command).and_then(|ran| match ran.exit {
                2 => names(&ran, &name, &self.table.files),
                _ => Ok(()),
            });
            ran.map_err(|error| format!("{name}, {how}, {command:?}: {error}\n{}", String::from_utf8_lossy(&bytes)))?;
        }
        Ok(())
    }
}

impl Place {
    /// What the lake is now is how it is when it is whole.
    fn new(lake: Lake, more: &[String]) -> Result<Self, String> {
        let rows = if lake.sqlite().exists() { canonical(&lake.rows(TABLE)?) } else { Vec::new() };
        for run in fs::read_dir(lake.folder()).map_err(|error| error.to_string())? {
            let path = run.map_err(|error| error.to_string())?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("run-")) {
                fs::remove_dir_all(&path).map_err(|error| error.to_string())?;
            }
        }
        let files = files_below(lake.folder());
        let mut objects: Vec<PathBuf> = files.keys().filter(|path| is_object(path)).cloned().collect();
        objects.sort_by_key(|path| fs::metadata(path).and_then(|found| found.modified()).ok());
        let known = rows.iter().chain(more).cloned().collect();
        Ok(Self { lake, files, objects, known, rows })
    }

    /// Everything is again as it was.
    fn restore(&self) {
        for path in files_below(self.lake.folder()).keys().filter(|path| !self.files.contains_key(*path)) {
            fs::remove_file(path).expect("it was listed");
        }
        for (path, bytes) in &self.files {
            if fs::read(path).ok().as_ref() != Some(bytes) {
                fs::create_dir_all(path.parent().expect("it has a folder")).expect("a folder");
                fs::write(path, bytes).expect("the file is written");
            }
        }
    }
}

fn raw_lake(share: u64, fixtures: &[(String, Vec<u8>)]) -> Result<Place, String> {
    let lake = Lake::new(Tier::Local, &format!("damaged-raw-{share}"), &[setup()]);
    lake.put(&raw_path(0, "beside.parquet"), parquet(BESIDE)?);
    lake.put(&raw_path(0, DAMAGED), fixtures[0].1.clone());
    succeeds(&lake, &dedupe(0))?;
    // Every fixture has the same rows.
    let known = canonical(&lake.rows(TABLE)?);
    lake.remove(&raw_path(0, DAMAGED));
    reset(&lake);
    Place::new(lake, &known)
}

fn table_lake(share: u64, fixtures: &[(String, Vec<u8>)]) -> Result<Place, String> {
    let lake = Lake::new(Tier::Local, &format!("damaged-table-{share}"), &[setup()]);
    let snappy = fixtures.iter().find(|(name, _)| name == "pyarrow-snappy.parquet").ok_or("no such fixture")?;
    lake.put(&raw_path(0, "a.parquet"), snappy.1.clone());
    succeeds(&lake, &dedupe(0))?;
    lake.put(&raw_path(1, "b.parquet"), parquet(SECOND)?);
    succeeds(&lake, &dedupe(1))?;
    lake.put("telemetry/2025/06/05/00/c.parquet", parquet(THIRD)?);
    Place::new(lake, &[])
}

/// The table is forgotten, and its objects are deleted.
fn reset(lake: &Lake) {
    for name in ["catalog.db", "warehouse", "quarantine"] {
        let path = lake.folder().join(name);
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
            .expect("it is removed");
    }
}

fn setup() -> TableSetup {
    let changes = ContractChanges {
        columns: vec!["{name: tenant_id, logicalType: string, required: true}".to_owned()],
        settings: BTreeMap::from([("etl.mergeMode".to_owned(), Some("merge-on-read".to_owned()))]),
        ..ContractChanges::default()
    };
    TableSetup {
        name: TABLE.to_owned(),
        contract: usual_contract(&changes),
        source: "telemetry/{yyyy}/{MM}/{dd}/{HH}/".to_owned(),
        timezone: None,
    }
}

fn raw_path(hour: usize, name: &str) -> String {
    format!("telemetry/2025/06/04/{hour:02}/{name}")
}

fn parquet(lines: &str) -> Result<Vec<u8>, String> {
    let rows = Rows::parse(&format!("{COLUMNS}{lines}"), &BTreeMap::new())?;
    write_parquet(&rows, WriterProperties::default())
}

/// One line for each row, in an order of their own, with the columns by name: readers give them in different orders.
fn canonical(rows: &[Value]) -> Vec<String> {
    let lines = Rows::parse(COLUMNS, &BTreeMap::new()).expect("the columns are known").canonical_of(rows);
    let by_name = |line: &String| match serde_json::from_str::<BTreeMap<String, Value>>(line) {
        Ok(row) => {
            json!(row.into_iter().map(|(name, value)| (name, in_full(value))).collect::<BTreeMap<_, _>>()).to_string()
        }
        Err(_) => line.clone(),
    };
    let mut lines: Vec<_> = lines.iter().map(by_name).collect();
    lines.sort();
    lines
}

/// A time in microseconds, also in a column that damage gave another name.
fn in_full(value: Value) -> Value {
    match value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()) {
        Some(time) => json!(format!("{time:.6}")),
        None => value,
    }
}

/// The rows that are new, and those that are gone.
fn difference(rows: &[String], whole: &[String]) -> String {
    let without = |rows: &[String], others: &[String]| {
        let mut left = others.to_vec();
        let is_extra =
            |row: &&String| left.iter().position(|other| other == *row).map(|place| left.remove(place)).is_none();
        rows.iter().filter(is_extra).cloned().collect::<Vec<_>>()
    };
    format!("new {:#?}, gone {:#?}", without(rows, whole), without(whole, rows))
}

/// Raw rows as the table has them: where the file has no such column it is NULL, and the run says that it is
/// absent, or that the file has another.
fn curated(rows: &[Value], said: &str) -> Vec<String> {
    let names: Vec<&str> = COLUMNS.split(", ").collect();
    let with_all = |row: &Value| {
        let has_other_name = row.as_object()?.keys().any(|name| !names.contains(&name.as_str()) && said.contains(name));
        let mut of = BTreeMap::new();
        for name in &names {
            match row.get(name) {
                Some(value) => of.insert(*name, value.clone()),
                None if has_other_name || said.contains(&format!("`{name}`")) => of.insert(*name, Value::Null),
                None => return None,
            };
        }
        Some(json!(of))
    };
    canonical(&rows.iter().filter_map(with_all).collect::<Vec<_>>())
}

fn rows_of(snapshots: &Value) -> &[Value] {
    snapshots[0]["rows"].as_array().map_or(&[], Vec::as_slice)
}

fn succeeds(lake: &Lake, arguments: &[impl AsRef<str>]) -> Result<(), String> {
    let ran = lake.run(arguments);
    if ran.exit == 0 { Ok(()) } else { Err(format!("the whole lake ended {}: {}", ran.exit, ran.stderr)) }
}

/// A run that ends in time, with a code that people know and without a panic.
fn run(lake: &Lake, arguments: &[impl AsRef<str>]) -> Result<Ran, String> {
    let started = Instant::now();
    let ran = lake.run(arguments);
    let took = started.elapsed();
    if took > RUN_TIME_MAX {
        return Err(format!("took {took:?}: {}", ran.stderr));
    }
    if ![0, 1, 2, 3, 75].contains(&ran.exit) || ran.stderr.contains("panicked") {
        return Err(format!("exit {}: {}{}", ran.exit, ran.stdout, ran.stderr));
    }
    Ok(ran)
}

/// Everything that a run says: stdout, stderr and its reports.
fn said(ran: &Ran) -> String {
    let reports: Vec<String> = ran.reports.iter().map(Value::to_string).collect();
    format!("{}{}{}", ran.stdout, ran.stderr, reports.join("\n"))
}

/// The damaged file is named; or a location that it names by mistake, where nothing ever was.
fn names(ran: &Ran, name: &str, whole: &BTreeMap<PathBuf, Vec<u8>>) -> Result<(), String> {
    let said = said(ran);
    let is_mistake = |word: &str| {
        let word = word.trim_matches(['"', '\'', '`', ':', ';', ',', '.', '(', ')']);
        let path = Path::new(word.trim_start_matches("file://"));
        let is_object =
            word.contains("/warehouse/") || [".parquet", ".avro", ".json"].iter().any(|end| word.ends_with(end));
        is_object && !whole.contains_key(path) && !path.exists()
    };
    // What `etl check` finds is its result; other results name files that the run wrote.
    let findings = if ran.stdout.contains(" findings") { ran.stdout.as_str() } else { "" };
    if said.contains(name) || ran.stderr.split_whitespace().chain(findings.split_whitespace()).any(is_mistake) {
        return Ok(());
    }
    Err(format!("exit {} without the file's name: {said}", ran.exit))
}

fn fixtures_folder() -> PathBuf {
    fixtures().join("parquet")
}

/// An object of the table, not a record of a run.
fn is_object(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.contains("/warehouse/") && !text.contains("/.etl/")
}

fn files_below(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the folder is listed") {
            let path = entry.expect("the folder is listed").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.clone(), fs::read(&path).expect("the file is read"));
            }
        }
    }
    found
}
