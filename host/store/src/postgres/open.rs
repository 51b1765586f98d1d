//! Opens a database: checks that the server is suitable, and migrates the schema.

use std::time::Duration;

use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_util::task::AbortOnDropHandle;

use crate::Epoch;

mod embedded {
    refinery::embed_migrations!("src/migrations/postgres");
}

/// The table with the migrations that were applied.
const HISTORY_TABLE: &str = "parlance_schema_history";
/// The oldest supported version of PostgreSQL, as in `server_version_num`.
const OLDEST_SERVER: i32 = 130_000;
/// The advisory lock that a node holds while it migrates the schema: `Parlance` in ASCII.
const MIGRATION_LOCK: i64 = 0x5061_726c_616e_6365;
/// How long a node waits while another one migrates.
const MIGRATION_WAIT: Duration = Duration::from_secs(120);

/// Why a database was not opened. For the operator: what is wrong, where, and what to do. Never contains the password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL, or a file that it names, cannot be used.
    #[error("the PostgreSQL URL (store.url, DATABASE_URL) cannot be used: {problem}")]
    Url {
        /// What is wrong with it.
        problem: String,
    },
    /// No server answers.
    #[error(
        "PostgreSQL at {server} cannot be reached: {problem}; is it running, and is it reachable from here? \
         (store.url, DATABASE_URL)"
    )]
    Unreachable {
        /// Hosts and name of the database.
        server: String,
        /// The error of the system or the TLS library.
        problem: String,
    },
    /// The server refuses the login.
    #[error(
        "PostgreSQL at {server} refuses the login: {problem}; check user and password in the URL, and the server's \
         pg_hba.conf"
    )]
    Login {
        /// Hosts and name of the database.
        server: String,
        /// The server's error.
        problem: String,
    },
    /// The server has no database with this name.
    #[error("there is no such database: {server}; create it with `createdb`, or name another one in the URL")]
    NoDatabase {
        /// Hosts and name of the database.
        server: String,
    },
    /// The server or its database is not suitable.
    #[error("the database {server} cannot be used: {problem}")]
    Unsuitable {
        /// Hosts and name of the database.
        server: String,
        /// Why, and what to do.
        problem: String,
    },
    /// A newer release has migrated the schema.
    #[error(
        "the database {server} was made by a newer Parlance (schema {found}, this one knows {known}); run that release, \
         or restore a backup from before it"
    )]
    Newer {
        /// Hosts and name of the database.
        server: String,
        /// The schema's version in the database.
        found: i32,
        /// The newest version that this release knows.
        known: i32,
    },
    /// A migration of the schema failed. The database is unchanged.
    #[error("the schema of {server} could not be brought up to date; it is as it was: {problem}")]
    Migration {
        /// Hosts and name of the database.
        server: String,
        /// What failed, and what to do.
        problem: String,
    },
}

impl OpenError {
    pub(super) fn unreadable(error: tokio_postgres::Error) -> Self {
        Self::Url {
            problem: error_chain(&error),
        }
    }
}

/// An error with its sources, as one text. The driver's errors never contain the password.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Tells this server's data from those that a backup of it gives: the directory, and its timeline, which changes when a
/// standby takes over or with a recovery to a point in time.
const SERVER_EPOCH: &str = "SELECT (SELECT system_identifier FROM pg_control_system()),
        (SELECT timeline_id FROM pg_control_checkpoint())::bigint";
/// Tells this database from one that was restored from a dump: by its number, and that of a table that a dump makes anew.
const DATABASE_EPOCH: &str = "SELECT (SELECT oid FROM pg_database WHERE datname = current_database())::bigint,
        'messages'::regclass::oid::bigint";

/// Connects, checks the server, and migrates the schema. Returns warnings for the operator, and which data it is.
pub(super) async fn open(
    config: &Config,
    tls: MakeRustlsConnect,
    server: &str,
    time: Duration,
) -> Result<(Vec<String>, Epoch), OpenError> {
    let unreachable = |problem: String| OpenError::Unreachable {
        server: server.to_owned(),
        problem,
    };
    let connecting = tokio::time::timeout(time, config.connect(tls)).await;
    let (mut client, connection) = connecting
        .map_err(|_| unreachable(format!("no answer within {time:?}")))?
        .map_err(|error| connect_error(server, &error))?;
    // This task ends when the client is dropped.
    let driving = AbortOnDropHandle::new(tokio::spawn(connection));
    let checked = async {
        let warnings = check(&client, server).await?;
        migrate(&mut client, server).await?;
        let epoch = read_epoch(&client).await.map_err(|error| OpenError::Unsuitable {
            server: server.to_owned(),
            problem: error_chain(&error),
        })?;
        Ok((warnings, epoch))
    }
    .await;
    drop(client);
    let _ = driving.await;
    checked
}

async fn read_epoch(client: &Client) -> Result<Epoch, tokio_postgres::Error> {
    let mut numbers = [0; 4];
    for (query, numbers) in [DATABASE_EPOCH, SERVER_EPOCH].iter().zip(numbers.chunks_mut(2)) {
        let row = match client.query_one(*query, &[]).await {
            // An operator may have kept these functions from users.
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => continue,
            row => row?,
        };
        for (column, number) in numbers.iter_mut().enumerate() {
            *number = row.try_get::<_, i64>(column)?.cast_unsigned();
        }
    }
    Ok(Epoch::of(&numbers))
}

fn connect_error(server: &str, error: &tokio_postgres::Error) -> OpenError {
    let server = server.to_owned();
    let Some(db) = error.as_db_error() else {
        return OpenError::Unreachable {
            server,
            problem: error_chain(error),
        };
    };
    let problem = db.message().to_owned();
    match *db.code() {
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            OpenError::Login { server, problem }
        }
        SqlState::INVALID_CATALOG_NAME => OpenError::NoDatabase { server },
        SqlState::TOO_MANY_CONNECTIONS => OpenError::Unsuitable {
            server,
            problem: format!("{problem}; raise max_connections there, or lower store.connections of the nodes"),
        },
        _ => OpenError::Unreachable { server, problem },
    }
}

async fn check(client: &Client, server: &str) -> Result<Vec<String>, OpenError> {
    let unsuitable = |problem: String| OpenError::Unsuitable {
        server: server.to_owned(),
        problem,
    };
    let failed = |error: tokio_postgres::Error| unsuitable(error_chain(&error));
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                    current_setting('server_encoding'), pg_is_in_recovery(),
                    current_setting('transaction_read_only'), current_setting('fsync')",
            &[],
        )
        .await
        .map_err(failed)?;
    let text = |column: usize| row.try_get::<_, String>(column).map_err(failed);
    if row.try_get::<_, i32>(0).map_err(failed)? < OLDEST_SERVER {
        return Err(unsuitable(format!(
            "it is PostgreSQL {}; version 13 or later is needed",
            text(1)?
        )));
    }
    if text(2)? != "UTF8" {
        let problem = format!(
            "its encoding is {}, and any text must fit in; create it with `createdb --encoding=UTF8 --template=template0`",
            text(2)?
        );
        return Err(unsuitable(problem));
    }
    if row.try_get(3).map_err(failed)? || text(4)? == "on" {
        let problem = "it takes no writes; name the primary in the URL, or name all servers, comma-separated";
        return Err(unsuitable(problem.to_owned()));
    }
    let mut warnings = Vec::new();
    if text(5)? == "off" {
        warnings.push(format!(
            "the database {server} runs with fsync=off: what it has acknowledged is lost when its machine fails"
        ));
    }
    Ok(warnings)
}

/// Migrates the schema. One node does so at a time; the others wait.
async fn migrate(client: &mut Client, server: &str) -> Result<(), OpenError> {
    let migration = |problem: String| OpenError::Migration {
        server: server.to_owned(),
        problem,
    };
    let plain = |error: tokio_postgres::Error| {
        let why = error_chain(&error);
        migration(match error.code() {
            Some(&SqlState::LOCK_NOT_AVAILABLE) => {
                format!("another node has been at it for {MIGRATION_WAIT:?}; look there, then start this one again")
            }
            _ => why,
        })
    };
    let wait = MIGRATION_WAIT.as_millis();
    // A migration may take longer than the server's default timeout.
    client
        .batch_execute(&format!(
            "SET statement_timeout = 0; SET lock_timeout = {wait}; SELECT pg_advisory_lock({MIGRATION_LOCK})"
        ))
        .await
        .map_err(plain)?;
    let known = known_version();
    let found = version(client).await.map_err(plain)?;
    if found > known {
        return Err(OpenError::Newer {
            server: server.to_owned(),
            found,
            known,
        });
    }
    if found < known {
        embedded::migrations::runner()
            .set_grouped(true)
            .set_migration_table_name(HISTORY_TABLE)
            .run_async(client)
            .await
            .map_err(|error| migration(migration_hint(&error)))?;
    }
    // If this fails, the lock ends with the connection.
    client
        .batch_execute(&format!("SELECT pg_advisory_unlock({MIGRATION_LOCK})"))
        .await
        .map_err(plain)
}

/// The version of the database's schema; 0 for a database without one.
async fn version(client: &Client) -> Result<i32, tokio_postgres::Error> {
    let there = client
        .query_one("SELECT to_regclass($1) IS NOT NULL", &[&HISTORY_TABLE])
        .await?;
    if !there.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let sql = format!("SELECT coalesce(max(version), 0) FROM {HISTORY_TABLE}");
    client.query_one(sql.as_str(), &[]).await?.try_get(0)
}

fn known_version() -> i32 {
    let runner = embedded::migrations::runner();
    let versions = runner.get_migrations().iter().map(refinery::Migration::version);
    versions.max().unwrap_or(0)
}

/// A failed migration's error, with a hint what to do where the cause is known.
fn migration_hint(error: &refinery::Error) -> String {
    let words = error_chain(error);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let db = error
            .downcast_ref::<tokio_postgres::Error>()
            .and_then(tokio_postgres::Error::as_db_error)
            .or_else(|| error.downcast_ref::<DbError>());
        match db.map(DbError::code) {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                return format!("{words}; let the user create tables, best by making it the database's owner");
            }
            Some(&(SqlState::DUPLICATE_TABLE | SqlState::DUPLICATE_OBJECT)) => {
                return format!("{words}; there are another program's tables: give Parlance a database of its own");
            }
            _ => cause = error.source(),
        }
    }
    words
}
