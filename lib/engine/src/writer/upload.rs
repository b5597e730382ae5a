//! One object on its way to storage: in one request when it is small, in parts when it is not.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use lake::{Operation, Storage};
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{Error, Result};

/// Bytes per part, and the largest object that is sent in one request.
pub(super) const PART_BYTES: usize = 8 << 20;

/// Where objects go, and how much may be on its way there at once.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    pub(super) storage: Storage,
    /// One permit per part under way, of all objects.
    pub(super) parts: Arc<Semaphore>,
}

/// An object that does not exist before it is whole.
#[derive(Debug)]
pub(super) struct Upload {
    outlet: Outlet,
    location: String,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    multipart: Option<Multipart>,
}

#[derive(Debug)]
struct Multipart {
    upload: Box<dyn MultipartUpload>,
    parts: JoinSet<object_store::Result<()>>,
}

impl Upload {
    /// Prepares an object. Nothing is sent yet.
    pub(super) fn new(outlet: Outlet, location: String) -> Self {
        Self { outlet, location, waiting: VecDeque::new(), waiting_bytes: 0, multipart: None }
    }

    /// Where the object will be.
    pub(super) fn location(&self) -> &str {
        &self.location
    }

    /// Bytes that wait in memory; those under way do not count.
    pub(super) fn memory_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Adds bytes to the end.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.waiting_bytes += bytes.len();
        self.waiting.push_back(bytes);
    }

    /// Sends the full parts of what waits. Waits for room on the way, not for the answers.
    pub(super) async fn send(&mut self) -> Result<()> {
        while self.waiting_bytes > PART_BYTES {
            self.send_part().await?;
        }
        Ok(())
    }

    /// Sends the rest. After this the object exists, whole and durable; after an error it does not.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.send().await?;
        if self.multipart.is_none() {
            let whole = std::mem::take(&mut self.waiting).make_contiguous().concat();
            return Ok(self.outlet.storage.write_new(&self.location, whole.into()).await?);
        }
        self.send_part().await?;
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        // Dropped before the last answer, it is aborted.
        let completed = match multipart.all_sent().await {
            Ok(()) => multipart.upload.complete().await,
            Err(error) => Err(error),
        };
        if let Err(error) = completed {
            let error = self.failed(error);
            self.abort().await;
            return Err(error);
        }
        self.multipart = None;
        Ok(())
    }

    /// Gives up: parts that were sent are removed.
    pub(super) async fn abort(mut self) {
        if let Some(multipart) = self.multipart.take() {
            multipart.abort(&self.location).await;
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        if self.multipart.is_none() {
            // A completed upload in parts replaces whatever is there, so look first. Names hold the run's id.
            if self.outlet.storage.exists(&self.location).await? {
                return Err(lake::Error::Occupied { location: self.location.clone() }.into());
            }
            let (store, path) = self.outlet.storage.resolve(&self.location)?;
            let upload = store.put_multipart(&path).await.map_err(|error| self.failed(error))?;
            self.multipart = Some(Multipart { upload, parts: JoinSet::new() });
        }
        let permit = Arc::clone(&self.outlet.parts).acquire_owned().await.expect("it is never closed");
        let payload = self.take_part();
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        let part = multipart.upload.put_part(payload);
        multipart.parts.spawn(async move {
            let sent = part.await;
            drop(permit);
            sent
        });
        // An upload that has failed needs no more parts. It is gone before that is said.
        let Err(error) = multipart.failure() else { return Ok(()) };
        if let Some(multipart) = self.multipart.take() {
            multipart.abort(&self.location).await;
        }
        Err(self.failed(error))
    }

    /// The next part. All but the last have the same size, as some stores want it.
    fn take_part(&mut self) -> PutPayload {
        let mut room = PART_BYTES;
        let mut pieces = Vec::new();
        while let Some(mut bytes) = self.waiting.pop_front() {
            let piece = bytes.split_to(bytes.len().min(room));
            room -= piece.len();
            pieces.push(piece);
            if !bytes.is_empty() {
                self.waiting.push_front(bytes);
                break;
            }
        }
        self.waiting_bytes -= PART_BYTES - room;
        pieces.into_iter().collect()
    }

    fn failed(&self, error: object_store::Error) -> Error {
        lake::Error::from_store(Operation::Write, &self.location, error).into()
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(multipart) = self.multipart.take() else { return };
        let location = std::mem::take(&mut self.location);
        // Without a runtime nobody can ask for it; buckets should expire incomplete uploads.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { multipart.abort(&location).await });
        }
    }
}

impl Multipart {
    /// The failure of a part that has been answered.
    fn failure(&mut self) -> object_store::Result<()> {
        while let Some(sent) = self.parts.try_join_next() {
            sent??;
        }
        Ok(())
    }

    async fn all_sent(&mut self) -> object_store::Result<()> {
        while let Some(sent) = self.parts.join_next().await {
            sent??;
        }
        Ok(())
    }

    async fn abort(mut self, location: &str) {
        self.parts.shutdown().await;
        if let Err(error) = self.upload.abort().await {
            tracing::warn!(file.path = location, %error, "an upload that was given up could not be removed");
        }
    }
}
