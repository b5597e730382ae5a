//! Dividing a scan's files among the threads that read them.

use std::ops::Range;

use lake::DataFileEntry;

/// A file, or the row groups that start in a range of its bytes.
#[derive(Debug, Clone)]
pub(super) struct Slice {
    pub(super) entry: DataFileEntry,
    pub(super) bytes: Option<Range<u64>>,
}

impl Slice {
    fn size_bytes(&self) -> u64 {
        self.bytes.as_ref().map_or(self.entry.data_file.file_size_in_bytes(), |bytes| bytes.end - bytes.start)
    }
}

/// Parts of a file are not made smaller: each part reads the footer again.
const SLICE_BYTES_MIN: u64 = 32 * 1024 * 1024;

/// At most `groups_max` groups of about the same number of bytes, at least one. Files stay in their order.
pub(super) fn balance(files: Vec<DataFileEntry>, groups_max: usize) -> Vec<Vec<Slice>> {
    let groups_max = groups_max.max(1);
    let total: u64 = files.iter().map(|file| file.data_file.file_size_in_bytes()).sum();
    let share = (total / groups_max as u64).max(SLICE_BYTES_MIN);
    let mut slices: Vec<(usize, Slice)> = files.into_iter().flat_map(|file| cut(file, share)).enumerate().collect();
    let mut groups: Vec<(u64, Vec<(usize, Slice)>)> = vec![(0, Vec::new()); groups_max.min(slices.len()).max(1)];
    // The largest first, each to the group that has least.
    slices.sort_by_key(|(order, slice)| (std::cmp::Reverse(slice.size_bytes()), *order));
    for (order, slice) in slices {
        if let Some((size, group)) = groups.iter_mut().min_by_key(|(size, group)| (*size, group.len())) {
            *size += slice.size_bytes();
            group.push((order, slice));
        }
    }
    let in_order = |mut group: Vec<(usize, Slice)>| {
        group.sort_by_key(|(order, _)| *order);
        group.into_iter().map(|(_, slice)| slice).collect()
    };
    groups.into_iter().map(|(_, group)| in_order(group)).collect()
}

fn cut(entry: DataFileEntry, share: u64) -> Vec<Slice> {
    let size = entry.data_file.file_size_in_bytes();
    let parts = if size > share + share / 2 { size.div_ceil(share) } else { 1 };
    if parts == 1 {
        return vec![Slice { entry, bytes: None }];
    }
    let part = |part: u64| size * part / parts..if part + 1 == parts { u64::MAX } else { size * (part + 1) / parts };
    (0..parts).map(|at| Slice { entry: entry.clone(), bytes: Some(part(at)) }).collect()
}
