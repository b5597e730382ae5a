//! The raw zone: which files have arrived in an interval, and which of them are input.
//!
//! A file belongs to the interval that its partition starts in, so that adjacent intervals never share one. Refuses to
//! know what is in a file.

mod template;

pub use template::{Granularity, RawTemplate};

use std::fmt;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use object_store::ObjectMeta;
use serde::{Deserialize, Serialize};

use crate::{Error, Location, Result, Storage};

/// An interval of arrival time, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RawInterval {
    /// First instant in it.
    pub start: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

impl fmt::Display for RawInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

/// What lies in the raw zone for an interval.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Input, sorted by location.
    pub files: Vec<RawFile>,
    /// What is there and is no input, sorted by location.
    pub ignored: Vec<Ignored>,
}

/// One input file, frozen by its `ETag`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawFile {
    /// Absolute location.
    pub location: String,
    /// What a conditional read must still find.
    pub etag: Option<String>,
    /// Bytes.
    pub size: u64,
    /// When it was written.
    pub last_modified: Timestamp,
    /// When it arrived: the start of its partition, or when it was written where there are no partitions.
    pub partition_start: Timestamp,
}

/// An object that is no input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Absolute location.
    pub location: String,
    /// Why.
    pub reason: IgnoredReason,
}

/// Why an object is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoredReason {
    /// It holds nothing: a marker of a folder, or a write that was given up.
    Empty,
    /// It lies in a folder `errors`, where Firehose puts what it could not deliver.
    Errors,
    /// A segment of its path begins with `_` or `.`: markers, checksums, files being written.
    Hidden,
}

impl fmt::Display for IgnoredReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::Errors => "it lies in a folder `errors`",
            Self::Hidden => "a part of its path begins with `_` or `.`",
        })
    }
}

/// Folders that are listed at once.
const LISTS_AT_ONCE: usize = 16;

/// Everything that has arrived in an interval. A list of which one page fails is an error, never a part.
pub async fn list(storage: &Storage, template: &RawTemplate, interval: RawInterval) -> Result<Listing> {
    let partitions = template.prefixes(interval)?;
    let lists = stream::iter(partitions)
        .map(|(folder, start)| async move {
            let objects = storage.list(&folder).await?;
            sort_out(&folder, objects, |_| start)
        })
        .buffered(LISTS_AT_ONCE)
        .try_collect::<Vec<Listing>>()
        .await?;
    Ok(merged(lists))
}

/// Every file below a folder, with the same rules and without a template.
pub async fn discover(storage: &Storage, folder: &str) -> Result<Listing> {
    let objects = storage.list(folder).await?;
    Ok(merged(vec![sort_out(folder, objects, |last_modified| last_modified)?]))
}

fn merged(lists: Vec<Listing>) -> Listing {
    let mut whole = Listing::default();
    for list in lists {
        whole.files.extend(list.files);
        whole.ignored.extend(list.ignored);
    }
    whole.files.sort_by(|a, b| a.location.cmp(&b.location));
    whole.ignored.sort_by(|a, b| a.location.cmp(&b.location));
    whole
}

/// Tells input from the rest. Only the part of a path below the listed folder is judged.
fn sort_out(folder: &str, objects: Vec<ObjectMeta>, arrived: impl Fn(Timestamp) -> Timestamp) -> Result<Listing> {
    let root = Location::parse(folder)?;
    let above = root.path()?;
    let mut listing = Listing::default();
    for object in objects {
        let location = root.with_path(&object.location).to_string();
        let below = object.location.as_ref().strip_prefix(above.as_ref()).unwrap_or(object.location.as_ref());
        if let Some(reason) = ignored(below, object.size) {
            listing.ignored.push(Ignored { location, reason });
            continue;
        }
        let modified = object.last_modified;
        let last_modified = Timestamp::new(modified.timestamp(), modified.timestamp_subsec_nanos().cast_signed())
            .map_err(|error| Error::Location { location: location.clone(), reason: error.to_string() })?;
        let partition_start = arrived(last_modified);
        listing.files.push(RawFile { location, etag: object.e_tag, size: object.size, last_modified, partition_start });
    }
    Ok(listing)
}

/// Why an object is no input, by its path below its partition's folder; `None` when it is one.
pub fn ignored(below: &str, size: u64) -> Option<IgnoredReason> {
    let segments: Vec<&str> = below.split('/').filter(|segment| !segment.is_empty()).collect();
    let folders = segments.split_last().map_or(&[][..], |(_, folders)| folders);
    if folders.contains(&"errors") {
        Some(IgnoredReason::Errors)
    } else if segments.iter().any(|segment| segment.starts_with(['_', '.'])) {
        Some(IgnoredReason::Hidden)
    } else if size == 0 {
        Some(IgnoredReason::Empty)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
