//! What the hall does with what it is given.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::fleet::Others;
use super::{Delivery, Mail, Used};
use crate::capability::{Audience, Effect};
use crate::cluster::bus::{Broadcast, Place, Target};
use crate::cluster::connection::{Connection, Outgoing};
use crate::cluster::presence::{Changed, Users};
use crate::cluster::rooms::{Gap, Rooms};
use crate::cluster::wire::{self, Receipt, Reply};
use crate::id::{RoomId, UserId};
use crate::metrics::Metrics;
use crate::store::Written;
use crate::turns::{Company, Slice};

/// How much may go out at once, as the time in which that much may go out: what others wait for when it comes at the
/// wrong moment.
const AT_ONCE: Duration = Duration::from_millis(10);
/// Bytes that are sent before others have a turn.
const PART: usize = 256 * 1024;

/// Everything of a hall; its task owns it.
pub(super) struct State {
    pub(super) rooms: Rooms,
    pub(super) users: Users,
    pub(super) metrics: Arc<Metrics>,
    /// Where there may be other nodes.
    pub(super) others: Option<Others>,
    /// What it has used.
    pub(super) used: Arc<Used>,
    /// Until when it works before others have a turn.
    pub(super) slice: Slice,
    /// When what was sent would have gone out at the rate that is allowed.
    pub(super) sends_at: Instant,
}

impl State {
    pub(super) fn alone(metrics: Arc<Metrics>, used: Arc<Used>, company: Arc<Company>) -> Self {
        Self {
            rooms: Rooms::default(),
            users: Users::default(),
            metrics,
            others: None,
            used,
            slice: Slice::among(company),
            sends_at: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, mut mail: mpsc::UnboundedReceiver<Mail>) {
        while let Some(mail) = mail.recv().await {
            self.take(mail).await;
        }
    }

    /// Does what the mail says. Between its parts others have a turn when it is much.
    pub(super) async fn take(&mut self, mail: Mail) {
        match mail {
            Mail::Deliver(deliveries) => {
                for delivery in deliveries {
                    self.deliver(delivery).await;
                }
            }
            Mail::Arrive { connection, now } => self.arrive(&connection, now),
            Mail::Depart { connection, now, done } => {
                self.depart(&connection, now);
                // The one who asked may have ceased to wait.
                let _ = done.send(());
            }
            Mail::Release {
                connection,
                room,
                from_seq,
                last_seq,
                first,
                done,
            } => {
                let released = self.rooms.release(&room, &connection, from_seq, last_seq, first);
                if released {
                    self.begin(&room, last_seq);
                }
                // The one who asked may have ceased to wait.
                let _ = done.send(released);
            }
            Mail::Hold { connection, room } => self.rooms.hold(&room, &connection),
            Mail::Hear(inbound) => self.hear(inbound),
            Mail::CaughtUp(done) => {
                let _ = done.send(());
            }
            Mail::Members { room, limit, reply } => {
                let _ = reply.send(self.members(&room, limit));
            }
            Mail::Presence { asker, users, reply } => {
                let rooms = self.rooms_of(&asker);
                let _ = reply.send(users.iter().map(|user| self.presence_of(user, &rooms)).collect());
            }
        }
        self.metrics
            .rooms
            .set(i64::try_from(self.rooms.len()).unwrap_or(i64::MAX));
        self.pace().await;
    }

    /// Notes what was sent, and waits when that was more than may go out: what comes next waits for it, and with it
    /// whoever caused it. Lets others have a turn in any case.
    pub(super) async fn pace(&mut self) {
        let bytes = self.rooms.take_sent();
        if bytes > 0 {
            self.used.bytes.fetch_add(bytes, Ordering::Relaxed);
            let rate = self.used.rate.load(Ordering::Relaxed).max(1);
            let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
            let now = Instant::now();
            let earliest = now.checked_sub(AT_ONCE).unwrap_or(now);
            self.sends_at = self.sends_at.max(earliest) + takes;
            if self.sends_at > now {
                tokio::time::sleep_until(self.sends_at.into()).await;
            }
        }
        self.slice.share().await;
    }

    /// Sends to everybody in a room but `except`, some at a time; `seq` when it is a message. For a node that is alone.
    async fn send(&mut self, room: &RoomId, seq: Option<u64>, except: Option<&Arc<Connection>>, outgoing: &Outgoing) {
        let part = (PART / outgoing.len().max(1)).max(1);
        let mut from = 0;
        // Nobody else can come in or go meanwhile: that is done by this task.
        while self.rooms.send(room, from..from + part, seq, except, outgoing) {
            from += part;
            self.pace().await;
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let Delivery {
            connection,
            effects,
            written,
            reply,
            responder,
            held_room,
            floors,
            done,
            room: _room,
            received,
            at_ms,
        } = delivery;
        let result = match written {
            Ok(written) => {
                let mut written = written.into_iter();
                let mut first_post = None;
                for effect in effects {
                    let written = if effect.is_durable() { written.next() } else { None };
                    self.apply(&connection, effect, written, held_room.as_ref(), at_ms, &mut first_post)
                        .await;
                    self.pace().await;
                }
                for (room, last) in floors {
                    self.begin(&room, Some(last));
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

    async fn apply(
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
                if duplicate {
                    // Where the first attempt was committed and nobody heard of that, the room has a gap.
                    self.hint(&draft.room, seq);
                } else {
                    self.post(&draft.room, seq, &wire::new_message(&draft, seq)).await;
                }
            }
            (Effect::MarkRead { id, room }, Some(Written::Read { at, first: true })) => {
                let identity = connection.identity.load();
                let outgoing = wire::message_read(id, &room, identity.user(), at);
                self.tell(&room, None, &outgoing).await;
            }
            (Effect::Emit { to, packet }, _) => {
                let outgoing = Outgoing::Event(packet);
                match to {
                    Audience::Room(room) => self.tell(&room, None, &outgoing).await,
                    Audience::OthersInRoom(room) => self.tell(&room, Some(connection), &outgoing).await,
                    Audience::User(user) => self.tell_user(user, &outgoing),
                    Audience::Sender => {
                        self.rooms.count_sent(&outgoing, 1);
                        let _ = connection.outlet.send(outgoing);
                    }
                }
            }
            (Effect::Join(room), _) => self.join(&room, connection, held_room == Some(&room)),
            (Effect::Leave(room), _) => {
                self.rooms.leave(&room, connection);
                self.touch(connection.identity.load().user());
            }
            (Effect::SetPresence(status), _) => {
                let user = connection.identity.load().user().clone();
                let before = self.sight(&user);
                let changed = self.users.set(connection, status, at_ms);
                self.changed(connection, changed, before, at_ms);
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

    /// A message that was committed here.
    async fn post(&mut self, room: &RoomId, seq: u64, outgoing: &Outgoing) {
        let Some(others) = &self.others else {
            return self.send(room, Some(seq), None, outgoing).await;
        };
        let gap = self.rooms.offer(room, seq, outgoing);
        if let Outgoing::Event(packet) = outgoing {
            others.say(Broadcast {
                packet: packet.clone(),
                to: Target::Places(vec![Place::Room(room.as_str().into())]),
                except: Vec::new(),
                message: Some((room.clone(), seq)),
            });
        }
        if gap == Gap::Missing {
            self.watch(room);
        }
    }

    /// Something for the members of a room, here and elsewhere. Whoever is excepted is here.
    async fn tell(&mut self, room: &RoomId, except: Option<&Arc<Connection>>, outgoing: &Outgoing) {
        let Some(others) = &self.others else {
            return self.send(room, None, except, outgoing).await;
        };
        self.rooms.follow(room, except, outgoing);
        others.say_to(Place::Room(room.as_str().into()), outgoing);
    }

    fn tell_user(&mut self, user: UserId, outgoing: &Outgoing) {
        let mut sent = 0;
        for connection in self.users.connections(&user) {
            let _ = connection.outlet.send(outgoing.clone());
            sent += 1;
        }
        self.rooms.count_sent(outgoing, sent);
        if let Some(others) = &self.others {
            others.say_to(Place::User(user), outgoing);
        }
    }

    pub(super) fn join(&mut self, room: &RoomId, connection: &Arc<Connection>, held: bool) {
        let Some(first) = self.rooms.join(room, connection, held) else {
            return;
        };
        let identity = connection.identity.load();
        let user = identity.user();
        let first = first
            && !self
                .others
                .as_ref()
                .is_some_and(|others| others.users.is_in(room, user));
        if first && let Some((status, since)) = self.visible(user) {
            let outgoing = wire::presence(user, identity.name(), status, since);
            self.rooms.follow(room, None, &outgoing);
        }
        self.touch(user);
    }

    fn arrive(&mut self, connection: &Arc<Connection>, now: u64) {
        self.users.arrive(connection, now);
        self.touch(connection.identity.load().user());
    }

    fn depart(&mut self, connection: &Arc<Connection>, now: u64) {
        let user = connection.identity.load().user().clone();
        let before = self.sight(&user);
        let changed = self.users.depart(connection, now);
        for room in connection.rooms() {
            self.rooms.leave(&room, connection);
        }
        self.changed(connection, changed, before, now);
    }

    /// What a node that is alone says of a change.
    pub(super) fn announce(&mut self, connection: &Arc<Connection>, changed: Option<Changed>) {
        let Some(Changed { status, since, rooms }) = changed else {
            return;
        };
        let identity = connection.identity.load();
        let outgoing = wire::presence(identity.user(), identity.name(), status, since);
        self.rooms.send_across(&rooms, &outgoing);
    }

    pub(super) fn rooms_of(&self, user: &UserId) -> HashSet<RoomId> {
        let mut rooms = self.users.rooms_of(user);
        if let Some(others) = &self.others {
            rooms.extend(others.users.rooms_of(user).cloned());
        }
        rooms
    }
}
