//! What a server does with its sessions.

use std::sync::Arc;

use bytes::Bytes;
use engineioxide_core::Str;

use crate::socket::{DisconnectReason, Socket};

/// Gets what happens on each session. The methods are called in order for each session, on the task that reads from it,
/// so they must not block.
pub trait EngineIoHandler: std::fmt::Debug + Send + Sync + 'static {
    /// What the server keeps with each session.
    type Data: Default + Send + Sync + 'static;

    /// A session is open.
    fn on_connect(self: Arc<Self>, socket: Arc<Socket<Self::Data>>);

    /// A session has ended; called once.
    fn on_disconnect(&self, socket: Arc<Socket<Self::Data>>, reason: DisconnectReason);

    /// A text message came.
    fn on_message(self: &Arc<Self>, msg: Str, socket: Arc<Socket<Self::Data>>);

    /// A binary message came.
    fn on_binary(self: &Arc<Self>, data: Bytes, socket: Arc<Socket<Self::Data>>);
}
