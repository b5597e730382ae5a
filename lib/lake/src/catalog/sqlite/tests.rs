//! The local catalog beside other processes, and beside those who made the file.

use std::sync::Arc;

use sqlx::AssertSqlSafe;
use tempfile::TempDir;

use super::{super::conformance, *};
use crate::ErrorKind;

fn catalog(folder: &TempDir) -> Sqlite {
    Sqlite::new(folder.path().join("catalog.db"), "etl")
}

fn table(name: &str) -> TableName {
    name.parse().unwrap()
}

async fn connection(folder: &TempDir) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(folder.path().join("catalog.db")).create_if_missing(true);
    SqliteConnection::connect_with(&options).await.unwrap()
}

async fn run(connection: &mut SqliteConnection, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    let folder = tempfile::tempdir().unwrap();
    conformance::passes(|| Arc::new(catalog(&folder)), "").await;
}

/// As PyIceberg made it before 0.12.
const UNTYPED: &str = "CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) \
                       NOT NULL, table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), \
                       previous_metadata_location VARCHAR(1000), PRIMARY KEY (catalog_name, table_namespace, \
                       table_name)); CREATE TABLE iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, \
                       namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value \
                       VARCHAR(1000) NOT NULL, PRIMARY KEY (catalog_name, namespace, property_key))";

#[tokio::test(flavor = "multi_thread")]
async fn conforms_on_a_catalog_of_an_older_layout() {
    let folder = tempfile::tempdir().unwrap();
    let mut connection = connection(&folder).await;
    run(&mut connection, UNTYPED).await;
    run(&mut connection, "INSERT INTO iceberg_tables VALUES ('etl', 'n', 't', 's3://t', NULL)").await;
    assert_eq!(catalog(&folder).list().await.unwrap(), [table("n.t")]);
    conformance::passes(|| Arc::new(catalog(&folder)), "p").await;
}

#[tokio::test]
async fn views_and_other_catalogs_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let ours = catalog(&folder);
    assert!(matches!(ours.create(&table("n.s"), "s3://s", &conformance::metadata()).await, Swap::Committed));
    let mut connection = connection(&folder).await;
    run(&mut connection, "INSERT INTO iceberg_tables VALUES ('etl', 'n', 'v', 's3://v', NULL, 'VIEW')").await;
    run(&mut connection, "INSERT INTO iceberg_tables VALUES ('etl', 'n', 't', 's3://t', NULL, NULL)").await;
    run(&mut connection, "INSERT INTO iceberg_tables VALUES ('other', 'n', 'o', 's3://o', NULL, 'TABLE')").await;
    run(&mut connection, "INSERT INTO iceberg_tables VALUES ('etl', 'deep.er', 't', 's3://d', NULL, 'TABLE')").await;
    assert_eq!(ours.list().await.unwrap(), [table("n.s"), table("n.t")]);
    assert!(ours.load(&table("n.t")).await.unwrap().is_some());
    assert!(ours.load(&table("n.o")).await.unwrap().is_none());
    assert!(matches!(ours.load(&table("n.v")).await, Err(Error::NotIceberg { .. })));
    let types: Vec<Option<String>> =
        sqlx::query_scalar("SELECT iceberg_type FROM iceberg_tables WHERE table_name = 's'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(types, [Some("TABLE".to_owned())]);
}

#[tokio::test]
async fn reading_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(&folder);
    assert!(catalog.list().await.unwrap().is_empty());
    assert_eq!(catalog.load(&table("a.b")).await.unwrap(), None);
    assert!(!catalog.path().exists());
}

#[tokio::test]
async fn the_previous_location_and_the_namespace_are_kept_for_pyiceberg() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(&folder);
    let metadata = conformance::metadata();
    assert!(matches!(catalog.create(&table("n.t"), "s3://1", &metadata).await, Swap::Committed));
    let expected = catalog.load(&table("n.t")).await.unwrap().unwrap();
    assert!(matches!(catalog.swap(&table("n.t"), &expected, "s3://2", &metadata).await, Swap::Committed));
    let mut connection = connection(&folder).await;
    let row: (String, String, String) =
        sqlx::query_as("SELECT catalog_name, metadata_location, previous_metadata_location FROM iceberg_tables")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(row, ("etl".into(), "s3://2".into(), "s3://1".into()));
    let row: (String, String, String) =
        sqlx::query_as("SELECT namespace, property_key, property_value FROM iceberg_namespace_properties")
            .fetch_one(&mut connection)
            .await
            .unwrap();
    assert_eq!(row, ("n".into(), "exists".into(), "true".into()));
}

#[tokio::test]
async fn a_locked_catalog_says_so_and_nothing_has_happened() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = conformance::metadata();
    let patient = catalog(&folder);
    assert!(matches!(patient.create(&table("n.t"), "s3://1", &metadata).await, Swap::Committed));
    let expected = patient.load(&table("n.t")).await.unwrap().unwrap();

    let mut other = connection(&folder).await;
    run(&mut other, "BEGIN EXCLUSIVE").await;
    let impatient = catalog(&folder).with_busy_timeout(Duration::from_millis(50));
    let error = impatient.load(&table("n.t")).await.unwrap_err();
    assert!(matches!(error, Error::CatalogLocked { .. }) && error.is_transient(), "{error:?}");
    run(&mut other, "ROLLBACK; BEGIN IMMEDIATE").await;
    match impatient.swap(&table("n.t"), &expected, "s3://2", &metadata).await {
        Swap::Rejected(error) => assert!(matches!(error, Error::CatalogLocked { .. }), "{error:?}"),
        other => panic!("{other:?}"),
    }
    // One that waits gets through when the other is done.
    let waiting = tokio::spawn(async move { patient.swap(&table("n.t"), &expected, "s3://3", &metadata).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    run(&mut other, "ROLLBACK").await;
    assert!(matches!(waiting.await.unwrap(), Swap::Committed));
}

#[tokio::test]
async fn a_commit_that_fails_is_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let metadata = conformance::metadata();
    let catalog = catalog(&folder).with_busy_timeout(Duration::from_millis(50));
    assert!(matches!(catalog.create(&table("n.t"), "s3://1", &metadata).await, Swap::Committed));
    let expected = catalog.load(&table("n.t")).await.unwrap().unwrap();
    // A reader in the middle of a read keeps COMMIT, and only COMMIT, from getting its lock.
    let mut reader = connection(&folder).await;
    run(&mut reader, "BEGIN; SELECT * FROM iceberg_tables").await;
    match catalog.swap(&table("n.t"), &expected, "s3://2", &metadata).await {
        Swap::Unknown(error) => assert!(matches!(error, Error::CatalogLocked { .. }), "{error:?}"),
        other => panic!("{other:?}"),
    }
    run(&mut reader, "ROLLBACK").await;
    assert_eq!(catalog.load(&table("n.t")).await.unwrap().unwrap(), expected);
    assert!(matches!(catalog.swap(&table("n.t"), &expected, "s3://3", &metadata).await, Swap::Committed));
}

#[tokio::test]
async fn a_file_that_is_no_catalog_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("catalog.db"), "this is not a database, however long it is. ".repeat(50))
        .unwrap();
    let error = catalog(&folder).load(&table("n.t")).await.unwrap_err();
    assert!(error.to_string().contains("catalog.db"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
}
