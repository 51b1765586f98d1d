//! Passes the packets of one client to its session, in the order in which they were read.
//!
//! socketioxide spawns a task for each event with a registered handler, without order or bound. A fallback handler is
//! called on the task that reads the transport, in order, so this module uses one. It only puts the packet into the
//! session's queue.

use std::sync::Arc;

use bytes::Bytes;
use socketioxide::handler::{DisconnectHandler, MessageHandler};
use socketioxide::socket::{DisconnectReason, Socket};
use socketioxide_core::Value;

use super::adapter::Adapter;
use super::namespace::{SessionKey, SessionRegistry};
use crate::dispatch::{ClientPacket, Session};

/// The fallback handler of one socket. The socket owns it, so the session ends whenever the socket is dropped.
pub(super) struct Ingress {
    pub(super) session: Arc<Session>,
    pub(super) key: SessionKey,
    pub(super) sessions: SessionRegistry,
}

/// A marker type that keeps these implementations apart from socketioxide's blanket implementations for closures.
pub(super) enum InOrder {}

impl MessageHandler<Adapter, InOrder> for Ingress {
    fn call(&self, _: Arc<Socket<Adapter>>, value: Value, ack: Option<i64>) {
        let (text, attachments) = match value {
            Value::Str(text, attachments) => (Bytes::from(text), attachments.unwrap_or_default()),
            // Only socketioxide's own msgpack parser produces these, and the server does not use it.
            Value::Bytes(_) => return,
        };
        self.session
            .receive(ClientPacket::received_now(text, attachments.into(), ack));
    }
}

/// Removes the session from the registry when its client leaves the namespace.
///
/// It runs on the task that reads the transport, because a CONNECT may directly follow the DISCONNECT. socketioxide
/// ignores a CONNECT to a namespace that the client has not left yet, and with a usual disconnect handler it leaves the
/// namespace only after the handler's own task has ended.
pub(super) struct RemoveOnDisconnect {
    pub(super) session: Arc<Session>,
    pub(super) key: SessionKey,
    pub(super) sessions: SessionRegistry,
}

impl DisconnectHandler<Adapter, InOrder> for RemoveOnDisconnect {
    fn call_with_defer(&self, socket: Arc<Socket<Adapter>>, _: DisconnectReason, leave: fn(Arc<Socket<Adapter>>)) {
        self.sessions.remove(&self.key, &self.session);
        // While the server shuts down the session is not among them any more.
        self.session.connection.sink.mark_gone();
        leave(socket);
    }
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.sessions.remove(&self.key, &self.session);
        self.session.end();
    }
}
