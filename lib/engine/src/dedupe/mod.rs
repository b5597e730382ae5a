//! The main job's middle: from a raw interval to the staged files of one change.
//!
//! 1. [`keys`] reads keys, order and what the rules need; judges every row; makes an entry of each valid one.
//! 2. [`winners`] keeps one row for each key.
//! 3. [`matching`] looks the winners up in the table, in the files that may hold them.
//! 4. [`touched`] decides for each file with a match: written again, or its rows marked by position deletes.
//! 5. [`payload`] reads all columns of what has to be written, once, and writes it beside the rewritten files; what a raw
//!    file lacks, [`mod@kept`] takes over from the table's rows.
//!
//! [`execute()`] tells the story. Every raw row has a [`verdicts::Verdict`] at the end, and they add up.

mod candidates;
mod compare;
mod execute;
mod footprint;
mod gates;
mod kept;
mod keys;
mod matching;
mod payload;
mod quality;
mod quarantine;
mod tenants;
pub mod tombstones;
mod touched;
mod verdicts;
mod winners;

pub(crate) use compare::hash_rows;
pub(crate) use execute::warnings;
pub use execute::{Batch, Dedupe, Outcome, execute};
pub(crate) use footprint::datum_of;
pub(crate) use matching::key_text;
pub(crate) use payload::{kept, strict};
pub use quality::QualityResult;
pub(crate) use quality::query_fault;
pub use quarantine::{QuarantineTarget, Reject};
pub(crate) use tenants::{RULE as TENANT_RULE, tenant_column};
pub(crate) use touched::{Touched, TouchedFile};
pub use verdicts::Balance;
