//! Shapes of input that once took memory, or requests, for what they are and not for what they hold: many small files. The
//! most that a run may take is its limit, a tenth of it, and what the program takes itself.

use crate::{
    batches::{self, TABLE},
    lake::{Lake, Ran, Tier},
    noise,
};

/// Small files of one hour.
const FILES: u64 = 1_500;
/// Options that limit the memory of these runs.
const LIMIT: [&str; 4] = ["--memory-limit", "128MiB", "--threads", "2"];
const LIMIT_BYTES: u64 = 128 << 20;
/// What a program that was built for development takes itself: most of it its own code.
const PROGRAM_BYTES: u64 = 130 << 20;

/// Trials by name.
pub const TRIALS: [(&str, crate::Run); 1] = [("small-files", small_files)];

/// Many files of two rows: memory does not follow their number, each is requested once, and a run that finds them applied opens
/// none.
fn small_files() -> Result<(), String> {
    let lake = noise::new(Tier::Local, "shape-small-files")?;
    lake.remove("telemetry/2025/06/04/00/0.parquet");
    for number in 0..FILES {
        let bytes = noise::file_of("2025-06-04T00:00", 2, 10, number)?;
        lake.put(&format!("telemetry/2025/06/04/00/{number}.parquet"), bytes);
    }
    let first = run(&lake, "committed", FILES * 2)?;
    within(&first, LIMIT_BYTES)?;
    let steps = steps(&first)?;
    if steps > FILES + FILES / 10 {
        return Err(format!("{steps} steps for {FILES} files"));
    }
    let again = run(&lake, "unchanged", 0)?;
    let steps = self::steps(&again)?;
    if steps > 50 {
        return Err(format!("{steps} steps to find {FILES} files applied"));
    }
    let counted = lake.query(&format!("SELECT count(*) AS n FROM {TABLE}"))?;
    if counted[0]["n"] == FILES * 2 { Ok(()) } else { Err(format!("{counted:?}")) }
}

fn run(lake: &Lake, status: &str, rows: u64) -> Result<Ran, String> {
    let mut arguments = batches::dedupe(0);
    arguments.extend(LIMIT.map(str::to_owned));
    let ran = lake.start(&arguments, &[("ETL_FAULT", "count")]).wait();
    let report = ran.reports.first().ok_or_else(|| format!("no report: {}", ran.stderr))?;
    if ran.exit != 0 || report["status"] != status || report["rows"]["read"] != rows {
        return Err(format!("ended {} with {report}: {}", ran.exit, ran.stderr));
    }
    Ok(ran)
}

fn within(ran: &Ran, bytes: u64) -> Result<(), String> {
    let most = bytes + bytes / 10 + PROGRAM_BYTES;
    match ran.reports[0]["resources"]["peak_rss_bytes"].as_u64() {
        Some(peak) if peak > most => Err(format!("{peak} bytes at the peak, more than {most}")),
        // Only Linux tells.
        _ => Ok(()),
    }
}

fn steps(ran: &Ran) -> Result<u64, String> {
    let said = ran.stderr.lines().find_map(|line| line.split("fault.steps=").nth(1)?.trim().parse().ok());
    said.ok_or_else(|| format!("no steps are said: {}", ran.stderr))
}
