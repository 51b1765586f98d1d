//! One scenario against one running server.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::args::Timing;
use crate::client::{self, Socket};
use crate::load::{Client, Room, SendOrder, Shared};
use crate::pace;
use crate::process::{cpu_time, resident_bytes};
use crate::scenario::{Layout, Pace, Scenario};
use crate::server::Target;

/// Connections that are opened concurrently.
const OPENING: usize = 32;
/// How long a server may take to acknowledge and deliver everything.
const DRAIN: Duration = Duration::from_secs(15);
/// Memory counts as stable when it changes by less than 1 % in this time.
const STABLE_INTERVAL: Duration = Duration::from_secs(2);
/// After this time memory is read even if it still changes.
const STABLE_TIMEOUT: Duration = Duration::from_secs(20);

/// A figure of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Acknowledged messages a second.
    MessagesPerSecond,
    /// Messages a second that clients received.
    DeliveriesPerSecond,
    /// The server's CPU time, all threads, for each acknowledged message.
    ServerCpuMicrosecondsPerMessage,
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
    /// Connections a second, each with WebSocket, Engine.IO and authentication, 32 at a time.
    ConnectsPerSecond,
    /// The server's resident memory, minus that before the first connection.
    MemoryKibibytesPerConnection,
}

/// The results of a scenario.
pub(crate) type Metrics = BTreeMap<Metric, f64>;

/// Runs a scenario: connects its clients, loads the server, and checks every delivery.
///
/// # Errors
/// When the server refused, lost or repeated something, closed a connection, or did not answer in time.
pub(crate) async fn measure(target: &Target, scenario: Scenario, timing: Timing) -> Result<Metrics> {
    let layout = scenario.layout();
    let before = resident_bytes(target.pid)?;
    let (sockets, connects_per_second) = connect_all(target, layout).await?;
    let mut clients = ClientGroup::join(sockets, layout).await?;
    let mut metrics = match layout.pace {
        Pace::Silent => {
            let after = clients.while_running(stable_memory(target.pid)).await?;
            let kibibytes = after.saturating_sub(before) as f64 / 1024.0;
            let per_connection = kibibytes / f64::from(layout.clients);
            Metrics::from([(Metric::MemoryKibibytesPerConnection, per_connection)])
        }
        Pace::Closed { in_flight } => {
            clients.start(in_flight);
            clients.window(target.pid, timing).await?
        }
        Pace::Open { per_second } => clients.window_at_pace(target.pid, timing, per_second).await?,
    };
    metrics.insert(Metric::ConnectsPerSecond, connects_per_second);
    clients.finish().await?;
    Ok(metrics)
}

/// Opens all connections in the order of their numbers, and returns how many were opened a second.
pub(crate) async fn connect_all(target: &Target, layout: Layout) -> Result<(Vec<Socket>, f64)> {
    let tokens = (0..layout.clients).map(|number| client::token(number, &target.secret));
    let tokens = tokens.collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    let sockets: Vec<_> = stream::iter(&tokens)
        .map(|token| client::connect(target.address, "/", token))
        .buffered(OPENING)
        .try_collect()
        .await?;
    Ok((sockets, f64::from(layout.clients) / began.elapsed().as_secs_f64()))
}

/// All clients of a scenario, joined and running.
pub(crate) struct ClientGroup {
    shared: Rc<Shared>,
    tasks: JoinSet<Result<()>>,
    senders: Vec<UnboundedSender<SendOrder>>,
    /// The order channels of clients that only listen, which run until these close.
    listeners: Vec<UnboundedSender<SendOrder>>,
}

impl ClientGroup {
    /// Joins every client to its room.
    pub(crate) async fn join(sockets: Vec<Socket>, layout: Layout) -> Result<Self> {
        let members = u64::from(layout.clients / layout.rooms);
        let rooms: Vec<_> = (0..layout.rooms)
            .map(|number| Rc::new(Room::new(format!("bench-{number}"), members)))
            .collect();
        let placed = sockets.into_iter().zip(rooms.iter().cycle());
        let joined: Vec<_> = stream::iter(placed)
            .map(|(mut socket, room)| async move {
                client::join(&mut socket, "/", &room.name).await?;
                anyhow::Ok((socket, Rc::clone(room)))
            })
            .buffered(OPENING)
            .try_collect()
            .await?;

        let mut clients = Self {
            shared: Rc::new(Shared::new()),
            tasks: JoinSet::new(),
            senders: Vec::new(),
            listeners: Vec::new(),
        };
        for (number, (socket, room)) in (0_u16..).zip(joined) {
            let (sender, orders) = unbounded_channel();
            let client = Client::new(socket, number, room, Rc::clone(&clients.shared), orders);
            clients.tasks.spawn_local(client.run());
            let group = if number < layout.senders {
                &mut clients.senders
            } else {
                &mut clients.listeners
            };
            group.push(sender);
        }
        Ok(clients)
    }

    /// Sends every sender's first messages. Each acknowledgement triggers the next.
    fn start(&self, in_flight: u32) {
        self.shared.sending.set(true);
        for sender in &self.senders {
            for _ in 0..in_flight {
                // If the client has ended, its task reports why.
                let _ = sender.send(SendOrder {
                    intended: Instant::now(),
                });
            }
        }
    }

    /// Waits for `work` while the clients run. The first error ends the scenario.
    async fn while_running<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            Some(ended) = self.tasks.join_next() => {
                ended??;
                bail!("a client ended before its time")
            }
        }
    }

    /// Waits for the warm-up, then measures a window.
    async fn window(&mut self, pid: u32, timing: Timing) -> Result<Metrics> {
        let shared = Rc::clone(&self.shared);
        self.while_running(async move {
            sleep(timing.warm_up).await;
            let begin = Snapshot::take(&shared, pid)?;
            sleep(timing.window).await;
            Ok(Snapshot::take(&shared, pid)?.since(&begin))
        })
        .await
    }

    /// Measures a window on a fixed schedule, with the latency of each delivery.
    async fn window_at_pace(&mut self, pid: u32, timing: Timing, per_second: u32) -> Result<Metrics> {
        let Paced {
            mut metrics,
            latency,
            lag,
        } = self.paced(pid, timing, per_second).await?;
        metrics.extend([
            (Metric::LatencyP50Milliseconds, milliseconds(&latency, 0.5)),
            (Metric::LatencyP99Milliseconds, milliseconds(&latency, 0.99)),
            (Metric::LatencyMaxMilliseconds, milliseconds(&latency, 1.0)),
            (Metric::LoadLagMaxMilliseconds, lag.as_secs_f64() * 1e3),
        ]);
        Ok(metrics)
    }

    /// Runs a window on a fixed schedule and returns the recorded latencies.
    pub(crate) async fn paced(&mut self, pid: u32, timing: Timing, per_second: u32) -> Result<Paced> {
        let shared = Rc::clone(&self.shared);
        let senders = self.senders.clone();
        let lag = Cell::new(Duration::ZERO);
        let measured = async {
            sleep(timing.warm_up).await;
            shared.record_latency()?;
            lag.set(Duration::ZERO);
            let begin = Snapshot::take(&shared, pid)?;
            sleep(timing.window).await;
            Ok(Snapshot::take(&shared, pid)?.since(&begin))
        };
        let paced = async {
            tokio::select! {
                metrics = measured => metrics,
                failed = pace::keep(&senders, per_second, &lag) => match failed? {},
            }
        };
        let metrics = self.while_running(paced).await?;
        // The window includes the deliveries of its last messages.
        self.drain().await?;
        let latency = self.shared.latency.borrow_mut().take().context("no latency recorded")?;
        Ok(Paced {
            metrics,
            latency: latency.histogram,
            lag: lag.get(),
        })
    }

    /// Stops sending and waits until every message is acknowledged and delivered.
    async fn drain(&mut self) -> Result<()> {
        self.shared.sending.set(false);
        let shared = Rc::clone(&self.shared);
        let drained = async {
            let mut look = interval(Duration::from_millis(5));
            // Check twice: an order that was given just now is counted as a message by the second time.
            look.tick().await;
            loop {
                look.tick().await;
                if shared.is_drained() {
                    return Ok(());
                }
            }
        };
        let drained = timeout(DRAIN, self.while_running(drained)).await;
        drained.unwrap_or_else(|_| {
            let Shared {
                sent,
                accepted,
                due,
                delivered,
                ..
            } = &*self.shared;
            bail!(
                "{DRAIN:?} after the end, {} of {} messages were acknowledged and {} of {} \
                 deliveries received",
                accepted.get(),
                sent.get(),
                delivered.get(),
                due.get(),
            )
        })
    }

    /// Drains, lets every client check its messages, and closes the connections.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.drain().await?;
        self.senders.clear();
        self.listeners.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

/// A window at a fixed pace.
pub(crate) struct Paced {
    pub(crate) metrics: Metrics,
    /// Latencies in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// The longest delay of the load generator itself, which is part of the latency.
    pub(crate) lag: Duration,
}

/// A quantile, in milliseconds, of latencies in microseconds.
pub(crate) fn milliseconds(latency: &Histogram<u64>, quantile: f64) -> f64 {
    Duration::from_micros(latency.value_at_quantile(quantile)).as_secs_f64() * 1e3
}

/// All counters at one moment.
struct Snapshot {
    at: Instant,
    accepted: u64,
    delivered: u64,
    server_cpu: Duration,
    load_cpu: Duration,
}

impl Snapshot {
    fn take(shared: &Shared, pid: u32) -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            accepted: shared.accepted.get(),
            delivered: shared.delivered.get(),
            server_cpu: cpu_time(pid)?,
            load_cpu: cpu_time(std::process::id())?,
        })
    }

    /// The difference to `begin`.
    fn since(&self, begin: &Self) -> Metrics {
        let seconds = self.at.duration_since(begin.at).as_secs_f64();
        let messages = (self.accepted - begin.accepted) as f64;
        let deliveries = (self.delivered - begin.delivered) as f64;
        let server_cpu = (self.server_cpu - begin.server_cpu).as_secs_f64();
        let load_cpu = (self.load_cpu - begin.load_cpu).as_secs_f64();
        Metrics::from([
            (Metric::MessagesPerSecond, messages / seconds),
            (Metric::DeliveriesPerSecond, deliveries / seconds),
            (Metric::ServerCpuMicrosecondsPerMessage, server_cpu * 1e6 / messages),
            (Metric::ServerCpuShare, server_cpu / seconds),
            (Metric::LoadCpuShare, load_cpu / seconds),
        ])
    }
}

/// The server's memory once it is stable.
async fn stable_memory(pid: u32) -> Result<u64> {
    let mut look = interval(STABLE_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    look.tick().await;
    let deadline = Instant::now() + STABLE_TIMEOUT;
    let mut last = resident_bytes(pid)?;
    loop {
        look.tick().await;
        let now = resident_bytes(pid)?;
        if now.abs_diff(last) < last / 100 || Instant::now() > deadline {
            return Ok(now);
        }
        last = now;
    }
}
