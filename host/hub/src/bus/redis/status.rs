//! Counts for the state of the bus, which `/readyz` and `/metrics` show.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::BusStatus;

struct ConnectionStatus {
    connected: bool,
    since: Instant,
    error: Option<String>,
}

/// The counters behind a [`BusStatus`].
pub(super) struct Counts {
    connection: Mutex<ConnectionStatus>,
    pub(super) nodes: AtomicUsize,
    /// Live other nodes with a lower id.
    pub(super) lower_nodes: AtomicUsize,
    pub(super) published: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) unknown_namespaces: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) overflowed: AtomicU64,
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds a number.
pub(super) fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            connection: Mutex::new(ConnectionStatus {
                connected: false,
                since: Instant::now(),
                error: None,
            }),
            nodes: AtomicUsize::new(0),
            lower_nodes: AtomicUsize::new(0),
            published: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            received: AtomicU64::new(0),
            unknown_namespaces: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    pub(super) fn connected(&self) {
        *self.connection.lock() = ConnectionStatus {
            connected: true,
            since: Instant::now(),
            error: None,
        };
    }

    /// Notes the loss of the connection, or a failed attempt to connect. Returns whether there was a connection until
    /// now.
    pub(super) fn disconnected(&self, error: String) -> bool {
        let mut connection = self.connection.lock();
        let was = std::mem::replace(&mut connection.connected, false);
        if was {
            connection.since = Instant::now();
        }
        connection.error = Some(error);
        was
    }

    pub(super) fn read(&self, queued: usize) -> BusStatus {
        let connection = self.connection.lock();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStatus {
            connected: connection.connected,
            since: connection.since.elapsed(),
            error: connection.error.clone(),
            nodes: self.nodes.load(Ordering::Relaxed),
            queued,
            published: read(&self.published),
            dropped: read(&self.dropped),
            received: read(&self.received),
            unknown_namespaces: read(&self.unknown_namespaces),
            malformed: read(&self.malformed),
            overflowed: read(&self.overflowed),
        }
    }
}
