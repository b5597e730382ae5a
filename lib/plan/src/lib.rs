//! Decisions: facts in, a plan with its reasons out.
//!
//! Owns what a job will do and why. Refuses to know storage, catalogs, engines, clocks and chance: everything here is
//! synchronous and gives the same answer for the same facts.

pub mod columns;
pub mod compact;
pub mod dedupe;
mod digest;
mod error;
pub mod expire;
pub mod inspect;
mod interval;
pub mod maintain;
pub mod merge;
pub mod objects;
pub mod orphans;
pub mod prices;
pub mod rollback;
pub mod text;
pub mod tier;
mod time;

pub use digest::{DigestInput, input_digest};
pub use error::{Error, Result};
pub use interval::{Interval, parse_time};
pub use time::OlderThan;
