//! Odd names in every place where a name can stand, through every job: the rows are right each time, for us and for PyIceberg, or
//! the contract check says which name cannot be.

mod foreign;

use std::{collections::BTreeMap, sync::Arc};

use apache_avro::Reader;
use arrow::{
    datatypes::{DataType, Field, Fields, Schema, TimeUnit},
    json::ReaderBuilder,
};
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};

use crate::{
    Run,
    golden::same,
    lake::{Lake, Ran, TableSetup, Tier},
    services::SERVICES,
    tally,
};

/// What is tried, and whether it needs Python.
pub const TRIALS: [(&str, bool, Run); 9] = [
    ("walk-0", false, || walk(0)),
    ("walk-1", false, || walk(1)),
    ("walk-2", false, || walk(2)),
    ("walk-3", false, || walk(3)),
    ("walk-4", false, || walk(4)),
    ("refused", false, refused),
    ("foreign", true, foreign::foreign),
    ("types", true, foreign::types),
    ("uuids", true, foreign::uuids),
];

/// Names that are odd in one way or another. Two of them are spelled alike in Avro.
const ODD: [&str; 35] = [
    "two words",
    "event-time",
    "a.b",
    "1st",
    "quo\"te",
    "it's",
    "back`tick",
    "a-b",
    "a_x2Db",
    "back\\slash",
    "größe",
    "日本",
    "e\u{301}clair",
    "smile😀",
    "select",
    "Event:Time",
    "per%cent",
    "slash/name",
    " leading",
    "trailing ",
    "_1st",
    "#hash?",
    "{braces}",
    "$dollar",
    "star*",
    "=equals=",
    "(paren)",
    "a,b;c",
    LONG,
    "-",
    ".",
    "..",
    "null",
    "partition",
    "<angle>",
];

/// Longer than a folder's name may be.
const LONG: &str = "n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_\
                    n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_\
                    n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_n23456789_";

/// A table for every seven of them.
const AT_ONCE: usize = 7;

/// Namespaces and tables of the walk.
const TABLES: [&str; 5] =
    ["two words.2ndfloor", "größe-日本.04", "select.order", "it's.quo\"te 😀", "1st-ns.per%cent#?"];

/// How a table is partitioned by some of its columns.
const TRANSFORMS: [&str; 5] = ["identity", "bucket(4)", "truncate(2)", "identity", "identity"];

/// How the tables are partitioned by their time.
const OF_TIME: [&str; 5] = ["year", "month", "day", "hour", "day"];

/// The time column.
const TIME: &str = "ti:me-1";

/// One table of the walk.
struct Walk {
    lake: Lake,
    table: &'static str,
    names: &'static [&'static str],
    rows: BTreeMap<i64, Value>,
}

fn walk(number: usize) -> Result<(), String> {
    let names = &ODD[number * AT_ONCE..(number + 1) * AT_ONCE];
    let table = TABLES[number];
    let setup = TableSetup {
        name: table.to_owned(),
        contract: contract(table, names, OF_TIME[number]),
        source: "odd/{yyyy}/{MM}/{dd}/".to_owned(),
        timezone: None,
    };
    let lake = Lake::new(Tier::Local, &format!("names-{number}"), &[setup]);
    let mut walk = Walk { lake, table, names, rows: BTreeMap::new() };
    walk.through().map_err(|error| format!("{table} with the columns {names:?}: {error}"))
}

impl Walk {
    fn through(&mut self) -> Result<(), String> {
        let (_, name) = self.table.split_once('.').expect("a namespace and a name");
        self.run(&["contract", "check", &format!("schemas/{name}.odcs.yaml")])?;
        self.dedupe(1, &[self.row(1, 1, "x"), self.row(2, 1, "y/ü=%"), self.row(3, 1, "")])?;
        self.dedupe(2, &[self.row(2, 2, "z"), self.row(4, 2, "x"), self.row(5, 2, "null")])?;
        let again = self.run(&["dedupe", self.table, "--date", "2025-06-02"])?;
        if again.reports[0]["status"] != "unchanged" {
            return Err(format!("the same again: {}", again.reports[0]));
        }
        self.merge()?;
        let sorted = self.names[5..].iter().map(|name| sql(name)).collect::<Vec<_>>().join(", ");
        for words in [
            &["compact", "--rewrite-all", "--include-active"][..],
            &["compact", "--rewrite-all", "--include-active", "--sort", &sorted],
        ] {
            self.run(&[&words[..1], &[self.table], &words[1..]].concat())?;
            self.compare()?;
        }
        self.run(&["expire", self.table, "--older-than", "0s", "--retain-last", "1", "--yes"])?;
        self.run(&["orphans", self.table, "--yes"])?;
        self.run(&["inspect", self.table])?;
        self.run(&["maintain", self.table, "--yes"])?;
        self.dedupe(3, &[self.row(1, 3, "last"), self.row(6, 3, "x")])?;
        self.run(&["check", self.table]).map(drop)
    }

    /// A row whose odd columns all have the value; the empty text is NULL in the last of them.
    fn row(&self, id: i64, version: i64, value: &str) -> Value {
        let mut row = Map::new();
        row.insert("i-d".to_owned(), json!(id));
        row.insert("or-der".to_owned(), json!(version));
        row.insert(TIME.to_owned(), json!(format!("2025-0{id}-04T0{id}:00:00.123456Z")));
        for name in self.names {
            row.insert((*name).to_owned(), json!(value));
        }
        let inside: Map<String, Value> = self.names.iter().map(|name| ((*name).to_owned(), json!(value))).collect();
        row.insert("in side".to_owned(), json!(inside));
        row.insert("li-st".to_owned(), json!([inside, inside]));
        Value::Object(row)
    }

    fn dedupe(&mut self, day: u32, rows: &[Value]) -> Result<(), String> {
        self.lake.put(&format!("odd/2025/06/{day:02}/a.parquet"), parquet(self.names, rows)?);
        let date = format!("2025-06-{day:02}");
        self.run(&["dedupe", self.table, "--date", &date])?;
        self.rows.extend(rows.iter().map(|row| (row["i-d"].as_i64().unwrap_or_default(), row.clone())));
        self.compare()
    }

    /// A statement that names every column.
    fn merge(&mut self) -> Result<(), String> {
        let columns = self.names.iter().map(|name| format!("{} = 'm'", sql(name))).collect::<Vec<_>>().join(", ");
        let statement = format!(
            "MERGE INTO {} AS t USING (VALUES (1)) AS s (\"i-d\") ON t.\"i-d\" = s.\"i-d\" WHEN MATCHED AND t.{} = 'x' THEN UPDATE SET {columns}",
            self.sql_name(),
            sql(self.names[0]),
        );
        self.run(&["merge", &statement])?;
        let row = self.rows.get_mut(&1).ok_or("row 1")?;
        for name in self.names {
            row[*name] = json!("m");
        }
        self.compare()
    }

    /// Every row, and those that a filter on each partition column finds, as we read them and as PyIceberg does.
    fn compare(&self) -> Result<(), String> {
        let all: Vec<&Value> = self.rows.values().collect();
        let table = self.sql_name();
        same("rows", &texts(&all), &texts(&self.lake.query(&format!("SELECT * FROM {table}"))?))?;
        let found: Vec<String> = (self.names.iter().flat_map(|name| VALUES.map(|value| (name, value))))
            .map(|(name, value)| {
                let name = sql(name);
                format!(
                    "SELECT {} AS name, '{value}' AS value, \"i-d\" AS id FROM {table} WHERE {name} = '{value}'",
                    text(&name)
                )
            })
            .collect();
        let found = self.lake.query(&found.join(" UNION ALL "))?;
        let mut expected = Vec::new();
        for (name, value) in self.names.iter().flat_map(|name| VALUES.map(|value| (name, value))) {
            let rows = all.iter().filter(|row| row[*name] == value);
            expected.extend(rows.map(|row| json!({"name": sql(name), "value": value, "id": row["i-d"]})));
        }
        same("rows that a filter finds", &texts(&expected), &texts(&found))?;
        self.are_names_of_avro()?;
        if SERVICES.python.is_none() {
            return Ok(());
        }
        for name in &self.names[..TRANSFORMS.len()] {
            let read = foreign::by_pyiceberg(&self.lake, self.table, name, "string", &json!("x"))?;
            let rows: Vec<_> = all.iter().copied().filter(|row| row[*name] == "x").collect();
            same(&format!("rows of {name:?} as PyIceberg reads them"), &texts(&rows), &texts(&read))?;
            tally::pair();
        }
        Ok(())
    }

    /// Manifests and their lists, as a parser that holds names to Avro's specification reads them.
    fn are_names_of_avro(&self) -> Result<(), String> {
        let files = self.lake.warehouse().into_iter().filter(|(name, _)| name.ends_with(".avro"));
        for (name, bytes) in files {
            let say = |error: apache_avro::Error| format!("{name}: {error}");
            Reader::new(&bytes[..]).map_err(say)?.try_for_each(|entry| entry.map(drop).map_err(say))?;
        }
        Ok(())
    }

    fn sql_name(&self) -> String {
        let (namespace, name) = self.table.split_once('.').expect("a namespace and a name");
        format!("{}.{}", sql(namespace), sql(name))
    }

    fn run(&self, words: &[&str]) -> Result<Ran, String> {
        let ran = self.lake.run(words);
        if ran.exit != 0 {
            return Err(format!("{words:?} ended {}: {}{}", ran.exit, ran.stdout, ran.stderr));
        }
        Ok(ran)
    }
}

/// Values that filters ask for.
const VALUES: [&str; 4] = ["x", "y/ü=%", "m", ""];

fn texts(rows: &[impl std::borrow::Borrow<Value>]) -> Vec<String> {
    let mut texts: Vec<String> = rows.iter().map(|row| row.borrow().to_string()).collect();
    texts.sort();
    texts
}

/// An identifier of SQL.
fn sql(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text of SQL.
fn text(of: &str) -> String {
    format!("'{}'", of.replace('\'', "''"))
}

/// A contract with a column for each name, a struct and a list of structs with a field for each, partitioned by the first
/// five and by time, and sorted by the others.
fn contract(table: &str, names: &[&str], of_time: &str) -> String {
    let mut properties = vec![
        json!({"name": "i-d", "logicalType": "integer", "primaryKey": true, "required": true}),
        json!({"name": "or-der", "logicalType": "integer"}),
        json!({
            "name": TIME, "logicalType": "timestamp", "partitioned": true, "partitionKeyPosition": TRANSFORMS.len() + 1,
            "customProperties": [{"property": "etl.partitionTransform", "value": of_time}],
        }),
    ];
    for (index, name) in names.iter().enumerate() {
        let mut property = json!({"name": name, "logicalType": "string"});
        if let Some(transform) = TRANSFORMS.get(index) {
            property["partitioned"] = json!(true);
            property["partitionKeyPosition"] = json!(index + 1);
            property["customProperties"] = json!([{"property": "etl.partitionTransform", "value": transform}]);
        }
        properties.push(property);
    }
    let inside: Vec<Value> = names.iter().map(|name| json!({"name": name, "logicalType": "string"})).collect();
    properties.push(json!({"name": "in side", "logicalType": "object", "properties": inside}));
    let items = json!({"logicalType": "object", "properties": inside});
    properties.push(json!({"name": "li-st", "logicalType": "array", "items": items}));
    let order = names[TRANSFORMS.len()..].iter().map(|name| sql(name)).collect::<Vec<_>>().join(", ");
    let settings = json!([
        {"property": "etl.dedupe.orderBy", "value": "\"or-der\" DESC"},
        {"property": "etl.sortOrder", "value": order},
    ]);
    document(table, &properties, &settings)
}

/// JSON is YAML.
fn document(table: &str, properties: &[Value], settings: &Value) -> String {
    let schema =
        json!([{"name": "odd", "physicalName": table, "properties": properties, "customProperties": settings}]);
    json!({
        "apiVersion": "v3.1.0", "kind": "DataContract", "id": "odd", "version": "1.0.0", "status": "active",
        "schema": schema,
    })
    .to_string()
}

fn parquet(names: &[&str], rows: &[Value]) -> Result<Vec<u8>, String> {
    let texts = |names: &[&str]| names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>();
    let inside = DataType::Struct(Fields::from(texts(names)));
    let mut fields = vec![Field::new("i-d", DataType::Int64, false), Field::new("or-der", DataType::Int64, true)];
    fields.push(Field::new(TIME, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true));
    fields.extend(texts(names));
    fields.push(Field::new("in side", inside.clone(), true));
    fields.push(Field::new("li-st", DataType::List(Arc::new(Field::new("element", inside, true))), true));
    written(&Arc::new(Schema::new(fields)), rows)
}

fn written(schema: &Arc<Schema>, rows: &[Value]) -> Result<Vec<u8>, String> {
    let say = |error: arrow::error::ArrowError| error.to_string();
    let mut decoder = ReaderBuilder::new(Arc::clone(schema)).build_decoder().map_err(say)?;
    decoder.serialize(rows).map_err(say)?;
    let batch = decoder.flush().map_err(say)?.ok_or("no rows")?;
    let mut bytes = Vec::new();
    let say = |error: parquet::errors::ParquetError| error.to_string();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(schema), None).map_err(say)?;
    writer.write(&batch).map_err(say)?;
    writer.close().map_err(say)?;
    Ok(bytes)
}

/// What no table can be called, and what it cannot have: `etl contract check` says the name.
fn refused() -> Result<(), String> {
    let column = |name: &str| json!({"name": name, "logicalType": "string"});
    let of_struct = |name: &str| json!({"name": name, "logicalType": "object", "properties": [column("a")]});
    let long = "t".repeat(300);
    let cases = [
        ("c.t", vec![column("a\u{7}b")], "a\\u{7}b"),
        ("c.t", vec![column("")], "\"\""),
        ("c.t", vec![column(" ")], "\" \""),
        ("c.t", vec![column("größe"), column("GRÖSSE"), column("GRÖßE")], "GRÖßE"),
        ("c.t", vec![of_struct("s"), column("s.a")], "s.a"),
        ("c.t", vec![column("S.A"), of_struct("s")], "S.A"),
        ("c.sl/ash", vec![column("a")], "sl/ash"),
        ("c.back\\slash", vec![column("a")], "back\\\\slash"),
        ("c.a.b", vec![column("a")], "c.a.b"),
        (&format!("c.{long}"), vec![column("a")], &long),
    ];
    for (table, properties, name) in cases {
        let lake = Lake::new(Tier::Local, "names-refused", &[]);
        let path = lake.folder().join("schemas/odd.odcs.yaml");
        std::fs::write(path, document(table, &properties, &json!([]))).map_err(|error| error.to_string())?;
        let ran = lake.run(&["contract", "check", "schemas/odd.odcs.yaml"]);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        if ran.exit != 2 || !said.contains(name) {
            return Err(format!("{table}, {properties:?}: exit {}, and {name:?} is not in: {said}", ran.exit));
        }
    }
    Ok(())
}
