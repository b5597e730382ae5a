//! The entries of a manifest: every field is found by its id, never by the spelling of its name.

use std::collections::HashMap;

use iceberg::{
    metadata_columns::get_metadata_field,
    spec::{
        DataContentType, DataFile, DataFileBuilder, Datum, Literal, ManifestFile, ManifestStatus, NestedFieldRef,
        PrimitiveLiteral, PrimitiveType, Schema, Struct, StructType, Type as IcebergType,
    },
};
use uuid::Uuid;

use super::{
    avro::{Container, Cursor, Field, Type},
    bytes_of, number, status, text, unsigned,
};
use crate::{
    avro_name::avro_name,
    manifest::{Entry, Inherited, inherit},
};

/// Field ids of a manifest (<https://iceberg.apache.org/spec/#manifests>).
pub(crate) mod id {
    pub(crate) const STATUS: i64 = 0;
    pub(crate) const SNAPSHOT_ID: i64 = 1;
    pub(crate) const DATA_FILE: i64 = 2;
    pub(crate) const SEQUENCE_NUMBER: i64 = 3;
    pub(crate) const FILE_SEQUENCE_NUMBER: i64 = 4;
    pub(crate) const CONTENT: i64 = 134;
    pub(crate) const FILE_PATH: i64 = 100;
    pub(crate) const FILE_FORMAT: i64 = 101;
    pub(crate) const PARTITION: i64 = 102;
    pub(crate) const RECORD_COUNT: i64 = 103;
    pub(crate) const FILE_SIZE_IN_BYTES: i64 = 104;
    pub(crate) const COLUMN_SIZES: i64 = 108;
    pub(crate) const VALUE_COUNTS: i64 = 109;
    pub(crate) const NULL_VALUE_COUNTS: i64 = 110;
    pub(crate) const NAN_VALUE_COUNTS: i64 = 137;
    pub(crate) const LOWER_BOUNDS: i64 = 125;
    pub(crate) const UPPER_BOUNDS: i64 = 128;
    pub(crate) const KEY_METADATA: i64 = 131;
    pub(crate) const SPLIT_OFFSETS: i64 = 132;
    pub(crate) const EQUALITY_IDS: i64 = 135;
    pub(crate) const SORT_ORDER_ID: i64 = 140;
    pub(crate) const FIRST_ROW_ID: i64 = 142;
    pub(crate) const REFERENCED_DATA_FILE: i64 = 143;
    pub(crate) const CONTENT_OFFSET: i64 = 144;
    pub(crate) const CONTENT_SIZE_IN_BYTES: i64 = 145;
}

/// The names that the specification gives them, for files without field ids.
const NAMES: [(&str, i64); 25] = [
    ("status", id::STATUS),
    ("snapshot_id", id::SNAPSHOT_ID),
    ("data_file", id::DATA_FILE),
    ("sequence_number", id::SEQUENCE_NUMBER),
    ("file_sequence_number", id::FILE_SEQUENCE_NUMBER),
    ("content", id::CONTENT),
    ("file_path", id::FILE_PATH),
    ("file_format", id::FILE_FORMAT),
    ("partition", id::PARTITION),
    ("record_count", id::RECORD_COUNT),
    ("file_size_in_bytes", id::FILE_SIZE_IN_BYTES),
    ("column_sizes", id::COLUMN_SIZES),
    ("value_counts", id::VALUE_COUNTS),
    ("null_value_counts", id::NULL_VALUE_COUNTS),
    ("nan_value_counts", id::NAN_VALUE_COUNTS),
    ("lower_bounds", id::LOWER_BOUNDS),
    ("upper_bounds", id::UPPER_BOUNDS),
    ("key_metadata", id::KEY_METADATA),
    ("split_offsets", id::SPLIT_OFFSETS),
    ("equality_ids", id::EQUALITY_IDS),
    ("sort_order_id", id::SORT_ORDER_ID),
    ("first_row_id", id::FIRST_ROW_ID),
    ("referenced_data_file", id::REFERENCED_DATA_FILE),
    ("content_offset", id::CONTENT_OFFSET),
    ("content_size_in_bytes", id::CONTENT_SIZE_IN_BYTES),
];

/// The id of a manifest's field; -1 for one that nobody here knows.
pub(super) fn id_of(field: &Field) -> i64 {
    let by_name = || NAMES.iter().find(|(name, _)| *name == field.name).map(|(_, id)| *id);
    field.id.or_else(by_name).unwrap_or(-1)
}

/// How much of its entries is made into values.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Detail<'a> {
    /// Everything.
    Whole,
    /// The live data files, without column metrics but the bounds of these columns. A manifest of delete files has more to
    /// say: it is not read so.
    DataInShort(&'a [i32]),
}

/// What the files of a manifest are read by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape<'a> {
    /// The values of a partition.
    pub partition: &'a StructType,
    /// The columns.
    pub schema: &'a Schema,
    /// The partition spec.
    pub spec_id: i32,
    /// What is wanted.
    pub detail: Detail<'a>,
}

/// The entries of a manifest, in the order of the file.
pub(crate) fn entries(container: &Container<'_>, file: &ManifestFile, shape: Shape<'_>) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    container.each_record(|record| {
        let (mut status, mut inherited, mut data_file) = (None, Inherited::default(), None);
        for field in &container.fields {
            match (id_of(field), &field.kind) {
                (id::STATUS, kind) => status = number(record, kind)?,
                (id::SNAPSHOT_ID, kind) => inherited.snapshot_id = number(record, kind)?,
                (id::SEQUENCE_NUMBER, kind) => inherited.sequence_number = number(record, kind)?,
                (id::FILE_SEQUENCE_NUMBER, kind) => inherited.file_sequence_number = number(record, kind)?,
                (id::DATA_FILE, Type::Record(fields)) => data_file = Some(shape.data_file(record, fields)?),
                (_, kind) => record.skip(kind)?,
            }
        }
        let status = self::status(status?)?;
        if status != ManifestStatus::Deleted || matches!(shape.detail, Detail::Whole) {
            entries.push(inherit(status, inherited, data_file?, file).ok()?);
        }
        Some(())
    })?;
    Some(entries)
}

impl Shape<'_> {
    fn data_file(&self, record: &mut Cursor<'_>, fields: &[Field]) -> Option<DataFile> {
        let whole = matches!(self.detail, Detail::Whole);
        let mut builder = DataFileBuilder::default();
        builder.content(DataContentType::Data);
        if whole {
            builder.partition_spec_id(self.spec_id);
        }
        for field in fields {
            let kind = &field.kind;
            match id_of(field) {
                id::CONTENT => {
                    let content = DataContentType::try_from(i32::try_from(number(record, kind)??).ok()?).ok()?;
                    (whole || content == DataContentType::Data).then(|| builder.content(content))?;
                }
                id::FILE_PATH => _ = builder.file_path(text(record, kind)??.to_owned()),
                id::FILE_FORMAT => _ = builder.file_format(text(record, kind)??.parse().ok()?),
                id::PARTITION => {
                    let Type::Record(values) = kind else { return None };
                    builder.partition(self.partition(record, values)?);
                }
                id::RECORD_COUNT => _ = builder.record_count(unsigned(record, kind)?),
                id::FILE_SIZE_IN_BYTES => _ = builder.file_size_in_bytes(unsigned(record, kind)?),
                id::COLUMN_SIZES if whole => _ = builder.column_sizes(counts(record, kind)?),
                id::VALUE_COUNTS if whole => _ = builder.value_counts(counts(record, kind)?),
                id::NULL_VALUE_COUNTS if whole => _ = builder.null_value_counts(counts(record, kind)?),
                id::NAN_VALUE_COUNTS if whole => _ = builder.nan_value_counts(counts(record, kind)?),
                id::LOWER_BOUNDS if self.wants_bounds() => _ = builder.lower_bounds(self.bounds(record, kind)?),
                id::UPPER_BOUNDS if self.wants_bounds() => _ = builder.upper_bounds(self.bounds(record, kind)?),
                id::KEY_METADATA => _ = builder.key_metadata(bytes_of(record, kind)?.map(<[u8]>::to_vec)),
                id::SPLIT_OFFSETS => _ = builder.split_offsets(numbers(record, kind)?),
                id::EQUALITY_IDS if whole => {
                    let ids = numbers(record, kind)?;
                    let ids = ids.map(|ids| ids.into_iter().map(|id| i32::try_from(id).ok()).collect::<Option<_>>());
                    builder.equality_ids(match ids {
                        Some(ids) => Some(ids?),
                        None => None,
                    });
                }
                id::SORT_ORDER_ID => {
                    if let Some(id) = number(record, kind)? {
                        builder.sort_order_id(i32::try_from(id).ok()?);
                    }
                }
                id::FIRST_ROW_ID if whole => _ = builder.first_row_id(number(record, kind)?),
                id::REFERENCED_DATA_FILE if whole => {
                    builder.referenced_data_file(text(record, kind)?.map(str::to_owned));
                }
                id::CONTENT_OFFSET => _ = builder.content_offset(number(record, kind)?),
                id::CONTENT_SIZE_IN_BYTES if whole => _ = builder.content_size_in_bytes(number(record, kind)?),
                _ => record.skip(kind)?,
            }
        }
        builder.build().ok()
    }

    /// The values in the order of the partition spec, wherever the file has them.
    fn partition(&self, record: &mut Cursor<'_>, values: &[Field]) -> Option<Struct> {
        let fields = self.partition.fields();
        let mut partition = vec![None; fields.len()];
        let mut found = 0;
        for encoded in values {
            let Some(place) = fields.iter().position(|field| is_of(encoded, field)) else {
                record.skip(&encoded.kind)?;
                continue;
            };
            found += 1;
            partition[place] = match (record.some(&encoded.kind)?, fields[place].field_type.as_ref()) {
                (None, _) => None,
                (Some(kind), IcebergType::Primitive(to)) => Some(literal(record, kind, to)?),
                _ => return None,
            };
        }
        // A value that is not there would be read as NULL, which is another partition.
        (found == fields.len()).then(|| Struct::from_iter(partition))
    }

    fn wants_bounds(&self) -> bool {
        !matches!(self.detail, Detail::DataInShort([]))
    }

    fn bounds(&self, record: &mut Cursor<'_>, kind: &Type) -> Option<HashMap<i32, Datum>> {
        let mut bounds = HashMap::new();
        let Some(Type::Array(entry)) = record.some(kind)? else { return Some(bounds) };
        let Type::Record(fields) = entry.as_ref() else { return None };
        let [Field { kind: Type::Number, .. }, Field { kind: Type::Bytes, .. }] = fields.as_slice() else {
            return None;
        };
        record.items(|record| {
            let (id, value) = (i32::try_from(record.number()?).ok()?, record.bytes()?);
            let wanted = match self.detail {
                Detail::Whole => true,
                Detail::DataInShort(ids) => ids.contains(&id),
            };
            let field = wanted.then(|| self.schema.field_by_id(id).or_else(|| get_metadata_field(id).ok())).flatten();
            let of = field.and_then(|field| field.field_type.as_primitive_type());
            let of = of.map(|of| bound(value, of).ok_or(value));
            match of {
                Some(Ok(bound)) => _ = bounds.insert(id, bound),
                // Kept as it is for a manifest that the file is written to again.
                Some(Err(bytes)) if matches!(self.detail, Detail::Whole) => {
                    bounds.insert(id, Datum::binary(bytes.iter().copied()));
                }
                _ => {}
            }
            Some(())
        })?;
        Some(bounds)
    }
}

/// A bound of a column. One that cannot be read, as a text that was cut inside a character, or a number of too few bytes, bounds
/// nothing: bounds are hints, and a file is read where they say nothing. As bytes, whatever the column is, it compares with no
/// value of it.
fn bound(value: &[u8], of: &PrimitiveType) -> Option<Datum> {
    let is_whole = match of {
        PrimitiveType::Boolean => matches!(value, [0 | 1]),
        PrimitiveType::Int | PrimitiveType::Date | PrimitiveType::Float => value.len() == 4,
        // Written when the column was narrower.
        PrimitiveType::Long | PrimitiveType::Double => matches!(value.len(), 4 | 8),
        PrimitiveType::Time
        | PrimitiveType::Timestamp
        | PrimitiveType::Timestamptz
        | PrimitiveType::TimestampNs
        | PrimitiveType::TimestamptzNs => value.len() == 8,
        PrimitiveType::Decimal { .. } => (1..=16).contains(&value.len()),
        PrimitiveType::Uuid => value.len() == 16,
        PrimitiveType::String | PrimitiveType::Fixed(_) | PrimitiveType::Binary => true,
    };
    is_whole.then(|| Datum::try_from_bytes(value, of.clone()).ok()).flatten()
}

/// Whether the file's field of a partition is this field of the spec: by id, and by name in files without field ids.
fn is_of(encoded: &Field, field: &NestedFieldRef) -> bool {
    match encoded.id {
        Some(id) => id == i64::from(field.id),
        None => encoded.name == field.name || encoded.name == avro_name(&field.name),
    }
}

/// A partition value.
fn literal(record: &mut Cursor<'_>, kind: &Type, to: &PrimitiveType) -> Option<Literal> {
    Some(match (kind, to) {
        (Type::Number, PrimitiveType::Int | PrimitiveType::Date) => Literal::int(i32::try_from(record.number()?).ok()?),
        (
            Type::Number,
            PrimitiveType::Long
            | PrimitiveType::Time
            | PrimitiveType::Timestamp
            | PrimitiveType::Timestamptz
            | PrimitiveType::TimestampNs
            | PrimitiveType::TimestamptzNs,
        ) => Literal::long(record.number()?),
        (Type::Boolean, PrimitiveType::Boolean) => match record.fixed()? {
            [0] => Literal::bool(false),
            [1] => Literal::bool(true),
            _ => return None,
        },
        (Type::Float, PrimitiveType::Float) => Literal::float(f32::from_le_bytes(record.fixed()?)),
        (Type::Float, PrimitiveType::Double) => Literal::double(f64::from(f32::from_le_bytes(record.fixed()?))),
        (Type::Double, PrimitiveType::Double) => Literal::double(f64::from_le_bytes(record.fixed()?)),
        (Type::Bytes, PrimitiveType::String) => Literal::string(record.text()?),
        (Type::Bytes | Type::Fixed(_), PrimitiveType::Binary) => Literal::binary(record.bytes_of(kind)?.to_vec()),
        (Type::Bytes | Type::Fixed(_), PrimitiveType::Fixed(length)) => {
            let bytes = record.bytes_of(kind)?;
            (u64::try_from(bytes.len()).ok()? == *length).then(|| Literal::fixed(bytes.to_vec()))?
        }
        (Type::Bytes | Type::Fixed(_), PrimitiveType::Uuid) => {
            let bytes = record.bytes_of(kind)?;
            // As sixteen bytes, says the specification; some write the text.
            Literal::uuid(Uuid::from_slice(bytes).or_else(|_| Uuid::try_parse_ascii(bytes)).ok()?)
        }
        (Type::Bytes | Type::Fixed(_), PrimitiveType::Decimal { .. }) => {
            Literal::Primitive(PrimitiveLiteral::Int128(signed(record.bytes_of(kind)?)?))
        }
        _ => return None,
    })
}

/// A number in two's complement, the highest byte first.
fn signed(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.first()? & 0x80 != 0;
    let mut padded = [if negative { 0xff } else { 0 }; 16];
    padded.get_mut(16_usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
    Some(i128::from_be_bytes(padded))
}

/// Counts by column. A negative one says nothing.
fn counts(record: &mut Cursor<'_>, kind: &Type) -> Option<HashMap<i32, u64>> {
    let mut counts = HashMap::new();
    let Some(Type::Array(entry)) = record.some(kind)? else { return Some(counts) };
    let Type::Record(fields) = entry.as_ref() else { return None };
    let [Field { kind: Type::Number, .. }, Field { kind: Type::Number, .. }] = fields.as_slice() else { return None };
    record.items(|record| {
        let (id, count) = (i32::try_from(record.number()?).ok()?, record.number()?);
        if let Ok(count) = u64::try_from(count) {
            counts.insert(id, count);
        }
        Some(())
    })?;
    Some(counts)
}

fn numbers(record: &mut Cursor<'_>, kind: &Type) -> Option<Option<Vec<i64>>> {
    let Some(kind) = record.some(kind)? else { return Some(None) };
    let Type::Array(item) = kind else { return None };
    let mut numbers = Vec::new();
    record.items(|record| {
        numbers.push(number(record, item)??);
        Some(())
    })?;
    Some(Some(numbers))
}
