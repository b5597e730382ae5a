//! Reading the metadata of many snapshots: every manifest once, on threads, in memory that does not grow with the table.

use std::{
    collections::HashMap,
    ops::BitOr,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use iceberg::spec::{ManifestFile, SnapshotRef};
use tokio::{
    sync::Semaphore,
    task::{JoinError, JoinSet},
};

use crate::{Result, Table, manifest::inline_manifests, reachable::spelled, skim};

/// Objects of metadata that are read at once. Each is a small request, and S3 answers in tens of milliseconds.
const READS_CONCURRENT_MAX: usize = 32;

/// Bytes of manifests that are in memory at once, in KiB. One that is larger is read alone.
const READ_KIB_MAX: u32 = 32 * 1024;

/// Who needs an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Needed {
    /// The current snapshot.
    pub by_head: bool,
    /// A snapshot that stays; also the current one.
    pub by_kept: bool,
}

impl BitOr for Needed {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { by_head: self.by_head || other.by_head, by_kept: self.by_kept || other.by_kept }
    }
}

/// A manifest with who needs it.
pub(crate) type NeededManifest = (ManifestFile, Needed);

/// Every manifest of these snapshots once, in one spelling of its location, in an order that does not change. They are
/// without their partitions.
pub(crate) async fn manifests(table: &Table, of: Vec<(SnapshotRef, Needed)>) -> Result<Vec<NeededManifest>> {
    let found = Arc::new(Mutex::new(Manifests::default()));
    let reads = of.into_iter().map(|(snapshot, needed)| {
        let (table, found) = (table.clone(), Arc::clone(&found));
        let read = async move {
            let listed = match inline_manifests(&snapshot) {
                Some(_) => table.listed_manifests(&snapshot).await?,
                None => {
                    let bytes = table.manifest_list_bytes(&snapshot).await?;
                    if Manifests::skim(&found, &bytes, needed).is_some() {
                        return Ok(());
                    }
                    table.parse_manifest_list(&snapshot, &bytes)?
                }
            };
            for file in listed {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.add(&file.manifest_path, needed, || Some(ManifestFile { partitions: None, ..file.clone() }));
            }
            Ok(())
        };
        async move { ended(spawned(read).await) }
    });
    stream::iter(reads.collect::<Vec<_>>()).buffer_unordered(READS_CONCURRENT_MAX).try_collect::<()>().await?;
    let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    let mut manifests = found.manifests;
    manifests
        .sort_by(|(a, _), (b, _)| (a.sequence_number, &a.manifest_path).cmp(&(b.sequence_number, &b.manifest_path)));
    Ok(manifests)
}

/// Manifests that were found so far.
#[derive(Debug, Default)]
struct Manifests {
    manifests: Vec<NeededManifest>,
    /// Places in it: by location as lists have it, which is quick, and in one spelling.
    as_listed: HashMap<String, usize>,
    spelled: HashMap<String, usize>,
}

impl Manifests {
    /// Adds the manifests of a list; `None` for a list that has to be read by others. What it added until then is right.
    fn skim(found: &Mutex<Self>, list: &[u8], needed: Needed) -> Option<()> {
        skim::manifest_list(list, false, |listed| {
            let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
            found.add(listed.path, needed, || listed.manifest())
        })
    }

    fn add(&mut self, path: &str, needed: Needed, made: impl FnOnce() -> Option<ManifestFile>) -> Option<()> {
        if let Some(place) = self.as_listed.get(path) {
            let (_, known) = &mut self.manifests[*place];
            *known = *known | needed;
            return Some(());
        }
        let one_spelling = spelled(path);
        let place = match self.spelled.get(&one_spelling) {
            Some(place) => *place,
            None => {
                self.manifests.push((made()?, Needed::default()));
                self.spelled.insert(one_spelling, self.manifests.len() - 1);
                self.manifests.len() - 1
            }
        };
        self.as_listed.insert(path.to_owned(), place);
        let (_, known) = &mut self.manifests[place];
        *known = *known | needed;
        Some(())
    }
}

/// Reads manifests and makes something of each, in their order.
pub(crate) fn read<M, R>(
    table: &Table,
    manifests: Vec<(ManifestFile, M)>,
    make: impl Fn(&Table, &ManifestFile, &M, Bytes) -> Result<R> + Send + Sync + 'static,
) -> impl Stream<Item = Result<R>> + Send
where
    M: Send + Sync + 'static,
    R: Send + 'static,
{
    let (make, room) = (Arc::new(make), Arc::new(Semaphore::new(READ_KIB_MAX as usize)));
    let reads = manifests.into_iter().map(move |(file, of)| {
        let (table, make, room) = (table.clone(), Arc::clone(&make), Arc::clone(&room));
        let read = async move {
            let kib = u32::try_from(file.manifest_length / 1024).unwrap_or(0).clamp(1, READ_KIB_MAX);
            let _room = room.acquire_many(kib).await.expect("nobody closes it");
            let bytes = table.manifest_bytes(&file).await?;
            make(&table, &file, &of, bytes)
        };
        async move { ended(spawned(read).await) }
    });
    stream::iter(reads.collect::<Vec<_>>()).buffered(READS_CONCURRENT_MAX)
}

/// On a thread of its own: reading is waiting, and understanding a manifest is work. It ends when nobody waits for it any more.
async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> std::result::Result<Result<T>, JoinError> {
    let mut tasks = JoinSet::new();
    tasks.spawn(work);
    tasks.join_next().await.expect("one was spawned")
}

/// A task's result; its panic goes on here.
fn ended<T>(joined: std::result::Result<Result<T>, JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => unreachable!("nobody cancels these tasks"),
    }
}
