//! The one database: messages, key-value data, and what operators decide.

use std::sync::Arc;

use anyhow::Result;

use crate::config::{Store as StoreConfig, StoreUrl};
use crate::store::Store;
use crate::store::catalog::Catalog;
use crate::store::postgres::{PostgresStore, Settings};
use crate::store::sqlite::SqliteStore;

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
                let store = Arc::new(SqliteStore::open(path)?);
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
                tracing::info!("data in PostgreSQL at {}", store.place());
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
