//! The wish to stop, which may come at any time: work that reads is dropped, work that writes is ended and taken back.

use std::{fmt, future::Future};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use crate::{Error, Result};

/// Whether to stop. Cheap to clone.
#[derive(Clone)]
pub struct Stop(Shared<BoxFuture<'static, ()>>);

impl Stop {
    /// Stop as soon as this future ends.
    pub fn when(asked: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(asked.boxed().shared())
    }

    /// Nobody will ask.
    pub fn never() -> Self {
        Self::when(std::future::pending())
    }

    /// Runs work that may be dropped at any await; [`Error::Stopped`] when it was.
    pub async fn unless<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            () = self.0.clone() => Err(Error::Stopped),
            done = work => done,
        }
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stop")
    }
}
