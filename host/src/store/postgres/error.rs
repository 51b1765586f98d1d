//! What can go wrong with a statement, whether trying again helps, and what the store says of it.
//!
//! A [`StoreError`] shows one plain sentence, fit for anyone; PostgreSQL's own words are its sources, for the log.

use deadpool_postgres::PoolError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::StoreError;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostgresError {
    /// There is no connection to be had.
    #[error("no connection to the database could be had")]
    NoConnection(#[source] PoolError),
    /// The server or the connection says so.
    #[error("the database failed")]
    Failed(#[from] tokio_postgres::Error),
    /// No answer in time.
    #[error("the database has not answered in time")]
    TimedOut,
    /// What is stored cannot be right.
    #[error("the database holds a value that cannot be right")]
    Corrupt(#[source] anyhow::Error),
}

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Another transaction was in the way; nothing was written; try again.
    Retry,
    /// The connection is gone, and with it the knowledge whether what was sent has been done.
    Reconnect,
    /// Nothing was written and trying again soon would not help.
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

    /// Whether it is the violation of this unique index.
    pub(super) fn violates(&self, constraint: &str) -> bool {
        self.code() == Some(&SqlState::UNIQUE_VIOLATION) && self.db().and_then(DbError::constraint) == Some(constraint)
    }

    pub(super) fn recovery(&self) -> Recovery {
        let Some(error) = self.db() else {
            return match self {
                Self::NoConnection(_) | Self::TimedOut => Recovery::Reconnect,
                // Values that could not be read or written have no I/O in their cause.
                Self::Failed(error) if error.is_closed() || is_io(error) => Recovery::Reconnect,
                Self::Failed(_) | Self::Corrupt(_) => Recovery::GiveUp,
            };
        };
        // Only a plain ERROR is an answer about the transaction; what is FATAL ends the connection.
        if error.parsed_severity() != Some(Severity::Error) {
            return Recovery::Reconnect;
        }
        match *error.code() {
            SqlState::UNIQUE_VIOLATION | SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
                Recovery::Retry
            }
            // What this connection has prepared is not there any more, or means something else since the schema
            // changed; a new connection prepares anew. `FEATURE_NOT_SUPPORTED` is what a changed plan says.
            SqlState::INVALID_SQL_STATEMENT_NAME | SqlState::FEATURE_NOT_SUPPORTED => Recovery::Reconnect,
            _ => Recovery::GiveUp,
        }
    }

    /// Whether the connection can be used on after a `ROLLBACK`.
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
