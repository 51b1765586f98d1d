//! Makes events of this node's clients visible, once their writes are durable.

use std::sync::Arc;

use super::rooms::Gap;
use super::{CompletedEvent, Hub, Output};
use crate::bus::{AfterEvent, Broadcast, BroadcastTarget, TargetRoom};
use crate::connection::{Connection, Outgoing};
use crate::delivery::{ConnectionPhase, Delivery};
use crate::wire::{self, Receipt, Reply, Responder};
use parlance_handler::capability::{Audience, Effect, Packet};
use parlance_store::{Place, Revise, Write, Written};
use parlance_types::error::{Code, EventError};
use parlance_types::id::{RoomId, UserId};

/// The unfinished part of an event.
pub(super) struct PendingEvent {
    connection: Arc<Connection>,
    phase: ConnectionPhase,
    at_ms: u64,
    /// The event's join of this room holds back the room's packets.
    held_room: Option<RoomId>,
    effects: std::vec::IntoIter<Effect>,
    /// The results of the writes among the effects.
    written: std::vec::IntoIter<Written>,
    first_post: Option<Receipt>,
    baselines: Vec<(RoomId, Option<Place>)>,
    /// The store has failed, but may have committed the event's writes.
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
            Ok(written) => {
                let results = delivery.done.as_ref().map(|_| written.clone());
                let result = Ok(results.unwrap_or_default());
                (delivery.effects, delivery.baselines, written, result)
            }
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
    /// Does the next piece of an event: one effect, or the end of the event after the last one. Returns what is left.
    pub(super) fn apply_next(&mut self, mut event: Box<PendingEvent>) -> Option<Box<PendingEvent>> {
        match event.effects.next() {
            Some(Effect::Write(write)) => {
                if let Some(written) = event.written.next() {
                    let receipt = self.announce_write(&event.connection, &write, written);
                    event.first_post = event.first_post.take().or(receipt);
                }
            }
            Some(effect) => self.apply(&event, effect),
            // Messages that waited for a baseline go out before the answer.
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

    /// Answers an event whose effects have all been applied.
    fn complete(&mut self, event: PendingEvent) {
        let answer = match &event.completed.result {
            Ok(_) => {
                if let Reply::Repeated(repeated) = &event.reply {
                    // If the first attempt was committed but its node failed before it said so, the room has a gap.
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

    pub(super) fn send(&mut self, connection: &Arc<Connection>, outgoing: Outgoing) {
        self.rooms.count_sent(outgoing.weight());
        self.out.push(Output::Send(connection.clone(), outgoing));
    }

    /// Tells the members concerned what was written. Returns the receipt of a message.
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
                // The reader may know the message from the store, before the members got it.
                self.note_message(room, *seq);
                self.deliver_to_room(room, None, Some(*seq), &outgoing);
                None
            }
            (Write::Revise(revise), Written::Revised { rev: Some(rev), count }) => {
                self.deliver_change(revise, rev, &wire::message_revised(revise, rev, count));
                None
            }
            // A message that was read before, a mark that was there, and key-value writes: no member is told.
            _ => None,
        }
    }

    /// Applies an effect that is not a write.
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
            Effect::Kick { room, user, packet } => {
                self.deliver_and_act(user, packet, AfterEvent::LeaveRoom(room.as_str().into()));
            }
            Effect::Disconnect { user, packet } => self.deliver_and_act(user, packet, AfterEvent::Disconnect),
            Effect::Join(room) => {
                let identity = connection.identity.load();
                if !self.kicks.since(identity.user(), &room, event.completed.received) {
                    self.join(&room, connection, event.held_room.as_ref() == Some(&room));
                }
            }
            Effect::Leave(room) => self.leave(&room, connection),
            Effect::SetData(data) => connection.set_data(data),
            Effect::SetPresence(status) => self.set_status(connection, status, event.phase, event.at_ms),
            Effect::Write(_) => {}
        }
    }

    /// Delivers a message that this node has committed, here and on other nodes.
    fn deliver_message(&mut self, room: &RoomId, seq: u64, outgoing: &Outgoing) {
        let gap = self.rooms.offer(room, seq, outgoing);
        self.schedule_checks(room, (gap, Gap::None));
        self.publish(
            || TargetRoom::Room(room.as_str().into()),
            outgoing,
            |broadcast| {
                broadcast.message = Some((room.clone(), seq));
            },
        );
    }

    /// Delivers a change that this node has committed, here and on other nodes.
    fn deliver_change(&mut self, revise: &Revise, rev: u64, outgoing: &Outgoing) {
        let Revise { room, seq, .. } = revise;
        let gaps = self.rooms.offer_change(room, *seq, rev, outgoing);
        self.schedule_checks(room, gaps);
        self.publish(
            || TargetRoom::Room(room.as_str().into()),
            outgoing,
            |broadcast| {
                broadcast.after = Some((room.clone(), *seq));
                broadcast.rev = Some(rev);
            },
        );
    }

    /// Delivers a packet to the members of a room, here and on other nodes, not before the message `after`. `except` is
    /// a connection of this node.
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

    /// Delivers a packet to the user's connections, here and on other nodes, and has each of them do what follows it.
    fn deliver_and_act(&mut self, user: UserId, packet: Packet, then: AfterEvent) {
        let connections: Vec<Arc<Connection>> = self.users.connections_of(&user).cloned().collect();
        let outgoing = Outgoing::Event(packet);
        self.publish(
            || TargetRoom::User(user.clone()),
            &outgoing,
            |broadcast| broadcast.then = Some(then.clone()),
        );
        self.send_and_act(&user, connections, &outgoing, &then);
    }

    /// Publishes a packet for `room` to the other nodes, if there may be any. The tenant is charged for it as for a packet
    /// to one client. `order` sets its order relative to messages.
    fn publish(&mut self, room: impl FnOnce() -> TargetRoom, outgoing: &Outgoing, order: impl FnOnce(&mut Broadcast)) {
        let (packet, question) = match outgoing {
            _ if self.single_node => return,
            Outgoing::Event(packet) => (packet, None),
            Outgoing::Question(packet, question) => (packet, Some(question.clone())),
            Outgoing::Acknowledgement { .. } => return,
        };
        let mut broadcast = Broadcast::event(packet.clone(), BroadcastTarget::Rooms(vec![room()]), Vec::new());
        broadcast.question = question;
        order(&mut broadcast);
        self.rooms.count_sent(outgoing.weight());
        self.out.push(Output::Publish(Box::new(broadcast)));
    }
}
