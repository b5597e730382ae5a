//! Which manifests of a snapshot are written again, merged and clustered by partition, and why the others stay.
//!
//! Decided from the manifest list alone: sizes, numbers of files, and the bounds of each manifest's partition values. As Spark's
//! `rewrite_manifests` does it, but only where a scan has something of it, and without those that are right already.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::size;
use crate::text::count;

/// So many small manifests are worth a commit; of each kind of schema, since those cannot share one.
const SMALL_MIN: usize = 10;

/// Manifests that one commit writes again.
pub const MANIFESTS_PER_COMMIT_MAX: usize = 1_000;

/// Files that one manifest names at most: as many entries as are in memory at once where they are sorted.
pub const FILES_PER_MANIFEST_MAX: u64 = 50_000;

/// What is known of the manifests of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ManifestsFacts {
    /// Those with live files.
    pub manifests: Vec<ManifestFacts>,
    /// The size that they aim for (`commit.manifest.target-size-bytes`).
    pub target_bytes: u64,
    /// Kinds of schemas that cannot share a manifest, since they give a column different types; at least 1.
    pub schemas: u64,
}

/// A manifest, as its list has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestFacts {
    /// Its path.
    pub path: String,
    /// The partition spec of its files.
    pub spec_id: i32,
    /// Of delete files, not of data files.
    pub of_deletes: bool,
    /// Its size, without the entries of files that are gone.
    pub bytes: u64,
    /// Live files in it.
    pub files: u64,
    /// For each partition field the smallest and the largest value, each as its rank among the bounds of all manifests.
    pub ranges: Vec<(u64, u64)>,
}

/// What becomes of every manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestsPlan {
    /// What is written again, in one commit.
    pub rewrites: Vec<ManifestsRewrite>,
    /// What stays, and why.
    pub kept: Vec<KeptManifests>,
}

/// Manifests of one kind that become others, their files sorted by partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestsRewrite {
    /// Their kind.
    #[serde(flatten)]
    pub kind: ManifestKind,
    /// Their paths.
    pub paths: Vec<String>,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Live files in them.
    pub files: u64,
    /// The size that new ones aim for.
    pub target_bytes: u64,
    /// Why.
    pub reasons: Vec<String>,
}

/// Manifests that stay for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptManifests {
    /// Their kind.
    #[serde(flatten)]
    pub kind: ManifestKind,
    /// Why.
    pub reason: String,
    /// How many.
    pub manifests: u64,
    /// Sum of their sizes.
    pub bytes: u64,
}

/// What manifests have in common that can be put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManifestKind {
    /// The partition spec.
    pub spec_id: i32,
    /// Of delete files, not of data files.
    pub of_deletes: bool,
}

impl ManifestsPlan {
    /// Nothing is written again.
    pub fn is_idle(&self) -> bool {
        self.rewrites.is_empty()
    }

    /// There is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.rewrites.is_empty() && self.kept.is_empty()
    }

    /// How many are written again.
    pub fn rewritten(&self) -> u64 {
        self.rewrites.iter().map(|rewrite| rewrite.paths.len() as u64).sum()
    }

    /// About how many they become.
    pub fn new_manifests(&self) -> u64 {
        self.rewrites.iter().map(ManifestsRewrite::new_manifests).sum()
    }
}

impl ManifestsRewrite {
    /// About how many they become.
    pub fn new_manifests(&self) -> u64 {
        self.bytes.div_ceil(self.target_bytes.max(1)).max(self.files.div_ceil(FILES_PER_MANIFEST_MAX)).max(1)
    }
}

/// Decides. The same facts give the same plan; `is_asked` is false where nobody wants it.
pub fn decide_manifests(facts: &ManifestsFacts, is_asked: bool) -> ManifestsPlan {
    let mut kinds: BTreeMap<ManifestKind, Vec<&ManifestFacts>> = BTreeMap::new();
    for manifest in &facts.manifests {
        let kind = ManifestKind { spec_id: manifest.spec_id, of_deletes: manifest.of_deletes };
        kinds.entry(kind).or_default().push(manifest);
    }
    let mut plan = ManifestsPlan::default();
    let mut left = MANIFESTS_PER_COMMIT_MAX;
    for (kind, mut manifests) in kinds {
        manifests.sort_by(|a, b| (&a.ranges, &a.path).cmp(&(&b.ranges, &b.path)));
        if is_asked {
            decide_kind(kind, &manifests, facts, &mut left, &mut plan);
        } else {
            plan.keep(kind, "--no-rewrite-manifests".to_owned(), &manifests);
        }
    }
    plan
}

fn decide_kind(
    kind: ManifestKind,
    manifests: &[&ManifestFacts],
    facts: &ManifestsFacts,
    left: &mut usize,
    plan: &mut ManifestsPlan,
) {
    // A rewrite makes manifests of more than half the target, and one smaller one: it is not its own next reason.
    let small_bytes = facts.target_bytes / 2;
    let (small, large): (Vec<_>, Vec<_>) =
        manifests.iter().copied().partition(|of| of.bytes < small_bytes && of.files < FILES_PER_MANIFEST_MAX / 2);
    let overlap = Overlap::of(&large, facts.schemas);
    let are_enough =
        small.len() >= SMALL_MIN.saturating_mul(usize::try_from(facts.schemas.max(1)).unwrap_or(usize::MAX));
    let mut reasons = Vec::new();
    if overlap.is_worth_it() {
        let Overlap { depth, clustered, .. } = overlap;
        let of = manifests.len();
        reasons
            .push(format!("a scan of one partition opens up to {depth} of {of} manifests, where {clustered} would do"));
    }
    if are_enough {
        reasons.push(format!("{} manifests are smaller than {}", small.len(), size(small_bytes)));
    }
    let (deep, clustered): (Vec<_>, Vec<_>) = large.iter().partition(|of| overlap.is_deep(of));
    // Where there is a commit anyway the small ones may as well go along.
    let (small_picked, small_kept) =
        if reasons.is_empty() || small.len() < 2 { (vec![], small) } else { (small, vec![]) };
    let mut picked: Vec<_> = deep.into_iter().chain(small_picked).collect();
    // One alone would only be copied.
    let room = if *left < 2 { 0 } else { *left };
    let rest = picked.split_off(picked.len().min(room));
    *left -= picked.len();
    let why = match overlap.depth {
        0 => "large enough".to_owned(),
        depth => format!("clustered by partition: a scan of one opens up to {depth}"),
    };
    plan.keep(kind, if overlap.is_worth_it() { "clustered by partition".to_owned() } else { why }, &clustered);
    plan.keep(kind, format!("small, but fewer than {SMALL_MIN}"), &small_kept);
    plan.keep(kind, format!("left for the next run: one writes no more than {MANIFESTS_PER_COMMIT_MAX} again"), &rest);
    if !picked.is_empty() {
        plan.rewrites.push(ManifestsRewrite {
            kind,
            bytes: picked.iter().map(|of| of.bytes).sum(),
            files: picked.iter().map(|of| of.files).sum(),
            paths: picked.into_iter().map(|of| of.path.clone()).collect(),
            target_bytes: facts.target_bytes,
            reasons,
        });
    }
}

impl ManifestsPlan {
    fn keep(&mut self, kind: ManifestKind, reason: String, of: &[&ManifestFacts]) {
        if !of.is_empty() {
            let bytes = of.iter().map(|of| of.bytes).sum();
            self.kept.push(KeptManifests { kind, reason, manifests: of.len() as u64, bytes });
        }
    }
}

/// How much the partitions of large manifests overlap. One that holds a single partition is as well clustered as can be and
/// does not count.
struct Overlap<'a> {
    /// Smallest corners of manifests, which stand for partitions, that lie in more manifests than clustered ones would.
    deep: Vec<Vec<u64>>,
    /// The partition in the most manifests is in so many.
    depth: u64,
    /// In so many it may be when they are clustered: in each field the end of one manifest is the beginning of the next.
    clustered: u64,
    large: &'a [&'a ManifestFacts],
}

impl<'a> Overlap<'a> {
    fn of(large: &'a [&'a ManifestFacts], schemas: u64) -> Self {
        let fields = large.first().map_or(0, |of| of.ranges.len()) as u64;
        let mut overlap = Self { deep: Vec::new(), depth: 0, clustered: 2 * fields * schemas.max(1), large };
        for of in large.iter().filter(|of| is_spread(of)) {
            let corner: Vec<u64> = of.ranges.iter().map(|(low, _)| *low).collect();
            let depth = overlap.depth_at(&corner);
            overlap.depth = overlap.depth.max(depth);
            if depth > overlap.clustered {
                overlap.deep.push(corner);
            }
        }
        overlap
    }

    fn depth_at(&self, corner: &[u64]) -> u64 {
        self.large.iter().filter(|of| is_spread(of) && holds(of, corner)).count() as u64
    }

    /// Twice as many as clustered ones would be.
    fn is_worth_it(&self) -> bool {
        self.depth > 2 * self.clustered && self.clustered > 0
    }

    fn is_deep(&self, of: &ManifestFacts) -> bool {
        self.is_worth_it() && is_spread(of) && self.deep.iter().any(|corner| holds(of, corner))
    }
}

/// It holds more than one partition, as far as its bounds tell.
fn is_spread(of: &ManifestFacts) -> bool {
    of.ranges.iter().any(|(low, high)| low < high)
}

fn holds(of: &ManifestFacts, partition: &[u64]) -> bool {
    of.ranges.iter().zip(partition).all(|((low, high), value)| low <= value && value <= high)
}

impl fmt::Display for ManifestKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of partition spec {}", if self.of_deletes { "delete files" } else { "data files" }, self.spec_id)
    }
}

/// `rewrite 14 manifests, 120.0 KiB, as about 1, of data files of partition spec 0: 14 manifests are smaller than 4.0
/// MiB`.
impl fmt::Display for ManifestsRewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, paths, bytes, reasons, .. } = self;
        let (old, new) = (count(paths.len() as u64, "manifest"), self.new_manifests());
        write!(f, "rewrite {old}, {}, as about {new}, of {kind}: {}", size(*bytes), reasons.join(", "))
    }
}

impl fmt::Display for KeptManifests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, reason, manifests, bytes } = self;
        write!(f, "keep {}, {}, of {kind}: {reason}", count(*manifests, "manifest"), size(*bytes))
    }
}

impl fmt::Display for ManifestsPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rewrites.iter().try_for_each(|rewrite| writeln!(f, "{rewrite}"))?;
        self.kept.iter().try_for_each(|kept| writeln!(f, "{kept}"))
    }
}

#[cfg(test)]
mod tests;
