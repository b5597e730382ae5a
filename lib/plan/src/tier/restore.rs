//! Bringing archived objects back for some days: which, what it costs, how long it takes.

use std::fmt;

use contract::TableName;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Zone;
use crate::{
    Interval,
    prices::{Amount, Prices, RestoreTier, StorageClass},
};

/// What is asked for, and what is known.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The table.
    pub table: TableName,
    /// Arrival time of raw files, event time of curated ones; `None` for all of them.
    pub interval: Option<Interval>,
    /// How long the copies stay readable.
    pub days: u32,
    /// How fast.
    pub tier: RestoreTier,
    /// The archived objects of the interval.
    pub archived: Vec<Archived>,
    /// Other objects of the interval: they can be read as they are.
    pub readable: u64,
    /// What S3 charges.
    pub prices: Prices,
}

/// An archived object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Its location.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Whose it is.
    pub zone: Zone,
    /// Where it lies.
    pub class: StorageClass,
    /// Whether it is being brought back.
    pub state: RestoreState,
}

/// How far the restore of an archived object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreState {
    /// Nobody has asked for it.
    Archived,
    /// It is under way.
    Restoring,
    /// It can be read until then.
    Readable {
        /// When the copy goes, where S3 says so.
        until: Option<Timestamp>,
    },
}

/// What a restore will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The table.
    pub table: TableName,
    /// What is asked of S3, in order of location.
    pub restores: Vec<Restore>,
    /// Objects whose restore is under way.
    pub restoring: u64,
    /// Objects that can be read: they are not archived, or have been restored.
    pub readable: u64,
    /// How long the copies stay.
    pub days: u32,
    /// How fast.
    pub tier: RestoreTier,
    /// The longest that it usually takes.
    pub hours_max: u32,
    /// What it costs: requests, retrieval, and storage of the copies.
    pub cost: Amount,
    /// Why it cannot be done like this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

/// An object that is asked back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// Its location.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// Whose it is.
    pub zone: Zone,
    /// Where it lies, and stays.
    pub class: StorageClass,
}

/// What S3 charges a month of storage as, for the days of a copy.
const MONTH_DAYS: u64 = 30;

/// Decides. The same request gives the same plan.
pub fn decide_restore(request: &RestoreRequest) -> RestorePlan {
    let of_state = |wanted: fn(&RestoreState) -> bool| request.archived.iter().filter(move |of| wanted(&of.state));
    let mut restores: Vec<_> = of_state(|state| *state == RestoreState::Archived)
        .map(|of| Restore { location: of.location.clone(), bytes: of.bytes, zone: of.zone, class: of.class })
        .collect();
    restores.sort_by(|a, b| a.location.cmp(&b.location));
    let readable = of_state(|state| matches!(state, RestoreState::Readable { .. })).count() as u64;
    let mut plan = RestorePlan {
        table: request.table.clone(),
        restoring: of_state(|state| *state == RestoreState::Restoring).count() as u64,
        readable: request.readable + readable,
        days: request.days,
        tier: request.tier,
        hours_max: 0,
        cost: Amount::default(),
        refused: None,
        restores,
    };
    for class in [StorageClass::Glacier, StorageClass::DeepArchive] {
        let of_class = plan.restores.iter().filter(|restore| restore.class == class);
        let (files, bytes) = of_class.fold((0, 0), |(files, bytes), of| (files + 1, bytes + of.bytes));
        if files == 0 {
            continue;
        }
        let hours = request.prices.class(class).and_then(|prices| prices.restore.get(&request.tier));
        let (Some(hours), Some(cost)) = (hours, request.prices.restore(class, request.tier, files, bytes)) else {
            plan.refused = Some(format!("{} has no {} restore", class.word(), word(request.tier)));
            continue;
        };
        plan.hours_max = plan.hours_max.max(hours.hours_max);
        plan.cost += cost;
    }
    let bytes: u64 = plan.restores.iter().map(|restore| restore.bytes).sum();
    if bytes > 0 {
        let month = request.prices.stored_bytes(StorageClass::Standard, bytes);
        let dollars = month.dollars.times(u64::from(request.days), MONTH_DAYS);
        plan.cost += Amount::one(dollars, format!("copies for {} days", request.days));
    }
    plan
}

/// As the command line has it.
pub(crate) fn word(tier: RestoreTier) -> &'static str {
    match tier {
        RestoreTier::Bulk => "bulk",
        RestoreTier::Standard => "standard",
        RestoreTier::Expedited => "expedited",
    }
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Restore { location, bytes, class, .. } in &self.restores {
            writeln!(f, "restore {location} ({bytes} bytes) from {}", class.word())?;
        }
        writeln!(f, "{} restoring, {} readable, {}", self.restoring, self.readable, self.cost.explained())
    }
}
