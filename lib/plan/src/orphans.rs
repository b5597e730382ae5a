//! Which objects below a table's location nothing refers to any more, and why each other one is kept.
//!
//! A file is deleted for good, so doubt keeps it, and a sign that the list and the references do not speak of the same
//! place refuses the run. Refuses to know how either was come by; the list must be the older of the two, or a file that
//! is committed in between looks like an orphan.

mod decide;

pub use decide::decide;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use contract::{Duration, TableName};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    OlderThan,
    objects::{KindTotal, Object, ObjectKind, totals},
    prices::{Money, Prices},
};

/// A younger object may be one that a run has staged and not committed yet.
pub const AGE_MIN: Duration = Duration { seconds: 24 * 60 * 60 };

/// The age unless another is asked for.
pub const AGE_DEFAULT: Duration = Duration { seconds: 7 * 24 * 60 * 60 };

/// The largest share of a table's objects that goes, unless another is asked for. Runs that failed leave a few files each;
/// when a quarter of a table looks forgotten, a mistake is likelier, and a person should look first.
pub const FRACTION_MAX_DEFAULT: f64 = 0.25;

/// What is known before the decision. Locations are absolute and in one spelling: `s3://` for s3a and s3n, `file:///`.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The table.
    pub table: TableName,
    /// Its location, without a slash at its end.
    pub location: String,
    /// Everything below it.
    pub objects: Vec<Listed>,
    /// Everything that the table refers to, loaded after the list was complete.
    pub references: HashMap<String, ObjectKind>,
    /// Folders below the location that are somebody else's business, with whose.
    pub reserved: BTreeMap<String, String>,
    /// The other tables of the catalog by location, and by what other folders they have files in.
    pub neighbours: BTreeMap<String, TableName>,
    /// What below the location speaks of another table that the catalog does not know, completing "{location} is …".
    pub foreign: BTreeMap<String, String>,
    /// The table's properties.
    pub properties: BTreeMap<String, String>,
    /// What is younger is kept.
    pub older_than: OlderThan,
    /// The largest share of the objects that may go, from 0 to 1.
    pub fraction_max: f64,
    /// The time.
    pub now: Timestamp,
}

/// An object in storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its location.
    pub location: String,
    /// Its size.
    pub bytes: u64,
    /// When it was written, by the storage's clock.
    pub modified: Timestamp,
}

/// What a run will do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum OrphansPlan {
    /// The run must not start.
    Refused {
        /// Why, and what to do.
        reasons: Vec<String>,
        /// What would be deleted otherwise, as far as that was looked at.
        #[serde(default)]
        orphans: Vec<Orphan>,
    },
    /// There is no orphan.
    NoOrphans(Found),
    /// Some objects go.
    DeleteOrphans(Found),
}

/// What was found below a table's location.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// The table.
    pub table: TableName,
    /// Its location.
    pub location: String,
    /// Why objects are kept, and how many for each reason.
    pub kept: Vec<Kept>,
    /// What goes, in order of location.
    pub orphans: Vec<Orphan>,
    /// What that costs and saves; filled in when prices are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money: Option<Money>,
}

/// Objects that are kept for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Why.
    pub reason: String,
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// An object that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// Its location.
    pub location: String,
    /// What it was, by its name.
    pub kind: ObjectKind,
    /// Its size.
    pub bytes: u64,
    /// When it was written.
    pub modified: Timestamp,
    /// Why.
    pub reason: String,
}

impl Found {
    /// What goes, as objects.
    pub fn objects(&self) -> Vec<Object> {
        let object =
            |orphan: &Orphan| Object { location: orphan.location.clone(), kind: orphan.kind, bytes: orphan.bytes };
        self.orphans.iter().map(object).collect()
    }

    /// What the plan costs and saves. Nothing is written.
    pub fn price(&mut self, prices: &Prices) {
        self.money = Some(Money::of_deletion(prices, &self.totals(), 0));
    }

    /// What goes, by kind.
    pub fn totals(&self) -> Vec<KindTotal> {
        totals(&self.objects())
    }
}

impl fmt::Display for OrphansPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, orphans): (&[Kept], &[Orphan]) = match self {
            Self::Refused { reasons, orphans } => {
                writeln!(f, "refused: {}", reasons.join("; "))?;
                (&[], orphans)
            }
            Self::NoOrphans(found) | Self::DeleteOrphans(found) => (&found.kept, &found.orphans),
        };
        for Kept { reason, files, bytes } in kept {
            writeln!(f, "keep {files} files, {bytes} bytes: {reason}")?;
        }
        for Orphan { location, kind, bytes, reason, .. } in orphans {
            writeln!(f, "delete {location} ({kind}, {bytes} bytes): {reason}")?;
        }
        Ok(())
    }
}
