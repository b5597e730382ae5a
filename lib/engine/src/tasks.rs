//! Work on one file as a task of its own: a decoder's panic becomes an error that names the file, and a task whose result
//! nobody waits for any more is stopped.

use std::future::Future;

use tokio::task::AbortHandle;

use crate::{Error, Result};

/// Runs work on a file on the runtime's threads.
pub async fn on_file<T: Send + 'static>(
    location: String,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = tokio::spawn(work);
    let _guard = AbortOnDrop(task.abort_handle());
    task.await.map_err(|panic| Error::Unreadable { location, reason: panic_text(panic) })?
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn panic_text(error: tokio::task::JoinError) -> String {
    if !error.is_panic() {
        return "the task was stopped".to_owned();
    }
    let payload = error.into_panic();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    format!("the decoder gave up: {}", text.unwrap_or("no reason given"))
}
