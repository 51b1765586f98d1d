//! What handlers log, as it happens, for whoever watches.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// Lines that wait for one watcher; who is slower loses the oldest and is told how many.
const WAITING: usize = 1024;

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Whose handler.
    pub tenant: String,
    /// Which handler.
    pub handler: String,
    /// Its version; 0 for one that was not deployed.
    pub version: u64,
    /// The connection's id and the event's number on it, as clients are told.
    pub event: String,
    /// `trace`, `debug`, `info`, `warn`, `error`; `trap` for a handler that was stopped.
    pub level: String,
    /// What it says; for a trap the cause and the backtrace.
    pub text: String,
}

/// Where lines pass by. Costs next to nothing while nobody watches.
#[derive(Clone)]
pub struct LogHub(broadcast::Sender<Arc<LogLine>>);

impl Default for LogHub {
    fn default() -> Self {
        Self(broadcast::channel(WAITING).0)
    }
}

impl LogHub {
    /// Shows a line to whoever watches; it is only made when somebody does.
    pub fn publish(&self, line: impl FnOnce() -> LogLine) {
        if self.0.receiver_count() > 0 {
            // The last watcher may have gone in between.
            let _ = self.0.send(Arc::new(line()));
        }
    }

    /// Watches from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Arc<LogLine>> {
        self.0.subscribe()
    }
}
