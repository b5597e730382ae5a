//! Committing to tables that Spark and Flink wrote: several specs, schemas and format versions in one table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicI64},
};

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat};

use crate::{Change, ChangeKind, DataFileEntry, Finding, StagedFile, Table, check, commit, testing::*};

/// Another file in the place of one.
async fn replacement(table: &Table, gone: &DataFileEntry) -> StagedFile {
    let path = format!("{}.again", gone.data_file.file_path());
    let bytes = table.storage.read(gone.data_file.file_path()).await.unwrap();
    let file = DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.clone())
        .file_format(DataFileFormat::Parquet)
        .partition(gone.data_file.partition().clone())
        .partition_spec_id(gone.spec_id)
        .record_count(gone.data_file.record_count())
        .file_size_in_bytes(bytes.len() as u64)
        .build()
        .unwrap();
    table.storage.write_new(&path, bytes).await.unwrap();
    StagedFile { data_file: file, spec_id: gone.spec_id }
}

#[tokio::test]
async fn one_file_of_each_spec_is_replaced_and_the_rest_stays() {
    let foreign = ForeignLake::new();
    let inputs = inputs(&Arc::new(AtomicI64::new(1_750_000_000_000)));
    for name in [
        "flink.upsert_plain",
        "spark.position_deletes",
        "spark.evolved",
        "spark.by_bucket",
        "spark.by_month",
        "spark.by_truncate",
    ] {
        let table = foreign.table(name).await;
        let before = table.live_files(table.head().unwrap().snapshot_id()).await.unwrap();
        let mut of_each_spec: BTreeMap<i32, &DataFileEntry> = BTreeMap::new();
        for file in &before.data {
            of_each_spec.entry(file.spec_id).or_insert(file);
        }
        let mut added = Vec::new();
        for gone in of_each_spec.values() {
            added.push(replacement(&table, gone).await);
        }
        let removed = of_each_spec.values().map(|gone| removal(gone)).collect();
        let change = Change { added, removed, ..Change::new(&table, ChangeKind::Replace) };
        commit(&foreign.lake, &table, &change, &inputs, &quick()).await.unwrap();
        let after_table = foreign.table(name).await;
        let after = after_table.live_files(after_table.head().unwrap().snapshot_id()).await.unwrap();
        let gone: BTreeSet<_> = change.removed.iter().map(|gone| gone.path.as_str()).collect();
        // What stays is told as it was, to the last bound.
        let kept = |live: &[DataFileEntry]| -> BTreeMap<String, String> {
            let stays = live.iter().filter(|file| !gone.contains(file.data_file.file_path()));
            let stays = stays.filter(|file| !file.data_file.file_path().ends_with(".again"));
            stays.map(|file| (file.data_file.file_path().to_owned(), told(file))).collect()
        };
        assert_eq!(kept(&after.data), kept(&before.data), "{name}");
        assert_eq!(kept(&after.position_deletes), kept(&before.position_deletes), "{name}");
        assert_eq!(kept(&after.equality_deletes), kept(&before.equality_deletes), "{name}");
        assert_eq!(after.data.len(), before.data.len(), "{name}");
        assert_eq!(after_table.refs().len(), table.refs().len(), "{name}");
        assert_eq!(check(&after_table).await.unwrap(), Vec::<Finding>::new(), "{name}");
    }
}

/// Everything that a manifest says of a file, in a fixed order.
fn told(entry: &DataFileEntry) -> String {
    let file = &entry.data_file;
    let lower: BTreeMap<_, _> = file.lower_bounds().iter().collect();
    let upper: BTreeMap<_, _> = file.upper_bounds().iter().collect();
    let sizes: BTreeMap<_, _> = file.column_sizes().iter().collect();
    let nulls: BTreeMap<_, _> = file.null_value_counts().iter().collect();
    format!(
        "{:?} {} {:?} {} {} {lower:?} {upper:?} {sizes:?} {nulls:?} {:?} {:?} {:?} {:?}",
        (entry.spec_id, entry.sequence_number, entry.snapshot_id),
        file.file_path(),
        file.partition(),
        file.record_count(),
        file.file_size_in_bytes(),
        file.split_offsets(),
        file.equality_ids(),
        file.sort_order_id(),
        file.referenced_data_file(),
    )
}
