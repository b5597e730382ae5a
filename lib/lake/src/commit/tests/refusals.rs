//! Tables that we would not read or write right.

use iceberg::spec::{DataContentType, DataFileBuilder, DataFileFormat, FormatVersion, TableMetadataBuilder};

use super::commit_unchecked;
use crate::{
    Change, ChangeKind, CommitError, Error, ErrorKind, StagedFile, TableError, schema_for, spec::PartitionSpec,
    spec::SortOrder, testing::*,
};

/// A table at a version of its own format version.
async fn of_version(version: FormatVersion, properties: &[(&str, &str)]) -> TestLake {
    let test = TestLake::without_table();
    let schema = schema_for(&contract(CONTRACT)).unwrap();
    let location = format!("{}/curated/telemetry", test.lake.warehouse);
    let built = TableMetadataBuilder::new(
        schema,
        PartitionSpec::unpartition_spec(),
        SortOrder::unsorted_order(),
        location.clone(),
        version,
        properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
    );
    let metadata = built.unwrap().build().unwrap().metadata;
    let file = format!("{location}/metadata/v1.metadata.json");
    test.lake.storage.write_new(&file, serde_json::to_vec(&metadata).unwrap().into()).await.unwrap();
    test.catalog.register(&test.name, &file);
    test
}

#[tokio::test]
async fn other_format_versions_are_not_written() {
    for (version, what) in [(FormatVersion::V1, "format version 1"), (FormatVersion::V3, "format version 3")] {
        let test = of_version(version, &[]).await;
        let before = test.metadata_files();
        let error = test.commit(&test.change(ChangeKind::MetadataOnly).await).await.unwrap_err();
        assert!(matches!(error, Error::Commit(CommitError::Unwritable { .. })), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains(what) && error.help().is_some(), "{error}");
        assert_eq!(test.metadata_files(), before);
    }
}

#[tokio::test]
async fn tables_that_want_other_files_than_ours_are_not_written() {
    for (property, value) in [("write.format.default", "orc"), ("write.location-provider.impl", "com.acme.Places")] {
        let test = of_version(FormatVersion::V2, &[(property, value)]).await;
        let before = test.metadata_files();
        let error = test.commit(&test.change(ChangeKind::MetadataOnly).await).await.unwrap_err();
        assert!(matches!(error, Error::Commit(CommitError::Unwritable { .. })), "{error:?}");
        assert!(error.to_string().contains(value), "{error}");
        assert!(error.help().unwrap().contains(property), "{error}");
        assert_eq!(test.metadata_files(), before);
    }
    let test = of_version(FormatVersion::V2, &[("write.format.default", "PARQUET")]).await;
    test.commit(&test.change(ChangeKind::MetadataOnly).await).await.unwrap();
}

#[tokio::test]
async fn metadata_files_of_other_names_are_followed_by_version_0() {
    let test = of_version(FormatVersion::V2, &[]).await;
    let done = test.commit(&test.change(ChangeKind::MetadataOnly).await).await.unwrap();
    assert!(done.metadata_location.rsplit('/').next().unwrap().starts_with("00000-"));
}

#[tokio::test]
async fn files_that_we_would_not_read_right_are_refused_by_name() {
    let plain = || {
        let mut file = DataFileBuilder::default();
        file.partition(day_partition(10)).record_count(1).file_size_in_bytes(1);
        file
    };
    let mut vector = plain();
    vector
        .content(DataContentType::PositionDeletes)
        .file_format(DataFileFormat::Puffin)
        .content_offset(Some(4))
        .content_size_in_bytes(Some(40))
        .referenced_data_file(Some("a.parquet".to_owned()));
    let mut avro = plain();
    avro.content(DataContentType::Data).file_format(DataFileFormat::Avro);
    let mut orc_deletes = plain();
    orc_deletes.content(DataContentType::PositionDeletes).file_format(DataFileFormat::Orc);
    let mut encrypted = plain();
    encrypted.content(DataContentType::Data).file_format(DataFileFormat::Parquet).key_metadata(Some(vec![1]));
    let cases = [
        (vector, "holds deletion vectors"),
        (avro, "is avro and not Parquet"),
        (orc_deletes, "is orc and not Parquet"),
        (encrypted, "is encrypted"),
    ];
    for (mut file, what) in cases {
        let test = TestLake::new().await;
        let path = format!("{}/strange", test.lake.warehouse);
        let data_file = file.file_path(path.clone()).build().unwrap();
        let is_data = data_file.content_type() == DataContentType::Data;
        let staged = vec![StagedFile { data_file, spec_id: 0 }];
        let mut change = test.change(ChangeKind::Append).await;
        if is_data {
            change.added = staged
        } else {
            change.added_deletes = staged
        }
        commit_unchecked(&test, &change).await;
        let table = test.table().await;
        let error = table.live_files(table.head().unwrap().snapshot_id()).await.unwrap_err();
        assert_eq!(error.to_string(), format!("read table curated.telemetry: {path} {what}"));
        assert!(matches!(error, Error::Table(TableError::Unsupported { .. })));
        assert!(error.help().is_some());
        // Appends look at no file, and go on.
        let added = vec![test.stage(10, "a", "m", 1).await];
        test.commit(&Change { added, ..test.change(ChangeKind::Append).await }).await.unwrap();
    }
}
