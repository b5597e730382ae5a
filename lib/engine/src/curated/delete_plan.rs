//! Which delete files to read for which data file, worked out once for a snapshot.

use std::collections::HashMap;

use lake::{DataFileEntry, LiveFiles, spec::Struct};

use crate::{Error, Result};

/// The delete files of a snapshot by what they apply to. Empty in a snapshot without deletes.
#[derive(Debug, Default)]
pub(super) struct DeletePlan {
    /// `None` in a snapshot without deletes.
    files: Option<HashMap<String, DeletesOfFile>>,
    scopes: Vec<KeyScope>,
}

/// What applies to one data file.
#[derive(Debug, Default)]
pub(super) struct DeletesOfFile {
    /// Position delete files.
    pub(super) positions: Vec<DataFileEntry>,
    /// Scopes of equality deletes, by their index.
    pub(super) scopes: Vec<usize>,
}

/// Equality deletes that have columns and partition in common: one lookup answers for all of them.
#[derive(Debug)]
pub(super) struct KeyScope {
    /// Ids of the columns that are compared, ascending.
    pub(super) equality_ids: Vec<i32>,
    /// The delete files.
    pub(super) deletes: Vec<DataFileEntry>,
}

impl DeletePlan {
    /// Plans for every data file of a snapshot. Refuses equality deletes without columns.
    pub(super) fn new(live: &LiveFiles) -> Result<Self> {
        if live.position_deletes.is_empty() && live.equality_deletes.is_empty() {
            return Ok(Self::default());
        }
        let mut scopes: Vec<KeyScope> = Vec::new();
        let mut known: HashMap<(Vec<i32>, i32, &Struct), usize> = HashMap::new();
        let mut scope_of: HashMap<&str, usize> = HashMap::new();
        for delete in &live.equality_deletes {
            let equality_ids = equality_ids(delete)?;
            let key = (equality_ids.clone(), delete.spec_id, delete.data_file.partition());
            let scope = *known.entry(key).or_insert_with(|| {
                scopes.push(KeyScope { equality_ids, deletes: Vec::new() });
                scopes.len() - 1
            });
            scopes[scope].deletes.push(delete.clone());
            scope_of.insert(delete.data_file.file_path(), scope);
        }
        let index = live.delete_index();
        let of_file = |file: &DataFileEntry| {
            let applicable = index.for_file(file);
            let of_delete = |delete: &&DataFileEntry| scope_of.get(delete.data_file.file_path()).copied();
            let mut scopes: Vec<usize> = applicable.equality.iter().filter_map(of_delete).collect();
            scopes.sort_unstable();
            scopes.dedup();
            let positions = applicable.position.into_iter().cloned().collect();
            (file.data_file.file_path().to_owned(), DeletesOfFile { positions, scopes })
        };
        Ok(Self { files: Some(live.data.iter().map(of_file).collect()), scopes })
    }

    /// What applies to a data file of the snapshot; `None` when the snapshot has no deletes. A file of another
    /// snapshot is an error: its deletes are not known here.
    pub(super) fn of(&self, file: &DataFileEntry) -> Result<Option<&DeletesOfFile>> {
        let Some(files) = &self.files else { return Ok(None) };
        let path = file.data_file.file_path();
        files.get(path).map(Some).ok_or_else(|| Error::Unsupported {
            subject: path.to_owned(),
            reason: "it is no live file of the snapshot that is being read".to_owned(),
        })
    }

    /// A scope by its index.
    pub(super) fn scope(&self, index: usize) -> &KeyScope {
        &self.scopes[index]
    }
}

impl DeletesOfFile {
    /// Nothing applies.
    pub(super) fn is_empty(&self) -> bool {
        self.positions.is_empty() && self.scopes.is_empty()
    }
}

fn equality_ids(delete: &DataFileEntry) -> Result<Vec<i32>> {
    let mut equality_ids = delete.data_file.equality_ids().unwrap_or_default();
    if equality_ids.is_empty() {
        return Err(Error::Unsupported {
            subject: delete.data_file.file_path().to_owned(),
            reason: "it is an equality delete file without equality columns".to_owned(),
        });
    }
    equality_ids.sort_unstable();
    Ok(equality_ids)
}
