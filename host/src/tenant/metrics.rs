//! Metrics of each tenant: what it uses, beside its limits.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::TenantLimits;
use parlance_store::Usage;
use parlance_types::id::TenantId;
use parlance_types::metrics::{ByTenant, Counter, Gauge, IntCounter, IntGauge, Registry, Result, Series};

/// A gauge: its name, its help, and where its value is read. Each has one unit, which its name ends with.
type Shown<T> = (&'static str, &'static str, fn(&T) -> f64);

/// Gauges of a tenant's limits.
#[allow(clippy::cast_precision_loss, reason = "nobody reads that many digits")]
const LIMITS: [Shown<TenantLimits>; 9] = [
    (
        "parlance_tenant_connections_limit",
        "Open connections that a tenant may have, by tenant",
        |limits| limits.quota.connections as f64,
    ),
    (
        "parlance_tenant_instances_limit",
        "Events that may be in a tenant's handlers at once, by tenant",
        |limits| limits.quota.instances as f64,
    ),
    (
        "parlance_tenant_events_limit_per_second",
        "Events that a tenant's clients may send in a second, by tenant",
        |limits| limits.quota.events_per_second as f64,
    ),
    (
        "parlance_tenant_guest_cpu_limit_cores",
        "Seconds of processor time that a tenant's handlers may use in a second, by tenant",
        |limits| limits.quota.guest_cpu.as_secs_f64(),
    ),
    (
        "parlance_tenant_written_limit_bytes_per_second",
        "Bytes that a tenant may write to the store in a second, by tenant",
        |limits| limits.quota.write_bytes_per_second as f64,
    ),
    (
        "parlance_tenant_outbound_limit_bytes_per_second",
        "Bytes that may go out to a tenant's clients in a second, by tenant",
        |limits| limits.quota.outbound_bytes_per_second as f64,
    ),
    (
        "parlance_tenant_stored_messages_limit_bytes",
        "Bytes of messages that a tenant may keep in the store, by tenant",
        |limits| limits.storage.message_bytes as f64,
    ),
    (
        "parlance_tenant_stored_kv_limit_bytes",
        "Bytes of key-value data that a tenant may keep in the store, by tenant",
        |limits| limits.storage.kv_bytes as f64,
    ),
    (
        "parlance_tenant_stored_rooms_limit",
        "Rooms with messages that a tenant may keep in the store, by tenant",
        |limits| limits.storage.rooms as f64,
    ),
];

/// Gauges of what a tenant keeps in the store.
#[allow(clippy::cast_precision_loss, reason = "nobody reads that many digits")]
const STORED: [Shown<Usage>; 3] = [
    (
        "parlance_tenant_stored_messages_bytes",
        "Bytes of messages that a tenant keeps in the store, by tenant",
        |usage| usage.message_bytes as f64,
    ),
    (
        "parlance_tenant_stored_kv_bytes",
        "Bytes of key-value data that a tenant keeps in the store, by tenant",
        |usage| usage.kv_bytes as f64,
    ),
    (
        "parlance_tenant_stored_rooms",
        "Rooms with messages that a tenant keeps in the store, by tenant",
        |usage| usage.rooms as f64,
    ),
];

/// Metrics of all tenants.
pub struct Metrics {
    connections: ByTenant<IntGauge>,
    running: ByTenant<IntGauge>,
    admitted: ByTenant<IntCounter>,
    refused: ByTenant<IntCounter>,
    written: ByTenant<IntCounter>,
    sent: ByTenant<IntCounter>,
    cpu: ByTenant<Counter>,
    limits: Vec<ByTenant<Gauge>>,
    stored: Arc<[ByTenant<Gauge>]>,
}

impl Metrics {
    /// Registers them with the server's registry.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self> {
        Ok(Self {
            connections: registry.gauge_by_tenant("parlance_tenant_connections", "Open connections, by tenant")?,
            running: registry.gauge_by_tenant("parlance_tenant_instances", "Events in handlers, by tenant")?,
            admitted: registry.counter_by_tenant("parlance_tenant_events_total", "Events let in, by tenant")?,
            refused: registry.counter_by_tenant(
                "parlance_tenant_limited_total",
                "Events refused because a limit was hit, by tenant",
            )?,
            written: registry.counter_by_tenant(
                "parlance_tenant_written_bytes_total",
                "Bytes written to the store as quota.write_bytes_per_second counts them, by tenant",
            )?,
            sent: registry.counter_by_tenant(
                "parlance_tenant_outbound_bytes_total",
                "Bytes to clients and other nodes as quota.outbound_bytes_per_second counts them, by tenant",
            )?,
            cpu: registry.float_counter_by_tenant(
                "parlance_tenant_guest_cpu_seconds_total",
                "Processor time of handlers, by tenant",
            )?,
            limits: gauges(registry, &LIMITS)?,
            stored: gauges(registry, &STORED)?.into(),
        })
    }

    /// The metrics of this tenant.
    pub(super) fn tenant(&self, id: &TenantId) -> TenantMetrics {
        let name = id.as_str();
        TenantMetrics {
            connections: self.connections.of(name),
            running: self.running.of(name),
            admitted: self.admitted.of(name),
            refused: self.refused.of(name),
            written: self.written.of(name),
            sent: self.sent.of(name),
            cpu: self.cpu.of(name),
            limits: self.limits.iter().map(|limit| limit.of(name)).collect(),
            stored: self.stored.clone(),
            measured: OnceLock::new(),
        }
    }
}

fn gauges<T>(registry: &Registry, shown: &[Shown<T>]) -> Result<Vec<ByTenant<Gauge>>> {
    let gauge = |(name, help, _): &Shown<T>| registry.float_gauge_by_tenant(name, help);
    shown.iter().map(gauge).collect()
}

/// Metrics of one tenant.
pub(super) struct TenantMetrics {
    /// Open connections.
    pub(super) connections: Series<IntGauge>,
    /// Events in handlers.
    pub(super) running: Series<IntGauge>,
    /// Events that were let in.
    pub(super) admitted: Series<IntCounter>,
    /// Events that were refused because a limit was hit.
    pub(super) refused: Series<IntCounter>,
    /// Bytes written to the store.
    pub(super) written: Series<IntCounter>,
    /// Bytes that went out to clients.
    pub(super) sent: Series<IntCounter>,
    cpu: Series<Counter>,
    limits: Vec<Series<Gauge>>,
    stored: Arc<[ByTenant<Gauge>]>,
    /// The series of `stored`, which begin when that is known.
    measured: OnceLock<Vec<Series<Gauge>>>,
}

impl TenantMetrics {
    /// Counts processor time of its handlers.
    pub(super) fn spent(&self, cpu: Duration) {
        self.cpu.inc_by(cpu.as_secs_f64());
    }

    /// Shows its limits.
    pub(super) fn show_limits(&self, limits: &TenantLimits) {
        show(&self.limits, &LIMITS, limits);
    }

    /// Shows what it keeps in the store.
    pub(super) fn show_stored(&self, tenant: &TenantId, usage: &Usage) {
        let series = || self.stored.iter().map(|stored| stored.of(tenant.as_str())).collect();
        show(self.measured.get_or_init(series), &STORED, usage);
    }
}

fn show<T>(gauges: &[Series<Gauge>], shown: &[Shown<T>], value: &T) {
    for (gauge, (_, _, read)) in gauges.iter().zip(shown) {
        gauge.set(read(value));
    }
}
