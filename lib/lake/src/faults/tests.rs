//! Every step can fail, once before and once after its effect.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::{Error, Result, Storage, StorageOptions};

fn storage(faults: &Faults) -> Storage {
    Storage::new(StorageOptions { s3: None, wrapper: Some(Arc::new(faults.clone())) })
}

/// Write, list, read and delete: one step each, and one more for the second write.
async fn run(storage: &Storage, folder: &TempDir) -> Result<()> {
    let root = folder.path().display();
    storage.write_new(&format!("{root}/a"), Bytes::from_static(b"1")).await?;
    storage.write_new(&format!("{root}/b"), Bytes::from_static(b"2")).await?;
    assert_eq!(storage.list(&root.to_string()).await?.len(), 2);
    storage.read(&format!("{root}/a")).await?;
    storage.delete_all(vec![format!("{root}/a"), format!("{root}/b")]).await
}

#[tokio::test]
async fn a_dry_run_counts_the_steps() {
    let (faults, folder) = (Faults::counting(), tempfile::tempdir().unwrap());
    run(&storage(&faults), &folder).await.unwrap();
    assert_eq!(faults.steps(), 6);
}

#[tokio::test]
async fn each_step_fails_before_or_after_its_effect() {
    for step in 1..=6 {
        for fault in [Fault::Before, Fault::After] {
            let folder = tempfile::tempdir().unwrap();
            let faults = Faults::new(Some(FaultPlan { step, fault }), |_| {});
            let error = run(&storage(&faults), &folder).await.unwrap_err();
            assert!(matches!(error, Error::Unavailable { .. }), "{step} {fault:?}: {error:?}");
            assert!(error.is_transient());
            let names: Vec<_> = ["a", "b"].into_iter().filter(|name| folder.path().join(name).exists()).collect();
            let expected: &[&str] = match (step, fault) {
                (1, Fault::Before) => &[],
                (1, _) | (2, Fault::Before) => &["a"],
                (5, Fault::After) | (6, Fault::Before) => &["b"],
                (6, _) => &[],
                _ => &["a", "b"],
            };
            assert_eq!(names, expected, "{step} {fault:?}");
            run(&storage(&Faults::counting()), &folder).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_process_is_stopped_before_the_effect() {
    let stopped = Arc::new(AtomicBool::new(false));
    let flag = stopped.clone();
    let plan = "2:stop".parse().unwrap();
    let faults = Faults::new(Some(plan), move |_| flag.store(true, Ordering::SeqCst));
    let folder = tempfile::tempdir().unwrap();
    run(&storage(&faults), &folder).await.unwrap_err();
    assert!(stopped.load(Ordering::SeqCst));
    assert!(folder.path().join("a").exists() && !folder.path().join("b").exists());
}

#[test]
fn a_plan_is_read_or_refused() {
    assert_eq!("12:after".parse(), Ok(FaultPlan { step: 12, fault: Fault::After }));
    for text in ["12", "x:stop", "1:never", ""] {
        assert!(text.parse::<FaultPlan>().is_err());
    }
}

#[tokio::test]
async fn a_bulk_deletion_takes_a_step_for_each_request() {
    use futures::{StreamExt, stream};
    use object_store::{ObjectStore, ObjectStoreExt, memory::InMemory, path::Path};

    let paths: Vec<_> = (0..2_001).map(|n| Path::from(format!("{n:04}"))).collect();
    for (fault, left) in [(None, 0), (Some(Fault::Before), 1_000), (Some(Fault::After), 0)] {
        let inner = Arc::new(InMemory::new());
        for path in &paths {
            inner.put(path, Bytes::new().into()).await.unwrap();
        }
        let faults = Faults::new(fault.map(|fault| FaultPlan { step: 2, fault }), |_| {});
        let store = faults.wrap("bucket", inner.clone());
        let deleted = store.delete_stream(stream::iter(paths.clone()).map(Ok).boxed());
        let answers: Vec<_> = deleted.collect().await;
        assert_eq!(faults.steps(), 3, "{fault:?}");
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), usize::from(fault.is_some()), "{fault:?}");
        assert_eq!(inner.list(None).count().await, left, "{fault:?}");
    }
}
