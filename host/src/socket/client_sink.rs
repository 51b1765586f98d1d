//! The way to one client. Sending never waits; who does not read is closed.
//!
//! socketioxide keeps a short queue of packets for each socket and drops what does not fit. A burst that a healthy
//! client takes a moment to read must not count as slowness, so what does not fit spills over here, up to a bound
//! in bytes and in time, and follows in order as the client reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::SessionHandle;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use socketioxide_core::adapter::BroadcastOptions;
use socketioxide_core::adapter::errors::SocketError;
use socketioxide_core::packet::{Packet, Sid};
use socketioxide_core::{Str, Value};

use super::adapter::Adapter;
use crate::cluster::{ClientSink, Outgoing, PendingAcknowledgement, SendFailed};
use crate::metrics::IntCounter;

/// What all sinks of a namespace share.
pub(super) struct NamespaceSender {
    pub(super) adapter: Arc<Adapter>,
    pub(super) namespace: Str,
    /// Bytes that may overflow for one client.
    pub(super) overflow_bytes: usize,
    /// How long a client may read nothing while something has overflowed.
    pub(super) write_stall: Duration,
    pub(super) too_slow: IntCounter,
}

#[derive(Default)]
struct OverflowBuffer {
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    /// The client is to be disconnected once all of it is sent; nothing is added any more.
    disconnect_when_sent: bool,
}

enum SinkState {
    /// Everything fits the socket's own queue.
    Flowing,
    /// Something waits; whatever comes goes behind it.
    Overflowing(OverflowBuffer),
    Closed,
}

struct Shared {
    sid: Sid,
    sender: Arc<NamespaceSender>,
    /// Its session, to end it, and to learn when it has room.
    session: SessionHandle,
    /// The client has gone. Not part of the state: what tells us may be a socket that is dropped while we hold it.
    client_gone: AtomicBool,
    state: Mutex<SinkState>,
}

/// The way to one client.
pub(super) struct SocketSink(Arc<Shared>);

impl SocketSink {
    pub(super) fn new(sid: Sid, sender: Arc<NamespaceSender>, session: SessionHandle) -> Self {
        Self(Arc::new(Shared {
            sid,
            sender,
            session,
            client_gone: AtomicBool::new(false),
            state: Mutex::new(SinkState::Flowing),
        }))
    }
}

impl ClientSink for SocketSink {
    fn send(&self, outgoing: Outgoing) -> Result<(), SendFailed> {
        if self.0.client_gone.load(Ordering::Acquire) {
            return Err(SendFailed);
        }
        let mut state = self.0.state.lock();
        match &mut *state {
            SinkState::Closed => Err(SendFailed),
            SinkState::Flowing => match self.0.try_send(&outgoing) {
                Ok(()) => Ok(()),
                Err(SocketError::InternalChannelFull) => {
                    let bytes = outgoing.len();
                    if bytes > self.0.sender.overflow_bytes {
                        *state = self.0.clone().start_closing();
                        return Err(SendFailed);
                    }
                    *state = SinkState::Overflowing(OverflowBuffer {
                        waiting: VecDeque::from([outgoing]),
                        bytes,
                        disconnect_when_sent: false,
                    });
                    tokio::spawn(self.0.clone().drain_overflow());
                    Ok(())
                }
                Err(SocketError::Closed) => {
                    *state = SinkState::Closed;
                    Err(SendFailed)
                }
            },
            SinkState::Overflowing(overflow) if overflow.disconnect_when_sent => Err(SendFailed),
            SinkState::Overflowing(overflow) => {
                overflow.bytes = overflow.bytes.saturating_add(outgoing.len());
                overflow.waiting.push_back(outgoing);
                if overflow.bytes <= self.0.sender.overflow_bytes {
                    return Ok(());
                }
                // What waits is given up; a task of this client follows already.
                *overflow = OverflowBuffer {
                    disconnect_when_sent: true,
                    ..OverflowBuffer::default()
                };
                self.0.close_slow();
                Err(SendFailed)
            }
        }
    }

    fn ask(&self, packet: crate::capability::Packet, time: Duration) -> Option<PendingAcknowledgement> {
        // Behind what waits nothing can be asked: it would overtake it.
        let state = self.0.state.lock();
        let has_room = || self.0.session.wait_capacity().now_or_never().is_some();
        if self.0.client_gone.load(Ordering::Acquire) || !matches!(*state, SinkState::Flowing) || !has_room() {
            return None;
        }
        let packet = self.0.event(&packet);
        let options = BroadcastOptions::new(self.0.sid);
        let local = &self.0.sender.adapter.local;
        let (answers, asked) = local.broadcast_with_ack(packet, options, Some(time));
        (asked > 0).then(|| -> PendingAcknowledgement {
            Box::pin(async move {
                let (_, answer) = std::pin::pin!(answers).next().await?;
                match answer.ok()? {
                    Value::Str(text, attachments) => Some(crate::capability::Packet {
                        text: Bytes::copy_from_slice(text.as_bytes()),
                        attachments: attachments.into_iter().flatten().collect(),
                    }),
                    Value::Bytes(_) => None,
                }
            })
        })
    }

    fn disconnect(&self) {
        let mut state = self.0.state.lock();
        match &mut *state {
            // A socket that was still connecting was not there to be disconnected the last time.
            SinkState::Closed => {
                if !self.0.client_gone.load(Ordering::Acquire) {
                    self.0.try_disconnect();
                }
            }
            // What was sent before comes first.
            SinkState::Overflowing(overflow) => overflow.disconnect_when_sent = true,
            SinkState::Flowing => {
                if self.0.try_disconnect() {
                    *state = SinkState::Closed;
                } else {
                    *state = SinkState::Overflowing(OverflowBuffer {
                        disconnect_when_sent: true,
                        ..OverflowBuffer::default()
                    });
                    tokio::spawn(self.0.clone().drain_overflow());
                }
            }
        }
    }

    fn hang_up(&self) {
        self.0.session.abort();
    }

    fn close_when_sent(&self) {
        self.0.session.close();
    }

    fn mark_gone(&self) {
        self.0.client_gone.store(true, Ordering::Release);
    }

    fn unread_bytes(&self) -> usize {
        if self.0.client_gone.load(Ordering::Acquire) {
            return 0;
        }
        let overflowed = match &*self.0.state.lock() {
            SinkState::Overflowing(overflow) => overflow.bytes,
            SinkState::Flowing | SinkState::Closed => 0,
        };
        overflowed.saturating_add(self.0.session.queued_bytes())
    }

    fn is_flushed(&self) -> bool {
        let overflowing = || matches!(*self.0.state.lock(), SinkState::Overflowing(_));
        self.0.client_gone.load(Ordering::Acquire) || !overflowing() && self.0.session.is_flushed()
    }
}

impl Shared {
    fn event(&self, packet: &crate::capability::Packet) -> Packet {
        let attachments = (!packet.attachments.is_empty()).then(|| packet.attachments.iter().cloned().collect());
        Packet::event(
            self.sender.namespace.clone(),
            Value::Str(text(&packet.text), attachments),
        )
    }

    fn try_send(&self, outgoing: &Outgoing) -> Result<(), SocketError> {
        let packet = match outgoing {
            // The connection has asked already, or does not ask.
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => self.event(packet),
            Outgoing::Acknowledgement {
                id,
                text: json,
                attachments,
            } => {
                let attachments = (!attachments.is_empty()).then(|| attachments.iter().cloned().collect());
                Packet::ack(self.sender.namespace.clone(), Value::Str(text(json), attachments), *id)
            }
        };
        let sent = self
            .sender
            .adapter
            .local
            .broadcast(packet, BroadcastOptions::new(self.sid));
        sent.map_err(|errors| errors.into_iter().next().unwrap_or(SocketError::Closed))
    }

    /// Tells the client that it is disconnected; not, when its queue is full.
    fn try_disconnect(&self) -> bool {
        self.sender
            .adapter
            .local
            .disconnect_socket(BroadcastOptions::new(self.sid))
            .is_ok()
    }

    /// Sends on what has overflowed as the client reads. One such task for a client at most; it ends when all is sent,
    /// or the client has read nothing for too long.
    async fn drain_overflow(self: Arc<Self>) {
        loop {
            if tokio::time::timeout(self.sender.write_stall, self.session.wait_capacity())
                .await
                .is_err()
            {
                *self.state.lock() = SinkState::Closed;
                self.close_slow();
                return;
            }
            let mut state = self.state.lock();
            if self.client_gone.load(Ordering::Acquire) {
                *state = SinkState::Closed;
            }
            let SinkState::Overflowing(overflow) = &mut *state else {
                return;
            };
            let mut closed = false;
            while let Some(next) = overflow.waiting.front() {
                match self.try_send(next) {
                    Ok(()) => {
                        overflow.bytes = overflow.bytes.saturating_sub(next.len());
                        overflow.waiting.pop_front();
                    }
                    Err(SocketError::InternalChannelFull) => break,
                    Err(SocketError::Closed) => {
                        closed = true;
                        break;
                    }
                }
            }
            if closed {
                *state = SinkState::Closed;
                return;
            }
            if overflow.waiting.is_empty() {
                if !overflow.disconnect_when_sent {
                    *state = SinkState::Flowing;
                    return;
                }
                if self.try_disconnect() {
                    *state = SinkState::Closed;
                    return;
                }
            }
        }
    }

    /// Gives the client up: cuts its transport, or tells it to go as soon as there is room for that.
    fn start_closing(self: Arc<Self>) -> SinkState {
        self.close_slow();
        tokio::spawn(self.drain_overflow());
        SinkState::Overflowing(OverflowBuffer {
            disconnect_when_sent: true,
            ..OverflowBuffer::default()
        })
    }

    /// Ends the transport at once.
    fn close_slow(&self) {
        self.sender.too_slow.inc();
        self.session.abort();
    }
}

/// The crate's string has no way in from shared bytes but a copy.
fn text(bytes: &Bytes) -> Str {
    Str::copy_from_slice(std::str::from_utf8(bytes).unwrap_or_default())
}
