//! Work on one file as a task of its own: a decoder's panic becomes an error that names the file, and a task whose result
//! nobody waits for any more is stopped.

use std::future::Future;

use tokio::task::{AbortHandle, JoinError};

use crate::{Error, Result};

/// Runs work on a file on the runtime's threads.
pub async fn on_file<T: Send + 'static>(
    location: String,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let task = tokio::spawn(work);
    let _guard = AbortOnDrop(task.abort_handle());
    let gave_up = |reason: String| format!("the decoder gave up: {reason}");
    task.await.map_err(|error| Error::Unreadable { location, reason: gave_up(reason(error)) })?
}

/// What is said of a task that ended without a result, where its input cannot be to blame.
pub fn bug(error: JoinError) -> String {
    format!("etl stopped at a bug of its own: {}", reason(error))
}

struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn reason(error: JoinError) -> String {
    if !error.is_panic() {
        return "the task was stopped".to_owned();
    }
    let payload = error.into_panic();
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("no reason given").to_owned()
}
