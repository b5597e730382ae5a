//! The raw interval of a run: files of many writers, read as one schema with every row's source file and number.

mod ambiguous;
mod bind;
mod convert;
mod fill;

pub(crate) use convert::convert;
pub(crate) use fill::Filling;
mod interval;

pub use bind::{BoundInterval, RawBatch, ScanOptions};
pub use interval::{
    FileColumns, Footer, NewColumn, OpenOptions, QUARANTINE_PREFIX, RawInput, RawInterval, UnreadableFile,
};
