//! What a run of the main job takes in, and why.
//!
//! The ledger has a mark for each raw partition: of its files, the first `files` in order of modification, whose
//! digest is this, are in the table. So applied files are recognised one by one without a list of their names: a file
//! that arrives late leaves the digest of the earlier ones as it was, and a file that was replaced breaks it, which
//! makes the whole partition new again. Taking a file twice is harmless (its rows are unchanged); leaving one out is
//! not.

mod decide;
mod facts;
mod mark;
mod pending;
mod plan;

pub use decide::{FILES_PER_RUN_MAX, decide};
pub use facts::{AppliedRun, Facts, LeftOut, RawFile, Request, TableFacts, TargetFile};
pub use mark::PartitionMark;
pub use pending::{Forgotten, Found, LATE_FILES_MAX, Memory, PendingFiles, Seen, window_start};
pub use plan::{DedupePlan, MayRewrite, PartitionPlan, Refusal, RunPlan};
