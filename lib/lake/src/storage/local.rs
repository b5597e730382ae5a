//! The local disk as an object store: literal names, atomic and durable writes, and lists that follow no link.
//!
//! `object_store`'s own does not sync what it writes, hides files named `x#1`, and goes through URLs.

mod upload;

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, ErrorKind, Write},
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    Attributes, CopyMode, CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    path::Path as ObjectPath,
};

use upload::{Staged, Upload, publish_new, publish_over};

/// All local files, by their absolute path without its first slash.
#[derive(Debug, Clone, Copy)]
pub(super) struct LocalDisk;

/// Deeper folders are an error.
const DEPTH_MAX: usize = 64;

impl fmt::Display for LocalDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalDisk")
    }
}

#[async_trait]
impl ObjectStore for LocalDisk {
    async fn put_opts(&self, location: &ObjectPath, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let path = system_path(location);
        blocking(move || {
            let mut staged = Staged::beside(&path)?;
            payload.iter().try_for_each(|part| staged.file.write_all(part)).map_err(|e| failed(&path, e))?;
            match options.mode {
                PutMode::Create => publish_new(staged, &path),
                PutMode::Overwrite => publish_over(staged, &path),
                PutMode::Update(_) => Err(not_implemented("put_opts with PutMode::Update")),
            }
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &ObjectPath,
        _options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let path = system_path(location);
        let upload = blocking(move || Upload::start(path)).await?;
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &ObjectPath, options: GetOptions) -> Result<GetResult> {
        let (path, location) = (system_path(location), location.clone());
        blocking(move || {
            let mut file = File::open(&path).map_err(|e| failed(&path, e))?;
            let mut metadata = file.metadata().map_err(|e| failed(&path, e))?;
            if metadata.is_dir() {
                return Err(failed(&path, io::Error::new(ErrorKind::NotFound, "it is a folder")));
            }
            if options.if_match.is_some() {
                wait_for_another_time(&metadata);
                metadata = file.metadata().map_err(|e| failed(&path, e))?;
            }
            let meta = object_meta(location, &metadata, &path)?;
            options.check_preconditions(&meta)?;
            let range = match &options.range {
                Some(range) => {
                    range.as_range(meta.size).map_err(|e| Error::Generic { store: STORE, source: e.into() })?
                }
                None => 0..meta.size,
            };
            let payload = match options.if_match {
                None => GetResultPayload::File(file, path),
                Some(_) => {
                    let read = read_range(&mut file, range.clone());
                    // Whoever writes into a file in place may have done so since: these are bytes of both versions then.
                    let now = file.metadata().map_err(|e| failed(&path, e))?;
                    options.check_preconditions(&object_meta(meta.location.clone(), &now, &path)?)?;
                    let read = read.map_err(|e| failed(&path, e))?;
                    GetResultPayload::Stream(stream::once(async { Ok(read) }).boxed())
                }
            };
            Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
        })
        .await
    }

    async fn get_ranges(&self, location: &ObjectPath, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (path, ranges) = (system_path(location), ranges.to_vec());
        blocking(move || {
            let mut file = File::open(&path).map_err(|e| failed(&path, e))?;
            ranges.into_iter().map(|range| read_range(&mut file, range).map_err(|e| failed(&path, e))).collect()
        })
        .await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<ObjectPath>>,
    ) -> BoxStream<'static, Result<ObjectPath>> {
        let delete = |location: Result<ObjectPath>| async move {
            let location = location?;
            let path = system_path(&location);
            blocking(move || fs::remove_file(&path).map_err(|e| failed(&path, e))).await?;
            Ok(location)
        };
        locations.map(delete).buffered(10).boxed()
    }

    fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectMeta>> {
        let folder = system_path(&prefix.cloned().unwrap_or_default());
        // Folder by folder: whoever asks for a million files then has them in memory once.
        stream::try_unfold(vec![(folder, 0)], |mut left| async move {
            let Some((folder, depth)) = left.pop() else { return Ok(None) };
            let (objects, folders) = blocking(move || within(&folder, depth)).await?;
            left.extend(folders.into_iter().rev().map(|folder| (folder, depth + 1)));
            Ok::<_, Error>(Some((stream::iter(objects.into_iter().map(Ok)), left)))
        })
        .try_flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&ObjectPath>) -> Result<ListResult> {
        let folder = system_path(&prefix.cloned().unwrap_or_default());
        blocking(move || {
            let mut result = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
            for (path, metadata) in entries(&folder)? {
                if metadata.is_dir() {
                    result.common_prefixes.push(object_path(&path)?);
                } else {
                    result.objects.push(object_meta(object_path(&path)?, &metadata, &path)?);
                }
            }
            Ok(result)
        })
        .await
    }

    async fn copy_opts(&self, from: &ObjectPath, to: &ObjectPath, options: CopyOptions) -> Result<()> {
        let (from, to) = (system_path(from), system_path(to));
        blocking(move || {
            let mut source = File::open(&from).map_err(|e| failed(&from, e))?;
            let mut staged = Staged::beside(&to)?;
            io::copy(&mut source, &mut staged.file).map_err(|e| failed(&to, e))?;
            match options.mode {
                CopyMode::Create => publish_new(staged, &to)?,
                CopyMode::Overwrite => publish_over(staged, &to)?,
            };
            Ok(())
        })
        .await
    }
}

const STORE: &str = "local disk";

fn system_path(location: &ObjectPath) -> PathBuf {
    Path::new("/").join(location.as_ref())
}

fn object_path(path: &Path) -> Result<ObjectPath> {
    let text = path.to_str().ok_or_else(|| Error::Generic {
        store: STORE,
        source: format!("file name is not Unicode: {}", path.display()).into(),
    })?;
    Ok(ObjectPath::parse(text)?)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// What a failed call on `path` means; other errors keep the `io::Error`, so that a full disk can be told.
fn failed(path: &Path, source: io::Error) -> Error {
    let text = path.display().to_string();
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::NotFound { path: text, source: source.into() },
        ErrorKind::AlreadyExists => Error::AlreadyExists { path: text, source: source.into() },
        _ => Error::Generic { store: STORE, source: source.into() },
    }
}

fn not_implemented(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: STORE.to_owned() }
}

/// Files in a folder, and the folders in it. A folder that is missing, or goes away meanwhile, is empty;
/// anything else unreadable is an error, so that a list is never part of one.
fn within(folder: &Path, depth: usize) -> Result<(Vec<ObjectMeta>, Vec<PathBuf>)> {
    if depth > DEPTH_MAX {
        return Err(failed(folder, io::Error::other(format!("{} is too deep", folder.display()))));
    }
    let (mut objects, mut folders) = (Vec::new(), Vec::new());
    for (path, metadata) in entries(folder)? {
        if metadata.is_dir() {
            folders.push(path);
        } else {
            objects.push(object_meta(object_path(&path)?, &metadata, &path)?);
        }
    }
    Ok((objects, folders))
}

/// Files and folders in a folder, which may be a link itself. A link in it is neither: what it leads to lies elsewhere, is
/// perhaps there a second time, and belongs to somebody else. Devices and pipes cannot be read as objects.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let listed = match fs::read_dir(folder) {
        Ok(listed) => listed,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder, error)),
    };
    let mut entries = Vec::new();
    for entry in listed {
        let path = entry.map_err(|e| failed(folder, e))?.path();
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_file() || metadata.is_dir() => entries.push((path, metadata)),
            Ok(metadata) => {
                let what = if metadata.is_symlink() { "a link" } else { "no file" };
                tracing::warn!(file.path = %path.display(), "not listed: it is {what}");
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(entries)
}

fn object_meta(location: ObjectPath, metadata: &Metadata, path: &Path) -> Result<ObjectMeta> {
    let modified = metadata.modified().map_err(|e| failed(path, e))?;
    Ok(ObjectMeta {
        location,
        last_modified: modified.into(),
        size: metadata.len(),
        e_tag: Some(etag(metadata)),
        version: None,
    })
}

/// Inode, time and size: changes whenever a file is replaced or written to.
fn etag(metadata: &Metadata) -> String {
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0_u64;
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    format!("{inode:x}-{:x}-{:x}", modified.unwrap_or_default().as_nanos(), metadata.len())
}

/// Two writes between two ticks of the file system's clock leave the same time of modification. It ticks every 1 to 10 ms,
/// and later than that where other machines take the processor.
const TICK_MAX: Duration = Duration::from_millis(100);

/// Returns once a write into the file would give it another time of modification than the one in `metadata`.
fn wait_for_another_time(metadata: &Metadata) {
    let age = metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
    if let Some(left) = age.and_then(|age| TICK_MAX.checked_sub(age)) {
        std::thread::sleep(left);
    }
}

fn read_range(file: &mut File, range: Range<u64>) -> io::Result<Bytes> {
    use std::io::{Read, Seek, SeekFrom};
    let bytes = usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?;
    let mut buffer = vec![0; bytes];
    file.seek(SeekFrom::Start(range.start))?;
    file.read_exact(&mut buffer)?;
    Ok(buffer.into())
}
