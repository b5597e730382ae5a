//! What may be asked of a compaction: the options of Spark's `rewrite_data_files` with their defaults
//! (<https://iceberg.apache.org/docs/latest/spark-procedures/#rewrite_data_files>), and our own.

use std::{fmt, str::FromStr};

use contract::Duration;

/// What was asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Size that new files aim for, instead of the table's (`target-file-size-bytes`).
    pub target_file_bytes: Option<u64>,
    /// Smaller files are written again (`min-file-size-bytes`); three quarters of the target unless said.
    pub min_file_bytes: Option<u64>,
    /// Larger files are written again (`max-file-size-bytes`); 1.8 of the target unless said.
    pub max_file_bytes: Option<u64>,
    /// So many files are worth a rewrite, whatever their sizes add up to (`min-input-files`).
    pub min_input_files: u64,
    /// A file to which this many delete files apply is written again (`delete-file-threshold`).
    pub delete_file_threshold: Option<u64>,
    /// A file of which this share is deleted is written again (`delete-ratio-threshold`).
    pub delete_ratio_threshold: f64,
    /// Bytes of one group (`max-file-group-size-bytes`).
    pub max_group_bytes: u64,
    /// Every file is written again (`rewrite-all`).
    pub rewrite_all: bool,
    /// Commits as it goes (`partial-progress.enabled`).
    pub partial_progress: bool,
    /// Commits of one run (`partial-progress.max-commits`), at least 1; one for each GiB up to ten unless said.
    pub max_commits: Option<u64>,
    /// Which groups come first (`rewrite-job-order`).
    pub job_order: JobOrder,
    /// Delete files that apply to nothing go (`remove-dangling-deletes`).
    pub remove_dangling_deletes: bool,
    /// Manifests are written again where that pays, as by Spark's `rewrite_manifests`.
    pub rewrite_manifests: bool,
    /// Order of the rows in new files (`strategy`, `sort_order`).
    pub strategy: Strategy,
    /// Files whose row groups are smaller than this are decoded: copied, they would stay as small.
    pub copy_min_bytes: u64,
    /// Also partitions that still receive data.
    pub include_active: bool,
    /// A partition that something was added to within this span still receives data.
    pub active_for: Duration,
    /// Bytes that one run writes again.
    pub max_bytes: Option<u64>,
    /// Files that one run writes again.
    pub max_files: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target_file_bytes: None,
            min_file_bytes: None,
            max_file_bytes: None,
            min_input_files: 5,
            delete_file_threshold: None,
            delete_ratio_threshold: 0.3,
            max_group_bytes: 100 << 30,
            rewrite_all: false,
            partial_progress: true,
            max_commits: None,
            job_order: JobOrder::None,
            remove_dangling_deletes: true,
            rewrite_manifests: true,
            strategy: Strategy::Table,
            copy_min_bytes: 1 << 20,
            include_active: false,
            active_for: Duration { seconds: 60 * 60 },
            max_bytes: None,
            max_files: None,
        }
    }
}

/// Order of the rows in new files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// The table's sort order, where it has one; else as they come.
    Table,
    /// As they come.
    BinPack,
    /// By these terms: `device_id, event_time DESC`.
    Sort(String),
    /// Along a Z-order curve through these columns.
    ZOrder(Vec<String>),
}

/// Which groups come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JobOrder {
    /// By partition.
    #[default]
    None,
    /// The smallest first.
    BytesAscending,
    /// The largest first.
    BytesDescending,
    /// Those of the fewest files first.
    FilesAscending,
    /// Those of the most files first.
    FilesDescending,
}

impl FromStr for JobOrder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const WORDS: [JobOrder; 5] = [
            JobOrder::None,
            JobOrder::BytesAscending,
            JobOrder::BytesDescending,
            JobOrder::FilesAscending,
            JobOrder::FilesDescending,
        ];
        let found = WORDS.into_iter().find(|order| order.to_string() == text);
        found.ok_or_else(|| format!("{text:?} is not one of {}", WORDS.map(|order| order.to_string()).join(", ")))
    }
}

impl fmt::Display for JobOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::BytesAscending => "bytes-asc",
            Self::BytesDescending => "bytes-desc",
            Self::FilesAscending => "files-asc",
            Self::FilesDescending => "files-desc",
        })
    }
}

/// Sizes that go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub target: u64,
    pub min: u64,
    pub max: u64,
}

impl Options {
    /// The sizes for a table whose files aim for `target`; why they contradict each other.
    pub(super) fn sizes(&self, target: u64) -> Result<Sizes, Vec<String>> {
        let target = self.target_file_bytes.unwrap_or(target);
        let min = self.min_file_bytes.unwrap_or(target / 4 * 3);
        let max = self.max_file_bytes.unwrap_or(target.saturating_mul(9) / 5);
        let mut reasons = Vec::new();
        if target == 0 {
            reasons.push("the target file size is 0".to_owned());
        }
        if min >= max {
            reasons.push(format!("the minimum file size, {min}, is not less than the maximum, {max}"));
        }
        if self.target_file_bytes.is_some() || self.min_file_bytes.is_some() || self.max_file_bytes.is_some() {
            let (low, high) = (target <= min && target > 0, target >= max && target > 0);
            if low || high {
                reasons.push(format!("the target file size, {target}, is not between {min} and {max}"));
            }
        }
        if !(0.0..=1.0).contains(&self.delete_ratio_threshold) {
            reasons.push(format!("the share of deleted rows, {}, is not from 0 to 1", self.delete_ratio_threshold));
        }
        let zero = [
            ("--min-input-files", Some(self.min_input_files)),
            ("--delete-file-threshold", self.delete_file_threshold),
            ("--max-file-group-size-bytes", Some(self.max_group_bytes)),
            ("--max-commits", self.max_commits),
            ("--max-bytes", self.max_bytes),
            ("--max-files", self.max_files),
        ];
        reasons.extend(zero.iter().filter(|(_, n)| *n == Some(0)).map(|(name, _)| format!("{name} is 0")));
        if reasons.is_empty() { Ok(Sizes { target, min, max }) } else { Err(reasons) }
    }
}
