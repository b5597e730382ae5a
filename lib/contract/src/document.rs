//! A document as contracts: one for each of its schema objects.

use std::path::Path;

use crate::{
    Column, Contract, PartitionField, Result, TableName, Transform, Type,
    column::{Property, read_properties},
    keys,
    paths::check_paths,
    problem::{Checked, Place, Problem, suggest},
    quality::{Subject, read_rules},
    settings::{Settings, TableSettings, inherit, is_event_time, settings},
    shape::check_document,
    yaml::{self, Node},
};

impl Contract {
    /// Reads the contracts of all schema objects of a document. `path` is the document's name in errors.
    ///
    /// # Errors
    /// The first fault, as [`Error::Document`](crate::Error::Document).
    pub fn parse(path: &Path, text: &str) -> Result<Vec<Self>> {
        Ok(Self::parse_with_places(path, text)?.into_iter().map(|(contract, _)| contract).collect())
    }

    /// The same, with the places of the SQL of each contract's checks, in their order.
    ///
    /// # Errors
    /// As [`Contract::parse`].
    pub fn parse_with_places(path: &Path, text: &str) -> Result<Vec<(Self, Vec<Place>)>> {
        read_document(text, None).map_err(|problem| problem.in_document(path))
    }

    /// Reads the contract of the schema object whose `name` or `physicalName` is `schema_name`.
    ///
    /// # Errors
    /// As [`Contract::parse`], and when there is no such schema object. Faults that only concern other tables of the
    /// document (a key column that does not exist, say) are not looked for.
    pub fn from_document(path: &Path, text: &str, schema_name: &str) -> Result<Self> {
        let read = || {
            let contracts = read_document(text, Some(schema_name))?;
            contracts.into_iter().next().map(|(contract, _)| contract).ok_or_else(|| {
                Problem::new(
                    Place { line: 1, column: 1 },
                    format!("no schema object {schema_name:?}"),
                    "add one to `schema`",
                )
            })
        };
        read().map_err(|problem| problem.in_document(path))
    }
}

fn read_document(text: &str, wanted: Option<&str>) -> Checked<Vec<(Contract, Vec<Place>)>> {
    let node = yaml::read(text)?;
    check_document(&node)?;
    check_header(&node)?;
    let shared = settings(&node, keys::TABLE_SETTINGS)?;
    let objects = node.list("schema");
    let name = |object: &Node, key: &str| object.get(key).and_then(Node::text).map(str::to_owned);
    let place = node.get("schema").map_or(node.place, |schema| schema.place);
    if objects.is_empty() {
        return Err(Problem::new(place, "`schema` has no table", "add `- name: …` with its `properties`"));
    }
    let chosen: Vec<&Node> = match wanted {
        None => objects.iter().collect(),
        Some(wanted) => objects
            .iter()
            .filter(|object| ["name", "physicalName"].iter().any(|key| name(object, key).as_deref() == Some(wanted)))
            .collect(),
    };
    if let (Some(wanted), []) = (wanted, chosen.as_slice()) {
        let names: Vec<String> = objects.iter().filter_map(|object| name(object, "name")).collect();
        let help = suggest(wanted, names.iter().map(String::as_str));
        return Err(Problem::new(place, format!("no schema object is called {wanted:?}"), help));
    }
    let mut contracts: Vec<(Contract, Vec<Place>, Place)> = Vec::new();
    for object in chosen {
        let (contract, places) = read_table(&node, object, &shared)?;
        if let Some((other, _, first)) = contracts.iter().find(|(other, ..)| other.table == contract.table) {
            let message = format!("the table {} stands twice, first on line {}", other.table, first.line);
            return Err(Problem::new(object.place, message, "remove one, or give it another physicalName"));
        }
        contracts.push((contract, places, object.place));
    }
    Ok(contracts.into_iter().map(|(contract, places, _)| (contract, places)).collect())
}

fn check_header(node: &Node) -> Checked<()> {
    if let Some((place, version)) = text(node, "apiVersion")
        && !is_version(version.strip_prefix("v3.0.").or_else(|| version.strip_prefix("v3.1.")).unwrap_or_default(), 1)
    {
        let message = format!("`apiVersion` cannot be {version:?}");
        return Err(Problem::new(place, message, "write v3.1.0: versions 3.0 and 3.1 of the standard are read"));
    }
    if let Some((place, version)) = text(node, "version") {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        if !is_version(core, 3) {
            return Err(Problem::new(
                place,
                format!("`version` cannot be {version:?}"),
                "write major.minor.patch: 1.0.0",
            ));
        }
    }
    match text(node, "id") {
        Some((place, id)) if id.trim().is_empty() => {
            Err(Problem::new(place, "`id` is empty", "write a name: iot.telemetry"))
        }
        _ => Ok(()),
    }
}

fn is_version(text: &str, parts: usize) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    text.split('.').count() == parts && text.split('.').all(number)
}

fn text<'a>(node: &'a Node, key: &str) -> Option<(Place, &'a str)> {
    node.get(key).and_then(|node| Some((node.place, node.text()?)))
}

fn read_table(document: &Node, object: &Node, shared: &Settings<'_>) -> Checked<(Contract, Vec<Place>)> {
    let table = read_table_name(object)?;
    let mut properties = read_properties(object.list("properties"))?;
    if properties.is_empty() {
        return Err(Problem::new(object.place, "the table has no columns", "list them in `properties`"));
    }
    let key = read_key(&properties)?;
    let partition = read_partition(&properties)?;
    let name = text(object, "name").map_or("", |(_, name)| name);
    let mut rules = read_rules(object.list("quality"), Subject { name, column_type: None })?.checks;
    rules.extend(properties.iter_mut().flat_map(|property| std::mem::take(&mut property.rules.checks)));
    for (index, (check, place, _)) in rules.iter().enumerate() {
        if let Some((_, first, _)) = rules[..index].iter().find(|(other, ..)| other.name == check.name) {
            let message = format!("the quality rule {:?} stands twice, first on line {}", check.name, first.line);
            return Err(Problem::new(*place, message, "give it another name"));
        }
    }
    check_paths(&properties)?;
    check_renames(&properties)?;
    let columns: Vec<Column> = properties.into_iter().map(|property| property.column).collect();
    let settings =
        TableSettings { settings: inherit(shared, settings(object, keys::TABLE_SETTINGS)?)?, columns: &columns };
    let event_time = settings.event_time()?.or_else(|| default_event_time(&columns, &partition));
    let purpose = || document.get("description").and_then(|description| description.get("purpose"));
    let description = object.get("description").or_else(purpose).and_then(Node::text);
    let value = |key| text(document, key).map_or_else(String::new, |(_, text)| text.to_owned());
    let places = rules.iter().map(|(_, _, sql)| *sql).collect();
    let contract = Contract {
        id: value("id"),
        version: value("version"),
        table,
        description: description.map(str::to_owned),
        event_time,
        partition_fixed_per_key: settings.fixed_per_key() || partition.iter().all(|field| key.contains(&field.column)),
        sort_order: settings.sort_order()?,
        winner_order: settings.winner_order()?,
        checks: rules.into_iter().map(|(check, ..)| check).collect(),
        thresholds: settings.thresholds(),
        new_columns: settings.new_columns(),
        absent_columns: settings.absent_columns(),
        delete_marker: settings.delete_marker()?,
        lateness: settings.lateness()?,
        tenant: settings.tenant()?,
        tenant_conflict: settings.tenant_conflict(),
        merge_mode: settings.merge_mode(),
        target_file_bytes: settings.target_file_bytes()?,
        table_properties: settings.table_properties(),
        tiering: settings.tiering()?,
        key,
        partition,
        columns,
    };
    Ok((contract, places))
}

fn read_table_name(object: &Node) -> Checked<TableName> {
    let (given, (place, name)) = match (text(object, "physicalName"), text(object, "name")) {
        (Some(physical), _) => (true, physical),
        (None, Some(name)) => (false, name),
        (None, None) => (false, (object.place, "")),
    };
    let table: TableName = name.parse().map_err(|error| match error {
        crate::Error::TableName { reason, .. } if given => {
            Problem::new(place, format!("`physicalName` cannot be {name:?}"), reason)
        }
        _ => Problem::new(
            place,
            format!("the table {name:?} has no `physicalName`"),
            format!("add `physicalName: curated.{name}`"),
        ),
    })?;
    if table.namespace().len().max(table.name().len()) > NAME_BYTES_MAX {
        let message = format!("`physicalName` cannot be {name:?}");
        return Err(Problem::new(place, message, format!("a part has at most {NAME_BYTES_MAX} bytes")));
    }
    Ok(table)
}

/// Bytes of a namespace or a table: more is no folder's name on any disk, and none in Glue.
const NAME_BYTES_MAX: usize = 255;

/// Names of key columns in order: all of them have a position, or none.
fn read_key(properties: &[Property]) -> Checked<Vec<String>> {
    let parts = properties.iter().filter_map(|property| {
        let position = property.key?;
        Some(Part { position, place: property.place, property })
    });
    let ordered = in_order(parts.collect(), "primaryKeyPosition")?;
    Ok(ordered.into_iter().map(|part| part.property.column.name.clone()).collect())
}

fn read_partition(properties: &[Property]) -> Checked<Vec<PartitionField>> {
    let parts = properties.iter().filter_map(|property| {
        let partition = property.partition.as_ref()?;
        Some(Part { position: partition.position, place: partition.place, property })
    });
    let ordered = in_order(parts.collect(), "partitionKeyPosition")?;
    let fields = ordered.into_iter().flat_map(|part| {
        let transforms = part.property.partition.as_ref().map_or(&[][..], |partition| &partition.transforms);
        transforms
            .iter()
            .map(|transform| PartitionField { column: part.property.column.name.clone(), transform: *transform })
    });
    Ok(fields.collect())
}

/// A column's part in the key or in the partition.
struct Part<'a> {
    position: Option<i64>,
    place: Place,
    property: &'a Property,
}

fn in_order<'a>(mut parts: Vec<Part<'a>>, name: &str) -> Checked<Vec<Part<'a>>> {
    if parts.iter().all(|part| part.position.is_none()) {
        return Ok(parts);
    }
    for (index, part) in parts.iter().enumerate() {
        let column = &part.property.column.name;
        if part.position.is_none() {
            let message = format!("the column {column:?} has no `{name}`, and others have one");
            return Err(Problem::new(part.place, message, format!("add `{name}:` to all of them or to none")));
        }
        if let Some(other) = parts[..index].iter().find(|other| other.position == part.position) {
            let message = format!("the column {column:?} has the `{name}` of {:?}", other.property.column.name);
            return Err(Problem::new(part.place, message, "give each its own"));
        }
    }
    parts.sort_by_key(|part| part.position);
    Ok(parts)
}

/// An earlier name must be free: a table column of that name would be renamed.
fn check_renames(properties: &[Property]) -> Checked<()> {
    for (index, property) in properties.iter().enumerate() {
        for earlier in &property.column.renamed_from {
            let taken = properties.iter().any(|other| other.column.name.eq_ignore_ascii_case(earlier))
                || properties[..index].iter().any(|other| other.column.renamed_from.contains(earlier));
            if taken {
                let message = format!(
                    "the column {:?} was renamed from {earlier:?}, which another column claims",
                    property.column.name
                );
                return Err(Problem::new(
                    property.place,
                    message,
                    "a name is one column's: remove it from `etl.renamedFrom`",
                ));
            }
        }
    }
    Ok(())
}

/// The first column that the table is partitioned by in time.
fn default_event_time(columns: &[Column], partition: &[PartitionField]) -> Option<String> {
    let in_time = |field: &&PartitionField| {
        let column = columns.iter().find(|column| column.name == field.column);
        let timed =
            column.is_some_and(|column| matches!(column.column_type, Type::Primitive(kind) if is_event_time(kind)));
        timed && (field.transform.is_temporal() || field.transform == Transform::Identity)
    };
    partition.iter().find(in_time).map(|field| field.column.clone())
}
