//! Which Arrow types a file's columns are read as. The Arrow schema that some writers embed is left out: what is in the
//! file is decided by its Parquet types alone, so that two writers of one type read the same.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use parquet::{
    arrow::{
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
        parquet_to_arrow_schema,
    },
    basic::{ConvertedType, LogicalType, Type as PhysicalType},
    file::metadata::{FileMetaData, ParquetMetaData},
    schema::types::{SchemaDescriptor, Type, TypePtr},
};

use super::Decoded;

/// How text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// As text; a page with anything that is not UTF-8 is an error.
    Checked,
    /// As bytes, whatever they are.
    AsFound,
}

/// The schema to read with.
pub(super) fn arrow_metadata(metadata: Arc<ParquetMetaData>, text: Text) -> Decoded<ArrowReaderMetadata> {
    let declared = metadata.file_metadata().schema_descr_ptr();
    let metadata = annotated(metadata, text)?;
    let inferred = parquet_to_arrow_schema(metadata.file_metadata().schema_descr(), None)?;
    let mut leaf = 0;
    let fields: Vec<_> = inferred.fields().iter().map(|field| read_field(field, &declared, &mut leaf)).collect();
    let schema = Arc::new(Schema::new(fields));
    ArrowReaderMetadata::try_new(metadata, ArrowReaderOptions::new().with_schema(schema))
}

fn read_field(field: &Field, descriptor: &SchemaDescriptor, leaf: &mut usize) -> Field {
    let mut child = |field: &Arc<Field>| Arc::new(read_field(field, descriptor, leaf));
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(&mut child).collect()),
        DataType::List(item) => DataType::List(child(item)),
        DataType::Map(entries, sorted) => DataType::Map(child(entries), *sorted),
        other => {
            let column = descriptor.columns().get(*leaf);
            let is_int96 = column.is_some_and(|column| column.physical_type() == PhysicalType::INT96);
            let is_text = column.is_some_and(|column| kind(column.self_type()).is_some());
            *leaf += 1;
            match other {
                DataType::Utf8 => DataType::Utf8View,
                // Text that is read as it is found.
                DataType::Binary if is_text => DataType::BinaryView,
                DataType::Timestamp(_, zone) if is_int96 => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
                other => other.clone(),
            }
        }
    };
    field.clone().with_data_type(data_type)
}

/// Whether text is in a column.
pub(super) fn has_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8View => true,
        DataType::Struct(fields) => fields.iter().any(|field| has_text(field.data_type())),
        DataType::List(field) | DataType::Map(field, _) => has_text(field.data_type()),
        _ => false,
    }
}

/// The footer with other words for its text columns, where the decoder needs them: it looks whether text is UTF-8 by the
/// words of the schema, and believes JSON without looking.
fn annotated(metadata: Arc<ParquetMetaData>, text: Text) -> Decoded<Arc<ParquetMetaData>> {
    let descriptor = metadata.file_metadata().schema_descr();
    let is_meant = |kind: Option<Kind>| match text {
        Text::Checked => kind == Some(Kind::Json),
        Text::AsFound => kind.is_some(),
    };
    if !descriptor.columns().iter().any(|column| is_meant(kind(column.self_type()))) {
        return Ok(metadata);
    }
    let fields = descriptor.root_schema().get_fields().iter().map(|field| renamed(field, text));
    let root = Type::group_type_builder(descriptor.name()).with_fields(fields.collect::<Decoded<_>>()?).build()?;
    let file = metadata.file_metadata();
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        file.key_value_metadata().cloned(),
        Arc::new(SchemaDescriptor::new(Arc::new(root))),
        file.column_orders().cloned(),
    );
    Ok(Arc::new(ParquetMetaData::new(file, metadata.row_groups().to_vec())))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    String,
    Json,
}

/// Which text a leaf says it has.
fn kind(field: &Type) -> Option<Kind> {
    let info = field.get_basic_info();
    if field.get_physical_type() != PhysicalType::BYTE_ARRAY {
        return None;
    }
    match (info.logical_type_ref(), info.converted_type()) {
        (Some(LogicalType::String), _) | (None, ConvertedType::UTF8) => Some(Kind::String),
        (Some(LogicalType::Json), _) | (None, ConvertedType::JSON) => Some(Kind::Json),
        _ => None,
    }
}

fn renamed(field: &TypePtr, text: Text) -> Decoded<TypePtr> {
    let info = field.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if field.is_group() {
        let children = field.get_fields().iter().map(|child| renamed(child, text)).collect::<Decoded<_>>()?;
        let builder = Type::group_type_builder(field.name())
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(children)
            .with_id(id);
        return Ok(Arc::new(builder.build()?));
    }
    if kind(field).is_none() {
        return Ok(Arc::clone(field));
    }
    let builder = Type::primitive_type_builder(field.name(), PhysicalType::BYTE_ARRAY)
        .with_repetition(info.repetition())
        .with_id(id);
    let builder = match text {
        Text::Checked => builder.with_logical_type(Some(LogicalType::String)),
        Text::AsFound => builder,
    };
    Ok(Arc::new(builder.build()?))
}
