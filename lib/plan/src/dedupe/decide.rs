//! The decision itself.

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use crate::{
    Interval,
    columns::{self, ColumnAction, absent::AbsentAction},
    dedupe::{
        AppliedRun, DedupePlan, Facts, MayRewrite, PartitionMark, PartitionPlan, RawFile, Refusal, Request, RunPlan,
        TargetFile, mark::digest,
    },
};

/// Most raw files that one run takes in. `--pending` leaves the rest to the next run; an interval with more is refused.
pub const FILES_PER_RUN_MAX: usize = 50_000;

/// Decides what a run does.
pub fn decide(facts: &Facts) -> DedupePlan {
    let mut files: Vec<&RawFile> = facts.files.iter().filter(|file| is_asked_for(&facts.request, file)).collect();
    files.sort_by(|a, b| (a.arrival, &a.key).cmp(&(b.arrival, &b.key)));
    if files.is_empty() && facts.settled == 0 {
        return DedupePlan::Nothing { reason: nothing(facts) };
    }
    match facts.request {
        Request::Interval(interval) if facts.is_keyed => decide_interval(facts, interval, files),
        Request::Interval(interval) => decide_interval_without_key(facts, interval, files),
        Request::Pending => decide_pending(facts, files),
        Request::Replay => decide_replay(facts, files),
    }
}

fn is_asked_for(request: &Request, file: &RawFile) -> bool {
    match (request, file.arrival) {
        (Request::Interval(interval), Some(arrival)) => interval.contains(arrival.start()),
        (Request::Pending, Some(_)) | (Request::Replay, _) => true,
        (_, None) => false,
    }
}

fn nothing(facts: &Facts) -> String {
    let left_out = match facts.left_out.len() {
        0 => String::new(),
        left_out => format!(" ({} left out)", count(left_out, "object")),
    };
    match facts.request {
        Request::Interval(interval) => format!("no raw files in {interval}{left_out}"),
        Request::Pending => format!("no raw files{left_out}"),
        Request::Replay => format!("no files in the folder{left_out}"),
    }
}

/// An interval is taken whole, or not at all.
fn decide_interval(facts: &Facts, interval: Interval, files: Vec<&RawFile>) -> DedupePlan {
    let judged = applied_keys(facts, &files, |mark| mark.is_judged_by(&facts.contract_digest));
    let last = facts.runs.iter().find(|run| run.interval.is_some_and(|other| other.overlaps(&interval)));
    if judged.len() == files.len() {
        return DedupePlan::AlreadyApplied {
            run_id: last.map(|run| run.run_id.clone()),
            reason: format!("the same {} and the same contract", count(files.len(), "raw file")),
        };
    }
    if files.len() > FILES_PER_RUN_MAX {
        return too_many(interval, files.len());
    }
    let applied = applied_keys(facts, &files, |_| true);
    let new = files.len() - applied.len();
    let reason = match last {
        None if applied.is_empty() => "no earlier run covers it".to_owned(),
        _ if new > 0 => format!("{} new or changed since it was last applied", count(new, "raw file")),
        _ => "the contract has changed since it was last applied".to_owned(),
    };
    let marks = marks(facts, &files);
    run(facts, Some(interval), files, marks, vec![reason])
}

/// Of an interval, only what is not in the table yet: without a key, rows that are taken again are there twice.
fn decide_interval_without_key(facts: &Facts, interval: Interval, files: Vec<&RawFile>) -> DedupePlan {
    if let Some(reason) = counted_twice(facts, &files) {
        return DedupePlan::Refused { refusal: Refusal::CountsTwice, reasons: vec![reason] };
    }
    let applied = applied_keys(facts, &files, |_| true);
    let new: Vec<_> = files.iter().copied().filter(|file| !applied.contains(file.key.as_str())).collect();
    let last = facts.runs.iter().find(|run| run.interval.is_some_and(|other| other.overlaps(&interval)));
    if new.is_empty() {
        return DedupePlan::AlreadyApplied {
            run_id: last.map(|run| run.run_id.clone()),
            reason: format!("the same {}", count(files.len(), "raw file")),
        };
    }
    if new.len() > FILES_PER_RUN_MAX {
        return too_many(interval, new.len());
    }
    let reason = match applied.len() {
        0 => "no earlier run covers it".to_owned(),
        applied => {
            format!("{} not in the table yet; {applied} that are stay as they are", count(new.len(), "raw file"))
        }
    };
    let marks = marks(facts, &files);
    run(facts, Some(interval), new, marks, vec![reason])
}

/// Why files of a table without a key cannot be told from those that are in it; the first reason says it for all.
fn counted_twice(facts: &Facts, files: &[&RawFile]) -> Option<String> {
    by_partition(files).into_iter().find_map(|(arrival, files)| {
        let start = arrival.start();
        match facts.marks.get(&start) {
            Some(mark) if mark.applied(&files).is_empty() => Some(format!(
                "files of raw partition {start} that are in the table have changed or gone since, and without a key their \
                 rows cannot be found: delete what the table has of them, then take the partition with --replay"
            )),
            None if facts.forgotten.has(start) => Some(format!(
                "the ledger no longer knows whether raw partition {start} is in the table, and without a key its rows \
                 could be there twice: check, then take it with --replay"
            )),
            _ => None,
        }
    })
}

/// Of what lies in the raw zone, only what is not in the table yet.
fn decide_pending(facts: &Facts, files: Vec<&RawFile>) -> DedupePlan {
    if !facts.is_keyed
        && let Some(reason) = counted_twice(facts, &files)
    {
        return DedupePlan::Refused { refusal: Refusal::CountsTwice, reasons: vec![reason] };
    }
    let applied = applied_keys(facts, &files, |_| true);
    let is_new = |file: &&RawFile| !applied.contains(file.key.as_str());
    let mut pending: Vec<_> = files.iter().copied().filter(is_new).collect();
    let settled = usize::try_from(facts.settled).unwrap_or(usize::MAX);
    if pending.is_empty() {
        return DedupePlan::AlreadyApplied {
            run_id: facts.runs.first().map(|run| run.run_id.clone()),
            reason: format!("{} seen, none of them new", count(files.len() + settled, "raw file")),
        };
    }
    let mut reasons = vec![format!("{} not in the table yet", count(pending.len(), "raw file"))];
    let is_all = pending.len() <= FILES_PER_RUN_MAX;
    if pending.len() > FILES_PER_RUN_MAX {
        // Whole partitions only: the ledger speaks of partitions, and a cut one would look applied.
        let cut = pending[FILES_PER_RUN_MAX].arrival;
        pending.retain(|file| file.arrival < cut);
        if pending.is_empty() {
            let partition = cut.map(|cut| cut.to_string()).unwrap_or_default();
            let reason = format!(
                "raw partition {partition} alone holds more than {FILES_PER_RUN_MAX} new files: join small ones before \
                 they are taken in, or write a finer path template"
            );
            return DedupePlan::Refused { refusal: Refusal::TooManyFiles, reasons: vec![reason] };
        }
        reasons.push(format!("the oldest {} are taken now, the rest by the next run", pending.len()));
    }
    let partitions: HashSet<_> = pending.iter().map(|file| file.arrival).collect();
    let files: Vec<_> = files.into_iter().filter(|file| partitions.contains(&file.arrival)).collect();
    // The marks will vouch for whole partitions under today's contract: what was judged by another one goes again.
    // Not so without a key: what is in the table stays as it was judged.
    let judged = applied_keys(facts, &files, |mark| !facts.is_keyed || mark.is_judged_by(&facts.contract_digest));
    let taken: Vec<_> = files.iter().copied().filter(|file| !judged.contains(file.key.as_str())).collect();
    if taken.len() > pending.len() {
        reasons.push(format!("{} judged by an earlier contract", count(taken.len() - pending.len(), "raw file")));
    }
    let interval = taken.iter().filter_map(|file| file.arrival).reduce(|a, b| a.hull(&b));
    let marks = marks(facts, &files);
    let mut plan = run(facts, interval, taken, marks, reasons);
    if let DedupePlan::Run(plan) = &mut plan
        && is_all
    {
        plan.seen.clone_from(&facts.seen);
    }
    plan
}

/// A folder is known by the digest of all its files.
fn decide_replay(facts: &Facts, files: Vec<&RawFile>) -> DedupePlan {
    let input_digest = digest(&files);
    let same = |run: &&AppliedRun| run.input_digest == input_digest && run.contract_digest == facts.contract_digest;
    if let Some(applied) = facts.runs.iter().find(same) {
        return DedupePlan::AlreadyApplied {
            run_id: Some(applied.run_id.clone()),
            reason: format!("the same {} and the same contract", count(files.len(), "file")),
        };
    }
    let reason = format!("{} to put through the same path", count(files.len(), "file"));
    run(facts, None, files, BTreeMap::new(), vec![reason])
}

/// Keys of the files that marks prove to be in the table.
fn applied_keys<'a>(facts: &Facts, files: &[&'a RawFile], which: impl Fn(&PartitionMark) -> bool) -> HashSet<&'a str> {
    by_partition(files)
        .into_iter()
        .filter_map(|(arrival, files)| {
            Some(facts.marks.get(&arrival.start()).filter(|mark| which(mark))?.applied(&files))
        })
        .flatten()
        .map(|file| file.key.as_str())
        .collect()
}

fn too_many(interval: Interval, files: usize) -> DedupePlan {
    let reason = format!(
        "{interval} holds {files} raw files and a run takes at most {FILES_PER_RUN_MAX}: split it with --start and --end"
    );
    DedupePlan::Refused { refusal: Refusal::TooManyFiles, reasons: vec![reason] }
}

fn marks(facts: &Facts, files: &[&RawFile]) -> BTreeMap<Timestamp, PartitionMark> {
    by_partition(files)
        .into_iter()
        .map(|(arrival, files)| (arrival.start(), PartitionMark::of(&files, &facts.contract_digest)))
        .collect()
}

fn by_partition<'a>(files: &[&'a RawFile]) -> BTreeMap<Interval, Vec<&'a RawFile>> {
    let mut partitions: BTreeMap<Interval, Vec<&RawFile>> = BTreeMap::new();
    for file in files {
        if let Some(arrival) = file.arrival {
            partitions.entry(arrival).or_default().push(file);
        }
    }
    partitions
}

fn run(
    facts: &Facts,
    interval: Option<Interval>,
    files: Vec<&RawFile>,
    marks: BTreeMap<Timestamp, PartitionMark>,
    reasons: Vec<String>,
) -> DedupePlan {
    let columns = columns::decide(facts.new_columns, &facts.unknown_columns);
    let refused: Vec<_> = columns.iter().filter(|column| column.action == ColumnAction::Refuse).collect();
    if !refused.is_empty() {
        let reasons = refused
            .into_iter()
            .map(|column| format!("{column}: add it to the contract, or set evolve or discard"))
            .collect();
        return DedupePlan::Refused { refusal: Refusal::UnknownColumns, reasons };
    }
    let absent_columns = columns::absent::decide(&facts.contract_columns, &facts.column_sets);
    let refused = absent_columns.iter().filter(|column| column.action == AbsentAction::Refuse);
    let reasons_against: Vec<String> = refused
        .map(|column| {
            format!("{column}: correct it, leave it out until files have the column, or say etl.absentColumns: keep")
        })
        .collect();
    if !reasons_against.is_empty() {
        return DedupePlan::Refused { refusal: Refusal::UnknownSource, reasons: reasons_against };
    }
    let event_time = event_time(&files);
    DedupePlan::Run(Box::new(RunPlan {
        table: facts.table.clone(),
        base_snapshot_id: facts.table_state.and_then(|table| table.snapshot_id),
        creates_table: facts.table_state.is_none(),
        interval,
        bytes: files.iter().map(|file| file.bytes).sum(),
        rows: files.iter().map(|file| file.rows).sum(),
        input_digest: digest(&files),
        expected_marks: match facts.is_keyed {
            true => BTreeMap::new(),
            false => marks.keys().map(|start| (*start, facts.marks.get(start).cloned())).collect(),
        },
        marks,
        seen: None,
        contract_digest: facts.contract_digest.clone(),
        partitions: partitions(&files),
        event_time,
        columns,
        absent_columns,
        may_rewrite: may_rewrite(&facts.target_files, event_time),
        left_out: facts.left_out.clone(),
        reasons,
        files: files.into_iter().cloned().collect(),
    }))
}

fn partitions(files: &[&RawFile]) -> Vec<PartitionPlan> {
    by_partition(files)
        .into_iter()
        .map(|(arrival, files)| PartitionPlan {
            arrival,
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
        })
        .collect()
}

fn event_time(files: &[&RawFile]) -> Option<(Timestamp, Timestamp)> {
    let times: Vec<_> = files.iter().map(|file| file.event_time).collect::<Option<_>>()?;
    times.into_iter().reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// Files whose bounds meet the batch; without bounds on either side any file may hold a row of it.
fn may_rewrite(files: &[TargetFile], batch: Option<(Timestamp, Timestamp)>) -> Vec<MayRewrite> {
    files
        .iter()
        .filter_map(|file| {
            let reason = match (file.event_time, batch) {
                (Some(file), Some(batch)) if file.1 < batch.0 || batch.1 < file.0 => return None,
                (Some(file), Some(_)) => format!("its event times {} to {} meet the batch", file.0, file.1),
                (None, _) => "it has no bounds for the event time".to_owned(),
                (_, None) => "the event times of the batch are not known".to_owned(),
            };
            Some(MayRewrite { path: file.path.clone(), bytes: file.bytes, rows: file.rows, reason })
        })
        .collect()
}

/// A number with its noun, in the plural where it is one.
pub(super) fn count(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

#[cfg(test)]
mod tests;
