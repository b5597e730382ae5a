//! From a raw interval to staged files: the order of the passes, and what must add up before anything is handed on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::{Contract, Severity, TableName};
use jiff::Timestamp;
use lake::{KeyScope, Removal, StagedFile, Storage, discard_staged, spec};

use super::{
    candidates::Candidates,
    footprint::{Footprint, FootprintShape},
    keys::{FileRejects, KeyPass},
    matching::{Matching, settle},
    payload::Payload,
    quality::{QualityResult, run_checks},
    quarantine::{QuarantineTarget, Reject, UNREADABLE, quarantine_file},
    tombstones::{self, Tombstones},
    touched::{Touched, TouchedFile},
    verdicts::{Balance, Verdicts},
    winners::{ENTRY_BYTES, RankBytes, Round, resolve},
};
use crate::{
    DeleteFileName, Error, PositionDeleteOptions, Result, Session,
    curated::TableReader,
    raw::{BoundInterval, RawInterval},
    rules::Rules,
    types::arrow_schema,
    writer::{TableWriter, TableWriterOptions},
};

/// Everything the job's middle needs. Nothing in it is read from the environment.
pub struct Dedupe<'a> {
    /// Limits.
    pub session: &'a Session,
    /// Where objects lie.
    pub storage: &'a Storage,
    /// The contract.
    pub contract: &'a Contract,
    /// The table at its base; `None` while it has no snapshot.
    pub table: Option<Arc<TableReader>>,
    /// The schema to write, evolved where the run evolves it.
    pub schema: spec::SchemaRef,
    /// The partition spec to write.
    pub partition_spec: spec::PartitionSpecRef,
    /// Where bad rows go, if anywhere.
    pub quarantine: Option<QuarantineTarget>,
    /// How staged files are named and written.
    pub writer: TableWriterOptions,
    /// Names position delete files.
    pub delete_file_name: DeleteFileName,
    /// Seed of key fingerprints: any number, another one for each run.
    pub seed: u64,
    /// The run's time: when deletions are remembered from.
    pub now: Timestamp,
    /// Where the table's tombstones lie, as its property [`super::tombstones::PROPERTY`] says.
    pub tombstones: Option<String>,
    /// Where to write their next version: a location that nothing has.
    pub tombstones_next: String,
}

/// What the batch amounted to.
#[derive(Debug)]
pub struct Batch {
    /// Rows by what became of them.
    pub balance: Balance,
    /// Broken rules, most frequent first.
    pub rejects: Vec<Reject>,
    /// Table checks.
    pub quality: Vec<QualityResult>,
    /// Files that could not be read.
    pub unreadable: Vec<(String, String)>,
}

/// How the job's middle ended.
#[derive(Debug)]
pub enum Outcome {
    /// A gate closed: nothing was staged.
    GateClosed {
        /// What the batch amounted to.
        batch: Batch,
        /// Each gate that closed, for people.
        reasons: Vec<String>,
    },
    /// Files are staged and wait for their commit.
    Staged {
        /// What the batch amounted to.
        batch: Batch,
        /// Files to add.
        added: Vec<spec::DataFile>,
        /// Position delete files to add.
        added_deletes: Vec<StagedFile>,
        /// Files to remove.
        removed: Vec<Removal>,
        /// Files that the position deletes point into.
        referenced: Vec<String>,
        /// Where the batch's keys may lie.
        key_scope: KeyScope,
        /// New location of the tombstones, when they changed.
        tombstones: Option<String>,
    },
}

/// Judges, dedupes, matches and writes an interval. A file that turns out to be damaged is set aside, and the rest is done
/// again without it.
pub async fn execute(dedupe: &Dedupe<'_>, mut interval: RawInterval) -> Result<Outcome> {
    loop {
        let bound = Arc::new(BoundInterval::bind(interval, arrow_schema(&dedupe.schema)?, dedupe.contract)?);
        match run(dedupe, &bound).await {
            Err(Error::Unreadable { location, reason }) if bound.has(&location) => {
                tracing::warn!(file.location = %location, reason = %reason, "setting a damaged file aside");
                interval = bound.interval().clone();
                interval.set_aside(&location, reason);
            }
            outcome => return outcome,
        }
    }
}

async fn run(dedupe: &Dedupe<'_>, bound: &Arc<BoundInterval>) -> Result<Outcome> {
    let options = dedupe.session.options();
    let threads = options.threads.max(1);
    let rules = Arc::new(Rules::compile(dedupe.contract, bound.schema(), dedupe.session)?);
    let shape = FootprintShape::new(dedupe.contract, bound.schema(), &dedupe.schema, &dedupe.partition_spec)?;
    let pass = Arc::new(KeyPass::new(Arc::clone(bound), Arc::clone(&rules), dedupe.contract, shape, dedupe.seed)?);
    let verdicts = Arc::new(Verdicts::new((0..bound.file_count()).map(|file| bound.rows(file))));
    let found = find_winners(dedupe, &pass, &verdicts, threads).await?;

    let batch = Batch {
        balance: verdicts.balance()?,
        rejects: rejects(bound, &rules, &found),
        quality: run_checks(dedupe.session, &dedupe.contract.checks, bound, &verdicts)
            .await?
            .into_iter()
            .chain(warnings(&rules, &found.broken_rows))
            .collect(),
        unreadable: bound.interval().unreadable.iter().map(|f| (f.input.location.clone(), f.reason.clone())).collect(),
    };
    let payload = Arc::new(Payload {
        interval: Arc::clone(bound),
        verdicts,
        rules,
        rejects: Arc::new(found.rejects),
        quarantine: dedupe.quarantine.clone(),
        reader: dedupe.table.clone(),
        threads,
    });
    if let Some(target) = &dedupe.quarantine {
        for file in &bound.interval().unreadable {
            quarantine_file(&file.input, &file.reason, target).await?;
        }
    }
    let reasons = closed_gates(dedupe.contract, &batch);
    if !reasons.is_empty() {
        payload.write_batch(None).await?;
        return Ok(Outcome::GateClosed { batch, reasons });
    }
    let key_scope = found.footprint.key_scope(&pass.shape, &dedupe.schema);
    let tombstones = match &found.tombstones {
        Some(batch) => {
            tombstones::write(dedupe.storage, &dedupe.tombstones_next, batch).await?;
            Some(dedupe.tombstones_next.clone())
        }
        None => None,
    };
    let touched = Touched::decide(dedupe.contract.merge_mode, dedupe.table.as_deref(), found.touched);
    let staged = stage(dedupe, &payload, &touched, &batch.balance).await;
    if staged.is_err() {
        // A damaged file is set aside and all is done again: under the same name.
        discard_staged(dedupe.storage, &dedupe.contract.table, tombstones.iter().cloned().collect()).await;
    }
    let (added, added_deletes) = staged?;
    let (removed, referenced) = (touched.removals(), touched.referenced());
    Ok(Outcome::Staged { batch, added, added_deletes, removed, referenced, key_scope, tombstones })
}

struct Found {
    touched: Vec<TouchedFile>,
    rejects: Vec<FileRejects>,
    broken_rows: Vec<u64>,
    footprint: Footprint,
    tombstones: Option<RecordBatch>,
}

/// Winners and matches, in as many rounds as the memory limit asks for. The first round looks at every row, the others at
/// keys alone.
async fn find_winners(
    dedupe: &Dedupe<'_>,
    pass: &Arc<KeyPass>,
    verdicts: &Arc<Verdicts>,
    threads: usize,
) -> Result<Found> {
    let limit_bytes = dedupe.session.options().memory_limit_bytes;
    let budget_bytes = limit_bytes / 2;
    let rows = pass.interval.interval().rows();
    let rounds = Round::all(rows, budget_bytes);
    if rows * ENTRY_BYTES / 256 > budget_bytes {
        let reason = format!("{rows} rows need at least {} bytes for their keys", rows * ENTRY_BYTES / 256 * 2);
        return Err(Error::Memory { limit_bytes, reason });
    }
    let ranks = Arc::new(RankBytes::new(if pass.ranking.needs_bytes() { pass.interval.file_count() } else { 0 }));
    let mut candidates = Vec::new();
    let mut found = Found {
        touched: Vec::new(),
        rejects: Vec::new(),
        broken_rows: Vec::new(),
        footprint: Footprint::default(),
        tombstones: None,
    };
    let mut tombstones = match &dedupe.contract.delete_marker {
        Some(_) => Some(Tombstones::load(dedupe.storage, dedupe.tombstones.as_deref(), pass).await?),
        None => None,
    };
    for round in rounds {
        tracing::debug!(round.index, round.count, "reading keys");
        let findings = pass.run(round, verdicts, &ranks, threads).await?;
        if ranks.size() > budget_bytes {
            let reason = format!("the winner order needs {} bytes for {rows} rows", ranks.size());
            return Err(Error::Memory { limit_bytes, reason });
        }
        if round.index == 0 {
            found.rejects = findings.rejects;
            found.broken_rows = findings.broken_rows;
            found.footprint = findings.footprint;
            candidates = matching_files(dedupe, pass, &found.footprint);
        }
        let (collectors, resolve_verdicts, resolve_ranks) =
            (findings.collectors, Arc::clone(verdicts), Arc::clone(&ranks));
        let winners =
            tokio::task::spawn_blocking(move || resolve(collectors, &resolve_ranks, &resolve_verdicts, threads))
                .await
                .map_err(|panic| Error::compute("failed to find winners", panic))?;
        let winners = Arc::new(winners);
        let table: &TableName = &dedupe.contract.table;
        let touched = match &dedupe.table {
            Some(reader) => {
                let matching = Matching { reader, candidates: &candidates, pass, table, threads };
                matching.run(&winners, &ranks, verdicts).await?
            }
            None => Vec::new(),
        };
        merge_touched(&mut found.touched, touched);
        if let Some(tombstones) = &mut tombstones {
            tombstones.apply(pass, &winners, &ranks, verdicts)?;
        }
        settle(&winners, verdicts);
        if let Some(tombstones) = &mut tombstones {
            tombstones.add(pass, &winners, verdicts, dedupe.now).await?;
        }
    }
    if let Some(tombstones) = tombstones {
        found.tombstones = tombstones.next(dedupe.now, dedupe.contract.lateness.map(|lateness| lateness.seconds))?;
    }
    Ok(found)
}

fn matching_files(dedupe: &Dedupe<'_>, pass: &KeyPass, footprint: &Footprint) -> Vec<lake::DataFileEntry> {
    let Some(reader) = &dedupe.table else { return Vec::new() };
    if pass.key.is_empty() || footprint.is_empty() {
        return Vec::new();
    }
    let candidates = Candidates::new(footprint, &pass.shape, &dedupe.schema, dedupe.partition_spec.spec_id());
    reader.live().data.iter().filter(|file| candidates.may_match(file)).cloned().collect()
}

fn merge_touched(all: &mut Vec<TouchedFile>, more: Vec<TouchedFile>) {
    for file in more {
        let path = file.entry.data_file.file_path();
        match all.iter_mut().find(|known| known.entry.data_file.file_path() == path) {
            Some(known) => {
                known.rows.extend(file.rows);
                known.rows.sort_unstable();
            }
            None => all.push(file),
        }
    }
}

/// Writes the batch, what stays of the files that are written again, and the deletes of the others. What was written must
/// be what was counted.
async fn stage(
    dedupe: &Dedupe<'_>,
    payload: &Arc<Payload>,
    touched: &Touched,
    balance: &Balance,
) -> Result<(Vec<spec::DataFile>, Vec<StagedFile>)> {
    if balance.is_noop() {
        payload.write_batch(None).await?;
        return Ok((Vec::new(), Vec::new()));
    }
    let writer = Arc::new(TableWriter::new(dedupe.writer.clone())?);
    let staged = async {
        let survivors = payload.rewrite(&touched.rewritten, &writer).await?;
        let written = payload.write_batch(Some(&writer)).await?;
        Ok::<_, Error>((survivors, written))
    }
    .await;
    let writer = Arc::try_unwrap(writer).map_err(|_| Error::Unsupported {
        subject: "the writer".to_owned(),
        reason: "a task still holds it".to_owned(),
    })?;
    let (survivors, written) = match staged {
        Ok(counts) => counts,
        Err(error) => {
            if let Err(error) = writer.abort().await {
                tracing::warn!(%error, "failed to remove staged files");
            }
            return Err(error);
        }
    };
    let files = writer.close().await?;
    let in_files: u64 = files.iter().map(|file| file.record_count()).sum();
    let expected = balance.inserted + balance.updated - balance.deleted;
    let deletes = if written == expected && in_files == survivors + expected {
        touched.write_deletes(&delete_options(dedupe)).await
    } else {
        Err(Error::Balance { read: survivors + expected, accounted: in_files })
    };
    match deletes {
        Ok(deletes) => Ok((files, deletes)),
        Err(error) => {
            let locations = files.iter().map(|file| file.file_path().to_owned()).collect();
            if let Err(error) = dedupe.storage.delete_all(locations).await {
                tracing::warn!(%error, "failed to remove staged files");
            }
            Err(error)
        }
    }
}

fn delete_options(dedupe: &Dedupe<'_>) -> PositionDeleteOptions {
    PositionDeleteOptions {
        storage: dedupe.storage.clone(),
        file_name: Arc::clone(&dedupe.delete_file_name),
        zstd_level: dedupe.writer.zstd_level,
        properties: dedupe.writer.properties.clone(),
    }
}

fn rejects(bound: &BoundInterval, rules: &Rules, found: &Found) -> Vec<Reject> {
    let mut rejects: Vec<Reject> = (0..rules.count())
        .filter(|rule| found.broken_rows[*rule] > 0 && rules.severity(*rule) == Severity::Error)
        .map(|rule| {
            let sample = found.rejects.iter().enumerate().find_map(|(file, rejects)| {
                let (row, _) = rejects.rows.iter().find(|(_, set)| rejects.sets[*set as usize].contains(&rule))?;
                Some(format!("{}#{row}", bound.input(file).location))
            });
            Reject { rule: rules.name(rule).to_owned(), count: found.broken_rows[rule], sample }
        })
        .collect();
    let unreadable = &bound.interval().unreadable;
    if let Some(first) = unreadable.first() {
        let sample = Some(format!("{}: {}", first.input.location, first.reason));
        rejects.push(Reject { rule: UNREADABLE.to_owned(), count: unreadable.len() as u64, sample });
    }
    rejects.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.rule.cmp(&b.rule)));
    rejects
}

/// Row checks of severity warning: their rows stay, and are counted.
fn warnings(rules: &Rules, broken_rows: &[u64]) -> Vec<QualityResult> {
    let checks = (0..rules.count()).filter(|rule| rules.severity(*rule) == Severity::Warning);
    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    let result = |rule: usize| QualityResult {
        rule: rules.name(rule).to_owned(),
        severity: "warning",
        passed: broken_rows[rule] == 0,
        observed: Some(broken_rows[rule] as f64),
        expected: "0".to_owned(),
    };
    checks.map(result).collect()
}

fn closed_gates(contract: &Contract, batch: &Batch) -> Vec<String> {
    let mut reasons = Vec::new();
    let (balance, thresholds) = (&batch.balance, &contract.thresholds);
    if let Some(max) = thresholds.invalid_rows_max.filter(|max| balance.invalid > *max) {
        reasons.push(format!("{} rows are invalid, etl.maxInvalidRows allows {max}", balance.invalid));
    }
    if let Some(max) = thresholds.invalid_ratio_max {
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        let ratio = balance.invalid as f64 / balance.read.max(1) as f64;
        if ratio > max {
            reasons.push(format!(
                "{:.2} % of rows are invalid, etl.maxInvalidRatio allows {:.2} %",
                ratio * 100.0,
                max * 100.0
            ));
        }
    }
    if let Some(min) = thresholds.rows_min.filter(|min| balance.read < *min) {
        reasons.push(format!("{} rows were read, etl.minRows asks for {min}", balance.read));
    }
    for check in batch.quality.iter().filter(|check| !check.passed && check.severity == "error") {
        let observed = check.observed.map_or_else(|| "NULL".to_owned(), |number| number.to_string());
        reasons.push(format!("check {} gave {observed}, it must be {}", check.rule, check.expected));
    }
    reasons
}
