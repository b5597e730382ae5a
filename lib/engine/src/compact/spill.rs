//! Rows on disk: blocks in one file, each with rows of one range, that can be read one by one.
//!
//! Blocks are Arrow's IPC messages. They are compressed where that makes them half as large: it takes longer than
//! anything else that is done to a row here. The file goes with its last block.

use std::{
    fmt,
    fs::File,
    io::{Read, Seek, SeekFrom},
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayData, ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray,
        make_array,
    },
    buffer::Buffer,
    compute::cast,
    datatypes::{DataType, SchemaRef},
    error::ArrowError,
    ipc::{
        Block as Extent, CompressionType, MetadataVersion,
        reader::FileDecoder,
        writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions, write_message},
    },
};
use datafusion::{
    error::{DataFusionError, Result},
    execution::{DiskManager, SpillFile, SpillWriter},
};

use super::codes::layout;
use crate::writer::batch_bytes;

/// Alignment of buffers, in bytes: what views need.
const ALIGNMENT: usize = 16;

/// Blocks that are compressed to see what that brings.
const TRIED_BLOCKS: usize = 16;

/// A file that is written.
pub(super) struct Spill {
    file: SharedFile,
    writer: Box<dyn SpillWriter>,
    compression: Compression,
    context: IpcWriteContext,
    bytes: u64,
    /// Of each range.
    blocks: Vec<Vec<Block>>,
}

/// Rows of one range. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Block {
    file: SharedFile,
    extent: Extent,
    /// The columns as they are written.
    schema: SchemaRef,
    /// How many.
    pub(super) rows: u64,
    /// Bytes that they take in memory.
    pub(super) bytes: u64,
}

/// The file that blocks share, and the columns of the table.
#[derive(Clone)]
struct SharedFile {
    file: Arc<dyn SpillFile>,
    schema: SchemaRef,
}

impl fmt::Debug for SharedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedFile").field(&self.file.path()).finish()
    }
}

impl Spill {
    /// Makes a file for rows of these columns in so many ranges.
    pub(super) fn new(disk: &Arc<DiskManager>, schema: &SchemaRef, ranges: usize) -> Result<Self> {
        let file = disk.create_tmp_file("sorting rows")?;
        let mut context = IpcWriteContext::default();
        context.set_reserve_scratch(true);
        Ok(Self {
            writer: file.open_writer()?,
            file: SharedFile { file, schema: Arc::clone(schema) },
            compression: Compression::Tried { blocks: 0, bytes: 0, written: 0 },
            context,
            bytes: 0,
            blocks: vec![Vec::new(); ranges],
        })
    }

    /// Adds rows to a range, in columns as they are [`written`].
    pub(super) fn write(&mut self, range: usize, batch: &RecordBatch) -> Result<()> {
        let mut dictionaries = DictionaryTracker::new(false);
        let options = self.compression.options()?;
        let (_, encoded) = IpcDataGenerator::default().encode(batch, &mut dictionaries, &options, &mut self.context)?;
        let (metadata, body) = write_message(&mut self.writer, encoded, &options)?;
        let bytes = batch_bytes(batch);
        self.compression.wrote(bytes, body);
        let length = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let offset = i64::try_from(self.bytes).unwrap_or(i64::MAX);
        let metadata_length = i32::try_from(metadata).unwrap_or(i32::MAX);
        let texts = batch.columns().iter().filter(|column| is_text(column.data_type())).count();
        self.blocks[range].push(Block {
            file: self.file.clone(),
            extent: Extent::new(offset, metadata_length, length(body)),
            schema: batch.schema(),
            rows: batch.num_rows() as u64,
            bytes: (bytes + texts * batch.num_rows() * size_of::<u128>()) as u64,
        });
        self.bytes += (metadata + body) as u64;
        Ok(())
    }

    /// Ends the file: the blocks of each range, and how many bytes were written.
    pub(super) fn close(mut self) -> Result<(Vec<Vec<Block>>, u64)> {
        self.writer.finish()?;
        Ok((self.blocks, self.bytes))
    }
}

impl Block {
    /// Its rows.
    pub(super) fn read(&self) -> Result<RecordBatch> {
        let damaged = |reason: &str| DataFusionError::Execution(format!("a spill file {reason}"));
        let path = self.file.file.path().ok_or_else(|| damaged("has no path"))?;
        let length = i64::from(self.extent.metaDataLength()) + self.extent.bodyLength();
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| damaged("is too large"))?];
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.extent.offset().unsigned_abs()))?;
        file.read_exact(&mut bytes)?;
        let decoder = FileDecoder::new(Arc::clone(&self.schema), MetadataVersion::V5);
        let batch = decoder.read_record_batch(&self.extent, &Buffer::from_vec(bytes))?;
        let batch = batch.ok_or_else(|| damaged("has no rows where it should"))?;
        let columns: Vec<ArrayRef> = batch.columns().iter().map(viewed).collect();
        Ok(RecordBatch::try_new(layout(&self.file.schema, &columns), columns)?)
    }
}

/// Whether blocks are compressed.
enum Compression {
    /// It is not known yet whether that is worth it.
    Tried {
        blocks: usize,
        bytes: usize,
        written: usize,
    },
    Chosen(Option<CompressionType>),
}

impl Compression {
    fn options(&self) -> Result<IpcWriteOptions> {
        let compression = match self {
            Self::Tried { .. } => Some(CompressionType::LZ4_FRAME),
            Self::Chosen(compression) => *compression,
        };
        let options = IpcWriteOptions::try_new(ALIGNMENT, false, MetadataVersion::V5)?;
        Ok(options.try_with_compression(compression)?)
    }

    /// Learns from a block of so many bytes, of which so many were written.
    fn wrote(&mut self, block_bytes: usize, written_bytes: usize) {
        let Self::Tried { blocks, bytes, written } = self else { return };
        *blocks += 1;
        *bytes += block_bytes;
        *written += written_bytes;
        if *blocks == TRIED_BLOCKS {
            *self = Self::Chosen((*written <= *bytes / 2).then_some(CompressionType::LZ4_FRAME));
        }
    }
}

/// Rows of a table as they are written: without what they share with others. Views show strings from buffers of whole
/// files, which would all be written. Where views are not within another column, their text is written without them.
pub(super) fn written(table: &SchemaRef, columns: Vec<ArrayRef>) -> std::result::Result<RecordBatch, ArrowError> {
    let rows = columns.first().map_or(0, |column| column.len());
    let columns: Vec<ArrayRef> = columns.iter().map(own).collect::<std::result::Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(layout(table, &columns), columns, &options)
}

fn own(column: &ArrayRef) -> std::result::Result<ArrayRef, ArrowError> {
    fn own_data(data: ArrayData) -> std::result::Result<ArrayData, ArrowError> {
        match data.data_type() {
            DataType::Utf8View => Ok(StringViewArray::from(data).gc().into_data()),
            DataType::BinaryView => Ok(BinaryViewArray::from(data).gc().into_data()),
            _ if data.child_data().is_empty() => Ok(data),
            _ => {
                let children =
                    data.child_data().iter().cloned().map(own_data).collect::<std::result::Result<_, _>>()?;
                data.into_builder().child_data(children).build()
            }
        }
    }
    match column.data_type() {
        DataType::Utf8View => cast(column, &DataType::Utf8),
        DataType::BinaryView => cast(column, &DataType::Binary),
        data_type if data_type.is_nested() => Ok(make_array(own_data(column.to_data())?)),
        _ => Ok(Arc::clone(column)),
    }
}

/// Text without views. No type of a table is this one.
fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Binary)
}

/// The column with views, as the table has it.
fn viewed(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8 => Arc::new(StringViewArray::from(column.as_string::<i32>())),
        DataType::Binary => Arc::new(BinaryViewArray::from(column.as_binary::<i32>())),
        _ => Arc::clone(column),
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Int64Array, ListArray, StructArray},
        compute::interleave,
        datatypes::{Field, Fields, Int64Type, Schema},
    };

    use super::*;
    use crate::{Session, SessionOptions};

    /// Rows as the table has them.
    fn write(spill: &mut Spill, range: usize, batch: &RecordBatch) {
        let batch = written(&batch.schema(), batch.columns().to_vec()).unwrap();
        spill.write(range, &batch).unwrap();
    }

    fn disk() -> Arc<DiskManager> {
        let options = SessionOptions { memory_limit_bytes: 64 << 20, threads: 1, spill_dir: std::env::temp_dir() };
        let session = Session::new(&options).unwrap();
        Arc::clone(&session.context().runtime_env().disk_manager)
    }

    /// Rows with text longer than a view has in itself, also within lists and structs.
    fn rows() -> RecordBatch {
        let text = |n: usize| format!("a text of more than twelve bytes, number {n}");
        let texts: ArrayRef = Arc::new(StringViewArray::from_iter((0..1000).map(|n| (n % 3 > 0).then(|| text(n)))));
        let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8View, true));
        let offsets = arrow::buffer::OffsetBuffer::from_lengths(std::iter::repeat_n(2, 500));
        let list: ArrayRef = Arc::new(ListArray::new(field("item"), offsets, Arc::clone(&texts), None));
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..500));
        let half = texts.slice(500, 500);
        let fields = Fields::from(vec![field("text")]);
        let object: ArrayRef = Arc::new(StructArray::new(fields, vec![Arc::clone(&half)], None));
        RecordBatch::try_from_iter_with_nullable([
            ("n", numbers, true),
            ("text", half, true),
            ("list", list, true),
            ("object", object, true),
        ])
        .unwrap()
    }

    #[test]
    fn blocks_come_back_as_they_were() {
        let batch = rows();
        let mut spill = Spill::new(&disk(), &batch.schema(), 3).unwrap();
        write(&mut spill, 2, &batch);
        write(&mut spill, 0, &batch.slice(10, 0));
        write(&mut spill, 2, &batch.slice(100, 50));
        let (blocks, bytes) = spill.close().unwrap();
        assert_eq!(blocks.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 2]);
        assert!(bytes > 1000, "{bytes}");
        assert_eq!(blocks[2][1].read().unwrap(), batch.slice(100, 50));
        assert_eq!(blocks[2][0].read().unwrap(), batch);
        assert_eq!((blocks[0][0].read().unwrap().num_rows(), blocks[0][0].rows), (0, 0));
    }

    #[test]
    fn a_block_has_no_more_than_its_rows() {
        let batch = rows();
        let picks: Vec<_> = (0..5).map(|row| (0, row * 100)).collect();
        let few = |column: &ArrayRef| interleave(&[column.as_ref()], &picks).unwrap();
        let few = RecordBatch::try_new(batch.schema(), batch.columns().iter().map(few).collect()).unwrap();
        let mut spill = Spill::new(&disk(), &batch.schema(), 1).unwrap();
        write(&mut spill, 0, &few);
        let (blocks, bytes) = spill.close().unwrap();
        assert!(bytes < 4096, "{bytes} bytes for five rows");
        assert_eq!(blocks[0][0].read().unwrap(), few);
    }

    #[test]
    fn blocks_are_compressed_where_that_halves_them() {
        let sizes = |value: &dyn Fn(u64) -> i64| {
            let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values((0..1000).map(value)));
            let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
            let mut spill = Spill::new(&disk(), &batch.schema(), 1).unwrap();
            (0..TRIED_BLOCKS + 1).for_each(|_| write(&mut spill, 0, &batch));
            let (blocks, _) = spill.close().unwrap();
            blocks[0].iter().for_each(|block| assert_eq!(block.read().unwrap(), batch));
            blocks[0].iter().map(|block| block.extent.bodyLength()).collect::<Vec<_>>()
        };
        let same = sizes(&|_| 7);
        assert!(same.iter().all(|bytes| *bytes < 1000), "{same:?}");
        let noise = sizes(&|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(20) as i64);
        assert_eq!(noise[TRIED_BLOCKS], 8000, "{noise:?}");
    }

    #[test]
    fn the_file_goes_with_its_last_block() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        let mut spill = Spill::new(&disk(), &Arc::new(Schema::clone(&batch.schema())), 1).unwrap();
        write(&mut spill, 0, &batch);
        let (blocks, _) = spill.close().unwrap();
        let path = blocks[0][0].file.file.path().unwrap().to_owned();
        let block = blocks[0][0].clone();
        drop(blocks);
        assert!(path.exists());
        assert_eq!(block.read().unwrap().column(0).to_data(), Int64Array::from_iter_values(0..10).to_data());
        assert_eq!(
            block.read().unwrap().column(0).data_type(),
            &<Int64Type as arrow::datatypes::ArrowPrimitiveType>::DATA_TYPE
        );
        drop(block);
        assert!(!path.exists());
    }
}
