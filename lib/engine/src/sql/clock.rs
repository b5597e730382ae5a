//! `now()`, `current_timestamp`, `current_date`, `today()` and `current_time`: the time of the run, wherever they stand.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::{
        ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
};
use jiff::Timestamp;

/// Nanoseconds of a day.
const DAY: i64 = 86_400_000_000_000;

/// The functions, for one run.
pub fn clock(now: Timestamp) -> Vec<ScalarUDF> {
    let nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
    let days = i32::try_from(nanos.div_euclid(DAY)).expect("64 bits of nanoseconds are few days");
    // As the zone of the tables' columns is written, and to the microsecond, as they are.
    let utc: Arc<str> = Arc::from("UTC");
    let fixed = |name, aliases: &[&str], value| {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        ScalarUDF::new_from_impl(Fixed { name, aliases, value, signature: Signature::nullary(Volatility::Immutable) })
    };
    vec![
        fixed(
            "now",
            &["current_timestamp"],
            ScalarValue::TimestampMicrosecond(Some(nanos.div_euclid(1_000)), Some(utc)),
        ),
        fixed("current_date", &["today"], ScalarValue::Date32(Some(days))),
        fixed("current_time", &[], ScalarValue::Time64Microsecond(Some(nanos.rem_euclid(DAY) / 1_000))),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fixed {
    name: &'static str,
    aliases: Vec<String>,
    value: ScalarValue,
    signature: Signature,
}

impl ScalarUDFImpl for Fixed {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.value.data_type())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(self.value.clone()))
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(Expr::Literal(self.value.clone(), None)))
    }
}
