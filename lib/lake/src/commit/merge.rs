//! Merging small manifests: 288 commits a day would otherwise leave 288 manifests to read for every plan.
//!
//! As Java's `ManifestMergeManager` does it: per partition spec and content, filled up to the target size from the
//! oldest on; the newest bin waits until it has enough to be worth it.

use std::collections::{BTreeMap, HashMap};

use futures::TryStreamExt;
use iceberg::spec::ManifestFile;

use super::manifests::{Draft, DraftEntry};
use crate::{
    Result, Table,
    manifest::{Entry, Manifest},
};

/// Manifests that one commit reads and replaces.
const MERGED_MAX: usize = 1_000;

/// The table's settings, by Iceberg's names and with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MergeLimits {
    enabled: bool,
    /// `commit.manifest.min-count-to-merge`.
    count_min: usize,
    /// `commit.manifest.target-size-bytes`.
    bytes_target: u64,
}

impl MergeLimits {
    fn of(properties: &HashMap<String, String>) -> Self {
        let number =
            |name: &str, default: u64| properties.get(name).and_then(|text| text.parse().ok()).unwrap_or(default);
        Self {
            enabled: properties.get("commit.manifest-merge.enabled").is_none_or(|text| text != "false"),
            count_min: usize::try_from(number("commit.manifest.min-count-to-merge", 100)).unwrap_or(usize::MAX),
            bytes_target: manifest_bytes_target(properties),
        }
    }
}

/// The size that manifests of a table aim for: `commit.manifest.target-size-bytes`.
pub(super) fn manifest_bytes_target(properties: &HashMap<String, String>) -> u64 {
    let set = properties.get("commit.manifest.target-size-bytes");
    set.and_then(|text| text.parse().ok()).unwrap_or(8 * 1024 * 1024)
}

/// Merges small manifests of the head; gives those that stay, and the new ones.
pub(super) async fn merge_small(
    current: &Table,
    manifests: Vec<ManifestFile>,
) -> Result<(Vec<ManifestFile>, Vec<Draft>)> {
    let limits = MergeLimits::of(current.metadata.properties());
    let (kept, bins) = bins(manifests, limits);
    let mut drafts = Vec::new();
    for bin in bins {
        drafts.extend(merge(current, &bin).await?);
    }
    Ok((kept, drafts))
}

/// Decides which manifests are merged into one.
fn bins(manifests: Vec<ManifestFile>, limits: MergeLimits) -> (Vec<ManifestFile>, Vec<Vec<ManifestFile>>) {
    if !limits.enabled {
        return (manifests, Vec::new());
    }
    let mut groups: BTreeMap<(i32, u8), Vec<ManifestFile>> = BTreeMap::new();
    for file in manifests {
        groups.entry((file.partition_spec_id, file.content as u8)).or_default().push(file);
    }
    let (mut kept, mut merged, mut merged_count) = (Vec::new(), Vec::new(), 0);
    for mut group in groups.into_values() {
        group.sort_by(|a, b| (a.sequence_number, &a.manifest_path).cmp(&(b.sequence_number, &b.manifest_path)));
        let filled = fill(group, limits.bytes_target);
        let newest = filled.len().saturating_sub(1);
        for (index, bin) in filled.into_iter().enumerate() {
            // The manifest that this commit adds counts as one more.
            let waits = index == newest && bin.len() + 1 < limits.count_min;
            if bin.len() < 2 || waits || merged_count + bin.len() > MERGED_MAX {
                kept.extend(bin);
            } else {
                merged_count += bin.len();
                merged.push(bin);
            }
        }
    }
    (kept, merged)
}

/// Consecutive manifests whose sizes add up to at most the target, and at most [`MERGED_MAX`] of them.
fn fill(manifests: Vec<ManifestFile>, bytes_target: u64) -> Vec<Vec<ManifestFile>> {
    let mut bins: Vec<Vec<ManifestFile>> = Vec::new();
    let mut bytes = 0;
    for file in manifests {
        let file_bytes = u64::try_from(file.manifest_length).unwrap_or(0);
        match bins.last_mut() {
            Some(bin) if bytes + file_bytes <= bytes_target && bin.len() < MERGED_MAX => {
                bytes += file_bytes;
                bin.push(file);
            }
            _ => {
                bytes = file_bytes;
                bins.push(vec![file]);
            }
        }
    }
    bins
}

/// One manifest out of many; one per schema, since bounds are read by the schema that their manifest names.
async fn merge(current: &Table, bin: &[ManifestFile]) -> Result<Vec<Draft>> {
    let mut drafts: BTreeMap<i32, Draft> = BTreeMap::new();
    let mut read = current.manifests(bin);
    while let Some((_, manifest)) = read.try_next().await? {
        let Manifest { schema, spec, partition, content, entries } = manifest;
        let draft = drafts.entry(schema.schema_id());
        let draft = draft.or_insert(Draft { schema, spec, partition, content, entries: Vec::new() });
        draft.entries.extend(entries.into_iter().filter(Entry::is_live).map(DraftEntry::Existing));
    }
    Ok(drafts.into_values().filter(|draft| !draft.entries.is_empty()).collect())
}

#[cfg(test)]
mod tests {
    use iceberg::spec::ManifestContentType;

    use super::*;

    fn manifest(n: usize, bytes: i64, spec: i32, content: ManifestContentType) -> ManifestFile {
        ManifestFile {
            manifest_path: format!("m{n:03}"),
            manifest_length: bytes,
            partition_spec_id: spec,
            content,
            sequence_number: i64::try_from(n).unwrap(),
            min_sequence_number: 0,
            added_snapshot_id: 1,
            added_files_count: Some(1),
            existing_files_count: Some(0),
            deleted_files_count: Some(0),
            added_rows_count: Some(1),
            existing_rows_count: Some(0),
            deleted_rows_count: Some(0),
            partitions: None,
            key_metadata: None,
            first_row_id: None,
        }
    }

    fn sizes(bins: &[Vec<ManifestFile>]) -> Vec<usize> {
        bins.iter().map(Vec::len).collect()
    }

    const LIMITS: MergeLimits = MergeLimits { enabled: true, count_min: 5, bytes_target: 100 };

    #[test]
    fn the_newest_bin_waits_for_enough() {
        let few = (0..3).map(|n| manifest(n, 10, 0, ManifestContentType::Data)).collect();
        let (kept, merged) = bins(few, LIMITS);
        assert_eq!((kept.len(), sizes(&merged)), (3, vec![]));
        let enough = (0..4).map(|n| manifest(n, 10, 0, ManifestContentType::Data)).collect();
        let (kept, merged) = bins(enough, LIMITS);
        assert_eq!((kept.len(), sizes(&merged)), (0, vec![4]));
    }

    #[test]
    fn older_bins_are_filled_up_to_the_target() {
        let many = (0..13).map(|n| manifest(n, 25, 0, ManifestContentType::Data)).collect();
        let (kept, merged) = bins(many, LIMITS);
        assert_eq!((kept.len(), sizes(&merged)), (1, vec![4, 4, 4]));
        assert_eq!(merged[0][0].manifest_path, "m000", "oldest first");
    }

    #[test]
    fn large_manifests_stay_as_they_are() {
        let large = (0..9).map(|n| manifest(n, 99, 0, ManifestContentType::Data)).collect();
        let (kept, merged) = bins(large, LIMITS);
        assert_eq!((kept.len(), sizes(&merged)), (9, vec![]));
    }

    #[test]
    fn specs_and_contents_are_never_mixed() {
        let mut mixed = Vec::new();
        for n in 0..4 {
            mixed.push(manifest(n, 10, 0, ManifestContentType::Data));
            mixed.push(manifest(n, 10, 0, ManifestContentType::Deletes));
            mixed.push(manifest(n, 10, 1, ManifestContentType::Data));
        }
        let (kept, merged) = bins(mixed, LIMITS);
        assert_eq!((kept.len(), sizes(&merged)), (0, vec![4, 4, 4]));
        for bin in merged {
            assert!(bin.iter().all(|m| (m.partition_spec_id, m.content) == (bin[0].partition_spec_id, bin[0].content)));
        }
    }

    #[test]
    fn merging_can_be_switched_off() {
        let limits =
            MergeLimits::of(&HashMap::from([("commit.manifest-merge.enabled".to_owned(), "false".to_owned())]));
        let many = (0..200).map(|n| manifest(n, 10, 0, ManifestContentType::Data)).collect();
        assert_eq!(bins(many, limits).1.len(), 0);
    }
}
