//! What a manifest list says of a manifest that is written: its files and rows, and the values of its partition fields.

use std::cmp::Ordering;

use iceberg::{
    Error, ErrorKind, Result,
    spec::{
        DataFile, Datum, FieldSummary, ManifestContentType, ManifestFile, PrimitiveLiteral, PrimitiveType,
        UNASSIGNED_SEQUENCE_NUMBER,
    },
};

use super::{super::manifests::DraftEntry, Form, primitive, values};

/// The crate's writer of lists puts the snapshot's own number in its place.
const UNASSIGNED_SNAPSHOT_ID: i64 = -1;

/// What a manifest list says of the manifest.
pub(super) struct Listed<'a> {
    form: &'a Form<'a>,
    /// Files and rows that were added, that stay, and that go.
    files: [u32; 3],
    rows: [u64; 3],
    min_sequence_number: Option<i64>,
    values: Vec<ValuesSummary>,
}

/// The values of one partition field.
#[derive(Default, Clone)]
struct ValuesSummary {
    contains_null: bool,
    contains_nan: bool,
    bounds: Option<(PrimitiveLiteral, PrimitiveLiteral)>,
}

impl<'a> Listed<'a> {
    pub(super) fn new(form: &'a Form<'a>) -> Self {
        let values = vec![ValuesSummary::default(); form.partition.fields().len()];
        Self { form, files: [0; 3], rows: [0; 3], min_sequence_number: None, values }
    }

    pub(super) fn add(&mut self, entry: &DraftEntry) -> Result<()> {
        let (place, file, live_since) = match entry {
            DraftEntry::Added(file, sequence_number) => (0, file.as_ref(), *sequence_number),
            DraftEntry::Existing(entry) => (1, entry.data_file.as_ref(), Some(entry.sequence_number)),
            DraftEntry::Removed(entry) => (2, entry.data_file.as_ref(), None),
        };
        self.check_content(file)?;
        self.files[place] += 1;
        self.rows[place] += file.record_count();
        self.min_sequence_number = [self.min_sequence_number, live_since].into_iter().flatten().min();
        for ((value, _), summary) in values(self.form, file.partition(), file)?.into_iter().zip(&mut self.values) {
            summary.add(value);
        }
        Ok(())
    }

    fn check_content(&self, file: &DataFile) -> Result<()> {
        let of_data = file.content_type() == iceberg::spec::DataContentType::Data;
        if of_data == (self.form.content == ManifestContentType::Data) {
            return Ok(());
        }
        let message = format!("{} does not belong into a manifest of {}", file.file_path(), self.form.content);
        Err(Error::new(ErrorKind::DataInvalid, message))
    }

    pub(super) fn manifest(self, form: &Form<'_>, bytes: usize) -> Result<ManifestFile> {
        let summaries = self.values.into_iter().zip(form.partition.fields());
        let partitions = summaries.map(|(summary, field)| summary.listed(primitive(field)?)).collect::<Result<_>>()?;
        let ([added, existing, deleted], [added_rows, existing_rows, deleted_rows]) = (self.files, self.rows);
        Ok(ManifestFile {
            manifest_path: String::new(),
            manifest_length: i64::try_from(bytes)?,
            partition_spec_id: form.spec.spec_id(),
            content: form.content,
            sequence_number: UNASSIGNED_SEQUENCE_NUMBER,
            min_sequence_number: self.min_sequence_number.unwrap_or(UNASSIGNED_SEQUENCE_NUMBER),
            added_snapshot_id: form.snapshot_id.unwrap_or(UNASSIGNED_SNAPSHOT_ID),
            added_files_count: Some(added),
            existing_files_count: Some(existing),
            deleted_files_count: Some(deleted),
            added_rows_count: Some(added_rows),
            existing_rows_count: Some(existing_rows),
            deleted_rows_count: Some(deleted_rows),
            partitions: Some(partitions),
            key_metadata: None,
            first_row_id: None,
        })
    }
}

impl ValuesSummary {
    fn add(&mut self, value: Option<&PrimitiveLiteral>) {
        match value {
            None => self.contains_null = true,
            Some(value) if value.is_nan() => self.contains_nan = true,
            Some(value) => match &mut self.bounds {
                None => self.bounds = Some((value.clone(), value.clone())),
                Some((low, high)) => {
                    if order(value, low) == Ordering::Less {
                        low.clone_from(value);
                    }
                    if order(value, high) == Ordering::Greater {
                        high.clone_from(value);
                    }
                }
            },
        }
    }

    fn listed(self, of: &PrimitiveType) -> Result<FieldSummary> {
        let (low, high) = self.bounds.unzip();
        let bytes = |value: Option<PrimitiveLiteral>| match value {
            None => Ok(None),
            Some(value) => Datum::try_from_bytes(&single_value(&value), of.clone())?.to_bytes().map(Some),
        };
        Ok(FieldSummary {
            contains_null: self.contains_null,
            contains_nan: Some(self.contains_nan),
            lower_bound: bytes(low)?,
            upper_bound: bytes(high)?,
        })
    }
}

/// Bounds tell -0.0 from 0.0, which are equal as numbers.
fn order(a: &PrimitiveLiteral, b: &PrimitiveLiteral) -> Ordering {
    match (a, b) {
        (PrimitiveLiteral::Float(a), PrimitiveLiteral::Float(b)) => a.0.total_cmp(&b.0),
        (PrimitiveLiteral::Double(a), PrimitiveLiteral::Double(b)) => a.0.total_cmp(&b.0),
        _ => a.partial_cmp(b).unwrap_or(Ordering::Equal),
    }
}

/// A value in Iceberg's binary form (<https://iceberg.apache.org/spec/#binary-single-value-serialization>).
fn single_value(value: &PrimitiveLiteral) -> Vec<u8> {
    match value {
        PrimitiveLiteral::Boolean(value) => vec![u8::from(*value)],
        PrimitiveLiteral::Int(value) => value.to_le_bytes().to_vec(),
        PrimitiveLiteral::Long(value) => value.to_le_bytes().to_vec(),
        PrimitiveLiteral::Float(value) => value.to_le_bytes().to_vec(),
        PrimitiveLiteral::Double(value) => value.to_le_bytes().to_vec(),
        PrimitiveLiteral::String(value) => value.as_bytes().to_vec(),
        PrimitiveLiteral::Binary(value) => value.clone(),
        PrimitiveLiteral::Int128(value) => value.to_be_bytes().to_vec(),
        PrimitiveLiteral::UInt128(value) => value.to_be_bytes().to_vec(),
        PrimitiveLiteral::AboveMax | PrimitiveLiteral::BelowMin => Vec::new(),
    }
}
