//! The log of handlers, as a stream for the subscribers of this node. Old lines are not kept.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Lines of one tenant that wait for one subscriber, and the bytes of their texts. A slower subscriber loses the oldest
/// lines and is told how many.
const QUEUE_LINES: usize = 1024;
const QUEUE_BYTES: usize = 512 * 1024;
/// Bytes of all tenants' lines that wait for one subscriber. At this limit a new line displaces lines of its own
/// tenant.
const SUBSCRIBER_BYTES: usize = 16 * 1024 * 1024;
/// Subscribers at once: of each tenant, and operators. Each may hold the bytes above, and costs every line some time.
const FOLLOWERS_OF_TENANT: usize = 16;
const FOLLOWERS_OPERATORS: usize = 64;

/// A log line.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// When it was logged, in milliseconds since the Unix epoch.
    pub at: u64,
    /// The tenant of the handler.
    pub tenant: String,
    /// The handler's name.
    pub handler: String,
    /// The handler's version; 0 for one that was not deployed.
    pub version: u64,
    /// The connection's id and the event's number on it, as the client sees them.
    pub event: String,
    /// `trace`, `debug`, `info`, `warn` or `error`; `trap` for a handler that was stopped.
    pub level: String,
    /// The text; for a trap the cause and the backtrace.
    pub text: String,
}

/// What a subscriber receives.
#[derive(Debug, Clone)]
pub enum LogEvent {
    /// A log line.
    Line(Arc<LogLine>),
    /// Lines of a tenant were dropped here, because the subscriber was too slow.
    Missed {
        /// The tenant.
        tenant: String,
        /// How many lines.
        lines: u64,
    },
}

/// Selects the lines that a subscriber gets. Called for each line of the tenants that it follows.
pub type LogFilter = Box<dyn Fn(&LogLine) -> bool + Send + Sync>;

/// The author of a subscription.
#[derive(Debug, Clone)]
pub enum Follower {
    /// A token of this tenant, which sees this tenant only.
    Tenant(Arc<str>),
    /// An operator, who sees this tenant, or all of them when there is none.
    Operator(Option<Arc<str>>),
}

/// There are as many subscribers as are allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} clients follow the log of this node already, the most that are allowed at once")]
pub struct TooManyFollowers(usize);

/// Distributes log lines to subscribers. Costs next to nothing while a tenant has none.
#[derive(Clone, Default)]
pub struct LogHub(Arc<Subscribers>);

#[derive(Default)]
struct Subscribers {
    /// Read for each line without a lock, and replaced as a whole.
    lists: ArcSwap<SubscriberLists>,
    /// Held while the lists are replaced.
    changing: Mutex<()>,
}

#[derive(Clone, Default)]
struct SubscriberLists {
    /// Subscribers to all tenants.
    all: Vec<Arc<Subscriber>>,
    /// Subscribers to one tenant. No list is empty.
    one: HashMap<Arc<str>, Vec<Arc<Subscriber>>>,
}

/// A subscriber, and the lines that wait for it.
struct Subscriber {
    follower: Follower,
    filter: LogFilter,
    queues: Mutex<SubscriberQueues>,
    changed: Notify,
}

/// A queue for each tenant with waiting lines, so that a flood of one tenant displaces its own lines only.
#[derive(Default)]
struct SubscriberQueues {
    queues: BTreeMap<String, TenantQueue>,
    bytes: usize,
    /// The tenant that was read last; the next one follows.
    last: String,
}

#[derive(Default)]
struct TenantQueue {
    lines: VecDeque<Arc<LogLine>>,
    bytes: usize,
    missed: u64,
}

impl LogHub {
    /// How many subscribers there are.
    #[must_use]
    pub fn subscriber_count(&self) -> usize {
        let lists = self.0.lists.load();
        lists.all.len() + lists.one.values().map(Vec::len).sum::<usize>()
    }

    /// Gives a line to the tenant's subscribers. The line is made only when there is one.
    pub fn publish(&self, tenant: &str, line: impl FnOnce() -> LogLine) {
        let lists = self.0.lists.load();
        let one = lists.one.get(tenant).into_iter().flatten();
        let mut subscribers = lists.all.iter().chain(one).peekable();
        if subscribers.peek().is_none() {
            return;
        }
        let line = Arc::new(line());
        for subscriber in subscribers.filter(|subscriber| (subscriber.filter)(&line)) {
            subscriber.queues.lock().push(line.clone());
            subscriber.changed.notify_one();
        }
    }

    /// Subscribes to one tenant, or to all of them, from now on.
    ///
    /// # Errors
    /// When there are as many subscribers of that tenant, or operators, as are allowed.
    pub fn subscribe(&self, follower: Follower, filter: LogFilter) -> Result<LogSubscription, TooManyFollowers> {
        let _changing = self.0.changing.lock();
        let mut lists = SubscriberLists::clone(&self.0.lists.load());
        let (there, most) = match &follower {
            Follower::Tenant(own) => (lists.of_tenant(own), FOLLOWERS_OF_TENANT),
            Follower::Operator(_) => (lists.operators(), FOLLOWERS_OPERATORS),
        };
        if there >= most {
            return Err(TooManyFollowers(most));
        }
        let subscriber = Arc::new(Subscriber {
            follower,
            filter,
            queues: Mutex::default(),
            changed: Notify::new(),
        });
        let list = match subscriber.tenant() {
            Some(tenant) => lists.one.entry(tenant.clone()).or_default(),
            None => &mut lists.all,
        };
        list.push(subscriber.clone());
        self.0.lists.store(Arc::new(lists));
        Ok(LogSubscription {
            subscriber,
            subscribers: self.0.clone(),
        })
    }
}

impl SubscriberLists {
    /// How many subscribers are the tenant's own; operators do not count.
    fn of_tenant(&self, tenant: &str) -> usize {
        let there = self.one.get(tenant).into_iter().flatten();
        there.filter(|subscriber| !subscriber.is_operator()).count()
    }

    fn operators(&self) -> usize {
        let there = self.all.iter().chain(self.one.values().flatten());
        there.filter(|subscriber| subscriber.is_operator()).count()
    }
}

impl Subscriber {
    /// The tenant that is followed; `None` for all.
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

/// A subscription; dropping it ends it.
pub struct LogSubscription {
    subscriber: Arc<Subscriber>,
    subscribers: Arc<Subscribers>,
}

impl LogSubscription {
    /// The next line, or the number of lost ones. Tenants take turns.
    pub async fn next(&mut self) -> LogEvent {
        loop {
            let event = self.subscriber.queues.lock().pop();
            if let Some(event) = event {
                return event;
            }
            self.subscriber.changed.notified().await;
        }
    }
}

impl Drop for LogSubscription {
    fn drop(&mut self) {
        let _changing = self.subscribers.changing.lock();
        let mut lists = SubscriberLists::clone(&self.subscribers.lists.load());
        let others = |subscriber: &Arc<Subscriber>| !Arc::ptr_eq(subscriber, &self.subscriber);
        lists.all.retain(others);
        lists.one.retain(|_, subscribers| {
            subscribers.retain(others);
            !subscribers.is_empty()
        });
        self.subscribers.lists.store(Arc::new(lists));
    }
}

impl SubscriberQueues {
    fn push(&mut self, line: Arc<LogLine>) {
        let size = line.text.len();
        let queue = self.queues.entry(line.tenant.clone()).or_default();
        while queue.lines.len() >= QUEUE_LINES
            || queue.bytes.saturating_add(size) > QUEUE_BYTES
            || self.bytes.saturating_add(size) > SUBSCRIBER_BYTES
        {
            let Some(oldest) = queue.lines.pop_front() else {
                // The line does not fit even alone.
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

    fn pop(&mut self) -> Option<LogEvent> {
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
            return Some(LogEvent::Missed { tenant, lines: missed });
        }
        let line = queue.lines.pop_front()?;
        queue.bytes = queue.bytes.saturating_sub(line.text.len());
        self.bytes = self.bytes.saturating_sub(line.text.len());
        if queue.lines.is_empty() {
            self.queues.remove(&tenant);
        }
        Some(LogEvent::Line(line))
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

    fn all() -> LogFilter {
        Box::new(|_| true)
    }

    /// An operator's subscription to one tenant, or to all.
    fn subscription(hub: &LogHub, tenant: Option<&str>) -> LogSubscription {
        hub.subscribe(Follower::Operator(tenant.map(Into::into)), all())
            .unwrap()
    }

    /// The waiting events, as text.
    fn drain(subscription: &mut LogSubscription) -> Vec<String> {
        let mut queues = subscription.subscriber.queues.lock();
        std::iter::from_fn(|| queues.pop())
            .map(|event| match event {
                LogEvent::Line(line) => format!("{}: {}", line.tenant, line.text),
                LogEvent::Missed { tenant, lines } => format!("{tenant}: {lines} missed"),
            })
            .collect()
    }

    #[test]
    fn nobody_watches_and_no_line_is_made() {
        let hub = LogHub::default();
        let never = || -> LogLine { panic!("it is made") };
        hub.publish("acme", never);
        let subscription = subscription(&hub, Some("globex"));
        hub.publish("acme", never);
        drop(subscription);
        hub.publish("globex", never);
        let left = hub.0.lists.load();
        assert!(left.all.is_empty() && left.one.is_empty());
    }

    #[test]
    fn so_many_of_each_tenant_watch_and_so_many_operators() {
        let hub = LogHub::default();
        let of = |tenant: &str| hub.subscribe(Follower::Tenant(tenant.into()), all());
        let mut acme: Vec<LogSubscription> = (0..FOLLOWERS_OF_TENANT).map(|_| of("acme").unwrap()).collect();
        assert_eq!(of("acme").err(), Some(TooManyFollowers(FOLLOWERS_OF_TENANT)));
        let _globex = of("globex").unwrap();
        // Of one tenant or of all: each counts as an operator's.
        let operator = |n: usize| {
            let tenant = n.is_multiple_of(2).then(|| "acme".into());
            hub.subscribe(Follower::Operator(tenant), all())
        };
        let operators: Vec<LogSubscription> = (0..FOLLOWERS_OPERATORS).map(|n| operator(n).unwrap()).collect();
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
        let (mut everything, mut acme) = (subscription(&hub, None), subscription(&hub, Some("acme")));
        hub.publish("acme", || line("acme", "first"));
        for n in 0..QUEUE_LINES + 10 {
            hub.publish("flood", || line("flood", n.to_string()));
        }
        hub.publish("acme", || line("acme", "last"));
        assert_eq!(drain(&mut acme), ["acme: first", "acme: last"]);
        let event = drain(&mut everything);
        assert_eq!(event.iter().filter(|line| line.starts_with("acme")).count(), 2);
        assert!(event.contains(&"flood: 10 missed".to_owned()), "{:?}", &event[..4]);
        assert_eq!(event.len(), 2 + 1 + QUEUE_LINES);
        assert_eq!(
            event[..3],
            ["acme: first", "flood: 10 missed", "acme: last"],
            "they take turns"
        );
    }

    #[test]
    fn the_bytes_that_wait_are_bounded_for_each_tenant_and_in_all() {
        let hub = LogHub::default();
        let mut subscription = subscription(&hub, None);
        let text = "x".repeat(QUEUE_BYTES / 2);
        for _ in 0..3 {
            hub.publish("acme", || line("acme", &*text));
        }
        assert_eq!(drain(&mut subscription).len(), 1 + 2, "one is missed");
        let tenants = SUBSCRIBER_BYTES / QUEUE_BYTES + 1;
        for n in 0..tenants {
            for _ in 0..2 {
                hub.publish("one of many", || line(&format!("tenant-{n}"), &*text));
            }
        }
        assert!(subscription.subscriber.queues.lock().bytes <= SUBSCRIBER_BYTES);
        let event = drain(&mut subscription);
        assert_eq!(
            event.iter().filter(|line| line.ends_with(": 2 missed")).count(),
            1,
            "the last one's"
        );
        assert_eq!(subscription.subscriber.queues.lock().bytes, 0);
    }

    #[tokio::test]
    async fn a_watcher_gets_what_it_wants_as_it_comes() {
        let hub = LogHub::default();
        let filter = Box::new(|line: &LogLine| line.text != "unwanted");
        let mut subscription = hub.subscribe(Follower::Operator(None), filter).unwrap();
        let publish = async {
            hub.publish("acme", || line("acme", "unwanted"));
            hub.publish("acme", || line("acme", "wanted"));
        };
        let (event, ()) = tokio::join!(subscription.next(), publish);
        assert!(matches!(event, LogEvent::Line(line) if line.text == "wanted"));
    }
}
