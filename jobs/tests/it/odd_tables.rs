//! Tables whose metadata is as only some writers leave it (tests/fixtures/odd-tables), read, checked and written to as any other,
//! in a lake in memory. Their rows are those that PyIceberg reads.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use jiff::Timestamp;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::{
    case::fixtures,
    here,
    lake::{Lake, Ran, TableSetup, Tier, parse_json},
    maintain::{ended, equal},
    memory::{BUCKET, Memory},
};

const TABLE: &str = "curated.odd";

/// After every commit of these tables.
const NOW: &str = "2025-06-05T00:00:00Z";

/// What `etl check` finds, by table; of all others nothing.
const FOUND: [(&str, &str); 2] =
    [("counts_of_nothing", "added_files_count = 0"), ("min_sequence_number_too_high", "min_sequence_number = 99")];

const CONTRACT: &str = r"
apiVersion: v3.1.0
kind: DataContract
id: odd
version: 1.0.0
status: active
schema:
  - name: odd
    physicalName: curated.odd
    properties:
      - {name: id, logicalType: integer, physicalType: long, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: text, logicalType: string}
      - {name: part, logicalType: string, partitioned: true, partitionKeyPosition: 1}
      - {name: value, logicalType: number, physicalType: double}
customProperties:
  - {property: etl.dedupe.orderBy, value: value DESC}
";

/// Names of the tables.
pub fn names() -> Vec<String> {
    tables().into_keys().collect()
}

fn tables() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(fixtures().join("odd-tables/tables.json")).expect("the list of tables is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// One table, through the jobs that read it and those that write to it.
pub fn run(name: &str) -> Result<(), String> {
    let world = World::new(name)?;
    world.has(&world.expected)?;
    world.is_checked()?;
    world.run(&["inspect"], 0)?;
    let is_version_1 = name.starts_with("v1_");
    let compacted = world.run(&["compact", "--rewrite-all"], i32::from(is_version_1))?;
    world.has(&world.expected)?;
    if is_version_1 {
        let reason = compacted.reports[0].to_string();
        return equal(&reason, &reason.contains("it has format version 1"), &true);
    }
    equal("compacted", &compacted.reports[0]["status"], &json!("committed"))?;
    world.is_checked()?;
    if name == "name_mapping" {
        return Ok(());
    }
    // One row has another value, one is new.
    world.memory.put("raw/2025/06/04/1.parquet", raw(), world.now());
    let merged = world.run(&["dedupe", "--date", "2025-06-04"], 0)?;
    equal("merged", &merged.reports[0]["status"], &json!("committed"))?;
    let mut rows: Vec<Value> = world.expected.iter().filter(|row| row["id"] != json!(3.0)).cloned().collect();
    rows.extend([
        json!({"id": 3, "text": "new", "part": "b", "value": 7.5}),
        json!({"id": 9, "text": "9", "part": "c"}),
    ]);
    world.has(&rows)?;
    world.is_checked()
}

fn raw() -> Vec<u8> {
    let columns: [(&str, ArrayRef); 4] = [
        ("id", Arc::new(Int64Array::from(vec![3, 9]))),
        ("text", Arc::new(StringArray::from(vec!["new", "9"]))),
        ("part", Arc::new(StringArray::from(vec!["b", "c"]))),
        ("value", Arc::new(Float64Array::from(vec![Some(7.5), None]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("columns of one length");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("it is written");
    writer.into_inner().expect("it is closed")
}

struct World {
    name: String,
    lake: Lake,
    memory: Memory,
    opened: ::lake::Lake,
    expected: Vec<Value>,
}

impl World {
    fn new(name: &str) -> Result<Self, String> {
        let table = tables().remove(name).ok_or("no such table")?;
        let memory = Memory::default();
        let opened = memory.open(&memory.serve(), None);
        let source = "{yyyy}/{MM}/{dd}/".to_owned();
        let setup = TableSetup { name: TABLE.to_owned(), contract: CONTRACT.to_owned(), source, timezone: None };
        let mut lake = Lake::new(Tier::Local, &format!("odd-{name}"), &[setup]);
        let config = fs::read_to_string(lake.folder().join("etl.toml")).map_err(|error| error.to_string())?;
        let config = config.replace("\"warehouse", &format!("\"s3://{BUCKET}/warehouse"));
        let config = config.replace("\"raw/", &format!("\"s3://{BUCKET}/raw/"));
        let config = config.replace("\"quarantine/", &format!("\"s3://{BUCKET}/quarantine/"));
        fs::write(lake.folder().join("etl.toml"), config).map_err(|error| error.to_string())?;
        lake.now = NOW.to_owned();
        let expected = table["rows"].as_array().ok_or("no rows")?.iter().map(plain).collect();
        let world = Self { name: name.to_owned(), lake, memory, opened, expected };
        world.memory.set_now(world.now());
        let objects = fixtures().join("odd-tables/objects");
        world.place(&objects, &objects.join(format!("odd/{name}")))?;
        world.memory.register(&TABLE.parse().expect("a name"), table["metadata"].as_str().ok_or("no metadata")?);
        Ok(world)
    }

    fn now(&self) -> Timestamp {
        NOW.parse().expect("a time")
    }

    fn place(&self, root: &Path, folder: &Path) -> Result<(), String> {
        for entry in fs::read_dir(folder).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            if path.is_dir() {
                self.place(root, &path)?;
                continue;
            }
            let key = path.strip_prefix(root).map_err(|error| error.to_string())?.display().to_string();
            self.memory.put(&key, fs::read(&path).map_err(|error| error.to_string())?, self.now());
        }
        Ok(())
    }

    fn run(&self, words: &[&str], exit: i32) -> Result<Ran, String> {
        let ran = here::run_in(&self.lake, &self.opened, words);
        let said = |ran: &Ran| format!("{words:?}: ended {}, not {exit}: {}{}", ran.exit, ran.stdout, ran.stderr);
        if ran.exit == exit { Ok(ran) } else { Err(said(&ran)) }
    }

    /// These are the rows.
    fn has(&self, expected: &[Value]) -> Result<(), String> {
        let ran = self.run(&["query", "--full-scan", &format!("SELECT * FROM {TABLE}")], 0)?;
        let sorted = |rows: Vec<Value>| {
            let mut rows: Vec<String> = rows.iter().map(|row| plain(row).to_string()).collect();
            rows.sort();
            rows
        };
        equal("rows", &sorted(parse_json(&ran.stdout)?), &sorted(expected.to_vec()))
    }

    /// `check` finds what is wrong, and nothing else.
    fn is_checked(&self) -> Result<(), String> {
        match FOUND.iter().find(|(name, _)| *name == self.name) {
            None => ended(here::run_in(&self.lake, &self.opened, &["check"]), 0).map(drop),
            Some((_, words)) => {
                let ran = here::run_in(&self.lake, &self.opened, &["check"]);
                equal(&format!("{words} in {}{}", ran.stdout, ran.stderr), &ran.stdout.contains(words), &true)
            }
        }
    }
}

/// A row in one spelling: fields by name without NULLs, maps as objects.
fn plain(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> =
                fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, plain(value))).collect();
            json!(fields)
        }
        Value::Array(items) => {
            let pair = |item: &Value| match item.as_array().map(Vec::as_slice) {
                Some([Value::String(key), value]) => Some((key.clone(), plain(value))),
                _ => None,
            };
            match items.iter().map(pair).collect::<Option<BTreeMap<_, _>>>() {
                Some(pairs) if !pairs.is_empty() => json!(pairs),
                _ => items.iter().map(plain).collect(),
            }
        }
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}
