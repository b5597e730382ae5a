//! Values on their way into columns: each must fit without loss, or the statement fails and names column and value.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, RecordBatch},
    buffer::BooleanBuffer,
    compute::{CastOptions, cast_with_options, kernels::cmp::distinct},
    datatypes::{DataType, FieldRef, Schema, TimeUnit},
    util::display::{ArrayFormatter, FormatOptions},
};
use contract::EpochUnit;
use datafusion::{
    common::{DFSchema, Result},
    error::DataFusionError,
    logical_expr::{
        ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, WriteOp,
        dml::MergeIntoAction, expr::ScalarFunction,
    },
};

use super::refused;
use crate::{dedupe::strict, raw::convert};

/// Makes every value that a statement writes one that is checked. The planner would cast them as it can.
pub fn checked(mut plan: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Dml(dml) = &mut plan else { return Ok(plan) };
    let columns = DFSchema::try_from(dml.target.schema())?;
    let WriteOp::MergeInto(merge) = &mut dml.op else { return Ok(plan) };
    let check = |value: &mut Expr, column: &FieldRef| {
        let function = ScalarUDF::new_from_impl(Assign {
            column: Arc::clone(column),
            signature: Signature::any(1, Volatility::Immutable),
        });
        let given = std::mem::take(value);
        *value = Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(function), vec![given]));
    };
    for clause in &mut merge.clauses {
        match &mut clause.action {
            MergeIntoAction::Update(assignments) => {
                for (column, value) in assignments {
                    check(value, columns.field_with_unqualified_name(column)?);
                }
            }
            MergeIntoAction::Insert { columns: named, values } if named.is_empty() => {
                values.iter_mut().zip(columns.fields()).for_each(|(value, column)| check(value, column));
            }
            MergeIntoAction::Insert { columns: named, values } => {
                for (column, value) in named.iter().zip(values) {
                    check(value, columns.field_with_unqualified_name(column)?);
                }
            }
            MergeIntoAction::Delete => {}
        }
    }
    Ok(plan)
}

/// What is assigned, where the expression is a checked value.
pub fn assigned(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.inner().is::<Assign>() => call.args.first(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Assign {
    column: FieldRef,
    signature: Signature,
}

impl ScalarUDFImpl for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let (from, to) = (&args[0], self.column.data_type());
        // A number says nothing of its unit, nor an instant of the number that is meant.
        let is_number = |of: &DataType| of.is_numeric() || *of == DataType::Boolean;
        if (is_number(from) && to.is_temporal()) || (from.is_temporal() && is_number(to)) {
            let reason = format!("column {} is {to}, and the value for it {from}: cast it", self.column.name());
            return Err(DataFusionError::External(Box::new(refused(reason))));
        }
        Ok(to.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Err(DataFusionError::Internal("one value is assigned".to_owned()));
        };
        let array = value.to_array(args.number_rows)?;
        let (fitting, unfit) = self.fit(&array)?;
        if let Some(row) = unfit.and_then(|unfit| unfit.set_indices().next()) {
            let shown = ArrayFormatter::try_new(array.as_ref(), &FormatOptions::default())?.value(row).to_string();
            let (name, kind) = (self.column.name(), self.column.data_type());
            let reason =
                format!("column {name} is {kind}, and {shown} does not fit: round or cast it where that is meant");
            return Err(DataFusionError::External(Box::new(refused(reason))));
        }
        Ok(ColumnarValue::Array(fitting))
    }
}

impl Assign {
    /// The values in the column's type, and those that do not fit.
    fn fit(&self, array: &ArrayRef) -> Result<(ArrayRef, Option<BooleanBuffer>)> {
        let is_text = |of: &DataType| matches!(of, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let to = self.column.data_type();
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let from = array.data_type();
        if is_text(to) && (from.is_numeric() || from.is_temporal() || *from == DataType::Boolean) {
            return Ok((cast_with_options(array, to, &options)?, None));
        }
        let converted = convert(array, &self.column, EpochUnit::Seconds)?;
        let mut unfit = converted.failed;
        if matches!(
            (from, to),
            (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Microsecond, _))
        ) {
            let back = cast_with_options(&cast_with_options(array, to, &options)?, from, &options)?;
            let finer = distinct(&back, array)?.values().clone();
            unfit = Some(unfit.map_or(finer.clone(), |unfit| &unfit | &finer));
        }
        if unfit.as_ref().is_some_and(|unfit| unfit.count_set_bits() > 0) {
            return Ok((converted.array, unfit));
        }
        let loose =
            self.column.as_ref().clone().with_data_type(converted.array.data_type().clone()).with_nullable(true);
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![loose])), vec![converted.array])?;
        let target = Arc::new(Schema::new(vec![self.column.as_ref().clone().with_nullable(true)]));
        let rows = strict(&rows, &target).map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok((Arc::clone(rows.column(0)), None))
    }
}
