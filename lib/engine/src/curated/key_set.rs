//! The keys that equality deletes name, each with the newest delete that names it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Keys as bytes → sequence number of the newest delete. Keys are compared in full.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    hasher: DefaultHashBuilder,
    bytes: Vec<u8>,
    keys: HashTable<Key>,
}

#[derive(Debug, Clone, Copy)]
struct Key {
    start: usize,
    length: usize,
    sequence_number: i64,
}

impl KeySet {
    /// Notes that a delete of this sequence number names the key.
    pub(super) fn insert(&mut self, key: &[u8], sequence_number: i64) {
        let Self { hasher, bytes, keys } = self;
        let hash = hasher.hash_one(key);
        let same = |entry: &Key| &bytes[entry.start..entry.start + entry.length] == key;
        if let Some(known) = keys.find_mut(hash, same) {
            known.sequence_number = known.sequence_number.max(sequence_number);
            return;
        }
        let entry = Key { start: bytes.len(), length: key.len(), sequence_number };
        bytes.extend_from_slice(key);
        keys.insert_unique(hash, entry, |entry| hasher.hash_one(&bytes[entry.start..entry.start + entry.length]));
    }

    /// Sequence number of the newest delete that names the key.
    pub(super) fn newest(&self, key: &[u8]) -> Option<i64> {
        let same = |entry: &Key| &self.bytes[entry.start..entry.start + entry.length] == key;
        self.keys.find(self.hasher.hash_one(key), same).map(|entry| entry.sequence_number)
    }

    /// Bytes of memory in use.
    pub(super) fn size_bytes(&self) -> usize {
        self.bytes.capacity() + self.keys.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_delete_of_a_key_counts() {
        let mut keys = KeySet::default();
        for (key, sequence_number) in [("a", 3), ("b", 5), ("a", 7), ("b", 2), ("", 1)] {
            keys.insert(key.as_bytes(), sequence_number);
        }
        assert_eq!(keys.newest(b"a"), Some(7));
        assert_eq!(keys.newest(b"b"), Some(5));
        assert_eq!(keys.newest(b""), Some(1));
        assert_eq!(keys.newest(b"ab"), None);
    }
}
