//! The second pass: all columns of the rows that are written, once; and the bad rows, to quarantine.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arrow::{
    array::{Array, ArrayRef, BooleanArray, RecordBatch, make_array},
    compute::filter_record_batch,
    datatypes::SchemaRef,
};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    kept::{Kept, KeptRows},
    keys::FileRejects,
    matching::{is_few, selection_of},
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
    /// What rows take over from those that they replace, if anything.
    pub kept: Option<Kept>,
    /// Bytes of such values that are held at once, roughly.
    pub kept_bytes_max: u64,
    /// Files at once.
    pub threads: usize,
}

/// What is written of a file.
struct Piece {
    file: usize,
    /// Rows that may go to the writer.
    rows: Range<u64>,
    /// Whether its bad rows go to quarantine.
    quarantined: bool,
    kept: Option<Arc<KeptRows>>,
}

impl Payload {
    /// Writes rows of the batch to `writer`, or only the bad ones to quarantine when there is none. Returns how many rows
    /// went to the writer.
    pub async fn write_batch(self: &Arc<Self>, writer: Option<&Arc<TableWriter>>) -> Result<u64> {
        let written = Arc::new(AtomicU64::new(0));
        let keeps = |file: usize| writer.is_some() && self.kept.as_ref().is_some_and(|kept| kept.has_file(file));
        let whole = |file| Piece { file, rows: 0..self.interval.rows(file), quarantined: true, kept: None };
        // Of a file that keeps values, first the bad rows, then the others with their share.
        let bad_rows = |file| Piece { rows: 0..0, ..whole(file) };
        let files = 0..self.interval.file_count();
        self.write_pieces(files.map(|file| if keeps(file) { bad_rows(file) } else { whole(file) }), writer, &written)
            .await?;
        if let (Some(kept), true) = (&self.kept, writer.is_some()) {
            for share in kept.shares(&self.interval, self.kept_bytes_max) {
                let rows = Arc::new(kept.read(&share, &self.interval, self.threads).await?);
                let piece =
                    |(file, range)| Piece { file, rows: range, quarantined: false, kept: Some(Arc::clone(&rows)) };
                self.write_pieces(share.files.into_iter().map(piece), writer, &written).await?;
            }
        }
        Ok(written.load(Ordering::Relaxed))
    }

    async fn write_pieces(
        self: &Arc<Self>,
        pieces: impl Iterator<Item = Piece>,
        writer: Option<&Arc<TableWriter>>,
        written: &Arc<AtomicU64>,
    ) -> Result<()> {
        stream::iter(pieces.map(Ok::<_, Error>))
            .try_for_each_concurrent(self.threads, |piece| {
                let (payload, writer, written) = (Arc::clone(self), writer.cloned(), Arc::clone(written));
                let location = self.interval.input(piece.file).location.clone();
                async move {
                    on_file(location, async move { payload.write_piece(&piece, writer.as_deref(), &written).await })
                        .await
                }
            })
            .await
    }

    async fn write_piece(&self, piece: &Piece, writer: Option<&TableWriter>, written: &AtomicU64) -> Result<()> {
        let file = piece.file;
        let is_wanted = |row: u64| {
            piece.rows.contains(&row) && matches!(self.verdicts.get(file, row), Verdict::Insert | Verdict::Update)
        };
        let rows = self.verdicts.rows(file);
        let wanted = match writer {
            Some(_) if piece.rows == (0..rows) => self.verdicts.count(file, &[Verdict::Insert, Verdict::Update]),
            Some(_) => piece.rows.clone().filter(|row| is_wanted(*row)).count() as u64,
            None => 0,
        };
        let rejects = &self.rejects[file];
        let originals = self.quarantine.is_some() && piece.quarantined && !rejects.rows.is_empty();
        let needed = wanted + if originals { rejects.rows.len() as u64 } else { 0 };
        if needed == 0 {
            return Ok(());
        }
        let selection = is_few(needed, rows).then(|| {
            let invalid = |row: u64| originals && self.verdicts.get(file, row) == Verdict::Invalid;
            let picked: Vec<u64> = (0..rows).filter(|row| (wanted > 0 && is_wanted(*row)) || invalid(*row)).collect();
            selection_of(picked.iter().copied())
        });
        let schema = self.interval.schema();
        let columns: Vec<usize> = if wanted > 0 { (0..schema.fields().len()).collect() } else { Vec::new() };
        let input = self.interval.input(file);
        let mut bad_rows = QuarantineFile::new(self.interval.original_schema(file));
        let mut batches = std::pin::pin!(self.interval.scan(file, &columns, ScanOptions { selection, originals }));
        while let Some(raw) = batches.next().await {
            let raw = raw?;
            let mut numbers = raw
                .row_numbers
                .unwrap_or_else(|| (raw.first_row..raw.first_row + raw.batch.num_rows() as u64).collect());
            if let (Some(original), Some(target)) = (&raw.original, &self.quarantine) {
                bad_rows.add(original, input, &target.run_id, &numbers, &self.broken_rules(rejects, &numbers))?;
            }
            let Some(writer) = writer.filter(|_| wanted > 0) else { continue };
            let keep: BooleanArray = numbers.iter().map(|row| Some(is_wanted(*row))).collect();
            if keep.true_count() > 0 {
                let mut batch = strict(&kept(raw.batch, &keep)?, schema)?;
                if let Some(rows) = &piece.kept {
                    numbers.retain(|row| is_wanted(*row));
                    batch = rows.under(batch, file, &numbers, self.interval.filling(file))?;
                }
                written.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                writer.write(batch).await?;
            }
        }
        if let Some(target) = self.quarantine.as_ref().filter(|_| originals) {
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
