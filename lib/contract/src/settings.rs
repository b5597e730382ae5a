//! Our settings in `customProperties`, and what the table's ones say.

use std::collections::BTreeMap;

use crate::{
    AbsentColumns, Column, DeleteMarker, Duration, MergeMode, NewColumns, Nulls, OrderTerm, PrimitiveType,
    TenantConflict, Thresholds, Type,
    duration::parse_bytes,
    keys::{self, Key},
    order,
    problem::{Checked, Problem, suggest},
    yaml::{Node, Scalar, Value},
};

/// Sizes that data files may aim for.
const FILE_BYTES: std::ops::RangeInclusive<u64> = (64 << 10)..=(16 << 30);
const FILE_BYTES_DEFAULT: u64 = 128 << 20;

/// Values by setting.
pub(crate) type Settings<'a> = BTreeMap<&'static str, &'a Node>;

/// The settings among a node's `customProperties`; names that are not in the table belong to other tools.
pub(crate) fn settings<'a>(node: &'a Node, known: &'static [Key]) -> Checked<Settings<'a>> {
    let mut settings = Settings::new();
    for entry in node.list("customProperties") {
        let (Some(property), Some(value)) = (entry.get("property"), entry.get("value")) else { continue };
        let Some(key) = known.iter().find(|key| property.text() == Some(key.name)) else { continue };
        if let Some(first) = settings.insert(key.name, value) {
            return Err(Problem::new(
                property.place,
                format!("`{}` stands twice, first on line {}", key.name, first.place.line),
                "remove one",
            ));
        }
    }
    Ok(settings)
}

/// Settings of the document hold for each of its tables. A table may repeat one, not contradict it.
pub(crate) fn inherit<'a>(document: &Settings<'a>, table: Settings<'a>) -> Checked<Settings<'a>> {
    let mut merged = document.clone();
    for (name, value) in table {
        if let Some(outer) = document.get(name)
            && *outer != value
        {
            return Err(Problem::new(
                value.place,
                format!("`{name}` contradicts the document's on line {}", outer.place.line),
                "keep it in one place: the schema object's, if tables differ",
            ));
        }
        merged.insert(name, value);
    }
    Ok(merged)
}

/// The table's settings, read against its columns.
pub(crate) struct TableSettings<'a> {
    pub(crate) settings: Settings<'a>,
    pub(crate) columns: &'a [Column],
}

impl TableSettings<'_> {
    fn text(&self, name: &str) -> Option<(&Node, &str)> {
        self.settings.get(name).and_then(|node| Some((*node, node.text()?)))
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.settings.get(name).and_then(|node| u64::try_from(node.integer()?).ok())
    }

    /// A column of single values by its name.
    fn column(&self, name: &str, node: &Node, setting: &str) -> Checked<(&Column, PrimitiveType)> {
        let Some(column) = self.columns.iter().find(|column| column.name == name) else {
            let help = suggest(name, self.columns.iter().map(|column| column.name.as_str()));
            return Err(Problem::new(node.place, format!("`{setting}` names {name:?}, which is not a column"), help));
        };
        match column.column_type {
            Type::Primitive(kind) => Ok((column, kind)),
            _ => Err(Problem::new(
                node.place,
                format!("`{setting}` names {name:?}, which does not hold single values"),
                "name a column of single values",
            )),
        }
    }

    pub(crate) fn event_time(&self) -> Checked<Option<String>> {
        let Some((node, name)) = self.text(keys::EVENT_TIME) else { return Ok(None) };
        let (column, kind) = self.column(name, node, keys::EVENT_TIME)?;
        if !is_event_time(kind) {
            let message = format!("`{}` names {name:?}, a {kind} column", keys::EVENT_TIME);
            return Err(Problem::new(node.place, message, "name a timestamptz, timestamp or date column"));
        }
        Ok(Some(column.name.clone()))
    }

    pub(crate) fn tenant(&self) -> Checked<Option<String>> {
        let Some((node, name)) = self.text(keys::TENANT) else { return Ok(None) };
        Ok(Some(self.column(name, node, keys::TENANT)?.0.name.clone()))
    }

    pub(crate) fn tenant_conflict(&self) -> TenantConflict {
        match self.text(keys::TENANT_CONFLICT) {
            Some((_, "move")) => TenantConflict::Move,
            _ => TenantConflict::Refuse,
        }
    }

    pub(crate) fn sort_order(&self) -> Checked<Vec<OrderTerm>> {
        self.order(keys::SORT_ORDER)
    }

    /// NULL comes last whatever the direction: a row without the order's value never wins.
    pub(crate) fn winner_order(&self) -> Checked<Vec<OrderTerm>> {
        let mut terms = self.order(keys::DEDUPE_ORDER_BY)?;
        for node in self.settings.get(keys::DEDUPE_ORDER_BY).map_or(&[][..], |node| node.one_or_many()) {
            if order::says_nulls_first(node.text().unwrap_or_default()) {
                return Err(Problem::new(
                    node.place,
                    format!("`{}` cannot put NULLS FIRST", keys::DEDUPE_ORDER_BY),
                    "a row without a value never wins: remove it",
                ));
            }
        }
        terms.iter_mut().for_each(|term| term.nulls = Nulls::Last);
        Ok(terms)
    }

    fn order(&self, setting: &str) -> Checked<Vec<OrderTerm>> {
        let mut terms: Vec<OrderTerm> = Vec::new();
        for node in self.settings.get(setting).map_or(&[][..], |node| node.one_or_many()) {
            let read = order::parse_order(node.text().unwrap_or_default()).map_err(|message| {
                Problem::new(node.place, message, "write columns with ASC or DESC: ingest_time DESC, seq")
            })?;
            for term in read {
                self.column(&term.column, node, setting)?;
                if terms.iter().any(|other| other.column == term.column) {
                    let message = format!("`{setting}` names {:?} twice", term.column);
                    return Err(Problem::new(node.place, message, "remove the later one: it decides nothing"));
                }
                terms.push(term);
            }
        }
        Ok(terms)
    }

    pub(crate) fn delete_marker(&self) -> Checked<Option<DeleteMarker>> {
        let Some((node, text)) = self.text(keys::DELETE) else { return Ok(None) };
        let marker = order::parse_marker(text)
            .map_err(|message| Problem::new(node.place, message, "write op = 'D' or op IN ('D', 'X')"))?;
        let (_, kind) = self.column(&marker.column, node, keys::DELETE)?;
        let typed = marker.typed(kind).map_err(|help| {
            let message = format!("the values of {text:?} do not fit {:?}, a {kind} column", marker.column);
            Problem::new(node.place, message, help)
        })?;
        Ok(Some(typed))
    }

    pub(crate) fn lateness(&self) -> Checked<Option<Duration>> {
        self.duration(keys::LATENESS)
    }

    pub(crate) fn duration(&self, setting: &str) -> Checked<Option<Duration>> {
        let Some((node, text)) = self.text(setting) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Problem::new(node.place, format!("`{setting}` cannot be {text:?}"), "write 90s, 15m, 48h or 7d")
        })
    }

    pub(crate) fn new_columns(&self) -> NewColumns {
        match self.text(keys::NEW_COLUMNS) {
            Some((_, "evolve")) => NewColumns::Evolve,
            Some((_, "freeze")) => NewColumns::Freeze,
            _ => NewColumns::Discard,
        }
    }

    pub(crate) fn absent_columns(&self) -> Option<AbsentColumns> {
        match self.text(keys::ABSENT_COLUMNS)? {
            (_, "set-null") => Some(AbsentColumns::Null),
            _ => Some(AbsentColumns::Keep),
        }
    }

    pub(crate) fn merge_mode(&self) -> MergeMode {
        match self.text(keys::MERGE_MODE) {
            Some((_, "copy-on-write")) => MergeMode::CopyOnWrite,
            Some((_, "merge-on-read")) => MergeMode::MergeOnRead,
            _ => MergeMode::Auto,
        }
    }

    pub(crate) fn fixed_per_key(&self) -> bool {
        self.settings.get(keys::FIXED_PER_KEY).and_then(|node| node.boolean()) == Some(true)
    }

    pub(crate) fn thresholds(&self) -> Thresholds {
        Thresholds {
            invalid_ratio_max: self.settings.get(keys::MAX_INVALID_RATIO).and_then(|node| node.number()),
            invalid_rows_max: self.count(keys::MAX_INVALID_ROWS),
            rows_min: self.count(keys::MIN_ROWS),
        }
    }

    pub(crate) fn target_file_bytes(&self) -> Checked<u64> {
        let Some(node) = self.settings.get(keys::TARGET_FILE_BYTES) else { return Ok(FILE_BYTES_DEFAULT) };
        let bytes = match &node.value {
            Value::Scalar(Scalar::Text(text) | Scalar::Number(text)) => parse_bytes(text),
            _ => None,
        };
        bytes.filter(|bytes| FILE_BYTES.contains(bytes)).ok_or_else(|| {
            let message = format!("`{}` cannot be {}", keys::TARGET_FILE_BYTES, node.describe());
            Problem::new(node.place, message, "write a size from 64KiB to 16GiB, such as 128MiB")
        })
    }

    pub(crate) fn table_properties(&self) -> Vec<(String, String)> {
        let entries = self.settings.get(keys::TABLE_PROPERTIES).map_or(&[][..], |node| node.entries());
        let text = |node: &Node| match &node.value {
            Value::Scalar(Scalar::Text(text) | Scalar::Number(text)) => text.clone(),
            Value::Scalar(Scalar::Boolean(value)) => value.to_string(),
            _ => String::new(),
        };
        entries.iter().map(|entry| (entry.key.clone(), text(&entry.node))).collect()
    }
}

/// Types that say when an event happened.
pub(crate) fn is_event_time(kind: PrimitiveType) -> bool {
    matches!(kind, PrimitiveType::Date | PrimitiveType::Timestamp | PrimitiveType::TimestampTz)
}
