//! Damaged inputs: bits that flip, ends that are missing, pieces of other files, in raw files, in every object of a table, in
//! contracts and in etl.toml.
//!
//! Each damaged input has a number, its seed: `ETL_DAMAGED_INPUTS` inputs (100), from the number `ETL_DAMAGE_SEED` (1) on.
//! Objects of a table are among them with `ETL_DAMAGED_OBJECTS=1`: their names are others in each process, and so is what a
//! seed hits.
//!
//! No run panics or hangs. A run that fails, or leaves something out, names the damaged file. No row comes out that was not in
//! the whole input, unless another reader of the format (PyArrow, DuckDB, PyIceberg) finds the same row in the damaged one.
//! With the damage undone the table is whole.

mod change;
mod world;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use self::{change::Random, world::World};
use crate::services::number;

/// Trials that share the inputs.
pub const TRIALS: u64 = 4;

/// Damaged inputs that were handled as they should be.
pub static INPUTS: AtomicU64 = AtomicU64::new(0);
/// Damaged inputs that are another valid file: another reader finds the same rows in them.
pub static UNNOTICEABLE: AtomicU64 = AtomicU64::new(0);

/// One share of the inputs. All that go wrong are listed, not only the first.
pub fn run(share: u64) -> Result<(), String> {
    let first = number("ETL_DAMAGE_SEED", 1);
    let numbers = first..first + number("ETL_DAMAGED_INPUTS", 100);
    let world = World::new(share)?;
    let mut wrong = Vec::new();
    for number in numbers.filter(|number| number % TRIALS == share) {
        match world.damage(&mut Random::new(number)) {
            Ok(()) => {
                INPUTS.fetch_add(1, Relaxed);
            }
            Err(error) => wrong.push(format!("ETL_DAMAGE_SEED={number} ETL_DAMAGED_INPUTS=1: {error}")),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n\n")) }
}
