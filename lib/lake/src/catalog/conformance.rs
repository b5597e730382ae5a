//! One suite that every catalog passes, called from the tests of each. It panics with what is wrong.

use std::{collections::HashMap, sync::Arc};

use contract::TableName;
use iceberg::spec::{
    FormatVersion, NestedField, PartitionSpec, PrimitiveType, Schema, SortOrder, TableMetadata, TableMetadataBuilder,
    Type,
};

use super::{Catalog, Pointer, Swap};
use crate::ErrorKind;

const SWAPPERS: usize = 8;

/// Runs the whole suite. `connect` gives a catalog of its own each time, to the same tables, as processes have them;
/// no namespace that begins with `prefix` exists yet.
pub async fn passes(connect: impl Fn() -> Arc<dyn Catalog>, prefix: &str) {
    creates_and_loads(connect().as_ref(), prefix).await;
    lists(connect().as_ref(), prefix).await;
    swaps_what_is_expected(&connect(), &connect(), prefix).await;
    keeps_odd_names(connect().as_ref(), prefix).await;
    lets_one_swapper_win(&connect, prefix).await;
    lets_one_creator_win(&connect, prefix).await;
}

/// Metadata of a small table, for catalogs that show its columns.
pub fn metadata() -> TableMetadata {
    let field = NestedField::required(1, "device_id", Type::Primitive(PrimitiveType::String));
    let schema = Schema::builder().with_fields([field.into()]).build().expect("one field is a schema");
    let (spec, order) = (PartitionSpec::unpartition_spec(), SortOrder::unsorted_order());
    let location = "s3://bucket/table".to_owned();
    TableMetadataBuilder::new(schema, spec, order, location, FormatVersion::V2, HashMap::new())
        .and_then(TableMetadataBuilder::build)
        .expect("an empty table is valid")
        .metadata
}

fn named(prefix: &str, namespace: &str, name: &str) -> TableName {
    format!("{prefix}{namespace}.{name}").parse().expect("the suite's names are names")
}

fn location(version: usize) -> String {
    format!("s3://bucket/table/metadata/{version:05}-a b%20c+d.metadata.json")
}

async fn pointer(catalog: &dyn Catalog, table: &TableName) -> Pointer {
    let loaded = catalog.load(table).await.expect("loads");
    loaded.unwrap_or_else(|| panic!("{table} is not there"))
}

async fn create(catalog: &dyn Catalog, table: &TableName) {
    let created = catalog.create(table, &location(0), &metadata()).await;
    assert!(matches!(created, Swap::Committed), "create {table}: {created:?}");
}

async fn creates_and_loads(catalog: &dyn Catalog, prefix: &str) {
    let table = named(prefix, "create", "t");
    assert_eq!(catalog.load(&table).await.expect("a missing table is no error"), None);
    create(catalog, &table).await;
    assert_eq!(pointer(catalog, &table).await.metadata_location, location(0));

    let again = catalog.create(&table, &location(1), &metadata()).await;
    assert!(matches!(again, Swap::Conflict), "create once more: {again:?}");
    assert_eq!(pointer(catalog, &table).await.metadata_location, location(0), "the first one stays");

    create(catalog, &named(prefix, "create", "u")).await;
    assert_eq!(catalog.load(&named(prefix, "create", "v")).await.expect("a missing table is no error"), None);
}

async fn lists(catalog: &dyn Catalog, prefix: &str) {
    for name in ["b.y", "b.x", "a.z"] {
        let (namespace, name) = name.split_once('.').expect("has a dot");
        create(catalog, &named(prefix, &format!("list_{namespace}"), name)).await;
    }
    let ours = format!("{prefix}list_");
    let listed = catalog.list().await.expect("lists");
    let listed: Vec<String> = listed
        .iter()
        .map(TableName::to_string)
        .filter_map(|name| name.strip_prefix(&ours).map(str::to_owned))
        .collect();
    assert_eq!(listed, ["a.z", "b.x", "b.y"]);
}

async fn swaps_what_is_expected(catalog: &Arc<dyn Catalog>, other: &Arc<dyn Catalog>, prefix: &str) {
    let table = named(prefix, "swap", "t");
    create(catalog.as_ref(), &table).await;
    let first = pointer(catalog.as_ref(), &table).await;
    // Both have read the same version; what the other knows by then is old.
    assert_eq!(pointer(other.as_ref(), &table).await, first);

    let swapped = catalog.swap(&table, &first, &location(1), &metadata()).await;
    assert!(matches!(swapped, Swap::Committed), "swap: {swapped:?}");
    let second = pointer(catalog.as_ref(), &table).await;
    assert_eq!(second.metadata_location, location(1));
    assert_ne!(second.token, first.token);

    for catalog in [catalog, other] {
        let stale = catalog.swap(&table, &first, &location(2), &metadata()).await;
        assert!(matches!(stale, Swap::Conflict), "stale swap: {stale:?}");
    }
    assert_eq!(pointer(other.as_ref(), &table).await, second, "a lost swap changes nothing");

    let swapped = other.swap(&table, &second, &location(3), &metadata()).await;
    assert!(matches!(swapped, Swap::Committed), "swap by the other: {swapped:?}");

    let missing = catalog.swap(&named(prefix, "swap", "missing"), &first, &location(1), &metadata()).await;
    match missing {
        Swap::Rejected(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}"),
        other => panic!("swap of a missing table: {other:?}"),
    }
}

async fn keeps_odd_names(catalog: &dyn Catalog, prefix: &str) {
    for name in ["with space", "o'brien", "semi;colon--", "per%cent", "ünïcode", "under_score", "1st", "a-b", "\"q\""]
    {
        let table = named(prefix, "odd", name);
        create(catalog, &table).await;
        let expected = pointer(catalog, &table).await;
        let swapped = catalog.swap(&table, &expected, &location(1), &metadata()).await;
        assert!(matches!(swapped, Swap::Committed), "{table}: {swapped:?}");
        assert!(catalog.list().await.expect("lists").contains(&table), "{table} is not listed");
    }
}

async fn lets_one_swapper_win(connect: &impl Fn() -> Arc<dyn Catalog>, prefix: &str) {
    let table = named(prefix, "race", "t");
    create(connect().as_ref(), &table).await;
    for round in 0..5 {
        let expected = pointer(connect().as_ref(), &table).await;
        let swaps = (0..SWAPPERS).map(|swapper| {
            let (catalog, table, expected) = (connect(), table.clone(), expected.clone());
            tokio::spawn(async move {
                let location = location(1 + round * SWAPPERS + swapper);
                let swapped = catalog.swap(&table, &expected, &location, &metadata()).await;
                match swapped {
                    Swap::Committed => Some(location),
                    Swap::Conflict => None,
                    other => panic!("swapper {swapper}: {other:?}"),
                }
            })
        });
        let ended = futures::future::join_all(swaps).await;
        let won: Vec<String> = ended.into_iter().filter_map(|ended| ended.expect("no panic")).collect();
        assert_eq!(won, [pointer(connect().as_ref(), &table).await.metadata_location], "one winner");
    }
}

async fn lets_one_creator_win(connect: &impl Fn() -> Arc<dyn Catalog>, prefix: &str) {
    let table = named(prefix, "create_race", "t");
    let creates = (0..SWAPPERS).map(|creator| {
        let (catalog, table) = (connect(), table.clone());
        tokio::spawn(async move { (creator, catalog.create(&table, &location(creator), &metadata()).await) })
    });
    let mut won = Vec::new();
    for created in futures::future::join_all(creates).await {
        match created.expect("no panic") {
            (creator, Swap::Committed) => won.push(location(creator)),
            (_, Swap::Conflict) => {}
            (creator, other) => panic!("creator {creator}: {other:?}"),
        }
    }
    assert_eq!(won, [pointer(connect().as_ref(), &table).await.metadata_location], "one winner");
}
