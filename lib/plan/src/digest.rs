//! One number that says whether two runs saw the same input.

use xxhash_rust::xxh3::Xxh3;

/// What of a raw file decides whether it is still the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DigestInput<'a> {
    /// The object's key.
    pub key: &'a str,
    /// Its version, as storage tells it.
    pub etag: &'a str,
    /// Its size.
    pub bytes: u64,
}

/// Digest of a set of files: XXH3-128 over `(key, etag, bytes)` in key order, in hexadecimal. The order of the
/// arguments does not matter; lengths are hashed too, so that no two different sets run together into one text.
pub fn input_digest<'a>(files: impl IntoIterator<Item = DigestInput<'a>>) -> String {
    let mut files: Vec<_> = files.into_iter().collect();
    files.sort_unstable();
    let mut hash = Xxh3::new();
    for file in files {
        for text in [file.key, file.etag] {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&file.bytes.to_le_bytes());
    }
    format!("{:032x}", hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(key: &'a str, etag: &'a str, bytes: u64) -> DigestInput<'a> {
        DigestInput { key, etag, bytes }
    }

    #[test]
    fn is_stable_across_releases() {
        let digest = input_digest([file("a", "1", 10), file("b", "2", 20)]);
        insta::assert_snapshot!(digest, @"b65973fd4c52332ed27924a613d147ae");
    }

    #[test]
    fn does_not_depend_on_order() {
        assert_eq!(
            input_digest([file("a", "1", 10), file("b", "2", 20)]),
            input_digest([file("b", "2", 20), file("a", "1", 10)]),
        );
    }

    #[test]
    fn sees_each_part() {
        let base = input_digest([file("ab", "c", 1)]);
        for other in [file("a", "bc", 1), file("ab", "d", 1), file("ab", "c", 2), file("abc", "", 1)] {
            assert_ne!(base, input_digest([other]), "{other:?}");
        }
    }
}
