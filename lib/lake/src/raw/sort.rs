//! Tells input from the rest: one object after the other, by its path.

use std::collections::HashMap;

use jiff::Timestamp;
use object_store::ObjectMeta;

use super::{
    Ignored, IgnoredReason, Listing, Place, RawFile, RawInterval, RawTemplate, ignored, is_hive_default, sweep::Listed,
};
use crate::{Error, Location, Result, Storage};

/// What else lies below a raw zone's root and belongs to others: it is no input, and nobody need be told of it.
#[derive(Debug, Clone, Default)]
pub struct Beside {
    /// The raw zones of other tables.
    pub templates: Vec<RawTemplate>,
    /// Folders in which the program itself writes, as locations with a slash at their end.
    pub folders: Vec<String>,
}

/// What one object is.
#[derive(Debug)]
pub(super) enum Sorted {
    Input(RawFile, RawInterval),
    Ignored(Ignored),
    /// Another's.
    Beside,
}

impl Sorted {
    pub(super) fn add_to(self, listing: &mut Listing) {
        match self {
            Self::Input(file, _) => listing.files.push(file),
            Self::Ignored(ignored) => listing.ignored.push(ignored),
            Self::Beside => {}
        }
    }
}

/// Sorts the objects of one raw zone.
pub(super) struct Sorter<'a> {
    template: &'a RawTemplate,
    beside: &'a Beside,
    /// What the paths of folders say, since many objects lie in each.
    folders: HashMap<String, Folder>,
}

#[derive(Clone, Copy)]
enum Folder {
    In {
        partition: RawInterval,
        hidden: Option<IgnoredReason>,
        below: usize,
    },
    /// Its files lie in no partition, or each says for itself.
    Unsaid,
}

/// Folders that are remembered; then all are forgotten.
const FOLDERS_MAX: usize = 1_000;

impl<'a> Sorter<'a> {
    pub(super) fn new(template: &'a RawTemplate, beside: &'a Beside) -> Self {
        Self { template, beside, folders: HashMap::new() }
    }

    pub(super) fn sort_listed(&mut self, storage: &Storage, object: Listed) -> Result<Sorted> {
        match object {
            Ok(object) => self.sort(storage, object),
            Err(location) => Ok(self.stray(location, 1, IgnoredReason::NoPartition)),
        }
    }

    pub(super) fn sort(&mut self, storage: &Storage, object: ObjectMeta) -> Result<Sorted> {
        let location = storage.location_of(self.template.root(), &object.location)?;
        let (partition, hidden, below) = match self.place(&location) {
            Ok(found) => found,
            Err(reason) => return Ok(self.stray(location, object.size, reason)),
        };
        if let Some(reason) = hidden.or_else(|| ignored(&location[below..], object.size)) {
            return Ok(Sorted::Ignored(Ignored { location, reason }));
        }
        Ok(Sorted::Input(raw_file(location, object, |_| partition.start)?, partition))
    }

    /// A folder in which no partition lies.
    pub(super) fn folder(&self, folder: String) -> Option<Ignored> {
        match self.stray(folder, 1, IgnoredReason::NoPartition) {
            Sorted::Ignored(ignored) => Some(ignored),
            _ => None,
        }
    }

    /// Partition, reason against its folder, and where the path in it begins.
    fn place(&mut self, location: &str) -> Result<(RawInterval, Option<IgnoredReason>, usize), IgnoredReason> {
        let folder = &location[..location.rfind('/').map_or(0, |slash| slash + 1)];
        if let Some(Folder::In { partition, hidden, below }) = self.folders.get(folder) {
            return Ok((*partition, *hidden, *below));
        }
        match self.template.place(location) {
            Place::In { partition, below, hidden } => {
                let below = location.len() - below.len();
                if !self.folders.contains_key(folder) {
                    // Whatever a file is called there: only then the folder says it.
                    let says = below <= folder.len() && matches!(self.template.place(folder), Place::In { .. });
                    if self.folders.len() == FOLDERS_MAX {
                        self.folders.clear();
                    }
                    let known = if says { Folder::In { partition, hidden, below } } else { Folder::Unsaid };
                    self.folders.insert(folder.to_owned(), known);
                }
                Ok((partition, hidden, below))
            }
            Place::NoSuchTime => Err(IgnoredReason::NoSuchTime),
            Place::NoPartition | Place::Outside => Err(IgnoredReason::NoPartition),
        }
    }

    fn stray(&self, location: String, size: u64, reason: IgnoredReason) -> Sorted {
        let is_anothers = |template: &RawTemplate| matches!(template.place(&location), Place::In { .. });
        if self.beside.folders.iter().any(|folder| location.starts_with(folder.as_str()))
            || self.beside.templates.iter().any(is_anothers)
        {
            return Sorted::Beside;
        }
        let below = location.strip_prefix(self.template.root()).unwrap_or(&location);
        let reason = match ignored(below, size) {
            Some(reason) => reason,
            None if below.split('/').any(is_hive_default) => IgnoredReason::HiveDefault,
            None => reason,
        };
        Sorted::Ignored(Ignored { location, reason })
    }
}

/// An object of a folder without a template: only its path below the folder is judged, and it arrived when it was written.
pub(super) fn below(folder: &str, object: ObjectMeta) -> Result<Sorted> {
    let root = Location::parse(folder)?;
    let above = root.path()?;
    let location = root.with_path(&object.location).to_string();
    let below = object.location.as_ref().strip_prefix(above.as_ref()).unwrap_or(object.location.as_ref());
    if let Some(reason) = ignored(below, object.size) {
        return Ok(Sorted::Ignored(Ignored { location, reason }));
    }
    let file = raw_file(location, object, |last_modified| last_modified)?;
    let partition = RawInterval { start: file.partition_start, end: file.partition_start };
    Ok(Sorted::Input(file, partition))
}

fn raw_file(location: String, object: ObjectMeta, arrived: impl Fn(Timestamp) -> Timestamp) -> Result<RawFile> {
    let modified = object.last_modified;
    let last_modified = Timestamp::new(modified.timestamp(), modified.timestamp_subsec_nanos().cast_signed())
        .map_err(|error| Error::Location { location: location.clone(), reason: error.to_string() })?;
    let partition_start = arrived(last_modified);
    Ok(RawFile { location, etag: object.e_tag, size: object.size, last_modified, partition_start })
}
