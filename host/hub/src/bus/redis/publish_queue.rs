//! The bounded queue of what this node still has to write to Redis.
//!
//! All tenants share it. A sender may have as much in it as is free beside that, in items and in bytes, so one that
//! floods leaves half of the queue to the others, and the next one a third: nobody finds it full who sends little. The
//! rule is the dynamic threshold of shared switch buffers (Choudhury and Hahne, 1998).

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::adapter::Publication;
use super::node_message::PresenceChange;

/// What an item counts besides its bytes, about.
const OVERHEAD: usize = 64;

/// The sender of invalidations, the server itself; all others are the namespaces of tenants.
const SERVER: &str = "";

/// One thing to write to Redis.
#[derive(Debug)]
pub(super) enum QueueItem {
    /// A message of the Node adapter, and the namespace that it belongs to.
    Publication(String, Publication),
    /// The payload of an invalidation.
    Invalidation(Bytes),
    /// A change of this node's presence records.
    Presence(PresenceChange),
}

impl QueueItem {
    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Publication(namespace, Publication { channel, payload }) => {
                    namespace.len() + channel.len() + payload.len()
                }
                Self::Invalidation(payload) => payload.len(),
                Self::Presence(change) => {
                    change.namespace.len() + change.user.as_str().len() + change.record.as_ref().map_or(0, Bytes::len)
                }
            }
    }

    fn sender(&self) -> &str {
        match self {
            Self::Publication(namespace, _) => namespace,
            Self::Invalidation(_) => SERVER,
            Self::Presence(change) => &change.namespace,
        }
    }

    fn is_presence(&self) -> bool {
        matches!(self, Self::Presence(_))
    }
}

/// An amount of items.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Amount {
    items: usize,
    bytes: usize,
}

impl Amount {
    fn add(&mut self, item: &QueueItem) {
        self.items += 1;
        self.bytes += item.bytes();
    }

    fn remove(&mut self, item: &QueueItem) {
        self.items -= 1;
        self.bytes -= item.bytes();
    }
}

#[derive(Default)]
struct Queued {
    items: VecDeque<QueueItem>,
    all: Amount,
    /// What each sender has in the queue. A sender without items has no entry.
    by_sender: HashMap<String, Amount>,
    /// Whether items are accepted. Without a connection to Redis they are refused.
    open: bool,
}

impl Queued {
    /// Whether an item fits: beside it, its sender may have as much as was free before.
    fn fits(&self, item: &QueueItem, max: Amount) -> bool {
        let own = self.by_sender.get(item.sender()).copied().unwrap_or_default();
        let fits =
            |own: usize, more: usize, all: usize, max: usize| own.saturating_add(more).saturating_add(all) <= max;
        fits(own.items, 1, self.all.items, max.items) && fits(own.bytes, item.bytes(), self.all.bytes, max.bytes)
    }

    fn push(&mut self, item: QueueItem) {
        self.all.add(&item);
        match self.by_sender.get_mut(item.sender()) {
            Some(own) => own.add(&item),
            None => self.by_sender.entry(item.sender().to_owned()).or_default().add(&item),
        }
        self.items.push_back(item);
    }

    /// Counts an item that has left the queue no more.
    fn forget(&mut self, item: &QueueItem) {
        self.all.remove(item);
        if let Some(own) = self.by_sender.get_mut(item.sender()) {
            own.remove(item);
            if own.items == 0 {
                self.by_sender.remove(item.sender());
            }
        }
    }
}

/// A queue with bounds in items and bytes, for a single reader.
pub(super) struct PublishQueue {
    queued: Mutex<Queued>,
    pushed: Notify,
    max: Amount,
}

impl PublishQueue {
    /// A queue that is closed until [`open`](Self::open).
    pub(super) fn new(max_items: usize, max_bytes: usize) -> Self {
        Self {
            queued: Mutex::new(Queued::default()),
            pushed: Notify::new(),
            max: Amount {
                items: max_items,
                bytes: max_bytes,
            },
        }
    }

    /// Adds an item. Returns `false` when the queue is full for its sender, or closed.
    pub(super) fn push(&self, item: QueueItem) -> bool {
        {
            let mut queued = self.queued.lock();
            if !queued.open || !queued.fits(&item, self.max) {
                return false;
            }
            queued.push(item);
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
            queued.forget(&item);
            taken.push(item);
        }
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
        for item in std::mem::take(&mut queued.items) {
            if item.is_presence() {
                queued.forget(&item);
            } else {
                queued.items.push_back(item);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queued.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use parlance_types::id::UserId;

    use super::*;

    fn item(bytes: usize) -> QueueItem {
        QueueItem::Invalidation(vec![0; bytes].into())
    }

    fn of(namespace: &str, bytes: usize) -> QueueItem {
        let publication = Publication {
            channel: String::new(),
            payload: vec![0; bytes - OVERHEAD - namespace.len()].into(),
        };
        QueueItem::Publication(namespace.to_owned(), publication)
    }

    fn presence(namespace: &str) -> QueueItem {
        QueueItem::Presence(PresenceChange {
            namespace: namespace.to_owned(),
            user: UserId::new("ada").unwrap(),
            record: None,
        })
    }

    fn opened(max_items: usize, max_bytes: usize) -> PublishQueue {
        let queue = PublishQueue::new(max_items, max_bytes);
        queue.open();
        queue
    }

    #[test]
    fn the_queue_has_both_bounds_and_is_closed_at_first() {
        let queue = PublishQueue::new(2, 10 * OVERHEAD);
        assert!(!queue.push(of("/a", OVERHEAD + 2)));
        queue.open();
        assert!(!queue.push(of("/a", 10 * OVERHEAD + 1)));
        assert!(queue.push(of("/a", 9 * OVERHEAD)));
        assert!(!queue.push(item(1)), "too many bytes");
        assert!(queue.push(item(0)));
        assert!(!queue.push(of("/b", OVERHEAD + 2)), "too many items");
        assert_eq!(queue.take_now(10, 1).len(), 1, "at least one");
        assert_eq!(queue.take_now(10, usize::MAX).len(), 1);
        assert!(queue.push(item(1)));
        assert_eq!(queue.close(), 1);
        assert!(!queue.push(item(1)));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn who_floods_leaves_room_for_the_others_and_for_the_server() {
        let accepted = |queue: &PublishQueue, namespace: &str, bytes: usize| {
            (0..1000).take_while(|_| queue.push(of(namespace, bytes))).count()
        };
        let by_items = opened(60, usize::MAX);
        assert_eq!(accepted(&by_items, "/a", 100), 30);
        assert_eq!(accepted(&by_items, "/b", 100), 15);
        assert!(by_items.push(item(10)), "an invalidation");
        let by_bytes = opened(usize::MAX, 60_000);
        assert_eq!(accepted(&by_bytes, "/a", 1000), 30);
        assert_eq!(accepted(&by_bytes, "/b", 1000), 15);
        assert!(by_bytes.push(item(10)), "an invalidation");
        assert_eq!(by_bytes.take_now(30, usize::MAX).len(), 30);
        assert_eq!(accepted(&by_bytes, "/a", 1000), 22, "what was taken counts no more");
    }

    #[test]
    fn nothing_stays_counted_of_what_has_left() {
        let queue = opened(100, 100_000);
        for _ in 0..5 {
            assert!(queue.push(of("/a", 100)) && queue.push(presence("/a")) && queue.push(presence("/b")));
        }
        queue.drop_presence_changes();
        assert_eq!(queue.len(), 5);
        let by_sender = |queue: &PublishQueue| queue.queued.lock().by_sender.clone();
        let left = Amount { items: 5, bytes: 500 };
        assert_eq!(by_sender(&queue), HashMap::from([("/a".to_owned(), left)]));
        assert_eq!(queue.take_now(100, usize::MAX).len(), 5);
        assert_eq!(by_sender(&queue), HashMap::new());
        assert_eq!(queue.queued.lock().all, Amount::default());
    }
}
