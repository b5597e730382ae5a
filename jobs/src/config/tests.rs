//! Every mistake names its place and the way out.

use super::*;

const GOOD: &str = r#"version = 1
[lake]
catalog   = "sqlite"
uri       = ".etl/catalog.db"
warehouse = ".etl/warehouse"
contracts = "schemas"
[table."curated.telemetry"]
contract   = "telemetry"
source     = "s3://acme-raw/telemetry/{yyyy}/{MM}/{dd}/{HH}/"
quarantine = "errors/telemetry/"
timezone   = "Europe/Berlin"
[run]
memory_limit = "4GiB"
"#;

fn parse(text: &str) -> Result<Config> {
    Config::parse(Path::new("/lake/etl.toml"), text)
}

fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from));
    let error = parse(&GOOD.replacen(from, to, 1)).unwrap_err();
    assert_eq!(error.kind, Kind::Configuration);
    format!("{}\nhelp: {}", error.message, error.help.unwrap_or_default())
}

#[test]
fn paths_are_relative_to_the_file() {
    let config = parse(GOOD).unwrap();
    let table = config.table(&"curated.telemetry".parse().unwrap()).unwrap();
    assert_eq!(config.lake.catalog, CatalogConfig::Sqlite { path: "/lake/.etl/catalog.db".into() });
    assert_eq!(config.lake.warehouse, "/lake/.etl/warehouse");
    assert_eq!(table.contract, Path::new("/lake/schemas/telemetry.odcs.yaml"));
    assert_eq!(table.source, "s3://acme-raw/telemetry/{yyyy}/{MM}/{dd}/{HH}/");
    assert_eq!(table.quarantine, "/lake/errors/telemetry/");
    assert_eq!(table.timezone.iana_name(), Some("Europe/Berlin"));
    assert_eq!(config.run.memory_limit_bytes, Some(4 << 30));
    assert_eq!(location(Path::new("/a/b"), "../c/./{yyyy}/"), "/a/c/{yyyy}/");
}

#[test]
fn unknown_keys() {
    insta::assert_snapshot!(mistake("warehouse", "warehose"), @"
    /lake/etl.toml:5:1: unknown field `warehose`
    help: did you mean `warehouse`?
    ");
    insta::assert_snapshot!(mistake("quarantine =", "colour ="), @"
    /lake/etl.toml:10:1: unknown field `colour`
    help: known here: contract, source, quarantine, timezone
    ");
    insta::assert_snapshot!(mistake("[run]", "[runs]"), @"
    /lake/etl.toml:12:2: unknown field `runs`
    help: did you mean `run`?
    ");
}

#[test]
fn values_that_make_no_sense() {
    insta::assert_snapshot!(mistake("version = 1", "version = 2"), @"
    /lake/etl.toml:1:11: version must be 1
    help: this program reads version 1 of etl.toml
    ");
    insta::assert_snapshot!(mistake("\"sqlite\"", "\"gleu\""), @r#"
    /lake/etl.toml:3:13: there is no catalog "gleu"
    help: did you mean "glue"?
    "#);
    insta::assert_snapshot!(mistake("\"sqlite\"", "\"glue\""), @r#"
    /lake/etl.toml:4:13: with catalog = "glue", uri is an AWS account of twelve digits
    help: leave uri out to use the caller's own account
    "#);
    insta::assert_snapshot!(mistake("Europe/Berlin", "Europe/Bärlin"), @r#"
    /lake/etl.toml:11:14: there is no time zone "Europe/Bärlin"
    help: write a name of the IANA database, like "Europe/Berlin"
    "#);
    insta::assert_snapshot!(mistake("curated.telemetry", "telemetry"), @r#"
    /lake/etl.toml:7:8: table name "telemetry" cannot be used: it has no namespace: write it as namespace.table
    help: write [table."namespace.name"]
    "#);
    insta::assert_snapshot!(mistake("4GiB", "4 elephants"), @r#"
    /lake/etl.toml:13:16: "4 elephants" is not a size: write it like 4GiB or 512MiB
    help: for example "4GiB"
    "#);
    insta::assert_snapshot!(mistake("contract   = \"telemetry\"\n", ""), @"
    /lake/etl.toml:7:1: missing field `contract`
    help: docs/configuration.md describes every key
    ");
    insta::assert_snapshot!(mistake("\"schemas\"", "schemas"), @"
    /lake/etl.toml:6:13: string values must be quoted, expected literal string
    help: docs/configuration.md describes every key
    ");
}

#[test]
fn prices_are_named_in_the_file() {
    let text = format!("{GOOD}[prices]\nfile = \"ours.toml\"\nregion = \"eu-central-1\"\n");
    let prices = parse(&text).unwrap().prices;
    assert_eq!(prices.file.as_deref(), Some(Path::new("/lake/ours.toml")));
    assert_eq!(prices.region.as_deref(), Some("eu-central-1"));
    assert_eq!(parse(GOOD).unwrap().prices.file, None);
}

#[test]
fn unknown_tables() {
    let error = parse(GOOD).unwrap().table(&"curated.telemetri".parse().unwrap()).unwrap_err();
    insta::assert_snapshot!(format!("{}\nhelp: {}", error.message, error.help.unwrap()), @"
    /lake/etl.toml has no table curated.telemetri
    help: did you mean curated.telemetry?
    ");
}

#[test]
fn locations_that_nobody_reads_the_same() {
    insta::assert_snapshot!(mistake("\".etl/warehouse\"", "\"ware#house\""), @"
    /lake/etl.toml:5:13: the warehouse /lake/ware#house holds `#` or `?`, at which other engines cut locations off
    help: choose a folder whose whole path has neither
    ");
    insta::assert_snapshot!(mistake("\".etl/warehouse\"", "\"s3://b/w?x\""), @"
    /lake/etl.toml:5:13: the warehouse s3://b/w?x holds `#` or `?`, at which other engines cut locations off
    help: choose a folder whose whole path has neither
    ");
    insta::assert_snapshot!(mistake("\"errors/telemetry/\"", "\"gs://b/errors/\""), @r#"
    /lake/etl.toml:10:14: "gs://b/errors/" is no location: only s3:// and file:/// are known
    help: write a path, or s3://bucket/prefix
    "#);
}
