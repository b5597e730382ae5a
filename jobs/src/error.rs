//! Why a job ended without doing its work, in one message, and what the shell is told.

use std::fmt;

use lake::ErrorKind;
use serde::{Deserialize, Serialize};

use crate::interrupt::Signal;

/// A job's result.
pub type Result<T> = std::result::Result<T, JobError>;

/// A failure, as people and schedulers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobError {
    /// What sort of failure; decides the exit code.
    pub kind: Kind,
    /// Names the input and completes "error: …".
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// What sort of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The command line asks for something that does not exist or make sense.
    Usage,
    /// `etl.toml` or a contract cannot be used.
    Configuration,
    /// There are no credentials, or they do not suffice.
    Credentials,
    /// The job failed.
    Failed,
    /// A quality gate failed; nothing was committed.
    Gate,
    /// It needs objects that must be restored first.
    Archived,
    /// Throttled, locked, or conflicts exhausted.
    Transient,
    /// The commit may or may not have happened; running again finds out.
    OutcomeUnknown,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

/// What the process tells the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", from = "u8")]
pub enum Exit {
    /// Done, a no-op included.
    Done,
    /// A quality gate failed; nothing was committed.
    Gate,
    /// Safe to run again.
    Transient,
    /// The job failed.
    Failed,
    /// Usage, configuration, credentials.
    Usage,
    /// Ctrl-C.
    Interrupted,
    /// SIGTERM.
    Terminated,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Gate => 3,
            Self::Transient => 75,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for u8 {
    fn from(exit: Exit) -> Self {
        exit.code()
    }
}

impl From<u8> for Exit {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Usage,
            3 => Self::Gate,
            75 => Self::Transient,
            130 => Self::Interrupted,
            143 => Self::Terminated,
            _ => Self::Failed,
        }
    }
}

impl JobError {
    /// A failure without advice.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), help: None }
    }

    /// The command line asks for something that does not exist or make sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A file could not be read or written.
    pub fn file(action: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        Self::new(Kind::Failed, format!("failed to {action} {}: {source}", path.display()))
    }

    /// The same failure with advice.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same failure; when the configuration is to blame and no file is named yet, the advice names those that it was
    /// read from.
    #[must_use]
    pub fn read_from(mut self, files: &[&std::path::Path]) -> Self {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let said = format!("{} {}", self.message, self.help.as_deref().unwrap_or_default());
        if self.kind == Kind::Configuration && !files.iter().any(|file| said.contains(file)) {
            let help = self.help.map(|help| help + "; ").unwrap_or_default();
            self.help = Some(format!("{help}the configuration is in {}", files.join(" and ")));
        }
        self
    }

    /// The run was asked to stop.
    pub fn interrupted(signal: Signal) -> Self {
        match signal {
            Signal::Interrupt => Self::new(Kind::Interrupted, "interrupted; nothing is half-done"),
            Signal::Terminate => Self::new(Kind::Terminated, "terminated; nothing is half-done"),
        }
        .with_help("run the same command again")
    }

    /// What the shell is told.
    pub fn exit(&self) -> Exit {
        match self.kind {
            Kind::Usage | Kind::Configuration | Kind::Credentials => Exit::Usage,
            Kind::Failed | Kind::Archived => Exit::Failed,
            Kind::Gate => Exit::Gate,
            Kind::Transient | Kind::OutcomeUnknown => Exit::Transient,
            Kind::Interrupted => Exit::Interrupted,
            Kind::Terminated => Exit::Terminated,
        }
    }

    /// Whether the same command may succeed later without any change.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, Kind::Transient | Kind::OutcomeUnknown | Kind::Interrupted | Kind::Terminated)
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for JobError {}

/// An error and its causes in one line, without a cause that repeats what was said.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let cause = source.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        next = source.source();
    }
    text
}

impl From<contract::Error> for JobError {
    fn from(error: contract::Error) -> Self {
        match error {
            contract::Error::Document { path, line, column, message, help } => {
                Self::new(Kind::Configuration, format!("{}:{line}:{column}: {message}", path.display())).with_help(help)
            }
            error => Self::new(Kind::Configuration, chain(&error)),
        }
    }
}

impl From<lake::Error> for JobError {
    fn from(error: lake::Error) -> Self {
        let kind = match (&error, error.kind()) {
            (lake::Error::Archived { .. }, _) => Kind::Archived,
            (lake::Error::Credentials { .. }, _) | (_, ErrorKind::AccessDenied) => Kind::Credentials,
            (_, ErrorKind::Configuration) => Kind::Configuration,
            (_, ErrorKind::Transient | ErrorKind::Conflict) => Kind::Transient,
            (_, ErrorKind::OutcomeUnknown) => Kind::OutcomeUnknown,
            (_, ErrorKind::NotFound | ErrorKind::Corrupt | ErrorKind::Refused | ErrorKind::Failed) => Kind::Failed,
        };
        Self { kind, message: format!("failed to {}", chain(&error)), help: error.help() }
    }
}

impl From<engine::Error> for JobError {
    fn from(error: engine::Error) -> Self {
        let (kind, help) = match error {
            engine::Error::TableFile { ref table, .. } => {
                let help = format!(
                    "etl check {table} shows all that is damaged; restore the object from the bucket's versions or a \
                     backup. Run again first when another job has expired snapshots meanwhile"
                );
                return Self::new(Kind::Failed, chain(&error)).with_help(help);
            }
            engine::Error::Lake(error) => return error.into(),
            engine::Error::Stopped => return Self::interrupted(Signal::Interrupt),
            engine::Error::Replaced { .. } => (Kind::Transient, Some("run again: the new object is read as a whole")),
            engine::Error::Memory { .. } => {
                (Kind::Failed, Some("give more with --memory-limit, or take a shorter interval"))
            }
            engine::Error::SpillFull { .. } => (
                Kind::Failed,
                Some("free space there, point `run.spill_dir` at a larger disk, or give more with --memory-limit"),
            ),
            engine::Error::Rule { .. } => (Kind::Configuration, Some("`etl contract check` names the line")),
            engine::Error::Merge { .. } => (Kind::Usage, Some("etl merge --help has examples")),
            engine::Error::Columns { .. } => (Kind::Failed, Some("mend the raw file's columns or the contract")),
            _ => (Kind::Failed, None),
        };
        Self { kind, message: chain(&error), help: help.map(str::to_owned) }
    }
}

impl From<plan::Error> for JobError {
    fn from(error: plan::Error) -> Self {
        Self::usage(chain(&error))
            .with_help("write dates as 2025-06-04, times as 2025-06-04T06:00 or 2025-06-04T06:00:00Z")
    }
}
