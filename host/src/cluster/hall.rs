//! One tenant's hall: the task that drives the tenant's [`Hub`](super::hub), and the way to it.

mod carry_out;
mod drive;
mod servers;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use super::bus::{Bus, Inbound, Nobody};
use super::connection::{Connection, OnTheWay, Outgoing};
use super::hub::{FleetLimits, Input};
use super::metrics::{HallMetrics, Metrics};
use super::outbound::Outbound;
use super::wire::{Receipt, Repeated, Reply, Responder};
use crate::capability::{Effect, PresenceState};
use crate::error::EventError;
use crate::id::{RoomId, TenantId, UserId};
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
    pub moment: Moment,
    /// A join of this room waits for [`Hall::release`].
    pub held_room: Option<RoomId>,
    /// Rooms that it joins without being told of their past, and the last message that each had before, `None` when the
    /// store did not say: what comes later is delivered.
    pub floors: Vec<(RoomId, Option<u64>)>,
    /// Told what became of the event once it is visible.
    pub done: Option<oneshot::Sender<Result<(), EventError>>>,
    /// Its share of what the tenant may have on the way, given back when it is visible.
    pub room: Option<OwnedSemaphorePermit>,
    /// It counts among what its connection has on the way until it is visible, or is let fall.
    pub on_the_way: Option<OnTheWay>,
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
    pub fn repeat(&mut self, first: FirstPost) {
        let effects = std::mem::take(&mut self.effects);
        self.floors = Vec::new();
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
pub enum Moment {
    /// It has just been opened: the event is its coming.
    Opening,
    /// In between.
    #[default]
    Open,
    /// Its client has gone: the event is its going.
    Closing,
}

/// A command or a question from this node.
enum Mail {
    Input(Input),
    Hear(Inbound),
    ForServers(Arc<Connection>),
    CaughtUp(oneshot::Sender<()>),
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

/// The server is shutting down, or the hall has failed and does not know of it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tenant has been interrupted here; try again")]
pub struct HallGone;

/// What a hall says to other nodes and hears of them.
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
    pub fn is_alone(&self) -> bool {
        self.bus.is_alone()
    }

    /// A node that is alone.
    #[must_use]
    pub fn of_one(store: Arc<dyn Store>) -> Self {
        Self {
            bus: Arc::new(Nobody::default()),
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

/// The way to a tenant's hall. Cheap to clone; the hall ends with the last clone.
///
/// Nobody waits for a hall to take something: what waits in it is bounded by what is let in. An event that others see
/// holds a share of what its tenant may have on the way ([`Delivery::room`]), and a connection's task does nothing else
/// until what it asks is answered.
#[derive(Clone)]
pub struct Hall {
    mailbox: mpsc::UnboundedSender<Mail>,
    shared: Arc<Shared>,
}

/// What the hall's task shares with those who reach it.
struct Shared {
    outbound: Outbound,
    /// Processor time that the tenant has not been charged for yet.
    cpu: CpuTimer,
    /// `limits.presence_grace`, in milliseconds.
    presence_grace: AtomicU64,
    metrics: HallMetrics,
}

impl Hall {
    /// Opens a hall.
    #[must_use]
    pub fn open(tenant: TenantId, metrics: &Metrics, fleet: Fleet, contention: Arc<Contention>) -> Self {
        let (mailbox, mail) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            outbound: Outbound::default(),
            cpu: CpuTimer::default(),
            presence_grace: AtomicU64::default(),
            metrics: metrics.hall(&tenant),
        });
        let hall = Self {
            mailbox,
            shared: shared.clone(),
        };
        let task = async move {
            let life = drive::run(tenant, shared.clone(), fleet, contention, mail);
            shared.cpu.time(life).await;
        };
        crate::vital::spawn("hall", task);
        hall
    }

    /// Whether nobody else can reach it any more: all sessions of its tenant have ended and no event of theirs waits
    /// to be written.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.mailbox.strong_count() == 1
    }

    /// How many bytes may go out to clients in a second, each client's counted; as many as there are until it is said.
    pub fn set_outbound(&self, bytes_per_second: u64) {
        self.shared.outbound.set_rate(bytes_per_second);
    }

    /// How long a user whose last connection went is still shown as before; not at all until it is said.
    pub fn set_presence_grace(&self, grace: Duration) {
        let grace = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self.shared.presence_grace.store(grace, Ordering::Relaxed);
    }

    /// Counts an answer that goes to a client past the hall, and waits until it may go out.
    pub async fn pace(&self, answer: &Outgoing) {
        let until = self.shared.outbound.spend(answer.weight(), Instant::now());
        if let Some(until) = until {
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Counts an answer of this [weight](Outgoing::weight) that went to a client past the hall. What comes next waits
    /// for it.
    pub fn charge(&self, weight: u64) {
        self.shared.outbound.spend(weight, Instant::now());
    }

    /// Counts an event whose packet came then as answered past the hall.
    pub fn answered(&self, received: Instant) {
        self.shared.metrics.delivered(received.elapsed());
    }

    /// Refuses an event past the hall.
    pub fn refuse(&self, connection: &Connection, responder: &Responder, error: &EventError) {
        self.shared.metrics.failed(error.code);
        self.charge(responder.fail(connection, error));
    }

    /// What the tenant has used since this was asked last: processor time of the hall, and bytes for clients.
    #[must_use]
    pub fn take_used(&self) -> (Duration, u64) {
        (self.shared.cpu.take(), self.shared.outbound.take_uncharged())
    }

    fn post(&self, mail: Mail) -> Result<(), HallGone> {
        self.mailbox.send(mail).map_err(|_| HallGone)
    }

    /// Makes events visible, in order.
    ///
    /// # Errors
    /// When the hall is gone.
    pub fn deliver(&self, deliveries: Vec<Delivery>) -> Result<(), HallGone> {
        for error in deliveries.iter().filter_map(|delivery| delivery.written.as_ref().err()) {
            self.shared.metrics.failed(error.code);
        }
        self.post(Mail::Input(Input::Deliver(deliveries)))
    }

    /// A connection has come.
    ///
    /// # Errors
    /// When the hall is gone.
    pub fn arrive(&self, connection: Arc<Connection>, at_ms: u64) -> Result<(), HallGone> {
        self.post(Mail::Input(Input::Arrive { connection, at_ms }))
    }

    /// A connection has gone: it leaves all rooms, and its user may be offline. Returns when that is done.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn depart(&self, connection: Arc<Connection>, at_ms: u64) -> Result<(), HallGone> {
        let (done, wait) = oneshot::channel();
        let gone = Input::Depart {
            connection,
            at_ms,
            done,
        };
        self.post(Mail::Input(gone))?;
        wait.await.map_err(|_| HallGone)
    }

    /// Ends the waiting of a join that was held: `first` goes out, then what was held without messages up to
    /// `from_seq`. `last_seq` is the room's last message as the answer says; `None` when it could not be read.
    ///
    /// `false` when others who came in at the same time were told of messages after `last_seq`, which do not come any
    /// more: nothing has gone out, and the past is to be read again.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn release(
        &self,
        connection: Arc<Connection>,
        room: RoomId,
        from_seq: u64,
        last_seq: Option<u64>,
        first: Option<Outgoing>,
    ) -> Result<bool, HallGone> {
        let (done, wait) = oneshot::channel();
        let release = Input::Release {
            connection,
            room,
            from_seq,
            last_seq,
            first,
            done,
        };
        self.post(Mail::Input(release))?;
        wait.await.map_err(|_| HallGone)
    }

    /// Holds back what the room gets from a connection that is in it, until it is released.
    ///
    /// # Errors
    /// When the hall is gone.
    pub fn hold(&self, connection: Arc<Connection>, room: RoomId) -> Result<(), HallGone> {
        self.post(Mail::Input(Input::Hold { connection, room }))
    }

    /// Events of other servers go to the session of this connection from now on.
    ///
    /// # Errors
    /// When the hall is gone.
    pub fn set_for_servers(&self, connection: Arc<Connection>) -> Result<(), HallGone> {
        self.post(Mail::ForServers(connection))
    }

    /// Something that is said to every node, here by this one: an event, a question, an order.
    ///
    /// # Errors
    /// When the hall is gone.
    pub fn hear(&self, inbound: Inbound) -> Result<(), HallGone> {
        self.post(Mail::Hear(inbound))
    }

    /// Waits until everything that the hall was told before is done.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn caught_up(&self) -> Result<(), HallGone> {
        let (done, wait) = oneshot::channel();
        self.post(Mail::CaughtUp(done))?;
        wait.await.map_err(|_| HallGone)
    }

    /// Users in a room, each once.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn members(&self, room: RoomId, limit: usize) -> Result<Vec<UserId>, HallGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Mail::Members { room, limit, reply })?;
        wait.await.map_err(|_| HallGone)
    }

    /// How many users are in a room, `user` counted as one of them.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn member_count(&self, room: RoomId, user: UserId) -> Result<usize, HallGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Mail::MemberCount { room, user, reply })?;
        wait.await.map_err(|_| HallGone)
    }

    /// The states of users as `asker` may see them.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn presence(&self, asker: UserId, users: Vec<UserId>) -> Result<Vec<PresenceState>, HallGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Mail::Presence { asker, users, reply })?;
        wait.await.map_err(|_| HallGone)
    }
}
