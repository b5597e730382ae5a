//! Files in; groups to write again, what is kept, and every reason out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::SignedDuration;

use super::{
    ARCHIVED, Arrange, CompactPlan, Compaction, Facts, FileFacts, Group, GroupFile, How, JobOrder, Kept, PartitionKey,
    Strategy, decide_manifests, options::Sizes, size,
};

/// Commits of one run unless another number is asked for.
const COMMITS_MAX: u64 = 10;

/// Less than this is not worth a commit of its own, unless a number of commits is asked for.
const BYTES_PER_COMMIT: u64 = 1 << 30;

/// Decides. The same facts give the same plan.
pub fn decide(facts: &Facts) -> CompactPlan {
    let sizes = match facts.options.sizes(facts.target_file_bytes) {
        Ok(sizes) => sizes,
        Err(reasons) => return CompactPlan::Refused { reasons },
    };
    let arrange = arrange(facts);
    let mut kept = Keeps::default();
    let mut candidates: BTreeMap<&PartitionKey, Vec<Candidate<'_>>> = BTreeMap::new();
    let active = active_partitions(facts);
    for file in &facts.files {
        let stays = match (file.is_selected, active.get(&file.partition)) {
            (false, _) => Some("--where leaves it out".to_owned()),
            (true, Some(reason)) => Some(reason.clone()),
            (true, None) if file.is_archived => Some(format!("{ARCHIVED}: it must be restored before it can be read")),
            (true, None) => None,
        };
        match stays.map_or_else(|| judge(file, facts, &sizes, &arrange), Err) {
            Ok(candidate) => candidates.entry(&file.partition).or_default().push(candidate),
            Err(reason) => kept.add(file, reason),
        }
    }
    let mut groups = Vec::new();
    for (partition, files) in candidates {
        for files in pack(files, facts) {
            match worth_it(&files, facts, &sizes) {
                Ok(reasons) => groups.push(group(partition, &files, reasons, facts, &sizes, &arrange)),
                Err(reason) => files.iter().for_each(|candidate| kept.add(candidate.file, reason.clone())),
            }
        }
    }
    order(&mut groups, facts.options.job_order);
    let groups = within_limits(groups, facts, &mut kept);
    let commits = commits(facts, &groups);
    let drops = if facts.options.remove_dangling_deletes { facts.dangling_delete_files } else { 0 };
    let manifests = decide_manifests(&facts.manifests, facts.options.rewrite_manifests);
    let is_idle = groups.is_empty() && drops == 0 && manifests.is_idle();
    let compaction = Compaction {
        table: facts.table.clone(),
        snapshot_id: facts.snapshot_id,
        target_file_bytes: sizes.target,
        groups_per_commit: (groups.len() as u64).div_ceil(commits).max(1),
        groups,
        kept: kept
            .0
            .into_iter()
            .map(|((partition, reason), (files, bytes))| Kept { partition, reason, files, bytes })
            .collect(),
        dangling_delete_files: drops,
        removes_dangling_deletes: facts.options.remove_dangling_deletes,
        manifests,
    };
    if is_idle { CompactPlan::KeepAll(compaction) } else { CompactPlan::Compact(compaction) }
}

/// How many commits the groups share.
fn commits(facts: &Facts, groups: &[Group]) -> u64 {
    if !facts.options.partial_progress {
        return 1;
    }
    let bytes: u64 = groups.iter().map(|group| group.bytes).sum();
    facts.options.max_commits.unwrap_or_else(|| bytes.div_ceil(BYTES_PER_COMMIT).clamp(1, COMMITS_MAX))
}

/// Files that stay, counted by partition and reason.
#[derive(Default)]
struct Keeps(BTreeMap<(PartitionKey, String), (u64, u64)>);

impl Keeps {
    fn add(&mut self, file: &FileFacts, reason: String) {
        let (files, bytes) = self.0.entry((file.partition.clone(), reason)).or_default();
        *files += 1;
        *bytes += file.bytes;
    }
}

/// A file that may be written again.
struct Candidate<'a> {
    file: &'a FileFacts,
    reasons: Vec<String>,
    /// A reason that holds for the file alone. Its size does not: one small file stays one small file.
    is_sure: bool,
}

fn arrange(facts: &Facts) -> Arrange {
    match (&facts.options.strategy, &facts.sort_order) {
        (Strategy::Table, Some(order)) => Arrange::TableOrder { id: order.id },
        (Strategy::Table, None) | (Strategy::BinPack, _) => Arrange::Pack,
        (Strategy::Sort(terms), _) => Arrange::Sort { terms: terms.clone() },
        (Strategy::ZOrder(columns), _) => Arrange::ZOrder { columns: columns.clone() },
    }
}

/// The partitions that still receive data, and why that is believed.
fn active_partitions(facts: &Facts) -> BTreeMap<&PartitionKey, String> {
    if facts.options.include_active {
        return BTreeMap::new();
    }
    let span =
        |duration: contract::Duration| SignedDuration::from_secs(i64::try_from(duration.seconds).unwrap_or(i64::MAX));
    let before =
        |time: jiff::Timestamp, of: contract::Duration| time.checked_add(span(of)).is_ok_and(|end| end <= facts.now);
    let why = |partition: &super::PartitionFacts| {
        if let (Some(end), Some(lateness)) = (partition.event_time_end, facts.lateness)
            && !before(end, lateness)
        {
            return Some(format!(
                "its partition still receives data: its events end at {end} and may be {lateness} late"
            ));
        }
        let write = partition.last_write.as_ref().filter(|write| !before(write.at, facts.options.active_for))?;
        Some(format!("its partition still receives data: {} added to it at {}", write.by, write.at))
    };
    facts.partitions.iter().filter_map(|(key, partition)| Some((key, why(partition)?))).collect()
}

/// Whether a file may be written again, with the reasons; or why it stays.
fn judge<'a>(file: &'a FileFacts, facts: &Facts, sizes: &Sizes, arrange: &Arrange) -> Result<Candidate<'a>, String> {
    let options = &facts.options;
    let mut reasons = Vec::new();
    if options.rewrite_all {
        reasons.push("--rewrite-all".to_owned());
    }
    if file.partition.spec_id != facts.spec_id {
        reasons.push(format!("of partition spec {}, where the table's is {}", file.partition.spec_id, facts.spec_id));
    }
    if let (Arrange::TableOrder { id }, Some(order)) = (arrange, &facts.sort_order)
        && file.sort_order_id != Some(*id)
    {
        reasons.push(format!("not sorted by {}", order.text));
    }
    if let Some(threshold) = options.delete_file_threshold.filter(|threshold| file.delete_files >= *threshold) {
        reasons.push(format!("{threshold} or more delete files apply"));
    }
    let deleted_ratio = file.deleted_rows as f64 / file.rows.max(1) as f64;
    if file.deleted_rows > 0 && deleted_ratio >= options.delete_ratio_threshold {
        reasons.push(format!("{:.0} % or more of the rows deleted", options.delete_ratio_threshold * 100.0));
    }
    let is_sure = !reasons.is_empty();
    if file.bytes < sizes.min {
        reasons.push(format!("smaller than {}", size(sizes.min)));
    } else if file.bytes > sizes.max {
        reasons.push(format!("larger than {}", size(sizes.max)));
    }
    if reasons.is_empty() { Err("of the right size".to_owned()) } else { Ok(Candidate { file, reasons, is_sure }) }
}

/// Candidates of one partition, the oldest first, in groups that are no larger than one may be.
fn pack<'a>(mut files: Vec<Candidate<'a>>, facts: &Facts) -> Vec<Vec<Candidate<'a>>> {
    files.sort_by(|a, b| (a.file.sequence_number, &a.file.path).cmp(&(b.file.sequence_number, &b.file.path)));
    let options = &facts.options;
    // A group larger than a run may be would never be written.
    let bytes_max = options.max_group_bytes.min(options.max_bytes.unwrap_or(u64::MAX));
    let files_max = usize::try_from(options.max_files.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let mut groups: Vec<Vec<Candidate<'a>>> = Vec::new();
    let mut bytes: u64 = 0;
    for candidate in files {
        let file_bytes = candidate.file.bytes;
        match groups.last_mut() {
            Some(group) if bytes.saturating_add(file_bytes) <= bytes_max && group.len() < files_max => {
                bytes += file_bytes;
                group.push(candidate);
            }
            _ => {
                bytes = file_bytes;
                groups.push(vec![candidate]);
            }
        }
    }
    groups
}

/// The reasons to write a group again, or why it stays.
fn worth_it(files: &[Candidate<'_>], facts: &Facts, sizes: &Sizes) -> Result<Vec<String>, String> {
    let count = files.len() as u64;
    let bytes: u64 = files.iter().map(|candidate| candidate.file.bytes).sum();
    let is_sure = files.iter().any(|candidate| candidate.is_sure);
    let has_enough_files = count > 1 && count >= facts.options.min_input_files;
    let has_enough_bytes = count > 1 && bytes > sizes.target;
    if is_sure || has_enough_files || has_enough_bytes || bytes > sizes.max {
        let reasons: BTreeSet<_> = files.iter().flat_map(|candidate| candidate.reasons.iter().cloned()).collect();
        return Ok(reasons.into_iter().collect());
    }
    let least = facts.options.min_input_files.max(2);
    Err(format!("small, but too few: fewer than {least} together, and no more than {}", size(sizes.target)))
}

fn group(
    partition: &PartitionKey,
    files: &[Candidate<'_>],
    reasons: Vec<String>,
    facts: &Facts,
    sizes: &Sizes,
    arrange: &Arrange,
) -> Group {
    let alive = |file: &FileFacts| {
        let alive_rows = file.rows.saturating_sub(file.deleted_rows);
        (u128::from(file.bytes) * u128::from(alive_rows) / u128::from(file.rows.max(1))) as u64
    };
    let alive_bytes: u64 = files.iter().map(|candidate| alive(candidate.file)).sum();
    let file_bytes = alive_bytes.div_ceil(outputs(alive_bytes, sizes)).max(1);
    let planned = files.iter().map(|candidate| {
        let file = candidate.file;
        let (how, why) = how(file, facts, arrange, file_bytes);
        GroupFile { path: file.path.clone(), bytes: file.bytes, how, why }
    });
    Group {
        partition: partition.clone(),
        files: planned.collect(),
        bytes: files.iter().map(|candidate| candidate.file.bytes).sum(),
        rows: files.iter().map(|candidate| candidate.file.rows).sum(),
        arrange: arrange.clone(),
        file_bytes,
        reasons,
    }
}

/// How many files so many bytes become. The rest that does not fill a file is one where it is large enough to stay, or is
/// shared out where that makes the others no larger than a tenth over the target, as Spark does it.
fn outputs(bytes: u64, sizes: &Sizes) -> u64 {
    let (whole, rest) = (bytes / sizes.target, bytes % sizes.target);
    let over = sizes.target.saturating_add(sizes.target / 10).min(sizes.max);
    if whole == 0 || rest == 0 {
        whole.max(1)
    } else if rest <= sizes.min && bytes / whole <= over {
        whole
    } else {
        whole + 1
    }
}

/// How a file's rows get into a new one, and why that way.
fn how(file: &FileFacts, facts: &Facts, arrange: &Arrange, file_bytes: u64) -> (How, String) {
    let copy_min_bytes = facts.options.copy_min_bytes;
    let group_bytes = file.bytes / file.row_groups.unwrap_or(1).max(1);
    let why = if *arrange != Arrange::Pack {
        "its rows are sorted".to_owned()
    } else if file.partition.spec_id != facts.spec_id {
        "its rows go to other partitions".to_owned()
    } else if file.delete_files > 0 {
        "deletes apply to it".to_owned()
    } else if group_bytes < copy_min_bytes {
        format!("its row groups are smaller than {}", size(copy_min_bytes))
    } else if group_bytes > file_bytes.saturating_add(file_bytes / 4) {
        format!("its row groups are larger than {}", size(file_bytes))
    } else {
        return (How::Copy, "no delete applies to it".to_owned());
    };
    (How::Decode, why)
}

fn order(groups: &mut [Group], by: JobOrder) {
    match by {
        JobOrder::None => {}
        JobOrder::BytesAscending => groups.sort_by_key(|group| group.bytes),
        JobOrder::BytesDescending => groups.sort_by_key(|group| Reverse(group.bytes)),
        JobOrder::FilesAscending => groups.sort_by_key(|group| group.files.len()),
        JobOrder::FilesDescending => groups.sort_by_key(|group| Reverse(group.files.len())),
    }
}

/// The groups that one run may write, in their order; one that does not fit may be followed by a smaller one that does.
fn within_limits(groups: Vec<Group>, facts: &Facts, kept: &mut Keeps) -> Vec<Group> {
    let options = &facts.options;
    let (mut files, mut bytes) = (0, 0);
    let mut taken: Vec<Group> = Vec::new();
    for group in groups {
        let (files_then, bytes_then) = (files + group.files.len() as u64, bytes + group.bytes);
        // A single file that is larger than the limit is written all the same, alone: else it never would be.
        let is_first = taken.is_empty() && group.files.len() == 1;
        let limit = if options.max_files.is_some_and(|max| files_then > max) {
            options.max_files.map(|max| format!("--max-files {max}"))
        } else if options.max_bytes.is_some_and(|max| bytes_then > max && !is_first) {
            options.max_bytes.map(|max| format!("--max-bytes {}", size(max)))
        } else {
            None
        };
        let Some(limit) = limit else {
            (files, bytes) = (files_then, bytes_then);
            taken.push(group);
            continue;
        };
        let entry = kept.0.entry((group.partition.clone(), format!("left for the next run by {limit}"))).or_default();
        entry.0 += group.files.len() as u64;
        entry.1 += group.bytes;
    }
    taken
}

#[cfg(test)]
mod tests;
