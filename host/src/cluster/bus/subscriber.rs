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
use super::connections::{CommandConnection, Fields, RedisConnections};
use super::node_message::{self, NodeMessage, PresenceChange};
use super::peers::{PeerAction, Peers, Scope};
use super::publisher::{FIELD_END, META_FIELD};
use super::redis_bus::{Shared, read_invalidation};
use super::sharded_channels::{ShardedPush, ShardedPushes, ShardedSubscriber};
use super::status::count;
use super::{Inbound, Invalidation, Load, NodeId, RemoteLoad};
use crate::id::UserId;

/// What is learned of another node by asking Redis.
enum Lookup {
    Presence(NodeId, RedisResult<Fields>),
    Lease(NodeId, RedisResult<bool>),
    /// The channels of rooms are subscribed to.
    Rooms(RedisResult<()>),
    /// The servers with sharded channels answer.
    Alive(RedisResult<()>),
    /// How many servers speak the other adapter in each of these namespaces.
    Strangers(Vec<String>, RedisResult<Vec<u64>>),
}

type Lookups = FuturesUnordered<BoxFuture<'static, Lookup>>;

/// How often somebody is looked for who speaks the other adapter.
const STRANGERS_EVERY: Duration = Duration::from_secs(10);
/// The namespaces in which they are looked for at once.
const STRANGERS_NAMESPACES: usize = 256;

/// What is known of the other nodes. It outlives connections.
pub(super) struct Subscriber {
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
struct ConnectionState {
    commands: CommandConnection,
    subscribe: PubSubSink,
    shards: Option<ShardedSubscriber>,
    /// Subscriptions to rooms are under way.
    subscribing: bool,
    /// The namespaces that are subscribed to.
    subscribed: HashSet<String>,
    lookups: Lookups,
}

fn failed(what: &'static str) -> RedisError {
    (ErrorKind::Io, what).into()
}

impl Subscriber {
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
    pub(super) async fn listen(&mut self, link: RedisConnections) -> RedisResult<()> {
        let mut messages = link.messages;
        let (shards, mut pushes) = link.shards.unzip();
        let mut connection = ConnectionState {
            commands: link.commands,
            subscribe: link.subscribe,
            shards,
            subscribing: false,
            subscribed: HashSet::new(),
            lookups: FuturesUnordered::new(),
        };
        let shared = self.shared.clone();
        self.echo = Instant::now();
        self.peers.forget(self.echo);
        shared.rooms.lock().begin();
        shared.rooms_changed.notify_one();
        self.reconcile(&mut connection).await?;
        let mut tick = tokio::time::interval(shared.settings.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else {
                        return Err(failed("the connection for subscriptions was closed"));
                    };
                    self.receive(&mut connection, &message);
                }
                push = next(&mut pushes) => match push? {
                    ShardedPush::Message(message) => self.receive(&mut connection, &message),
                    ShardedPush::Unsubscribed(channel) => self.unsubscribed(&mut connection, &channel),
                },
                Some(lookup) = connection.lookups.next(), if !connection.lookups.is_empty() => {
                    self.finish_lookup(&mut connection, lookup)?;
                }
                () = shared.reconcile.notified() => self.reconcile(&mut connection).await?,
                () = shared.rooms_changed.notified(), if !connection.subscribing => self.subscribe_rooms(&mut connection),
                _ = tick.tick() => self.look_around(&mut connection)?,
            }
        }
    }

    /// Subscribes to the channels of tenants that have come, leaves those of tenants that have gone, and tells hubs
    /// what they have to be told.
    async fn reconcile(&mut self, connection: &mut ConnectionState) -> RedisResult<()> {
        let shared = self.shared.clone();
        let wanted: HashSet<String> = shared.subscriptions.namespaces().into_iter().collect();
        let channels = |namespaces: Vec<&String>| -> Vec<String> {
            let of = |namespace: &String| shared.codec.subscriptions(namespace);
            namespaces.into_iter().flat_map(of).collect()
        };
        let come = channels(wanted.difference(&connection.subscribed).collect());
        let gone = channels(connection.subscribed.difference(&wanted).collect());
        let subscribing = async {
            if let Some(shards) = &connection.shards {
                shards.subscribe(&come).await?;
                return shards.unsubscribe(&gone).await;
            }
            if !come.is_empty() {
                connection.subscribe.subscribe(&come).await?;
            }
            if !gone.is_empty() {
                connection.subscribe.unsubscribe(&gone).await?;
            }
            RedisResult::Ok(())
        };
        tokio::time::timeout(shared.settings.response_timeout, subscribing)
            .await
            .map_err(|_| failed("subscribing took too long"))??;
        let mut retell = std::mem::take(&mut *shared.retell.lock());
        let up = wanted
            .iter()
            .filter(|namespace| shared.subscriptions.up(namespace, &shared.counts));
        retell.extend(up.cloned());
        connection.subscribed = wanted;
        if !retell.is_empty() {
            for node in self.peers.read_for(&retell) {
                self.read(connection, node);
            }
        }
        Ok(())
    }

    fn receive(&mut self, connection: &mut ConnectionState, message: &redis::Msg) {
        let payload = message.get_payload_bytes();
        if payload.len() > self.shared.settings.message_bytes {
            count(&self.shared.counts.malformed);
            return;
        }
        count(&self.shared.counts.received);
        self.route(connection, message.get_channel_name(), Bytes::copy_from_slice(payload));
    }

    /// Subscribes to the channels of rooms that have come, and leaves those of rooms that have gone, beside all else.
    fn subscribe_rooms(&self, connection: &mut ConnectionState) {
        let Some(shards) = connection.shards.clone() else {
            return;
        };
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for (namespace, room, here) in self.shared.rooms.lock().take() {
            let channel = self.shared.codec.channels.one(&namespace, &room);
            if here { &mut come } else { &mut gone }.push(channel);
        }
        if come.is_empty() && gone.is_empty() {
            return;
        }
        connection.subscribing = true;
        connection.lookups.push(Box::pin(async move {
            let mut subscribed = shards.subscribe(&come).await;
            if subscribed.is_ok() {
                subscribed = shards.unsubscribe(&gone).await;
            }
            Lookup::Rooms(subscribed)
        }));
    }

    /// Redis has ended a subscription: because it was asked to, or because the channel has moved to another server of a
    /// cluster. What is still wanted is subscribed to again, and what came meanwhile is lost.
    fn unsubscribed(&self, connection: &mut ConnectionState, channel: &str) {
        let channels = &self.shared.codec.channels;
        let Some(Channel::Broadcast(namespace)) = channels.read(channel) else {
            return;
        };
        let of_tenant = self.shared.codec.subscriptions(namespace);
        if of_tenant.iter().any(|own| own == channel) {
            if connection.subscribed.remove(namespace) {
                self.shared.subscriptions.miss(namespace);
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

    fn route(&mut self, connection: &mut ConnectionState, channel: &str, payload: Bytes) {
        let shared = self.shared.clone();
        let malformed = || count(&shared.counts.malformed);
        match shared.codec.channels.read(channel) {
            Some(Channel::Nodes) => match node_message::read(payload) {
                Ok(Some((node, n, message))) => self.receive_node_message(connection, node, n, message),
                Ok(None) => {}
                Err(_) => malformed(),
            },
            Some(Channel::Invalidations) => match read_invalidation(payload) {
                Some((node, topic)) if node != shared.node.as_str() => {
                    let _ = shared.invalidations.send(Invalidation::Topic(topic));
                }
                Some(_) => {}
                None => malformed(),
            },
            Some(Channel::Broadcast(namespace) | Channel::Request(namespace) | Channel::Response(namespace))
                if !shared.subscriptions.knows(namespace) =>
            {
                count(&shared.counts.unknown_namespaces);
            }
            Some(
                channel @ (Channel::Broadcast(namespace) | Channel::Request(namespace) | Channel::Response(namespace)),
            ) => match shared.codec.read(channel, payload) {
                Ok(Some(message)) => super::incoming_requests::dispatch(&shared, namespace, message),
                Ok(None) => {}
                Err(_) => malformed(),
            },
            None => malformed(),
        }
    }

    fn receive_node_message(&mut self, connection: &mut ConnectionState, node: NodeId, n: u64, message: NodeMessage) {
        if node == self.shared.node {
            self.echo = Instant::now();
            return;
        }
        match &message {
            NodeMessage::Hello => self.shared.beat.notify_one(),
            NodeMessage::Heartbeat(loads) => {
                self.loads.insert(node.clone(), loads.clone());
                self.sum_loads();
            }
            _ => {}
        }
        match self.peers.heard(&node, n, message, Instant::now()) {
            PeerAction::None => {}
            PeerAction::Apply(changes) => self.pass(&node, changes),
            PeerAction::Read => self.read(connection, node),
            PeerAction::NodeLeft => self.gone(node),
        }
        self.count_peers();
    }

    fn pass(&self, node: &NodeId, changes: Vec<PresenceChange>) {
        for change in changes {
            let inbound = Inbound::PresenceChanged {
                node: node.clone(),
                user: change.user,
                record: change.record,
            };
            self.shared.deliver(&change.namespace, inbound);
        }
    }

    fn gone(&mut self, node: NodeId) {
        self.loads.remove(&node);
        self.sum_loads();
        self.count_peers();
        tracing::info!(%node, "a node has left");
        self.shared.deliver_all(|| Inbound::NodeLeft { node: node.clone() });
    }

    fn count_peers(&self) {
        let counts = &self.shared.counts;
        counts.nodes.store(self.peers.len(), Ordering::Relaxed);
        let lower = self.peers.lower_than(&self.shared.node);
        counts.lower_nodes.store(lower, Ordering::Relaxed);
    }

    fn sum_loads(&self) {
        let mut sums: HashMap<String, RemoteLoad> = HashMap::new();
        for (namespace, load) in self.loads.values().flatten() {
            let elsewhere = sums.entry(namespace.clone()).or_default();
            elsewhere.nodes = elsewhere.nodes.saturating_add(1);
            let sum = &mut elsewhere.load;
            sum.connections = sum.connections.saturating_add(load.connections);
            sum.events_per_second = sum.events_per_second.saturating_add(load.events_per_second);
        }
        self.shared.remote_load.store(Arc::new(sums));
    }

    fn read(&self, connection: &ConnectionState, node: NodeId) {
        let (mut commands, key) = (
            connection.commands.clone(),
            self.shared.codec.channels.node_key(node.as_str()),
        );
        connection.lookups.push(Box::pin(async move {
            let entries = commands.hash(&key).await;
            Lookup::Presence(node, entries)
        }));
    }

    fn finish_lookup(&mut self, connection: &mut ConnectionState, lookup: Lookup) -> RedisResult<()> {
        match lookup {
            Lookup::Strangers(namespaces, counts) => self.met(&namespaces, &counts),
            Lookup::Rooms(subscribed) => {
                subscribed?;
                connection.subscribing = false;
            }
            Lookup::Alive(alive) => alive?,
            Lookup::Lease(node, kept) => {
                if self
                    .peers
                    .judge(&node, kept?, Instant::now(), self.shared.settings.lease)
                {
                    self.gone(node);
                }
            }
            Lookup::Presence(node, fields) => {
                let fields = fields?;
                let found = fields.iter().any(|(field, _)| field == META_FIELD);
                let (found, todo) = self.peers.read(&node, found);
                if let Some((scope, changes)) = found {
                    self.tell(&node, fields, &scope);
                    self.pass(&node, changes);
                }
                if todo == PeerAction::Read {
                    self.read(connection, node);
                }
            }
        }
        Ok(())
    }

    /// Tells the hubs in question what the node has of their users, be it nothing.
    fn tell(&self, node: &NodeId, fields: Fields, scope: &Scope) {
        let mut told: HashMap<String, Vec<(UserId, Bytes)>> = HashMap::new();
        for (field, entry) in fields {
            if let Some((namespace, user)) = read_field(&field) {
                told.entry(namespace).or_default().push((user, entry.into()));
            }
        }
        let hubs = self.shared.subscriptions.namespaces();
        for namespace in hubs.into_iter().filter(|namespace| scope.has(namespace)) {
            let inbound = Inbound::NodePresence {
                node: node.clone(),
                records: told.remove(&namespace).unwrap_or_default(),
            };
            self.shared.deliver(&namespace, inbound);
        }
    }

    fn look_around(&mut self, connection: &mut ConnectionState) -> RedisResult<()> {
        let lease = self.shared.settings.lease;
        if self.echo.elapsed() > lease {
            return Err(failed("what is published does not come back"));
        }
        for node in self.peers.silent(Instant::now(), lease) {
            let (mut commands, key) = (
                connection.commands.clone(),
                self.shared.codec.channels.node_key(node.as_str()),
            );
            connection.lookups.push(Box::pin(async move {
                let kept = commands.exists(&key).await;
                Lookup::Lease(node, kept)
            }));
        }
        self.look_for_strangers(connection);
        if let Some(shards) = connection.shards.clone() {
            connection
                .lookups
                .push(Box::pin(async move { Lookup::Alive(shards.ping().await) }));
        }
        let told = self.shared.subscriptions.tell_losses();
        if !told.is_empty() {
            self.shared.retell.lock().extend(told);
            self.shared.reconcile.notify_one();
        }
        Ok(())
    }

    /// Asks Redis whether somebody speaks the other adapter: this node and they do not hear each other.
    fn look_for_strangers(&mut self, connection: &ConnectionState) {
        if Instant::now() < self.strangers_at {
            return;
        }
        self.strangers_at = Instant::now() + STRANGERS_EVERY;
        let mut namespaces = self.shared.subscriptions.namespaces();
        namespaces.sort_unstable();
        // Those that have not had their turn come first.
        let from = namespaces.partition_point(|namespace| *namespace <= self.strangers_after);
        namespaces.rotate_left(from);
        namespaces.truncate(STRANGERS_NAMESPACES);
        self.strangers_after = namespaces.last().cloned().unwrap_or_default();
        let (other, channels) = (self.shared.codec.adapter.other(), &self.shared.codec.channels);
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
        let mut commands = connection.commands.clone();
        connection.lookups.push(Box::pin(async move {
            let counts = commands.listeners(other, &listened).await;
            Lookup::Strangers(namespaces, counts)
        }));
    }

    fn met(&mut self, namespaces: &[String], counts: &RedisResult<Vec<u64>>) {
        // A Redis without sharded channels does not know the question.
        let Ok(counts) = counts else { return };
        let met = namespaces.iter().zip(counts).find(|(_, count)| **count > 0);
        if let Some((namespace, count)) = met
            && !self.strangers
        {
            let (own, other) = (self.shared.codec.adapter, self.shared.codec.adapter.other());
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
async fn next(pushes: &mut Option<ShardedPushes>) -> RedisResult<ShardedPush> {
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
