//! Making a table from its contract.

use std::{collections::HashMap, sync::Arc, time::Duration};

use contract::{Contract, TableName};
use iceberg::spec::{FormatVersion, TableMetadata, TableMetadataBuilder};

use crate::{
    CommitError, CommitInputs, Error, Lake, Result, Table,
    catalog::{Pointer, Swap},
    commit::{METADATA_PATH, at, encode_metadata, metadata_folder, metadata_name},
    schema::{partition_spec_for, schema_for, sort_order_for},
};

/// Times a creation is asked for again when its answer was lost.
const RESENDS_MAX: u32 = 4;

/// Wait before each of them.
const RESEND_WAIT: Duration = Duration::from_millis(200);

impl Lake {
    /// Makes a table from its contract, under `{warehouse}/{namespace}/{name}`, and opens it. When another process makes
    /// it at the same time, that table is opened: its contract is for [`crate::evolve()`] to compare.
    pub async fn create_table(&self, contract: &Contract, inputs: &CommitInputs) -> Result<Table> {
        let name = &contract.table;
        let location = format!("{}/{}/{}", self.warehouse.trim_end_matches('/'), name.namespace(), name.name());
        let fail = |source| Error::from(CommitError::Build { table: name.clone(), source: Box::new(source) });
        let metadata = new_metadata(contract, location, inputs).map_err(fail)?;
        let (suffix, document) = encode_metadata(&metadata).await.map_err(fail)?;
        let folder = metadata_folder(metadata.location(), metadata.properties().get(METADATA_PATH));
        let file = format!("{folder}/{}", metadata_name(0, (inputs.new_uuid)(), suffix));
        if let Err(error) = self.storage.write_new(&file, document).await {
            // A write that failed may still have happened.
            if !matches!(error, Error::Occupied { .. }) {
                self.forget(name, file).await;
            }
            return Err(error);
        }
        self.register(name, file, metadata).await
    }

    /// Gets the table into the catalog. A lost answer is resolved by looking.
    async fn register(&self, name: &TableName, file: String, metadata: TableMetadata) -> Result<Table> {
        let mut resends = 0;
        loop {
            let lost = match self.catalog.create(name, &file, &metadata).await {
                Swap::Committed | Swap::Conflict => None,
                Swap::Rejected(source) if resends == 0 => {
                    self.forget(name, file).await;
                    return Err(CommitError::Rejected { table: name.clone(), source: Box::new(source) }.into());
                }
                Swap::Rejected(error) | Swap::Unknown(error) => Some(error),
            };
            let found = match self.catalog.load(name).await {
                Ok(found) => found,
                Err(error) if lost.is_some() && resends < RESENDS_MAX => {
                    tracing::warn!(table.name = %name, error = &error as &dyn std::error::Error, "the catalog did not answer");
                    None
                }
                Err(error) => return Err(unknown(name, file, error)),
            };
            match (found, lost) {
                (Some(pointer), _) => return self.opened(name, pointer, file, metadata).await,
                (None, Some(error)) if resends == RESENDS_MAX => return Err(unknown(name, file, error)),
                (None, Some(_)) => {}
                (None, None) => return Err(CommitError::TableGone { table: name.clone() }.into()),
            }
            resends += 1;
            tokio::time::sleep(RESEND_WAIT).await;
        }
    }

    /// The table that the catalog has now: ours, or another's that was first.
    async fn opened(&self, name: &TableName, pointer: Pointer, file: String, metadata: TableMetadata) -> Result<Table> {
        if pointer.metadata_location == file {
            let storage = self.storage.clone();
            return Ok(Table { name: name.clone(), pointer, metadata: Arc::new(metadata), storage });
        }
        let table = Table::open(&self.storage, name, pointer).await?;
        if table.metadata.uuid() != metadata.uuid() {
            self.forget(name, file).await;
        }
        Ok(table)
    }

    async fn forget(&self, name: &TableName, file: String) {
        if let Err(error) = self.storage.delete_all(vec![file]).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(table.name = %name, error, "the metadata of a table that was not made stays behind");
        }
    }
}

fn unknown(name: &TableName, metadata_location: String, source: Error) -> Error {
    let (table, source) = (name.clone(), Box::new(source));
    CommitError::OutcomeUnknown { table, metadata_location, snapshot_id: None, source }.into()
}

/// The first metadata of a table, in format version 2.
fn new_metadata(contract: &Contract, location: String, inputs: &CommitInputs) -> iceberg::Result<TableMetadata> {
    let schema = schema_for(contract)?;
    let spec = partition_spec_for(contract, &schema)?;
    let order = sort_order_for(contract, &schema)?;
    let properties = properties_for(contract);
    let built = TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, properties)?
        .assign_uuid((inputs.new_uuid)())
        .build()?;
    at(built.metadata, (inputs.now_ms)())
}

/// What is written for every engine to follow, then what the contract says.
fn properties_for(contract: &Contract) -> HashMap<String, String> {
    let mut properties = HashMap::from(
        [
            ("write.format.default", "parquet"),
            ("write.delete.format.default", "parquet"),
            ("write.parquet.compression-codec", "zstd"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    properties.insert("write.target-file-size-bytes".to_owned(), contract.target_file_bytes.to_string());
    properties.insert("etl.contract-id".to_owned(), contract.id.clone());
    properties.insert("etl.contract-version".to_owned(), contract.version.clone());
    if let Some(text) = &contract.description {
        properties.insert("comment".to_owned(), text.clone());
    }
    properties.extend(contract.table_properties.iter().cloned());
    properties
}

#[cfg(test)]
mod tests;
