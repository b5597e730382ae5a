//! Constraints on the values of a column, from `logicalTypeOptions` and lists of allowed values.

use std::cmp::Ordering;

use crate::{
    Constraint, Literal, PrimitiveType, Type, literal,
    problem::{Checked, Problem},
    yaml::{Entry, Node, Scalar, Value},
};

const BOUNDS: [&str; 4] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"];
const LENGTHS: [&str; 3] = ["minLength", "maxLength", "pattern"];

/// The constraints in an order of their own, however the document orders its keys.
pub(crate) fn read_options(options: &Node, column_type: &Type) -> Checked<Vec<Constraint>> {
    for entry in options.entries().iter().filter(|entry| !entry.node.is_null()) {
        check_fit(entry, column_type)?;
    }
    let Type::Primitive(kind) = column_type else { return Ok(Vec::new()) };
    let mut constraints = Vec::new();
    let makers: [fn(Literal) -> Constraint; 4] =
        [Constraint::Minimum, Constraint::Maximum, Constraint::ExclusiveMinimum, Constraint::ExclusiveMaximum];
    for (name, maker) in BOUNDS.into_iter().zip(makers) {
        if let Some(node) = options.get(name) {
            constraints.push(maker(read_literal(node, *kind, name)?));
        }
    }
    check_bounds(options, &constraints)?;
    let length = |name| options.get(name).and_then(Node::integer).and_then(|length| u64::try_from(length).ok());
    let (least, most) = (length("minLength"), length("maxLength"));
    if let (Some(node), Some(least), Some(most)) = (options.get("minLength"), least, most)
        && least > most
    {
        return Err(empty_range(node, "minLength", "maxLength"));
    }
    constraints.extend(least.map(Constraint::MinLength));
    constraints.extend(most.map(Constraint::MaxLength));
    if let Some(node) = options.get("pattern") {
        constraints.push(read_pattern(node)?);
    }
    Ok(constraints)
}

/// Puts patterns before lists of values, wherever in the document each was said.
pub(crate) fn sort(constraints: &mut [Constraint]) {
    constraints.sort_by_key(|constraint| match constraint {
        Constraint::OneOf(_) => 2,
        Constraint::Pattern(_) => 1,
        _ => 0,
    });
}

fn check_fit(entry: &Entry, column_type: &Type) -> Checked<()> {
    let name = entry.key.as_str();
    let refuse = |help: &str| {
        let message = format!("`{name}` does not apply to a {} column", describe(column_type));
        Err(Problem::new(entry.place, message, help))
    };
    let Type::Primitive(kind) = column_type else {
        return check_nested_fit(entry, column_type);
    };
    let numeric = matches!(
        kind,
        PrimitiveType::Int
            | PrimitiveType::Long
            | PrimitiveType::Float
            | PrimitiveType::Double
            | PrimitiveType::Decimal { .. }
    );
    let temporal = matches!(
        kind,
        PrimitiveType::Date | PrimitiveType::Time | PrimitiveType::Timestamp | PrimitiveType::TimestampTz
    );
    match name {
        "format" => Ok(()),
        _ if BOUNDS.contains(&name) && (numeric || temporal) => Ok(()),
        _ if BOUNDS.contains(&name) => {
            refuse("it applies to numbers, dates and times: use pattern, minLength or maxLength for strings")
        }
        _ if LENGTHS.contains(&name) && *kind == PrimitiveType::String => Ok(()),
        _ if LENGTHS.contains(&name) => {
            refuse("it applies to strings: use minimum and maximum for numbers, dates and times")
        }
        "timezone" | "defaultTimezone" if temporal => check_zone(entry, *kind),
        "timezone" | "defaultTimezone" => refuse("it applies to timestamps: remove it"),
        "multipleOf" if numeric => Err(Problem::new(
            entry.place,
            "`multipleOf` is not checked",
            "write a row rule: quality: [{name: …, type: custom, engine: etl, implementation: \"x % 5 = 0\"}]",
        )),
        _ => refuse("remove it"),
    }
}

fn check_zone(entry: &Entry, kind: PrimitiveType) -> Checked<()> {
    let problem = |message: String, help: &str| Err(Problem::new(entry.place, message, help));
    match (entry.key.as_str(), entry.node.boolean(), entry.node.text()) {
        ("timezone", Some(true), _) if kind != PrimitiveType::TimestampTz => problem(
            format!("`timezone: true` contradicts type {kind}"),
            "write physicalType: timestamptz, or remove it",
        ),
        ("timezone", Some(false), _) if kind == PrimitiveType::TimestampTz => {
            problem(format!("`timezone: false` contradicts type {kind}"), "write physicalType: timestamp, or remove it")
        }
        ("defaultTimezone", _, Some(zone)) if !["UTC", "Etc/UTC", "Z"].contains(&zone) => problem(
            format!("`defaultTimezone` cannot be {zone:?}"),
            "times without a zone are read as UTC: convert them before, and remove it",
        ),
        _ => Ok(()),
    }
}

fn check_nested_fit(entry: &Entry, column_type: &Type) -> Checked<()> {
    let refuse = |message: String, help: &str| Err(Problem::new(entry.place, message, help));
    let says_nothing = entry.node.integer() == Some(0) || entry.node.boolean() == Some(false);
    match (entry.key.as_str(), column_type) {
        ("format", _) => Ok(()),
        ("required", Type::Struct(_)) => Ok(()),
        ("minItems" | "uniqueItems", Type::List { .. }) | ("minProperties", Type::Struct(_)) if says_nothing => Ok(()),
        (name @ ("minItems" | "maxItems" | "uniqueItems"), Type::List { .. }) => refuse(
            format!("`{name}` is not checked"),
            "write a row rule: quality: [{name: …, type: custom, engine: etl, implementation: \"cardinality(x) <= 3\"}]",
        ),
        (name @ ("minProperties" | "maxProperties"), _) => refuse(
            format!("`{name}` is not checked"),
            "list the fields in `properties`, and in `required` those that must be there",
        ),
        (name, _) => refuse(format!("`{name}` does not apply to a {} column", describe(column_type)), "remove it"),
    }
}

pub(crate) fn describe(column_type: &Type) -> String {
    match column_type {
        Type::Primitive(kind) => kind.to_string(),
        Type::Struct(_) => "struct".to_owned(),
        Type::List { .. } => "list".to_owned(),
        Type::Map { .. } => "map".to_owned(),
    }
}

fn check_bounds(options: &Node, constraints: &[Constraint]) -> Checked<()> {
    let lower = constraints.iter().filter_map(|constraint| match constraint {
        Constraint::Minimum(value) => Some((value, false, "minimum")),
        Constraint::ExclusiveMinimum(value) => Some((value, true, "exclusiveMinimum")),
        _ => None,
    });
    for (least, least_excluded, least_name) in lower {
        for constraint in constraints {
            let (most, most_excluded, most_name) = match constraint {
                Constraint::Maximum(value) => (value, false, "maximum"),
                Constraint::ExclusiveMaximum(value) => (value, true, "exclusiveMaximum"),
                _ => continue,
            };
            let empty = match literal::compare(least, most) {
                Some(Ordering::Less) => false,
                Some(Ordering::Equal) => least_excluded || most_excluded,
                Some(Ordering::Greater) | None => true,
            };
            if empty {
                return Err(empty_range(options.get(least_name).unwrap_or(options), least_name, most_name));
            }
        }
    }
    Ok(())
}

fn empty_range(node: &Node, least: &str, most: &str) -> Problem {
    Problem::new(node.place, format!("no value lies between `{least}` and `{most}`"), "exchange them, or mend one")
}

fn read_literal(node: &Node, kind: PrimitiveType, name: &str) -> Checked<Literal> {
    let Value::Scalar(scalar) = &node.value else {
        return Err(Problem::new(node.place, format!("`{name}` cannot be {}", node.describe()), "write one value"));
    };
    literal::read(kind, scalar).map_err(|help| {
        Problem::new(node.place, format!("`{name}` of a {kind} column cannot be {}", node.describe()), help)
    })
}

pub(crate) fn read_pattern(node: &Node) -> Checked<Constraint> {
    let pattern = node.text().unwrap_or_default();
    match regex::Regex::new(pattern) {
        Ok(_) => Ok(Constraint::Pattern(pattern.to_owned())),
        Err(error) => {
            let said = error.to_string();
            let reason = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Err(Problem::new(
                node.place,
                format!("`pattern` is not a regular expression: {reason}"),
                "write it in Rust regex syntax (no look-around, no back-references), in single quotes",
            ))
        }
    }
}

/// A list of allowed values. NULL in it says nothing: NULL satisfies every constraint.
pub(crate) fn read_values(list: &Node, column_type: &Type, name: &str) -> Checked<Vec<Literal>> {
    let Type::Primitive(kind) = column_type else {
        let message = format!("`{name}` does not apply to a {} column", describe(column_type));
        return Err(Problem::new(list.place, message, "remove it"));
    };
    let mut values = Vec::new();
    for node in list.items().iter().filter(|node| !node.is_null()) {
        let value = read_literal(node, *kind, name)?;
        if values.contains(&value) {
            return Err(Problem::new(
                node.place,
                format!("{} stands twice in `{name}`", node.describe()),
                "remove one",
            ));
        }
        values.push(value);
    }
    if values.is_empty() {
        return Err(Problem::new(
            list.place,
            format!("`{name}` allows no value"),
            "list the allowed values, or remove it",
        ));
    }
    Ok(values)
}

/// SQL for a column's value being outside of a list, for rules that count such rows.
pub(crate) fn value_sql(scalars: &[Node]) -> String {
    let values = scalars.iter().filter_map(|node| match &node.value {
        Value::Scalar(Scalar::Null) => None,
        Value::Scalar(scalar) => Some(crate::order::write_value(scalar)),
        Value::List(_) | Value::Map(_) => None,
    });
    values.collect::<Vec<_>>().join(", ")
}
