//! Statements of one's own: the main job's merge said as one (sql/dedupe/merge.sql) makes the same table, and a fault at any
//! step leaves the old table or the new one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::{
    bad_input::same_state,
    batches::{self, MERGE_MODES, TABLE},
    faults::{self, FAULT},
    here,
    lake::{Lake, TableSetup, Tier},
    model::{Model, Row, VALUE_MAX},
};

const LANDED: &str = "curated.landed";
const CASES: u32 = 12;

/// Random tables and batches.
pub fn run() -> Result<(), String> {
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 30, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &[3; 32]));
    let rows = || proptest::collection::vec(batches::row(12), 1..40);
    let next = AtomicU64::new(0);
    let tables = (rows(), rows(), proptest::sample::select(&MERGE_MODES[..]));
    let result = runner.run(&tables, |(first, second, mode)| {
        let name = format!("statement-{}", next.fetch_add(1, Relaxed));
        follow(&name, mode, first, second).map_err(TestCaseError::fail)
    });
    result.map_err(|error| error.to_string())
}

fn follow(name: &str, mode: &str, mut first: Vec<Row>, second: Vec<Row>) -> Result<(), String> {
    // Deletions of keys that are not there are remembered by the main job alone.
    first.iter_mut().for_each(|row| row.is_delete = false);
    // A statement's source has valid rows, one of each key.
    let mut batch: Vec<Row> = Vec::new();
    for row in second.into_iter().filter(|row| row.key.is_some() && row.value <= VALUE_MAX) {
        if !batch.iter().any(|other| other.key == row.key) {
            batch.push(row);
        }
    }
    let landed = TableSetup {
        name: LANDED.to_owned(),
        contract: batches::table_without_key().contract.replace(TABLE, LANDED),
        ..batches::table_without_key()
    };
    let lake = Lake::new(Tier::Local, name, &[batches::table_merged(mode), landed]);
    let mut model = Model::default();
    batches::place(&lake, 0, &[first.clone()]);
    done(&lake, &[&batches::dedupe(0)[..], &[TABLE.to_owned()]].concat())?;
    model.apply(&first);
    batches::place(&lake, 1, &[batch.clone()]);
    done(&lake, &[&batches::dedupe(1)[..], &[LANDED.to_owned()]].concat())?;

    let statement = include_str!("../../../sql/dedupe/merge.sql").replace("{batch}", LANDED);
    done(&lake, &["merge".to_owned(), statement])?;
    model.apply(&batch);
    batches::compare_with(&here::rows(&lake, TABLE)?, &model)?;
    // The main job finds nothing to change in what the statement has made.
    done(&lake, &[&batches::dedupe(1)[..], &[TABLE.to_owned()]].concat())?;
    batches::compare_with(&here::rows(&lake, TABLE)?, &model)?;
    batches::check(&lake)
}

fn done(lake: &Lake, words: &[String]) -> Result<(), String> {
    let ran = here::run(lake, words);
    if ran.exit == 0 { Ok(()) } else { Err(format!("{words:?} ended {}: {}", ran.exit, ran.stderr)) }
}

/// Every step of a statement with a fault: the old table or the new one, nothing staged is left by a run that ended by itself,
/// and the same command again succeeds.
pub fn with_faults(fault: &str) -> Result<(), String> {
    let lake = Lake::new(Tier::Local, &format!("statement-fault-{fault}"), &[batches::table_merged(MERGE_MODES[0])]);
    let row = |key: u8| Row { key: Some(key), day: key % 2, value: 1, rank: Some(1), is_delete: false };
    batches::place(&lake, 0, &[(0..9).map(row).collect()]);
    done(&lake, &batches::dedupe(0))?;
    for step in 1..faults::STEPS_MAX {
        // Another value at each step, so that there is always something to do.
        let source = "(VALUES ('d', '1'), ('d', '2'), ('d', 'new')) AS s (device_id, event_id)";
        let statement = format!(
            "MERGE INTO {TABLE} AS t USING {source} ON t.device_id = s.device_id AND t.event_id = s.event_id \
             WHEN MATCHED THEN UPDATE SET temperature = {step} / 128.0 \
             WHEN NOT MATCHED THEN INSERT (device_id, event_id, event_time) VALUES (s.device_id, s.event_id, '2025-06-02')"
        );
        let words = ["merge".to_owned(), statement];
        let before = lake.state();
        let ran = lake.start(&words, &[(FAULT, &format!("{step}:{fault}"))]).wait();
        let at = |error: String| format!("{fault} at step {step}, ended {}: {error}\n{}", ran.exit, ran.stderr);
        if ![0, -1].contains(&ran.exit) {
            same_state(&before, &lake.state()).map_err(at)?;
        }
        batches::check(&lake).map_err(at)?;
        done(&lake, &words).map_err(at)?;
        let changed = here::rows(&lake, TABLE)?;
        let is_new = |row: &&serde_json::Value| {
            row["temperature"] == serde_json::json!(f64::from(u32::try_from(step).unwrap_or(0)) / 128.0)
        };
        if changed.len() != 10 || changed.iter().filter(is_new).count() < 2 {
            return Err(at(format!("the table has {} rows: {changed:?}", changed.len())));
        }
        if ran.exit == 0 {
            faults::PAIRS[Tier::Local as usize].fetch_add(step - 1, Relaxed);
            return Ok(());
        }
    }
    Err(format!("a statement takes more than {} steps", faults::STEPS_MAX))
}

/// Two statements insert the same key, the second while the first waits at any of its steps: the key is there once.
pub fn beside_another() -> Result<(), String> {
    let lake = Lake::new(Tier::Local, "statement-beside", &[batches::table_merged(MERGE_MODES[0])]);
    let first = Row { key: Some(0), day: 0, value: 1, rank: Some(1), is_delete: false };
    batches::place(&lake, 0, &[vec![first]]);
    done(&lake, &batches::dedupe(0))?;
    for step in (2..faults::STEPS_MAX).step_by(4) {
        let insert = |temperature: u8| {
            let statement = format!(
                "MERGE INTO {TABLE} AS t USING (VALUES ('d', 'key {step}')) AS s (device_id, event_id) \
                 ON t.device_id = s.device_id AND t.event_id = s.event_id \
                 WHEN NOT MATCHED THEN INSERT (device_id, event_id, event_time, temperature) \
                 VALUES (s.device_id, s.event_id, '2025-06-02', {temperature})"
            );
            ["merge".to_owned(), statement]
        };
        let (mut other, mut has_waited) = (Ok(()), false);
        let ran = faults::pause(&lake, &insert(1), step, |waiting| {
            has_waited = waiting.is_some();
            other = done(&lake, &insert(2));
        });
        other?;
        let keys = here::rows(&lake, TABLE)?.iter().filter(|row| row["event_id"] == format!("key {step}")).count();
        if ran.exit != 0 || keys != 1 {
            return Err(format!(
                "waiting at step {step}, ended {}, the key is there {keys} times: {}",
                ran.exit, ran.stderr
            ));
        }
        if !has_waited {
            return batches::check(&lake);
        }
    }
    Err(format!("a statement takes more than {} steps", faults::STEPS_MAX))
}
