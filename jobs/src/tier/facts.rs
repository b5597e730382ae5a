//! What lies in the zones of a table, in which classes, and who needs it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use contract::Contract;
use futures::{StreamExt, TryStreamExt, stream};
use lake::{
    ClassedObject, Classes, Lake, Location, Table,
    raw::{self, Place, RawTemplate},
};
use plan::{
    Interval,
    dedupe::{Memory, RawFile},
    tier::{BucketRule, Facts, Listed, Need, Partitions, RulePlace, TAG, Taken, Way, Zone, bucket_rules},
};

use super::Tier;
use crate::{
    config::TableConfig,
    error::{JobError, Result},
    event_time,
    job::Job,
    known::Known,
};

/// Tags that are read at once.
const TAGS_AT_ONCE: usize = 16;

/// Where a table's objects lie on S3.
pub struct Places<'a> {
    pub job: &'a Job,
    pub config: &'a TableConfig,
    pub lake: &'a Lake,
    pub classes: &'a Classes,
    pub table: Option<Table>,
    /// Bucket and key prefix of each zone that was asked for and lies on S3.
    pub zones: BTreeMap<Zone, (String, String)>,
}

impl<'a> Places<'a> {
    /// Those of the zones; `None` where they lie in a folder, which has no storage classes.
    pub async fn of(job: &'a Job, config: &'a TableConfig, zones: &[Zone]) -> Result<Option<Self>> {
        let lake = job.lake().await?;
        let table = lake.table(&config.name).await?;
        let template = template(config)?;
        let mut on_s3 = BTreeMap::new();
        for zone in zones {
            let folder = match (zone, &table) {
                (Zone::Raw, _) => template.root(),
                (Zone::Curated, Some(table)) => table.metadata.location(),
                (Zone::Curated, None) => continue,
            };
            if let Location::S3 { bucket, key } = Location::parse(folder)? {
                on_s3.insert(*zone, (bucket, if key.is_empty() { key } else { key + "/" }));
            }
        }
        let is_nowhere = |zone: &Zone| *zone == Zone::Curated && table.is_none();
        let is_local = |zone: &Zone| !on_s3.contains_key(zone) && !is_nowhere(zone);
        if on_s3.is_empty() && zones.iter().any(is_local) {
            return Ok(None);
        }
        Ok(Some(Self { job, config, lake, classes: lake.storage.classes()?, table, zones: on_s3 }))
    }

    /// Those of the zones; an error where they lie in a folder.
    pub async fn on_s3(job: &'a Job, config: &'a TableConfig, zones: &[Zone]) -> Result<Self> {
        Self::of(job, config, zones).await?.ok_or_else(|| {
            JobError::usage(format!("{} lies in a folder, and storage classes are S3's", config.name))
                .with_help("etl tier works on raw zones and tables whose location begins with s3://")
        })
    }

    /// Everything in the raw zone, each with when it arrived and whether it is in the table.
    pub async fn raw(&self, contract: &Contract, forgotten_is_taken: bool) -> Result<Vec<Listed>> {
        let template = template(self.config)?;
        let objects = self.classes.list(template.root()).await?;
        let mut files = Vec::new();
        let mut listed = Vec::new();
        for object in objects {
            let partition = match template.place(&object.location) {
                Place::In { partition, below, hidden: None } => {
                    raw::ignored(below, object.bytes).is_none().then_some(partition)
                }
                _ => None,
            };
            match partition {
                Some(partition) => {
                    let arrival = Interval::new(partition.start, partition.end)?;
                    files.push(raw_file(&object, arrival));
                    listed.push(described(object, Need::Raw { arrival, taken: Taken::No }));
                }
                None => listed.push(described(object, Need::NoInput)),
            }
        }
        let Memory { marks, forgotten, .. } = Known::of(self.table.as_ref())?.memory;
        let (lateness, now) = (contract.lateness, self.job.program.now());
        let partitions = Partitions { marks, forgotten, lateness, now, forgotten_is_taken };
        let inputs = listed.iter_mut().filter_map(|object| match &mut object.needed {
            Need::Raw { taken, .. } => Some(taken),
            _ => None,
        });
        for (taken, of) in inputs.zip(partitions.taken(&files)) {
            *taken = of;
        }
        Ok(listed)
    }

    /// Everything below the table's location, each with what it is to the table. The list comes first: a file that is
    /// committed in between is not in it.
    pub async fn curated(&self, contract: &Contract) -> Result<Vec<Listed>> {
        let Some(table) = &self.table else { return Ok(Vec::new()) };
        let objects = self.classes.list(table.metadata.location()).await?;
        let Some(table) = self.lake.table(&table.name).await? else { return Ok(Vec::new()) };
        let references = lake::references(&table).await?;
        let mut current = HashMap::new();
        if let Some(head) = table.head() {
            let name = contract.event_time.as_deref();
            let field_id = name.and_then(|name| table.metadata.current_schema().field_id_by_name(name));
            for entry in table.live_files_in_short(head.snapshot_id(), field_id.as_slice()).await?.data {
                let location = Location::parse(entry.data_file.file_path())?.to_string();
                current.insert(location, event_time::bounds(&entry.data_file, field_id));
            }
        }
        let need = |location: &str| match (current.get(location), references.get(location)) {
            (Some(event_time), _) => Need::Current { event_time: *event_time },
            (None, Some(kind)) => Need::Referred(*kind),
            (None, None) => Need::Unknown,
        };
        Ok(objects
            .into_iter()
            .map(|object| (need(&object.location), object))
            .map(|(need, object)| described(object, need))
            .collect())
    }
}

impl Tier {
    /// The facts of a plan.
    pub async fn facts(&self, places: &Places<'_>, contract: &Contract) -> Result<Facts> {
        let mut objects = Vec::new();
        let (mut rules, mut rule_places): (Vec<BucketRule>, Vec<RulePlace>) = Default::default();
        for (zone, (bucket, prefix)) in &places.zones {
            let of_zone = match zone {
                Zone::Raw => &contract.tiering.raw,
                Zone::Curated => &contract.tiering.curated,
            };
            let place = RulePlace::of(&contract.table, *zone, bucket);
            rules.extend(bucket_rules(&place, prefix, of_zone));
            rule_places.push(place);
            objects.extend(match zone {
                Zone::Raw => places.raw(contract, self.forgotten).await?,
                Zone::Curated => places.curated(contract).await?,
            });
        }
        let buckets: BTreeSet<&String> = places.zones.values().map(|(bucket, _)| bucket).collect();
        let mut facts = Facts {
            table: contract.table.clone(),
            tiering: contract.tiering.clone(),
            lateness: contract.lateness,
            way: self.way(),
            objects,
            rules: Vec::new(),
            rules_differ: false,
            rule_places,
            versioned: Vec::new(),
            cost_max: self.max_dollars,
            prices: places.job.prices().await?,
            now: places.job.program.now(),
        };
        match facts.way {
            Way::Copy => {
                for bucket in buckets {
                    if places.classes.keeps_versions(bucket).await? {
                        facts.versioned.push(bucket.clone());
                    }
                }
            }
            Way::Lifecycle => {
                for place in &facts.rule_places {
                    let ours: Vec<_> = rules.iter().filter(|rule| place.has(rule)).cloned().collect();
                    let lifecycle = places.classes.lifecycle(&place.bucket).await?;
                    facts.rules_differ |= lifecycle.with(&place.id_prefix, &ours)?.is_some();
                }
                facts.rules = rules;
                read_tags(places.classes, &mut facts).await?;
            }
        }
        Ok(facts)
    }
}

/// The tags of objects that a rule may move by their age.
async fn read_tags(classes: &Classes, facts: &mut Facts) -> Result<()> {
    let due: Vec<usize> =
        (0..facts.objects.len()).filter(|index| plan::tier::is_due(facts, &facts.objects[*index])).collect();
    let locations: Vec<String> = due.iter().map(|index| facts.objects[*index].location.clone()).collect();
    let reads = locations.iter().map(|location| classes.tags(location));
    let tags: Vec<_> = stream::iter(reads.collect::<Vec<_>>()).buffered(TAGS_AT_ONCE).try_collect().await?;
    for (index, mut tags) in due.into_iter().zip(tags) {
        facts.objects[index].tag = tags.remove(TAG);
    }
    Ok(())
}

fn template(config: &TableConfig) -> Result<RawTemplate> {
    Ok(RawTemplate::parse(&config.source, config.timezone.clone())?)
}

fn raw_file(object: &ClassedObject, arrival: Interval) -> RawFile {
    RawFile {
        key: object.location.clone(),
        etag: object.etag.clone(),
        bytes: object.bytes,
        modified: object.modified,
        arrival: Some(arrival),
        rows: None,
        event_time: None,
    }
}

fn described(object: ClassedObject, needed: Need) -> Listed {
    let ClassedObject { location, bytes, etag, modified, class } = object;
    Listed { location, bytes, etag, modified, class, tag: None, needed }
}
