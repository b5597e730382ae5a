//! Objects in, a class or a reason for each out.

use std::collections::BTreeMap;

use contract::{ColdClass, Duration, Hold, TierRule};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    BYTES_MIN, Facts, LEFT, Listed, Need, PAYBACK_MONTHS_MAX, Taken, TierPlan, Tiers, Transition, Untag, Way, Zone,
};
use crate::{
    objects::ObjectKind,
    orphans::Kept,
    prices::{Amount, Dollars, Money, Request, StorageClass, Stored},
};

/// Decides. The same facts give the same plan.
pub fn decide(facts: &Facts) -> TierPlan {
    if facts.way == Way::Copy && !facts.versioned.is_empty() {
        let reason = format!(
            "{} keeps what is replaced as an older version: a copy would be paid beside it; --lifecycle moves objects \
             without copying them",
            facts.versioned.join(", ")
        );
        return TierPlan::Refused { reasons: vec![reason] };
    }
    let mut kept = Keeps::default();
    let mut transitions = Vec::new();
    let mut untagged = Vec::new();
    for object in &facts.objects {
        match place(facts, object) {
            Ok(transition) => transitions.push(transition),
            Err(Stay { reason, follows_tag }) => {
                if !follows_tag && is_followed(facts, object) {
                    untagged.push(Untag { location: object.location.clone(), reason: reason.clone() });
                }
                kept.add(reason, object.bytes);
            }
        }
    }
    if let Some(max) = facts.cost_max {
        transitions = within(max, transitions, &mut kept);
    }
    transitions.sort_by(|a, b| a.location.cmp(&b.location));
    untagged.sort_by(|a, b| a.location.cmp(&b.location));
    let none = transitions.is_empty() && untagged.is_empty() && !facts.rules_differ;
    let tiers = Tiers {
        table: facts.table.clone(),
        way: facts.way,
        kept: kept.0.into_values().collect(),
        money: total(facts, &transitions),
        transitions,
        untagged,
        rules: facts.rules.clone(),
        rule_places: facts.rule_places.clone(),
        prices: facts.prices.to_string(),
    };
    if none { TierPlan::NoTransitions(tiers) } else { TierPlan::Transitions(tiers) }
}

/// Objects that stay, counted by reason.
#[derive(Default)]
struct Keeps(BTreeMap<String, Kept>);

impl Keeps {
    fn add(&mut self, reason: String, bytes: u64) {
        let kept = self.0.entry(reason.clone()).or_insert_with(|| Kept { reason, files: 0, bytes: 0 });
        kept.files += 1;
        kept.bytes += bytes;
    }
}

/// Those that may be paid for: what saves most for its cost comes first.
fn within(max: Dollars, mut transitions: Vec<Transition>, kept: &mut Keeps) -> Vec<Transition> {
    let product = |saving: Dollars, cost: Dollars| i128::from(saving.nanos) * i128::from(cost.nanos);
    transitions.sort_by(|a, b| {
        let (of_a, of_b) = (product(a.saving_per_month, b.cost), product(b.saving_per_month, a.cost));
        of_b.cmp(&of_a).then_with(|| a.location.cmp(&b.location))
    });
    let mut left = max;
    let mut fits = |transition: &Transition| {
        let fits = transition.cost <= left;
        if fits {
            left = left - transition.cost;
        } else {
            kept.add(format!("{LEFT} by --max-dollars {}", max.rate()), transition.bytes);
        }
        fits
    };
    transitions.retain(|transition| fits(transition));
    transitions
}

/// What the moves cost and save together, by their classes; nothing when nothing moves.
fn total(facts: &Facts, transitions: &[Transition]) -> Option<Money> {
    let mut sizes: BTreeMap<(StorageClass, ColdClass), Vec<u64>> = BTreeMap::new();
    for Transition { from, to, bytes, .. } in transitions {
        sizes.entry((*from, *to)).or_default().push(*bytes);
    }
    let mut total = Money { prices: facts.prices.to_string(), ..Money::default() };
    for ((from, to), sizes) in sizes {
        let (cost, saving) = money(facts, &sizes, from, to);
        total.cost += cost;
        total.saving_per_month += saving;
    }
    (!transitions.is_empty()).then_some(total)
}

/// An object that is not moved now.
struct Stay {
    reason: String,
    /// The tag that it has, if any, is right.
    follows_tag: bool,
}

impl From<String> for Stay {
    fn from(reason: String) -> Self {
        Self { reason, follows_tag: false }
    }
}

/// Where the object goes, or why it stays. A rule that something speaks against leaves it to the warmer one before.
fn place(facts: &Facts, object: &Listed) -> Result<Transition, Stay> {
    let from = class(facts, object)?;
    let time = time(object)?;
    let rules = rules(facts, object);
    let Some(youngest) = rules.first() else {
        return Err(format!("the contract has no rule for {} objects", object.needed.zone()).into());
    };
    let mut first_reason = None;
    for rule in rules.iter().rev().filter(|rule| time < before(facts.now, rule.age)) {
        if from >= StorageClass::from(rule.class) {
            let reason = first_reason.unwrap_or_else(|| format!("in {} already", from.word()));
            return Err(Stay { reason, follows_tag: false });
        }
        match stays(facts, object, from, time, rule.class) {
            Some(reason) => _ = first_reason.get_or_insert(reason),
            None if facts.way == Way::Lifecycle && object.tag.as_deref() == Some(rule.class.name()) => {
                let reason = format!("tagged for {} already: S3 moves it within days", rule.class);
                return Err(Stay { reason, follows_tag: true });
            }
            None => return Ok(transition(facts, object, from, time, *rule)),
        }
    }
    Err(first_reason.unwrap_or_else(|| format!("younger than {}", youngest.age)).into())
}

/// Whether the object's age alone would take it to a colder class than the one that it lies in.
pub fn is_due(facts: &Facts, object: &Listed) -> bool {
    let (Ok(from), Ok(time)) = (class(facts, object), time(object)) else { return false };
    let is_due = |rule: &TierRule| time < before(facts.now, rule.age) && from < StorageClass::from(rule.class);
    rules(facts, object).iter().any(is_due)
}

fn rules<'a>(facts: &'a Facts, object: &Listed) -> &'a [TierRule] {
    match object.needed.zone() {
        Zone::Raw => &facts.tiering.raw,
        Zone::Curated => &facts.tiering.curated,
    }
}

/// The class that an object lies in, where it can leave it.
fn class(facts: &Facts, object: &Listed) -> Result<StorageClass, String> {
    match object.class.parse() {
        Ok(class @ StorageClass::IntelligentTiering) => Err(format!("in {}: S3 moves it by itself", class.word())),
        Ok(class) if facts.way == Way::Copy && class.is_archive() => Err(format!("in {} already", class.word())),
        Ok(class) => Ok(class),
        Err(_) => Err(format!("in {}, which no rule moves objects out of", object.class)),
    }
}

/// The time that an object's age counts from.
fn time(object: &Listed) -> Result<Timestamp, String> {
    match &object.needed {
        Need::Raw { arrival, .. } => Ok(arrival.end()),
        Need::Current { event_time: Some((_, youngest)) } => Ok(*youngest),
        Need::Current { event_time: None } => Err("no event time is known of it".to_owned()),
        Need::Referred(ObjectKind::DataFile) => {
            Err("the current snapshot does not have it: expire deletes it with the snapshots that do".to_owned())
        }
        Need::Referred(kind) => Err(format!("every read of the table needs it: {kind}")),
        Need::Unknown => Err("the table does not refer to it: etl orphans looks at such files".to_owned()),
        Need::NoInput => Err("no input: hidden, empty, or outside of the path template".to_owned()),
    }
}

/// Why the object does not go to that class.
fn stays(facts: &Facts, object: &Listed, from: StorageClass, time: Timestamp, to: ColdClass) -> Option<String> {
    if to.is_archive()
        && let Some(reason) = needed_hot(facts, object, time)
    {
        return Some(reason);
    }
    // A copy is younger than what it was copied from, and the ledger knows a partition's files by the order they came in.
    if facts.way == Way::Copy
        && let Need::Raw { taken: taken @ (Taken::No | Taken::Beside), .. } = object.needed
    {
        return Some(not_taken(taken));
    }
    if object.bytes < BYTES_MIN {
        return Some(format!("smaller than {} KiB, which S3 charges it as", BYTES_MIN / 1024));
    }
    let days_min = facts.prices.class(from).map_or(0, |prices| prices.stored_days_min);
    if object.modified > before(facts.now, Duration { seconds: u64::from(days_min) * DAY_SECONDS }) {
        return Some(format!("written less than {days_min}d ago, for which {} is charged anyway", from.word()));
    }
    let (cost, saving) = dollars(facts, object, from, to);
    if saving <= Dollars::ZERO {
        return Some(format!("{} would cost more for objects of its size", to));
    }
    if cost.nanos > saving.nanos.saturating_mul(PAYBACK_MONTHS_MAX) {
        return Some(format!("going to {to} costs more than it saves in {PAYBACK_MONTHS_MAX} months"));
    }
    None
}

const DAY_SECONDS: u64 = 86_400;

/// Why the object must stay readable without a restore.
fn needed_hot(facts: &Facts, object: &Listed, time: Timestamp) -> Option<String> {
    match &object.needed {
        Need::Raw { taken: taken @ (Taken::No | Taken::Beside), .. } => return Some(not_taken(*taken)),
        Need::Raw { taken: Taken::Forgotten, .. } => {
            return Some(
                "the ledger no longer knows whether it is in the table: --forgotten says that it is".to_owned(),
            );
        }
        Need::Raw { taken: Taken::LookedAtAgain, .. } => {
            return Some("etl dedupe --pending looks at its partition again (etl.lateness)".to_owned());
        }
        Need::Current { .. } if !facts.tiering.archived => {
            return Some("readers of the table expect it: the contract does not say etl.tier.archived".to_owned());
        }
        Need::Current { .. } if facts.lateness.is_some_and(|lateness| time >= before(facts.now, lateness)) => {
            return Some("late events may still change it (etl.lateness)".to_owned());
        }
        _ => {}
    }
    if let Some(hot) = facts.tiering.hot.filter(|hot| time >= before(facts.now, *hot)) {
        return Some(format!("it stays readable for {hot} (etl.tier.hot)"));
    }
    let hold = facts.tiering.holds.iter().find(|hold| is_held(object, **hold))?;
    Some(format!("held for a backfill or an audit: {hold} (etl.tier.hold)"))
}

fn not_taken(taken: Taken) -> String {
    match taken {
        Taken::Beside => "another file of its raw partition is not in the table yet",
        _ => "not in the table yet",
    }
    .to_owned()
}

/// Whether the object's time, as far as it is known, meets the hold's days.
fn is_held(object: &Listed, hold: Hold) -> bool {
    let midnight = |date: jiff::civil::Date| date.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
    let (Ok(start), Ok(end)) = (midnight(hold.start), midnight(hold.end)) else { return true };
    match &object.needed {
        Need::Raw { arrival, .. } => arrival.start() < end && start < arrival.end(),
        Need::Current { event_time: Some((oldest, youngest)) } => *oldest < end && start <= *youngest,
        _ => true,
    }
}

fn transition(facts: &Facts, object: &Listed, from: StorageClass, time: Timestamp, rule: TierRule) -> Transition {
    let (cost, saving_per_month) = dollars(facts, object, from, rule.class);
    let zone = object.needed.zone();
    let what = match zone {
        Zone::Raw => "arrived before",
        Zone::Curated => "its youngest event is of",
    };
    Transition {
        location: object.location.clone(),
        etag: object.etag.clone(),
        bytes: object.bytes,
        zone,
        from,
        to: rule.class,
        cost,
        saving_per_month,
        age: rule.age,
        reason: format!("{what} {time}, older than {}", rule.age),
    }
}

/// What one move costs once, and saves each month.
fn dollars(facts: &Facts, object: &Listed, from: StorageClass, to: ColdClass) -> (Dollars, Dollars) {
    let (cost, saving) = money(facts, &[object.bytes], from, to);
    (cost.dollars, saving.dollars)
}

/// What moving objects of these sizes costs once, and saves each month.
fn money(facts: &Facts, sizes: &[u64], from: StorageClass, to: ColdClass) -> (Amount, Amount) {
    let (prices, to) = (&facts.prices, StorageClass::from(to));
    let stored = |class| {
        let mut stored = Stored::default();
        sizes.iter().for_each(|bytes| prices.add(class, *bytes, &mut stored));
        prices.stored(class, stored)
    };
    let objects = sizes.len() as u64;
    let (mut cost, also) = match facts.way {
        Way::Copy => (prices.requests(to, Request::Put, objects), prices.retrieval(from, sizes.iter().sum())),
        Way::Lifecycle => {
            (prices.requests(from, Request::Put, objects), prices.requests(to, Request::Transition, objects))
        }
    };
    cost += also;
    (cost, stored(from) - stored(to))
}

/// Whether a lifecycle rule would move the object by the tag that it has.
fn is_followed(facts: &Facts, object: &Listed) -> bool {
    let tag = object.tag.as_deref().and_then(|tag| tag.parse::<ColdClass>().ok());
    let from = object.class.parse::<StorageClass>().ok();
    facts.way == Way::Lifecycle && from.zip(tag).is_some_and(|(from, tag)| from < StorageClass::from(tag))
}

/// That long before now; spans that reach before the calendar's beginning reach to it.
fn before(now: Timestamp, span: Duration) -> Timestamp {
    let seconds = i64::try_from(span.seconds).unwrap_or(i64::MAX);
    now.checked_sub(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MIN)
}
