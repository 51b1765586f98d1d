//! The database: opens the one that the configuration names, and hands out its roles.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;

use crate::config::{Store as StoreConfig, StoreUrl};
use parlance_store::catalog::Catalog;
use parlance_store::postgres::{PostgresSettings, PostgresStore};
use parlance_store::sqlite::{self, Restored, SqliteStore};
use parlance_store::{Health, Maintenance, Reader, Schedule, Writer};

/// An open database, by the roles of the store.
pub(super) struct Database {
    pub(super) reader: Arc<dyn Reader>,
    pub(super) writer: Arc<dyn Writer>,
    pub(super) maintenance: Arc<dyn Maintenance>,
    pub(super) health: Arc<dyn Health>,
    pub(super) schedule: Arc<dyn Schedule>,
    pub(super) catalog: Arc<dyn Catalog>,
    backend: Backend,
}

/// The concrete store behind the roles.
enum Backend {
    Sqlite(Arc<SqliteStore>),
    Postgres(Arc<PostgresStore>),
}

impl Database {
    /// Opens the database and migrates its schema.
    ///
    /// # Errors
    /// The database cannot be used; the error says why and what to do.
    pub(super) async fn open(config: &StoreConfig, postgres: &PostgresSettings) -> Result<Self> {
        match &config.url {
            StoreUrl::Sqlite(path) => {
                let store = Arc::new(SqliteStore::open(path, config.check_time)?);
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                tracing::info!("data in {}", path.display());
                Ok(Self::with_roles_of(&store, Backend::Sqlite(store.clone())))
            }
            StoreUrl::Postgres(url) => {
                let store = Arc::new(PostgresStore::open(url.as_str(), postgres.clone()).await?);
                tracing::info!("data in PostgreSQL at {}", store.address());
                Ok(Self::with_roles_of(&store, Backend::Postgres(store.clone())))
            }
        }
    }

    fn with_roles_of<S: Reader + Writer + Maintenance + Schedule + Health + Catalog>(
        store: &Arc<S>,
        backend: Backend,
    ) -> Self {
        Self {
            reader: store.clone(),
            writer: store.clone(),
            maintenance: store.clone(),
            health: store.clone(),
            schedule: store.clone(),
            catalog: store.clone(),
            backend,
        }
    }

    /// Completes the calls made so far and closes the database.
    pub(super) async fn close(&self) {
        match &self.backend {
            Backend::Sqlite(store) => store.close().await,
            Backend::Postgres(store) => store.close().await,
        }
    }
}

/// Why `parlance backup` and `parlance restore` do not handle this database, and what to use instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackupUnsupported(&'static str);

/// The file of an SQLite database; for PostgreSQL the error `advice`, since its own tools make backups.
fn sqlite_file(config: &StoreConfig, advice: &'static str) -> Result<PathBuf, BackupUnsupported> {
    match &config.url {
        StoreUrl::Sqlite(path) => Ok(path.clone()),
        StoreUrl::Postgres(_) => Err(BackupUnsupported(advice)),
    }
}

/// Copies the configured database to `file`, whether or not a server has it open. Returns the path of the database and
/// the bytes of the copy.
///
/// # Errors
/// [`BackupUnsupported`] for PostgreSQL, or why no backup was made.
pub fn backup(config: &StoreConfig, file: &Path, replace: bool) -> Result<(PathBuf, u64)> {
    let advice = "the data is in PostgreSQL: back it up with `pg_dump --format=custom DATABASE > FILE`";
    let database = sqlite_file(config, advice)?;
    let bytes = sqlite::backup(&database, file, replace)?;
    Ok((database, bytes))
}

/// Replaces the configured database by the backup `file`. Returns the path of the database, and where the replaced one is
/// now.
///
/// # Errors
/// [`BackupUnsupported`] for PostgreSQL, or why the database was not replaced.
pub fn restore(config: &StoreConfig, file: &Path, replace: bool) -> Result<(PathBuf, Restored)> {
    let advice = "the data is in PostgreSQL: stop every node, make a database with `createdb`, and fill it with `pg_restore --dbname=DATABASE FILE`";
    let database = sqlite_file(config, advice)?;
    let restored = sqlite::restore(&database, file, replace)?;
    Ok((database, restored))
}

/// Checks that the configured database can be at its path, as far as its directory tells. Creates nothing.
///
/// # Errors
/// Why an SQLite database cannot be there.
pub fn check_path(config: &StoreConfig) -> Result<()> {
    if let StoreUrl::Sqlite(path) = &config.url {
        sqlite::check_path(path)?;
    }
    Ok(())
}
