//! What lies in the raw zone for a run, and what of it must be said: files that no run takes.

use std::collections::{BTreeMap, HashSet};

use contract::TableName;
use lake::{
    Location,
    raw::{self, Beside, Ignored, IgnoredReason, Listing, RawInterval, RawTemplate, Sweep},
};
use plan::{
    Interval,
    dedupe::{Found, LeftOut, Memory, PendingFiles, RawFile, Seen, window_start},
};

use super::facts::{Source, What};
use crate::{config::TableConfig, error::Result, job::Job};

/// What a run is to know of the raw zone.
#[derive(Debug, Default)]
pub struct Listed {
    /// Files that it may have to take, and those beside them.
    pub files: Vec<RawFile>,
    /// Further files that are in the table.
    pub settled: u64,
    /// For the ledger, where all was looked at.
    pub seen: Option<Seen>,
    /// What is no input.
    pub left_out: Vec<LeftOut>,
    /// What people must know of it.
    pub warnings: Vec<String>,
}

/// Names that a warning has.
const NAMES_MAX: usize = 5;

impl Source<'_> {
    /// Lists it.
    pub(super) async fn list(&self, memory: &Memory) -> Result<Listed> {
        let storage = &self.job.lake().await?.storage;
        let (listing, found) = match &self.what {
            What::Folder(folder) => (of_listing(raw::discover(storage, folder).await?), Found::default()),
            What::Interval(interval) => {
                let interval = RawInterval { start: interval.start(), end: interval.end() };
                let beside = beside(self.job, self.table)?;
                (of_listing(raw::list(storage, &self.template, interval, &beside).await?), Found::default())
            }
            What::Pending => self.pending(memory).await?,
        };
        let (files, rest) = listing;
        let mut files = files.iter().map(|file| self.raw_file(file)).collect::<Result<Vec<_>>>()?;
        files.extend(found.files.iter().cloned());
        let mut warnings = self.left_out_warnings(&rest);
        warnings.extend(self.late_warnings(&found));
        let left_out = rest
            .samples
            .iter()
            .map(|object| LeftOut { key: object.location.clone(), reason: object.reason.to_string() });
        let left_out = left_out.collect();
        Ok(Listed { files, settled: found.settled, seen: found.seen, left_out, warnings })
    }

    /// Looks at the whole raw zone, and once more at partitions of which the ledger knows nothing and that have late files.
    async fn pending(&self, memory: &Memory) -> Result<((Vec<raw::RawFile>, Sweep), Found)> {
        let storage = &self.job.lake().await?.storage;
        let beside = beside(self.job, self.table)?;
        let template = &self.template;
        let (is_keyed, now) = (!self.contract.key.is_empty(), self.job.program.now());
        let mut pending =
            PendingFiles::new(memory.clone(), self.contract.lateness, is_keyed, template.is_contiguous(), now);
        let see = |file: raw::RawFile, partition: RawInterval| {
            let arrival = Interval::new(partition.start, partition.end).ok();
            pending.see(described(&file, arrival));
            Ok(())
        };
        let after = memory.look_from(self.contract.lateness, now).and_then(|since| template.after(since));
        let rest = raw::sweep(storage, template, &beside, after.as_deref(), see).await?;
        let found = if after.is_some() { pending.finish_part() } else { pending.finish() };
        let mut late = Vec::new();
        for partition in &found.late {
            let interval = RawInterval { start: partition.start(), end: partition.end() };
            late.extend(raw::list(storage, template, interval, &beside).await?.files);
        }
        Ok(((late, rest), found))
    }

    pub(super) fn raw_file(&self, file: &raw::RawFile) -> Result<RawFile> {
        let arrival = match self.what {
            What::Folder(_) => None,
            _ => {
                let partition = self.template.partition(file.partition_start)?;
                Some(Interval::new(partition.start, partition.end)?)
            }
        };
        Ok(described(file, arrival))
    }

    /// One for what is left out as usual, and one for each reason for which rows may be missing.
    fn left_out_warnings(&self, rest: &Sweep) -> Vec<String> {
        let usual: u64 = rest.counts.iter().filter(|(reason, _)| !reason.is_odd()).map(|(_, count)| count).sum();
        let first = rest.samples.iter().filter(|object| !object.reason.is_odd()).min_by_key(|object| &object.location);
        let usual = first.map(|first| {
            let others = if usual > 1 { format!(", and {} more", usual - 1) } else { String::new() };
            format!("left out {}: {}{others}", first.location, first.reason)
        });
        let odd = rest.counts.iter().filter(|(reason, _)| reason.is_odd());
        let odd = odd.map(|(reason, count)| self.odd_warning(*reason, *count, &rest.samples));
        usual.into_iter().chain(odd).collect()
    }

    fn odd_warning(&self, reason: IgnoredReason, count: u64, samples: &[Ignored]) -> String {
        let names: Vec<_> =
            samples.iter().filter(|object| object.reason == reason).map(|object| object.location.as_str()).collect();
        let names = some_of(&names, count);
        let (source, root) = (self.template.text(), self.template.root());
        let zone = self.template.time_zone().iana_name().unwrap_or("UTC");
        let why = match reason {
            IgnoredReason::Delta | IgnoredReason::Iceberg | IgnoredReason::Hudi => {
                return format!(
                    "{names} below {root}: {}, and files that the table has removed are read all the same; a raw zone is to \
                     hold plain Parquet files",
                    metadata_of(reason),
                );
            }
            IgnoredReason::NoSuchTime => format!("paths with a time that does not exist in {zone}"),
            IgnoredReason::HiveDefault => "the partition of rows without a value".to_owned(),
            _ => format!("paths that do not fit source = {source:?}"),
        };
        let way = match reason {
            IgnoredReason::NoPartition => {
                "write the template as they lie ({M}, {d}, {H} without leading zeros, * for any name), or move them"
            }
            _ => "move them, or --replay their folder",
        };
        let is = if count == 1 { "is" } else { "are" };
        format!("{} below {root} {is} taken by no run, for {why}: {names}; {way}", file_count(count))
    }

    /// Leaves out partitions that must be restored first, where files no longer arrive as usual: they do not keep new ones from
    /// being taken. Says which.
    pub(super) fn leave_archived(
        &self,
        files: &mut Vec<RawFile>,
        archived: &mut HashSet<String>,
        memory: &Memory,
    ) -> Option<String> {
        let since = window_start(&memory.marks, self.contract.lateness, self.job.program.now())?;
        let left: HashSet<_> = files
            .iter()
            .filter(|file| archived.contains(&file.key))
            .filter_map(|file| file.arrival.filter(|arrival| arrival.start() < since))
            .collect();
        let is_left = |file: &RawFile| file.arrival.is_some_and(|arrival| left.contains(&arrival));
        let mut left_files: Vec<_> = files.extract_if(.., |file| is_left(file)).collect();
        left_files.retain(|file| archived.remove(&file.key));
        let first = left_files.iter().filter_map(|file| file.arrival).min()?;
        let names: Vec<_> = left_files.iter().map(|file| file.key.as_str()).collect();
        Some(format!(
            "{} left for later, in storage classes from which they must be restored: {}; etl tier restore {} --zone raw \
             --start {} --end {}, and the next --pending takes what can be read",
            file_count(names.len() as u64),
            some_of(&names, names.len() as u64),
            self.table.name,
            first.start(),
            first.end(),
        ))
    }

    fn late_warnings(&self, found: &Found) -> Vec<String> {
        let table = &self.table.name;
        let mut warnings = Vec::new();
        if !found.named.is_empty() {
            let names: Vec<_> = found.named.iter().map(|file| file.key.as_str()).collect();
            let names = some_of(&names, names.len() as u64);
            let way = match self.contract.key.is_empty() {
                true => "without a key their rows could be there twice: look, then --replay them".to_owned(),
                false => format!("to take them: {}", commands(table, &found.named)),
            };
            warnings.push(format!(
                "{} written since the last look to raw partitions that the ledger no longer knows, and not taken: {names}; {way}",
                file_count(found.named.len() as u64),
            ));
        }
        for (month, more) in &found.grown {
            let first: Option<jiff::civil::Date> = format!("{month}-01").parse().ok();
            let next = first.and_then(|date| date.checked_add(jiff::Span::new().months(1)).ok());
            let next = next.map(|date| date.to_string()).unwrap_or_default();
            warnings.push(format!(
                "{} more than at the last look in raw partitions of {month} that the ledger no longer knows, with earlier \
                 times of writing, and not taken; to take them: etl dedupe {table} --start {month}-01 --end {next}",
                file_count(*more),
            ));
        }
        warnings
    }
}

fn of_listing(listing: Listing) -> (Vec<raw::RawFile>, Sweep) {
    let mut rest = Sweep::default();
    for ignored in listing.ignored {
        rest.add(ignored);
    }
    (listing.files, rest)
}

/// What lies below a table's raw root and is others'.
fn beside(job: &Job, table: &TableConfig) -> Result<Beside> {
    let others = job.config.tables.values().filter(|other| other.name != table.name);
    // A template that is wrong is the other table's mistake, said when that one is worked on.
    let templates = others.filter_map(|other| RawTemplate::parse(&other.source, other.timezone.clone()).ok()).collect();
    let ours = job.config.tables.values().map(|table| table.quarantine.as_str());
    let folders = ours.chain([job.config.lake.warehouse.as_str()]).map(|folder| {
        let mut folder = Location::parse(folder)?.to_string();
        folder.push('/');
        Ok(folder)
    });
    Ok(Beside { templates, folders: folders.collect::<Result<_>>()? })
}

fn described(file: &raw::RawFile, arrival: Option<Interval>) -> RawFile {
    RawFile {
        key: file.location.clone(),
        etag: file.etag.clone().unwrap_or_default(),
        bytes: file.size,
        modified: file.last_modified,
        arrival,
        rows: None,
        event_time: None,
    }
}

fn metadata_of(reason: IgnoredReason) -> &'static str {
    match reason {
        IgnoredReason::Delta => "the log of a Delta table",
        IgnoredReason::Iceberg => "metadata of an Iceberg table",
        _ => "metadata of a Hudi table",
    }
}

/// Commands that take partitions, and how many more there are.
fn commands(table: &TableName, files: &[RawFile]) -> String {
    const COMMANDS_MAX: usize = 3;
    let partitions: BTreeMap<_, _> =
        files.iter().filter_map(|file| Some((file.arrival?.start(), file.arrival?))).collect();
    let command =
        |arrival: &Interval| format!("etl dedupe {table} --start {} --end {}", arrival.start(), arrival.end());
    let mut text: Vec<_> = partitions.values().take(COMMANDS_MAX).map(command).collect();
    if partitions.len() > COMMANDS_MAX {
        text.push(format!("and so on for {} more partitions", partitions.len() - COMMANDS_MAX));
    }
    text.join(", ")
}

/// A few names, and how many more there are.
fn some_of(names: &[&str], count: u64) -> String {
    let mut seen = HashSet::new();
    let mut text: Vec<_> = names.iter().copied().filter(|name| seen.insert(*name)).collect();
    text.sort_unstable();
    text.truncate(NAMES_MAX);
    let more = count.saturating_sub(text.len() as u64);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", text.join(", "))
}

fn file_count(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}
