//! The figures of the report, and the counters that they are computed from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::load::Shared;
use crate::process::{context_switches, cpu_time};

/// A figure of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Acknowledged events a second, or messages a second that clients read in `catchup`.
    EventsPerSecond,
    /// Deliveries of events a second that clients received.
    DeliveriesPerSecond,
    /// The server's CPU time, all threads, for each of these events; in `storm` for each connect.
    ServerCpuMicrosecondsPerEvent,
    /// Context switches of the server's threads for each of these.
    ContextSwitchesPerEvent,
    /// System calls of the server's threads for each acknowledged event, counted after the window.
    SystemCallsPerEvent,
    /// The server's CPU time in the window, as a share of one core.
    ServerCpuShare,
    /// The load generator's CPU time in the window, as a share of one core. Near 1, the load generator is the limit and
    /// not the server.
    LoadCpuShare,
    /// Median latency from the due time until each member of the room has the message.
    LatencyP50Milliseconds,
    /// The 99th percentile of that latency.
    LatencyP99Milliseconds,
    /// The longest of these latencies.
    LatencyMaxMilliseconds,
    /// The longest delay of the load generator itself, which is part of the latency.
    LoadLagMaxMilliseconds,
    /// Connections a second, each with WebSocket, Engine.IO and authentication, 32 at a time; in `storm` also with a
    /// joined room, 500 at a time.
    ConnectsPerSecond,
    /// Median time in which a client reads all messages of its room.
    CatchupP50Milliseconds,
    /// The 99th percentile of that time.
    CatchupP99Milliseconds,
    /// The server's resident memory, minus that before the first connection.
    MemoryKibibytesPerConnection,
}

/// The results of a scenario.
pub(crate) type Metrics = BTreeMap<Metric, f64>;

/// A quantile, in milliseconds, of latencies in microseconds.
pub(crate) fn milliseconds(latency: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_micros(latency.value_at_quantile(quantile)).as_secs_f64() * 1e3
}

/// All counters at one moment.
pub(crate) struct Snapshot {
    at: Instant,
    accepted: u64,
    delivered: u64,
    server_cpu: Duration,
    load_cpu: Duration,
    /// By thread.
    context_switches: BTreeMap<i32, u64>,
}

impl Snapshot {
    /// Reads all counters.
    ///
    /// # Errors
    /// When the server's process has ended.
    pub(crate) fn take(shared: &Shared, pid: u32) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            accepted: shared.accepted.get(),
            delivered: shared.delivered.get(),
            server_cpu: cpu_time(pid)?,
            load_cpu: cpu_time(std::process::id())?,
            context_switches: context_switches(pid)?,
        })
    }

    /// The difference to `begin`.
    pub(crate) fn since(&self, begin: &Self) -> Metrics {
        let seconds = self.at.duration_since(begin.at).as_secs_f64();
        let events = (self.accepted - begin.accepted) as f64;
        let deliveries = (self.delivered - begin.delivered) as f64;
        let server_cpu = (self.server_cpu - begin.server_cpu).as_secs_f64();
        let load_cpu = (self.load_cpu - begin.load_cpu).as_secs_f64();
        let switches = new_switches(&begin.context_switches, &self.context_switches) as f64;
        Metrics::from([
            (Metric::EventsPerSecond, events / seconds),
            (Metric::DeliveriesPerSecond, deliveries / seconds),
            (Metric::ServerCpuMicrosecondsPerEvent, server_cpu * 1e6 / events),
            (Metric::ContextSwitchesPerEvent, switches / events),
            (Metric::ServerCpuShare, server_cpu / seconds),
            (Metric::LoadCpuShare, load_cpu / seconds),
        ])
    }
}

/// The context switches between two moments. Those of threads that ended in between are not counted.
fn new_switches(begin: &BTreeMap<i32, u64>, end: &BTreeMap<i32, u64>) -> u64 {
    end.iter()
        .map(|(thread, count)| count.saturating_sub(begin.get(thread).copied().unwrap_or(0)))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_of_new_threads_count_and_those_of_ended_ones_do_not() {
        let begin = BTreeMap::from([(1, 10), (2, 100)]);
        let end = BTreeMap::from([(1, 15), (3, 4)]);
        assert_eq!(new_switches(&begin, &end), 9);
    }
}
