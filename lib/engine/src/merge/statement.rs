//! What a statement may say, so that afterwards each key is in the table once.
//!
//! Every key column must be compared for equality with the source, an insert must take its key from there, and an update
//! must leave the key alone. What ON says besides narrows which pairs match; a row is inserted only when the table has no
//! row of its key.

use arrow::datatypes::{DataType, SchemaRef};
use contract::Contract;
use datafusion::{
    common::{Column, DFSchema, DFSchemaRef, TableReference},
    logical_expr::{
        BinaryExpr, Cast, Expr, ExprSchemable, Operator,
        dml::{MergeIntoAction, MergeIntoClause, MergeIntoClauseKind},
        utils::{conjunction, split_conjunction},
    },
};

use super::assign::assigned;

/// A statement that may run.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The target's columns, then the source's.
    pub schema: DFSchemaRef,
    /// Qualifier of the target's columns.
    pub target: TableReference,
    /// When a row of the source and one of the table match.
    pub on: Expr,
    /// The part of `on` that compares the key columns.
    pub same_key: Expr,
    /// What `on` says besides the key; `None` when that is nothing.
    pub narrowing: Option<Expr>,
    /// What is done, by the first clause that takes a row.
    pub clauses: Vec<MergeIntoClause>,
    /// For each key column, in the contract's order: its name, and what of the source it is compared with.
    pub key: Vec<(String, Expr)>,
}

impl Statement {
    /// Checks a statement; `Err` says what to change.
    pub fn new(
        contract: &Contract,
        table: &SchemaRef,
        schema: DFSchemaRef,
        on: Expr,
        clauses: Vec<MergeIntoClause>,
    ) -> Result<Self, String> {
        if contract.key.is_empty() {
            return Err(format!(
                "table {} has no key: only a contract with primaryKey columns can be merged into",
                contract.table
            ));
        }
        let target =
            schema.qualified_field(0).0.cloned().unwrap_or_else(|| TableReference::bare(contract.table.name()));
        let mut key = Vec::new();
        let (mut of_key, mut besides) = (Vec::new(), split_conjunction(&on));
        for name in &contract.key {
            let compared = |part: &&Expr| compared_with(part, &target, name, &schema);
            let found = besides.iter().enumerate().find_map(|(place, part)| Some((place, compared(part)?)));
            let (place, source) = found.ok_or_else(|| {
                let is_cast = |part: &&Expr| is_cast_key(part, &target, name);
                if besides.iter().any(is_cast) {
                    return format!("the source compares another type with key column {name}: cast it there");
                }
                format!("ON must compare key column {name} with the source, or a key could be inserted twice: ON t.{name} = s.{name} AND …")
            })?;
            of_key.push(besides.remove(place).clone());
            let field = table.field_with_name(name).map_err(|error| error.to_string())?;
            let of_source = source.get_type(&schema).map_err(|error| error.to_string())?;
            if !is_same_kind(&of_source, field.data_type()) {
                return Err(format!(
                    "key column {name} is {}, and the source compares {of_source} with it: cast it there",
                    field.data_type()
                ));
            }
            key.push((name.clone(), source));
        }
        let narrowing = conjunction(besides.into_iter().cloned());
        let same_key = conjunction(of_key).ok_or_else(|| "ON compares nothing".to_owned())?;
        let statement = Self { schema, target, on, same_key, narrowing, clauses, key };
        statement.clauses.iter().try_for_each(|clause| statement.check(clause, table))?;
        Ok(statement)
    }

    fn check(&self, clause: &MergeIntoClause, table: &SchemaRef) -> Result<(), String> {
        use MergeIntoAction::{Delete, Insert, Update};
        use MergeIntoClauseKind::{Matched, NotMatchedBySource, NotMatchedByTarget};
        self.check_sides(clause)?;
        match (clause.kind.canonical(), &clause.action) {
            (NotMatchedByTarget, Insert { columns, values }) => {
                let columns = named(columns, table);
                self.key.iter().try_for_each(|(name, source)| {
                    let value =
                        columns.iter().zip(values).find(|(column, _)| column.as_str() == name).map(|(_, value)| value);
                    match value {
                        Some(value) if plain(value, &self.schema) == source => Ok(()),
                        _ => Err(format!(
                            "INSERT must fill key column {name} with {}, as ON compares it",
                            source.human_display()
                        )),
                    }
                })
            }
            (Matched | NotMatchedBySource, Update(assignments)) => {
                let moved = assignments.iter().find_map(|(column, value)| {
                    let (name, source) = self.key.iter().find(|(name, _)| name == column)?;
                    let same =
                        plain(value, &self.schema) == source && clause.kind == Matched || self.is_target(value, name);
                    (!same).then_some(name)
                });
                moved.map_or(Ok(()), |name| {
                    Err(format!("UPDATE must leave key column {name} alone: DELETE the row and INSERT another"))
                })
            }
            (Matched | NotMatchedBySource, Delete) => Ok(()),
            (NotMatchedByTarget, _) => Err("WHEN NOT MATCHED can only INSERT: there is no row of the table".to_owned()),
            (_, Insert { .. }) => Err("only WHEN NOT MATCHED can INSERT".to_owned()),
            (kind, _) => Err(format!("{kind:?} is not known")),
        }
    }

    /// A clause about rows of one side alone names columns of that side alone.
    fn check_sides(&self, clause: &MergeIntoClause) -> Result<(), String> {
        let values: Vec<&Expr> = match &clause.action {
            MergeIntoAction::Update(assignments) => assignments.iter().map(|(_, value)| value).collect(),
            MergeIntoAction::Insert { values, .. } => values.iter().collect(),
            MergeIntoAction::Delete => Vec::new(),
        };
        let named = clause.predicate.iter().chain(values).flat_map(Expr::column_refs);
        let (words, has_target) = match clause.kind.canonical() {
            MergeIntoClauseKind::NotMatchedByTarget => ("WHEN NOT MATCHED has no row of the table", false),
            MergeIntoClauseKind::NotMatchedBySource => ("WHEN NOT MATCHED BY SOURCE has no row of the source", true),
            _ => return Ok(()),
        };
        let absent = named.into_iter().find(|column| is_of(column, &self.target) != has_target);
        absent.map_or(Ok(()), |column| Err(format!("{words}, and it names {}: take it out", column.flat_name())))
    }

    fn is_target(&self, value: &Expr, name: &str) -> bool {
        is_column(plain(value, &self.schema), &self.target, name)
    }

    /// Whether it may add keys: then a pair of one key counts also where `narrowing` does not hold.
    pub fn inserts(&self) -> bool {
        self.clauses.iter().any(|clause| clause.kind.canonical() == MergeIntoClauseKind::NotMatchedByTarget)
    }

    /// Whether rows of the table that no row of the source matches are looked at: the whole table is read then.
    pub fn takes_unmatched_rows(&self) -> bool {
        self.clauses.iter().any(|clause| clause.kind == MergeIntoClauseKind::NotMatchedBySource)
    }

    /// The columns of an INSERT: all of the table where it names none.
    pub fn insert_columns<'a>(&self, columns: &'a [String], table: &'a SchemaRef) -> Vec<&'a String> {
        named(columns, table)
    }
}

fn named<'a>(columns: &'a [String], table: &'a SchemaRef) -> Vec<&'a String> {
    if columns.is_empty() {
        table.fields().iter().map(|field| field.name()).collect()
    } else {
        columns.iter().collect()
    }
}

/// What `target.name` equals in this condition: something that does not look at the target.
fn compared_with(condition: &Expr, target: &TableReference, name: &str, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::IsNotDistinctFrom, right }) = condition else {
        return None;
    };
    let is_of_source = |expr: &Expr| {
        let names_target = expr.column_refs().iter().any(|column| is_of(column, target));
        !names_target && !expr.is_volatile() && !expr.contains_outer()
    };
    [(left, right), (right, left)].into_iter().find_map(|(own, other)| {
        let found = is_column(plain(own, schema), target, name) && is_of_source(other);
        found.then(|| plain(other, schema).clone())
    })
}

/// Whether a comparison is of the column in another type, to which the planner may have brought it.
fn is_cast_key(condition: &Expr, target: &TableReference, name: &str) -> bool {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq | Operator::IsNotDistinctFrom, right }) = condition else {
        return false;
    };
    let is_cast = |expr: &Expr| match expr {
        Expr::Cast(Cast { expr, .. }) => is_column(expr, target, name),
        _ => false,
    };
    is_cast(left) || is_cast(right)
}

fn is_column(expr: &Expr, target: &TableReference, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name && is_of(column, target))
}

fn is_of(column: &Column, target: &TableReference) -> bool {
    column.relation.as_ref().is_some_and(|relation| relation.resolved_eq(target))
}

/// Without casts that keep every value apart from every other, as the planner puts them around what is compared or
/// assigned. Another cast could make one key of two, or NULL of a key.
fn plain<'a>(expr: &'a Expr, schema: &DFSchema) -> &'a Expr {
    if let Some(value) = assigned(expr) {
        return plain(value, schema);
    }
    match expr {
        Expr::Cast(Cast { expr: inner, field }) => {
            let keeps = inner.get_type(schema).is_ok_and(|from| keeps_apart(&from, field.data_type()));
            if keeps { plain(inner, schema) } else { expr }
        }
        Expr::Alias(alias) => plain(&alias.expr, schema),
        other => other,
    }
}

/// Whether two values that differ are still two after the cast, or it fails.
fn keeps_apart(from: &DataType, to: &DataType) -> bool {
    match to {
        DataType::Decimal128(_, scale) => from == to || (from.is_integer() && *scale >= 0),
        to => is_same_kind(from, to),
    }
}

/// Whether values that differ in one type differ in the other, too.
fn is_same_kind(one: &DataType, other: &DataType) -> bool {
    let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    one == other || (is_text(one) && is_text(other)) || (one.is_integer() && other.is_integer())
}
