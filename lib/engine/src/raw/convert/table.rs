//! What a raw value may become: for each raw type and each type of a contract, which values fit. docs/conversions.md is
//! this table for people; a test writes the one from the other, and holds both against what is done.

use arrow::datatypes::{DataType, TimeUnit};

/// Which values of a raw type fit a declared one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Every value that the raw type can have. What a footer says of the type is then proof enough.
    Every,
    /// Those of which this is true.
    Those(&'static str),
    /// None: any value breaks `COLUMN.type`.
    None,
}

/// Which values of a raw column fit a declared type. Both are leaves: nested columns go by their fields.
pub fn fit(raw: &DataType, declared: &DataType) -> Fit {
    use DataType as T;
    use Fit::{Every, Those};
    match (raw, declared) {
        (T::Dictionary(_, values), _) => fit(values, declared),
        (T::Null, _) => Every,
        (raw, declared) if is_text(raw) => from_text(declared),
        (raw, declared) if is_bytes(raw) => match declared {
            T::BinaryView => Every,
            T::Utf8View => Those("UTF-8"),
            T::FixedSizeBinary(_) => Those("of that length"),
            _ => Fit::None,
        },
        (T::FixedSizeBinary(_), T::BinaryView) => Every,
        (T::FixedSizeBinary(a), T::FixedSizeBinary(b)) if a == b => Every,
        (T::Boolean, T::Boolean) => Every,
        (raw, declared) if raw.is_integer() => from_integer(raw, declared),
        (raw, declared) if raw.is_floating() => match declared {
            T::Float64 => Every,
            T::Float32 if raw != &T::Float64 => Every,
            T::Float32 => Those("the same number, NaN or infinite"),
            T::Int32 | T::Int64 => Those("whole, in range"),
            T::Decimal128(..) => Those("its exact value has the digits, or else the shortest that give it back"),
            T::Timestamp(..) => Those("years 1 to 9999, in `etl.epochUnit`"),
            _ => Fit::None,
        },
        (raw, declared) if raw.is_decimal() => match declared {
            T::Int32 | T::Int64 => Those("whole, in range"),
            T::Float32 | T::Float64 => Those("the float is written with the same digits"),
            // A file may hold more digits than it says.
            T::Decimal128(..) => Those("the same number, within the precision"),
            _ => Fit::None,
        },
        (T::Date32 | T::Date64, T::Date32) => Those("years 1 to 9999"),
        (T::Date32 | T::Date64, T::Timestamp(..)) => Those("years 1 to 9999; midnight in UTC"),
        (T::Time32(_) | T::Time64(_), T::Time64(TimeUnit::Microsecond)) => Those("from midnight to midnight"),
        (T::Timestamp(..), T::Timestamp(..)) => Those("years 1 to 9999"),
        (T::Timestamp(..), T::Date32) => Those("midnight in UTC, years 1 to 9999"),
        _ => Fit::None,
    }
}

fn from_text(declared: &DataType) -> Fit {
    use DataType as T;
    use Fit::Those;
    match declared {
        T::Utf8View | T::BinaryView => Fit::Every,
        T::Boolean => Those("true, t, yes, y, on, 1 or false, f, no, n, off, 0"),
        T::Int32 | T::Int64 => Those("a whole number in range: `7`, `+7`, `7.0`, `7e0`"),
        T::Float32 | T::Float64 => Those("the float is written with the same digits; `NaN`, `Infinity`"),
        T::Decimal128(..) => Those("a number with no more digits"),
        T::Date32 => Those("`2025-06-04`, `20250604`; with a time, midnight in UTC"),
        T::Time64(_) => Those("`23:59:59.5`, `11:59 PM`; no leap second"),
        T::Timestamp(..) => Those("`2025-06-04T23:59:59.5+02:00`, years 1 to 9999; UTC unless said; no leap second"),
        T::FixedSizeBinary(16) => Those("a UUID"),
        T::FixedSizeBinary(_) => Those("of that length in UTF-8"),
        _ => Fit::None,
    }
}

fn from_integer(raw: &DataType, declared: &DataType) -> Fit {
    use DataType as T;
    use Fit::{Every, Those};
    match (raw, declared) {
        (T::Int8 | T::Int16 | T::UInt8 | T::UInt16 | T::Int32, T::Int32)
        | (T::Int8 | T::Int16 | T::UInt8 | T::UInt16 | T::Int32 | T::UInt32 | T::Int64, T::Int64)
        | (T::Int8 | T::Int16 | T::UInt8 | T::UInt16, T::Float32)
        | (T::Int8 | T::Int16 | T::UInt8 | T::UInt16 | T::Int32 | T::UInt32, T::Float64) => Every,
        (_, T::Int32 | T::Int64) => Those("in range"),
        (_, T::Float32 | T::Float64) => Those("the same number"),
        (_, T::Decimal128(..)) => Those("within the precision"),
        (_, T::Timestamp(..)) => Those("years 1 to 9999, in `etl.epochUnit`"),
        _ => Fit::None,
    }
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

pub(super) fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}
