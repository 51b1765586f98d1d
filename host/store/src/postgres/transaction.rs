//! Transactions that take effect exactly once, even when the connection is lost during `COMMIT`.
//!
//! Every transaction first inserts a random id into the table `commits`. When the connection is lost after `COMMIT` was
//! sent, the client cannot know whether the server committed. It tries the transaction again with the same id. The
//! insert waits for the lost transaction, if that is still running, and then there are two cases:
//!
//! - The insert succeeds: the lost transaction was not committed, and the new attempt goes on.
//! - The insert violates the unique index: the lost transaction was committed, and its result is the answer.
//!
//! A lost connection whose `COMMIT` arrives late finds the id taken in the same way.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{PostgresError, Recovery};
use super::pool::{Connection, ConnectionPool, Statement};
use crate::StoreError;

/// How often a transaction is tried again after a conflict with another one.
const MAX_CONFLICTS: u32 = 20;
/// The longest pause before a new attempt, plus or minus half of it at random.
const MAX_BACK_OFF: Duration = Duration::from_millis(200);
/// The unique index on the ids of committed transactions.
const ID_INDEX: &str = "commits_pkey";

pub(super) const INSERT_ID: &str = "INSERT INTO commits (id) VALUES ($1)";

/// The random id of a transaction, the same in all of its attempts.
pub(super) struct TransactionId([u8; 16]);

impl TransactionId {
    pub(super) fn new() -> Result<Self, PostgresError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| PostgresError::Corrupt(error.into()))?;
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The statements that begin every transaction. `id` is [`TransactionId::bytes`].
pub(super) fn begin<'a>(id: &'a &'a [u8]) -> Vec<Statement<'a>> {
    vec![
        Statement::Simple("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
        Statement::Prepared(INSERT_ID, vec![id]),
    ]
}

/// Sends what a transaction does last, and `COMMIT`. If the answer is lost, the error has `output`, for [`execute`] to return
/// once it knows that the server has committed.
pub(super) async fn commit<T>(
    connection: &Connection,
    mut statements: Vec<Statement<'_>>,
    output: T,
) -> Result<T, AttemptError<T>> {
    statements.push(Statement::Simple("COMMIT"));
    match connection.pipeline(statements).await {
        Ok(_) => Ok(output),
        Err(error) => Err(AttemptError {
            error,
            if_committed: Some(output),
        }),
    }
}

/// Why an attempt failed.
pub(super) struct AttemptError<T> {
    pub(super) error: PostgresError,
    /// The result in case the server has committed; `None` when `COMMIT` was not sent.
    pub(super) if_committed: Option<T>,
}

impl<T> From<PostgresError> for AttemptError<T> {
    fn from(error: PostgresError) -> Self {
        Self {
            error,
            if_committed: None,
        }
    }
}

/// What a transaction does.
#[async_trait::async_trait]
pub(super) trait Transaction: Send {
    type Output: Send;

    /// Makes one attempt: sends the statements of [`begin`], others, and [`commit`]s.
    async fn run(
        &mut self,
        connection: &Connection,
        id: &TransactionId,
    ) -> Result<Self::Output, AttemptError<Self::Output>>;
}

/// Runs a transaction, in as many attempts as it takes.
///
/// After an error nothing has been written, with one exception: the connection was lost during `COMMIT`, and the server
/// did not come back within `statement_time`. Then the outcome is unknown, and the log says so.
pub(super) async fn execute<T: Transaction>(
    pool: &ConnectionPool,
    mut transaction: T,
) -> Result<T::Output, StoreError> {
    let id = TransactionId::new()?;
    let (mut conflicts, mut reconnects, mut probes) = (0, 0, 0);
    // The result of an attempt whose `COMMIT` may or may not have succeeded, and how long to go on asking.
    let mut unknown: Option<(T::Output, Instant)> = None;
    loop {
        let AttemptError { error, if_committed } = match attempt(pool, &mut transaction, &id).await {
            Ok(output) => return Ok(output),
            Err(failed) => failed,
        };
        if error.violates(ID_INDEX)
            && let Some((output, _)) = unknown.take()
        {
            return Ok(output);
        }
        match error.recovery() {
            Recovery::Retry if conflicts < MAX_CONFLICTS => {
                conflicts += 1;
                back_off(conflicts).await;
            }
            Recovery::Reconnect => {
                if let Some(output) = if_committed {
                    let until =
                        unknown.map_or_else(|| Instant::now() + pool.settings().statement_time, |known| known.1);
                    unknown = Some((output, until));
                }
                match &unknown {
                    Some((_, until)) if Instant::now() < *until => {
                        probes += 1;
                        back_off(probes).await;
                    }
                    Some(_) => {
                        tracing::warn!("the database went away during a commit; what became of it is not known");
                        return Err(error.into());
                    }
                    // After a restart of the server every connection of the pool may be dead, so try them all.
                    None if matches!(error, PostgresError::Failed(_)) && reconnects <= pool.settings().connections => {
                        reconnects += 1;
                    }
                    None => return Err(error.into()),
                }
            }
            Recovery::Retry | Recovery::GiveUp => return Err(error.into()),
        }
    }
}

async fn attempt<T: Transaction>(
    pool: &ConnectionPool,
    transaction: &mut T,
    id: &TransactionId,
) -> Result<T::Output, AttemptError<T::Output>> {
    let connection = pool.connection().await?;
    let result = transaction.run(&connection, id).await;
    if let Err(failed) = &result {
        connection.end(&failed.error).await;
    }
    result
}

/// Waits before another attempt: longer each time, and a random part of it, so that two transactions that conflicted do
/// not meet again.
async fn back_off(attempt: u32) {
    let longest = Duration::from_millis(1 << attempt.min(8)).min(MAX_BACK_OFF);
    let mut random = [0];
    let jitter = getrandom::fill(&mut random).map_or(0.5, |()| f32::from(random[0]) / 255.0);
    tokio::time::sleep(longest.mul_f32(0.5 + jitter)).await;
}
