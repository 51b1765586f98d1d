//! One tenant's hall: the task that makes visible what has been committed.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Outgoing};
use super::presence::{Changed, Users};
use super::rooms::Rooms;
use super::wire::{self, Receipt, Reply, Responder};
use crate::capability::{Audience, Effect, PresenceState};
use crate::error::EventError;
use crate::id::{RoomId, UserId};
use crate::metrics::Metrics;
use crate::store::Written;

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
        first: Option<Outgoing>,
    },
    Hold {
        connection: Arc<Connection>,
        room: RoomId,
    },
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

/// The way to a tenant's hall. Cheap to clone; the hall ends with the last clone.
#[derive(Clone)]
pub struct Hall {
    mailbox: mpsc::Sender<Mail>,
}

impl Hall {
    /// Opens a hall.
    #[must_use]
    pub fn open(metrics: Arc<Metrics>) -> Self {
        let (mailbox, mail) = mpsc::channel(MAILBOX);
        crate::vital::spawn(
            "hall",
            State {
                rooms: Rooms::default(),
                users: Users::default(),
                metrics,
            }
            .run(mail),
        );
        Self { mailbox }
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
    /// `from_seq`. Counts as unsettled until then.
    ///
    /// # Errors
    /// When the hall is gone.
    pub async fn release(
        &self,
        connection: Arc<Connection>,
        room: RoomId,
        from_seq: u64,
        first: Option<Outgoing>,
    ) -> Result<(), HallGone> {
        // What comes next on this connection must not overtake the acknowledgement.
        connection.begin();
        let mail = Mail::Release {
            connection: connection.clone(),
            room,
            from_seq,
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

struct State {
    rooms: Rooms,
    users: Users,
    metrics: Arc<Metrics>,
}

impl State {
    async fn run(mut self, mut mail: mpsc::Receiver<Mail>) {
        while let Some(mail) = mail.recv().await {
            match mail {
                Mail::Deliver(deliveries) => deliveries.into_iter().for_each(|delivery| self.deliver(delivery)),
                Mail::Arrive { connection, now } => self.users.arrive(&connection, now),
                Mail::Depart { connection, now, done } => {
                    self.depart(&connection, now);
                    // The one who asked may have ceased to wait.
                    let _ = done.send(());
                }
                Mail::Release {
                    connection,
                    room,
                    from_seq,
                    first,
                } => {
                    self.rooms.release(&room, &connection, from_seq, first);
                    connection.settle();
                }
                Mail::Hold { connection, room } => self.rooms.hold(&room, &connection),
                Mail::Members { room, limit, reply } => {
                    let _ = reply.send(self.rooms.users(&room, limit));
                }
                Mail::Presence { asker, users, reply } => {
                    let rooms = self.users.rooms_of(&asker);
                    let _ = reply.send(users.iter().map(|user| self.users.state(user, &rooms)).collect());
                }
            }
            self.metrics
                .rooms
                .set(i64::try_from(self.rooms.len()).unwrap_or(i64::MAX));
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let Delivery {
            connection,
            effects,
            written,
            reply,
            responder,
            held_room,
            done,
            received,
            at_ms,
        } = delivery;
        let result = match written {
            Ok(written) => {
                let mut written = written.into_iter();
                let mut first_post = None;
                for effect in effects {
                    let written = if effect.is_durable() { written.next() } else { None };
                    self.apply(&connection, effect, written, held_room.as_ref(), at_ms, &mut first_post);
                }
                responder.succeed(&connection, &reply, first_post.as_ref());
                Ok(())
            }
            Err(error) => {
                if !matches!(reply, Reply::Silent) {
                    responder.fail(&connection, &error);
                }
                Err(error)
            }
        };
        self.metrics.delivered(received.elapsed());
        if let Some(done) = done {
            let _ = done.send(result);
        }
        connection.settle();
    }

    fn apply(
        &mut self,
        connection: &Arc<Connection>,
        effect: Effect,
        written: Option<Written>,
        held_room: Option<&RoomId>,
        at_ms: u64,
        first_post: &mut Option<Receipt>,
    ) {
        match (effect, written) {
            (
                Effect::Post(draft),
                Some(Written::Appended {
                    seq,
                    sent_at,
                    duplicate,
                }),
            ) => {
                first_post.get_or_insert(Receipt {
                    id: draft.id,
                    seq,
                    sent_at,
                });
                if !duplicate {
                    self.rooms
                        .send(&draft.room, Some(seq), None, &wire::new_message(&draft, seq));
                }
            }
            (Effect::MarkRead { id, room }, Some(Written::Read { at, first: true })) => {
                let identity = connection.identity.load();
                self.rooms
                    .send(&room, None, None, &wire::message_read(id, &room, identity.user(), at));
            }
            (Effect::Emit { to, packet }, _) => {
                let outgoing = Outgoing::Event(packet);
                match to {
                    Audience::Room(room) => self.rooms.send(&room, None, None, &outgoing),
                    Audience::OthersInRoom(room) => self.rooms.send(&room, None, Some(connection), &outgoing),
                    Audience::User(user) => self.users.connections(&user).for_each(|connection| {
                        let _ = connection.outlet.send(outgoing.clone());
                    }),
                    Audience::Sender => {
                        let _ = connection.outlet.send(outgoing);
                    }
                }
            }
            (Effect::Join(room), _) => self.join(&room, connection, held_room == Some(&room)),
            (Effect::Leave(room), _) => self.rooms.leave(&room, connection),
            (Effect::SetPresence(status), _) => {
                let changed = self.users.set(connection, status, at_ms);
                self.announce(connection, changed);
            }
            // A receipt that was there already, and key-value writes: nobody is told.
            (
                Effect::Post(_)
                | Effect::MarkRead { .. }
                | Effect::KvSet { .. }
                | Effect::KvDelete { .. }
                | Effect::KvIncrement { .. },
                _,
            ) => {}
        }
    }

    fn join(&mut self, room: &RoomId, connection: &Arc<Connection>, held: bool) {
        let Some(first) = self.rooms.join(room, connection, held) else {
            return;
        };
        let identity = connection.identity.load();
        if first && let Some((status, since)) = self.users.visible(identity.user()) {
            let outgoing = wire::presence(identity.user(), identity.name(), status, since);
            self.rooms.send(room, None, None, &outgoing);
        }
    }

    fn depart(&mut self, connection: &Arc<Connection>, now: u64) {
        let changed = self.users.depart(connection, now);
        for room in connection.rooms() {
            self.rooms.leave(&room, connection);
        }
        self.announce(connection, changed);
    }

    fn announce(&mut self, connection: &Arc<Connection>, changed: Option<Changed>) {
        let Some(Changed { status, since, rooms }) = changed else {
            return;
        };
        let identity = connection.identity.load();
        let outgoing = wire::presence(identity.user(), identity.name(), status, since);
        self.rooms.send_across(&rooms, &outgoing);
    }
}
