//! What the command line says of a compaction, in the words of its plan.

use plan::compact::{Options, Strategy};

use super::Compact;

impl Compact {
    /// What was asked for, as the plan takes it.
    pub(super) fn options(&self) -> Options {
        let strategy = match (&self.sort, self.z_order.as_slice(), self.no_sort) {
            (Some(terms), ..) => Strategy::Sort(terms.clone()),
            (None, [_, ..], _) => Strategy::ZOrder(self.z_order.clone()),
            (None, [], true) => Strategy::BinPack,
            (None, [], false) => Strategy::Table,
        };
        Options {
            target_file_bytes: self.target_file_size_bytes,
            min_file_bytes: self.min_file_size_bytes,
            max_file_bytes: self.max_file_size_bytes,
            min_input_files: self.min_input_files,
            delete_file_threshold: self.delete_file_threshold,
            delete_ratio_threshold: self.delete_ratio_threshold,
            max_group_bytes: self.max_file_group_size_bytes,
            rewrite_all: self.rewrite_all,
            partial_progress: !self.no_partial_progress,
            max_commits: self.max_commits,
            job_order: self.rewrite_job_order,
            remove_dangling_deletes: !self.keep_dangling_deletes,
            rewrite_manifests: !self.no_rewrite_manifests,
            strategy,
            copy_min_bytes: self.min_copy_size_bytes,
            include_active: self.include_active,
            active_for: self.active_for,
            max_bytes: self.max_bytes,
            max_files: self.max_files,
        }
    }
}

/// What the command line means without options.
impl Default for Compact {
    fn default() -> Self {
        let options = Options::default();
        Self {
            tables: Vec::new(),
            filter: None,
            target_file_size_bytes: None,
            min_file_size_bytes: None,
            max_file_size_bytes: None,
            min_input_files: options.min_input_files,
            delete_file_threshold: None,
            delete_ratio_threshold: options.delete_ratio_threshold,
            max_file_group_size_bytes: options.max_group_bytes,
            rewrite_all: false,
            no_partial_progress: false,
            max_commits: None,
            rewrite_job_order: options.job_order,
            keep_dangling_deletes: false,
            no_rewrite_manifests: false,
            sort: None,
            z_order: Vec::new(),
            no_sort: false,
            min_copy_size_bytes: options.copy_min_bytes,
            include_active: false,
            active_for: options.active_for,
            max_bytes: None,
            max_files: None,
            max_time: None,
        }
    }
}
