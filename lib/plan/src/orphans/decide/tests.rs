//! A list and references in; keep or delete and the reason out. It is 2025-06-11.

use insta::assert_snapshot;

use super::*;
use crate::{objects::ObjectKind::*, orphans::FRACTION_MAX_DEFAULT};

/// Takes a reason away.
type Without = fn(&mut Facts);

const TABLE: &str = "s3://lake/curated/t";

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn object(path: &str, modified: &str) -> Listed {
    let location = if path.contains("://") { path.to_owned() } else { format!("{TABLE}/{path}") };
    Listed { location, bytes: 10, modified: at(modified) }
}

/// Three months old.
fn old(path: &str) -> Listed {
    object(path, "2025-03-11T00:00:00Z")
}

/// A table of eight files, and what else lies there.
fn facts(others: Vec<Listed>) -> Facts {
    let live = ["data/a.parquet", "data/b.parquet", "data/c.parquet", "data/d.parquet", "data/e.parquet"];
    let named = [
        ("metadata/m0.avro", Manifest),
        ("metadata/snap-1.avro", ManifestList),
        ("metadata/00001-u.metadata.json", Metadata),
    ];
    let references: Vec<_> = live.into_iter().map(|path| (path, DataFile)).chain(named).collect();
    Facts {
        table: "curated.t".parse().unwrap(),
        location: TABLE.to_owned(),
        objects: references.iter().map(|(path, _)| old(path)).chain(others).collect(),
        references: references.iter().map(|(path, kind)| (format!("{TABLE}/{path}"), *kind)).collect(),
        reserved: BTreeMap::new(),
        neighbours: BTreeMap::new(),
        foreign: BTreeMap::new(),
        properties: BTreeMap::new(),
        older_than: "7d".parse().unwrap(),
        fraction_max: FRACTION_MAX_DEFAULT,
        now: at("2025-06-11T00:00:00Z"),
    }
}

/// The plan without what is the same in all of them.
fn plan(facts: &Facts) -> String {
    let text = decide(facts).to_string();
    text.lines().filter(|line| !line.contains(": the table refers to it")).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_nothing_refers_to_goes_when_it_is_old() {
    let facts = facts(vec![old("data/x.parquet"), object("data/young.parquet", "2025-06-04T00:00:00Z")]);
    assert_snapshot!(decide(&facts).to_string(), @"
    keep 1 files, 10 bytes: not older than 7d
    keep 5 files, 50 bytes: the table refers to it: data file
    keep 1 files, 10 bytes: the table refers to it: manifest
    keep 1 files, 10 bytes: the table refers to it: manifest list
    keep 1 files, 10 bytes: the table refers to it: metadata file
    delete s3://lake/curated/t/data/x.parquet (data file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    ");
}

#[test]
fn nothing_to_delete_is_said_as_such() {
    assert!(matches!(decide(&facts(vec![])), OrphansPlan::NoOrphans(_)));
    assert!(matches!(decide(&facts(vec![old("data/x.parquet")])), OrphansPlan::DeleteOrphans(_)));
}

#[test]
fn a_second_too_young_is_kept() {
    for (modified, is_kept) in [("2025-06-03T23:59:59Z", false), ("2025-06-04T00:00:00Z", true)] {
        let plan = decide(&facts(vec![object("data/x.parquet", modified)]));
        assert_eq!(matches!(plan, OrphansPlan::NoOrphans(_)), is_kept, "{modified}");
    }
}

#[test]
fn every_kind_of_reference_keeps() {
    for kind in [DataFile, DeleteFile, Manifest, ManifestList, Statistics, Tombstones, Metadata, Other] {
        let mut facts = facts(vec![old("data/x.parquet")]);
        facts.references.insert(format!("{TABLE}/data/x.parquet"), kind);
        assert!(matches!(decide(&facts), OrphansPlan::NoOrphans(_)), "{kind}");
    }
}

#[test]
fn folders_of_others_are_kept() {
    let mut facts = facts(vec![old("errors/x.parquet"), old("errors-2/x.parquet")]);
    facts.reserved.insert(format!("{TABLE}/errors"), "quarantine of curated.t".to_owned());
    // Above the table it says nothing about what lies in the table.
    facts.reserved.insert("s3://lake".to_owned(), "raw zone of curated.t".to_owned());
    assert_snapshot!(plan(&facts), @"
    keep 1 files, 10 bytes: quarantine of curated.t
    delete s3://lake/curated/t/errors-2/x.parquet (data file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    ");
}

#[test]
fn hidden_files_are_kept_and_partitions_are_not_hidden() {
    let hidden = vec![old("data/_SUCCESS"), old(".keep"), old("_spark/x.parquet")];
    let ours = vec![old("data/_region=eu/x.parquet"), old("data/.etl-77-0.tmp")];
    let facts = Facts { fraction_max: 1.0, ..facts([hidden, ours].concat()) };
    assert_snapshot!(plan(&facts), @"
    keep 3 files, 30 bytes: hidden: a part of its path begins with . or _
    delete s3://lake/curated/t/data/.etl-77-0.tmp (other file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    delete s3://lake/curated/t/data/_region=eu/x.parquet (data file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    ");
}

#[test]
fn nothing_outside_of_the_table_goes() {
    let facts = facts(vec![old("s3://lake/curated/t2/x.parquet"), old("s3://other/curated/t/x.parquet")]);
    assert_snapshot!(plan(&facts), @"keep 2 files, 20 bytes: outside of the table's location");
}

#[test]
fn kinds_are_told_by_name() {
    let paths = [
        "data/x.parquet",
        "data/x-deletes.parquet",
        "data/x.avro",
        "metadata/x-m0.avro",
        "metadata/snap-2-0-u.avro",
        "metadata/1.stats",
        "metadata/etl-tombstones-u.parquet",
        "metadata/00000-u.metadata.json",
        "x.txt",
    ];
    let kinds: Vec<_> = paths.iter().map(|path| format!("{path}: {}", kind_of(path))).collect();
    assert_snapshot!(kinds.join("\n"), @"
    data/x.parquet: data file
    data/x-deletes.parquet: delete file
    data/x.avro: data file
    metadata/x-m0.avro: manifest
    metadata/snap-2-0-u.avro: manifest list
    metadata/1.stats: statistics file
    metadata/etl-tombstones-u.parquet: tombstone file
    metadata/00000-u.metadata.json: metadata file
    x.txt: other file
    ");
}

#[test]
fn less_than_a_day_is_refused() {
    for (older_than, is_refused) in
        [("24h", false), ("86399s", true), ("0s", true), ("2025-06-10", false), ("2025-06-10T00:00:01Z", true)]
    {
        let facts = Facts { older_than: older_than.parse().unwrap(), ..facts(vec![old("data/x.parquet")]) };
        assert_eq!(matches!(decide(&facts), OrphansPlan::Refused { .. }), is_refused, "{older_than}");
    }
}

#[test]
fn a_location_of_two_tables_is_refused() {
    for location in [TABLE, "s3://lake/curated/t/inner", "s3://lake/curated"] {
        let mut facts = facts(vec![old("data/x.parquet")]);
        facts.neighbours.insert(location.to_owned(), "curated.u".parse().unwrap());
        assert!(plan(&facts).contains("table curated.u lies in"), "{location}");
    }
    let mut facts = facts(vec![old("data/x.parquet")]);
    for location in ["s3://lake/curated/t2", "s3://lake/raw", "s3://other/curated/t"] {
        facts.neighbours.insert(location.to_owned(), "curated.u".parse().unwrap());
    }
    assert!(matches!(decide(&facts), OrphansPlan::DeleteOrphans(_)));
}

#[test]
fn references_of_another_authority_are_refused() {
    for location in
        ["s3://old-lake/curated/t/data/a.parquet", "gs://lake/curated/t/data/a.parquet", "file:///curated/t/a"]
    {
        let mut facts = facts(vec![old("data/x.parquet")]);
        facts.references.insert(location.to_owned(), DataFile);
        assert!(plan(&facts).contains(location), "{location}");
    }
    let mut facts = facts(vec![old("data/x.parquet")]);
    facts.references.insert("s3://lake/elsewhere/a.parquet".to_owned(), DataFile);
    assert!(matches!(decide(&facts), OrphansPlan::DeleteOrphans(_)));
}

#[test]
fn a_table_that_refers_to_nothing_here_is_refused() {
    let mut facts = facts(vec![old("data/x.parquet")]);
    facts.references = [("s3://lake/elsewhere/a.parquet".to_owned(), DataFile)].into();
    assert_snapshot!(plan(&facts), @"refused: the table refers to nothing below its location s3://lake/curated/t");
    facts.references.clear();
    assert!(matches!(decide(&facts), OrphansPlan::Refused { .. }));
}

#[test]
fn a_table_may_forbid_it() {
    let mut facts = facts(vec![old("data/x.parquet")]);
    facts.properties.insert("gc.enabled".to_owned(), "FALSE".to_owned());
    assert!(plan(&facts).contains("gc.enabled is false"));
}

#[test]
fn too_large_a_share_is_refused_and_shown() {
    let orphans = |count: usize| (0..count).map(|n| old(&format!("data/x{n}.parquet"))).collect::<Vec<_>>();
    // Of the seven that the table has besides its metadata.json, and two or three more.
    assert!(matches!(decide(&facts(orphans(2))), OrphansPlan::DeleteOrphans(_)));
    assert_snapshot!(plan(&facts(orphans(3))), @"
    refused: 3 of 10 files look like orphans, 30 % where --max-fraction allows 25 %: look at the list (--dry-run), and allow more when it is right
    delete s3://lake/curated/t/data/x0.parquet (data file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    delete s3://lake/curated/t/data/x1.parquet (data file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    delete s3://lake/curated/t/data/x2.parquet (data file, 10 bytes): no version of the table refers to it, and it was written 2025-03-11T00:00:00Z
    ");
    let allowed = Facts { fraction_max: 0.3, ..facts(orphans(3)) };
    assert!(matches!(decide(&allowed), OrphansPlan::DeleteOrphans(_)));
}

#[test]
fn superseded_metadata_piles_up_and_goes() {
    let many = (100..150).map(|n| old(&format!("metadata/{n:05}-u.metadata.json"))).collect();
    let OrphansPlan::DeleteOrphans(found) = decide(&facts(many)) else { panic!("refused") };
    assert_eq!(found.orphans.len(), 50);
}

#[test]
fn each_reason_alone_keeps_an_object() {
    let outside = format!("{TABLE}-2/x.parquet");
    let inside = |of: &mut Facts| of.objects.last_mut().unwrap().location = format!("{TABLE}/x.parquet");
    let young = object("data/x.parquet", "2025-06-04T00:00:00Z");
    let mut named = facts(vec![old("data/x.parquet")]);
    named.references.insert(format!("{TABLE}/data/x.parquet"), Statistics);
    let mut reserved = facts(vec![old("errors/x.parquet")]);
    reserved.reserved.insert(format!("{TABLE}/errors"), "quarantine of curated.t".to_owned());
    let hidden = "hidden: a part of its path begins with . or _";
    let cases: [(&str, Facts, Without); 8] = [
        ("outside of the table's location", facts(vec![old(&outside)]), inside),
        ("the table refers to it: statistics file", named, |of| {
            of.references.remove(&format!("{TABLE}/data/x.parquet"));
        }),
        ("quarantine of curated.t", reserved, |of| of.reserved.clear()),
        (hidden, facts(vec![old("data/_x.parquet")]), inside),
        (hidden, facts(vec![old("data/.x.parquet")]), inside),
        (hidden, facts(vec![old("_spark/x.parquet")]), inside),
        ("not older than 7d", facts(vec![young.clone()]), |of| of.older_than = "6d".parse().unwrap()),
        ("not older than 7d", facts(vec![young]), |of| of.now = at("2025-06-11T00:00:01Z")),
    ];
    for (reason, mut facts, take_away) in cases {
        let OrphansPlan::NoOrphans(found) = decide(&facts) else { panic!("{reason}: it is not kept") };
        let others =
            found.kept.iter().filter(|kept| !kept.reason.starts_with("the table refers") || kept.reason == reason);
        assert_eq!(others.map(|kept| (kept.reason.as_str(), kept.files)).collect::<Vec<_>>(), [(reason, 1)]);
        take_away(&mut facts);
        let OrphansPlan::DeleteOrphans(found) = decide(&facts) else { panic!("{reason}: it does not go without it") };
        assert_eq!(found.orphans.len(), 1, "{reason}");
    }
}

#[test]
fn each_reason_alone_refuses() {
    let one = || facts(vec![old("data/x.parquet")]);
    let change = |change: fn(&mut Facts)| {
        let mut facts = one();
        change(&mut facts);
        facts
    };
    let cases: [(&str, Facts); 6] = [
        ("gc.enabled", change(|of| drop(of.properties.insert("gc.enabled".to_owned(), "false".to_owned())))),
        ("reaches into the last", change(|of| of.older_than = "1h".parse().unwrap())),
        (
            "table curated.u lies in",
            change(|of| drop(of.neighbours.insert(TABLE.to_owned(), "curated.u".parse().unwrap()))),
        ),
        ("another scheme or bucket", change(|of| _ = of.references.insert("s3://other/a".to_owned(), DataFile))),
        ("refers to nothing below", change(|of| of.references.clear())),
        ("--max-fraction", change(|of| of.fraction_max = 0.1)),
    ];
    assert!(matches!(decide(&one()), OrphansPlan::DeleteOrphans(_)));
    for (reason, facts) in cases {
        let OrphansPlan::Refused { reasons, .. } = decide(&facts) else { panic!("{reason}: not refused") };
        assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reason}: {reasons:?}");
    }
}

#[test]
fn metadata_of_another_table_refuses() {
    let mut facts = facts(vec![old("data/x.parquet")]);
    for path in ["inner/_delta_log", "inner/metadata/v1.metadata.json"] {
        facts.foreign.insert(format!("{TABLE}/{path}"), "metadata of another table".to_owned());
    }
    assert_snapshot!(decide(&facts).to_string(), @"refused: s3://lake/curated/t/inner/_delta_log is metadata of another table, the first of 2 such signs: files of another table would look like orphans of this one; move one of the two to a place of its own, or away what is left of a table that is gone");
}

#[test]
fn a_reference_that_systems_read_differently_refuses() {
    for path in ["data//x.parquet", "data/./x.parquet", "data/../data/x.parquet"] {
        let mut facts = facts(vec![old("data/x.parquet")]);
        facts.references.insert(format!("{TABLE}/{path}"), DataFile);
        let plan = decide(&facts).to_string();
        assert!(plan.contains("refused: ") && plan.contains(path), "{plan}");
    }
}

#[test]
fn a_percent_encoded_name_is_the_plain_one() {
    for (referred, listed) in [("k=a%20b/x", "k=a b/x"), ("k=a b/x", "k=a%20b/x"), ("k=%C3%BC/x%", "k=ü/x%")] {
        let mut facts = facts(vec![old(&format!("data/{listed}")), old("data/%2/x"), old("data/%ff/x")]);
        facts.references.insert(format!("{TABLE}/data/{referred}"), DataFile);
        let plan = decide(&facts).to_string();
        assert!(plan.contains("keep 1 files, 10 bytes: the table refers to it, percent-encoded"), "{plan}");
        assert_eq!(plan.lines().filter(|line| line.starts_with("delete ")).count(), 2, "{plan}");
    }
}
