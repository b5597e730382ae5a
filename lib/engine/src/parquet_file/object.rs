//! The bytes of one object: conditional requests for its end and for ranges of it.
//!
//! Owns how ranges become requests. Refuses to know what is in them, but for the footer.

use std::{ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{GetOptions, GetRange, ObjectStore, path::Path};
use parquet::{
    DecodeResult,
    errors::ParquetError,
    file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataPushDecoder},
};

use super::guard;
use crate::{Error, Result};

/// Bytes at the end of a file that are read first: the footer of most files, and all of a small file.
pub(super) const TAIL_BYTES: u64 = 128 * 1024;
/// Two ranges nearer than this are read with one request.
const GAP_BYTES_MAX: u64 = 1024 * 1024;
/// No request asks for more than this; a larger range is read in parts, side by side.
const REQUEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Requests under way at one time for one row group.
const REQUESTS_MAX: usize = 8;

/// Where an object's bytes come from.
#[derive(Debug)]
pub(super) struct ObjectBytes {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: Path,
    pub(super) location: String,
    pub(super) etag: Option<String>,
    /// The end of the object that opening it again needs: all of a small object, or its footer. Empty when there is
    /// nothing worth keeping.
    pub(super) end: Bytes,
    /// Whether [`Self::end`] is all of the object.
    pub(super) is_whole: bool,
}

impl ObjectBytes {
    /// Decodes the footer of an object of `size` bytes: from [`Self::end`] where it is there, or from a read of it.
    pub(super) async fn footer(&mut self, size: u64) -> Result<ParquetMetaData> {
        let location = self.location.clone();
        if self.end.is_empty() {
            self.end = self.range(size.saturating_sub(TAIL_BYTES)..size).await?;
        }
        let data = self.end.clone();
        let tail = size.saturating_sub(data.len() as u64)..size;
        self.is_whole = tail.start == 0;
        if !self.is_whole {
            self.end = footer_of(&data);
        }
        let mut decoder = guard(&location, || {
            let mut decoder = ParquetMetaDataPushDecoder::try_new(size)?.with_page_index_policy(PageIndexPolicy::Skip);
            decoder.push_range(tail, data)?;
            Ok::<_, ParquetError>(decoder)
        })?;
        loop {
            match guard(&location, || decoder.try_decode())? {
                DecodeResult::NeedsData(ranges) => {
                    if ranges.iter().any(|range| range.end > size || range.start >= range.end) {
                        return Err(self.unreadable("its footer points outside of the file"));
                    }
                    let data = self.ranges(&ranges).await?;
                    guard(&location, || decoder.push_ranges(ranges, data))?;
                }
                DecodeResult::Data(metadata) => return Ok(metadata),
                DecodeResult::Finished => return Err(self.unreadable("its footer could not be decoded")),
            }
        }
    }

    /// Several ranges, in the order asked for: neighbours with one request, large ones in parts, side by side.
    pub(super) async fn ranges(&self, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.is_whole {
            return ranges.iter().map(|range| self.slice(&self.end, 0, range)).collect();
        }
        let groups = group_ranges(ranges);
        let fetched: Vec<Bytes> = stream::iter(groups.iter().cloned().map(|group| self.range_in_parts(group)))
            .buffered(REQUESTS_MAX)
            .try_collect()
            .await?;
        ranges
            .iter()
            .map(|range| {
                let at = groups.partition_point(|group| group.start <= range.start).saturating_sub(1);
                self.slice(&fetched[at], groups[at].start, range)
            })
            .collect()
    }

    fn slice(&self, data: &Bytes, data_start: u64, range: &Range<u64>) -> Result<Bytes> {
        let start = range.start.checked_sub(data_start).and_then(|start| usize::try_from(start).ok());
        let end = range.end.checked_sub(data_start).and_then(|end| usize::try_from(end).ok());
        match (start, end) {
            (Some(start), Some(end)) if start <= end && end <= data.len() => Ok(data.slice(start..end)),
            _ => Err(self.unreadable("a column chunk lies outside of the file")),
        }
    }

    async fn range_in_parts(&self, range: Range<u64>) -> Result<Bytes> {
        if range.end - range.start <= REQUEST_BYTES_MAX {
            return self.range(range).await;
        }
        let starts = (range.start..range.end).step_by(usize::try_from(REQUEST_BYTES_MAX).unwrap_or(usize::MAX));
        let parts = starts.map(|start| self.range(start..range.end.min(start + REQUEST_BYTES_MAX)));
        let parts: Vec<Bytes> = stream::iter(parts).buffered(REQUESTS_MAX).try_collect().await?;
        let mut whole = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
        parts.iter().for_each(|part| whole.extend_from_slice(part));
        Ok(whole.freeze())
    }

    async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        let bytes_wanted = range.end.saturating_sub(range.start);
        let options =
            GetOptions { if_match: self.etag.clone(), range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = async { self.store.get_opts(&self.path, options).await?.bytes().await };
        let got =
            got.await.map_err(|error| match lake::Error::from_store(lake::Operation::Read, &self.location, error) {
                lake::Error::Changed { .. } | lake::Error::NotFound { .. } => {
                    Error::Replaced { location: self.location.clone() }
                }
                other => other.into(),
            })?;
        if got.len() as u64 != bytes_wanted {
            return Err(self.unreadable("it is shorter than its listed size"));
        }
        Ok(got)
    }

    pub(super) fn unreadable(&self, reason: &str) -> Error {
        Error::Unreadable { location: self.location.clone(), reason: reason.to_owned() }
    }
}

/// The footer at the end of `tail`, in memory of its own; empty when it begins before.
fn footer_of(tail: &Bytes) -> Bytes {
    let length = tail.len().checked_sub(8).and_then(|at| tail[at..at + 4].try_into().ok()).map(u32::from_le_bytes);
    let needed = length.and_then(|length| usize::try_from(length).ok()?.checked_add(8));
    let start = needed.and_then(|needed| tail.len().checked_sub(needed));
    start.map_or_else(Bytes::new, |start| Bytes::copy_from_slice(&tail[start..]))
}

/// Joins ranges that lie near each other, without making a request larger than it may be.
pub(super) fn group_ranges(ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut sorted: Vec<_> = ranges.to_vec();
    sorted.sort_unstable_by_key(|range| (range.start, range.end));
    let mut groups: Vec<Range<u64>> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match groups.last_mut() {
            Some(last)
                if range.start < last.end
                    || (range.start - last.end <= GAP_BYTES_MAX && range.end - last.start <= REQUEST_BYTES_MAX) =>
            {
                last.end = last.end.max(range.end);
            }
            _ => groups.push(range),
        }
    }
    groups
}
