//! What one version of a table refers to, and which rows each of its snapshots has, found without the program: metadata.json
//! read as JSON, manifests by the iceberg crate, data and position delete files row by row.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
};
use lake::spec::{DataContentType, FormatVersion, Manifest, ManifestList};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

use crate::{
    memory::{BUCKET, Memory},
    model::Row,
};

/// Reads versions of the table of random batches. What lies at a location never changes, and is read once.
pub struct Versions {
    memory: Memory,
    /// Objects that a manifest list leads to, and the rows, in order.
    lists: HashMap<String, Arc<Content>>,
    manifests: HashMap<String, Arc<Vec<(DataContentType, String)>>>,
    rows: HashMap<String, Arc<Vec<Row>>>,
    deleted: HashMap<String, Arc<Vec<(String, i64)>>>,
    versions: HashMap<String, Arc<Version>>,
}

/// A version of the table.
#[derive(Debug)]
pub struct Version {
    /// The metadata.json.
    pub document: Value,
    /// Keys of the objects that it needs for itself.
    pub own: BTreeSet<String>,
    /// Its snapshots by id.
    pub snapshots: BTreeMap<i64, Snapshot>,
    /// The snapshot that is current.
    pub current: Option<i64>,
}

/// A snapshot.
#[derive(Debug)]
pub struct Snapshot {
    pub parent: Option<i64>,
    pub committed_ms: i64,
    /// Keys of the objects that it needs, but for those of its content.
    own: BTreeSet<String>,
    content: Arc<Content>,
}

#[derive(Debug)]
struct Content {
    objects: BTreeSet<String>,
    data: BTreeSet<String>,
    rows: Vec<Row>,
}

impl Version {
    /// Keys of everything that it refers to.
    pub fn needs(&self) -> BTreeSet<&String> {
        self.own.iter().chain(self.snapshots.values().flat_map(Snapshot::needs)).collect()
    }
}

impl Snapshot {
    /// Keys of the objects that it needs.
    pub fn needs(&self) -> impl Iterator<Item = &String> {
        self.own.iter().chain(&self.content.objects)
    }

    /// Keys of its data files.
    pub fn data(&self) -> &BTreeSet<String> {
        &self.content.data
    }

    /// Its rows in order of their keys.
    pub fn rows(&self) -> &[Row] {
        &self.content.rows
    }
}

impl Versions {
    pub fn new(memory: Memory) -> Self {
        let (lists, manifests, rows, deleted) = Default::default();
        Self { memory, lists, manifests, rows, deleted, versions: HashMap::new() }
    }

    /// The version whose metadata lies there.
    pub fn at(&mut self, location: &str) -> Result<Arc<Version>, String> {
        if let Some(version) = self.versions.get(location) {
            return Ok(version.clone());
        }
        let document: Value = serde_json::from_slice(&self.bytes(location)?).map_err(|error| error.to_string())?;
        let items = |name: &str| document[name].as_array().map_or(&[][..], Vec::as_slice);
        let mut own = BTreeSet::from([key(location)?]);
        let logged = items("metadata-log").iter().map(|entry| &entry["metadata-file"]);
        let statistics = items("statistics").iter().chain(items("partition-statistics"));
        let statistics = statistics.map(|file| &file["statistics-path"]);
        for named in logged.chain(statistics).chain([&document["properties"]["etl.tombstones"]]) {
            own.extend(named.as_str().map(key).transpose()?);
        }
        let mut snapshots = BTreeMap::new();
        for snapshot in items("snapshots") {
            let list = snapshot["manifest-list"].as_str().ok_or("a snapshot without a manifest list")?;
            let id = snapshot["snapshot-id"].as_i64().ok_or("a snapshot without an id")?;
            let mut own = BTreeSet::from([key(list)?]);
            own.extend(snapshot["summary"]["etl.tombstones"].as_str().map(key).transpose()?);
            let committed_ms = snapshot["timestamp-ms"].as_i64().ok_or("a snapshot without a time")?;
            let content = self.content(list)?;
            snapshots
                .insert(id, Snapshot { parent: snapshot["parent-snapshot-id"].as_i64(), committed_ms, own, content });
        }
        let current = document["current-snapshot-id"].as_i64().filter(|id| snapshots.contains_key(id));
        let version = Arc::new(Version { own, snapshots, current, document });
        self.versions.insert(location.to_owned(), version.clone());
        Ok(version)
    }

    fn content(&mut self, list: &str) -> Result<Arc<Content>, String> {
        if let Some(content) = self.lists.get(list) {
            return Ok(content.clone());
        }
        let manifests = ManifestList::parse_with_version(&self.bytes(list)?, FormatVersion::V2);
        let manifests = manifests.map_err(|error| format!("{list}: {error}"))?;
        let (mut objects, mut data, mut rows, mut deleted) =
            (BTreeSet::new(), BTreeSet::new(), Vec::new(), HashMap::new());
        let mut files = Vec::new();
        for manifest in manifests.entries() {
            objects.insert(key(&manifest.manifest_path)?);
            files.extend(self.manifest(&manifest.manifest_path)?.iter().cloned());
        }
        for (kind, file) in &files {
            objects.insert(key(file)?);
            match kind {
                DataContentType::Data => drop(data.insert(key(file)?)),
                DataContentType::PositionDeletes => {
                    for (of, row) in self.deleted_rows(file)?.iter() {
                        deleted.entry(of.clone()).or_insert_with(BTreeSet::new).insert(*row);
                    }
                }
                DataContentType::EqualityDeletes => return Err(format!("{file}: nobody here writes equality deletes")),
            }
        }
        for (_, file) in files.iter().filter(|(kind, _)| *kind == DataContentType::Data) {
            let deleted = deleted.remove(file).unwrap_or_default();
            let all = self.rows_of(file)?;
            rows.extend((0..).zip(all.iter()).filter(|(row, _)| !deleted.contains(row)).map(|(_, row)| row.clone()));
        }
        rows.sort_by_key(|row| row.key);
        let content = Arc::new(Content { objects, data, rows });
        self.lists.insert(list.to_owned(), content.clone());
        Ok(content)
    }

    fn manifest(&mut self, location: &str) -> Result<Arc<Vec<(DataContentType, String)>>, String> {
        if let Some(files) = self.manifests.get(location) {
            return Ok(files.clone());
        }
        let manifest = Manifest::parse_avro(&self.bytes(location)?).map_err(|error| format!("{location}: {error}"))?;
        let live = manifest.entries().iter().filter(|entry| entry.is_alive());
        let file = |of: &lake::spec::DataFile| (of.content_type(), of.file_path().to_owned());
        let files = Arc::new(live.map(|entry| file(entry.data_file())).collect());
        self.manifests.insert(location.to_owned(), Arc::clone(&files));
        Ok(files)
    }

    fn rows_of(&mut self, location: &str) -> Result<Arc<Vec<Row>>, String> {
        if let Some(rows) = self.rows.get(location) {
            return Ok(rows.clone());
        }
        let mut rows = Vec::new();
        for batch in self.batches(location)? {
            let text = |name: &str| column(&batch, name, &DataType::Utf8);
            let number = |name: &str| column(&batch, name, &DataType::Int64);
            let (keys, times, ranks, ops) =
                (text("event_id")?, number("event_time")?, number("ingest_time")?, text("op")?);
            let values = column(&batch, "temperature", &DataType::Float64)?;
            let (keys, ops, times) =
                (keys.as_string::<i32>(), ops.as_string::<i32>(), times.as_primitive::<Int64Type>());
            let (ranks, values) = (ranks.as_primitive::<Int64Type>(), values.as_primitive::<Float64Type>());
            for row in 0..batch.num_rows() {
                let rank = ranks.is_valid(row).then(|| (ranks.value(row) - RANK_START_US) / 1_000_000);
                rows.push(Row {
                    key: keys.value(row).parse().ok(),
                    day: small((times.value(row) - DAY_START_US) / DAY_US)?,
                    value: small(values.value(row) as i64)?,
                    rank: rank.map(small).transpose()?,
                    is_delete: ops.value(row) == "D",
                });
            }
        }
        let rows = Arc::new(rows);
        self.rows.insert(location.to_owned(), rows.clone());
        Ok(rows)
    }

    fn deleted_rows(&mut self, location: &str) -> Result<Arc<Vec<(String, i64)>>, String> {
        if let Some(deleted) = self.deleted.get(location) {
            return Ok(deleted.clone());
        }
        let mut deleted = Vec::new();
        for batch in self.batches(location)? {
            let (paths, rows) =
                (column(&batch, "file_path", &DataType::Utf8)?, column(&batch, "pos", &DataType::Int64)?);
            let rows = rows.as_primitive::<Int64Type>().values().iter().copied();
            let paths = paths.as_string::<i32>().iter().map(|path| path.unwrap_or_default().to_owned());
            deleted.extend(paths.zip(rows));
        }
        let deleted = Arc::new(deleted);
        self.deleted.insert(location.to_owned(), deleted.clone());
        Ok(deleted)
    }

    fn batches(&self, location: &str) -> Result<Vec<RecordBatch>, String> {
        let say = |error: &dyn std::fmt::Display| format!("{location}: {error}");
        let reader = ParquetRecordBatchReaderBuilder::try_new(self.bytes(location)?).map_err(|error| say(&error))?;
        let reader = reader.build().map_err(|error| say(&error))?;
        reader.collect::<Result<_, _>>().map_err(|error| say(&error))
    }

    fn bytes(&self, location: &str) -> Result<bytes::Bytes, String> {
        self.memory.bytes(&key(location)?).ok_or_else(|| format!("{location} was never there"))
    }
}

/// 2025-06-02T12:00Z, the event time of day 0; and what rank 0 was taken in at.
const DAY_START_US: i64 = 1_748_865_600_000_000;
const DAY_US: i64 = 86_400_000_000;
const RANK_START_US: i64 = 1_748_995_200_000_000;

fn small(number: i64) -> Result<u8, String> {
    u8::try_from(number).map_err(|_| format!("{number} is in no row"))
}

fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> Result<arrow::array::ArrayRef, String> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("there is no column {name}"))?;
    cast(column, kind).map_err(|error| error.to_string())
}

/// The key of a location in the bucket.
pub fn key(location: &str) -> Result<String, String> {
    let key = location.strip_prefix("s3://").and_then(|rest| rest.strip_prefix(BUCKET)?.strip_prefix('/'));
    key.map(str::to_owned).ok_or_else(|| format!("{location} is not in the bucket"))
}
