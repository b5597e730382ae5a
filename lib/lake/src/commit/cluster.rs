//! Manifests in another order: what it is known from that they want one, and staging new ones with the same live files.
//!
//! Staged manifests wait for their commit as data files do: any version that still has those that they replace can take them
//! over. Refuses to know when that pays: the plan does.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use iceberg::spec::{
    Datum, FieldSummary, Literal, ManifestContentType, ManifestFile, NestedFieldRef, PartitionSpec, PrimitiveType,
    Schema, SchemaRef, Struct, StructType, Transform,
};
use plan::compact::{FILES_PER_MANIFEST_MAX, ManifestFacts, ManifestsFacts, ManifestsRewrite};
use uuid::Uuid;

use super::{
    CommitError, Conflict,
    manifests::{Draft, DraftEntry, build_error},
    merge::manifest_bytes_target,
};
use crate::{
    ManifestSwap, Result, Table,
    files::comparable,
    manifest::{Entry, MANIFESTS_CONCURRENT_MAX, Manifest, may_have_live_files},
};

/// Files whose entries are in memory at once: with the metrics of thirty columns some hundred MiB.
const ENTRIES_AT_ONCE_MAX: usize = FILES_PER_MANIFEST_MAX as usize;

/// Manifests larger than this on average are read one ahead, smaller ones many.
const SMALL_BYTES: u64 = 1 << 20;

impl Table {
    /// What the manifest list of the current snapshot says of its manifests.
    pub async fn manifests_facts(&self) -> Result<ManifestsFacts> {
        let manifests = match self.head() {
            Some(head) => self.manifest_list(head).await?,
            None => Vec::new(),
        };
        let manifests: Vec<_> = manifests.into_iter().filter(may_have_live_files).collect();
        let specs: BTreeSet<i32> = manifests.iter().map(|file| file.partition_spec_id).collect();
        let ranges: BTreeMap<i32, Ranges> =
            specs.into_iter().map(|spec_id| (spec_id, Ranges::of(self, spec_id, &manifests))).collect();
        let current = self.metadata.current_schema();
        let others = self.metadata.schemas_iter().filter(|schema| !shares_types(schema, current)).count();
        Ok(ManifestsFacts {
            manifests: manifests.iter().map(|file| facts(file, &ranges)).collect(),
            target_bytes: manifest_bytes_target(self.metadata.properties()),
            schemas: others as u64 + 1,
        })
    }
}

fn facts(file: &ManifestFile, ranges: &BTreeMap<i32, Ranges>) -> ManifestFacts {
    let files = live_files(file);
    let gone = u64::from(file.deleted_files_count.unwrap_or(0));
    let bytes = u64::try_from(file.manifest_length).unwrap_or(0);
    ManifestFacts {
        path: file.manifest_path.clone(),
        spec_id: file.partition_spec_id,
        of_deletes: file.content == ManifestContentType::Deletes,
        bytes: bytes * files / (files + gone).max(1),
        files,
        ranges: ranges.get(&file.partition_spec_id).map_or_else(Vec::new, |ranges| ranges.ranks(file)),
    }
}

fn live_files(file: &ManifestFile) -> u64 {
    u64::from(file.added_files_count.unwrap_or(0)) + u64::from(file.existing_files_count.unwrap_or(0))
}

/// The bounds of the partition values of a spec, to tell their ranks.
struct Ranges {
    types: Vec<PrimitiveType>,
    /// For each field, from the smallest on.
    bounds: Vec<Vec<Bound>>,
}

/// A partition value; NULL is the smallest.
#[derive(Debug, Clone, PartialEq)]
struct Bound(Option<Datum>);

impl Bound {
    fn order(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Some(a), Some(b)) => a.partial_cmp(b).unwrap_or(Ordering::Equal),
            (a, b) => a.is_some().cmp(&b.is_some()),
        }
    }

    fn of(summary: &FieldSummary, field_type: &PrimitiveType) -> (Self, Self) {
        let value =
            |bytes: Option<&[u8]>| Self(bytes.and_then(|bytes| Datum::try_from_bytes(bytes, field_type.clone()).ok()));
        let low =
            if summary.contains_null { Self(None) } else { value(summary.lower_bound.as_ref().map(|b| b.as_slice())) };
        (low, value(summary.upper_bound.as_ref().map(|b| b.as_slice())))
    }
}

impl Ranges {
    fn of(table: &Table, spec_id: i32, manifests: &[ManifestFile]) -> Self {
        let spec = table.metadata.partition_spec_by_id(spec_id);
        // Without the columns that it was made from nobody asks for its partitions.
        let types = spec.and_then(|spec| primitive_types(spec, table.metadata.current_schema())).unwrap_or_default();
        let mut bounds: Vec<Vec<Bound>> = vec![Vec::new(); types.len()];
        for file in manifests.iter().filter(|file| file.partition_spec_id == spec_id) {
            let summaries = file.partitions.iter().flatten();
            for ((summary, field_type), bounds) in summaries.zip(&types).zip(&mut bounds) {
                let (low, high) = Bound::of(summary, field_type);
                bounds.extend([low, high]);
            }
        }
        for bounds in &mut bounds {
            bounds.sort_by(Bound::order);
            bounds.dedup();
        }
        Self { types, bounds }
    }

    /// The range of each field; of a manifest that does not say, all there is.
    fn ranks(&self, file: &ManifestFile) -> Vec<(u64, u64)> {
        let of = |(index, field_type): (usize, &PrimitiveType)| {
            let bounds = &self.bounds[index];
            let rank = |bound: &Bound| bounds.partition_point(|other| other.order(bound) == Ordering::Less) as u64;
            match file.partitions.as_ref().and_then(|summaries| summaries.get(index)) {
                Some(summary) => {
                    let (low, high) = Bound::of(summary, field_type);
                    (rank(&low), rank(&high))
                }
                None => (0, bounds.len() as u64),
            }
        };
        self.types.iter().enumerate().map(of).collect()
    }
}

fn primitive_types(spec: &PartitionSpec, schema: &Schema) -> Option<Vec<PrimitiveType>> {
    let types = spec.partition_type(schema).ok()?;
    types.fields().iter().map(|field| field.field_type.as_primitive_type().cloned()).collect()
}

/// Whether bounds of a manifest of the schema read the same by the current one: no column has another type by now.
fn shares_types(schema: &Schema, current: &Schema) -> bool {
    let same = |field: &NestedFieldRef| {
        !field.field_type.is_primitive()
            || current.field_by_id(field.id).is_none_or(|now| now.field_type == field.field_type)
    };
    schema.field_id_to_fields().values().all(same)
}

/// Stages manifests for each of these rewrites, and adds what it writes to `written`, also when it fails: names that nothing
/// ever had, by `unique`. A conflict when one of the old ones is no longer in the table.
pub async fn stage_manifests(
    table: &Table,
    rewrites: &[ManifestsRewrite],
    unique: Uuid,
    written: &mut Vec<String>,
) -> Result<ManifestSwap> {
    stage(table, rewrites, unique, written, ENTRIES_AT_ONCE_MAX).await
}

/// With no more than `entries_at_once` in memory.
pub(super) async fn stage(
    table: &Table,
    rewrites: &[ManifestsRewrite],
    unique: Uuid,
    written: &mut Vec<String>,
    entries_at_once: usize,
) -> Result<ManifestSwap> {
    let list = match table.head() {
        Some(head) => table.manifest_list(head).await?,
        None => Vec::new(),
    };
    let by_path: HashMap<&str, &ManifestFile> = list.iter().map(|file| (file.manifest_path.as_str(), file)).collect();
    let mut swap = ManifestSwap::default();
    for rewrite in rewrites {
        let mut files = Vec::with_capacity(rewrite.paths.len());
        for path in &rewrite.paths {
            files.push(*by_path.get(path.as_str()).ok_or_else(|| manifest_gone(table, path))?);
        }
        let mut stage = Stage { table, rewrite, unique, written, swap: &mut swap, entries_at_once };
        stage.run(&files).await?;
        swap.removed.extend(rewrite.paths.iter().cloned());
    }
    Ok(swap)
}

/// A manifest that a change replaces is no longer in the table.
pub(super) fn manifest_gone(table: &Table, path: &str) -> CommitError {
    let conflict = Conflict::ManifestGone { manifest: path.to_owned() };
    CommitError::Conflict { table: table.name.clone(), conflict, retry_plan: true }
}

/// Where an entry lies, in the order in which entries are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// The schema that it is written with.
    schema_id: i32,
    /// Its partition, as an index and in the end as a rank.
    partition: usize,
    manifest: usize,
    entry: usize,
}

/// One rewrite under way.
struct Stage<'a> {
    table: &'a Table,
    rewrite: &'a ManifestsRewrite,
    unique: Uuid,
    written: &'a mut Vec<String>,
    swap: &'a mut ManifestSwap,
    entries_at_once: usize,
}

impl Stage<'_> {
    /// Reads the manifests for their partitions, sorts those, and reads them once more for as many entries as memory takes.
    async fn run(&mut self, files: &[&ManifestFile]) -> Result<()> {
        let (places, shapes) = self.places(files).await?;
        let mut per_manifest =
            self.rewrite.target_bytes.saturating_mul(self.rewrite.files.max(1)).div_ceil(self.rewrite.bytes.max(1));
        for of_schema in places.chunk_by(|a, b| a.schema_id == b.schema_id) {
            for window in of_schema.chunks(self.entries_at_once) {
                let Some((schema, spec, partition, content)) = shapes.get(&window[0].schema_id) else { continue };
                let mut entries = self.entries(files, window).await?.into_iter();
                while entries.len() > 0 {
                    let manifests = (entries.len() as u64).div_ceil(per_manifest.clamp(1, FILES_PER_MANIFEST_MAX));
                    let count = entries.len().div_ceil(usize::try_from(manifests).unwrap_or(1).max(1));
                    let entries = entries.by_ref().take(count).map(DraftEntry::Existing).collect();
                    let (schema, spec, partition) = (Arc::clone(schema), spec.clone(), partition.clone());
                    let draft = Draft { schema, spec, partition, content: *content, entries };
                    let bytes = self.write(draft).await?;
                    // Other writers compress: what an entry takes is known when some are written.
                    per_manifest = self.rewrite.target_bytes.saturating_mul(count as u64) / bytes.max(1);
                }
            }
        }
        Ok(())
    }

    /// Every live entry, in the order in which they are written, and how the manifests of each schema are made.
    async fn places(&self, files: &[&ManifestFile]) -> Result<(Vec<Place>, BTreeMap<i32, Shape>)> {
        let current = self.table.metadata.current_schema();
        let mut shapes: BTreeMap<i32, Shape> = BTreeMap::new();
        let mut known: HashMap<Struct, usize> = HashMap::new();
        let mut places = Vec::new();
        let mut read = self.read(files.iter().copied().enumerate().collect());
        while let Some((manifest, read)) = read.try_next().await? {
            let Manifest { schema, spec, mut partition, content, entries } = read;
            // Bounds are read by the schema that their manifest names.
            let by_current = spec.partition_type(current).ok().filter(|_| shares_types(&schema, current));
            let schema = match by_current {
                Some(by_current) => {
                    partition = by_current;
                    Arc::clone(current)
                }
                None => schema,
            };
            let schema_id = schema.schema_id();
            shapes.entry(schema_id).or_insert_with(|| (schema, spec, partition, content));
            for (entry, of) in entries.iter().enumerate().filter(|(_, of)| of.is_live()) {
                let next = known.len();
                let partition = *known.entry(comparable(of.data_file.partition())).or_insert(next);
                places.push(Place { schema_id, partition, manifest, entry });
            }
        }
        drop(read);
        let fields = shapes.values().next().map_or_else(Vec::new, |(_, spec, ..)| field_order(spec));
        let mut partitions: Vec<(&Struct, usize)> =
            known.iter().map(|(partition, index)| (partition, *index)).collect();
        partitions.sort_by(|(a, _), (b, _)| compare(a, b, &fields));
        let mut ranks = vec![0; partitions.len()];
        partitions.into_iter().enumerate().for_each(|(rank, (_, index))| ranks[index] = rank);
        places.iter_mut().for_each(|place| place.partition = ranks[place.partition]);
        places.sort_unstable();
        Ok((places, shapes))
    }

    /// The entries at these places, in their order.
    async fn entries(&self, files: &[&ManifestFile], places: &[Place]) -> Result<Vec<Entry>> {
        let mut wanted: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (at, place) in places.iter().enumerate() {
            wanted.entry(place.manifest).or_default().push((place.entry, at));
        }
        let mut found: Vec<Option<Entry>> = vec![None; places.len()];
        let mut read = self.read(wanted.keys().map(|manifest| (*manifest, files[*manifest])).collect());
        while let Some((manifest, Manifest { entries, .. })) = read.try_next().await? {
            for (entry, at) in wanted.get(&manifest).into_iter().flatten() {
                found[*at] = entries.get(*entry).cloned();
            }
        }
        drop(read);
        Ok(found.into_iter().flatten().collect())
    }

    fn read<'b>(&'b self, files: Vec<(usize, &'b ManifestFile)>) -> stream::BoxStream<'b, Result<(usize, Manifest)>> {
        let ahead = if self.rewrite.bytes / (self.rewrite.paths.len() as u64).max(1) > SMALL_BYTES {
            2
        } else {
            MANIFESTS_CONCURRENT_MAX
        };
        let table = self.table;
        let reads: Vec<BoxFuture<'b, _>> = files
            .into_iter()
            .map(|(index, file)| async move { Ok((index, table.manifest(file).await?)) }.boxed())
            .collect();
        stream::iter(reads).buffered(ahead).boxed()
    }

    /// Writes a manifest; its size.
    async fn write(&mut self, draft: Draft) -> Result<u64> {
        let table = self.table;
        self.swap.files += draft.entries.len() as u64;
        let (mut manifest, bytes) = draft.encode(None).map_err(|source| build_error(&table.name, source))?;
        let location = format!("{}/{}-m{}.avro", table.metadata_folder(), self.unique, self.written.len());
        // Before the write: one that failed may still have happened.
        self.written.push(location.clone());
        let size = bytes.len() as u64;
        table.storage.write_new(&location, bytes).await?;
        manifest.manifest_path = location;
        self.swap.added.push(manifest);
        Ok(size)
    }
}

/// How manifests are made.
type Shape = (SchemaRef, PartitionSpec, StructType, ManifestContentType);

/// The order in which partition fields sort: times first, since that is what scans ask for.
fn field_order(spec: &PartitionSpec) -> Vec<usize> {
    let is_time = |index: &usize| {
        matches!(spec.fields()[*index].transform, Transform::Year | Transform::Month | Transform::Day | Transform::Hour)
    };
    let (times, others): (Vec<_>, Vec<_>) = (0..spec.fields().len()).partition(is_time);
    times.into_iter().chain(others).collect()
}

fn compare(a: &Struct, b: &Struct, fields: &[usize]) -> Ordering {
    let value = |of: &Struct, field: usize| match of.fields().get(field) {
        Some(Some(Literal::Primitive(value))) => Some(value.clone()),
        _ => None,
    };
    let by_field =
        fields.iter().map(|field| value(a, *field).partial_cmp(&value(b, *field)).unwrap_or(Ordering::Equal));
    by_field.fold(Ordering::Equal, Ordering::then)
}
