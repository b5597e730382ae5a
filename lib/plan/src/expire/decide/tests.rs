//! Minimal facts in; keep, expire and every reason out. Days count from 2025-06-01; it is the 11th.

use insta::assert_snapshot;
use jiff::{Timestamp, ToSpan};

use super::*;
use crate::expire::Request;

/// Takes a reason away.
type Without = fn(&mut Facts);

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn day(day: i64) -> Timestamp {
    "2025-06-01T00:00:00Z".parse::<Timestamp>().unwrap() + (24 * day).hours()
}

fn snapshot(snapshot_id: i64, parent_id: Option<i64>, on: i64) -> SnapshotFacts {
    SnapshotFacts { snapshot_id, parent_id, committed_at: day(on) }
}

fn branch(snapshot_id: i64) -> RefFacts {
    own_branch(snapshot_id, None, None)
}

fn own_branch(snapshot_id: i64, snapshots_min: Option<i32>, age_days: Option<i64>) -> RefFacts {
    let snapshot_age_max_ms = age_days.map(|days| days * DAY_MS);
    RefFacts { snapshot_id, kind: RefKind::Branch { snapshots_min, snapshot_age_max_ms }, ref_age_max_ms: None }
}

fn tag(snapshot_id: i64) -> RefFacts {
    RefFacts { snapshot_id, kind: RefKind::Tag, ref_age_max_ms: None }
}

/// Snapshots 1, 2, 3, … of `main`, committed on these days.
fn chain(days: &[i64]) -> Facts {
    let snapshots: Vec<_> = (1..).zip(days).map(|(id, on)| snapshot(id, (id > 1).then_some(id - 1), *on)).collect();
    let main = snapshots.last().map(|last| (MAIN.to_owned(), branch(last.snapshot_id)));
    Facts {
        table: "curated.t".parse().unwrap(),
        request: Request::default(),
        refs: main.into_iter().collect(),
        snapshots,
        properties: BTreeMap::new(),
        now: day(10),
    }
}

impl Facts {
    fn with_ref(mut self, name: &str, of: RefFacts) -> Self {
        self.refs.insert(name.to_owned(), of);
        self
    }

    fn with_property(mut self, name: &str, value: &str) -> Self {
        self.properties.insert(name.to_owned(), value.to_owned());
        self
    }

    fn with_snapshot(mut self, snapshot: SnapshotFacts) -> Self {
        self.snapshots.push(snapshot);
        self
    }

    fn asked(mut self, request: Request) -> Self {
        self.request = request;
        self
    }
}

/// The plan without the line of `main`, which is always the same.
fn plan(facts: &Facts) -> String {
    let text = decide(facts).to_string();
    text.lines().filter(|line| *line != "keep branch main: it is never dropped").collect::<Vec<_>>().join("\n")
}

fn older_than(text: &str) -> Request {
    Request { older_than: Some(text.parse().unwrap()), ..Request::default() }
}

fn ids(snapshot_ids: &[i64]) -> Request {
    Request { snapshot_ids: snapshot_ids.to_vec(), ..Request::default() }
}

#[test]
fn by_default_what_is_older_than_five_days_goes() {
    assert_snapshot!(plan(&chain(&[1, 4, 6, 9])), @"
    keep snapshot 4 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    keep snapshot 3 of 2025-06-07T00:00:00Z: not older than 5d on branch main
    expire snapshot 2 of 2025-06-05T00:00:00Z: older than 5d, and not among the last 1 of branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
}

#[test]
fn the_current_snapshot_stays_however_old() {
    assert_snapshot!(plan(&chain(&[1, 2])), @"
    keep snapshot 2 of 2025-06-03T00:00:00Z: current snapshot
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
}

#[test]
fn nothing_to_expire_is_said_as_such() {
    assert!(matches!(decide(&chain(&[8, 9])), ExpirePlan::KeepAll(_)));
    assert!(matches!(decide(&chain(&[])), ExpirePlan::KeepAll(_)));
    assert!(matches!(decide(&chain(&[1, 9])), ExpirePlan::Expire(_)));
}

#[test]
fn the_table_says_how_young_and_how_many() {
    let facts = chain(&[1, 4, 6, 9]).with_property("history.expire.max-snapshot-age-ms", "86400000");
    assert_snapshot!(plan(&facts), @"
    keep snapshot 4 of 2025-06-10T00:00:00Z: current snapshot, not older than 1d on branch main
    expire snapshot 3 of 2025-06-07T00:00:00Z: older than 1d, and not among the last 1 of branch main
    expire snapshot 2 of 2025-06-05T00:00:00Z: older than 1d, and not among the last 1 of branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 1d, and not among the last 1 of branch main
    ");
    assert_snapshot!(plan(&facts.with_property("history.expire.min-snapshots-to-keep", "3")), @"
    keep snapshot 4 of 2025-06-10T00:00:00Z: current snapshot, not older than 1d on branch main
    keep snapshot 3 of 2025-06-07T00:00:00Z: among the last 3 of branch main
    keep snapshot 2 of 2025-06-05T00:00:00Z: among the last 3 of branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 1d, and not among the last 3 of branch main
    ");
}

#[test]
fn the_command_line_goes_before_the_table() {
    let facts = chain(&[1, 4, 6, 9])
        .with_property("history.expire.max-snapshot-age-ms", "1")
        .with_property("history.expire.min-snapshots-to-keep", "3");
    let request = Request { retain_last: Some(1), ..older_than("2025-06-05") };
    assert_snapshot!(plan(&facts.asked(request)), @"
    keep snapshot 4 of 2025-06-10T00:00:00Z: current snapshot, not older than 2025-06-05T00:00:00Z on branch main
    keep snapshot 3 of 2025-06-07T00:00:00Z: not older than 2025-06-05T00:00:00Z on branch main
    keep snapshot 2 of 2025-06-05T00:00:00Z: not older than 2025-06-05T00:00:00Z on branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 2025-06-05T00:00:00Z, and not among the last 1 of branch main
    ");
}

#[test]
fn a_tag_keeps_its_snapshot_and_no_ancestor() {
    assert_snapshot!(plan(&chain(&[1, 2, 3, 9]).with_ref("v1", tag(2))), @"
    keep tag v1: it has no age limit
    keep snapshot 4 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    expire snapshot 3 of 2025-06-04T00:00:00Z: older than 5d, and not among the last 1 of branch main
    keep snapshot 2 of 2025-06-03T00:00:00Z: tag v1
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
}

#[test]
fn a_branch_keeps_by_its_own_words() {
    let facts = chain(&[1, 2, 3]).with_snapshot(snapshot(11, Some(2), 3)).with_snapshot(snapshot(12, Some(11), 4));
    assert_snapshot!(plan(&facts.clone().with_ref("audit", branch(12))), @"
    keep branch audit: it has no age limit
    keep snapshot 12 of 2025-06-05T00:00:00Z: head of branch audit
    expire snapshot 11 of 2025-06-04T00:00:00Z: older than 5d, and not among the last 1 of branch audit
    keep snapshot 3 of 2025-06-04T00:00:00Z: current snapshot
    expire snapshot 2 of 2025-06-03T00:00:00Z: older than 5d, and not among the last 1 of branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
    assert_snapshot!(plan(&facts.clone().with_ref("audit", own_branch(12, Some(2), None))), @"
    keep branch audit: it has no age limit
    keep snapshot 12 of 2025-06-05T00:00:00Z: head of branch audit
    keep snapshot 11 of 2025-06-04T00:00:00Z: among the last 2 of branch audit
    keep snapshot 3 of 2025-06-04T00:00:00Z: current snapshot
    expire snapshot 2 of 2025-06-03T00:00:00Z: older than 5d, and not among the last 1 of branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
    // An age of its own holds against --older-than too.
    assert_snapshot!(plan(&facts.with_ref("audit", own_branch(12, None, Some(8))).asked(older_than("0s"))), @"
    keep branch audit: it has no age limit
    keep snapshot 12 of 2025-06-05T00:00:00Z: head of branch audit, not older than 8d on branch audit
    keep snapshot 11 of 2025-06-04T00:00:00Z: not older than 8d on branch audit
    keep snapshot 3 of 2025-06-04T00:00:00Z: current snapshot
    keep snapshot 2 of 2025-06-03T00:00:00Z: not older than 8d on branch audit
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 0s, and not among the last 1 of branch main
    ");
}

#[test]
fn refs_grow_old_where_somebody_said_so() {
    let old_tag = RefFacts { ref_age_max_ms: Some(5 * DAY_MS), ..tag(1) };
    assert_snapshot!(plan(&chain(&[1, 9]).with_ref("v1", old_tag)), @"
    expire tag v1: its snapshot is older than 5d
    keep snapshot 2 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
    // Of the table; a limit of its own goes before it. main never goes.
    let facts = chain(&[1, 2]).with_property("history.expire.max-ref-age-ms", "86400000");
    let facts = facts.with_ref("v1", tag(1)).with_ref("v2", RefFacts { ref_age_max_ms: Some(20 * DAY_MS), ..tag(2) });
    assert_snapshot!(plan(&facts), @"
    expire tag v1: its snapshot is older than 1d
    keep tag v2: its snapshot is not older than 20d
    keep snapshot 2 of 2025-06-03T00:00:00Z: current snapshot, tag v2
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
}

#[test]
fn a_ref_to_nothing_goes() {
    assert_snapshot!(plan(&chain(&[9]).with_ref("lost", tag(77))), @"
    expire tag lost: snapshot 77, which it points at, does not exist
    keep snapshot 1 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    ");
}

#[test]
fn what_a_rollback_left_is_kept_while_it_is_young() {
    let facts = chain(&[9]).with_snapshot(snapshot(7, Some(1), 8)).with_snapshot(snapshot(6, Some(1), 2));
    assert_snapshot!(plan(&facts), @"
    keep snapshot 1 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    keep snapshot 7 of 2025-06-09T00:00:00Z: not older than 5d, in no branch or tag
    expire snapshot 6 of 2025-06-03T00:00:00Z: older than 5d, in no branch or tag
    ");
}

#[test]
fn named_snapshots_go_and_no_others() {
    assert_snapshot!(plan(&chain(&[1, 8, 9]).with_ref("v0", RefFacts { ref_age_max_ms: Some(1), ..tag(1) }).asked(ids(&[2, 99]))), @"
    keep tag v0: only named snapshots expire
    keep snapshot 3 of 2025-06-10T00:00:00Z: not named by --snapshot-id
    expire snapshot 2 of 2025-06-09T00:00:00Z: named by --snapshot-id
    keep snapshot 1 of 2025-06-02T00:00:00Z: not named by --snapshot-id
    snapshot 99 is not in the table
    ");
    // With an age, both.
    assert_snapshot!(plan(&chain(&[1, 8, 9]).asked(Request { snapshot_ids: vec![2], ..older_than("5d") })), @"
    keep snapshot 3 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    expire snapshot 2 of 2025-06-09T00:00:00Z: named by --snapshot-id
    expire snapshot 1 of 2025-06-02T00:00:00Z: older than 5d, and not among the last 1 of branch main
    ");
    // Once more, when they are gone.
    assert!(matches!(decide(&chain(&[8, 9]).asked(ids(&[99]))), ExpirePlan::KeepAll(_)));
}

#[test]
fn named_snapshots_that_a_ref_points_at_are_refused() {
    let facts = chain(&[1, 2, 9]).with_ref("v1", tag(2)).with_ref("audit", branch(2));
    assert_snapshot!(plan(&facts.asked(ids(&[1, 2, 3]))), @"refused: snapshot 2 cannot expire: it is held by branch audit and tag v1; snapshot 3 cannot expire: it is held by branch main");
}

#[test]
fn a_table_may_forbid_it() {
    assert_snapshot!(plan(&chain(&[1, 9]).with_property("gc.enabled", "false")), @"refused: the table's property gc.enabled is false: its files may belong to others; set it to true if not");
    assert!(matches!(decide(&chain(&[1, 9]).with_property("gc.enabled", "true")), ExpirePlan::Expire(_)));
}

#[test]
fn properties_that_cannot_be_read_are_refused_by_name() {
    let facts = chain(&[1, 9])
        .with_property("history.expire.max-snapshot-age-ms", "5 days")
        .with_property("history.expire.min-snapshots-to-keep", "0")
        .with_property("history.expire.max-ref-age-ms", "-1");
    let refused = plan(&facts.asked(Request { retain_last: Some(0), ..Request::default() }));
    assert_snapshot!(refused.replace("; ", "\n"), @r#"
    refused: the table's property history.expire.max-snapshot-age-ms is "5 days": set it to a whole number of at least 0
    the table's property history.expire.min-snapshots-to-keep is "0": set it to a whole number of at least 1
    the table's property history.expire.max-ref-age-ms is "-1": set it to a whole number of at least 0
    --retain-last must be at least 1: a branch keeps its head
    "#);
    let least = chain(&[1, 9]).with_property(MAX_AGE, "0").with_property(MIN_KEPT, "1");
    assert!(matches!(decide(&least), ExpirePlan::Expire(_)));
}

#[test]
fn a_clock_ten_minutes_ahead_shortens_no_age_of_the_table() {
    let mut facts = chain(&[5, 9]);
    facts.now = day(10) + 10.minutes();
    assert!(matches!(decide(&facts), ExpirePlan::KeepAll(_)));
    facts.now = day(10) + 11.minutes();
    assert!(matches!(decide(&facts), ExpirePlan::Expire(_)));
    // What a person asks for is taken as it is.
    assert!(matches!(decide(&chain(&[5, 9]).asked(older_than("2025-06-06"))), ExpirePlan::KeepAll(_)));
    assert!(matches!(decide(&chain(&[5, 9]).asked(older_than("2025-06-06T00:00:01Z"))), ExpirePlan::Expire(_)));
}

#[test]
fn parents_that_lead_back_end() {
    let mut facts = chain(&[1, 9]);
    facts.snapshots[0].parent_id = Some(2);
    assert!(matches!(decide(&facts), ExpirePlan::Expire(_)));
}

/// What becomes of a snapshot, and every reason.
fn of_snapshot(facts: &Facts, snapshot_id: i64) -> (Action, Vec<String>) {
    let verdicts = match decide(facts) {
        ExpirePlan::KeepAll(verdicts) | ExpirePlan::Expire(verdicts) => verdicts,
        ExpirePlan::Refused { reasons } => panic!("refused: {reasons:?}"),
    };
    let found = verdicts.snapshots.into_iter().find(|verdict| verdict.snapshot_id == snapshot_id);
    found.map(|verdict| (verdict.action, verdict.reasons)).unwrap()
}

/// Facts in which one thing alone keeps snapshot 1, the reason, and what takes that thing away.
type Alone = (&'static str, Facts, fn(&mut Facts));

#[test]
fn each_reason_alone_keeps_a_snapshot() {
    let aged = |of: &mut Facts| of.snapshots[0].committed_at = day(1);
    let alone = |days: &[i64]| chain(days).with_snapshot(snapshot(9, None, 9)).with_ref(MAIN, branch(9));
    let two = || Request { retain_last: Some(2), ..Request::default() };
    let audit = |snapshots_min, age_days| chain(&[1, 2, 9]).with_ref("audit", own_branch(2, snapshots_min, age_days));
    let cases: [Alone; 14] = [
        ("current snapshot", chain(&[1]), |of| {
            of.snapshots.push(snapshot(9, None, 9));
            of.refs.insert(MAIN.to_owned(), branch(9));
        }),
        ("head of branch audit", alone(&[1]).with_ref("audit", branch(1)), |of| _ = of.refs.remove("audit")),
        ("tag v1", alone(&[1]).with_ref("v1", tag(1)), |of| _ = of.refs.remove("v1")),
        // A tag that has grown old keeps nothing any more.
        ("tag v1", alone(&[1]).with_ref("v1", tag(1)), |of| {
            of.properties.insert("history.expire.max-ref-age-ms".to_owned(), DAY_MS.to_string());
        }),
        ("not older than 5d on branch main", chain(&[8, 9]), aged),
        ("not older than 9d on branch main", chain(&[1, 9]).with_property(MAX_AGE, &(9 * DAY_MS).to_string()), |of| {
            of.properties.clear();
        }),
        ("not older than 30d on branch main", chain(&[1, 9]).asked(older_than("30d")), |of| {
            of.request = Request::default();
        }),
        ("not older than 9d on branch audit", audit(None, Some(9)), |of| {
            of.refs.insert("audit".to_owned(), branch(2));
        }),
        ("among the last 2 of branch main", chain(&[1, 9]).with_property(MIN_KEPT, "2"), |of| of.properties.clear()),
        ("among the last 2 of branch main", chain(&[1, 9]).asked(two()), |of| of.request = Request::default()),
        ("among the last 2 of branch audit", audit(Some(2), None), |of| {
            of.refs.insert("audit".to_owned(), branch(2));
        }),
        ("not older than 5d, in no branch or tag", alone(&[8]), aged),
        ("not named by --snapshot-id", alone(&[1]).asked(ids(&[77])), |of| of.request = Request::default()),
        ("not named by --snapshot-id", alone(&[1]).asked(ids(&[77])), |of| of.request = ids(&[77, 1])),
    ];
    for (reason, mut facts, take_away) in cases {
        assert_eq!(of_snapshot(&facts, 1), (Action::Keep, vec![reason.to_owned()]));
        take_away(&mut facts);
        assert_eq!(of_snapshot(&facts, 1).0, Action::Expire, "{reason}");
    }
}

/// As old as the limit to the millisecond is not older.
#[test]
fn what_is_as_old_as_the_limit_stays() {
    let (kept, in_no_branch) = (snapshot(6, None, 4), "not older than 2025-06-05T00:00:00Z, in no branch or tag");
    let facts = chain(&[9]).with_snapshot(kept).asked(older_than("2025-06-05"));
    assert_eq!(of_snapshot(&facts, 6), (Action::Keep, vec![in_no_branch.to_owned()]));
    // With the clock's ten minutes.
    let limited = RefFacts { ref_age_max_ms: Some(9 * DAY_MS), ..tag(1) };
    let mut facts = chain(&[1, 9]).with_ref("v1", limited);
    facts.now = day(10) + 10.minutes();
    assert_snapshot!(plan(&facts), @"
    keep tag v1: its snapshot is not older than 9d
    keep snapshot 2 of 2025-06-10T00:00:00Z: current snapshot, not older than 5d on branch main
    keep snapshot 1 of 2025-06-02T00:00:00Z: tag v1
    ");
}

/// A tag is enough: its snapshot is not said to be in none.
#[test]
fn a_young_snapshot_with_a_tag_is_kept_for_it() {
    let facts = chain(&[9]).with_snapshot(snapshot(7, None, 8)).with_ref("v1", tag(7));
    assert_eq!(of_snapshot(&facts, 7), (Action::Keep, vec!["tag v1".to_owned()]));
}

const MAX_AGE: &str = "history.expire.max-snapshot-age-ms";
const MIN_KEPT: &str = "history.expire.min-snapshots-to-keep";

#[test]
fn each_reason_alone_keeps_a_ref() {
    let of_ref = |facts: &Facts, name: &str| {
        let (ExpirePlan::KeepAll(verdicts) | ExpirePlan::Expire(verdicts)) = decide(facts) else { panic!("refused") };
        verdicts.refs.into_iter().find(|verdict| verdict.name == name).map(|of| (of.action, of.reason)).unwrap()
    };
    let limited = |days| RefFacts { ref_age_max_ms: Some(days * DAY_MS), ..tag(1) };
    let cases: [(&str, &str, Facts, Without); 4] = [
        (MAIN, "it is never dropped", chain(&[1]).with_property("history.expire.max-ref-age-ms", "1"), |of| {
            // The same of another name; `main` is then what `v1` was.
            let main = of.refs.remove(MAIN).unwrap();
            of.refs.insert("v1".to_owned(), main);
        }),
        ("v1", "only named snapshots expire", chain(&[1, 9]).with_ref("v1", limited(1)).asked(ids(&[77])), |of| {
            of.request = Request::default();
        }),
        ("v1", "it has no age limit", chain(&[1, 9]).with_ref("v1", tag(1)), |of| {
            of.properties.insert("history.expire.max-ref-age-ms".to_owned(), DAY_MS.to_string());
        }),
        ("v1", "its snapshot is not older than 20d", chain(&[1, 9]).with_ref("v1", limited(20)), |of| {
            of.refs.insert("v1".to_owned(), RefFacts { ref_age_max_ms: Some(DAY_MS), ..tag(1) });
        }),
    ];
    for (name, reason, mut facts, take_away) in cases {
        assert_eq!(of_ref(&facts, name), (Action::Keep, reason.to_owned()));
        take_away(&mut facts);
        assert_eq!(of_ref(&facts, "v1").0, Action::Expire, "{reason}");
    }
}

#[test]
fn each_reason_alone_refuses() {
    let cases: [(&str, Facts, Without); 5] = [
        ("gc.enabled", chain(&[1, 9]).with_property("gc.enabled", "false"), |of| of.properties.clear()),
        (MAX_AGE, chain(&[1, 9]).with_property(MAX_AGE, "-1"), |of| of.properties.clear()),
        ("held by tag v1", chain(&[1, 9]).with_ref("v1", tag(1)).asked(ids(&[1])), |of| _ = of.refs.remove("v1")),
        ("held by branch audit", chain(&[1, 9]).with_ref("audit", branch(1)).asked(ids(&[1])), |of| {
            of.refs.remove("audit");
        }),
        ("held by branch main", chain(&[1, 2]).asked(ids(&[1, 2])), |of| of.request = ids(&[1])),
    ];
    for (reason, mut facts, take_away) in cases {
        let ExpirePlan::Refused { reasons } = decide(&facts) else { panic!("{reason}: not refused") };
        assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reason}: {reasons:?}");
        take_away(&mut facts);
        assert!(matches!(decide(&facts), ExpirePlan::Expire(_)), "{reason}");
    }
}
