//! Tables that lie where another one does.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::testing::TestLake;

const OTHER: &str = "00000000-0000-4000-8000-00000000000a";

fn gzipped(document: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(document.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

/// What is said of an object beside the table's own.
async fn said_of(test: &TestLake, path: &str, content: Bytes) -> Vec<String> {
    let table = test.table().await;
    let location = format!("{}/{path}", table.metadata.location());
    let size = content.len() as u64;
    test.lake.storage.delete_all(vec![location.clone()]).await.unwrap();
    test.lake.storage.write_new(&location, content).await.unwrap();
    let found = foreign(&table, [(location.as_str(), size)].into_iter()).await.unwrap();
    let below = |of: Foreign| {
        let path = of.location.strip_prefix(table.metadata.location()).unwrap().to_owned();
        format!("{path} is {}", of.what)
    };
    found.into_iter().map(below).collect()
}

#[tokio::test]
async fn every_sign_of_another_table_is_told() {
    let test = TestLake::new().await;
    let another = format!(r#"{{"format-version":2,"table-uuid":"{OTHER}","location":"#);
    let late = format!(r#"{{"properties":{{"table-uuid":"x","a":"{}"}},"table-uuid":"{OTHER}"}}"#, "y".repeat(9_000));
    let whose = format!("is metadata of another table, {OTHER}");
    let nobody = "is metadata that does not say of which table";
    let documents = [
        ("metadata/00000-u.metadata.json", Bytes::from(another.clone()), whose.as_str()),
        ("inner/metadata/v1.metadata.json", late.clone().into(), &whose),
        ("inner/metadata/v1.gz.metadata.json", gzipped(&late), &whose),
        ("inner/metadata/v1.metadata.json.gz", gzipped(&another), &whose),
        ("inner/metadata.json", Bytes::new(), nobody),
        ("a/b.metadata.json", "junk".into(), nobody),
        ("a/c.metadata.json", r#"{"view-uuid":"v"}"#.into(), "is metadata of a view, v"),
        ("inner/metadata/version-hint.text", "7".into(), "is the version hint of another table"),
    ];
    for (path, content, wanted) in documents {
        assert_eq!(said_of(&test, path, content).await, [format!("/{path} {wanted}")], "{path}");
    }
    let folders = [
        ("d/_delta_log/00000000000000000000.json", "/d/_delta_log is the log of a Delta table"),
        ("h/.hoodie/hoodie.properties", "/h/.hoodie is metadata of a Hudi table"),
    ];
    for (path, wanted) in folders {
        assert_eq!(said_of(&test, path, "x".into()).await, [wanted]);
    }
}

#[tokio::test]
async fn superseded_versions_and_other_names_are_no_sign() {
    let test = TestLake::new().await;
    let uuid = test.table().await.metadata.uuid();
    let ours = format!(r#"{{"format-version":2,"table-uuid":"{}","#, uuid.to_string().to_uppercase());
    for (path, content) in [
        ("metadata/00000-u.metadata.json", Bytes::from(ours.clone())),
        ("metadata/00000-u.gz.metadata.json", gzipped(&ours)),
        ("data/x.parquet", "x".into()),
        ("data/my-metadata.json", "x".into()),
        ("metadata/_delta_log", "x".into()),
    ] {
        assert_eq!(said_of(&test, path, content).await, Vec::<String>::new(), "{path}");
    }
    // One that has gone since it was listed.
    let table = test.table().await;
    let gone = format!("{}/metadata/9.metadata.json", table.metadata.location());
    assert_eq!(foreign(&table, [(gone.as_str(), 5)].into_iter()).await.unwrap(), []);
}

#[tokio::test]
async fn many_tables_are_all_named_and_too_many_files_are_not_looked_into() {
    let test = TestLake::new().await;
    let table = test.table().await;
    let names: Vec<String> = (0..=LOOKED_INTO_MAX).map(|n| format!("s3://nobody/t/{n}.metadata.json")).collect();
    let found = foreign(&table, names.iter().map(|name| (name.as_str(), 5))).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].what.contains("100001 metadata.json files"), "{found:?}");
}
