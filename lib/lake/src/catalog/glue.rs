//! The AWS Glue Data Catalog: one `UpdateTable` with a `VersionId`, sent once, and an honest account of how it ended.

mod answer;
mod table_input;

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use aws_sdk_glue::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
    types::{DatabaseInput, Table},
};
use contract::TableName;
use futures::{StreamExt, TryStreamExt, stream};
use iceberg::spec::TableMetadata;

use super::{Catalog, Pointer, Swap};
use crate::{Error, Failure, Operation, Result};
use answer::{failure, is_not_found, translate};
use table_input::{METADATA_LOCATION, TABLE_TYPE};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(90);
const READ_ATTEMPTS_MAX: u32 = 5;
const DATABASES_AT_ONCE: usize = 8;

/// The Glue Data Catalog of an account and region.
pub struct Glue {
    client: Client,
    catalog_id: Option<String>,
    swap_timeout: Duration,
    /// Answers of `GetTable` that swaps will be built from, by table: a swap must keep what it does not know.
    seen: Mutex<HashMap<TableName, Table>>,
}

impl Glue {
    /// With the SDK's configuration; another endpoint than AWS, and another account's catalog, where they are given.
    pub fn new(config: &aws_config::SdkConfig, endpoint: Option<&str>, catalog_id: Option<String>) -> Self {
        let mut builder = Builder::from(config)
            .retry_config(RetryConfig::standard().with_max_attempts(READ_ATTEMPTS_MAX))
            .timeout_config(timeouts(READ_TIMEOUT, OPERATION_TIMEOUT));
        if let Some(endpoint) = endpoint {
            builder = builder.endpoint_url(endpoint);
        }
        let client = Client::from_conf(builder.build());
        Self { client, catalog_id, swap_timeout: READ_TIMEOUT, seen: Mutex::default() }
    }

    /// Gives up waiting for the answer to a swap after this, instead of 20 seconds.
    pub fn with_swap_timeout(mut self, swap_timeout: Duration) -> Self {
        self.swap_timeout = swap_timeout;
        self
    }

    /// For calls that change a table: sent once, since the answer to a repetition says nothing about the first.
    fn once(&self) -> Builder {
        Builder::new()
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(self.swap_timeout, self.swap_timeout))
    }

    /// The Glue table; `None` when there is none.
    async fn get(&self, table: &TableName) -> Result<Option<Table>> {
        check_name(table)?;
        let request = self
            .client
            .get_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(table.namespace())
            .name(table.name());
        let found = match request.send().await {
            Ok(answer) => answer.table,
            Err(error) => match failure(&error) {
                failure if is_not_found(&failure) => None,
                failure => return Err(translate(Operation::Read, named(table), failure)),
            },
        };
        if let Some(found) = &found {
            self.lock().insert(table.clone(), found.clone());
        }
        Ok(found)
    }

    /// The Glue table at the version that a swap expects; `None` when it has moved on.
    async fn expected(&self, table: &TableName, expected: &Pointer) -> Result<Option<Table>> {
        let is_expected = |found: &Table| {
            found.version_id() == Some(expected.token.as_str())
                && parameter(found, METADATA_LOCATION) == Some(expected.metadata_location.as_str())
        };
        let seen = self.lock().get(table).filter(|found| is_expected(found)).cloned();
        if seen.is_some() {
            return Ok(seen);
        }
        let found = self.get(table).await?;
        let missing = || Error::NotFound { operation: Operation::Update, location: named(table) };
        Ok(Some(found.ok_or_else(missing)?).filter(is_expected))
    }

    async fn create_once(&self, table: &TableName, location: &str, metadata: &TableMetadata) -> Result<(), Failure> {
        let request = self
            .client
            .create_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(table.namespace())
            .table_input(table_input::new(table, location, metadata));
        request.customize().config_override(self.once()).send().await.map(drop).map_err(|error| failure(&error))
    }

    async fn create_database(&self, table: &TableName) -> Result<(), Failure> {
        let input = DatabaseInput::builder().name(table.namespace()).build().map_err(answer::not_sent)?;
        let request = self.client.create_database().set_catalog_id(self.catalog_id.clone()).database_input(input);
        match request.send().await.map_err(|error| failure(&error)) {
            Ok(_) => Ok(()),
            // Another process was first; or our first request was, and its answer was lost.
            Err(failure) if failure.code.as_deref() == Some(answer::ALREADY_EXISTS) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn tables_of(&self, database: &str) -> Result<Vec<TableName>> {
        let request = self.client.get_tables().set_catalog_id(self.catalog_id.clone()).database_name(database);
        let mut pages = request.into_paginator().send();
        let mut tables = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page.map_err(|error| failure(&error)) {
                Ok(page) => page,
                // It was dropped since the databases were listed.
                Err(failure) if is_not_found(&failure) => return Ok(Vec::new()),
                Err(failure) => return Err(translate(Operation::List, format!("glue database {database}"), failure)),
            };
            for found in page.table_list().iter().filter(|found| is_iceberg(found)) {
                match format!("{database}.{}", found.name()).parse() {
                    Ok(table) => tables.push(table),
                    Err(_) => tracing::warn!(table.namespace = database, table.name = found.name(), "name passed over"),
                }
            }
        }
        Ok(tables)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<TableName, Table>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Glue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Glue").field("catalog_id", &self.catalog_id).finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for Glue {
    async fn load(&self, table: &TableName) -> Result<Option<Pointer>> {
        let Some(found) = self.get(table).await? else { return Ok(None) };
        let refuse = |reason: &str| Error::NotIceberg { catalog: named(table), reason: reason.to_owned() };
        if !is_iceberg(&found) {
            return Err(refuse("its parameter `table_type` is not ICEBERG"));
        }
        let location = parameter(&found, METADATA_LOCATION);
        let metadata_location = location.ok_or_else(|| refuse("it has no parameter `metadata_location`"))?.to_owned();
        let token = found.version_id().filter(|version| !version.is_empty());
        let token =
            token.ok_or_else(|| refuse("Glue gave no VersionId, and without one an update is unconditional"))?;
        Ok(Some(Pointer { metadata_location, token: token.to_owned() }))
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let request = self.client.get_databases().set_catalog_id(self.catalog_id.clone());
        let mut pages = request.into_paginator().send();
        let mut databases = Vec::new();
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| translate(Operation::List, "glue databases".to_owned(), failure(&error)))?;
            databases.extend(page.database_list.into_iter().map(|database| database.name));
        }
        let tables: Vec<Vec<TableName>> = stream::iter(databases)
            .map(|database| async move { self.tables_of(&database).await })
            .buffered(DATABASES_AT_ONCE)
            .try_collect()
            .await?;
        let mut tables = tables.concat();
        tables.sort();
        Ok(tables)
    }

    async fn create(&self, table: &TableName, metadata_location: &str, metadata: &TableMetadata) -> Swap {
        if let Err(error) = check_name(table) {
            return Swap::Rejected(error);
        }
        let mut created = self.create_once(table, metadata_location, metadata).await;
        if let Err(failure) = &created
            && is_not_found(failure)
        {
            if let Err(failure) = self.create_database(table).await {
                // No table was asked for successfully: this is definite.
                let database = format!("glue database {}", table.namespace());
                return Swap::Rejected(translate(Operation::Create, database, failure));
            }
            created = self.create_once(table, metadata_location, metadata).await;
        }
        answer::swap(Operation::Create, named(table), created)
    }

    async fn swap(
        &self,
        table: &TableName,
        expected: &Pointer,
        metadata_location: &str,
        metadata: &TableMetadata,
    ) -> Swap {
        let found = match self.expected(table, expected).await {
            Ok(Some(found)) => found,
            Ok(None) => return Swap::Conflict,
            Err(error) => return Swap::Rejected(error),
        };
        let request = self
            .client
            .update_table()
            .set_catalog_id(self.catalog_id.clone())
            .database_name(table.namespace())
            .version_id(&expected.token)
            .skip_archive(true)
            .table_input(table_input::updated(&found, metadata_location, metadata));
        let sent = request.customize().config_override(self.once()).send().await;
        let ended = answer::swap(Operation::Update, named(table), sent.map(drop).map_err(|error| failure(&error)));
        if !matches!(ended, Swap::Unknown(_)) {
            self.lock().remove(table);
        }
        ended
    }
}

fn timeouts(read: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(operation))
        .read_timeout(read)
        .operation_attempt_timeout(read)
        .operation_timeout(operation)
        .build()
}

/// Glue keeps names in lower case: another spelling would come back as another table.
fn check_name(table: &TableName) -> Result<()> {
    let lower = table.to_string().to_lowercase();
    if lower == table.to_string() {
        return Ok(());
    }
    let reason = format!("Glue keeps names in lower case; write {lower}");
    Err(Error::TableName { table: table.to_string(), reason })
}

fn named(table: &TableName) -> String {
    format!("glue table {table}")
}

fn parameter<'a>(table: &'a Table, name: &str) -> Option<&'a str> {
    table.parameters().and_then(|parameters| parameters.get(name)).map(String::as_str)
}

fn is_iceberg(table: &Table) -> bool {
    parameter(table, TABLE_TYPE).is_some_and(|kind| kind.eq_ignore_ascii_case("ICEBERG"))
}

#[cfg(test)]
mod tests;
