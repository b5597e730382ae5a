//! Storage classes over time: which class raw files and curated partitions may go to, and what holds them back.
//!
//! Owns what `etl.tier.*` may say. Refuses to know objects, prices and the time.

use std::{fmt, str::FromStr};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::{
    Duration, keys,
    problem::{Checked, Problem, suggest},
    settings::TableSettings,
    yaml::{Entry, Node},
};

/// A storage class of S3 that a contract may name, from warm to cold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ColdClass {
    /// Read at once, cheaper to keep and dearer to read than Standard.
    StandardIa,
    /// Read at once, for what is read once a quarter.
    GlacierIr,
    /// Archived: must be restored before it can be read, which takes hours.
    Glacier,
    /// Archived: restored within two days.
    DeepArchive,
}

impl ColdClass {
    /// All of them, from warm to cold.
    pub const ALL: [Self; 4] = [Self::StandardIa, Self::GlacierIr, Self::Glacier, Self::DeepArchive];

    /// As S3 spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::StandardIa => "STANDARD_IA",
            Self::GlacierIr => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }

    /// Whether an object must be restored before it can be read.
    pub fn is_archive(self) -> bool {
        matches!(self, Self::Glacier | Self::DeepArchive)
    }
}

impl fmt::Display for ColdClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no storage class that objects can be moved to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no storage class that objects can be moved to")]
pub struct ColdClassError(pub String);

impl FromStr for ColdClass {
    type Err = ColdClassError;

    fn from_str(text: &str) -> Result<Self, ColdClassError> {
        Self::ALL.into_iter().find(|class| class.name() == text).ok_or_else(|| ColdClassError(text.to_owned()))
    }
}

/// What is older than `age` may lie in `class`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TierRule {
    /// Of raw files since they arrived, of curated ones since their youngest event.
    pub age: Duration,
    /// Where they go.
    pub class: ColdClass,
}

/// Whole days, from midnight to midnight of UTC, that must not be archived. Half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// First day.
    pub start: Date,
    /// First day after it.
    pub end: Date,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

/// What a contract says of storage classes. Without rules nothing moves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tiering {
    /// For raw files, youngest first (`etl.tier.raw`); each rule has a colder class than the one before.
    pub raw: Vec<TierRule>,
    /// For curated files (`etl.tier.curated`), in the same way.
    pub curated: Vec<TierRule>,
    /// Readers of the table expect archived partitions (`etl.tier.archived`).
    pub archived: bool,
    /// How long raw files and curated partitions can be read without a restore (`etl.tier.hot`).
    pub hot: Option<Duration>,
    /// Arrival or event time that a backfill or an audit is going to read (`etl.tier.hold`).
    pub holds: Vec<Hold>,
}

const DAY_SECONDS: u64 = 86_400;

/// S3 takes objects into STANDARD_IA at this age at the earliest, and out of it again not before as long has passed.
const IA_DAYS_MIN: u64 = 30;

const RULES_HELP: &str = "write ages and classes: {30d: STANDARD_IA, 90d: GLACIER}";

impl TableSettings<'_> {
    pub(crate) fn tiering(&self) -> Checked<Tiering> {
        let archived = self.settings.get(keys::TIER_ARCHIVED).and_then(|node| node.boolean()) == Some(true);
        let tiering = Tiering {
            raw: self.tier_rules(keys::TIER_RAW)?,
            curated: self.tier_rules(keys::TIER_CURATED)?,
            archived,
            hot: self.duration(keys::TIER_HOT)?,
            holds: self.holds()?,
        };
        if !archived
            && let Some(rule) = tiering.curated.iter().find(|rule| rule.class.is_archive())
            && let Some(node) = self.settings.get(keys::TIER_CURATED)
        {
            return Err(Problem::new(
                node.place,
                format!("`{}` archives partitions into {}, and readers may not know", keys::TIER_CURATED, rule.class),
                format!(
                    "say it with `{}: true`: queries of such a partition fail until etl tier restore",
                    keys::TIER_ARCHIVED
                ),
            ));
        }
        Ok(tiering)
    }

    fn tier_rules(&self, setting: &str) -> Checked<Vec<TierRule>> {
        let Some(node) = self.settings.get(setting) else { return Ok(Vec::new()) };
        let mut rules: Vec<TierRule> = Vec::new();
        for entry in node.entries() {
            let rule = tier_rule(setting, entry)?;
            if let Some(before) = rules.last() {
                check_order(setting, &entry.node, *before, rule)?;
            }
            rules.push(rule);
        }
        if rules.is_empty() {
            return Err(Problem::new(node.place, format!("`{setting}` has no rule"), RULES_HELP));
        }
        Ok(rules)
    }

    fn holds(&self) -> Checked<Vec<Hold>> {
        let nodes = self.settings.get(keys::TIER_HOLD).map_or(&[][..], |node| node.one_or_many());
        let read = |node: &Node| {
            let text = node.text().unwrap_or_default();
            let (start, end) = text.split_once('/')?;
            let hold = Hold { start: start.trim().parse().ok()?, end: end.trim().parse().ok()? };
            (hold.start < hold.end).then_some(hold)
        };
        let bad = |node: &Node| {
            let message = format!("`{}` cannot be {}", keys::TIER_HOLD, node.describe());
            Problem::new(node.place, message, "write first day and first day after: 2025-01-01/2025-04-01")
        };
        nodes.iter().map(|node| read(node).ok_or_else(|| bad(node))).collect()
    }
}

fn tier_rule(setting: &str, entry: &Entry) -> Checked<TierRule> {
    let age: Duration = entry.key.parse().map_err(|_| {
        Problem::new(entry.place, format!("`{setting}` has {:?} where an age is wanted", entry.key), RULES_HELP)
    })?;
    if !age.seconds.is_multiple_of(DAY_SECONDS) || age.seconds == 0 {
        return Err(Problem::new(
            entry.place,
            format!("`{setting}` has the age {age}, and S3 counts days"),
            "write whole days: 30d",
        ));
    }
    let text = entry.node.text().unwrap_or_default();
    let class = text.parse::<ColdClass>().map_err(|error| {
        let help = suggest(text, ColdClass::ALL.iter().map(|class| class.name()));
        Problem::new(entry.node.place, format!("`{setting}`: {error}"), help)
    })?;
    if class == ColdClass::StandardIa && age.seconds < IA_DAYS_MIN * DAY_SECONDS {
        return Err(Problem::new(
            entry.node.place,
            format!("`{setting}` moves objects to {class} after {age}"),
            format!("S3 takes them after {IA_DAYS_MIN}d at the earliest"),
        ));
    }
    Ok(TierRule { age, class })
}

/// Older is colder, and what came to STANDARD_IA is paid for 30 days there.
fn check_order(setting: &str, node: &Node, before: TierRule, rule: TierRule) -> Checked<()> {
    if rule.age <= before.age || rule.class <= before.class {
        return Err(Problem::new(
            node.place,
            format!("`{setting}` has {}: {} after {}: {}", rule.age, rule.class, before.age, before.class),
            "write rules from young and warm to old and cold: {30d: STANDARD_IA, 90d: GLACIER}",
        ));
    }
    let days = (rule.age.seconds - before.age.seconds) / DAY_SECONDS;
    if before.class == ColdClass::StandardIa && days < IA_DAYS_MIN {
        return Err(Problem::new(
            node.place,
            format!(
                "`{setting}` takes objects out of {} after {days}d, which are paid as {IA_DAYS_MIN}d",
                before.class
            ),
            format!("leave {IA_DAYS_MIN}d between the two"),
        ));
    }
    Ok(())
}
