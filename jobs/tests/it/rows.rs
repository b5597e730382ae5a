//! Rows as text, as Arrow batches and as canonical JSON: what a case says, what goes into a raw file, and what readers
//! return are compared in one form, that of tests/tools/read_table.py.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BinaryArray, FixedSizeBinaryArray, Int64Array, ListArray, MapArray, RecordBatch, StringArray,
        StructArray,
    },
    buffer::{NullBuffer, OffsetBuffer},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Field, Fields, Schema, TimeUnit},
    util::display::{ArrayFormatter, FormatOptions},
};
use jiff::{SignedDuration, civil::DateTime};
use serde_json::{Map, Value, json};

/// A table's rows with the type of each column.
#[derive(Debug, Clone, Default)]
pub struct Rows {
    /// Names and types, in order.
    pub columns: Vec<(String, DataType)>,
    /// Values in the forms of JSON, one per column.
    pub values: Vec<Vec<Value>>,
}

/// Types of the columns that cases use most; a case adds its own.
const TYPES: [(&str, &str); 10] = [
    ("device_id", "string"),
    ("event_id", "string"),
    ("event_time", "timestamp[us,UTC]"),
    ("temperature", "double"),
    ("ingest_time", "timestamp[us,UTC]"),
    ("tenant_id", "string"),
    ("op", "string"),
    ("_etl_rules", "list<string>"),
    ("_etl_file", "string"),
    ("_etl_row", "long"),
];

impl Rows {
    /// Reads CSV with a header, `name` or `name:type`, or one JSON object per line.
    ///
    /// In CSV spaces around a value do not count, nothing at all is NULL, and `""` is the empty string.
    pub fn parse(text: &str, types: &BTreeMap<String, String>) -> Result<Self, String> {
        let type_of = |name: &str| {
            let known = types.get(name).map(String::as_str);
            let known = known.or_else(|| TYPES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text));
            data_type(known.ok_or_else(|| format!("give column {name:?} a type"))?)
        };
        let mut lines = text.lines().filter(|line| !line.trim().is_empty()).peekable();
        if lines.peek().is_some_and(|line| line.trim_start().starts_with('{')) {
            return Self::parse_json(lines, type_of);
        }
        let mut rows = Self::default();
        for cell in cells(lines.next().unwrap_or_default())? {
            let header = cell.unwrap_or_default();
            let (name, kind) = match header.split_once(':') {
                Some((name, kind)) => (name, data_type(kind)?),
                None => (header.as_str(), type_of(&header)?),
            };
            rows.columns.push((name.to_owned(), kind));
        }
        for line in lines {
            let cells = cells(line)?;
            if cells.len() != rows.columns.len() {
                return Err(format!("{} values for {} columns: {line}", cells.len(), rows.columns.len()));
            }
            let values = cells.into_iter().zip(&rows.columns).map(|(cell, (_, kind))| match (cell, kind) {
                (None, _) => Value::Null,
                // A list of words, for rules.
                (Some(text), DataType::List(_)) => text.split_whitespace().map(Value::from).collect(),
                (Some(text), _) => Value::from(text),
            });
            rows.values.push(values.collect());
        }
        Ok(rows)
    }

    fn parse_json<'a>(
        lines: impl Iterator<Item = &'a str>,
        type_of: impl Fn(&str) -> Result<DataType, String>,
    ) -> Result<Self, String> {
        let objects: Vec<Map<String, Value>> = lines
            .map(|line| serde_json::from_str(line).map_err(|error| format!("{error}: {line}")))
            .collect::<Result<_, _>>()?;
        let mut rows = Self::default();
        for name in objects.iter().flat_map(Map::keys) {
            if !rows.columns.iter().any(|(known, _)| known == name) {
                rows.columns.push((name.clone(), type_of(name)?));
            }
        }
        let row = |object: &Map<String, Value>| {
            rows.columns.iter().map(|(name, _)| object.get(name).cloned().unwrap_or_default()).collect()
        };
        rows.values = objects.iter().map(row).collect();
        Ok(rows)
    }

    /// The rows as Arrow.
    pub fn batch(&self) -> Result<RecordBatch, String> {
        let fields: Vec<Field> = self.columns.iter().map(|(name, kind)| Field::new(name, kind.clone(), true)).collect();
        let column = |index: usize| {
            let values: Vec<&Value> = self.values.iter().map(|row| &row[index]).collect();
            array(&values, &self.columns[index].1).map_err(|error| format!("{}: {error}", self.columns[index].0))
        };
        let columns = (0..fields.len()).map(column).collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())
    }

    /// One line of JSON per row, sorted.
    pub fn canonical(&self) -> Vec<String> {
        let row = |values: &Vec<Value>| {
            let pairs = values.iter().zip(&self.columns);
            let object: Map<_, _> = pairs.map(|(value, (name, kind))| (name.clone(), canonical(value, kind))).collect();
            Value::Object(object).to_string()
        };
        sorted(self.values.iter().map(row))
    }

    /// Rows of another reader in the same form: columns that are here take their type from here.
    pub fn canonical_of(&self, objects: &[Value]) -> Vec<String> {
        let row = |object: &Value| {
            let Value::Object(object) = object else { return object.to_string() };
            let pairs = object.iter().map(|(name, value)| {
                let kind = self.columns.iter().find(|(known, _)| known == name).map(|(_, kind)| kind);
                (name.clone(), kind.map_or_else(|| value.clone(), |kind| canonical(value, kind)))
            });
            Value::Object(pairs.collect()).to_string()
        };
        sorted(objects.iter().map(row))
    }
}

/// The named columns of batches as text, a line per row, sorted.
pub fn display(batches: &[RecordBatch], names: &[&str]) -> Result<Vec<String>, String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut lines = Vec::new();
    for batch in batches {
        let columns = names
            .iter()
            .map(|name| {
                let column = batch.column_by_name(name).ok_or_else(|| format!("there is no column {name:?}"))?;
                ArrayFormatter::try_new(column, &options).map_err(|error| error.to_string())
            })
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let values = columns.iter().map(|column| column.value(row).to_string());
            lines.push(values.collect::<Vec<_>>().join(" | "));
        }
    }
    lines.sort();
    Ok(lines)
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.collect();
    lines.sort();
    lines
}

/// The values of a CSV line; `None` is NULL.
fn cells(line: &str) -> Result<Vec<Option<String>>, String> {
    let mut cells = Vec::new();
    let mut rest = line.trim();
    loop {
        rest = rest.trim_start();
        let cell;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut after = quoted;
            loop {
                let (part, next) = after.split_once('"').ok_or_else(|| format!("a quote is not closed: {line}"))?;
                text.push_str(part);
                after = next;
                match after.strip_prefix('"') {
                    Some(next) => (text.push('"'), after = next).1,
                    None => break,
                }
            }
            cell = Some(text);
            rest = after.trim_start();
        } else {
            // Commas in brackets belong to a type: timestamp[us,UTC].
            let mut depth = 0;
            let end = rest.find(|c| {
                depth += i32::from(matches!(c, '[' | '(' | '<')) - i32::from(matches!(c, ']' | ')' | '>'));
                c == ',' && depth == 0
            });
            let text = rest[..end.unwrap_or(rest.len())].trim();
            cell = (!text.is_empty()).then(|| text.to_owned());
            rest = &rest[end.unwrap_or(rest.len())..];
        }
        cells.push(cell);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.is_empty() => return Ok(cells),
            None => return Err(format!("text after a quoted value: {line}")),
        }
    }
}

/// Reads a type: `long`, `timestamp[ns,UTC]`, `decimal(9,2)`, `list<int>`, `struct<a:int,b:string>`, `map<string,double>`.
pub fn data_type(text: &str) -> Result<DataType, String> {
    let text = text.trim();
    let inside = |open: char, close: char| {
        text.split_once(open).and_then(|(name, rest)| Some((name, rest.strip_suffix(close)?)))
    };
    let unknown = || format!("there is no type {text:?}");
    if let Some((name, inside)) = inside('<', '>') {
        let parts = cells(inside)?.into_iter().flatten().collect::<Vec<_>>();
        return match (name, parts.as_slice()) {
            ("list", [element]) => Ok(DataType::new_list(data_type(element)?, true)),
            ("struct", fields) => {
                let field = |text: &String| {
                    let (name, kind) = text.split_once(':').ok_or_else(unknown)?;
                    Ok(Field::new(name.trim(), data_type(kind)?, true))
                };
                Ok(DataType::Struct(fields.iter().map(field).collect::<Result<Vec<_>, String>>()?.into()))
            }
            ("map", [key, value]) => {
                let fields = [Field::new("key", data_type(key)?, false), Field::new("value", data_type(value)?, true)];
                let entries = Field::new("key_value", DataType::Struct(Fields::from_iter(fields)), false);
                Ok(DataType::Map(Arc::new(entries), false))
            }
            ("dictionary", [value]) => Ok(DataType::Dictionary(Box::new(DataType::Int32), Box::new(data_type(value)?))),
            _ => Err(unknown()),
        };
    }
    if let Some(("timestamp", inside)) = inside('[', ']') {
        let (unit, zone) = inside.split_once(',').map_or((inside, None), |(unit, zone)| (unit, Some(zone.trim())));
        let unit = match unit.trim() {
            "s" => TimeUnit::Second,
            "ms" => TimeUnit::Millisecond,
            "us" => TimeUnit::Microsecond,
            "ns" => TimeUnit::Nanosecond,
            _ => return Err(unknown()),
        };
        return Ok(DataType::Timestamp(unit, zone.map(Into::into)));
    }
    if let Some((name, inside)) = inside('(', ')') {
        let mut numbers = inside.split(',').map(|number| number.trim().parse::<u8>());
        return match (name, numbers.next(), numbers.next()) {
            ("decimal", Some(Ok(precision)), Some(Ok(scale))) => {
                Ok(DataType::Decimal128(precision, scale.cast_signed()))
            }
            ("fixed", Some(Ok(length)), None) => Ok(DataType::FixedSizeBinary(length.into())),
            _ => Err(unknown()),
        };
    }
    Ok(match text {
        "boolean" => DataType::Boolean,
        "byte" => DataType::Int8,
        "short" => DataType::Int16,
        "int" => DataType::Int32,
        "long" => DataType::Int64,
        "uint" => DataType::UInt32,
        "ulong" => DataType::UInt64,
        "float" => DataType::Float32,
        "double" => DataType::Float64,
        "date" => DataType::Date32,
        "time" => DataType::Time64(TimeUnit::Microsecond),
        "string" => DataType::Utf8,
        "binary" => DataType::Binary,
        _ => return Err(unknown()),
    })
}

/// Values as an Arrow array.
fn array(values: &[&Value], kind: &DataType) -> Result<ArrayRef, String> {
    let say = |error: arrow::error::ArrowError| error.to_string();
    let present = || NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    match kind {
        DataType::List(element) => {
            let lists: Vec<&[Value]> = values.iter().map(|value| items(value)).collect();
            let inner: Vec<&Value> = lists.iter().copied().flatten().collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
            let inner = array(&inner, element.data_type())?;
            Ok(Arc::new(ListArray::try_new(element.clone(), offsets, inner, Some(present())).map_err(say)?))
        }
        DataType::Struct(fields) => {
            let columns = fields.iter().map(|field| {
                let inner: Vec<&Value> = values.iter().map(|value| &value[field.name()]).collect();
                array(&inner, field.data_type())
            });
            let columns = columns.collect::<Result<Vec<_>, _>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, Some(present())).map_err(say)?))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else { return Err("a map of no entries".to_owned()) };
            let lists: Vec<&[Value]> = values.iter().map(|value| items(value)).collect();
            let offsets = OffsetBuffer::from_lengths(lists.iter().map(|list| list.len()));
            let pairs: Vec<&Value> = lists.iter().copied().flatten().collect();
            let side = |index: usize| {
                let inner: Vec<&Value> = pairs.iter().map(|pair| &pair[index]).collect();
                array(&inner, fields[index].data_type())
            };
            let inner = StructArray::try_new(fields.clone(), vec![side(0)?, side(1)?], None).map_err(say)?;
            Ok(Arc::new(MapArray::try_new(entries.clone(), offsets, inner, Some(present()), false).map_err(say)?))
        }
        DataType::Binary => Ok(Arc::new(BinaryArray::from_iter(values.iter().map(|value| bytes(value))))),
        DataType::FixedSizeBinary(length) => {
            let values = values.iter().map(|value| bytes(value));
            Ok(Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, *length).map_err(say)?))
        }
        DataType::Timestamp(unit, _) => {
            let ticks = values.iter().map(|value| text(value).map(|text| ticks(&text, *unit)).transpose());
            let ticks = Int64Array::from(ticks.collect::<Result<Vec<_>, _>>()?);
            cast_with_options(&ticks, kind, &strict).map_err(say)
        }
        _ => {
            let texts = StringArray::from_iter(values.iter().map(|value| text(value)));
            cast_with_options(&texts, kind, &strict).map_err(say)
        }
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// Bytes written as hex.
fn bytes(value: &Value) -> Option<Vec<u8>> {
    let text = value.as_str()?;
    let byte = |index: usize| u8::from_str_radix(text.get(index..index + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// A time in a unit since 1970; a whole number is taken as it is, for what no calendar has.
fn ticks(text: &str, unit: TimeUnit) -> Result<i64, String> {
    if let Ok(ticks) = text.parse() {
        return Ok(ticks);
    }
    let nanoseconds = instant(text).ok_or_else(|| format!("{text:?} is no time"))?;
    let divisor = match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1000,
        TimeUnit::Nanosecond => 1,
    };
    i64::try_from(nanoseconds.div_euclid(divisor)).map_err(|error| format!("{text}: {error}"))
}

/// Nanoseconds since 1970 of `2025-06-04T10:00`, with or without seconds and `Z`.
fn instant(text: &str) -> Option<i128> {
    let local: DateTime = text.trim_end_matches('Z').trim_end_matches("+00:00").parse().ok()?;
    Some(local.duration_since(EPOCH).as_nanos())
}

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// A value in the form of read_table.py.
fn canonical(value: &Value, kind: &DataType) -> Value {
    match (kind, value) {
        (_, Value::Null) => Value::Null,
        (DataType::Timestamp(_, zone), Value::String(text)) => {
            let microseconds = |nanoseconds: i128| SignedDuration::from_micros(nanoseconds.div_euclid(1000) as i64);
            let time = instant(text).and_then(|instant| EPOCH.checked_add(microseconds(instant)).ok());
            let zone = if zone.is_some() { "Z" } else { "" };
            time.map_or_else(
                || value.clone(),
                |time| json!(format!("{}{zone}", time.strftime("%Y-%m-%dT%H:%M:%S.%6f"))),
            )
        }
        (DataType::Float32 | DataType::Float64, _) => {
            let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
            match number {
                Some(number) if number.is_nan() => json!("NaN"),
                Some(number) if number.is_infinite() => {
                    json!(if number > 0.0 { "Infinity" } else { "-Infinity" })
                }
                Some(number) => json!(number),
                None => value.clone(),
            }
        }
        (DataType::Boolean, Value::String(text)) => text.parse().map_or_else(|_| value.clone(), Value::Bool),
        (kind, Value::String(text)) if kind.is_integer() => {
            text.parse::<i64>().map_or_else(|_| value.clone(), Value::from)
        }
        (DataType::Decimal128(..), Value::Number(number)) => json!(number.to_string()),
        (DataType::List(element), Value::Array(items)) => {
            items.iter().map(|item| canonical(item, element.data_type())).collect()
        }
        (DataType::Struct(fields), Value::Object(_)) => {
            let pairs =
                fields.iter().map(|field| (field.name().clone(), canonical(&value[field.name()], field.data_type())));
            Value::Object(pairs.collect())
        }
        (DataType::Map(entries, _), _) => {
            let DataType::Struct(fields) = entries.data_type() else { return value.clone() };
            let side = |index: usize, value: &Value| canonical(value, fields[index].data_type());
            let pair = |key: &Value, value: &Value| json!([side(0, key), side(1, value)]);
            match value {
                Value::Object(entries) => entries.iter().map(|(key, value)| pair(&json!(key), value)).collect(),
                Value::Array(entries) => entries
                    .iter()
                    .map(|entry| match entry {
                        Value::Object(entry) => pair(&entry["key"], &entry["value"]),
                        entry => pair(&entry[0], &entry[1]),
                    })
                    .collect(),
                _ => value.clone(),
            }
        }
        _ => value.clone(),
    }
}
