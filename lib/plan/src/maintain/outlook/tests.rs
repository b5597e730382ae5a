use contract::ColdClass;
use insta::assert_snapshot;

use super::*;
use crate::{
    compact::{Arrange, Group, GroupFile, How, Kept, ManifestKind, ManifestsPlan, ManifestsRewrite, PartitionKey},
    expire::{RefVerdict, RefWord, SnapshotVerdict},
    orphans::{Found, Orphan},
    prices::{Dollars, PriceList, RegionPrices},
    tier::{Transition, Untag},
};

fn text(outlook: &Outlook) -> String {
    let Outlook { job, would } = outlook;
    match would {
        Would::Nothing { why } => format!("{job} nothing: {why}"),
        Would::Refuse { why } => format!("{job} refuses: {why}"),
        Would::Unknown { why } => format!("{job} unknown: {why}"),
        Would::Act { what, why, bytes, money } => {
            let money = money.as_ref().map_or("unknown".to_owned(), |money| {
                format!("costs {}, saves {}", money.cost.explained(), money.saving_per_month.explained_per_month())
            });
            format!("{job} would {what}\nbecause {why}\n{bytes} bytes again, {money}")
        }
    }
}

/// The shipped prices, in little.
fn prices() -> Prices {
    let class = serde_json::json!({
        "STANDARD": {"storage_per_gib_month": 0.023, "put_per_1000": 0.005, "list_per_1000": 0.005, "get_per_1000": 0.0004}
    });
    let prices = RegionPrices { regions: vec!["us-east-1".to_owned()], class: serde_json::from_value(class).unwrap() };
    let as_of = "2025-06-01".parse().unwrap();
    PriceList { as_of, source: "here".to_owned(), prices: vec![prices] }.of_region(Some("us-east-1")).unwrap()
}

fn verdicts(actions: &[(Action, &str)]) -> Verdicts {
    let verdict = |(id, (action, reason)): (usize, &(Action, &str))| SnapshotVerdict {
        snapshot_id: id as i64,
        committed_at: "2025-06-04T00:00:00Z".parse().unwrap(),
        action: *action,
        reasons: vec![(*reason).to_owned()],
    };
    Verdicts {
        table: "curated.t".parse().unwrap(),
        snapshots: actions.iter().enumerate().map(verdict).collect(),
        refs: Vec::new(),
        absent: Vec::new(),
        deletes: Vec::new(),
        money: None,
    }
}

#[test]
fn of_expire() {
    let reasons = vec!["gc.enabled is false".to_owned()];
    assert_snapshot!(text(&Outlook::of_expire(&ExpirePlan::Refused { reasons })), @"expire refuses: gc.enabled is false");
    assert_snapshot!(text(&Outlook::of_expire(&ExpirePlan::KeepAll(verdicts(&[])))), @"expire nothing: there is no snapshot");
    let young = (Action::Keep, "not older than 5d on branch main");
    assert_snapshot!(text(&Outlook::of_expire(&ExpirePlan::KeepAll(verdicts(&[young, young])))), @"expire nothing: every snapshot is kept: 2 not older than 5d on branch main");
    let old = (Action::Expire, "older than 5d, in no branch or tag");
    let mut some = verdicts(&[young, old, old]);
    some.refs.push(RefVerdict {
        kind: RefWord::Tag,
        name: "v1".to_owned(),
        action: Action::Expire,
        reason: "its snapshot is older than 30d".to_owned(),
    });
    some.price(
        vec![
            KindTotal { kind: ObjectKind::DataFile, files: 1_200, bytes: 100 << 30 },
            KindTotal { kind: ObjectKind::Manifest, files: 3, bytes: 1 << 20 },
        ],
        &prices(),
    );
    assert_snapshot!(text(&Outlook::of_expire(&ExpirePlan::Expire(some))), @"
    expire would let 2 of 3 snapshots go, drop 1 ref, delete 1,203 files (1,200 of data), 100.0 GiB
    because 2 older than 5d, in no branch or tag; tag v1: its snapshot is older than 30d
    0 bytes again, costs under $0.01: 1 PUT × 0.005 $/1,000 Standard, saves $2.30 a month: 100.0 GiB × 0.023 $/GiB-month Standard
    ");
}

#[test]
fn of_orphans() {
    let orphan = |kind| Orphan {
        location: "s3://b/t/x".to_owned(),
        kind,
        bytes: 2 << 30,
        modified: "2025-06-04T00:00:00Z".parse().unwrap(),
        reason: "no version of the table refers to it".to_owned(),
    };
    let found = |orphans| Found {
        table: "curated.t".parse().unwrap(),
        location: "s3://b/t".to_owned(),
        kept: Vec::new(),
        orphans,
        money: None,
    };
    let refused = OrphansPlan::Refused { reasons: vec!["a".to_owned(), "b".to_owned()], orphans: Vec::new() };
    assert_snapshot!(text(&Outlook::of_orphans(&refused)), @"orphans refuses: a; b");
    assert_snapshot!(text(&Outlook::of_orphans(&OrphansPlan::NoOrphans(found(Vec::new())))), @"orphans nothing: every file that is old enough has a reference");
    let mut some = found(vec![orphan(ObjectKind::Metadata), orphan(ObjectKind::Metadata)]);
    some.price(&prices());
    assert_snapshot!(text(&Outlook::of_orphans(&OrphansPlan::DeleteOrphans(some))), @"
    orphans would delete 2 files, 4.0 GiB
    because no version of the table refers to them
    0 bytes again, costs $0, saves $0.09 a month: 4.0 GiB × 0.023 $/GiB-month Standard
    ");
}

#[test]
fn of_tier() {
    let days = |days: u64| Duration { seconds: days * 86_400 };
    let transition = |zone, to, age| Transition {
        location: "s3://b/x".to_owned(),
        etag: "e".to_owned(),
        bytes: 2 << 30,
        zone,
        from: StorageClass::Standard,
        to,
        cost: Dollars { nanos: 30_000 },
        saving_per_month: Dollars { nanos: 38_800_000 },
        age: days(age),
        reason: String::new(),
    };
    let kept = |reason: &str, files| crate::orphans::Kept { reason: reason.to_owned(), files, bytes: 1 };
    let amount = |cents: i64| Amount::one(Dollars { nanos: cents * 10_000_000 }, format!("{cents} cents"));
    let mut tiers = Tiers {
        table: "curated.t".parse().unwrap(),
        way: Way::Copy,
        kept: vec![kept("in GLACIER already", 40), kept("younger than 30d", 200)],
        transitions: vec![
            transition(Zone::Curated, ColdClass::StandardIa, 60),
            transition(Zone::Raw, ColdClass::Glacier, 90),
            transition(Zone::Raw, ColdClass::Glacier, 90),
        ],
        untagged: Vec::new(),
        rules: Vec::new(),
        rule_places: Vec::new(),
        prices: "ours".to_owned(),
        money: Some(Money { cost: amount(3), saving_per_month: amount(12), prices: "ours".to_owned() }),
    };
    let act = |tiers: &Tiers| text(&Outlook::of_tier(&TierPlan::Transitions(tiers.clone())));
    assert_snapshot!(act(&tiers), @"
    tier would move 2 raw objects, 4.0 GiB, STANDARD → GLACIER; move 1 curated object, 2.0 GiB, STANDARD → STANDARD_IA
    because 2 raw objects older than 90d; 1 curated object older than 60d
    0 bytes again, costs $0.03: 3 cents, saves $0.12 a month: 12 cents
    ");
    (tiers.way, tiers.money) = (Way::Lifecycle, None);
    tiers.transitions.truncate(1);
    tiers.untagged = vec![Untag { location: "s3://b/y".to_owned(), reason: "held".to_owned() }];
    assert_snapshot!(act(&tiers), @"
    tier would tag 1 curated object, 2.0 GiB, STANDARD → STANDARD_IA; take the tag off 1 object
    because 1 curated object older than 60d
    0 bytes again, unknown
    ");
    tiers.transitions.clear();
    assert_snapshot!(act(&tiers), @"
    tier would take the tag off 1 object
    because held
    0 bytes again, unknown
    ");
    tiers.untagged.clear();
    assert_snapshot!(act(&tiers), @"
    tier would write the buckets' lifecycle rules
    because the contract asks for other ones than there are
    0 bytes again, unknown
    ");
    let nothing = |tiers: &Tiers| text(&Outlook::of_tier(&TierPlan::NoTransitions(tiers.clone())));
    assert_snapshot!(nothing(&tiers), @"tier nothing: 200 objects: younger than 30d; 40 objects: in GLACIER already");
    tiers.kept.clear();
    assert_snapshot!(nothing(&tiers), @"tier nothing: there is no object");
    let refused = TierPlan::Refused { reasons: vec!["b keeps versions".to_owned()] };
    assert_snapshot!(text(&Outlook::of_tier(&refused)), @"tier refuses: b keeps versions");
}

#[test]
fn of_compact() {
    let partition = PartitionKey { spec_id: 0, path: "day=2025-06-04".to_owned() };
    let file = GroupFile { path: "f".to_owned(), bytes: 1 << 20, how: How::Copy, why: "as it is".to_owned() };
    let group = |reason: &str| Group {
        partition: partition.clone(),
        files: vec![file.clone(); 200],
        bytes: 200 << 20,
        rows: 10,
        arrange: Arrange::Pack,
        file_bytes: 128 << 20,
        reasons: vec![reason.to_owned()],
    };
    let kept = |reason: &str, files| Kept { partition: partition.clone(), reason: reason.to_owned(), files, bytes: 1 };
    let compaction = Compaction {
        table: "curated.t".parse().unwrap(),
        snapshot_id: Some(1),
        target_file_bytes: 128 << 20,
        groups: vec![group("many"), group("deleted rows"), group("many")],
        kept: vec![
            kept("of the right size", 3),
            kept("its partition still receives data: x", 2),
            kept("its partition still receives data: y", 2),
        ],
        dangling_delete_files: 2,
        removes_dangling_deletes: true,
        groups_per_commit: 1,
        manifests: ManifestsPlan::default(),
    };
    assert_snapshot!(text(&Outlook::of_compact(&CompactPlan::Compact(compaction.clone()), &prices())), @"
    compact would write 600 files, 600.0 MiB, again as about 6, drop 2 delete files that apply to nothing
    because 2 groups: many; 1 group: deleted rows
    629145600 bytes again, costs under $0.01: 1,200 GET × 0.0004 $/1,000 Standard + 6 PUT × 0.005 $/1,000 Standard, saves $0 a month
    ");
    assert_snapshot!(text(&Outlook::of_compact(&CompactPlan::KeepAll(compaction.clone()), &prices())), @"compact nothing: 4 files: its partition still receives data; 3 files: of the right size");
    let empty = Compaction { groups: Vec::new(), kept: Vec::new(), ..compaction };
    assert_snapshot!(text(&Outlook::of_compact(&CompactPlan::KeepAll(empty.clone()), &prices())), @"compact nothing: there is no data file");
    assert_snapshot!(text(&Outlook::of_compact(&CompactPlan::Compact(empty.clone()), &prices())), @"
    compact would drop 2 delete files that apply to nothing
    because delete files apply to nothing any more
    0 bytes again, costs $0: 0 GET × 0.0004 $/1,000 Standard + 0 PUT × 0.005 $/1,000 Standard, saves $0 a month
    ");
    let rewrite = ManifestsRewrite {
        kind: ManifestKind { spec_id: 0, of_deletes: false },
        paths: vec![String::new(); 12],
        bytes: 9 << 20,
        files: 9_000,
        target_bytes: 8 << 20,
        reasons: vec!["12 manifests are smaller than 4.0 MiB".to_owned()],
    };
    let manifests = ManifestsPlan { rewrites: vec![rewrite], kept: Vec::new() };
    let of_manifests = Compaction { manifests, dangling_delete_files: 0, ..empty };
    assert_snapshot!(text(&Outlook::of_compact(&CompactPlan::Compact(of_manifests), &prices())), @"
    compact would rewrite 12 manifests as about 2
    because 12 manifests are smaller than 4.0 MiB
    0 bytes again, costs under $0.01: 24 GET × 0.0004 $/1,000 Standard + 2 PUT × 0.005 $/1,000 Standard, saves $0 a month
    ");
}
