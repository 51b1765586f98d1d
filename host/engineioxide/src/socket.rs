//! The public view of a session, with the interface of the published crate.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use engineioxide_core::{ProtocolVersion, Str, TransportType};
use http::request::Parts;
use tokio::sync::mpsc::error::TrySendError;

pub use engineioxide_core::Sid;

use crate::engine::namespace_of;
use crate::outbox::{OutPacket, OutgoingMessage};
use crate::session::{CloseKind, Session};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The client closed it, or its transport was lost.
    TransportClose,
    /// The client sent two polls or two request bodies at once.
    MultipleHttpPollingError,
    /// The client sent a packet that is not valid.
    PacketParsingError,
    /// The transport failed.
    TransportError,
    /// The client sent no pong in time.
    HeartbeatTimeout,
    /// The server closed it.
    ClosingServer,
}

/// A session with the server's data for it.
#[derive(Debug)]
pub struct Socket<D> {
    /// The public id. It differs from the protocol's `sid`, which only the client may know.
    pub id: Sid,
    /// Always version 4.
    pub protocol: ProtocolVersion,
    /// The server's data for this session.
    pub data: D,
    /// The request that opened the session, without its body.
    pub req_parts: Parts,
    pub(crate) session: Arc<Session>,
}

impl<D> Socket<D> {
    /// The current transport.
    #[must_use]
    pub fn transport_type(&self) -> TransportType {
        self.session.transport()
    }

    /// Reserves room in the queue for one message.
    ///
    /// # Errors
    /// `Full` if too many packets wait for the client, `Closed` if the session has ended.
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

    /// Sends a text message once the queue is empty, unless a later volatile message replaces it before. Returns
    /// whether this one replaced another.
    pub fn emit_volatile(&self, msg: impl Into<Str>) -> bool {
        self.session
            .outbox
            .set_volatile(self.session.encode(msg.into().into(), []))
    }

    /// Sends a binary message as [`emit_volatile`](Self::emit_volatile) does.
    pub fn emit_binary_volatile<B: Into<Bytes>>(&self, data: B) -> bool {
        self.session
            .outbox
            .set_volatile(OutgoingMessage::from_iter([OutPacket::Binary(data.into())]))
    }

    /// Sends a text message with binary ones behind it as [`emit_volatile`](Self::emit_volatile) does.
    pub fn emit_many_volatile(&self, msg: Str, data: VecDeque<Bytes>) -> bool {
        self.session.outbox.set_volatile(self.session.encode(msg.into(), data))
    }

    /// Ends the session: waiting packets are sent, then the transport is closed.
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

/// A reservation for one message in a session's queue.
#[derive(Debug)]
pub struct Permit<'a> {
    session: &'a Session,
    used: bool,
}

/// The packet type of Socket.IO's CONNECT, which asks for a namespace and, from the server, admits to it (Socket.IO
/// protocol 5).
pub(crate) const CONNECT: u8 = b'0';
/// The packet type of Socket.IO's CONNECT_ERROR, which refuses a CONNECT.
const CONNECT_ERROR: u8 = b'4';

impl Permit<'_> {
    /// Sends a text message.
    pub fn emit(mut self, msg: Str) {
        match msg.as_bytes().first() {
            Some(&CONNECT) => {
                self.session.connect_answered(namespace_of(&msg));
                self.session.set_authenticated();
            }
            Some(&CONNECT_ERROR) => self.session.connect_answered(namespace_of(&msg)),
            _ => {}
        }
        self.send(self.session.encode(msg.into(), []));
    }

    /// Sends a binary message.
    pub fn emit_binary(mut self, data: Bytes) {
        self.send([OutPacket::Binary(data)]);
    }

    /// Sends a text message with binary ones directly behind it.
    pub fn emit_many(mut self, msg: Str, data: VecDeque<Bytes>) {
        self.send(self.session.encode(msg.into(), data));
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
