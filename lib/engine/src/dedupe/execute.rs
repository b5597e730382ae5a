//! From a raw interval to staged files: the order of the passes, and what must add up before anything is handed on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use contract::{Contract, Severity, TableName};
use jiff::Timestamp;
use lake::{DataFileEntry, KeyScope, Removal, StagedFile, Storage, discard_staged, spec};

use super::{
    candidates::Candidates,
    footprint::{Footprint, FootprintShape},
    gates::closed_gates,
    kept::{Kept, Replaced},
    keys::{FileRejects, KeyPass},
    matching::{Matching, settle},
    payload::Payload,
    quality::{QualityResult, run_checks},
    quarantine::{QuarantineTarget, Reject, UNREADABLE, quarantine_file},
    tenants,
    tombstones::{self, Tombstones},
    touched::{Touched, TouchedFile},
    verdicts::{Balance, RowAddress, Verdicts},
    winners::{ENTRY_BYTES, RankBytes, Round, resolve},
};
use crate::{
    DeleteFileName, Error, PositionDeleteOptions, Result, Session, Stop,
    curated::TableReader,
    raw::{BoundInterval, RawInterval},
    rules::Rules,
    tasks::bug,
    types::arrow_schema,
    writer::{TableWriter, TableWriterOptions},
};

/// Share of the memory limit for values of the table that rows take over.
const KEPT_SHARE: u64 = 8;
/// Share of the memory limit for entries: the rest is for verdicts, and for what is read and written meanwhile.
const ENTRIES_SHARE: u64 = 3;

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
    /// Whether to stop. What is read is then dropped, and what is staged taken back.
    pub stop: Stop,
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
/// again without it. Where a value is not what its footer promised, all is done again without believing footers. After an
/// error nothing that was staged is left behind, as far as it can be deleted.
pub async fn execute(dedupe: &Dedupe<'_>, mut interval: RawInterval) -> Result<Outcome> {
    let mut trusts_footers = true;
    loop {
        let mut bound = BoundInterval::bind(interval, arrow_schema(&dedupe.schema)?, dedupe.contract)?;
        if !trusts_footers {
            bound = bound.without_proofs();
        }
        let bound = Arc::new(bound);
        match run(dedupe, &bound).await {
            Err(Error::Unproven { location, column }) if trusts_footers => {
                tracing::info!(file.location = %location, column.name = %column, "looking at every value");
                trusts_footers = false;
                interval = bound.interval().clone();
            }
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
    match dedupe.stop.unless(judge(dedupe, bound)).await? {
        Judged::GateClosed { batch, reasons } => Ok(Outcome::GateClosed { batch, reasons }),
        Judged::Ready { batch, payload, touched, key_scope, tombstones } => {
            let (added, added_deletes) = stage(dedupe, &payload, &touched, tombstones.as_ref(), &batch.balance).await?;
            let (removed, referenced) = (touched.removals(), touched.referenced());
            let tombstones = tombstones.map(|_| dedupe.tombstones_next.clone());
            Ok(Outcome::Staged { batch, added, added_deletes, removed, referenced, key_scope, tombstones })
        }
    }
}

/// What the rows are, before anything is staged.
enum Judged {
    GateClosed {
        batch: Batch,
        reasons: Vec<String>,
    },
    Ready {
        batch: Batch,
        payload: Arc<Payload>,
        touched: Touched,
        key_scope: KeyScope,
        tombstones: Option<RecordBatch>,
    },
}

async fn judge(dedupe: &Dedupe<'_>, bound: &Arc<BoundInterval>) -> Result<Judged> {
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
        kept: Kept::new(dedupe.table.as_ref(), found.candidates, found.replaced),
        kept_bytes_max: options.memory_limit_bytes / KEPT_SHARE,
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
        return Ok(Judged::GateClosed { batch, reasons });
    }
    let key_scope = found.footprint.key_scope(&pass.shape, &dedupe.schema);
    let touched = Touched::decide(dedupe.contract.merge_mode, dedupe.table.as_deref(), found.touched);
    Ok(Judged::Ready { batch, payload, touched, key_scope, tombstones: found.tombstones })
}

struct Found {
    touched: Vec<TouchedFile>,
    /// Files of the table that may hold a match.
    candidates: Vec<DataFileEntry>,
    /// Winners that take over values of the rows that they replace.
    replaced: Vec<Replaced>,
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
    let budget_bytes = limit_bytes / ENTRIES_SHARE;
    let rows = pass.interval.interval().rows();
    let rounds = Round::all(rows, budget_bytes);
    if rows * ENTRY_BYTES / 256 > budget_bytes {
        let reason =
            format!("{rows} rows need at least {} bytes for their keys", rows * ENTRY_BYTES / 256 * ENTRIES_SHARE);
        return Err(Error::Memory { limit_bytes, reason });
    }
    let ranks = Arc::new(RankBytes::new(if pass.ranking.needs_bytes() { pass.interval.file_count() } else { 0 }));
    let mut conflicts: Vec<RowAddress> = Vec::new();
    let mut found = Found {
        touched: Vec::new(),
        candidates: Vec::new(),
        replaced: Vec::new(),
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
            found.candidates = matching_files(dedupe, pass, &found.footprint);
        }
        let (collectors, resolve_verdicts, resolve_ranks) =
            (findings.collectors, Arc::clone(verdicts), Arc::clone(&ranks));
        let tags = pass.tags();
        let winners =
            tokio::task::spawn_blocking(move || resolve(collectors, &resolve_ranks, &resolve_verdicts, tags, threads))
                .await
                .map_err(|error| Error::compute("failed to find winners", bug(error)))?;
        let winners = Arc::new(winners);
        conflicts.extend(winners.conflicts());
        let table: &TableName = &dedupe.contract.table;
        if let Some(reader) = &dedupe.table {
            let matching = Matching { reader, candidates: &found.candidates, pass, table, threads };
            let matched = matching.run(&winners, &ranks, verdicts).await?;
            merge_touched(&mut found.touched, matched.touched);
            found.replaced.extend(matched.replaced);
            conflicts.extend(matched.conflicts);
        }
        if let Some(tombstones) = &mut tombstones {
            tombstones.apply(pass, &winners, &ranks, verdicts)?;
        }
        settle(&winners, verdicts);
        if let Some(tombstones) = &mut tombstones {
            tombstones.add(pass, &winners, verdicts, dedupe.now).await?;
        }
    }
    if let Some(rule) = pass.rules.tenant_conflict() {
        found.broken_rows[rule] += conflicts.len() as u64;
        tenants::reject(&conflicts, rule, &mut found.rejects);
    }
    if let Some(tombstones) = tombstones {
        found.tombstones = tombstones.next(dedupe.now, dedupe.contract.lateness.map(|lateness| lateness.seconds))?;
    }
    Ok(found)
}

fn matching_files(dedupe: &Dedupe<'_>, pass: &KeyPass, footprint: &Footprint) -> Vec<DataFileEntry> {
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

/// Writes tombstones, rows and position deletes. What was staged is taken back when the rest of it fails.
async fn stage(
    dedupe: &Dedupe<'_>,
    payload: &Arc<Payload>,
    touched: &Touched,
    tombstones: Option<&RecordBatch>,
    balance: &Balance,
) -> Result<(Vec<spec::DataFile>, Vec<StagedFile>)> {
    let staged = async {
        if let Some(batch) = tombstones {
            // One small object, whose answer is waited for: an upload that is dropped may still become an object.
            tombstones::write(dedupe.storage, &dedupe.tombstones_next, batch).await?;
        }
        if balance.is_noop() {
            dedupe.stop.unless(payload.write_batch(None)).await?;
            return Ok((Vec::new(), Vec::new()));
        }
        let writer = Arc::new(TableWriter::new(dedupe.writer.clone())?);
        let rows = dedupe.stop.unless(write_rows(dedupe.table.as_ref(), payload, touched, &writer, balance)).await;
        let written = match rows {
            // Small objects like tombstones.
            Ok(files) => touched.write_deletes(&delete_options(dedupe)).await.map(|deletes| (files, deletes)),
            Err(error) => Err(error),
        };
        let Err(error) = written else { return written };
        let cause = writer.failure();
        if let Err(error) = writer.abort().await {
            tracing::warn!(%error, "failed to remove staged files");
        }
        match error {
            Error::Stopped => Err(Error::Stopped),
            error => Err(cause.unwrap_or(error)),
        }
    };
    let staged = staged.await;
    let is_ours = !matches!(&staged, Err(Error::Lake(lake::Error::Occupied { .. })));
    if staged.is_err() && tombstones.is_some() && is_ours {
        discard_staged(dedupe.storage, &dedupe.contract.table, vec![dedupe.tombstones_next.clone()]).await;
    }
    staged
}

/// Writes the batch and what stays of the files that are written again. What was written must be what was counted.
async fn write_rows(
    reader: Option<&Arc<TableReader>>,
    payload: &Arc<Payload>,
    touched: &Touched,
    writer: &Arc<TableWriter>,
    balance: &Balance,
) -> Result<Vec<spec::DataFile>> {
    let survivors = match reader {
        Some(reader) => touched.rewrite(reader, payload.interval.schema(), writer, payload.threads).await?,
        None => 0,
    };
    let written = payload.write_batch(Some(writer)).await?;
    let files = writer.close().await?;
    let in_files: u64 = files.iter().map(|file| file.record_count()).sum();
    let expected = balance.inserted + balance.updated - balance.deleted;
    if written != expected || in_files != survivors + expected {
        return Err(Error::Balance { read: survivors + expected, accounted: in_files });
    }
    Ok(files)
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
pub fn warnings(rules: &Rules, broken_rows: &[u64]) -> Vec<QualityResult> {
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
