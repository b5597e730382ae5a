//! What the table's properties and the request say together, parsed once.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Facts, RefFacts, RefKind};
use crate::{OlderThan, time::span};

const GC_ENABLED: &str = "gc.enabled";
const SNAPSHOT_AGE_MAX: &str = "history.expire.max-snapshot-age-ms";
const SNAPSHOTS_MIN: &str = "history.expire.min-snapshots-to-keep";
const REF_AGE_MAX: &str = "history.expire.max-ref-age-ms";

/// Iceberg's default: five days.
const SNAPSHOT_AGE_MAX_MS: i64 = 5 * 24 * 60 * 60 * 1000;
const SNAPSHOTS_MIN_DEFAULT: u32 = 1;

/// An age that the table sets is taken that much longer, so that a clock ahead of the writers' never shortens it. What
/// a person asks for is taken as it is.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// What expires.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    now: Timestamp,
    /// For branches without one of their own, and for snapshots in no branch.
    pub limit: Limit,
    snapshots_min: u32,
    ref_age_max_ms: Option<i64>,
    /// Nothing expires by age: only named snapshots do.
    pub named_only: bool,
}

/// An age, as a cutoff with its words.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    /// What is older goes.
    pub cutoff: Timestamp,
    /// `5d`, or a time.
    pub text: String,
}

impl Policy {
    /// Why nothing may be done, or what to do.
    pub(super) fn of(facts: &Facts) -> Result<Self, Vec<String>> {
        let (request, properties, mut reasons) = (&facts.request, &facts.properties, Vec::new());
        reasons.extend(gc_disabled(properties));
        let mut number = |name: &str, least: i64| {
            read(properties, name, least).unwrap_or_else(|reason| {
                reasons.push(reason);
                None
            })
        };
        let snapshot_age_max_ms = number(SNAPSHOT_AGE_MAX, 0).unwrap_or(SNAPSHOT_AGE_MAX_MS);
        let of_table = number(SNAPSHOTS_MIN, 1).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        let ref_age_max_ms = number(REF_AGE_MAX, 0);
        if request.retain_last == Some(0) {
            reasons.push("--retain-last must be at least 1: a branch keeps its head".to_owned());
        }
        if !reasons.is_empty() {
            return Err(reasons);
        }
        let limit = match request.older_than {
            None => limit(facts.now, snapshot_age_max_ms),
            Some(OlderThan::Time(time)) => Limit { cutoff: time, text: time.to_string() },
            Some(age) => Limit { cutoff: age.cutoff(facts.now), text: age.to_string() },
        };
        let named_only =
            !request.snapshot_ids.is_empty() && request.older_than.is_none() && request.retain_last.is_none();
        let snapshots_min = request.retain_last.or(of_table).unwrap_or(SNAPSHOTS_MIN_DEFAULT);
        Ok(Self { now: facts.now, limit, snapshots_min, ref_age_max_ms, named_only })
    }

    /// What a branch keeps: its own words go before the table's.
    pub(super) fn branch(&self, of: &RefFacts) -> (u32, Limit) {
        let RefKind::Branch { snapshots_min, snapshot_age_max_ms } = of.kind else { return (1, self.limit.clone()) };
        let own = snapshots_min.and_then(|number| u32::try_from(number).ok());
        let limit = snapshot_age_max_ms.map_or_else(|| self.limit.clone(), |ms| limit(self.now, ms));
        (own.unwrap_or(self.snapshots_min).max(1), limit)
    }

    /// How old the snapshot of a ref may be; `None` for any age.
    pub(super) fn ref_limit(&self, of: &RefFacts) -> Option<Limit> {
        of.ref_age_max_ms.or(self.ref_age_max_ms).map(|ms| limit(self.now, ms))
    }
}

/// Why no object of the table may be deleted, where its properties say so.
pub(crate) fn gc_disabled(properties: &BTreeMap<String, String>) -> Option<String> {
    let off = properties.get(GC_ENABLED).is_some_and(|text| text.trim().eq_ignore_ascii_case("false"));
    off.then(|| {
        format!("the table's property {GC_ENABLED} is false: its files may belong to others; set it to true if not")
    })
}

fn limit(now: Timestamp, age_max_ms: i64) -> Limit {
    let age = SignedDuration::from_millis(age_max_ms).saturating_add(CLOCK_TOLERANCE);
    Limit { cutoff: now.checked_sub(age).unwrap_or(Timestamp::MIN), text: span(age_max_ms) }
}

fn read(properties: &BTreeMap<String, String>, name: &str, least: i64) -> Result<Option<i64>, String> {
    let Some(text) = properties.get(name) else { return Ok(None) };
    match text.trim().parse::<i64>() {
        Ok(number) if number >= least => Ok(Some(number)),
        _ => Err(format!("the table's property {name} is {text:?}: set it to a whole number of at least {least}")),
    }
}
