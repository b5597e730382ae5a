//! The DataFusion session of one run: its memory limit, threads and spill folder.

use std::{path::PathBuf, sync::Arc};

use datafusion::{
    execution::{
        disk_manager::{DiskManagerBuilder, DiskManagerMode},
        memory_pool::{FairSpillPool, TrackConsumersPool},
        runtime_env::RuntimeEnvBuilder,
    },
    prelude::{SessionConfig, SessionContext},
};

use crate::{Error, Result};

/// What a session may use.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// Memory for the whole run, in bytes. Operators share 60 % of it; the rest is for decoding, encoding and IO.
    pub memory_limit_bytes: u64,
    /// Worker threads, at least 1.
    pub threads: usize,
    /// Folder in which operators spill; made when needed.
    pub spill_dir: PathBuf,
}

/// A DataFusion session with limits.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    options: SessionOptions,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a session. Fails when the spill folder cannot be used.
    pub fn new(options: &SessionOptions) -> Result<Self> {
        let pool_bytes = usize::try_from(options.memory_limit_bytes / 10 * 6).unwrap_or(usize::MAX);
        let consumers_named = std::num::NonZeroUsize::new(3).expect("three is not zero");
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(TrackConsumersPool::new(FairSpillPool::new(pool_bytes), consumers_named)))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()])),
            )
            .build_arc()
            .map_err(|source| Error::compute("failed to set up the session", source))?;
        let config = SessionConfig::new().with_target_partitions(options.threads.max(1)).with_information_schema(false);
        Ok(Self { context: SessionContext::new_with_config_rt(config, runtime), options: options.clone() })
    }

    /// The DataFusion context.
    pub fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The limits it was made with.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }
}
