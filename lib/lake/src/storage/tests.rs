//! Storage on a local disk, and what every store has to do.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use object_store::{ObjectStoreExt, WriteMultipart};
use tempfile::TempDir;

use super::*;

fn folder() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let location = format!("file://{}", folder.path().display());
    (folder, location)
}

/// Whether the server looks at `If-Match` when it is read from.
#[derive(Clone, Copy)]
pub(super) enum IfMatch {
    Honoured,
    Ignored,
}

/// What any storage must do below a folder of its own.
pub(super) async fn conforms(storage: &Storage, folder: &str, if_match: IfMatch) {
    let at = |name: &str| format!("{folder}/{name}");
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());

    // A missing folder is empty; a missing object is named.
    assert!(storage.list(folder).await.unwrap().is_empty());
    let missing = storage.read(&at("missing")).await.unwrap_err();
    assert!(matches!(&missing, Error::NotFound { location, .. } if *location == at("missing")), "{missing:?}");
    assert!(!storage.exists(&at("missing")).await.unwrap());
    assert!(storage.head(&at("missing")).await.unwrap_err().kind() == crate::ErrorKind::NotFound);

    // Written once, and once more with the same bytes; never with others.
    storage.write_new(&at("a/one"), bytes("1")).await.unwrap();
    storage.write_new(&at("a/one"), bytes("1")).await.unwrap();
    let occupied = storage.write_new(&at("a/one"), bytes("2")).await.unwrap_err();
    assert!(matches!(occupied, Error::Occupied { .. }), "{occupied:?}");
    assert_eq!(storage.read(&at("a/one")).await.unwrap(), "1");

    // Frozen by its ETag.
    let etag = storage.head(&at("a/one")).await.unwrap().e_tag.unwrap();
    assert_eq!(storage.read_if_match(&at("a/one"), &etag).await.unwrap(), "1");
    if let IfMatch::Honoured = if_match {
        let changed = storage.read_if_match(&at("a/one"), "\"other\"").await.unwrap_err();
        assert!(matches!(changed, Error::Changed { .. }), "{changed:?}");
    }

    // Odd names round trip: written, listed, named again, read, deleted.
    let odd = ["a b", "a%20b", "100%", "a+b=c&d", "ü", "k=v/x#1", "~", "'q'", "a,b;c", "(x)!", "$@:*"];
    for name in odd {
        storage.write_new(&at(&format!("odd/{name}")), Bytes::from(name)).await.unwrap();
    }
    let listed = storage.list(&at("odd")).await.unwrap();
    assert_eq!(listed.len(), odd.len());
    let mut found = Vec::new();
    for object in &listed {
        let location = storage.location_of(folder, &object.location).unwrap();
        let name = storage.read(&location).await.unwrap();
        assert_eq!(location, at(&format!("odd/{}", std::str::from_utf8(&name).unwrap())));
        assert_eq!(object.size, name.len() as u64);
        found.push(location);
    }
    assert!(found.is_sorted());

    // In parts.
    let (store, path) = storage.resolve(&at("parts")).unwrap();
    let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await.unwrap(), 5 << 20);
    let part = vec![7_u8; 6 << 20];
    upload.write(&part);
    upload.write(b"end");
    upload.finish().await.unwrap();
    let whole = storage.read(&at("parts")).await.unwrap();
    assert_eq!((whole.len(), &whole[whole.len() - 3..]), ((6 << 20) + 3, b"end".as_slice()));
    let ranges = store.get_ranges(&path, &[0..2, (6 << 20)..(6 << 20) + 3]).await.unwrap();
    assert_eq!(ranges, [Bytes::from_static(&[7, 7]), Bytes::from_static(b"end")]);

    // A folder is no prefix of names: `a` does not list `ab`.
    storage.write_new(&at("ab"), bytes("x")).await.unwrap();
    assert_eq!(storage.list(&at("a")).await.unwrap().len(), 1);
    assert_eq!(storage.list(&format!("{}/", at("a"))).await.unwrap().len(), 1);

    // Deleted in bulk; missing ones are fine, also all of them.
    found.push(at("never"));
    storage.delete_all(found.clone()).await.unwrap();
    storage.delete_all(found.clone()).await.unwrap();
    storage.write_new(&found[0], bytes("x")).await.unwrap();
    let (left, error) = storage.delete_each(found).await;
    assert!(left.is_empty() && error.is_none(), "{left:?} {error:?}");
    assert!(storage.list(&at("odd")).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_local_disk_conforms() {
    let (_keep, folder) = folder();
    let storage = Storage::local();
    conforms(&storage, &format!("{folder}/lake"), IfMatch::Honoured).await;
    let counts = storage.requests();
    assert!(counts.put > 10 && counts.get > 10 && counts.list >= 5 && counts.head > 1, "{counts:?}");
    assert_eq!(counts.multipart, 4);
}

#[tokio::test]
async fn one_that_cannot_be_deleted_does_not_keep_the_others() {
    let (keep, folder) = folder();
    let at = |name: &str| format!("{folder}/{name}");
    for name in ["a", "b/inner", "c"] {
        Storage::local().write_new(&at(name), Bytes::from_static(b"1")).await.unwrap();
    }
    // A folder is no object.
    let (left, error) = Storage::local().delete_each(vec![at("a"), at("b"), at("never"), at("c")]).await;
    assert_eq!(left, [at("b")]);
    assert!(error.is_some());
    let names: Vec<_> = std::fs::read_dir(keep.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["b"]);
    // One that cannot be named stops nothing, either: it is not begun.
    let (left, error) = Storage::local().delete_each(vec![at("b/inner"), "gs://b/x".to_owned()]).await;
    assert!(left.len() == 2 && error.is_some());
}

#[tokio::test]
async fn nothing_is_left_of_a_write_that_failed() {
    let (keep, folder) = folder();
    let storage = Storage::local();
    storage.write_new(&format!("{folder}/x"), Bytes::from_static(b"1")).await.unwrap();
    storage.write_new(&format!("{folder}/x"), Bytes::from_static(b"2")).await.unwrap_err();
    let (store, path) = storage.resolve(&format!("{folder}/y")).unwrap();
    let mut upload = store.put_multipart(&path).await.unwrap();
    upload.put_part("part".into()).await.unwrap();
    upload.abort().await.unwrap();
    let names: Vec<_> = std::fs::read_dir(keep.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["x"]);
}

#[tokio::test]
async fn a_replaced_file_has_another_etag() {
    let (keep, folder) = folder();
    let (file, at) = (keep.path().join("x"), format!("{folder}/x"));
    std::fs::write(&file, "same size").unwrap();
    let storage = Storage::local();
    let etag = storage.head(&at).await.unwrap().e_tag.unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    std::fs::write(&file, "same_size").unwrap();
    assert!(matches!(storage.read_if_match(&at, &etag).await, Err(Error::Changed { .. })));
}

/// Not by a rename, which leaves the old file to whoever has it open.
#[tokio::test]
async fn a_file_that_is_written_in_place_is_read_as_it_was_or_not_at_all() {
    let (keep, folder) = folder();
    let (file, at) = (keep.path().join("x"), format!("{folder}/x"));
    let storage = Storage::local();
    std::fs::write(&file, "old").unwrap();
    let etag = storage.head(&at).await.unwrap().e_tag;
    let (store, path) = storage.resolve(&at).unwrap();
    let options = GetOptions { if_match: etag, ..GetOptions::default() };
    let got = store.get_opts(&path, options).await.unwrap();
    std::fs::write(&file, "new").unwrap();
    assert_eq!(got.bytes().await.unwrap(), "old");

    // All the while: whatever is read is of one version.
    let is_done = Arc::new(AtomicBool::new(false));
    let writing = std::thread::spawn({
        let is_done = Arc::clone(&is_done);
        move || {
            for version in (0..u8::MAX).cycle().take_while(|_| !is_done.load(Relaxed)) {
                std::fs::write(&file, vec![version; 4 << 20]).unwrap();
                // Shorter than a tick of the file system's clock, and long enough for a read.
                std::thread::sleep(std::time::Duration::from_millis(if version % 4 == 0 { 150 } else { 1 }));
            }
        }
    });
    let (mut same, mut changed) = (0, 0);
    let start = std::time::Instant::now();
    while (same < 20 || changed < 20) && start.elapsed().as_secs() < 60 {
        let etag = storage.head(&at).await.unwrap().e_tag.unwrap();
        match storage.read_if_match(&at, &etag).await {
            Ok(bytes) => {
                assert!(bytes.iter().all(|byte| *byte == bytes[0]), "bytes of two versions");
                same += 1;
            }
            Err(Error::Changed { .. }) => changed += 1,
            Err(error) => panic!("{error}"),
        }
    }
    is_done.store(true, Relaxed);
    writing.join().unwrap();
    assert!(changed >= 20, "it was written to only {changed} times while it was read");
    assert!(same >= 20, "it was read only {same} times");
}

#[cfg(unix)]
#[tokio::test]
async fn what_cannot_be_read_is_named_and_is_not_left_out() {
    use std::os::unix::ffi::OsStrExt;
    let (keep, folder) = folder();
    std::fs::write(keep.path().join(std::ffi::OsStr::from_bytes(b"\xff.parquet")), "x").unwrap();
    let error = Storage::local().list(&folder).await.unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("not Unicode"), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn links_are_not_followed_below_the_folder_that_is_listed() {
    use std::os::unix::fs::symlink;
    let (keep, folder) = folder();
    let (lake, other) = (keep.path().join("lake"), keep.path().join("other"));
    std::fs::create_dir_all(lake.join("data")).unwrap();
    std::fs::create_dir_all(&other).unwrap();
    for file in [lake.join("data/x"), other.join("y")] {
        std::fs::write(file, "x").unwrap();
    }
    for (to, link) in
        [(&other, "data/folder"), (&other.join("y"), "data/file"), (&lake, "data/loop"), (&lake.join("n"), "gone")]
    {
        symlink(to, lake.join(link)).unwrap();
    }
    let _pipe = std::os::unix::net::UnixListener::bind(lake.join("socket")).unwrap();
    let storage = Storage::local();
    let names = |objects: Vec<ObjectMeta>| -> Vec<String> {
        objects.into_iter().map(|of| of.location.filename().unwrap().to_owned()).collect()
    };
    assert_eq!(names(storage.list(&format!("{folder}/lake")).await.unwrap()), ["x"]);
    let (store, path) = storage.resolve(&format!("{folder}/lake/data")).unwrap();
    let listed = store.list_with_delimiter(Some(&path)).await.unwrap();
    assert_eq!((names(listed.objects), listed.common_prefixes), (vec!["x".to_owned()], vec![]));
    // The folder itself may be one, and a link is read by its name as the file that it leads to; deleted is the link.
    symlink(&lake, keep.path().join("warehouse")).unwrap();
    assert_eq!(names(storage.list(&format!("{folder}/warehouse")).await.unwrap()), ["x"]);
    let link = format!("{folder}/lake/data/file");
    assert_eq!(storage.read(&link).await.unwrap(), "x");
    storage.delete_all(vec![link]).await.unwrap();
    assert!(other.join("y").exists() && !lake.join("data/file").is_symlink());
    assert_eq!(storage.without_links(&format!("{folder}/warehouse/data/loop/data")), format!("{folder}/lake/data"));
    for other in [format!("{folder}/nothing"), "s3://b/k".to_owned()] {
        assert_eq!(storage.without_links(&other), other);
    }
}

#[tokio::test]
async fn many_writers_of_one_name_have_one_winner() {
    let (_keep, folder) = folder();
    let storage = Storage::local();
    let at = format!("{folder}/new/folder/x");
    let writes = (0..16).map(|n: u32| {
        let (storage, at) = (storage.clone(), at.clone());
        tokio::spawn(async move { storage.write_new(&at, Bytes::from(n.to_string())).await })
    });
    let mut won = 0;
    for write in future::join_all(writes).await {
        match write.unwrap() {
            Ok(()) => won += 1,
            Err(error) => assert!(matches!(error, Error::Occupied { .. }), "{error:?}"),
        }
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn the_iceberg_crate_writes_through_the_same_storage() {
    let (_keep, folder) = folder();
    let storage = Storage::local();
    let io = storage.file_io();
    let at = format!("{folder}/metadata/a b.avro");
    let mut writer = io.new_output(&at).unwrap().writer().await.unwrap();
    writer.write(Bytes::from_static(b"manifest ")).await.unwrap();
    writer.write(Bytes::from_static(b"list")).await.unwrap();
    assert!(!storage.exists(&at).await.unwrap());
    writer.close().await.unwrap();
    assert!(writer.close().await.is_err());
    assert_eq!(storage.read(&at).await.unwrap(), "manifest list");

    let input = io.new_input(&at).unwrap();
    assert_eq!(input.metadata().await.unwrap().size, 13);
    assert_eq!(input.reader().await.unwrap().read(9..13).await.unwrap(), "list");

    // Never over another file, and the reason survives the crate's own error.
    let error = io.new_output(&at).unwrap().write(Bytes::from_static(b"other")).await.unwrap_err();
    let error = Error::Iceberg { doing: "write a manifest".to_owned(), source: error.into() };
    assert_eq!(error.kind(), crate::ErrorKind::Refused);
    io.delete(&at).await.unwrap();
    assert!(!input.exists().await.unwrap());
}

#[test]
fn without_s3_options_an_s3_location_is_refused() {
    let error = Storage::local().resolve("s3://b/k").unwrap_err();
    assert!(error.to_string().contains("s3://b/k"), "{error}");
}
