//! Connections: how each is set up, and how statements are sent over one, many in a single flight.

use std::time::Duration;

use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use futures_util::future::{join_all, maybe_done, try_join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Settings;
use super::error::PostgresError;

/// How much longer we wait than the server may take, so that its own words come first.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// One statement of a flight.
pub(super) enum Statement<'a> {
    /// Without parameters and rows: `BEGIN`, `COMMIT`.
    Simple(&'static str),
    /// With parameters; prepared once on each connection.
    Prepared(&'static str, Vec<&'a (dyn ToSql + Sync)>),
}

/// Makes connections and lends them.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    pool: Pool,
    settings: Settings,
    #[cfg(test)]
    round_trips: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl ConnectionPool {
    pub(super) fn new(config: Config, tls: MakeRustlsConnect, settings: Settings) -> Result<Self, PostgresError> {
        let manager = ManagerConfig {
            // Asking costs a round trip each time; a connection found dead is replaced when a statement fails.
            recycling_method: RecyclingMethod::Fast,
        };
        let set_up = set_up(&settings);
        let hook = Hook::async_fn(move |connection: &mut deadpool_postgres::ClientWrapper, _| {
            let set_up = set_up.clone();
            Box::pin(async move { connection.batch_execute(&set_up).await.map_err(HookError::Backend) })
        });
        let pool = Pool::builder(Manager::from_config(config, tls, manager))
            .max_size(settings.connections)
            .wait_timeout(Some(settings.connect_time))
            .create_timeout(Some(settings.connect_time))
            .runtime(Runtime::Tokio1)
            .post_create(hook)
            .build()
            .map_err(|_| PostgresError::TimedOut)?;
        Ok(Self {
            pool,
            settings,
            #[cfg(test)]
            round_trips: std::sync::Arc::default(),
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A connection of one's own for a while.
    pub(super) async fn connection(&self) -> Result<Connection, PostgresError> {
        let connection = self.pool.get().await.map_err(PostgresError::NoConnection)?;
        Ok(Connection {
            connection,
            time: self.settings.statement_time + GRACE,
            #[cfg(test)]
            round_trips: self.round_trips.clone(),
        })
    }

    /// One statement on any connection. A connection that turns out to be dead is replaced by another, as long as
    /// there may be more of them: after a restart of the server all are.
    pub(super) async fn query(
        &self,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let mut left = self.settings.connections;
        loop {
            let connection = self.connection().await?;
            match connection
                .pipeline(vec![Statement::Prepared(sql, parameters.to_vec())])
                .await
            {
                Ok(mut rows) => return Ok(rows.pop().unwrap_or_default()),
                Err(error) => {
                    let dead = matches!(&error, PostgresError::Failed(_))
                        && error.recovery() == super::error::Recovery::Reconnect;
                    connection.end(&error).await;
                    if !dead || left == 0 {
                        return Err(error);
                    }
                    left -= 1;
                }
            }
        }
    }

    /// How many round trips there were.
    #[cfg(test)]
    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// What each connection is told first.
///
/// Every statement of ours is served by an index. A plan that is made while a table is still empty would read all of
/// it, and would stay when it is large; so the planner is given no choice.
///
/// A node that stops in the middle of a transaction must not hold rooms for ever: the server ends it after
/// `statement_time`. Durable means durable, also where the server's default is otherwise.
fn set_up(settings: &Settings) -> String {
    let ms = settings.statement_time.as_millis();
    format!(
        "SET statement_timeout = {ms}; SET lock_timeout = {ms}; SET idle_in_transaction_session_timeout = {ms};
         SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
         SET default_transaction_isolation = 'read committed';
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

/// A connection lent to one task.
pub(super) struct Connection {
    connection: Object,
    time: Duration,
    #[cfg(test)]
    round_trips: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Connection {
    /// Sends all statements at once and waits for all of their answers: one round trip, and one more for what this
    /// connection has not prepared yet. Gives the rows of each, or the first error. The server carries them out in
    /// order; within a transaction none has an effect after one that failed, and a `COMMIT` is then a rollback.
    pub(super) async fn pipeline(&self, statements: Vec<Statement<'_>>) -> Result<Vec<Vec<Row>>, PostgresError> {
        #[cfg(test)]
        self.round_trips.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::time::timeout(self.time, self.send(statements))
            .await
            .map_err(|_| PostgresError::TimedOut)?
    }

    async fn send(&self, statements: Vec<Statement<'_>>) -> Result<Vec<Vec<Row>>, PostgresError> {
        let connection = &self.connection;
        // All are prepared before the first is sent: none may overtake another.
        let prepared = statements.iter().map(async |step| match step {
            Statement::Simple(_) => Ok(None),
            Statement::Prepared(sql, _) => connection.prepare_cached(sql).await.map(Some),
        });
        let prepared = try_join_all(prepared).await?;
        let answers = statements
            .iter()
            .zip(&prepared)
            .map(async |(step, statement)| match (step, statement) {
                (Statement::Prepared(_, parameters), Some(statement)) => connection.query(statement, parameters).await,
                (Statement::Simple(sql) | Statement::Prepared(sql, _), _) => {
                    connection.batch_execute(sql).await.map(|()| Vec::new())
                }
            });
        let mut answers: Vec<_> = answers.map(|answer| Box::pin(maybe_done(answer))).collect();
        // The driver sends a statement when its future is first polled. This is the order they are sent in.
        for answer in &mut answers {
            let _ = futures_util::poll!(answer.as_mut());
        }
        join_all(answers.iter_mut().map(|answer| answer.as_mut())).await;
        let answers = answers.iter_mut().filter_map(|answer| answer.as_mut().take_output());
        Ok(answers.collect::<Result<_, _>>()?)
    }

    /// Gives the connection back after an error: clean, or not at all.
    pub(super) async fn end(self, error: &PostgresError) {
        let clean = error.leaves_connection() && self.pipeline(vec![Statement::Simple("ROLLBACK")]).await.is_ok();
        if !clean {
            drop(Object::take(self.connection));
        }
    }
}
