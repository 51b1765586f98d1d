//! What waits to be published.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::adapter::Publication;
use super::node_message::PresenceChange;

/// What costs an item besides its bytes, about.
const OVERHEAD: usize = 64;

/// Something to be written to Redis.
#[derive(Debug)]
pub(super) enum QueueItem {
    /// A message in the words of the adapter.
    Publication(Publication),
    /// A notice.
    Invalidation(Bytes),
    /// A change of this node's entries.
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
}

#[derive(Default)]
struct Queued {
    items: VecDeque<QueueItem>,
    bytes: usize,
    /// Nothing is taken in while Redis is away.
    open: bool,
}

/// A queue with bounds, for one reader.
pub(super) struct PublishQueue {
    queued: Mutex<Queued>,
    wake: Notify,
    max_items: usize,
    max_bytes: usize,
}

impl PublishQueue {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            queued: Mutex::new(Queued::default()),
            wake: Notify::new(),
            max_items,
            max_bytes,
        }
    }

    /// Puts it in; `false` when there is no room, or Redis is away.
    pub(super) fn push(&self, item: QueueItem) -> bool {
        let bytes = item.bytes();
        {
            let mut queued = self.queued.lock();
            let room = queued.items.len() < self.max_items && queued.bytes.saturating_add(bytes) <= self.max_bytes;
            if !queued.open || !room {
                return false;
            }
            queued.bytes += bytes;
            queued.items.push_back(item);
        }
        self.wake.notify_one();
        true
    }

    /// Takes out the first ones, at least one, up to so many and so many bytes. Waits while there are none.
    pub(super) async fn take(&self, items: usize, bytes: usize) -> Vec<QueueItem> {
        loop {
            let taken = self.take_now(items, bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.wake.notified().await;
        }
    }

    /// Takes what is there, within these bounds, and does not wait: nothing, when the queue is empty.
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

    /// Takes items in from now on.
    pub(super) fn open(&self) {
        self.queued.lock().open = true;
    }

    /// Takes nothing in any more and drops what is there. Gives how many messages that were.
    pub(super) fn close(&self) -> usize {
        let dropped = std::mem::take(&mut *self.queued.lock()).items;
        let publish = |item: &&QueueItem| matches!(item, QueueItem::Publication(_) | QueueItem::Invalidation(_));
        dropped.iter().filter(publish).count()
    }

    /// Drops the changes of entries that are here.
    pub(super) fn drop_presence_changes(&self) {
        let mut queued = self.queued.lock();
        let mut bytes = 0;
        queued.items.retain(|item| {
            let keep = matches!(item, QueueItem::Publication(_) | QueueItem::Invalidation(_));
            bytes += if keep { item.bytes() } else { 0 };
            keep
        });
        queued.bytes = bytes;
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
    fn the_queue_has_both_bounds_and_is_shut_at_first() {
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
