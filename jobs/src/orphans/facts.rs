//! What lies below a table's location, and what it refers to: in that order.

use std::collections::BTreeMap;

use contract::TableName;
use jiff::Timestamp;
use lake::{Lake, Location, Table};
use plan::orphans::{Facts, Listed};
use tokio::sync::OnceCell;

use super::Orphans;
use crate::{
    config::TableConfig,
    error::{JobError, Kind, Result},
    job::Job,
};

/// What the tables of one run share: the catalog's other tables, read once.
pub struct Surroundings<'a> {
    job: &'a Job,
    locations: OnceCell<BTreeMap<TableName, String>>,
}

impl<'a> Surroundings<'a> {
    /// Reads nothing yet.
    pub fn new(job: &'a Job) -> Self {
        Self { job, locations: OnceCell::new() }
    }

    /// The facts of a table; `None` when there is none.
    pub async fn facts(&self, orphans: &Orphans, config: &TableConfig) -> Result<Option<Facts>> {
        let lake = self.job.lake().await?;
        let Some(table) = lake.table(&config.name).await? else { return Ok(None) };
        let location = Location::parse(table.metadata.location())?;
        let neighbours = self.neighbours(lake, &table, &location).await?;
        let before = table.metadata.location().to_owned();
        // Thousands of snapshots take some memory, too.
        drop(table);
        let objects = list(lake, &location.to_string()).await?;
        // Only now, and from the table as it is now.
        let table = match lake.table(&config.name).await? {
            Some(now) if now.metadata.location() == before => now,
            _ => return Err(JobError::new(Kind::Transient, "the table was moved meanwhile").with_help("run again")),
        };
        Ok(Some(Facts {
            table: table.name.clone(),
            location: location.to_string(),
            objects,
            references: lake::references(&table).await?,
            reserved: self.reserved()?,
            neighbours,
            properties: table.metadata.properties().clone().into_iter().collect(),
            older_than: orphans.older_than,
            fraction_max: orphans.max_fraction,
            now: self.job.program.now(),
        }))
    }

    /// The catalog's other tables by location.
    async fn neighbours(&self, lake: &Lake, table: &Table, at: &Location) -> Result<BTreeMap<String, TableName>> {
        let all = self.locations.get_or_try_init(|| lake.locations(at.root())).await?;
        let others = all.iter().filter(|(name, _)| **name != table.name);
        Ok(others.map(|(name, location)| (location.clone(), name.clone())).collect())
    }

    /// Folders of the configuration that may lie below a table's location.
    fn reserved(&self) -> Result<BTreeMap<String, String>> {
        let config = &self.job.config;
        let records = format!("{}/.etl", config.lake.warehouse.trim_end_matches('/'));
        let mut folders = BTreeMap::from([(spelled(&records)?, "records of runs".to_owned())]);
        for table in config.tables.values() {
            folders.insert(spelled(&table.quarantine)?, format!("quarantine of {}", table.name));
            let fixed = table.source.split('{').next().unwrap_or_default();
            let folder = fixed.rsplit_once('/').map_or(fixed, |(folder, _)| folder);
            folders.insert(spelled(folder)?, format!("raw zone of {}", table.name));
        }
        Ok(folders)
    }
}

async fn list(lake: &Lake, folder: &str) -> Result<Vec<Listed>> {
    let listed = lake.storage.list_as(folder, |object| {
        let location = lake.storage.location_of(folder, &object.location)?;
        Ok((location, object.size, object.last_modified.timestamp_millis()))
    });
    let listed = listed.await?.into_iter().map(|(location, bytes, modified)| {
        let modified = Timestamp::from_millisecond(modified).map_err(|error| {
            JobError::new(Kind::Failed, format!("{location} was written at no possible time: {error}"))
        })?;
        Ok(Listed { location, bytes, modified })
    });
    listed.collect()
}

fn spelled(location: &str) -> Result<String> {
    Ok(Location::parse(location)?.to_string())
}
