//! The interface between the engine and the server that uses it.

use std::sync::Arc;

use bytes::Bytes;
use engineioxide_core::Str;

use crate::socket::{DisconnectReason, Socket};

/// Handles the events of all sessions. The methods are called in order for each session, on the task that reads from
/// it, so they must not block.
pub trait EngineIoHandler: std::fmt::Debug + Send + Sync + 'static {
    /// The server's data for each session.
    type Data: Default + Send + Sync + 'static;

    /// Called when a session is open.
    fn on_connect(self: Arc<Self>, socket: Arc<Socket<Self::Data>>);

    /// Called once, when a session has ended.
    fn on_disconnect(&self, socket: Arc<Socket<Self::Data>>, reason: DisconnectReason);

    /// Called for each text message.
    fn on_message(self: &Arc<Self>, msg: Str, socket: Arc<Socket<Self::Data>>);

    /// Called for each binary message.
    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<Self::Data>>);
}
