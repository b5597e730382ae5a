//! When the rows of a data file happened, by the bounds that its manifest has.

use jiff::Timestamp;
use lake::spec::{DataFile, Datum, PrimitiveLiteral, PrimitiveType};

/// Smallest and largest event time of a file; `None` when its bounds do not tell.
pub fn bounds(file: &DataFile, field_id: Option<i32>) -> Option<(Timestamp, Timestamp)> {
    let field_id = field_id?;
    instant(file.lower_bounds().get(&field_id)?).zip(instant(file.upper_bounds().get(&field_id)?))
}

fn instant(bound: &Datum) -> Option<Timestamp> {
    match (bound.data_type(), bound.literal()) {
        (PrimitiveType::Timestamp | PrimitiveType::Timestamptz, PrimitiveLiteral::Long(micros)) => {
            Timestamp::from_microsecond(*micros).ok()
        }
        (PrimitiveType::Date, PrimitiveLiteral::Int(days)) => Timestamp::from_second(i64::from(*days) * 86_400).ok(),
        _ => None,
    }
}
