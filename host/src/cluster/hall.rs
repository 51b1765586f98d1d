//! One tenant's hall: the task that makes visible what has been committed, here and on other nodes.

mod catch_up;
mod elsewhere;
mod fleet;
mod serve;
mod state;

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::bus::{Bus, Inbound};
use super::connection::{Connection, Outgoing};
use super::wire::{Reply, Responder};
use crate::capability::{Effect, PresenceState};
use crate::error::EventError;
use crate::id::{RoomId, TenantId, UserId};
use crate::metrics::Metrics;
use crate::store::{Store, Written};
use state::State;

pub use fleet::FleetLimits;

/// Deliveries waiting for the hall; the committer waits when it is full.
const MAILBOX: usize = 1024;

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
    /// A join of this room waits for [`Hall::release`].
    pub held_room: Option<RoomId>,
    /// Rooms that it joins without being told of their past, and the last message that each had before: what comes
    /// later is delivered. Only where there are other nodes.
    pub floors: Vec<(RoomId, u64)>,
    /// Told what became of the event once it is visible.
    pub done: Option<oneshot::Sender<Result<(), EventError>>>,
    /// When the packet came.
    pub received: Instant,
    /// The same, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

enum Mail {
    Deliver(Vec<Delivery>),
    Arrive {
        connection: Arc<Connection>,
        now: u64,
    },
    Depart {
        connection: Arc<Connection>,
        now: u64,
        done: oneshot::Sender<()>,
    },
    Release {
        connection: Arc<Connection>,
        room: RoomId,
        from_seq: u64,
        last_seq: Option<u64>,
        first: Option<Outgoing>,
    },
    Hold {
        connection: Arc<Connection>,
        room: RoomId,
    },
    Hear(Inbound),
    Members {
        room: RoomId,
        limit: usize,
        reply: oneshot::Sender<Vec<UserId>>,
    },
    Presence {
        asker: UserId,
        users: Vec<UserId>,
        reply: oneshot::Sender<Vec<PresenceState>>,
    },
}

/// The server is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server is shutting down")]
pub struct HallGone;

/// What a hall that is one of several says and hears.
#[derive(Clone)]
pub struct Fleet {
    /// The way to the other nodes.
    pub bus: Arc<dyn Bus>,
    /// Where what is missed is read.
    pub store: Arc<dyn Store>,
    /// How often and how much.
    pub limits: FleetLimits,
}

/// The way to a tenant's hall. Cheap to clone; the hall ends with the last clone.
#[derive(Clone)]
pub struct Hall {
    mailbox: mpsc::Sender<Mail>,
    in_fleet: bool,
}

impl Hall {
    /// Opens a hall; without `fleet` that of the only node.
    #[must_use]
    pub fn open(tenant: TenantId, metrics: Arc<Metrics>, fleet: Option<Fleet>) -> Self {
        let (mailbox, mail) = mpsc::channel(MAILBOX);
        let in_fleet = fleet.is_some();
        let task = async move {
            match fleet {
                None => State::alone(metrics).run(mail).await,
                Some(fleet) => fleet::run(tenant, metrics, fleet, mail).await,
            }
        };
        crate::vital::spawn("hall", task);
        Self { mailbox, in_fleet }
    }

    /// Whether nobody else can reach it any more: all sessions of its tenant have ended and no event of theirs waits
    /// to be written.
    #[must_use]
    pub fn is_forsaken(&self) -> bool {
        self.mailbox.strong_count() == 1
    }

    /// Whether there may be other nodes.
    #[must_use]
    pub fn is_in_fleet(&self) -> bool {
        self.in_fleet
    }

    async fn post(&self, mail: Mail) -> Result<(), HallGone> {
        self.mailbox.send(mail).await.map_err(|_| HallGone)
    }

    /// Makes events visible, in order.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn deliver(&self, deliveries: Vec<Delivery>) -> Result<(), HallGone> {
        self.post(Mail::Deliver(deliveries)).await
    }

    /// A connection has come.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn arrive(&self, connection: Arc<Connection>, now: u64) -> Result<(), HallGone> {
        self.post(Mail::Arrive { connection, now }).await
    }

    /// A connection has gone: it leaves all rooms, and its user may be offline. Returns when that is done.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn depart(&self, connection: Arc<Connection>, now: u64) -> Result<(), HallGone> {
        let (done, wait) = oneshot::channel();
        self.post(Mail::Depart { connection, now, done }).await?;
        wait.await.map_err(|_| HallGone)
    }

    /// Ends the waiting of a join that was held: `first` goes out, then what was held without messages up to
    /// `from_seq`. `last_seq` is the room's last message as the answer says; `None` when it could not be read. Counts as
    /// unsettled until then.
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
    ) -> Result<(), HallGone> {
        // What comes next on this connection must not overtake the acknowledgement.
        connection.begin();
        let mail = Mail::Release {
            connection: connection.clone(),
            room,
            from_seq,
            last_seq,
            first,
        };
        let posted = self.post(mail).await;
        if posted.is_err() {
            connection.settle();
        }
        posted
    }

    /// Holds back what the room gets from a connection that is in it, until it is released.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn hold(&self, connection: Arc<Connection>, room: RoomId) -> Result<(), HallGone> {
        self.post(Mail::Hold { connection, room }).await
    }

    /// Something that is said to every node, here by this one: an event, a question, an order.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn hear(&self, inbound: Inbound) -> Result<(), HallGone> {
        self.post(Mail::Hear(inbound)).await
    }

    /// Users in a room, each once.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn members(&self, room: RoomId, limit: usize) -> Result<Vec<UserId>, HallGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Mail::Members { room, limit, reply }).await?;
        wait.await.map_err(|_| HallGone)
    }

    /// The states of users as `asker` may see them.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn presence(&self, asker: UserId, users: Vec<UserId>) -> Result<Vec<PresenceState>, HallGone> {
        let (reply, wait) = oneshot::channel();
        self.post(Mail::Presence { asker, users, reply }).await?;
        wait.await.map_err(|_| HallGone)
    }
}
