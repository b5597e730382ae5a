//! Which files of the table may hold a key of the batch: by partition, then by the bounds of the key columns.

use std::collections::{BTreeMap, HashSet};

use lake::{DataFileEntry, comparable_partition, spec};

use super::footprint::{Footprint, FootprintShape};

/// Picks the files that may hold a match; in doubt a file is picked.
pub struct Candidates {
    spec_id: i32,
    /// Per partition field whose value is fixed per key: the values that the batch has, as they compare with those of
    /// files from before a column was widened.
    allowed: Vec<Option<HashSet<Option<spec::Literal>>>>,
    bounds: BTreeMap<i32, (spec::Datum, spec::Datum)>,
}

impl Candidates {
    /// For a batch with this footprint.
    pub fn new(footprint: &Footprint, shape: &FootprintShape, schema: &spec::Schema, spec_id: i32) -> Self {
        let allowed = shape
            .fixed
            .iter()
            .enumerate()
            .map(|(field, fixed)| {
                let partitions = footprint.partitions.as_ref().filter(|_| *fixed)?;
                Some(partitions.iter().map(|partition| comparable_partition(partition)[field].clone()).collect())
            })
            .collect();
        Self { spec_id, allowed, bounds: footprint.bounds(schema) }
    }

    /// Whether the file may hold a key of the batch.
    pub fn may_match(&self, file: &DataFileEntry) -> bool {
        self.is_in_partition(file) && self.bounds.iter().all(|(id, range)| overlaps(file, *id, range))
    }

    /// Partitions of another spec do not compare with the batch's.
    fn is_in_partition(&self, file: &DataFileEntry) -> bool {
        if file.spec_id != self.spec_id || self.allowed.iter().all(Option::is_none) {
            return true;
        }
        let partition = comparable_partition(file.data_file.partition());
        let mut fields = self.allowed.iter().enumerate();
        fields.all(|(field, allowed)| allowed.as_ref().is_none_or(|allowed| allowed.contains(&partition[field])))
    }
}

fn overlaps(file: &DataFileEntry, id: i32, (min, max): &(spec::Datum, spec::Datum)) -> bool {
    let below = file.data_file.upper_bounds().get(&id).is_some_and(|upper| upper < min);
    let above = file.data_file.lower_bounds().get(&id).is_some_and(|lower| lower > max);
    !(below || above)
}
