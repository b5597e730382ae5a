//! Manifest lists of every format version, by field id (<https://iceberg.apache.org/spec/#manifest-lists>).

use iceberg::spec::{ByteBuf, FieldSummary, ManifestContentType, ManifestFile};

use super::{
    avro::{Container, Cursor, Field, Type},
    bytes_of, number, text,
};

/// What a manifest list says of a manifest.
pub(crate) struct ListedManifest<'a> {
    /// Its location.
    pub path: &'a str,
    numbers: [Option<i64>; NUMBERS.len()],
    partitions: Option<Vec<FieldSummary>>,
    key_metadata: Option<&'a [u8]>,
}

/// Where the numbers of a [`ListedManifest`] stand: field ids with their names, the newer one first, for files without ids.
const NUMBERS: [(i64, &[&str]); 13] = [
    (501, &["manifest_length"]),
    (502, &["partition_spec_id"]),
    (517, &["content"]),
    (515, &["sequence_number"]),
    (516, &["min_sequence_number"]),
    (503, &["added_snapshot_id"]),
    (504, &["added_files_count", "added_data_files_count"]),
    (505, &["existing_files_count", "existing_data_files_count"]),
    (506, &["deleted_files_count", "deleted_data_files_count"]),
    (512, &["added_rows_count"]),
    (513, &["existing_rows_count"]),
    (514, &["deleted_rows_count"]),
    (520, &["first_row_id"]),
];

const PATH: (i64, &[&str]) = (500, &["manifest_path"]);
const PARTITIONS: (i64, &[&str]) = (507, &["partitions"]);
const KEY_METADATA: (i64, &[&str]) = (519, &["key_metadata"]);
const CONTAINS_NULL: (i64, &[&str]) = (509, &["contains_null"]);
const CONTAINS_NAN: (i64, &[&str]) = (518, &["contains_nan"]);
const LOWER_BOUND: (i64, &[&str]) = (510, &["lower_bound"]);
const UPPER_BOUND: (i64, &[&str]) = (511, &["upper_bound"]);

fn is(field: &Field, (id, names): (i64, &[&str])) -> bool {
    field.id.map_or_else(|| names.contains(&field.name.as_str()), |of| of == id)
}

/// Visits every manifest of a list, with the bounds of their partitions or without.
pub(crate) fn manifest_list(
    bytes: &[u8],
    with_partitions: bool,
    mut visit: impl FnMut(&ListedManifest<'_>) -> Option<()>,
) -> Option<()> {
    let container = Container::open(bytes)?;
    let place = |field: &Field| NUMBERS.iter().position(|number| is(field, *number));
    let places: Vec<Option<usize>> = container.fields.iter().map(place).collect();
    container.each_record(|record| {
        let mut listed =
            ListedManifest { path: "", numbers: [None; NUMBERS.len()], partitions: None, key_metadata: None };
        for (field, place) in container.fields.iter().zip(&places) {
            let kind = &field.kind;
            match place {
                Some(place) => listed.numbers[*place] = number(record, kind)?,
                None if is(field, PATH) => listed.path = text(record, kind)??,
                None if is(field, PARTITIONS) && with_partitions => listed.partitions = partitions(record, kind)?,
                None if is(field, KEY_METADATA) => listed.key_metadata = bytes_of(record, kind)?,
                None => record.skip(kind)?,
            }
        }
        visit(&listed)
    })
}

fn partitions(record: &mut Cursor<'_>, kind: &Type) -> Option<Option<Vec<FieldSummary>>> {
    let Some(kind) = record.some(kind)? else { return Some(None) };
    let Type::Array(item) = kind else { return None };
    let Type::Record(fields) = item.as_ref() else { return None };
    let mut summaries = Vec::new();
    record.items(|record| {
        let mut summary = FieldSummary { contains_null: true, ..FieldSummary::default() };
        for field in fields {
            let kind = &field.kind;
            let bytes =
                |record: &mut Cursor<'_>| Some(bytes_of(record, kind)?.map(|bytes| ByteBuf::from(bytes.to_vec())));
            if is(field, CONTAINS_NULL) {
                summary.contains_null = boolean(record, kind)?.unwrap_or(true);
            } else if is(field, CONTAINS_NAN) {
                summary.contains_nan = boolean(record, kind)?;
            } else if is(field, LOWER_BOUND) {
                summary.lower_bound = bytes(record)?;
            } else if is(field, UPPER_BOUND) {
                summary.upper_bound = bytes(record)?;
            } else {
                record.skip(kind)?;
            }
        }
        summaries.push(summary);
        Some(())
    })?;
    Some(Some(summaries))
}

fn boolean(record: &mut Cursor<'_>, kind: &Type) -> Option<Option<bool>> {
    match record.some(kind)? {
        None => Some(None),
        Some(Type::Boolean) => match record.fixed()? {
            [0] => Some(Some(false)),
            [1] => Some(Some(true)),
            _ => None,
        },
        Some(_) => None,
    }
}

impl ListedManifest<'_> {
    /// The manifest. What format version 1 does not have is what the specification says it then is; a count that is not
    /// there is not known.
    pub(crate) fn manifest(&self) -> Option<ManifestFile> {
        let [length, spec_id, content, sequence_number, min_sequence_number, added_by, ..] = self.numbers;
        let [.., added, existing, deleted, added_rows, existing_rows, deleted_rows, first_row_id] = self.numbers;
        let files = |count: Option<i64>| u32::try_from(count?).ok();
        let rows = |count: Option<i64>| u64::try_from(count?).ok();
        Some(ManifestFile {
            manifest_path: self.path.to_owned(),
            manifest_length: length?,
            partition_spec_id: i32::try_from(spec_id?).ok()?,
            content: ManifestContentType::try_from(i32::try_from(content.unwrap_or(0)).ok()?).ok()?,
            sequence_number: sequence_number.unwrap_or(0),
            min_sequence_number: min_sequence_number.unwrap_or(0),
            added_snapshot_id: added_by.unwrap_or(-1),
            added_files_count: files(added),
            existing_files_count: files(existing),
            deleted_files_count: files(deleted),
            added_rows_count: rows(added_rows),
            existing_rows_count: rows(existing_rows),
            deleted_rows_count: rows(deleted_rows),
            partitions: self.partitions.clone(),
            key_metadata: self.key_metadata.map(<[u8]>::to_vec),
            first_row_id: rows(first_row_id),
        })
    }
}
