//! Manifests, and manifest lists of large tables, read for those of their fields that are wanted: the iceberg crate makes
//! values of everything, which takes a hundred times as long and, with the metrics of half a million files, more memory than
//! there is. It also finds partition values by their names, which every writer spells in its own way.
//!
//! `None` means: in a form that is not known here, or damaged. The crate then says what is wrong.

mod avro;
mod entries;
mod list;

use iceberg::spec::{DataContentType, ManifestStatus};

use self::avro::{Cursor, Field, Type};
pub(crate) use self::{
    avro::Container,
    entries::{Detail, Shape, entries, id},
    list::manifest_list,
};

/// The partition spec that a manifest's header names.
pub(crate) fn partition_spec_id(bytes: &[u8]) -> Option<i32> {
    std::str::from_utf8(Container::open(bytes)?.metadata.get("partition-spec-id")?).ok()?.parse().ok()
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
            match (entries::id_of(field), &field.kind) {
                (id::STATUS, kind) => status = number(record, kind)?,
                (id::DATA_FILE, Type::Record(fields)) => object = Some(object_of(record, fields)?),
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
        match entries::id_of(field) {
            id::CONTENT => content = number(record, &field.kind)??,
            id::FILE_PATH => path = text(record, &field.kind)?,
            id::FILE_SIZE_IN_BYTES => bytes = number(record, &field.kind)?,
            _ => record.skip(&field.kind)?,
        }
    }
    let content = DataContentType::try_from(i32::try_from(content).ok()?).ok()?;
    Some(LiveObject { path: path?, content, bytes: u64::try_from(bytes?).ok()? })
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
