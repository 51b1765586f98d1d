//! A transaction that is done once, whatever becomes of the connection.
//!
//! Every transaction of ours inserts a row of its own into `commits`, first thing, under a number chosen at random
//! before. When the connection is lost after `COMMIT` was sent, nobody knows whether it was done. The transaction is
//! then tried again with the same number: the insert waits for the end of the lost one, should it still be at it, and
//! then either succeeds (the lost one was not committed, this one goes on), or the number is there, and what the lost
//! one decided is the answer. A connection that comes back from the dead finds the number taken as well.

use std::time::Duration;

use tokio::time::Instant;

use super::fault::{Fault, Remedy};
use super::pool::{Link, Session, Step};
use crate::store::StoreError;

/// How often a transaction gives way to others before it gives up.
const CONFLICTS: u32 = 20;
/// The longest pause before trying again, give or take half of it.
const PAUSE: Duration = Duration::from_millis(200);
/// The unique index that tells whether a transaction was committed.
const NUMBERS: &str = "commits_pkey";

pub(super) const INSERT_NUMBER: &str = "INSERT INTO commits (id) VALUES ($1)";

/// The number of one transaction, over all its attempts.
pub(super) struct Number([u8; 16]);

impl Number {
    pub(super) fn new() -> Result<Self, Fault> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(|error| Fault::Corrupt(error.into()))?;
        Ok(Self(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The steps that begin every transaction. `number` is `Number::bytes`.
pub(super) fn begin<'a>(number: &'a &'a [u8]) -> Vec<Step<'a>> {
    vec![
        Step::Plain("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
        Step::Run(INSERT_NUMBER, vec![number]),
    ]
}

/// A transaction that stopped.
pub(super) struct Stopped<T> {
    pub(super) fault: Fault,
    /// What it comes to if it was committed; `None` when `COMMIT` was not sent.
    pub(super) decided: Option<T>,
}

impl<T> From<Fault> for Stopped<T> {
    fn from(fault: Fault) -> Self {
        Self { fault, decided: None }
    }
}

/// What a transaction does, from its first statement (see [`begin`]) to `COMMIT`. May be tried several times.
#[async_trait::async_trait]
pub(super) trait Work: Send {
    type Output: Send;

    async fn run(&mut self, session: &Session, number: &Number) -> Result<Self::Output, Stopped<Self::Output>>;
}

/// Does it, trying again for as long as that makes sense. After an error nothing has been written, but for one case:
/// the connection was lost while committing and the server has not been back within `statement_time`. Then it may or
/// may not have been, and the error says so in the log.
pub(super) async fn once<W: Work>(link: &Link, mut work: W) -> Result<W::Output, StoreError> {
    let number = Number::new()?;
    let (mut conflicts, mut reconnects, mut questions) = (0, 0, 0);
    // What the last attempt decided whose outcome nobody knows, and until when it is worth finding out.
    let mut unknown: Option<(W::Output, Instant)> = None;
    loop {
        let Stopped { fault, decided } = match attempt(link, &mut work, &number).await {
            Ok(output) => return Ok(output),
            Err(stopped) => stopped,
        };
        if fault.violates(NUMBERS)
            && let Some((output, _)) = unknown.take()
        {
            return Ok(output);
        }
        match fault.remedy() {
            Remedy::Again if conflicts < CONFLICTS => {
                conflicts += 1;
                pause(conflicts).await;
            }
            Remedy::Reconnect => {
                if let Some(output) = decided {
                    let until =
                        unknown.map_or_else(|| Instant::now() + link.settings().statement_time, |known| known.1);
                    unknown = Some((output, until));
                }
                match &unknown {
                    Some((_, until)) if Instant::now() < *until => {
                        questions += 1;
                        pause(questions).await;
                    }
                    Some(_) => {
                        tracing::warn!("the database went away during a commit; what became of it is not known");
                        return Err(fault.into());
                    }
                    // All connections may be dead after a restart of the server, so each gets its turn.
                    None if matches!(fault, Fault::Failed(_)) && reconnects <= link.settings().connections => {
                        reconnects += 1;
                    }
                    None => return Err(fault.into()),
                }
            }
            Remedy::Again | Remedy::GiveUp => return Err(fault.into()),
        }
    }
}

async fn attempt<W: Work>(link: &Link, work: &mut W, number: &Number) -> Result<W::Output, Stopped<W::Output>> {
    let session = link.session().await?;
    let result = work.run(&session, number).await;
    if let Err(stopped) = &result {
        session.end(&stopped.fault).await;
    }
    result
}

/// Longer each time, and never the same for two that were in each other's way.
async fn pause(attempt: u32) {
    let longest = Duration::from_millis(1 << attempt.min(8)).min(PAUSE);
    let mut chance = [0];
    // Without chance it is half of it.
    let share = getrandom::fill(&mut chance).map_or(0.5, |()| f32::from(chance[0]) / 255.0);
    tokio::time::sleep(longest.mul_f32(0.5 + share)).await;
}
