//! A catalog in memory whose next answers can be ordered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
};

use async_trait::async_trait;
use contract::TableName;
use futures::future::BoxFuture;
use iceberg::spec::TableMetadata;

use crate::{
    Error, Operation, Result,
    catalog::{Catalog, Pointer, Swap},
};

/// How the next swap goes.
pub(crate) enum Answer {
    /// As it should.
    Honest,
    /// A conflict that is none.
    Conflict,
    /// Refused.
    Rejected,
    /// It happens, and nobody hears of it.
    UnknownApplied,
    /// It does not happen, and nobody hears of it.
    UnknownNotApplied,
    /// It never ends.
    Hang,
    /// Others do something first; then the next answer.
    After(Then),
    /// It happens, others do something, and nobody hears of it.
    UnknownAppliedThen(Then),
}

/// What others do in between.
pub(crate) type Then = Box<dyn FnOnce() -> BoxFuture<'static, ()> + Send>;

/// Tokens are counted up, as Glue does; a token is good for one swap.
#[derive(Default)]
pub(crate) struct FakeCatalog {
    pointers: Mutex<BTreeMap<TableName, Pointer>>,
    answers: Mutex<VecDeque<Answer>>,
    load_failures: Mutex<u32>,
    swaps: Mutex<Vec<String>>,
    version: Mutex<u64>,
}

impl std::fmt::Debug for FakeCatalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FakeCatalog").finish_non_exhaustive()
    }
}

impl FakeCatalog {
    pub(crate) fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// The next loads fail.
    pub(crate) fn fail_loads(&self, count: u32) {
        *self.load_failures.lock().unwrap() = count;
    }

    /// The metadata locations that swaps were asked for, honest or not.
    pub(crate) fn swaps(&self) -> Vec<String> {
        self.swaps.lock().unwrap().clone()
    }

    pub(crate) fn drop_table(&self, table: &TableName) {
        self.pointers.lock().unwrap().remove(table);
    }

    /// Registers a table that lies there already.
    pub(crate) fn register(&self, table: &TableName, metadata_location: &str) {
        let pointer = Pointer { metadata_location: metadata_location.to_owned(), token: self.token() };
        self.pointers.lock().unwrap().insert(table.clone(), pointer);
    }

    fn token(&self) -> String {
        let mut version = self.version.lock().unwrap();
        *version += 1;
        format!("v{version}")
    }

    fn apply(&self, table: &TableName, expected: &Pointer, metadata_location: &str) -> Swap {
        let next = Pointer { metadata_location: metadata_location.to_owned(), token: self.token() };
        let mut pointers = self.pointers.lock().unwrap();
        match pointers.get_mut(table) {
            Some(pointer) if pointer.token == expected.token => {
                *pointer = next;
                Swap::Committed
            }
            _ => Swap::Conflict,
        }
    }
}

fn unavailable() -> Error {
    Error::Unavailable {
        operation: Operation::Update,
        location: "the fake catalog".to_owned(),
        source: "no answer".into(),
    }
}

#[async_trait]
impl Catalog for FakeCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Pointer>> {
        tokio::task::yield_now().await;
        let mut failures = self.load_failures.lock().unwrap();
        if *failures > 0 {
            *failures -= 1;
            return Err(unavailable());
        }
        Ok(self.pointers.lock().unwrap().get(table).cloned())
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        Ok(self.pointers.lock().unwrap().keys().cloned().collect())
    }

    async fn create(&self, table: &TableName, metadata_location: &str, _: &TableMetadata) -> Swap {
        let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Honest);
        match answer {
            Answer::Conflict => return Swap::Conflict,
            Answer::Rejected => return Swap::Rejected(unavailable()),
            Answer::UnknownNotApplied => return Swap::Unknown(unavailable()),
            _ => {}
        }
        if self.pointers.lock().unwrap().contains_key(table) {
            return Swap::Conflict;
        }
        self.register(table, metadata_location);
        if matches!(answer, Answer::UnknownApplied) { Swap::Unknown(unavailable()) } else { Swap::Committed }
    }

    async fn swap(&self, table: &TableName, expected: &Pointer, metadata_location: &str, _: &TableMetadata) -> Swap {
        tokio::task::yield_now().await;
        self.swaps.lock().unwrap().push(metadata_location.to_owned());
        loop {
            let answer = self.answers.lock().unwrap().pop_front().unwrap_or(Answer::Honest);
            return match answer {
                Answer::Honest => self.apply(table, expected, metadata_location),
                Answer::Conflict => Swap::Conflict,
                Answer::Rejected => Swap::Rejected(unavailable()),
                Answer::UnknownApplied => {
                    self.apply(table, expected, metadata_location);
                    Swap::Unknown(unavailable())
                }
                Answer::UnknownNotApplied => Swap::Unknown(unavailable()),
                Answer::Hang => std::future::pending().await,
                Answer::After(then) => {
                    then().await;
                    continue;
                }
                Answer::UnknownAppliedThen(then) => {
                    self.apply(table, expected, metadata_location);
                    then().await;
                    Swap::Unknown(unavailable())
                }
            };
        }
    }
}
