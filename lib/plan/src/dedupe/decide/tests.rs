//! Minimal facts in, the exact decision and its reasons out.

use contract::NewColumns;
use jiff::ToSpan;

use super::*;
use crate::columns::{UnknownColumn, absent::ContractColumns};
use crate::dedupe::{Forgotten, LeftOut, Seen, TableFacts};

/// `hour` counts from 2025-06-01T00Z.
fn time(hour: i64) -> Timestamp {
    "2025-06-01T00:00:00Z".parse::<Timestamp>().unwrap() + hour.hours()
}

fn interval(start: i64, end: i64) -> Interval {
    Interval::new(time(start), time(end)).unwrap()
}

/// A file of one hourly partition, written a minute after the partition started, or later.
fn file(key: &str, hour: i64, minutes_after: i64) -> RawFile {
    RawFile {
        key: key.to_owned(),
        etag: "v1".to_owned(),
        bytes: 100,
        modified: time(hour) + minutes_after.minutes(),
        arrival: Some(interval(hour, hour + 1)),
        rows: None,
        event_time: None,
    }
}

/// A ledger in which one run has applied these files, interval by interval.
struct Ledger {
    runs: Vec<AppliedRun>,
    marks: BTreeMap<Timestamp, PartitionMark>,
}

fn applied(run_id: &str, start: i64, end: i64, files: &[RawFile]) -> Ledger {
    let files: Vec<_> = files.iter().collect();
    let run = AppliedRun {
        run_id: run_id.to_owned(),
        interval: Some(interval(start, end)),
        input_digest: digest(&files),
        contract_digest: "contract-1".to_owned(),
    };
    let marks = by_partition(&files)
        .into_iter()
        .map(|(arrival, files)| (arrival.start(), PartitionMark::of(&files, "contract-1")))
        .collect();
    Ledger { runs: vec![run], marks }
}

fn empty() -> Ledger {
    Ledger { runs: Vec::new(), marks: BTreeMap::new() }
}

fn facts(request: Request, files: &[RawFile], ledger: Ledger) -> Facts {
    Facts {
        table: "curated.t".parse().unwrap(),
        request,
        contract_digest: "contract-1".to_owned(),
        is_keyed: true,
        table_state: Some(TableFacts { snapshot_id: Some(7), rows: Some(10) }),
        files: files.to_vec(),
        settled: 0,
        seen: None,
        left_out: Vec::new(),
        runs: ledger.runs,
        marks: ledger.marks,
        forgotten: Forgotten::default(),
        new_columns: NewColumns::Discard,
        unknown_columns: Vec::new(),
        contract_columns: ContractColumns::default(),
        column_sets: Vec::new(),
        target_files: Vec::new(),
    }
}

fn day() -> Request {
    Request::Interval(interval(0, 24))
}

#[test]
fn an_interval_without_files() {
    let mut facts = facts(day(), &[file("elsewhere", 30, 1)], empty());
    facts.left_out = vec![LeftOut { key: "_SUCCESS".to_owned(), reason: "hidden".to_owned() }];
    insta::assert_snapshot!(decide(&facts), @"nothing to do: no raw files in 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z (1 object left out)");
}

#[test]
fn a_first_run_takes_the_interval_and_no_more() {
    let files = [file("b", 1, 1), file("a", 0, 1), file("next day", 24, 1)];
    let mut facts = facts(day(), &files, empty());
    facts.table_state = None;
    insta::assert_snapshot!(decide(&facts), @"
    merge 2 raw files, 200 bytes of 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z into curated.t
      creates the table
      because no earlier run covers it
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
      take 2025-06-01T01:00:00Z/2025-06-01T02:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn the_same_files_are_already_applied() {
    let files = [file("a", 0, 1), file("b", 1, 1)];
    insta::assert_snapshot!(decide(&facts(day(), &files, applied("run-1", 0, 24, &files))), @"already applied by run run-1: the same 2 raw files and the same contract");
}

#[test]
fn a_part_of_an_applied_interval_is_already_applied() {
    let files = [file("a", 0, 1), file("b", 1, 1)];
    let request = Request::Interval(interval(1, 2));
    insta::assert_snapshot!(decide(&facts(request, &files, applied("run-1", 0, 24, &files))), @"already applied by run run-1: the same 1 raw file and the same contract");
}

#[test]
fn two_halves_make_a_whole() {
    let files = [file("a", 0, 1), file("b", 12, 1)];
    let mut ledger = applied("run-1", 0, 12, &files[..1]);
    let second = applied("run-2", 12, 24, &files[1..]);
    ledger.runs.splice(0..0, second.runs);
    ledger.marks.extend(second.marks);
    insta::assert_snapshot!(decide(&facts(day(), &files, ledger)), @"already applied by run run-2: the same 2 raw files and the same contract");
}

#[test]
fn a_late_file_has_the_interval_taken_again() {
    let files = [file("b", 0, 1), file("a", 0, 90)];
    insta::assert_snapshot!(decide(&facts(day(), &files, applied("run-1", 0, 24, &files[..1]))), @"
    merge 2 raw files, 200 bytes of 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z into curated.t
      because 1 raw file new or changed since it was last applied
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 2 files, 200 bytes
    ");
}

#[test]
fn a_replaced_file_has_the_interval_taken_again() {
    let files = [file("a", 0, 1), file("b", 1, 1)];
    let ledger = applied("run-1", 0, 24, &files);
    let mut facts = facts(day(), &files, ledger);
    facts.files[0].etag = "v2".to_owned();
    insta::assert_snapshot!(decide(&facts), @"
    merge 2 raw files, 200 bytes of 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z into curated.t
      because 1 raw file new or changed since it was last applied
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
      take 2025-06-01T01:00:00Z/2025-06-01T02:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn a_changed_contract_has_the_interval_judged_again() {
    let files = [file("a", 0, 1)];
    let mut facts = facts(day(), &files, applied("run-1", 0, 24, &files));
    facts.contract_digest = "other-contract".to_owned();
    insta::assert_snapshot!(decide(&facts), @"
    merge 1 raw file, 100 bytes of 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z into curated.t
      because the contract has changed since it was last applied
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn pending_takes_all_the_first_time() {
    let files = [file("a", 0, 1), file("b", 5, 1)];
    insta::assert_snapshot!(decide(&facts(Request::Pending, &files, empty())), @"
    merge 2 raw files, 200 bytes of 2025-06-01T00:00:00Z/2025-06-01T06:00:00Z into curated.t
      because 2 raw files not in the table yet
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
      take 2025-06-01T05:00:00Z/2025-06-01T06:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn pending_takes_only_what_is_new() {
    let files = [file("c", 1, 50), file("b", 1, 1), file("a", 0, 1)];
    let ledger = applied("run-1", 0, 2, &files[1..]);
    insta::assert_snapshot!(decide(&facts(Request::Pending, &files, ledger)), @"
    merge 1 raw file, 100 bytes of 2025-06-01T01:00:00Z/2025-06-01T02:00:00Z into curated.t
      because 1 raw file not in the table yet
      take 2025-06-01T01:00:00Z/2025-06-01T02:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn pending_finds_a_late_file_in_an_old_partition() {
    let files = [file("a", 0, 1), file("b", 5, 1), file("late", 2, 400)];
    let ledger = applied("run-1", 0, 6, &files[..2]);
    insta::assert_snapshot!(decide(&facts(Request::Pending, &files, ledger)), @"
    merge 1 raw file, 100 bytes of 2025-06-01T02:00:00Z/2025-06-01T03:00:00Z into curated.t
      because 1 raw file not in the table yet
      take 2025-06-01T02:00:00Z/2025-06-01T03:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn pending_with_nothing_new() {
    let files = [file("a", 0, 1), file("b", 5, 1)];
    let ledger = applied("run-1", 0, 6, &files);
    insta::assert_snapshot!(decide(&facts(Request::Pending, &files, ledger)), @"already applied by run run-1: 2 raw files seen, none of them new");
}

#[test]
fn pending_counts_what_it_knows_to_be_in_the_table() {
    let mut facts = facts(Request::Pending, &[], empty());
    facts.settled = 7;
    insta::assert_snapshot!(decide(&facts), @"already applied: 7 raw files seen, none of them new");
}

#[test]
fn what_was_seen_is_noted_when_all_of_it_is_taken() {
    let seen = Seen { at: time(9), until: time(8), files: [("2025-06".to_owned(), 1)].into() };
    let seen_of = |request, files: &[RawFile]| {
        let facts = Facts { seen: Some(seen.clone()), ..facts(request, files, empty()) };
        let DedupePlan::Run(plan) = decide(&facts) else { panic!("there is a file") };
        plan.seen
    };
    assert_eq!(seen_of(Request::Pending, &[file("a", 0, 1)]), Some(seen.clone()));
    assert_eq!(seen_of(day(), &[file("a", 0, 1)]), None);
    let mut files: Vec<_> = (0..FILES_PER_RUN_MAX).map(|n| file(&format!("a{n}"), 0, 1)).collect();
    files.push(file("b", 1, 1));
    assert_eq!(seen_of(Request::Pending, &files), None, "the rest is not taken yet");
}

#[test]
fn pending_converges_in_any_order_of_arrival() {
    let mut ledger = empty();
    let mut files = Vec::new();
    for (n, hour) in [3, 0, 3, 1, 9, 3, 2].into_iter().enumerate() {
        files.push(RawFile { modified: time(100 + n as i64), ..file(&format!("f{}", 9 - n), hour, 0) });
        let DedupePlan::Run(plan) = decide(&facts(Request::Pending, &files, ledger)) else { panic!("step {n}") };
        assert_eq!(plan.files.len(), 1, "step {n}: {plan}");
        ledger = applied("run", 0, 10, &files);
        for (start, mark) in &plan.marks {
            assert_eq!(ledger.marks.get(start), Some(mark), "step {n}");
        }
        let again = decide(&facts(Request::Pending, &files, Ledger { runs: Vec::new(), marks: ledger.marks.clone() }));
        assert!(matches!(again, DedupePlan::AlreadyApplied { .. }), "step {n}: {again}");
    }
}

#[test]
fn pending_takes_again_what_another_contract_judged_in_its_interval() {
    let files = [file("a", 0, 1), file("b", 1, 1), file("c", 1, 9)];
    let mut facts = facts(Request::Pending, &files, applied("run-1", 0, 2, &files[..2]));
    facts.contract_digest = "other-contract".to_owned();
    insta::assert_snapshot!(decide(&facts), @"
    merge 2 raw files, 200 bytes of 2025-06-01T01:00:00Z/2025-06-01T02:00:00Z into curated.t
      because 1 raw file not in the table yet
      because 1 raw file judged by an earlier contract
      take 2025-06-01T01:00:00Z/2025-06-01T02:00:00Z: 2 files, 200 bytes
    ");
}

#[test]
fn a_folder_is_replayed_once() {
    let files = [RawFile { arrival: None, ..file("fixed", 0, 1) }];
    insta::assert_snapshot!(decide(&facts(Request::Replay, &files, empty())), @"
    merge 1 raw file, 100 bytes into curated.t
      because 1 file to put through the same path
    ");
    let mut ledger = applied("run-1", 0, 24, &files);
    ledger.runs[0].interval = None;
    insta::assert_snapshot!(decide(&facts(Request::Replay, &files, ledger)), @"already applied by run run-1: the same 1 file and the same contract");
}

#[test]
fn a_mark_is_read_as_it_was_written() {
    let files = [file("a", 0, 1)];
    let mark = PartitionMark::of(&files.iter().collect::<Vec<_>>(), "0123456789abcdef");
    insta::assert_snapshot!(mark, @"1:fc7e9a221beb6f5c66cb3f310fa83eb1:01234567");
    assert_eq!(mark.to_string().parse(), Ok(mark));
    assert!("garbage".parse::<PartitionMark>().is_err());
}

#[test]
fn frozen_columns_refuse_the_run() {
    let mut facts = facts(day(), &[file("a", 0, 1)], empty());
    facts.new_columns = NewColumns::Freeze;
    facts.unknown_columns = vec![UnknownColumn { name: "note".to_owned(), table_type: None, files: 1 }];
    insta::assert_snapshot!(decide(&facts), @r#"refused: unknown column "note": 1 raw file has it and the contract does not; etl.newColumns is freeze: add it to the contract, or set evolve or discard"#);
}

#[test]
fn only_files_that_meet_the_batch_may_be_rewritten() {
    let mut raw = file("a", 0, 1);
    raw.event_time = Some((time(2), time(3)));
    raw.rows = Some(5);
    let mut facts = facts(day(), &[raw], empty());
    facts.target_files =
        [("before", Some((0, 1))), ("meets", Some((3, 9))), ("after", Some((4, 9))), ("unknown", None)]
            .into_iter()
            .map(|(path, hours)| TargetFile {
                path: path.to_owned(),
                bytes: 1000,
                rows: 50,
                event_time: hours.map(|(from, to)| (time(from), time(to))),
            })
            .collect();
    insta::assert_snapshot!(decide(&facts), @"
    merge 1 raw file, 100 bytes, 5 rows of 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z into curated.t
      because no earlier run covers it
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
      may rewrite meets (50 rows, 1000 bytes): its event times 2025-06-01T03:00:00Z to 2025-06-01T09:00:00Z meet the batch
      may rewrite unknown (50 rows, 1000 bytes): it has no bounds for the event time
    ");
}

#[test]
fn a_plan_survives_being_written_down() {
    let plan = decide(&facts(day(), &[file("a", 0, 1)], empty()));
    insta::assert_json_snapshot!(plan, @r#"
    {
      "decision": "run",
      "table": "curated.t",
      "base_snapshot_id": 7,
      "creates_table": false,
      "interval": {
        "start": "2025-06-01T00:00:00Z",
        "end": "2025-06-02T00:00:00Z"
      },
      "files": [
        {
          "key": "a",
          "etag": "v1",
          "bytes": 100,
          "modified": "2025-06-01T00:01:00Z",
          "arrival": {
            "start": "2025-06-01T00:00:00Z",
            "end": "2025-06-01T01:00:00Z"
          },
          "rows": null,
          "event_time": null
        }
      ],
      "bytes": 100,
      "rows": null,
      "input_digest": "fc7e9a221beb6f5c66cb3f310fa83eb1",
      "marks": {
        "2025-06-01T00:00:00Z": "1:fc7e9a221beb6f5c66cb3f310fa83eb1:contract"
      },
      "expected_marks": {},
      "contract_digest": "contract-1",
      "partitions": [
        {
          "arrival": {
            "start": "2025-06-01T00:00:00Z",
            "end": "2025-06-01T01:00:00Z"
          },
          "files": 1,
          "bytes": 100
        }
      ],
      "event_time": null,
      "columns": [],
      "absent_columns": [],
      "may_rewrite": [],
      "left_out": [],
      "reasons": [
        "no earlier run covers it"
      ]
    }
    "#);
}

#[test]
fn too_many_files_are_cut_at_a_partition_or_refused() {
    let mut files: Vec<_> = (0..FILES_PER_RUN_MAX).map(|n| file(&format!("a{n}"), 0, 1)).collect();
    files.push(file("b", 1, 1));
    let DedupePlan::Run(plan) = decide(&facts(Request::Pending, &files, empty())) else { panic!("it can be cut") };
    assert_eq!((plan.files.len(), plan.interval), (FILES_PER_RUN_MAX, Some(interval(0, 1))));
    insta::assert_snapshot!(decide(&facts(day(), &files, empty())), @"refused: 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z holds 50001 raw files and a run takes at most 50000: split it with --start and --end");
    files.push(file("c", 0, 1));
    // Columns that nobody knows are a gate; they do not make too many files one.
    let mut both = facts(Request::Pending, &files, empty());
    both.new_columns = NewColumns::Freeze;
    both.unknown_columns = vec![UnknownColumn { name: "note".to_owned(), table_type: None, files: 1 }];
    let DedupePlan::Refused { refusal, .. } = decide(&both) else { panic!("it is refused") };
    assert_eq!(refusal, Refusal::TooManyFiles);
    insta::assert_snapshot!(decide(&facts(Request::Pending, &files, empty())), @"refused: raw partition 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z alone holds more than 50000 new files: join small ones before they are taken in, or write a finer path template");
}

fn without_key(request: Request, files: &[RawFile], ledger: Ledger) -> Facts {
    Facts { is_keyed: false, ..facts(request, files, ledger) }
}

#[test]
fn without_a_key_only_new_files_are_taken() {
    let files = [file("b", 0, 1), file("c", 1, 1), file("a", 0, 90)];
    let ledger = applied("run-1", 0, 24, &files[..2]);
    insta::assert_snapshot!(decide(&without_key(day(), &files, ledger)), @"
    merge 1 raw file, 100 bytes of 2025-06-01T00:00:00Z/2025-06-02T00:00:00Z into curated.t
      because 1 raw file not in the table yet; 2 that are stay as they are
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn without_a_key_another_contract_changes_nothing() {
    let files = [file("a", 0, 1)];
    let mut facts = without_key(day(), &files, applied("run-1", 0, 24, &files));
    facts.contract_digest = "contract-2".to_owned();
    insta::assert_snapshot!(decide(&facts), @"already applied by run run-1: the same 1 raw file");
    facts.request = Request::Pending;
    insta::assert_snapshot!(decide(&facts), @"already applied by run run-1: 1 raw file seen, none of them new");
    facts.files.push(file("b", 0, 2));
    insta::assert_snapshot!(decide(&facts), @"
    merge 1 raw file, 100 bytes of 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z into curated.t
      because 1 raw file not in the table yet
      take 2025-06-01T00:00:00Z/2025-06-01T01:00:00Z: 1 file, 100 bytes
    ");
}

#[test]
fn without_a_key_a_replaced_file_is_refused() {
    let files = [file("a", 0, 1), file("b", 1, 1)];
    let ledger = applied("run-1", 0, 24, &files);
    let mut facts = without_key(day(), &files, ledger);
    facts.files[0].etag = "v2".to_owned();
    insta::assert_snapshot!(decide(&facts), @"refused: files of raw partition 2025-06-01T00:00:00Z that are in the table have changed or gone since, and without a key their rows cannot be found: delete what the table has of them, then take the partition with --replay");
    facts.request = Request::Pending;
    assert!(matches!(decide(&facts), DedupePlan::Refused { .. }));
}

#[test]
fn without_a_key_what_the_ledger_forgot_is_refused() {
    let files = [file("a", 0, 1), file("b", 10, 1)];
    let mut facts = without_key(day(), &files, applied("run-1", 0, 24, &files[1..]));
    facts.forgotten = Forgotten { before: Some(time(10)), ..Forgotten::default() };
    insta::assert_snapshot!(decide(&facts), @"refused: the ledger no longer knows whether raw partition 2025-06-01T00:00:00Z is in the table, and without a key its rows could be there twice: check, then take it with --replay");
    facts.is_keyed = true;
    assert!(matches!(decide(&facts), DedupePlan::Run(_)));
}

#[test]
fn without_a_key_the_ledger_must_not_move() {
    let files = [file("a", 0, 1), file("b", 1, 1)];
    let ledger = applied("run-1", 0, 1, &files[..1]);
    let DedupePlan::Run(plan) = decide(&without_key(day(), &files, ledger)) else { panic!("nothing to run") };
    let expected: Vec<_> = plan.expected_marks.iter().map(|(start, mark)| (*start, mark.is_some())).collect();
    assert_eq!(expected, [(time(0), true), (time(1), false)]);
    let DedupePlan::Run(plan) = decide(&facts(day(), &files, empty())) else { panic!("nothing to run") };
    assert!(plan.expected_marks.is_empty());
}
