//! A client that behaves like a usual one: it joins with the last message that it has seen, sends again what was not
//! acknowledged, and connects again when it was cut off.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt as _;
use parlance_history::{Invoke, Record};
use serde_json::Value;
use tokio::sync::oneshot;

use super::join::Join;
use super::view::View;
use super::{ACTIVE, Input, REST, SimEvent, TENANT, World, tenant};
use crate::connection::{Connection, Outgoing};
use crate::delivery::{ConnectionPhase, Delivery};
use crate::tests::Inbox;
use crate::wire::{Reply, Responder};
use parlance_handler::capability::{Audience, Effect, Packet, Status};
use parlance_store::{ClientRef, Draft, Reader as _, RequestDigest, Write};
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, MessageId, RoomId, UserId};

/// Acknowledgements of joins have numbers from here on; those of messages have the number of the op.
pub(super) const JOIN: i64 = 1_000_000;
/// The longest pauses in microseconds: between two actions of a client, and until it connects again.
const PAUSE: u64 = 120_000;
const AWAY: u64 = 600_000;

pub(super) struct Client {
    pub(super) name: Arc<str>,
    pub(super) user: UserId,
    pub(super) session: Option<Session>,
    /// When it connects again.
    away_until: u64,
    /// The number of its connections.
    sessions: u64,
    /// The number of messages that it sent.
    ops: u64,
    /// Messages without an answer, and their rooms.
    pub(super) unanswered: BTreeMap<u64, RoomId>,
    /// The last `seq` that it has of each room, over all connections.
    pub(super) seen: BTreeMap<RoomId, u64>,
    /// What it shows of each of these rooms.
    pub(super) views: BTreeMap<RoomId, View>,
}

/// A connection of a client.
pub(super) struct Session {
    pub(super) node: usize,
    pub(super) connection: Arc<Connection>,
    inbox: Inbox,
    pub(super) reads: bool,
    pub(super) rooms: BTreeMap<RoomId, JoinedRoom>,
    pub(super) join: Option<Join>,
}

/// A room that the client is in, with a known beginning.
pub(super) struct JoinedRoom {
    /// The `seq` up to which the client has, or need not have, all messages.
    pub(super) base: u64,
    /// Whether users are in the room, as the client was told.
    pub(super) members: BTreeMap<String, bool>,
}

impl Client {
    pub(super) fn new(number: u64) -> Self {
        Self {
            name: format!("c{number}").into(),
            // Some users have two clients.
            user: UserId::new(&format!("u{}", number - number / 5)).unwrap(),
            session: None,
            away_until: 0,
            sessions: 0,
            ops: 0,
            unanswered: BTreeMap::new(),
            seen: BTreeMap::new(),
            views: BTreeMap::new(),
        }
    }
}

impl World {
    /// Lets a client act, if it has anything to do.
    pub(super) fn act(&mut self, number: usize) {
        let active = self.is_active();
        if self.now < ACTIVE + REST / 2 {
            self.within(PAUSE, SimEvent::Act(number));
        }
        let client = &self.clients[number];
        let Some(session) = &client.session else {
            // Some clients do not connect again in the end.
            if self.now >= client.away_until && (active || !number.is_multiple_of(4)) {
                self.open(number);
            }
            return;
        };
        let (node, connection) = (session.node, session.connection.clone());
        if !active && !session.reads {
            return self.cut_off(number, &connection);
        }
        if !active || session.join.is_some() {
            return;
        }
        let rooms: Vec<RoomId> = session.rooms.keys().cloned().collect();
        let room = self.room();
        match self.below(31) {
            0..=5 => self.join(number, room),
            6..=15 if !rooms.is_empty() => {
                let at = self.below(rooms.len() as u64);
                self.send_message(number, &rooms[usize::try_from(at).unwrap()].clone());
            }
            16 if rooms.contains(&room) => {
                self.record_left(number, &room);
                self.session(number).rooms.remove(&room);
                self.submit(node, self.event(&connection, vec![Effect::Leave(room)]));
            }
            17 if rooms.contains(&room) => self.send_typing(node, &connection, room),
            18 | 19 => {
                let status = if self.one_in(2) { Status::Away } else { Status::Online };
                self.submit(node, self.event(&connection, vec![Effect::SetPresence(status)]));
            }
            20 => self.cut_off(number, &connection),
            30 => self.kick(number, room),
            24..=29 if rooms.contains(&room) => self.change(number, &room),
            21 => {
                self.faults.slow_clients += u64::from(self.session(number).reads);
                self.session(number).reads = false;
            }
            // Its sink gives up on it.
            22 | 23 if !self.session(number).reads => self.cut_off(number, &connection),
            _ => {}
        }
    }

    pub(super) fn session(&mut self, number: usize) -> &mut Session {
        self.clients[number].session.as_mut().unwrap()
    }

    fn open(&mut self, number: usize) {
        let nodes = self.nodes.len() as u64;
        let node = usize::try_from(self.below(nodes)).unwrap();
        let client = &mut self.clients[number];
        client.sessions += 1;
        let identity = Arc::new(Identity::for_tests(TENANT, client.user.as_str()).unwrap());
        let id = ConnectionId::from_bits(number as u64 * 1000 + client.sessions);
        let inbox = Inbox::default();
        let connection = Arc::new(Connection::new(id, identity, Box::new(inbox.clone())));
        client.session = Some(Session {
            node,
            connection: connection.clone(),
            inbox,
            reads: true,
            rooms: BTreeMap::new(),
            join: None,
        });
        let (life, at_ms) = (self.nodes[node].life, self.time().unix_ms);
        self.nodes[node].connections.push((connection.clone(), number));
        let connect = Input::Connect {
            connection: connection.clone(),
            at_ms,
        };
        self.give(node, life, connect);
        let connected = Delivery {
            phase: ConnectionPhase::Connecting,
            at_ms,
            ..self.event(&connection, vec![Effect::SetPresence(Status::Online)])
        };
        self.submit(node, connected);
        // A message without an answer is sent again only if nothing was sent after it: otherwise the order would
        // change.
        let unanswered = std::mem::take(&mut self.clients[number].unanswered);
        for op in unanswered.keys() {
            let (client, op) = (self.clients[number].name.clone(), *op);
            self.history.push(Record::Unknown { client, op });
        }
        if let Some((op, room)) = unanswered.into_iter().next_back()
            && op == self.clients[number].ops
            && self.is_active()
        {
            self.post(number, op, room);
        }
    }

    /// Cuts a client's connection, on whichever side. The node learns it later.
    pub(super) fn cut_off(&mut self, number: usize, connection: &Arc<Connection>) {
        let known = self.clients[number]
            .session
            .take_if(|session| Arc::ptr_eq(&session.connection, connection));
        let Some(session) = known else { return };
        for room in session.rooms.keys() {
            self.record_left(number, room);
        }
        let node = session.node;
        let life = self.nodes[node].life;
        let known = self.nodes[node].connections.len();
        self.nodes[node]
            .connections
            .retain(|(own, _)| !Arc::ptr_eq(own, connection));
        if self.nodes[node].connections.len() < known {
            let (done, _) = oneshot::channel();
            let disconnect = Input::Disconnect {
                connection: connection.clone(),
                at_ms: self.time().unix_ms,
                done,
            };
            self.within(200_000, SimEvent::Input(node, life, disconnect));
        }
        let away_until = self.now + self.below(AWAY);
        self.clients[number].away_until = away_until;
    }

    pub(super) fn record_left(&mut self, number: usize, room: &RoomId) {
        let (client, room) = (self.clients[number].name.clone(), room.as_str().into());
        self.history.push(Record::Left { client, room });
    }

    fn send_message(&mut self, number: usize, room: &RoomId) {
        let client = &mut self.clients[number];
        client.ops += 1;
        let op = client.ops;
        let invoke = Invoke {
            client: client.name.clone(),
            tenant: TENANT.into(),
            user: client.user.as_str().into(),
            op,
            room: room.as_str().into(),
            content: format!("{}-{op}", client.name).into(),
        };
        self.history.push(Record::Invoke(invoke));
        self.post(number, op, room.clone());
    }

    fn post(&mut self, number: usize, op: u64, room: RoomId) {
        let sent_at = self.time().unix_ms;
        let client = &mut self.clients[number];
        let content = format!("{}-{op}", client.name);
        let draft = Draft {
            id: MessageId::from_client(&tenant(), &client.user, &content),
            room: room.clone(),
            sender: client.user.clone(),
            username: client.name.clone(),
            content: content.clone(),
            metadata: None,
            sent_at,
            client: Some(ClientRef {
                id: content.as_str().into(),
                request: RequestDigest::of(room.as_str(), &content, None),
            }),
            reject_repeated: true,
        };
        self.contents.insert(draft.id.to_string(), content);
        let client = &mut self.clients[number];
        client.unanswered.insert(op, room);
        let session = self.session(number);
        let (node, connection) = (session.node, session.connection.clone());
        let event = Delivery {
            reply: Reply::Message { data: None },
            responder: Responder::new(Some(i64::try_from(op).unwrap()), "send-message"),
            ..self.event(&connection, vec![Effect::Write(Arc::new(Write::Append(draft)))])
        };
        self.submit(node, event);
    }

    fn send_typing(&mut self, node: usize, connection: &Arc<Connection>, room: RoomId) {
        let emit = Effect::Emit {
            to: Audience::OthersInRoom(room),
            packet: Packet {
                text: "[\"typing\",{}]".into(),
                attachments: Vec::new(),
            },
            question: None,
        };
        self.submit(node, self.event(connection, vec![emit]));
    }

    /// Takes another client's user out of a room, on all nodes.
    fn kick(&mut self, number: usize, room: RoomId) {
        let other = usize::try_from(self.below(self.clients.len() as u64)).unwrap();
        let user = self.clients[other].user.clone();
        let session = self.session(number);
        let (node, connection) = (session.node, session.connection.clone());
        let text = format!("[\"kicked\",{{\"roomId\":\"{}\"}}]", room.as_str());
        let packet = Packet {
            text: text.into(),
            attachments: Vec::new(),
        };
        let kick = Effect::Kick { room, user, packet };
        let event = self.event(&connection, vec![kick]);
        self.submit(node, event);
    }

    /// The client is out of a room. It does not know whether it came back by a join that has no answer yet.
    fn kicked(&mut self, number: usize, room: &RoomId) {
        self.faults.kicks += 1;
        let session = self.session(number);
        if let Some(join) = session.join.as_mut().filter(|join| join.room == *room) {
            join.kicked = true;
        }
        if session.rooms.remove(room).is_some() {
            self.record_left(number, room);
        }
    }

    /// Marks the last message that the client has seen as read.
    fn read_last(&mut self, number: usize, room: &RoomId) {
        let Some(seen) = self.clients[number].seen.get(room).copied() else {
            return;
        };
        let Some(message) = self.stored(room).into_iter().find(|message| message.seq == seen) else {
            return;
        };
        let at = self.time().unix_ms;
        let user = self.clients[number].user.clone();
        let session = self.session(number);
        let (node, connection) = (session.node, session.connection.clone());
        let read = Write::MarkRead {
            id: message.id,
            room: room.clone(),
            seq: seen,
            user,
            at,
        };
        self.submit(node, self.event(&connection, vec![Effect::Write(Arc::new(read))]));
    }

    /// Lets all clients read what they got, and continues their joins.
    pub(super) fn read_all(&mut self) {
        for number in 0..self.clients.len() {
            self.go_on_joining(number);
            while let Some(session) = &self.clients[number].session
                && session.reads
            {
                let Some(outgoing) = session.inbox.read() else { break };
                self.read(number, &outgoing);
            }
        }
    }

    fn read(&mut self, number: usize, outgoing: &Outgoing) {
        match outgoing {
            Outgoing::Acknowledgement { id, .. } if *id >= JOIN => self.read_joined(number, *id),
            Outgoing::Acknowledgement { id, text, .. } => {
                let op = u64::try_from(*id).unwrap();
                self.read_answer(number, op, &serde_json::from_slice(text).unwrap());
            }
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => {
                let event: (String, Value) = serde_json::from_slice(&packet.text).unwrap();
                self.read_event(number, &event.0, &event.1);
            }
        }
    }

    fn read_answer(&mut self, number: usize, op: u64, answer: &Value) {
        let room = self.clients[number].unanswered.remove(&op);
        let client = self.clients[number].name.clone();
        if answer[0]["ok"] == true {
            let seq = answer[0]["message"]["seq"].as_u64().unwrap();
            return self.history.push(Record::Ok { client, op, seq });
        }
        assert_eq!(answer[0]["error"]["code"], "unavailable", "{answer}");
        // The store may have committed it all the same.
        self.history.push(Record::Unknown { client, op });
        if let Some(room) = room
            && op == self.clients[number].ops
            && self.is_active()
        {
            self.post(number, op, room);
        }
    }

    fn read_event(&mut self, number: usize, event: &str, body: &Value) {
        let room = body["roomId"].as_str().and_then(|room| RoomId::new(room).ok());
        if event == "kicked" {
            return self.kicked(number, &room.unwrap());
        }
        let client = &mut self.clients[number];
        let session = client.session.as_mut().unwrap();
        // The client ignores packets of a room that it is not in, or of which it does not know the beginning.
        let stay = room.as_ref().and_then(|room| session.rooms.get_mut(room));
        let (Some(room), Some(stay)) = (room, stay) else {
            return;
        };
        if let Some(view) = client.views.get_mut(&room) {
            view.event(event, body);
        }
        match event {
            "new-message" => {
                let seq = body["seq"].as_u64().unwrap();
                let content = self.contents[body["id"].as_str().unwrap()].as_str().into();
                if let Some(seen) = client.seen.get_mut(&room) {
                    *seen = seq.max(*seen);
                }
                stay.base = stay.base.max(seq);
                self.history.push(Record::Delivered {
                    client: client.name.clone(),
                    room: room.as_str().into(),
                    seq,
                    content,
                });
                if self.one_in(8) {
                    self.read_last(number, &room);
                }
            }
            "message-read" => {
                let id = MessageId::parse(body["messageId"].as_str().unwrap()).unwrap();
                let base = stay.base;
                let message = self.store.message(&tenant(), id).now_or_never().unwrap();
                let seq = message.unwrap().unwrap().seq;
                assert!(seq <= base, "{seq} is read before it comes, at {base}");
            }
            "user-joined" | "user-left" => {
                let user = body["userId"].as_str().unwrap().to_owned();
                stay.members.insert(user, event == "user-joined");
            }
            "message-edited" | "message-appended" | "message-deleted" | "message-marked" | "message-changed" => {}
            other => panic!("{other}"),
        }
    }
}
