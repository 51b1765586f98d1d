//! The clients of a scenario: joined to their rooms, running, and loaded for a window.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use hdrhistogram::Histogram;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::args::Timing;
use crate::client::{self, Socket};
use crate::load::{Client, Room, SendOrder, Shared};
use crate::metric::{Metrics, Snapshot};
use crate::scenario::{Layout, Pace};
use crate::{pace, system_calls};

/// Connections that are opened, or join a room, concurrently.
pub(crate) const OPENING: usize = 32;
/// How long a server may take to acknowledge and deliver everything.
const DRAIN: Duration = Duration::from_secs(15);
/// Load before system calls are counted.
const SETTLE: Duration = Duration::from_millis(200);

/// All clients of a scenario, joined and running.
pub(crate) struct ClientGroup {
    shared: Rc<Shared>,
    /// How they send.
    pace: Pace,
    tasks: JoinSet<Result<()>>,
    senders: Vec<UnboundedSender<SendOrder>>,
    /// The order channels of clients that only listen, which run until these close.
    listeners: Vec<UnboundedSender<SendOrder>>,
}

impl ClientGroup {
    /// Joins every client to its room.
    ///
    /// # Errors
    /// When the server refuses one, or does not answer.
    pub(crate) async fn join(sockets: Vec<Socket>, layout: Layout) -> Result<Self> {
        let placed = (0_u16..).zip(sockets);
        let joined = stream::iter(placed)
            .map(|(number, mut socket)| async move {
                client::join(&mut socket, &layout.namespace(number), &layout.room(number)).await?;
                anyhow::Ok(socket)
            })
            .buffered(OPENING)
            .try_collect()
            .await?;
        Ok(Self::of_joined(joined, layout))
    }

    /// Runs clients that have joined their rooms, in the order of their numbers.
    pub(crate) fn of_joined(sockets: Vec<Socket>, layout: Layout) -> Self {
        let members = u64::from(layout.clients / layout.rooms);
        let rooms: Vec<_> = (0..layout.rooms)
            .map(|number| Rc::new(Room::new(layout.namespace(number), layout.room(number), members)))
            .collect();
        let reads = matches!(layout.pace, Pace::Open { mix, .. } if mix.receipts > 0);
        let mut clients = Self::of_tasks(JoinSet::new(), Rc::new(Shared::new()), layout.pace);
        for ((number, socket), room) in (0_u16..).zip(sockets).zip(rooms.iter().cycle()) {
            let (sender, orders) = unbounded_channel();
            let room = Rc::clone(room);
            let client = Client::new(socket, number, room, Rc::clone(&clients.shared), orders, reads);
            clients.tasks.spawn_local(client.run());
            let group = if number < layout.senders {
                &mut clients.senders
            } else {
                &mut clients.listeners
            };
            group.push(sender);
        }
        clients
    }

    /// Runs clients that need no orders. They end when `shared.sending` is unset.
    pub(crate) fn of_tasks(tasks: JoinSet<Result<()>>, shared: Rc<Shared>, pace: Pace) -> Self {
        Self {
            shared,
            pace,
            tasks,
            senders: Vec::new(),
            listeners: Vec::new(),
        }
    }

    /// Sends messages, each sender two at a time, until this many are acknowledged.
    ///
    /// # Errors
    /// When a client or the server ends, or a message is not delivered.
    pub(crate) async fn post(&mut self, messages: u64) -> Result<()> {
        let shared = Rc::clone(&self.shared);
        self.start(2);
        self.while_running(async {
            while shared.accepted.get() < messages {
                sleep(SETTLE).await;
            }
            Ok(())
        })
        .await?;
        self.drain().await
    }

    /// Sends every sender's first messages. Each acknowledgement triggers the next.
    pub(crate) fn start(&self, in_flight: u32) {
        self.shared.sending.set(true);
        for _ in 0..in_flight {
            self.send_one_each();
        }
    }

    /// Sends one message of each sender.
    pub(crate) fn send_one_each(&self) {
        for sender in &self.senders {
            // If the client has ended, its task reports why.
            let _ = sender.send(SendOrder::message());
        }
    }

    /// Waits for `work` while the clients run. The first error ends the scenario.
    ///
    /// # Errors
    /// That of `work`, or of the first client that ends.
    pub(crate) async fn while_running<T>(&mut self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            result = work => result,
            Some(ended) = self.tasks.join_next() => {
                ended??;
                bail!("a client ended before its time")
            }
        }
    }

    /// Waits for `work` while the clients run and the schedule of an open load is kept. `lag` is the longest delay of the
    /// load generator.
    async fn while_loaded<T>(&mut self, lag: &Cell<Duration>, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Pace::Open { per_second, mix } = self.pace else {
            return self.while_running(work).await;
        };
        let senders = self.senders.clone();
        self.while_running(async {
            tokio::select! {
                result = work => result,
                failed = pace::keep(&senders, per_second, mix, lag) => match failed? {},
            }
        })
        .await
    }

    /// Waits for the warm-up, then measures a window.
    ///
    /// # Errors
    /// When a client or the server ends.
    pub(crate) async fn window(&mut self, pid: u32, timing: Timing) -> Result<Metrics> {
        Ok(self.measured(pid, timing, false).await?.0)
    }

    async fn measured(&mut self, pid: u32, timing: Timing, with_latency: bool) -> Result<(Metrics, Duration)> {
        let shared = Rc::clone(&self.shared);
        let lag = Cell::new(Duration::ZERO);
        let measured = async {
            sleep(timing.warm_up).await;
            if with_latency {
                shared.record_latency()?;
            }
            lag.set(Duration::ZERO);
            let begin = Snapshot::take(&shared, pid)?;
            sleep(timing.window).await;
            Ok(Snapshot::take(&shared, pid)?.since(&begin))
        };
        let metrics = self.while_loaded(&lag, measured).await?;
        Ok((metrics, lag.get()))
    }

    /// Like [`Self::window`], and returns the latencies too: of the deliveries of an open load, which it drains, or the
    /// times that the clients record.
    ///
    /// # Errors
    /// When a client or the server ends, or the server does not deliver everything in time.
    pub(crate) async fn paced(&mut self, pid: u32, timing: Timing) -> Result<Paced> {
        let (metrics, lag) = self.measured(pid, timing, true).await?;
        if matches!(self.pace, Pace::Open { .. }) {
            // The window includes the deliveries of its last messages.
            self.drain().await?;
        }
        let latency = self.shared.latency.borrow_mut().take().context("no latency recorded")?;
        Ok(Paced {
            metrics,
            latency: latency.histogram,
            lag,
        })
    }

    /// The server's system calls for each acknowledged event, counted for a second of the same load.
    ///
    /// # Errors
    /// When a client or the server ends, or `perf` fails.
    pub(crate) async fn system_calls_per_event(&mut self, pid: u32) -> Result<f64> {
        let shared = Rc::clone(&self.shared);
        let counted = async {
            // The pace of an open load has begun anew.
            sleep(SETTLE).await;
            let (began, accepted) = (Instant::now(), shared.accepted.get());
            let calls_per_second = system_calls::per_second(pid).await?;
            let events = (shared.accepted.get() - accepted) as f64;
            Ok(calls_per_second * began.elapsed().as_secs_f64() / events)
        };
        self.while_loaded(&Cell::default(), counted).await
    }

    /// Stops sending and waits until every event is acknowledged and delivered.
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
                "{DRAIN:?} after the end, {} of {} events were acknowledged and {} of {} \
                 deliveries received",
                accepted.get(),
                sent.get(),
                delivered.get(),
                due.get(),
            )
        })
    }

    /// Drains, lets every client check what it received, and closes the connections.
    ///
    /// # Errors
    /// When the server has lost or repeated an event.
    pub(crate) async fn finish(mut self) -> Result<()> {
        if matches!(self.pace, Pace::Catchup { .. }) {
            // These clients check what they read, and end by themselves.
            self.shared.sending.set(false);
        } else {
            self.drain().await?;
        }
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
