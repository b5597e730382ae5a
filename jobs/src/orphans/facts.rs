//! What lies below a table's location, and what it refers to: in that order.

use std::collections::{BTreeMap, HashMap};

use contract::TableName;
use jiff::Timestamp;
use lake::{Lake, Location, Table};
use plan::{
    objects::ObjectKind,
    orphans::{Facts, Listed},
};
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
    locations: OnceCell<BTreeMap<TableName, Vec<String>>>,
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
        let mut references = lake::references(&table).await?;
        references.extend(by_other_paths(lake, &location, &references));
        let reserved = self.reserved()?;
        let kept: Vec<&String> = reserved.keys().filter(|folder| is_below(folder, &location.to_string())).collect();
        let is_kept = |of: &Listed| kept.iter().any(|folder| is_below(&of.location, folder));
        let unknown = objects.iter().filter(|of| !references.contains_key(&of.location) && !is_kept(of));
        let foreign = lake::foreign(&table, unknown.map(|of| (of.location.as_str(), of.bytes))).await?;
        Ok(Some(Facts {
            table: table.name.clone(),
            location: location.to_string(),
            objects,
            references,
            reserved,
            neighbours,
            foreign: foreign.into_iter().map(|of| (of.location, of.what)).collect(),
            properties: table.metadata.properties().clone().into_iter().collect(),
            older_than: orphans.older_than,
            fraction_max: orphans.max_fraction,
            now: self.job.program.now(),
        }))
    }

    /// The catalog's other tables by location, and by folders below this table's that they have files in.
    async fn neighbours(&self, lake: &Lake, table: &Table, at: &Location) -> Result<BTreeMap<String, TableName>> {
        let all = self.locations.get_or_try_init(|| lake.locations(at.root())).await?;
        let here = at.to_string();
        let mut neighbours = BTreeMap::new();
        for (name, folders) in all.iter().filter(|(name, _)| **name != table.name) {
            let (location, others) = folders.split_first().expect("a table has a location");
            let others = others.iter().filter(|folder| **folder == here || is_below(folder, &here));
            neighbours.extend(others.chain([location]).map(|folder| (folder.clone(), name.clone())));
        }
        Ok(neighbours)
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

/// References by the paths that they have below the location, where links on a disk give them others.
fn by_other_paths(
    lake: &Lake,
    location: &Location,
    references: &HashMap<String, ObjectKind>,
) -> Vec<(String, ObjectKind)> {
    if !matches!(location, Location::Local { .. }) {
        return Vec::new();
    }
    let location = location.to_string();
    let real = lake.storage.without_links(&location);
    let mut folders: HashMap<&str, String> = HashMap::new();
    let mut found = Vec::new();
    for (reference, kind) in references {
        let Some((folder, name)) = reference.rsplit_once('/') else { continue };
        let at = folders.entry(folder).or_insert_with(|| lake.storage.without_links(folder));
        if *at == real || is_below(at, &real) {
            let path = format!("{location}{}/{name}", &at[real.len()..]);
            if path != *reference {
                found.push((path, *kind));
            }
        }
    }
    found
}

/// The location lies below the folder, which has no slash at its end.
fn is_below(location: &str, folder: &str) -> bool {
    location.strip_prefix(folder).is_some_and(|below| below.starts_with('/'))
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
