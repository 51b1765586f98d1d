//! Converts errors of SQLite to errors of the store.
//!
//! A [`StoreError`] shows one plain sentence, fit for any reader. SQLite's own words may contain a statement, so they are
//! its sources, for the log alone (`{:#}` of the inner error).

use rusqlite::{Error, ErrorCode};

use crate::StoreError;

pub(super) fn to_store_error(error: Error) -> StoreError {
    let code = error.sqlite_error_code();
    let (corrupt, summary) = match (code, &error) {
        (Some(ErrorCode::DiskFull), _) => (false, "the database's disk is full"),
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => {
            (false, "another program holds the database locked")
        }
        (Some(ErrorCode::ReadOnly), _) => (false, "the database cannot be written"),
        (Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen), _) => {
            (false, "the database's disk does not answer as it should")
        }
        (Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase), _) => (true, "the database is damaged"),
        (
            _,
            Error::FromSqlConversionFailure(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
            | Error::InvalidColumnType(..),
        ) => (true, "the database holds a value that cannot be right"),
        _ => (false, "the database cannot serve now"),
    };
    let error = anyhow::Error::new(error).context(summary);
    if corrupt {
        StoreError::Corrupt(error)
    } else {
        StoreError::Unavailable(error)
    }
}

/// The answer of a store that is closed, or whose thread has ended.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable(anyhow::anyhow!("the database is closed"))
}
