//! How jobs write what they stage: where a run's files lie (below the table's data folder, in a folder for each partition,
//! as Spark lays them out), and within which limits they are written.

use std::sync::Arc;

use contract::Contract;
use engine::{DeleteFileName, FileName, TableWriterOptions};
use lake::{Staging, Table, spec};

use crate::{
    error::{JobError, Kind, Result},
    job::Job,
};

/// Files that may be open for writing at once.
const OPEN_FILES_MAX: usize = 512;

/// Refuses a table that could not be written right, before anything is read or staged.
pub fn check_writable(table: &Table) -> Result<()> {
    table.check_writable()?;
    engine::check_settings(&table.metadata).map_err(|error| {
        JobError::new(Kind::Failed, format!("failed to write to table {}: {error}", table.name))
            .with_help("change the table with the engine that made it; nothing was changed")
    })
}

/// How rows of a table are written, in its default partition spec and sort order.
pub fn writer(
    job: &Job,
    table: &Table,
    contract: &Contract,
    schema: &spec::SchemaRef,
    staging: &Staging,
) -> TableWriterOptions {
    let options = job.session_options();
    let order = table.metadata.default_sort_order();
    TableWriterOptions {
        storage: table.storage.clone(),
        schema: Arc::clone(schema),
        spec: Arc::clone(table.metadata.default_partition_spec()),
        sort_order: (!order.is_unsorted()).then(|| Arc::clone(order)),
        key_field_ids: contract.key.iter().filter_map(|name| schema.field_id_by_name(name)).collect(),
        file_name: data_files(table, schema, staging),
        target_file_bytes: contract.target_file_bytes,
        memory_bytes: options.memory_limit_bytes / 4,
        threads: options.threads,
        open_files_max: OPEN_FILES_MAX,
        zstd_level: None,
        properties: table.metadata.properties().clone(),
    }
}

/// Names data files of the table's default partition spec.
pub fn data_files(table: &Table, schema: &spec::SchemaRef, staging: &Staging) -> FileName {
    let (spec, schema, staging) =
        (Arc::clone(table.metadata.default_partition_spec()), Arc::clone(schema), staging.clone());
    Arc::new(move |partition, n| {
        let folder = lake::partition_path(&spec, &schema, partition)
            .map_err(|source| engine::Error::compute("failed to name a file", source))?;
        Ok(staging.data_path(&folder, usize::try_from(n).unwrap_or(usize::MAX)))
    })
}

/// Names position delete files, of any spec of the table. Those of a spec whose columns are gone lie in the data folder
/// itself: where a file lies means nothing to a reader.
pub fn delete_files(table: &Table, schema: &spec::SchemaRef, staging: &Staging) -> DeleteFileName {
    let (metadata, schema, staging) = (Arc::clone(&table.metadata), Arc::clone(schema), staging.clone());
    Arc::new(move |spec_id, partition, n| {
        let spec = metadata.partition_spec_by_id(spec_id);
        let folder = spec.and_then(|spec| lake::partition_path(spec, &schema, partition).ok()).unwrap_or_default();
        Ok(staging.delete_path(&folder, usize::try_from(n).unwrap_or(usize::MAX)))
    })
}
