//! Ctrl-C and SIGTERM: a flag that jobs look at between steps, and a wait that ends with it.

use tokio::sync::watch;

use crate::error::{JobError, Result};

/// What asked the process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// The receiving end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Interrupt(watch::Receiver<Option<Signal>>);

/// The sending end, and the receiving one.
pub fn channel() -> (watch::Sender<Option<Signal>>, Interrupt) {
    let (sender, receiver) = watch::channel(None);
    (sender, Interrupt(receiver))
}

impl Interrupt {
    /// One that never fires.
    pub fn never() -> Self {
        channel().1
    }

    /// Fails when the process was asked to stop. Called before every step that starts new work.
    pub fn check(&self) -> Result<()> {
        match *self.0.borrow() {
            Some(signal) => Err(JobError::interrupted(signal)),
            None => Ok(()),
        }
    }

    /// Runs work that may be dropped at any await: everything but a commit.
    pub async fn stops<T>(&self, work: impl Future<Output = T>) -> Result<T> {
        tokio::select! {
            biased;
            signal = self.clone().asked() => Err(JobError::interrupted(signal)),
            done = work => Ok(done),
        }
    }

    /// What came of work that was given [`Self::stop`]: the engine does not know which signal it stopped for.
    pub fn named<T>(&self, done: engine::Result<T>) -> Result<T> {
        if let Err(engine::Error::Stopped) = done {
            self.check()?;
        }
        Ok(done?)
    }

    /// The same wish, for the engine.
    pub fn stop(&self) -> engine::Stop {
        let asked = self.clone().asked();
        engine::Stop::when(async move { _ = asked.await })
    }

    async fn asked(mut self) -> Signal {
        loop {
            if let Some(signal) = *self.0.borrow_and_update() {
                return signal;
            }
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}
