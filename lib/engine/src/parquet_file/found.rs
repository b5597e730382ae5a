//! Rows as they are found: text that is not UTF-8 comes as bytes instead of ending the read, so that whoever reads can say
//! which rows have it.

use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, RowSelection, RowSelector};

use super::{
    ParquetFile, ReadOptions, counts, guard,
    schema::{Text, arrow_metadata, has_text},
};
use crate::{Error, Result};

impl ParquetFile {
    /// Reads rows as [`Self::read`] does, but for text that is not UTF-8: from its first batch on, and in every later read of
    /// the file, all text columns come as `BinaryView`. Files whose text is text cost nothing more.
    pub fn read_as_found(&self, options: ReadOptions) -> BoxStream<'static, Result<RecordBatch>> {
        let rows = self.rows_of(&options);
        let location = self.bytes.location.clone();
        let options_kept = options.clone();
        let start = Found { file: self.clone(), batches: None, given: 0, is_checked: false, options };
        let batches =
            stream::try_unfold(start, |mut found| async move { Ok(found.next().await?.map(|batch| (batch, found))) });
        let (file, options) = (self.clone(), options_kept);
        counts::held(batches.boxed(), rows, location).map_err(move |error| file.explained(error, &options)).boxed()
    }

    fn as_found(&self) -> Result<&ArrowReaderMetadata> {
        if self.as_found.get().is_none() {
            let metadata = guard(&self.bytes.location, || arrow_metadata(Arc::clone(self.metadata()), Text::AsFound))?;
            // Another reader may have been first, with the same.
            _ = self.as_found.set(metadata);
        }
        Ok(self.as_found.get().expect("set right above"))
    }

    fn has_text(&self, options: &ReadOptions) -> bool {
        let schema = self.arrow_schema();
        options.roots.iter().any(|root| schema.fields().get(*root).is_some_and(|field| has_text(field.data_type())))
    }
}

struct Found {
    file: ParquetFile,
    options: ReadOptions,
    batches: Option<BoxStream<'static, Result<RecordBatch>>>,
    /// Rows that were given already.
    given: u64,
    /// Whether text is read as text.
    is_checked: bool,
}

impl Found {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let batches = match &mut self.batches {
                Some(batches) => batches,
                None => {
                    self.is_checked = self.file.as_found.get().is_none();
                    let metadata = if self.is_checked { &self.file.metadata } else { self.file.as_found()? };
                    self.batches.insert(self.file.decode(self.rest(), metadata))
                }
            };
            match batches.next().await.transpose() {
                Ok(Some(batch)) => {
                    self.given += batch.num_rows() as u64;
                    return Ok(Some(batch));
                }
                Ok(None) => return Ok(None),
                // Whatever was wrong, it is wrong again unless it was the text.
                Err(Error::Unreadable { .. }) if self.is_checked && self.file.has_text(&self.options) => {
                    self.file.as_found()?;
                    self.batches = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// What is left to read.
    fn rest(&self) -> ReadOptions {
        let mut options = self.options.clone();
        if self.given > 0 {
            let given = usize::try_from(self.given).unwrap_or(usize::MAX);
            let all = usize::try_from(self.file.rows_of(&self.options)).unwrap_or(usize::MAX);
            let rest =
                RowSelection::from(vec![RowSelector::skip(given), RowSelector::select(all.saturating_sub(given))]);
            options.selection = Some(match options.selection {
                Some(selection) => selection.and_then(&rest),
                None => rest,
            });
        }
        options
    }
}
