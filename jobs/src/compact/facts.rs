//! What is known of a table's files before the decision, and how what stays is counted.

use std::collections::{BTreeMap, BTreeSet};

use contract::Contract;
use engine::TableReader;
use jiff::Timestamp;
use lake::{CompactionFiles, LiveFiles, Table};
use plan::{
    compact::{Arrange, CompactPlan, Facts, ManifestsFacts, Options, PartitionKey, SortOrder, Strategy},
    orphans::Kept,
};

use super::Compact;
use crate::{
    error::{JobError, Result},
    job::Job,
};

/// The property that says how large files are meant to be.
const TARGET_FILE_BYTES: &str = "write.target-file-size-bytes";

/// The facts of a table as it was read; of these partitions alone where there are some.
pub fn facts(
    compact: &Compact,
    job: &Job,
    contract: &Contract,
    reader: &TableReader,
    manifests: ManifestsFacts,
    only: Option<&BTreeSet<PartitionKey>>,
) -> Result<Facts> {
    let mut facts = of_table(reader.table(), reader.live(), manifests, contract, job.program.now());
    let files = &mut facts.files;
    if let Some(filter) = &compact.filter {
        let matching = engine::compact::matching_files(&job.session()?, reader, filter)
            .map_err(|error| JobError::usage(error.to_string()).with_help("--where \"event_time < '2025-06-04'\""))?;
        files.iter_mut().zip(matching).for_each(|(file, matches)| file.is_selected = matches);
    }
    if let Some(only) = only {
        files.iter_mut().for_each(|file| file.is_selected &= only.contains(&file.partition));
    }
    let asked = match compact.options().strategy {
        Strategy::Sort(terms) => Arrange::Sort { terms },
        Strategy::ZOrder(columns) => Arrange::ZOrder { columns },
        Strategy::Table | Strategy::BinPack => Arrange::Pack,
    };
    engine::compact::check_order(&asked, reader.table()).map_err(|error| JobError::usage(error.to_string()))?;
    Ok(Facts { options: compact.options(), ..facts })
}

/// The facts of a table, its live files and their manifests when nothing special is asked for.
pub fn of_table(
    table: &Table,
    live: &LiveFiles,
    manifests: ManifestsFacts,
    contract: &Contract,
    now: Timestamp,
) -> Facts {
    let metadata = &table.metadata;
    let of = CompactionFiles::of(table, live, contract.event_time.as_deref());
    let order = metadata.default_sort_order();
    let sort_order = i32::try_from(order.order_id).ok().filter(|_| !order.is_unsorted());
    // A writer of ours goes by the contract, others by the property: files of either must be right.
    let declared = metadata.properties().get(TARGET_FILE_BYTES).and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Facts {
        table: table.name.clone(),
        snapshot_id: metadata.current_snapshot_id(),
        files: of.files,
        partitions: of.partitions,
        dangling_delete_files: of.dangling_delete_files,
        manifests,
        spec_id: metadata.default_partition_spec().spec_id(),
        sort_order: sort_order
            .map(|id| SortOrder { id, text: lake::sort_order_text(order, metadata.current_schema()) }),
        lateness: contract.lateness,
        target_file_bytes: contract.target_file_bytes.max(declared),
        options: Options::default(),
        now,
    }
}

/// What stays by its reasons, without what they say of a single partition.
pub fn kept(plan: &CompactPlan) -> Vec<Kept> {
    let (CompactPlan::KeepAll(compaction) | CompactPlan::Compact(compaction)) = plan else { return Vec::new() };
    let mut reasons: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for kept in &compaction.kept {
        let reason = kept.reason.split(": ").next().unwrap_or_default();
        let (files, bytes) = reasons.entry(reason).or_default();
        *files += kept.files;
        *bytes += kept.bytes;
    }
    let kept = |(reason, (files, bytes)): (&str, _)| Kept { reason: reason.to_owned(), files, bytes };
    reasons.into_iter().map(kept).collect()
}
