//! Tables whose metadata is as only some writers leave it.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicI64},
};

use crate::{
    Change, ChangeKind, Finding, Table, check, commit, inventory,
    manifest::inline_manifests,
    obsolete, references,
    testing::{ForeignLake, inputs, quick, removal},
};

#[tokio::test]
async fn all_of_their_files_are_found_whatever_the_way() {
    let odd = ForeignLake::odd();
    let names = odd.names().await;
    assert!(names.len() >= 18, "{names:?}");
    for name in names {
        let table = odd.lake.table(&name).await.unwrap().unwrap();
        let head = table.head().unwrap_or_else(|| panic!("{name} has a snapshot")).snapshot_id();
        let whole = table.live_files(head).await.unwrap();
        let short = table.live_files_in_short(head, &[1, 2]).await.unwrap();
        let stock = inventory(&table, &[]).await.unwrap();
        for live in [&whole, &short, &stock.live] {
            assert_eq!(live.data.iter().map(|file| file.data_file.record_count()).sum::<u64>(), 4, "{name}");
        }
        let references = references(&table).await.unwrap();
        let is_there = |file: &crate::DataFileEntry| references.contains_key(file.data_file.file_path());
        assert!(whole.data.iter().all(is_there), "{name}");
        assert!(references.keys().all(|location| location.starts_with("s3://lake/odd/")), "{name}: {references:?}");
        // The first snapshot alone needs its own list, and no file.
        let gone = obsolete(&table, &[1001]).await.unwrap();
        let has_list = inline_manifests(table.snapshot(1001).unwrap()).is_none();
        assert_eq!(gone.objects().count(), usize::from(has_list), "{name}: {gone:?}");
        let listed = table.manifest_list(table.head().unwrap()).await.unwrap();
        assert!(
            listed.iter().all(|file| file.added_files_count == Some(1) && file.added_rows_count == Some(2)),
            "{name}"
        );
    }
}

#[tokio::test]
async fn bounds_that_cannot_be_read_bound_nothing_and_are_copied() {
    let odd = ForeignLake::odd();
    let all = [
        ("odd.bounds_cut", vec![(2, "e697")], vec![(2, "e698"), (3, "c3")]),
        // No byte is a text.
        ("odd.bounds_short", vec![(1, "010203"), (2, ""), (4, "")], vec![(1, "010203"), (2, ""), (4, "")]),
    ];
    for (name, lower, upper) in all {
        let bounds = async |table: &Table| {
            let mut found = Vec::new();
            for file in table.manifest_list(table.head().unwrap()).await.unwrap() {
                found.extend(table.manifest(&file).await.unwrap().entries.into_iter().map(|entry| entry.data_file));
            }
            let file = found.into_iter().find(|file| file.file_path().ends_with("/0.parquet")).unwrap();
            [file.lower_bounds(), file.upper_bounds()].map(|bounds| {
                let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                let all = bounds.iter().map(|(id, bound)| (*id, hex(&bound.to_bytes().unwrap())));
                all.collect::<BTreeMap<i32, String>>()
            })
        };
        let wanted = [lower, upper].map(|all| all.into_iter().map(|(id, hex)| (id, hex.to_owned())).collect());
        let table = odd.table(name).await;
        assert_eq!(bounds(&table).await, wanted, "{name}");
        let short = table.live_files_in_short(1002, &[1, 2, 3, 4]).await.unwrap();
        let readable: Vec<i32> = short.data[0].data_file.lower_bounds().keys().copied().collect();
        assert!(readable.iter().all(|id| *id == 2 && name == "odd.bounds_short"), "{name}: {readable:?}");
        // Into a manifest of ours, as a file that goes, and read again.
        let live = table.live_files(1002).await.unwrap();
        let gone = live.data.iter().find(|file| file.data_file.file_path().ends_with("/0.parquet")).unwrap();
        let change = Change { removed: vec![removal(gone)], ..Change::new(&table, ChangeKind::Replace) };
        let clock = Arc::new(AtomicI64::new(1_760_000_000_000));
        commit(&odd.lake, &table, &change, &inputs(&clock), &quick()).await.unwrap();
        assert_eq!(bounds(&odd.table(name).await).await, wanted, "{name}");
    }
}

#[tokio::test]
async fn what_a_list_has_wrong_is_a_finding() {
    let odd = ForeignLake::odd();
    let mut found = BTreeMap::new();
    for name in odd.names().await {
        for finding in check(&odd.lake.table(&name).await.unwrap().unwrap()).await.unwrap() {
            let text = match &finding {
                Finding::ListedCount { name, recorded, actual, .. } => format!("{name}: {recorded} for {actual}"),
                Finding::ListedSequenceNumber { recorded, actual, .. } => format!("{recorded} for {actual}"),
                other => other.to_string(),
            };
            found.entry(name.to_string()).or_insert_with(Vec::new).push(text);
        }
    }
    let counts = ["added_files_count: 0 for 1", "added_rows_count: 0 for 2"];
    let wanted = [
        ("odd.counts_of_nothing", [counts, counts].concat()),
        ("odd.min_sequence_number_too_high", vec!["99 for 1", "99 for 2"]),
    ];
    let wanted = wanted.map(|(name, of)| (name.to_owned(), of.into_iter().map(str::to_owned).collect()));
    assert_eq!(found, BTreeMap::from(wanted));
}

#[tokio::test]
async fn a_file_goes_whatever_its_list_says() {
    let odd = ForeignLake::odd();
    for name in ["odd.min_sequence_number_too_high", "odd.counts_of_nothing", "odd.counts_null", "odd.header_empty"] {
        let table = odd.table(name).await;
        let live = table.live_files(1002).await.unwrap();
        let mut removed: Vec<_> = live.data.iter().map(removal).collect();
        removed.truncate(1);
        let change = Change { removed, ..Change::new(&table, ChangeKind::Replace) };
        let clock = Arc::new(AtomicI64::new(1_760_000_000_000));
        commit(&odd.lake, &table, &change, &inputs(&clock), &quick()).await.unwrap();
        let table = odd.table(name).await;
        assert_eq!(table.live_files(table.head().unwrap().snapshot_id()).await.unwrap().data.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_snapshot_without_a_list_is_not_written_beside() {
    let odd = ForeignLake::odd();
    let error = odd.table("odd.v1_inline").await.check_writable().unwrap_err();
    assert!(error.to_string().contains("format version 1"), "{error}");
}
