//! The signals that stop the server, and the last steps of its shutdown.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal as unix_signal};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::database::Database;

/// Signals within this time of the first one count as one: a terminal, `make`, `npm` and a supervisor may each pass on
/// the same Ctrl-C.
const ONE_SIGNAL: Duration = Duration::from_millis(500);

/// Receives SIGHUP from the start of the server on; without a receiver the signal would kill the process.
pub(super) struct Hangup {
    signal: Signal,
    /// Whether SIGHUP stops the server: in development mode, where it comes from a closed terminal.
    stops: bool,
}

impl Hangup {
    /// Receives SIGHUP from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn listen(development: bool) -> Result<Self> {
        Ok(Self {
            signal: unix_signal(SignalKind::hangup()).context("SIGHUP cannot be waited for")?,
            stops: development,
        })
    }
}

/// Waits for SIGTERM, SIGINT, and in development mode SIGHUP. After that a second signal ends the process at once, for
/// as long as the handle is kept. Before this is called, SIGTERM and SIGINT end the process by default: there is
/// nothing to finish yet.
pub(super) async fn signal(hangup: Hangup) -> Result<AbortOnDropHandle<()>> {
    let mut signals = Signals {
        terminate: unix_signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?,
        interrupt: unix_signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?,
        hangup,
    };
    signals.next().await;
    let first = Instant::now();
    Ok(AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            signals.next().await;
            if first.elapsed() >= ONE_SIGNAL {
                break;
            }
        }
        tracing::warn!("told to stop a second time: the process ends at once; what was acknowledged is safe");
        std::process::exit(1);
    })))
}

/// The signals that stop the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Hangup,
}

impl Signals {
    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.signal.recv() => {
                    if self.hangup.stops {
                        return;
                    }
                    tracing::warn!(
                        "SIGHUP is refused: the configuration file is read at the start only. Restart the server to \
                         read it again; `parlance tenants` and `parlance deploy` change a running server"
                    );
                }
            }
        }
    }
}

/// Waits until the committer has written its last batch, and closes the store.
pub(super) async fn finish(committing: JoinHandle<()>, database: &Database, deadline: Instant, left: usize) {
    if left > 0 {
        tracing::warn!(
            connections = left,
            "clients that did not read what was sent to them, or whose events took too long, were cut off"
        );
    }
    // Sessions that are left keep the committer running. What they have submitted is committed in order.
    if tokio::time::timeout_at(deadline, committing).await.is_err() {
        tracing::warn!("some events were not committed in time; they were not acknowledged");
    }
    database.close().await;
    tracing::info!("stopped");
}
