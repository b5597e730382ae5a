//! How many rows a file has. Its row groups decide; what the footer says beside them is only compared, and a column that
//! has more or fewer values than its row group has rows makes the file unreadable.

use arrow::array::RecordBatch;
use futures::{StreamExt, stream, stream::BoxStream};
use parquet::{
    errors::ParquetError,
    file::metadata::{FileMetaData, ParquetMetaData, RowGroupMetaData},
};

use super::Decoded;
use crate::{Error, Result};

/// The footer with the sum of its row groups as its number of rows, and the number that it had where that was another.
pub(super) fn counted(metadata: ParquetMetaData) -> Decoded<(ParquetMetaData, Option<i64>)> {
    let mut rows: i64 = 0;
    for (index, group) in metadata.row_groups().iter().enumerate() {
        rows = Some(group.num_rows())
            .filter(|rows| *rows >= 0)
            .and_then(|more| rows.checked_add(more))
            .ok_or_else(|| ParquetError::General(format!("row group {index} has {} rows", group.num_rows())))?;
        agrees(index, group)?;
    }
    let file = metadata.file_metadata();
    let claimed = file.num_rows();
    if claimed == rows {
        return Ok((metadata, None));
    }
    let file = FileMetaData::new(
        file.version(),
        rows,
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        file.schema_descr_ptr(),
        file.column_orders().cloned(),
    );
    let row_groups = metadata.into_builder().take_row_groups();
    Ok((ParquetMetaData::new(file, row_groups), Some(claimed)))
}

/// Holds the values of each column against the rows where more of them than rows would be left unread. Fewer, and what is
/// wrong inside a column, the decoder finds.
fn agrees(index: usize, group: &RowGroupMetaData) -> Decoded<()> {
    let rows = group.num_rows();
    let lies = group.columns().iter().find(|column| {
        let is_repeated = column.column_descr().max_rep_level() > 0;
        column.num_values() > rows && (!is_repeated || rows == 0)
    });
    match lies {
        Some(column) => Err(ParquetError::General(format!(
            "row group {index} has {rows} rows by its footer, and its column {} has {} values",
            column.column_path().string(),
            column.num_values()
        ))),
        None => Ok(()),
    }
}

/// Batches that must have so many rows in all.
pub(super) fn held(
    batches: BoxStream<'static, Result<RecordBatch>>,
    rows: u64,
    location: String,
) -> BoxStream<'static, Result<RecordBatch>> {
    let unreadable = move |found: String| Error::Unreadable {
        location: location.clone(),
        reason: format!("there should be {rows} rows by its footer, and there are {found}"),
    };
    stream::try_unfold((batches, 0_u64, unreadable), move |(mut batches, mut seen, unreadable)| async move {
        let Some(batch) = batches.next().await.transpose()? else {
            return if seen == rows { Ok(None) } else { Err(unreadable(seen.to_string())) };
        };
        seen += batch.num_rows() as u64;
        if seen > rows { Err(unreadable("more".to_owned())) } else { Ok(Some((batch, (batches, seen, unreadable)))) }
    })
    .boxed()
}
