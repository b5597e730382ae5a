//! Sorts the rows of a file before they are written.

use std::sync::atomic::{AtomicU64, Ordering};

use arrow::{
    array::ArrayRef,
    compute::{SortOptions, concat},
    row::{RowConverter, SortField},
};
use lake::spec::{NullOrder, SortDirection, SortOrder, Transform};
use parquet::file::metadata::SortingColumn;

use super::{buffer::RowBuffer, chunk::Chunk};
use crate::{
    Error, Result,
    partition::{column_at, field_path},
    transform::transform_array,
};

/// Rows that are encoded at a time.
const CHUNK_ROWS: usize = 32_768;

/// How files are sorted.
#[derive(Debug)]
pub(super) struct Sort {
    pub(super) order_id: i32,
    terms: Vec<Term>,
    /// File bytes per 1,000 bytes in memory, as the files so far had it.
    permille: AtomicU64,
}

#[derive(Debug)]
struct Term {
    path: Vec<usize>,
    transform: Transform,
    options: SortOptions,
}

impl Sort {
    /// Prepares a table's sort order; `None` for the unsorted one. Fails for columns that the schema does not have.
    pub(super) fn new(schema: &lake::spec::Schema, order: &SortOrder) -> Result<Option<Self>> {
        if order.is_unsorted() {
            return Ok(None);
        }
        let unsupported =
            |reason: String| Error::Unsupported { subject: format!("sort order {}", order.order_id), reason };
        let order_id = i32::try_from(order.order_id).map_err(|_| unsupported("its id is too large".to_owned()))?;
        let terms = order.fields.iter().map(|field| {
            let (path, _) = field_path(schema.as_struct(), field.source_id)
                .ok_or_else(|| unsupported(format!("field {} is no column", field.source_id)))?;
            let options = SortOptions {
                descending: field.direction == SortDirection::Descending,
                nulls_first: field.null_order == NullOrder::First,
            };
            Ok(Term { path, transform: field.transform, options })
        });
        Ok(Some(Self { order_id, terms: terms.collect::<Result<_>>()?, permille: AtomicU64::new(250) }))
    }

    /// The leading terms that Parquet can express: plain columns that are neither structs nor collections.
    pub(super) fn sorting_columns(&self, leaves: &[usize]) -> Vec<SortingColumn> {
        let plain = self.terms.iter().map_while(|term| match term.path.as_slice() {
            [column] if term.transform == Transform::Identity => Some(SortingColumn {
                column_idx: leaves[..*column].iter().sum::<usize>().try_into().ok()?,
                descending: term.options.descending,
                nulls_first: term.options.nulls_first,
            }),
            _ => None,
        });
        plain.collect()
    }

    /// How large a file of so many bytes in memory will be.
    pub(super) fn estimate_file_bytes(&self, memory_bytes: usize) -> usize {
        (memory_bytes as u64 * self.permille.load(Ordering::Relaxed) / 1000) as usize
    }

    /// Remembers how large a file came out. Small ones teach nothing: their footers weigh too much.
    pub(super) fn learn(&self, memory_bytes: usize, file_bytes: u64) {
        if memory_bytes >= 1 << 20 {
            self.permille.store((file_bytes * 1000 / memory_bytes as u64).max(1), Ordering::Relaxed);
        }
    }

    /// The rows in order, equal ones as they came.
    pub(super) fn sorted(&self, rows: RowBuffer) -> Result<impl Iterator<Item = Chunk> + use<>> {
        let sort_error = |error| Error::compute("failed to sort rows", error);
        let inputs = rows.into_inputs();
        let mut columns = Vec::with_capacity(self.terms.len());
        let mut fields = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            let parts =
                inputs.iter().map(|input| transform_array(term.transform, &column_at(&input.batch, &term.path)?));
            let parts: Vec<ArrayRef> = parts.collect::<Result<_>>()?;
            let parts: Vec<_> = parts.iter().map(AsRef::as_ref).collect();
            let column = concat(&parts).map_err(sort_error)?;
            fields.push(SortField::new_with_options(column.data_type().clone(), term.options));
            columns.push(column);
        }
        let converter = RowConverter::new(fields).map_err(sort_error)?;
        let rows = converter.convert_columns(&columns).map_err(sort_error)?;
        let mut order: Vec<u32> = (0..rows.num_rows() as u32).collect();
        order.sort_by(|a, b| rows.row(*a as usize).cmp(&rows.row(*b as usize)));
        let mut places = Vec::with_capacity(order.len());
        for (index, input) in inputs.iter().enumerate() {
            places.extend((0..input.batch.num_rows()).map(|row| (index as u32, row as u32)));
        }
        let chunks = order.len().div_ceil(CHUNK_ROWS);
        Ok((0..chunks).map(move |chunk| {
            let end = order.len().min((chunk + 1) * CHUNK_ROWS);
            let picks = order[chunk * CHUNK_ROWS..end].iter().map(|&row| {
                let (index, row) = places[row as usize];
                (index as usize, row as usize)
            });
            Chunk::picked(inputs.clone(), picks.collect())
        }))
    }
}
