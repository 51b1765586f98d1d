//! What the server counts, for `/metrics` in the Prometheus text format.
//!
//! Everything that an event touches is looked up by its labels once, here: counting is an atomic addition.

mod tenant;

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::error::Code;
use crate::sandbox::{Interface, RetireReason, TrapKind};
use tenant::TenantVectors;

pub use tenant::TenantMetrics;

/// Seconds, from 50 microseconds to 5 seconds.
const LATENCY: [f64; 15] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];
/// Seconds, from 5 microseconds to 10 seconds: waiting counts too.
const GUEST_TIME: [f64; 15] = [
    0.000_005, 0.000_01, 0.000_015, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5,
    2.0, 10.0,
];
/// Events in one transaction.
const BATCH: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// What the server counts.
pub struct Metrics {
    registry: Registry,
    /// Open connections.
    pub connections: IntGauge,
    /// Engine.IO sessions, with those that are in no namespace yet.
    pub sessions: IntGauge,
    /// Engine.IO sessions that are in no namespace yet.
    pub unauthenticated: IntGauge,
    sessions_refused: IntCounterVec,
    /// Connections that were accepted.
    pub connected: IntCounter,
    /// Connections that were refused.
    pub refused: RefusedMetrics,
    /// Connections that were closed because the client did not read.
    pub too_slow: IntCounter,
    /// Events refused because too many of the same connection were waiting.
    pub queue_full: IntCounter,
    /// Messages appended to history.
    pub messages: IntCounter,
    /// Transactions.
    pub commits: IntCounter,
    /// Transactions that failed.
    pub commit_failures: IntCounter,
    latency: Histogram,
    commit_time: Histogram,
    commit_batch: Histogram,
    handled: Vec<(Interface, IntCounter, Histogram)>,
    host_handled: IntCounter,
    failures: Vec<(Code, IntCounter)>,
    traps: Vec<(TrapKind, IntCounter)>,
    warm: (IntCounter, IntCounter),
    retired: Vec<(RetireReason, IntCounter)>,
    tenants: TenantVectors,
    /// The way to other nodes; all 0 where there is none.
    pub redis: RedisMetrics,
}

/// Connections that were refused, by what for.
pub struct RefusedMetrics {
    /// The token, or that there was none.
    pub token: IntCounter,
    /// The tenant or the user has as many connections as allowed.
    pub quota: IntCounter,
    /// The server has.
    pub server_full: IntCounter,
    /// The tenant is suspended, or the server is about to stop.
    pub closed: IntCounter,
}

/// How the way to other nodes is doing.
pub struct RedisMetrics {
    connected: IntGauge,
    nodes: IntGauge,
    queued: IntGauge,
    published: IntCounter,
    received: IntCounter,
    dropped: IntCounter,
    malformed: IntCounter,
}

/// The figures of Redis at one moment. Counts are since the start.
#[derive(Debug, Clone, Copy)]
pub struct RedisFigures {
    /// Whether messages get through.
    pub connected: bool,
    /// Other nodes that are alive.
    pub nodes: i64,
    /// Messages that wait to be published.
    pub queued: i64,
    /// Messages given to Redis.
    pub published: u64,
    /// Messages from other nodes.
    pub received: u64,
    /// Messages that were dropped; what they said is caught up with from the store.
    pub dropped: u64,
    /// Messages that could not be read.
    pub malformed: u64,
}

impl RedisMetrics {
    /// Shows them.
    pub fn show(&self, figures: &RedisFigures) {
        self.connected.set(figures.connected.into());
        self.nodes.set(figures.nodes);
        self.queued.set(figures.queued);
        for (counter, count) in [
            (&self.published, figures.published),
            (&self.received, figures.received),
            (&self.dropped, figures.dropped),
            (&self.malformed, figures.malformed),
        ] {
            counter.inc_by(count.saturating_sub(counter.get()));
        }
    }
}

/// What one tenant's hall counts.
#[derive(Clone)]
pub struct HallMetrics {
    /// Rooms with a connection in them on this node.
    pub rooms: IntGauge,
    latency: Histogram,
}

impl HallMetrics {
    /// An event has become visible, or its failure has been told.
    pub fn delivered(&self, since_packet: Duration) {
        self.latency.observe(since_packet.as_secs_f64());
    }
}

struct Maker {
    registry: Registry,
}

impl Maker {
    fn add<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> prometheus::Result<C> {
        let collector = made?;
        self.registry.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> prometheus::Result<Histogram> {
        self.add(Histogram::with_opts(
            HistogramOpts::new(name, help).buckets(buckets.to_vec()),
        ))
    }

    fn counters(&self, name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), &[label]))
    }
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only when two of the names below are the same.
    pub fn new() -> prometheus::Result<Self> {
        let make = Maker {
            registry: Registry::new(),
        };
        #[cfg(target_os = "linux")]
        make.registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let build = make.add(IntGaugeVec::new(
            Opts::new("parlance_build_info", "Always 1; the labels say what runs here"),
            &["version", "profile"],
        ))?;
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        build.with_label_values(&[env!("CARGO_PKG_VERSION"), profile]).set(1);
        let events = make.counters("parlance_events_total", "Events handled, by handler", "handler")?;
        let failures = make.counters("parlance_event_failures_total", "Events that failed, by code", "code")?;
        let traps = make.counters("parlance_traps_total", "Handlers that were stopped, by cause", "kind")?;
        let guest_time = make.add(prometheus::HistogramVec::new(
            HistogramOpts::new(
                "parlance_guest_seconds",
                "Time in the handler, waiting included, by handler",
            )
            .buckets(GUEST_TIME.to_vec()),
            &["handler"],
        ))?;
        let warm = make.counters(
            "parlance_warm_events_total",
            "Events of handlers with warm instances, by instance",
            "instance",
        )?;
        let retired = make.counters(
            "parlance_warm_retired_total",
            "Warm instances that are not used again, by reason",
            "reason",
        )?;
        let refused = make.counters("parlance_refused_total", "Connections refused, by reason", "reason")?;
        Ok(Self {
            tenants: TenantVectors::new(&make)?,
            connections: make.gauge("parlance_connections", "Open connections")?,
            sessions: make.gauge("parlance_sessions", "Open Engine.IO sessions, with or without a token")?,
            unauthenticated: make.gauge(
                "parlance_sessions_unauthenticated",
                "Open Engine.IO sessions that have not shown a token yet",
            )?,
            sessions_refused: make.counters(
                "parlance_sessions_refused_total",
                "Engine.IO sessions refused before they showed a token, by the limit that was reached",
                "limit",
            )?,
            connected: make.counter("parlance_connected_total", "Connections accepted")?,
            refused: RefusedMetrics {
                token: refused.with_label_values(&["token"]),
                quota: refused.with_label_values(&["quota"]),
                server_full: refused.with_label_values(&["server-full"]),
                closed: refused.with_label_values(&["closed"]),
            },
            too_slow: make.counter(
                "parlance_too_slow_total",
                "Connections closed because the client did not read",
            )?,
            queue_full: make.counter(
                "parlance_queue_full_total",
                "Events refused because too many were waiting",
            )?,
            redis: RedisMetrics {
                connected: make.gauge(
                    "parlance_redis_connected",
                    "1 while Redis carries messages between nodes",
                )?,
                nodes: make.gauge("parlance_redis_nodes", "Other nodes that are alive")?,
                queued: make.gauge("parlance_redis_queued", "Messages that wait to be published")?,
                published: make.counter("parlance_redis_published_total", "Messages given to Redis")?,
                received: make.counter("parlance_redis_received_total", "Messages from other nodes")?,
                dropped: make.counter(
                    "parlance_redis_dropped_total",
                    "Messages dropped on the way to or from other nodes, and caught up with from the store",
                )?,
                malformed: make.counter("parlance_redis_malformed_total", "Messages that could not be read")?,
            },
            messages: make.counter("parlance_messages_total", "Messages appended to history")?,
            commits: make.counter("parlance_commits_total", "Transactions")?,
            commit_failures: make.counter("parlance_commit_failures_total", "Transactions that failed")?,
            latency: make.histogram(
                "parlance_event_seconds",
                "From an event's packet to its delivery, durable where it writes",
                &LATENCY,
            )?,
            commit_time: make.histogram("parlance_commit_seconds", "Time of a transaction", &LATENCY)?,
            commit_batch: make.histogram("parlance_commit_batch_events", "Events in a transaction", &BATCH)?,
            handled: Interface::ALL
                .into_iter()
                .map(|interface| {
                    let label = [interface.name()];
                    (
                        interface,
                        events.with_label_values(&label),
                        guest_time.with_label_values(&label),
                    )
                })
                .collect(),
            host_handled: events.with_label_values(&["host"]),
            failures: Code::ALL
                .into_iter()
                .map(|code| (code, failures.with_label_values(&[code.as_str()])))
                .collect(),
            traps: TrapKind::ALL
                .into_iter()
                .map(|kind| (kind, traps.with_label_values(&[kind.name()])))
                .collect(),
            warm: (warm.with_label_values(&["reused"]), warm.with_label_values(&["new"])),
            retired: RetireReason::ALL
                .into_iter()
                .map(|why| (why, retired.with_label_values(&[why.name()])))
                .collect(),
            registry: make.registry,
        })
    }

    /// Counts sessions that were refused for this reason.
    pub fn session_refused(&self, limit: &str, count: u64) {
        self.sessions_refused.with_label_values(&[limit]).inc_by(count);
    }

    /// Counts for one tenant.
    #[must_use]
    pub fn tenant(&self, name: &str) -> TenantMetrics {
        self.tenants.named(name)
    }

    /// Counts for the hall of one tenant. The series of its rooms ends with the last [`TenantMetrics`] of the name, so
    /// make that first.
    #[must_use]
    pub fn hall(&self, tenant: &str) -> HallMetrics {
        HallMetrics {
            rooms: self.tenants.rooms_of(tenant),
            latency: self.latency.clone(),
        }
    }

    /// A handler has run.
    pub fn handled(&self, interface: Interface, guest_time: Duration) {
        if let Some((_, events, time)) = self.handled.iter().find(|(own, ..)| *own == interface) {
            events.inc();
            time.observe(guest_time.as_secs_f64());
        }
    }

    /// The host has answered an event itself.
    pub fn host_handled(&self) {
        self.host_handled.inc();
    }

    /// An event has failed.
    pub fn failed(&self, code: Code) {
        if let Some((_, counter)) = self.failures.iter().find(|(own, _)| *own == code) {
            counter.inc();
        }
    }

    /// A handler was stopped.
    pub fn trapped(&self, kind: TrapKind) {
        if let Some((_, counter)) = self.traps.iter().find(|(own, _)| *own == kind) {
            counter.inc();
        }
    }

    /// A handler with warm instances has run: in one that was used before or not, and why it is not used again.
    pub fn warm(&self, reused: bool, retired: Option<RetireReason>) {
        let (old, new) = &self.warm;
        if reused {
            old.inc()
        } else {
            new.inc()
        }
        if let Some((_, counter)) = self.retired.iter().find(|(own, _)| Some(*own) == retired) {
            counter.inc();
        }
    }

    /// An event has become visible, or its failure has been told.
    pub fn delivered(&self, since_packet: Duration) {
        self.latency.observe(since_packet.as_secs_f64());
    }

    /// A transaction has ended well.
    pub fn committed(&self, events: usize, time: Duration) {
        self.commits.inc();
        self.commit_time.observe(time.as_secs_f64());
        #[allow(clippy::cast_precision_loss, reason = "a batch has at most thousands")]
        self.commit_batch.observe(events as f64);
    }

    /// Everything, in the Prometheus text format.
    ///
    /// # Errors
    /// When a metric cannot be encoded.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}
