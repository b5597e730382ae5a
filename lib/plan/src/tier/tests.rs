//! Facts in, transitions and reasons out. Each reason to stay is there alone in one test: without it the object moves.

use contract::{Duration, Hold};
use insta::assert_snapshot;
use jiff::Timestamp;

use super::*;
use crate::{
    dedupe::{PartitionMark, RawFile},
    prices::PriceList,
};

const DAY: u64 = 86_400;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn days(days: u64) -> Duration {
    Duration { seconds: days * DAY }
}

fn prices() -> Prices {
    prices_with(0.0036)
}

/// The price list with another price of storage in `GLACIER`.
fn prices_with(glacier: f64) -> Prices {
    let class = |storage: f64, put: f64, more: serde_json::Value| {
        let mut class = serde_json::json!({
            "storage_per_gib_month": storage, "put_per_1000": put, "list_per_1000": 0.005, "get_per_1000": 0.001,
            "transition_per_1000": put,
        });
        class.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        class
    };
    let list: PriceList = serde_json::from_value(serde_json::json!({
        "as_of": "2025-06-01", "source": "a test", "prices": [{"regions": ["us-east-1"], "class": {
            "STANDARD": class(0.023, 0.005, serde_json::json!({})),
            "STANDARD_IA": class(0.0125, 0.01, serde_json::json!({
                "stored_days_min": 30, "billable_bytes_min": 131_072, "retrieval_per_gib": 0.01,
            })),
            "GLACIER": class(glacier, 0.03, serde_json::json!({
                "stored_days_min": 90, "overhead_bytes": 32_768, "overhead_standard_bytes": 8_192,
                "restore": {"standard": {"per_gib": 0.01, "per_1000": 0.05, "hours_max": 5},
                            "bulk": {"per_gib": 0, "per_1000": 0, "hours_max": 12},
                            "expedited": {"per_gib": 0.03, "per_1000": 10, "hours_max": 1}},
            })),
            "DEEP_ARCHIVE": class(0.00099, 0.05, serde_json::json!({
                "stored_days_min": 180, "overhead_bytes": 32_768, "overhead_standard_bytes": 8_192,
                "restore": {"standard": {"per_gib": 0.02, "per_1000": 0.1, "hours_max": 12},
                            "bulk": {"per_gib": 0.0025, "per_1000": 0.025, "hours_max": 9}},
            })),
        }}],
    }))
    .unwrap();
    list.of_region(Some("us-east-1")).unwrap()
}

fn tiering() -> Tiering {
    let rule = |age, class| TierRule { age: days(age), class };
    let rules = vec![rule(30, ColdClass::StandardIa), rule(90, ColdClass::Glacier)];
    Tiering { raw: rules.clone(), curated: rules, archived: true, hot: None, holds: Vec::new() }
}

fn facts(objects: Vec<Listed>) -> Facts {
    Facts {
        table: "curated.t".parse().unwrap(),
        tiering: tiering(),
        lateness: None,
        way: Way::Copy,
        objects,
        rules: Vec::new(),
        rules_differ: false,
        rule_places: Vec::new(),
        versioned: Vec::new(),
        cost_max: None,
        prices: prices(),
        now: time("2025-06-01T00:00:00Z"),
    }
}

/// A raw file of 100 MiB in the table, that arrived on that day and was written then.
fn raw(day: &str) -> Listed {
    let start = time(&format!("{day}T00:00:00Z"));
    let arrival = Interval::new(start, start + jiff::SignedDuration::from_hours(24)).unwrap();
    Listed {
        location: format!("s3://b/raw/{day}.parquet"),
        bytes: 100 << 20,
        etag: "\"e\"".to_owned(),
        modified: start,
        class: "STANDARD".to_owned(),
        tag: None,
        needed: Need::Raw { arrival, taken: Taken::Yes },
    }
}

/// A curated file with events of that day.
fn curated(day: &str) -> Listed {
    let start = time(&format!("{day}T00:00:00Z"));
    let event_time = Some((start, start + jiff::SignedDuration::from_hours(23)));
    Listed { needed: Need::Current { event_time }, location: format!("s3://b/t/{day}.parquet"), ..raw(day) }
}

/// What becomes of one object: its new class, or why it stays.
fn one(facts: &Facts) -> String {
    match decide(facts) {
        TierPlan::Refused { reasons } => reasons.join("; "),
        TierPlan::NoTransitions(tiers) | TierPlan::Transitions(tiers) => match tiers.transitions.first() {
            Some(transition) => transition.to.to_string(),
            None => tiers.kept[0].reason.clone(),
        },
    }
}

/// Old enough for the archive, before something is changed that must keep it out of there.
const OLD: &str = "2025-01-01";

fn without_and_with(object: Listed, change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = facts(vec![object]);
    assert_eq!(one(&facts), "GLACIER", "nothing else may keep it");
    change(&mut facts);
    one(&facts)
}

fn needs(taken: Taken) -> impl FnOnce(&mut Facts) {
    move |facts| {
        let Need::Raw { taken: of, .. } = &mut facts.objects[0].needed else { panic!("a raw file") };
        *of = taken;
    }
}

/// With a copy everything stays, or goes to the warmer class; never to the archive.
#[test]
fn each_reason_alone_keeps_a_raw_file_from_the_archive() {
    let ia = "STANDARD_IA";
    assert_snapshot!(without_and_with(raw(OLD), needs(Taken::No)), @"not in the table yet");
    assert_snapshot!(without_and_with(raw(OLD), needs(Taken::Beside)), @"another file of its raw partition is not in the table yet");
    assert_eq!(without_and_with(raw(OLD), needs(Taken::Forgotten)), ia);
    assert_eq!(without_and_with(raw(OLD), needs(Taken::LookedAtAgain)), ia);
    assert_eq!(without_and_with(raw(OLD), |facts| facts.tiering.hot = Some(days(150))), ia);
    let hold = |start: &str, end: &str| vec![Hold { start: start.parse().unwrap(), end: end.parse().unwrap() }];
    assert_eq!(without_and_with(raw(OLD), |facts| facts.tiering.holds = hold("2025-01-01", "2025-01-02")), ia);
    // Held days before and after.
    assert_eq!(without_and_with(raw(OLD), |facts| facts.tiering.holds = hold("2024-12-01", "2025-01-01")), "GLACIER");
    assert_eq!(without_and_with(raw(OLD), |facts| facts.tiering.holds = hold("2025-01-02", "2025-02-01")), "GLACIER");
    assert_eq!(without_and_with(raw(OLD), |facts| facts.tiering.hot = Some(days(149))), "GLACIER");
}

/// A lifecycle rule changes no order of arrival: what is not in the table may go where it can be read at once.
#[test]
fn what_is_not_in_the_table_is_not_archived_by_a_rule_either() {
    for taken in [Taken::No, Taken::Beside] {
        let to = without_and_with(raw(OLD), |facts| {
            needs(taken)(facts);
            facts.way = Way::Lifecycle;
        });
        assert_eq!(to, "STANDARD_IA");
    }
}

#[test]
fn each_reason_alone_keeps_a_curated_file_from_the_archive() {
    let ia = "STANDARD_IA";
    assert_eq!(without_and_with(curated(OLD), |facts| facts.tiering.archived = false), ia);
    assert_eq!(without_and_with(curated(OLD), |facts| facts.lateness = Some(days(151))), ia);
    assert_eq!(without_and_with(curated(OLD), |facts| facts.lateness = Some(days(150))), "GLACIER");
    // Its youngest event is that old to the second.
    let to_the_second = Duration { seconds: 150 * DAY + 3_600 };
    assert_eq!(without_and_with(curated(OLD), |facts| facts.lateness = Some(to_the_second)), ia);
    let young_as_well = Some((time("2025-01-01T00:00:00Z"), time("2025-05-20T00:00:00Z")));
    let is_young_as_well = |facts: &mut Facts| facts.objects[0].needed = Need::Current { event_time: young_as_well };
    assert_snapshot!(without_and_with(curated(OLD), is_young_as_well), @"younger than 30d");
    assert_eq!(without_and_with(curated(OLD), |facts| facts.tiering.hot = Some(days(200))), ia);
    // Its events are of all of the first day of January.
    let hold = |start: &str, end: &str| vec![Hold { start: start.parse().unwrap(), end: end.parse().unwrap() }];
    assert_eq!(without_and_with(curated(OLD), |facts| facts.tiering.holds = hold("2025-01-01", "2025-01-02")), ia);
    assert_eq!(
        without_and_with(curated(OLD), |facts| facts.tiering.holds = hold("2024-12-01", "2025-01-01")),
        "GLACIER"
    );
    assert_eq!(
        without_and_with(curated(OLD), |facts| facts.tiering.holds = hold("2025-01-02", "2025-02-01")),
        "GLACIER"
    );
    let to_midnight = |facts: &mut Facts| {
        let event_time = Some((time("2025-01-01T00:00:00Z"), time("2025-01-02T00:00:00Z")));
        facts.objects[0].needed = Need::Current { event_time };
        facts.tiering.holds = hold("2025-01-02", "2025-02-01");
    };
    assert_eq!(without_and_with(curated(OLD), to_midnight), ia);
    let needed = |needed| move |facts: &mut Facts| facts.objects[0].needed = needed;
    let changed = |need| without_and_with(curated(OLD), needed(need));
    assert_snapshot!(changed(Need::Current { event_time: None }), @"no event time is known of it");
    assert_snapshot!(changed(Need::Referred(ObjectKind::DataFile)), @"the current snapshot does not have it: expire deletes it with the snapshots that do");
    assert_snapshot!(changed(Need::Referred(ObjectKind::DeleteFile)), @"every read of the table needs it: delete file");
    assert_snapshot!(changed(Need::Referred(ObjectKind::Manifest)), @"every read of the table needs it: manifest");
    assert_snapshot!(changed(Need::Unknown), @"the table does not refer to it: etl orphans looks at such files");
    assert_snapshot!(changed(Need::NoInput), @"no input: hidden, empty, or outside of the path template");
}

/// The reasons that an archive was refused for are said when there is no warmer class to go to.
#[test]
fn why_an_object_is_not_archived_is_said() {
    let reason = |object: Listed, change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(vec![object]);
        facts.tiering.raw.remove(0);
        facts.tiering.curated.remove(0);
        change(&mut facts);
        one(&facts)
    };
    let taken = |taken| reason(raw(OLD), &|facts| needs(taken)(facts));
    assert_snapshot!(taken(Taken::Forgotten), @"the ledger no longer knows whether it is in the table: --forgotten says that it is");
    assert_snapshot!(taken(Taken::LookedAtAgain), @"etl dedupe --pending looks at its partition again (etl.lateness)");
    assert_snapshot!(reason(raw(OLD), &|facts| facts.tiering.hot = Some(days(200))), @"it stays readable for 200d (etl.tier.hot)");
    let hold = Hold { start: "2024-12-31".parse().unwrap(), end: "2025-01-05".parse().unwrap() };
    assert_snapshot!(reason(raw(OLD), &|facts| facts.tiering.holds = vec![hold]), @"held for a backfill or an audit: 2024-12-31/2025-01-05 (etl.tier.hold)");
    assert_snapshot!(reason(curated(OLD), &|facts| facts.tiering.archived = false), @"readers of the table expect it: the contract does not say etl.tier.archived");
    assert_snapshot!(reason(curated(OLD), &|facts| facts.lateness = Some(days(200))), @"late events may still change it (etl.lateness)");

    // Also when something else speaks against the warmer class.
    let mut facts = facts(vec![Listed { bytes: BYTES_MIN - 1, ..raw(OLD) }]);
    facts.tiering.hot = Some(days(200));
    assert_snapshot!(one(&facts), @"it stays readable for 200d (etl.tier.hot)");
}

#[test]
fn each_reason_alone_keeps_an_object_where_it_is() {
    let changed = |change: &dyn Fn(&mut Facts)| without_and_with(raw(OLD), change);
    assert_snapshot!(changed(&|facts| facts.objects[0] = raw("2025-05-01")), @"younger than 30d");
    assert_eq!(changed(&|facts| facts.objects[0] = raw("2025-04-30")), "STANDARD_IA");
    assert_snapshot!(changed(&|facts| facts.objects[0].bytes = BYTES_MIN - 1), @"smaller than 128 KiB, which S3 charges it as");
    assert_snapshot!(changed(&|facts| facts.objects[0].class = "GLACIER".to_owned()), @"in GLACIER already");
    assert_snapshot!(changed(&|facts| facts.objects[0].class = "DEEP_ARCHIVE".to_owned()), @"in DEEP_ARCHIVE already");
    assert_snapshot!(changed(&|facts| facts.objects[0].class = "INTELLIGENT_TIERING".to_owned()), @"in INTELLIGENT_TIERING: S3 moves it by itself");
    assert_snapshot!(changed(&|facts| facts.objects[0].class = "SNOW".to_owned()), @"in SNOW, which no rule moves objects out of");
    assert_snapshot!(changed(&|facts| facts.tiering.raw.clear()), @"the contract has no rule for raw objects");
    // Of the class that its age alone would take it to; a rule of a lifecycle leaves it there too.
    let in_ia = |facts: &mut Facts| facts.objects[0] = Listed { class: "STANDARD_IA".to_owned(), ..raw("2025-04-01") };
    assert_snapshot!(changed(&in_ia), @"in STANDARD_IA already");
    let in_glacier = |facts: &mut Facts| {
        facts.objects[0].class = "GLACIER".to_owned();
        facts.way = Way::Lifecycle;
    };
    assert_snapshot!(changed(&in_glacier), @"in GLACIER already");
    let in_glacier_early = |facts: &mut Facts| {
        in_glacier(facts);
        facts.objects[0].needed = raw("2025-04-01").needed;
    };
    assert_snapshot!(changed(&in_glacier_early), @"in GLACIER already");
    // What is archived cannot be copied, but a rule moves it on.
    let colder = |facts: &mut Facts| {
        facts.objects[0].class = "GLACIER".to_owned();
        facts.tiering.raw.push(TierRule { age: days(120), class: ColdClass::DeepArchive });
    };
    assert_snapshot!(changed(&colder), @"in GLACIER already");
    let colder_by_rule = |facts: &mut Facts| {
        colder(facts);
        facts.way = Way::Lifecycle;
    };
    assert_eq!(changed(&colder_by_rule), "DEEP_ARCHIVE");
    assert_eq!(changed(&|facts| facts.way = Way::Lifecycle), "GLACIER");
    assert_eq!(changed(&|facts| facts.objects[0].tag = Some("GLACIER".to_owned())), "GLACIER", "no rule follows it");
    assert_snapshot!(changed(&|facts| facts.versioned = vec!["b".to_owned()]), @"b keeps what is replaced as an older version: a copy would be paid beside it; --lifecycle moves objects without copying them");
    let versioned_by_rule = |facts: &mut Facts| {
        facts.versioned = vec!["b".to_owned()];
        facts.way = Way::Lifecycle;
    };
    assert_eq!(changed(&versioned_by_rule), "GLACIER");
    // Copied to Standard-IA 29 days ago.
    let moved = |modified: &str| {
        changed(&|facts| {
            facts.objects[0].class = "STANDARD_IA".to_owned();
            facts.objects[0].modified = time(modified);
        })
    };
    assert_snapshot!(moved("2025-05-03T00:00:00Z"), @"written less than 30d ago, for which STANDARD_IA is charged anyway");
    assert_eq!(moved("2025-05-02T00:00:00Z"), "GLACIER");
}

/// 0.03 $ for a thousand objects pay within a year from 150 KiB on, when they come from Standard.
#[test]
fn a_transition_must_pay() {
    let of_bytes = |bytes, class: &str| {
        let mut facts = facts(vec![Listed { bytes, class: class.to_owned(), ..raw(OLD) }]);
        facts.tiering.raw.remove(0);
        one(&facts)
    };
    assert_snapshot!(of_bytes(BYTES_MIN, "STANDARD"), @"going to GLACIER costs more than it saves in 12 months");
    assert_eq!(of_bytes(160 << 10, "STANDARD"), "GLACIER");
    // A copy out of Standard-IA pays for reading it.
    assert_snapshot!(of_bytes(340 << 10, "STANDARD_IA"), @"going to GLACIER costs more than it saves in 12 months");
    assert_eq!(of_bytes(380 << 10, "STANDARD_IA"), "GLACIER");
    // Where the archive is no cheaper.
    let mut facts = facts(vec![raw(OLD)]);
    facts.tiering.raw.remove(0);
    facts.prices = prices_with(0.023);
    assert_snapshot!(one(&facts), @"GLACIER would cost more for objects of its size");
}

/// A limit of money goes to what saves most for its cost, and what is left over is said.
#[test]
fn moves_cost_no_more_than_they_may() {
    let of_mib = |day, mib: u64| Listed { bytes: mib << 20, ..raw(day) };
    let mut facts = facts(vec![of_mib("2025-01-01", 1), of_mib("2025-01-02", 100), of_mib("2025-01-03", 10)]);
    let TierPlan::Transitions(all) = decide(&facts) else { panic!("all of them move") };
    assert_eq!(all.transitions.len(), 3);
    let money = all.money.unwrap();
    assert_snapshot!(money.cost.explained(), @"under $0.01: 3 PUT × 0.03 $/1,000 Glacier Flexible Retrieval");
    assert_snapshot!(money.saving_per_month.explained_per_month(), @"under $0.01 a month: 111.0 MiB × 0.023 $/GiB-month Standard − 111.1 MiB × 0.0036 $/GiB-month Glacier Flexible Retrieval − 24.0 KiB × 0.023 $/GiB-month Standard for names and metadata");

    // Two of them cost 60,000 nano-dollars.
    facts.cost_max = Some(Dollars { nanos: 89_999 });
    assert_snapshot!(decide(&facts), @"
    keep 1 files, 1048576 bytes: left for the next run by --max-dollars 0.000089999
    move s3://b/raw/2025-01-02.parquet (104857600 bytes) STANDARD → GLACIER, 0.00003 $, saves 0.001894247 $ a month: arrived before 2025-01-03T00:00:00Z, older than 90d
    move s3://b/raw/2025-01-03.parquet (10485760 bytes) STANDARD → GLACIER, 0.00003 $, saves 0.000189168 $ a month: arrived before 2025-01-04T00:00:00Z, older than 90d
    ");
    facts.cost_max = Some(Dollars { nanos: 90_000 });
    assert!(matches!(decide(&facts), TierPlan::Transitions(tiers) if tiers.transitions.len() == 3));
    facts.cost_max = Some(Dollars::ZERO);
    let TierPlan::NoTransitions(none) = decide(&facts) else { panic!("there is no money") };
    assert_eq!(none.idle(), "what would move costs more than it may");
    assert_eq!(none.money, None);
}

/// Objects come in any order and go to several classes; what stays is counted by reason.
#[test]
fn a_plan_says_what_its_objects_are_together() {
    let mut facts =
        facts(vec![raw("2025-04-02"), curated("2025-01-02"), raw(OLD), raw("2025-05-30"), raw("2025-05-31")]);
    let TierPlan::Transitions(plan) = decide(&facts) else { panic!("three move") };
    assert_snapshot!(decide(&facts), @"
    keep 2 files, 209715200 bytes: younger than 30d
    move s3://b/raw/2025-01-01.parquet (104857600 bytes) STANDARD → GLACIER, 0.00003 $, saves 0.001894247 $ a month: arrived before 2025-01-02T00:00:00Z, older than 90d
    move s3://b/raw/2025-04-02.parquet (104857600 bytes) STANDARD → STANDARD_IA, 0.00001 $, saves 0.001025391 $ a month: arrived before 2025-04-03T00:00:00Z, older than 30d
    move s3://b/t/2025-01-02.parquet (104857600 bytes) STANDARD → GLACIER, 0.00003 $, saves 0.001894247 $ a month: its youngest event is of 2025-01-02T23:00:00Z, older than 90d
    ");
    let money = plan.money.unwrap();
    let sum = |of: fn(&Transition) -> Dollars| plan.transitions.iter().map(of).sum::<Dollars>();
    assert_eq!(money.cost.dollars, sum(|transition| transition.cost));
    let rounded = money.saving_per_month.dollars - sum(|transition| transition.saving_per_month);
    assert!(rounded.nanos.abs() <= 3, "each object is rounded once: {rounded:?}");

    // Of the same ages: those that lie where they should are due no more.
    let due = |facts: &Facts| facts.objects.iter().map(|object| is_due(facts, object)).collect::<Vec<_>>();
    assert_eq!(due(&facts), [true, true, true, false, false]);
    facts.objects[0].class = "STANDARD_IA".to_owned();
    facts.objects[1].class = "STANDARD_IA".to_owned();
    facts.objects[2].class = "GLACIER".to_owned();
    facts.way = Way::Lifecycle;
    assert_eq!(due(&facts), [false, true, false, false, false]);
}

/// Rules and tags are changes as well, when no object moves.
#[test]
fn rules_and_tags_alone_are_something_to_do() {
    let mut facts = facts(vec![raw("2025-05-31"), raw("2025-05-30")]);
    facts.way = Way::Lifecycle;
    assert!(matches!(decide(&facts), TierPlan::NoTransitions(_)));
    let mut differ = facts.clone();
    differ.rules_differ = true;
    assert!(matches!(decide(&differ), TierPlan::Transitions(_)));
    facts.objects.iter_mut().for_each(|object| object.tag = Some("GLACIER".to_owned()));
    let plan = decide(&facts);
    assert!(matches!(plan, TierPlan::Transitions(_)));
    assert_snapshot!(plan, @"
    keep 2 files, 209715200 bytes: younger than 30d
    untag s3://b/raw/2025-05-30.parquet: younger than 30d
    untag s3://b/raw/2025-05-31.parquet: younger than 30d
    ");
}

#[test]
fn tags_follow_the_plan() {
    let tagged = |tag: &str, change: &dyn Fn(&mut Facts)| {
        let mut facts = facts(vec![Listed { tag: Some(tag.to_owned()), ..raw(OLD) }]);
        facts.way = Way::Lifecycle;
        change(&mut facts);
        decide(&facts).to_string()
    };
    let held = |facts: &mut Facts| facts.tiering.hot = Some(days(1_000));
    assert_snapshot!(tagged("GLACIER", &|_| ()), @"keep 1 files, 104857600 bytes: tagged for GLACIER already: S3 moves it within days");
    assert_snapshot!(tagged("STANDARD_IA", &|_| ()), @"move s3://b/raw/2025-01-01.parquet (104857600 bytes) STANDARD → GLACIER, 0.000035 $, saves 0.001894247 $ a month: arrived before 2025-01-02T00:00:00Z, older than 90d");
    // What must not be archived any more gets the tag of the class before.
    assert_snapshot!(tagged("GLACIER", &held), @"move s3://b/raw/2025-01-01.parquet (104857600 bytes) STANDARD → STANDARD_IA, 0.000015 $, saves 0.001025391 $ a month: arrived before 2025-01-02T00:00:00Z, older than 30d");
    assert_snapshot!(tagged("STANDARD_IA", &held), @"keep 1 files, 104857600 bytes: tagged for STANDARD_IA already: S3 moves it within days");
    let in_ia_and_held = |facts: &mut Facts| {
        held(facts);
        facts.objects[0].class = "STANDARD_IA".to_owned();
    };
    assert_snapshot!(tagged("GLACIER", &in_ia_and_held), @"
    keep 1 files, 104857600 bytes: it stays readable for 1000d (etl.tier.hot)
    untag s3://b/raw/2025-01-01.parquet: it stays readable for 1000d (etl.tier.hot)
    ");
    // Only a rule follows tags.
    let by_copy = |facts: &mut Facts| {
        in_ia_and_held(facts);
        facts.way = Way::Copy;
    };
    assert_snapshot!(tagged("GLACIER", &by_copy), @"keep 1 files, 104857600 bytes: it stays readable for 1000d (etl.tier.hot)");
    assert_snapshot!(tagged("STANDARD_IA", &in_ia_and_held), @"keep 1 files, 104857600 bytes: it stays readable for 1000d (etl.tier.hot)");
}

#[test]
fn a_ledger_says_what_is_taken() {
    let file = |hour: i64, name: &str, modified: i64| RawFile {
        key: format!("{hour}/{name}"),
        etag: "e".to_owned(),
        bytes: 1,
        modified: Timestamp::from_second(modified).unwrap(),
        arrival: Some(
            Interval::new(
                Timestamp::from_second(hour * 3_600).unwrap(),
                Timestamp::from_second((hour + 1) * 3_600).unwrap(),
            )
            .unwrap(),
        ),
        rows: None,
        event_time: None,
    };
    let files = [file(1, "a", 1), file(2, "a", 1), file(2, "b", 2), file(3, "a", 1), file(4, "a", 1), file(9, "a", 1)];
    let mark = |files: &[&RawFile]| PartitionMark::of(files, "c");
    let start = |hour: i64| Timestamp::from_second(hour * 3_600).unwrap();
    let before = |hour| crate::dedupe::Forgotten { before: Some(start(hour)), ..Default::default() };
    let mut partitions = Partitions {
        marks: [(start(2), mark(&[&files[1]])), (start(3), mark(&[&files[3]])), (start(9), mark(&[&files[5]]))].into(),
        forgotten: before(2),
        lateness: Some(Duration { seconds: 3_600 }),
        now: start(9),
        forgotten_is_taken: false,
    };
    use Taken::*;
    assert_eq!(partitions.taken(&files), [Forgotten, Beside, No, Yes, No, LookedAtAgain]);
    // Of each, what makes it so is taken away.
    let without = |change: &dyn Fn(&mut Partitions)| {
        let mut partitions = partitions.clone();
        change(&mut partitions);
        partitions.taken(&files)
    };
    assert_eq!(without(&|of| drop(of.marks.insert(start(20), mark(&[]))))[5], Yes);
    assert_eq!(without(&|of| drop(of.marks.insert(start(2), mark(&[&files[1], &files[2]]))))[1..3], [Yes, Yes]);
    assert_eq!(without(&|of| drop(of.marks.insert(start(4), mark(&[&files[4]]))))[4], Yes);
    assert_eq!(without(&|of| of.forgotten = before(1))[0], No);
    assert_eq!(without(&|of| of.forgotten = before(3))[1..3], [Beside, No], "what is marked is remembered");
    let back_to_three = Some(Duration { seconds: 6 * 3_600 });
    assert_eq!(without(&|of| of.lateness = back_to_three)[3], LookedAtAgain);
    partitions.forgotten_is_taken = true;
    assert_eq!(partitions.taken(&files)[0], Yes);
    partitions.forgotten = Default::default();
    assert_eq!(partitions.taken(&files)[0], No);
    assert_eq!(Partitions::default().taken(&files), [No; 6]);
}

#[test]
fn a_restore_says_what_it_costs() {
    let archived = |n: u32, class, state| Archived {
        location: format!("s3://b/{n}"),
        bytes: 1 << 30,
        zone: Zone::Raw,
        class,
        state,
    };
    let mut request = RestoreRequest {
        table: "curated.t".parse().unwrap(),
        interval: None,
        days: 15,
        tier: crate::prices::RestoreTier::Standard,
        archived: vec![
            archived(3, StorageClass::Glacier, RestoreState::Archived),
            archived(1, StorageClass::Glacier, RestoreState::Archived),
            archived(2, StorageClass::Glacier, RestoreState::Restoring),
            archived(4, StorageClass::Glacier, RestoreState::Readable { until: None }),
            archived(5, StorageClass::DeepArchive, RestoreState::Archived),
        ],
        readable: 7,
        prices: prices(),
    };
    let plan = decide_restore(&request);
    assert_snapshot!(plan, @"
    restore s3://b/1 (1073741824 bytes) from GLACIER
    restore s3://b/3 (1073741824 bytes) from GLACIER
    restore s3://b/5 (1073741824 bytes) from DEEP_ARCHIVE
    1 restoring, 8 readable, $0.07: 2.0 GiB × 0.01 $/GiB Glacier Flexible Retrieval standard restore + 2 requests × 0.05 $/1,000 Glacier Flexible Retrieval standard restore + 1.0 GiB × 0.02 $/GiB Glacier Deep Archive standard restore + 1 request × 0.1 $/1,000 Glacier Deep Archive standard restore + copies for 15 days
    ");
    assert_eq!((plan.hours_max, plan.refused), (12, None));
    request.tier = crate::prices::RestoreTier::Bulk;
    assert_eq!(decide_restore(&request).hours_max, 12, "the slowest of the classes");
    request.tier = crate::prices::RestoreTier::Expedited;
    assert_eq!(decide_restore(&request).refused.as_deref(), Some("DEEP_ARCHIVE has no expedited restore"));
}
