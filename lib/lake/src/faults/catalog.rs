//! A catalog whose calls are steps.

use std::sync::Arc;

use async_trait::async_trait;
use contract::TableName;
use iceberg::spec::TableMetadata;

use super::{Faults, unavailable};
use crate::{
    Error, Operation, Result,
    catalog::{Catalog, Pointer, Swap},
    error::from_failure,
};

/// A catalog with faults.
#[derive(Debug)]
pub struct FaultyCatalog {
    inner: Arc<dyn Catalog>,
    faults: Faults,
}

impl FaultyCatalog {
    pub(super) fn new(inner: Arc<dyn Catalog>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    async fn read<T>(&self, operation: Operation, name: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        let failed = |failure| from_failure(operation, format!("{name} in the catalog"), failure);
        let lost = self.faults.step(&format!("catalog {operation} {name}")).map_err(failed)?;
        let answer = call.await;
        if lost { Err(failed(unavailable())) } else { answer }
    }

    async fn change(&self, operation: Operation, table: &TableName, call: impl Future<Output = Swap>) -> Swap {
        let failed = |failure| -> Error { from_failure(operation, format!("{table} in the catalog"), failure) };
        match self.faults.step(&format!("catalog {operation} {table}")) {
            Err(failure) => Swap::Unknown(failed(failure)),
            Ok(false) => call.await,
            Ok(true) => {
                call.await;
                Swap::Unknown(failed(unavailable()))
            }
        }
    }
}

#[async_trait]
impl Catalog for FaultyCatalog {
    async fn load(&self, table: &TableName) -> Result<Option<Pointer>> {
        self.read(Operation::Read, &table.to_string(), self.inner.load(table)).await
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        self.read(Operation::List, "tables", self.inner.list()).await
    }

    async fn create(&self, table: &TableName, metadata_location: &str, metadata: &TableMetadata) -> Swap {
        self.change(Operation::Create, table, self.inner.create(table, metadata_location, metadata)).await
    }

    async fn swap(
        &self,
        table: &TableName,
        expected: &Pointer,
        metadata_location: &str,
        metadata: &TableMetadata,
    ) -> Swap {
        let call = self.inner.swap(table, expected, metadata_location, metadata);
        self.change(Operation::Update, table, call).await
    }
}
