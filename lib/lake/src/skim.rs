//! Manifests, and manifest lists of large tables, read for those of their fields that are wanted: the iceberg crate makes
//! values of everything, which takes a hundred times as long and, with the metrics of half a million files, more memory than
//! there is. It also finds partition values by their names, which every writer spells in its own way.
//!
//! `None` means: in a form that is not known here, or damaged. The crate then says what is wrong.

mod avro;
mod entries;

use iceberg::spec::{DataContentType, ManifestContentType, ManifestFile, ManifestStatus};

use self::avro::{Cursor, Field, Type};
pub(crate) use self::{
    avro::Container,
    entries::{Detail, Shape, entries, id},
};

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
