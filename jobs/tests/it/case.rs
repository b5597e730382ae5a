//! The golden cases: what stands in tests/fixtures/<case>/case.yaml, read as it is written. tests/fixtures/README.md
//! describes it for people.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::datatypes::DataType;
use contract::Contract;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    lake::{Lake, TableSetup},
    rows::Rows,
};

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about, in a sentence or two.
    #[expect(dead_code, reason = "for the reader of the case")]
    about: String,
    /// The tables; `curated.telemetry` from `telemetry/{yyyy}/{MM}/{dd}/{HH}/` unless said.
    #[serde(default)]
    tables: BTreeMap<String, TableText>,
    /// Types of columns that are not among the usual ones, in raw files and tables.
    #[serde(default)]
    types: BTreeMap<String, String>,
    /// What happens.
    pub steps: Vec<Step>,
    /// After the last step it runs once more and must change nothing.
    #[serde(default = "yes")]
    pub rerun: bool,
    #[serde(skip)]
    dir: PathBuf,
}

/// A table of etl.toml.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TableText {
    source: Option<String>,
    timezone: Option<String>,
    contract: ContractText,
}

/// A contract document by its file, or the usual one with changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum ContractText {
    /// A file in the case's folder.
    File(String),
    /// Changes of tests/fixtures/contracts/telemetry.odcs.yaml.
    Changes(ContractChanges),
}

/// Changes of the usual contract; each entry is a line of YAML as it would stand there.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContractChanges {
    /// Columns: one of the same name is replaced, `-name` takes it out, another one is added at the end.
    pub columns: Vec<String>,
    /// Quality rules.
    pub quality: Vec<String>,
    /// Settings: replaced or added; with no value taken out.
    pub settings: BTreeMap<String, Option<String>>,
}

/// One command, what happens before it, and what is expected after it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What this step shows.
    #[expect(dead_code, reason = "for the reader of the case")]
    about: Option<String>,
    /// Objects that come into the raw zone before, by path.
    #[serde(default)]
    pub raw: BTreeMap<String, RawObject>,
    /// Objects that come while it runs. The step runs once for every moment at which they can.
    #[serde(default)]
    pub during: BTreeMap<String, RawObject>,
    /// The contract changes before.
    pub contract: Option<ContractText>,
    /// The time it is told.
    pub now: Option<String>,
    /// The command line after `etl`. `{snapshot N}` stands for the snapshot that step N (from 1) left.
    pub run: Words,
    /// What the shell is told.
    #[serde(default)]
    pub exit: i32,
    /// What stdout says, in parts.
    #[serde(default)]
    pub stdout: Vec<String>,
    /// What stderr says, in parts.
    #[serde(default)]
    pub stderr: Vec<String>,
    /// Rows that a query gives.
    pub output: Option<String>,
    /// What is expected of the first table.
    #[serde(flatten)]
    pub expect: Expect,
    /// What is expected of other tables.
    #[serde(default)]
    pub others: BTreeMap<String, Expect>,
}

/// What a run leaves of one table.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Expect {
    /// The report's status; `committed` where rows are given, `unchanged` where not.
    pub status: Option<String>,
    /// The report's balance; what is not named is 0. `any` where it is not said.
    pub rows: Counts,
    /// The report's rejects by rule.
    pub rejects: BTreeMap<String, u64>,
    /// Whether a check held, by name.
    pub quality: BTreeMap<String, bool>,
    /// The report's schema changes: each says one of these, in order.
    pub schema_changes: Option<Vec<String>>,
    /// Warnings say these.
    pub warnings: Vec<String>,
    /// The report's error says these.
    pub error: Vec<String>,
    /// Numbers of the report's output.
    pub files: BTreeMap<String, u64>,
    /// All rows of the table; as before unless given.
    pub table: Option<String>,
    /// All rows of quarantine, of the columns named; as before unless given. `any` where it is not said, from here on.
    pub quarantine: Option<String>,
}

/// Numbers by name, or `any`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Counts {
    /// These.
    These(BTreeMap<String, u64>),
    /// Any.
    Any(#[expect(dead_code, reason = "only its being there counts")] String),
}

/// A command line: words, or text to be split at spaces.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Words {
    /// Split at spaces.
    Text(String),
    /// As they are.
    List(Vec<String>),
}

/// An object of the raw zone.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum RawObject {
    /// Rows, as Parquet.
    Rows(String),
    /// Anything else.
    Other(OtherObject),
}

/// An object that is not, or not simply, rows as Parquet.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OtherObject {
    /// Rows, as Parquet.
    rows: Option<String>,
    /// Types of columns in this file.
    types: BTreeMap<String, String>,
    /// `zstd`, `snappy`, `lz4`, `brotli`, `gzip` or none.
    codec: Option<String>,
    /// Rows of a row group.
    row_group: Option<usize>,
    /// Without dictionaries, so that values of one length give files of one layout.
    plain: bool,
    /// A column `padding` that the contract does not know, of so many bytes: for a file that no reader takes whole.
    padding_bytes: usize,
    /// A file of tests/fixtures.
    copy: Option<String>,
    /// Text as it is.
    text: Option<String>,
    /// The object goes.
    remove: bool,
}

fn yes() -> bool {
    true
}

/// The folder of all cases.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// Names of all cases, sorted.
pub fn names() -> Vec<String> {
    let entries = fs::read_dir(fixtures()).expect("tests/fixtures is there");
    let folders =
        entries.map(|entry| entry.expect("it is listed").path()).filter(|path| path.join("case.yaml").exists());
    let mut names: Vec<_> = folders.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect();
    names.sort();
    names
}

impl Case {
    /// Reads a case.
    pub fn read(name: &str) -> Result<Self, String> {
        let dir = fixtures().join(name);
        let path = dir.join("case.yaml");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let case: Self = serde_saphyr::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { dir, ..case })
    }

    /// Its tables as they are at first; the one that steps speak of comes first.
    pub fn tables(&self) -> Result<Vec<TableSetup>, String> {
        let usual = BTreeMap::from([("curated.telemetry".to_owned(), TableText::default())]);
        let tables = if self.tables.is_empty() { &usual } else { &self.tables };
        tables
            .iter()
            .map(|(name, table)| {
                let (_, short) = name.split_once('.').ok_or_else(|| format!("{name} has no namespace"))?;
                let source = format!("{short}/{{yyyy}}/{{MM}}/{{dd}}/{{HH}}/");
                Ok(TableSetup {
                    name: name.clone(),
                    contract: self.contract(&table.contract)?,
                    source: table.source.clone().unwrap_or(source),
                    timezone: table.timezone.clone(),
                })
            })
            .collect()
    }

    /// The text of a contract.
    pub fn contract(&self, contract: &ContractText) -> Result<String, String> {
        match contract {
            ContractText::File(name) => {
                let path = self.dir.join(name);
                fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
            }
            ContractText::Changes(changes) => Ok(usual_contract(changes)),
        }
    }

    /// Rows of a table or of quarantine as the case writes them.
    pub fn rows(&self, text: &str) -> Result<Rows, String> {
        Rows::parse(text, &self.types)
    }

    /// Builds everything that the case says, without running anything.
    pub fn build(&self) -> Result<(), String> {
        let mut contracts: Vec<_> = self.tables()?.into_iter().map(|table| table.contract).collect();
        for (index, step) in self.steps.iter().enumerate() {
            let at = |error: String| format!("step {}: {error}", index + 1);
            if let Some(contract) = &step.contract {
                contracts.push(self.contract(contract).map_err(at)?);
            }
            for (path, object) in step.raw.iter().chain(&step.during) {
                let object = self.bytes(object).map_err(|error| at(format!("{path}: {error}")))?;
                drop(object);
            }
            let expects = step.others.values().chain([&step.expect]);
            let texts = expects.flat_map(|expect| [&expect.table, &expect.quarantine]).chain([&step.output]);
            for text in texts.flatten().filter(|text| *text != "any") {
                let rows = self.rows(text).map_err(at)?;
                rows.batch().map_err(at)?;
                rows.canonical();
            }
        }
        for (index, text) in contracts.iter().enumerate() {
            Contract::parse(Path::new("contract"), text)
                .map_err(|error| format!("contract {}: {error:?}", index + 1))?;
        }
        Ok(())
    }

    /// Puts an object into the raw zone, or takes it out.
    pub fn place(&self, lake: &Lake, path: &str, object: &RawObject) -> Result<(), String> {
        match self.bytes(object).map_err(|error| format!("{path}: {error}"))? {
            Some(bytes) => lake.put(path, bytes),
            None => lake.remove(path),
        }
        Ok(())
    }

    /// What an object holds; `None` for one that goes.
    fn bytes(&self, object: &RawObject) -> Result<Option<Vec<u8>>, String> {
        let usual = OtherObject::default();
        let (rows, object) = match object {
            RawObject::Rows(rows) => (Some(rows), &usual),
            RawObject::Other(object) => (object.rows.as_ref(), object),
        };
        if object.remove {
            Ok(None)
        } else if let Some(rows) = rows {
            self.parquet(rows, object).map(Some)
        } else if let Some(copy) = &object.copy {
            let from = fixtures().join(copy);
            fs::read(&from).map(Some).map_err(|error| format!("{}: {error}", from.display()))
        } else {
            Ok(Some(object.text.clone().unwrap_or_default().into_bytes()))
        }
    }

    fn parquet(&self, text: &str, object: &OtherObject) -> Result<Vec<u8>, String> {
        let mut types = self.types.clone();
        types.extend(object.types.clone());
        let compression = match object.codec.as_deref() {
            None => Compression::UNCOMPRESSED,
            Some("zstd") => Compression::ZSTD(ZstdLevel::default()),
            Some("snappy") => Compression::SNAPPY,
            Some("lz4") => Compression::LZ4_RAW,
            Some("gzip") => Compression::GZIP(Default::default()),
            Some("brotli") => Compression::BROTLI(Default::default()),
            Some(other) => return Err(format!("there is no codec {other:?}")),
        };
        let properties = WriterProperties::builder()
            .set_compression(compression)
            .set_dictionary_enabled(!object.plain)
            .set_max_row_group_row_count(object.row_group)
            .build();
        let mut rows = Rows::parse(text, &types)?;
        if object.padding_bytes > 0 {
            rows.columns.push(("padding".to_owned(), DataType::Utf8));
            let padding = |row: &mut Vec<Value>| row.push(Value::from("x".repeat(object.padding_bytes)));
            rows.values.iter_mut().for_each(padding);
        }
        write_parquet(&rows, properties)
    }
}

/// Rows as a Parquet file.
pub fn write_parquet(rows: &Rows, properties: WriterProperties) -> Result<Vec<u8>, String> {
    let batch = rows.batch()?;
    let mut bytes = Vec::new();
    let say = |error: parquet::errors::ParquetError| error.to_string();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&batch.schema()), Some(properties)).map_err(say)?;
    writer.write(&batch).map_err(say)?;
    writer.close().map_err(say)?;
    Ok(bytes)
}

/// The contract that most cases share, with changes.
pub fn usual_contract(changes: &ContractChanges) -> String {
    let path = fixtures().join("contracts/telemetry.odcs.yaml");
    let text = fs::read_to_string(path).expect("the usual contract is there");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut last_column = lines.iter().rposition(|line| line.starts_with("      - {name: ")).unwrap_or_default();
    for column in &changes.columns {
        let name = column.trim_start_matches('-').trim_start_matches("{name: ");
        let name = name.split([',', '}']).next().unwrap_or_default();
        let place = lines.iter().position(|line| line.starts_with(&format!("      - {{name: {name},")));
        match place {
            Some(place) if column.starts_with('-') => {
                lines.remove(place);
                last_column -= 1;
            }
            Some(place) => lines[place] = format!("      - {column}"),
            None => {
                last_column += 1;
                lines.insert(last_column, format!("      - {column}"));
            }
        }
    }
    if let Some(place) = lines.iter().position(|line| line == "    quality: []")
        && !changes.quality.is_empty()
    {
        lines[place] = "    quality:".to_owned();
        lines.splice(place + 1..place + 1, changes.quality.iter().map(|rule| format!("      - {rule}")));
    }
    for (name, value) in &changes.settings {
        lines.retain(|line| !line.contains(&format!("property: {name},")));
        if let Some(value) = value {
            lines.push(format!("  - property: {name}\n    value: {value}"));
        }
    }
    lines.join("\n") + "\n"
}

impl Default for ContractText {
    fn default() -> Self {
        Self::Changes(ContractChanges::default())
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::These(BTreeMap::new())
    }
}

impl Words {
    /// The words.
    pub fn list(&self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_whitespace().map(str::to_owned).collect(),
            Self::List(words) => words.clone(),
        }
    }
}
