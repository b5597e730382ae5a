//! Faults on purpose: every step of input and output gets a number, and at a given one it fails before its effect,
//! fails after it, the process ends, or it panics.
//!
//! Inert unless a [`Faults`] is put into the storage's options and around the catalog. The failures look like those of
//! a service that is not available, and lie above the S3 client, so that its own retries do not hide them.

mod catalog;
mod store;

pub use catalog::FaultyCatalog;
pub use store::FaultyStore;

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use object_store::ObjectStore;

use crate::{Failure, StoreWrapper, catalog::Catalog, storage::PAGE_OBJECTS};

/// One fault, at one step. Written `12:before`, `12:after`, `12:stop`, `12:pause` or `12:panic`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultPlan {
    /// Number of the step, from 1.
    pub step: u64,
    /// What happens there.
    pub fault: Fault,
}

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails, and has had no effect.
    Before,
    /// It has its effect, and the answer is lost.
    After,
    /// The process ends before it.
    Stop,
    /// The process is stopped before it, and goes on when somebody continues it.
    Pause,
    /// It panics before its effect, as a bug would.
    Panic,
}

impl FromStr for FaultPlan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad =
            || format!("write a fault as STEP:before, STEP:after, STEP:stop, STEP:pause or STEP:panic, not {text:?}");
        let (step, fault) = text.split_once(':').ok_or_else(bad)?;
        let fault = match fault {
            "before" => Fault::Before,
            "after" => Fault::After,
            "stop" => Fault::Stop,
            "pause" => Fault::Pause,
            "panic" => Fault::Panic,
            _ => return Err(bad()),
        };
        Ok(Self { step: step.parse().map_err(|_| bad())?, fault })
    }
}

/// Counts the steps of one run, and makes one of them fail. Clones count together.
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    plan: Option<FaultPlan>,
    stop: Box<dyn Fn(Fault) + Send + Sync>,
    steps: AtomicU64,
}

impl Faults {
    /// With a plan; without one it only counts. `stop` ends the process as a kill would, or stops it for a while.
    pub fn new(plan: Option<FaultPlan>, stop: impl Fn(Fault) + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { plan, stop: Box::new(stop), steps: AtomicU64::new(0) }))
    }

    /// Only counts.
    pub fn counting() -> Self {
        Self::new(None, |_| {})
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::SeqCst)
    }

    /// The catalog with these faults.
    pub fn catalog(&self, inner: Arc<dyn Catalog>) -> FaultyCatalog {
        FaultyCatalog::new(inner, self.clone())
    }

    /// Takes a step. An error is a failure before the effect; `true` asks for one after it.
    fn step(&self, what: &str) -> Result<bool, Failure> {
        let step = self.0.steps.fetch_add(1, Ordering::SeqCst) + 1;
        tracing::trace!(fault.step = step, fault.what = what, "step");
        match self.0.plan {
            Some(plan) if plan.step == step => match plan.fault {
                Fault::Before => Err(unavailable()),
                Fault::After => Ok(true),
                Fault::Stop => {
                    (self.0.stop)(Fault::Stop);
                    Err(unavailable())
                }
                Fault::Pause => {
                    (self.0.stop)(Fault::Pause);
                    Ok(false)
                }
                Fault::Panic => panic!("a panic on purpose at {what}"),
            },
            _ => Ok(false),
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("plan", &self.0.plan).finish_non_exhaustive()
    }
}

impl StoreWrapper for Faults {
    fn wrap(&self, bucket_or_root: &str, store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        let deletes_per_request = if bucket_or_root == "/" { 1 } else { PAGE_OBJECTS };
        Arc::new(FaultyStore::new(store, self.clone(), deletes_per_request))
    }

    fn step(&self, what: &str) -> Result<bool, Failure> {
        Self::step(self, what)
    }
}

fn unavailable() -> Failure {
    Failure::new("the service", Some(503), Some("ServiceUnavailable"), "please reduce your request rate")
}

#[cfg(test)]
mod tests;
