//! The bounded queue of what this node still has to write to Redis.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::adapter::Publication;
use super::node_message::PresenceChange;

/// What an item counts besides its bytes, about.
const OVERHEAD: usize = 64;

/// One thing to write to Redis.
#[derive(Debug)]
pub(super) enum QueueItem {
    /// A message of the Node adapter.
    Publication(Publication),
    /// The payload of an invalidation.
    Invalidation(Bytes),
    /// A change of this node's presence records.
    Presence(PresenceChange),
}

impl QueueItem {
    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Publication(Publication { channel, payload }) => channel.len() + payload.len(),
                Self::Invalidation(payload) => payload.len(),
                Self::Presence(change) => {
                    change.namespace.len() + change.user.as_str().len() + change.record.as_ref().map_or(0, Bytes::len)
                }
            }
    }

    fn is_presence(&self) -> bool {
        matches!(self, Self::Presence(_))
    }
}

#[derive(Default)]
struct Queued {
    items: VecDeque<QueueItem>,
    bytes: usize,
    /// Whether items are accepted. Without a connection to Redis they are refused.
    open: bool,
}

/// A queue with bounds in items and bytes, for a single reader.
pub(super) struct PublishQueue {
    queued: Mutex<Queued>,
    pushed: Notify,
    max_items: usize,
    max_bytes: usize,
}

impl PublishQueue {
    /// A queue that is closed until [`open`](Self::open).
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            queued: Mutex::new(Queued::default()),
            pushed: Notify::new(),
            max_items,
            max_bytes,
        }
    }

    /// Adds an item. Returns `false` when the queue is full or closed.
    pub(super) fn push(&self, item: QueueItem) -> bool {
        let bytes = item.bytes();
        {
            let mut queued = self.queued.lock();
            let fits = queued.items.len() < self.max_items && queued.bytes.saturating_add(bytes) <= self.max_bytes;
            if !queued.open || !fits {
                return false;
            }
            queued.bytes += bytes;
            queued.items.push_back(item);
        }
        self.pushed.notify_one();
        true
    }

    /// Takes the first items, at most `items` of them with at most `bytes` together, but always at least one. Waits
    /// while the queue is empty.
    pub(super) async fn take(&self, items: usize, bytes: usize) -> Vec<QueueItem> {
        loop {
            let taken = self.take_now(items, bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.pushed.notified().await;
        }
    }

    /// Like [`take`](Self::take), but returns nothing at once when the queue is empty.
    pub(super) fn take_now(&self, items: usize, bytes: usize) -> Vec<QueueItem> {
        let mut queued = self.queued.lock();
        let (mut taken, mut sum) = (Vec::new(), 0);
        while taken.len() < items
            && let Some(next) = queued.items.front().map(QueueItem::bytes)
            && (taken.is_empty() || sum + next <= bytes)
            && let Some(item) = queued.items.pop_front()
        {
            sum += next;
            taken.push(item);
        }
        queued.bytes -= sum;
        taken
    }

    /// Accepts items from now on.
    pub(super) fn open(&self) {
        self.queued.lock().open = true;
    }

    /// Accepts no more items and drops those that are queued. Returns how many messages were dropped; changes of
    /// presence do not count, since they are written anew with the next connection.
    pub(super) fn close(&self) -> usize {
        let dropped = std::mem::take(&mut *self.queued.lock()).items;
        dropped.iter().filter(|item| !item.is_presence()).count()
    }

    /// Drops the queued changes of presence, before all presence records are written anew.
    pub(super) fn drop_presence_changes(&self) {
        let mut queued = self.queued.lock();
        queued.items.retain(|item| !item.is_presence());
        queued.bytes = queued.items.iter().map(QueueItem::bytes).sum();
    }

    pub(super) fn len(&self) -> usize {
        self.queued.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> QueueItem {
        QueueItem::Invalidation(vec![0; bytes].into())
    }

    #[test]
    fn the_queue_has_both_bounds_and_is_closed_at_first() {
        let queue = PublishQueue::new(2, 10 * OVERHEAD);
        assert!(!queue.push(item(1)));
        queue.open();
        assert!(queue.push(item(1)));
        assert!(!queue.push(item(9 * OVERHEAD)));
        assert!(queue.push(item(8 * OVERHEAD - 1)));
        assert!(!queue.push(item(0)));
        assert_eq!(queue.take_now(10, 1).len(), 1, "at least one");
        assert_eq!(queue.take_now(10, usize::MAX).len(), 1);
        assert!(queue.push(item(1)));
        assert_eq!(queue.close(), 1);
        assert!(!queue.push(item(1)));
        assert_eq!(queue.len(), 0);
    }
}
