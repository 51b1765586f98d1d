//! Errors of statements, whether trying again helps, and their conversion to errors of the store.
//!
//! A [`StoreError`] shows one plain sentence, fit for any reader. PostgreSQL's own words are its sources, for the log.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::StoreError;

/// Why a statement failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresError {
    /// The pool has no connection to lend.
    #[error("no connection to the database could be had")]
    NoConnection(#[source] PoolError),
    /// The server or the driver reports an error.
    #[error("the database failed")]
    Failed(#[from] tokio_postgres::Error),
    /// No answer came in time.
    #[error("the database has not answered in time")]
    TimedOut,
    /// A stored value cannot be right.
    #[error("the database holds a value that cannot be right")]
    Corrupt(#[source] anyhow::Error),
}

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Try again: another transaction was in the way, and nothing was written.
    Retry,
    /// Try again on another connection: this one is lost, and whether the server did what was sent is unknown.
    Reconnect,
    /// Fail: nothing was written, and trying again soon would not help.
    GiveUp,
}

impl PostgresError {
    fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Failed(error) => error.code(),
            _ => None,
        }
    }

    fn db(&self) -> Option<&DbError> {
        match self {
            Self::Failed(error) => error.as_db_error(),
            _ => None,
        }
    }

    /// Whether a statement violated this unique index.
    pub(super) fn violates(&self, constraint: &str) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION) && self.db().and_then(DbError::constraint) == Some(constraint)
    }

    pub(super) fn recovery(&self) -> Recovery {
        let Some(error) = self.db() else {
            return match self {
                Self::NoConnection(_) | Self::TimedOut => Recovery::Reconnect,
                // Errors of encoding and decoding have no I/O error as their source.
                Self::Failed(error) if error.is_closed() || is_io(error) => Recovery::Reconnect,
                Self::Failed(_) | Self::Corrupt(_) => Recovery::GiveUp,
            };
        };
        // The severity ERROR is about the transaction; FATAL ends the connection.
        if error.parsed_severity() != Some(Severity::Error) {
            return Recovery::Reconnect;
        }
        match *error.code() {
            SqlState::UNIQUE_VIOLATION | SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Recovery::Retry
            }
            // A prepared statement is gone, or its result has changed with the schema (FEATURE_NOT_SUPPORTED). A new
            // connection prepares its statements anew.
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED => Recovery::Reconnect,
            _ => Recovery::GiveUp,
        }
    }

    /// Whether the connection can be used again after a `ROLLBACK`.
    pub(super) fn leaves_connection(&self) -> bool {
        self.db().is_some() && self.recovery() != Recovery::Reconnect
    }

    fn summary(&self) -> &'static str {
        let Some(code) = self.code() else {
            return match self {
                Self::Corrupt(_) => "the database holds a value that cannot be right",
                Self::TimedOut => "the database has not answered in time",
                _ => "the database cannot be reached",
            };
        };
        match *code {
            SqlState::DISK_FULL => "the database's disk is full",
            SqlState::READ_ONLY_SQL_TRANSACTION => "the database takes no writes",
            SqlState::TOO_MANY_CONNECTIONS => "the database has no connection left",
            SqlState::QUERY_CANCELED | SqlState::LOCK_NOT_AVAILABLE => "the database has not answered in time",
            SqlState::DATA_CORRUPTED | SqlState::INDEX_CORRUPTED => "the database is damaged",
            SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN | SqlState::CANNOT_CONNECT_NOW => {
                "the database is starting or stopping"
            }
            _ => "the database cannot serve now",
        }
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        let corrupt = matches!(error, PostgresError::Corrupt(_))
            || matches!(
                error.code(),
                Some(&SqlState::DATA_CORRUPTED | &SqlState::INDEX_CORRUPTED)
            );
        let summary = error.summary();
        let error = anyhow::Error::new(error).context(summary);
        if corrupt {
            Self::Corrupt(error)
        } else {
            Self::Unavailable(error)
        }
    }
}
