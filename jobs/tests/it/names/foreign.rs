//! Tables that PyIceberg partitions by columns of odd names, and by values of every type: merged into and compacted, their
//! partitions stay what they were.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema};
use serde_json::{Map, Value, json};

use super::{document, sql, text, written};
use crate::{
    lake::{Lake, TableSetup, Tier},
    reader, tally,
};

/// A column of another writer's table: its name, its type, a value in JSON, and the value in SQL.
type Column = (&'static str, &'static str, [Value; 3], fn(&Value) -> String);

/// PyIceberg partitions by columns whose names Avro does not allow, and calls one partition field other than its column.
pub fn foreign() -> Result<(), String> {
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
pub fn types() -> Result<(), String> {
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
pub fn uuids() -> Result<(), String> {
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
pub fn by_pyiceberg(lake: &Lake, table: &str, column: &str, kind: &str, value: &Value) -> Result<Vec<Value>, String> {
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
