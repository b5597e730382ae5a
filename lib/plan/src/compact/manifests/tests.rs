use super::*;

const MIB: u64 = 1 << 20;

/// A manifest of data files by day, over these days.
fn manifest(n: usize, kib: u64, low: u64, high: u64) -> ManifestFacts {
    ManifestFacts {
        path: format!("m{n:03}"),
        spec_id: 0,
        of_deletes: false,
        bytes: kib << 10,
        files: kib,
        ranges: vec![(low, high)],
    }
}

fn facts(manifests: Vec<ManifestFacts>) -> ManifestsFacts {
    ManifestsFacts { manifests, target_bytes: 8 * MIB, schemas: 1 }
}

fn text(manifests: Vec<ManifestFacts>) -> String {
    decide_manifests(&facts(manifests), true).to_string()
}

fn small(count: usize) -> Vec<ManifestFacts> {
    (0..count).map(|n| manifest(n, 20, 5, 6)).collect()
}

/// So many of eight days each that begin a day apart, of the target size.
fn sliding(count: u64, days: u64) -> Vec<ManifestFacts> {
    (0..count).map(|n| manifest(usize::try_from(n).unwrap(), 8 << 10, n, n + days - 1)).collect()
}

#[test]
fn small_ones_are_put_together_when_there_are_enough() {
    let mut manifests = small(10);
    manifests.push(manifest(99, 4096, 0, 4));
    insta::assert_snapshot!(text(manifests), @"
    rewrite 10 manifests, 200.0 KiB, as about 1, of data files of partition spec 0: 10 manifests are smaller than 4.0 MiB
    keep 1 manifest, 4.0 MiB, of data files of partition spec 0: clustered by partition: a scan of one opens up to 1
    ");
    let mut manifests = small(9);
    manifests.push(manifest(99, 4096, 0, 4));
    insta::assert_snapshot!(text(manifests), @"
    keep 1 manifest, 4.0 MiB, of data files of partition spec 0: clustered by partition: a scan of one opens up to 1
    keep 9 manifests, 180.0 KiB, of data files of partition spec 0: small, but fewer than 10
    ");
    // What came of it is no reason for more.
    insta::assert_snapshot!(text(vec![manifest(0, 200, 5, 6), manifest(1, 4096, 0, 4)]), @"
    keep 1 manifest, 4.0 MiB, of data files of partition spec 0: clustered by partition: a scan of one opens up to 1
    keep 1 manifest, 200.0 KiB, of data files of partition spec 0: small, but fewer than 10
    ");
    assert!(decide_manifests(&facts(Vec::new()), true).is_empty());
}

#[test]
fn overlapping_ones_are_clustered_when_a_scan_has_something_of_it() {
    // Each day is in five of them.
    insta::assert_snapshot!(text(sliding(12, 5)), @"rewrite 12 manifests, 96.0 MiB, as about 12, of data files of partition spec 0: a scan of one partition opens up to 5 of 12 manifests, where 2 would do");
    // Four, where clustered ones would be two: not yet.
    insta::assert_snapshot!(text(sliding(12, 4)), @"keep 12 manifests, 96.0 MiB, of data files of partition spec 0: clustered by partition: a scan of one opens up to 4");
    // Clustered: the end of one is the beginning of the next.
    insta::assert_snapshot!(text((0..12).map(|n| manifest(usize::try_from(n).unwrap(), 8 << 10, n, n + 1)).collect()), @"keep 12 manifests, 96.0 MiB, of data files of partition spec 0: clustered by partition: a scan of one opens up to 2");
}

#[test]
fn what_is_clustered_already_is_not_touched() {
    let mut manifests = sliding(12, 5);
    for n in 0..6 {
        manifests.push(manifest(100 + usize::try_from(n).unwrap(), 8 << 10, 100 + 2 * n, 102 + 2 * n));
    }
    // A partition that fills manifests of its own, within the others.
    manifests.extend((200..220).map(|n| manifest(n, 8 << 10, 6, 6)));
    let plan = decide_manifests(&facts(manifests), true);
    insta::assert_snapshot!(plan.to_string(), @"
    rewrite 12 manifests, 96.0 MiB, as about 12, of data files of partition spec 0: a scan of one partition opens up to 5 of 38 manifests, where 2 would do
    keep 26 manifests, 208.0 MiB, of data files of partition spec 0: clustered by partition
    ");
    assert!(plan.rewrites[0].paths.iter().all(|path| path.as_str() < "m012"));
    assert!(decide_manifests(&facts((0..50).map(|n| manifest(n, 8 << 10, 6, 6)).collect()), true).is_idle());
}

#[test]
fn small_ones_go_along() {
    let mut manifests = sliding(12, 5);
    manifests.extend([manifest(50, 20, 0, 9), manifest(51, 20, 3, 3)]);
    insta::assert_snapshot!(text(manifests), @"rewrite 14 manifests, 96.0 MiB, as about 13, of data files of partition spec 0: a scan of one partition opens up to 5 of 14 manifests, where 2 would do");
}

#[test]
fn kinds_are_never_mixed() {
    let mut manifests = small(20);
    for (n, of) in manifests.iter_mut().enumerate() {
        (of.of_deletes, of.spec_id) = (n % 2 == 1, i32::from(n >= 16));
    }
    insta::assert_snapshot!(text(manifests.clone()), @"
    keep 8 manifests, 160.0 KiB, of data files of partition spec 0: small, but fewer than 10
    keep 8 manifests, 160.0 KiB, of delete files of partition spec 0: small, but fewer than 10
    keep 2 manifests, 40.0 KiB, of data files of partition spec 1: small, but fewer than 10
    keep 2 manifests, 40.0 KiB, of delete files of partition spec 1: small, but fewer than 10
    ");
    manifests.extend((20..32).map(|n| ManifestFacts { of_deletes: true, ..manifest(n, 20, 5, 6) }));
    insta::assert_snapshot!(text(manifests), @"
    rewrite 20 manifests, 400.0 KiB, as about 1, of delete files of partition spec 0: 20 manifests are smaller than 4.0 MiB
    keep 8 manifests, 160.0 KiB, of data files of partition spec 0: small, but fewer than 10
    keep 2 manifests, 40.0 KiB, of data files of partition spec 1: small, but fewer than 10
    keep 2 manifests, 40.0 KiB, of delete files of partition spec 1: small, but fewer than 10
    ");
}

#[test]
fn two_fields_overlap_where_both_do() {
    // Buckets are in every manifest, days are not: no partition is in more than one.
    let of = |n: u64, ranges| ManifestFacts { ranges, ..manifest(usize::try_from(n).unwrap(), 8 << 10, 0, 0) };
    assert!(decide_manifests(&facts((0..12).map(|n| of(n, vec![(0, 15), (n, n)])).collect()), true).is_idle());
    let all = (0..12).map(|n| of(n, vec![(0, 15), (0, 9)])).collect();
    insta::assert_snapshot!(text(all), @"rewrite 12 manifests, 96.0 MiB, as about 12, of data files of partition spec 0: a scan of one partition opens up to 12 of 12 manifests, where 4 would do");
    // In two fields clustered ones meet in more places.
    assert!(decide_manifests(&facts((0..8).map(|n| of(n, vec![(0, 15), (0, 9)])).collect()), true).is_idle());
}

#[test]
fn schemas_that_cannot_share_a_manifest_leave_more_of_them() {
    let of = |manifests, schemas| decide_manifests(&ManifestsFacts { schemas, ..facts(manifests) }, true);
    assert!(of(sliding(12, 5), 2).is_idle());
    assert!(of(sliding(12, 9), 2).rewritten() > 0);
    assert!(of(small(19), 2).is_idle());
    assert_eq!(of(small(20), 2).rewritten(), 20);
}

#[test]
fn tables_without_partitions_have_only_sizes() {
    let of = |n, kib| ManifestFacts { ranges: Vec::new(), ..manifest(n, kib, 0, 0) };
    assert!(decide_manifests(&facts((0..20).map(|n| of(n, 8 << 10)).collect()), true).is_idle());
    insta::assert_snapshot!(text((0..20).map(|n| of(n, 10)).collect()), @"rewrite 20 manifests, 200.0 KiB, as about 1, of data files of partition spec 0: 20 manifests are smaller than 4.0 MiB");
}

#[test]
fn a_commit_has_a_limit() {
    let mut manifests = small(MANIFESTS_PER_COMMIT_MAX + 5);
    manifests.extend((0..12).map(|n| ManifestFacts { spec_id: 1, ..manifest(5_000 + n, 20, 5, 6) }));
    insta::assert_snapshot!(text(manifests), @"
    rewrite 1,000 manifests, 19.5 MiB, as about 3, of data files of partition spec 0: 1005 manifests are smaller than 4.0 MiB
    keep 5 manifests, 100.0 KiB, of data files of partition spec 0: left for the next run: one writes no more than 1000 again
    keep 12 manifests, 240.0 KiB, of data files of partition spec 1: left for the next run: one writes no more than 1000 again
    ");
}

#[test]
fn nothing_is_done_that_nobody_wants() {
    let plan = decide_manifests(&facts(small(12)), false);
    insta::assert_snapshot!(plan.to_string(), @"keep 12 manifests, 240.0 KiB, of data files of partition spec 0: --no-rewrite-manifests");
    assert!(plan.is_idle());
}
