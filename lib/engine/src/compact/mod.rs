//! Compaction's middle: the rows of some files of a partition, in fewer files, or in order.
//!
//! Owns how rows get from the old files to the new ones. Refuses to know why these files, and what is committed when.

mod order;
mod pieces;
mod rewrite;
mod select;
mod sorted;
mod z_order;

pub use order::check_order;
pub use rewrite::{Rewriter, Rewritten};
pub use select::matching_files;

#[cfg(test)]
mod tests;
