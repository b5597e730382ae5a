//! The raw zone: which files have arrived in an interval, and which of them are input.
//!
//! A file belongs to the interval that its partition starts in, so that adjacent intervals never share one. Refuses to
//! know what is in a file.

mod sort;
mod sweep;
mod template;

pub use sort::Beside;
pub use sweep::{Sweep, sweep};
pub use template::{Granularity, Place, RawTemplate};

use std::fmt;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Error, Result, Storage};
use sort::Sorter;
use template::Look;

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

/// An object, or a folder of some, that is no input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Absolute location.
    pub location: String,
    /// Why.
    pub reason: IgnoredReason,
}

/// Why an object is no input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IgnoredReason {
    /// It holds nothing: a marker of a folder, or a write that was given up.
    Empty,
    /// It lies in a folder `errors`, where Firehose puts what it could not deliver.
    Errors,
    /// A segment of its path begins with `_` or `.`: markers, checksums, files being written.
    Hidden,
    /// Its path has another form than the template's: no run takes it.
    NoPartition,
    /// Its path says a time that the calendar or the zone's clock does not have: no run takes it.
    NoSuchTime,
    /// It lies in the partition that Hive makes of rows without a value: no run takes it.
    HiveDefault,
    /// It is the log of a Delta table, which says which of the files beside it were removed.
    Delta,
    /// It is metadata of an Iceberg table, which says which of the files beside it are live.
    Iceberg,
    /// It is metadata of a Hudi table, which says which of the files beside it are live.
    Hudi,
}

impl IgnoredReason {
    /// Whether rows may lie there that no run takes, or that are dead.
    pub fn is_odd(self) -> bool {
        !matches!(self, Self::Empty | Self::Errors | Self::Hidden)
    }
}

impl fmt::Display for IgnoredReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "it is empty",
            Self::Errors => "it lies in a folder `errors`",
            Self::Hidden => "a part of its path begins with `_` or `.`",
            Self::NoPartition => "its path does not fit the path template",
            Self::NoSuchTime => "its path says a time that does not exist",
            Self::HiveDefault => "it lies in the partition of rows without a value",
            Self::Delta => "it is the log of a Delta table",
            Self::Iceberg => "it is metadata of an Iceberg table",
            Self::Hudi => "it is metadata of a Hudi table",
        })
    }
}

/// Folders that are listed at once.
const LISTS_AT_ONCE: usize = 16;

/// Everything that has arrived in an interval. A list of which one page fails is an error, never a part.
pub async fn list(
    storage: &Storage,
    template: &RawTemplate,
    interval: RawInterval,
    beside: &Beside,
) -> Result<Listing> {
    let lists = stream::iter(template.looks(interval)?)
        .map(|look| look_at(storage, template, look, beside))
        .buffered(LISTS_AT_ONCE)
        .try_collect::<Vec<Listing>>()
        .await?;
    let mut whole = merged(lists);
    whole.files.retain(|file| interval.start <= file.partition_start && file.partition_start < interval.end);
    Ok(whole)
}

async fn look_at(storage: &Storage, template: &RawTemplate, look: Look, beside: &Beside) -> Result<Listing> {
    let mut sorter = Sorter::new(template, beside);
    let mut listing = Listing::default();
    match look {
        Look::Deep(folder) => {
            let add = |object| {
                sorter.sort_listed(storage, object)?.add_to(&mut listing);
                Ok(())
            };
            sweep::each(storage, &folder, None, add).await?;
        }
        Look::Shallow { folder, date } => {
            let (folders, objects) = match storage.list_directly(&folder).await {
                // A key that is no path lies there, and nothing that is taken.
                Err(Error::Location { .. }) => (vec![format!("{folder}/")], Vec::new()),
                listed => listed?,
            };
            for object in objects {
                sorter.sort(storage, object)?.add_to(&mut listing);
            }
            let unknown = folders.into_iter().filter(|folder| !template.has_hours(folder, date));
            listing.ignored.extend(unknown.filter_map(|folder| sorter.folder(folder)));
        }
    }
    Ok(listing)
}

/// Every file below a folder, with the same rules and without a template.
pub async fn discover(storage: &Storage, folder: &str) -> Result<Listing> {
    let objects = storage.list(folder).await?;
    let mut listing = Listing::default();
    for object in objects {
        sort::below(folder, object)?.add_to(&mut listing);
    }
    Ok(merged(vec![listing]))
}

fn merged(lists: Vec<Listing>) -> Listing {
    let mut whole = Listing::default();
    for list in lists {
        whole.files.extend(list.files);
        whole.ignored.extend(list.ignored);
    }
    whole.files.sort_by(|a, b| a.location.cmp(&b.location));
    whole.files.dedup_by(|a, b| a.location == b.location);
    whole.ignored.sort_by(|a, b| a.location.cmp(&b.location));
    whole.ignored.dedup();
    whole
}

/// Why an object is no input, by its path below its partition's folder; `None` when it is one.
pub fn ignored(below: &str, size: u64) -> Option<IgnoredReason> {
    let segments: Vec<&str> = below.split('/').filter(|segment| !segment.is_empty()).collect();
    let folders = segments.split_last().map_or(&[][..], |(_, folders)| folders);
    if folders.contains(&"errors") {
        Some(IgnoredReason::Errors)
    } else if folders.contains(&"_delta_log") {
        Some(IgnoredReason::Delta)
    } else if folders.contains(&".hoodie") {
        Some(IgnoredReason::Hudi)
    } else if segments.iter().any(|segment| segment.starts_with(['_', '.']) && !is_hive_default(segment)) {
        Some(IgnoredReason::Hidden)
    } else if is_iceberg_metadata(&segments) {
        Some(IgnoredReason::Iceberg)
    } else if size == 0 {
        Some(IgnoredReason::Empty)
    } else {
        None
    }
}

/// Where Hive and Spark put rows that have no value for a partition column.
const HIVE_DEFAULT: &str = "__HIVE_DEFAULT_PARTITION__";

fn is_hive_default(segment: &str) -> bool {
    segment.ends_with(HIVE_DEFAULT)
}

fn is_iceberg_metadata(segments: &[&str]) -> bool {
    match segments {
        [.., "metadata", name] => {
            name.ends_with(".metadata.json") || name.ends_with(".avro") || *name == "version-hint.text"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
