//! Deleting what no version of a table needs: after an expiry, and of orphans. Whatever fails here changes no outcome,
//! since the table does not speak of these objects any more.

use std::collections::{BTreeSet, HashSet};

use plan::objects::{KindTotal, Object, totals};

use crate::{Error, Lake, Obsolete, Result, Storage, Table};

/// What became of objects that were to be deleted.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// What is gone, by kind.
    pub deleted: Vec<KindTotal>,
    /// How many are left.
    pub left: u64,
    /// Why, where one reason is known.
    pub problem: Option<Error>,
}

/// Deletes what only expired snapshots needed, after their commit: not what the table needs as it is now, whoever wrote
/// that meanwhile. When that cannot be found out for certain, nothing is deleted. Safe to repeat, and to drop.
pub async fn reclaim(lake: &Lake, table: &Table, obsolete: Obsolete) -> Reclaimed {
    let all = obsolete.objects().count() as u64;
    match spared(lake, table, obsolete).await {
        Ok(objects) => delete_objects(&lake.storage, objects).await,
        Err(error) => Reclaimed { left: all, problem: Some(error), ..Reclaimed::default() },
    }
}

/// Loads the table again, and takes out what it needs.
async fn spared(lake: &Lake, table: &Table, mut obsolete: Obsolete) -> Result<Vec<Object>> {
    // A table that was dropped or replaced keeps what it has: who did so decides about its files.
    let Some(current) = lake.table(&table.name).await? else { return Ok(Vec::new()) };
    if current.metadata.uuid() != table.metadata.uuid() {
        return Ok(Vec::new());
    }
    obsolete.spare(&current, &BTreeSet::new()).await?;
    Ok(obsolete.into_objects())
}

/// Deletes objects in the order given, and goes on when some cannot be deleted.
pub async fn delete_objects(storage: &Storage, objects: Vec<Object>) -> Reclaimed {
    let locations = objects.iter().map(|object| object.location.clone()).collect();
    let (left, problem) = storage.delete_each(locations).await;
    let left: HashSet<String> = left.into_iter().collect();
    let deleted = totals(objects.iter().filter(|object| !left.contains(&object.location)));
    Reclaimed { deleted, left: left.len() as u64, problem }
}
