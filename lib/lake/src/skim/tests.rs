use iceberg::spec::{ManifestContentType, ManifestFile, ManifestList};

use super::*;
use crate::{Change, ChangeKind, Table, manifest::Entry, testing::*};

const FOREIGN: [&str; 6] = [
    "spark.by_bucket",
    "spark.by_month",
    "spark.by_truncate",
    "spark.evolved",
    "spark.position_deletes",
    "flink.upsert_plain",
];

/// Everything that is read, whole or in short, is what the crate reads. How many manifest lists that was possible for.
async fn agree(table: &Table) -> usize {
    let columns: Vec<i32> = table.metadata.current_schema().field_id_to_name_map().keys().copied().collect();
    let (mut seen, mut known_lists) = (0, 0);
    for snapshot in table.metadata.snapshots() {
        let bytes = table.manifest_list_bytes(snapshot).await.unwrap();
        let version = table.metadata.format_version();
        let list: Vec<_> =
            ManifestList::parse_with_version(&bytes, version).unwrap().consume_entries().into_iter().collect();
        for with_partitions in [true, false] {
            let mut found = Vec::new();
            let read = manifest_list(&bytes, with_partitions, |listed| {
                found.push(listed.manifest()?);
                Some(())
            });
            let as_asked = |file: &ManifestFile| ManifestFile {
                partitions: file.partitions.clone().filter(|_| with_partitions),
                ..file.clone()
            };
            if read.is_some() {
                assert_eq!(found, list.iter().map(as_asked).collect::<Vec<_>>());
                known_lists += usize::from(with_partitions);
            }
        }
        for file in &list {
            let bytes = table.manifest_bytes(file).await.unwrap();
            let mut entries = table.parse_manifest(file, &bytes).unwrap().entries;
            entries.retain(Entry::is_live);
            seen += entries.len();
            let objects: Vec<_> = entries
                .iter()
                .map(|of| (of.data_file.file_path(), of.data_file.content_type(), of.data_file.file_size_in_bytes()))
                .map(|(path, content, bytes)| (path.to_owned(), content, bytes))
                .collect();
            let mut found = Vec::new();
            live_objects(&bytes, |of| found.push((of.path.to_owned(), of.content, of.bytes))).expect("a known form");
            assert_eq!(found, objects);
            let by_crate = iceberg::spec::Manifest::parse_avro(&bytes).unwrap();
            let by_crate: Vec<_> = by_crate.entries().iter().filter(|entry| entry.is_alive()).collect();
            assert_eq!(entries.len(), by_crate.len());
            for (whole, by_crate) in entries.iter().zip(by_crate) {
                assert_eq!(whole.data_file.as_ref(), by_crate.data_file());
                assert_eq!(whole.status, by_crate.status());
                assert!(by_crate.snapshot_id().is_none_or(|id| id == whole.snapshot_id));
                assert!(by_crate.sequence_number().is_none_or(|number| number == whole.sequence_number));
            }
            let in_short = table.skim_manifest(file, &bytes, Detail::DataInShort(&columns));
            if file.content == ManifestContentType::Deletes {
                assert!(in_short.is_none_or(|read| read.entries.is_empty()), "deletes have more to say");
                continue;
            }
            let in_short = in_short.expect("a manifest in a known form").entries;
            assert_eq!(in_short.len(), entries.len());
            for (short, whole) in in_short.iter().zip(&entries) {
                let numbers = |of: &Entry| (of.status, of.snapshot_id, of.sequence_number, of.file_sequence_number);
                assert_eq!(numbers(short), numbers(whole));
                assert_eq!(short.data_file, crate::files::in_short(&whole.data_file, &columns));
            }
        }
    }
    assert!(seen > 0);
    known_lists
}

#[tokio::test]
async fn what_is_read_is_what_the_crate_reads() {
    let test = TestLake::new().await;
    test.append(10, "a", "m", 5).await;
    let gone = test.live().await.data.remove(0);
    let change = Change {
        added: vec![test.stage(11, "b", "k", 6).await],
        added_deletes: vec![test.stage_deletes(11, 3).await],
        removed: vec![removal(&gone)],
        key_scope: Some(scope(&[10, 11], "a", "m")),
        ..test.change(ChangeKind::Merge).await
    };
    test.commit(&change).await.unwrap();
    assert_eq!(agree(&test.table().await).await, 2);
    let foreign = ForeignLake::new();
    for name in FOREIGN {
        let table = foreign.table(name).await;
        assert_eq!(agree(&table).await, table.metadata.snapshots().len(), "{name}");
    }
}

#[tokio::test]
async fn files_without_metrics_are_those_with_them() {
    let foreign = ForeignLake::new();
    for name in FOREIGN {
        let table = foreign.table(name).await;
        let id = table.head().unwrap().snapshot_id();
        let (whole, short) = (table.live_files(id).await.unwrap(), table.live_files_in_short(id, &[]).await.unwrap());
        let paths = |files: &[crate::DataFileEntry]| {
            let mut paths: Vec<_> = files.iter().map(|file| file.data_file.file_path().to_owned()).collect();
            paths.sort();
            paths
        };
        assert_eq!(paths(&short.data), paths(&whole.data), "{name}");
        assert_eq!(paths(&short.position_deletes), paths(&whole.position_deletes), "{name}");
        assert_eq!(paths(&short.equality_deletes), paths(&whole.equality_deletes), "{name}");
        assert!(short.data.iter().all(|file| file.data_file.lower_bounds().is_empty()), "{name}");
    }
}

/// A file of one block, by a schema.
fn container(schema: &str, count: u8, block: &[u8]) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap() << 1;
        assert!(text.len() < 64);
        [&[length], text.as_bytes()].concat()
    };
    let length = u64::try_from(schema.len()).unwrap() << 1;
    let long = [u8::try_from(length & 0x7f).unwrap() | 0x80, u8::try_from(length >> 7).unwrap()];
    let block_length = u8::try_from(block.len() << 1).unwrap();
    let sync = [7; 16];
    [
        b"Obj\x01\x02",
        text("avro.schema").as_slice(),
        &long,
        schema.as_bytes(),
        &[0],
        &sync,
        &[count << 1, block_length],
        block,
        &sync,
    ]
    .concat()
}

/// Every type, a name that is used again, blocks of arrays with and without their sizes.
const SCHEMA: &str = r#"{"type":"record","name":"r","fields":[
 {"name":"a","type":{"type":"array","items":{"type":"record","name":"kv","fields":[{"name":"k","type":"int"},{"name":"v","type":"bytes"}]}}},
 {"name":"m","type":{"type":"map","values":"kv"}},
 {"name":"f","type":{"type":"fixed","name":"two","size":2}},
 {"name":"e","type":{"type":"enum","name":"en","symbols":["x","y"]}},
 {"name":"n","type":["null","double","float","boolean"]},
 {"name":"last","type":"long","field-id":9}]}"#;
const RECORD: &[u8] = &[
    // Two items; one with the size of its block; the end.
    4, 2, 2, b'x', 4, 0, 1, 6, 2, 2, b'y', 0, //
    // One entry, the end.
    2, 2, b'k', 6, 2, b'z', 0, //
    b'1', b'2', // fixed
    2,    // enum
    6, 1, // union: boolean
    0x83, 0x01, // long -66
];

#[test]
fn values_of_every_type_are_stepped_over() {
    let file = container(SCHEMA, 2, &[RECORD, RECORD].concat());
    let container = Container::open(&file).unwrap();
    assert_eq!(container.fields.last().unwrap().id, Some(9));
    let mut found = Vec::new();
    container
        .each_record(|record| {
            let (last, others) = container.fields.split_last()?;
            others.iter().try_for_each(|field| record.skip(&field.kind))?;
            found.push(number(record, &last.kind)??);
            Some(())
        })
        .unwrap();
    assert_eq!(found, [-66, -66]);
}

#[test]
fn what_is_damaged_is_left_to_others() {
    let file = container(SCHEMA, 2, &[RECORD, RECORD].concat());
    let read = |file: &[u8]| {
        let container = Container::open(file)?;
        container.each_record(|record| container.fields.iter().try_for_each(|field| record.skip(&field.kind)))
    };
    assert!(read(&file).is_some());
    let header = file.len() - 2 - 2 * RECORD.len() - 16;
    for length in (0..file.len()).filter(|length| *length != header) {
        assert!(read(&file[..length]).is_none(), "cut to {length}");
    }
    for (place, what) in [(0, "magic"), (header, "count"), (header + 1, "size"), (file.len() - 1, "mark")] {
        let mut damaged = file.clone();
        damaged[place] ^= 2;
        assert!(read(&damaged).is_none(), "{what}");
    }
}
