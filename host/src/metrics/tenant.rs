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
    rooms: IntGaugeVec,
    limits: [GaugeVec; LIMITS.len()],
    stored: [GaugeVec; STORED.len()],
}

/// The name and help of a gauge. Each has one unit, which its name ends with.
type Named = (&'static str, &'static str);

/// Shown beside what the tenant uses: its limits, in the order of [`TenantMetrics::limits`].
const LIMITS: [Named; 9] = [
    (
        "parlance_tenant_connections_limit",
        "Open connections that a tenant may have, by tenant",
    ),
    (
        "parlance_tenant_instances_limit",
        "Events that may be in a tenant's handlers at once, by tenant",
    ),
    (
        "parlance_tenant_events_limit_per_second",
        "Events that a tenant's clients may send in a second, by tenant",
    ),
    (
        "parlance_tenant_guest_cpu_limit_cores",
        "Seconds of processor time that a tenant's handlers may use in a second, by tenant",
    ),
    (
        "parlance_tenant_written_limit_bytes_per_second",
        "Bytes that a tenant may write to the store in a second, by tenant",
    ),
    (
        "parlance_tenant_outbound_limit_bytes_per_second",
        "Bytes that may go out to a tenant's clients in a second, by tenant",
    ),
    (
        "parlance_tenant_stored_messages_limit_bytes",
        "Bytes of messages that a tenant may keep in the store, by tenant",
    ),
    (
        "parlance_tenant_stored_kv_limit_bytes",
        "Bytes of key-value data that a tenant may keep in the store, by tenant",
    ),
    (
        "parlance_tenant_stored_rooms_limit",
        "Rooms with messages that a tenant may keep in the store, by tenant",
    ),
];
/// What a tenant keeps in the store, in the order of [`TenantMetrics::stored`].
const STORED: [Named; 3] = [
    (
        "parlance_tenant_stored_messages_bytes",
        "Bytes of messages that a tenant keeps in the store, by tenant",
    ),
    (
        "parlance_tenant_stored_kv_bytes",
        "Bytes of key-value data that a tenant keeps in the store, by tenant",
    ),
    (
        "parlance_tenant_stored_rooms",
        "Rooms with messages that a tenant keeps in the store, by tenant",
    ),
];

impl TenantVectors {
    pub(super) fn new(make: &Maker) -> Result<Self> {
        let tenant = ["tenant"];
        let counters = |name: &str, help: &str| make.counters(name, help, "tenant");
        let gauges = |name: &str, help: &str| make.add(IntGaugeVec::new(Opts::new(name, help), &tenant));
        let cpu = Opts::new(
            "parlance_tenant_guest_cpu_seconds_total",
            "Processor time of handlers, by tenant",
        );
        let gauge = |(name, help): Named| make.add(GaugeVec::new(Opts::new(name, help), &tenant));
        let [a, b, c, d, e, f, g, h, i] = LIMITS;
        let [messages, kv, rooms] = STORED;
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
            rooms: gauges(
                "parlance_tenant_rooms",
                "Rooms with a connection in them on this node, by tenant",
            )?,
            limits: [
                gauge(a)?,
                gauge(b)?,
                gauge(c)?,
                gauge(d)?,
                gauge(e)?,
                gauge(f)?,
                gauge(g)?,
                gauge(h)?,
                gauge(i)?,
            ],
            stored: [gauge(messages)?, gauge(kv)?, gauge(rooms)?],
        })
    }

    /// The rooms of one tenant of this name.
    pub(super) fn rooms_of(&self, name: &str) -> IntGauge {
        self.rooms.with_label_values(&[name])
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

impl TenantMetrics {
    /// Threads were busy with its handlers for so long.
    pub fn spent(&self, cpu: Duration) {
        self.cpu.inc_by(cpu.as_secs_f64());
    }

    /// Shows what it keeps: bytes of messages, bytes of key-value data, rooms.
    pub fn stored(&self, stored: [f64; 3]) {
        self.show(&self.vectors.stored, stored);
    }

    /// Shows its limits: connections, events in handlers, and in a second events, seconds of processor time, bytes
    /// written and bytes to clients; then those of [`stored`](Self::stored).
    pub fn limits(&self, limits: [f64; 9]) {
        self.show(&self.vectors.limits, limits);
    }

    fn show<const N: usize>(&self, gauges: &[GaugeVec; N], values: [f64; N]) {
        for (gauge, value) in gauges.iter().zip(values) {
            gauge.with_label_values(&[self.name.as_str()]).set(value);
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
            rooms,
            limits,
            stored,
        } = &self.vectors;
        // One that is not there has been removed already.
        for gauges in [connections, running, rooms] {
            let _ = gauges.remove_label_values(&name);
        }
        for counters in [events, refused, written, sent] {
            let _ = counters.remove_label_values(&name);
        }
        let _ = cpu.remove_label_values(&name);
        for gauges in limits.iter().chain(stored) {
            let _ = gauges.remove_label_values(&name);
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
        metrics.hub("acme").rooms.set(3);
        metrics.hub("globex").rooms.set(4);
        drop(old);
        let text = metrics.render().unwrap();
        for line in [
            "parlance_tenant_events_total{tenant=\"acme\"} 1",
            "parlance_tenant_stored_rooms_limit{tenant=\"acme\"} 1",
            "parlance_tenant_rooms{tenant=\"acme\"} 3",
        ] {
            assert!(text.contains(line), "{text}");
        }
        drop(new);
        assert!(!shown());
        drop(metrics.tenant("acme"));
        assert!(!shown(), "and so do those of one that comes later");
    }
}
