//! A hub's inbox: what the bus has for it, bounded in messages and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::Inbound;

/// The most messages of the bus that wait for the hub.
pub const INBOX_MAX: usize = 4096;
/// The most bytes of events that wait for the hub. One that comes while there are fewer is taken whole, however large,
/// up to `redis.message_bytes`.
const INBOX_BYTES: usize = 8 * 1024 * 1024;

/// The inbox of a hub, for at most `messages` of them.
#[must_use]
pub fn inbox(messages: usize) -> (InboxSender, Inbox) {
    let (sender, receiver) = mpsc::channel(messages);
    let bytes = Arc::<AtomicUsize>::default();
    let inbox = Inbox {
        receiver,
        bytes: bytes.clone(),
    };
    (InboxSender { sender, bytes }, inbox)
}

/// The end of an inbox that the bus has.
#[derive(Debug)]
pub struct InboxSender {
    sender: mpsc::Sender<(Inbound, usize)>,
    /// The bytes of the events that wait.
    bytes: Arc<AtomicUsize>,
}

impl InboxSender {
    /// Puts a message into the inbox. Returns `false` when it does not fit, or the hub has closed the inbox.
    #[must_use]
    pub fn try_send(&self, inbound: Inbound) -> bool {
        let bytes = event_bytes(&inbound);
        if bytes > 0 && self.bytes.load(Ordering::Relaxed) >= INBOX_BYTES {
            return false;
        }
        // Before the message can be received: the count never falls below zero.
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = self.sender.try_send((inbound, bytes)).is_ok();
        if !sent {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        sent
    }

    /// Whether at least half of the inbox is free. A hub that has lost messages reads a great deal anew, so it should not
    /// lose the next ones at once.
    #[must_use]
    pub fn is_half_free(&self) -> bool {
        let (free, messages) = (self.sender.capacity(), self.sender.max_capacity());
        free >= messages.div_ceil(2) && self.bytes.load(Ordering::Relaxed) <= INBOX_BYTES / 2
    }

    /// Whether the hub has closed the inbox.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// The end of an inbox that the hub has.
#[derive(Debug)]
pub struct Inbox {
    receiver: mpsc::Receiver<(Inbound, usize)>,
    bytes: Arc<AtomicUsize>,
}

impl Inbox {
    /// The next message. `None` when the bus has dropped its end.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<Inbound>> {
        self.receiver.poll_recv(context).map(|received| {
            received.map(|(inbound, bytes)| {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                inbound
            })
        })
    }

    /// Waits for the next message. `None` when the bus has dropped its end.
    pub async fn recv(&mut self) -> Option<Inbound> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }
}

/// The bytes that a message of the bus counts in the inbox: those that clients and handlers of other nodes can send at any
/// rate. The rest counts none. It comes from servers, or is as much as the tenant has users and nodes, and a hub must learn
/// it.
fn event_bytes(inbound: &Inbound) -> usize {
    match inbound {
        Inbound::Broadcast(broadcast) | Inbound::BroadcastWithAck { broadcast, .. } => broadcast.packet.bytes().max(1),
        Inbound::ServerSideEmit { arguments, .. } => arguments.len().max(1),
        Inbound::PresenceChanged { user, record, .. } => {
            user.as_str().len() + record.as_ref().map_or(0, bytes::Bytes::len)
        }
        Inbound::Connected
        | Inbound::Disconnected
        | Inbound::SocketsJoin { .. }
        | Inbound::SocketsLeave { .. }
        | Inbound::DisconnectSockets { .. }
        | Inbound::FetchSockets { .. }
        | Inbound::AllRooms { .. }
        | Inbound::NodePresence { .. }
        | Inbound::NodeLeft { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Broadcast, BroadcastTarget};
    use parlance_handler::capability::Packet;

    fn event(bytes: usize) -> Inbound {
        let packet = Packet {
            text: vec![b' '; bytes].into(),
            attachments: Vec::new(),
        };
        Inbound::Broadcast(Broadcast::event(packet, BroadcastTarget::AllClients, Vec::new()))
    }

    #[tokio::test]
    async fn the_inbox_has_bounds_in_messages_and_in_bytes_of_events() {
        let (sender, mut inbox) = inbox(3);
        assert!(sender.try_send(event(INBOX_BYTES - 1)));
        assert!(sender.try_send(event(2 * INBOX_BYTES)), "taken whole");
        assert!(!sender.try_send(event(1)), "too many bytes");
        assert!(sender.try_send(Inbound::Disconnected), "the hub learns it all the same");
        assert!(!sender.try_send(Inbound::Connected), "too many messages");
        inbox.recv().await.unwrap();
        assert!(!sender.is_half_free(), "the larger event still waits");
        inbox.recv().await.unwrap();
        assert!(sender.is_half_free() && sender.try_send(event(1)));
        assert!(!sender.is_half_free(), "two messages of three wait");
        while sender.bytes.load(Ordering::Relaxed) > 0 {
            inbox.recv().await.unwrap();
        }
        drop(inbox);
        assert!(!sender.try_send(event(1)) && sender.is_closed());
        assert_eq!(sender.bytes.load(Ordering::Relaxed), 0);
    }
}
