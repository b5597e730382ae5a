//! What a statement may say, so that afterwards each key is in the table once.
//!
//! Every key column must be compared for equality with the source, an insert must take its key from there, and an update
//! must leave the key alone: then a row is inserted only when the table has no row of its key.

use arrow::datatypes::{DataType, SchemaRef};
use contract::Contract;
use datafusion::{
    common::{Column, DFSchemaRef, TableReference},
    logical_expr::{
        BinaryExpr, Cast, Expr, ExprSchemable, Operator, TryCast,
        dml::{MergeIntoAction, MergeIntoClause, MergeIntoClauseKind},
        utils::split_conjunction,
    },
};

/// A statement that may run.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The target's columns, then the source's.
    pub schema: DFSchemaRef,
    /// Qualifier of the target's columns.
    pub target: TableReference,
    /// When a row of the source and one of the table match.
    pub on: Expr,
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
        for name in &contract.key {
            let compared = split_conjunction(&on).into_iter().find_map(|part| compared_with(part, &target, name));
            let source = compared.ok_or_else(|| {
                format!("ON must compare key column {name} with the source, or a key could be inserted twice: ON t.{name} = s.{name} AND …")
            })?;
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
        let statement = Self { schema, target, on, clauses, key };
        statement.clauses.iter().try_for_each(|clause| statement.check(clause, table))?;
        Ok(statement)
    }

    fn check(&self, clause: &MergeIntoClause, table: &SchemaRef) -> Result<(), String> {
        use MergeIntoAction::{Delete, Insert, Update};
        use MergeIntoClauseKind::{Matched, NotMatchedBySource, NotMatchedByTarget};
        match (clause.kind.canonical(), &clause.action) {
            (NotMatchedByTarget, Insert { columns, values }) => {
                let columns = named(columns, table);
                self.key.iter().try_for_each(|(name, source)| {
                    let value =
                        columns.iter().zip(values).find(|(column, _)| column.as_str() == name).map(|(_, value)| value);
                    match value {
                        Some(value) if uncast(value) == source => Ok(()),
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
                    let same = uncast(value) == source && clause.kind == Matched || self.is_target(value, name);
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

    fn is_target(&self, value: &Expr, name: &str) -> bool {
        is_column(uncast(value), &self.target, name)
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
fn compared_with(condition: &Expr, target: &TableReference, name: &str) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else { return None };
    let of_source = |expr: &Expr| !expr.column_refs().iter().any(|column| is_of(column, target));
    [(left, right), (right, left)].into_iter().find_map(|(own, other)| {
        (is_column(uncast(own), target, name) && of_source(other)).then(|| uncast(other).clone())
    })
}

fn is_column(expr: &Expr, target: &TableReference, name: &str) -> bool {
    matches!(expr, Expr::Column(column) if column.name == name && is_of(column, target))
}

fn is_of(column: &Column, target: &TableReference) -> bool {
    column.relation.as_ref().is_some_and(|relation| relation.resolved_eq(target))
}

/// Without the casts that the planner puts around what is compared or assigned.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => uncast(expr),
        Expr::Alias(alias) => uncast(&alias.expr),
        other => other,
    }
}

/// Whether values that differ in one type differ in the other, too.
fn is_same_kind(one: &DataType, other: &DataType) -> bool {
    let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
    one == other || (is_text(one) && is_text(other)) || (one.is_integer() && other.is_integer())
}
