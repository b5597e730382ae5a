//! Single values of table metadata (bounds, partition values) as Arrow scalars of a column's type today.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use lake::spec::PrimitiveLiteral;

const DAY_US: i64 = 86_400_000_000;

/// The value as the column's type has it now, also when it was written before the type was widened. `None` where the
/// value has no place in that type.
pub(crate) fn scalar(value: &PrimitiveLiteral, data_type: &DataType) -> Option<ScalarValue> {
    use PrimitiveLiteral as Value;
    Some(match (value, data_type) {
        (Value::Boolean(value), DataType::Boolean) => ScalarValue::Boolean(Some(*value)),
        (Value::Int(value), DataType::Int32) => ScalarValue::Int32(Some(*value)),
        (Value::Int(value), DataType::Int64) => ScalarValue::Int64(Some(i64::from(*value))),
        (Value::Int(value), DataType::Date32) => ScalarValue::Date32(Some(*value)),
        (Value::Int(days), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(i64::from(*days).checked_mul(DAY_US)?), zone.clone())
        }
        (Value::Long(value), DataType::Int64) => ScalarValue::Int64(Some(*value)),
        (Value::Long(value), DataType::Time64(TimeUnit::Microsecond)) => ScalarValue::Time64Microsecond(Some(*value)),
        (Value::Long(value), DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*value), zone.clone())
        }
        (Value::Float(value), DataType::Float32) => ScalarValue::Float32(Some(value.0)),
        (Value::Float(value), DataType::Float64) => ScalarValue::Float64(Some(f64::from(value.0))),
        (Value::Double(value), DataType::Float64) => ScalarValue::Float64(Some(value.0)),
        (Value::Int128(value), DataType::Decimal128(precision, scale)) => {
            ScalarValue::Decimal128(Some(*value), *precision, *scale)
        }
        (Value::String(value), DataType::Utf8View) => ScalarValue::Utf8View(Some(value.clone())),
        (Value::Binary(value), DataType::BinaryView) => ScalarValue::BinaryView(Some(value.clone())),
        (Value::Binary(value), DataType::FixedSizeBinary(bytes)) if usize::try_from(*bytes).ok()? == value.len() => {
            ScalarValue::FixedSizeBinary(*bytes, Some(value.clone()))
        }
        (Value::UInt128(value), DataType::FixedSizeBinary(16)) => {
            ScalarValue::FixedSizeBinary(16, Some(value.to_be_bytes().to_vec()))
        }
        _ => return None,
    })
}
