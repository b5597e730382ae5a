//! What is known of a table's files before a compaction is planned: from metadata and manifests alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use iceberg::spec::{
    Literal, NullOrder, Operation, PartitionField, PartitionSpec, PrimitiveLiteral, Schema, Snapshot, SortDirection,
    SortOrder, Struct, Transform,
};
use jiff::{SignedDuration, Timestamp, civil};
use plan::compact::{FileFacts, PartitionFacts, PartitionKey, Write};

use crate::{ApplicableDeletes, DataFileEntry, DeleteIndex, LiveFiles, Table, comparable_partition, partition_path};

/// The live files of a snapshot, as a compaction is planned over them.
#[derive(Debug, Clone, Default)]
pub struct CompactionFiles {
    /// In the order of [`LiveFiles::data`]; all of them selected.
    pub files: Vec<FileFacts>,
    /// Their partitions.
    pub partitions: BTreeMap<PartitionKey, PartitionFacts>,
    /// Delete files that apply to no data file.
    pub dangling_delete_files: u64,
}

impl CompactionFiles {
    /// Looks at the live files of a snapshot of the table. `event_time` is the column that says when something happened.
    pub fn of(table: &Table, live: &LiveFiles, event_time: Option<&str>) -> Self {
        let mut around = Around::of(table, &live.data, live, event_time);
        let files = live.data.iter().map(|entry| around.facts(entry)).collect();
        around.with(files)
    }

    /// The same where nobody needs the live files any more: each goes as its facts come.
    pub fn of_owned(table: &Table, mut live: LiveFiles, event_time: Option<&str>) -> Self {
        let data = std::mem::take(&mut live.data);
        let mut around = Around::of(table, &data, &live, event_time);
        let files = data.into_iter().map(|entry| around.facts(&entry)).collect();
        around.with(files)
    }
}

/// What has to be known of all data files before it can be said what one of them is.
struct Around<'a> {
    keys: Keys<'a>,
    partitions: BTreeMap<PartitionKey, PartitionFacts>,
    index: DeleteIndex<'a>,
    /// Rows of all the data files that a position delete file may apply to, by its path.
    shares: HashMap<&'a str, u64>,
    dangling_delete_files: u64,
}

impl<'a> Around<'a> {
    /// The deletes are those of `live`, the data files these.
    fn of(table: &'a Table, data: &[DataFileEntry], live: &'a LiveFiles, event_time: Option<&str>) -> Self {
        let event_time_id = event_time.and_then(|name| table.metadata.current_schema().field_id_by_name(name));
        let mut keys = Keys { table, known: HashMap::new(), paths: BTreeSet::new() };
        let mut partitions: BTreeMap<PartitionKey, PartitionFacts> = BTreeMap::new();
        let deletes: Vec<&DataFileEntry> = live.position_deletes.iter().chain(&live.equality_deletes).collect();
        for entry in data.iter().chain(deletes.iter().copied()) {
            let partition = partitions.entry(keys.of(entry)).or_insert_with(|| PartitionFacts {
                event_time_end: event_time_id.and_then(|id| event_time_end(table, entry, id)),
                last_write: None,
            });
            let write = table.metadata.snapshot_by_id(entry.snapshot_id).and_then(|snapshot| write(snapshot));
            if let Some(write) = write
                && partition.last_write.as_ref().is_none_or(|last| last.at < write.at)
            {
                partition.last_write = Some(write);
            }
        }
        let index = live.delete_index();
        let (mut shares, mut applied) = (HashMap::new(), HashSet::new());
        for file in data.iter().filter(|_| !deletes.is_empty()) {
            let ApplicableDeletes { position, equality } = index.for_file(file);
            for delete in &position {
                *shares.entry(delete.data_file.file_path()).or_default() += file.data_file.record_count();
            }
            applied.extend(position.into_iter().chain(equality).map(|delete| delete.data_file.file_path()));
        }
        let dangling = deletes.iter().filter(|delete| !applied.contains(delete.data_file.file_path())).count();
        Self { keys, partitions, index, shares, dangling_delete_files: dangling as u64 }
    }

    fn facts(&mut self, entry: &DataFileEntry) -> FileFacts {
        file_facts(entry, self.keys.of(entry), &self.index, &self.shares)
    }

    fn with(self, files: Vec<FileFacts>) -> CompactionFiles {
        let Self { partitions, dangling_delete_files, .. } = self;
        CompactionFiles { files, partitions, dangling_delete_files }
    }
}

/// Gives each partition a key of its own: two may have one path, as NULL and the text `null` do.
struct Keys<'a> {
    table: &'a Table,
    known: HashMap<(i32, Struct), PartitionKey>,
    paths: BTreeSet<PartitionKey>,
}

impl Keys<'_> {
    fn of(&mut self, entry: &DataFileEntry) -> PartitionKey {
        let partition = comparable_partition(entry.data_file.partition());
        if let Some(key) = self.known.get(&(entry.spec_id, partition.clone())) {
            return key.clone();
        }
        let metadata = &self.table.metadata;
        let spec = metadata.partition_spec_by_id(entry.spec_id);
        let named = spec.and_then(|spec| path(spec, metadata.current_schema(), entry.data_file.partition()));
        let path = named.unwrap_or_else(|| format!("{partition:?}"));
        let mut key = PartitionKey { spec_id: entry.spec_id, path };
        while !self.paths.insert(key.clone()) {
            key.path.push_str(" (another)");
        }
        self.known.insert((entry.spec_id, partition), key.clone());
        key
    }
}

/// `None` for a spec whose source columns are gone.
fn path(spec: &PartitionSpec, schema: &Schema, partition: &Struct) -> Option<String> {
    partition_path(spec, schema, partition).ok()
}

fn file_facts(
    entry: &DataFileEntry,
    partition: PartitionKey,
    index: &DeleteIndex<'_>,
    shares: &HashMap<&str, u64>,
) -> FileFacts {
    let file = &entry.data_file;
    let deletes = index.for_file(entry);
    let rows = file.record_count();
    let share = |delete: &DataFileEntry| {
        let all = shares.get(delete.data_file.file_path()).copied().unwrap_or(rows).max(1);
        u128::from(delete.data_file.record_count()) * u128::from(rows) / u128::from(all)
    };
    let deleted: u128 = deletes.position.iter().map(|delete| share(delete)).sum();
    FileFacts {
        path: file.file_path().to_owned(),
        partition,
        bytes: file.file_size_in_bytes(),
        rows,
        row_groups: file.split_offsets().map(|offsets| offsets.len() as u64).filter(|groups| *groups > 0),
        sequence_number: entry.sequence_number,
        delete_files: (deletes.position.len() + deletes.equality.len()) as u64,
        deleted_rows: u64::try_from(deleted).unwrap_or(u64::MAX).min(rows),
        sort_order_id: file.sort_order_id(),
        is_selected: true,
        is_archived: false,
    }
}

/// A commit that brought something; `None` for one that only moved what was there.
fn write(snapshot: &Snapshot) -> Option<Write> {
    let summary = snapshot.summary();
    if summary.operation == Operation::Replace {
        return None;
    }
    let said = |name: &str| summary.additional_properties.get(name);
    let by = match (said("etl.job"), said("engine-name")) {
        (Some(job), _) => format!("etl {job}"),
        (None, Some(engine)) => engine.clone(),
        (None, None) if said("flink.job-id").is_some() => "flink".to_owned(),
        (None, None) if said("spark.app.id").is_some() => "spark".to_owned(),
        (None, None) => "another engine".to_owned(),
    };
    let at = Timestamp::from_millisecond(snapshot.timestamp_ms()).ok()?;
    Some(Write { at, by })
}

/// The end of the event times in the file's partition, where its values say so.
fn event_time_end(table: &Table, entry: &DataFileEntry, event_time_id: i32) -> Option<Timestamp> {
    let spec = table.metadata.partition_spec_by_id(entry.spec_id)?;
    let values = spec.fields().iter().zip(entry.data_file.partition().iter());
    let ends =
        values.filter(|(field, _)| field.source_id == event_time_id).filter_map(|(field, value)| end(field, value));
    ends.min()
}

fn end(field: &PartitionField, value: Option<&Literal>) -> Option<Timestamp> {
    let Some(Literal::Primitive(PrimitiveLiteral::Int(value))) = value else { return None };
    let after = i64::from(*value) + 1;
    let month = |months: i64| {
        let year = i16::try_from(1970 + months.div_euclid(12)).ok()?;
        let day = civil::Date::new(year, i8::try_from(months.rem_euclid(12) + 1).ok()?, 1).ok()?;
        day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    };
    let hours = |hours: i64| Timestamp::UNIX_EPOCH.checked_add(SignedDuration::from_hours(hours)).ok();
    match field.transform {
        Transform::Year => month(after * 12),
        Transform::Month => month(after),
        // An integer under the identity is a date.
        Transform::Day | Transform::Identity => hours(after * 24),
        Transform::Hour => hours(after),
        _ => None,
    }
}

/// A sort order for people: `device_id ASC NULLS FIRST, day(event_time) DESC NULLS LAST`.
pub fn sort_order_text(order: &SortOrder, schema: &Schema) -> String {
    let term = |field: &iceberg::spec::SortField| {
        let column = schema.name_by_field_id(field.source_id).unwrap_or("?");
        let subject = match field.transform {
            Transform::Identity => column.to_owned(),
            transform => format!("{transform}({column})"),
        };
        let direction = if field.direction == SortDirection::Descending { "DESC" } else { "ASC" };
        let nulls = if field.null_order == NullOrder::First { "FIRST" } else { "LAST" };
        format!("{subject} {direction} NULLS {nulls}")
    };
    order.fields.iter().map(term).collect::<Vec<_>>().join(", ")
}
