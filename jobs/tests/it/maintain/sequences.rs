//! The three jobs among merges, in random order.

use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use serde_json::json;

use super::{MUCH_LATER, NEXT_DAY, World, ended, equal, objects, stray};
use crate::{
    batches::{self, TABLE},
    here,
    lake::{Lake, Tier},
    model::Model,
    services::number,
};

/// Trials that share the sequences.
pub const TRIALS: u64 = 2;

/// Merges, compactions, expiries and searches for orphans in random order: rows and kept snapshots stay as they were.
pub fn property(trial: u64) -> Result<(), String> {
    let mut seed = [11; 32];
    seed[0] = u8::try_from(trial).unwrap_or(0);
    let mut random = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    for sequence in 0..number("ETL_MAINTENANCE_SEQUENCES", 12).div_ceil(TRIALS) {
        let operations = proptest::collection::vec((0..6u8, 1..4u32), 4..12);
        let operations = operations.new_tree(&mut random).map_err(|error| error.to_string())?.current();
        let mode = batches::MERGE_MODES[sequence as usize % 2];
        let lake = Lake::new(Tier::Local, &format!("maintain-{trial}-{sequence}"), &[batches::table_merged(mode)]);
        let mut world = World { lake, model: Model::default(), history: Vec::new() };
        let mut kept: Vec<usize> = Vec::new();
        for (index, (operation, number)) in operations.iter().enumerate() {
            let at = |error: String| format!("sequence {sequence}, operation {index} of {operations:?}: {error}");
            match operation {
                0 | 1 => {
                    let strategy = proptest::collection::vec(proptest::collection::vec(batches::row(6), 1..6), 1..3);
                    let files = strategy.new_tree(&mut random).map_err(|error| error.to_string())?.current();
                    batches::place(&world.lake, index, &files);
                    world.lake.now = format!("2025-06-05T{index:02}:00:00Z");
                    let ran = ended(here::run(&world.lake, &batches::dedupe(index)), 0).map_err(at)?;
                    world.model.apply(&files.concat());
                    let output = &ran.reports[0]["output"];
                    if let Some(id) = output["snapshot_after"].as_i64()
                        && output["snapshot_before"].as_i64() != Some(id)
                    {
                        kept.push(world.history.len());
                        world.history.push((id, world.model.clone()));
                    }
                }
                2 | 3 => {
                    world.lake.now = format!("2025-06-05T{index:02}:00:00Z");
                    let how: &[&str] = match number {
                        1 => &["--rewrite-all", "--min-copy-size-bytes", "1"],
                        2 => &["--rewrite-all", "--sort", "temperature DESC, event_id"],
                        _ => &["--min-input-files", "2", "--z-order", "event_time,temperature"],
                    };
                    let words = [&["compact", "--include-active"], how].concat();
                    let ran = ended(here::run(&world.lake, &words), 0).map_err(at)?;
                    if ran.reports[0]["status"] == json!("committed") {
                        let id = ran.reports[0]["output"]["snapshot_after"].as_i64().ok_or("no snapshot")?;
                        kept.push(world.history.len());
                        world.history.push((id, world.model.clone()));
                    }
                }
                4 => {
                    world.lake.now = NEXT_DAY.to_owned();
                    let last = number.to_string();
                    let words = ["expire", "--older-than", "0s", "--retain-last", &last, "--yes"];
                    ended(here::run(&world.lake, &words), 0).map_err(at)?;
                    kept = kept.split_off(kept.len().saturating_sub(*number as usize));
                }
                _ => {
                    world.lake.now = MUCH_LATER.to_owned();
                    let path = format!("data/stray-{index}.parquet");
                    if !kept.is_empty() {
                        stray(&world.lake, &path);
                    }
                    ended(here::run(&world.lake, &["orphans", "--max-fraction", "1", "--yes"]), 0).map_err(at)?;
                    equal("the stray is gone", &objects(&world.lake).contains(&path), &false).map_err(at)?;
                }
            }
            if kept.is_empty() {
                continue;
            }
            batches::compare_with(&here::rows(&world.lake, TABLE).map_err(at)?, &world.model).map_err(at)?;
            ended(here::run(&world.lake, &["check"]), 0).map_err(at)?;
            for index in &kept {
                let (id, then) = &world.history[*index];
                let rows = here::rows(&world.lake, &format!("{TABLE} FOR VERSION AS OF {id}")).map_err(at)?;
                batches::compare_with(&rows, then).map_err(at)?;
            }
        }
    }
    Ok(())
}
