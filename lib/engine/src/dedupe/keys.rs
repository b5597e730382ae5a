//! The first pass over the raw files: judge every row and make an entry of each valid one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arrow::{
    array::{Array, AsArray, BooleanArray},
    buffer::BooleanBuffer,
};
use contract::{Contract, DeleteMarker, Literal, Severity};
use futures::{StreamExt, TryStreamExt, stream};

use super::{
    footprint::{Footprint, FootprintShape},
    tenants::{Tags, tenant_column},
    verdicts::{RowAddress, Verdict, Verdicts},
    winners::{Collector, RankBytes, Round},
};
use crate::{
    Error, Result,
    keys::{Ranking, fingerprints},
    raw::{BoundInterval, RawBatch, ScanOptions},
    rules::{Broken, Rules},
    tasks::on_file,
};

/// What the pass needs to know, shared by all files.
#[derive(Debug)]
pub struct KeyPass {
    /// The files.
    pub interval: Arc<BoundInterval>,
    /// The compiled rules.
    pub rules: Arc<Rules>,
    /// The winner order.
    pub ranking: Ranking,
    /// Key columns, as indices into the table's schema.
    pub key: Vec<usize>,
    /// Columns of the winner order, likewise.
    pub order: Vec<usize>,
    /// The column that no two rows of one key may differ in.
    pub tenant: Option<usize>,
    /// What marks a deletion.
    pub delete: Option<(usize, DeleteMarker)>,
    /// Which keys and partitions the batch touches.
    pub shape: FootprintShape,
    /// Seed of the fingerprints.
    pub seed: u64,
}

/// Rows of one file that broke rules of severity error.
#[derive(Debug, Default)]
pub struct FileRejects {
    /// Row number and index into `sets`, ascending.
    pub rows: Vec<(u64, u32)>,
    /// Distinct sets of rules.
    pub sets: Vec<Vec<usize>>,
}

/// What a pass over all files found.
#[derive(Debug, Default)]
pub struct KeyFindings {
    /// Entries of the round's share of keys, one collector for each of the files that were read at once.
    pub collectors: Vec<Collector>,
    /// Broken rules per file; filled in the first round only.
    pub rejects: Vec<FileRejects>,
    /// Rows that broke each rule, of either severity.
    pub broken_rows: Vec<u64>,
    /// Partitions and bounds of the valid rows.
    pub footprint: Footprint,
}

impl KeyPass {
    /// Resolves a contract's columns against the table's.
    pub fn new(
        interval: Arc<BoundInterval>,
        rules: Arc<Rules>,
        contract: &Contract,
        shape: FootprintShape,
        seed: u64,
    ) -> Result<Self> {
        let schema = Arc::clone(interval.schema());
        let index = |name: &str| {
            schema.index_of(name).map_err(|source| Error::compute(format!("column {name} is not in the table"), source))
        };
        let key = contract.key.iter().map(|name| index(name)).collect::<Result<Vec<_>>>()?;
        let order = contract.winner_order.iter().map(|term| index(&term.column)).collect::<Result<Vec<_>>>()?;
        let types: Vec<_> = order.iter().map(|column| schema.field(*column).data_type().clone()).collect();
        let ranking = Ranking::compile(&contract.winner_order, &types);
        let delete = match &contract.delete_marker {
            Some(marker) => Some((index(&marker.column)?, marker.clone())),
            None => None,
        };
        let tenant = tenant_column(contract).map(index).transpose()?;
        Ok(Self { interval, rules, ranking, key, order, tenant, delete, shape, seed })
    }

    /// How fingerprints of keys tell tenants apart.
    pub fn tags(&self) -> Tags {
        if self.tenant.is_some() { Tags::Upper } else { Tags::None }
    }

    /// Reads all files, `threads` at once. In the first round rows are judged as well; in later ones the verdicts say
    /// which are invalid.
    pub async fn run(
        self: &Arc<Self>,
        round: Round,
        verdicts: &Arc<Verdicts>,
        ranks: &Arc<RankBytes>,
        threads: usize,
    ) -> Result<KeyFindings> {
        // A file that starts takes a collector that another has filled, or a new one while there is none.
        let idle: Arc<Mutex<Vec<Collector>>> = Arc::default();
        let mut files = stream::iter(0..self.interval.file_count())
            .map(|file| {
                let (pass, verdicts, ranks) = (Arc::clone(self), Arc::clone(verdicts), Arc::clone(ranks));
                let idle = Arc::clone(&idle);
                async move {
                    let location = pass.interval.input(file).location.clone();
                    let read = async move {
                        let mut collector = lock(&idle).pop().unwrap_or_default();
                        let findings = pass.read_file(file, round, &verdicts, &ranks, &mut collector).await?;
                        lock(&idle).push(collector);
                        Ok(findings)
                    };
                    on_file(location, read).await
                }
            })
            .buffered(threads.max(1));
        let mut findings = KeyFindings { broken_rows: vec![0; self.rules.count()], ..KeyFindings::default() };
        while let Some(file) = files.try_next().await? {
            findings.rejects.push(file.rejects);
            findings.footprint.merge(file.footprint)?;
            for (total, rows) in findings.broken_rows.iter_mut().zip(file.broken_rows) {
                *total += rows;
            }
        }
        drop(files);
        findings.collectors = std::mem::take(&mut *lock(&idle));
        Ok(findings)
    }

    async fn read_file(
        &self,
        file: usize,
        round: Round,
        verdicts: &Verdicts,
        ranks: &RankBytes,
        collector: &mut Collector,
    ) -> Result<FileFindings> {
        let judge = self.rules.for_file(|column| self.interval.proof(file, column));
        let first_round = round.index == 0;
        let mut columns = if first_round { judge.columns.clone() } else { Vec::new() };
        columns.extend(&self.key);
        columns.extend(&self.order);
        columns.extend(self.tenant);
        columns.extend(self.delete.iter().map(|(column, _)| *column));
        if first_round {
            columns.extend(self.shape.columns());
        }
        columns.sort_unstable();
        columns.dedup();
        let filling = self.interval.filling(file);
        let is_placed = self.shape.columns().all(|column| !filling.lacks(column));
        let mut findings = FileFindings::new(self.rules.count());
        let mut batches = std::pin::pin!(self.interval.scan(file, &columns, ScanOptions::default()));
        while let Some(batch) = batches.next().await {
            let raw = batch?;
            let valid = if first_round {
                let broken = judge.broken(&columns, &raw.batch, &raw.failed)?;
                let valid = self.reject(file, &raw, &broken, verdicts, &mut findings);
                findings.footprint.add(&self.shape, &columns, &raw.batch, &valid, is_placed)?;
                valid
            } else {
                BooleanBuffer::collect_bool(raw.batch.num_rows(), |row| {
                    verdicts.get(file, raw.first_row + row as u64) != Verdict::Invalid
                })
            };
            self.collect(file, &columns, raw, &valid, round, ranks, collector, verdicts)?;
        }
        Ok(findings)
    }

    /// Records broken rules and gives the rows that broke none of severity error.
    fn reject(
        &self,
        file: usize,
        raw: &RawBatch,
        broken: &[Broken],
        verdicts: &Verdicts,
        findings: &mut FileFindings,
    ) -> BooleanBuffer {
        let rows = raw.batch.num_rows();
        let mut valid = BooleanBuffer::new_set(rows);
        let mut errors: Vec<&Broken> = Vec::new();
        for rule in broken {
            findings.broken_rows[rule.rule] += rule.rows.count_set_bits() as u64;
            if self.rules.severity(rule.rule) == Severity::Error {
                valid = &valid & &!&rule.rows;
                errors.push(rule);
            }
        }
        if errors.is_empty() {
            return valid;
        }
        for row in (!&valid).set_indices() {
            let rules: Vec<usize> = errors.iter().filter(|rule| rule.rows.value(row)).map(|rule| rule.rule).collect();
            let next = u32::try_from(findings.rejects.sets.len()).expect("fewer sets of rules than rows");
            let set = *findings.set_ids.entry(rules.clone()).or_insert_with(|| {
                findings.rejects.sets.push(rules);
                next
            });
            let number = raw.first_row + row as u64;
            findings.rejects.rows.push((number, set));
            verdicts.set(RowAddress::new(file, number, false), Verdict::Invalid);
        }
        valid
    }

    #[expect(clippy::too_many_arguments, reason = "one call, from the loop above")]
    fn collect(
        &self,
        file: usize,
        columns: &[usize],
        raw: RawBatch,
        valid: &BooleanBuffer,
        round: Round,
        ranks: &RankBytes,
        collector: &mut Collector,
        verdicts: &Verdicts,
    ) -> Result<()> {
        let pick = |wanted: &[usize]| -> Vec<_> {
            let place = |column| columns.binary_search(column).expect("the pass's columns are read");
            wanted.iter().map(|column| Arc::clone(raw.batch.column(place(column)))).collect()
        };
        if self.key.is_empty() {
            // Without a key every valid row is a new one.
            for row in valid.set_indices() {
                verdicts.set(RowAddress::new(file, raw.first_row + row as u64, false), Verdict::Insert);
            }
            return Ok(());
        }
        let tenants = self.tenant.map(|tenant| pick(&[tenant]).remove(0));
        let fingerprints = fingerprints(&pick(&self.key), self.seed)?;
        let fingerprints = self.tags().tagged(fingerprints, tenants.as_ref(), self.seed)?;
        let batch_ranks = self.ranking.ranks(&pick(&self.order), raw.batch.num_rows())?;
        let deletes = match &self.delete {
            Some((column, marker)) => Some(marked(&pick(&[*column])[0], marker)?),
            None => None,
        };
        for row in valid.set_indices() {
            if round.keeps(fingerprints[row]) {
                let is_delete = deletes.as_ref().is_some_and(|deletes| deletes.value(row));
                let at = RowAddress::new(file, raw.first_row + row as u64, is_delete);
                collector.push(fingerprints[row], batch_ranks.words[row], at);
            }
        }
        if let Some(bytes) = batch_ranks.bytes.filter(|_| round.index == 0) {
            ranks.push(file, raw.first_row, bytes);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct FileFindings {
    rejects: FileRejects,
    set_ids: HashMap<Vec<usize>, u32>,
    broken_rows: Vec<u64>,
    footprint: Footprint,
}

impl FileFindings {
    fn new(rules: usize) -> Self {
        Self {
            rejects: FileRejects::default(),
            set_ids: HashMap::new(),
            broken_rows: vec![0; rules],
            footprint: Footprint::default(),
        }
    }
}

fn lock(collectors: &Mutex<Vec<Collector>>) -> MutexGuard<'_, Vec<Collector>> {
    collectors.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Rows whose delete column holds one of the marker's values.
fn marked(array: &dyn Array, marker: &DeleteMarker) -> Result<BooleanArray> {
    let bits: BooleanBuffer = if let Some(texts) = array.as_string_view_opt() {
        BooleanBuffer::collect_bool(array.len(), |row| {
            array.is_valid(row)
                && marker.values.iter().any(|value| matches!(value, Literal::String(text) if text == texts.value(row)))
        })
    } else if let Some(truths) = array.as_boolean_opt() {
        BooleanBuffer::collect_bool(array.len(), |row| {
            array.is_valid(row)
                && marker
                    .values
                    .iter()
                    .any(|value| matches!(value, Literal::Boolean(truth) if *truth == truths.value(row)))
        })
    } else {
        let words = arrow::compute::cast(array, &arrow::datatypes::DataType::Int64)
            .map_err(|source| Error::compute(format!("failed to read delete marker {}", marker.column), source))?;
        let words = words.as_primitive::<arrow::datatypes::Int64Type>();
        BooleanBuffer::collect_bool(array.len(), |row| {
            words.is_valid(row)
                && marker
                    .values
                    .iter()
                    .any(|value| matches!(value, Literal::Integer(word) if *word == words.value(row)))
        })
    };
    Ok(BooleanArray::new(bits, None))
}
