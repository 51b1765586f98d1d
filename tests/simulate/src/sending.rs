//! The messages that a client sends. Each is sent again and again under the same id until it is acknowledged or surely
//! refused.

use std::time::Duration;

use parlance_history::{Invoke, Record};
use serde_json::{Value, json};

use crate::client::{Client, Input, RETRY_DELAY, Request};
use crate::room::Stage;

/// A message without an acknowledgement.
pub(crate) struct Pending {
    pub(crate) op: u64,
    room: usize,
    content: String,
    on_the_way: bool,
    /// When it was sent first.
    sent_ms: u64,
}

impl Client {
    /// Adds a new message.
    pub(crate) fn write(&mut self, room: usize) {
        self.ops += 1;
        self.pending.push_back(Pending {
            op: self.ops,
            room,
            content: format!("{}#{}", self.identity.client, self.ops),
            on_the_way: false,
            sent_ms: 0,
        });
        self.send_pending();
    }

    /// Records that the answer did not come: the message may be stored or not.
    pub(crate) fn unknown(&mut self, op: u64) {
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.op == op) {
            pending.on_the_way = false;
            self.world.log.push(Record::Unknown {
                client: self.identity.client.clone(),
                op,
            });
        }
    }

    /// Sends what may be sent now.
    pub(crate) fn send_pending(&mut self) {
        let on_the_way = self.pending.iter().filter(|pending| pending.on_the_way).count();
        let free = self.device.window.saturating_sub(on_the_way);
        let ready: Vec<u64> = self
            .pending
            .iter()
            .filter(|pending| !pending.on_the_way && self.rooms[pending.room].stage == Stage::Inside)
            .map(|pending| pending.op)
            .take(free)
            .collect();
        let now = self.world.log.now_ms();
        for op in ready {
            let Some(pending) = self.pending.iter_mut().find(|pending| pending.op == op) else {
                continue;
            };
            pending.on_the_way = true;
            if pending.sent_ms == 0 {
                pending.sent_ms = now;
            }
            let (room, content) = (self.rooms[pending.room].name, pending.content.clone());
            self.world.log.push(Record::Invoke(Invoke {
                client: self.identity.client.clone(),
                tenant: self.identity.tenant.clone(),
                user: self.identity.user.clone(),
                op,
                room: room.into(),
                content: content.as_str().into(),
            }));
            let message = json!({ "roomId": room, "content": content, "clientId": content });
            self.ask(&json!(["send-message", message]), Request::Message(op));
        }
    }

    /// Handles an answer.
    pub(crate) fn message_answered(&mut self, op: u64, ok: bool, retryable: bool, answer: &Value) {
        let Some(at) = self.pending.iter().position(|pending| pending.op == op) else {
            return;
        };
        let client = self.identity.client.clone();
        if ok {
            let seq = answer["message"]["seq"].as_u64().unwrap_or(0);
            self.world.log.push(Record::Ok { client, op, seq });
            if let Some(pending) = self.pending.remove(at) {
                self.world.acknowledged(pending.content, pending.sent_ms);
            }
            return self.send_pending();
        }
        let code = answer["error"]["code"].as_str().unwrap_or_default();
        if self.device.is_limited() && ["conflict", "invalid"].contains(&code) {
            let by_store = code == "conflict";
            self.world
                .log
                .count("messages refused by the store", u64::from(by_store));
            self.world.log.push(Record::Failed { client, op });
            self.pending.remove(at);
            return self.send_pending();
        }
        // The message may be in the store even so: the answer of a transaction can be lost.
        self.world.log.push(Record::Unknown {
            client: client.clone(),
            op,
        });
        if retryable {
            self.pending[at].on_the_way = false;
            let wait = answer["error"]["retryAfterMs"]
                .as_u64()
                .map_or(RETRY_DELAY, Duration::from_millis);
            return self.later(wait, Input::Send);
        }
        self.world
            .log
            .violation(format_args!("{client} is refused a message that is in order: {answer}"));
        self.pending.remove(at);
        self.send_pending();
    }
}
