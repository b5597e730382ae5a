//! Quality rules: SQL checks, and the standard's library rules that mean a constraint.
//!
//! - `type: sql`: one number from a query over the valid rows of a run (`{object}`), held against an operator.
//! - `type: custom, engine: etl`: `implementation` is a Boolean SQL expression over one row.
//! - `type: library`: `nullValues`, `missingValues` and `invalidValues` of a column. With `mustBe: 0` and severity error
//!   `nullValues` makes the column required and `invalidValues` is a constraint, so that the bad row goes to
//!   quarantine; otherwise they count over the rows of a run.
//! - `duplicateValues` and `rowCount` are about the whole table, which a run does not see; they, `type: text` and
//!   other engines' rules are left to other tools.

use crate::{
    Check, CheckScope, Constraint, PrimitiveType, Severity, Type, constraints,
    order::{quote_identifier, quote_text},
    problem::{Checked, Place, Problem},
    yaml::Node,
};

/// What a list of rules says.
#[derive(Default)]
pub(crate) struct Rules {
    /// With the place of the rule, and that of its SQL.
    pub(crate) checks: Vec<(Check, Place, Place)>,
    pub(crate) constraints: Vec<Constraint>,
    pub(crate) required: bool,
}

/// What rules are about: a table, or a column of it.
#[derive(Clone, Copy)]
pub(crate) struct Subject<'a> {
    pub(crate) name: &'a str,
    pub(crate) column_type: Option<&'a Type>,
}

pub(crate) fn read_rules(rules: &[Node], subject: Subject<'_>) -> Checked<Rules> {
    let mut read = Rules::default();
    for (index, rule) in rules.iter().enumerate() {
        let text = |key: &str| rule.get(key).and_then(Node::text);
        let metric = text("metric").or_else(|| text("rule"));
        let kind = match text("type") {
            Some(kind) => kind,
            None if metric.is_some() => "library",
            None => {
                let help = match (rule.get("query"), rule.get("implementation")) {
                    (Some(_), _) => "add `type: sql`",
                    (_, Some(_)) => "add `type: custom` and `engine: etl`",
                    _ => "add `type: sql` with a `query`, or `metric:` for a rule of the standard's library",
                };
                return Err(Problem::new(rule.place, "the quality rule has no `type`", help));
            }
        };
        let name = || {
            let given = text("name").or_else(|| text("id")).map(str::to_owned);
            given.unwrap_or_else(|| format!("{}_{}_{}", subject.name, metric.unwrap_or(kind), index + 1))
        };
        let scope = match (kind, metric) {
            ("sql", _) => Some(read_sql(rule, subject)?),
            ("custom", _) if text("engine") == Some("etl") => Some(read_row(rule, subject)?),
            ("custom", _) if text("engine").is_none() => {
                return Err(Problem::new(rule.place, "the custom rule has no `engine`", "add `engine: etl`"));
            }
            ("library", Some(metric)) => read_library(rule, metric, subject, &mut read)?,
            ("library", None) => {
                return Err(Problem::new(
                    rule.place,
                    "the library rule has no `metric`",
                    "add `metric: invalidValues`",
                ));
            }
            _ => None,
        };
        if let Some(scope) = scope {
            let sql = rule.get("implementation").or_else(|| rule.get("query")).map_or(rule.place, |node| node.place);
            read.checks.push((Check { name: name(), scope, severity: severity(rule)? }, rule.place, sql));
        }
    }
    Ok(read)
}

fn severity(rule: &Node) -> Checked<Severity> {
    let Some(node) = rule.get("severity") else { return Ok(Severity::Error) };
    match node.text().unwrap_or_default() {
        "error" => Ok(Severity::Error),
        "warning" | "info" => Ok(Severity::Warning),
        other => Err(Problem::new(node.place, format!("`severity` cannot be {other:?}"), "write error or warning")),
    }
}

fn read_row(rule: &Node, subject: Subject<'_>) -> Checked<CheckScope> {
    let node = rule.get("implementation");
    match node.and_then(Node::text) {
        Some(expression) if !expression.trim().is_empty() => {
            Ok(CheckScope::Row { expression: substitute(expression.trim(), subject) })
        }
        _ => Err(Problem::new(
            node.map_or(rule.place, |node| node.place),
            "the rule of engine etl has no expression",
            "write `implementation: \"temperature IS NULL OR humidity <= 100\"`",
        )),
    }
}

fn read_sql(rule: &Node, subject: Subject<'_>) -> Checked<CheckScope> {
    let Some((node, query)) = rule.get("query").and_then(|node| Some((node, node.text()?))) else {
        return Err(Problem::new(
            rule.place,
            "the sql rule has no `query`",
            "add `query: SELECT count(*) FROM {object} WHERE …`",
        ));
    };
    let query = substitute(query.trim(), subject);
    if !query.contains("{object}") {
        return Err(Problem::new(
            node.place,
            "the query does not read {object}",
            "write `FROM {object}`: it stands for the valid rows of the run",
        ));
    }
    read_bounds(rule, query)
}

/// `{property}` becomes the column; older spellings of `{object}` become that one.
fn substitute(sql: &str, subject: Subject<'_>) -> String {
    let mut sql = sql.to_owned();
    for spelling in ["${object}", "${table}", "{table}"] {
        sql = sql.replace(spelling, "{object}");
    }
    if subject.column_type.is_some() {
        let column = quote_identifier(subject.name);
        for spelling in ["\"{property}\"", "${property}", "{property}", "${column}", "{column}"] {
            sql = sql.replace(spelling, &column);
        }
    }
    sql
}

fn read_bounds(rule: &Node, query: String) -> Checked<CheckScope> {
    let number = |key: &str| {
        let node = rule.get(key)?;
        node.number().or_else(|| node.boolean().map(|value| if value { 1.0 } else { 0.0 }))
    };
    if let Some(node) = rule.get("mustNotBeBetween") {
        return Err(Problem::new(
            node.place,
            "`mustNotBeBetween` is not checked",
            "put the condition into the query, with mustBe: 0",
        ));
    }
    let range = rule.list("mustBeBetween");
    let range = |index: usize| range.get(index).and_then(Node::number);
    let exact = number("mustBe");
    let least = [number("mustBeGreaterOrEqualTo"), exact];
    let most = [number("mustBeLessOrEqualTo"), exact];
    let above = [number("mustBeGreaterThan"), range(0)];
    let below = [number("mustBeLessThan"), range(1)];
    let not = number("mustNotBe");
    let included = least.iter().chain(&most).flatten().count();
    let excluded = above.iter().chain(&below).flatten().count();
    let one_each = [least, most, above, below].iter().all(|pair| pair.iter().flatten().count() <= 1);
    match (included, excluded, not) {
        (0, 0, None) => Err(Problem::new(
            rule.place,
            "the rule has nothing to compare its number with",
            "add `mustBe: 0`, or another of mustNotBe, mustBeGreaterThan, mustBeGreaterOrEqualTo, mustBeLessThan, \
             mustBeLessOrEqualTo, mustBeBetween",
        )),
        _ if !one_each || (included > 0 && excluded > 0) => Err(Problem::new(
            rule.place,
            "the rule's operators cannot be combined",
            "write one rule for each, or use mustBeGreaterOrEqualTo with mustBeLessOrEqualTo",
        )),
        _ => {
            let first = |pair: [Option<f64>; 2]| pair.into_iter().flatten().next();
            let exclusive = excluded > 0;
            let (at_least, at_most) =
                if exclusive { (first(above), first(below)) } else { (first(least), first(most)) };
            let empty = |(least, most): (f64, f64)| least > most || (exclusive && least >= most);
            if at_least.zip(at_most).is_some_and(empty) {
                let message = "no number satisfies the rule's operators";
                return Err(Problem::new(rule.place, message, "exchange them, or mend one"));
            }
            Ok(CheckScope::Table { query, at_least, at_most, exclusive, not })
        }
    }
}

fn read_library(rule: &Node, metric: &str, subject: Subject<'_>, read: &mut Rules) -> Checked<Option<CheckScope>> {
    let Some(column_type) = subject.column_type else {
        return match metric {
            "duplicateValues" | "rowCount" => Ok(None),
            _ => Err(Problem::new(
                rule.place,
                format!("`{metric}` is about a column, and stands at the table"),
                "move the rule into the column's `quality`",
            )),
        };
    };
    let absolute = rule.get("mustBe").and_then(Node::number) == Some(0.0) && severity(rule)? == Severity::Error;
    let column = quote_identifier(subject.name);
    let arguments = rule.get("arguments");
    let argument = |name: &str| arguments.and_then(|arguments| arguments.get(name));
    let condition = match metric {
        "nullValues" if absolute => {
            read.required = true;
            return Ok(None);
        }
        "nullValues" => format!("{column} IS NULL"),
        "missingValues" => match argument("missingValues") {
            Some(list) => {
                comparable(list, column_type, "missingValues")?;
                format!("{column} IS NULL OR {column} IN ({})", constraints::value_sql(list.items()))
            }
            None => format!("{column} IS NULL"),
        },
        "invalidValues" => {
            let (values, pattern) = (argument("validValues"), argument("pattern"));
            if values.is_none() && pattern.is_none() {
                return Err(Problem::new(
                    rule.place,
                    "the rule does not say which values are valid",
                    "add `arguments: {validValues: [a, b]}` or `arguments: {pattern: '^…$'}`",
                ));
            }
            let mut conditions = Vec::new();
            if let Some(list) = values {
                let values = constraints::read_values(list, column_type, "validValues")?;
                if absolute {
                    read.constraints.push(Constraint::OneOf(values));
                } else {
                    comparable(list, column_type, "validValues")?;
                    conditions.push(format!("{column} NOT IN ({})", constraints::value_sql(list.items())));
                }
            }
            if let Some(node) = pattern {
                if *column_type != Type::Primitive(PrimitiveType::String) {
                    let message =
                        format!("`pattern` does not apply to a {} column", constraints::describe(column_type));
                    return Err(Problem::new(node.place, message, "it applies to strings: remove it"));
                }
                let constraint = constraints::read_pattern(node)?;
                if absolute {
                    read.constraints.push(constraint);
                } else {
                    let pattern = quote_text(node.text().unwrap_or_default());
                    conditions.push(format!("NOT regexp_like({column}, {pattern})"));
                }
            }
            if absolute {
                return Ok(None);
            }
            conditions.join(" OR ")
        }
        _ => return Ok(None),
    };
    let query = match rule.get("unit").and_then(Node::text) {
        Some("percent") => {
            format!(
                "SELECT coalesce(100.0 * count(*) FILTER (WHERE {condition}) / nullif(count(*), 0), 0) FROM {{object}}"
            )
        }
        _ => format!("SELECT count(*) FROM {{object}} WHERE {condition}"),
    };
    read_bounds(rule, query).map(Some)
}

/// The values can be written into SQL as they are.
fn comparable(list: &Node, column_type: &Type, name: &str) -> Checked<()> {
    use PrimitiveType::{Boolean, Double, Float, Int, Long, String};
    constraints::read_values(list, column_type, name)?;
    match column_type {
        Type::Primitive(Boolean | Int | Long | Float | Double | String) => Ok(()),
        other => Err(Problem::new(
            list.place,
            format!("values of a {} column can only be counted by a query", constraints::describe(other)),
            "write `type: sql` with a `query`",
        )),
    }
}
