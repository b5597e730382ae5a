//! What ran where, for the last lines of the output.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{damage, faults, kill, lake::Tier, maintain, property, race, signals, tier};

/// What the tiers are called.
const TIERS: [&str; 2] = ["tier 0 (folder + SQLite)", "tiers 2 and 3 (S3 + Glue emulator)"];

static CASES: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];
static PAIRS: AtomicU64 = AtomicU64::new(0);
static PAIRS_SKIPPED: AtomicU64 = AtomicU64::new(0);
static UNREAD: AtomicU64 = AtomicU64::new(0);
static MERGED: AtomicU64 = AtomicU64::new(0);

/// A case has passed.
pub fn case(tier: Tier) {
    CASES[tier as usize].fetch_add(1, Relaxed);
}

/// PyIceberg has read the rows of a snapshot as expected.
pub fn pair() {
    PAIRS.fetch_add(1, Relaxed);
}

/// PyIceberg was not there to read these tables.
pub fn pairs_skipped(tables: u64) {
    PAIRS_SKIPPED.fetch_add(tables, Relaxed);
}

/// A check of a table with equality deletes, which PyIceberg cannot read.
pub fn unread_by_pyiceberg() {
    UNREAD.fetch_add(1, Relaxed);
}

/// A table of another engine was merged into as it should.
pub fn merged() {
    MERGED.fetch_add(1, Relaxed);
}

/// The last lines: cases on each tier, `total` being all there are.
pub fn text(total: u64) -> String {
    let mut text = String::new();
    for (tier, says) in Tier::ALL.into_iter().zip(TIERS) {
        let passed = CASES[tier as usize].load(Relaxed);
        _ = match tier.missing() {
            Some(missing) => writeln!(text, "golden cases, {says}: SKIPPED all {total}: {missing}"),
            None => writeln!(text, "golden cases, {says}: {passed} of {total} passed"),
        };
    }
    _ = match PAIRS_SKIPPED.load(Relaxed) {
        0 => writeln!(text, "tier 4 (PyIceberg): {} snapshots read the same", PAIRS.load(Relaxed)),
        tables => writeln!(text, "tier 4 (PyIceberg): SKIPPED {tables} tables: ETL_TEST_PYTHON not set"),
    };
    if UNREAD.load(Relaxed) > 0 {
        let times = UNREAD.load(Relaxed);
        _ = writeln!(text, "tier 4 (PyIceberg): NOT READ {times} times: it cannot read tables with equality deletes");
    }
    _ = writeln!(text, "{} tables of other engines merged into", MERGED.load(Relaxed));
    _ = writeln!(text, "{} random sequences agree with the model", property::SEQUENCES.load(Relaxed));
    let of = |count: &AtomicU64| count.load(Relaxed);
    let (sequences, tiered) = (of(&maintain::SEQUENCES), of(&maintain::TIERED));
    let (faults, deleted) = (of(&maintain::FAULTS), of(&maintain::DELETED));
    _ = writeln!(
        text,
        "{sequences} random sequences of maintenance, {tiered} of them with storage classes, {faults} faults: {deleted} \
         objects deleted, none of them needed"
    );
    let (damaged, unnoticeable) = (of(&damage::INPUTS), of(&damage::UNNOTICEABLE));
    _ = writeln!(
        text,
        "{damaged} damaged inputs: no panic, no hang, no strange row; {unnoticeable} of them another reader reads alike"
    );
    _ = writeln!(text, "{} pairs of step and fault of maintenance survived", maintain::PAIRS.load(Relaxed));
    _ = writeln!(text, "{} pairs of step and fault of tiering survived", tier::PAIRS.load(Relaxed));
    let tiers = Tier::ALL.into_iter().filter(|tier| tier.missing().is_none());
    for (tier, says) in tiers.zip(TIERS) {
        for (counts, what) in [
            (&faults::PAIRS, "pairs of step and fault survived"),
            (&signals::INTERRUPTED, "processes interrupted at a step, and nothing left behind"),
            (&kill::KILLED, "processes killed at random moments, and the table whole"),
            (&race::RETRIES, "commits of racing processes tried again, and no row lost or doubled"),
        ] {
            _ = writeln!(text, "{} {what}, {says}", counts[tier as usize].load(Relaxed));
        }
    }
    text
}
