//! The task that drives a tenant's hub: it feeds the hub its inputs, carries out its outputs, and keeps to the tenant's
//! send rate and share of processor time.

mod outputs;
mod remote_socket;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};

use super::bus::{self, INBOX_MAX, Inbound, Inbox};
use super::connection::Connection;
use super::handle::{Command, Fleet, Shared};
use super::hub::{Hub, Input, Now, Output};
#[cfg(test)]
pub(crate) use outputs::read_changes;
use parlance_scheduler::{Contention, Quantum};
use parlance_types::id::TenantId;

/// The most results of reads that wait for the hub.
const RESULTS_MAX: usize = 64;
/// The pause before a hub starts again after a failure. It doubles with each failure, up to the maximum.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The state of the task.
struct Driver {
    tenant: TenantId,
    hub: Hub,
    fleet: Fleet,
    shared: Arc<Shared>,
    /// The connection whose session handles events of other servers.
    server_connection: Option<Arc<Connection>>,
    /// Inputs that come before all others.
    next: VecDeque<Input>,
    /// Permits of events that are visible. Released once the tenant's rate allows more to be sent.
    spent_permits: Vec<OwnedSemaphorePermit>,
    /// When the hub wants a step without an input.
    wake_at: Option<Instant>,
    /// Takes the results of reads.
    results: mpsc::Sender<Input>,
    /// Reads, and clients' acknowledgements that are awaited.
    tasks: JoinSet<()>,
    /// Yields to other tasks after each quantum of work.
    quantum: Quantum,
}

/// What wakes the task.
enum Wake {
    Command(Command),
    Inbound(Inbound),
    Result(Input),
    Timer,
}

/// What can wake the task. The sources take turns, so that none waits for long behind another.
struct Sources<'a> {
    commands: &'a mut mpsc::UnboundedReceiver<Command>,
    inbox: Inbox,
    results: mpsc::Receiver<Input>,
    timer: Pin<&'a mut Sleep>,
    /// The source whose turn is next.
    turn: usize,
}

impl Sources<'_> {
    /// Waits for what wakes the task next. `None` when there are no handles left.
    async fn next(&mut self, wake_at: Option<Instant>) -> Option<Wake> {
        if let Some(wake_at) = wake_at
            && self.timer.deadline() != wake_at
        {
            self.timer.as_mut().reset(wake_at);
        }
        poll_fn(|context| {
            for turn in self.turn..self.turn + 4 {
                let polled = match turn % 4 {
                    0 => self
                        .commands
                        .poll_recv(context)
                        .map(|command| command.map(Wake::Command)),
                    1 => self.inbox.poll_recv(context).map(|inbound| inbound.map(Wake::Inbound)),
                    2 => self.results.poll_recv(context).map(|result| result.map(Wake::Result)),
                    // Checked without the timer: a timer fires with the next millisecond at the earliest, and is
                    // delayed each time it is set anew.
                    _ if wake_at.is_some_and(|at| at <= Instant::now()) => Poll::Ready(Some(Wake::Timer)),
                    _ if wake_at.is_none() => Poll::Pending,
                    _ => self.timer.as_mut().poll(context).map(|()| Some(Wake::Timer)),
                };
                match polled {
                    Poll::Ready(None) if turn % 4 == 0 => return Poll::Ready(None),
                    // The bus dropped the inbox. Handles can still reach this hub.
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

/// Runs the hub until there are no handles left.
///
/// A panic in the hub affects only its tenant. The tenant's connections are ended, clients connect again and ask for
/// what they have missed, and a new hub starts. What the failed step was to send is lost; clients get its messages from
/// the store.
pub(super) async fn run(
    tenant: TenantId,
    shared: Arc<Shared>,
    fleet: Fleet,
    contention: Arc<Contention>,
    mut commands: mpsc::UnboundedReceiver<Command>,
) {
    let (mut server_connection, mut pause) = (None, FIRST_PAUSE);
    loop {
        let (result_sender, results) = mpsc::channel(RESULTS_MAX);
        let (inbox_sender, inbox) = bus::inbox(INBOX_MAX);
        let mut driver = Driver {
            tenant: tenant.clone(),
            hub: Hub::new(fleet.is_single_node(), fleet.pace.clone(), now()),
            fleet: fleet.clone(),
            shared: shared.clone(),
            server_connection: server_connection.take(),
            next: VecDeque::new(),
            spent_permits: Vec::new(),
            wake_at: None,
            results: result_sender,
            tasks: JoinSet::new(),
            quantum: Quantum::with_contention(contention.clone()),
        };
        fleet.bus.subscribe(&tenant, inbox_sender);
        let feeding = AssertUnwindSafe(driver.feed(&mut commands, inbox, results));
        let ended = feeding.catch_unwind().await;
        // The inbox is closed by now. If another hub of the tenant has subscribed since, its subscription stays.
        let is_current = fleet.bus.unsubscribe(&tenant);
        if ended.is_ok() {
            return;
        }
        tracing::error!(
            tenant = tenant.as_str(),
            connections = driver.hub.connections().count(),
            "the tenant's hub has failed: its connections are ended, and a new hub starts"
        );
        server_connection = driver.server_connection.take();
        for connection in driver.hub.connections() {
            connection.sink.hang_up();
        }
        if !is_current {
            // The tenant has another hub. Clients of this one connect again, to that one.
            return;
        }
        // Dropping unfinished work tells those who wait for it at once.
        drop(driver);
        // A hub that keeps failing must not keep the processor busy.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl Driver {
    /// Feeds the hub until there are no handles left.
    async fn feed(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<Command>,
        inbox: Inbox,
        results: mpsc::Receiver<Input>,
    ) {
        let mut sources = Sources {
            commands,
            inbox,
            results,
            timer: pin!(sleep_until(Instant::now())),
            turn: 0,
        };
        let mut outputs = Vec::new();
        loop {
            let input = match self.next.pop_front() {
                Some(input) => Some(input),
                None => match sources.next(self.wake_at).await {
                    None => return,
                    Some(Wake::Timer) => None,
                    Some(Wake::Result(result)) => Some(result),
                    Some(Wake::Inbound(inbound)) => Some(Input::Inbound(inbound)),
                    // A query is answered at once. The hub then makes a step without an input.
                    Some(Wake::Command(command)) => self.answer(command).await,
                },
            };
            let grace = self.shared.presence_grace.load(Ordering::Relaxed);
            self.hub.set_presence_grace(Duration::from_millis(grace));
            let rooms = self.shared.rooms_per_connection.load(Ordering::Relaxed);
            self.hub.set_rooms_per_connection(rooms);
            self.step(input, &mut outputs).await;
            while self.hub.is_busy() {
                self.step(None, &mut outputs).await;
            }
            self.shared.metrics.show_rooms(self.hub.room_count());
        }
    }

    /// Has the hub make one step. If the step sent more than the rate allows, waits before returning, and with that
    /// delays the tenant's next events. Yields to other tasks if the quantum is used up.
    async fn step(&mut self, input: Option<Input>, outputs: &mut Vec<Output>) {
        let sent = self.hub.step(now(), input, outputs);
        for output in outputs.drain(..) {
            self.carry_out(output);
        }
        if let Some(until) = self.shared.outbound.spend(sent, std::time::Instant::now()) {
            sleep_until(until.into()).await;
        }
        self.spent_permits.clear();
        self.quantum.yield_if_over().await;
    }

    /// Answers a query. Returns the input if the command is one.
    async fn answer(&mut self, command: Command) -> Option<Input> {
        // The receiver of a reply may be gone.
        match command {
            Command::Input(input) => return Some(input),
            Command::ServerConnection(connection) => self.server_connection = Some(connection),
            Command::Flush(done) => {
                self.hub.send_appended();
                let mut outputs = Vec::new();
                while self.hub.is_busy() {
                    self.step(None, &mut outputs).await;
                }
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
