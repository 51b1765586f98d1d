//! Metrics of events on their way through the steps.

use std::time::Duration;

use parlance_handler::sandbox::{Interface, RetireReason, TrapKind};
use parlance_types::metrics::{Histogram, IntCounter, Registry, Result};

/// Buckets for time in handlers, in seconds: from 5 microseconds to 10 seconds, as waiting counts too.
const GUEST_TIME_BUCKETS: [f64; 15] = [
    0.000_005, 0.000_01, 0.000_015, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5,
    2.0, 10.0,
];

/// Metrics of events on their way through the steps.
pub struct Metrics {
    /// Events refused because too many of the same connection were waiting.
    pub(super) queue_full: IntCounter,
    handled: [(Interface, IntCounter, Histogram); Interface::ALL.len()],
    host_handled: IntCounter,
    /// Runs of handlers after the first one of their event.
    pub(super) reruns: IntCounter,
    /// Events that failed because others came before them at each run.
    pub(super) conflicts: IntCounter,
    /// Attempts of handlers' requests that had an answer.
    pub(crate) requests_answered: IntCounter,
    /// Those after which the request is tried again.
    pub(crate) requests_retried: IntCounter,
    /// Requests that have failed.
    pub(crate) requests_failed: IntCounter,
    /// Messages that retention has removed.
    pub(crate) removed_messages: IntCounter,
    traps: [(TrapKind, IntCounter); TrapKind::ALL.len()],
    reused: IntCounter,
    new: IntCounter,
    retired: [(RetireReason, IntCounter); RetireReason::ALL.len()],
}

impl Metrics {
    /// Registers them with the server's registry.
    ///
    /// # Errors
    /// When a name is taken already.
    pub fn register(registry: &Registry) -> Result<Self> {
        let events = registry.counters("parlance_events_total", "Events handled, by handler", "handler")?;
        let guest_time = registry.histograms(
            "parlance_guest_seconds",
            "Time in the handler, waiting included, by handler",
            "handler",
            &GUEST_TIME_BUCKETS,
        )?;
        let traps = registry.counters("parlance_traps_total", "Handlers that were stopped, by cause", "kind")?;
        let warm = registry.counters(
            "parlance_warm_events_total",
            "Events of handlers with warm instances, by instance",
            "instance",
        )?;
        let retired = registry.counters(
            "parlance_warm_retired_total",
            "Warm instances that are not used again, by reason",
            "reason",
        )?;
        let requests = registry.counters(
            "parlance_requests_total",
            "Attempts of handlers' requests, by what became of them",
            "outcome",
        )?;
        let handled = |interface: Interface| {
            let label = [interface.name()];
            let (events, time) = (events.with_label_values(&label), guest_time.with_label_values(&label));
            (interface, events, time)
        };
        Ok(Self {
            queue_full: registry.counter(
                "parlance_queue_full_total",
                "Events refused because too many were waiting",
            )?,
            handled: Interface::ALL.map(handled),
            reruns: registry.counter(
                "parlance_reruns_total",
                "Runs of handlers whose events had read keys that others changed",
            )?,
            conflicts: registry.counter(
                "parlance_conflicts_total",
                "Events that failed because others changed their keys at each run",
            )?,
            requests_answered: requests.with_label_values(&["answered"]),
            requests_retried: requests.with_label_values(&["retried"]),
            removed_messages: registry.counter(
                "parlance_removed_messages_total",
                "Old messages that retention has removed",
            )?,
            requests_failed: requests.with_label_values(&["failed"]),
            host_handled: events.with_label_values(&["host"]),
            traps: TrapKind::ALL.map(|kind| (kind, traps.with_label_values(&[kind.name()]))),
            reused: warm.with_label_values(&["reused"]),
            new: warm.with_label_values(&["new"]),
            retired: RetireReason::ALL.map(|why| (why, retired.with_label_values(&[why.name()]))),
        })
    }

    /// Counts an event that a handler decided.
    pub(super) fn handled(&self, interface: Interface, guest_time: Duration) {
        if let Some((_, events, time)) = self.handled.iter().find(|(own, ..)| *own == interface) {
            events.inc();
            time.observe(guest_time.as_secs_f64());
        }
    }

    /// Counts an event that the host answered itself.
    pub(super) fn host_handled(&self) {
        self.host_handled.inc();
    }

    /// Counts a handler that was stopped.
    pub(super) fn trapped(&self, kind: TrapKind) {
        if let Some((_, counter)) = self.traps.iter().find(|(own, _)| *own == kind) {
            counter.inc();
        }
    }

    /// Counts an event of a handler with warm instances: whether its instance had handled others before, and why the
    /// instance is not used again.
    pub(super) fn warm(&self, reused: bool, retired: Option<RetireReason>) {
        if reused {
            self.reused.inc();
        } else {
            self.new.inc();
        }
        if let Some((_, counter)) = self.retired.iter().find(|(own, _)| Some(*own) == retired) {
            counter.inc();
        }
    }
}
