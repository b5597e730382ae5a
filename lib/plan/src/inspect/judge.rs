//! What was found of a table in, its health out.

use std::cmp::Reverse;

use super::{
    Class, Data, DeleteHealth, Facts, FileFacts, Health, History, Partition, Partitions, SMALL_PERCENT, Small, Storage,
};
use crate::{
    prices::{StorageClass, Stored},
    text::{count, thousands},
};

/// A partition that is so many times the median is worth a word, where there are enough partitions to say so.
const SKEW_MAX: f64 = 10.0;
const SKEW_PARTITIONS_MIN: u64 = 4;

/// Manifests that a query plan has to read, above which it gets slow.
const MANIFESTS_MAX: u64 = 1_000;

/// Equality deletes are compared with every row that is older: a few files of them slow every query.
const EQUALITY_FILES_MAX: u64 = 100;

/// Judges. The same facts give the same answer.
pub fn judge(facts: &Facts) -> Health {
    let below_bytes = facts.target_file_bytes / 100 * SMALL_PERCENT;
    let by_partition = partitions(facts, below_bytes);
    let (small, data) = (small(&by_partition, facts, below_bytes), data(facts));
    let history = history(facts);
    let partitions = spread(by_partition, facts.partitions_shown);
    let mut health = Health {
        schema_version: 1,
        table: facts.table.clone(),
        location: facts.location.clone(),
        format_version: facts.format_version,
        head: facts.head,
        storage: storage(facts, data.bytes + history.bytes),
        data,
        small,
        deletes: DeleteHealth { position: facts.position_deletes, equality: facts.equality_deletes },
        manifests: facts.manifests,
        history,
        partitions,
        jobs: facts.outlooks.clone(),
        warnings: Vec::new(),
    };
    health.warnings = warnings(&health, facts.unreadable.as_deref());
    health
}

/// A partition, and the bytes of its small files.
struct Sum {
    partition: Partition,
    small_bytes: u64,
}

/// Every partition that has data, largest first.
fn partitions(facts: &Facts, below_bytes: u64) -> Vec<Sum> {
    let empty = |name: &String| Sum {
        partition: Partition { partition: name.clone(), files: 0, bytes: 0, rows: 0, small_files: 0 },
        small_bytes: 0,
    };
    let mut sums: Vec<Sum> = facts.partitions.iter().map(empty).collect();
    for FileFacts { partition, bytes, rows } in &facts.files {
        let Some(sum) = sums.get_mut(*partition as usize) else { continue };
        sum.partition.files += 1;
        sum.partition.bytes += bytes;
        sum.partition.rows += rows;
        if *bytes < below_bytes {
            sum.partition.small_files += 1;
            sum.small_bytes += bytes;
        }
    }
    sums.retain(|sum| sum.partition.files > 0);
    sums.sort_by(|a, b| {
        (Reverse(a.partition.bytes), &a.partition.partition).cmp(&(Reverse(b.partition.bytes), &b.partition.partition))
    });
    sums
}

fn data(facts: &Facts) -> Data {
    let mut sizes: Vec<u64> = facts.files.iter().map(|file| file.bytes).collect();
    sizes.sort_unstable();
    Data {
        files: sizes.len() as u64,
        bytes: sizes.iter().sum(),
        rows: facts.files.iter().map(|file| file.rows).sum(),
        bytes_median: median(&sizes),
        bytes_max: sizes.last().copied().unwrap_or(0),
        target_file_bytes: facts.target_file_bytes,
    }
}

fn small(partitions: &[Sum], facts: &Facts, below_bytes: u64) -> Small {
    let mut small = Small { below_bytes, ..Small::default() };
    for Sum { partition, small_bytes } in partitions {
        small.files += partition.small_files;
        small.bytes += small_bytes;
        let packed = small_bytes.div_ceil(facts.target_file_bytes.max(1));
        // An empty file packs into nothing, and counts as the one that stays.
        small.files_packed += packed.max(1).min(partition.small_files);
    }
    small
}

fn history(facts: &Facts) -> History {
    let (files, bytes) = facts.history.iter().fold((0, 0), |(files, bytes), of| (files + of.files, bytes + of.bytes));
    History {
        snapshots: facts.snapshots.len() as u64,
        oldest_at: facts.snapshots.iter().map(|snapshot| snapshot.committed_at).min(),
        refs: facts.refs.clone(),
        files,
        bytes,
        by_kind: facts.history.clone(),
    }
}

fn spread(sums: Vec<Sum>, shown: usize) -> Partitions {
    let sizes: Vec<u64> = sums.iter().rev().map(|sum| sum.partition.bytes).collect();
    let (bytes_max, bytes_median) = (sizes.last().copied().unwrap_or(0), median(&sizes));
    let skew = (bytes_median > 0).then(|| (bytes_max as f64 / bytes_median as f64 * 100.0).round() / 100.0);
    let count = sizes.len() as u64;
    let largest = sums.into_iter().take(shown).map(|sum| sum.partition).collect();
    Partitions { count, bytes_max, bytes_median, skew, largest }
}

/// Of sizes in order, the middle one, or the mean of the two.
fn median(sizes: &[u64]) -> u64 {
    let middle = sizes.len() / 2;
    match sizes.len() {
        0 => 0,
        odd if odd % 2 == 1 => sizes[middle],
        _ => sizes[middle - 1].midpoint(sizes[middle]),
    }
}

fn storage(facts: &Facts, named_bytes: u64) -> Storage {
    let prices = &facts.prices;
    let classes: Vec<Class> = match &facts.classes {
        None => {
            let deletes = facts.position_deletes.bytes + facts.equality_deletes.bytes;
            let bytes = named_bytes + deletes + facts.manifests.bytes;
            let listed: u64 = facts.history.iter().map(|total| total.files).sum();
            let files = facts.files.len() as u64 + facts.position_deletes.files + facts.equality_deletes.files;
            vec![Class {
                class: StorageClass::Standard.word().to_owned(),
                files: files + facts.manifests.files + listed,
                bytes,
                billable_bytes: bytes,
                per_month: Some(prices.stored_bytes(StorageClass::Standard, bytes)),
            }]
        }
        Some(classes) => classes.iter().map(|(word, stored)| class(facts, word, *stored)).collect(),
    };
    let per_month = classes.iter().filter_map(|class| class.per_month.clone()).sum();
    Storage { listed: facts.classes.is_some(), classes, per_month, prices: prices.to_string() }
}

fn class(facts: &Facts, word: &str, stored: Stored) -> Class {
    let known: Option<StorageClass> = word.parse().ok().filter(|class| facts.prices.class(*class).is_some());
    Class {
        class: word.to_owned(),
        files: stored.files,
        bytes: stored.bytes,
        billable_bytes: stored.billable_bytes,
        per_month: known.map(|class| facts.prices.stored(class, stored)),
    }
}

fn warnings(health: &Health, unreadable: Option<&str>) -> Vec<String> {
    let mut warnings: Vec<String> =
        unreadable.map(|what| format!("etl cannot read all of it: failed to {what}")).into_iter().collect();
    let Health { deletes, manifests, partitions, storage, .. } = health;
    if deletes.equality.files > EQUALITY_FILES_MAX {
        let files = count(deletes.equality.files, "equality delete file");
        warnings.push(format!("{files}: every query compares older rows with them"));
    }
    if manifests.files > MANIFESTS_MAX {
        warnings.push(format!("{} manifests: every query reads their bounds first", thousands(manifests.files)));
    }
    if let Some(skew) = partitions.skew.filter(|skew| *skew > SKEW_MAX && partitions.count >= SKEW_PARTITIONS_MIN) {
        warnings.push(format!("the largest partition is {skew:.1} times the median"));
    }
    for class in storage.classes.iter().filter(|class| class.per_month.is_none()) {
        warnings.push(format!("{} in class {}, which has no price", count(class.files, "object"), class.class));
    }
    warnings
}

#[cfg(test)]
mod tests;
