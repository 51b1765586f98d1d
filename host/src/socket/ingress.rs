//! Packets from one client, in the order in which they were read.
//!
//! socketioxide's own handlers each run in a task of their own, without order or bound. As a fallback handler this
//! is called on the reader's task, in order, and only puts the packet into the session's queue.

use std::sync::Arc;

use bytes::Bytes;
use socketioxide::handler::{DisconnectHandler, MessageHandler};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;

use super::adapter::Adapter;
use super::namespace::{SessionKey, SessionRegistry};
use crate::dispatch::{ClientPacket, Session};

/// Owned by the socket: when the socket is dropped, however that came about, the session ends.
pub(super) struct Ingress {
    pub(super) session: Arc<Session>,
    pub(super) key: SessionKey,
    pub(super) sessions: SessionRegistry,
}

/// Tells these handlers from socketioxide's own.
pub(super) enum InOrder {}

impl MessageHandler<Adapter, InOrder> for Ingress {
    fn call(&self, _: Arc<Socket<Adapter>>, value: Value, ack: Option<i64>) {
        let (text, attachments) = match value {
            Value::Str(text, attachments) => (Bytes::from(text), attachments.unwrap_or_default()),
            // Only the msgpack parser, which is not in use, makes these.
            Value::Bytes(_) => return,
        };
        self.session
            .receive(ClientPacket::received_now(text, attachments.into(), ack));
    }
}

/// Takes the session off when its client leaves the namespace, on the reader's task: a CONNECT may follow DISCONNECT at
/// once, and socketioxide passes over one for a namespace that the client has not left yet. Its own handlers run in a
/// task, after which the namespace is left.
pub(super) struct RemoveOnDisconnect {
    pub(super) session: Arc<Session>,
    pub(super) key: SessionKey,
    pub(super) sessions: SessionRegistry,
}

impl DisconnectHandler<Adapter, InOrder> for RemoveOnDisconnect {
    fn call_with_defer(&self, socket: Arc<Socket<Adapter>>, _: DisconnectReason, leave: fn(Arc<Socket<Adapter>>)) {
        self.sessions.remove(&self.key, &self.session);
        leave(socket);
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.sessions.remove(&self.key, &self.session);
        self.session.end();
    }
}
