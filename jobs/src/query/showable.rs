//! Values that have no text: times outside of the day, dates and instants of years that no calendar here has. Other writers
//! leave such values in tables; a query that meets one fails and names the column.

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{DataType, Date32Type, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType},
    error::ArrowError,
    util::display::{ArrayFormatter, FormatOptions},
};

use crate::error::{JobError, Kind, Result};

/// Days and microseconds from year 1 to 9999, which all have text.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;
const MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;
const DAY_MICROS: std::ops::Range<i64> = 0..86_400_000_000;

/// Fails when a value of the batch has no text.
pub fn check(batch: &RecordBatch) -> Result<()> {
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if !is_temporal(column.data_type()) || is_plain(column) {
            continue;
        }
        let options = FormatOptions::default().with_display_error(false);
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options).map_err(|e| error(field.name(), &e))?;
        for row in 0..column.len() {
            formatter.value(row).try_to_string().map_err(|e| error(field.name(), &e))?;
        }
    }
    Ok(())
}

/// What is said of such a value.
pub fn error(column: &str, source: &ArrowError) -> JobError {
    JobError::new(Kind::Failed, format!("column {column} has a value that cannot be shown: {source}"))
        .with_help("the number behind it can be: CAST(column AS BIGINT)")
}

fn is_temporal(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| is_temporal(field.data_type())),
        DataType::List(field) | DataType::Map(field, _) => is_temporal(field.data_type()),
        other => other.is_temporal(),
    }
}

/// Whether all values, those behind NULL too, surely have text.
fn is_plain(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Date32 => column.as_primitive::<Date32Type>().values().iter().all(|days| DAYS.contains(days)),
        DataType::Time64(TimeUnit::Microsecond) => {
            column.as_primitive::<Time64MicrosecondType>().values().iter().all(|micros| DAY_MICROS.contains(micros))
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().values().iter().all(|micros| MICROS.contains(micros))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Date32Array, Time64MicrosecondArray, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn a_value_without_text_is_named() {
        let columns: [ArrayRef; 3] = [
            Arc::new(Time64MicrosecondArray::from(vec![Some(1), None, Some(86_400_000_000)])),
            Arc::new(Date32Array::from(vec![0, 1, i32::MAX])),
            Arc::new(TimestampMicrosecondArray::from(vec![0, 1, i64::MAX])),
        ];
        for column in columns {
            let batch = |column: ArrayRef| RecordBatch::try_from_iter([("at", column)]).unwrap();
            assert!(check(&batch(column.slice(0, 2))).is_ok(), "{}", column.data_type());
            let error = check(&batch(Arc::clone(&column))).unwrap_err().to_string();
            assert!(error.starts_with("column at has a value that cannot be shown: "), "{error}");
        }
    }
}
