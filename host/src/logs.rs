//! What handlers log, as it happens, for whoever watches on this node.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Lines of one tenant that wait for one watcher, and the bytes of their texts; who is slower loses the oldest and is
/// told how many.
const LINES: usize = 1024;
const BYTES: usize = 512 * 1024;
/// Bytes of all tenants' lines that wait for one watcher. Beyond that a tenant's new line takes the place of its own.
const BYTES_OF_ALL: usize = 16 * 1024 * 1024;

/// A line.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Whose handler.
    pub tenant: String,
    /// Which handler.
    pub handler: String,
    /// Its version; 0 for one that was not deployed.
    pub version: u64,
    /// The connection's id and the event's number on it, as clients are told.
    pub event: String,
    /// `trace`, `debug`, `info`, `warn`, `error`; `trap` for a handler that was stopped.
    pub level: String,
    /// What it says; for a trap the cause and the backtrace.
    pub text: String,
}

/// What a watcher sees.
#[derive(Debug, Clone)]
pub enum Seen {
    /// A line.
    Line(Arc<LogLine>),
    /// So many lines of a tenant were lost here, because the watcher was too slow.
    Missed {
        /// Whose.
        tenant: String,
        /// How many.
        lines: u64,
    },
}

/// Which lines a watcher wants; asked for each line of the tenants that it watches.
pub type Wanted = Box<dyn Fn(&LogLine) -> bool + Send + Sync>;

/// Where lines pass by. Costs next to nothing while nobody watches.
#[derive(Clone, Default)]
pub struct LogHub(Arc<Watchers>);

#[derive(Default)]
struct Watchers {
    count: AtomicUsize,
    all: Mutex<Vec<Arc<Inbox>>>,
}

/// What waits for one watcher.
struct Inbox {
    /// The tenant that is watched; none is all.
    tenant: Option<Arc<str>>,
    wanted: Wanted,
    waiting: Mutex<Waiting>,
    changed: Notify,
}

/// A queue for each tenant that has logged since it was last read: one that floods loses its own lines only.
#[derive(Default)]
struct Waiting {
    queues: BTreeMap<String, Queue>,
    bytes: usize,
    /// The tenant that was read last: the next one's turn is next.
    last: String,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    missed: u64,
}

impl LogHub {
    /// Shows a tenant's line to whoever watches that tenant; it is only made when somebody does.
    pub fn publish(&self, tenant: &str, line: impl FnOnce() -> LogLine) {
        if self.0.count.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut watching = self.0.all.lock().clone();
        watching.retain(|inbox| inbox.tenant.as_deref().is_none_or(|own| own == tenant));
        if watching.is_empty() {
            return;
        }
        let line = Arc::new(line());
        for inbox in watching.iter().filter(|inbox| (inbox.wanted)(&line)) {
            inbox.waiting.lock().push(line.clone());
            inbox.changed.notify_one();
        }
    }

    /// Watches one tenant, or all of them, from now on.
    #[must_use]
    pub fn watch(&self, tenant: Option<Arc<str>>, wanted: Wanted) -> Watch {
        let inbox = Arc::new(Inbox {
            tenant,
            wanted,
            waiting: Mutex::default(),
            changed: Notify::new(),
        });
        let mut all = self.0.all.lock();
        all.push(inbox.clone());
        self.0.count.store(all.len(), Ordering::Relaxed);
        drop(all);
        Watch {
            inbox,
            watchers: self.0.clone(),
        }
    }
}

/// Somebody who watches, until it is dropped.
pub struct Watch {
    inbox: Arc<Inbox>,
    watchers: Arc<Watchers>,
}

impl Watch {
    /// The next line, or word of some that are lost; tenants take turns.
    pub async fn next(&mut self) -> Seen {
        loop {
            let seen = self.inbox.waiting.lock().pop();
            if let Some(seen) = seen {
                return seen;
            }
            self.inbox.changed.notified().await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut all = self.watchers.all.lock();
        all.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
        self.watchers.count.store(all.len(), Ordering::Relaxed);
    }
}

impl Waiting {
    fn push(&mut self, line: Arc<LogLine>) {
        let size = line.text.len();
        let queue = self.queues.entry(line.tenant.clone()).or_default();
        while queue.lines.len() >= LINES
            || queue.bytes.saturating_add(size) > BYTES
            || self.bytes.saturating_add(size) > BYTES_OF_ALL
        {
            let Some(oldest) = queue.lines.pop_front() else {
                // It does not fit even alone.
                queue.missed = queue.missed.saturating_add(1);
                return;
            };
            queue.missed = queue.missed.saturating_add(1);
            queue.bytes = queue.bytes.saturating_sub(oldest.text.len());
            self.bytes = self.bytes.saturating_sub(oldest.text.len());
        }
        queue.bytes = queue.bytes.saturating_add(size);
        self.bytes = self.bytes.saturating_add(size);
        queue.lines.push_back(line);
    }

    fn pop(&mut self) -> Option<Seen> {
        let after = (Bound::Excluded(self.last.as_str()), Bound::Unbounded);
        let next = self
            .queues
            .range::<str, _>(after)
            .next()
            .or_else(|| self.queues.iter().next());
        let tenant = next.map(|(tenant, _)| tenant.clone())?;
        self.last.clone_from(&tenant);
        let queue = self.queues.get_mut(&tenant)?;
        let missed = std::mem::take(&mut queue.missed);
        if missed > 0 {
            if queue.lines.is_empty() {
                self.queues.remove(&tenant);
            }
            return Some(Seen::Missed { tenant, lines: missed });
        }
        let line = queue.lines.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(line.text.len());
        self.bytes = self.bytes.saturating_sub(line.text.len());
        if queue.lines.is_empty() {
            self.queues.remove(&tenant);
        }
        Some(Seen::Line(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tenant: &str, text: impl Into<String>) -> LogLine {
        LogLine {
            at: 0,
            tenant: tenant.to_owned(),
            handler: "h".to_owned(),
            version: 1,
            event: "e-1".to_owned(),
            level: "info".to_owned(),
            text: text.into(),
        }
    }

    fn all() -> Wanted {
        Box::new(|_| true)
    }

    /// What waits, in words.
    fn drain(watch: &mut Watch) -> Vec<String> {
        let mut waiting = watch.inbox.waiting.lock();
        std::iter::from_fn(|| waiting.pop())
            .map(|seen| match seen {
                Seen::Line(line) => format!("{}: {}", line.tenant, line.text),
                Seen::Missed { tenant, lines } => format!("{tenant}: {lines} missed"),
            })
            .collect()
    }

    #[test]
    fn nobody_watches_and_no_line_is_made() {
        let hub = LogHub::default();
        let never = || -> LogLine { panic!("it is made") };
        hub.publish("acme", never);
        let watch = hub.watch(Some("globex".into()), all());
        hub.publish("acme", never);
        drop(watch);
        hub.publish("globex", never);
        assert!(hub.0.all.lock().is_empty());
    }

    #[test]
    fn a_flood_of_one_tenant_costs_its_own_lines_only() {
        let hub = LogHub::default();
        let (mut everything, mut acme) = (hub.watch(None, all()), hub.watch(Some("acme".into()), all()));
        hub.publish("acme", || line("acme", "first"));
        for n in 0..LINES + 10 {
            hub.publish("flood", || line("flood", n.to_string()));
        }
        hub.publish("acme", || line("acme", "last"));
        assert_eq!(drain(&mut acme), ["acme: first", "acme: last"]);
        let seen = drain(&mut everything);
        assert_eq!(seen.iter().filter(|line| line.starts_with("acme")).count(), 2);
        assert!(seen.contains(&"flood: 10 missed".to_owned()), "{:?}", &seen[..4]);
        assert_eq!(seen.len(), 2 + 1 + LINES);
        assert_eq!(
            seen[..3],
            ["acme: first", "flood: 10 missed", "acme: last"],
            "they take turns"
        );
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_for_each_tenant_and_in_all() {
        let hub = LogHub::default();
        let mut watch = hub.watch(None, all());
        let text = "x".repeat(BYTES / 2);
        for _ in 0..3 {
            hub.publish("acme", || line("acme", &*text));
        }
        assert_eq!(drain(&mut watch).len(), 1 + 2, "one is missed");
        let tenants = BYTES_OF_ALL / BYTES + 1;
        for n in 0..tenants {
            for _ in 0..2 {
                hub.publish("one of many", || line(&format!("tenant-{n}"), &*text));
            }
        }
        assert!(watch.inbox.waiting.lock().bytes <= BYTES_OF_ALL);
        let seen = drain(&mut watch);
        assert_eq!(
            seen.iter().filter(|line| line.ends_with(": 2 missed")).count(),
            1,
            "the last one's"
        );
        assert_eq!(watch.inbox.waiting.lock().bytes, 0);
    }

    #[tokio::test]
    async fn a_watcher_gets_what_it_wants_as_it_comes() {
        let hub = LogHub::default();
        let mut watch = hub.watch(None, Box::new(|line| line.text != "unwanted"));
        let publish = async {
            hub.publish("acme", || line("acme", "unwanted"));
            hub.publish("acme", || line("acme", "wanted"));
        };
        let (seen, ()) = tokio::join!(watch.next(), publish);
        assert!(matches!(seen, Seen::Line(line) if line.text == "wanted"));
    }
}
