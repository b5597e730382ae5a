//! The keys that rows are sorted by, as bytes that compare like them, and the ranges that they are cut into.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    error::ArrowError,
    row::{RowConverter, Rows, SortField},
};

use super::order::Order;
use crate::{Error, Result, curated::TableReader};

/// Keys that ranges are cut by, at most.
const SAMPLED_KEYS_MAX: u64 = 128 << 10;

/// Makes the keys of rows. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    order: Arc<Order>,
    roots: Arc<[usize]>,
    converter: Arc<RowConverter>,
}

impl Keys {
    /// Of the rows that a reader reads.
    pub(super) fn new(order: &Order, reader: &TableReader) -> Result<Self> {
        let fields = order.fields(reader.table().metadata.current_schema())?;
        let fields = fields.iter().zip(order.options());
        let fields = fields.map(|(field, options)| SortField::new_with_options(field.data_type().clone(), options));
        let converter = RowConverter::new(fields.collect()).map_err(failed)?;
        let (order, roots) = order.alone();
        Ok(Self { order: Arc::new(order), roots: roots.into(), converter: Arc::new(converter) })
    }

    /// The table's columns that keys are made of, by their places.
    pub(super) fn roots(&self) -> &[usize] {
        &self.roots
    }

    /// The key of each row, of rows that have these columns and no others.
    pub(super) fn of(&self, batch: &RecordBatch) -> Result<Rows> {
        self.converter.convert_columns(&self.order.columns(batch)?).map_err(failed)
    }
}

fn failed(source: ArrowError) -> Error {
    Error::compute("failed to sort rows", source)
}

/// Some of the keys, evenly spread over those that come.
#[derive(Debug)]
pub(super) struct Sample {
    keys: Vec<Vec<u8>>,
    one_of: u64,
    seen: u64,
}

impl Sample {
    /// Of about so many keys that will come.
    pub(super) fn of(count: u64) -> Self {
        Self { keys: Vec::new(), one_of: count.div_ceil(SAMPLED_KEYS_MAX).max(1), seen: 0 }
    }

    /// Takes some of these.
    pub(super) fn add(&mut self, keys: &Rows) {
        for key in keys {
            if self.seen.is_multiple_of(self.one_of) {
                self.keys.push(key.data().to_vec());
            }
            self.seen += 1;
        }
    }

    /// About so many ranges, with about as many of the keys in each.
    pub(super) fn cut(mut self, count: usize) -> Ranges {
        self.keys.sort_unstable();
        let mut cuts: Vec<Cut> = Vec::new();
        for cut in 1..count {
            let Some(key) = self.keys.get(cut * self.keys.len() / count) else { break };
            match cuts.last_mut() {
                // It would fill a range by itself.
                Some(last) if last.key == *key => last.is_frequent = true,
                _ => cuts.push(Cut { key: key.clone(), is_frequent: false }),
            }
        }
        Ranges::new(cuts)
    }
}

/// Ranges of keys, in order. Between two cuts is one, from the first cut to before the second; a cut that is a frequent
/// key is a range of its own.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    cuts: Vec<Cut>,
    /// What all cuts begin with.
    start: Vec<u8>,
    /// Of each cut what comes after that, beside each other: they tell most keys' places.
    heads: Vec<u128>,
}

#[derive(Debug)]
struct Cut {
    key: Vec<u8>,
    is_frequent: bool,
}

impl Ranges {
    fn new(cuts: Vec<Cut>) -> Self {
        let start = match (cuts.first(), cuts.last()) {
            // All others lie between these.
            (Some(first), Some(last)) => first.key[..same(&first.key, &last.key)].to_vec(),
            _ => Vec::new(),
        };
        let heads = cuts.iter().map(|cut| head(&cut.key[start.len()..])).collect();
        Self { cuts, start, heads }
    }

    /// How many there are; some may have no keys.
    pub(super) fn len(&self) -> usize {
        2 * self.cuts.len() + 1
    }

    /// Which range a key is in.
    pub(super) fn of(&self, key: &[u8]) -> usize {
        let (from, to) = match key.strip_prefix(self.start.as_slice()) {
            Some(rest) => {
                let head = head(rest);
                let from = self.heads.partition_point(|of| *of < head);
                (from, from + self.heads[from..].iter().take_while(|of| **of == head).count())
            }
            None => (0, self.cuts.len()),
        };
        let cuts = from + self.cuts[from..to].partition_point(|cut| cut.key.as_slice() <= key);
        match cuts.checked_sub(1).map(|last| &self.cuts[last]) {
            Some(last) if last.is_frequent && last.key == key => 2 * cuts - 1,
            _ => 2 * cuts,
        }
    }

    /// Whether a range can have no more than one key.
    pub(super) fn is_one_key(range: usize) -> bool {
        range % 2 == 1
    }
}

/// The bytes of some keys that tell them apart: all others are the same in each of them. Times of a day and devices that
/// are numbered are many bytes of which a few differ.
#[derive(Debug)]
pub(super) struct Telling {
    places: Vec<usize>,
    /// Whether there are no more than a head has.
    pub(super) is_all: bool,
}

impl Telling {
    pub(super) fn of<'a>(mut keys: impl Iterator<Item = &'a [u8]>) -> Self {
        let first = keys.next().unwrap_or_default();
        let mut differences = vec![0; first.len()];
        let mut are_as_long = true;
        for key in keys {
            are_as_long &= key.len() == first.len();
            // Of what a shorter one does not have, nothing can be said.
            differences.truncate(key.len());
            differences.iter_mut().zip(first).zip(key).for_each(|((all, a), b)| *all |= a ^ b);
        }
        let mut places: Vec<usize> = (0..differences.len()).filter(|place| differences[*place] != 0).collect();
        let is_all = are_as_long && places.len() <= size_of::<u128>();
        places.truncate(size_of::<u128>());
        Self { places, is_all }
    }

    /// These bytes of one of the keys as a number, which compares like the key where it is another one.
    pub(super) fn head(&self, key: &[u8]) -> u128 {
        self.places.iter().fold(0, |head, place| head << 8 | u128::from(key[*place]))
    }
}

/// The first bytes as a number that compares like them; what is not there counts as 0.
fn head(bytes: &[u8]) -> u128 {
    let mut head = [0; 16];
    let count = bytes.len().min(head.len());
    head[..count].copy_from_slice(&bytes[..count]);
    u128::from_be_bytes(head)
}

/// How many bytes two keys begin with that are the same.
fn same(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(keys: &[&str], count: usize) -> Ranges {
        let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        Sample { keys, one_of: 1, seen: 0 }.cut(count)
    }

    #[test]
    fn keys_are_cut_into_equal_parts() {
        let ranges = ranges(&["h", "b", "f", "d", "a", "c", "g", "e"], 4);
        let places = ["", "a", "b", "c", "d", "e", "f", "g", "z"].map(|key| ranges.of(key.as_bytes()));
        assert_eq!(places, [0, 0, 0, 2, 2, 4, 4, 6, 6]);
        assert_eq!(ranges.len(), 7);
    }

    #[test]
    fn a_frequent_key_is_a_range_of_its_own() {
        let ranges = ranges(&["a", "k", "k", "k", "k", "k", "k", "z"], 4);
        let places = ["a", "j", "k", "l", "z"].map(|key| ranges.of(key.as_bytes()));
        assert_eq!(places, [0, 0, 1, 2, 2]);
        assert_eq!(places.map(Ranges::is_one_key), [false, false, true, false, false]);
    }

    #[test]
    fn keys_that_begin_alike_are_told_apart() {
        let long = |n: u32| format!("device-of-a-very-long-name-{n:03}");
        let keys: Vec<String> = (100..200).map(long).collect();
        let ranges = ranges(&keys.iter().map(String::as_str).collect::<Vec<_>>(), 50);
        let places: Vec<_> = keys.iter().map(|key| ranges.of(key.as_bytes())).collect();
        assert_eq!(places, (0..100).map(|n| n / 2 * 2).collect::<Vec<_>>());
        for (key, place) in [("", 0), ("a", 0), ("device", 0), ("device-of-b", 98), ("z", 98)] {
            assert_eq!(ranges.of(key.as_bytes()), place, "{key}");
        }
        let ends = ["k", "k\0", "k\0\0", "k\0a"].map(|key| ranges_of_zeros().of(key.as_bytes()));
        assert_eq!(ends, [0, 2, 4, 6], "what is not there is no zero");
    }

    fn ranges_of_zeros() -> Ranges {
        ranges(&["k", "k\0", "k\0\0", "k\0a"], 4)
    }

    #[test]
    fn keys_are_told_apart_by_the_bytes_in_which_they_differ() {
        let sorted = |mut keys: Vec<&'static [u8]>| {
            let telling = Telling::of(keys.iter().copied());
            keys.sort_unstable_by_key(|key| telling.head(key));
            (keys, telling.places.len(), telling.is_all)
        };
        let (keys, places, is_all) =
            sorted(vec![b"device-2 at 10", b"device-1 at 31", b"device-1 at 20", b"device-2 at 10"]);
        let expected: Vec<&[u8]> = vec![b"device-1 at 20", b"device-1 at 31", b"device-2 at 10", b"device-2 at 10"];
        assert_eq!((keys, places, is_all), (expected, 3, true));
        // What follows the end of another key is not looked at.
        let expected: Vec<&[u8]> = vec![b"ab", b"a", b"b"];
        assert_eq!(sorted(expected.clone()), (expected, 1, false));
        let (_, places, is_all) = sorted(vec![b"12345678901234567", b"abcdefghijklmnopq"]);
        assert_eq!((places, is_all), (16, false));
        assert_eq!(sorted(Vec::new()).1, 0);
    }

    #[test]
    fn without_keys_there_is_one_range() {
        let ranges = ranges(&[], 16);
        assert_eq!((ranges.len(), ranges.of(b"a")), (1, 0));
    }
}
