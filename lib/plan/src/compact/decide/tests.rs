use std::collections::BTreeMap;

use contract::Duration;

use super::super::{Facts, ManifestFacts, ManifestsFacts, Options, PartitionFacts, SortOrder, Write};
use super::*;

const MIB: u64 = 1 << 20;
const DAY: &str = "event_time_day=2025-06-01";

fn key(path: &str) -> PartitionKey {
    PartitionKey { spec_id: 1, path: path.to_owned() }
}

fn file(name: &str, mib: u64) -> FileFacts {
    FileFacts {
        path: name.to_owned(),
        partition: key(DAY),
        bytes: mib * MIB,
        rows: mib * 1000,
        row_groups: Some(1),
        sequence_number: 1,
        delete_files: 0,
        deleted_rows: 0,
        sort_order_id: None,
        is_selected: true,
        is_archived: false,
    }
}

fn small(count: usize) -> Vec<FileFacts> {
    (0..count).map(|n| file(&format!("small-{n}"), 10)).collect()
}

fn facts(files: Vec<FileFacts>) -> Facts {
    let partitions = files.iter().map(|file| (file.partition.clone(), PartitionFacts::default())).collect();
    Facts {
        table: "curated.t".parse().unwrap(),
        snapshot_id: Some(7),
        files,
        partitions,
        dangling_delete_files: 0,
        manifests: ManifestsFacts::default(),
        spec_id: 1,
        sort_order: None,
        lateness: None,
        target_file_bytes: 128 * MIB,
        options: Options::default(),
        now: "2025-06-04T00:00:00Z".parse().unwrap(),
    }
}

fn text(facts: &Facts) -> String {
    decide(facts).to_string()
}

fn compaction(facts: &Facts) -> Compaction {
    match decide(facts) {
        CompactPlan::Compact(compaction) | CompactPlan::KeepAll(compaction) => compaction,
        CompactPlan::Refused { reasons } => panic!("refused: {reasons:?}"),
    }
}

#[test]
fn small_files_are_packed_when_there_are_enough() {
    let mut files = small(5);
    files.push(file("right", 100));
    insta::assert_snapshot!(text(&facts(files)), @"
    pack 5 files, 50.0 MiB (copied) of event_time_day=2025-06-01: smaller than 96.0 MiB
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    ");
    insta::assert_snapshot!(text(&facts(small(4))), @"keep 4 files, 40.0 MiB of event_time_day=2025-06-01: small, but too few: fewer than 5 together, and no more than 128.0 MiB");
    assert!(matches!(decide(&facts(small(4))), CompactPlan::KeepAll(_)));
    let two = vec![file("a", 90), file("b", 90)];
    insta::assert_snapshot!(text(&facts(two)), @"pack 2 files, 180.0 MiB (copied) of event_time_day=2025-06-01: smaller than 96.0 MiB");
    let one = Options { min_input_files: 1, ..Options::default() };
    insta::assert_snapshot!(text(&Facts { options: one, ..facts(small(1)) }), @"keep 1 file, 10.0 MiB of event_time_day=2025-06-01: small, but too few: fewer than 2 together, and no more than 128.0 MiB");
}

#[test]
fn partitions_are_never_mixed() {
    let mut files = small(5);
    for file in files.iter_mut().take(2) {
        file.partition = key("event_time_day=2025-06-02");
    }
    assert_eq!(compaction(&facts(files)).groups.len(), 0);
}

#[test]
fn a_file_that_is_too_large_is_split() {
    let mut large = file("large", 400);
    large.row_groups = Some(4);
    let groups = compaction(&facts(vec![large.clone()])).groups;
    assert_eq!((groups[0].file_bytes, groups[0].copied()), ((400 * MIB).div_ceil(3), 1));
    large.row_groups = Some(1);
    let groups = compaction(&facts(vec![large])).groups;
    assert_eq!(groups[0].files[0].why, "its row groups are larger than 133.3 MiB");
    assert_eq!(groups[0].reasons, ["larger than 230.4 MiB"]);
}

#[test]
fn each_reason_alone_has_a_file_written_again() {
    let right = || file("right", 100);
    let mut deleted = right();
    (deleted.delete_files, deleted.deleted_rows) = (1, 30_000);
    insta::assert_snapshot!(text(&facts(vec![deleted.clone(), right()])), @"
    pack 1 file, 100.0 MiB of event_time_day=2025-06-01: 30 % or more of the rows deleted
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    ");
    deleted.deleted_rows = 29_999;
    assert_eq!(compaction(&facts(vec![deleted.clone()])).groups, []);
    let options = Options { delete_file_threshold: Some(1), ..Options::default() };
    insta::assert_snapshot!(text(&Facts { options, ..facts(vec![deleted.clone(), right()]) }), @"
    pack 1 file, 100.0 MiB of event_time_day=2025-06-01: 1 or more delete files apply
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    ");
    let options = Options { delete_file_threshold: Some(2), ..Options::default() };
    assert_eq!(compaction(&Facts { options, ..facts(vec![deleted]) }).groups, []);
    let mut old = right();
    old.partition.spec_id = 0;
    insta::assert_snapshot!(text(&facts(vec![old, right()])), @"
    pack 1 file, 100.0 MiB of event_time_day=2025-06-01: of partition spec 0, where the table's is 1
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    ");
    let sort_order = Some(SortOrder { id: 3, text: "device_id ASC NULLS FIRST".to_owned() });
    let (mut sorted, mut otherwise) = (right(), right());
    (sorted.sort_order_id, otherwise.sort_order_id) = (Some(3), Some(2));
    insta::assert_snapshot!(text(&Facts { sort_order: sort_order.clone(), ..facts(vec![sorted.clone(), otherwise, right()]) }), @"
    sort by the table's order 2 files, 200.0 MiB of event_time_day=2025-06-01: not sorted by device_id ASC NULLS FIRST
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    ");
    let options = Options { strategy: Strategy::BinPack, ..Options::default() };
    assert_eq!(compaction(&Facts { sort_order, options, ..facts(vec![right()]) }).groups, [], "nobody asks for order");
    let options = Options { rewrite_all: true, ..Options::default() };
    insta::assert_snapshot!(text(&Facts { options, ..facts(vec![right()]) }), @"pack 1 file, 100.0 MiB (copied) of event_time_day=2025-06-01: --rewrite-all");
}

#[test]
fn other_orders_sort_what_is_written_anyway() {
    for (strategy, words) in [
        (Strategy::Sort("device_id, event_time DESC".to_owned()), "sort by device_id, event_time DESC 5 files"),
        (Strategy::ZOrder(vec!["a".to_owned(), "b".to_owned()]), "z-order by a, b 5 files"),
    ] {
        let options = Options { strategy, ..Options::default() };
        let all = text(&Facts { options: options.clone(), ..facts(small(5)) });
        assert!(all.starts_with(words), "{all}");
        assert_eq!(compaction(&Facts { options, ..facts(vec![file("right", 100)]) }).groups, []);
    }
}

#[test]
fn rows_are_copied_where_nothing_has_to_be_looked_at() {
    let mut files = small(5);
    files[0].delete_files = 1;
    (files[1].row_groups, files[2].row_groups) = (Some(11), None);
    let group = compaction(&facts(files.clone())).groups.remove(0);
    let hows: Vec<_> = group.files.iter().map(|file| format!("{}: {}", file.how, file.why)).collect();
    insta::assert_snapshot!(hows.join("\n"), @"
    decode: deletes apply to it
    decode: its row groups are smaller than 1.0 MiB
    copy: no delete applies to it
    copy: no delete applies to it
    copy: no delete applies to it
    ");
    files[3].partition.spec_id = 0;
    let groups = compaction(&facts(files)).groups;
    assert_eq!(groups[0].files[0].why, "its rows go to other partitions");
}

#[test]
fn a_partition_that_still_receives_data_is_left_for_later() {
    let mut facts = facts(small(5));
    let partition = |end: Option<&str>, at: Option<&str>| PartitionFacts {
        event_time_end: end.map(|end| end.parse().unwrap()),
        last_write: at.map(|at| Write { at: at.parse().unwrap(), by: "spark".to_owned() }),
    };
    let with =
        |facts: &Facts, of: PartitionFacts| Facts { partitions: BTreeMap::from([(key(DAY), of)]), ..facts.clone() };
    let late = with(&facts, partition(Some("2025-06-02T00:00:01Z"), None));
    assert_eq!(compaction(&late).groups.len(), 1, "nothing is declared of late events");
    facts.lateness = Some(Duration { seconds: 48 * 3600 });
    let late = with(&facts, partition(Some("2025-06-02T00:00:01Z"), None));
    insta::assert_snapshot!(text(&late), @"keep 5 files, 50.0 MiB of event_time_day=2025-06-01: its partition still receives data: its events end at 2025-06-02T00:00:01Z and may be 2d late");
    assert_eq!(compaction(&with(&facts, partition(Some("2025-06-02T00:00:00Z"), None))).groups.len(), 1);
    let recent = with(&facts, partition(Some("2025-06-02T00:00:00Z"), Some("2025-06-03T23:00:01Z")));
    insta::assert_snapshot!(text(&recent), @"keep 5 files, 50.0 MiB of event_time_day=2025-06-01: its partition still receives data: spark added to it at 2025-06-03T23:00:01Z");
    assert_eq!(compaction(&with(&facts, partition(None, Some("2025-06-03T23:00:00Z")))).groups.len(), 1);
    let options = Options { include_active: true, ..Options::default() };
    assert_eq!(compaction(&Facts { options, ..recent }).groups.len(), 1);
}

#[test]
fn what_the_filter_leaves_out_stays() {
    let mut files = small(6);
    files[5].is_selected = false;
    insta::assert_snapshot!(text(&facts(files)), @"
    pack 5 files, 50.0 MiB (copied) of event_time_day=2025-06-01: smaller than 96.0 MiB
    keep 1 file, 10.0 MiB of event_time_day=2025-06-01: --where leaves it out
    ");
}

#[test]
fn what_is_archived_stays_and_the_rest_is_packed() {
    let mut files = small(6);
    files[5].is_archived = true;
    insta::assert_snapshot!(text(&facts(files.clone())), @"
    pack 5 files, 50.0 MiB (copied) of event_time_day=2025-06-01: smaller than 96.0 MiB
    keep 1 file, 10.0 MiB of event_time_day=2025-06-01: archived: it must be restored before it can be read
    ");
    files.iter_mut().for_each(|file| file.is_archived = true);
    let options = Options { rewrite_all: true, ..Options::default() };
    insta::assert_snapshot!(text(&Facts { options, ..facts(files) }), @"keep 6 files, 60.0 MiB of event_time_day=2025-06-01: archived: it must be restored before it can be read");
}

#[test]
fn new_files_are_of_one_size() {
    let file_bytes = |count: usize| compaction(&facts(small(count))).groups[0].file_bytes / MIB;
    // 130 MiB: a rest of 2 is shared out; 200: a rest of 72 would make one file too large; 240: a rest of 112 is a file.
    assert_eq!([5, 13, 14, 15, 20, 24].map(file_bytes), [50, 130, 140, 75, 100, 120]);
}

#[test]
fn groups_are_no_larger_than_they_may_be() {
    let options = Options { max_group_bytes: 50 * MIB, ..Options::default() };
    let groups = compaction(&Facts { options, ..facts(small(12)) }).groups;
    assert_eq!(groups.iter().map(|group| group.files.len()).collect::<Vec<_>>(), [5, 5]);
    let mut files = small(5);
    files[4].sequence_number = 0;
    assert_eq!(compaction(&facts(files)).groups[0].files[0].path, "small-4", "the oldest first");
}

fn two_days() -> Facts {
    let mut files = small(12);
    for file in files.iter_mut().take(7) {
        file.partition = key("event_time_day=2025-06-02");
    }
    facts(files)
}

#[test]
fn a_run_has_limits() {
    let with = |options: Options| text(&Facts { options, ..two_days() });
    insta::assert_snapshot!(with(Options { max_files: Some(7), ..Options::default() }), @"
    pack 5 files, 50.0 MiB (copied) of event_time_day=2025-06-01: smaller than 96.0 MiB
    keep 7 files, 70.0 MiB of event_time_day=2025-06-02: left for the next run by --max-files 7
    ");
    insta::assert_snapshot!(with(Options { max_bytes: Some(100 * MIB), job_order: JobOrder::BytesDescending, ..Options::default() }), @"
    pack 7 files, 70.0 MiB (copied) of event_time_day=2025-06-02: smaller than 96.0 MiB
    keep 5 files, 50.0 MiB of event_time_day=2025-06-01: left for the next run by --max-bytes 100.0 MiB
    ");
    let large = Options { max_bytes: Some(MIB), ..Options::default() };
    assert_eq!(compaction(&Facts { options: large, ..facts(vec![file("large", 400)]) }).groups.len(), 1);
}

#[test]
fn groups_have_an_order_and_share_commits() {
    let firsts = |job_order| {
        let options = Options { job_order, ..Options::default() };
        compaction(&Facts { options, ..two_days() }).groups[0].files.len()
    };
    let orders = ["none", "bytes-asc", "bytes-desc", "files-asc", "files-desc"];
    assert_eq!(orders.map(|order| firsts(order.parse().unwrap())), [5, 5, 7, 5, 7]);
    assert!("size".parse::<JobOrder>().unwrap_err().contains("bytes-asc"));
    let per_commit = |options: Options| {
        let options = Options { max_group_bytes: 50 * MIB, ..options };
        compaction(&Facts { options, ..facts(small(55)) }).groups_per_commit
    };
    assert_eq!(per_commit(Options::default()), 11, "550 MiB are one commit");
    assert_eq!(per_commit(Options { max_commits: Some(10), ..Options::default() }), 2, "eleven groups in ten commits");
    assert_eq!(per_commit(Options { partial_progress: false, ..Options::default() }), 11);
}

#[test]
fn deletes_of_nothing_go_alone() {
    let facts = Facts { dangling_delete_files: 3, ..facts(vec![file("right", 100)]) };
    insta::assert_snapshot!(text(&facts), @"
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    drop 3 delete files: they apply to no file
    ");
    assert!(matches!(decide(&facts), CompactPlan::Compact(_)));
    let options = Options { remove_dangling_deletes: false, ..Options::default() };
    assert!(matches!(decide(&Facts { options, ..facts }), CompactPlan::KeepAll(_)));
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let refused = |options: Options| text(&Facts { options, ..facts(small(5)) });
    let options = Options { min_file_bytes: Some(200 * MIB), max_file_bytes: Some(100 * MIB), ..Options::default() };
    insta::assert_snapshot!(refused(options), @"refused: the minimum file size, 209715200, is not less than the maximum, 104857600; the target file size, 134217728, is not between 209715200 and 104857600");
    let options = Options { delete_ratio_threshold: 1.5, max_commits: Some(0), ..Options::default() };
    insta::assert_snapshot!(refused(options), @"refused: the share of deleted rows, 1.5, is not from 0 to 1; --max-commits is 0");
}

#[test]
fn manifests_alone_are_worth_a_run() {
    let manifest = |n: u64| ManifestFacts {
        path: format!("m{n}"),
        spec_id: 1,
        of_deletes: false,
        bytes: 10,
        files: 1,
        ranges: vec![(n, n)],
    };
    let manifests = ManifestsFacts { manifests: (0..10).map(manifest).collect(), target_bytes: MIB, schemas: 1 };
    let facts = Facts { manifests, ..facts(vec![file("right", 100)]) };
    insta::assert_snapshot!(text(&facts), @"
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    rewrite 10 manifests, 100 B, as about 1, of data files of partition spec 1: 10 manifests are smaller than 512.0 KiB
    ");
    assert!(matches!(decide(&facts), CompactPlan::Compact(_)));
    let options = Options { rewrite_manifests: false, ..Options::default() };
    let facts = Facts { options, ..facts };
    insta::assert_snapshot!(text(&facts), @"
    keep 1 file, 100.0 MiB of event_time_day=2025-06-01: of the right size
    keep 10 manifests, 100 B, of data files of partition spec 1: --no-rewrite-manifests
    ");
    assert!(matches!(decide(&facts), CompactPlan::KeepAll(_)));
}
