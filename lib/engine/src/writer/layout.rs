//! What all files of one table look like inside: schemas, encodings, statistics.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{Array, RecordBatch},
    datatypes::SchemaRef,
};
use lake::spec::{PrimitiveType, Schema, Type};
use parquet::{
    arrow::ArrowSchemaConverter,
    basic::{Encoding, LogicalType, Repetition, Type as PhysicalType},
    file::{
        metadata::SortingColumn,
        properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr},
    },
    schema::types::{ColumnDescriptor, SchemaDescriptor, Type as ParquetType, TypePtr},
};

use super::FileSettings;
use crate::{Error, MetricsModes, Result, arrow_schema};

/// What all files of one table look like inside.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) schema: lake::spec::SchemaRef,
    pub(super) arrow: SchemaRef,
    pub(super) parquet: TypePtr,
    pub(super) properties: WriterPropertiesPtr,
    /// Writer properties of columns with large values: texts and binaries get neither dictionary nor statistics.
    pub(super) properties_of_large: WriterPropertiesPtr,
    /// Bytes of rows that a file gathers before it opens encoders, which cost as much. 0 opens them for the first row.
    pub(super) waiting_bytes_max: usize,
    pub(super) modes: MetricsModes,
    pub(super) settings: FileSettings,
    /// Leaf columns of each top-level column.
    pub(super) leaves: Vec<usize>,
}

/// What a layout is made from, beside the schema.
pub(super) struct LayoutOptions<'a> {
    pub(super) settings: FileSettings,
    pub(super) modes: MetricsModes,
    /// Fields that rows are found by: their pages get statistics, too.
    pub(super) searched_ids: &'a [i32],
    /// Top-level columns that files are sorted by.
    pub(super) sorting: Vec<SortingColumn>,
    /// Files say where their pages begin. Either all row groups of a file do or none does.
    pub(super) has_page_index: bool,
    /// Bytes that strings and binaries are cut to in Parquet's own statistics.
    pub(super) statistics_bytes_max: Option<usize>,
}

impl Layout {
    /// Prepares the files of a schema.
    pub(super) fn new(schema: lake::spec::SchemaRef, options: LayoutOptions<'_>) -> Result<Self> {
        let arrow = arrow_schema(&schema)?;
        let converted = ArrowSchemaConverter::new().schema_root("table").convert(&arrow).map_err(layout_error)?;
        let parquet = annotated(&converted.root_schema_ptr(), &uuid_ids(&schema))?;
        let descriptor = SchemaDescriptor::new(Arc::clone(&parquet));
        let mut leaves = vec![0; arrow.fields().len()];
        for leaf in 0..descriptor.num_columns() {
            leaves[descriptor.get_column_root_idx(leaf)] += 1;
        }
        let properties = writer_properties(&descriptor, &options);
        let properties_of_large = Arc::new(without_copies(&properties, &descriptor));
        let properties = Arc::new(properties);
        let LayoutOptions { settings, modes, .. } = options;
        let waiting_bytes_max = 0;
        Ok(Self { schema, arrow, parquet, properties, properties_of_large, waiting_bytes_max, modes, settings, leaves })
    }

    /// Refuses a batch whose columns are not of the table's types, in its order, or hold NULL where the table does not.
    /// Names and metadata do not matter. Arrow itself sees to NULL in required fields further down.
    pub(super) fn check(&self, batch: &RecordBatch) -> Result<()> {
        let refuse = |reason: String| Error::compute("failed to write a batch", reason);
        if batch.num_columns() != self.arrow.fields().len() {
            let (found, wanted) = (batch.num_columns(), self.arrow.fields().len());
            return Err(refuse(format!("it has {found} columns, the table {wanted}")));
        }
        for (field, column) in self.arrow.fields().iter().zip(batch.columns()) {
            if !column.data_type().equals_datatype(field.data_type()) {
                let (found, wanted) = (column.data_type(), field.data_type());
                return Err(refuse(format!("column {} is {found}, the table's {wanted}", field.name())));
            }
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(refuse(format!("required column {} holds NULL", field.name())));
            }
        }
        Ok(())
    }
}

fn layout_error(error: parquet::errors::ParquetError) -> Error {
    Error::compute("failed to make the Parquet schema", error)
}

fn writer_properties(descriptor: &SchemaDescriptor, options: &LayoutOptions<'_>) -> WriterProperties {
    let settings = &options.settings;
    let mut properties = WriterProperties::builder()
        .set_created_by(concat!("etl version ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(settings.compression)
        .set_data_page_size_limit(settings.page_bytes)
        .set_data_page_row_count_limit(settings.page_rows)
        .set_dictionary_page_size_limit(settings.dictionary_bytes)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(!options.has_page_index)
        .set_statistics_truncate_length(options.statistics_bytes_max)
        .set_column_index_truncate_length(options.statistics_bytes_max);
    if !options.sorting.is_empty() {
        properties = properties.set_sorting_columns(Some(options.sorting.clone()));
    }
    for column in descriptor.columns() {
        let path = column.path().clone();
        if !matches!(column.physical_type(), PhysicalType::BYTE_ARRAY | PhysicalType::FIXED_LEN_BYTE_ARRAY) {
            properties = properties.set_column_dictionary_page_size_limit(path.clone(), settings.dictionary_bytes / 8);
        }
        if settings.is_delta_encoded && matches!(column.physical_type(), PhysicalType::INT32 | PhysicalType::INT64) {
            // With a dictionary, this is what follows when it is given up.
            properties = properties
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                .set_column_dictionary_enabled(path.clone(), !is_time(column));
        }
        let info = column.self_type().get_basic_info();
        if options.has_page_index && info.has_id() && options.searched_ids.contains(&info.id()) {
            properties = properties.set_column_statistics_enabled(path, EnabledStatistics::Page);
        }
    }
    properties.build()
}

/// The properties without what makes an encoder copy whole texts and binaries. Numbers beside them in a struct keep their
/// statistics: a float without any counts as nothing but NaN.
fn without_copies(properties: &WriterProperties, descriptor: &SchemaDescriptor) -> WriterProperties {
    let all = properties.clone().into_builder();
    let long = descriptor.columns().iter().filter(|column| column.physical_type() == PhysicalType::BYTE_ARRAY);
    let builder = long.map(|column| column.path().clone()).fold(all, |builder, path| {
        builder
            .set_column_dictionary_enabled(path.clone(), false)
            .set_column_statistics_enabled(path, EnabledStatistics::None)
    });
    builder.build()
}

fn is_time(column: &ColumnDescriptor) -> bool {
    matches!(column.logical_type_ref(), Some(LogicalType::Timestamp { .. } | LogicalType::Time { .. }))
}

fn uuid_ids(schema: &Schema) -> HashSet<i32> {
    let fields = schema.field_id_to_fields().values();
    let uuids = fields.filter(|field| *field.field_type == Type::Primitive(PrimitiveType::Uuid));
    uuids.map(|field| field.id).collect()
}

/// The Parquet schema with the logical type `UUID`, which Arrow's types do not carry.
fn annotated(parquet: &TypePtr, uuids: &HashSet<i32>) -> Result<TypePtr> {
    let info = parquet.get_basic_info();
    let id = info.has_id().then(|| info.id());
    let annotated = match parquet.as_ref() {
        ParquetType::GroupType { fields, .. } => {
            let fields = fields.iter().map(|field| annotated(field, uuids)).collect::<Result<_>>()?;
            let mut group = ParquetType::group_type_builder(info.name())
                .with_converted_type(info.converted_type())
                .with_logical_type(info.logical_type_ref().cloned())
                .with_fields(fields)
                .with_id(id);
            if info.has_repetition() {
                group = group.with_repetition(info.repetition());
            }
            group.build()
        }
        ParquetType::PrimitiveType { physical_type, type_length, .. } if id.is_some_and(|id| uuids.contains(&id)) => {
            ParquetType::primitive_type_builder(info.name(), *physical_type)
                .with_repetition(if info.has_repetition() { info.repetition() } else { Repetition::OPTIONAL })
                .with_length(*type_length)
                .with_logical_type(Some(LogicalType::Uuid))
                .with_id(id)
                .build()
        }
        ParquetType::PrimitiveType { .. } => return Ok(Arc::clone(parquet)),
    };
    annotated.map(Arc::new).map_err(layout_error)
}
