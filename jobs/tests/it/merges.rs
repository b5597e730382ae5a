//! Merging into a table that others have written to: raw rows, each with the outcome that it must have, and all that must
//! hold afterwards.

use std::{collections::BTreeMap, fmt::Write};

use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value, json};

use crate::{
    case::write_parquet,
    golden::same,
    lake::{Lake, TableSetup},
    rows::Rows,
    services::SERVICES,
    tally,
};

/// What must become of a raw row, as the report calls it.
pub type Outcome = &'static str;

pub const INSERTED: Outcome = "inserted";
pub const UPDATED: Outcome = "updated";
pub const UNCHANGED: Outcome = "unchanged";
pub const STALE: Outcome = "stale";
pub const DUPLICATE: Outcome = "duplicate";

/// A table as the contract sees it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// `curated.name`.
    pub table: &'static str,
    /// Columns of the contract with Iceberg's types. The table may have more.
    pub columns: &'static [(&'static str, &'static str)],
    /// Key columns.
    pub key: &'static [&'static str],
    /// Other columns that must have a value.
    pub required: &'static [&'static str],
    /// Partition columns with their transforms.
    pub partition: &'static [(&'static str, &'static str)],
    /// The winner order.
    pub order: &'static str,
}

impl Shape {
    /// The table's section of etl.toml and its contract.
    pub fn setup(&self) -> TableSetup {
        TableSetup {
            name: self.table.to_owned(),
            contract: self.contract(),
            source: "{yyyy}/{MM}/{dd}/".to_owned(),
            timezone: None,
        }
    }

    fn contract(&self) -> String {
        let table = self.table;
        let (_, name) = table.split_once('.').expect("a namespace and a name");
        let mut text = format!(
            "apiVersion: v3.1.0\nkind: DataContract\nid: foreign\nversion: 1.0.0\nstatus: active\nschema:\n  - name: \
             {name}\n    physicalName: {table}\n    properties:\n"
        );
        for (column, kind) in self.columns {
            let logical = match kind.split(['<', '(']).next().unwrap_or_default() {
                "int" | "long" => "integer",
                "double" | "decimal" => "number",
                "timestamptz" => "timestamp",
                "list" => "array",
                "struct" => "object",
                other => other,
            };
            _ = write!(text, "      - {{name: {column}, logicalType: {logical}, physicalType: '{kind}'");
            if let Some(place) = self.key.iter().position(|key| key == column) {
                _ = write!(text, ", required: true, primaryKey: true, primaryKeyPosition: {}", place + 1);
            } else if self.required.contains(column) {
                text.push_str(", required: true");
            }
            if let Some(place) = self.partition.iter().position(|(source, _)| source == column) {
                let transform = self.partition[place].1;
                _ = write!(
                    text,
                    ", partitioned: true, partitionKeyPosition: {}, customProperties: [{{property: \
                     etl.partitionTransform, value: '{transform}'}}]",
                    place + 1
                );
            }
            text.push_str("}\n");
        }
        _ = writeln!(text, "customProperties:\n  - {{property: etl.dedupe.orderBy, value: '{} DESC'}}", self.order);
        text
    }

    /// The row's key, as text.
    pub fn key_of(&self, row: &Value) -> String {
        self.key.iter().map(|column| row[column].to_string()).collect::<Vec<_>>().join("/")
    }

    fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|(name, _)| *name == column)
    }

    /// The row without columns that the contract does not have.
    fn contracted(&self, row: &Value) -> Value {
        row.as_object().map_or(Value::Null, |row| {
            row.iter().filter(|(name, _)| self.has(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
        })
    }

    /// What the table holds after the row was merged: columns that the contract does not have are as they were.
    fn merged(&self, row: &Value, before: Option<&Value>) -> Value {
        let mut merged = self.contracted(row);
        for (name, value) in before.and_then(Value::as_object).into_iter().flatten() {
            if !self.has(name) {
                merged[name] = value.clone();
            }
        }
        merged
    }

    fn parquet(&self, rows: &[(Outcome, Value)]) -> Result<Vec<u8>, String> {
        let types = self.columns.iter().map(|(name, kind)| {
            let kind = if *kind == "timestamptz" { "timestamp[us,UTC]" } else { kind };
            ((*name).to_owned(), kind.to_owned())
        });
        let lines: Vec<String> = rows.iter().map(|(_, row)| self.contracted(row).to_string()).collect();
        write_parquet(&Rows::parse(&lines.join("\n"), &types.collect())?, WriterProperties::default())
    }
}

/// A table in a lake, and what it must hold.
pub struct Target<'a> {
    lake: &'a Lake,
    shape: Shape,
    /// By key.
    pub rows: BTreeMap<String, Value>,
    /// What every snapshot must go on to read.
    snapshots: BTreeMap<i64, Vec<String>>,
    /// There are equality deletes, which PyIceberg cannot read.
    pub has_equality_deletes: bool,
    days: u32,
}

impl<'a> Target<'a> {
    /// A table whose current rows are these, to the millisecond.
    pub fn new(lake: &'a Lake, shape: Shape, rows: &[Value]) -> Result<Self, String> {
        let (snapshots, has_equality_deletes, days) = (BTreeMap::new(), false, 0);
        let mut target = Self { lake, shape, rows: BTreeMap::new(), snapshots, has_equality_deletes, days };
        target.take_over(rows)?;
        Ok(target)
    }

    /// The contract becomes another one.
    pub fn evolve(&mut self, shape: Shape) {
        self.shape = shape;
        self.lake.set_contract(&shape.setup());
    }

    /// Takes over what another writer has left as the current snapshot: these rows, to the millisecond.
    pub fn take_over(&mut self, rows: &[Value]) -> Result<(), String> {
        let read = self.lake.rows(self.shape.table)?;
        same("rows", &roughly(rows), &roughly(&read))?;
        self.rows = read.iter().map(|row| (self.shape.key_of(row), normal(row))).collect();
        Ok(())
    }

    /// Says what a snapshot must read, to the millisecond; now, and as it reads now after every merge.
    pub fn expect(&mut self, snapshot_id: i64, rows: &[Value]) -> Result<(), String> {
        let read = self.at(snapshot_id)?;
        same(&format!("snapshot {snapshot_id}"), &roughly(rows), &roughly(&read))?;
        self.snapshots.insert(snapshot_id, sorted(&read));
        Ok(())
    }

    /// Rows of a snapshot as we read it.
    pub fn at(&self, snapshot_id: i64) -> Result<Vec<Value>, String> {
        self.lake.query(&format!("SELECT * FROM {} FOR VERSION AS OF {snapshot_id}", self.shape.table))
    }

    /// A day of raw rows is merged: each has its outcome, the table has the rows, and doing it again does nothing. Returns
    /// the report.
    pub fn merge(&mut self, raw: &[(Outcome, Value)]) -> Result<Value, String> {
        self.days += 1;
        let day = format!("2025-06-{:02}", self.days);
        put_day(self.lake, &self.shape, &day, raw)?;
        let words = ["dedupe", self.shape.table, "--date", &day];
        let ran = self.lake.run(&words);
        let failed = |error: String| format!("{day}: {error}\n{}", ran.stderr);
        let report =
            ran.reports.first().filter(|_| ran.exit == 0).ok_or_else(|| failed(format!("exit {}", ran.exit)))?;
        compare_balance(report, raw).map_err(failed)?;
        for (_, row) in raw.iter().filter(|(outcome, _)| [INSERTED, UPDATED].contains(outcome)) {
            let row = self.shape.merged(row, self.rows.get(&self.shape.key_of(row)));
            self.rows.insert(self.shape.key_of(&row), normal(&row));
        }
        self.compare_rows().map_err(failed)?;
        let after = report["output"]["snapshot_after"].as_i64().ok_or_else(|| failed("no snapshot".to_owned()))?;
        self.snapshots.insert(after, self.rows.values().map(Value::to_string).collect::<Vec<_>>().sorted());

        let again = self.lake.run(&words);
        let report_again = again.reports.first().cloned().unwrap_or_default();
        if again.exit != 0 || report_again["status"] != json!("unchanged") {
            return Err(format!("{day} again ended {}: {report_again}\n{}", again.exit, again.stderr));
        }
        self.check().map_err(failed)?;
        Ok(report.clone())
    }

    /// Files are written again as the words say: the table has the same rows, and so has every snapshot. Returns the report.
    pub fn compact(&mut self, words: &[&str]) -> Result<Value, String> {
        let words = [&["compact", self.shape.table, "--include-active"], words].concat();
        let ran = self.lake.run(&words);
        let failed = |error: String| format!("{words:?}: {error}\n{}", ran.stderr);
        let report =
            ran.reports.first().filter(|_| ran.exit == 0).ok_or_else(|| failed(format!("exit {}", ran.exit)))?;
        if report["status"] != json!("committed") {
            return Err(failed(format!("nothing was written: {report}")));
        }
        self.compare_rows().map_err(failed)?;
        let after = report["output"]["snapshot_after"].as_i64().ok_or_else(|| failed("no snapshot".to_owned()))?;
        self.snapshots.insert(after, self.rows.values().map(Value::to_string).collect::<Vec<_>>().sorted());
        self.check().map_err(failed)?;
        Ok(report.clone())
    }

    /// Every snapshot reads as it must, by us and by PyIceberg, and `etl check` is content.
    pub fn check(&self) -> Result<(), String> {
        let table = self.shape.table;
        let ran = self.lake.run(&["check", table]);
        if ran.exit != 0 {
            return Err(format!("check ended {}: {}{}", ran.exit, ran.stdout, ran.stderr));
        }
        for (id, rows) in &self.snapshots {
            same(&format!("etl, {table} at {id}"), rows, &sorted(&self.at(*id)?))?;
        }
        if SERVICES.python.is_none() {
            tally::pairs_skipped(1);
            return Ok(());
        }
        let read = self.lake.snapshots(table);
        if self.has_equality_deletes {
            tally::unread_by_pyiceberg();
            return match read {
                Err(error) if error.contains("equality deletes") => Ok(()),
                other => Err(format!("PyIceberg reads equality deletes now: compare what it reads: {other:?}")),
            };
        }
        let read = read?;
        for (id, rows) in &self.snapshots {
            let (_, got) = read.iter().find(|(read, _)| read == id).ok_or_else(|| format!("PyIceberg has no {id}"))?;
            same(&format!("PyIceberg, {table} at {id}"), rows, &sorted(got))?;
            tally::pair();
        }
        Ok(())
    }

    /// The current rows, all of them.
    fn compare_rows(&self) -> Result<(), String> {
        let expected = self.rows.values().map(Value::to_string).collect::<Vec<_>>().sorted();
        same("rows", &expected, &sorted(&self.lake.rows(self.shape.table)?))
    }

    /// A filter on the key finds the row, and no other.
    pub fn find(&self, row: &Value) -> Result<(), String> {
        let terms = self.shape.key.iter().map(|column| format!("{column} = '{}'", row[column].as_str().unwrap_or("?")));
        let terms = terms.collect::<Vec<_>>().join(" AND ");
        let got = self.lake.query(&format!("SELECT * FROM {} WHERE {terms}", self.shape.table))?;
        let expected: Vec<String> = self.rows.get(&self.shape.key_of(row)).map(Value::to_string).into_iter().collect();
        same(&terms, &expected, &sorted(&got))
    }
}

/// Puts raw rows into the raw partition of a day.
pub fn put_day(lake: &Lake, shape: &Shape, day: &str, raw: &[(Outcome, Value)]) -> Result<(), String> {
    lake.put(&format!("{}/a.parquet", day.replace('-', "/")), shape.parquet(raw)?);
    Ok(())
}

fn compare_balance(report: &Value, raw: &[(Outcome, Value)]) -> Result<(), String> {
    let mut counts: BTreeMap<&str, usize> =
        [INSERTED, UPDATED, UNCHANGED, STALE, DUPLICATE, "invalid"].map(|outcome| (outcome, 0)).into();
    for (outcome, _) in raw {
        *counts.entry(outcome).or_default() += 1;
    }
    let expected: Vec<String> = counts.iter().map(|(outcome, count)| format!("{outcome}: {count}")).collect();
    let got: Vec<String> = counts.keys().map(|outcome| format!("{outcome}: {}", report["rows"][outcome])).collect();
    same("balance", &expected, &got)
}

/// What a merge has no business with is as it was: identity, properties, refs, schemas, partition specs, snapshots.
pub fn kept(before: &Value, after: &Value) -> Result<(), String> {
    let parts = ["table-uuid", "location", "schemas", "partition-specs", "sort-orders", "snapshots", "default-spec-id"];
    for part in parts {
        within(&before[part], &after[part]).map_err(|what| format!("{part} of the metadata: {what} is gone"))?;
    }
    let all = |part: &str, metadata: &Value| metadata[part].as_object().cloned().unwrap_or_default();
    for (name, value) in all("properties", before).iter().filter(|(name, _)| !name.starts_with("etl.")) {
        within(value, &after["properties"][name]).map_err(|_| format!("property {name} is not {value} any more"))?;
    }
    let (before, after) = (all("refs", before), all("refs", after));
    if before.len() != after.len() || before.iter().any(|(name, of)| name != "main" && after.get(name) != Some(of)) {
        return Err(format!("refs were {before:?} and are {after:?}"));
    }
    Ok(())
}

/// Everything of one document is in the other.
fn within(part: &Value, whole: &Value) -> Result<(), String> {
    let is_within = match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            return part.iter().try_for_each(|(name, value)| within(value, whole.get(name).unwrap_or(&Value::Null)));
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.iter().all(|item| whole.iter().any(|other| within(item, other).is_ok()))
        }
        // Some writers spell an empty list out.
        (Value::Array(part), Value::Null) => part.is_empty(),
        (part, whole) => part == whole,
    };
    if is_within { Ok(()) } else { Err(part.to_string()) }
}

/// Rows of any reader, in one form and order.
fn sorted(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| normal(row).to_string()).collect::<Vec<_>>().sorted()
}

/// The same, to the millisecond: tests/fixtures/tables/expected has no more.
fn roughly(rows: &[Value]) -> Vec<String> {
    rows.iter().map(|row| in_form(row, 3).to_string()).collect::<Vec<_>>().sorted()
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl Sorted for Vec<String> {
    fn sorted(mut self) -> Self {
        self.sort();
        self
    }
}

/// A value in one form: without NULLs, times in microseconds, decimals as numbers, keys of objects sorted.
pub fn normal(value: &Value) -> Value {
    in_form(value, 6)
}

fn in_form(value: &Value, time_digits: usize) -> Value {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| !value.is_null()).collect();
            fields.sort_by_key(|(name, _)| name.as_str());
            let fields = fields.into_iter().map(|(name, value)| (name.clone(), in_form(value, time_digits)));
            Value::Object(fields.collect::<Map<_, _>>())
        }
        Value::Array(items) => items.iter().map(|item| in_form(item, time_digits)).collect(),
        Value::String(text) => match (time(text, time_digits), decimal(text)) {
            (Some(time), _) => json!(time),
            (None, Some(number)) => json!(number),
            (None, None) => value.clone(),
        },
        other => other.clone(),
    }
}

/// A time with so many digits after the second, whatever it has.
fn time(text: &str, digits: usize) -> Option<String> {
    let (second, fraction) = text.strip_suffix('Z')?.split_at_checked("2025-06-01T00:00:00".len())?;
    let fraction = fraction.strip_prefix('.').unwrap_or(fraction);
    if !second.contains('T') || !fraction.chars().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(format!("{second}.{}Z", &format!("{fraction:0<6}")[..digits]))
}

/// A decimal of six digits after the point, which is the only kind that these tables have.
fn decimal(text: &str) -> Option<f64> {
    let (_, digits) = text.split_once('.')?;
    if digits.len() == 6 { text.parse().ok() } else { None }
}
