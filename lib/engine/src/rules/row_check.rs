//! A row check in SQL: what it may say, and which rows break it.
//!
//! It looks at the columns of one row and is true or false; the same row always gets the same answer. A row on which it
//! cannot be computed (a division by zero, text that is no number, a sum that overflows) breaks it.

use std::sync::Arc;

use arrow::{
    array::{Array, BooleanArray, RecordBatch, RecordBatchOptions},
    buffer::BooleanBuffer,
    datatypes::{DataType, Schema, SchemaRef},
    error::ArrowError,
};
use datafusion::{
    common::{
        DFSchema,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    error::DataFusionError,
    logical_expr::{Expr, ExprSchemable, Operator},
    physical_expr::expressions::Column,
    physical_plan::PhysicalExpr,
};
use regex::Regex;

use crate::{Session, sql};

/// Reads a check over these columns; `Err` says what is wrong with it.
pub fn read(check: &str, columns: &SchemaRef, session: &Session) -> Result<Expr, String> {
    let failed = |error: DataFusionError| sql::words(&error);
    let expression = sql::expression(session.context(), check, columns).map_err(failed)?;
    let mut problem = None;
    let looked_at = expression.apply(|part| {
        problem = unfit(part);
        Ok(if problem.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    looked_at.map_err(failed)?;
    if let Some(problem) = problem.or_else(|| bad_pattern(&expression)) {
        return Err(problem);
    }
    let df_schema = DFSchema::try_from(columns.as_ref().clone()).map_err(failed)?;
    match expression.get_type(&df_schema).map_err(failed)? {
        DataType::Boolean => Ok(expression),
        other => Err(format!("it gives {other}, where true or false is needed")),
    }
}

/// What no check of one row may have.
fn unfit(part: &Expr) -> Option<String> {
    let of_many = |what: &str| Some(format!("{what} looks at many rows: write it as a rule of `type: sql`"));
    match part {
        Expr::AggregateFunction(call) => of_many(&format!("{}()", call.func.name())),
        Expr::WindowFunction(call) => of_many(&format!("{}() OVER", call.fun.name())),
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_) => {
            of_many("a subquery")
        }
        Expr::Placeholder(placeholder) => Some(format!("{} stands for nothing here", placeholder.id)),
        Expr::ScalarFunction(call) if part.is_volatile_node() => {
            Some(format!("{}() gives another answer each time: a rule must not", call.name()))
        }
        _ => None,
    }
}

/// A regular expression in it that is none.
pub fn bad_pattern(expression: &Expr) -> Option<String> {
    let mut problem = None;
    let mut look = |pattern: Option<&Expr>| {
        let Some(Expr::Literal(value, _)) = pattern else { return };
        let bad = value.try_as_str().flatten().and_then(|text| Regex::new(text).err().map(|error| (text, error)));
        if let Some((text, error)) = bad {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            problem.get_or_insert(format!("the pattern {text:?} is no regular expression: {why}"));
        }
    };
    let looked_at = expression.apply(|part| {
        match part {
            Expr::ScalarFunction(call) if call.name().starts_with("regexp_") => look(call.args.get(1)),
            Expr::SimilarTo(like) => look(Some(&like.pattern)),
            Expr::BinaryExpr(binary) if is_regex(binary.op) => look(Some(&binary.right)),
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    });
    looked_at.err().map(|error| sql::words(&error)).or(problem)
}

fn is_regex(op: Operator) -> bool {
    use Operator::{RegexIMatch, RegexMatch, RegexNotIMatch, RegexNotMatch};
    matches!(op, RegexMatch | RegexIMatch | RegexNotMatch | RegexNotIMatch)
}

/// Compiles a check for rows of these columns; `Err` says what is wrong with it.
pub fn compile(expression: Expr, columns: &SchemaRef, session: &Session) -> Result<Arc<dyn PhysicalExpr>, String> {
    let failed = |error: DataFusionError| sql::words(&error);
    let df_schema = DFSchema::try_from(columns.as_ref().clone()).map_err(failed)?;
    let compiled = session.context().create_physical_expr(expression, &df_schema).map_err(failed)?;
    is_constant(&compiled)?;
    Ok(compiled)
}

/// Whether an expression looks at no column. `Err` for a part that does not and cannot be computed.
fn is_constant(expression: &Arc<dyn PhysicalExpr>) -> Result<bool, String> {
    if expression.is::<Column>() {
        return Ok(false);
    }
    let mut constant = true;
    for child in expression.children() {
        constant &= is_constant(child)?;
    }
    if constant {
        let one = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one);
        let row = row.map_err(|error| error.to_string())?;
        expression.evaluate(&row).map_err(|error| sql::words(&error))?;
    }
    Ok(constant)
}

/// The rows on which a check is not true.
pub fn broken(check: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanBuffer, DataFusionError> {
    match not_true(check, rows) {
        Err(error) if is_of_a_row(&error) => match rows.num_rows() {
            0 | 1 => Ok(BooleanBuffer::new_set(rows.num_rows())),
            many => {
                let (first, rest) = (rows.slice(0, many / 2), rows.slice(many / 2, many - many / 2));
                Ok([broken(check, &first)?, broken(check, &rest)?].iter().flat_map(BooleanBuffer::iter).collect())
            }
        },
        answer => answer,
    }
}

fn not_true(check: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanBuffer, DataFusionError> {
    let answer = check.evaluate(rows)?.into_array(rows.num_rows())?;
    let truth = answer.as_any().downcast_ref::<BooleanArray>();
    let truth = truth.ok_or_else(|| DataFusionError::Plan("it is neither true nor false".to_owned()))?;
    Ok(BooleanBuffer::collect_bool(truth.len(), |row| !(truth.is_valid(row) && truth.value(row))))
}

/// Whether a failure is one of values, which other rows may not have: not a want of memory, and not a defect.
fn is_of_a_row(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::ArrowError(error, _) => is_of_a_value(error),
        DataFusionError::Execution(_) => true,
        DataFusionError::Context(_, cause) | DataFusionError::Diagnostic(_, cause) => is_of_a_row(cause),
        DataFusionError::Shared(cause) => is_of_a_row(cause),
        DataFusionError::Collection(causes) => causes.iter().all(is_of_a_row),
        DataFusionError::External(cause) => {
            cause.downcast_ref::<ArrowError>().is_some_and(is_of_a_value)
                || cause.downcast_ref::<DataFusionError>().is_some_and(is_of_a_row)
        }
        _ => false,
    }
}

fn is_of_a_value(error: &ArrowError) -> bool {
    match error {
        ArrowError::DivideByZero
        | ArrowError::ArithmeticOverflow(_)
        | ArrowError::CastError(_)
        | ArrowError::ParseError(_)
        | ArrowError::ComputeError(_)
        | ArrowError::InvalidArgumentError(_) => true,
        ArrowError::ExternalError(cause) => cause.downcast_ref::<DataFusionError>().is_some_and(is_of_a_row),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{ArrayRef, Int32Array, StringViewArray},
        datatypes::Field,
    };

    use super::*;
    use crate::SessionOptions;

    fn session() -> Session {
        let options = SessionOptions { memory_limit_bytes: 64 << 20, threads: 1, spill_dir: std::env::temp_dir() };
        Session::new(&options).unwrap().at("2025-06-05T00:00:00Z".parse().unwrap())
    }

    fn columns() -> SchemaRef {
        let fields = [
            ("a", DataType::Int32),
            ("b", DataType::Int32),
            ("text", DataType::Utf8View),
            ("deviceId", DataType::Utf8View),
        ];
        Arc::new(Schema::new(fields.map(|(name, of)| Field::new(name, of, true)).to_vec()))
    }

    fn compiled(check: &str) -> Result<Arc<dyn PhysicalExpr>, String> {
        let session = session();
        compile(read(check, &columns(), &session)?, &columns(), &session)
    }

    #[test]
    fn a_row_that_cannot_be_computed_breaks_the_check_and_no_other_does() {
        let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(4), Some(1), Some(i32::MAX), None, Some(9)]));
        let b: ArrayRef = Arc::new(Int32Array::from(vec![Some(2), Some(0), Some(i32::MAX), Some(1), Some(3)]));
        let text: ArrayRef = Arc::new(StringViewArray::from(vec![Some("1"), Some("x"), Some("3"), Some("4"), None]));
        let ids: ArrayRef = Arc::new(StringViewArray::from(vec!["d"; 5]));
        let rows = RecordBatch::try_new(columns(), vec![a, b, text, ids]).unwrap();
        let broken_by = |check: &str| {
            let broken = broken(&compiled(check).unwrap(), &rows).unwrap();
            broken.set_indices().collect::<Vec<_>>()
        };
        assert_eq!(broken_by("a / b = 2"), [1, 2, 3, 4]);
        assert_eq!(broken_by("a / b >= 1"), [1, 3]);
        assert_eq!(broken_by("b = 0 OR a / b >= 1"), [3]);
        assert_eq!(broken_by("CAST(text AS INT) > 0"), [1, 4]);
        assert_eq!(broken_by("a * b >= 0"), [2, 3]);
        assert_eq!(broken_by("DEVICEID = 'd' AND DeviceId = \"deviceId\""), Vec::<usize>::new());
        assert_eq!(
            broken_by("now() = '2025-06-05T00:00:00Z' AND current_date = '2025-06-05' AND today() = current_date"),
            Vec::<usize>::new()
        );
        assert_eq!(broken_by("current_timestamp > '2025-06-04T23:59:59Z'"), Vec::<usize>::new());
    }

    #[test]
    fn what_a_check_may_not_say() {
        for (check, part) in [
            ("nosuch(a) > 1", "there is no function nosuch"),
            ("nosuch > 1", "there is no column nosuch; there are a, b, text, deviceId"),
            ("1", "it gives Int64, where true or false is needed"),
            ("a", "it gives Int32, where true or false is needed"),
            ("NULL", "where true or false is needed"),
            ("a > 1; drop", "found: ;"),
            ("a >", "found: EOF"),
            ("", "found: EOF"),
            ("regexp_like(text, '(')", "the pattern \"(\" is no regular expression"),
            ("text ~ '['", "the pattern \"[\" is no regular expression"),
            ("sum(a) > 1", "sum() looks at many rows"),
            ("count(*) OVER () > 1", "looks at many rows"),
            ("(SELECT true)", "a subquery looks at many rows"),
            ("a IN (SELECT 1)", "a subquery looks at many rows"),
            ("random() > 0.5", "random() gives another answer each time"),
            ("1 / 0 = a", "division by zero"),
            ("CAST('x' AS INT) = a", "'x'"),
            ("2147483647 * 4294967298 * 2 > a", "is out of the range of a long"),
            ("\"deviceid\" = 'd'", "there is no column deviceid"),
        ] {
            let said = compiled(check).map(|_| ()).unwrap_err();
            assert!(said.contains(part), "{check}: {said}");
            assert!(!said.to_lowercase().contains("datafusion"), "{check}: {said}");
        }
    }
}
