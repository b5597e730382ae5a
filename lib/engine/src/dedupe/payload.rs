//! The second pass: all columns of the rows that are written, once; and the bad rows, to quarantine.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, make_array},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    keys::FileRejects,
    matching::selection_of,
    quarantine::{QuarantineFile, QuarantineTarget},
    verdicts::{Verdict, Verdicts},
};
use crate::{
    Error, Result,
    raw::{BoundInterval, ScanOptions},
    rules::Rules,
    tasks::on_file,
    writer::TableWriter,
};

/// Below this share of wanted rows a file is read by selection instead of as a whole.
const SELECTION_SHARE_MAX: f64 = 0.1;

/// What the pass works on.
pub struct Payload {
    /// The raw files.
    pub interval: Arc<BoundInterval>,
    /// What became of each row.
    pub verdicts: Arc<Verdicts>,
    /// The compiled rules, for their names.
    pub rules: Arc<Rules>,
    /// Broken rules per file.
    pub rejects: Arc<Vec<FileRejects>>,
    /// Where bad rows go.
    pub quarantine: Option<QuarantineTarget>,
    /// Files at once.
    pub threads: usize,
}

impl Payload {
    /// Writes rows of the batch to `writer`, or only the bad ones to quarantine when there is none. Returns how many rows
    /// went to the writer.
    pub async fn write_batch(self: &Arc<Self>, writer: Option<&Arc<TableWriter>>) -> Result<u64> {
        let written = Arc::new(AtomicU64::new(0));
        stream::iter((0..self.interval.file_count()).map(Ok::<_, Error>))
            .try_for_each_concurrent(self.threads, |file| {
                let (payload, writer, written) = (Arc::clone(self), writer.cloned(), Arc::clone(&written));
                let location = self.interval.input(file).location.clone();
                async move {
                    on_file(location, async move { payload.write_file(file, writer.as_deref(), &written).await }).await
                }
            })
            .await?;
        Ok(written.load(Ordering::Relaxed))
    }

    async fn write_file(&self, file: usize, writer: Option<&TableWriter>, written: &AtomicU64) -> Result<()> {
        let wanted = if writer.is_some() { self.verdicts.count(file, &[Verdict::Insert, Verdict::Update]) } else { 0 };
        let rejects = &self.rejects[file];
        let originals = self.quarantine.is_some() && !rejects.rows.is_empty();
        let needed = wanted + if originals { rejects.rows.len() as u64 } else { 0 };
        if needed == 0 {
            return Ok(());
        }
        let rows = self.verdicts.rows(file);
        let is_wanted = |row: u64| matches!(self.verdicts.get(file, row), Verdict::Insert | Verdict::Update);
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        let selection = ((needed as f64) < rows as f64 * SELECTION_SHARE_MAX).then(|| {
            let invalid = |row: u64| originals && self.verdicts.get(file, row) == Verdict::Invalid;
            let picked: Vec<u64> = (0..rows).filter(|row| (wanted > 0 && is_wanted(*row)) || invalid(*row)).collect();
            selection_of(&picked)
        });
        let schema = self.interval.schema();
        let columns: Vec<usize> = if wanted > 0 { (0..schema.fields().len()).collect() } else { Vec::new() };
        let input = self.interval.input(file);
        let mut bad_rows = QuarantineFile::new(self.interval.original_schema(file));
        let mut batches = std::pin::pin!(self.interval.scan(file, &columns, ScanOptions { selection, originals }));
        while let Some(raw) = batches.next().await {
            let raw = raw?;
            let numbers = raw
                .row_numbers
                .unwrap_or_else(|| (raw.first_row..raw.first_row + raw.batch.num_rows() as u64).collect());
            if let (Some(original), Some(target)) = (&raw.original, &self.quarantine) {
                bad_rows.add(original, input, &target.run_id, &numbers, &self.broken_rules(rejects, &numbers))?;
            }
            let Some(writer) = writer.filter(|_| wanted > 0) else { continue };
            let keep: BooleanArray = numbers.iter().map(|row| Some(is_wanted(*row))).collect();
            if keep.true_count() > 0 {
                let batch = strict(&kept(raw.batch, &keep)?, schema)?;
                written.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                writer.write(batch).await?;
            }
        }
        if let Some(target) = &self.quarantine {
            bad_rows.write(input, target).await?;
        }
        Ok(())
    }

    /// Per row: the rules it broke, when it broke any.
    fn broken_rules(&self, rejects: &FileRejects, numbers: &[u64]) -> Vec<Option<Vec<&str>>> {
        let rules = |row: &u64| {
            let place = rejects.rows.binary_search_by_key(row, |(row, _)| *row).ok()?;
            let set = &rejects.sets[rejects.rows[place].1 as usize];
            Some(set.iter().map(|rule| self.rules.name(*rule)).collect())
        };
        numbers.iter().map(rules).collect()
    }
}

/// The rows that are set.
pub fn kept(batch: RecordBatch, keep: &BooleanArray) -> Result<RecordBatch> {
    if keep.true_count() == keep.len() {
        return Ok(batch);
    }
    filter_record_batch(&batch, keep).map_err(|source| Error::compute("failed to pick rows", source))
}

/// Rows that were judged, in the table's own schema: nothing is nullable that must not be.
pub fn strict(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let failed = |source| Error::compute("failed to assemble rows for the table", source);
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(Arc::clone(column));
            }
            retyped(column.to_data(), field.data_type()).map(make_array)
        })
        .collect::<std::result::Result<Vec<ArrayRef>, _>>()
        .map_err(failed)?;
    RecordBatch::try_new(Arc::clone(schema), columns).map_err(failed)
}

/// Nested columns take over the declared nullability of their fields, level by level.
fn retyped(
    data: arrow::array::ArrayData,
    target: &arrow::datatypes::DataType,
) -> std::result::Result<arrow::array::ArrayData, arrow::error::ArrowError> {
    use arrow::datatypes::DataType;
    let children: Vec<&DataType> = match target {
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::List(element) | DataType::Map(element, _) => vec![element.data_type()],
        _ => Vec::new(),
    };
    let child_data = data
        .child_data()
        .iter()
        .zip(&children)
        .map(|(child, target)| retyped(child.clone(), target))
        .collect::<std::result::Result<Vec<_>, _>>()?;
    let child_data = if children.is_empty() { data.child_data().to_vec() } else { child_data };
    data.into_builder().data_type(target.clone()).child_data(child_data).build()
}
