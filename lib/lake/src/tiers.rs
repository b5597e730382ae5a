//! Moving an object to another storage class by a copy onto itself, and its tag for lifecycle rules.
//!
//! Whatever happens, the object keeps its bytes, its `ETag`, its metadata and its tags, and a repetition finds it done. What
//! a copy would change is refused before anything is written.

use contract::ColdClass;
use futures::{StreamExt, TryStreamExt, stream};
use plan::tier::TAG;

use crate::{
    Error, Operation, Result,
    storage::{Classes, ObjectState, Tags},
};

/// The largest object that one request copies.
const COPY_BYTES_MAX: u64 = 5 << 30;

/// Parts of one object that are copied at once.
const PARTS_AT_ONCE: usize = 8;

/// What became of an object that was to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// It was moved.
    Now,
    /// It was there.
    Already,
}

/// Moves an object of this `ETag` to a class. Another one that lies there by now is [`Error::Changed`].
pub async fn move_object(classes: &Classes, location: &str, etag: &str, to: ColdClass) -> Result<Moved> {
    let before = classes.state(location).await?;
    if before.etag != etag {
        return Err(Error::Changed { operation: Operation::Copy, location: location.to_owned() });
    }
    if before.class == to.name() {
        return Ok(Moved::Already);
    }
    check_copyable(location, &before, to)?;
    let copied = match in_parts(&before) {
        false => classes.copy(location, &before, to).await,
        true => copy_in_parts(classes, location, &before, to).await,
    };
    match copied {
        Ok(()) => {}
        Err(error @ Error::Changed { .. }) => return Err(error),
        // The answer may have been lost and the copy made: what lies there says so.
        Err(error) => {
            let after = classes.state(location).await;
            if !after.is_ok_and(|after| after.class == to.name() && after.etag == before.etag) {
                return Err(error);
            }
        }
    }
    let after = classes.state(location).await?;
    compare(location, &before, &after, to)?;
    Ok(Moved::Now)
}

/// An `ETag` names an object in the ledger, and a copy keeps it only where it is the MD5 of the bytes, or of those of the
/// same parts.
fn check_copyable(location: &str, before: &ObjectState, to: ColdClass) -> Result<()> {
    let head = &before.head;
    let encryption = head.server_side_encryption.as_ref().map(|encryption| encryption.as_str());
    let reason = match encryption {
        Some(kind) if kind != "AES256" => format!("it is encrypted with {kind}, and a copy would get another ETag"),
        _ if head.sse_customer_algorithm.is_some() => "it is encrypted with a key of its owner's".to_owned(),
        _ if head.object_lock_mode.is_some() || head.object_lock_legal_hold_status.is_some() => {
            "it is locked".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::NotCopyable { location: location.to_owned(), class: to.name().to_owned(), reason })
}

/// Written in parts, as its `ETag` says (`"…-17"`), or too large for one request.
fn in_parts(state: &ObjectState) -> bool {
    state.etag.contains('-') || state.bytes > COPY_BYTES_MAX
}

/// The same parts give the same `ETag`.
async fn copy_in_parts(classes: &Classes, location: &str, before: &ObjectState, to: ColdClass) -> Result<()> {
    let sizes = part_sizes(classes, location).await?;
    if sizes.iter().sum::<u64>() != before.bytes {
        return Err(Error::Changed { operation: Operation::Copy, location: location.to_owned() });
    }
    let tags = match before.head.tag_count {
        Some(1..) => classes.tags(location).await?,
        _ => Tags::new(),
    };
    let upload = classes.start_copy(location, before, &tags, to).await?;
    let mut start = 0;
    let ranges = sizes.into_iter().map(|bytes| {
        start += bytes;
        start - bytes..start
    });
    let copies = (1..).zip(ranges.collect::<Vec<_>>()).map(|(number, range)| {
        let upload = &upload;
        async move { classes.copy_part(location, &before.etag, upload, number, range).await }
    });
    let parts = stream::iter(copies.collect::<Vec<_>>()).buffered(PARTS_AT_ONCE).try_collect().await;
    let done = match parts {
        Ok(parts) => classes.complete_copy(location, &before.etag, &upload, parts).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &done {
        // Parts that stay are paid for. One that was completed all the same has none.
        if let Err(also) = classes.abort_copy(location, &upload).await {
            tracing::warn!(object.location = location, %error, %also, "parts of a copy may be left");
        }
    }
    done
}

async fn part_sizes(classes: &Classes, location: &str) -> Result<Vec<u64>> {
    let (first, count) = classes.part(location, 1).await?;
    let others = (2..=count).map(|number| async move { classes.part(location, number).await.map(|part| part.0) });
    let others: Vec<u64> = stream::iter(others.collect::<Vec<_>>()).buffered(PARTS_AT_ONCE).try_collect().await?;
    Ok([vec![first], others].concat())
}

/// That a copy is what it was made from.
fn compare(location: &str, before: &ObjectState, after: &ObjectState, to: ColdClass) -> Result<()> {
    let (old, new) = (&before.head, &after.head);
    let same_checksum = |old: &Option<String>, new: &Option<String>| old.is_none() || new.is_none() || old == new;
    let what = if after.class != to.name() {
        "class"
    } else if after.bytes != before.bytes {
        "size"
    } else if after.etag != before.etag {
        "ETag"
    } else if !same_checksum(&old.checksum_crc32, &new.checksum_crc32)
        || !same_checksum(&old.checksum_crc32_c, &new.checksum_crc32_c)
        || !same_checksum(&old.checksum_crc64_nvme, &new.checksum_crc64_nvme)
        || !same_checksum(&old.checksum_sha1, &new.checksum_sha1)
        || !same_checksum(&old.checksum_sha256, &new.checksum_sha256)
    {
        "checksum"
    } else if old.metadata.clone().unwrap_or_default() != new.metadata.clone().unwrap_or_default()
        || old.content_type != new.content_type
    {
        "metadata"
    } else if old.tag_count.unwrap_or(0) != new.tag_count.unwrap_or(0) {
        "number of tags"
    } else {
        return Ok(());
    };
    Err(Error::Differs { location: location.to_owned(), class: to.name().to_owned(), what })
}

/// Gives an object the tag by which a lifecycle rule moves it, or takes it away, and leaves its other tags alone.
pub async fn tag_object(classes: &Classes, location: &str, class: Option<ColdClass>) -> Result<Moved> {
    let mut tags = classes.tags(location).await?;
    let before = tags.get(TAG).cloned();
    let wanted = class.map(|class| class.name().to_owned());
    if before == wanted {
        return Ok(Moved::Already);
    }
    match wanted {
        Some(class) => drop(tags.insert(TAG.to_owned(), class)),
        None => drop(tags.remove(TAG)),
    }
    if tags.len() > TAGS_MAX {
        let reason = format!("it has {TAGS_MAX} tags, and S3 takes no more");
        let class = class.map_or_else(String::new, |class| class.name().to_owned());
        return Err(Error::NotCopyable { location: location.to_owned(), class, reason });
    }
    classes.set_tags(location, &tags).await?;
    Ok(Moved::Now)
}

/// Tags that an object may have.
const TAGS_MAX: usize = 10;
