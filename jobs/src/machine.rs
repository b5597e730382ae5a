//! What the machine gives and what the process has used: memory and CPU, as the kernel tells them.
//!
//! Only Linux tells; elsewhere limits fall back to a constant and use is unknown.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::screen::parse_size;

/// Memory where nothing tells how much there is, in bytes.
const MEMORY_FALLBACK_BYTES: u64 = 4 << 30;

/// Share of the memory that a run uses unless told: the rest is for the kernel's page cache and our neighbours.
const MEMORY_SHARE_PERCENT: u64 = 75;

/// The least that a run can keep to, beside what the program takes itself.
pub const MEMORY_LIMIT_BYTES_MIN: u64 = 128 << 20;

/// Memory that one thread of work needs, for what it reads, decodes and encodes.
const THREAD_BYTES: u64 = 64 << 20;

/// Reads a memory limit. Refuses one that no run could keep to.
pub fn parse_memory_limit(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if bytes < MEMORY_LIMIT_BYTES_MIN {
        let least = MEMORY_LIMIT_BYTES_MIN >> 20;
        return Err(format!("a run cannot keep to so little memory: the smallest limit is {least}MiB"));
    }
    Ok(bytes)
}

/// Threads that work side by side within a memory limit, at most those that were asked for.
pub fn threads_within(threads: usize, memory_limit_bytes: u64) -> usize {
    let room = usize::try_from(memory_limit_bytes / THREAD_BYTES).unwrap_or(usize::MAX);
    threads.min(room).max(1)
}

/// Memory limit of a run that names none, in bytes: a share of the smallest of the cgroup's limits and the machine.
pub fn memory_limit_bytes() -> u64 {
    let total = cgroup_limits()
        .into_iter()
        .chain(meminfo_total(&fs::read_to_string("/proc/meminfo").unwrap_or_default()))
        .min()
        .unwrap_or(MEMORY_FALLBACK_BYTES);
    (total / 100 * MEMORY_SHARE_PERCENT).max(MEMORY_LIMIT_BYTES_MIN)
}

/// Worker threads of a run that names none: the CPUs that affinity and the cgroup's quota leave.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, Into::into)
}

/// What the process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Most memory that was resident at once, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Time on a CPU, user and system, in milliseconds.
    pub cpu_ms: Option<u64>,
}

/// Asks the kernel.
pub fn used() -> Used {
    Used {
        peak_rss_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|text| peak_rss_bytes(&text)),
        cpu_ms: fs::read_to_string("/proc/self/stat").ok().and_then(|text| cpu_ms(&text)),
    }
}

/// Limits of this process's cgroup and of those around it, version 2 and 1.
fn cgroup_limits() -> Vec<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files: Vec<PathBuf> = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|folder| Path::new(root).join(folder).join(file)));
    }
    // "max" in version 2 is no number, and version 1 writes no limit as almost 2^63: the minimum with the machine's
    // own memory takes care of it.
    files.iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).collect()
}

fn meminfo_total(text: &str) -> Option<u64> {
    kibibytes(text, "MemTotal:")
}

fn peak_rss_bytes(text: &str) -> Option<u64> {
    kibibytes(text, "VmHWM:")
}

fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(number * 1024)
}

/// Fields 14 and 15 of proc(5)'s stat, in ticks of the kernel's user-space clock, which is 100 Hz on every Linux.
fn cpu_ms(text: &str) -> Option<u64> {
    // The second field is the command in parentheses and may itself hold spaces and parentheses.
    let after_command = &text[text.rfind(')')? + 1..];
    let mut fields = after_command.split_ascii_whitespace().skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    Some(ticks * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_cannot_be_kept_is_refused() {
        assert_eq!(parse_memory_limit("128MiB"), Ok(128 << 20));
        let error = parse_memory_limit("127MiB").unwrap_err();
        assert!(error.contains("the smallest limit is 128MiB"), "{error}");
        assert!(parse_memory_limit("much").is_err());
    }

    #[test]
    fn fewer_threads_work_where_memory_is_short() {
        assert_eq!(threads_within(2, 128 << 20), 2);
        assert_eq!(threads_within(64, 256 << 20), 4);
        assert_eq!(threads_within(64, 64 << 30), 64);
        assert_eq!(threads_within(8, 1), 1);
    }

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(peak_rss_bytes("Name:\tetl\nVmHWM:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(cpu_ms("7 (a) b) R 1 1 1 0 -1 4 9 0 0 0 150 25 0 0 20 0 1 0 5"), Some(1_750));
        assert_eq!(cpu_ms(""), None);
    }
}
