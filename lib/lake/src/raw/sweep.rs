//! Everything in a raw zone, found by what is there: no folder is asked for by name, so that none is missed, however old it
//! is or far in the future.

use std::collections::BTreeMap;

use object_store::ObjectMeta;

use super::{
    Beside, Ignored, IgnoredReason, RawFile, RawInterval, RawTemplate,
    sort::{Sorted, Sorter},
};
use crate::{Error, Location, Result, Storage};

/// What lies in a raw zone and is no input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sweep {
    /// How much, by the reason.
    pub counts: BTreeMap<IgnoredReason, u64>,
    /// The first of each reason.
    pub samples: Vec<Ignored>,
}

/// Samples that are kept of each reason.
const SAMPLES_MAX: u64 = 20;

impl Sweep {
    /// Notes an object that is no input.
    pub fn add(&mut self, ignored: Ignored) {
        let count = self.counts.entry(ignored.reason).or_default();
        *count += 1;
        if *count <= SAMPLES_MAX {
            self.samples.push(ignored);
        }
    }
}

/// Shows every input file below the template's root, or of those whose location comes after `after`, with its partition:
/// the files of one partition after each other where [`RawTemplate::is_contiguous`]. On S3 that is one request for 1,000
/// objects. A list of which one page fails is an error.
pub async fn sweep(
    storage: &Storage,
    template: &RawTemplate,
    beside: &Beside,
    after: Option<&str>,
    mut see: impl FnMut(RawFile, RawInterval) -> Result<()>,
) -> Result<Sweep> {
    let mut sorter = Sorter::new(template, beside);
    let mut rest = Sweep::default();
    each(storage, template.root(), after, |object| {
        match sorter.sort_listed(storage, object)? {
            Sorted::Input(file, partition) => see(file, partition)?,
            Sorted::Ignored(ignored) => rest.add(ignored),
            Sorted::Beside => {}
        }
        Ok(())
    })
    .await?;
    Ok(rest)
}

/// An object of a list; or the location of one whose key is no path, such as `a//b`.
pub(super) type Listed = std::result::Result<ObjectMeta, String>;

/// Shows every object below a folder, of those whose location comes after `after` where it is given.
pub(super) async fn each(
    storage: &Storage,
    folder: &str,
    after: Option<&str>,
    mut see: impl FnMut(Listed) -> Result<()>,
) -> Result<()> {
    let mut last = None;
    let add = |object: ObjectMeta| {
        last = Some(object.location.clone());
        see(Ok(object))
    };
    let listed = storage.list_each(folder, after, add).await;
    match listed {
        // A key that is no path ends the list. Another client shows it.
        Err(Error::Location { .. }) if matches!(Location::parse(folder)?, Location::S3 { .. }) => {
            let last = last.map(|path| storage.location_of(folder, &path)).transpose()?;
            let from = last.as_deref().or(after);
            for object in storage.classes()?.list(folder).await? {
                if from.is_none_or(|from| object.location.as_str() > from) {
                    see(object.meta().ok_or(object.location))?;
                }
            }
            Ok(())
        }
        listed => listed,
    }
}
