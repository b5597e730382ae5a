//! What a sequence is, and how one is drawn.

use proptest::prelude::*;

use crate::{
    batches::{self, File, MERGE_MODES},
    lake::TableSetup,
    model::Row,
};

/// Characters that make a file large enough for other classes: a row has them.
pub const PADDING: usize = 140_000;

/// A table, and what happens to it.
#[derive(Debug, Clone)]
pub struct Sequence {
    pub merge_mode: &'static str,
    pub classes: Classes,
    pub steps: Vec<Step>,
}

/// Which classes the contract has rules for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Classes {
    None,
    /// Raw files may be archived.
    Raw,
    /// Curated ones too.
    All,
}

#[derive(Debug, Clone)]
pub struct Step {
    /// Since the step before.
    pub hours: i64,
    pub operation: Operation,
    /// The step of input and output at which the first try fails, and whether it has had its effect.
    pub fault: Option<(u64, bool)>,
}

#[derive(Debug, Clone)]
pub enum Operation {
    /// Raw files are taken in.
    TakeIn(Vec<File>),
    /// An hour that was taken in, once more.
    Again(usize),
    /// A statement changes a row, or deletes it.
    Statement(u8, Option<u8>),
    Compact(&'static [&'static str]),
    /// Snapshots older than so many hours, but for the last ones.
    Expire(i64, usize),
    Orphans,
    /// All that the table needs.
    Maintain,
    /// Another engine makes a tag, or a branch, of the current snapshot.
    Name(bool),
    /// It drops the oldest of these.
    Unname,
    Tier,
    Restore,
}

const COMPACTIONS: [&[&str]; 4] = [
    &["--rewrite-all", "--include-active", "--min-copy-size-bytes", "1"],
    &["--rewrite-all", "--include-active", "--sort", "temperature DESC, event_id"],
    &["--min-input-files", "2", "--include-active", "--z-order", "event_time,temperature", "--max-commits", "2"],
    &["--min-input-files", "2", "--delete-file-threshold", "1"],
];

pub fn sequence() -> impl Strategy<Value = Sequence> {
    let classes = prop_oneof![6 => Just(Classes::None), 1 => Just(Classes::Raw), 1 => Just(Classes::All)];
    let mode = proptest::sample::select(&MERGE_MODES[..]);
    (mode, classes).prop_flat_map(|(merge_mode, classes)| {
        let first =
            files(classes).prop_map(|files| Step { hours: 1, operation: Operation::TakeIn(files), fault: None });
        let others = proptest::collection::vec(step(classes), 4..10);
        (first, others).prop_map(move |(first, others)| Sequence {
            merge_mode,
            classes,
            steps: [vec![first], others].concat(),
        })
    })
}

fn step(classes: Classes) -> impl Strategy<Value = Step> {
    // Deletions are remembered for 90 days (`batches::table`); what is archived is older.
    let hours: &[i64] = if classes == Classes::None { &[1, 1, 26, 8 * 24] } else { &[1, 26, 100 * 24, 200 * 24] };
    let fault = proptest::option::weighted(0.12, (1..60u64, any::<bool>()));
    (proptest::sample::select(hours), operation(classes), fault).prop_map(|(hours, operation, fault)| Step {
        hours,
        operation,
        fault,
    })
}

fn operation(classes: Classes) -> BoxedStrategy<Operation> {
    let tierings = prop_oneof![4 => Just(Operation::Tier), 1 => Just(Operation::Restore)];
    let any_lake = prop_oneof![
        8 => files(classes).prop_map(Operation::TakeIn),
        1 => (0..4usize).prop_map(Operation::Again),
        2 => (0..6u8, proptest::option::of(0..3u8)).prop_map(|(key, value)| Operation::Statement(key, value)),
        6 => proptest::sample::select(&COMPACTIONS[..]).prop_map(Operation::Compact),
        5 => (proptest::sample::select(&[0, 24, 150 * 24][..]), 1..4usize)
            .prop_map(|(hours, last)| Operation::Expire(hours, last)),
        4 => Just(Operation::Orphans),
        2 => Just(Operation::Maintain),
        2 => any::<bool>().prop_map(Operation::Name),
        1 => Just(Operation::Unname),
    ];
    match classes {
        Classes::None => any_lake.boxed(),
        _ => prop_oneof![3 => any_lake, 1 => tierings].boxed(),
    }
}

fn files(classes: Classes) -> impl Strategy<Value = Vec<File>> {
    let row = batches::row(6).prop_map(move |row| Row { is_delete: row.is_delete && classes == Classes::None, ..row });
    proptest::collection::vec(proptest::collection::vec(row, 1..5), 1..3)
}

pub fn table(sequence: &Sequence) -> TableSetup {
    let rules: &[(&str, &str)] = match sequence.classes {
        Classes::None => &[],
        Classes::Raw => {
            &[("etl.tier.raw", "{30d: STANDARD_IA, 90d: GLACIER}"), ("etl.tier.curated", "{60d: STANDARD_IA}")]
        }
        Classes::All => &[
            ("etl.tier.raw", "{90d: DEEP_ARCHIVE}"),
            ("etl.tier.curated", "{60d: STANDARD_IA, 90d: GLACIER}"),
            ("etl.tier.archived", "true"),
        ],
    };
    // What is the same in every row would be small otherwise.
    let properties = ("etl.tableProperties", "{write.parquet.compression-codec: uncompressed}");
    let padding = ["{name: padding, logicalType: string}"];
    match sequence.classes {
        Classes::None => batches::table_merged(sequence.merge_mode),
        _ => batches::table_with(sequence.merge_mode, &padding, &[rules, &[properties]].concat()),
    }
}
