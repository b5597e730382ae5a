//! How a run names the files that it stages, and how it takes them back when it fails.

use contract::TableName;
use iceberg::spec::{
    Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct, TableMetadata, Transform, Type,
};
use jiff::{SignedDuration, Timestamp, civil::Date};

use crate::{Storage, data_layout::DataLayout, murmur3::murmur3_32};

/// Names for the files of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staging {
    layout: DataLayout,
    run_id: String,
}

impl Staging {
    /// Names where the table wants its data files.
    pub fn new(metadata: &TableMetadata, run_id: &str) -> Self {
        Self { layout: DataLayout::of(metadata.location(), metadata.properties()), run_id: run_id.to_owned() }
    }

    /// Location of the run's `n`th data file, in a partition by its [`partition_path`].
    pub fn data_path(&self, partition_path: &str, n: usize) -> String {
        self.layout.place(partition_path, &format!("{n:05}-{}.parquet", self.run_id))
    }

    /// Location of the run's `n`th position delete file.
    pub fn delete_path(&self, partition_path: &str, n: usize) -> String {
        self.layout.place(partition_path, &format!("{n:05}-{}-deletes.parquet", self.run_id))
    }
}

/// Deletes the files that a failed run staged: these and no others. A failure is told and changes nothing, since
/// `etl orphans` finds what stays.
pub async fn discard_staged(storage: &Storage, table: &TableName, files: Vec<String>) {
    let count = files.len();
    if let Err(error) = storage.delete_all(files).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(table.name = %table, files.count = count, error, "staged files of a failed run were not deleted");
    }
}

/// The folder of a partition, as Java names it: `event_time_day=2025-06-04/device_id_bucket=3`, empty without partition
/// fields. Names and values are encoded as `java.net.URLEncoder` does. What is too long for the name of a folder, or for
/// the key of an object, is cut, with a hash of it at the end: a path says nothing, metadata alone does.
pub fn partition_path(spec: &PartitionSpec, schema: &Schema, partition: &Struct) -> iceberg::Result<String> {
    let types = spec.partition_type(schema)?;
    let folders = spec.fields().iter().zip(types.fields()).zip(partition.iter()).map(|((field, typed), value)| {
        let text = value.map_or_else(|| "null".to_owned(), |value| human(field.transform, &typed.field_type, value));
        format!("{}={}", url_encoded(&field.name), url_encoded(&text))
    });
    let folders: Vec<String> = folders.collect();
    let bytes_max = (PATH_BYTES_MAX / folders.len().max(1)).min(FOLDER_BYTES_MAX);
    Ok(folders.into_iter().map(|folder| cut(folder, bytes_max)).collect::<Vec<_>>().join("/"))
}

/// Bytes of one folder's name: file systems allow 255.
const FOLDER_BYTES_MAX: usize = 200;

/// Bytes of a partition's folders: a key on S3 has 1,024 at most, with the table's location and the file's name.
const PATH_BYTES_MAX: usize = 600;

fn cut(mut folder: String, bytes_max: usize) -> String {
    if folder.len() <= bytes_max {
        return folder;
    }
    let hash = format!("~{:08x}", murmur3_32(folder.as_bytes()));
    // All of it is ASCII. An encoded byte is left whole.
    let mut end = bytes_max.saturating_sub(hash.len());
    if let Some(encoded) = folder[..end].rfind('%').filter(|at| at + 3 > end) {
        end = encoded;
    }
    folder.truncate(end);
    folder + &hash
}

/// A partition value as Java's `Transform.toHumanString` writes it.
fn human(transform: Transform, value_type: &Type, value: &Literal) -> String {
    let Literal::Primitive(primitive) = value else { return "null".to_owned() };
    let days = |days: i32| days_to_date(days).map_or_else(|| days.to_string(), |date| date.to_string());
    match (transform, value_type, primitive) {
        (Transform::Void, ..) => "null".to_owned(),
        (Transform::Year, _, PrimitiveLiteral::Int(years)) => format!("{:04}", 1970 + years),
        (Transform::Month, _, PrimitiveLiteral::Int(months)) => {
            format!("{:04}-{:02}", 1970 + months.div_euclid(12), months.rem_euclid(12) + 1)
        }
        (Transform::Day, _, PrimitiveLiteral::Int(value)) => days(*value),
        (Transform::Hour, _, PrimitiveLiteral::Int(hours)) => {
            format!("{}-{:02}", days(hours.div_euclid(24)), hours.rem_euclid(24))
        }
        (_, Type::Primitive(PrimitiveType::Date), PrimitiveLiteral::Int(value)) => days(*value),
        (_, Type::Primitive(PrimitiveType::Time), PrimitiveLiteral::Long(micros)) => time(*micros),
        (_, Type::Primitive(PrimitiveType::Timestamp), PrimitiveLiteral::Long(micros)) => timestamp(*micros),
        (_, Type::Primitive(PrimitiveType::Timestamptz), PrimitiveLiteral::Long(micros)) => {
            format!("{}+00:00", timestamp(*micros))
        }
        (_, Type::Primitive(PrimitiveType::Decimal { scale, .. }), PrimitiveLiteral::Int128(value)) => {
            decimal(*value, *scale)
        }
        (_, Type::Primitive(PrimitiveType::Uuid), PrimitiveLiteral::UInt128(value)) => {
            uuid::Uuid::from_u128(*value).to_string()
        }
        (_, _, PrimitiveLiteral::Boolean(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::Int(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::Long(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::Float(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::Double(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::String(value)) => value.clone(),
        (_, _, PrimitiveLiteral::Binary(bytes)) => base64(bytes),
        (_, _, PrimitiveLiteral::Int128(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::UInt128(value)) => value.to_string(),
        (_, _, PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin) => "null".to_owned(),
    }
}

fn days_to_date(days: i32) -> Option<Date> {
    jiff::civil::date(1970, 1, 1).checked_add(SignedDuration::from_hours(i64::from(days) * 24)).ok()
}

/// `2025-06-04T10:30:00`, with a fraction of microseconds when there is one.
fn timestamp(micros: i64) -> String {
    let text = Timestamp::from_microsecond(micros).map_or_else(|_| micros.to_string(), |at| at.to_string());
    text.trim_end_matches('Z').to_owned()
}

fn time(micros: i64) -> String {
    timestamp(micros).split_once('T').map_or_else(|| micros.to_string(), |(_, time)| time.to_owned())
}

fn decimal(unscaled: i128, scale: u32) -> String {
    let Some(digits) = usize::try_from(scale).ok().filter(|scale| *scale > 0) else { return unscaled.to_string() };
    let text = format!("{:0>width$}", unscaled.unsigned_abs(), width = digits + 1);
    let (whole, fraction) = text.split_at(text.len() - digits);
    format!("{}{whole}.{fraction}", if unscaled < 0 { "-" } else { "" })
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).expect("six bits");
            text.push(if digit <= chunk.len() { char::from(DIGITS[index]) } else { '=' });
        }
    }
    text
}

/// `application/x-www-form-urlencoded`, as `java.net.URLEncoder` has it: a space is `+`, and of the others only letters,
/// digits and `.-*_` stay.
fn url_encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'*' | b'_' => encoded.push(char::from(byte)),
            b' ' => encoded.push('+'),
            _ => write!(encoded, "%{byte:02X}").expect("a String takes everything"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
