//! The queue of packets that wait for one client.

use std::collections::VecDeque;

use bytes::Bytes;
use engineioxide_core::Str;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;

/// An Engine.IO packet to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutPacket {
    Text(Text),
    Binary(Bytes),
    Ping,
}

/// A text in two parts, so that the second one can be shared by all clients whom it goes to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) head: Str,
    /// UTF-8.
    pub(crate) body: Bytes,
}

impl Text {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The second part as text.
    pub(crate) fn body(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap_or_default()
    }
}

impl From<Str> for Text {
    fn from(head: Str) -> Self {
        Self {
            head,
            body: Bytes::new(),
        }
    }
}

impl OutPacket {
    fn bytes(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
            Self::Ping => 0,
        }
    }
}

/// The packets of one message: a text with its attachments.
pub(crate) type OutgoingMessage = SmallVec<[OutPacket; 1]>;

/// Builds a message of `first` and binary packets.
pub(crate) fn outgoing_message(first: OutPacket, data: impl IntoIterator<Item = Bytes>) -> OutgoingMessage {
    let mut message = OutgoingMessage::from_buf([first]);
    message.extend(data.into_iter().map(OutPacket::Binary));
    message
}

/// The queue of one session, limited in packets and in bytes. One transport takes from it at a time.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<OutboxState>,
    /// Notified when there is a packet to take, or the queue is closed.
    pub(crate) filled: Notify,
    /// Notified when the queue can take a message again, or is closed.
    drained: Notify,
    max_messages: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct OutboxState {
    packets: VecDeque<OutPacket>,
    /// The packets in the queue, and the messages that are reserved.
    messages: usize,
    bytes: usize,
    /// A message that is sent when the queue is empty. A later one replaces it.
    volatile: Option<OutgoingMessage>,
    closed: bool,
    /// Whether a task waits in [`Outbox::wait_capacity`].
    capacity_wanted: bool,
}

/// The capacity, in packets, up to which an empty queue keeps its memory.
const IDLE_CAPACITY: usize = 8;

impl Outbox {
    pub(crate) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self {
            queue: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            max_messages,
            max_bytes,
        }
    }

    /// Reserves room for one message.
    pub(crate) fn reserve(&self) -> Result<(), TrySendError<()>> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Err(TrySendError::Closed(()));
        }
        if self.is_full(&queue) {
            return Err(TrySendError::Full(()));
        }
        queue.messages += 1;
        Ok(())
    }

    fn is_full(&self, queue: &OutboxState) -> bool {
        queue.messages >= self.max_messages || queue.bytes >= self.max_bytes
    }

    /// Waits until the queue can take a message, or is closed.
    pub(crate) async fn wait_capacity(&self) {
        loop {
            let mut drained = std::pin::pin!(self.drained.notified());
            drained.as_mut().enable();
            {
                let mut queue = self.queue.lock();
                if queue.closed || !self.is_full(&queue) {
                    return;
                }
                queue.capacity_wanted = true;
            }
            drained.await;
        }
    }

    /// Releases a reservation that was not used.
    pub(crate) fn release(&self) {
        self.queue.lock().messages -= 1;
    }

    /// Adds a message with a reservation.
    pub(crate) fn push_reserved(&self, message: impl IntoIterator<Item = OutPacket>) {
        let mut queue = self.queue.lock();
        // `take` decrements `messages` for each packet, and the reservation counts for the first one.
        let before = queue.packets.len();
        for packet in message {
            queue.bytes = queue.bytes.saturating_add(packet.bytes());
            queue.packets.push_back(packet);
        }
        let added = queue.packets.len() - before;
        queue.messages = queue.messages.saturating_add(added).saturating_sub(1);
        drop(queue);
        self.filled.notify_one();
    }

    /// Adds a ping, even to a full queue.
    pub(crate) fn ping(&self) {
        let mut queue = self.queue.lock();
        if queue.closed {
            return;
        }
        queue.packets.push_back(OutPacket::Ping);
        queue.messages += 1;
        drop(queue);
        self.filled.notify_one();
    }

    /// Sets the message that is sent when the queue is empty. Returns whether it replaced another one.
    pub(crate) fn set_volatile(&self, message: OutgoingMessage) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        let replaced = queue.volatile.replace(message).is_some();
        drop(queue);
        self.filled.notify_one();
        replaced
    }

    /// Takes the next packet.
    pub(crate) fn take(&self) -> Option<OutPacket> {
        let mut queue = self.queue.lock();
        if queue.packets.is_empty() {
            let message = queue.volatile.take()?;
            queue.messages += message.len();
            queue.bytes += message.iter().map(OutPacket::bytes).sum::<usize>();
            queue.packets.extend(message);
        }
        let packet = queue.packets.pop_front()?;
        queue.messages = queue.messages.saturating_sub(1);
        queue.bytes = queue.bytes.saturating_sub(packet.bytes());
        if queue.packets.is_empty() && queue.packets.capacity() > IDLE_CAPACITY {
            queue.packets = VecDeque::new();
        }
        if queue.capacity_wanted && !self.is_full(&queue) {
            queue.capacity_wanted = false;
            drop(queue);
            self.drained.notify_waiters();
        }
        Some(packet)
    }

    /// Refuses further messages. Those in the queue can still be taken.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Drops all packets.
    pub(crate) fn clear(&self) {
        let taken = {
            let mut queue = self.queue.lock();
            queue.bytes = 0;
            queue.messages = 0;
            queue.volatile = None;
            std::mem::take(&mut queue.packets)
        };
        drop(taken);
    }

    /// The bytes of all packets in the queue.
    pub(crate) fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Whether the queue is empty.
    pub(crate) fn is_empty(&self) -> bool {
        let queue = self.queue.lock();
        queue.packets.is_empty() && queue.volatile.is_none()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn text(text: &'static str) -> OutPacket {
        OutPacket::Text(Str::from(text).into())
    }

    #[test]
    fn a_queue_is_bounded_in_packets() {
        let outbox = Outbox::new(2, usize::MAX);
        outbox.reserve().unwrap();
        outbox.reserve().unwrap();
        assert_eq!(outbox.reserve(), Err(TrySendError::Full(())));
        outbox.release();
        outbox.push_reserved([text("a")]);
        outbox.reserve().unwrap();
        outbox.push_reserved([text("b"), OutPacket::Binary(Bytes::from_static(b"c"))]);
        assert_eq!(
            outbox.reserve(),
            Err(TrySendError::Full(())),
            "an attachment counts too"
        );
        assert_eq!(outbox.take(), Some(text("a")));
        assert_eq!(outbox.take(), Some(text("b")));
        outbox.reserve().unwrap();
    }

    #[test]
    fn a_queue_is_bounded_in_bytes_and_takes_a_packet_of_any_size_while_it_has_fewer() {
        let outbox = Outbox::new(usize::MAX, 10);
        outbox.reserve().unwrap();
        outbox.push_reserved([text("a message that is longer than ten bytes")]);
        assert_eq!(outbox.reserve(), Err(TrySendError::Full(())));
        outbox.take().unwrap();
        outbox.reserve().unwrap();
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn a_volatile_message_waits_for_the_others_and_the_latest_wins() {
        let outbox = Outbox::new(1, usize::MAX);
        outbox.reserve().unwrap();
        outbox.push_reserved([text("a")]);
        assert!(!outbox.set_volatile([text("old")].into_iter().collect()));
        assert!(outbox.set_volatile([text("new")].into_iter().collect()));
        assert_eq!(outbox.take(), Some(text("a")));
        assert_eq!(outbox.take(), Some(text("new")));
        assert_eq!(outbox.take(), None);
        outbox.reserve().unwrap();
    }

    #[tokio::test]
    async fn a_task_that_waits_for_capacity_is_woken() {
        let outbox = Outbox::new(1, usize::MAX);
        outbox.wait_capacity().await;
        outbox.reserve().unwrap();
        outbox.push_reserved([text("a")]);
        let mut room = std::pin::pin!(outbox.wait_capacity());
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, room.as_mut())
                .await
                .is_err()
        );
        outbox.take().unwrap();
        room.await;
        outbox.reserve().unwrap();
        let mut room = std::pin::pin!(outbox.wait_capacity());
        assert!(
            tokio::time::timeout(std::time::Duration::ZERO, room.as_mut())
                .await
                .is_err()
        );
        outbox.close();
        room.await;
    }

    #[test]
    fn a_closed_queue_takes_no_packets_and_still_gives_those_it_has() {
        let outbox = Outbox::new(9, usize::MAX);
        outbox.reserve().unwrap();
        outbox.push_reserved([text("a")]);
        outbox.close();
        outbox.ping();
        assert_eq!(outbox.reserve(), Err(TrySendError::Closed(())));
        assert_eq!((outbox.take(), outbox.take()), (Some(text("a")), None));
    }
}
