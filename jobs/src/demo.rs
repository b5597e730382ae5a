//! `etl demo`: a lake to try, with no account and no server. Makes dirty raw files, lets the real jobs curate them, and
//! ends with how to go on.

mod data;

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Args;
use contract::TableName;
use jiff::civil::Date;

use crate::{
    cli::{Cli, OutputForm},
    error::{Exit, JobError, Kind, Result},
    job::Program,
    open::CATALOG_NAME,
};

const CONTRACT: &str = include_str!("../../schemas/telemetry.odcs.yaml");
const CONFIG: &str = include_str!("demo/etl.toml");
const QUERY: &str = include_str!("../../sql/demo/per_day.sql");
const TABLE: &str = "curated.telemetry";

/// The days of the demo, one a run.
const DAYS: [Date; 3] = [jiff::civil::date(2025, 6, 2), jiff::civil::date(2025, 6, 3), jiff::civil::date(2025, 6, 4)];

/// Make a lake to try.
#[derive(Debug, Args)]
#[command(before_help = "\
Examples:
  etl demo                    makes etl-demo/ and runs three days of telemetry through the main job
  etl demo /tmp/lake          somewhere else

A second run goes on with the lake that is there: what was applied stays as it is. Delete the folder to start anew.")]
pub struct Demo {
    /// Where to make it
    #[arg(default_value = "etl-demo", value_name = "FOLDER")]
    folder: PathBuf,
}

impl Demo {
    /// Makes it and shows it.
    pub async fn run(&self, program: &Program) -> Result<Exit> {
        let folder =
            std::path::absolute(&self.folder).map_err(|source| JobError::file("use", &self.folder, &source))?;
        let is_new = make(&folder)?;
        let show = Show { program: self.program(program, &folder), folder, shown: self.folder.clone() };
        show.say(&match is_new {
            true => format!(
                "A lake lies in {} now: three days of raw telemetry, a contract, no table yet.",
                show.folder.display()
            ),
            false => format!("Going on with the lake in {}: delete the folder to start anew.", show.folder.display()),
        })?;
        let mut worst = Exit::Done;
        show.title("Each day: validate, dedupe, merge.")?;
        for day in DAYS {
            worst = worst.max(show.command(&["dedupe", "--date", &day.to_string()]).await?);
        }
        show.title("Any run may be repeated: nothing changes.")?;
        worst = worst.max(show.command(&["dedupe", "--date", &DAYS[1].to_string()]).await?);
        show.title("The table, as clean as its contract says.")?;
        worst = worst.max(show.command(&["query", statement()]).await?);
        show.what_next().await?;
        Ok(worst)
    }

    fn program(&self, program: &Program, folder: &Path) -> Program {
        let mut program = program.clone();
        program.globals.config = folder.join("etl.toml");
        program.globals.dry_run = false;
        program.globals.report = None;
        program
    }
}

/// The query without the comments on top of its file.
fn statement() -> &'static str {
    QUERY.find("SELECT").map_or(QUERY, |start| QUERY[start..].trim_end())
}

/// Makes the folder's files; `false` when a demo lake is there already.
fn make(folder: &Path) -> Result<bool> {
    let config = folder.join("etl.toml");
    if folder.exists() && fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let is_demo = fs::read_to_string(&config).is_ok_and(|text| text.lines().next() == CONFIG.lines().next());
        if !is_demo {
            return Err(JobError::new(
                Kind::Usage,
                format!("{} is there already and is no demo lake", folder.display()),
            )
            .with_help("name another folder: etl demo FOLDER"));
        }
    }
    let is_new = !config.exists();
    for day in DAYS {
        data::write_day(&folder.join("raw/telemetry"), day)?;
    }
    write_missing(&folder.join("schemas/telemetry.odcs.yaml"), CONTRACT.as_bytes())?;
    // Last: a folder that has it is whole.
    write_missing(&config, CONFIG.as_bytes())?;
    Ok(is_new)
}

/// Writes a file unless it is there: raw files are known by when they were written.
fn write_missing(path: &Path, bytes: &[u8]) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|source| JobError::file("make folder", folder, &source))?;
    }
    fs::write(path, bytes).map_err(|source| JobError::file("write", path, &source))
}

/// The demo on the screen. With `--output json` only what the jobs say.
struct Show {
    program: Program,
    folder: PathBuf,
    /// The folder as the user wrote it.
    shown: PathBuf,
}

impl Show {
    fn say(&self, text: &str) -> Result<()> {
        match self.program.globals.output {
            OutputForm::Text => self.program.screen.line(text),
            OutputForm::Json => Ok(()),
        }
    }

    fn title(&self, text: &str) -> Result<()> {
        self.say(&format!("\n{}", self.program.screen.paint.bold(text)))
    }

    /// Runs a command as if it had been typed.
    async fn command(&self, words: &[&str]) -> Result<Exit> {
        let typed: Vec<_> = words
            .iter()
            .map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() })
            .collect();
        self.say(&self.program.screen.paint.dim(&format!("$ etl {}", typed.join(" "))))?;
        let argv = std::iter::once("etl").chain(words.iter().copied()).map(Into::into);
        let cli = Cli::read(argv).map_err(|error| JobError::usage(error.to_string()))?;
        let mut program = self.program.clone();
        program.args = words.iter().map(|word| (*word).to_owned()).collect();
        Box::pin(cli.command.run(&program)).await
    }

    /// How to go on, to copy and paste.
    async fn what_next(&self) -> Result<()> {
        let name: TableName = TABLE.parse()?;
        let job = self.program.job("demo")?;
        let Some(table) = job.lake().await?.table(&name).await? else {
            return Err(JobError::new(Kind::Failed, format!("table {name} was not made")));
        };
        let metadata = table.pointer.metadata_location.trim_start_matches("file://").to_owned();
        self.title("Go on")?;
        self.say(&format!("  cd {}", self.shown.display()))?;
        self.say(&format!("  etl query \"SELECT * FROM {TABLE} LIMIT 5\""))?;
        self.say("  etl runs")?;
        self.say("  etl check")?;
        self.say("  etl inspect")?;
        self.say("  etl maintain --dry-run")?;
        self.say(&format!(
            "  rows that broke the contract, with their reasons: {}",
            self.folder.join("quarantine").display()
        ))?;
        self.title("The same table in PyIceberg")?;
        self.say("  pip install 'pyiceberg[pyarrow,sql-sqlite]'")?;
        self.say("  python - <<'EOF'")?;
        self.say("from pyiceberg.catalog.sql import SqlCatalog")?;
        self.say(&format!(
            "catalog = SqlCatalog(\"{CATALOG_NAME}\", uri=\"sqlite:///{}\")",
            self.folder.join(".etl/catalog.db").display()
        ))?;
        self.say(&format!("print(catalog.load_table(\"{TABLE}\").scan().to_arrow().num_rows)"))?;
        self.say("EOF")?;
        self.title("The same table in DuckDB")?;
        self.say(&format!(
            "  duckdb -c \"INSTALL iceberg; LOAD iceberg; SELECT count(*) FROM iceberg_scan('{metadata}')\""
        ))
    }
}
