//! What the hall does with what it is given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::sleep_until;

use super::fleet::Others;
use super::grace::Grace;
use super::{Delivery, Mail, Moment};
use crate::capability::{Audience, Effect};
use crate::cluster::bus::{Broadcast, Place, Target};
use crate::cluster::connection::{Connection, Outgoing};
use crate::cluster::departed::DepartedUsers;
use crate::cluster::outbound::Outbound;
use crate::cluster::population::Population;
use crate::cluster::presence::Users;
use crate::cluster::rooms::{Gap, Rooms};
use crate::cluster::wire::{self, Receipt, Reply};
use crate::id::{RoomId, UserId};
use crate::metrics::HallMetrics;
use crate::scheduler::{Contention, Quantum};
use crate::store::{Write, Written};

/// The hall sends this much, in the units of [`Outgoing::weight`], before other tenants have a turn.
const PART: u64 = 256 * 1024;

/// Everything of a hall; its task owns it.
pub(super) struct State {
    pub(super) rooms: Rooms,
    pub(super) users: Users,
    /// Users in rooms, those of other nodes too.
    pub(super) population: Population,
    pub(super) grace: Grace,
    pub(super) departed: DepartedUsers,
    pub(super) metrics: HallMetrics,
    /// What concerns other nodes.
    pub(super) others: Others,
    /// What stands for other servers.
    pub(super) for_servers: Option<Arc<Connection>>,
    outbound: Arc<Outbound>,
    /// `limits.presence_grace` as it is now, in milliseconds.
    presence_grace: Arc<AtomicU64>,
    /// Until when it works before others have a turn.
    pub(super) slice: Quantum,
}

/// What effects come from.
struct Caused<'a> {
    connection: &'a Arc<Connection>,
    moment: Moment,
    at_ms: u64,
    /// A join of this room waits to be released.
    held_room: Option<&'a RoomId>,
}

impl State {
    pub(super) fn new(
        metrics: HallMetrics,
        outbound: Arc<Outbound>,
        presence_grace: Arc<AtomicU64>,
        company: Arc<Contention>,
        others: Others,
    ) -> Self {
        Self {
            rooms: Rooms::default(),
            users: Users::default(),
            population: Population::default(),
            grace: Grace::default(),
            departed: DepartedUsers::default(),
            metrics,
            others,
            for_servers: None,
            outbound,
            presence_grace,
            slice: Quantum::among(company),
        }
    }

    /// Does what the mail says. Between its parts others have a turn when it is much.
    pub(super) async fn take(&mut self, mail: Mail) {
        self.grace.length = Duration::from_millis(self.presence_grace.load(Ordering::Relaxed));
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
            Mail::Hear(inbound) => self.hear(inbound).await,
            Mail::ForServers(connection) => self.for_servers = Some(connection),
            Mail::CaughtUp(done) => {
                let _ = done.send(());
            }
            Mail::Members { room, limit, reply } => {
                let _ = reply.send(self.population.users(&room, limit));
            }
            Mail::MemberCount { room, user, reply } => {
                let comes = usize::from(!self.population.contains(&room, &user));
                let _ = reply.send(self.population.count(&room) + comes);
            }
            Mail::Presence { asker, users, reply } => {
                let rooms = self.rooms_of(&asker);
                let mut states = Vec::with_capacity(users.len());
                for user in &users {
                    states.push(self.presence_of(user, &asker, &rooms));
                    self.slice.share().await;
                }
                let _ = reply.send(states);
            }
        }
        self.metrics
            .rooms
            .set(i64::try_from(self.rooms.len()).unwrap_or(i64::MAX));
        self.send().await;
    }

    /// Sends what is in the outbox, in parts. After each it waits when that was more than may go out: what comes next
    /// waits for it, and with it whoever caused it. Lets others have a turn in any case.
    pub(super) async fn send(&mut self) {
        if self.rooms.is_idle() {
            return self.slice.share().await;
        }
        loop {
            let more = self.rooms.send_part(PART);
            let bytes = self.rooms.take_sent();
            if let Some(until) = self.outbound.spend(bytes, std::time::Instant::now()) {
                sleep_until(until.into()).await;
            }
            self.slice.share().await;
            if !more {
                return;
            }
        }
    }

    async fn deliver(&mut self, delivery: Delivery) {
        let Delivery {
            connection,
            effects,
            written,
            reply,
            responder,
            moment,
            held_room,
            floors,
            done,
            room: _room,
            on_the_way,
            received,
            at_ms,
        } = delivery;
        let result = match written {
            Ok(written) => {
                let mut written = written.into_iter();
                let mut first_post = None;
                let cause = Caused {
                    connection: &connection,
                    moment,
                    at_ms,
                    held_room: held_room.as_ref(),
                };
                for effect in effects {
                    match effect {
                        Effect::Write(write) => {
                            if let Some(written) = written.next() {
                                first_post = first_post.or(self.wrote(&connection, &write, written));
                            }
                        }
                        effect => self.apply(&cause, effect),
                    }
                    self.send().await;
                }
                for (room, last) in floors {
                    self.begin(&room, Some(last));
                }
                // What waited for that comes before the answer.
                self.send().await;
                if let Reply::Repeated(repeated) = &reply {
                    // Where the first attempt was committed and nobody heard of that, the room has a gap.
                    self.hint(&repeated.room, repeated.receipt.seq);
                }
                let answer = responder.succeed(&connection, &reply, first_post.as_ref());
                self.rooms.count_bytes(answer);
                Ok(())
            }
            Err(error) => {
                if !matches!(reply, Reply::Silent) {
                    self.rooms.count_bytes(responder.fail(&connection, &error));
                }
                Err(error)
            }
        };
        self.metrics.delivered(received.elapsed());
        if let Some(done) = done {
            let _ = done.send(result);
        }
        drop(on_the_way);
        // Its share of what may be on the way is given back when its answer may have gone out.
        self.send().await;
    }

    /// Something was written: whom it concerns is told. Gives the receipt of a message.
    fn wrote(&mut self, connection: &Arc<Connection>, write: &Write, written: Written) -> Option<Receipt> {
        match (write, written) {
            (
                Write::Append(draft),
                Written::Appended {
                    seq,
                    sent_at,
                    duplicate,
                },
            ) => {
                if duplicate {
                    self.hint(&draft.room, seq);
                } else {
                    self.post(&draft.room, seq, &wire::new_message(draft, seq));
                }
                Some(Receipt {
                    id: draft.id,
                    seq,
                    sent_at,
                    username: draft.username.clone(),
                    client_id: draft.client.as_ref().map(|client| client.id.clone()),
                })
            }
            (Write::MarkRead { id, room, seq, .. }, Written::Read { at, first: true }) => {
                let identity = connection.identity.load();
                let outgoing = wire::message_read(*id, room, identity.user(), at);
                // The reader may have it from the store, and the members not yet.
                self.hint(room, *seq);
                self.tell(room, None, Some(*seq), &outgoing);
                None
            }
            // A receipt that was there already, and key-value writes: nobody is told.
            _ => None,
        }
    }

    /// Does what writes nothing.
    fn apply(&mut self, cause: &Caused<'_>, effect: Effect) {
        let connection = cause.connection;
        match effect {
            Effect::Emit { to, packet, question } => {
                let outgoing = Outgoing::event(packet, question);
                match to {
                    Audience::Room(room) => self.tell(&room, None, None, &outgoing),
                    Audience::OthersInRoom(room) => self.tell(&room, Some(connection), None, &outgoing),
                    Audience::User(user) => self.tell_user(user, &outgoing),
                    Audience::Sender => {
                        self.rooms.count_bytes(outgoing.weight());
                        let _ = connection.send(outgoing);
                    }
                }
            }
            Effect::Join(room) => self.join(&room, connection, cause.held_room == Some(&room)),
            Effect::Leave(room) => self.leave(&room, connection),
            Effect::SetData(data) => connection.set_data(data),
            Effect::SetPresence(status) => self.set_status(connection, status, cause.moment, cause.at_ms),
            Effect::Write(_) => {}
        }
    }

    /// A message that was committed here.
    pub(super) fn post(&mut self, room: &RoomId, seq: u64, outgoing: &Outgoing) {
        if self.others.bus.is_alone() && self.rooms.order(room).is_some_and(|order| !order.has_begun()) {
            // Messages come from here alone and in order: whoever is there has been told of those before, or has had them.
            self.rooms.begin(room, seq.saturating_sub(1));
        }
        if self.rooms.offer(room, seq, outgoing) == Gap::Missing {
            self.watch(room);
        }
        if let Outgoing::Event(packet) = outgoing {
            self.others.say(|| Broadcast {
                packet: packet.clone(),
                to: Target::Places(vec![Place::Room(room.as_str().into())]),
                except: Vec::new(),
                message: Some((room.clone(), seq)),
                after: None,
                question: None,
            });
        }
    }

    /// Something for the members of a room, here and elsewhere, who get it after the message `after`. Whoever is excepted
    /// is here.
    fn tell(&mut self, room: &RoomId, except: Option<&Arc<Connection>>, after: Option<u64>, outgoing: &Outgoing) {
        self.rooms.follow(room, except, outgoing);
        let place = || Place::Room(room.as_str().into());
        self.others
            .say_to(place, after.map(|seq| (room.clone(), seq)), outgoing);
    }

    fn tell_user(&mut self, user: UserId, outgoing: &Outgoing) {
        self.rooms
            .send_to(self.users.connections(&user).cloned().collect(), outgoing);
        self.others.say_to(|| Place::User(user), None, outgoing);
    }
}
