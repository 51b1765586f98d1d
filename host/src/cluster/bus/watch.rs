//! Listens: passes on what comes, and keeps an eye on the other nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::PubSubSink;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::time::MissedTickBehavior;

use super::adapter::Adapter;
use super::channels::Channel;
use super::gossip::{self, Change, Gossip};
use super::link::{Commands, Fields, Link};
use super::over_redis::{Shared, read_notice};
use super::peers::{Peers, Scope, Todo};
use super::shards::{Push, Pushes, Shards};
use super::status::count;
use super::write::{FIELD_END, META_FIELD};
use super::{Elsewhere, Inbound, Load, NodeId, Notice};
use crate::id::UserId;

/// What is learned of another node by asking Redis.
enum Learned {
    Entries(NodeId, RedisResult<Fields>),
    Lease(NodeId, RedisResult<bool>),
    /// The channels of rooms are subscribed to.
    Rooms(RedisResult<()>),
    /// The servers with sharded channels answer.
    Alive(RedisResult<()>),
    /// How many servers speak the other adapter in each of these namespaces.
    Strangers(Vec<String>, RedisResult<Vec<u64>>),
}

type Asking = FuturesUnordered<BoxFuture<'static, Learned>>;

/// How often somebody is looked for who speaks the other adapter.
const STRANGERS_EVERY: Duration = Duration::from_secs(10);
/// The namespaces in which they are looked for at once.
const STRANGERS_NAMESPACES: usize = 256;

/// What is known of the other nodes. It outlives connections.
pub(super) struct Watch {
    shared: Arc<Shared>,
    peers: Peers,
    loads: HashMap<NodeId, Vec<(String, Load)>>,
    /// Since when nothing of this node itself has come back through Redis.
    echo: Instant,
    /// When to look for servers that speak the other adapter.
    strangers_at: Instant,
    /// The last namespace in which they were looked for.
    strangers_after: String,
    /// The log has said that there are some.
    strangers: bool,
}

/// What lives as long as one connection.
struct Session {
    commands: Commands,
    subscribe: PubSubSink,
    shards: Option<Shards>,
    /// Subscriptions to rooms are under way.
    subscribing: bool,
    /// The namespaces that are subscribed to.
    subscribed: HashSet<String>,
    asking: Asking,
}

fn failed(what: &'static str) -> RedisError {
    (ErrorKind::Io, what).into()
}

impl Watch {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            peers: Peers::default(),
            loads: HashMap::new(),
            echo: Instant::now(),
            strangers_at: Instant::now(),
            strangers_after: String::new(),
            strangers: false,
        }
    }

    /// Listens until the connection fails.
    pub(super) async fn listen(&mut self, link: Link) -> RedisResult<()> {
        let mut messages = link.messages;
        let (shards, mut pushes) = link.shards.unzip();
        let mut session = Session {
            commands: link.commands,
            subscribe: link.subscribe,
            shards,
            subscribing: false,
            subscribed: HashSet::new(),
            asking: FuturesUnordered::new(),
        };
        let shared = self.shared.clone();
        self.echo = Instant::now();
        self.peers.forget(self.echo);
        shared.rooms.lock().begin();
        shared.rooms_changed.notify_one();
        self.reconcile(&mut session).await?;
        let mut tick = tokio::time::interval(shared.settings.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else {
                        return Err(failed("the connection for subscriptions was closed"));
                    };
                    self.came(&mut session, &message);
                }
                push = next(&mut pushes) => match push? {
                    Push::Message(message) => self.came(&mut session, &message),
                    Push::Unsubscribed(channel) => self.unsubscribed(&mut session, &channel),
                },
                Some(learned) = session.asking.next(), if !session.asking.is_empty() => {
                    self.learned(&mut session, learned)?;
                }
                () = shared.reconcile.notified() => self.reconcile(&mut session).await?,
                () = shared.rooms_changed.notified(), if !session.subscribing => self.subscribe_rooms(&mut session),
                _ = tick.tick() => self.look_around(&mut session)?,
            }
        }
    }

    /// Subscribes to the channels of tenants that have come, leaves those of tenants that have gone, and tells halls
    /// what they have to be told.
    async fn reconcile(&mut self, session: &mut Session) -> RedisResult<()> {
        let shared = self.shared.clone();
        let wanted: HashSet<String> = shared.halls.namespaces().into_iter().collect();
        let channels = |namespaces: Vec<&String>| -> Vec<String> {
            let of = |namespace: &String| shared.wire.subscriptions(namespace);
            namespaces.into_iter().flat_map(of).collect()
        };
        let come = channels(wanted.difference(&session.subscribed).collect());
        let gone = channels(session.subscribed.difference(&wanted).collect());
        let subscribing = async {
            if let Some(shards) = &session.shards {
                shards.subscribe(&come).await?;
                return shards.unsubscribe(&gone).await;
            }
            if !come.is_empty() {
                session.subscribe.subscribe(&come).await?;
            }
            if !gone.is_empty() {
                session.subscribe.unsubscribe(&gone).await?;
            }
            RedisResult::Ok(())
        };
        tokio::time::timeout(shared.settings.response_timeout, subscribing)
            .await
            .map_err(|_| failed("subscribing took too long"))??;
        let mut retell = std::mem::take(&mut *shared.retell.lock());
        let up = wanted
            .iter()
            .filter(|namespace| shared.halls.up(namespace, &shared.counts));
        retell.extend(up.cloned());
        session.subscribed = wanted;
        if !retell.is_empty() {
            for node in self.peers.read_for(&retell) {
                self.read(session, node);
            }
        }
        Ok(())
    }

    fn came(&mut self, session: &mut Session, message: &redis::Msg) {
        let payload = message.get_payload_bytes();
        if payload.len() > self.shared.settings.message_bytes {
            count(&self.shared.counts.malformed);
            return;
        }
        count(&self.shared.counts.received);
        self.message(session, message.get_channel_name(), Bytes::copy_from_slice(payload));
    }

    /// Subscribes to the channels of rooms that have come, and leaves those of rooms that have gone, beside all else.
    fn subscribe_rooms(&self, session: &mut Session) {
        let Some(shards) = session.shards.clone() else { return };
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for (namespace, room, here) in self.shared.rooms.lock().take() {
            let channel = self.shared.wire.channels.one(&namespace, &room);
            if here { &mut come } else { &mut gone }.push(channel);
        }
        if come.is_empty() && gone.is_empty() {
            return;
        }
        session.subscribing = true;
        session.asking.push(Box::pin(async move {
            let mut subscribed = shards.subscribe(&come).await;
            if subscribed.is_ok() {
                subscribed = shards.unsubscribe(&gone).await;
            }
            Learned::Rooms(subscribed)
        }));
    }

    /// Redis has ended a subscription: because it was asked to, or because the channel has moved to another server of a
    /// cluster. What is still wanted is subscribed to again, and what came meanwhile is lost.
    fn unsubscribed(&self, session: &mut Session, channel: &str) {
        let channels = &self.shared.wire.channels;
        let Some(Channel::Broadcast(namespace)) = channels.read(channel) else {
            return;
        };
        let of_tenant = self.shared.wire.subscriptions(namespace);
        if of_tenant.iter().any(|own| own == channel) {
            if session.subscribed.remove(namespace) {
                self.shared.halls.miss(namespace);
                self.shared.reconcile.notify_one();
            }
            return;
        }
        let room = channel.strip_prefix(&channels.all(namespace));
        if let Some(room) = room.and_then(|room| room.strip_suffix('#')) {
            self.shared.rooms.lock().unsubscribed(namespace, room);
            self.shared.rooms_changed.notify_one();
        }
    }

    fn message(&mut self, session: &mut Session, channel: &str, payload: Bytes) {
        let shared = self.shared.clone();
        let malformed = || count(&shared.counts.malformed);
        match shared.wire.channels.read(channel) {
            Some(Channel::Nodes) => match gossip::read(payload) {
                Ok(Some((node, n, gossip))) => self.gossip(session, node, n, gossip),
                Ok(None) => {}
                Err(_) => malformed(),
            },
            Some(Channel::Notices) => match read_notice(payload) {
                Some((node, notice)) if node != shared.node.as_str() => {
                    let _ = shared.notices.send(Notice::Bytes(notice));
                }
                Some(_) => {}
                None => malformed(),
            },
            Some(Channel::Broadcast(namespace) | Channel::Request(namespace) | Channel::Response(namespace))
                if !shared.halls.knows(namespace) =>
            {
                count(&shared.counts.unknown_namespaces);
            }
            Some(
                channel @ (Channel::Broadcast(namespace) | Channel::Request(namespace) | Channel::Response(namespace)),
            ) => match shared.wire.read(channel, payload) {
                Ok(Some(message)) => super::serve::take(&shared, namespace, message),
                Ok(None) => {}
                Err(_) => malformed(),
            },
            None => malformed(),
        }
    }

    fn gossip(&mut self, session: &mut Session, node: NodeId, n: u64, gossip: Gossip) {
        if node == self.shared.node {
            self.echo = Instant::now();
            return;
        }
        match &gossip {
            Gossip::Hello => self.shared.beat.notify_one(),
            Gossip::Alive(loads) => {
                self.loads.insert(node.clone(), loads.clone());
                self.sum_loads();
            }
            _ => {}
        }
        match self.peers.heard(&node, n, gossip, Instant::now()) {
            Todo::Nothing => {}
            Todo::Pass(changes) => self.pass(&node, changes),
            Todo::Read => self.read(session, node),
            Todo::Gone => self.gone(node),
        }
        self.count_peers();
    }

    fn pass(&self, node: &NodeId, changes: Vec<Change>) {
        for change in changes {
            let inbound = Inbound::Entry {
                node: node.clone(),
                user: change.user,
                entry: change.entry,
            };
            self.shared.deliver(&change.namespace, inbound);
        }
    }

    fn gone(&mut self, node: NodeId) {
        self.loads.remove(&node);
        self.sum_loads();
        self.count_peers();
        tracing::info!(%node, "a node has left");
        self.shared.deliver_all(|| Inbound::NodeGone { node: node.clone() });
    }

    fn count_peers(&self) {
        let counts = &self.shared.counts;
        counts.nodes.store(self.peers.len(), Ordering::Relaxed);
        let lower = self.peers.lower_than(&self.shared.node);
        counts.lower_nodes.store(lower, Ordering::Relaxed);
    }

    fn sum_loads(&self) {
        let mut sums: HashMap<String, Elsewhere> = HashMap::new();
        for (namespace, load) in self.loads.values().flatten() {
            let elsewhere = sums.entry(namespace.clone()).or_default();
            elsewhere.nodes = elsewhere.nodes.saturating_add(1);
            let sum = &mut elsewhere.load;
            sum.connections = sum.connections.saturating_add(load.connections);
            sum.events_per_second = sum.events_per_second.saturating_add(load.events_per_second);
        }
        self.shared.elsewhere.store(Arc::new(sums));
    }

    fn read(&self, session: &Session, node: NodeId) {
        let (mut commands, key) = (
            session.commands.clone(),
            self.shared.wire.channels.node_key(node.as_str()),
        );
        session.asking.push(Box::pin(async move {
            let entries = commands.hash(&key).await;
            Learned::Entries(node, entries)
        }));
    }

    fn learned(&mut self, session: &mut Session, learned: Learned) -> RedisResult<()> {
        match learned {
            Learned::Strangers(namespaces, counts) => self.met(&namespaces, &counts),
            Learned::Rooms(subscribed) => {
                subscribed?;
                session.subscribing = false;
            }
            Learned::Alive(alive) => alive?,
            Learned::Lease(node, kept) => {
                if self
                    .peers
                    .judge(&node, kept?, Instant::now(), self.shared.settings.lease)
                {
                    self.gone(node);
                }
            }
            Learned::Entries(node, fields) => {
                let fields = fields?;
                let found = fields.iter().any(|(field, _)| field == META_FIELD);
                let (found, todo) = self.peers.read(&node, found);
                if let Some((scope, changes)) = found {
                    self.tell(&node, fields, &scope);
                    self.pass(&node, changes);
                }
                if todo == Todo::Read {
                    self.read(session, node);
                }
            }
        }
        Ok(())
    }

    /// Tells the halls in question what the node has of their users, be it nothing.
    fn tell(&self, node: &NodeId, fields: Fields, scope: &Scope) {
        let mut told: HashMap<String, Vec<(UserId, Bytes)>> = HashMap::new();
        for (field, entry) in fields {
            if let Some((namespace, user)) = read_field(&field) {
                told.entry(namespace).or_default().push((user, entry.into()));
            }
        }
        let halls = self.shared.halls.namespaces();
        for namespace in halls.into_iter().filter(|namespace| scope.has(namespace)) {
            let inbound = Inbound::Node {
                node: node.clone(),
                entries: told.remove(&namespace).unwrap_or_default(),
            };
            self.shared.deliver(&namespace, inbound);
        }
    }

    fn look_around(&mut self, session: &mut Session) -> RedisResult<()> {
        let lease = self.shared.settings.lease;
        if self.echo.elapsed() > lease {
            return Err(failed("what is published does not come back"));
        }
        for node in self.peers.silent(Instant::now(), lease) {
            let (mut commands, key) = (
                session.commands.clone(),
                self.shared.wire.channels.node_key(node.as_str()),
            );
            session.asking.push(Box::pin(async move {
                let kept = commands.exists(&key).await;
                Learned::Lease(node, kept)
            }));
        }
        self.look_for_strangers(session);
        if let Some(shards) = session.shards.clone() {
            session
                .asking
                .push(Box::pin(async move { Learned::Alive(shards.ping().await) }));
        }
        let told = self.shared.halls.tell_losses();
        if !told.is_empty() {
            self.shared.retell.lock().extend(told);
            self.shared.reconcile.notify_one();
        }
        Ok(())
    }

    /// Asks Redis whether somebody speaks the other adapter: this node and they do not hear each other.
    fn look_for_strangers(&mut self, session: &Session) {
        if Instant::now() < self.strangers_at {
            return;
        }
        self.strangers_at = Instant::now() + STRANGERS_EVERY;
        let mut namespaces = self.shared.halls.namespaces();
        namespaces.sort_unstable();
        // Those that have not had their turn come first.
        let from = namespaces.partition_point(|namespace| *namespace <= self.strangers_after);
        namespaces.rotate_left(from);
        namespaces.truncate(STRANGERS_NAMESPACES);
        self.strangers_after = namespaces.last().cloned().unwrap_or_default();
        let (other, channels) = (self.shared.wire.adapter.other(), &self.shared.wire.channels);
        let listened: Vec<String> = namespaces
            .iter()
            .map(|namespace| match other {
                Adapter::Classic => channels.request(namespace),
                Adapter::Sharded => channels.all(namespace),
            })
            .collect();
        if listened.is_empty() {
            return;
        }
        let mut commands = session.commands.clone();
        session.asking.push(Box::pin(async move {
            let counts = commands.listeners(other, &listened).await;
            Learned::Strangers(namespaces, counts)
        }));
    }

    fn met(&mut self, namespaces: &[String], counts: &RedisResult<Vec<u64>>) {
        // A Redis without sharded channels does not know the question.
        let Ok(counts) = counts else { return };
        let met = namespaces.iter().zip(counts).find(|(_, count)| **count > 0);
        if let Some((namespace, count)) = met
            && !self.strangers
        {
            let (own, other) = (self.shared.wire.adapter, self.shared.wire.adapter.other());
            tracing::warn!(
                namespace,
                "{count} servers on this Redis speak Node's {} and this one {}, so they do not hear each other: have all \
                 of them use {} (here by redis.adapter = \"{}\")",
                other.function(),
                own.function(),
                other.function(),
                other.name(),
            );
        }
        self.strangers = met.is_some();
    }
}

/// What comes next through sharded channels, where there are any.
async fn next(pushes: &mut Option<Pushes>) -> RedisResult<Push> {
    match pushes {
        Some(pushes) => pushes.next().await,
        None => std::future::pending().await,
    }
}

fn read_field(field: &[u8]) -> Option<(String, UserId)> {
    let at = field.iter().position(|byte| *byte == FIELD_END)?;
    let namespace = std::str::from_utf8(field.get(..at)?).ok()?;
    let user = std::str::from_utf8(field.get(at + 1..)?).ok()?;
    Some((namespace.to_owned(), UserId::new(user).ok()?))
}
