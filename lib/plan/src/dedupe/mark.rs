//! What the ledger remembers of one raw partition.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{DigestInput, dedupe::RawFile, input_digest};

/// Of a partition's files, the first `files` in order of modification are in the table, and this is their digest.
///
/// Written as `files:digest:contract`, since a ledger keeps many of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PartitionMark {
    /// How many files.
    pub files: u64,
    /// Their digest.
    pub input_digest: String,
    /// The first characters of the digest of the contract that judged them.
    pub contract_tag: String,
}

/// Enough of a contract's digest to tell a table's few contracts apart.
const CONTRACT_TAG_CHARS: usize = 8;

impl PartitionMark {
    /// All these files of one partition are in the table, judged by that contract.
    pub fn of(files: &[&RawFile], contract_digest: &str) -> Self {
        Self { files: files.len() as u64, input_digest: digest(files), contract_tag: tag(contract_digest) }
    }

    /// Whether that contract judged them.
    pub fn is_judged_by(&self, contract_digest: &str) -> bool {
        self.contract_tag == tag(contract_digest)
    }

    /// Those of a partition's files that it vouches for. None when one of them has changed or gone.
    pub fn applied<'a>(&self, files: &[&'a RawFile]) -> Vec<&'a RawFile> {
        let mut files = files.to_vec();
        files.sort_by(|a, b| (a.modified, &a.key).cmp(&(b.modified, &b.key)));
        let Some(first) = usize::try_from(self.files).ok().and_then(|count| files.get(..count)) else {
            return Vec::new();
        };
        if digest(first) == self.input_digest { first.to_vec() } else { Vec::new() }
    }

    /// Those of a partition's files that the mark, where there is one, does not vouch for.
    pub(super) fn new_files<'a>(mark: Option<&Self>, files: &'a [RawFile]) -> Vec<&'a RawFile> {
        let all: Vec<_> = files.iter().collect();
        let applied = mark.map(|mark| mark.applied(&all)).unwrap_or_default();
        all.into_iter().filter(|file| !applied.iter().any(|other| other.key == file.key)).collect()
    }
}

/// Digest of files by key, version and size.
pub(super) fn digest(files: &[&RawFile]) -> String {
    input_digest(files.iter().map(|file| DigestInput { key: &file.key, etag: &file.etag, bytes: file.bytes }))
}

fn tag(contract_digest: &str) -> String {
    contract_digest.chars().take(CONTRACT_TAG_CHARS).collect()
}

impl fmt::Display for PartitionMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.files, self.input_digest, self.contract_tag)
    }
}

impl FromStr for PartitionMark {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.splitn(3, ':');
        let (Some(Ok(files)), Some(input_digest), Some(contract_tag)) =
            (parts.next().map(str::parse), parts.next(), parts.next())
        else {
            return Err(format!("{text:?} is not a partition mark: files:digest:contract"));
        };
        Ok(Self { files, input_digest: input_digest.to_owned(), contract_tag: contract_tag.to_owned() })
    }
}

impl TryFrom<String> for PartitionMark {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<PartitionMark> for String {
    fn from(mark: PartitionMark) -> Self {
        mark.to_string()
    }
}
