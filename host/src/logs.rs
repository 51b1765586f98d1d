//! What handlers log, as it happens, for whoever watches on this node.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Lines of one tenant that wait for one watcher, and the bytes of their texts; who is slower loses the oldest and is
/// told how many.
const LINES: usize = 1024;
const BYTES: usize = 512 * 1024;
/// Bytes of all tenants' lines that wait for one watcher. Beyond that a tenant's new line takes the place of its own.
const BYTES_OF_ALL: usize = 16 * 1024 * 1024;
/// Who may watch at once: of each tenant, and operators. Each may hold the bytes above, and costs each line some time.
const FOLLOWERS_OF_TENANT: usize = 16;
const FOLLOWERS_OPERATORS: usize = 64;

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

/// Somebody who wants to watch.
#[derive(Debug, Clone)]
pub enum Follower {
    /// Of this tenant, which is the only one that is seen.
    Tenant(Arc<str>),
    /// An operator, who sees this tenant or, with none, all of them.
    Operator(Option<Arc<str>>),
}

/// Too many watch already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} follow the log of this node already, which are all that may at once")]
pub struct TooManyFollowers(usize);

/// Where lines pass by. Costs next to nothing while nobody watches the tenant.
#[derive(Clone, Default)]
pub struct LogHub(Arc<Watchers>);

#[derive(Default)]
struct Watchers {
    /// Read for each line, without a lock, and replaced as a whole.
    now: ArcSwap<Watching>,
    /// Held by who replaces it.
    changing: Mutex<()>,
}

#[derive(Clone, Default)]
struct Watching {
    /// Those who watch all tenants.
    all: Vec<Arc<Inbox>>,
    /// Those who watch one. No list is empty.
    one: HashMap<Arc<str>, Vec<Arc<Inbox>>>,
}

/// What waits for one watcher.
struct Inbox {
    follower: Follower,
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
        let watching = self.0.now.load();
        let one = watching.one.get(tenant).into_iter().flatten();
        let mut inboxes = watching.all.iter().chain(one).peekable();
        if inboxes.peek().is_none() {
            return;
        }
        let line = Arc::new(line());
        for inbox in inboxes.filter(|inbox| (inbox.wanted)(&line)) {
            inbox.waiting.lock().push(line.clone());
            inbox.changed.notify_one();
        }
    }

    /// Watches one tenant, or all of them, from now on.
    ///
    /// # Errors
    /// When as many of that tenant, or operators, watch as may.
    pub fn watch(&self, follower: Follower, wanted: Wanted) -> Result<Watch, TooManyFollowers> {
        let _changing = self.0.changing.lock();
        let mut watching = Watching::clone(&self.0.now.load());
        let (there, most) = match &follower {
            Follower::Tenant(own) => (watching.of_tenant(own), FOLLOWERS_OF_TENANT),
            Follower::Operator(_) => (watching.operators(), FOLLOWERS_OPERATORS),
        };
        if there >= most {
            return Err(TooManyFollowers(most));
        }
        let inbox = Arc::new(Inbox {
            follower,
            wanted,
            waiting: Mutex::default(),
            changed: Notify::new(),
        });
        let list = match inbox.tenant() {
            Some(tenant) => watching.one.entry(tenant.clone()).or_default(),
            None => &mut watching.all,
        };
        list.push(inbox.clone());
        self.0.now.store(Arc::new(watching));
        Ok(Watch {
            inbox,
            watchers: self.0.clone(),
        })
    }
}

impl Watching {
    /// Those of the tenant, without the operators who watch it.
    fn of_tenant(&self, tenant: &str) -> usize {
        let there = self.one.get(tenant).into_iter().flatten();
        there.filter(|inbox| !inbox.is_operator()).count()
    }

    fn operators(&self) -> usize {
        let there = self.all.iter().chain(self.one.values().flatten());
        there.filter(|inbox| inbox.is_operator()).count()
    }
}

impl Inbox {
    /// The tenant that is watched; none is all.
    fn tenant(&self) -> Option<&Arc<str>> {
        match &self.follower {
            Follower::Tenant(own) => Some(own),
            Follower::Operator(tenant) => tenant.as_ref(),
        }
    }

    fn is_operator(&self) -> bool {
        matches!(self.follower, Follower::Operator(_))
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
        let _changing = self.watchers.changing.lock();
        let mut watching = Watching::clone(&self.watchers.now.load());
        let others = |inbox: &Arc<Inbox>| !Arc::ptr_eq(inbox, &self.inbox);
        watching.all.retain(others);
        watching.one.retain(|_, inboxes| {
            inboxes.retain(others);
            !inboxes.is_empty()
        });
        self.watchers.now.store(Arc::new(watching));
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

    /// An operator who watches one tenant, or all.
    fn watch(hub: &LogHub, tenant: Option<&str>) -> Watch {
        hub.watch(Follower::Operator(tenant.map(Into::into)), all()).unwrap()
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
        let watch = watch(&hub, Some("globex"));
        hub.publish("acme", never);
        drop(watch);
        hub.publish("globex", never);
        let left = hub.0.now.load();
        assert!(left.all.is_empty() && left.one.is_empty());
    }

    #[test]
    fn so_many_of_each_tenant_watch_and_so_many_operators() {
        let hub = LogHub::default();
        let of = |tenant: &str| hub.watch(Follower::Tenant(tenant.into()), all());
        let mut acme: Vec<Watch> = (0..FOLLOWERS_OF_TENANT).map(|_| of("acme").unwrap()).collect();
        assert_eq!(of("acme").err(), Some(TooManyFollowers(FOLLOWERS_OF_TENANT)));
        let _globex = of("globex").unwrap();
        // Of one tenant or of all: each takes a place of the operators.
        let operator = |n: usize| {
            let tenant = n.is_multiple_of(2).then(|| "acme".into());
            hub.watch(Follower::Operator(tenant), all())
        };
        let operators: Vec<Watch> = (0..FOLLOWERS_OPERATORS).map(|n| operator(n).unwrap()).collect();
        for n in [0, 1] {
            assert_eq!(operator(n).err(), Some(TooManyFollowers(FOLLOWERS_OPERATORS)));
        }
        acme.pop();
        assert!(of("acme").is_ok());
        drop(operators);
        assert!(operator(0).is_ok());
    }

    #[test]
    fn a_flood_of_one_tenant_costs_its_own_lines_only() {
        let hub = LogHub::default();
        let (mut everything, mut acme) = (watch(&hub, None), watch(&hub, Some("acme")));
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
        let mut watch = watch(&hub, None);
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
        let wanted = Box::new(|line: &LogLine| line.text != "unwanted");
        let mut watch = hub.watch(Follower::Operator(None), wanted).unwrap();
        let publish = async {
            hub.publish("acme", || line("acme", "unwanted"));
            hub.publish("acme", || line("acme", "wanted"));
        };
        let (seen, ()) = tokio::join!(watch.next(), publish);
        assert!(matches!(seen, Seen::Line(line) if line.text == "wanted"));
    }
}
