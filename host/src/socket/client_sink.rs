//! Sends packets to one client without waiting, and disconnects a client that reads too slowly.
//!
//! Packets go straight to the Engine.IO session: socketioxide would copy and encode a packet for each client whom it goes
//! to. The session keeps a short queue and refuses a packet that does not fit. A burst that a healthy client takes a moment
//! to read must not count as slowness, so such packets wait here, in an overflow buffer that is bounded in bytes and in
//! time, and are sent in order as the client reads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use engineioxide::SessionHandle;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use socketioxide_core::adapter::BroadcastOptions;
use socketioxide_core::packet::{Packet, Sid};
use socketioxide_core::parser::Parse as _;
use socketioxide_core::{Str, Value};
use tokio::sync::mpsc::error::TrySendError;

use super::adapter::Adapter;
use super::settings::ConnectionLimits;
use parlance_hub::{ClientSink, Outgoing, PendingAcknowledgement, SendFailed};
use parlance_types::metrics::IntCounter;

/// Sends to the sockets of one namespace. All sinks of the namespace share it.
pub(super) struct NamespaceSender {
    pub(super) adapter: Arc<Adapter>,
    namespace: Str,
    /// What an event's text begins with that has no attachments.
    event_head: Str,
    /// The largest size of one client's overflow buffer, in bytes.
    overflow_bytes: usize,
    /// How long a client may read nothing while its overflow buffer is not empty.
    write_stall: Duration,
    /// Counts the clients that were disconnected because they read too slowly.
    too_slow: IntCounter,
}

impl NamespaceSender {
    pub(super) fn new(adapter: Arc<Adapter>, limits: &ConnectionLimits, too_slow: IntCounter) -> Self {
        let namespace = Str::from(adapter.local.path().to_string());
        Self {
            event_head: head(&adapter, Packet::event(namespace.clone(), empty(&[]))),
            namespace,
            adapter,
            overflow_bytes: limits.outbound_bytes,
            write_stall: limits.write_stall,
            too_slow,
        }
    }
}

/// What stands before the text of a packet on the wire. `packet` has no text.
fn head(adapter: &Adapter, packet: Packet) -> Str {
    match adapter.local.parser().encode(packet) {
        Value::Str(head, _) => head,
        // The default parser writes text.
        Value::Bytes(_) => Str::default(),
    }
}

/// No text, with these attachments.
fn empty(attachments: &[Bytes]) -> Value {
    let attachments = (!attachments.is_empty()).then(|| attachments.iter().cloned().collect());
    Value::Str(Str::default(), attachments)
}

/// Packets that did not fit the socket's own queue.
#[derive(Default)]
struct OverflowBuffer {
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    /// When set, the sink takes no more packets, and ends the connection so once the buffer is empty.
    end_when_sent: Option<End>,
}

/// How a connection ends after what was sent before.
#[derive(Clone, Copy)]
enum End {
    /// The client is told that it is disconnected.
    Disconnect,
    /// The transport closes. The client connects again by itself.
    Close,
}

enum SinkState {
    /// All packets have fitted the socket's own queue.
    Flowing,
    /// Packets wait in the buffer, so new ones go behind them to keep the order.
    Overflowing(OverflowBuffer),
    Closed,
}

struct Shared {
    sid: Sid,
    sender: Arc<NamespaceSender>,
    /// The Engine.IO session: it ends the transport, and it tells when its queue has room.
    session: SessionHandle,
    /// Set once socketioxide has the socket: a packet must not come before CONNECT.
    admitted: AtomicBool,
    /// Set when the client has gone. A socket that is dropped while `state` is locked sets it, so it cannot be part of
    /// `state`.
    client_gone: AtomicBool,
    state: Mutex<SinkState>,
}

/// The sink of one socketioxide socket.
pub(super) struct SocketSink(Arc<Shared>);

impl SocketSink {
    pub(super) fn new(sid: Sid, sender: Arc<NamespaceSender>, session: SessionHandle) -> Self {
        session.enter_namespace(sender.namespace.clone());
        Self(Arc::new(Shared {
            sid,
            sender,
            session,
            admitted: AtomicBool::new(false),
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
        if !self.0.is_admitted() {
            // A notice about the token of a client whose CONNECT is not answered yet.
            return Ok(());
        }
        let mut state = self.0.state.lock();
        match &mut *state {
            SinkState::Closed => Err(SendFailed),
            SinkState::Flowing => match self.0.try_send(&outgoing) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(())) => {
                    let bytes = outgoing.len();
                    if bytes > self.0.sender.overflow_bytes {
                        *state = self.0.clone().start_closing();
                        return Err(SendFailed);
                    }
                    *state = SinkState::Overflowing(OverflowBuffer {
                        waiting: VecDeque::from([outgoing]),
                        bytes,
                        end_when_sent: None,
                    });
                    tokio::spawn(self.0.clone().drain_overflow());
                    Ok(())
                }
                Err(TrySendError::Closed(())) => {
                    *state = SinkState::Closed;
                    Err(SendFailed)
                }
            },
            SinkState::Overflowing(overflow) if overflow.end_when_sent.is_some() => Err(SendFailed),
            SinkState::Overflowing(overflow) => {
                overflow.bytes = overflow.bytes.saturating_add(outgoing.len());
                overflow.waiting.push_back(outgoing);
                if overflow.bytes <= self.0.sender.overflow_bytes {
                    return Ok(());
                }
                // The waiting packets are dropped. The task that drains the buffer already runs and disconnects.
                *overflow = OverflowBuffer {
                    end_when_sent: Some(End::Disconnect),
                    ..OverflowBuffer::default()
                };
                self.0.close_slow();
                Err(SendFailed)
            }
        }
    }

    fn ask(&self, packet: parlance_handler::capability::Packet, time: Duration) -> Option<PendingAcknowledgement> {
        // While packets wait, an ask would overtake them.
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
                    Value::Str(text, attachments) => Some(parlance_handler::capability::Packet {
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
            // The socket may still have been connecting when the sink was closed, so it has missed the disconnect.
            SinkState::Closed => {
                if !self.0.client_gone.load(Ordering::Acquire) {
                    self.0.try_disconnect();
                }
            }
            // Packets that were sent before the disconnect go first.
            SinkState::Overflowing(overflow) => {
                overflow.end_when_sent.get_or_insert(End::Disconnect);
            }
            SinkState::Flowing => {
                if self.0.try_disconnect() {
                    *state = SinkState::Closed;
                } else {
                    *state = SinkState::Overflowing(OverflowBuffer {
                        end_when_sent: Some(End::Disconnect),
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
        if let SinkState::Overflowing(overflow) = &mut *self.0.state.lock() {
            overflow.end_when_sent.get_or_insert(End::Close);
            return;
        }
        self.0.session.close();
    }

    fn mark_gone(&self) {
        self.0.mark_gone();
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

impl Drop for Shared {
    fn drop(&mut self) {
        // A client that was refused never was there.
        self.mark_gone();
    }
}

impl Shared {
    fn mark_gone(&self) {
        if !self.client_gone.swap(true, Ordering::AcqRel) {
            self.session.leave_namespace(&self.sender.namespace);
        }
    }

    /// Whether the client is in the namespace.
    fn is_admitted(&self) -> bool {
        if self.admitted.load(Ordering::Relaxed) {
            return true;
        }
        let sockets = self.sender.adapter.local.fetch_sockets(BroadcastOptions::new(self.sid));
        let admitted = !sockets.is_empty();
        self.admitted.store(admitted, Ordering::Relaxed);
        admitted
    }

    fn event(&self, packet: &parlance_handler::capability::Packet) -> Packet {
        let attachments = (!packet.attachments.is_empty()).then(|| packet.attachments.iter().cloned().collect());
        Packet::event(
            self.sender.namespace.clone(),
            Value::Str(text(&packet.text), attachments),
        )
    }

    /// Queues a packet. Its text is shared by all whom it goes to; only what stands before it is made for each packet.
    fn try_send(&self, outgoing: &Outgoing) -> Result<(), TrySendError<()>> {
        let (sender, namespace) = (&self.sender, || self.sender.namespace.clone());
        let (head, text, attachments) = match outgoing {
            // `Connection::send` falls back to a plain event when it cannot ask.
            Outgoing::Event(packet) | Outgoing::Question(packet, _) => {
                let head = if packet.attachments.is_empty() {
                    sender.event_head.clone()
                } else {
                    head(&sender.adapter, Packet::event(namespace(), empty(&packet.attachments)))
                };
                (head, &packet.text, &packet.attachments)
            }
            Outgoing::Acknowledgement { id, text, attachments } => {
                let packet = Packet::ack(namespace(), empty(attachments), *id);
                (head(&sender.adapter, packet), text, attachments)
            }
        };
        self.session.send(head, text.clone(), attachments.iter().cloned())
    }

    /// Sends the disconnect packet and closes the socket; returns `false` when the socket's queue is full.
    fn try_disconnect(&self) -> bool {
        self.sender
            .adapter
            .local
            .disconnect_socket(BroadcastOptions::new(self.sid))
            .is_ok()
    }

    /// Moves packets from the overflow buffer to the socket's queue as the client reads.
    ///
    /// Only the change to [`SinkState::Overflowing`] spawns it, so a sink has at most one. It ends when the buffer is
    /// empty, or closes the client when that has read nothing for `write_stall`.
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
            let SinkState::Overflowing(overflow) = &mut *state else {
                return;
            };
            if self.client_gone.load(Ordering::Acquire) {
                let closes = matches!(overflow.end_when_sent, Some(End::Close));
                *state = SinkState::Closed;
                drop(state);
                if closes {
                    self.session.close();
                }
                return;
            }
            let mut closed = false;
            while let Some(next) = overflow.waiting.front() {
                match self.try_send(next) {
                    Ok(()) => {
                        overflow.bytes = overflow.bytes.saturating_sub(next.len());
                        overflow.waiting.pop_front();
                    }
                    Err(TrySendError::Full(())) => break,
                    Err(TrySendError::Closed(())) => {
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
                match overflow.end_when_sent {
                    None => {
                        *state = SinkState::Flowing;
                        return;
                    }
                    Some(End::Close) => {
                        *state = SinkState::Closed;
                        drop(state);
                        self.session.close();
                        return;
                    }
                    Some(End::Disconnect) if self.try_disconnect() => {
                        *state = SinkState::Closed;
                        return;
                    }
                    Some(End::Disconnect) => {}
                }
            }
        }
    }

    /// Aborts the transport of a client whose packet is larger than the whole buffer, and has the socket disconnected
    /// as soon as its queue allows.
    fn start_closing(self: Arc<Self>) -> SinkState {
        self.close_slow();
        tokio::spawn(self.drain_overflow());
        SinkState::Overflowing(OverflowBuffer {
            end_when_sent: Some(End::Disconnect),
            ..OverflowBuffer::default()
        })
    }

    /// Aborts the transport of a client that reads too slowly, and counts it.
    fn close_slow(&self) {
        self.sender.too_slow.inc();
        self.session.abort();
    }
}

/// Copies, since socketioxide's `Str` cannot be made from shared bytes.
fn text(bytes: &Bytes) -> Str {
    Str::copy_from_slice(std::str::from_utf8(bytes).unwrap_or_default())
}
