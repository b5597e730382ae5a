//! Writes a contract as a commented document that reads back as the same contract.

use std::collections::BTreeMap;

use crate::{
    AbsentColumns, Check, CheckScope, Column, Constraint, Contract, Direction, EpochUnit, Literal, MergeMode,
    NewColumns, Nulls, OrderTerm, PartitionField, PrimitiveType, Severity, TenantConflict, Tiering, Type,
    column::logical_name,
    keys, literal, order,
    writer::{Writer, flow, flow_list, scalar_text},
    yaml::Scalar,
};

/// Writes a contract as a YAML document.
///
/// `notes` are comment lines above columns, by the column's name; those under the empty name stand on top of the
/// document. Only what a document can say is written: a contract that the parser made reads back equal.
pub fn render(contract: &Contract, notes: &BTreeMap<String, Vec<String>>) -> String {
    let mut writer = Writer::default();
    writer.comment(0, &format!("Contract of {}, in the Open Data Contract Standard 3.1.", contract.table));
    writer.comment(0, "Names that start with `etl.` are etl's own settings; `etl contract schema` describes them all.");
    notes.get("").into_iter().flatten().for_each(|note| writer.comment(0, note));
    for (key, value) in [("apiVersion", "v3.1.0"), ("kind", "DataContract")] {
        writer.line(0, &format!("{key}: {value}"));
    }
    writer.text(0, "id", &contract.id);
    writer.text(0, "version", &contract.version);
    writer.line(0, "status: active");
    writer.blank();
    writer.line(0, "schema:");
    writer.text(2, "- name", contract.table.name());
    writer.text(4, "physicalName", &contract.table.to_string());
    if let Some(description) = &contract.description {
        writer.text(4, "description", description);
    }
    writer.blank();
    writer.comment(4, "The columns, in the table's order. NULL satisfies every rule but `required`.");
    writer.line(4, "properties:");
    for column in &contract.columns {
        notes.get(&column.name).into_iter().flatten().for_each(|note| writer.comment(6, note));
        write_column(&mut writer, 6, column, Some(contract));
    }
    if !contract.checks.is_empty() {
        writer.blank();
        writer.comment(4, "Rules in SQL: over the valid rows of a run ({object}), or over one row (engine: etl).");
        writer.line(4, "quality:");
        contract.checks.iter().for_each(|check| write_check(&mut writer, check));
    }
    write_settings(&mut writer, contract);
    writer.finish()
}

/// A column of the table when `contract` is given, else a field of a struct.
fn write_column(writer: &mut Writer, indent: usize, column: &Column, contract: Option<&Contract>) {
    writer.text(indent, "- name", &column.name);
    let inner = indent + 2;
    if let Some(description) = &column.description {
        writer.text(inner, "description", description);
    }
    write_type(writer, inner, &column.column_type);
    if column.required {
        writer.line(inner, "required: true");
    }
    if let Some(contract) = contract {
        if let Some(position) = contract.key.iter().position(|name| *name == column.name) {
            writer.line(inner, "primaryKey: true");
            writer.line(inner, &format!("primaryKeyPosition: {}", position + 1));
        }
        if let Some(position) = contract.partition.iter().position(|field| field.column == column.name) {
            writer.line(inner, "partitioned: true");
            writer.line(inner, &format!("partitionKeyPosition: {}", position + 1));
        }
    }
    if let Type::Primitive(kind) = column.column_type {
        write_constraints(writer, inner, &column.constraints, kind);
    }
    write_column_settings(writer, inner, column, contract.map_or(&[], |contract| &contract.partition));
}

fn write_type(writer: &mut Writer, indent: usize, column_type: &Type) {
    writer.line(indent, &format!("logicalType: {}", logical_name(column_type)));
    match column_type {
        Type::Primitive(_) | Type::Map { .. } => writer.text(indent, "physicalType", &column_type.to_string()),
        Type::Struct(fields) => {
            writer.line(indent, "properties:");
            fields.iter().for_each(|field| write_column(writer, indent + 2, field, None));
        }
        Type::List { element, element_required } => {
            writer.line(indent, "items:");
            write_type(writer, indent + 2, element);
            if *element_required {
                writer.line(indent + 2, "required: true");
            }
        }
    }
}

/// The constraints that `logicalTypeOptions` can say once each; further patterns and lists of values are rules.
fn write_constraints(writer: &mut Writer, indent: usize, constraints: &[Constraint], kind: PrimitiveType) {
    let mut patterns = constraints.iter().filter_map(|constraint| match constraint {
        Constraint::Pattern(pattern) => Some(pattern),
        _ => None,
    });
    let options: Vec<(&str, String)> = constraints
        .iter()
        .filter_map(|constraint| {
            let value = match constraint {
                Constraint::Minimum(value)
                | Constraint::Maximum(value)
                | Constraint::ExclusiveMinimum(value)
                | Constraint::ExclusiveMaximum(value) => scalar_text(&literal::write(kind, value)),
                Constraint::MinLength(length) | Constraint::MaxLength(length) => length.to_string(),
                Constraint::Pattern(_) | Constraint::OneOf(_) => return None,
            };
            Some((constraint.rule(), value))
        })
        .chain(patterns.next().map(|pattern| ("pattern", scalar_text(&Scalar::Text(pattern.clone())))))
        .collect();
    if !options.is_empty() {
        writer.line(indent, "logicalTypeOptions:");
        options.iter().for_each(|(name, value)| writer.line(indent + 2, &format!("{name}: {value}")));
    }
    let pattern_rules = patterns.map(|pattern| format!("pattern: {}", flow(&Scalar::Text(pattern.clone()))));
    let value_rules =
        lists_of_values(constraints).skip(1).map(|values| format!("validValues: {}", write_values(kind, values)));
    let rules: Vec<String> = pattern_rules.chain(value_rules).collect();
    if !rules.is_empty() {
        writer.line(indent, "quality:");
        for rule in rules {
            writer.line(
                indent + 2,
                &format!("- {{type: library, metric: invalidValues, arguments: {{{rule}}}, mustBe: 0}}"),
            );
        }
    }
}

fn lists_of_values(constraints: &[Constraint]) -> impl Iterator<Item = &[Literal]> {
    constraints.iter().filter_map(|constraint| match constraint {
        Constraint::OneOf(values) => Some(values.as_slice()),
        _ => None,
    })
}

fn write_values(kind: PrimitiveType, values: &[Literal]) -> String {
    flow_list(values.iter().map(|value| literal::write(kind, value)))
}

fn write_column_settings(writer: &mut Writer, indent: usize, column: &Column, partition: &[PartitionField]) {
    let mut settings: Vec<(&str, String)> = Vec::new();
    let text = |text: &str| Scalar::Text(text.to_owned());
    if let Some(source) = &column.source {
        settings.push((keys::SOURCE, flow(&text(source))));
    }
    let unit = match column.epoch_unit {
        EpochUnit::Seconds => None,
        EpochUnit::Milliseconds => Some("ms"),
        EpochUnit::Microseconds => Some("us"),
        EpochUnit::Nanoseconds => Some("ns"),
    };
    settings.extend(unit.map(|unit| (keys::EPOCH_UNIT, unit.to_owned())));
    if !column.renamed_from.is_empty() {
        settings.push((keys::RENAMED_FROM, flow_list(column.renamed_from.iter().map(|name| text(name)))));
    }
    let transforms: Vec<Scalar> = partition
        .iter()
        .filter(|field| field.column == column.name)
        .map(|field| text(&field.transform.to_string()))
        .collect();
    match transforms.as_slice() {
        [] => {}
        [transform] => settings.push((keys::PARTITION_TRANSFORM, flow(transform))),
        _ => settings.push((keys::PARTITION_TRANSFORM, flow_list(transforms.into_iter()))),
    }
    if let (Type::Primitive(kind), Some(values)) = (&column.column_type, lists_of_values(&column.constraints).next()) {
        settings.push((keys::ENUM, write_values(*kind, values)));
    }
    if settings.is_empty() {
        return;
    }
    writer.line(indent, "customProperties:");
    for (name, value) in settings {
        writer.line(indent + 2, &format!("- {{property: {name}, value: {value}}}"));
    }
}

fn write_check(writer: &mut Writer, check: &Check) {
    writer.text(6, "- name", &check.name);
    match &check.scope {
        CheckScope::Row { expression } => {
            writer.line(8, "type: custom");
            writer.line(8, "engine: etl");
            writer.text(8, "implementation", expression);
        }
        CheckScope::Table { query, at_least, at_most, exclusive, not } => {
            writer.line(8, "type: sql");
            writer.text(8, "query", query);
            // The standard's schema wants one operator, and has none for a range with its ends.
            if let (true, Some(least), Some(most)) = (exclusive, at_least, at_most) {
                let number = |number: &f64| literal::write(PrimitiveType::Double, &Literal::Float(*number));
                let range = flow_list([least, most].into_iter().map(number));
                writer.line(8, &format!("mustBeBetween: {range}"));
            }
            let operators = match (exclusive, at_least, at_most) {
                (false, Some(least), Some(most)) if least == most => [Some(("mustBe", *least)), None],
                (false, ..) => [
                    at_least.map(|least| ("mustBeGreaterOrEqualTo", least)),
                    at_most.map(|most| ("mustBeLessOrEqualTo", most)),
                ],
                (true, Some(_), Some(_)) => [None, None],
                (true, ..) => {
                    [at_least.map(|least| ("mustBeGreaterThan", least)), at_most.map(|most| ("mustBeLessThan", most))]
                }
            };
            for (name, number) in operators.into_iter().chain([not.map(|not| ("mustNotBe", not))]).flatten() {
                let number = literal::write(PrimitiveType::Double, &Literal::Float(number));
                writer.line(8, &format!("{name}: {}", scalar_text(&number)));
            }
        }
    }
    let severity = match check.severity {
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    writer.line(8, &format!("severity: {severity}"));
}

fn write_settings(writer: &mut Writer, contract: &Contract) {
    let mut settings: Vec<(&str, String)> = Vec::new();
    let mut unset: Vec<(&str, &str, &str)> = Vec::new();
    let text = |text: &str| flow(&Scalar::Text(text.to_owned()));
    match contract.winner_order.as_slice() {
        [] => unset.push((keys::DEDUPE_ORDER_BY, "ingest_time DESC", "which of several rows with one key wins")),
        terms => settings.push((keys::DEDUPE_ORDER_BY, text(&write_order(terms, true)))),
    }
    if let Some(column) = &contract.event_time {
        settings.push((keys::EVENT_TIME, text(column)));
    }
    match contract.lateness {
        None => unset.push((keys::LATENESS, "48h", "how late an event may arrive")),
        Some(lateness) => settings.push((keys::LATENESS, text(&lateness.to_string()))),
    }
    if let Some(column) = &contract.tenant {
        settings.push((keys::TENANT, text(column)));
    }
    if contract.tenant_conflict == TenantConflict::Move {
        settings.push((keys::TENANT_CONFLICT, "move".to_owned()));
    }
    if let Some(marker) = &contract.delete_marker {
        let kind = contract.column(&marker.column).map(|column| &column.column_type);
        let kind = if let Some(Type::Primitive(kind)) = kind { *kind } else { PrimitiveType::String };
        settings.push((keys::DELETE, text(&order::write_marker(marker, kind))));
    }
    let new_columns = match contract.new_columns {
        NewColumns::Evolve => "evolve",
        NewColumns::Freeze => "freeze",
        NewColumns::Discard => "discard",
    };
    settings.push((keys::NEW_COLUMNS, new_columns.to_owned()));
    let absent_columns = contract.absent_columns.map(|absent| match absent {
        AbsentColumns::Keep => "keep",
        AbsentColumns::Null => "set-null",
    });
    settings.extend(absent_columns.map(|absent| (keys::ABSENT_COLUMNS, text(absent))));
    if let Some(ratio) = contract.thresholds.invalid_ratio_max {
        let number = literal::write(PrimitiveType::Double, &Literal::Float(ratio));
        settings.push((keys::MAX_INVALID_RATIO, flow(&number)));
    }
    for (name, rows) in
        [(keys::MAX_INVALID_ROWS, contract.thresholds.invalid_rows_max), (keys::MIN_ROWS, contract.thresholds.rows_min)]
    {
        settings.extend(rows.map(|rows| (name, rows.to_string())));
    }
    if contract.partition_fixed_per_key && !contract.partition.iter().all(|field| contract.key.contains(&field.column))
    {
        settings.push((keys::FIXED_PER_KEY, "true".to_owned()));
    }
    if !contract.sort_order.is_empty() {
        settings.push((keys::SORT_ORDER, text(&write_order(&contract.sort_order, false))));
    }
    match contract.merge_mode {
        MergeMode::Auto => {}
        MergeMode::CopyOnWrite => settings.push((keys::MERGE_MODE, "copy-on-write".to_owned())),
        MergeMode::MergeOnRead => settings.push((keys::MERGE_MODE, "merge-on-read".to_owned())),
    }
    settings.push((keys::TARGET_FILE_BYTES, write_bytes(contract.target_file_bytes)));
    settings.extend(tier_settings(&contract.tiering));
    writer.blank();
    writer.comment(4, if unset.is_empty() { "Settings." } else { "Settings. Those in comments are not set." });
    writer.line(4, "customProperties:");
    for (name, value) in settings {
        writer.line(6, &format!("- {{property: {name}, value: {value}}}"));
    }
    if !contract.table_properties.is_empty() {
        writer.line(6, &format!("- property: {}", keys::TABLE_PROPERTIES));
        writer.line(8, "value:");
        for (name, value) in &contract.table_properties {
            writer.text(10, &scalar_text(&Scalar::Text(name.clone())), value);
        }
    }
    for (name, example, about) in unset {
        writer.comment(6, &format!("- {{property: {name}, value: {example}}} # {about}"));
    }
}

fn tier_settings(tiering: &Tiering) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    for (name, rules) in [(keys::TIER_RAW, &tiering.raw), (keys::TIER_CURATED, &tiering.curated)] {
        if !rules.is_empty() {
            let rules: Vec<String> = rules.iter().map(|rule| format!("{}: {}", rule.age, rule.class)).collect();
            settings.push((name, format!("{{{}}}", rules.join(", "))));
        }
    }
    if tiering.archived {
        settings.push((keys::TIER_ARCHIVED, "true".to_owned()));
    }
    let text = |text: String| Scalar::Text(text);
    settings.extend(tiering.hot.map(|hot| (keys::TIER_HOT, flow(&text(hot.to_string())))));
    if !tiering.holds.is_empty() {
        settings.push((keys::TIER_HOLD, flow_list(tiering.holds.iter().map(|hold| text(hold.to_string())))));
    }
    settings
}

/// A winner order does not say where NULL goes: it is always last.
fn write_order(terms: &[OrderTerm], nulls_implied: bool) -> String {
    let implied = |direction| match direction {
        Direction::Ascending => Nulls::First,
        Direction::Descending => Nulls::Last,
    };
    let terms = terms.iter().map(|term| {
        let nulls = if nulls_implied { implied(term.direction) } else { term.nulls };
        order::write_term(&OrderTerm { nulls, ..term.clone() })
    });
    terms.collect::<Vec<_>>().join(", ")
}

fn write_bytes(bytes: u64) -> String {
    match bytes {
        mebibytes if mebibytes != 0 && mebibytes.is_multiple_of(1 << 20) => format!("{}MiB", mebibytes >> 20),
        _ => bytes.to_string(),
    }
}
