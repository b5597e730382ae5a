//! Small tables in memory, whose files are as odd as a test wants them.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch},
    datatypes::{DataType, Field, Schema},
};
use futures::TryStreamExt;
use lake::{
    DataFileEntry, LiveFiles, Table,
    catalog::Pointer,
    spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, Struct},
};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use parquet::arrow::{ArrowWriter, PARQUET_FIELD_ID_META_KEY};
use serde_json::{Value, json};

use super::support::{rows, storage_of};
use crate::{Result, TableReader, curated::RowOptions, types::field_id};

pub(crate) struct Synthetic {
    pub(crate) table: Table,
    pub(crate) live: LiveFiles,
    store: Arc<InMemory>,
}

impl Synthetic {
    /// A table with these columns (the last schema is the current one), partition fields and properties.
    pub(crate) fn new(schemas: &[Value], partition_fields: Value, properties: Value) -> Self {
        let schemas: Vec<Value> = schemas
            .iter()
            .enumerate()
            .map(|(id, fields)| json!({"type": "struct", "schema-id": id, "fields": fields}))
            .collect();
        let metadata = json!({
            "format-version": 2, "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1", "location": "s3://t/t",
            "last-sequence-number": 9, "last-updated-ms": 1_700_000_000_000_i64, "last-column-id": 100,
            "current-schema-id": schemas.len() - 1, "schemas": schemas, "default-spec-id": 0,
            "partition-specs": [{"spec-id": 0, "fields": partition_fields}], "last-partition-id": 1100,
            "default-sort-order-id": 0, "sort-orders": [{"order-id": 0, "fields": []}], "properties": properties,
        });
        let store = Arc::new(InMemory::new());
        let pointer = Pointer { metadata_location: "s3://t/m".into(), token: "s3://t/m".into() };
        let table = Table {
            name: "test.t".parse().unwrap(),
            pointer,
            metadata: Arc::new(serde_json::from_value(metadata).unwrap()),
            storage: storage_of(Arc::clone(&store) as _),
        };
        let live = LiveFiles { unpartitioned_spec_ids: [0].into(), ..LiveFiles::default() };
        Self { table, live, store }
    }

    /// Adds a file of these columns: name, field id, values.
    pub(crate) async fn add(
        &mut self,
        content: DataContentType,
        sequence_number: i64,
        columns: Vec<(&str, Option<i32>, ArrayRef)>,
        more: impl FnOnce(&mut DataFileBuilder),
    ) -> String {
        let fields = columns.iter().map(|(name, id, values)| {
            let id = id.map(|id| (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string()));
            Field::new(*name, values.data_type().clone(), true).with_metadata(id.into_iter().collect::<HashMap<_, _>>())
        });
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let batch = RecordBatch::try_new(schema, columns.into_iter().map(|(_, _, values)| values).collect()).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        let key = format!("t/{sequence_number}-{}.parquet", self.files());
        let location = format!("s3://t/{key}");
        let size = bytes.len() as u64;
        self.store.put(&Path::from(key), bytes.into()).await.unwrap();
        let mut builder = DataFileBuilder::default();
        builder
            .content(content)
            .file_path(location.clone())
            .file_format(DataFileFormat::Parquet)
            .file_size_in_bytes(size)
            .record_count(batch.num_rows() as u64)
            .partition(Struct::empty())
            .partition_spec_id(0);
        more(&mut builder);
        let data_file: Arc<DataFile> = Arc::new(builder.build().unwrap());
        let entry = DataFileEntry { data_file, spec_id: 0, sequence_number, snapshot_id: sequence_number };
        match content {
            DataContentType::Data => self.live.data.push(entry),
            DataContentType::PositionDeletes => self.live.position_deletes.push(entry),
            DataContentType::EqualityDeletes => self.live.equality_deletes.push(entry),
        }
        location
    }

    /// A data file.
    pub(crate) async fn data(&mut self, sequence_number: i64, columns: Vec<(&str, Option<i32>, ArrayRef)>) -> String {
        self.add(DataContentType::Data, sequence_number, columns, |_| {}).await
    }

    /// A data file in a partition.
    pub(crate) async fn partitioned(&mut self, columns: Vec<(&str, Option<i32>, ArrayRef)>, values: Vec<Literal>) {
        let partition = values.into_iter().map(Some).collect();
        self.add(DataContentType::Data, 1, columns, |file| {
            file.partition(partition);
        })
        .await;
        self.live.unpartitioned_spec_ids.clear();
    }

    /// An equality delete file.
    pub(crate) async fn equality(&mut self, sequence_number: i64, columns: Vec<(&str, Option<i32>, ArrayRef)>) {
        let ids = columns.iter().filter_map(|(_, id, _)| *id).collect();
        self.add(DataContentType::EqualityDeletes, sequence_number, columns, |file| {
            file.equality_ids(Some(ids));
        })
        .await;
    }

    pub(crate) fn reader(&self) -> TableReader {
        TableReader::of_files(&self.table, self.live.clone(), self.table.metadata.current_schema()).unwrap()
    }

    /// All rows that are alive, as JSON.
    pub(crate) async fn rows(&self) -> Result<Vec<Value>> {
        let reader = self.reader();
        let columns: Vec<_> = reader.schema().fields().iter().map(|field| field_id(field).unwrap()).collect();
        self.read(&columns, RowOptions::default()).await
    }

    /// Rows of some columns.
    pub(crate) async fn read(&self, columns: &[i32], options: RowOptions) -> Result<Vec<Value>> {
        let reader = self.reader();
        let mut batches: Vec<RecordBatch> = Vec::new();
        for entry in &reader.live().data {
            let read: Vec<_> = reader.read(entry, columns, options.clone()).try_collect().await?;
            assert!(read.iter().all(|batch| batch.schema() == reader.projected(columns, options.row_number).unwrap()));
            batches.extend(read);
        }
        Ok(rows(&batches))
    }

    fn files(&self) -> usize {
        self.live.data.len() + self.live.position_deletes.len() + self.live.equality_deletes.len()
    }
}

pub(crate) fn column(id: i32, name: &str, data_type: &str) -> Value {
    json!({"id": id, "name": name, "required": false, "type": data_type})
}

pub(crate) fn texts<const N: usize>(values: [Option<&str>; N]) -> ArrayRef {
    Arc::new(arrow::array::StringArray::from(values.to_vec()))
}

pub(crate) fn ints<const N: usize>(values: [i32; N]) -> ArrayRef {
    Arc::new(arrow::array::Int32Array::from(values.to_vec()))
}

pub(crate) fn longs<const N: usize>(values: [i64; N]) -> ArrayRef {
    Arc::new(arrow::array::Int64Array::from(values.to_vec()))
}

pub(crate) fn cast(values: &ArrayRef, to: &DataType) -> ArrayRef {
    arrow::compute::cast(values, to).unwrap()
}
