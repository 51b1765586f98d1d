//! The one database: messages, key-value data, and what operators decide.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use crate::config::{Store as StoreConfig, StoreUrl};
use crate::store::Store;
use crate::store::catalog::Catalog;
use crate::store::postgres::{PostgresStore, Settings};
use crate::store::sqlite::{self, Restored, SqliteStore};

/// The database that the configuration names, open.
pub(super) enum Database {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl Database {
    /// Opens it and brings it up to date.
    ///
    /// # Errors
    /// What is wrong with it and what to do about it.
    pub(super) async fn open(config: &StoreConfig) -> Result<Self> {
        match &config.url {
            StoreUrl::Sqlite(path) => {
                let store = Arc::new(SqliteStore::open(path, config.check_time)?);
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                tracing::info!("data in {}", path.display());
                Ok(Self::Sqlite(store))
            }
            StoreUrl::Postgres(url) => {
                let settings = Settings {
                    connections: config.connections,
                    connect_time: config.connect_time,
                    statement_time: config.statement_time,
                };
                let store = Arc::new(PostgresStore::open(url.as_str(), settings).await?);
                tracing::info!("data in PostgreSQL at {}", store.address());
                Ok(Self::Postgres(store))
            }
        }
    }

    pub(super) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    pub(super) fn catalog(&self) -> Arc<dyn Catalog> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// Finishes what was asked before and lets go of it.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Why a database cannot be copied here.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackupUnsupported(&'static str);

/// The file of the database, for those who copy it. PostgreSQL has tools of its own for that.
fn sqlite_file(config: &StoreConfig, otherwise: &'static str) -> Result<PathBuf, BackupUnsupported> {
    match &config.url {
        StoreUrl::Sqlite(path) => Ok(path.clone()),
        StoreUrl::Postgres(_) => Err(BackupUnsupported(otherwise)),
    }
}

/// Copies the database that the configuration names into `file`, whether or not a server has it open; answers with
/// where it is and the bytes of the copy.
///
/// # Errors
/// [`BackupUnsupported`] for PostgreSQL, or why there is no copy.
pub fn backup(config: &StoreConfig, file: &Path, replace: bool) -> Result<(PathBuf, u64)> {
    let otherwise = "the data is in PostgreSQL: back it up with `pg_dump --format=custom DATABASE > FILE`";
    let database = sqlite_file(config, otherwise)?;
    let bytes = sqlite::backup(&database, file, replace)?;
    Ok((database, bytes))
}

/// Puts the copy at `file` in place of the database that the configuration names; answers with where that is, and what
/// became of the one before.
///
/// # Errors
/// [`BackupUnsupported`] for PostgreSQL, or why nothing was replaced.
pub fn restore(config: &StoreConfig, file: &Path, replace: bool) -> Result<(PathBuf, Restored)> {
    let otherwise = "the data is in PostgreSQL: stop every node, make a database with `createdb`, and fill it with `pg_restore --dbname=DATABASE FILE`";
    let database = sqlite_file(config, otherwise)?;
    let restored = sqlite::restore(&database, file, replace)?;
    Ok((database, restored))
}

/// Whether the database may be where the configuration says, as far as that can be seen without making it.
///
/// # Errors
/// Why an SQLite database cannot be there.
pub fn check_path(config: &StoreConfig) -> Result<()> {
    if let StoreUrl::Sqlite(path) = &config.url {
        sqlite::check_path(path)?;
    }
    Ok(())
}
