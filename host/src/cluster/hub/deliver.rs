//! What an event of a client here causes, once its writes are durable.

use std::sync::Arc;

use super::rooms::Gap;
use super::{CompletedEvent, Hub, Output};
use crate::capability::{Audience, Effect};
use crate::cluster::bus::{Broadcast, BroadcastTarget, TargetRoom};
use crate::cluster::connection::{Connection, Outgoing};
use crate::cluster::handle::{ConnectionPhase, Delivery};
use crate::cluster::wire::{self, Receipt, Reply, Responder};
use crate::error::{Code, EventError};
use crate::id::{RoomId, UserId};
use crate::store::{Write, Written};

/// The unfinished part of an event.
pub(super) struct PendingEvent {
    connection: Arc<Connection>,
    phase: ConnectionPhase,
    at_ms: u64,
    /// A join of this room waits to be released.
    held_room: Option<RoomId>,
    effects: std::vec::IntoIter<Effect>,
    /// What became of the writes among them.
    written: std::vec::IntoIter<Written>,
    first_post: Option<Receipt>,
    baselines: Vec<(RoomId, Option<u64>)>,
    /// The store was told of its writes and has failed.
    may_be_committed: bool,
    reply: Reply,
    responder: Responder,
    completed: Box<CompletedEvent>,
}

impl PendingEvent {
    pub(super) fn new(delivery: Delivery) -> Self {
        let failed = |error: &EventError| error.code == Code::Unavailable;
        let may_be_committed = delivery.writes() && delivery.written.as_ref().is_err_and(failed);
        let (effects, baselines, written, result) = match delivery.written {
            Ok(written) => (delivery.effects, delivery.baselines, written, Ok(())),
            Err(error) => (Vec::new(), Vec::new(), Vec::new(), Err(error)),
        };
        Self {
            connection: delivery.connection,
            phase: delivery.phase,
            at_ms: delivery.at_ms,
            held_room: delivery.held_room,
            effects: effects.into_iter(),
            written: written.into_iter(),
            first_post: None,
            baselines,
            may_be_committed,
            reply: delivery.reply,
            responder: delivery.responder,
            completed: Box::new(CompletedEvent {
                result,
                done: delivery.done,
                received: delivery.received,
                in_flight: delivery.in_flight,
                in_flight_permit: delivery.in_flight_permit,
            }),
        }
    }
}

impl Hub {
    /// Does one piece of an event: an effect, or what comes behind the last of them. Gives what is left.
    pub(super) fn apply_next(&mut self, mut event: Box<PendingEvent>) -> Option<Box<PendingEvent>> {
        match event.effects.next() {
            Some(Effect::Write(write)) => {
                if let Some(written) = event.written.next() {
                    let receipt = self.announce_write(&event.connection, &write, written);
                    event.first_post = event.first_post.take().or(receipt);
                }
            }
            Some(effect) => self.apply(&event, effect),
            // What waited for the beginnings comes before the answer.
            None if !event.baselines.is_empty() => {
                for (room, last) in std::mem::take(&mut event.baselines) {
                    self.set_baseline(&room, last);
                }
            }
            None => {
                self.complete(*event);
                return None;
            }
        }
        Some(event)
    }

    /// All of an event has happened: it is answered.
    fn complete(&mut self, event: PendingEvent) {
        let answer = match &event.completed.result {
            Ok(()) => {
                if let Reply::Repeated(repeated) = &event.reply {
                    // Where the first attempt was committed and nobody heard of that, the room has a gap.
                    self.note_message(&repeated.room, repeated.receipt.seq);
                }
                event.responder.answer(&event.reply, event.first_post.as_ref())
            }
            Err(error) => {
                if event.may_be_committed {
                    self.sweep_after_failed_commit();
                }
                let silent = matches!(event.reply, Reply::Silent);
                (!silent).then(|| event.responder.failure(error))
            }
        };
        if let Some(answer) = answer {
            self.send(&event.connection, answer);
        }
        self.out.push(Output::Completed(event.completed));
    }

    fn send(&mut self, connection: &Arc<Connection>, outgoing: Outgoing) {
        self.rooms.count_sent(outgoing.weight());
        self.out.push(Output::Send(connection.clone(), outgoing));
    }

    /// Something was written: whom it concerns is told. Gives the receipt of a message.
    fn announce_write(&mut self, connection: &Arc<Connection>, write: &Write, written: Written) -> Option<Receipt> {
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
                    self.note_message(&draft.room, seq);
                } else {
                    self.deliver_message(&draft.room, seq, &wire::new_message(draft, seq));
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
                self.note_message(room, *seq);
                self.deliver_to_room(room, None, Some(*seq), &outgoing);
                None
            }
            // A receipt that was there already, and key-value writes: nobody is told.
            _ => None,
        }
    }

    /// Does what writes nothing.
    fn apply(&mut self, event: &PendingEvent, effect: Effect) {
        let connection = &event.connection;
        match effect {
            Effect::Emit { to, packet, question } => {
                let outgoing = Outgoing::event(packet, question);
                match to {
                    Audience::Room(room) => self.deliver_to_room(&room, None, None, &outgoing),
                    Audience::OthersInRoom(room) => self.deliver_to_room(&room, Some(connection), None, &outgoing),
                    Audience::User(user) => self.deliver_to_user(user, &outgoing),
                    Audience::Sender => self.send(connection, outgoing),
                }
            }
            Effect::Join(room) => self.join(&room, connection, event.held_room.as_ref() == Some(&room)),
            Effect::Leave(room) => self.leave(&room, connection),
            Effect::SetData(data) => connection.set_data(data),
            Effect::SetPresence(status) => self.set_status(connection, status, event.phase, event.at_ms),
            Effect::Write(_) => {}
        }
    }

    /// A message that was committed here.
    fn deliver_message(&mut self, room: &RoomId, seq: u64, outgoing: &Outgoing) {
        if self.rooms.offer(room, seq, outgoing) == Gap::Missing {
            self.schedule_check(room);
        }
        self.publish(
            || TargetRoom::Room(room.as_str().into()),
            outgoing,
            |broadcast| {
                broadcast.message = Some((room.clone(), seq));
            },
        );
    }

    /// Something for the members of a room, here and elsewhere, who get it after the message `after`. Whoever is excepted
    /// is here.
    fn deliver_to_room(
        &mut self,
        room: &RoomId,
        except: Option<&Arc<Connection>>,
        after: Option<u64>,
        outgoing: &Outgoing,
    ) {
        self.rooms.follow(room, except, outgoing);
        self.publish(
            || TargetRoom::Room(room.as_str().into()),
            outgoing,
            |broadcast| {
                broadcast.after = after.map(|seq| (room.clone(), seq));
            },
        );
    }

    fn deliver_to_user(&mut self, user: UserId, outgoing: &Outgoing) {
        self.rooms
            .send_to(self.users.connections_of(&user).cloned().collect(), outgoing);
        self.publish(|| TargetRoom::User(user), outgoing, |_| {});
    }

    /// Has the other nodes, where there may be any, send this to whoever is in a place.
    fn publish(&mut self, place: impl FnOnce() -> TargetRoom, outgoing: &Outgoing, order: impl FnOnce(&mut Broadcast)) {
        let (packet, question) = match outgoing {
            _ if self.alone => return,
            Outgoing::Event(packet) => (packet, None),
            Outgoing::Question(packet, question) => (packet, Some(question.clone())),
            Outgoing::Acknowledgement { .. } => return,
        };
        let mut broadcast = Broadcast::event(packet.clone(), BroadcastTarget::Rooms(vec![place()]), Vec::new());
        broadcast.question = question;
        order(&mut broadcast);
        self.out.push(Output::Publish(Box::new(broadcast)));
    }
}
