//! How the bus is doing, for `/readyz` and `/metrics`.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How the bus is doing. The counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusStatus {
    /// Whether messages get through, both ways.
    pub connected: bool,
    /// For how long that has been so.
    pub since: Duration,
    /// Why the last attempt to connect failed, or the last connection ended, while there is none.
    pub error: Option<String>,
    /// Other nodes of Parlance that are alive, as far as is known.
    pub nodes: usize,
    /// Messages that wait to be published.
    pub queued: usize,
    /// Messages given to Redis.
    pub published: u64,
    /// Messages that were dropped: the queue was full, or Redis away.
    pub dropped: u64,
    /// Messages from other nodes.
    pub received: u64,
    /// Messages for namespaces that no tenant has here.
    pub unknown_namespaces: u64,
    /// Messages that could not be read, or were too large.
    pub malformed: u64,
    /// Messages that a hub had no room for; the hub has caught up since, or is about to.
    pub overflowed: u64,
}

struct ConnectionStatus {
    connected: bool,
    since: Instant,
    error: Option<String>,
}

/// Where it is counted.
pub(super) struct Counts {
    connection: Mutex<ConnectionStatus>,
    pub(super) nodes: AtomicUsize,
    /// Those of them with a lower id.
    pub(super) lower_nodes: AtomicUsize,
    pub(super) published: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) received: AtomicU64,
    pub(super) unknown_namespaces: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) overflowed: AtomicU64,
}

/// Counts one more.
pub(super) fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Counts so many more.
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

    /// Gives whether it was connected until now.
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
