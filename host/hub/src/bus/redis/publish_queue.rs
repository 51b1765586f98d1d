//! The bounded queue of what this node still has to write to Redis.
//!
//! All tenants share it. One may have as much in it as is left free beside that, in items and in bytes: the first that
//! floods leaves half of the queue to the others, and each further one at least half of what was free. The rule is the
//! dynamic threshold of shared switch buffers (Choudhury and Hahne, 1998). The server's own invalidations have as much
//! again for themselves.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::adapter::Publication;

/// What an item counts besides its bytes, about.
const OVERHEAD: usize = 64;

/// One thing to write to Redis.
#[derive(Debug)]
pub(super) enum QueueItem {
    /// A message of the Node adapter, and the namespace that it belongs to.
    Publication(String, Publication),
    /// The payload of an invalidation.
    Invalidation(Bytes),
}

impl QueueItem {
    fn bytes(&self) -> usize {
        OVERHEAD
            + match self {
                Self::Publication(namespace, Publication { channel, payload }) => {
                    namespace.len() + channel.len() + payload.len()
                }
                Self::Invalidation(payload) => payload.len(),
            }
    }

    /// The tenant's namespace; `None` for what the server itself sends.
    fn tenant(&self) -> Option<&str> {
        match self {
            Self::Publication(namespace, _) => Some(namespace),
            Self::Invalidation(_) => None,
        }
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
    /// What all tenants have in the queue together.
    of_tenants: Amount,
    /// What each tenant has in the queue. A tenant without items has no entry.
    by_tenant: HashMap<String, Amount>,
    /// What the server itself has in the queue.
    of_server: Amount,
    /// Whether items are accepted. Without a connection to Redis they are refused.
    open: bool,
}

impl Queued {
    /// Whether an item fits: with it, its tenant has no more than was free.
    fn fits(&self, item: &QueueItem, max: Amount) -> bool {
        let (own, others) = match item.tenant() {
            Some(tenant) => (self.by_tenant.get(tenant).copied().unwrap_or_default(), self.of_tenants),
            None => (self.of_server, Amount::default()),
        };
        let fits =
            |own: usize, more: usize, all: usize, max: usize| own.saturating_add(more).saturating_add(all) <= max;
        fits(own.items, 1, others.items, max.items) && fits(own.bytes, item.bytes(), others.bytes, max.bytes)
    }

    fn push(&mut self, item: QueueItem) {
        match item.tenant() {
            None => self.of_server.add(&item),
            Some(tenant) => {
                self.of_tenants.add(&item);
                match self.by_tenant.get_mut(tenant) {
                    Some(own) => own.add(&item),
                    None => self.by_tenant.entry(tenant.to_owned()).or_default().add(&item),
                }
            }
        }
        self.items.push_back(item);
    }

    fn pop(&mut self) -> Option<QueueItem> {
        let item = self.items.pop_front()?;
        match item.tenant() {
            None => self.of_server.remove(&item),
            Some(tenant) => {
                self.of_tenants.remove(&item);
                if let Some(own) = self.by_tenant.get_mut(tenant) {
                    own.remove(&item);
                    if own.items == 0 {
                        self.by_tenant.remove(tenant);
                    }
                }
            }
        }
        Some(item)
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

    /// Adds an item. Returns `false` when the queue is full for its tenant, or closed.
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
            && let Some(item) = queued.pop()
        {
            sum += next;
            taken.push(item);
        }
        taken
    }

    /// Accepts items from now on.
    pub(super) fn open(&self) {
        self.queued.lock().open = true;
    }

    /// Accepts no more items and drops those that are queued. Returns how many messages were dropped.
    pub(super) fn close(&self) -> usize {
        std::mem::take(&mut *self.queued.lock()).items.len()
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

    fn of(namespace: &str, bytes: usize) -> QueueItem {
        let publication = Publication {
            channel: String::new(),
            payload: vec![0; bytes - OVERHEAD - namespace.len()].into(),
        };
        QueueItem::Publication(namespace.to_owned(), publication)
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
        assert!(queue.push(of("/a", 8 * OVERHEAD)));
        assert!(!queue.push(of("/b", 3 * OVERHEAD)), "too many bytes");
        assert!(queue.push(of("/b", 2 * OVERHEAD)));
        assert!(!queue.push(of("/c", OVERHEAD + 2)), "too many items");
        assert_eq!(queue.take_now(10, 1).len(), 1, "at least one");
        assert_eq!(queue.take_now(10, usize::MAX).len(), 1);
        assert!(queue.push(item(1)));
        assert_eq!(queue.close(), 1);
        assert!(!queue.push(item(1)));
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn a_tenant_that_floods_leaves_room_for_the_others_and_for_the_server() {
        let accepted = |queue: &PublishQueue, namespace: &str, bytes: usize| {
            (0..1000).take_while(|_| queue.push(of(namespace, bytes))).count()
        };
        let by_items = opened(60, usize::MAX);
        assert_eq!(accepted(&by_items, "/a", 100), 30);
        assert_eq!(accepted(&by_items, "/b", 100), 15);
        let by_bytes = opened(usize::MAX, 60_000);
        assert_eq!(accepted(&by_bytes, "/a", 1000), 30);
        assert_eq!(accepted(&by_bytes, "/b", 1000), 15);
        for tenant in 0..60 {
            accepted(&by_items, &format!("/{tenant}"), 100);
        }
        assert_eq!(by_items.len(), 60, "many fill all of it");
        let invalidations = (0..1000).take_while(|_| by_items.push(item(10))).count();
        assert_eq!(invalidations, 60);
        assert_eq!(by_bytes.take_now(30, usize::MAX).len(), 30);
        assert_eq!(accepted(&by_bytes, "/a", 1000), 23, "what was taken counts no more");
    }

    #[test]
    fn nothing_stays_counted_of_what_has_left() {
        let queue = opened(100, 100_000);
        for _ in 0..5 {
            assert!(queue.push(of("/a", 100)) && queue.push(item(10)));
        }
        assert_eq!(queue.take_now(100, usize::MAX).len(), 10);
        let queued = queue.queued.lock();
        assert_eq!(queued.by_tenant, HashMap::new());
        assert_eq!([queued.of_tenants, queued.of_server], [Amount::default(); 2]);
    }
}
