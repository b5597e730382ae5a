//! `etl.toml`: read once, checked once, with the place of every mistake.
//!
//! Owns the file's shape and what its words mean. Refuses to know flags and the environment: what they override is
//! decided where a job starts.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use contract::TableName;
use jiff::tz::TimeZone;
use lake::Location;
use serde::Deserialize;
use toml::Spanned;

use crate::{
    error::{JobError, Kind, Result},
    machine::parse_memory_limit,
    suggest::suggest,
};

/// A configuration whose every word has been understood. Locations are absolute: a path, or a URL.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The lake.
    pub lake: LakeConfig,
    /// Its tables.
    pub tables: BTreeMap<TableName, TableConfig>,
    /// Limits of a run.
    pub run: RunConfig,
    /// What storage costs.
    pub prices: PricesConfig,
}

/// Where the lake lies and who knows its tables.
#[derive(Debug, Clone)]
pub struct LakeConfig {
    /// Who knows the tables.
    pub catalog: CatalogConfig,
    /// Folder under which new tables are made.
    pub warehouse: String,
    /// Folder of the contracts.
    pub contracts: PathBuf,
    /// AWS region.
    pub region: Option<String>,
    /// AWS profile.
    pub profile: Option<String>,
    /// Where AWS services are asked instead of AWS.
    pub endpoint_url: Option<String>,
}

/// Who knows the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CatalogConfig {
    /// A `SQLite` file.
    Sqlite {
        /// Where.
        path: PathBuf,
    },
    /// The AWS Glue Data Catalog.
    Glue {
        /// The AWS account whose catalog it is, when it is not the caller's.
        catalog_id: Option<String>,
    },
}

/// One table.
#[derive(Debug, Clone)]
pub struct TableConfig {
    /// Its name.
    pub name: TableName,
    /// Its contract's file.
    pub contract: PathBuf,
    /// Where its raw files arrive: a path template.
    pub source: String,
    /// Where its invalid rows go: a folder.
    pub quarantine: String,
    /// Zone that the template's time is written in, and that dates on the command line mean.
    pub timezone: TimeZone,
}

/// Limits of a run.
#[derive(Debug, Clone, Default)]
pub struct RunConfig {
    /// Memory in bytes.
    pub memory_limit_bytes: Option<u64>,
    /// Worker threads.
    pub threads: Option<usize>,
    /// Folder in which operators spill.
    pub spill_dir: Option<PathBuf>,
}

/// What storage costs.
#[derive(Debug, Clone, Default)]
pub struct PricesConfig {
    /// A price list instead of the built-in one.
    pub file: Option<PathBuf>,
    /// The region whose prices are taken, instead of the lake's.
    pub region: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: Spanned<u32>,
    lake: LakeFile,
    #[serde(default)]
    table: BTreeMap<Spanned<String>, TableFile>,
    #[serde(default)]
    run: RunFile,
    #[serde(default)]
    prices: PricesFile,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LakeFile {
    catalog: Spanned<String>,
    uri: Option<Spanned<String>>,
    warehouse: Spanned<String>,
    #[serde(default = "contracts_default")]
    contracts: Spanned<String>,
    region: Option<String>,
    profile: Option<String>,
    endpoint_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    contract: String,
    source: String,
    quarantine: Option<Spanned<String>>,
    timezone: Option<Spanned<String>>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RunFile {
    memory_limit: Option<Spanned<String>>,
    threads: Option<Spanned<usize>>,
    spill_dir: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PricesFile {
    file: Option<PathBuf>,
    region: Option<String>,
}

fn contracts_default() -> Spanned<String> {
    Spanned::new(0..0, "schemas".to_owned())
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| {
            let error = JobError::new(Kind::Configuration, format!("failed to read {}: {source}", path.display()));
            match source.kind() {
                std::io::ErrorKind::NotFound => error.with_help(
                    "`etl demo` makes a lake to try, `etl init` a configuration to edit; --config names another file",
                ),
                _ => error.with_help("it must be a text file in UTF-8 that may be read; --config names another file"),
            }
        })?;
        Self::parse(path, &text)
    }

    /// Checks the text of a file.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let document = Document { path, text };
        let file: File = toml::from_str(text).map_err(|error| document.syntax(&error))?;
        if *file.version.get_ref() != 1 {
            return Err(document.at(&file.version, "version must be 1", "this program reads version 1 of etl.toml"));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let folder = std::path::absolute(parent.unwrap_or(Path::new(".")))
            .map_err(|source| JobError::file("find the folder of", path, &source))?;
        let lake = lake(&document, &folder, file.lake)?;
        let mut tables = BTreeMap::new();
        for (name, table) in file.table {
            let table = table_config(&document, &folder, &lake, &name, table)?;
            tables.insert(table.name.clone(), table);
        }
        let prices = PricesConfig { file: file.prices.file.map(|path| folder.join(path)), region: file.prices.region };
        Ok(Self { path: path.to_owned(), run: run(&document, &folder, file.run)?, lake, tables, prices })
    }

    /// The table of that name.
    pub fn table(&self, name: &TableName) -> Result<&TableConfig> {
        self.tables.get(name).ok_or_else(|| {
            let known: Vec<_> = self.tables.keys().map(ToString::to_string).collect();
            let help = match suggest(&name.to_string(), known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None if known.is_empty() => format!("add a section [table.\"{name}\"]"),
                None => format!("it has {}", known.join(", ")),
            };
            JobError::new(Kind::Configuration, format!("{} has no table {name}", self.path.display())).with_help(help)
        })
    }
}

fn lake(document: &Document<'_>, folder: &Path, file: LakeFile) -> Result<LakeConfig> {
    let catalog = match (file.catalog.get_ref().as_str(), file.uri) {
        ("sqlite", Some(uri)) => {
            let path = uri.get_ref().strip_prefix("sqlite://").unwrap_or(uri.get_ref());
            CatalogConfig::Sqlite { path: folder.join(path) }
        }
        ("sqlite", None) => CatalogConfig::Sqlite { path: folder.join(".etl/catalog.db") },
        ("glue", None) => CatalogConfig::Glue { catalog_id: None },
        ("glue", Some(uri)) => {
            let account = uri.get_ref();
            if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(document.at(
                    &uri,
                    "with catalog = \"glue\", uri is an AWS account of twelve digits",
                    "leave uri out to use the caller's own account",
                ));
            }
            CatalogConfig::Glue { catalog_id: Some(account.clone()) }
        }
        (other, _) => {
            let help = match suggest(other, ["sqlite", "glue"]) {
                Some(near) => format!("did you mean {near:?}?"),
                None => "write \"sqlite\" or \"glue\"".to_owned(),
            };
            return Err(document.at(&file.catalog, &format!("there is no catalog {other:?}"), &help));
        }
    };
    if file.contracts.get_ref().contains("://") {
        return Err(document.at(&file.contracts, "contracts are read from a local folder", "write a path"));
    }
    let warehouse = location(folder, file.warehouse.get_ref());
    if warehouse.contains(['#', '?']) {
        return Err(document.at(
            &file.warehouse,
            &format!("the warehouse {warehouse} holds `#` or `?`, at which other engines cut locations off"),
            "choose a folder whose whole path has neither",
        ));
    }
    check_location(document, &file.warehouse, &warehouse)?;
    Ok(LakeConfig {
        catalog,
        warehouse,
        contracts: folder.join(file.contracts.into_inner()),
        region: file.region,
        profile: file.profile,
        endpoint_url: file.endpoint_url,
    })
}

/// That the lake understands it.
fn check_location(document: &Document<'_>, place: &Spanned<String>, location: &str) -> Result<()> {
    match Location::parse(location) {
        Err(lake::Error::Location { reason, .. }) => Err(document.at(
            place,
            &format!("{location:?} is no location: {reason}"),
            "write a path, or s3://bucket/prefix",
        )),
        _ => Ok(()),
    }
}

fn table_config(
    document: &Document<'_>,
    folder: &Path,
    lake: &LakeConfig,
    key: &Spanned<String>,
    file: TableFile,
) -> Result<TableConfig> {
    let name: TableName = key
        .get_ref()
        .parse()
        .map_err(|error: contract::Error| document.at(key, &error.to_string(), "write [table.\"namespace.name\"]"))?;
    let timezone = match file.timezone {
        None => TimeZone::UTC,
        Some(zone) => TimeZone::get(zone.get_ref()).map_err(|_| {
            document.at(
                &zone,
                &format!("there is no time zone {:?}", zone.get_ref()),
                "write a name of the IANA database, like \"Europe/Berlin\"",
            )
        })?,
    };
    // A contract is named by its file, with or without what every contract's file ends with.
    let contract = match file.contract.strip_suffix(".odcs.yaml") {
        Some(_) => lake.contracts.join(&file.contract),
        None => lake.contracts.join(format!("{}.odcs.yaml", file.contract)),
    };
    let quarantine = match file.quarantine {
        Some(quarantine) => {
            let location = location(folder, quarantine.get_ref());
            check_location(document, &quarantine, &location)?;
            location
        }
        None => format!("{}/.etl/quarantine/{name}/", lake.warehouse.trim_end_matches('/')),
    };
    Ok(TableConfig { contract, source: location(folder, &file.source), quarantine, timezone, name })
}

fn run(document: &Document<'_>, folder: &Path, file: RunFile) -> Result<RunConfig> {
    let memory_limit_bytes = match &file.memory_limit {
        None => None,
        Some(text) => {
            let read = parse_memory_limit(text.get_ref());
            Some(read.map_err(|message| document.at(text, &message, "for example \"4GiB\""))?)
        }
    };
    if let Some(threads) = &file.threads
        && *threads.get_ref() == 0
    {
        return Err(document.at(threads, "threads must be at least 1", "leave it out to use every core"));
    }
    Ok(RunConfig {
        memory_limit_bytes,
        threads: file.threads.map(Spanned::into_inner),
        spill_dir: file.spill_dir.map(|path| folder.join(path)),
    })
}

/// A URL as it is; a path made absolute from a folder, without `.` and `..`. A trailing slash is kept: it is part of a
/// template.
pub fn location(folder: &Path, text: &str) -> String {
    if text.contains("://") {
        return text.to_owned();
    }
    let mut path = PathBuf::new();
    for part in folder.join(text).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = path.pop(),
            part => path.push(part),
        }
    }
    let slash = if text.ends_with('/') { "/" } else { "" };
    path.to_string_lossy().into_owned() + slash
}

/// The text, for places in it.
pub(crate) struct Document<'a> {
    pub(crate) path: &'a Path,
    pub(crate) text: &'a str,
}

impl Document<'_> {
    fn at<T>(&self, place: &Spanned<T>, message: &str, help: &str) -> JobError {
        self.error(place.span().start, message, help)
    }

    /// What the TOML reader says, with a suggestion where it names a word that it does not know.
    pub(crate) fn syntax(&self, error: &toml::de::Error) -> JobError {
        let message = error.message().lines().next().unwrap_or_default();
        let mut words = message.split('`').skip(1).step_by(2);
        let help = match (message.starts_with("unknown field"), words.next()) {
            (true, Some(unknown)) => match suggest(unknown, words.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", words.collect::<Vec<_>>().join(", ")),
            },
            _ => "docs/configuration.md describes every key".to_owned(),
        };
        let message =
            message.split(", expected").next().filter(|_| message.starts_with("unknown field")).unwrap_or(message);
        self.error(error.span().map_or(0, |span| span.start), message, &help)
    }

    fn error(&self, offset: usize, message: &str, help: &str) -> JobError {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        JobError::new(Kind::Configuration, format!("{}:{line}:{column}: {message}", self.path.display()))
            .with_help(help)
    }
}

#[cfg(test)]
mod tests;
