//! What waits to be published.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::adapter::Letter;
use super::gossip::Change;

/// What costs an item besides its bytes, about.
const OVERHEAD: usize = 64;

/// Something to be written to Redis.
#[derive(Debug)]
pub(super) enum Item {
    /// A message in the words of the adapter.
    Message(Letter),
    /// A notice.
    Notice(Bytes),
    /// A change of this node's entries.
    Change(Change),
}

impl Item {
    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Message(Letter { channel, payload }) => channel.len() + payload.len(),
                Self::Notice(payload) => payload.len(),
                Self::Change(change) => {
                    change.namespace.len() + change.user.as_str().len() + change.entry.as_ref().map_or(0, Bytes::len)
                }
            }
    }
}

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    bytes: usize,
    /// Nothing is taken in while Redis is away.
    open: bool,
}

/// A queue with bounds, for one reader.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
    max_items: usize,
    max_bytes: usize,
}

impl Queue {
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            waiting: Mutex::new(Waiting::default()),
            wake: Notify::new(),
            max_items,
            max_bytes,
        }
    }

    /// Puts it in; `false` when there is no room, or Redis is away.
    pub(super) fn push(&self, item: Item) -> bool {
        let bytes = item.bytes();
        {
            let mut waiting = self.waiting.lock();
            let room = waiting.items.len() < self.max_items && waiting.bytes.saturating_add(bytes) <= self.max_bytes;
            if !waiting.open || !room {
                return false;
            }
            waiting.bytes += bytes;
            waiting.items.push_back(item);
        }
        self.wake.notify_one();
        true
    }

    /// Takes out the first ones, at least one, up to so many and so many bytes. Waits while there are none.
    pub(super) async fn take(&self, items: usize, bytes: usize) -> Vec<Item> {
        loop {
            let taken = self.take_now(items, bytes);
            if !taken.is_empty() {
                return taken;
            }
            self.wake.notified().await;
        }
    }

    /// Takes what is there, within these bounds, and does not wait: nothing, when the queue is empty.
    pub(super) fn take_now(&self, items: usize, bytes: usize) -> Vec<Item> {
        let mut waiting = self.waiting.lock();
        let (mut taken, mut sum) = (Vec::new(), 0);
        while taken.len() < items
            && let Some(next) = waiting.items.front().map(Item::bytes)
            && (taken.is_empty() || sum + next <= bytes)
            && let Some(item) = waiting.items.pop_front()
        {
            sum += next;
            taken.push(item);
        }
        waiting.bytes -= sum;
        taken
    }

    /// Takes items in from now on.
    pub(super) fn open(&self) {
        self.waiting.lock().open = true;
    }

    /// Takes nothing in any more and drops what is there. Gives how many messages that were.
    pub(super) fn close(&self) -> usize {
        let dropped = std::mem::take(&mut *self.waiting.lock()).items;
        let publish = |item: &&Item| matches!(item, Item::Message(_) | Item::Notice(_));
        dropped.iter().filter(publish).count()
    }

    /// Drops the changes of entries that are here.
    pub(super) fn forget_changes(&self) {
        let mut waiting = self.waiting.lock();
        let mut bytes = 0;
        waiting.items.retain(|item| {
            let keep = matches!(item, Item::Message(_) | Item::Notice(_));
            bytes += if keep { item.bytes() } else { 0 };
            keep
        });
        waiting.bytes = bytes;
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(bytes: usize) -> Item {
        Item::Notice(vec![0; bytes].into())
    }

    #[test]
    fn the_queue_has_both_bounds_and_is_shut_at_first() {
        let queue = Queue::new(2, 10 * OVERHEAD);
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
