//! Where a table wants its data files: what Iceberg's own location providers make of its properties
//! (<https://iceberg.apache.org/docs/latest/aws/#object-store-file-layout>).

use std::collections::HashMap;

use crate::murmur3_32;

/// Bits of the hash that become folders: three of four bits, and one of the rest.
const HASH_BITS: usize = 20;
const FOLDER_BITS: usize = 4;
const FOLDERS: usize = 3;

/// The layout of one table's data files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataLayout {
    folder: String,
    object_store: Option<ObjectStoreLayout>,
}

/// Names begin with a hash, so that S3 spreads the requests of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ObjectStoreLayout {
    has_partitions: bool,
    /// Namespace and name of the table, where its files lie outside of its location.
    context: Option<String>,
}

impl DataLayout {
    /// The layout of a table at this location, with these properties.
    pub(crate) fn of(location: &str, properties: &HashMap<String, String>) -> Self {
        let is = |name: &str, usual: bool| properties.get(name).map_or(usual, |text| text.eq_ignore_ascii_case("true"));
        let is_object_store = is("write.object-storage.enabled", false);
        let location = location.trim_end_matches('/');
        // The second and third are the names that older versions gave the first.
        let names = ["write.data.path", "write.object-storage.path", "write.folder-storage.path"];
        let mut named = names.iter().filter(|name| is_object_store || **name != "write.object-storage.path");
        let folder = match named.find_map(|name| properties.get(*name)) {
            Some(folder) => folder.trim_end_matches('/').to_owned(),
            None => format!("{location}/data"),
        };
        let object_store = is_object_store.then(|| ObjectStoreLayout {
            has_partitions: is("write.object-storage.partitioned-paths", true),
            context: (!folder.starts_with(location)).then(|| last_two(location)),
        });
        Self { folder, object_store }
    }

    /// The location of a file, in a partition by its path; empty without partition fields.
    pub(crate) fn place(&self, partition_path: &str, name: &str) -> String {
        let folder = &self.folder;
        let in_partition = |name: &str| match partition_path {
            "" => name.to_owned(),
            path => format!("{path}/{name}"),
        };
        match &self.object_store {
            None => format!("{folder}/{}", in_partition(name)),
            Some(ObjectStoreLayout { has_partitions, context }) => {
                let name = if *has_partitions { in_partition(name) } else { name.to_owned() };
                let hash = hash_folders(&name);
                match (context, has_partitions) {
                    (Some(context), _) => format!("{folder}/{hash}/{context}/{name}"),
                    (None, true) => format!("{folder}/{hash}/{name}"),
                    (None, false) => format!("{folder}/{hash}-{name}"),
                }
            }
        }
    }
}

/// `0101/0110/1001/10110010`.
fn hash_folders(name: &str) -> String {
    let bits = format!("{:032b}", murmur3_32(name.as_bytes()));
    let mut rest = &bits[bits.len() - HASH_BITS..];
    let mut folders = Vec::with_capacity(FOLDERS + 1);
    for _ in 0..FOLDERS {
        let (folder, after) = rest.split_at(FOLDER_BITS);
        folders.push(folder);
        rest = after;
    }
    folders.push(rest);
    folders.join("/")
}

/// The last two parts of a location.
fn last_two(location: &str) -> String {
    let parts: Vec<&str> = location.rsplit('/').take(2).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(location: &str, properties: &[(&str, &str)], partition_path: &str) -> String {
        let properties =
            properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<HashMap<_, _>>();
        DataLayout::of(location, &properties).place(partition_path, "a")
    }

    #[test]
    fn folders_are_those_of_the_table_or_of_its_properties() {
        assert_eq!(place("s3://b/ns/t", &[], ""), "s3://b/ns/t/data/a");
        assert_eq!(place("s3://b/ns/t/", &[], "d=1"), "s3://b/ns/t/data/d=1/a");
        assert_eq!(place("s3://b/ns/t", &[("write.folder-storage.path", "s3://c/old/")], "d=1"), "s3://c/old/d=1/a");
        let both = [("write.folder-storage.path", "s3://c/old"), ("write.data.path", "s3://c/new/")];
        assert_eq!(place("s3://b/ns/t", &both, ""), "s3://c/new/a");
        assert_eq!(place("s3://b/ns/t", &[("write.object-storage.path", "s3://c/x")], ""), "s3://b/ns/t/data/a");
    }

    /// Hashes as PyIceberg 0.12 and Iceberg's TestLocationProvider have them.
    #[test]
    fn the_object_store_layout_is_that_of_iceberg() {
        let on = ("write.object-storage.enabled", "true");
        assert_eq!(place("s3://b/ns/t", &[on], ""), "s3://b/ns/t/data/0101/0110/1001/10110010/a");
        assert_eq!(hash_folders("b"), "1110/0111/1110/00000011");
        let flat = ("write.object-storage.partitioned-paths", "false");
        assert_eq!(place("s3://b/ns/t", &[on, flat], "d=1"), "s3://b/ns/t/data/0101/0110/1001/10110010-a");
        let hashed = hash_folders("d=1/a");
        assert_eq!(place("s3://b/ns/t", &[on], "d=1"), format!("s3://b/ns/t/data/{hashed}/d=1/a"));
        let elsewhere = ("write.object-storage.path", "s3://c/files/");
        assert_eq!(place("s3://b/ns/t/", &[on, elsewhere], "d=1"), format!("s3://c/files/{hashed}/ns/t/d=1/a"));
    }
}
