//! What clients show of rooms: the texts and marks of messages, as they change (promise 10).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde_json::Value;

use super::{World, tenant};
use crate::delivery::Delivery;
use crate::wire::{Reply, Responder};
use parlance_handler::capability::Effect;
use parlance_store::{Change, Message, Reader as _, Revise, Write};
use parlance_types::id::RoomId;

/// What a client shows of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    /// The last change that it has.
    pub(super) rev: u64,
    /// The messages by `seq`, from one on.
    messages: BTreeMap<u64, Shown>,
}

/// What a client shows of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Shown {
    rev: u64,
    /// `None` for one that is deleted.
    content: Option<String>,
    /// The users who have set each mark.
    marks: BTreeMap<String, BTreeSet<String>>,
}

impl Shown {
    /// A whole message, as events and answers have it.
    fn of(body: &Value) -> Self {
        let marks = body["marks"].as_array().into_iter().flatten().map(|marks| {
            let users = marks["userIds"].as_array().unwrap().iter();
            let users: BTreeSet<String> = users.map(|user| user.as_str().unwrap().to_owned()).collect();
            assert_eq!(marks["count"].as_u64().unwrap(), users.len() as u64);
            (marks["value"].as_str().unwrap().to_owned(), users)
        });
        Self {
            rev: body["rev"].as_u64().unwrap_or(0),
            content: body["deletedAt"]
                .is_null()
                .then(|| body["content"].as_str().unwrap().to_owned()),
            marks: marks.collect(),
        }
    }

    fn stored(message: &Message) -> Self {
        let text = crate::wire::message_changed(message);
        let crate::connection::Outgoing::Event(packet) = text else {
            panic!("an event");
        };
        let (_, body): (String, Value) = serde_json::from_slice(&packet.text).unwrap();
        Self::of(&body)
    }
}

impl View {
    /// Takes the answer to a join.
    pub(super) fn joined(&mut self, rev: u64, messages: &[Message], changes: &[Message]) {
        self.rev = rev;
        for message in messages {
            self.messages.insert(message.seq, Shown::stored(message));
        }
        for message in changes {
            if let Some(shown) = self.messages.get_mut(&message.seq) {
                *shown = Shown::stored(message);
            }
        }
    }

    /// Takes an event of the room.
    pub(super) fn event(&mut self, event: &str, body: &Value) {
        let (seq, rev) = (body["seq"].as_u64(), body["rev"].as_u64());
        match event {
            "new-message" => {
                self.messages.insert(seq.unwrap(), Shown::of(body));
            }
            "message-changed" => {
                let rev = rev.unwrap();
                assert!(rev > self.rev, "{rev} comes after {}", self.rev);
                self.rev = rev;
                if let Some(shown) = self.messages.get_mut(&seq.unwrap()) {
                    *shown = Shown::of(body);
                }
            }
            "message-appended" => {
                let rev = rev.unwrap();
                let fragments = body["fragments"].as_array().unwrap();
                let before = rev - fragments.len() as u64;
                assert!((before..rev).contains(&self.rev), "no change is missing");
                self.rev = rev;
                for (own, fragment) in (before + 1..).zip(fragments) {
                    let shown = self.messages.get_mut(&seq.unwrap());
                    if let Some(shown) = shown.filter(|shown| shown.rev < own) {
                        shown.rev = own;
                        shown.content.as_mut().unwrap().push_str(fragment.as_str().unwrap());
                    }
                }
            }
            "message-edited" | "message-deleted" | "message-marked" => {
                let rev = rev.unwrap();
                assert_eq!(rev, self.rev + 1, "no change is missing");
                self.rev = rev;
                let shown = self.messages.get_mut(&seq.unwrap());
                if let Some(shown) = shown.filter(|shown| shown.rev < rev) {
                    shown.rev = rev;
                    shown.change(event, body);
                }
            }
            _ => {}
        }
    }
}

impl Shown {
    fn change(&mut self, event: &str, body: &Value) {
        match event {
            "message-edited" => self.content = Some(body["content"].as_str().unwrap().to_owned()),
            "message-deleted" => (self.content, self.marks) = (None, BTreeMap::new()),
            _ => {
                let value = body["value"].as_str().unwrap().to_owned();
                let users = self.marks.entry(value.clone()).or_default();
                let user = body["userId"].as_str().unwrap().to_owned();
                if body["on"] == true {
                    users.insert(user);
                } else {
                    users.remove(&user);
                }
                assert_eq!(body["count"].as_u64().unwrap(), users.len() as u64);
                if users.is_empty() {
                    self.marks.remove(&value);
                }
            }
        }
    }
}

impl World {
    /// Has a client change a message that it shows.
    pub(super) fn change(&mut self, number: usize, room: &RoomId) {
        let shown = self.clients[number]
            .views
            .get(room)
            .map_or(0, |view| view.messages.len());
        let at = usize::try_from(self.below(shown.max(1) as u64)).unwrap();
        let view = self.clients[number].views.get(room);
        let Some(seq) = view.and_then(|view| view.messages.keys().nth(at).copied()) else {
            return;
        };
        let Some(message) = self.stored(room).into_iter().find(|message| message.seq == seq) else {
            return;
        };
        let change = match self.below(12) {
            0 => Change::Delete,
            5 | 6 => Change::Append {
                fragment: format!("+{}", self.below(1000)),
                done: self.below(3) == 0,
                max_bytes: 100_000,
            },
            1..5 => Change::Edit {
                content: format!("edited {}", self.below(1000)),
                metadata: None,
            },
            _ => Change::Mark {
                kind: "reaction".to_owned(),
                value: format!("{}", self.below(2)),
                on: self.below(3) > 0,
            },
        };
        let revise = Revise {
            id: message.id,
            room: room.clone(),
            seq,
            user: self.clients[number].user.clone(),
            at: self.time().unix_ms,
            change,
        };
        let session = self.session(number);
        let (node, connection) = (session.node, session.connection.clone());
        let event = Delivery {
            reply: Reply::Ok { data: None },
            responder: Responder::new(None, "change"),
            ..self.event(&connection, vec![Effect::Write(Arc::new(Write::Revise(revise)))])
        };
        self.changes += 1;
        self.submit(node, event);
    }

    /// Compares what each client that is still there shows with what the store has. Returns how many messages that were
    /// changed clients show.
    pub(super) fn check_views(&mut self) -> u64 {
        let mut changed = 0;
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            let Some(session) = client.session.as_ref().filter(|session| session.join.is_none()) else {
                continue;
            };
            for room in session.rooms.keys() {
                let Some(view) = client.views.get(room) else { continue };
                let place = self.store.place(&tenant(), room).now_or_never().unwrap().unwrap();
                let stored = self.stored(room).into_iter();
                let stored = stored.filter(|message| view.messages.contains_key(&message.seq));
                let expected = View {
                    rev: place.rev,
                    messages: stored.map(|message| (message.seq, Shown::stored(&message))).collect(),
                };
                assert_eq!(*view, expected, "{} in {room}", client.name);
                changed += view.messages.values().filter(|shown| shown.rev > 0).count() as u64;
            }
        }
        changed
    }
}
