//! The program `etl` without its surroundings: command line, configuration, reports and one file per job.
//!
//! Owns what people and schedulers see. The clock, ids, the environment and the exit code belong to `main.rs`.

mod archived;
pub mod cli;
pub mod config;
pub mod confirm;
pub mod error;
mod event_time;
pub mod interrupt;
pub mod job;
mod known;
pub mod machine;
pub mod open;
mod outcome;
mod plan_text;
pub mod prices;
pub mod progress;
pub mod records;
pub mod report;
pub mod report_text;
pub mod screen;
mod staging;
mod suggest;
mod table_text;
mod upkeep;

pub mod check;
pub mod compact;
pub mod contracts;
pub mod dedupe;
pub mod demo;
pub mod expire;
pub mod init;
pub mod inspect;
pub mod maintain;
pub mod merge;
pub mod orphans;
pub mod query;
pub mod rollback;
pub mod runs;
pub mod shell;
pub mod snapshots;
pub mod tier;
