//! What is known of a table's files before the decision, and how what stays is counted.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use contract::Contract;
use engine::TableReader;
use jiff::Timestamp;
use lake::{CompactionFiles, LiveFiles, Table};
use plan::{
    compact::{
        ARCHIVED, Arrange, CompactPlan, Compaction, Facts, ManifestsFacts, Options, PartitionKey, SortOrder, Strategy,
        decide,
    },
    orphans::Kept,
    tier::Zone,
};

use super::Compact;
use crate::{
    archived::{self, Cold, Needed},
    error::{JobError, Result},
    event_time,
    job::Job,
    open::is_s3,
};

/// The property that says how large files are meant to be.
const TARGET_FILE_BYTES: &str = "write.target-file-size-bytes";

/// The facts of a table with its live files, in short or as the reader of a `--where` has them; of these partitions alone where
/// there are some.
pub fn facts(
    compact: &Compact,
    job: &Job,
    contract: &Contract,
    table: &Table,
    live: &Live,
    manifests: ManifestsFacts,
    only: Option<&BTreeSet<PartitionKey>>,
) -> Result<Facts> {
    let files = CompactionFiles::of(table, live.files(), contract.event_time.as_deref());
    let mut facts = of_files(table, files, manifests, contract, job.program.now());
    let files = &mut facts.files;
    if let (Some(filter), Live::Read(reader)) = (&compact.filter, live) {
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
    engine::compact::check_order(&asked, table).map_err(|error| JobError::usage(error.to_string()))?;
    Ok(Facts { options: compact.options(), ..facts })
}

/// The live files of a table.
pub enum Live {
    /// Without their column metrics, which half a million files need gigabytes for.
    InShort(LiveFiles),
    /// With them.
    Read(TableReader),
}

impl Live {
    /// What a plan needs: metrics only to find the files of a filter, and when the events of archived files were.
    pub async fn of(table: &Table, filter: Option<&String>, contract: &Contract) -> Result<Self> {
        let column = contract.event_time.as_deref().filter(|_| contract.tiering.archived);
        let bounds = column.and_then(|name| table.metadata.current_schema().field_id_by_name(name));
        match (filter, table.head()) {
            (Some(_), _) => Ok(Self::Read(TableReader::new(table, None).await?)),
            (None, Some(head)) => {
                Ok(Self::InShort(table.live_files_in_short(head.snapshot_id(), bounds.as_slice()).await?))
            }
            (None, None) => Ok(Self::InShort(LiveFiles::default())),
        }
    }

    /// Them.
    pub fn files(&self) -> &LiveFiles {
        match self {
            Self::InShort(live) => live,
            Self::Read(reader) => reader.live(),
        }
    }

    /// What carrying the plan out needs, where it was read already.
    pub fn reader(self) -> Option<TableReader> {
        match self {
            Self::InShort(_) => None,
            Self::Read(reader) => Some(reader),
        }
    }
}

/// The facts of a table, its live files and their manifests when nothing special is asked for.
pub fn of_files(
    table: &Table,
    of: CompactionFiles,
    manifests: ManifestsFacts,
    contract: &Contract,
    now: Timestamp,
) -> Facts {
    let metadata = &table.metadata;
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

/// Marks the files that would be written again and must be restored first, and says what that takes. Only tables whose
/// contract speaks of archives are looked at: a list of their objects is all that it takes.
pub async fn mark_archived(
    job: &Job,
    contract: &Contract,
    table: &Table,
    live: &LiveFiles,
    facts: &mut Facts,
) -> Result<Option<Cold>> {
    if !contract.tiering.archived || !is_s3(table.metadata.location()) {
        return Ok(None);
    }
    let CompactPlan::Compact(compaction) = decide(facts) else { return Ok(None) };
    let cold = cold(job, contract, table, live, &compaction).await?;
    if let Some(Cold { locations, .. }) = &cold {
        facts.files.iter_mut().for_each(|file| file.is_archived = locations.contains(&file.path));
    }
    Ok(cold)
}

/// Those of the files of a plan that must be restored before they can be read.
pub async fn cold(
    job: &Job,
    contract: &Contract,
    table: &Table,
    live: &LiveFiles,
    compaction: &Compaction,
) -> Result<Option<Cold>> {
    let files = compaction.groups.iter().flat_map(|group| &group.files);
    let wanted: HashSet<&str> = files.map(|file| file.path.as_str()).collect();
    let name = contract.event_time.as_deref();
    let field_id = name.and_then(|name| table.metadata.current_schema().field_id_by_name(name));
    let files = live.data.iter().map(|entry| &entry.data_file);
    let wanted = files.filter(|file| wanted.contains(file.file_path()));
    let needed = wanted.map(|file| Needed::curated(file.file_path(), event_time::bounds(file, field_id))).collect();
    let needed = archived::in_archive(table, needed).await?;
    job.cold(&table.name.to_string(), Zone::Curated, &needed).await
}

/// What stays by its reasons, without what they say of a single partition.
pub fn kept(plan: &CompactPlan, cold: Option<&Cold>) -> Vec<Kept> {
    let (CompactPlan::KeepAll(compaction) | CompactPlan::Compact(compaction)) = plan else { return Vec::new() };
    let mut reasons: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for kept in &compaction.kept {
        let reason = kept.reason.split(": ").next().unwrap_or_default();
        let (files, bytes) = reasons.entry(reason).or_default();
        *files += kept.files;
        *bytes += kept.bytes;
    }
    let explained = |reason: &str| match cold.filter(|_| reason == ARCHIVED) {
        Some(Cold { what, help, .. }) => format!("{what}: {help}"),
        None => reason.to_owned(),
    };
    let kept = |(reason, (files, bytes))| Kept { reason: explained(reason), files, bytes };
    reasons.into_iter().map(kept).collect()
}
