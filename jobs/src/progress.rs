//! What goes to stderr: a progress bar where somebody looks at it, and the log.

use std::{
    io::{self, Write},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use crate::cli::LogForm;

/// Progress of a run. Cheap to clone; without a terminal it draws nothing and steps are logged instead.
#[derive(Debug, Clone)]
pub struct Progress {
    bars: MultiProgress,
    is_silent: bool,
}

/// A step under way; it disappears when dropped.
#[derive(Debug)]
pub struct Step {
    bar: ProgressBar,
}

impl Progress {
    /// On a terminal, bars; otherwise nothing.
    pub fn new(is_terminal: bool) -> Self {
        let target = if is_terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), is_silent: false }
    }

    /// Nothing at all, for a test that runs the program inside itself.
    pub fn silent() -> Self {
        Self { is_silent: true, ..Self::new(false) }
    }

    /// Starts a step whose length is not known. `what` completes "… is under way": `reading 24 raw files`.
    pub fn step(&self, table: &str, what: &str) -> Step {
        tracing::info!(table.name = table, "{what}");
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.set_prefix(table.to_owned());
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Step { bar }
    }

    /// Sets up the log of the process: on stderr, without tearing a bar. Later calls change nothing.
    pub fn log(&self, form: LogForm, verbosity: i16, is_terminal: bool, colours: bool) {
        let level = match (verbosity, is_terminal) {
            (..0, _) => "error",
            (0, true) => "warn",
            (0, false) => "warn,jobs=info,engine=info,lake=info",
            (1, _) => "info,jobs=debug,engine=debug,lake=debug",
            (2.., _) => "debug,jobs=trace,engine=trace,lake=trace,h2=info,hyper=info,hyper_util=info,rustls=info",
        };
        let builder = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_writer(self.clone())
            .with_ansi(colours);
        // Only a second call in one process fails, as in tests, and the first one's log serves as well.
        _ = match form {
            LogForm::Text => builder.with_target(false).try_init(),
            LogForm::Json => builder.json().flatten_event(true).with_current_span(false).try_init(),
        };
    }

    /// Writes a line to stderr, above the bars.
    pub fn say(&self, text: &str) {
        if self.is_silent {
            return;
        }
        self.bars.suspend(|| {
            // Nobody is left to be told when stderr is gone.
            _ = writeln!(io::stderr().lock(), "{text}");
        });
    }
}

impl Step {
    /// Says what it is at now.
    pub fn at(&self, what: &str) {
        self.bar.set_message(what.to_owned());
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Writes log lines above the bars.
#[derive(Debug)]
pub struct LogWriter(MultiProgress);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Progress {
    type Writer = LogWriter;

    fn make_writer(&'a self) -> LogWriter {
        LogWriter(self.bars.clone())
    }
}
