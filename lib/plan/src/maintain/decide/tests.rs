use insta::assert_snapshot;

use super::*;
use crate::{
    maintain::Upkeep,
    prices::{Amount, Money},
};

fn act(job: Upkeep, bytes: u64, cost: i64, saving: i64) -> Outlook {
    let amount = |cents: i64| Amount::one(Dollars { nanos: cents * 10_000_000 }, format!("{cents} cents"));
    let money = Money { cost: amount(cost), saving_per_month: amount(saving), prices: "ours".to_owned() };
    let would = Would::Act { what: format!("do {job}"), why: "it pays".to_owned(), bytes, money: Some(money) };
    Outlook { job, would }
}

fn other(job: Upkeep, would: impl Fn(String) -> Would) -> Outlook {
    Outlook { job, would: would("that is how it is".to_owned()) }
}

fn table(name: &str, outlooks: Vec<Outlook>) -> Facts {
    Facts { table: format!("curated.{name}").parse().unwrap(), outlooks }
}

/// Every table with its steps, as the log has them.
fn text(facts: &[Facts], budget: Budget) -> String {
    let plans = decide(facts, budget);
    // The same facts in another order are the same facts.
    let mut turned = facts.to_vec();
    turned.reverse();
    turned.iter_mut().for_each(|facts| facts.outlooks.reverse());
    assert_eq!(decide(&turned, budget), plans);
    plans.iter().map(|plan| format!("{}\n{plan}", plan.table)).collect()
}

const GIB: u64 = 1 << 30;

#[test]
fn each_job_runs_where_it_has_something_to_do() {
    let facts = table(
        "t",
        vec![
            act(Upkeep::Orphans, 0, 0, 10),
            act(Upkeep::Compact, GIB, 1, 0),
            other(Upkeep::Expire, |why| Would::Nothing { why }),
        ],
    );
    assert_snapshot!(text(&[facts], Budget::default()), @"
    curated.t
    run compact: do compact: it pays
    skip expire: that is how it is
    run orphans: do orphans: it pays
    ");
}

/// What goes is gone before anybody pays for moving it.
#[test]
fn objects_move_last() {
    let facts = table("t", Upkeep::ALL.map(|job| act(job, 0, 1, 0)).into_iter().rev().collect());
    assert_snapshot!(text(&[facts], Budget::default()), @"
    curated.t
    run compact: do compact: it pays
    run expire: do expire: it pays
    run orphans: do orphans: it pays
    run tier: do tier: it pays
    ");
    let asks = Upkeep::ALL.map(|job| job.consequence().unwrap_or("nothing"));
    assert_eq!(
        asks,
        [
            "nothing",
            "delete objects for good",
            "delete objects for good",
            "change what objects cost and how fast they can be read"
        ]
    );
}

/// Moves are made of parts: as many as the budget pays for.
#[test]
fn the_last_dollars_are_for_moves() {
    let of = |name, cost, saving| table(name, vec![act(Upkeep::Expire, 0, 10, saving), act(Upkeep::Tier, 0, cost, 0)]);
    let budget = Budget { dollars: Some(Dollars { nanos: 1_000_000_000 }), ..Budget::default() };
    let facts = [of("a", 50, 4), of("b", 300, 3), of("c", 1, 2)];
    assert_snapshot!(text(&facts, budget), @"
    curated.a
    run expire: do expire: it pays
    run tier: do tier: it pays
    curated.b
    run expire: do expire: it pays
    run tier: do tier: it pays; as far as the $0.30 reach that are left of --budget-dollars
    curated.c
    later expire: do expire: it would cost $0.10, and $0 of --budget-dollars are left
    later tier: do tier: it would cost $0.01, and $0 of --budget-dollars are left
    ");
    let limits = |budget| decide(&facts, budget).iter().map(|plan| plan.steps[1].dollars_max).collect::<Vec<_>>();
    let cents = |cents: i64| Some(Dollars { nanos: cents * 10_000_000 });
    // Also what fits is held to what was planned: the jobs before it may leave more to move.
    assert_eq!(limits(budget), [cents(50), cents(30), None]);
    assert_eq!(limits(Budget::default()), [None; 3]);
}

#[test]
fn nothing_to_do_is_a_plan_too() {
    let facts = table("t", vec![other(Upkeep::Expire, |why| Would::Nothing { why })]);
    let plans = decide(&[facts], Budget::default());
    assert_eq!(plans[0].running().count(), 0);
    assert_eq!(plans[0].saving_per_month(), Dollars::ZERO);
    assert_eq!(decide(&[], Budget::default()), []);
}

#[test]
fn what_is_refused_or_unknown_does_not_run_and_keeps_nothing_else_from_it() {
    let facts = table(
        "t",
        vec![
            other(Upkeep::Compact, |why| Would::Refuse { why }),
            other(Upkeep::Expire, |why| Would::Unknown { why }),
            act(Upkeep::Orphans, 0, 0, 10),
        ],
    );
    assert_snapshot!(text(&[facts], Budget::default()), @"
    curated.t
    refused compact: that is how it is
    skip expire: that is how it is
    run orphans: do orphans: it pays
    ");
}

#[test]
fn tables_that_save_most_come_first() {
    let of = |name, saving| table(name, vec![act(Upkeep::Expire, 0, 0, saving)]);
    let facts = [of("a", 1), of("b", 300), of("c", 300), of("d", 20)];
    let order: Vec<_> = decide(&facts, Budget::default()).into_iter().map(|plan| plan.table.to_string()).collect();
    assert_eq!(order, ["curated.b", "curated.c", "curated.d", "curated.a"]);
}

#[test]
fn a_budget_of_bytes_is_for_what_is_written_again() {
    let of =
        |name, gib, saving| table(name, vec![act(Upkeep::Compact, gib * GIB, 1, 0), act(Upkeep::Expire, 0, 0, saving)]);
    let budget = Budget { bytes: Some(10 * GIB), ..Budget::default() };
    // A compaction takes what is left, the next one nothing; what deletes is not kept from it.
    assert_snapshot!(text(&[of("a", 8, 3), of("b", 8, 2), of("c", 2, 1)], budget), @"
    curated.a
    run compact: do compact: it pays
    run expire: do expire: it pays
    curated.b
    run compact: do compact: it pays; as far as the 2.0 GiB reach that are left of --budget-bytes
    run expire: do expire: it pays
    curated.c
    later compact: do compact: it would write 2.0 GiB again, and 0 B of --budget-bytes are left
    run expire: do expire: it pays
    ");
    let limits = |gib| decide(&[of("a", gib, 1)], budget)[0].steps[0].bytes_max;
    assert_eq!([10, 11].map(limits), [None, Some(10 * GIB)]);
}

#[test]
fn a_budget_of_dollars_is_for_what_steps_cost() {
    let of = |name, cost, saving| table(name, vec![act(Upkeep::Expire, 0, cost, saving)]);
    let budget = Budget { dollars: Some(Dollars { nanos: 500_000_000 }), ..Budget::default() };
    assert_snapshot!(text(&[of("a", 30, 3), of("b", 30, 2), of("c", 20, 1)], budget), @"
    curated.a
    run expire: do expire: it pays
    curated.b
    later expire: do expire: it would cost $0.30, and $0.20 of --budget-dollars are left
    curated.c
    run expire: do expire: it pays
    ");
    let nothing = Budget { dollars: Some(Dollars::ZERO), ..Budget::default() };
    let free = table("t", vec![act(Upkeep::Orphans, 0, 0, 1)]);
    assert_eq!(decide(&[free], nothing)[0].running().count(), 1, "what costs nothing fits into nothing");
}

#[test]
fn a_budget_of_time_is_looked_at_before_each_step() {
    let budget = Budget { time: Some("30m".parse().unwrap()), ..Budget::default() };
    assert_eq!(budget.out_of_time(30 * 60_000 - 1), None);
    assert_eq!(budget.out_of_time(30 * 60_000).unwrap(), "the 30m of --budget-time are over: the next run goes on");
    assert_eq!(Budget::default().out_of_time(u64::MAX), None);
}
