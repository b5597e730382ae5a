//! One key of two tenants: no row of one ever replaces a row of another, where the tenant is no part of the key.
//!
//! A row's tenant is a tag of 32 bits in place of the upper ones of its fingerprint, so that it costs no memory: keys are
//! told apart by the other 96 bits. A row without a tenant has no tag and conflicts with none.

use arrow::array::{Array, ArrayRef};
use contract::{Contract, TenantConflict};

use super::{keys::FileRejects, verdicts::RowAddress};
use crate::{Result, keys::fingerprints};

/// The rule that such rows break.
pub const RULE: &str = "tenant.conflict";

const TAG_SHIFT: u32 = 96;
const KEY_MASK: u128 = (1 << TAG_SHIFT) - 1;

/// How fingerprints tell tenants apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tags {
    /// They do not: a fingerprint is of the key alone.
    None,
    /// Their upper bits are the tenant's.
    Upper,
}

/// The column whose values tell tenants apart; `None` where nothing has to be told.
pub fn tenant_column(contract: &Contract) -> Option<&str> {
    let tenant = contract.tenant.as_deref()?;
    let in_key = contract.key.is_empty() || contract.key.iter().any(|key| key == tenant);
    (!in_key && contract.tenant_conflict == TenantConflict::Refuse).then_some(tenant)
}

impl Tags {
    /// Fingerprints of keys with the tags of `tenants`, row by row.
    pub fn tagged(self, mut prints: Vec<u128>, tenants: Option<&ArrayRef>, seed: u64) -> Result<Vec<u128>> {
        let (Self::Upper, Some(tenants)) = (self, tenants) else { return Ok(prints) };
        let tags = fingerprints(&[std::sync::Arc::clone(tenants)], seed)?;
        for (row, (print, tag)) in prints.iter_mut().zip(tags).enumerate() {
            let tag = if tenants.is_null(row) { 0 } else { (tag & KEY_MASK >> 64).max(1) };
            *print = *print & KEY_MASK | tag << TAG_SHIFT;
        }
        Ok(prints)
    }

    /// The part of a fingerprint that is the key's.
    pub fn key(self, print: u128) -> u128 {
        match self {
            Self::None => print,
            Self::Upper => print & KEY_MASK,
        }
    }

    /// Whether two fingerprints of one key are of two tenants.
    pub fn conflict(self, one: u128, other: u128) -> bool {
        let (one, other) = (self.tag(one), self.tag(other));
        one != 0 && other != 0 && one != other
    }

    /// `print` with the tag of `other` where it has none itself.
    pub fn inherit(self, print: u128, other: u128) -> u128 {
        if self == Self::Upper && self.tag(print) == 0 { print | other & !KEY_MASK } else { print }
    }

    fn tag(self, print: u128) -> u128 {
        match self {
            Self::None => 0,
            Self::Upper => print >> TAG_SHIFT,
        }
    }
}

/// Adds rows of `conflicts` to the bad rows of their files, as breaking `rule`.
pub fn reject(conflicts: &[RowAddress], rule: usize, rejects: &mut [FileRejects]) {
    let mut changed: Vec<usize> = Vec::new();
    for at in conflicts {
        let file = &mut rejects[at.file()];
        let set = file.sets.iter().rposition(|set| *set == [rule]).unwrap_or_else(|| {
            file.sets.push(vec![rule]);
            file.sets.len() - 1
        });
        file.rows.push((at.row(), u32::try_from(set).expect("fewer sets of rules than rows")));
        changed.push(at.file());
    }
    changed.sort_unstable();
    changed.dedup();
    for file in changed {
        rejects[file].rows.sort_unstable();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    #[test]
    fn a_tag_says_whose_a_key_is_and_leaves_the_key() {
        let keys: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1, 2]));
        let tenants: ArrayRef = Arc::new(StringViewArray::from(vec![Some("acme"), Some("beta"), None, Some("acme")]));
        let prints = Tags::Upper.tagged(fingerprints(&[keys], 7).unwrap(), Some(&tenants), 7).unwrap();
        let [acme, beta, nobody, other] = prints[..] else { panic!("four rows") };
        assert_eq!(Tags::Upper.key(acme), Tags::Upper.key(beta));
        assert_eq!(Tags::Upper.key(acme), Tags::Upper.key(nobody));
        assert_ne!(Tags::Upper.key(acme), Tags::Upper.key(other));
        assert!(Tags::Upper.conflict(acme, beta) && !Tags::Upper.conflict(acme, other));
        assert!(!Tags::Upper.conflict(acme, nobody) && !Tags::Upper.conflict(nobody, beta));
        assert!(
            Tags::Upper.conflict(Tags::Upper.inherit(nobody, acme), beta),
            "a row of nobody's joins the first tenant"
        );
        assert!(!Tags::None.conflict(acme, beta) && Tags::None.key(acme) == acme);
    }
}
