//! A raw interval read as the table's schema: columns matched by name, values converted, failures marked by row.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array},
    buffer::BooleanBuffer,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
};
use contract::{Contract, EpochUnit};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use parquet::arrow::arrow_reader::RowSelection;

use super::{
    convert::{Fit, convert, fit},
    fill::{AmbiguousColumn, Filling},
    interval::{FileShape, RawInput, RawInterval},
};
use crate::{Error, Result, parquet_file::ReadOptions, rules::ColumnProof};

/// Most rows of a batch: large batches are what makes scattering to many partitions cheap.
const BATCH_ROWS_MAX: usize = 122_880;

/// An interval bound to the table's schema.
#[derive(Debug)]
pub struct BoundInterval {
    interval: RawInterval,
    schema: SchemaRef,
    epochs: Vec<EpochUnit>,
    /// Whether a footer's word is proof of a column.
    trusts_footers: bool,
    /// Per file: what fills the columns. Files of the same columns share theirs.
    fillings: Vec<Arc<Filling>>,
}

/// Rows of one raw file, as the table's types.
#[derive(Debug)]
pub struct RawBatch {
    /// The asked-for columns; all of them nullable, since nothing was judged yet.
    pub batch: RecordBatch,
    /// Number of each row in its file when a selection was read; otherwise rows follow `first_row`.
    pub row_numbers: Option<Vec<u64>>,
    /// Number of the first row.
    pub first_row: u64,
    /// Per asked-for column: rows whose value could not be read as declared.
    pub failed: Vec<Option<BooleanBuffer>>,
    /// The same rows as the file has them, all columns, when asked for.
    pub original: Option<RecordBatch>,
}

/// Which rows of a file to read, and how.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Only these rows; all of them unless given.
    pub selection: Option<RowSelection>,
    /// Also give the rows as the file has them.
    pub originals: bool,
}

impl BoundInterval {
    /// Matches each file's columns to the table's. A column of the contract is looked for under its raw names, any
    /// other column of the table under its own, if at all. Raw columns that differ by case only are an error, and so are
    /// fields of a struct where none is spelled as in the contract.
    pub fn bind(interval: RawInterval, schema: SchemaRef, contract: &Contract) -> Result<Self> {
        let mut known: HashMap<*const FileShape, Arc<Filling>> = HashMap::new();
        let mut fillings = Vec::with_capacity(interval.files.len());
        for file in &interval.files {
            let shape = Arc::as_ptr(&file.shape);
            if let Some(filling) = known.get(&shape) {
                fillings.push(Arc::clone(filling));
                continue;
            }
            let filling = Filling::new(&file.shape.schema, &schema, contract);
            let filling = Arc::new(filling.map_err(|ambiguous| ambiguous.in_file(&file.input.location))?);
            known.insert(shape, Arc::clone(&filling));
            fillings.push(filling);
        }
        let epoch = |field: &Arc<Field>| {
            contract.column(field.name()).map_or_else(EpochUnit::default, |column| column.epoch_unit)
        };
        let epochs = schema.fields().iter().map(epoch).collect();
        Ok(Self { interval, schema, epochs, trusts_footers: true, fillings })
    }

    /// The same, with every value looked at whatever the footers say.
    pub fn without_proofs(self) -> Self {
        Self { trusts_footers: false, ..self }
    }

    /// The table's columns in the engine's types.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// What fills the columns in a file.
    pub fn filling(&self, file: usize) -> &Arc<Filling> {
        &self.fillings[file]
    }

    /// How many files there are.
    pub fn file_count(&self) -> usize {
        self.interval.files.len()
    }

    /// The object behind a file.
    pub fn input(&self, file: usize) -> &RawInput {
        &self.interval.files[file].input
    }

    /// Whether a location is one of the files.
    pub fn has(&self, location: &str) -> bool {
        self.interval.files.iter().any(|file| file.input.location == location)
    }

    /// Rows of a file.
    pub fn rows(&self, file: usize) -> u64 {
        self.interval.files[file].rows
    }

    /// The interval itself.
    pub fn interval(&self) -> &RawInterval {
        &self.interval
    }

    /// Reads columns (indices into [`Self::schema`]) of a file.
    pub fn scan(
        &self,
        file: usize,
        columns: &[usize],
        options: ScanOptions,
    ) -> impl Stream<Item = Result<RawBatch>> + Send + use<> {
        let open = &self.interval.files[file];
        let mut roots: Vec<usize> = if options.originals {
            (0..open.shape.schema.fields().len()).collect()
        } else {
            columns.iter().filter_map(|column| self.fillings[file].root(*column)).collect()
        };
        roots.sort_unstable();
        roots.dedup();
        let filling = Arc::clone(&self.fillings[file]);
        let takes: Vec<Take> = columns
            .iter()
            .map(|column| {
                let place = filling.root(*column).and_then(|root| roots.binary_search(&root).ok());
                Take {
                    column: *column,
                    field: Arc::clone(&self.schema.fields()[*column]),
                    place,
                    epoch: self.epochs[*column],
                    proof: self.proof(file, *column),
                }
            })
            .collect();
        let selected = options.selection.is_some();
        let root_count = roots.len();
        let location = open.input.location.clone();
        let opening = self.interval.reopen(file);
        let read = async move {
            let parquet = opening.await?;
            Ok::<_, Error>(parquet.read_as_found(ReadOptions {
                batch_rows: parquet.rows_within(&roots).min(BATCH_ROWS_MAX),
                roots,
                row_groups: None,
                selection: options.selection,
                // A read of no column at all still has to say how many rows there are.
                row_number: selected || root_count == 0,
            }))
        };
        let mut next_row = 0;
        stream::once(read).try_flatten().map(move |batch| {
            let batch = batch?;
            let mut raw = convert_batch(&batch, &takes, &filling, &location)?;
            raw.first_row = next_row;
            next_row += batch.num_rows() as u64;
            if selected {
                raw.row_numbers = Some(row_numbers(batch.column(root_count)));
            }
            if options.originals {
                let columns: Vec<usize> = (0..root_count).collect();
                let original = batch.project(&columns);
                raw.original = Some(original.map_err(|source| Error::compute("failed to keep original rows", source))?);
            }
            Ok(raw)
        })
    }

    /// What a file's footer proves of a column. A read that finds otherwise ends with [`Error::Unproven`].
    pub fn proof(&self, file: usize, column: usize) -> ColumnProof {
        if !self.trusts_footers {
            return ColumnProof { type_fits: false, no_nulls: false };
        }
        let open = &self.interval.files[file];
        let field = self.schema.field(column);
        let Some(root) = self.fillings[file].root(column) else {
            // Absent: NULL in every row, which fits any type.
            return ColumnProof { type_fits: true, no_nulls: false };
        };
        ColumnProof {
            type_fits: surely_fits(open.shape.schema.field(root).data_type(), field.data_type()),
            no_nulls: !field.data_type().is_nested() && open.no_nulls(root),
        }
    }

    /// The schema a file was written with.
    pub fn original_schema(&self, file: usize) -> SchemaRef {
        Arc::clone(&self.interval.files[file].shape.schema)
    }
}

/// Whether every value fits. Text is taken to be UTF-8, as its type says, and a decimal to have no more digits than its
/// type: a read finds what is not.
fn surely_fits(raw: &DataType, declared: &DataType) -> bool {
    let is_leaf = !raw.is_nested() && !declared.is_nested();
    is_leaf && (fit(raw, declared) == Fit::Every || (raw == declared && raw.is_decimal()))
}

/// A column of the table, and the column of a file's batches that fills it.
struct Take {
    column: usize,
    field: Arc<Field>,
    /// Its place in the batches; `None` where the file does not have it.
    place: Option<usize>,
    epoch: EpochUnit,
    proof: ColumnProof,
}

fn convert_batch(batch: &RecordBatch, takes: &[Take], filling: &Filling, location: &str) -> Result<RawBatch> {
    let mut fields = Vec::with_capacity(takes.len());
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(takes.len());
    let mut failed = Vec::with_capacity(takes.len());
    for Take { column, field, place, epoch, proof } in takes {
        let (array, failure) = match place {
            Some(place) => {
                let converted = filling
                    .arranged(*column, batch.column(*place), field.data_type())
                    .and_then(|array| convert(&array, field, *epoch));
                let converted = converted.map_err(|source| {
                    Error::compute(format!("failed to convert column {} of {location}", field.name()), source)
                })?;
                (converted.array, converted.failed)
            }
            None => (new_null_array(field.data_type(), batch.num_rows()), None),
        };
        let is_otherwise = (proof.type_fits && failure.is_some()) || (proof.no_nulls && array.logical_null_count() > 0);
        if is_otherwise {
            return Err(Error::Unproven { location: location.to_owned(), column: field.name().clone() });
        }
        fields.push(Arc::new(field.as_ref().clone().with_nullable(true).with_data_type(array.data_type().clone())));
        columns.push(array);
        failed.push(failure);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let batch = RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|source| Error::compute(format!("failed to assemble rows of {location}"), source))?;
    Ok(RawBatch { batch, row_numbers: None, first_row: 0, failed, original: None })
}

fn row_numbers(array: &ArrayRef) -> Vec<u64> {
    array.as_primitive::<Int64Type>().values().iter().map(|row| row.unsigned_abs()).collect()
}

impl AmbiguousColumn {
    fn in_file(self, location: &str) -> Error {
        let Self { parent, name, fields } = self;
        let is_one_name = fields.windows(2).all(|pair| pair[0] == pair[1]);
        let reason = match (is_one_name, parent.is_empty()) {
            (true, true) => {
                format!("{} columns are called {}: rename all but one in the raw file", fields.len(), fields[0])
            }
            (true, false) => {
                format!(
                    "{} fields of {parent} are called {}: rename all but one in the raw file",
                    fields.len(),
                    fields[0]
                )
            }
            (false, true) => format!(
                "columns {} differ by case only, so `{name}` is ambiguous: name one of them with etl.source in the \
                 contract and drop or rename the other in the raw file",
                fields.join(" and ")
            ),
            (false, false) => format!(
                "fields {} of {parent} differ by case only, so `{name}` is ambiguous: spell one of them in the raw file as \
                 the contract does",
                fields.join(" and ")
            ),
        };
        Error::Columns { location: location.to_owned(), reason }
    }
}
