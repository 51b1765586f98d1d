//! Metrics of hubs: latency of events, failures, rooms.

use std::sync::Arc;
use std::time::Duration;

use parlance_types::error::Code;
use parlance_types::id::TenantId;
use parlance_types::metrics::{ByTenant, Histogram, IntCounter, IntGauge, LATENCY_BUCKETS, Registry, Result, Series};

/// Metrics of the hubs of all tenants.
pub struct Metrics {
    latency: Histogram,
    failures: Arc<Failures>,
    rooms: ByTenant<IntGauge>,
}

/// Events that failed, by code.
type Failures = [(Code, IntCounter)];

impl Metrics {
    /// Registers them with the server's registry.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self> {
        let failures = registry.counters("parlance_event_failures_total", "Events that failed, by code", "code")?;
        Ok(Self {
            latency: registry.histogram(
                "parlance_event_seconds",
                "From an event's packet to its delivery, durable where it writes",
                &LATENCY_BUCKETS,
            )?,
            failures: Code::ALL
                .iter()
                .map(|code| (*code, failures.with_label_values(&[code.as_str()])))
                .collect(),
            rooms: registry.gauge_by_tenant(
                "parlance_tenant_rooms",
                "Rooms with a connection in them on this node, by tenant",
            )?,
        })
    }

    pub(super) fn hub(&self, tenant: &TenantId) -> HubMetrics {
        HubMetrics {
            latency: self.latency.clone(),
            failures: self.failures.clone(),
            rooms: self.rooms.of(tenant.as_str()),
        }
    }
}

/// Metrics of one tenant's hub. Its task and its handles share them.
pub(super) struct HubMetrics {
    latency: Histogram,
    failures: Arc<Failures>,
    rooms: Series<IntGauge>,
}

impl HubMetrics {
    /// Counts an event that has become visible, or whose failure has been told.
    pub(super) fn delivered(&self, since_packet: Duration) {
        self.latency.observe(since_packet.as_secs_f64());
    }

    /// Counts an event that has failed.
    pub(super) fn failed(&self, code: Code) {
        if let Some((_, counter)) = self.failures.iter().find(|(own, _)| *own == code) {
            counter.inc();
        }
    }

    /// Sets the number of rooms with members on this node.
    pub(super) fn show_rooms(&self, rooms: usize) {
        self.rooms.set(i64::try_from(rooms).unwrap_or(i64::MAX));
    }
}
