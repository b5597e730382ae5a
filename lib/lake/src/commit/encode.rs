//! A manifest as an Avro file of format version 2 (<https://iceberg.apache.org/spec/#manifests>).
//!
//! The iceberg crate's writer is not used: it takes partition fields by their names, which Avro does not allow all of, writes
//! a `uuid` that nobody can read, and keeps the names of each entry in memory for ever.

mod listed;

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use iceberg::{
    Error, ErrorKind, Result,
    spec::{
        DataFile, Literal, ManifestContentType, ManifestFile, NestedFieldRef, PartitionSpec, PrimitiveLiteral,
        PrimitiveType, Schema, Struct, StructType,
    },
};
use serde_json::{Value, json};

use self::listed::Listed;
use super::manifests::DraftEntry;
use crate::{avro_name::avro_name, manifest::Entry, skim::id};

/// A block of entries is closed when it has so many bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// What a manifest is written by.
pub(super) struct Form<'a> {
    pub schema: &'a Schema,
    pub spec: &'a PartitionSpec,
    /// The values of a partition.
    pub partition: &'a StructType,
    pub content: ManifestContentType,
    /// The snapshot that adds the manifest and its new files.
    pub snapshot_id: Option<i64>,
}

/// Encodes a manifest. What a manifest list says of it is still without its location.
pub(super) fn encode(form: &Form<'_>, entries: &[DraftEntry]) -> Result<(ManifestFile, Bytes)> {
    let header = header(form)?;
    let sync = sync_mark(&header);
    let mut file = Output(header);
    file.0.extend(sync);
    let mut listed = Listed::new(form);
    let (mut block, mut count) = (Output::default(), 0);
    for (index, entry) in entries.iter().enumerate() {
        listed.add(entry)?;
        block.entry(form, entry)?;
        count += 1;
        if block.0.len() >= BLOCK_BYTES || index + 1 == entries.len() {
            file.long(count);
            file.bytes(&block.0);
            file.0.extend(sync);
            (block, count) = (Output::default(), 0);
        }
    }
    Ok((listed.manifest(form, file.0.len())?, file.0.into()))
}

/// Magic, pairs of key and value, and no mark yet.
fn header(form: &Form<'_>) -> Result<Vec<u8>> {
    let json_of = |what: serde_json::Result<Vec<u8>>| {
        what.map_err(|source| {
            Error::new(ErrorKind::DataInvalid, "failed to write a schema as JSON").with_source(source)
        })
    };
    let pairs = [
        ("avro.schema", json_of(serde_json::to_vec(&avro_schema(form.partition)))?),
        ("avro.codec", b"null".to_vec()),
        ("schema", json_of(serde_json::to_vec(form.schema))?),
        ("schema-id", form.schema.schema_id().to_string().into_bytes()),
        ("partition-spec", json_of(serde_json::to_vec(form.spec.fields()))?),
        ("partition-spec-id", form.spec.spec_id().to_string().into_bytes()),
        ("format-version", b"2".to_vec()),
        ("content", form.content.to_string().into_bytes()),
    ];
    let mut output = Output(b"Obj\x01".to_vec());
    output.items(&pairs, |output, (key, value)| {
        output.bytes(key.as_bytes());
        output.bytes(value);
        Ok(())
    })?;
    Ok(output.0)
}

/// What stands between blocks: any sixteen bytes.
fn sync_mark(header: &[u8]) -> [u8; 16] {
    let half = |seed: u64| {
        let mut hasher = DefaultHasher::new();
        (seed, header).hash(&mut hasher);
        hasher.finish().to_be_bytes()
    };
    let mut mark = [0; 16];
    mark[..8].copy_from_slice(&half(0));
    mark[8..].copy_from_slice(&half(1));
    mark
}

/// The schema of an entry, with the names of the specification.
fn avro_schema(partition: &StructType) -> Value {
    let data_file = [
        field("content", id::CONTENT, json!("int")),
        field("file_path", id::FILE_PATH, json!("string")),
        field("file_format", id::FILE_FORMAT, json!("string")),
        field("partition", id::PARTITION, record("r102", partition_fields(partition))),
        field("record_count", id::RECORD_COUNT, json!("long")),
        field("file_size_in_bytes", id::FILE_SIZE_IN_BYTES, json!("long")),
        optional("column_sizes", id::COLUMN_SIZES, by_column(117, 118, "long")),
        optional("value_counts", id::VALUE_COUNTS, by_column(119, 120, "long")),
        optional("null_value_counts", id::NULL_VALUE_COUNTS, by_column(121, 122, "long")),
        optional("nan_value_counts", id::NAN_VALUE_COUNTS, by_column(138, 139, "long")),
        optional("lower_bounds", id::LOWER_BOUNDS, by_column(126, 127, "bytes")),
        optional("upper_bounds", id::UPPER_BOUNDS, by_column(129, 130, "bytes")),
        optional("key_metadata", id::KEY_METADATA, json!("bytes")),
        optional("split_offsets", id::SPLIT_OFFSETS, json!({"type": "array", "items": "long", "element-id": 133})),
        optional("equality_ids", id::EQUALITY_IDS, json!({"type": "array", "items": "int", "element-id": 136})),
        optional("sort_order_id", id::SORT_ORDER_ID, json!("int")),
        optional("first_row_id", id::FIRST_ROW_ID, json!("long")),
        optional("referenced_data_file", id::REFERENCED_DATA_FILE, json!("string")),
        optional("content_offset", id::CONTENT_OFFSET, json!("long")),
        optional("content_size_in_bytes", id::CONTENT_SIZE_IN_BYTES, json!("long")),
    ];
    let entry = [
        field("status", id::STATUS, json!("int")),
        optional("snapshot_id", id::SNAPSHOT_ID, json!("long")),
        optional("sequence_number", id::SEQUENCE_NUMBER, json!("long")),
        optional("file_sequence_number", id::FILE_SEQUENCE_NUMBER, json!("long")),
        field("data_file", id::DATA_FILE, record("r2", data_file.to_vec())),
    ];
    record("manifest_entry", entry.to_vec())
}

fn record(name: &str, fields: Vec<Value>) -> Value {
    json!({"type": "record", "name": name, "fields": fields})
}

fn field(name: &str, id: i64, of: Value) -> Value {
    json!({"name": name, "type": of, "field-id": id})
}

fn optional(name: &str, id: i64, of: Value) -> Value {
    json!({"name": name, "type": ["null", of], "default": null, "field-id": id})
}

fn by_column(key_id: i64, value_id: i64, value: &str) -> Value {
    let fields = vec![field("key", key_id, json!("int")), field("value", value_id, json!(value))];
    let items = record(&format!("k{key_id}_v{value_id}"), fields);
    json!({"type": "array", "items": items, "logicalType": "map"})
}

/// The fields of a partition. Two names that are spelled alike, or a type whose name is taken, end in the field's id.
fn partition_fields(partition: &StructType) -> Vec<Value> {
    let (mut names, mut types) = (HashSet::new(), HashSet::new());
    let fields = partition.fields().iter().filter_map(|of| {
        let spelled = unlike(&mut names, avro_name(&of.name), of.id);
        let mut made = optional(&spelled, i64::from(of.id), avro_type(of, &mut types)?);
        if spelled != of.name {
            made["iceberg-field-name"] = json!(of.name);
        }
        Some(made)
    });
    fields.collect()
}

fn unlike(taken: &mut HashSet<String>, name: String, id: i32) -> String {
    let name = if taken.contains(&name) { format!("{name}_r{id}") } else { name };
    taken.insert(name.clone());
    name
}

fn avro_type(field: &NestedFieldRef, named: &mut HashSet<String>) -> Option<Value> {
    let mut fixed =
        |name: String, size: u64| json!({"type": "fixed", "name": unlike(named, name, field.id), "size": size});
    let of = |kind: &str, logical: &str| json!({"type": kind, "logicalType": logical});
    Some(match field.field_type.as_primitive_type()? {
        PrimitiveType::Boolean => json!("boolean"),
        PrimitiveType::Int => json!("int"),
        PrimitiveType::Long => json!("long"),
        PrimitiveType::Float => json!("float"),
        PrimitiveType::Double => json!("double"),
        PrimitiveType::Date => of("int", "date"),
        PrimitiveType::Time => of("long", "time-micros"),
        PrimitiveType::Timestamp => utc(of("long", "timestamp-micros"), false),
        PrimitiveType::Timestamptz => utc(of("long", "timestamp-micros"), true),
        PrimitiveType::TimestampNs => utc(of("long", "timestamp-nanos"), false),
        PrimitiveType::TimestamptzNs => utc(of("long", "timestamp-nanos"), true),
        PrimitiveType::String => json!("string"),
        PrimitiveType::Binary => json!("bytes"),
        PrimitiveType::Fixed(size) => fixed(format!("fixed_{size}"), *size),
        PrimitiveType::Uuid => logical(fixed("uuid_fixed".to_owned(), 16), "uuid"),
        PrimitiveType::Decimal { precision, scale } => {
            let size = decimal_bytes(*precision) as u64;
            let mut made = logical(fixed(format!("decimal_{precision}_{scale}"), size), "decimal");
            made["precision"] = json!(precision);
            made["scale"] = json!(scale);
            made
        }
    })
}

fn utc(mut of: Value, adjusted: bool) -> Value {
    of["adjust-to-utc"] = json!(adjusted);
    of
}

fn logical(mut of: Value, name: &str) -> Value {
    of["logicalType"] = json!(name);
    of
}

/// The fewest bytes that hold every number of so many digits.
fn decimal_bytes(precision: u32) -> usize {
    let largest = 10_i128.checked_pow(precision).map_or(i128::MAX, |next| next - 1);
    (1..16).find(|bytes| largest < 1 << (8 * bytes - 1)).unwrap_or(16)
}

/// Bytes in Avro's encoding.
#[derive(Default)]
struct Output(Vec<u8>);

impl Output {
    fn long(&mut self, value: i64) {
        let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push(u8::try_from(rest & 0x7f).expect("seven bits") | 0x80);
            rest >>= 7;
        }
        self.0.push(u8::try_from(rest).expect("seven bits"));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len().try_into().expect("nothing in memory is so long"));
        self.0.extend(bytes);
    }

    /// A union of null and something else.
    fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        self.long(i64::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    /// An array, or a map.
    fn items<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T) -> Result<()>) -> Result<()> {
        if !items.is_empty() {
            self.long(items.len().try_into().expect("nothing in memory is so long"));
            items.iter().try_for_each(|item| write(self, item))?;
        }
        self.long(0);
        Ok(())
    }

    fn entry(&mut self, form: &Form<'_>, entry: &DraftEntry) -> Result<()> {
        let (status, snapshot_id, sequence_number, file_sequence_number, file) = match entry {
            DraftEntry::Existing(Entry { snapshot_id, sequence_number, file_sequence_number, data_file, .. }) => {
                (0, Some(*snapshot_id), Some(*sequence_number), Some(*file_sequence_number), data_file.as_ref())
            }
            DraftEntry::Added(file, sequence_number) => (1, form.snapshot_id, *sequence_number, None, file.as_ref()),
            DraftEntry::Removed(Entry { sequence_number, file_sequence_number, data_file, .. }) => {
                (2, form.snapshot_id, Some(*sequence_number), Some(*file_sequence_number), data_file.as_ref())
            }
        };
        self.long(status);
        for number in [snapshot_id, sequence_number, file_sequence_number] {
            self.optional(number, Self::long);
        }
        self.data_file(form, file)
    }

    fn data_file(&mut self, form: &Form<'_>, file: &DataFile) -> Result<()> {
        self.long(file.content_type() as i64);
        self.bytes(file.file_path().as_bytes());
        self.bytes(file.file_format().to_string().to_ascii_uppercase().as_bytes());
        self.partition(form, file)?;
        self.long(number(file.record_count())?);
        self.long(number(file.file_size_in_bytes())?);
        for counts in [file.column_sizes(), file.value_counts(), file.null_value_counts(), file.nan_value_counts()] {
            self.long(1);
            self.items(&in_order(counts), |output, (id, count)| {
                output.long(i64::from(*id));
                output.long(number(**count)?);
                Ok(())
            })?;
        }
        for bounds in [file.lower_bounds(), file.upper_bounds()] {
            self.long(1);
            self.items(&in_order(bounds), |output, (id, bound)| {
                output.long(i64::from(*id));
                output.bytes(&bound.to_bytes()?);
                Ok(())
            })?;
        }
        self.optional(file.key_metadata(), Self::bytes);
        self.longs(file.split_offsets())?;
        let ids: Option<Vec<i64>> = file.equality_ids().map(|ids| ids.into_iter().map(i64::from).collect());
        self.longs(ids.as_deref())?;
        self.optional(file.sort_order_id().map(i64::from), Self::long);
        self.optional(file.first_row_id(), Self::long);
        self.optional(file.referenced_data_file(), |output, path| output.bytes(path.as_bytes()));
        self.optional(file.content_offset(), Self::long);
        self.optional(file.content_size_in_bytes(), Self::long);
        Ok(())
    }

    fn longs(&mut self, numbers: Option<&[i64]>) -> Result<()> {
        self.long(i64::from(numbers.is_some()));
        let Some(numbers) = numbers else { return Ok(()) };
        self.items(numbers, |output, number| {
            output.long(*number);
            Ok(())
        })
    }

    fn partition(&mut self, form: &Form<'_>, file: &DataFile) -> Result<()> {
        for (value, field) in values(form, file.partition(), file)? {
            match value {
                None => self.long(0),
                Some(value) => {
                    self.long(1);
                    self.literal(value, primitive(field)?).ok_or_else(|| unfit(file, field))?;
                }
            }
        }
        Ok(())
    }

    /// A value; `None` for one that is not of its type.
    fn literal(&mut self, value: &PrimitiveLiteral, of: &PrimitiveType) -> Option<()> {
        match (value, of) {
            (PrimitiveLiteral::Boolean(value), PrimitiveType::Boolean) => self.0.push(u8::from(*value)),
            (PrimitiveLiteral::Int(value), PrimitiveType::Int | PrimitiveType::Date | PrimitiveType::Long) => {
                self.long(i64::from(*value));
            }
            (
                PrimitiveLiteral::Long(value),
                PrimitiveType::Long
                | PrimitiveType::Time
                | PrimitiveType::Timestamp
                | PrimitiveType::Timestamptz
                | PrimitiveType::TimestampNs
                | PrimitiveType::TimestamptzNs,
            ) => self.long(*value),
            (PrimitiveLiteral::Float(value), PrimitiveType::Float) => self.0.extend(value.to_le_bytes()),
            (PrimitiveLiteral::Float(value), PrimitiveType::Double) => self.0.extend(f64::from(value.0).to_le_bytes()),
            (PrimitiveLiteral::Double(value), PrimitiveType::Double) => self.0.extend(value.to_le_bytes()),
            (PrimitiveLiteral::String(value), PrimitiveType::String) => self.bytes(value.as_bytes()),
            (PrimitiveLiteral::Binary(value), PrimitiveType::Binary) => self.bytes(value),
            (PrimitiveLiteral::Binary(value), PrimitiveType::Fixed(size)) if value.len() as u64 == *size => {
                self.0.extend(value);
            }
            (PrimitiveLiteral::UInt128(value), PrimitiveType::Uuid) => self.0.extend(value.to_be_bytes()),
            (PrimitiveLiteral::Int128(value), PrimitiveType::Decimal { precision, .. }) => {
                let bytes = decimal_bytes(*precision);
                let value_bytes = value.to_be_bytes();
                let (dropped, kept) = value_bytes.split_at(16 - bytes);
                let sign = if *value < 0 { 0xff } else { 0 };
                (dropped.iter().all(|byte| *byte == sign) && (kept[0] & 0x80 != 0) == (*value < 0)).then_some(())?;
                self.0.extend(kept);
            }
            _ => return None,
        }
        Some(())
    }
}

/// The values of a file's partition with their fields.
fn values<'a>(
    form: &Form<'a>,
    partition: &'a Struct,
    file: &DataFile,
) -> Result<Vec<(Option<&'a PrimitiveLiteral>, &'a NestedFieldRef)>> {
    let fields = form.partition.fields();
    if partition.fields().len() != fields.len() {
        let (has, wants) = (partition.fields().len(), fields.len());
        let message = format!("{} has {has} partition values, and its spec {wants} fields", file.file_path());
        return Err(Error::new(ErrorKind::DataInvalid, message));
    }
    let value = |(value, field): (&'a Option<Literal>, &'a NestedFieldRef)| match value {
        None => Ok((None, field)),
        Some(Literal::Primitive(value)) => Ok((Some(value), field)),
        Some(_) => Err(unfit(file, field)),
    };
    partition.fields().iter().zip(fields).map(value).collect()
}

fn primitive(field: &NestedFieldRef) -> Result<&PrimitiveType> {
    field.field_type.as_primitive_type().ok_or_else(|| {
        Error::new(ErrorKind::DataInvalid, format!("the partition field {} is of no primitive type", field.name))
    })
}

fn unfit(file: &DataFile, field: &NestedFieldRef) -> Error {
    let (path, name, of) = (file.file_path(), &field.name, &field.field_type);
    Error::new(ErrorKind::DataInvalid, format!("{path} has a value in partition field {name} that is no {of}"))
}

fn number(count: u64) -> Result<i64> {
    Ok(i64::try_from(count)?)
}

fn in_order<T>(by_column: &HashMap<i32, T>) -> Vec<(i32, &T)> {
    let mut pairs: Vec<_> = by_column.iter().map(|(id, value)| (*id, value)).collect();
    pairs.sort_by_key(|(id, _)| *id);
    pairs
}

#[cfg(test)]
mod tests;
