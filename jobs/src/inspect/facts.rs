//! What is known of a table before it is judged.

use std::collections::{BTreeMap, HashMap};

use contract::Contract;
use jiff::Timestamp;
use lake::{
    DataFileEntry, Inventory, Table, comparable_partition, inventory, partition_path,
    spec::{SnapshotRetention, Struct},
};
use plan::{
    expire::{ExpirePlan, RefWord},
    inspect::{Deletes, Facts, FileFacts, Manifests, Ref, Snapshot},
    maintain::{Outlook, Upkeep, Would},
    prices::{Prices, StorageClass, Stored},
};

use super::Inspect;
use crate::{
    config::TableConfig,
    error::{JobError, Kind, Result},
    job::Job,
    open::is_s3,
    upkeep::{self, Upkeeper},
};

/// Where the table says what its files aim for.
const TARGET: &str = "write.target-file-size-bytes";

/// The facts of a table; `None` when there is none.
pub async fn facts(
    inspect: &Inspect,
    job: &Job,
    upkeeper: &Upkeeper<'_>,
    config: &TableConfig,
) -> Result<Option<Facts>> {
    let Some(table) = job.lake().await?.table(&config.name).await? else { return Ok(None) };
    let (contract, prices) = (job.contract(config)?, job.prices().await?);
    // Before anything else is in memory: each list has as many objects as the table has files.
    let orphans = match inspect.storage {
        true => upkeeper.look(Upkeep::Orphans, config).await?.outlook,
        false => unknown(Upkeep::Orphans, "--storage lists the table's objects"),
    };
    let (classes, archived) = match inspect.storage {
        true => classes(&objects(&table).await?, &prices),
        false => (None, Vec::new()),
    };
    let mut plan = upkeep::expiry(&table, job.program.now())?;
    let expired = match &plan {
        ExpirePlan::Expire(verdicts) => verdicts.expired(),
        _ => Vec::new(),
    };
    let Inventory { manifests, live, unreadable, history, expiring } = inventory(&table, &expired).await?;
    if let ExpirePlan::Expire(verdicts) = &mut plan {
        verdicts.price(expiring, &prices);
    }
    let archived = archived.iter().map(String::as_str).collect();
    let manifests_facts = job.program.interrupt.stops(table.manifests_facts()).await??;
    let metadata = &table.metadata;
    let (files, partitions) = by_partition(&table, &live.data);
    let (position_deletes, equality_deletes) = (deletes(&live.position_deletes), deletes(&live.equality_deletes));
    let compaction = upkeep::compaction(&table, live, manifests_facts, &contract, &archived, job.program.now());
    let compaction = Outlook::of_compact(&compaction, &prices);
    Ok(Some(Facts {
        table: table.name.clone(),
        location: metadata.location().to_owned(),
        format_version: metadata.format_version() as u32,
        head: table.head().map(|head| snapshot(&table, head.snapshot_id(), head.timestamp_ms())).transpose()?,
        files,
        partitions,
        position_deletes,
        equality_deletes,
        manifests: Manifests {
            files: manifests.len() as u64,
            of_deletes: manifests.iter().filter(|manifest| manifest.of_deletes).count() as u64,
            bytes: manifests.iter().map(|manifest| manifest.bytes).sum(),
        },
        unreadable,
        snapshots: metadata
            .snapshots()
            .map(|of| snapshot(&table, of.snapshot_id(), of.timestamp_ms()))
            .collect::<Result<_>>()?,
        refs: refs(&table),
        history,
        target_file_bytes: target(&contract, &table),
        classes,
        outlooks: vec![compaction, Outlook::of_expire(&plan), orphans, tier(inspect, upkeeper, config).await?],
        prices,
        partitions_shown: inspect.partitions,
    }))
}

fn unknown(job: Upkeep, why: &str) -> Outlook {
    Outlook { job, would: Would::Unknown { why: why.to_owned() } }
}

async fn tier(inspect: &Inspect, upkeeper: &Upkeeper<'_>, config: &TableConfig) -> Result<Outlook> {
    if inspect.storage {
        return Ok(upkeeper.look(Upkeep::Tier, config).await?.outlook);
    }
    Ok(match upkeeper.not_tiered(config).await? {
        Some(why) => Outlook { job: Upkeep::Tier, would: Would::Nothing { why } },
        None => unknown(Upkeep::Tier, "--storage lists the objects with their classes"),
    })
}

/// An object below the table's location: where, its size, and its storage class as S3 spells it.
type Object = (String, u64, String);

/// Everything below the table's location. A folder has no storage classes: all of it counts as Standard.
async fn objects(table: &Table) -> Result<Vec<Object>> {
    let (storage, location) = (&table.storage, table.metadata.location());
    if is_s3(location) {
        let objects = storage.classes()?.list(location).await?;
        return Ok(objects.into_iter().map(|of| (of.location, of.bytes, of.class)).collect());
    }
    let standard = StorageClass::Standard.word();
    Ok(storage.list_as(location, |of| Ok((of.location.to_string(), of.size, standard.to_owned()))).await?)
}

/// Sums by class, and the objects that lie in an archive.
fn classes(objects: &[Object], prices: &Prices) -> (Option<BTreeMap<String, Stored>>, Vec<String>) {
    let in_archive = |of: &&Object| of.2.parse().is_ok_and(StorageClass::is_archive);
    (Some(stored(objects, prices)), objects.iter().filter(in_archive).map(|of| of.0.clone()).collect())
}

/// Sums by class, with the least size and the overhead that each is charged with.
fn stored(objects: &[Object], prices: &Prices) -> BTreeMap<String, Stored> {
    let mut classes: BTreeMap<String, Stored> = BTreeMap::new();
    for (_, bytes, class) in objects {
        let stored = classes.entry(class.clone()).or_default();
        match class.parse() {
            Ok(class) => prices.add(class, *bytes, stored),
            // What it is charged as is not known: its size, as far as anybody can say.
            Err(_) => {
                stored.files += 1;
                stored.bytes += bytes;
                stored.billable_bytes += bytes;
            }
        }
    }
    classes
}

fn snapshot(table: &Table, snapshot_id: i64, ms: i64) -> Result<Snapshot> {
    let committed_at = Timestamp::from_millisecond(ms).map_err(|error| {
        JobError::new(Kind::Failed, format!("snapshot {snapshot_id} of {} has no possible time: {error}", table.name))
    })?;
    Ok(Snapshot { snapshot_id, committed_at })
}

fn refs(table: &Table) -> Vec<Ref> {
    let of = |(name, of): (String, lake::spec::SnapshotReference)| Ref {
        kind: match of.retention {
            SnapshotRetention::Branch { .. } => RefWord::Branch,
            SnapshotRetention::Tag { .. } => RefWord::Tag,
        },
        name,
        snapshot_id: of.snapshot_id,
    };
    table.refs().into_iter().map(of).collect()
}

fn deletes(files: &[DataFileEntry]) -> Deletes {
    let mut deletes = Deletes::default();
    for file in files {
        deletes.files += 1;
        deletes.bytes += file.data_file.file_size_in_bytes();
        deletes.rows += file.data_file.record_count();
    }
    deletes
}

/// The files with the places of their partitions, and the names of these.
fn by_partition(table: &Table, files: &[DataFileEntry]) -> (Vec<FileFacts>, Vec<String>) {
    let mut places: HashMap<(i32, Struct), u32> = HashMap::new();
    let mut names = Vec::new();
    let mut facts = Vec::with_capacity(files.len());
    for file in files {
        let partition = file.data_file.partition();
        let place = *places.entry((file.spec_id, comparable_partition(partition))).or_insert_with(|| {
            names.push(name(table, file.spec_id, partition));
            u32::try_from(names.len() - 1).unwrap_or(u32::MAX)
        });
        let (bytes, rows) = (file.data_file.file_size_in_bytes(), file.data_file.record_count());
        facts.push(FileFacts { partition: place, bytes, rows });
    }
    (facts, names)
}

/// A partition of a spec whose columns are gone has no name any more: then its values.
fn name(table: &Table, spec_id: i32, partition: &Struct) -> String {
    let spec = table.metadata.partition_spec_by_id(spec_id);
    let path = spec.and_then(|spec| partition_path(spec, table.metadata.current_schema(), partition).ok());
    path.unwrap_or_else(|| format!("spec {spec_id}: {partition:?}"))
}

/// The larger of what contract and table say, as `etl compact` has it: our writers go by the one, others by the other.
fn target(contract: &Contract, table: &Table) -> u64 {
    let declared = table.metadata.properties().get(TARGET).and_then(|text| text.trim().parse().ok());
    contract.target_file_bytes.max(declared.unwrap_or(0))
}
