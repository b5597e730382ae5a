//! What storage and requests cost: the price list's shape, and sums over it that say what they are made of.
//!
//! Money is whole nano-dollars: the price of one request is a few hundred of them, and sums are exact. Refuses to know where
//! a price list lies and how it is written down.

mod dollars;
mod money;

pub use dollars::{Amount, Dollars, Part};
pub use money::Money;

use std::{collections::BTreeMap, fmt, str::FromStr};

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::text::{count, size, thousands};

/// What S3 bills by is called GB and is this.
const GIB: u64 = 1 << 30;

/// Prices of several regions, as they were on a day.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// The day.
    pub as_of: Date,
    /// Where they were read.
    pub source: String,
    /// At least one; the first stands for regions that none names.
    pub prices: Vec<RegionPrices>,
}

/// Prices that hold in some regions.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegionPrices {
    /// The regions.
    pub regions: Vec<String>,
    /// By storage class.
    pub class: BTreeMap<StorageClass, ClassPrices>,
}

/// What one storage class costs. What is left out costs nothing, or does not exist.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassPrices {
    /// A month of a GiB.
    pub storage_per_gib_month: Dollars,
    /// PUT, COPY and POST.
    pub put_per_1000: Dollars,
    /// LIST.
    pub list_per_1000: Dollars,
    /// GET and HEAD.
    pub get_per_1000: Dollars,
    /// Transitions into this class by a lifecycle rule.
    #[serde(default)]
    pub transition_per_1000: Dollars,
    /// Reading a GiB, beside the requests.
    #[serde(default)]
    pub retrieval_per_gib: Dollars,
    /// A month of a thousand objects being watched.
    #[serde(default)]
    pub monitoring_per_1000: Dollars,
    /// Storage is charged for so many days, also of an object that goes before.
    #[serde(default)]
    pub stored_days_min: u32,
    /// A smaller object is charged as one of this size.
    #[serde(default)]
    pub billable_bytes_min: u64,
    /// Charged for each object on top of its size.
    #[serde(default)]
    pub overhead_bytes: u64,
    /// Charged for each object as [`StorageClass::Standard`].
    #[serde(default)]
    pub overhead_standard_bytes: u64,
    /// Of classes whose objects must be restored before they can be read.
    #[serde(default)]
    pub restore: BTreeMap<RestoreTier, RestorePrices>,
}

/// How fast a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are S3's")]
pub enum RestoreTier {
    Bulk,
    Standard,
    Expedited,
}

/// What a restore costs, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestorePrices {
    /// A GiB that is restored.
    pub per_gib: Dollars,
    /// A thousand requests, one an object.
    pub per_1000: Dollars,
    /// The longest that it usually takes.
    pub hours_max: u32,
}

/// A storage class of S3, by the word that its API has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the words are S3's")]
pub enum StorageClass {
    Standard,
    IntelligentTiering,
    StandardIa,
    #[serde(rename = "ONEZONE_IA")]
    OneZoneIa,
    GlacierIr,
    Glacier,
    DeepArchive,
}

impl StorageClass {
    /// All that have prices.
    pub const ALL: [Self; 7] = [
        Self::Standard,
        Self::IntelligentTiering,
        Self::StandardIa,
        Self::OneZoneIa,
        Self::GlacierIr,
        Self::Glacier,
        Self::DeepArchive,
    ];

    /// The API's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Standard => "STANDARD",
            Self::IntelligentTiering => "INTELLIGENT_TIERING",
            Self::StandardIa => "STANDARD_IA",
            Self::OneZoneIa => "ONEZONE_IA",
            Self::GlacierIr => "GLACIER_IR",
            Self::Glacier => "GLACIER",
            Self::DeepArchive => "DEEP_ARCHIVE",
        }
    }

    /// Objects must be restored before they can be read.
    pub fn is_archive(self) -> bool {
        matches!(self, Self::Glacier | Self::DeepArchive)
    }
}

/// The name that people know.
impl fmt::Display for StorageClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "Standard",
            Self::IntelligentTiering => "Intelligent-Tiering",
            Self::StandardIa => "Standard-IA",
            Self::OneZoneIa => "One Zone-IA",
            Self::GlacierIr => "Glacier Instant Retrieval",
            Self::Glacier => "Glacier Flexible Retrieval",
            Self::DeepArchive => "Glacier Deep Archive",
        })
    }
}

/// From the API's word. Classes without a price here (`OUTPOSTS`, `SNOW`, `EXPRESS_ONEZONE`) are an error that says so.
impl FromStr for StorageClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|class| class.word() == text)
            .ok_or_else(|| format!("{text:?} is none of {}", Self::ALL.map(Self::word).join(", ")))
    }
}

/// Objects of one class, as they are billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// How many.
    pub files: u64,
    /// Sum of their sizes.
    pub bytes: u64,
    /// The same with the least size and the overhead of the class.
    pub billable_bytes: u64,
}

impl ClassPrices {
    /// What an object of that size is charged as.
    pub fn billable_bytes(&self, bytes: u64) -> u64 {
        bytes.max(self.billable_bytes_min).saturating_add(self.overhead_bytes)
    }

    fn is_negative(&self) -> bool {
        let restores = self.restore.values().flat_map(|restore| [restore.per_gib, restore.per_1000]);
        let others = [
            self.storage_per_gib_month,
            self.put_per_1000,
            self.list_per_1000,
            self.get_per_1000,
            self.transition_per_1000,
            self.retrieval_per_gib,
            self.monitoring_per_1000,
        ];
        restores.chain(others).any(|price| price < Dollars::ZERO)
    }
}

/// A request that costs something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// PUT, COPY and POST; each part of an upload.
    Put,
    /// A page of a list.
    List,
    /// GET and HEAD.
    Get,
    /// By a lifecycle rule, into the class.
    Transition,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Put => "PUT",
            Self::List => "LIST",
            Self::Get => "GET",
            Self::Transition => "transition",
        })
    }
}

/// The prices of one region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    /// The region whose prices they are.
    pub region: String,
    /// Why that region, where it is not the lake's own.
    pub assumed: Option<String>,
    /// The day.
    pub as_of: Date,
    /// Where they were read.
    pub source: String,
    classes: BTreeMap<StorageClass, ClassPrices>,
}

impl PriceList {
    /// What is wrong with a list beyond its shape.
    pub fn check(&self) -> Result<(), String> {
        if self.prices.is_empty() {
            return Err("it has no [[prices]]".to_owned());
        }
        for (number, prices) in self.prices.iter().enumerate() {
            if prices.regions.is_empty() {
                return Err(format!("[[prices]] number {} names no region", number + 1));
            }
            if !prices.class.contains_key(&StorageClass::Standard) {
                return Err(format!("{} has no class STANDARD", prices.regions.join(", ")));
            }
            if let Some((class, _)) = prices.class.iter().find(|(_, of)| of.is_negative()) {
                return Err(format!("{} has a price below 0 for {}", prices.regions.join(", "), class.word()));
            }
        }
        Ok(())
    }

    /// The prices of a region; those of the first where the list does not have it, or the lake is a folder (`None`).
    pub fn of_region(&self, region: Option<&str>) -> Option<Prices> {
        let named = |name: &str| self.prices.iter().find(|prices| prices.regions.iter().any(|region| region == name));
        let first = self.prices.first()?;
        let (prices, name, assumed) = match region.map(|name| (name, named(name))) {
            Some((name, Some(prices))) => (prices, name, None),
            Some((name, None)) => {
                (first, first.regions.first()?.as_str(), Some(format!("the list does not have {name}")))
            }
            None => (first, first.regions.first()?.as_str(), Some("the lake is a folder".to_owned())),
        };
        Some(Prices {
            region: name.to_owned(),
            assumed,
            as_of: self.as_of,
            source: self.source.clone(),
            classes: prices.class.clone(),
        })
    }
}

impl Prices {
    /// The prices of a class, where the list has it.
    pub fn class(&self, class: StorageClass) -> Option<&ClassPrices> {
        self.classes.get(&class)
    }

    /// Adds an object to a sum of objects of that class.
    pub fn add(&self, class: StorageClass, bytes: u64, to: &mut Stored) {
        to.files += 1;
        to.bytes = to.bytes.saturating_add(bytes);
        let billable = self.class(class).map_or(bytes, |prices| prices.billable_bytes(bytes));
        to.billable_bytes = to.billable_bytes.saturating_add(billable);
    }

    /// A month of storage.
    pub fn stored(&self, class: StorageClass, stored: Stored) -> Amount {
        let Some(prices) = self.class(class) else { return Amount::default() };
        let mut amount = self.gib_months(class, stored.billable_bytes, "");
        let beside = prices.overhead_standard_bytes.saturating_mul(stored.files);
        if beside > 0 {
            amount += self.gib_months(StorageClass::Standard, beside, " for names and metadata");
        }
        if prices.monitoring_per_1000 > Dollars::ZERO {
            let dollars = prices.monitoring_per_1000.times(stored.files, 1_000);
            let (files, rate) = (count(stored.files, "object"), prices.monitoring_per_1000.rate());
            amount += Amount::one(dollars, format!("{files} × {rate} $/1,000 objects and month {class} monitoring"));
        }
        amount
    }

    /// A month of objects whose sizes are known as a sum only: without what small ones cost more.
    pub fn stored_bytes(&self, class: StorageClass, bytes: u64) -> Amount {
        self.gib_months(class, bytes, "")
    }

    /// Requests to objects of that class.
    pub fn requests(&self, class: StorageClass, request: Request, requests: u64) -> Amount {
        let Some(prices) = self.class(class) else { return Amount::default() };
        let rate = match request {
            Request::Put => prices.put_per_1000,
            Request::List => prices.list_per_1000,
            Request::Get => prices.get_per_1000,
            Request::Transition => prices.transition_per_1000,
        };
        let of = format!("{} {request} × {} $/1,000 {class}", thousands(requests), rate.rate());
        Amount::one(rate.times(requests, 1_000), of)
    }

    /// Reading so many bytes of objects of that class, beside the requests. Nothing where that is free.
    pub fn retrieval(&self, class: StorageClass, bytes: u64) -> Amount {
        let rate = self.class(class).map_or(Dollars::ZERO, |prices| prices.retrieval_per_gib);
        if rate == Dollars::ZERO {
            return Amount::default();
        }
        Amount::one(rate.times(bytes, GIB), format!("{} × {} $/GiB {class} retrieval", size(bytes), rate.rate()))
    }

    /// Restoring objects, without the storage of the copies; `None` where the class has no such restore.
    pub fn restore(&self, class: StorageClass, tier: RestoreTier, files: u64, bytes: u64) -> Option<Amount> {
        let prices = self.class(class)?.restore.get(&tier)?;
        let word = match tier {
            RestoreTier::Bulk => "bulk",
            RestoreTier::Standard => "standard",
            RestoreTier::Expedited => "expedited",
        };
        let RestorePrices { per_gib, per_1000, .. } = *prices;
        let mut amount = Amount::one(
            per_gib.times(bytes, GIB),
            format!("{} × {} $/GiB {class} {word} restore", size(bytes), per_gib.rate()),
        );
        amount += Amount::one(
            per_1000.times(files, 1_000),
            format!("{} × {} $/1,000 {class} {word} restore", count(files, "request"), per_1000.rate()),
        );
        Some(amount)
    }

    fn gib_months(&self, class: StorageClass, bytes: u64, what: &str) -> Amount {
        let Some(prices) = self.class(class) else { return Amount::default() };
        let rate = prices.storage_per_gib_month;
        Amount::one(rate.times(bytes, GIB), format!("{} × {} $/GiB-month {class}{what}", size(bytes), rate.rate()))
    }
}

/// `S3 in us-east-1, 2025-06-01`, and why that region.
impl fmt::Display for Prices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3 in {}, {}", self.region, self.as_of)?;
        match &self.assumed {
            Some(reason) => write!(f, " (as if there: {reason})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
