use insta::{assert_json_snapshot, assert_snapshot};

use super::*;
use crate::{
    expire::RefWord,
    inspect::{Deletes, Manifests, PARTITIONS_SHOWN, Ref, Snapshot},
    maintain::{Outlook, Upkeep, Would},
    objects::{KindTotal, ObjectKind},
    prices::{PriceList, Prices, RegionPrices},
};

const MIB: u64 = 1 << 20;

fn prices() -> Prices {
    let class = serde_json::json!({
        "STANDARD": {"storage_per_gib_month": 0.023, "put_per_1000": 0.005, "list_per_1000": 0.005, "get_per_1000": 0.0004},
        "DEEP_ARCHIVE": {
            "storage_per_gib_month": 0.001, "put_per_1000": 0.05, "list_per_1000": 0.005, "get_per_1000": 0.0004,
            "overhead_bytes": 32768,
        },
    });
    let prices = RegionPrices { regions: vec!["us-east-1".to_owned()], class: serde_json::from_value(class).unwrap() };
    let as_of = "2025-06-01".parse().unwrap();
    PriceList { as_of, source: "here".to_owned(), prices: vec![prices] }.of_region(Some("us-east-1")).unwrap()
}

fn snapshot(snapshot_id: i64, committed_at: &str) -> Snapshot {
    Snapshot { snapshot_id, committed_at: committed_at.parse().unwrap() }
}

/// Files of so many mebibytes, by partition.
fn facts(partitions: &[&[u64]]) -> Facts {
    let files = partitions.iter().enumerate().flat_map(|(place, sizes)| {
        sizes.iter().map(move |mib| FileFacts { partition: place as u32, bytes: mib * MIB, rows: mib * 10 })
    });
    Facts {
        table: "curated.t".parse().unwrap(),
        location: "s3://b/t".to_owned(),
        format_version: 2,
        head: Some(snapshot(2, "2025-06-04T00:00:00Z")),
        files: files.collect(),
        partitions: (0..partitions.len()).map(|day| format!("day=2025-06-{:02}", day + 1)).collect(),
        position_deletes: Deletes::default(),
        equality_deletes: Deletes::default(),
        manifests: Manifests { files: 2, of_deletes: 0, bytes: MIB },
        unreadable: None,
        snapshots: vec![snapshot(1, "2025-06-01T00:00:00Z"), snapshot(2, "2025-06-04T00:00:00Z")],
        refs: vec![Ref { kind: RefWord::Branch, name: "main".to_owned(), snapshot_id: 2 }],
        history: vec![KindTotal { kind: ObjectKind::DataFile, files: 1, bytes: 30 * MIB }],
        target_file_bytes: 100 * MIB,
        classes: None,
        outlooks: vec![Outlook { job: Upkeep::Expire, would: Would::Nothing { why: "all young".to_owned() } }],
        prices: prices(),
        partitions_shown: PARTITIONS_SHOWN,
    }
}

#[test]
fn the_json_shape() {
    let mut facts = facts(&[&[100, 10], &[200]]);
    facts.position_deletes = Deletes { files: 1, bytes: 1024, rows: 7 };
    assert_json_snapshot!(judge(&facts), @r#"
    {
      "schema_version": 1,
      "table": "curated.t",
      "location": "s3://b/t",
      "format_version": 2,
      "head": {
        "snapshot_id": 2,
        "committed_at": "2025-06-04T00:00:00Z"
      },
      "data": {
        "files": 3,
        "bytes": 325058560,
        "rows": 3100,
        "bytes_median": 104857600,
        "bytes_max": 209715200,
        "target_file_bytes": 104857600
      },
      "small": {
        "files": 1,
        "bytes": 10485760,
        "below_bytes": 78643200,
        "files_packed": 1
      },
      "deletes": {
        "position": {
          "files": 1,
          "bytes": 1024,
          "rows": 7
        },
        "equality": {
          "files": 0,
          "bytes": 0,
          "rows": 0
        }
      },
      "manifests": {
        "files": 2,
        "of_deletes": 0,
        "bytes": 1048576
      },
      "history": {
        "snapshots": 2,
        "oldest_at": "2025-06-01T00:00:00Z",
        "refs": [
          {
            "kind": "branch",
            "name": "main",
            "snapshot_id": 2
          }
        ],
        "files": 1,
        "bytes": 31457280,
        "by_kind": [
          {
            "kind": "data_file",
            "files": 1,
            "bytes": 31457280
          }
        ]
      },
      "partitions": {
        "count": 2,
        "bytes_max": 209715200,
        "bytes_median": 162529280,
        "skew": 1.29,
        "largest": [
          {
            "partition": "day=2025-06-02",
            "files": 1,
            "bytes": 209715200,
            "rows": 2000,
            "small_files": 0
          },
          {
            "partition": "day=2025-06-01",
            "files": 2,
            "bytes": 115343360,
            "rows": 1100,
            "small_files": 1
          }
        ]
      },
      "storage": {
        "listed": false,
        "classes": [
          {
            "class": "STANDARD",
            "files": 7,
            "bytes": 357565440,
            "billable_bytes": 357565440,
            "per_month": {
              "dollars": 0.007659202,
              "parts": [
                {
                  "dollars": 0.007659202,
                  "of": "341.0 MiB × 0.023 $/GiB-month Standard"
                }
              ]
            }
          }
        ],
        "per_month": {
          "dollars": 0.007659202,
          "parts": [
            {
              "dollars": 0.007659202,
              "of": "341.0 MiB × 0.023 $/GiB-month Standard"
            }
          ]
        },
        "prices": "S3 in us-east-1, 2025-06-01"
      },
      "jobs": [
        {
          "job": "expire",
          "would": "nothing",
          "why": "all young"
        }
      ],
      "warnings": []
    }
    "#);
}

#[test]
fn small_files_are_those_below_three_quarters_of_the_target() {
    let small = |partitions: &[&[u64]]| {
        let small = judge(&facts(partitions)).small;
        (small.files, small.bytes / MIB, small.files_packed)
    };
    assert_eq!(small(&[&[75, 74]]), (1, 74, 1));
    // Packing does not cross partitions.
    assert_eq!(small(&[&[10, 10, 10], &[10]]), (4, 40, 2));
    assert_eq!(small(&[&[70, 70, 70]]), (3, 210, 3));
    assert_eq!(small(&[&[30; 10]]), (10, 300, 3));
    assert_eq!(small(&[]), (0, 0, 0));
    assert_eq!(small(&[&[0, 0]]), (2, 0, 1));
}

#[test]
fn skew_is_the_largest_partition_over_the_median() {
    let skew = |partitions: &[&[u64]]| {
        let partitions = judge(&facts(partitions)).partitions;
        (partitions.count, partitions.bytes_max / MIB, partitions.bytes_median / MIB, partitions.skew)
    };
    assert_eq!(skew(&[&[10], &[20], &[100, 20]]), (3, 120, 20, Some(6.0)));
    assert_eq!(skew(&[&[10], &[30]]), (2, 30, 20, Some(1.5)));
    assert_eq!(skew(&[]), (0, 0, 0, None));
    assert_eq!(skew(&[&[0]]), (1, 0, 0, None));
    // A partition without files is none.
    assert_eq!(skew(&[&[10], &[]]), (1, 10, 10, Some(1.0)));
    let mut facts = facts(&[&[10], &[30], &[20, 1], &[20, 1]]);
    facts.partitions_shown = 3;
    let largest: Vec<_> = judge(&facts).partitions.largest.into_iter().map(|of| of.partition).collect();
    assert_eq!(largest, ["day=2025-06-02", "day=2025-06-03", "day=2025-06-04"], "largest first, then by name");
}

#[test]
fn medians() {
    assert_eq!([&[][..], &[7], &[1, 4], &[1, 5, 100], &[u64::MAX, u64::MAX]].map(median), [0, 7, 2, 5, u64::MAX]);
}

#[test]
fn classes_have_their_own_price_and_unknown_ones_none() {
    let mut facts = facts(&[&[100]]);
    let stored = |files, bytes, billable_bytes| Stored { files, bytes, billable_bytes };
    facts.classes = Some(
        [
            ("STANDARD", stored(2, 1 << 40, 1 << 40)),
            ("DEEP_ARCHIVE", stored(3, 1 << 30, (1 << 30) + 3 * 32768)),
            ("SNOW", stored(1, 5, 5)),
        ]
        .map(|(word, stored)| (word.to_owned(), stored))
        .into(),
    );
    let health = judge(&facts);
    let storage = health.storage;
    let lines: Vec<_> = storage
        .classes
        .iter()
        .map(|of| {
            format!("{} {} {:?}", of.class, of.files, of.per_month.as_ref().map(|amount| amount.dollars.to_string()))
        })
        .collect();
    assert_snapshot!(lines.join("\n"), @r#"
    DEEP_ARCHIVE 3 Some("under $0.01")
    SNOW 1 None
    STANDARD 2 Some("$23.55")
    "#);
    assert!(storage.listed);
    assert_snapshot!(storage.per_month.explained_per_month(), @"$23.55 a month: 1.0 GiB × 0.001 $/GiB-month Glacier Deep Archive + 1.0 TiB × 0.023 $/GiB-month Standard");
    assert_eq!(health.warnings, ["1 object in class SNOW, which has no price"]);
}

#[test]
fn without_a_list_the_cost_is_that_of_what_the_metadata_names() {
    let mut facts = facts(&[&[1000, 20]]);
    facts.position_deletes = Deletes { files: 1, bytes: 2 * MIB, rows: 7 };
    let storage = judge(&facts).storage;
    // 1020 of data, 30 of history, 2 of deletes, 1 of manifests.
    assert_eq!((storage.listed, storage.classes[0].bytes / MIB, storage.classes[0].files), (false, 1053, 6));
    assert_snapshot!(storage.per_month.explained_per_month(), @"$0.02 a month: 1.0 GiB × 0.023 $/GiB-month Standard");
}

#[test]
fn what_slows_every_query_is_a_warning() {
    let warnings = |change: fn(&mut Facts)| {
        let mut facts = facts(&[&[10], &[10], &[10], &[10]]);
        change(&mut facts);
        judge(&facts).warnings
    };
    assert_eq!(warnings(|_| {}), [""; 0]);
    assert_eq!(warnings(|facts| facts.manifests.files = 1_000), [""; 0]);
    assert_eq!(
        warnings(|facts| facts.manifests.files = 1_001),
        ["1,001 manifests: every query reads their bounds first"]
    );
    assert_eq!(warnings(|facts| facts.equality_deletes.files = 100), [""; 0]);
    assert_eq!(
        warnings(|facts| facts.equality_deletes.files = 101),
        ["101 equality delete files: every query compares older rows with them"]
    );
    assert_eq!(warnings(|facts| facts.files[0].bytes = 100 * MIB), [""; 0]);
    assert_eq!(warnings(|facts| facts.files[0].bytes = 101 * MIB), ["the largest partition is 10.1 times the median"]);
    assert_eq!(
        warnings(|facts| facts.unreadable = Some("read table t: f holds deletion vectors".to_owned())),
        ["etl cannot read all of it: failed to read table t: f holds deletion vectors"]
    );
}
