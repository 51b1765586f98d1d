//! Metrics of the bus.

use super::BusStatus;
use parlance_types::metrics::{IntCounter, IntGauge, Registry, Result};

/// Metrics of the bus. All are 0 on a node that has none.
#[derive(Clone)]
pub struct Metrics {
    connected: IntGauge,
    nodes: IntGauge,
    queued: IntGauge,
    published: IntCounter,
    received: IntCounter,
    dropped: IntCounter,
    malformed: IntCounter,
}

impl Metrics {
    /// Registers them with the server's registry.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self> {
        Ok(Self {
            connected: registry.gauge(
                "parlance_redis_connected",
                "1 while Redis carries messages between nodes",
            )?,
            nodes: registry.gauge("parlance_redis_nodes", "Other nodes that are alive")?,
            queued: registry.gauge("parlance_redis_queued", "Messages that wait to be published")?,
            published: registry.counter("parlance_redis_published_total", "Messages given to Redis")?,
            received: registry.counter("parlance_redis_received_total", "Messages from other nodes")?,
            dropped: registry.counter(
                "parlance_redis_dropped_total",
                "Messages dropped on the way to or from other nodes, and caught up with from the store",
            )?,
            malformed: registry.counter("parlance_redis_malformed_total", "Messages that could not be read")?,
        })
    }

    /// Shows the status as it is now.
    pub fn show(&self, status: &BusStatus) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.connected.set(status.connected.into());
        self.nodes.set(number(status.nodes));
        self.queued.set(number(status.queued));
        for (counter, count) in [
            (&self.published, status.published),
            (&self.received, status.received),
            (&self.dropped, status.dropped + status.overflowed),
            (&self.malformed, status.malformed),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}
