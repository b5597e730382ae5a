//! What the tests of tables and commits share: a lake in a folder, a catalog that fails on demand, and files.

mod catalog;
mod foreign;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use contract::{Contract, TableName};
use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, Datum, Literal, Operation, Struct};
use uuid::Uuid;

pub(crate) use self::{
    catalog::{Answer, FakeCatalog, Then},
    foreign::ForeignLake,
};
use crate::{
    Change, ChangeKind, CommitInputs, CommitOptions, Committed, DataFileEntry, KeyScope, Lake, LedgerEntry, LiveFiles,
    Removal, Result, StagedFile, Storage, Table, commit,
};

/// Field id of the first key column.
pub(crate) const DEVICE_ID: i32 = 1;

/// A keyed table by day.
pub(crate) const CONTRACT: &str = r"
apiVersion: v3.1.0
kind: DataContract
id: iot.telemetry
version: 1.0.0
status: active
schema:
  - name: telemetry
    physicalName: curated.telemetry
    properties:
      - {name: device_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1}
      - {name: event_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 2}
      - name: event_time
        logicalType: timestamp
        physicalType: timestamptz
        required: true
        partitioned: true
        partitionKeyPosition: 1
        customProperties: [{property: etl.partitionTransform, value: day}]
      - {name: temperature, logicalType: number, physicalType: double}
customProperties:
  - {property: etl.dedupe.orderBy, value: event_time DESC}
";

/// A lake in a folder of its own.
pub(crate) struct TestLake {
    pub lake: Lake,
    pub catalog: Arc<FakeCatalog>,
    pub inputs: CommitInputs,
    pub clock: Arc<AtomicI64>,
    pub name: TableName,
    folder: tempfile::TempDir,
    files: AtomicU64,
}

impl TestLake {
    /// With an empty table by the test contract.
    pub(crate) async fn new() -> Self {
        let test = Self::without_table();
        test.lake.create_table(&contract(CONTRACT), &test.inputs).await.unwrap();
        test
    }

    pub(crate) fn without_table() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Arc::new(FakeCatalog::default());
        let lake = Lake {
            catalog: catalog.clone(),
            storage: Storage::local(),
            warehouse: format!("file://{}", folder.path().to_str().unwrap()),
        };
        let clock = Arc::new(AtomicI64::new(1_750_000_000_000));
        let inputs = inputs(&clock);
        Self {
            lake,
            catalog,
            inputs,
            clock,
            name: "curated.telemetry".parse().unwrap(),
            folder,
            files: AtomicU64::new(0),
        }
    }

    pub(crate) async fn table(&self) -> Table {
        self.lake.table(&self.name).await.unwrap().unwrap()
    }

    pub(crate) async fn live(&self) -> LiveFiles {
        let table = self.table().await;
        match table.head() {
            Some(head) => table.live_files(head.snapshot_id()).await.unwrap(),
            None => LiveFiles::default(),
        }
    }

    /// Paths of the live data files, their last parts only, sorted.
    pub(crate) async fn live_names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.live().await.data.iter().map(|file| last_part(file.data_file.file_path())).collect();
        names.sort();
        names
    }

    /// A data file of `rows` rows with keys from `first` to `last` in the partition of a day.
    pub(crate) async fn stage(&self, day: i32, first: &str, last: &str, rows: u64) -> StagedFile {
        self.stage_named(&format!("{day}-{first}-{last}"), day, first, last, rows, DataContentType::Data).await
    }

    /// A position delete file.
    pub(crate) async fn stage_deletes(&self, day: i32, rows: u64) -> StagedFile {
        self.stage_named(&format!("{day}-deletes"), day, "", "", rows, DataContentType::PositionDeletes).await
    }

    async fn stage_named(
        &self,
        name: &str,
        day: i32,
        first: &str,
        last: &str,
        rows: u64,
        content: DataContentType,
    ) -> StagedFile {
        let n = self.files.fetch_add(1, Ordering::Relaxed);
        let path = format!("{}/curated/telemetry/data/{n:03}-{name}.parquet", self.lake.warehouse);
        let bytes = Bytes::from(vec![b'x'; usize::try_from(rows).unwrap() * 10]);
        let mut file = DataFileBuilder::default();
        file.content(content)
            .file_path(path.clone())
            .file_format(DataFileFormat::Parquet)
            .partition(day_partition(day))
            .partition_spec_id(0)
            .record_count(rows)
            .file_size_in_bytes(bytes.len() as u64);
        if !first.is_empty() {
            file.lower_bounds(HashMap::from([(DEVICE_ID, Datum::string(first))]))
                .upper_bounds(HashMap::from([(DEVICE_ID, Datum::string(last))]));
        }
        self.lake.storage.write_new(&path, bytes).await.unwrap();
        StagedFile { data_file: file.build().unwrap(), spec_id: 0 }
    }

    /// An empty change on the table as it is.
    pub(crate) async fn change(&self, kind: ChangeKind) -> Change {
        Change::new(&self.table().await, kind)
    }

    pub(crate) async fn append(&self, day: i32, first: &str, last: &str, rows: u64) -> Committed {
        let added = vec![self.stage(day, first, last, rows).await];
        let change = Change { added, ..self.change(ChangeKind::Append).await };
        self.commit(&change).await.unwrap()
    }

    pub(crate) async fn commit(&self, change: &Change) -> Result<Committed> {
        commit(&self.lake, &self.table().await, change, &self.inputs, &quick()).await
    }

    /// Every object below the table's metadata folder, last parts only, sorted.
    pub(crate) fn metadata_files(&self) -> Vec<String> {
        let folder = self.folder.path().join("curated/telemetry/metadata");
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn path_of(&self, location: &str) -> std::path::PathBuf {
        location.strip_prefix("file://").unwrap_or(location).into()
    }
}

pub(crate) fn contract(text: &str) -> Contract {
    Contract::parse(std::path::Path::new("test.odcs.yaml"), text).unwrap().remove(0)
}

pub(crate) fn inputs(clock: &Arc<AtomicI64>) -> CommitInputs {
    let clock = Arc::clone(clock);
    CommitInputs { now_ms: Arc::new(move || clock.fetch_add(1, Ordering::Relaxed)), new_uuid: Arc::new(Uuid::new_v4) }
}

/// Four retries without long waits.
pub(crate) fn quick() -> CommitOptions {
    CommitOptions {
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(5),
        total_max: Duration::from_secs(20),
        ..CommitOptions::default()
    }
}

pub(crate) fn day_partition(day: i32) -> Struct {
    Struct::from_iter([Some(Literal::date(day))])
}

pub(crate) fn last_part(path: &str) -> String {
    path.rsplit('/').next().unwrap().to_owned()
}

pub(crate) fn removal(file: &DataFileEntry) -> Removal {
    Removal {
        path: file.data_file.file_path().to_owned(),
        spec_id: file.spec_id,
        partition: file.data_file.partition().clone(),
        sequence_number: file.sequence_number,
    }
}

/// Keys of some days and devices.
pub(crate) fn scope(days: &[i32], first: &str, last: &str) -> KeyScope {
    KeyScope {
        spec_id: 0,
        partitions: Some(days.iter().copied().map(day_partition).collect()),
        bounds: BTreeMap::from([(DEVICE_ID, (Datum::string(first), Datum::string(last)))]),
    }
}

pub(crate) fn ledger_entry(run_id: &str) -> LedgerEntry {
    LedgerEntry {
        run_id: run_id.to_owned(),
        job: "dedupe".to_owned(),
        interval_start: Some("2025-06-04T00:00:00Z".parse().unwrap()),
        interval_end: Some("2025-06-05T00:00:00Z".parse().unwrap()),
        input_digest: format!("inputs of {run_id}"),
        contract_digest: "contract".to_owned(),
        snapshot_id: None,
        committed_at: None,
        rows: BTreeMap::from([("read".to_owned(), 3)]),
        partitions: BTreeMap::from([("2025-06-04T00:00:00Z".to_owned(), format!("objects of {run_id}"))]),
        seen: None,
        forgotten: None,
    }
}

pub(crate) fn summary_of(table: &Table, snapshot_id: i64) -> (&Operation, BTreeMap<&str, &str>) {
    let summary = table.metadata.snapshot_by_id(snapshot_id).unwrap().summary();
    let properties = summary.additional_properties.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    (&summary.operation, properties.collect())
}
