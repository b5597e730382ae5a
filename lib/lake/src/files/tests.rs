//! Live files and deletes of tables that Spark and Flink wrote, counted by PyIceberg from their manifests; and the rules
//! of scan planning one by one.

use std::collections::{BTreeMap, HashMap};

use iceberg::spec::DataFileBuilder;

use super::*;
use crate::{Error, testing::*};

/// Data files, position delete files, equality delete files.
fn counts(live: &LiveFiles) -> (usize, usize, usize) {
    (live.data.len(), live.position_deletes.len(), live.equality_deletes.len())
}

fn records(files: &[DataFileEntry]) -> u64 {
    files.iter().map(|file| file.data_file.record_count()).sum()
}

#[tokio::test]
async fn every_snapshot_of_other_engines_has_the_files_that_it_says() {
    let foreign = ForeignLake::new();
    let expected = [
        ("flink.upsert_plain", [(1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4)].as_slice()),
        ("spark.position_deletes", &[(9, 0, 0), (9, 9, 0), (11, 9, 0), (16, 9, 0)]),
        ("spark.evolved", &[(2, 0, 0), (62, 0, 0), (66, 0, 0)]),
        ("spark.by_bucket", &[(8, 0, 0), (8, 0, 0)]),
        ("spark.by_month", &[(1, 0, 0), (1, 0, 0)]),
        ("spark.by_truncate", &[(80, 0, 0), (79, 0, 0)]),
    ];
    for (name, per_snapshot) in expected {
        let table = foreign.table(name).await;
        let mut snapshots: Vec<_> = table.metadata.snapshots().collect();
        snapshots.sort_by_key(|snapshot| snapshot.timestamp_ms());
        let mut found = Vec::new();
        for snapshot in snapshots {
            let live = table.live_files(snapshot.snapshot_id()).await.unwrap();
            let total = |name: &str| snapshot.summary().additional_properties[name].parse::<u64>().unwrap();
            assert_eq!(records(&live.data), total("total-records"), "{name}");
            assert_eq!(records(&live.position_deletes), total("total-position-deletes"), "{name}");
            assert_eq!(records(&live.equality_deletes), total("total-equality-deletes"), "{name}");
            found.push(counts(&live));
        }
        assert_eq!(found, per_snapshot, "{name}");
    }
}

#[tokio::test]
async fn flinks_equality_deletes_hit_older_files_everywhere() {
    let foreign = ForeignLake::new();
    let table = foreign.table("flink.upsert_plain").await;
    let live = table.live_files(table.head().unwrap().snapshot_id()).await.unwrap();
    let index = live.delete_index();
    let mut found: Vec<_> = live
        .data
        .iter()
        .map(|file| {
            let deletes = index.for_file(file);
            let numbers: Vec<_> = deletes.equality.iter().map(|delete| delete.sequence_number).collect();
            (file.sequence_number, numbers, deletes.position.iter().map(|d| d.sequence_number).collect::<Vec<_>>())
        })
        .collect();
    found.sort();
    for (_, numbers, _) in &mut found {
        numbers.sort_unstable();
    }
    let expected = [(1, vec![2, 3, 4], vec![1]), (2, vec![3, 4], vec![2]), (3, vec![4], vec![3]), (4, vec![], vec![4])];
    assert_eq!(found, expected);
}

#[tokio::test]
async fn sparks_position_deletes_hit_the_file_that_they_name() {
    let foreign = ForeignLake::new();
    let table = foreign.table("spark.position_deletes").await;
    let live = table.live_files(table.head().unwrap().snapshot_id()).await.unwrap();
    let index = live.delete_index();
    let hit: Vec<usize> = live.data.iter().map(|file| index.for_file(file).position.len()).collect();
    assert_eq!((hit.iter().sum::<usize>(), hit.iter().filter(|count| **count == 1).count()), (9, 9));
    let by_partition: BTreeMap<String, u64> = live
        .data
        .iter()
        .filter_map(|file| {
            let [delete] = index.for_file(file).position[..] else { return None };
            Some((format!("{:?}", file.data_file.partition()), delete.data_file.record_count()))
        })
        .collect();
    assert_eq!(by_partition.len(), 9, "the old file of each day");
    assert_eq!(by_partition.values().sum::<u64>(), 89);
}

#[tokio::test]
async fn snapshots_are_found_by_time_and_ref() {
    let foreign = ForeignLake::new();
    let table = foreign.table("spark.evolved").await;
    let refs = table.refs();
    assert!(refs.len() > 1, "{refs:?}");
    for (name, reference) in &refs {
        assert_eq!(table.snapshot_of_ref(name).unwrap().snapshot_id(), reference.snapshot_id);
    }
    let log = table.metadata.history();
    for (entry, next) in log.iter().zip(&log[1..]) {
        assert_eq!(table.snapshot_as_of(entry.timestamp_ms).unwrap().snapshot_id(), entry.snapshot_id);
        assert_eq!(table.snapshot_as_of(next.timestamp_ms - 1).unwrap().snapshot_id(), entry.snapshot_id);
    }
    let error = table.snapshot_as_of(log[0].timestamp_ms - 1).unwrap_err();
    assert!(matches!(error, Error::Table(TableError::NoSnapshot { .. })), "{error:?}");
    assert!(table.snapshot(1).is_err() && table.snapshot_of_ref("none").is_err());
}

#[tokio::test]
async fn a_missing_or_corrupt_part_is_named() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    let table = test.table().await;
    let head = table.head().unwrap().clone();
    let manifest = table.manifest_list(&head).await.unwrap()[0].manifest_path.clone();
    for (location, part) in [
        (manifest.as_str(), "manifest"),
        (head.manifest_list(), "manifest list"),
        (&table.pointer.metadata_location, "metadata"),
    ] {
        let live = || async {
            let table = test.lake.table(&table.name).await?.unwrap();
            table.live_files(head.snapshot_id()).await
        };
        std::fs::write(test.path_of(location), b"not what it was").unwrap();
        let error = live().await.unwrap_err();
        assert_eq!(error.to_string(), format!("read table curated.telemetry: its {part} {location} is corrupt"));
        std::fs::remove_file(test.path_of(location)).unwrap();
        let error = live().await.unwrap_err();
        assert_eq!(error.to_string(), format!("read table curated.telemetry: its {part} {location} does not exist"));
        assert!(error.help().unwrap().contains("restore the object"));
        assert_eq!(error.kind(), crate::ErrorKind::Corrupt);
    }
}

fn entry(file: &mut DataFileBuilder, sequence_number: i64, spec_id: i32, partition: i32) -> DataFileEntry {
    file.file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::int(partition))]))
        .record_count(1)
        .file_size_in_bytes(1);
    DataFileEntry { data_file: Arc::new(file.build().unwrap()), spec_id, sequence_number, snapshot_id: 1 }
}

fn data(path: &str, sequence_number: i64, spec_id: i32, partition: i32) -> DataFileEntry {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::Data).file_path(path.to_owned());
    entry(&mut file, sequence_number, spec_id, partition)
}

fn position(sequence_number: i64, spec_id: i32, partition: i32, bounds: Option<(&str, &str)>) -> DataFileEntry {
    entry(&mut position_file(bounds), sequence_number, spec_id, partition)
}

fn position_file(bounds: Option<(&str, &str)>) -> DataFileBuilder {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::PositionDeletes).file_path("deletes".to_owned());
    if let Some((lower, upper)) = bounds {
        let bound = |path: &str| HashMap::from([(DELETE_FILE_PATH_ID, Datum::string(path))]);
        file.lower_bounds(bound(lower)).upper_bounds(bound(upper));
    }
    file
}

fn equality(sequence_number: i64, spec_id: i32, partition: i32) -> DataFileEntry {
    let mut file = DataFileBuilder::default();
    file.content(DataContentType::EqualityDeletes).file_path("deletes".to_owned()).equality_ids(Some(vec![1]));
    entry(&mut file, sequence_number, spec_id, partition)
}

/// How many position and equality deletes apply.
fn applicable(deletes: &[DataFileEntry], file: &DataFileEntry) -> (usize, usize) {
    let is = |content| move |entry: &&DataFileEntry| entry.data_file.content_type() == content;
    let live = LiveFiles {
        position_deletes: deletes.iter().filter(is(DataContentType::PositionDeletes)).cloned().collect(),
        equality_deletes: deletes.iter().filter(is(DataContentType::EqualityDeletes)).cloned().collect(),
        unpartitioned_spec_ids: BTreeSet::from([9]),
        ..LiveFiles::default()
    };
    let found = live.deletes_for(file);
    (found.position.len(), found.equality.len())
}

#[test]
fn position_deletes_apply_to_their_own_commit_and_older_ones() {
    let file = data("f", 5, 0, 1);
    for (number, applies) in [(4, 0), (5, 1), (6, 1)] {
        assert_eq!(applicable(&[position(number, 0, 1, None)], &file), (applies, 0), "{number}");
    }
}

#[test]
fn equality_deletes_apply_to_older_commits_only() {
    let file = data("f", 5, 0, 1);
    for (number, applies) in [(4, 0), (5, 0), (6, 1)] {
        assert_eq!(applicable(&[equality(number, 0, 1)], &file), (0, applies), "{number}");
    }
}

#[test]
fn deletes_apply_to_their_partition_and_spec() {
    let file = data("f", 5, 0, 1);
    let elsewhere = [position(6, 0, 2, None), position(6, 1, 1, None), equality(6, 0, 2), equality(6, 1, 1)];
    assert_eq!(applicable(&elsewhere, &file), (0, 0));
}

#[test]
fn equality_deletes_of_a_spec_without_fields_apply_everywhere() {
    assert_eq!(applicable(&[equality(6, 9, 7), position(6, 9, 7, None)], &data("f", 5, 0, 1)), (0, 1));
}

#[test]
fn position_deletes_that_name_files_apply_to_those() {
    let file = data("f", 5, 0, 1);
    assert_eq!(applicable(&[position(6, 0, 1, Some(("f", "f")))], &file), (1, 0));
    assert_eq!(applicable(&[position(6, 0, 1, Some(("e", "g")))], &file), (1, 0));
    assert_eq!(applicable(&[position(6, 0, 1, Some(("g", "g")))], &file), (0, 0));
    assert_eq!(applicable(&[position(6, 0, 1, Some(("g", "h")))], &file), (0, 0));
    assert_eq!(applicable(&[position(4, 0, 1, Some(("f", "f")))], &file), (0, 0));
    assert_eq!(
        applicable(&[position(6, 7, 3, Some(("f", "f")))], &file),
        (1, 0),
        "a path is named wherever the delete lies"
    );
}

#[test]
fn a_position_delete_that_names_one_file_in_two_ways_is_read_to_see() {
    let file = data("f", 5, 0, 1);
    let naming = |path: &str, bounds| entry(position_file(bounds).referenced_data_file(Some(path.to_owned())), 6, 0, 1);
    for (path, bounds, applies) in [
        ("f", None, 1),
        ("g", None, 0),
        ("f", Some(("f", "f")), 1),
        ("g", Some(("g", "g")), 0),
        ("f", Some(("e", "g")), 1),
        ("g", Some(("f", "f")), 1),
        ("f", Some(("g", "g")), 1),
        ("g", Some(("h", "h")), 1),
    ] {
        assert_eq!(applicable(&[naming(path, bounds)], &file), (applies, 0), "{path} {bounds:?}");
    }
}

#[test]
fn a_partition_is_the_same_after_its_column_was_widened() {
    let mut wide = DataFileBuilder::default();
    wide.content(DataContentType::Data)
        .file_path("f".to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::from_iter([Some(Literal::long(1))]))
        .record_count(1)
        .file_size_in_bytes(1);
    let wide =
        DataFileEntry { data_file: Arc::new(wide.build().unwrap()), spec_id: 0, sequence_number: 5, snapshot_id: 1 };
    assert_eq!(applicable(&[position(6, 0, 1, None), equality(6, 0, 1)], &wide), (1, 1));
}
