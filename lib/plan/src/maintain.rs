//! Which of the maintenance jobs each table needs, in which order, and how far the budget reaches.
//!
//! What a job would do is decided by that job's own plan; here it is an [`Outlook`]. Refuses to know how the plans are come
//! by and carried out.

mod decide;
mod outlook;

pub use decide::decide;
pub use outlook::{Outlook, Would};

use std::fmt;

use contract::{Duration, TableName};
use serde::{Deserialize, Serialize};

use crate::{
    prices::{Dollars, Money},
    text::size,
};

/// A maintenance job, in the order in which they do the most: what compaction replaces is for `expire` to let go one day,
/// what a killed `expire` leaves is for `orphans` to find, and nobody pays for moving what has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upkeep {
    /// Writes small files, deleted rows and rows in no order again.
    Compact,
    /// Lets snapshots go, and what only they need.
    Expire,
    /// Deletes what nothing refers to.
    Orphans,
    /// Moves old objects to colder storage classes.
    Tier,
}

impl Upkeep {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Compact, Self::Expire, Self::Orphans, Self::Tier];

    /// What a person agrees to first, completing "it would …"; `None` for what can be taken back.
    pub fn consequence(self) -> Option<&'static str> {
        match self {
            Self::Compact => None,
            Self::Expire | Self::Orphans => Some("delete objects for good"),
            Self::Tier => Some("change what objects cost and how fast they can be read"),
        }
    }

    /// The job's name on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Compact => "compact",
            Self::Expire => "expire",
            Self::Orphans => "orphans",
            Self::Tier => "tier",
        }
    }
}

impl fmt::Display for Upkeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is known of one table before the decision.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// What each job would do, at most once each.
    pub outlooks: Vec<Outlook>,
}

/// What one run may use up. What is not said has no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Budget {
    /// After this long no other step is started.
    pub time: Option<Duration>,
    /// Bytes that are read and written again.
    pub bytes: Option<u64>,
    /// What the steps may cost together.
    pub dollars: Option<Dollars>,
}

/// What is done to one table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TablePlan {
    /// The table.
    pub table: TableName,
    /// Each job, in the order in which they run.
    pub steps: Vec<Step>,
}

/// What becomes of one job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The job.
    pub job: Upkeep,
    /// Whether it runs.
    pub action: Action,
    /// What it would do; empty when that is nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// Why.
    pub why: String,
    /// Bytes that it reads and writes again.
    #[serde(default)]
    pub bytes: u64,
    /// It is to do no more than this: the budget's last bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<u64>,
    /// It is to cost no more than this, where there is a budget: what was planned, or the budget's last dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dollars_max: Option<Dollars>,
    /// What it costs and saves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
}

/// Whether a job runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It does.
    Run,
    /// There is nothing for it to do.
    Skip,
    /// There is, and the budget is used up: the next run.
    Later,
    /// It refuses: a person should look.
    Refused,
}

impl TablePlan {
    /// The jobs that run.
    pub fn running(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|step| step.action == Action::Run)
    }

    /// What the jobs that run save each month.
    pub fn saving_per_month(&self) -> Dollars {
        self.running().filter_map(|step| Some(step.money.as_ref()?.saving_per_month.dollars)).sum()
    }
}

impl Budget {
    /// Why no other step is started; `None` while there is time.
    pub fn out_of_time(&self, elapsed_ms: u64) -> Option<String> {
        let time = self.time?;
        let is_over = elapsed_ms >= time.seconds.saturating_mul(1_000);
        is_over.then(|| format!("the {time} of --budget-time are over: the next run goes on"))
    }

    /// Why a step does not fit into what is left; `None` when it does.
    fn does_not_fit(&self, bytes: u64, cost: Dollars) -> Option<String> {
        if let Some(left) = self.bytes.filter(|left| bytes > *left) {
            let (bytes, left) = (size(bytes), size(left));
            return Some(format!("it would write {bytes} again, and {left} of --budget-bytes are left"));
        }
        let left = self.dollars.filter(|left| cost > *left)?;
        Some(format!("it would cost {cost}, and {left} of --budget-dollars are left"))
    }

    fn spend(&mut self, bytes: u64, cost: Dollars) {
        self.bytes = self.bytes.map(|left| left.saturating_sub(bytes));
        self.dollars = self.dollars.map(|left| left - cost);
    }
}

impl fmt::Display for TablePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Step { job, action, what, why, .. } in &self.steps {
            let verb = match action {
                Action::Run => "run",
                Action::Skip => "skip",
                Action::Later => "later",
                Action::Refused => "refused",
            };
            let what = if what.is_empty() { String::new() } else { format!("{what}: ") };
            writeln!(f, "{verb} {job}: {what}{why}")?;
        }
        Ok(())
    }
}
