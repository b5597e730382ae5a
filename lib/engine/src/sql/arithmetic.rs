//! Whole-number arithmetic that fails where DataFusion's wraps: `+`, `-`, `*` and the sign, named as the statement says them.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef},
    compute::kernels::numeric::{add, mul, sub},
    datatypes::DataType,
    error::ArrowError,
};
use datafusion::{
    common::{DFSchema, Result, ScalarValue, config::ConfigOptions, tree_node::Transformed},
    error::DataFusionError,
    logical_expr::{
        BinaryExpr, ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
        Signature, Volatility, binary::BinaryTypeCoercer, expr::ScalarFunction, expr_rewriter::FunctionRewrite,
    },
    physical_expr_common::datum::apply,
};

/// Puts checked arithmetic in the place of DataFusion's.
#[derive(Debug)]
pub struct CheckArithmetic;

impl FunctionRewrite for CheckArithmetic {
    fn name(&self) -> &'static str {
        "check_arithmetic"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> Result<Transformed<Expr>> {
        let text = || expr.human_display().to_string();
        let is_whole = |of: &Expr| of.get_type(schema).is_ok_and(|of| of.is_integer());
        let checked = match &expr {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: op @ (Operator::Plus | Operator::Minus | Operator::Multiply),
                right,
            }) if is_whole(&expr) && !left.get_type(schema)?.is_temporal() => {
                (Checked::new(*op, false, text()), vec![left.as_ref().clone(), right.as_ref().clone()])
            }
            Expr::Negative(of) if is_whole(of) => {
                let zero = ScalarValue::new_zero(&of.get_type(schema)?)?;
                (Checked::new(Operator::Minus, true, text()), vec![Expr::Literal(zero, None), of.as_ref().clone()])
            }
            _ => return Ok(Transformed::no(expr)),
        };
        let (function, args) = checked;
        let function = Arc::new(ScalarUDF::new_from_impl(function));
        Ok(Transformed::yes(Expr::ScalarFunction(ScalarFunction::new_udf(function, args))))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    op: Operator,
    /// A sign: nothing minus a number.
    is_sign: bool,
    /// The expression as the statement says it.
    text: String,
    signature: Signature,
}

impl Checked {
    fn new(op: Operator, is_sign: bool, text: String) -> Self {
        Self { op, is_sign, text, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn operands(args: &[DataType]) -> Result<(&DataType, &DataType)> {
        match args {
            [left, right] => Ok((left, right)),
            _ => Err(DataFusionError::Internal("an operator has two operands".to_owned())),
        }
    }

    /// What is shown of two operands.
    fn shown<T: std::fmt::Display>(&self, left: T, right: T) -> String {
        if self.is_sign { format!("(- {right})") } else { format!("{left} {} {right}", self.op) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.op {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            _ => "checked_multiply",
        }
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.shown(args[0].schema_name(), args[1].schema_name()))
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(self.shown(args[0].to_string(), args[1].to_string()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let (left, right) = Self::operands(args)?;
        let (left, right) = BinaryTypeCoercer::new(left, &self.op, right).get_input_types()?;
        Ok(vec![left, right])
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let (left, right) = Self::operands(args)?;
        BinaryTypeCoercer::new(left, &self.op, right).get_result_type()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return Err(DataFusionError::Internal("an operator has two operands".to_owned()));
        };
        let kernel = match self.op {
            Operator::Plus => add,
            Operator::Minus => sub,
            _ => mul,
        };
        apply(left, right, kernel).map_err(|error| {
            let is_overflow = matches!(&error, DataFusionError::ArrowError(source, _)
                if matches!(source.as_ref(), ArrowError::ArithmeticOverflow(_)));
            let operands = || -> Result<Option<String>> {
                let (left, right) = (left.to_array(args.number_rows)?, right.to_array(args.number_rows)?);
                self.overflown(&left, &right, kernel)
            };
            match operands() {
                Ok(Some(operands)) if is_overflow => out_of_range(&self.text, args.return_field.data_type(), &operands),
                _ => error,
            }
        })
    }
}

type Kernel = fn(&dyn arrow::array::Datum, &dyn arrow::array::Datum) -> std::result::Result<ArrayRef, ArrowError>;

impl Checked {
    /// The first pair that overflows.
    fn overflown(&self, left: &ArrayRef, right: &ArrayRef, kernel: Kernel) -> Result<Option<String>> {
        for row in 0..left.len().min(right.len()) {
            let (left, right) = (ScalarValue::try_from_array(left, row)?, ScalarValue::try_from_array(right, row)?);
            if kernel(&left.to_scalar()?, &right.to_scalar()?).is_err() {
                return Ok(Some(if self.is_sign {
                    format!("-({right})")
                } else {
                    format!("{left} {} {right}", self.op)
                }));
            }
        }
        Ok(None)
    }
}

/// A result that its type cannot hold. `value` is what would have to be held.
pub fn out_of_range(expression: &str, data_type: &DataType, value: &str) -> DataFusionError {
    let kind = match data_type {
        DataType::Int32 => "an int".to_owned(),
        DataType::Int64 => "a long".to_owned(),
        other => other.to_string(),
    };
    DataFusionError::Execution(format!("{expression} is out of the range of {kind}: {value}"))
}
