//! Which files of a raw zone no run has taken.

use jiff::ToSpan;

use super::*;

/// `hour` counts from 2025-06-01T00Z.
fn time(hour: i64) -> Timestamp {
    "2025-06-01T00:00:00Z".parse::<Timestamp>().unwrap() + hour.hours()
}

/// A file of an hourly partition, and the hour in which it was written.
fn file(key: &str, hour: i64, written: i64) -> RawFile {
    RawFile {
        key: key.to_owned(),
        etag: "v1".to_owned(),
        bytes: 100,
        modified: time(written),
        arrival: Some(Interval::new(time(hour), time(hour + 1)).unwrap()),
        rows: None,
        event_time: None,
    }
}

fn mark(files: &[RawFile]) -> (Timestamp, PartitionMark) {
    (files[0].arrival.unwrap().start(), PartitionMark::of(&files.iter().collect::<Vec<_>>(), "c"))
}

fn memory(marks: &[&[RawFile]]) -> Memory {
    Memory { marks: marks.iter().map(|files| mark(files)).collect(), ..Memory::default() }
}

/// Everything before that hour was forgotten, and files that were written until then were seen.
fn forgotten(before: i64, seen_until: i64, seen: &[RawFile]) -> Forgotten {
    let mut files = BTreeMap::new();
    for file in seen {
        *files.entry(month(file.arrival.unwrap().start())).or_default() += 1;
    }
    let seen = Some(Seen { at: time(seen_until), until: time(seen_until), files });
    Forgotten { from: None, before: Some(time(before)), after: None, seen }
}

fn found(memory: Memory, is_keyed: bool, files: &[RawFile]) -> Found {
    let mut pending = PendingFiles::new(memory, None, is_keyed, true, time(100));
    for file in files {
        pending.see(file.clone());
    }
    pending.finish()
}

fn keys(files: &[RawFile]) -> Vec<&str> {
    files.iter().map(|file| file.key.as_str()).collect()
}

const YEARS: i64 = 24 * 365;

#[test]
fn however_old_or_far_ahead_a_folder_is_it_is_new_until_it_is_applied() {
    let files = [
        file("1970", -55 * YEARS, 50),
        file("2011", -14 * YEARS, 50),
        file("now", 99, 99),
        file("2099", 74 * YEARS, 50),
    ];
    assert_eq!(keys(&found(Memory::default(), true, &files).files), ["1970", "2011", "now", "2099"]);
    for n in 0..files.len() {
        // One after the other is applied: the others are still found, older and newer ones.
        let applied = memory(&[&files[n..=n]]);
        let found = found(applied, true, &files);
        let others: Vec<_> =
            files.iter().filter(|file| file.key != files[n].key).map(|file| file.key.as_str()).collect();
        assert_eq!((keys(&found.files), found.settled), (others, 1));
    }
    let all: Vec<&[RawFile]> = files.chunks(1).collect();
    let found = found(memory(&all), true, &files);
    assert_eq!((found.files.len(), found.settled), (0, 4));
}

#[test]
fn a_partition_with_something_new_comes_whole() {
    let files = [file("a", 90, 90), file("late", 90, 95), file("b", 91, 91)];
    let found = found(memory(&[&files[..1], &files[2..]]), true, &files);
    assert_eq!((keys(&found.files), found.settled), (vec!["a", "late"], 1));
}

#[test]
fn what_was_forgotten_is_not_taken_again() {
    let files = [file("old", -900, -900), file("older", -2_000, -900), file("new", 50, 50)];
    let known = Memory { forgotten: forgotten(0, 40, &files[..2]), ..memory(&[&files[2..]]) };
    let found = found(known, true, &files);
    assert_eq!((found.files.len(), found.settled, found.late.len(), found.named.len()), (0, 3, 0, 0));
    assert!(found.grown.is_empty());
}

#[test]
fn what_comes_late_to_a_forgotten_partition_is_taken_or_named() {
    let files = [file("old", -900, -900), file("late", -900, 45)];
    let known = Memory { forgotten: forgotten(0, 40, &files[..1]), ..Memory::default() };
    let keyed = found(known.clone(), true, &files);
    assert_eq!((keyed.late.len(), keyed.named.len(), keyed.settled), (1, 0, 1));
    assert_eq!(keyed.late.first(), files[0].arrival.as_ref());
    let keyless = found(known.clone(), false, &files);
    assert_eq!((keyless.late.len(), keys(&keyless.named)), (0, vec!["late"]));
    // So many are a copy of the raw zone: nobody waits for them.
    let many: Vec<_> = (0..=1_000).map(|n| file(&n.to_string(), -900, 45)).collect();
    let copied = found(known.clone(), true, &many);
    assert_eq!((copied.late.len(), copied.named.len()), (0, 1_001));
    assert_eq!(found(known, true, &many[1..]).late.len(), 1);
}

/// A ledger of an earlier version says neither what was seen nor since when it forgets: then its oldest run says it.
#[test]
fn an_earlier_ledger_is_read() {
    let forgotten = Forgotten { before: Some(time(0)), ..Forgotten::default() };
    let known = Memory { forgotten, oldest_run: Some(time(40)), ..Memory::default() };
    let files = [file("old", -900, -900), file("late", -800, 45), file("new", 1, 2)];
    let found_now = found(known.clone(), true, &files);
    assert_eq!((keys(&found_now.files), found_now.settled, found_now.late.len()), (vec!["new"], 1, 1));
    let unknown = Memory { oldest_run: None, ..known };
    assert_eq!(found(unknown, true, &files).settled, 2);
}

#[test]
fn older_than_all_that_was_forgotten_is_new() {
    let mut limits = forgotten(0, 40, &[]);
    limits.from = Some(time(-500));
    let known = Memory { forgotten: limits, ..Memory::default() };
    let files = [file("1970", -55 * YEARS, 1), file("forgotten", -499, -499)];
    let found = found(known, true, &files);
    assert_eq!((keys(&found.files), found.settled), (vec!["1970"], 1));
}

#[test]
fn far_ahead_partitions_that_were_forgotten_stay_so() {
    let mut limits = forgotten(0, 40, &[]);
    limits.after = Some(time(50 * YEARS));
    let known = Memory { forgotten: limits, ..Memory::default() };
    let files = [file("taken", 74 * YEARS, 39), file("again", 74 * YEARS, 41), file("nearer", 20 * YEARS, 39)];
    let found = found(known, true, &files);
    assert_eq!((keys(&found.files), found.settled, found.late.len()), (vec!["nearer"], 1, 1));
}

/// Whoever keeps raw files for a while only deletes the old ones: what is left of a partition is in the table all the same.
#[test]
fn what_is_left_of_an_old_partition_is_in_the_table() {
    let old = [file("a", -200, -200), file("b", -200, -199), file("c", -200, -198)];
    let recent = [file("now", 99, 99)];
    let known = Memory { oldest_run: Some(time(-100)), ..memory(&[&old, &recent]) };
    for is_keyed in [true, false] {
        let found = found(known.clone(), is_keyed, &[old[1].clone(), recent[0].clone()]);
        assert_eq!((found.files.len(), found.settled), (0, 2), "{is_keyed}");
    }
    // One that was written since is not.
    let replaced = [RawFile { etag: "v2".to_owned(), modified: time(98), ..old[0].clone() }, old[1].clone()];
    assert_eq!(keys(&found(known.clone(), true, &replaced).files), ["a", "b"]);
    assert_eq!(keys(&found(known.clone(), false, &replaced).named), ["a"]);
    // Where files still arrive nothing is presumed.
    let young = [file("x", 95, 95), file("y", 95, 96)];
    let known = Memory { oldest_run: Some(time(-100)), ..memory(&[&young, &recent]) };
    assert_eq!(keys(&found(known, false, &young[1..]).files), ["y"]);
}

/// A file that is moved in with an old time of writing cannot be told from those that were taken; that there is one more can.
#[test]
fn a_month_that_grows_with_old_files_is_named() {
    let seen = [file("a", -900, -900), file("b", -901, -900), file("new", 50, 50)];
    let known = Memory { forgotten: forgotten(0, 60, &seen), ..memory(&[&seen[2..]]) };
    assert!(found(known.clone(), true, &seen).grown.is_empty());
    let [a, b, new] = seen;
    let slipped_in = file("c", -899, -950);
    let more = [b.clone(), a.clone(), slipped_in, new.clone()];
    assert_eq!(found(known.clone(), true, &more).grown, [("2025-04".to_owned(), 1)].into());
    // Fewer are no reason, nor are files of partitions that are known one by one.
    assert!(found(known.clone(), true, &[b.clone(), new.clone()]).grown.is_empty());
    let unmarked = [b, a, new, file("unmarked", 51, 55)];
    let found = found(known, true, &unmarked);
    assert_eq!((keys(&found.files), found.grown.len()), (vec!["unmarked"], 0));
}

#[test]
fn what_was_seen_is_said() {
    let files = [file("a", -900, -900), file("b", -901, 7), file("new", 50, 5)];
    let files_by_month = [("2025-04".to_owned(), 2), ("2025-06".to_owned(), 1)].into();
    let seen = Seen { at: time(100), until: time(7), files: files_by_month };
    assert_eq!(found(Memory::default(), true, &files).seen, Some(seen));
    assert_eq!(found(Memory::default(), true, &[]).seen, None);
}

#[test]
fn files_still_arrive_for_as_long_as_the_contract_says() {
    let hours = |hours: u64| Some(Duration { seconds: hours * 3600 });
    let marks = memory(&[&[file("a", 0, 1)], &[file("b", 47, 48)], &[file("far", 40 * YEARS, 48)]]).marks;
    assert_eq!(window_start(&BTreeMap::new(), hours(48), time(50)), None);
    assert_eq!(window_start(&marks, hours(2), time(50)), Some(time(45)));
    assert_eq!(window_start(&marks, None, time(50)), Some(time(23)));
    // Local times are ahead of the clock, though not by years.
    assert_eq!(window_start(&marks, hours(0), time(37)), Some(time(47)));
}

/// A look at ten million old files every five minutes would cost more than the work.
#[test]
fn a_large_zone_is_looked_at_as_a_whole_once_a_day() {
    let seen = |files: u64, at: i64| {
        Some(Seen { at: time(at), until: time(at), files: [("2025-01".to_owned(), files)].into() })
    };
    let known = memory(&[&[file("a", 99, 99)]]);
    let from = |seen: Option<Seen>, now: i64| {
        let forgotten = Forgotten { seen, ..Forgotten::default() };
        Memory { forgotten, ..known.clone() }.look_from(Some(Duration { seconds: 7_200 }), time(now))
    };
    assert_eq!(from(seen(20_001, 90), 113), Some(time(97)));
    assert_eq!(from(seen(20_001, 90), 114), None);
    assert_eq!(from(seen(20_000, 90), 113), None);
    assert_eq!(from(None, 113), None);
    assert_eq!(from(seen(20_001, 90), 89), None, "a clock that was put back says nothing");
    let mut pending = PendingFiles::new(known, None, true, true, time(100));
    pending.see(file("b", 99, 100));
    let found = pending.finish_part();
    assert_eq!((keys(&found.files), found.seen), (vec!["b"], None));
}
