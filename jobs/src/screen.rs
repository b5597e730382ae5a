//! What goes to stdout: the result and nothing else, coloured where somebody looks at it.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

pub use plan::text::{count, size, thousands};

use crate::error::{JobError, Kind, Result};

/// Stdout, or what stands for it. Cheap to clone.
#[derive(Clone)]
pub struct Screen {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    /// How to mark text.
    pub paint: Paint,
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("paint", &self.paint).finish_non_exhaustive()
    }
}

impl Screen {
    /// Writes there.
    pub fn new(out: Box<dyn Write + Send>, paint: Paint) -> Self {
        Self { out: Arc::new(Mutex::new(out)), paint }
    }

    /// Writes text as it is. A reader that has gone away (`etl … | head`) is no failure.
    pub fn write(&self, text: &str) -> Result<()> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(JobError::new(Kind::Failed, format!("failed to write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Writes a line.
    pub fn line(&self, text: &str) -> Result<()> {
        self.write(&format!("{text}\n"))
    }
}

/// Marks text for a terminal, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// Whether a terminal understands it and nobody asked for none.
    pub enabled: bool,
}

impl Paint {
    /// Leaves text as it is.
    pub const PLAIN: Self = Self { enabled: false };

    /// What matters most.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    /// What may be overlooked.
    pub fn dim(self, text: &str) -> String {
        self.wrap("2", text)
    }

    /// Good.
    pub fn green(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Worth a look.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("33", text)
    }

    /// Bad.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.enabled { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Milliseconds as people read them: `840 ms`, `2.4 s`, `3 min 05 s`.
pub fn elapsed(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min {:02} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// A size with a unit: `4GiB`, `1.5 GiB`, `2GB`, `1000000`.
pub fn parse_size(text: &str) -> std::result::Result<u64, String> {
    match contract::parse_bytes(text) {
        Some(0) => Err(format!("{text:?} is not a size that a machine could have")),
        Some(bytes) => Ok(bytes),
        None => Err(format!("{text:?} is not a size: write it like 4GiB or 512MiB")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        assert_eq!([7, 2_400, 185_000].map(elapsed), ["7 ms", "2.4 s", "3 min 05 s"]);
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("4GiB"), Ok(4 << 30));
        assert_eq!(parse_size("1.5 MiB"), Ok(3 << 19));
        assert_eq!(parse_size("2GB"), Ok(2_000_000_000));
        assert_eq!(parse_size("77"), Ok(77));
        for bad in ["", "GiB", "4 parsecs", "-1", "0"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
