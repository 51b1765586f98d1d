//! When to stop, and the last steps.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal as unix_signal};
use tokio::task::JoinHandle;

use super::database::Database;

/// Waits for SIGTERM or SIGINT. A second one ends the process at once.
pub(super) async fn signal() -> Result<()> {
    let mut terminate = unix_signal(SignalKind::terminate()).context("SIGTERM cannot be waited for")?;
    let mut interrupt = unix_signal(SignalKind::interrupt()).context("SIGINT cannot be waited for")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("told to stop twice: leaving at once; what was acknowledged is safe");
        std::process::exit(1);
    });
    Ok(())
}

/// Waits for the committer's last batch and closes the store.
pub(super) async fn finish(committing: JoinHandle<()>, database: &Database, time: Duration, left: usize) {
    if left > 0 {
        tracing::warn!(connections = left, "some clients did not go in time and are cut off");
    }
    // Sessions that are left hold the committer open; what they submitted is committed in order all the same.
    if tokio::time::timeout(time, committing).await.is_err() {
        tracing::warn!("not everything in flight was finished in time; it was not acknowledged either");
    }
    database.close().await;
    tracing::info!("stopped");
}
