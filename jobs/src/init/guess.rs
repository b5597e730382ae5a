//! A contract guessed from what raw files show. Pure; every guess is marked, for somebody to confirm.

use std::{collections::BTreeMap, path::Path};

use contract::{
    Column, Contract, Direction, EpochUnit, MergeMode, NewColumns, Nulls, OrderTerm, PartitionField, PrimitiveType,
    TableName, TenantConflict, Thresholds, Tiering, Transform, Type,
};
use engine::observe::{Observed, ObservedColumn, ObservedKey};

/// Size that data files aim for, as contracts have it unless they say otherwise.
const TARGET_FILE_BYTES: u64 = 128 << 20;

/// A column of which the sample has at least this share of different values may be a key: at-least-once delivery brings
/// some duplicates.
const KEY_SHARE_MIN: f64 = 0.8;

/// A contract and what to say about it.
pub struct Guessed {
    /// The contract.
    pub contract: Contract,
    /// Comments by column; the document's own under the empty name.
    pub notes: BTreeMap<String, Vec<String>>,
    /// The guesses in a few lines.
    pub summary: Vec<String>,
}

/// Guesses.
pub fn contract(table: &TableName, observed: &Observed) -> Guessed {
    let mut notes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut columns: Vec<Column> = Vec::new();
    for seen in &observed.columns {
        match column(seen, observed) {
            Some((column, note)) => {
                let left_out = match alike(&columns, &column.name) {
                    Some(other) => Some(format!("it differs from {other} by case only, and raw columns go by name")),
                    None => refused(table, &column),
                };
                if let Some(why) = left_out {
                    let line = format!("guess: column {} is left out: {why}", short(&column.name));
                    notes.entry(String::new()).or_default().push(line);
                    continue;
                }
                notes.insert(column.name.clone(), note);
                columns.push(column);
            }
            None => notes.entry(String::new()).or_default().push(format!(
                "guess: column {} is left out, since no table type holds its raw type {:?}",
                seen.name, seen.raw_types
            )),
        }
    }
    let event_time = event_time(&columns);
    let key = key(observed, &columns, event_time.as_deref());
    let arrival = arrival(&columns, event_time.as_deref());
    let tenant = columns.iter().map(|column| &column.name).find(|name| is_one_of(name, &TENANT_NAMES)).cloned();
    for column in
        columns.iter_mut().filter(|column| key.contains(&column.name) || event_time.as_ref() == Some(&column.name))
    {
        column.required = true;
    }
    let summary = summary(observed, &key, event_time.as_deref(), arrival.as_deref(), tenant.as_deref());
    let top = notes.entry(String::new()).or_default();
    top.splice(0..0, summary.iter().map(|line| format!("guess: {line}")));
    let winner_order = arrival
        .map(|column| OrderTerm { column, direction: Direction::Descending, nulls: Nulls::Last })
        .into_iter()
        .collect();
    let partition: Vec<_> =
        event_time.iter().map(|column| PartitionField { column: column.clone(), transform: Transform::Day }).collect();
    let contract = Contract {
        partition_fixed_per_key: !partition.is_empty() && partition.iter().all(|field| key.contains(&field.column)),
        key,
        event_time,
        partition,
        winner_order,
        tenant,
        ..of_columns(table, columns)
    };
    Guessed { contract, notes, summary }
}

/// A contract of columns and nothing else.
fn of_columns(table: &TableName, columns: Vec<Column>) -> Contract {
    Contract {
        id: table.to_string(),
        version: "0.1.0".to_owned(),
        table: table.clone(),
        description: None,
        partition_fixed_per_key: false,
        columns,
        key: Vec::new(),
        event_time: None,
        partition: Vec::new(),
        sort_order: Vec::new(),
        winner_order: Vec::new(),
        checks: Vec::new(),
        thresholds: Thresholds::default(),
        new_columns: NewColumns::Discard,
        absent_columns: None,
        delete_marker: None,
        lateness: None,
        tenant: None,
        tenant_conflict: TenantConflict::Refuse,
        merge_mode: MergeMode::Auto,
        target_file_bytes: TARGET_FILE_BYTES,
        table_properties: Vec::new(),
        tiering: Tiering::default(),
    }
}

/// The column that a name differs from by case only, or not at all.
fn alike<'c>(columns: &'c [Column], name: &str) -> Option<&'c str> {
    let lower = name.to_lowercase();
    columns.iter().map(|column| column.name.as_str()).find(|other| other.to_lowercase() == lower)
}

/// Why a contract with this column alone would fail its own check, if it would.
fn refused(table: &TableName, column: &Column) -> Option<String> {
    let text = contract::render(&of_columns(table, vec![column.clone()]), &BTreeMap::new());
    match Contract::parse(Path::new(""), &text) {
        Ok(_) => None,
        Err(contract::Error::Document { message, .. }) => Some(message),
        Err(error) => Some(error.to_string()),
    }
}

fn column(seen: &ObservedColumn, observed: &Observed) -> Option<(Column, Vec<String>)> {
    let mut column_type = seen.table_type.clone()?;
    let mut note = Vec::new();
    let mut epoch_unit = EpochUnit::Seconds;
    if let Some(unit) = epoch(seen) {
        column_type = Type::Primitive(PrimitiveType::TimestampTz);
        epoch_unit = unit;
        note.push("guess: the numbers are instants, by name and size".to_owned());
    }
    let required = seen.nulls == Some(0) && seen.files == observed.files && observed.rows > 0;
    note.push(match (seen.nulls, required) {
        (_, true) => format!("guess: required, since none of {} rows is NULL", observed.rows),
        (Some(nulls), _) => format!("seen: {nulls} NULLs in {} of {} files", seen.files, observed.files),
        (None, _) => format!("seen: in {} of {} files", seen.files, observed.files),
    });
    if let Some((min, max)) = &seen.range {
        note.push(format!("seen: {} to {}", short(min), short(max)));
    }
    if seen.raw_types.len() > 1 {
        note.push(format!("guess: the first of the types that files give it: {:?}", seen.raw_types));
    }
    let column = Column {
        name: seen.name.clone(),
        source: None,
        renamed_from: Vec::new(),
        column_type,
        epoch_unit,
        required,
        description: None,
        constraints: Vec::new(),
    };
    Some((column, note))
}

/// Printable, on one line and not long: a value of somebody else's data ends up in a comment.
fn short(value: &str) -> String {
    let clean: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.chars().count() > 40 { clean.chars().take(40).chain(['…']).collect() } else { clean }
}

const TIME_WORDS: [&str; 5] = ["time", "timestamp", "ts", "epoch", "date"];
const ARRIVAL_WORDS: [&str; 10] = [
    "ingest",
    "ingested",
    "ingestion",
    "arrival",
    "arrived",
    "received",
    "processed",
    "updated",
    "loaded",
    "approximate",
];
const TENANT_NAMES: [&str; 5] = ["tenant_id", "tenant", "customer_id", "account_id", "org_id"];

fn words(name: &str) -> Vec<String> {
    name.split(['_', '-', '.', ' ']).map(str::to_ascii_lowercase).collect()
}

fn is_one_of(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

fn has_word(name: &str, any: &[&str]) -> bool {
    words(name).iter().any(|word| any.contains(&word.as_str()))
}

/// The unit of a number that is an instant of this century: a name of time, and a range that fits.
fn epoch(seen: &ObservedColumn) -> Option<EpochUnit> {
    let is_number = matches!(seen.table_type, Some(Type::Primitive(PrimitiveType::Long | PrimitiveType::Int)));
    if !is_number || !(has_word(&seen.name, &TIME_WORDS) || seen.name.ends_with("_at")) {
        return None;
    }
    let (min, max) = seen.range.as_ref()?;
    let (min, max): (i128, i128) = (min.parse().ok()?, max.parse().ok()?);
    // Seconds of 2000-01-01 and 2100-01-01.
    let fits = |per_second: i128| min >= 946_684_800 * per_second && max < 4_102_444_800 * per_second;
    [
        (1, EpochUnit::Seconds),
        (1_000, EpochUnit::Milliseconds),
        (1_000_000, EpochUnit::Microseconds),
        (1_000_000_000, EpochUnit::Nanoseconds),
    ]
    .into_iter()
    .find(|(per_second, _)| fits(*per_second))
    .map(|(_, unit)| unit)
}

fn is_time(column: &Column) -> bool {
    matches!(
        column.column_type,
        Type::Primitive(PrimitiveType::Timestamp | PrimitiveType::TimestampTz | PrimitiveType::Date)
    )
}

fn event_time(columns: &[Column]) -> Option<String> {
    let score = |name: &str| match () {
        () if has_word(name, &ARRIVAL_WORDS) => 0,
        () if has_word(name, &["event"]) => 3,
        () if is_one_of(name, &TIME_WORDS) => 2,
        () => 1,
    };
    let times = columns.iter().filter(|column| is_time(column));
    // Of equals the first: `max_by_key` would take the last.
    times.rev().max_by_key(|column| score(&column.name)).map(|column| column.name.clone())
}

fn arrival(columns: &[Column], event_time: Option<&str>) -> Option<String> {
    let mut times = columns.iter().filter(|column| is_time(column) && Some(column.name.as_str()) != event_time);
    times.find(|column| has_word(&column.name, &ARRIVAL_WORDS)).map(|column| column.name.clone())
}

/// The columns that tell rows apart: names that say so first, then few columns, then many different values.
fn key(observed: &Observed, columns: &[Column], event_time: Option<&str>) -> Vec<String> {
    let enough = observed.sampled_rows as f64 * KEY_SHARE_MIN;
    let is_id = |name: &String| has_word(name, &["id", "uuid", "key"]) || name.to_ascii_lowercase().ends_with("id");
    let is_sensible = |key: &&ObservedKey| {
        let known = key.columns.iter().all(|name| columns.iter().any(|column| column.name == *name));
        let ids = key.columns.iter().filter(|name| is_id(name)).count();
        let times = key.columns.iter().filter(|name| Some(name.as_str()) == event_time).count();
        known && key.distinct_sampled as f64 >= enough && ids > 0 && ids + times == key.columns.len()
    };
    let candidates = observed.keys.iter().filter(is_sensible);
    let rank = |key: &&ObservedKey| {
        let ids = key.columns.iter().filter(|name| is_id(name)).count();
        (key.columns.len() == ids, std::cmp::Reverse(key.columns.len()), key.distinct_sampled)
    };
    candidates.max_by_key(rank).map(|key| key.columns.clone()).unwrap_or_default()
}

fn summary(
    observed: &Observed,
    key: &[String],
    event_time: Option<&str>,
    arrival: Option<&str>,
    tenant: Option<&str>,
) -> Vec<String> {
    let mut lines = vec![format!(
        "from {} files with {} rows, of which {} were looked at",
        observed.files, observed.rows, observed.sampled_rows
    )];
    lines.push(match key {
        [] => "no key found: rows are only appended until you declare one (primaryKey: true)".to_owned(),
        key => {
            let distinct =
                observed.keys.iter().find(|seen| seen.columns == key).map_or(0, |seen| seen.distinct_sampled);
            format!("the key is ({}), {distinct} different ones in {} rows", key.join(", "), observed.sampled_rows)
        }
    });
    lines.push(match event_time {
        Some(column) => format!("the event time is {column}; the table is partitioned by its day"),
        None => "no event time found: the table is not partitioned".to_owned(),
    });
    lines.extend(arrival.map(|column| format!("among duplicates the largest {column} wins")));
    lines.extend(tenant.map(|column| format!("the tenant is {column}")));
    lines
}

#[cfg(test)]
mod tests;
