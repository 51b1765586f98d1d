//! A session as the server's code sees it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use engineioxide_core::{ProtocolVersion, Str, TransportType};
use http::request::Parts;
use tokio::sync::mpsc::error::TrySendError;

pub use engineioxide_core::Sid;

use crate::outbox::{self, OutPacket, OutgoingMessage};
use crate::session::{CloseKind, Session};

/// Why a session has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client has closed it, or its transport is gone.
    TransportClose,
    /// Two requests of one kind at once.
    MultipleHttpPollingError,
    /// The client has sent what is not Engine.IO.
    PacketParsingError,
    /// The transport has failed.
    TransportError,
    /// No pong came.
    HeartbeatTimeout,
    /// The server closes.
    ClosingServer,
}

/// A session with what the server keeps for it.
#[derive(Debug)]
pub struct Socket<D> {
    /// The public id. It is not the `sid` of the protocol, which is a secret of the client.
    pub id: Sid,
    /// Always version 4.
    pub protocol: ProtocolVersion,
    /// What the server keeps.
    pub data: D,
    /// The request that opened the session, without its body.
    pub req_parts: Parts,
    pub(crate) session: Arc<Session>,
}

impl<D> Socket<D> {
    /// The transport now.
    #[must_use]
    pub fn transport_type(&self) -> TransportType {
        self.session.transport()
    }

    /// Keeps a place in the queue for one message.
    ///
    /// # Errors
    /// `Full` when too much waits for the client, `Closed` when the session has ended.
    pub fn reserve(&self) -> Result<Permit<'_>, TrySendError<()>> {
        self.session.outbox.reserve()?;
        Ok(Permit {
            session: &self.session,
            used: false,
        })
    }

    /// Sends a text message.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); the message comes back.
    pub fn emit(&self, msg: impl Into<Str>) -> Result<(), TrySendError<Str>> {
        let msg = msg.into();
        match self.reserve() {
            Ok(permit) => {
                permit.emit(msg);
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(TrySendError::Full(msg)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(msg)),
        }
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// As [`reserve`](Self::reserve); the message comes back.
    pub fn emit_binary<B: Into<Bytes>>(&self, data: B) -> Result<(), TrySendError<Bytes>> {
        let data = data.into();
        match self.reserve() {
            Ok(permit) => {
                permit.emit_binary(data);
                Ok(())
            }
            Err(TrySendError::Full(())) => Err(TrySendError::Full(data)),
            Err(TrySendError::Closed(())) => Err(TrySendError::Closed(data)),
        }
    }

    /// Sends a text message when nothing else waits; one that is set meanwhile takes its place. Tells whether this one
    /// took another's place.
    pub fn emit_volatile(&self, msg: impl Into<Str>) -> bool {
        self.session.outbox.set_volatile(self.session.encode(msg.into(), []))
    }

    /// Sends a binary message as [`emit_volatile`](Self::emit_volatile) does.
    pub fn emit_binary_volatile<B: Into<Bytes>>(&self, data: B) -> bool {
        self.session
            .outbox
            .set_volatile(OutgoingMessage::from_iter([OutPacket::Binary(data.into())]))
    }

    /// Sends a text message with binary ones behind it as [`emit_volatile`](Self::emit_volatile) does.
    pub fn emit_many_volatile(&self, msg: Str, data: VecDeque<Bytes>) -> bool {
        self.session.outbox.set_volatile(self.session.encode(msg, data))
    }

    /// Ends the session: what waits is sent, then the transport is closed.
    pub fn close(&self, reason: DisconnectReason) {
        self.session.close_with_final_poll(CloseKind::Server, reason);
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.session.ended().is_some()
    }

    /// Waits until the session has ended and its transport is closed.
    pub async fn closed(&self) {
        self.session.wait_closed().await;
    }
}

/// A place in a session's queue, for one message.
#[derive(Debug)]
pub struct Permit<'a> {
    session: &'a Session,
    used: bool,
}

/// The type of a Socket.IO packet that lets a client into a namespace (Socket.IO protocol 5, CONNECT).
pub(crate) const CONNECT: u8 = b'0';
/// The type of one that refuses that.
const CONNECT_ERROR: u8 = b'4';

impl Permit<'_> {
    /// Sends a text message.
    pub fn emit(mut self, msg: Str) {
        match msg.as_bytes().first() {
            Some(&CONNECT) => self.session.set_authenticated(),
            Some(&CONNECT_ERROR) => self.session.connect_unanswered.store(false, Ordering::Release),
            _ => {}
        }
        self.send(self.session.encode(msg, []));
    }

    /// Sends a binary message.
    pub fn emit_binary(mut self, data: Bytes) {
        self.send([OutPacket::Binary(data)]);
    }

    /// Sends a text message with binary ones behind it, none of another message between them.
    pub fn emit_many(mut self, msg: Str, data: VecDeque<Bytes>) {
        self.send(self.session.encode(msg, data));
    }

    /// Sends a binary message with others behind it, none of another message between them.
    pub fn emit_many_binary(mut self, bin: Bytes, data: Vec<Bytes>) {
        self.send(outbox::outgoing_message(OutPacket::Binary(bin), data));
    }

    fn send(&mut self, message: impl IntoIterator<Item = OutPacket>) {
        self.used = true;
        self.session.outbox.push_reserved(message);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if !self.used {
            self.session.outbox.release();
        }
    }
}
