//! One tenant's hub: the task that drives the tenant's [`Hub`](super::hub), and the way to it.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::bus::{Bus, Inbound, LocalBus};
use super::connection::{Connection, InFlightGuard, Outgoing};
use super::driver;
use super::hub::{FleetLimits, Input};
use super::outbound::Outbound;
use super::wire::{Receipt, Repeated, Reply, Responder};
use crate::capability::{Effect, PresenceState};
use crate::error::EventError;
use crate::id::{RoomId, TenantId, UserId};
use crate::metrics::Metrics;
use crate::scheduler::{Contention, CpuTimer};
use crate::store::{FirstPost, Store, Written};

/// An event whose writes, if any, are durable, or which has failed.
pub struct Delivery {
    /// Who caused it.
    pub connection: Arc<Connection>,
    /// What is to happen.
    pub effects: Vec<Effect>,
    /// What became of the writes among the effects, in their order; or why the event failed.
    pub written: Result<Vec<Written>, EventError>,
    /// What to answer.
    pub reply: Reply,
    /// How to answer.
    pub responder: Responder,
    /// When in the connection's life it happens.
    pub phase: ConnectionPhase,
    /// A join of this room waits for [`HubHandle::release`].
    pub held_room: Option<RoomId>,
    /// Rooms that it joins without being told of their past, and the last message that each had before, `None` when the
    /// store did not say: what comes later is delivered.
    pub baselines: Vec<(RoomId, Option<u64>)>,
    /// Told what became of the event once it is visible.
    pub done: Option<oneshot::Sender<Result<(), EventError>>>,
    /// Its share of what the tenant may have on the way, given back when it is visible.
    pub in_flight_permit: Option<OwnedSemaphorePermit>,
    /// It counts among what its connection has on the way until it is visible, or is let fall.
    pub in_flight: Option<InFlightGuard>,
    /// When the packet came.
    pub received: Instant,
    /// When the packet came, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

impl Delivery {
    /// Whether the store has to be told before anybody may see it.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.effects.iter().any(|effect| effect.write().is_some())
    }

    /// What its effects weigh, in bytes, about; at least 1.
    #[must_use]
    pub fn effects_weight(&self) -> usize {
        self.effects.iter().map(Effect::weight).fold(1, usize::saturating_add)
    }

    /// What it takes in memory until it is visible, in bytes, about: its effects and its reply; at least 1.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.effects_weight().saturating_add(self.reply.bytes())
    }

    /// The message that the event was to post is there already: its sender is told where, and nothing else happens.
    pub fn replace_with_repeat(&mut self, first: FirstPost) {
        let effects = std::mem::take(&mut self.effects);
        self.baselines = Vec::new();
        self.written = Ok(Vec::new());
        let drafts = effects.iter().filter_map(|effect| effect.write()?.draft());
        let message = drafts.into_iter().find(|draft| draft.once);
        if let Some(draft) = message {
            self.reply = Reply::Repeated(Box::new(Repeated {
                room: draft.room.clone(),
                receipt: Receipt {
                    id: draft.id,
                    seq: first.seq,
                    sent_at: first.sent_at,
                    username: first.username,
                    client_id: draft.client.as_ref().map(|client| client.id.clone()),
                },
            }));
        }
    }
}

/// When in a connection's life an event happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionPhase {
    /// It has just been opened: the event is its coming.
    Connecting,
    /// In between.
    #[default]
    Connected,
    /// Its client has gone: the event is its going.
    Disconnecting,
}

/// A command or a question from this node.
pub(super) enum Command {
    Input(Input),
    Receive(Inbound),
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

/// The server is shutting down, or the hub has failed and does not know of it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant has been interrupted here; try again")]
pub struct HubGone;

/// What a hub says to other nodes and hears of them.
#[derive(Clone)]
pub struct Fleet {
    /// The way to the other nodes.
    pub bus: Arc<dyn Bus>,
    /// Where what is missed is read.
    pub store: Arc<dyn Store>,
    /// How often and how much.
    pub limits: FleetLimits,
}

/// Longer than any server runs.
const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

impl Fleet {
    /// Whether there is no other node, ever.
    #[must_use]
    pub fn is_single_node(&self) -> bool {
        self.bus.is_single_node()
    }

    /// A node that is alone.
    #[must_use]
    pub fn single_node(store: Arc<dyn Store>) -> Self {
        Self {
            bus: Arc::new(LocalBus::default()),
            store,
            limits: FleetLimits {
                // Nothing is missed but what a failing store may have committed.
                sweep: FOREVER,
                poll: Duration::from_secs(1),
                rooms_per_connection: usize::MAX,
            },
        }
    }
}

/// The way to a tenant's hub. Cheap to clone; the hub ends with the last clone.
///
/// Nobody waits for a hub to take something: what waits in it is bounded by what is let in. An event that others see
/// holds a share of what its tenant may have on the way ([`Delivery::in_flight_permit`]), and a connection's task does nothing else
/// until what it asks is answered.
#[derive(Clone)]
pub struct HubHandle {
    mailbox: mpsc::UnboundedSender<Command>,
    outbound: Arc<Outbound>,
    /// Processor time that the tenant has not been charged for yet.
    cpu: Arc<CpuTimer>,
    /// `limits.presence_grace`, in milliseconds.
    presence_grace: Arc<AtomicU64>,
}

impl HubHandle {
    /// Opens a hub.
    #[must_use]
    pub fn open(tenant: TenantId, metrics: Arc<Metrics>, fleet: Fleet, contention: Arc<Contention>) -> Self {
        let (mailbox, mail) = mpsc::unbounded_channel();
        let metrics = metrics.hub(tenant.as_str());
        let (outbound, cpu, grace) = (Arc::<Outbound>::default(), Arc::<CpuTimer>::default(), Arc::default());
        let hub = Self {
            mailbox,
            outbound: outbound.clone(),
            cpu: cpu.clone(),
            presence_grace: Arc::clone(&grace),
        };
        let task = async move {
            let life = driver::run(tenant, metrics, outbound, grace, fleet, contention, mail);
            cpu.time(life).await;
        };
        crate::vital::spawn("hub", task);
        hub
    }

    /// Whether nobody else can reach it any more: all sessions of its tenant have ended and no event of theirs waits
    /// to be written.
    #[must_use]
    pub fn is_last_handle(&self) -> bool {
        self.mailbox.strong_count() == 1
    }

    /// How many bytes may go out to clients in a second, each client's counted; as many as there are until it is said.
    pub fn set_outbound_rate(&self, bytes_per_second: u64) {
        self.outbound.set_rate(bytes_per_second);
    }

    /// How long a user whose last connection went is still shown as before; not at all until it is said.
    pub fn set_presence_grace(&self, grace: Duration) {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.presence_grace.store(grace, Ordering::Relaxed);
    }

    /// Counts an answer that goes to a client past the hub, and waits until it may go out.
    pub async fn pace(&self, answer: &Outgoing) {
        let until = self.outbound.spend(answer.weight(), Instant::now());
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Counts an answer of this [weight](Outgoing::weight) that went to a client past the hub. What comes next waits
    /// for it.
    pub fn charge(&self, weight: u64) {
        self.outbound.spend(weight, Instant::now());
    }

    /// What the tenant has used since this was asked last: processor time of the hub, and bytes for clients.
    #[must_use]
    pub fn take_usage(&self) -> (Duration, u64) {
        (self.cpu.take(), self.outbound.take_uncharged())
    }

    fn post(&self, mail: Command) -> Result<(), HubGone> {
        self.mailbox.send(mail).map_err(|_| HubGone)
    }

    /// Makes events visible, in order.
    ///
    /// # Errors
    /// When the hub is gone.
    pub fn deliver(&self, deliveries: Vec<Delivery>) -> Result<(), HubGone> {
        self.post(Command::Input(Input::Deliver(deliveries)))
    }

    /// A connection has come.
    ///
    /// # Errors
    /// When the hub is gone.
    pub fn connect(&self, connection: Arc<Connection>, at_ms: u64) -> Result<(), HubGone> {
        self.post(Command::Input(Input::Connect { connection, at_ms }))
    }

    /// A connection has gone: it leaves all rooms, and its user may be offline. Returns when that is done.
    ///
    /// # Errors
    /// When the hub is gone.
    pub async fn disconnect(&self, connection: Arc<Connection>, at_ms: u64) -> Result<(), HubGone> {
        let (done, wait) = oneshot::channel();
        let gone = Input::Disconnect {
            connection,
            at_ms,
            done,
        };
        self.post(Command::Input(gone))?;
        wait.await.map_err(|_| HubGone)
    }

    /// Ends the waiting of a join that was held: `first` goes out, then what was held without messages up to
    /// `from_seq`. `last_seq` is the room's last message as the answer says; `None` when it could not be read.
    ///
    /// `false` when others who came in at the same time were told of messages after `last_seq`, which do not come any
    /// more: nothing has gone out, and the past is to be read again.
    ///
    /// # Errors
    /// When the hub is gone.
    pub async fn release(
        &self,
        connection: Arc<Connection>,
        room: RoomId,
        from_seq: u64,
        last_seq: Option<u64>,
        first: Option<Outgoing>,
    ) -> Result<bool, HubGone> {
        let (done, wait) = oneshot::channel();
        let release = Input::Release {
            connection,
            room,
            from_seq,
            last_seq,
            first,
            done,
        };
        self.post(Command::Input(release))?;
        wait.await.map_err(|_| HubGone)
    }

    /// Holds back what the room gets from a connection that is in it, until it is released.
    ///
    /// # Errors
    /// When the hub is gone.
    pub fn hold(&self, connection: Arc<Connection>, room: RoomId) -> Result<(), HubGone> {
        self.post(Command::Input(Input::Hold { connection, room }))
    }

    /// Events of other servers go to the session of this connection from now on.
    ///
    /// # Errors
    /// When the hub is gone.
    pub fn set_server_connection(&self, connection: Arc<Connection>) -> Result<(), HubGone> {
        self.post(Command::ServerConnection(connection))
    }

    /// Something that is said to every node, here by this one: an event, a question, an order.
    ///
    /// # Errors
    /// When the hub is gone.
    pub fn receive(&self, inbound: Inbound) -> Result<(), HubGone> {
        self.post(Command::Receive(inbound))
    }

    /// Waits until everything that the hub was told before is done.
    ///
    /// # Errors
    /// When the hub is gone.
    pub async fn flush(&self) -> Result<(), HubGone> {
        let (done, wait) = oneshot::channel();
        self.post(Command::Flush(done))?;
        wait.await.map_err(|_| HubGone)
    }

    /// Users in a room, each once.
    ///
    /// # Errors
    /// When the hub is gone.
    pub async fn members(&self, room: RoomId, limit: usize) -> Result<Vec<UserId>, HubGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Command::Members { room, limit, reply })?;
        wait.await.map_err(|_| HubGone)
    }

    /// How many users are in a room, `user` counted as one of them.
    ///
    /// # Errors
    /// When the hub is gone.
    pub async fn member_count(&self, room: RoomId, user: UserId) -> Result<usize, HubGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Command::MemberCount { room, user, reply })?;
        wait.await.map_err(|_| HubGone)
    }

    /// The states of users as `asker` may see them.
    ///
    /// # Errors
    /// When the hub is gone.
    pub async fn presence(&self, asker: UserId, users: Vec<UserId>) -> Result<Vec<PresenceState>, HubGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Command::Presence { asker, users, reply })?;
        wait.await.map_err(|_| HubGone)
    }
}
