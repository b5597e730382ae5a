//! Compaction's middle: the rows of some files of a partition, in fewer files, or in order.
//!
//! Owns how rows get from the old files to the new ones. Refuses to know why these files, and what is committed when.

mod codes;
mod keys;
mod order;
mod pieces;
mod pile;
mod rewrite;
mod run;
mod select;
mod sorted;
mod spill;
mod z_order;

pub use order::check_order;
pub use rewrite::{Rewriter, Rewritten};
pub use select::matching_files;

#[cfg(test)]
mod tests;
