//! `etl snapshots`: the kept snapshots of a table, newest first, with what made them and what points at them.

use std::collections::HashSet;

use clap::Args;
use contract::TableName;
use jiff::Timestamp;
use lake::{Table, spec::Snapshot};
use serde::Serialize;

use crate::{
    error::{Exit, Result},
    job::{Job, json_line},
    screen::thousands,
    table_text::align,
};

/// List the kept snapshots of a table.
#[derive(Debug, Args)]
#[command(before_help = "\
Examples:
  etl snapshots curated.telemetry
  etl snapshots curated.telemetry --limit 200
  etl snapshots curated.telemetry --output json
  etl rollback curated.telemetry --to 4711 --dry-run     what going back to one of them would undo

Rows and files are those that the snapshot's summary counts: a file that is written again is one removed and one added.")]
pub struct Snapshots {
    /// Tables; all of etl.toml unless said
    tables: Vec<TableName>,
    /// List at most this many of each
    #[arg(short = 'n', long, default_value_t = 50)]
    limit: usize,
}

/// A table's snapshots.
#[derive(Debug, Serialize)]
struct Listed {
    table: TableName,
    current_snapshot_id: Option<i64>,
    /// How many are kept.
    kept: usize,
    /// Newest first.
    snapshots: Vec<Line>,
}

/// A snapshot.
#[derive(Debug, Serialize)]
struct Line {
    snapshot_id: i64,
    parent_id: Option<i64>,
    committed_at: Option<Timestamp>,
    operation: String,
    run_id: Option<String>,
    job: Option<String>,
    /// It is the current one, or one that the current one was made from.
    in_history: bool,
    rows_added: Option<u64>,
    rows_removed: Option<u64>,
    files_added: Option<u64>,
    files_removed: Option<u64>,
    delete_files_added: Option<u64>,
    delete_files_removed: Option<u64>,
    /// Branches and tags.
    refs: Vec<String>,
}

impl Snapshots {
    /// Shows them.
    pub async fn run(&self, job: &Job) -> Result<Exit> {
        let lake = job.lake().await?;
        for config in job.tables(&self.tables)? {
            let screen = &job.program.screen;
            match job.program.interrupt.stops(lake.table(&config.name)).await?? {
                None if job.is_json() => screen.write(&json_line(&Listed::none(&config.name))?)?,
                None => screen.line(&format!("{}  not there yet", config.name))?,
                Some(table) => {
                    let listed = self.listed(&table);
                    match job.is_json() {
                        true => screen.write(&json_line(&listed)?)?,
                        false => screen.write(&text(&listed))?,
                    }
                }
            }
        }
        Ok(Exit::Done)
    }

    fn listed(&self, table: &Table) -> Listed {
        let head = table.metadata.current_snapshot_id();
        let history: HashSet<i64> =
            head.iter().flat_map(|head| table.ancestors(*head)).map(|snapshot| snapshot.snapshot_id()).collect();
        let refs = table.refs();
        let mut snapshots: Vec<_> = table.metadata.snapshots().collect();
        snapshots.sort_by_key(|of| std::cmp::Reverse((of.sequence_number(), of.timestamp_ms())));
        let line_of = |snapshot: &Snapshot| {
            let id = snapshot.snapshot_id();
            let names = refs.iter().filter(|(_, of)| of.snapshot_id == id).map(|(name, _)| name.clone()).collect();
            line(snapshot, history.contains(&id), names)
        };
        Listed {
            table: table.name.clone(),
            current_snapshot_id: head,
            kept: snapshots.len(),
            snapshots: snapshots.iter().take(self.limit).map(|snapshot| line_of(snapshot)).collect(),
        }
    }
}

impl Listed {
    fn none(table: &TableName) -> Self {
        Self { table: table.clone(), current_snapshot_id: None, kept: 0, snapshots: Vec::new() }
    }
}

fn line(snapshot: &Snapshot, in_history: bool, refs: Vec<String>) -> Line {
    let summary = &snapshot.summary().additional_properties;
    let count = |name: &str| summary.get(name).and_then(|count| count.parse().ok());
    Line {
        snapshot_id: snapshot.snapshot_id(),
        parent_id: snapshot.parent_snapshot_id(),
        committed_at: Timestamp::from_millisecond(snapshot.timestamp_ms()).ok(),
        operation: snapshot.summary().operation.as_str().to_owned(),
        run_id: summary.get("etl.run-id").cloned(),
        job: summary.get("etl.job").cloned(),
        in_history,
        rows_added: count("added-records"),
        rows_removed: count("deleted-records"),
        files_added: count("added-data-files"),
        files_removed: count("deleted-data-files"),
        delete_files_added: count("added-delete-files"),
        delete_files_removed: count("removed-delete-files"),
        refs,
    }
}

fn text(listed: &Listed) -> String {
    let kept = thousands(listed.kept as u64);
    let more = match listed.kept - listed.snapshots.len() {
        0 => String::new(),
        more => format!(", {} of them older than these: --limit {}", thousands(more as u64), listed.kept),
    };
    let header = [
        "snapshot",
        "at",
        "operation",
        "run",
        "rows added",
        "removed",
        "files added",
        "removed",
        "delete files",
        "refs",
    ];
    let rows: Vec<Vec<String>> = listed.snapshots.iter().map(cells).collect();
    format!("{}  {kept} kept{more}\n{}", listed.table, align(&header, &rows))
}

fn cells(line: &Line) -> Vec<String> {
    let number = |count: Option<u64>| count.map_or_else(String::new, thousands);
    let deletes = match (line.delete_files_added.unwrap_or(0), line.delete_files_removed.unwrap_or(0)) {
        (0, 0) => String::new(),
        (added, removed) => format!("+{added} -{removed}"),
    };
    let mut refs = line.refs.clone();
    if !line.in_history && refs.is_empty() {
        refs.push("(not in the history)".to_owned());
    }
    vec![
        line.snapshot_id.to_string(),
        line.committed_at.map(|at| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()).unwrap_or_default(),
        line.operation.clone(),
        [line.job.as_deref(), line.run_id.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" "),
        number(line.rows_added),
        number(line.rows_removed),
        number(line.files_added),
        number(line.files_removed),
        deletes,
        refs.join(", "),
    ]
}
