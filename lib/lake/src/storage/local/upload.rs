//! Writing a local file so that it is seen whole or not at all, also after a power failure: a hidden file beside it,
//! synced, then linked or renamed into place, and the folder synced.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::{STORE, blocking, etag, failed};

/// A file that is being written and has no name yet that anybody looks for. Removed when it is dropped.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: File,
    path: PathBuf,
}

impl Staged {
    /// Makes one in the folder of `target`, and the folder when it is missing.
    pub(super) fn beside(target: &Path) -> Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let folder = target.parent().unwrap_or(Path::new("/"));
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".etl-{}-{number}.tmp", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Self { file, path }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound => make_folder(folder)?,
                Err(error) => return Err(no_folder(&path, error)),
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename it is gone already; otherwise what stays is a hidden file for the orphan search.
        let _ = fs::remove_file(&self.path);
    }
}

/// Gives the staged file its name, if nothing has that name yet.
pub(super) fn publish_new(staged: Staged, target: &Path) -> Result<PutResult> {
    staged.file.sync_all().map_err(|e| failed(target, e))?;
    fs::hard_link(&staged.path, target).map_err(|e| failed(target, e))?;
    published(staged, target)
}

/// Gives the staged file its name, in place of what has it.
pub(super) fn publish_over(staged: Staged, target: &Path) -> Result<PutResult> {
    staged.file.sync_all().map_err(|e| failed(target, e))?;
    fs::rename(&staged.path, target).map_err(|e| failed(target, e))?;
    published(staged, target)
}

fn published(staged: Staged, target: &Path) -> Result<PutResult> {
    let metadata = staged.file.metadata().map_err(|e| failed(target, e))?;
    drop(staged);
    sync_folder(target.parent().unwrap_or(Path::new("/")))?;
    Ok(PutResult { e_tag: Some(etag(&metadata)), version: None })
}

fn sync_folder(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| failed(folder, e))
}

/// Makes a folder and those above it, each durable in the one above.
fn make_folder(folder: &Path) -> Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(no_folder(folder, error)),
        }
        sync_folder(folder.parent().unwrap_or(Path::new("/")))?;
    }
    Ok(())
}

/// A file among the folders above is no missing object.
fn no_folder(path: &Path, error: std::io::Error) -> object_store::Error {
    match error.kind() {
        ErrorKind::NotADirectory => object_store::Error::Generic { store: STORE, source: error.into() },
        _ => failed(path, error),
    }
}

/// A file written in parts.
#[derive(Debug)]
pub(super) struct Upload {
    target: PathBuf,
    staged: Option<Arc<Mutex<Staged>>>,
    offset: u64,
}

impl Upload {
    pub(super) fn start(target: PathBuf) -> Result<Self> {
        let staged = Staged::beside(&target)?;
        Ok(Self { target, staged: Some(Arc::new(Mutex::new(staged))), offset: 0 })
    }

    fn ended(&self) -> object_store::Error {
        failed(&self.target, std::io::Error::other("the upload has ended"))
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let offset = self.offset;
        self.offset += data.content_length() as u64;
        let (staged, target, ended) = (self.staged.clone(), self.target.clone(), self.ended());
        Box::pin(async move {
            let staged = staged.ok_or(ended)?;
            blocking(move || {
                let mut staged = staged.lock().unwrap_or_else(PoisonError::into_inner);
                staged
                    .file
                    .seek(SeekFrom::Start(offset))
                    .and_then(|_| data.iter().try_for_each(|part| staged.file.write_all(part)))
                    .map_err(|e| failed(&target, e))
            })
            .await
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let staged = self.staged.take().ok_or_else(|| self.ended())?;
        let target = self.target.clone();
        blocking(move || {
            let staged = Arc::into_inner(staged)
                .ok_or_else(|| failed(&target, std::io::Error::other("parts are still being written")))?;
            publish_over(staged.into_inner().unwrap_or_else(PoisonError::into_inner), &target)
        })
        .await
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.take().ok_or_else(|| self.ended())?;
        blocking(move || {
            // A part that is still being written keeps the file open; its name goes now.
            _ = fs::remove_file(&staged.lock().unwrap_or_else(PoisonError::into_inner).path);
            Ok(())
        })
        .await
    }
}
