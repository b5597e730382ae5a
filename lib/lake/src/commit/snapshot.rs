//! The next version of the metadata: a snapshot on top of the head, properties, schema and ledger, written out.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use iceberg::{
    MetadataLocation,
    compression::CompressionCodec,
    io::FileIO,
    spec::{ManifestFile, ManifestListWriter, Snapshot, TableMetadata, TableMetadataBuilder, TableProperties},
};
use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{
    expiry::forget,
    manifests::{build_error, next_manifests},
    names::AttemptFiles,
    rollback::{log_entry, roll_back},
};
use crate::{Change, ChangeKind, Ledger, Result, Table, ledger::LEDGER_PROPERTY, name_mapping::next_mapping};

/// The branch that every commit goes to.
const MAIN: &str = "main";

/// A version of the table that waits for its swap.
#[derive(Debug, Clone)]
pub(super) struct NextVersion {
    pub metadata_location: String,
    pub metadata: Arc<TableMetadata>,
    /// The snapshot that it adds.
    pub snapshot_id: Option<i64>,
}

/// What identifies one attempt.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttemptIds {
    /// Of the snapshot, if there is to be one.
    pub snapshot_id: i64,
    /// Of the metadata.json.
    pub metadata_uuid: Uuid,
    /// Milliseconds since 1970.
    pub now_ms: i64,
}

/// Whether the change makes a snapshot: without files there is nothing for one to say.
pub(super) fn makes_snapshot(change: &Change) -> bool {
    let removed = change.removed.len() + change.removed_deletes.len();
    let files = change.added.len() + change.added_deletes.len() + removed;
    change.kind != ChangeKind::MetadataOnly && (files > 0 || change.manifests.is_some())
}

/// Writes everything that the next version consists of, except the pointer to it.
pub(super) async fn write_next_version(
    current: &Table,
    change: &Change,
    ids: AttemptIds,
    files: &mut AttemptFiles<'_>,
) -> Result<NextVersion> {
    let table = &current.name;
    let fail = |source| build_error(table, source);
    let now_ms = ids.now_ms.max(current.metadata.last_updated_ms());
    let snapshot_id = makes_snapshot(change).then_some(ids.snapshot_id);
    let properties = next_properties(current, change, snapshot_id, now_ms)?;
    let metadata = if let Some(snapshot_id) = snapshot_id {
        let previous = Some(current.pointer.metadata_location.clone());
        let builder = with_shape(current.metadata.as_ref().clone().into_builder(previous), change).map_err(fail)?;
        let shape = match change.schema_update {
            Some(_) => Arc::new(builder.clone().build().map_err(fail)?.metadata),
            None => Arc::clone(&current.metadata),
        };
        let next = next_manifests(current, &shape, change, snapshot_id, files).await?;
        let parent = current.head();
        let sequence_number = current.metadata.next_sequence_number();
        let parent_id = parent.map(|parent| parent.snapshot_id());
        let list = encode_list(next.manifests, snapshot_id, parent_id, sequence_number).await.map_err(fail)?;
        let snapshot = Snapshot::builder()
            .with_manifest_list(files.write_manifest_list(snapshot_id, list).await?)
            .with_snapshot_id(snapshot_id)
            .with_parent_snapshot_id(parent_id)
            .with_sequence_number(sequence_number)
            .with_summary(next.sums.summary(change, parent.map(Arc::as_ref)))
            .with_schema_id(shape.current_schema_id())
            .with_timestamp_ms(now_ms)
            .build();
        // Keeps the branch's retention, which a reference made anew would wipe.
        let builder = builder.set_branch_snapshot(snapshot, MAIN).map_err(fail)?;
        builder.set_properties(properties).and_then(TableMetadataBuilder::build).map_err(fail)?.metadata
    } else {
        without_snapshot(current, change, properties, now_ms).map_err(fail)?
    };
    let (suffix, document) = encode_metadata(&metadata).await.map_err(fail)?;
    let metadata_location = files.write_metadata(ids.metadata_uuid, suffix, document).await?;
    Ok(NextVersion { metadata_location, metadata: Arc::new(metadata), snapshot_id })
}

/// The change's schema and partition spec, before its files.
fn with_shape(builder: TableMetadataBuilder, change: &Change) -> iceberg::Result<TableMetadataBuilder> {
    let Some(update) = &change.schema_update else { return Ok(builder) };
    let builder = builder.add_current_schema(update.schema.clone())?;
    match &update.partition_spec {
        Some(spec) => builder.add_default_partition_spec(spec.clone()),
        None => Ok(builder),
    }
}

/// The change's properties, what its schema makes of the table's own, and the ledger with its run.
fn next_properties(
    current: &Table,
    change: &Change,
    snapshot_id: Option<i64>,
    now_ms: i64,
) -> Result<HashMap<String, String>> {
    let mut properties: HashMap<String, String> = change.properties.clone().into_iter().collect();
    if let Some(update) = &change.schema_update {
        properties.extend(next_mapping(current.metadata.properties(), &update.schema));
    }
    if let Some(entry) = &change.ledger_entry {
        let head = snapshot_id.or(current.metadata.current_snapshot_id());
        let mut ledger = Ledger::parse(&current.metadata)?;
        ledger.record(&current.metadata, entry, head, Timestamp::from_millisecond(now_ms).ok());
        properties.insert(LEDGER_PROPERTY.to_owned(), ledger.to_json());
    }
    Ok(properties)
}

/// The next version without a snapshot.
///
/// The builder dates such a version by a clock of its own, and refuses it when that is behind the times in the logs. So
/// the logs are kept away from it, and set with the time that we were given.
fn without_snapshot(
    current: &Table,
    change: &Change,
    properties: HashMap<String, String>,
    now_ms: i64,
) -> iceberg::Result<TableMetadata> {
    let mut document = serde_json::to_value(&*current.metadata)?;
    if let Some(expiry) = &change.expiry {
        forget(&mut document, expiry);
    }
    if let Some(rollback) = &change.rollback {
        roll_back(&mut document, rollback);
    }
    let mut snapshot_log = std::mem::replace(&mut document["snapshot-log"], json!([]));
    if let (Some(rollback), Some(log)) = (&change.rollback, snapshot_log.as_array_mut()) {
        log.push(log_entry(rollback, now_ms));
    }
    let metadata_log = std::mem::replace(&mut document["metadata-log"], json!([]));
    let without_logs: TableMetadata = serde_json::from_value(document)?;
    let built = with_shape(without_logs.into_builder(None), change)?.set_properties(properties)?.build()?.metadata;
    let mut metadata_log = metadata_log.as_array().cloned().unwrap_or_default();
    metadata_log.push(json!({
        "metadata-file": current.pointer.metadata_location,
        "timestamp-ms": current.metadata.last_updated_ms(),
    }));
    let oldest = metadata_log.len().saturating_sub(previous_versions_max(&built));
    let mut document = serde_json::to_value(&built)?;
    document["snapshot-log"] = snapshot_log;
    document["metadata-log"] = metadata_log.split_off(oldest).into();
    document["last-updated-ms"] = now_ms.into();
    Ok(serde_json::from_value(document)?)
}

/// How many versions the metadata log names.
fn previous_versions_max(metadata: &TableMetadata) -> usize {
    let set = metadata.properties().get(TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX);
    let default = TableProperties::PROPERTY_METADATA_PREVIOUS_VERSIONS_MAX_DEFAULT;
    set.and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
}

/// Sets the time of a first version, which the builder takes from a clock of its own.
pub(crate) fn at(metadata: TableMetadata, now_ms: i64) -> iceberg::Result<TableMetadata> {
    let mut document = serde_json::to_value(&metadata)?;
    document["last-updated-ms"] = now_ms.into();
    Ok(serde_json::from_value(document)?)
}

async fn encode_list(
    manifests: Vec<ManifestFile>,
    snapshot_id: i64,
    parent_id: Option<i64>,
    sequence_number: i64,
) -> iceberg::Result<Bytes> {
    const SCRATCH: &str = "memory:/list.avro";
    let scratch = FileIO::new_with_memory();
    let output = scratch.new_output(SCRATCH)?.writer().await?;
    let mut list = ManifestListWriter::v2(output, snapshot_id, parent_id, sequence_number);
    list.add_manifests(manifests.into_iter())?;
    list.close().await?;
    scratch.new_input(SCRATCH)?.read().await
}

/// The document, compressed as the table's properties say, and the suffix that says so in its name.
pub(crate) async fn encode_metadata(metadata: &TableMetadata) -> iceberg::Result<(&'static str, Bytes)> {
    let suffix = match metadata.metadata_compression_codec()? {
        CompressionCodec::Gzip(_) => ".gz",
        _ => "",
    };
    let name = super::names::metadata_name(0, Uuid::nil(), suffix);
    let location: MetadataLocation = format!("memory:/scratch/metadata/{name}").parse()?;
    let scratch = FileIO::new_with_memory();
    metadata.write_to(&scratch, &location).await?;
    Ok((suffix, scratch.new_input(location.to_string())?.read().await?))
}
