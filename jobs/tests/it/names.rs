//! Odd names in every place where a name can stand, through every job: the rows are right each time, for us and for PyIceberg, or
//! the contract check says which name cannot be.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    datatypes::{DataType, Field, Fields, Schema},
    json::ReaderBuilder,
};
use parquet::arrow::ArrowWriter;
use serde_json::{Map, Value, json};

use crate::{
    Run,
    golden::same,
    lake::{Lake, Ran, TableSetup, Tier},
    reader,
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
    ("foreign", true, foreign),
    ("types", true, types),
    ("uuids", true, uuids),
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
    "<angle>",
    "-",
    ".",
    "..",
    "null",
    "partition",
    LONG,
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
        contract: contract(table, names),
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
        if SERVICES.python.is_none() {
            return Ok(());
        }
        for name in &self.names[..TRANSFORMS.len()] {
            let read = by_pyiceberg(&self.lake, self.table, name, "string", &json!("x"))?;
            let rows: Vec<_> = all.iter().copied().filter(|row| row[*name] == "x").collect();
            same(&format!("rows of {name:?} as PyIceberg reads them"), &texts(&rows), &texts(&read))?;
            tally::pair();
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
/// five and sorted by the others.
fn contract(table: &str, names: &[&str]) -> String {
    let mut properties = vec![
        json!({"name": "i-d", "logicalType": "integer", "primaryKey": true, "required": true}),
        json!({"name": "or-der", "logicalType": "integer"}),
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

/// A column of another writer's table: its name, its type, a value in JSON, and the value in SQL.
type Column = (&'static str, &'static str, [Value; 3], fn(&Value) -> String);

/// PyIceberg partitions by columns whose names Avro does not allow, and calls one partition field other than its column.
fn foreign() -> Result<(), String> {
    let as_text: fn(&Value) -> String = |value| text(value.as_str().unwrap_or_default());
    let values = || [json!("x"), json!("y z"), Value::Null];
    let columns: Vec<Column> =
        ["event-time", "two words", "1st", "plain", "größe", "日本", "a.b", "smile😀", "\"quoted\""]
            .map(|name| (name, "string", values(), as_text))
            .to_vec();
    merged_into(
        "foreign",
        &columns,
        false,
        |name| if name == "plain" { "part-name".to_owned() } else { name.to_owned() },
    )
}

/// PyIceberg partitions by a value of every type.
fn types() -> Result<(), String> {
    fn quoted(value: &Value) -> String {
        text(value.as_str().unwrap_or_default())
    }
    fn plain(value: &Value) -> String {
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    }
    fn bytes(value: &Value) -> String {
        format!("X{}", quoted(value))
    }
    let columns: Vec<Column> = vec![
        ("bo", "boolean", [json!(true), json!(false), Value::Null], plain),
        ("in", "int", [json!(-5), json!(2_147_483_647), Value::Null], plain),
        ("lo", "long", [json!(-5), json!(9_007_199_254_740_993_i64), Value::Null], plain),
        ("de", "decimal(9,2)", [json!("-1.50"), json!("9999999.99"), Value::Null], |value| {
            format!("CAST({} AS DECIMAL(9,2))", quoted(value))
        }),
        ("da", "date", [json!("1969-12-31"), json!("2025-06-01"), Value::Null], quoted),
        ("st", "string", [json!("a/b=%ü "), json!(""), Value::Null], quoted),
        ("fi", "fixed[3]", [json!("00ff01"), json!("ffffff"), Value::Null], bytes),
        ("bi", "binary", [json!("00ff"), json!(""), Value::Null], bytes),
        (
            "ts",
            "timestamp",
            [json!("1969-12-31T23:59:59.999999"), json!("2025-06-01T00:00:00.000000"), Value::Null],
            quoted,
        ),
    ];
    merged_into("types", &columns, false, str::to_owned)
}

/// PyIceberg has files partitioned by uuid.
fn uuids() -> Result<(), String> {
    let quoted: fn(&Value) -> String = |value| text(value.as_str().unwrap_or_default());
    let ids = ["f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "00000000-0000-0000-0000-000000000001"].map(|id| json!(id));
    let [one, other] = ids;
    let columns: Vec<Column> = vec![
        ("uu-id", "uuid", [one, other, Value::Null], quoted),
        ("st", "string", [json!("x"), json!("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"), json!("")], quoted),
    ];
    merged_into("uuids", &columns, true, str::to_owned)
}

/// A table of PyIceberg's with a partition field of each column is merged into and compacted: partitions are what they were.
fn merged_into(name: &str, columns: &[Column], by_hand: bool, field: fn(&str) -> String) -> Result<(), String> {
    let table = format!("curated.{name}");
    let mut properties = vec![json!({"name": "id", "logicalType": "integer", "primaryKey": true, "required": true})];
    for (at, (column, kind, ..)) in columns.iter().enumerate() {
        let kind = kind.replace('[', "(").replace(']', ")");
        properties.push(json!({
            "name": column, "physicalType": kind, "partitioned": true, "partitionKeyPosition": at + 1,
            "customProperties": [{"property": "etl.partitionTransform", "value": "identity"}],
        }));
    }
    let contract = document(&table, &properties, &json!([]));
    let source = "odd/{yyyy}/{MM}/{dd}/".to_owned();
    let setup = TableSetup { name: table.clone(), contract, source, timezone: None };
    let lake = Lake::new(Tier::Local, &format!("names-{name}"), &[setup]);
    let row = |id: usize, place: usize| {
        let values = columns.iter().map(|(name, _, values, _)| ((*name).to_owned(), values[place].clone()));
        std::iter::once(("id".to_owned(), json!(id))).chain(values).collect::<Map<String, Value>>()
    };
    let mut rows = vec![row(1, 0), row(2, 1), row(3, 2), row(4, 0)];
    let mut request = lake.request(&table);
    request["op"] = json!("make");
    request["catalog_name"] = json!("etl");
    request["warehouse"] = json!(lake.new_tables());
    let of_columns = columns.iter().map(|(name, kind, ..)| json!([name, kind]));
    request["columns"] = std::iter::once(json!(["id", "long"])).chain(of_columns).collect();
    request["partition"] = columns.iter().map(|(name, ..)| json!([name, "identity", field(name)])).collect();
    // Nothing but the partition says which file has which value.
    request["properties"] = json!({"write.metadata.metrics.default": "none"});
    request["by_hand"] = json!(by_hand);
    request["appends"] = json!([rows[..3], rows[3..]]);
    reader::ask(&request)?;
    found(&lake, &table, columns, &rows)?;

    let fields = std::iter::once(Field::new("id", DataType::Int64, false));
    let schema = Schema::new(
        fields
            .chain(columns.iter().map(|(name, kind, ..)| Field::new(*name, arrow_type(kind), true)))
            .collect::<Vec<_>>(),
    );
    for (day, raw) in [(1, vec![row(5, 1)]), (2, vec![row(6, 2), row(7, 0)])] {
        let values: Vec<Value> = raw.iter().cloned().map(Value::Object).collect();
        lake.put(&format!("odd/2025/06/{day:02}/a.parquet"), written(&Arc::new(schema.clone()), &values)?);
        ended(&lake, &["dedupe", &table, "--date", &format!("2025-06-{day:02}")])?;
        rows.extend(raw);
        found(&lake, &table, columns, &rows)?;
    }
    ended(&lake, &["compact", &table, "--rewrite-all", "--include-active"])?;
    found(&lake, &table, columns, &rows)?;
    if by_hand {
        // A uuid is compared with text, and made of one.
        let (column, _, values, _) = &columns[0];
        let [one, other] = [&values[0], &values[1]].map(|value| value.as_str().unwrap_or_default());
        let column = sql(column);
        let statement = format!(
            "MERGE INTO {table} AS t USING (VALUES (1, '{one}')) AS s (id, of) ON t.id = s.id \
             WHEN MATCHED AND t.{column} = s.of AND t.{column} IN ('{one}') THEN UPDATE SET {column} = '{other}'"
        );
        ended(&lake, &["merge", &statement])?;
        rows[0].insert(columns[0].0.to_owned(), values[1].clone());
        found(&lake, &table, columns, &rows)?;
    }
    ended(&lake, &["expire", &table, "--older-than", "0s", "--retain-last", "1", "--yes"])?;
    ended(&lake, &["check", &table])
}

fn ended(lake: &Lake, words: &[&str]) -> Result<(), String> {
    let ran = lake.run(words);
    if ran.exit == 0 { Ok(()) } else { Err(format!("{words:?} ended {}: {}{}", ran.exit, ran.stdout, ran.stderr)) }
}

/// Which rows a filter on each column finds, here and by PyIceberg.
fn found(lake: &Lake, table: &str, columns: &[Column], rows: &[Map<String, Value>]) -> Result<(), String> {
    for (column, kind, values, in_sql) in columns {
        for value in values {
            let mut expected: Vec<i64> =
                rows.iter().filter(|row| row[*column] == *value).filter_map(|row| row["id"].as_i64()).collect();
            expected.sort_unstable();
            let condition = if value.is_null() { "IS NULL".to_owned() } else { format!("= {}", in_sql(value)) };
            let what = format!("{table}: {} {condition}", sql(column));
            let read = lake.query(&format!("SELECT id FROM {table} WHERE {} {condition} ORDER BY id", sql(column)))?;
            let read: Vec<i64> = read.iter().filter_map(|row| row["id"].as_i64()).collect();
            if read != expected {
                return Err(format!("{what}: etl finds {read:?} where {expected:?} are right"));
            }
            if value.is_null() || *kind == "binary" || kind.starts_with("fixed") {
                continue;
            }
            let read = by_pyiceberg(lake, table, column, kind, value)?;
            let mut read: Vec<i64> = read.iter().filter_map(|row| row["id"].as_i64()).collect();
            read.sort_unstable();
            if read != expected {
                return Err(format!("{what}: PyIceberg finds {read:?} where {expected:?} are right"));
            }
            tally::pair();
        }
    }
    Ok(())
}

/// The rows of a table that have the value, as PyIceberg finds them. It cannot filter by a column whose name holds a dot, which it
/// takes for a field within another, nor by a partition of uuids, which it compares with bytes.
fn by_pyiceberg(lake: &Lake, table: &str, column: &str, kind: &str, value: &Value) -> Result<Vec<Value>, String> {
    let mut request = lake.request(table);
    if !column.contains('.') && kind != "uuid" {
        request["equal"] = json!([column, value]);
    }
    let read = reader::ask(&request)?;
    let rows = read[0]["rows"].as_array().cloned().unwrap_or_default();
    Ok(rows.into_iter().filter(|row| row[column] == *value).collect())
}

fn arrow_type(kind: &str) -> DataType {
    match kind {
        "boolean" => DataType::Boolean,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "decimal(9,2)" => DataType::Decimal128(9, 2),
        "fixed[3]" => DataType::FixedSizeBinary(3),
        "binary" => DataType::Binary,
        _ => DataType::Utf8,
    }
}
