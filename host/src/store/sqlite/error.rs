//! From what SQLite says to what the store says.
//!
//! A [`StoreError`] shows one plain sentence, fit for anyone; SQLite's own words, which may hold a statement, are
//! its sources, for the log alone (`{:#}` of the inner error).

use rusqlite::{Error, ErrorCode};

use super::super::StoreError;

pub(super) fn to_store_error(error: Error) -> StoreError {
    let code = error.sqlite_error_code();
    let (corrupt, plain) = match (code, &error) {
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
    let error = anyhow::Error::new(error).context(plain);
    if corrupt {
        StoreError::Corrupt(error)
    } else {
        StoreError::Unavailable(error)
    }
}

/// What is answered once the store has been closed, or if its thread is gone.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable(anyhow::anyhow!("the database is closed"))
}
