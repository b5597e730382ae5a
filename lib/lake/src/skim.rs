//! Manifests and manifest lists of large tables, read for a few of their fields: the iceberg crate makes values of everything,
//! which takes a hundred times as long and, with the metrics of half a million files, more memory than there is.
//!
//! `None` means: in a form that is not known here, or damaged. The crate then reads it, or says what is wrong.

mod avro;

use std::collections::HashMap;

use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, Datum, Literal, ManifestContentType, ManifestFile, ManifestMetadata,
    ManifestStatus, PrimitiveType, Schema, Struct, StructType, Type as IcebergType,
};

use self::avro::{Container, Cursor, Field, Type};
use crate::manifest::{Entry, Inherited, inherit};

/// What a manifest list says of a manifest, but its partitions.
pub(crate) struct ListedManifest<'a> {
    /// Its location.
    pub path: &'a str,
    numbers: [Option<i64>; LIST_NUMBERS.len()],
    key_metadata: Option<&'a [u8]>,
}

/// Where the numbers of a [`ListedManifest`] stand; the names of a field, the newer one first.
const LIST_NUMBERS: [&[&str]; 12] = [
    &["manifest_length"],
    &["partition_spec_id"],
    &["content"],
    &["sequence_number"],
    &["min_sequence_number"],
    &["added_snapshot_id"],
    &["added_files_count", "added_data_files_count"],
    &["existing_files_count", "existing_data_files_count"],
    &["deleted_files_count", "deleted_data_files_count"],
    &["added_rows_count"],
    &["existing_rows_count"],
    &["deleted_rows_count"],
];

/// Visits every manifest of a list of format version 2.
pub(crate) fn manifest_list(bytes: &[u8], mut visit: impl FnMut(&ListedManifest<'_>) -> Option<()>) -> Option<()> {
    let container = Container::open(bytes)?;
    let place = |field: &Field| LIST_NUMBERS.iter().position(|names| names.contains(&field.name.as_str()));
    let places: Vec<Option<usize>> = container.fields.iter().map(place).collect();
    container.each_record(|record| {
        let mut listed = ListedManifest { path: "", numbers: [None; LIST_NUMBERS.len()], key_metadata: None };
        for (field, place) in container.fields.iter().zip(&places) {
            match (field.name.as_str(), place) {
                (_, Some(place)) => listed.numbers[*place] = number(record, &field.kind)?,
                ("manifest_path", _) => listed.path = text(record, &field.kind)??,
                ("key_metadata", _) => listed.key_metadata = bytes_of(record, &field.kind)?,
                _ => record.skip(&field.kind)?,
            }
        }
        visit(&listed)
    })
}

impl ListedManifest<'_> {
    /// The manifest without its partitions.
    pub(crate) fn manifest(&self) -> Option<ManifestFile> {
        let [length, spec_id, content, sequence_number, min_sequence_number, added_by, ..] = self.numbers;
        let [.., added, existing, deleted, added_rows, existing_rows, deleted_rows] = self.numbers;
        let files = |count: Option<i64>| u32::try_from(count?).ok();
        let rows = |count: Option<i64>| u64::try_from(count?).ok();
        Some(ManifestFile {
            manifest_path: self.path.to_owned(),
            manifest_length: length?,
            partition_spec_id: i32::try_from(spec_id?).ok()?,
            content: ManifestContentType::try_from(i32::try_from(content?).ok()?).ok()?,
            sequence_number: sequence_number?,
            min_sequence_number: min_sequence_number?,
            added_snapshot_id: added_by?,
            added_files_count: Some(files(added)?),
            existing_files_count: Some(files(existing)?),
            deleted_files_count: Some(files(deleted)?),
            added_rows_count: Some(rows(added_rows)?),
            existing_rows_count: Some(rows(existing_rows)?),
            deleted_rows_count: Some(rows(deleted_rows)?),
            partitions: None,
            key_metadata: self.key_metadata.map(<[u8]>::to_vec),
            first_row_id: None,
        })
    }
}

/// A live file, as far as it is an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LiveObject<'a> {
    /// Its location.
    pub path: &'a str,
    /// Data or deletes.
    pub content: DataContentType,
    /// Its size.
    pub bytes: u64,
}

/// Visits every live file of a manifest.
pub(crate) fn live_objects(bytes: &[u8], mut visit: impl FnMut(LiveObject<'_>)) -> Option<()> {
    let container = Container::open(bytes)?;
    container.each_record(|record| {
        let (mut status, mut object) = (None, None);
        for field in &container.fields {
            match (field.name.as_str(), &field.kind) {
                ("status", kind) => status = number(record, kind)?,
                ("data_file", Type::Record(fields)) => object = Some(object_of(record, fields)?),
                (_, kind) => record.skip(kind)?,
            }
        }
        if self::status(status?)? != ManifestStatus::Deleted {
            visit(object?);
        }
        Some(())
    })
}

fn object_of<'a>(record: &mut Cursor<'a>, fields: &[Field]) -> Option<LiveObject<'a>> {
    let (mut path, mut content, mut bytes) = (None, 0, None);
    for field in fields {
        match field.name.as_str() {
            "content" => content = number(record, &field.kind)??,
            "file_path" => path = text(record, &field.kind)?,
            "file_size_in_bytes" => bytes = number(record, &field.kind)?,
            _ => record.skip(&field.kind)?,
        }
    }
    let content = DataContentType::try_from(i32::try_from(content).ok()?).ok()?;
    Some(LiveObject { path: path?, content, bytes: u64::try_from(bytes?).ok()? })
}

/// The live data files of a manifest, without column metrics but the bounds of these columns.
pub(crate) fn live_data(bytes: &[u8], file: &ManifestFile, bounds_of: &[i32]) -> Option<Vec<Entry>> {
    let container = Container::open(bytes)?;
    let metadata = ManifestMetadata::parse(&container.metadata).ok()?;
    let partition_type = metadata.partition_spec().partition_type(metadata.schema()).ok()?;
    let shape = Shape { partition: &partition_type, schema: metadata.schema(), bounds_of };
    let mut entries = Vec::new();
    container.each_record(|record| {
        let (mut status, mut inherited, mut data_file) = (None, Inherited::default(), None);
        for field in &container.fields {
            match (field.name.as_str(), &field.kind) {
                ("status", kind) => status = number(record, kind)?,
                ("snapshot_id", kind) => inherited.snapshot_id = number(record, kind)?,
                ("sequence_number", kind) => inherited.sequence_number = number(record, kind)?,
                ("file_sequence_number", kind) => inherited.file_sequence_number = number(record, kind)?,
                ("data_file", Type::Record(fields)) => data_file = Some(shape.data_file(record, fields)?),
                (_, kind) => record.skip(kind)?,
            }
        }
        let status = self::status(status?)?;
        if status != ManifestStatus::Deleted {
            entries.push(inherit(status, inherited, data_file?, file).ok()?);
        }
        Some(())
    })?;
    Some(entries)
}

/// What the files of a manifest are read by.
struct Shape<'a> {
    partition: &'a StructType,
    schema: &'a Schema,
    bounds_of: &'a [i32],
}

impl Shape<'_> {
    fn data_file(&self, record: &mut Cursor<'_>, fields: &[Field]) -> Option<DataFile> {
        let mut builder = DataFileBuilder::default();
        builder.content(DataContentType::Data);
        for Field { name, kind, .. } in fields {
            match name.as_str() {
                // A manifest of data files has nothing else.
                "content" => (number(record, kind)?? == 0).then_some(())?,
                "file_path" => _ = builder.file_path(text(record, kind)??.to_owned()),
                "file_format" => _ = builder.file_format(text(record, kind)??.parse().ok()?),
                "partition" => {
                    let Type::Record(values) = kind else { return None };
                    builder.partition(self.partition(record, values)?);
                }
                "record_count" => _ = builder.record_count(unsigned(record, kind)?),
                "file_size_in_bytes" => _ = builder.file_size_in_bytes(unsigned(record, kind)?),
                "lower_bounds" if !self.bounds_of.is_empty() => _ = builder.lower_bounds(self.bounds(record, kind)?),
                "upper_bounds" if !self.bounds_of.is_empty() => _ = builder.upper_bounds(self.bounds(record, kind)?),
                "key_metadata" => _ = builder.key_metadata(bytes_of(record, kind)?.map(<[u8]>::to_vec)),
                "split_offsets" => _ = builder.split_offsets(numbers(record, kind)?),
                "sort_order_id" => {
                    if let Some(id) = number(record, kind)? {
                        builder.sort_order_id(i32::try_from(id).ok()?);
                    }
                }
                "content_offset" => _ = builder.content_offset(number(record, kind)?),
                _ => record.skip(kind)?,
            }
        }
        builder.build().ok()
    }

    fn partition(&self, record: &mut Cursor<'_>, values: &[Field]) -> Option<Struct> {
        let fields = self.partition.fields();
        if values.len() != fields.len() {
            return None;
        }
        let value = |(encoded, field): (&Field, &iceberg::spec::NestedFieldRef)| {
            if encoded.id != Some(i64::from(field.id)) {
                return None;
            }
            match (record.some(&encoded.kind)?, field.field_type.as_ref()) {
                (None, _) => Some(None),
                (Some(kind), IcebergType::Primitive(to)) => literal(record, kind, to).map(Some),
                _ => None,
            }
        };
        values.iter().zip(fields).map(value).collect::<Option<Vec<_>>>().map(Struct::from_iter)
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
            let field = self.schema.field_by_id(id).filter(|_| self.bounds_of.contains(&id));
            if let Some(field) = field {
                let of = field.field_type.as_primitive_type()?.clone();
                bounds.insert(id, Datum::try_from_bytes(value, of).ok()?);
            }
            Some(())
        })?;
        Some(bounds)
    }
}

/// A partition value; rarer types are left to the crate.
fn literal(record: &mut Cursor<'_>, kind: &Type, to: &PrimitiveType) -> Option<Literal> {
    Some(match (kind, to) {
        (Type::Number, PrimitiveType::Int | PrimitiveType::Date) => Literal::int(i32::try_from(record.number()?).ok()?),
        (
            Type::Number,
            PrimitiveType::Long | PrimitiveType::Time | PrimitiveType::Timestamp | PrimitiveType::Timestamptz,
        ) => Literal::long(record.number()?),
        (Type::Bytes, PrimitiveType::String) => Literal::string(record.text()?),
        (Type::Boolean, PrimitiveType::Boolean) => match record.fixed()? {
            [0] => Literal::bool(false),
            [1] => Literal::bool(true),
            _ => return None,
        },
        _ => return None,
    })
}

fn status(number: i64) -> Option<ManifestStatus> {
    Some(match number {
        0 => ManifestStatus::Existing,
        1 => ManifestStatus::Added,
        2 => ManifestStatus::Deleted,
        _ => return None,
    })
}

fn unsigned(record: &mut Cursor<'_>, kind: &Type) -> Option<u64> {
    u64::try_from(number(record, kind)??).ok()
}

/// A number, or null.
fn number(record: &mut Cursor<'_>, kind: &Type) -> Option<Option<i64>> {
    match record.some(kind)? {
        None => Some(None),
        Some(Type::Number) => record.number().map(Some),
        Some(_) => None,
    }
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

/// Bytes, or null.
fn bytes_of<'a>(record: &mut Cursor<'a>, kind: &Type) -> Option<Option<&'a [u8]>> {
    match record.some(kind)? {
        None => Some(None),
        Some(Type::Bytes) => record.bytes().map(Some),
        Some(_) => None,
    }
}

/// Text, or null.
fn text<'a>(record: &mut Cursor<'a>, kind: &Type) -> Option<Option<&'a str>> {
    match bytes_of(record, kind)? {
        None => Some(None),
        Some(bytes) => std::str::from_utf8(bytes).ok().map(Some),
    }
}

#[cfg(test)]
mod tests;
