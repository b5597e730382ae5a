//! The source beside the table's rows: which clause takes each pair, and the row that it makes, as one query.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    catalog::TableProvider,
    common::{Column, Result, ScalarValue, TableReference},
    datasource::{MemTable, provider_as_source},
    functions_aggregate::min_max::{MaxAccumulator, MinAccumulator},
    logical_expr::{
        Accumulator, Expr, JoinType, LogicalPlan, LogicalPlanBuilder,
        dml::{MergeIntoAction, MergeIntoClauseKind},
        expr::Case,
        lit,
        utils::conjunction,
        when,
    },
};

use super::statement::Statement;
use crate::curated::{CuratedTable, FILE_COLUMN, ROW_COLUMN};

/// Qualifier of the columns that the merge adds.
const OWN: &str = "_etl";

/// The action of a pair that no clause takes.
pub const NO_CLAUSE: i32 = -1;

/// The half of a split pair that decides about the source's row.
const FOR_SOURCE: i32 = 0;

/// The half that decides about the table's row.
const FOR_TARGET: i32 = 1;

/// Columns of the query's result before the new rows' and the old rows' columns: the clause, the source's row, the file
/// and the position of the table's row. The last three are NULL where there is none.
pub const LEADING_COLUMNS: usize = 4;

/// The query. Its columns: [`LEADING_COLUMNS`], then the new row's, one for each of the table, then the old row's.
///
/// Where a statement inserts, pairs are made by the key alone. A pair that the rest of ON does not hold for is no match;
/// its source row is not inserted, since the key is there, unless the table's row is deleted as not matched by the source.
pub fn plan(
    statement: &Statement,
    table: &Arc<CuratedTable>,
    source: &[RecordBatch],
    bounds: &[KeyBounds],
) -> Result<LogicalPlan> {
    let columns = table.schema();
    let of_target = |name: &str| Expr::Column(Column::new(Some(statement.target.clone()), name));

    let placed: Arc<dyn TableProvider> = table.with_place_columns();
    let mut target = LogicalPlanBuilder::scan(statement.target.clone(), provider_as_source(placed), None)?;
    let takes_unmatched_rows = statement.takes_unmatched_rows();
    let between = bounds.iter().map(|of| of_target(&of.column).between(lit(of.min.clone()), lit(of.max.clone())));
    if let Some(bounds) = conjunction(between).filter(|_| !takes_unmatched_rows) {
        target = target.filter(bounds)?;
    }
    let join_type = if takes_unmatched_rows { JoinType::Full } else { JoinType::Left };
    let narrowing = statement.narrowing.as_ref().filter(|_| statement.inserts());
    let on = if narrowing.is_some() { &statement.same_key } else { &statement.on };
    let mut joined =
        numbered(statement, source, own("source_row"))?.join_on(target.build()?, join_type, [on.clone()])?;

    let (is_source, is_target) = (Expr::Column(own("source_row")).is_not_null(), of_target(FILE_COLUMN).is_not_null());
    let is_pair = is_source.clone().and(is_target.clone());
    let mut sides = Sides {
        matched: is_pair.clone(),
        source_alone: is_target.is_not_true(),
        target_alone: is_source.is_not_true(),
        source_row: Expr::Column(own("source_row")),
        file: of_target(FILE_COLUMN),
    };
    if let Some(narrowing) = narrowing {
        sides.matched = is_pair.clone().and(narrowing.clone().is_true());
        if takes_unmatched_rows {
            // Its two rows are decided about one by one: the pair is there twice.
            let halves = LogicalPlanBuilder::values(vec![vec![lit(FOR_SOURCE)], vec![lit(FOR_TARGET)]])?;
            let halves =
                halves.project([Expr::Column(Column::from_name("column1")).alias_qualified(Some(OWN), "half")])?;
            let is_half = |half: i32| Expr::Column(own("half")).eq(lit(half));
            let is_split = is_pair.and(narrowing.clone().is_not_true());
            joined = joined.cross_join(halves.build()?)?.filter(is_half(FOR_SOURCE).or(is_split.clone()))?;
            let nothing = |of: &Expr| when(is_half(FOR_TARGET), lit(ScalarValue::Null)).otherwise(of.clone());
            sides.source_row = nothing(&sides.source_row)?;
            sides.target_alone = sides.target_alone.or(is_half(FOR_TARGET));
            let is_source_half = is_split.and(is_half(FOR_SOURCE));
            sides.file = when(is_source_half.clone(), lit(ScalarValue::Null)).otherwise(sides.file)?;
            sides.source_alone = sides.source_alone.or(is_source_half.and(is_deleted_unmatched(statement)));
        }
    }

    let taken = statement.clauses.iter().enumerate().map(|(index, clause)| {
        let side = match clause.kind.canonical() {
            MergeIntoClauseKind::Matched => &sides.matched,
            MergeIntoClauseKind::NotMatchedBySource => &sides.target_alone,
            _ => &sides.source_alone,
        };
        let condition = clause.predicate.iter().cloned().fold(side.clone(), Expr::and);
        (Box::new(condition), Box::new(lit(clause_number(index))))
    });
    let clause = Expr::Case(Case::new(None, taken.collect(), Some(Box::new(lit(NO_CLAUSE)))));
    let mut all: Vec<Expr> = joined.schema().columns().into_iter().map(Expr::Column).collect();
    all.push(clause.alias_qualified(Some(OWN), "clause"));
    all.push(sides.source_row.alias_qualified(Some(OWN), "row_of_source"));
    all.push(sides.file.alias_qualified(Some(OWN), "file"));
    let judged = joined.project(all)?;

    let mut output = vec![
        Expr::Column(own("clause")),
        Expr::Column(own("row_of_source")),
        Expr::Column(own("file")),
        of_target(ROW_COLUMN),
    ];
    for (index, field) in columns.fields().iter().enumerate() {
        let value = new_value(statement, &columns, field, &of_target, &Expr::Column(own("clause")))?;
        output.push(value.alias(format!("new_{index}")));
    }
    for (index, field) in columns.fields().iter().enumerate() {
        output.push(of_target(field.name()).alias(format!("old_{index}")));
    }
    judged.project(output)?.build()
}

/// When a joined row is what a kind of clause speaks of, and where its rows come from.
struct Sides {
    matched: Expr,
    source_alone: Expr,
    target_alone: Expr,
    /// The source's row; NULL where the table's row is decided about alone.
    source_row: Expr,
    /// The file of the table's row; NULL where the source's row is decided about alone.
    file: Expr,
}

/// Whether the first clause that takes a row of the table as not matched by the source deletes it.
fn is_deleted_unmatched(statement: &Statement) -> Expr {
    let clauses = statement.clauses.iter().filter(|clause| clause.kind == MergeIntoClauseKind::NotMatchedBySource);
    let cases = clauses.map(|clause| {
        let condition = clause.predicate.clone().unwrap_or_else(|| lit(true));
        (Box::new(condition), Box::new(lit(matches!(clause.action, MergeIntoAction::Delete))))
    });
    Expr::Case(Case::new(None, cases.collect(), Some(Box::new(lit(false)))))
}

fn own(name: &str) -> Column {
    Column::new(Some(TableReference::bare(OWN)), name)
}

/// A column of the row that the taking clause makes.
fn new_value(
    statement: &Statement,
    columns: &SchemaRef,
    field: &Field,
    of_target: &impl Fn(&str) -> Expr,
    clause_taken: &Expr,
) -> Result<Expr> {
    let mut values = Vec::new();
    for (index, clause) in statement.clauses.iter().enumerate() {
        let value = match &clause.action {
            MergeIntoAction::Update(assignments) => {
                let assigned = assignments.iter().find(|(column, _)| column == field.name());
                Some(assigned.map_or_else(|| of_target(field.name()), |(_, value)| value.clone()))
            }
            MergeIntoAction::Insert { columns: named, values } => {
                let named = statement.insert_columns(named, columns);
                let given = named.into_iter().zip(values).find(|(column, _)| *column == field.name());
                given.map(|(_, value)| value.clone())
            }
            MergeIntoAction::Delete => None,
        };
        values.extend(value.map(|value| (Box::new(lit(clause_number(index))), Box::new(value))));
    }
    if values.is_empty() {
        return Ok(lit(ScalarValue::try_from(field.data_type())?));
    }
    Ok(Expr::Case(Case::new(Some(Box::new(clause_taken.clone())), values, None)))
}

fn clause_number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

/// The source's rows under their own names, with their numbers.
fn numbered(statement: &Statement, source: &[RecordBatch], number: Column) -> Result<LogicalPlanBuilder> {
    let plain: Vec<Field> = source_fields(statement)
        .iter()
        .enumerate()
        .map(|(index, (_, field))| field.as_ref().clone().with_name(format!("column_{index}")))
        .chain([Field::new("source_row", DataType::UInt64, false)])
        .collect();
    let plain = Arc::new(Schema::new(plain));
    let mut first: u64 = 0;
    let mut batches = Vec::with_capacity(source.len());
    for batch in source {
        let after = first + batch.num_rows() as u64;
        let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
        columns.push(Arc::new(UInt64Array::from_iter_values(first..after)));
        batches.push(RecordBatch::try_new(Arc::clone(&plain), columns)?);
        first = after;
    }
    let rows = MemTable::try_new(Arc::clone(&plain), vec![batches])?;
    let scan = LogicalPlanBuilder::scan(OWN, provider_as_source(Arc::new(rows)), None)?;
    let named = source_fields(statement).into_iter().enumerate().map(|(index, (qualifier, field))| {
        let plain = Expr::Column(Column::new(Some(TableReference::bare(OWN)), format!("column_{index}")));
        plain.alias_qualified(qualifier, field.name())
    });
    scan.project(named.chain([Expr::Column(number)]).collect::<Vec<_>>())
}

/// The source's columns: all that are not the table's.
fn source_fields(statement: &Statement) -> Vec<(Option<TableReference>, Arc<Field>)> {
    let fields = statement.schema.iter();
    let of_source = |qualifier: &Option<&TableReference>| qualifier.is_none_or(|of| !of.resolved_eq(&statement.target));
    fields
        .filter(|(qualifier, _)| of_source(qualifier))
        .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
        .collect()
}

/// Between which values a key column of matching rows lies.
pub struct KeyBounds {
    /// The table's column.
    pub column: String,
    /// The smallest value of the source, in the column's type.
    pub min: ScalarValue,
    /// The largest one.
    pub max: ScalarValue,
}

/// The bounds of the key columns that are compared with a plain column of the source.
pub fn key_bounds(statement: &Statement, columns: &SchemaRef, source: &[RecordBatch]) -> Result<Vec<KeyBounds>> {
    let fields = source_fields(statement);
    let mut bounds = Vec::new();
    for (name, value) in &statement.key {
        let Expr::Column(column) = value else { continue };
        let place = fields.iter().position(|(qualifier, field)| {
            field.name() == &column.name && (column.relation.is_none() || *qualifier == column.relation)
        });
        let Some(place) = place else { continue };
        let data_type = fields[place].1.data_type();
        let (mut min, mut max) = (MinAccumulator::try_new(data_type)?, MaxAccumulator::try_new(data_type)?);
        for batch in source {
            min.update_batch(std::slice::from_ref(batch.column(place)))?;
            max.update_batch(std::slice::from_ref(batch.column(place)))?;
        }
        let own = columns.field_with_name(name)?.data_type();
        let (min, max) = (min.evaluate()?.cast_to(own)?, max.evaluate()?.cast_to(own)?);
        if !min.is_null() && !max.is_null() {
            bounds.push(KeyBounds { column: name.clone(), min, max });
        }
    }
    Ok(bounds)
}
