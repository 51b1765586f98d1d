//! What each tenant uses, beside what it may use.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{Counter, CounterVec, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Result};

use super::Maker;

/// What is counted for each tenant, by its name.
#[derive(Clone)]
pub(super) struct TenantVectors {
    /// How many tenants of a name there are: for a while two, when one was deleted and made again, and its series
    /// end with the last.
    tenants: Arc<Mutex<HashMap<String, usize>>>,
    connections: IntGaugeVec,
    running: IntGaugeVec,
    events: IntCounterVec,
    refused: IntCounterVec,
    written: IntCounterVec,
    sent: IntCounterVec,
    cpu: CounterVec,
    limits: GaugeVec,
    stored: GaugeVec,
}

impl TenantVectors {
    pub(super) fn new(make: &Maker) -> Result<Self> {
        let tenant = ["tenant"];
        let by_limit = ["tenant", "limit"];
        let counters = |name: &str, help: &str| make.counters(name, help, "tenant");
        let gauges = |name: &str, help: &str| make.add(IntGaugeVec::new(Opts::new(name, help), &tenant));
        let cpu = Opts::new(
            "parlance_tenant_guest_cpu_seconds_total",
            "Processor time of handlers, by tenant",
        );
        let limits = Opts::new("parlance_tenant_limit", "What a tenant may use, by tenant and limit");
        let stored = Opts::new(
            "parlance_tenant_stored",
            "What a tenant keeps in the store, by tenant and limit",
        );
        Ok(Self {
            tenants: Arc::default(),
            connections: gauges("parlance_tenant_connections", "Open connections, by tenant")?,
            running: gauges("parlance_tenant_instances", "Events in handlers, by tenant")?,
            events: counters("parlance_tenant_events_total", "Events let in, by tenant")?,
            refused: counters(
                "parlance_tenant_limited_total",
                "Events refused because a limit was hit, by tenant",
            )?,
            written: counters(
                "parlance_tenant_written_bytes_total",
                "Bytes written to the store as quota.write_bytes_per_second counts them, by tenant",
            )?,
            sent: counters(
                "parlance_tenant_outbound_bytes_total",
                "Bytes to clients as quota.outbound_bytes_per_second counts them, by tenant",
            )?,
            cpu: make.add(CounterVec::new(cpu, &tenant))?,
            limits: make.add(GaugeVec::new(limits, &by_limit))?,
            stored: make.add(GaugeVec::new(stored, &by_limit))?,
        })
    }

    /// Counts for one tenant of this name.
    pub(super) fn named(&self, name: &str) -> TenantMetrics {
        let label = [name];
        let mut tenants = self.tenants.lock();
        *tenants.entry(name.to_owned()).or_default() += 1;
        TenantMetrics {
            name: name.to_owned(),
            connections: self.connections.with_label_values(&label),
            running: self.running.with_label_values(&label),
            events: self.events.with_label_values(&label),
            refused: self.refused.with_label_values(&label),
            written: self.written.with_label_values(&label),
            sent: self.sent.with_label_values(&label),
            cpu: self.cpu.with_label_values(&label),
            vectors: self.clone(),
        }
    }
}

/// What one tenant uses. Its series end when this is dropped and no other tenant of its name is left.
pub struct TenantMetrics {
    name: String,
    vectors: TenantVectors,
    /// Open connections.
    pub connections: IntGauge,
    /// Events in handlers.
    pub running: IntGauge,
    /// Events that were let in.
    pub events: IntCounter,
    /// Events that were refused because a limit was hit.
    pub refused: IntCounter,
    /// Bytes written to the store.
    pub written: IntCounter,
    /// Bytes that went out to clients.
    pub sent: IntCounter,
    cpu: Counter,
}

/// The names under which a tenant's limits are shown beside what it uses.
const LIMITS: [&str; 9] = [
    "connections",
    "instances",
    "events_per_second",
    "guest_cpu_seconds_per_second",
    "write_bytes_per_second",
    "outbound_bytes_per_second",
    "message_bytes",
    "kv_bytes",
    "rooms",
];
/// Of those, what is kept in the store.
const STORED: [&str; 3] = ["message_bytes", "kv_bytes", "rooms"];

impl TenantMetrics {
    /// Threads were busy with its handlers for so long.
    pub fn spent(&self, cpu: Duration) {
        self.cpu.inc_by(cpu.as_secs_f64());
    }

    /// Shows what it keeps: bytes of messages, bytes of key-value data, rooms.
    pub fn stored(&self, stored: [f64; 3]) {
        self.show(&self.vectors.stored, STORED, stored);
    }

    /// Shows its limits: connections, events in handlers, and in a second events, seconds of processor time, bytes
    /// written and bytes to clients; then those of [`stored`](Self::stored).
    pub fn limits(&self, limits: [f64; 9]) {
        self.show(&self.vectors.limits, LIMITS, limits);
    }

    fn show<const N: usize>(&self, gauges: &GaugeVec, names: [&str; N], values: [f64; N]) {
        for (name, value) in names.into_iter().zip(values) {
            gauges.with_label_values(&[self.name.as_str(), name]).set(value);
        }
    }
}

impl Drop for TenantMetrics {
    fn drop(&mut self) {
        let mut tenants = self.vectors.tenants.lock();
        if let Some(others) = tenants.get_mut(&self.name) {
            *others = others.saturating_sub(1);
            if *others > 0 {
                return;
            }
        }
        tenants.remove(&self.name);
        let name = [self.name.as_str()];
        let TenantVectors {
            tenants: _,
            connections,
            running,
            events,
            refused,
            written,
            sent,
            cpu,
            limits,
            stored,
        } = &self.vectors;
        // One that is not there has been removed already.
        for gauges in [connections, running] {
            let _ = gauges.remove_label_values(&name);
        }
        for counters in [events, refused, written, sent] {
            let _ = counters.remove_label_values(&name);
        }
        let _ = cpu.remove_label_values(&name);
        for limit in LIMITS {
            let _ = limits.remove_label_values(&[self.name.as_str(), limit]);
        }
        for what in STORED {
            let _ = stored.remove_label_values(&[self.name.as_str(), what]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use crate::metrics::Metrics;

    #[test]
    fn a_tenants_series_end_with_the_last_of_its_name() {
        let metrics = Metrics::new().unwrap();
        let shown = || metrics.render().unwrap().contains("tenant=\"acme\"");
        let old = metrics.tenant("acme");
        let new = metrics.tenant("acme");
        new.limits([1.0; 9]);
        new.stored([1.0; 3]);
        new.events.inc();
        drop(old);
        let text = metrics.render().unwrap();
        for line in [
            "parlance_tenant_events_total{tenant=\"acme\"} 1",
            "parlance_tenant_limit{limit=\"rooms\",tenant=\"acme\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
        drop(new);
        assert!(!shown());
        drop(metrics.tenant("acme"));
        assert!(!shown(), "and so do those of one that comes later");
    }
}
