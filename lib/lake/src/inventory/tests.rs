use plan::objects::{KindTotal, ObjectKind};

use super::*;
use crate::{Change, ChangeKind, obsolete, testing::*};

/// The totals without manifests' sizes, which depend on the codec.
fn counted(totals: &[KindTotal]) -> Vec<(ObjectKind, u64)> {
    totals.iter().map(|total| (total.kind, total.files)).collect()
}

#[tokio::test]
async fn what_only_older_snapshots_need_is_history() {
    let test = TestLake::new().await;
    let first = test.append(10, "a", "m", 5).await.snapshot_id.unwrap();
    let second = test.append(11, "a", "m", 7).await.snapshot_id.unwrap();
    let gone = test.live().await.data.into_iter().find(|file| file.snapshot_id == first).unwrap();
    let other = test.live().await.data.into_iter().find(|file| file.snapshot_id == second).unwrap();
    let change = Change {
        added: vec![test.stage(10, "a", "m", 6).await],
        added_deletes: vec![test.stage_deletes(11, 3).await],
        removed: vec![removal(&gone)],
        referenced: vec![other.data_file.file_path().to_owned()],
        key_scope: Some(scope(&[10, 11], "a", "m")),
        ..test.change(ChangeKind::Merge).await
    };
    test.commit(&change).await.unwrap();
    let table = test.table().await;

    let found = inventory(&table, &[]).await.unwrap();
    assert_eq!(found.expiring, []);
    assert_eq!(found.live.data.len(), 2);
    assert_eq!(found.live.position_deletes.iter().map(|file| file.data_file.record_count()).sum::<u64>(), 3);
    let live: HashSet<String> =
        test.live().await.data.iter().map(|file| file.data_file.file_path().to_owned()).collect();
    assert!(found.live.data.iter().all(|file| live.contains(file.data_file.file_path())));
    assert!(found.live.data.iter().all(|file| file.data_file.lower_bounds().is_empty()), "metrics are not kept");
    assert_eq!(found.live.data.iter().map(|file| file.data_file.record_count()).sum::<u64>(), 13);
    assert_eq!(found.manifests.iter().filter(|manifest| manifest.of_deletes).count(), 1);
    assert!(found.manifests.iter().all(|manifest| manifest.bytes > 0));
    assert_eq!(found.unreadable, None);
    // The replaced file, the manifest that had it, and two lists.
    assert_eq!(found.history[0], KindTotal { kind: ObjectKind::DataFile, files: 1, bytes: 50 });
    assert_eq!(counted(&found.history)[2], (ObjectKind::ManifestList, 2));

    // What an expiry would free is what `etl expire` finds.
    for expired in [&[first][..], &[second], &[first, second]] {
        let found = inventory(&table, expired).await.unwrap();
        let of_expire = obsolete(&table, expired).await.unwrap();
        assert_eq!(found.expiring, plan::objects::totals(of_expire.objects()), "{expired:?}");
    }
}

#[tokio::test]
async fn a_table_without_a_snapshot_has_nothing() {
    let test = TestLake::new().await;
    let found = inventory(&test.table().await, &[]).await.unwrap();
    assert!(found.live.data.is_empty() && found.manifests.is_empty() && found.history.is_empty());
}

#[tokio::test]
async fn a_manifest_that_cannot_be_read_is_an_error() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    let table = test.table().await;
    let manifests = table.manifest_list(table.head().unwrap()).await.unwrap();
    std::fs::write(test.path_of(&manifests[0].manifest_path), "no avro").unwrap();
    let error = inventory(&table, &[]).await.unwrap_err();
    assert!(error.to_string().contains("is corrupt"), "{error}");
}
