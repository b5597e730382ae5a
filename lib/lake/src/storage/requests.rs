//! How many requests were made, by kind: what the run report shows and what S3 charges for.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Requests by kind. Repetitions inside the S3 client are not in it; pages of a list and ranges of a read are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RequestCounts {
    /// Reads of an object or a range of one.
    pub get: u64,
    /// Writes in one piece.
    pub put: u64,
    /// Pages of lists.
    pub list: u64,
    /// Questions for size and `ETag`.
    pub head: u64,
    /// Deletions: one per 1,000 objects on S3.
    pub delete: u64,
    /// Copies within the store.
    pub copy: u64,
    /// Starts, parts and ends of writes in several pieces.
    pub multipart: u64,
}

impl RequestCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.get + self.put + self.list + self.head + self.delete + self.copy + self.multipart
    }
}

/// The counters behind a [`RequestCounts`].
#[derive(Debug, Default)]
pub(super) struct Requests {
    pub(super) get: AtomicU64,
    pub(super) put: AtomicU64,
    pub(super) list: AtomicU64,
    pub(super) head: AtomicU64,
    pub(super) delete: AtomicU64,
    pub(super) copy: AtomicU64,
    pub(super) multipart: AtomicU64,
}

impl Requests {
    pub(super) fn counts(&self) -> RequestCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RequestCounts {
            get: read(&self.get),
            put: read(&self.put),
            list: read(&self.list),
            head: read(&self.head),
            delete: read(&self.delete),
            copy: read(&self.copy),
            multipart: read(&self.multipart),
        }
    }
}

/// Counts one request.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
