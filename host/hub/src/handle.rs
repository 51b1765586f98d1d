//! The handle of a tenant's hub.

#[cfg(test)]
mod tests;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::bus::{Bus, Inbound, LocalBus};
use super::connection::{Connection, Outgoing};
use super::delivery::Delivery;
use super::driver;
use super::hub::{CatchUpPace, Input};
use super::metrics::{HubMetrics, Metrics};
use super::outbound::OutboundLimiter;
use super::wire::Responder;
use parlance_handler::capability::PresenceState;
use parlance_scheduler::{Contention, CpuTimer};
use parlance_store::{Place, Reader};
use parlance_types::error::EventError;
use parlance_types::id::{RoomId, TenantId, UserId};

/// What a handle sends to the hub's task.
pub(super) enum Command {
    Input(Input),
    ServerConnection(Arc<Connection>),
    Flush(oneshot::Sender<()>),
    Members {
        room: RoomId,
        limit: usize,
        reply: oneshot::Sender<Vec<UserId>>,
    },
    MemberCount {
        room: RoomId,
        user: UserId,
        reply: oneshot::Sender<usize>,
    },
    Presence {
        asker: UserId,
        users: Vec<UserId>,
        reply: oneshot::Sender<Vec<PresenceState>>,
    },
}

/// The hub cannot answer: the server is shutting down, or the hub has failed and lost the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant has been interrupted here; try again")]
pub struct HubGone;

/// What all hubs of a node use to work with the other nodes.
#[derive(Clone)]
pub struct Fleet {
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The store from which missed messages are read.
    pub store: Arc<dyn Reader>,
    /// How often the hub catches up with other nodes.
    pub pace: CatchUpPace,
}

/// Longer than any server runs.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

impl Fleet {
    /// Whether the fleet has only this node, for as long as it runs.
    #[must_use]
    pub fn is_single_node(&self) -> bool {
        self.bus.is_single_node()
    }

    /// A fleet that has only this node.
    #[must_use]
    pub fn single_node(store: Arc<dyn Reader>) -> Self {
        Self {
            bus: Arc::new(LocalBus::default()),
            store,
            // A single node misses only what a failing store may have committed.
            pace: CatchUpPace {
                sweep: FOREVER,
                ..CatchUpPace::default()
            },
        }
    }
}

/// A handle of a tenant's hub. Cheap to clone; the hub's task ends with the last handle.
///
/// Sending a command never waits. The queue of commands needs no bound of its own, since what enters it is bounded: an
/// event that others see holds a share of what its tenant may have in flight ([`Delivery::in_flight_permit`]), and the
/// task of a connection does nothing else until its question is answered.
#[derive(Clone)]
pub struct HubHandle {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

/// What a hub's task and its handles share.
pub(super) struct Shared {
    pub(super) outbound: OutboundLimiter,
    /// Processor time that the tenant has not been charged for yet.
    cpu: CpuTimer,
    /// `limits.presence_grace`, in milliseconds.
    pub(super) presence_grace: AtomicU64,
    /// `limits.rooms_per_connection`.
    pub(super) rooms_per_connection: AtomicUsize,
    pub(super) metrics: HubMetrics,
}

impl HubHandle {
    /// Starts the task of a tenant's hub.
    #[must_use]
    pub fn open(tenant: TenantId, metrics: &Metrics, fleet: Fleet, contention: Arc<Contention>) -> Self {
        let (commands, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            outbound: OutboundLimiter::default(),
            cpu: CpuTimer::default(),
            presence_grace: AtomicU64::default(),
            rooms_per_connection: AtomicUsize::new(usize::MAX),
            metrics: metrics.hub(&tenant),
        });
        let hub = Self {
            commands,
            shared: shared.clone(),
        };
        let task = async move {
            let life = driver::run(tenant, shared.clone(), fleet, contention, receiver);
            shared.cpu.time(pin!(life)).await;
        };
        parlance_types::critical::spawn_critical("hub", task);
        hub
    }

    /// Whether this is the only handle left: all sessions of the tenant have ended, and none of their events waits for
    /// the committer.
    #[must_use]
    pub fn is_last_handle(&self) -> bool {
        self.commands.strong_count() == 1
    }

    /// Sets how many bytes a second may go out to all clients together. Without a call there is no limit.
    pub fn set_outbound_rate(&self, bytes_per_second: u64) {
        self.shared.outbound.set_rate(bytes_per_second);
    }

    /// Sets for how long a user whose last connection was lost is still shown as before. Zero until the first call.
    pub fn set_presence_grace(&self, grace: Duration) {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.shared.presence_grace.store(grace, Ordering::Relaxed);
    }

    /// Sets in how many rooms a connection may be for other servers to have it join another one. Without a call there is
    /// no limit.
    pub fn set_rooms_per_connection(&self, most: usize) {
        self.shared.rooms_per_connection.store(most, Ordering::Relaxed);
    }

    /// Counts an answer that does not go through the hub, and waits until the tenant's rate allows it to be sent.
    pub async fn pace(&self, answer: &Outgoing) {
        let until = self.shared.outbound.spend(answer.weight(), Instant::now());
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Counts an answer with this [weight](Outgoing::weight) that was sent without the hub. Packets after it wait
    /// accordingly, but no longer than a second.
    pub fn charge(&self, weight: u64) {
        self.shared.outbound.charge(weight, Instant::now());
    }

    /// Counts an event that was answered without the hub. `received` is when its packet came.
    pub fn count_answered(&self, received: Instant) {
        self.shared.metrics.delivered(received.elapsed());
    }

    /// Refuses an event without the hub: sends the error to the client, counts it, and charges the tenant for it.
    pub fn refuse(&self, connection: &Connection, responder: &Responder, error: &EventError) {
        self.shared.metrics.failed(error.code);
        self.charge(responder.fail(connection, error));
    }

    /// Takes what the tenant has used since the last call: processor time of the hub, and bytes for clients.
    #[must_use]
    pub fn take_usage(&self) -> (Duration, u64) {
        (self.shared.cpu.take(), self.shared.outbound.take_uncharged())
    }

    fn send(&self, command: Command) -> Result<(), HubGone> {
        self.commands.send(command).map_err(|_| HubGone)
    }

    /// Makes events visible, in order.
    ///
    /// # Errors
    /// The hub is gone.
    pub fn deliver(&self, deliveries: Vec<Delivery>) -> Result<(), HubGone> {
        for error in deliveries.iter().filter_map(|delivery| delivery.written.as_ref().err()) {
            self.shared.metrics.failed(error.code);
        }
        self.send(Command::Input(Input::Deliver(deliveries)))
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// The hub is gone.
    pub fn connect(&self, connection: Arc<Connection>, at_ms: u64) -> Result<(), HubGone> {
        self.send(Command::Input(Input::Connect { connection, at_ms }))
    }

    /// Removes a connection whose client has gone: it leaves all rooms, and its user may become offline. Returns when
    /// that is done.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn disconnect(&self, connection: Arc<Connection>, at_ms: u64) -> Result<(), HubGone> {
        let (done, wait) = oneshot::channel();
        self.send(Command::Input(Input::Disconnect {
            connection,
            at_ms,
            done,
        }))?;
        wait.await.map_err(|_| HubGone)
    }

    /// Ends the holding of a joined room's packets: `first` goes out, then the held packets without messages and changes up
    /// to `has`. `answered` is the place up to which `first` tells of the room; `None` when it could not be read.
    ///
    /// Returns `false`, and sends nothing, when another member that joined at the same time was told of more than
    /// `answered`: what is between does not come any more, so the past must be read again.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn release(
        &self,
        connection: Arc<Connection>,
        room: RoomId,
        has: Place,
        answered: Option<Place>,
        first: Option<Outgoing>,
    ) -> Result<bool, HubGone> {
        let (done, wait) = oneshot::channel();
        self.send(Command::Input(Input::Release {
            connection,
            room,
            has,
            answered,
            first,
            done,
        }))?;
        wait.await.map_err(|_| HubGone)
    }

    /// Holds back a room's packets from a connection that is in the room, until [`release`](Self::release).
    ///
    /// # Errors
    /// The hub is gone.
    pub fn hold(&self, connection: Arc<Connection>, room: RoomId) -> Result<(), HubGone> {
        self.send(Command::Input(Input::Hold { connection, room }))
    }

    /// Sets the connection whose session handles events of other servers.
    ///
    /// # Errors
    /// The hub is gone.
    pub fn set_server_connection(&self, connection: Arc<Connection>) -> Result<(), HubGone> {
        self.send(Command::ServerConnection(connection))
    }

    /// Gives the hub what this node itself sends to the hubs of all nodes.
    ///
    /// # Errors
    /// The hub is gone.
    pub fn receive(&self, inbound: Inbound) -> Result<(), HubGone> {
        self.send(Command::Input(Input::Inbound(inbound)))
    }

    /// Waits until the hub has carried out all earlier commands, and sends the text that waits for more.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn flush(&self) -> Result<(), HubGone> {
        let (done, wait) = oneshot::channel();
        self.send(Command::Flush(done))?;
        wait.await.map_err(|_| HubGone)
    }

    /// The users in a room on all nodes, each once, at most `limit` of them.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn members(&self, room: RoomId, limit: usize) -> Result<Vec<UserId>, HubGone> {
        let (reply, wait) = oneshot::channel();
        self.send(Command::Members { room, limit, reply })?;
        wait.await.map_err(|_| HubGone)
    }

    /// The number of users in a room, `user` counted as one of them.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn member_count(&self, room: RoomId, user: UserId) -> Result<usize, HubGone> {
        let (reply, wait) = oneshot::channel();
        self.send(Command::MemberCount { room, user, reply })?;
        wait.await.map_err(|_| HubGone)
    }

    /// The states of users, as far as `asker` may see them.
    ///
    /// # Errors
    /// The hub is gone.
    pub async fn presence(&self, asker: UserId, users: Vec<UserId>) -> Result<Vec<PresenceState>, HubGone> {
        let (reply, wait) = oneshot::channel();
        self.send(Command::Presence { asker, users, reply })?;
        wait.await.map_err(|_| HubGone)
    }
}
