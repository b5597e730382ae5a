//! Where a run's files lie: below the table's data folder, in a folder for each partition, as Spark lays them out.

use std::sync::Arc;

use engine::{DeleteFileName, FileName};
use lake::{Staging, Table, spec};

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
