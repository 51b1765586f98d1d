//! A transaction that is done once, whatever becomes of the connection.
//!
//! Every transaction of ours inserts a row of its own into `commits`, first thing, under an id chosen at random
//! before. When the connection is lost after `COMMIT` was sent, nobody knows whether it was done. The transaction is
//! then tried again with the same id: the insert waits for the end of the lost one, should it still be at it, and
//! then either succeeds (the lost one was not committed, this one goes on), or the id is there, and what the lost
//! one decided is the answer. A connection that comes back from the dead finds the id taken as well.

use std::time::Duration;

use tokio::time::Instant;

use super::error::{PostgresError, Recovery};
use super::pool::{Connection, ConnectionPool, Statement};
use crate::store::StoreError;

/// How often a transaction gives way to others before it gives up.
const MAX_CONFLICTS: u32 = 20;
/// The longest pause before trying again, give or take half of it.
const MAX_BACK_OFF: Duration = Duration::from_millis(200);
/// The unique index that tells whether a transaction was committed.
const ID_INDEX: &str = "commits_pkey";

pub(super) const INSERT_ID: &str = "INSERT INTO commits (id) VALUES ($1)";

/// The id of one transaction, over all its attempts.
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

/// The statements that begin every transaction. `id` is `TransactionId::bytes`.
pub(super) fn begin<'a>(id: &'a &'a [u8]) -> Vec<Statement<'a>> {
    vec![
        Statement::Simple("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
        Statement::Prepared(INSERT_ID, vec![id]),
    ]
}

/// A transaction that stopped.
pub(super) struct AttemptError<T> {
    pub(super) error: PostgresError,
    /// What it comes to if it was committed; `None` when `COMMIT` was not sent.
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

/// What a transaction does, from its first statement (see [`begin`]) to `COMMIT`. May be tried several times.
#[async_trait::async_trait]
pub(super) trait Transaction: Send {
    type Output: Send;

    async fn run(
        &mut self,
        connection: &Connection,
        id: &TransactionId,
    ) -> Result<Self::Output, AttemptError<Self::Output>>;
}

/// Does it, trying again for as long as that makes sense. After an error nothing has been written, but for one case:
/// the connection was lost while committing and the server has not been back within `statement_time`. Then it may or
/// may not have been, and the error says so in the log.
pub(super) async fn execute<W: Transaction>(
    pool: &ConnectionPool,
    mut transaction: W,
) -> Result<W::Output, StoreError> {
    let id = TransactionId::new()?;
    let (mut conflicts, mut reconnects, mut probes) = (0, 0, 0);
    // What the last attempt decided whose outcome nobody knows, and until when it is worth finding out.
    let mut unknown: Option<(W::Output, Instant)> = None;
    loop {
        let AttemptError { error, if_committed } = match attempt(pool, &mut transaction, &id).await {
            Ok(output) => return Ok(output),
            Err(stopped) => stopped,
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
                    // All connections may be dead after a restart of the server, so each gets its turn.
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

async fn attempt<W: Transaction>(
    pool: &ConnectionPool,
    transaction: &mut W,
    id: &TransactionId,
) -> Result<W::Output, AttemptError<W::Output>> {
    let connection = pool.connection().await?;
    let result = transaction.run(&connection, id).await;
    if let Err(stopped) = &result {
        connection.end(&stopped.error).await;
    }
    result
}

/// Longer each time, and never the same for two that were in each other's way.
async fn back_off(attempt: u32) {
    let longest = Duration::from_millis(1 << attempt.min(8)).min(MAX_BACK_OFF);
    let mut chance = [0];
    // Without chance it is half of it.
    let share = getrandom::fill(&mut chance).map_or(0.5, |()| f32::from(chance[0]) / 255.0);
    tokio::time::sleep(longest.mul_f32(0.5 + share)).await;
}
