//! Random batches in random order and split, against a model: the same rows in the table, and the same balance of every
//! run. `ETL_PROPERTY_SEQUENCES` says how many sequences, `ETL_PROPERTY_SEED` which.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};
use serde_json::json;

use crate::{
    batches::{self, File, MERGE_MODES},
    here,
    lake::{Lake, Tier},
    model::{Model, OUTCOMES},
    services::number,
};

/// Trials that share the work.
pub const TRIALS: u64 = 8;

/// Sequences of batches that have passed.
pub static SEQUENCES: AtomicU64 = AtomicU64::new(0);

/// Files per hour, the order in which hours are taken in (one may come twice), and how they are merged.
#[derive(Debug, Clone)]
struct Sequence {
    merge_mode: &'static str,
    hours: Vec<Vec<File>>,
    order: Vec<usize>,
}

/// One share of the sequences.
pub fn run(trial: u64) -> Result<(), String> {
    let cases = number("ETL_PROPERTY_SEQUENCES", 520).div_ceil(TRIALS);
    let seed = number("ETL_PROPERTY_SEED", 1) + trial;
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases: u32::try_from(cases).unwrap_or(u32::MAX),
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let next = AtomicU64::new(0);
    let result = runner.run(&sequence(), |sequence| {
        let name = format!("property-{trial}-{}", next.fetch_add(1, Relaxed));
        follow(&name, &sequence).map_err(TestCaseError::fail)?;
        SEQUENCES.fetch_add(1, Relaxed);
        Ok(())
    });
    result.map_err(|error| format!("seed {}: {error}", seed - trial))
}

fn sequence() -> impl Strategy<Value = Sequence> {
    let file = proptest::collection::vec(batches::row(4), 0..6);
    let hour = proptest::collection::vec(file, 1..4);
    let hours = proptest::collection::vec(hour, 1..4);
    hours.prop_flat_map(|hours| {
        let all: Vec<usize> = (0..hours.len()).collect();
        let again = proptest::option::weighted(0.2, 0..hours.len());
        let merge_mode = proptest::sample::select(&MERGE_MODES[..]);
        (Just(hours), Just(all).prop_shuffle(), again, merge_mode).prop_map(|(hours, mut order, again, merge_mode)| {
            order.extend(again);
            Sequence { merge_mode, hours, order }
        })
    })
}

fn follow(name: &str, sequence: &Sequence) -> Result<(), String> {
    let lake = Lake::new(Tier::Local, name, &[batches::table_merged(sequence.merge_mode)]);
    let mut model = Model::default();
    let mut applied = Vec::new();
    for hour in &sequence.order {
        let is_first = !applied.contains(hour);
        if is_first {
            batches::place(&lake, *hour, &sequence.hours[*hour]);
        }
        let ran = here::run(&lake, &batches::dedupe(*hour));
        let report = ran
            .reports
            .first()
            .filter(|_| ran.exit == 0)
            .ok_or_else(|| format!("ended {}: {}", ran.exit, ran.stderr))?;
        let rows: Vec<_> = sequence.hours[*hour].concat();
        let expected = model.apply(if is_first { &rows } else { &[] });
        let got: Vec<_> = OUTCOMES.iter().map(|outcome| format!("{outcome}: {}", report["rows"][outcome])).collect();
        let expected: Vec<_> =
            OUTCOMES.iter().map(|outcome| format!("{outcome}: {}", json!(expected[outcome]))).collect();
        crate::golden::same(&format!("balance of hour {hour}"), &expected, &got)?;
        applied.push(*hour);
    }
    batches::compare_with(&here::rows(&lake, batches::TABLE)?, &model)
}
