//! `etl init`: a configuration and a contract to start from, as an example or from what raw files show.

mod guess;
mod template;

use std::path::{Path, PathBuf};

use clap::Args;
use contract::TableName;
use engine::observe::{FileToObserve, observe};
use jiff::tz::TimeZone;
use lake::raw::{Place, RawTemplate};

use crate::{
    cli::OutputForm,
    config::location,
    error::{Exit, JobError, Kind, Result},
    job::{Program, json_line},
    open,
};

/// Raw files that are looked at, at most; spread over all that are there.
const FILES_OBSERVED_MAX: usize = 64;

const EXAMPLE_CONFIG: &str = include_str!("init/etl.toml");
const EXAMPLE_CONTRACT: &str = include_str!("../../schemas/telemetry.odcs.yaml");

/// Make etl.toml and a contract to edit.
#[derive(Debug, Args)]
#[command(before_help = "\
Examples:
  etl init                                                 an example to edit
  etl init --from s3://acme-raw/telemetry/                 from what raw files show
  etl init --from 'raw/telemetry/{yyyy}/{MM}/{dd}/{HH}/' --table curated.telemetry

Files that are there already are never overwritten.")]
pub struct Init {
    /// Look at raw Parquet files: a folder, or a path template
    #[arg(long, value_name = "RAW")]
    from: Option<String>,
    /// Name of the curated table; after the raw folder unless said
    #[arg(long, value_name = "TABLE", requires = "from")]
    table: Option<TableName>,
}

/// A file to write.
struct NewFile {
    path: PathBuf,
    text: String,
}

impl Init {
    /// Makes them.
    pub async fn run(&self, program: &Program) -> Result<Exit> {
        let config = program.globals.config.clone();
        let folder = config.parent().unwrap_or(Path::new("")).to_owned();
        let (files, notes) = match &self.from {
            None => (example(&config, &folder), Vec::new()),
            Some(raw) => program.interrupt.stops(self.of_raw(program, raw, &config, &folder)).await??,
        };
        write_all(&files)?;
        show(program, &files, &notes)?;
        Ok(Exit::Done)
    }

    async fn of_raw(
        &self,
        program: &Program,
        raw: &str,
        config: &Path,
        folder: &Path,
    ) -> Result<(Vec<NewFile>, Vec<String>)> {
        let storage = open::storage_for(program, raw).await;
        let raw = &absolute(raw)?;
        let root = template::literal_folder(raw);
        let step = program.progress.step("init", "looking at raw files");
        let listing = lake::raw::discover(&storage, root).await?;
        if listing.files.is_empty() {
            return Err(JobError::new(Kind::Failed, format!("there are no raw files below {root}"))
                .with_help("name a folder that holds Parquet files, or a template like raw/{yyyy}/{MM}/{dd}/"));
        }
        let locations: Vec<_> = listing.files.iter().map(|file| file.location.as_str()).collect();
        if let Some(other) = listing.ignored.iter().find(|object| object.reason.is_odd()) {
            return Err(JobError::new(
                Kind::Failed,
                format!(
                    "{}: {}, and files that the table has removed lie among the others",
                    other.location, other.reason
                ),
            )
            .with_help("a raw zone holds plain Parquet files; write the table's rows to a folder of their own"));
        }
        let mut source = template::guess(raw, root, &locations);
        source.notes.extend(strays(&source.template, &locations)?);
        let every = listing.files.len().div_ceil(FILES_OBSERVED_MAX).max(1);
        let files: Vec<_> = listing
            .files
            .iter()
            .step_by(every)
            .map(|file| FileToObserve { location: file.location.clone(), bytes: file.size, etag: file.etag.clone() })
            .collect();
        let observed = observe(&storage, &files).await?;
        drop(step);
        if observed.files == 0 {
            let why = observed.unreadable.first().cloned().unwrap_or_default();
            return Err(JobError::new(
                Kind::Failed,
                format!("none of the {} files below {root} could be read: {why}", files.len()),
            ));
        }
        let table = match &self.table {
            Some(table) => table.clone(),
            None => template::table_name(root)?,
        };
        let guessed = guess::contract(&table, &observed);
        if guessed.contract.columns.is_empty() {
            let left_out: Vec<_> = guessed.notes.values().flatten().filter(|note| note.contains("left out")).collect();
            let why = left_out.first().map_or("the files have no columns", |note| note.as_str());
            return Err(JobError::new(
                Kind::Failed,
                format!("no column of the files below {root} can be in a table: {why}"),
            )
            .with_help("write the contract by hand, or name a folder with other files"));
        }
        let contract = contract::render(&guessed.contract, &guessed.notes);
        let name = table.name();
        let files = vec![
            NewFile {
                path: config.to_owned(),
                text: config_text(&table, &relative(&source.template, config), &source.notes),
            },
            NewFile { path: folder.join(format!("schemas/{name}.odcs.yaml")), text: contract },
        ];
        let mut notes = guessed.summary;
        notes.extend(source.notes);
        notes.extend(observed.unreadable.iter().map(|file| format!("not looked at: {file}")));
        Ok((files, notes))
    }
}

/// Says how many of the files the template would not take.
fn strays(template: &str, locations: &[&str]) -> Result<Option<String>> {
    let parsed = RawTemplate::parse(template, TimeZone::UTC)?;
    let strays = locations.iter().filter(|location| !matches!(parsed.place(location), Place::In { .. }));
    let strays: Vec<_> = strays.collect();
    Ok(strays.first().map(|first| {
        format!("{} of {} files fit no interval of the template, such as {first}", strays.len(), locations.len())
    }))
}

/// Where raw files lie, seen from the current folder.
fn absolute(raw: &str) -> Result<String> {
    let here = std::path::absolute(".").map_err(|source| JobError::file("find folder", Path::new("."), &source))?;
    Ok(location(&here, raw))
}

/// The same, as the configuration's folder sees it where it lies below.
fn relative(template: &str, config: &Path) -> String {
    let folder = std::path::absolute(config).ok().and_then(|config| config.parent().map(Path::to_owned));
    let below = folder
        .and_then(|folder| Some(template.strip_prefix(&*folder.to_string_lossy())?.strip_prefix('/')?.to_owned()));
    below.unwrap_or_else(|| template.to_owned())
}

fn example(config: &Path, folder: &Path) -> Vec<NewFile> {
    vec![
        NewFile { path: config.to_owned(), text: EXAMPLE_CONFIG.to_owned() },
        NewFile { path: folder.join("schemas/telemetry.odcs.yaml"), text: EXAMPLE_CONTRACT.to_owned() },
    ]
}

/// The example, with its table's section for another table.
fn config_text(table: &TableName, source: &str, notes: &[String]) -> String {
    let (head, rest) = EXAMPLE_CONFIG.split_once("[table.").unwrap_or((EXAMPLE_CONFIG, ""));
    let tail = rest.split_once("# timezone").map_or("", |(_, tail)| tail);
    let name = table.name();
    let note: String = notes.iter().map(|note| format!("# guess: {note}\n")).collect();
    format!(
        "{head}[table.\"{table}\"]\ncontract   = \"{name}\"\n{note}source     = {source:?}\nquarantine = \"quarantine/{name}/\"\n# timezone{tail}"
    )
}

/// Writes all files, or none when one is there already.
fn write_all(files: &[NewFile]) -> Result<()> {
    if let Some(there) = files.iter().find(|file| file.path.exists()) {
        return Err(JobError::new(Kind::Usage, format!("{} is there already", there.path.display()))
            .with_help("nothing was written; move it away, or name another place with --config"));
    }
    for file in files {
        if let Some(folder) = file.path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| JobError::file("make folder", folder, &source))?;
        }
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file.path)
            .and_then(|mut opened| std::io::Write::write_all(&mut opened, file.text.as_bytes()))
            .map_err(|source| JobError::file("write", &file.path, &source))?;
    }
    Ok(())
}

fn show(program: &Program, files: &[NewFile], notes: &[String]) -> Result<()> {
    let paths: Vec<_> = files.iter().map(|file| file.path.display().to_string()).collect();
    if program.globals.output == OutputForm::Json {
        return program.screen.write(&json_line(&serde_json::json!({"written": paths, "notes": notes}))?);
    }
    let paint = program.screen.paint;
    for path in &paths {
        program.screen.line(&format!("{} {path}", paint.green("wrote")))?;
    }
    for note in notes {
        program.screen.line(&format!("  {note}"))?;
    }
    program.screen.line(&format!("  next: edit them, then {}", paint.bold("etl contract check")))?;
    program.screen.line(&format!("        and {}", paint.bold("etl dedupe --pending --dry-run")))
}
