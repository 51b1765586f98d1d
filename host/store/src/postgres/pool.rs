//! The pool of connections, their settings, and pipelines of statements.

use std::time::{Duration, Instant};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Metrics, Object, Pool, RecyclingMethod, Runtime,
};
use futures_util::future::{join_all, maybe_done, try_join_all};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Config, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::PostgresSettings;
use super::error::{PostgresError, Recovery};

/// How much longer the client waits for a statement than the server may take, so that the server's own error arrives
/// first.
pub(super) const GRACE: Duration = Duration::from_secs(1);

/// After how long a connection forgets its plans. A plan that was made while a table was empty, and analyzed as such, may
/// read whole indexes, and the server would keep it until the table is analyzed again.
const PLANS_KEPT: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
const FORGET_PLANS: &str = "DISCARD PLANS";

/// A statement of a pipeline.
pub(super) enum Statement<'a> {
    /// A statement without parameters and rows, such as `BEGIN`.
    Simple(&'static str),
    /// A statement with parameters, which each connection prepares once.
    Prepared(&'static str, Vec<&'a (dyn ToSql + Sync)>),
}

/// Opens connections and lends them.
#[derive(Clone)]
pub(super) struct ConnectionPool {
    pool: Pool,
    settings: PostgresSettings,
    #[cfg(test)]
    round_trips: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl ConnectionPool {
    pub(super) fn new(
        config: Config,
        tls: MakeRustlsConnect,
        settings: PostgresSettings,
    ) -> Result<Self, PostgresError> {
        let manager = ManagerConfig {
            // Checking a connection would cost a round trip each time. One that is dead is replaced when a statement fails.
            recycling_method: RecyclingMethod::Fast,
        };
        let set_up = session_settings(&settings);
        let hook = Hook::async_fn(move |connection: &mut ClientWrapper, _| {
            let set_up = set_up.clone();
            Box::pin(async move { connection.batch_execute(&set_up).await.map_err(HookError::Backend) })
        });
        let forget_plans = Hook::async_fn(|connection: &mut ClientWrapper, used: &Metrics| {
            let forgets = forgets_plans(used, Instant::now());
            Box::pin(async move {
                if forgets {
                    let forgotten = connection.batch_execute(FORGET_PLANS).await;
                    forgotten.map_err(HookError::Backend)?;
                }
                Ok(())
            })
        });
        let pool = Pool::builder(Manager::from_config(config, tls, manager))
            .max_size(settings.connections)
            .wait_timeout(Some(settings.connect_time))
            .create_timeout(Some(settings.connect_time))
            .runtime(Runtime::Tokio1)
            .post_create(hook)
            .post_recycle(forget_plans)
            .build()
            .map_err(|_| PostgresError::TimedOut)?;
        Ok(Self {
            pool,
            settings,
            #[cfg(test)]
            round_trips: std::sync::Arc::default(),
        })
    }

    pub(super) fn settings(&self) -> &PostgresSettings {
        &self.settings
    }

    /// Borrows a connection.
    pub(super) async fn connection(&self) -> Result<Connection, PostgresError> {
        let connection = self.pool.get().await.map_err(PostgresError::NoConnection)?;
        Ok(Connection {
            connection,
            time: self.settings.statement_time + GRACE,
            #[cfg(test)]
            round_trips: self.round_trips.clone(),
        })
    }

    /// Runs one statement on any connection. When the connection turns out to be dead, tries another one: after a restart
    /// of the server all of them may be dead.
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
                    let dead = matches!(&error, PostgresError::Failed(_)) && error.recovery() == Recovery::Reconnect;
                    connection.end(&error).await;
                    if !dead || left == 0 {
                        return Err(error);
                    }
                    left -= 1;
                }
            }
        }
    }

    /// How many pipelines were sent.
    #[cfg(test)]
    pub(super) fn round_trips(&self) -> u64 {
        self.round_trips.load(std::sync::atomic::Ordering::Relaxed)
    }

    pub(super) fn close(&self) {
        self.pool.close();
    }
}

/// Whether a connection's plans are too old `now`, before it is lent: whether a multiple of [`PLANS_KEPT`] has passed
/// since it was lent the last time.
fn forgets_plans(used: &Metrics, now: Instant) -> bool {
    let periods = |at: Instant| at.saturating_duration_since(used.created).as_secs() / PLANS_KEPT.as_secs();
    periods(now) > used.recycled.map_or(0, periods)
}

/// The settings that each connection begins with.
///
/// - No sequential scans, hash or merge joins: an index serves every statement of the store. A plan made while a table is
///   still empty would read all of the table, and would stay in use when the table is large.
/// - One plan for each prepared statement, made without its parameters and kept for [`PLANS_KEPT`]: the index is the right
///   one whatever they are, and also when the tables were empty then, for which some joins need `LATERAL` and `OFFSET 0`
///   (`tests/plans.rs`). The server would otherwise plan most statements of a batch again each time, which takes it longer
///   than to run them.
/// - No JIT compiler: a statement that reads a small table as a whole counts as very expensive where sequential scans are
///   off, and the server would compile it each time.
/// - No parallel workers: a plan without parameters takes what is due for a third of all timers, and would start two
///   processes for each look, which took 14 ms instead of 0.06.
/// - A timeout for idle transactions: a node that hangs in a transaction must not hold its locks for longer than
///   `statement_time`.
/// - `synchronous_commit`, where the server's default is off: a commit must survive the loss of power.
fn session_settings(settings: &PostgresSettings) -> String {
    let ms = settings.statement_time.as_millis();
    format!(
        "SET statement_timeout = {ms}; SET lock_timeout = {ms}; SET idle_in_transaction_session_timeout = {ms};
         SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
         SET plan_cache_mode = force_generic_plan; SET jit = off;
         SET max_parallel_workers_per_gather = 0;
         SET default_transaction_isolation = 'read committed';
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
}

/// A borrowed connection.
pub(super) struct Connection {
    connection: Object,
    time: Duration,
    #[cfg(test)]
    round_trips: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Connection {
    /// Sends all statements at once and waits for all results: one round trip, and one more for statements that this
    /// connection has not prepared yet. Returns the rows of each statement, or the first error.
    ///
    /// The server runs the statements in order. In a transaction, statements after a failed one have no effect, and
    /// `COMMIT` rolls back.
    pub(super) async fn pipeline(&self, statements: Vec<Statement<'_>>) -> Result<Vec<Vec<Row>>, PostgresError> {
        #[cfg(test)]
        self.round_trips.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        tokio::time::timeout(self.time, self.send(statements))
            .await
            .map_err(|_| PostgresError::TimedOut)?
    }

    async fn send(&self, statements: Vec<Statement<'_>>) -> Result<Vec<Vec<Row>>, PostgresError> {
        let connection = &self.connection;
        // Prepare all statements before the first is sent, so that none overtakes another.
        let prepared = statements.iter().map(async |statement| match statement {
            Statement::Simple(_) => Ok(None),
            Statement::Prepared(sql, _) => connection.prepare_cached(sql).await.map(Some),
        });
        let prepared = try_join_all(prepared).await?;
        let results = statements
            .iter()
            .zip(&prepared)
            .map(async |(statement, prepared)| match (statement, prepared) {
                (Statement::Prepared(_, parameters), Some(prepared)) => connection.query(prepared, parameters).await,
                (Statement::Simple(sql) | Statement::Prepared(sql, _), _) => {
                    connection.batch_execute(sql).await.map(|()| Vec::new())
                }
            });
        let mut results: Vec<_> = results.map(|result| Box::pin(maybe_done(result))).collect();
        // The driver sends a statement when its future is polled for the first time, so this loop sets the order.
        for result in &mut results {
            let _ = futures_util::poll!(result.as_mut());
        }
        join_all(results.iter_mut().map(|result| result.as_mut())).await;
        let results = results.iter_mut().filter_map(|result| result.as_mut().take_output());
        Ok(results.collect::<Result<_, _>>()?)
    }

    /// Ends the use of the connection after an error: rolls back and returns it to the pool, or closes it when that does
    /// not work.
    pub(super) async fn end(self, error: &PostgresError) {
        let clean = error.leaves_connection() && self.pipeline(vec![Statement::Simple("ROLLBACK")]).await.is_ok();
        if !clean {
            drop(Object::take(self.connection));
        }
    }
}
