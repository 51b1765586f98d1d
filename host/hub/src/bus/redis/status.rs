//! The state of the bus, for `/readyz` and `/metrics`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The state of the bus. Its counts are those since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusStatus {
    /// Whether messages get through, both ways.
    pub connected: bool,
    /// For how long `connected` has had this value.
    pub since: Duration,
    /// While there is no connection: why the last attempt to connect failed, or why the last connection ended.
    pub error: Option<String>,
    /// Live other nodes of Parlance, as far as this node knows.
    pub nodes: usize,
    /// Messages that wait to be published.
    pub queued: usize,
    /// Messages that Redis has taken.
    pub published: u64,
    /// Messages that were dropped because the queue was full or Redis was not reachable.
    pub dropped: u64,
    /// Messages received from Redis.
    pub received: u64,
    /// Messages for namespaces that no tenant of this node has.
    pub unknown_namespaces: u64,
    /// Messages that could not be decoded, or were too large.
    pub malformed: u64,
    /// Messages that did not fit into a hub's inbox. The hub has caught up since, or is about to.
    pub overflowed: u64,
}

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
