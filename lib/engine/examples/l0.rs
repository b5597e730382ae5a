//! L0, the benchmark's unit: decodes Parquet files and encodes the same rows again, with nothing in between.
//!
//! Owns one measurement: `SELECT *` into zstd-1 Parquet with DataFusion's own reader and writer, its own batch size, and
//! every core. Refuses to know the engine, tables and contracts: whatever those learn to do faster must not move the
//! unit they are measured in.
//!
//!     l0 OUT_DIR PATH…     a PATH that begins with @ is a file that lists paths, one a line
//!
//! Prints one JSON document: {wall_s, cpu_s, peak_rss_bytes, rows, bytes, files}. `bytes` is the size of what was
//! written. `cpu_s` and `peak_rss_bytes` are null where there is no /proc.

use std::{error::Error, fs, path::Path, time::Instant};

use datafusion::{
    config::{ConfigNonZeroUsize, TableParquetOptions},
    dataframe::DataFrameWriteOptions,
    prelude::{ParquetReadOptions, SessionConfig, SessionContext},
};

/// The allocator of the program that is compared with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What Linux counts CPU time in for programs: USER_HZ, 100 on every architecture that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;

#[expect(clippy::disallowed_methods, reason = "a program of its own: this is its main")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let output = arguments.next().ok_or("usage: l0 OUT_DIR PATH…")?;
    let paths = listed(arguments)?;
    if paths.is_empty() {
        return Err("usage: l0 OUT_DIR PATH…".into());
    }
    let cores = std::thread::available_parallelism()?.get();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(cores).enable_all().build()?;

    let start = Instant::now();
    let rows = runtime.block_on(copy(paths, &output, cores))?;
    let wall_s = start.elapsed().as_secs_f64();

    let written: Vec<u64> =
        fs::read_dir(&output)?.map(|entry| Ok(entry?.metadata()?.len())).collect::<std::io::Result<_>>()?;
    let report = serde_json::json!({
        "wall_s": wall_s,
        "cpu_s": cpu_s(),
        "peak_rss_bytes": peak_rss_bytes(),
        "rows": rows,
        "bytes": written.iter().sum::<u64>(),
        "files": written.len(),
    });
    #[expect(clippy::print_stdout, reason = "the result")]
    {
        println!("{report}");
    }
    Ok(())
}

/// Decodes the files and writes their rows below `output`, which must be empty or missing. Returns the rows written.
async fn copy(paths: Vec<String>, output: &str, cores: usize) -> Result<u64, Box<dyn Error>> {
    if Path::new(output).read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(format!("{output} is not empty").into());
    }
    let mut config = SessionConfig::new().with_target_partitions(cores);
    config.options_mut().execution.minimum_parallel_output_files = ConfigNonZeroUsize::try_new(cores)?;
    let context = SessionContext::new_with_config(config);

    let mut parquet = TableParquetOptions::default();
    parquet.global = context.copied_config().options().execution.parquet.clone();
    parquet.global.compression = Some("zstd(1)".to_owned());
    // A trailing slash makes it a folder of several files.
    let counted = context
        .read_parquet(paths, ParquetReadOptions::default())
        .await?
        .write_parquet(&format!("{output}/"), DataFrameWriteOptions::new(), Some(parquet))
        .await?;
    let counts = counted.first().ok_or("the writer returned no count")?.column(0).to_data();
    Ok(counts.buffer::<u64>(0)[0])
}

fn listed(arguments: impl Iterator<Item = String>) -> std::io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for argument in arguments {
        match argument.strip_prefix('@') {
            Some(list) => paths.extend(fs::read_to_string(list)?.lines().map(str::to_owned)),
            None => paths.push(argument),
        }
    }
    Ok(paths)
}

/// User and system time of the process.
fn cpu_s() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name may hold spaces; after its bracket come the third field and those that follow.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn peak_rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
}
