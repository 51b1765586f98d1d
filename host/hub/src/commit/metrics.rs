//! Metrics of the committer: transactions and messages.

use std::time::Duration;

use parlance_types::metrics::{Histogram, IntCounter, LATENCY_BUCKETS, Registry, Result};

/// Buckets for events in one transaction.
const BATCH_BUCKETS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Metrics of the committer.
pub struct Metrics {
    /// Messages appended to history.
    pub(super) messages: IntCounter,
    /// Transactions that failed.
    pub(super) failures: IntCounter,
    commits: IntCounter,
    time: Histogram,
    batch: Histogram,
}

impl Metrics {
    /// Registers them with the server's registry.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self> {
        Ok(Self {
            messages: registry.counter("parlance_messages_total", "Messages appended to history")?,
            failures: registry.counter("parlance_commit_failures_total", "Transactions that failed")?,
            commits: registry.counter("parlance_commits_total", "Transactions")?,
            time: registry.histogram("parlance_commit_seconds", "Time of a transaction", &LATENCY_BUCKETS)?,
            batch: registry.histogram(
                "parlance_commit_batch_events",
                "Events in a transaction",
                &BATCH_BUCKETS,
            )?,
        })
    }

    /// Counts a transaction that was committed.
    pub(super) fn committed(&self, events: usize, time: Duration) {
        self.commits.inc();
        self.time.observe(time.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a batch has at most thousands")]
        self.batch.observe(events as f64);
    }
}
