//! Records of past runs: each report as one object under `{warehouse}/.etl/runs/`.

use lake::Lake;

use crate::{error::Result, job::json_line, report::Report};

/// Where the records lie.
fn folder(lake: &Lake) -> String {
    format!("{}/.etl/runs/", lake.warehouse.trim_end_matches('/'))
}

/// Keeps a report.
pub async fn write(lake: &Lake, report: &Report) -> Result<()> {
    let location = format!("{}{}.json", folder(lake), report.run_id);
    Ok(lake.storage.write_new(&location, json_line(report)?.into()).await?)
}

/// Ids of the runs that have a record, newest first.
pub async fn list(lake: &Lake) -> Result<Vec<String>> {
    let objects = lake.storage.list(&folder(lake)).await?;
    let mut ids: Vec<_> = objects
        .iter()
        .filter_map(|object| object.location.filename()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    ids.sort_unstable_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// The record of a run; `None`, and a warning, for one that cannot be read, by a later version for example.
pub async fn read(lake: &Lake, run_id: &str) -> Result<Option<Report>> {
    let location = format!("{}{run_id}.json", folder(lake));
    let bytes = lake.storage.read(&location).await?;
    match serde_json::from_slice(&bytes) {
        Ok(report) => Ok(Some(report)),
        Err(error) => {
            tracing::warn!(run.id = run_id, "the run's record {location} cannot be read: {error}");
            Ok(None)
        }
    }
}
