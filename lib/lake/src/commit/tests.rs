//! The commit against an honest catalog, a dishonest one, and other writers.

mod basics;
mod cluster;
mod compaction;
mod conflicts;
mod expiry;
mod foreign;
mod idempotence;
mod manifests;
mod odd;
mod races;
mod refusals;
mod resolve;
mod rollback;

use uuid::Uuid;

use super::{
    names::AttemptFiles,
    snapshot::{AttemptIds, write_next_version},
};
use crate::{Change, catalog::Swap, testing::TestLake};

/// Commits what our own checks would refuse, as another writer does.
pub(crate) async fn commit_unchecked(test: &TestLake, change: &Change) {
    let current = test.table().await;
    let mut files = AttemptFiles::new(&current, Uuid::new_v4(), 0);
    let snapshot_id = i64::try_from(Uuid::new_v4().as_u128() >> 66).unwrap();
    let ids = AttemptIds { snapshot_id, metadata_uuid: Uuid::new_v4(), now_ms: (test.inputs.now_ms)() };
    let next = write_next_version(&current, change, ids, &mut files).await.unwrap();
    let swap = test.lake.catalog.swap(&test.name, &current.pointer, &next.metadata_location, &next.metadata).await;
    assert!(matches!(swap, Swap::Committed));
}
