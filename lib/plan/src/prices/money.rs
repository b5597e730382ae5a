//! What a plan costs once, and saves from then on.

use serde::{Deserialize, Serialize};

use super::{Amount, Prices, Request, StorageClass};
use crate::objects::KindTotal;

/// What carrying out a plan costs, and what it saves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Money {
    /// Once, for requests and retrieval. The machine that does it is not in it.
    pub cost: Amount,
    /// Each month from then on.
    pub saving_per_month: Amount,
    /// Whose prices, and what was taken for granted.
    pub prices: String,
}

impl Money {
    /// Of objects that go, with so many PUT requests. Their storage class is not known from a table's metadata: they count
    /// as [`StorageClass::Standard`], whose DELETE requests are free.
    pub fn of_deletion(prices: &Prices, deleted: &[KindTotal], puts: u64) -> Self {
        let class = StorageClass::Standard;
        let bytes = deleted.iter().map(|total| total.bytes).sum();
        let cost = if puts == 0 { Amount::default() } else { prices.requests(class, Request::Put, puts) };
        let saving_per_month = if bytes == 0 { Amount::default() } else { prices.stored_bytes(class, bytes) };
        Self { cost, saving_per_month, prices: prices.to_string() }
    }
}
