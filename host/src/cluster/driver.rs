//! The task that drives a tenant's hub: it feeds the hub its inputs, carries out the outputs, and keeps to the tenant's
//! send rate and share of processor time.

mod carry_out;
mod servers;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, Sleep, sleep_until};

use super::handle::{Command, Fleet};
use crate::cluster::bus::Inbound;
use crate::cluster::connection::Connection;
use crate::cluster::hub::{Hub, Input, Now, Output};
use crate::cluster::outbound::Outbound;
use crate::id::TenantId;
use crate::metrics::HubMetrics;
use crate::scheduler::{Contention, Quantum};

/// What other nodes may say before the hub has heard it; beyond that it is lost, and caught up with.
const INBOX: usize = 4096;
/// Answers of the store that wait for the hub.
const FOUND: usize = 64;
/// The pause before a hub that has failed starts anew; it doubles with each failure up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Everything of a hub; its task owns it.
pub(super) struct Driver {
    pub(super) tenant: TenantId,
    pub(super) hub: Hub,
    pub(super) fleet: Fleet,
    pub(super) metrics: HubMetrics,
    /// What stands for other servers.
    pub(super) server_connection: Option<Arc<Connection>>,
    /// What the hub is to learn before anything else.
    pub(super) next: VecDeque<Input>,
    /// Shares of what the tenant may have on the way, given back when what was sent may have gone out.
    pub(super) spent_permits: Vec<OwnedSemaphorePermit>,
    /// When the hub is due.
    pub(super) wake_at: Option<Instant>,
    /// What reads of the store have found.
    pub(super) found: mpsc::Sender<Input>,
    outbound: Arc<Outbound>,
    /// `limits.presence_grace` as it is now, in milliseconds.
    presence_grace: Arc<AtomicU64>,
    /// For how long it works before others have a turn.
    pub(super) quantum: Quantum,
}

/// What comes to a hub.
enum Event {
    Command(Command),
    Heard(Inbound),
    Found(Input),
    Due,
}

/// Where it comes from. Each source has its turn, so that none waits for long behind another.
struct Sources<'a> {
    mail: &'a mut mpsc::UnboundedReceiver<Command>,
    heard: mpsc::Receiver<Inbound>,
    found: mpsc::Receiver<Input>,
    timer: Pin<&'a mut Sleep>,
    /// Whose turn is next.
    turn: usize,
}

impl Sources<'_> {
    /// What comes next; `None` when nobody can reach the hub any more.
    async fn next(&mut self, wake_at: Option<Instant>) -> Option<Event> {
        if let Some(wake_at) = wake_at
            && self.timer.deadline() != wake_at
        {
            self.timer.as_mut().reset(wake_at);
        }
        poll_fn(|context| {
            for turn in self.turn..self.turn + 4 {
                let polled = match turn % 4 {
                    0 => self.mail.poll_recv(context).map(|mail| mail.map(Event::Command)),
                    1 => self.heard.poll_recv(context).map(|heard| heard.map(Event::Heard)),
                    2 => self.found.poll_recv(context).map(|found| found.map(Event::Found)),
                    // A timer ends with the next millisecond, and is put off when it is set anew.
                    _ if wake_at.is_some_and(|at| at <= Instant::now()) => Poll::Ready(Some(Event::Due)),
                    _ if wake_at.is_none() => Poll::Pending,
                    _ => self.timer.as_mut().poll(context).map(|()| Some(Event::Due)),
                };
                match polled {
                    Poll::Ready(None) if turn % 4 == 0 => return Poll::Ready(None),
                    // The bus has let this hub go; its own node still reaches it.
                    Poll::Ready(None) | Poll::Pending => {}
                    ready => {
                        self.turn = (turn + 1) % 4;
                        return ready;
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The hub's life. A panic ends only what the hub has: its connections are ended, clients connect again and ask for what
/// they have missed, and the hub starts anew. What the failed step was to send is lost with it: messages come from the
/// store.
pub(super) async fn run(
    tenant: TenantId,
    metrics: HubMetrics,
    outbound: Arc<Outbound>,
    presence_grace: Arc<AtomicU64>,
    fleet: Fleet,
    contention: Arc<Contention>,
    mut mail: mpsc::UnboundedReceiver<Command>,
) {
    let (mut servers, mut pause) = (None, FIRST_PAUSE);
    loop {
        let (found, finding) = mpsc::channel(FOUND);
        let (inbox, heard) = mpsc::channel(INBOX);
        let mut driver = Driver {
            tenant: tenant.clone(),
            hub: Hub::new(fleet.is_single_node(), fleet.limits.clone(), now()),
            fleet: fleet.clone(),
            metrics: metrics.clone(),
            server_connection: servers.take(),
            next: VecDeque::new(),
            spent_permits: Vec::new(),
            wake_at: None,
            found,
            outbound: outbound.clone(),
            presence_grace: presence_grace.clone(),
            quantum: Quantum::with_contention(contention.clone()),
        };
        fleet.bus.subscribe(&tenant, inbox);
        let life = AssertUnwindSafe(driver.live(&mut mail, heard, finding));
        let ended = life.catch_unwind().await;
        // Its inbox is shut by then: a hub that was opened since in its place is not closed.
        let in_service = fleet.bus.unsubscribe(&tenant);
        if ended.is_ok() {
            return;
        }
        tracing::error!(
            tenant = tenant.as_str(),
            connections = driver.hub.connections().count(),
            "the tenant's hub has failed: its connections end, and it starts anew"
        );
        servers = driver.server_connection.take();
        for connection in driver.hub.connections() {
            connection.sink.hang_up();
        }
        if !in_service {
            // The tenant has another hub by now; whoever still has this one connects again, to that.
            return;
        }
        // Dropping the unfinished work tells those who wait for it at once.
        drop(driver);
        // Where it fails again and again, others are not to be kept busy by it.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Driver {
    /// Goes on until nobody can reach the hub any more.
    async fn live(
        &mut self,
        mail: &mut mpsc::UnboundedReceiver<Command>,
        heard: mpsc::Receiver<Inbound>,
        found: mpsc::Receiver<Input>,
    ) {
        let mut sources = Sources {
            mail,
            heard,
            found,
            timer: pin!(sleep_until(Instant::now())),
            turn: 0,
        };
        let mut outputs = Vec::new();
        loop {
            let input = match self.next.pop_front() {
                Some(input) => Some(input),
                None => match sources.next(self.wake_at).await {
                    None => return,
                    Some(Event::Due) => None,
                    Some(Event::Found(found)) => Some(found),
                    // A question is answered at once, and the hub makes a step all the same.
                    Some(Event::Heard(inbound)) => self.hear(inbound),
                    Some(Event::Command(mail)) => self.open(mail).await,
                },
            };
            let grace = self.presence_grace.load(Ordering::Relaxed);
            self.hub.set_presence_grace(Duration::from_millis(grace));
            self.step(input, &mut outputs).await;
            while self.hub.is_busy() {
                self.step(None, &mut outputs).await;
            }
            let rooms = i64::try_from(self.hub.room_count()).unwrap_or(i64::MAX);
            self.metrics.rooms.set(rooms);
        }
    }

    /// Has the hub make a step. When it sent more than may go out, what comes next waits for that, and with it whoever
    /// caused it. Others have a turn in any case.
    async fn step(&mut self, input: Option<Input>, outputs: &mut Vec<Output>) {
        let sent = self.hub.step(now(), input, outputs);
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        if let Some(until) = self.outbound.spend(sent, std::time::Instant::now()) {
            sleep_until(until.into()).await;
        }
        self.spent_permits.clear();
        self.quantum.yield_if_over().await;
    }

    /// Answers a question; gives what is none.
    async fn open(&mut self, mail: Command) -> Option<Input> {
        // The asker may be gone.
        match mail {
            Command::Input(input) => return Some(input),
            Command::Receive(inbound) => return self.hear(inbound),
            Command::ServerConnection(connection) => self.server_connection = Some(connection),
            Command::Flush(done) => {
                let _ = done.send(());
            }
            Command::Members { room, limit, reply } => {
                let _ = reply.send(self.hub.members(&room, limit));
            }
            Command::MemberCount { room, user, reply } => {
                let _ = reply.send(self.hub.member_count(&room, &user));
            }
            Command::Presence { asker, users, reply } => {
                let rooms = self.hub.rooms_of(&asker);
                let mut states = Vec::with_capacity(users.len());
                for user in &users {
                    states.push(self.hub.presence_of(user, &asker, &rooms));
                    self.quantum.yield_if_over().await;
                }
                let _ = reply.send(states);
            }
        }
        None
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        instant: Instant::now(),
        unix_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
    }
}
