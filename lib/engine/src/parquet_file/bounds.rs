//! Whether the smallest and largest values in a footer can be believed. They have a meaning only with an order: the one that
//! the footer names, or, in the fields that came before it named any, the order of signed numbers.

use parquet::{
    basic::{ColumnOrder, SortOrder, Type as PhysicalType},
    file::{
        metadata::{ColumnChunkMetaData, ParquetMetaData},
        statistics::Statistics,
    },
};

/// Whether the bounds of a leaf hold in every row group that has some.
pub(crate) fn bounds_hold(metadata: &ParquetMetaData, leaf: usize) -> bool {
    metadata.row_groups().iter().all(|group| group.columns().get(leaf).is_some_and(|chunk| hold(metadata, leaf, chunk)))
}

/// The chunk without bounds that mean nothing.
pub(super) fn believable(metadata: &ParquetMetaData, leaf: usize, chunk: &ColumnChunkMetaData) -> ColumnChunkMetaData {
    let Some(statistics) = chunk.statistics().filter(|_| !hold(metadata, leaf, chunk)) else { return chunk.clone() };
    let nulls = statistics.null_count_opt();
    let bare = match statistics {
        Statistics::Boolean(_) => Statistics::boolean(None, None, None, nulls, false),
        Statistics::Int32(_) => Statistics::int32(None, None, None, nulls, false),
        Statistics::Int64(_) => Statistics::int64(None, None, None, nulls, false),
        Statistics::Int96(_) => Statistics::int96(None, None, None, nulls, false),
        Statistics::Float(_) => Statistics::float(None, None, None, nulls, false),
        Statistics::Double(_) => Statistics::double(None, None, None, nulls, false),
        Statistics::ByteArray(_) => Statistics::byte_array(None, None, None, nulls, false),
        Statistics::FixedLenByteArray(_) => Statistics::fixed_len_byte_array(None, None, None, nulls, false),
    };
    let rebuilt = chunk.clone().into_builder().set_statistics(bare).build();
    // Nothing but the statistics changed, so what was a chunk is one.
    rebuilt.unwrap_or_else(|_| chunk.clone())
}

fn hold(metadata: &ParquetMetaData, leaf: usize, chunk: &ColumnChunkMetaData) -> bool {
    let Some(statistics) = chunk.statistics().filter(|of| of.min_bytes_opt().is_some() || of.max_bytes_opt().is_some())
    else {
        return true;
    };
    let column = chunk.column_descr();
    let order =
        ColumnOrder::sort_order_for_type(column.logical_type_ref(), column.converted_type(), column.physical_type());
    if statistics.is_min_max_deprecated() {
        let is_number = matches!(
            column.physical_type(),
            PhysicalType::INT32 | PhysicalType::INT64 | PhysicalType::FLOAT | PhysicalType::DOUBLE
        );
        return is_number && order == SortOrder::SIGNED;
    }
    let is_named = matches!(metadata.file_metadata().column_order(leaf), ColumnOrder::TYPE_DEFINED_ORDER(_));
    is_named && order != SortOrder::UNDEFINED && column.physical_type() != PhysicalType::INT96
}
