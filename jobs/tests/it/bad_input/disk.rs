//! Disks that are full, and memory that does not suffice. The disks are real: small file systems in memory, which only root
//! can mount.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::{fails_cleanly, same_state, succeeds};
use crate::{
    batches,
    faults::batches_of_two_hours,
    lake::{Lake, Tier},
    model::Model,
    noise,
};

/// Size of a disk, and of its pages, in bytes.
const DISK_BYTES: u64 = 1 << 20;
const PAGE_BYTES: usize = 4096;

/// Pages that are left free: with as many the run succeeds.
const PAGES_FREE_MAX: usize = 40;

/// A file system of its own, gone when this is dropped.
struct Disk(PathBuf);

impl Disk {
    /// Over a folder, whose files it takes over.
    fn mount(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).ok()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={DISK_BYTES}"), "tmpfs"]).arg(folder);
        let mounted = mount.stdout(Stdio::null()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder.to_owned()))
    }

    /// Leaves so many pages free.
    fn fill(&self, pages_free: usize) {
        let filler = self.filler();
        _ = fs::remove_file(&filler);
        // Writes until nothing more fits, then gives back.
        let mut pages = 0;
        while fs::write(&filler, vec![1; (pages + 1) * PAGE_BYTES]).is_ok() {
            pages += 1;
        }
        fs::write(&filler, vec![1; pages.saturating_sub(pages_free) * PAGE_BYTES]).expect("it was larger before");
    }

    fn free(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What stays mounted is told by the folder that cannot be removed.
        _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Whether this process may mount a file system.
pub fn can_mount() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    *CAN.get_or_init(|| tempfile::tempdir().is_ok_and(|folder| Disk::mount(folder.path()).is_some()))
}

/// The warehouse's disk has room for nothing, for one page, for two, …, until there is room for the whole run.
pub fn full_disk() -> Result<(), String> {
    full(|lake| lake.folder().join("warehouse"))
}

/// The same for the disk of the catalog.
pub fn full_catalog_disk() -> Result<(), String> {
    full(|lake| lake.folder().join("catalog"))
}

fn full(folder: fn(&Lake) -> PathBuf) -> Result<(), String> {
    let hours = batches_of_two_hours();
    let name = folder(&Lake::new(Tier::Local, "name", &[])).file_name().unwrap_or_default().display().to_string();
    let lake = Lake::new(Tier::Local, &format!("full-{name}"), &[batches::table()]);
    let config = lake.folder().join("etl.toml");
    let text = fs::read_to_string(&config).map_err(|error| error.to_string())?;
    fs::write(&config, text.replace("\"catalog.db\"", "\"catalog/catalog.db\"")).map_err(|error| error.to_string())?;
    let disk = Disk::mount(&folder(&lake)).ok_or("no file system can be mounted")?;
    batches::place(&lake, 0, &hours[0]);
    succeeds(&lake, 0)?;
    batches::place(&lake, 1, &hours[1]);
    let mut failed = 0;
    for pages in 0..PAGES_FREE_MAX {
        disk.fill(pages);
        let before = lake.state();
        let ran = lake.run(&batches::dedupe(1));
        if ran.exit == 0 {
            break;
        }
        failed += 1;
        let at = |error: String| format!("{pages} pages free: {error}");
        fails_cleanly(&ran, 1, &["the disk is full", &name, "free space"]).map_err(at)?;
        same_state(&before, &lake.state()).map_err(|error| at(format!("{error}\n{}", ran.stderr)))?;
    }
    if failed == 0 || failed == PAGES_FREE_MAX {
        return Err(format!("{failed} runs failed for want of room"));
    }
    disk.free();
    succeeds(&lake, 1)?;
    let mut model = Model::default();
    hours.iter().for_each(|files| _ = model.apply(&files.concat()));
    batches::compare(&lake, &model)?;
    batches::check(&lake)
}

/// A sort that needs more than it may have, and a disk for it that is too small.
const SORT: &str = "SELECT event_id, payload || n AS payload FROM curated.telemetry \
    CROSS JOIN (VALUES ('1'), ('2'), ('3'), ('4'), ('5'), ('6'), ('7'), ('8'), ('9')) AS v (n) ORDER BY payload";
/// A join whose smaller side has to be in memory, and is larger than may be.
const JOIN: &str = "WITH rows AS (SELECT payload || n AS payload FROM curated.telemetry \
    CROSS JOIN (VALUES ('1'), ('2'), ('3'), ('4'), ('5'), ('6'), ('7'), ('8'), ('9')) AS v (n)) \
    SELECT count(*) FROM rows AS a JOIN rows AS b ON a.payload = b.payload";

/// The disk that a query spills to is full.
pub fn full_spill_disk() -> Result<(), String> {
    let lake = noise::lake(Tier::Local, "full-spill")?;
    let spill = lake.folder().join("spill");
    let _disk = Disk::mount(&spill).ok_or("no file system can be mounted")?;
    let config = lake.folder().join("etl.toml");
    let text = fs::read_to_string(&config).map_err(|error| error.to_string())?;
    fs::write(&config, text + "[run]\nspill_dir = \"spill\"\n").map_err(|error| error.to_string())?;
    let before = lake.state();
    let ran = lake.run(&["query", SORT, "--full-scan", "--threads", "1", "--memory-limit", "128MiB"]);
    fails_cleanly(
        &ran,
        1,
        &["query: the disk of the spill folder", "/spill is full", "run.spill_dir", "--memory-limit"],
    )?;
    same_state(&before, &lake.state())?;
    let ran = lake.run(&["query", SORT, "--full-scan", "--threads", "1", "--memory-limit", "2GiB"]);
    if ran.exit == 0 { Ok(()) } else { Err(format!("with more memory it ended {}: {}", ran.exit, ran.stderr)) }
}

/// A run that may have less than any run needs.
pub fn memory_of_a_run() -> Result<(), String> {
    let lake = noise::lake(Tier::Local, "memory-run")?;
    noise::place(&lake, 1)?;
    let before = lake.state();
    let ran = lake.start(&batches::dedupe(1), &[("ETL_MEMORY_LIMIT", "1KiB")]).wait();
    fails_cleanly(&ran, 2, &["1KiB", "--memory-limit", "the smallest limit is 128MiB"])?;
    same_state(&before, &lake.state())?;
    succeeds(&lake, 1)
}

/// A query that cannot do with what it may have.
pub fn memory_of_a_query() -> Result<(), String> {
    let lake = noise::lake(Tier::Local, "memory-query")?;
    let before = lake.state();
    let ran = lake.run(&["query", JOIN, "--full-scan", "--threads", "1", "--memory-limit", "128MiB"]);
    fails_cleanly(&ran, 1, &["memory limit of 134217728 bytes is too low", "query", "--memory-limit"])?;
    same_state(&before, &lake.state())
}
