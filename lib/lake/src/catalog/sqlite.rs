//! The local catalog: a `SQLite` file with the tables of PyIceberg's `SqlCatalog`, safe for several processes.
//!
//! It keeps SQLite's rollback journal, which every reader and most file systems can do; a write-ahead log would leave
//! files beside it that PyIceberg cannot open from a read-only folder. Swaps are rare and small.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use contract::TableName;
use iceberg::spec::TableMetadata;
use sqlx::{
    Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteRow, SqliteSynchronous},
};
use tokio::sync::OnceCell;

use super::{Catalog, Pointer, Swap};
use crate::{Error, Operation, Result};

/// How long a call waits for another process before it says that the catalog is locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);
const CONNECTIONS_MAX: u32 = 4;

/// A catalog in a `SQLite` file. The file is made by the first table; until then the catalog is empty.
pub struct Sqlite {
    path: PathBuf,
    catalog_name: String,
    busy_timeout: Duration,
    pool: OnceCell<SqlitePool>,
}

impl Sqlite {
    /// The catalog of this name in this file. PyIceberg must be given the same name. Nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>, catalog_name: impl Into<String>) -> Self {
        let (path, catalog_name) = (path.into(), catalog_name.into());
        Self { path, catalog_name, busy_timeout: BUSY_TIMEOUT, pool: OnceCell::new() }
    }

    /// Waits this long for other processes, instead of 15 seconds.
    pub fn with_busy_timeout(mut self, busy_timeout: Duration) -> Self {
        self.busy_timeout = busy_timeout;
        self
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Connections to the file; `None` when there is none and `create` does not ask for one.
    async fn pool(&self, create: bool) -> Result<Option<&SqlitePool>, sqlx::Error> {
        if self.pool.get().is_none() && !create && !self.path.exists() {
            return Ok(None);
        }
        let connect = || async {
            if create && let Some(folder) = self.path.parent() {
                std::fs::create_dir_all(folder).map_err(sqlx::Error::Io)?;
            }
            let options = SqliteConnectOptions::new()
                .filename(&self.path)
                .create_if_missing(create)
                .busy_timeout(self.busy_timeout)
                // Also the folder entry of the journal: a committed swap survives a power failure.
                .synchronous(SqliteSynchronous::Extra);
            SqlitePoolOptions::new().max_connections(CONNECTIONS_MAX).connect_with(options).await
        };
        self.pool.get_or_try_init(connect).await.map(Some)
    }

    /// The columns of `iceberg_tables`; empty when this is no catalog yet.
    async fn columns(&self, pool: &SqlitePool) -> Result<Vec<String>, sqlx::Error> {
        sqlx::query_scalar(include_str!("../../../../sql/catalog/columns.sql")).fetch_all(pool).await
    }

    async fn rows(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, sqlx::Error> {
        let Some(pool) = self.pool(false).await? else { return Ok(Vec::new()) };
        if self.columns(pool).await?.is_empty() {
            return Ok(Vec::new());
        }
        query.fetch_all(pool).await
    }

    fn named(&self, table: &TableName) -> String {
        format!("{table} in {}", self.path.display())
    }

    /// Runs statements that change the catalog in one transaction. The last one decides: no row affected is a conflict.
    ///
    /// It takes the write lock first, so that waiting for others ends before anything has happened, and whatever fails
    /// before COMMIT is definite. A COMMIT that fails is not: the journal may be gone already.
    async fn change(
        &self,
        operation: Operation,
        table: &TableName,
        statements: &[&'static str],
        values: &[&str],
    ) -> Swap {
        let rejected = |error| Swap::Rejected(translate(operation, self.named(table), error));
        let pool = match self.pool(operation == Operation::Create).await {
            Ok(Some(pool)) => pool,
            Ok(None) => return Swap::Rejected(Error::NotFound { operation, location: self.named(table) }),
            Err(error) => return rejected(error),
        };
        let mut connection = match pool.acquire().await {
            Ok(connection) => connection,
            Err(error) => return rejected(error),
        };
        let ended = transact(&mut connection, statements, values).await;
        if ended.is_err() {
            // SQLite ends some transactions that fail by itself and leaves others open: nobody goes on with either.
            _ = connection.close().await;
        }
        match ended {
            Ok(0) => Swap::Conflict,
            Ok(_) => Swap::Committed,
            Err(Broken::Before(error)) => rejected(error),
            Err(Broken::Commit(error)) => match translate(operation, self.named(table), error) {
                full @ Error::DiskFull { .. } => self.after_full(table, operation, values, full).await,
                error => Swap::Unknown(error),
            },
        }
    }

    /// What became of a COMMIT that found no room. It cannot come later: whoever opens the file next rolls back what is
    /// not whole, and that is this look.
    async fn after_full(&self, table: &TableName, operation: Operation, values: &[&str], full: Error) -> Swap {
        let [.., before, after] = values else { return Swap::Unknown(full) };
        let before = (operation == Operation::Update).then_some(*before);
        match self.load(table).await {
            Ok(Some(pointer)) if pointer.metadata_location == *after => Swap::Committed,
            Ok(found) if found.as_ref().map(|pointer| pointer.token.as_str()) == before => Swap::Rejected(full),
            _ => Swap::Unknown(full),
        }
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Sqlite");
        debug.field("path", &self.path).field("catalog_name", &self.catalog_name).finish_non_exhaustive()
    }
}

#[async_trait]
impl Catalog for Sqlite {
    async fn load(&self, table: &TableName) -> Result<Option<Pointer>> {
        let query = sqlx::query(include_str!("../../../../sql/catalog/load.sql"))
            .bind(&self.catalog_name)
            .bind(table.namespace())
            .bind(table.name());
        let failed = |error| translate(Operation::Read, self.named(table), error);
        let rows = self.rows(query).await.map_err(failed)?;
        let Some(row) = rows.first() else { return Ok(None) };
        if !is_table(row) {
            let reason = "it is a view".to_owned();
            return Err(Error::NotIceberg { catalog: self.named(table), reason });
        }
        let location: Option<String> = row.try_get("metadata_location").map_err(failed)?;
        let Some(location) = location else {
            let reason = "it has no metadata location".to_owned();
            return Err(Error::NotIceberg { catalog: self.named(table), reason });
        };
        Ok(Some(Pointer { token: location.clone(), metadata_location: location }))
    }

    async fn list(&self) -> Result<Vec<TableName>> {
        let failed = |error| translate(Operation::List, self.path.display().to_string(), error);
        let query = sqlx::query(include_str!("../../../../sql/catalog/list.sql")).bind(&self.catalog_name);
        let rows = self.rows(query).await.map_err(failed)?;
        let mut tables = Vec::with_capacity(rows.len());
        for row in rows.iter().filter(|row| is_table(row)) {
            let namespace: String = row.try_get("table_namespace").map_err(failed)?;
            let name: String = row.try_get("table_name").map_err(failed)?;
            match format!("{namespace}.{name}").parse() {
                Ok(table) => tables.push(table),
                Err(_) => tracing::warn!(table.namespace = namespace, table.name = name, "table name passed over"),
            }
        }
        tables.sort();
        Ok(tables)
    }

    async fn create(&self, table: &TableName, metadata_location: &str, _: &TableMetadata) -> Swap {
        let made = async {
            let pool = self.pool(true).await?.ok_or(sqlx::Error::PoolClosed)?;
            if self.columns(pool).await?.is_empty() {
                sqlx::raw_sql(include_str!("../../../../sql/catalog/create_tables.sql")).execute(pool).await?;
            }
            self.columns(pool).await
        };
        let columns = match made.await {
            Ok(columns) => columns,
            Err(error) => return Swap::Rejected(translate(Operation::Create, self.named(table), error)),
        };
        let insert = if columns.iter().any(|column| column == TYPE_COLUMN) {
            include_str!("../../../../sql/catalog/insert.sql")
        } else {
            include_str!("../../../../sql/catalog/insert_untyped.sql")
        };
        let statements = [include_str!("../../../../sql/catalog/insert_namespace.sql"), insert];
        let values = [self.catalog_name.as_str(), table.namespace(), table.name(), metadata_location];
        self.change(Operation::Create, table, &statements, &values).await
    }

    async fn swap(&self, table: &TableName, expected: &Pointer, metadata_location: &str, _: &TableMetadata) -> Swap {
        match self.load(table).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Swap::Rejected(Error::NotFound { operation: Operation::Update, location: self.named(table) });
            }
            Err(error) => return Swap::Rejected(error),
        }
        let statements = [include_str!("../../../../sql/catalog/swap.sql")];
        let (catalog, token) = (self.catalog_name.as_str(), expected.token.as_str());
        let values = [catalog, table.namespace(), table.name(), token, metadata_location];
        self.change(Operation::Update, table, &statements, &values).await
    }
}

const TYPE_COLUMN: &str = "iceberg_type";

/// Views are kept in the same table; NULL there is a table of an older version.
fn is_table(row: &SqliteRow) -> bool {
    row.try_get::<Option<String>, _>(TYPE_COLUMN).ok().flatten().is_none_or(|kind| kind.eq_ignore_ascii_case("TABLE"))
}

/// Where a transaction broke off.
enum Broken {
    /// Before COMMIT: nothing has happened.
    Before(sqlx::Error),
    /// In COMMIT.
    Commit(sqlx::Error),
}

/// Runs statements in one transaction; the number of rows that the last one affected.
async fn transact(
    connection: &mut SqliteConnection,
    statements: &[&'static str],
    values: &[&str],
) -> Result<u64, Broken> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(Broken::Before)?;
    let mut rows_affected = 0;
    for statement in statements {
        let parameters = values.iter().take(parameter_count(statement));
        let query = parameters.fold(sqlx::query(*statement), |query, value| query.bind(*value));
        rows_affected = query.execute(&mut *transaction).await.map_err(Broken::Before)?.rows_affected();
    }
    transaction.commit().await.map_err(Broken::Commit)?;
    Ok(rows_affected)
}

/// How many of the numbered parameters `?1`, `?2`, … a statement takes.
fn parameter_count(statement: &str) -> usize {
    (1..=9).rev().find(|number| statement.contains(&format!("?{number}"))).unwrap_or(0)
}

/// What an error of `SQLite` means.
fn translate(operation: Operation, catalog: String, error: sqlx::Error) -> Error {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    const FULL: i32 = 13;
    const CORRUPT: i32 = 11;
    const NOT_A_DATABASE: i32 = 26;
    const READ_ONLY: i32 = 8;
    let extended = match &error {
        sqlx::Error::Database(database) => database.code().and_then(|code| code.parse::<i32>().ok()),
        _ => None,
    };
    let source = error.into();
    match extended.map(|code| code & 0xff) {
        Some(BUSY | LOCKED) => Error::CatalogLocked { operation, catalog, source },
        Some(CORRUPT | NOT_A_DATABASE) => Error::CatalogUnreadable { catalog, source },
        Some(FULL) => Error::DiskFull { operation, location: catalog, source },
        Some(READ_ONLY) => Error::AccessDenied { operation, location: catalog, source },
        _ => Error::Catalog { operation, catalog, source },
    }
}

#[cfg(test)]
mod tests;
