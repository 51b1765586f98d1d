//! Receives from Redis: delivers messages to the hubs, and keeps track of the other nodes.

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
use parlance_types::id::UserId;

/// The result of a command that runs beside the receiving.
enum Lookup {
    Presence(NodeId, RedisResult<Fields>),
    Lease(NodeId, RedisResult<bool>),
    /// The channels of rooms have been subscribed to.
    Rooms(RedisResult<()>),
    /// All servers with sharded channels have answered a ping.
    Ping(RedisResult<()>),
    /// How many servers use the other adapter, for each of these namespaces.
    OtherAdapter(Vec<String>, RedisResult<Vec<u64>>),
}

type Lookups = FuturesUnordered<BoxFuture<'static, Lookup>>;

/// The interval between two looks for servers that use the other adapter.
const ADAPTER_CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// The most namespaces of one such look.
const ADAPTER_CHECK_NAMESPACES: usize = 256;

/// The state of the other nodes. It outlives connections.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    peers: Peers,
    loads: HashMap<NodeId, Vec<(String, Load)>>,
    /// When this node last received a message of its own, which shows that publishing and subscribing work.
    last_echo: Instant,
    /// When to look for servers that use the other adapter.
    adapter_check_at: Instant,
    /// The last namespace that was looked at.
    adapter_checked_to: String,
    /// Whether the log has said that there are some.
    other_adapter_seen: bool,
}

/// The state of one connection.
struct ConnectionState {
    commands: CommandConnection,
    subscribe: PubSubSink,
    shards: Option<ShardedSubscriber>,
    /// Whether a change of the rooms' subscriptions is under way.
    subscribing: bool,
    /// The namespaces whose channels are subscribed to.
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
            last_echo: Instant::now(),
            adapter_check_at: Instant::now(),
            adapter_checked_to: String::new(),
            other_adapter_seen: false,
        }
    }

    /// Receives until the connection fails.
    pub(super) async fn run(&mut self, connections: RedisConnections) -> RedisResult<()> {
        let mut messages = connections.messages;
        let (shards, mut pushes) = connections.shards.unzip();
        let mut connection = ConnectionState {
            commands: connections.commands,
            subscribe: connections.subscribe,
            shards,
            subscribing: false,
            subscribed: HashSet::new(),
            lookups: FuturesUnordered::new(),
        };
        let shared = self.shared.clone();
        self.last_echo = Instant::now();
        self.peers.reset(self.last_echo);
        shared.rooms.lock().set_connected();
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
                _ = tick.tick() => self.check_peers(&mut connection)?,
            }
        }
    }

    /// Subscribes to the channels of new tenants, unsubscribes from those of closed ones, and tells new hubs that they
    /// are connected. Hubs that are new or lost messages get all presence records.
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
        let mut resend = std::mem::take(&mut *shared.resend.lock());
        let connected = wanted
            .iter()
            .filter(|namespace| shared.subscriptions.set_connected(namespace, &shared.counts));
        resend.extend(connected.cloned());
        connection.subscribed = wanted;
        if !resend.is_empty() {
            for node in self.peers.read_again_for(&resend) {
                self.start_reading(connection, node);
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
        self.route(connection, message.get_channel_name(), payload);
    }

    /// Starts to change the subscriptions to channels of rooms, as rooms have come and gone.
    fn subscribe_rooms(&self, connection: &mut ConnectionState) {
        let Some(shards) = connection.shards.clone() else {
            return;
        };
        let (mut come, mut gone) = (Vec::new(), Vec::new());
        for (namespace, room, present) in self.shared.rooms.lock().take_changed() {
            let channel = self.shared.codec.channels.one(&namespace, &room);
            if present { &mut come } else { &mut gone }.push(channel);
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

    /// Handles the end of a subscription: either it was asked for, or the channel has moved to another server of a
    /// cluster. In the second case the channel is subscribed to again, and messages may have been lost meanwhile.
    fn unsubscribed(&self, connection: &mut ConnectionState, channel: &str) {
        let channels = &self.shared.codec.channels;
        let Some(Channel::Broadcast(namespace)) = channels.read(channel) else {
            return;
        };
        let of_tenant = self.shared.codec.subscriptions(namespace);
        if of_tenant.iter().any(|own| own == channel) {
            if connection.subscribed.remove(namespace) {
                self.shared.subscriptions.mark_lost(namespace);
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

    fn route(&mut self, connection: &mut ConnectionState, channel: &str, payload: &[u8]) {
        let shared = self.shared.clone();
        let malformed = || count(&shared.counts.malformed);
        let copied = || Bytes::copy_from_slice(payload);
        match shared.codec.channels.read(channel) {
            Some(Channel::Nodes) => match node_message::read(copied()) {
                Ok(Some((node, n, message))) => self.receive_node_message(connection, node, n, message),
                Ok(None) => {}
                Err(_) => malformed(),
            },
            Some(Channel::Invalidations) => match read_invalidation(copied()) {
                Some((node, topic)) if node != shared.node.as_str() => {
                    let _ = shared.invalidations.send(Invalidation::Topic(topic));
                }
                Some(_) => {}
                None => malformed(),
            },
            Some(Channel::Broadcast(namespace) | Channel::Request(namespace) | Channel::Response(namespace))
                if !shared.subscriptions.contains(namespace) =>
            {
                count(&shared.counts.unknown_namespaces);
            }
            // Decoding would cost more than all else that is done with a message that cannot be delivered.
            Some(Channel::Broadcast(namespace))
                if !shared.codec.is_own(channel) && shared.subscriptions.is_full(namespace) =>
            {
                count(&shared.counts.overflowed);
            }
            Some(
                channel @ (Channel::Broadcast(namespace) | Channel::Request(namespace) | Channel::Response(namespace)),
            ) => match shared.codec.read(channel, copied()) {
                Ok(Some(message)) => super::incoming_requests::dispatch(&shared, namespace, message),
                Ok(None) => {}
                Err(_) => malformed(),
            },
            None => malformed(),
        }
    }

    fn receive_node_message(&mut self, connection: &mut ConnectionState, node: NodeId, n: u64, message: NodeMessage) {
        if node == self.shared.node {
            self.last_echo = Instant::now();
            return;
        }
        match &message {
            NodeMessage::Hello => self.shared.heartbeat_wanted.notify_one(),
            NodeMessage::Heartbeat(loads) => {
                self.loads.insert(node.clone(), loads.clone());
                self.sum_loads();
            }
            _ => {}
        }
        match self.peers.receive(&node, n, message, Instant::now()) {
            PeerAction::None => {}
            PeerAction::Apply(changes) => self.deliver_changes(&node, changes),
            PeerAction::Read => self.start_reading(connection, node),
            PeerAction::NodeLeft => self.remove_node(node),
        }
        self.count_peers();
    }

    fn deliver_changes(&self, node: &NodeId, changes: Vec<PresenceChange>) {
        for change in changes {
            let inbound = Inbound::PresenceChanged {
                node: node.clone(),
                user: change.user,
                record: change.record,
            };
            self.shared.deliver(&change.namespace, inbound);
        }
    }

    fn remove_node(&mut self, node: NodeId) {
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
            let remote = sums.entry(namespace.clone()).or_default();
            remote.nodes = remote.nodes.saturating_add(1);
            let sum = &mut remote.load;
            sum.connections = sum.connections.saturating_add(load.connections);
            sum.events_per_second = sum.events_per_second.saturating_add(load.events_per_second);
        }
        self.shared.remote_load.store(Arc::new(sums));
    }

    fn start_reading(&self, connection: &ConnectionState, node: NodeId) {
        let (mut commands, key) = (
            connection.commands.clone(),
            self.shared.codec.channels.node_key(node.as_str()),
        );
        connection.lookups.push(Box::pin(async move {
            let fields = commands.hash(&key).await;
            Lookup::Presence(node, fields)
        }));
    }

    fn finish_lookup(&mut self, connection: &mut ConnectionState, lookup: Lookup) -> RedisResult<()> {
        match lookup {
            Lookup::OtherAdapter(namespaces, counts) => self.report_other_adapter(&namespaces, &counts),
            Lookup::Rooms(subscribed) => {
                subscribed?;
                connection.subscribing = false;
            }
            Lookup::Ping(alive) => alive?,
            Lookup::Lease(node, kept) => {
                if self
                    .peers
                    .check_lease(&node, kept?, Instant::now(), self.shared.settings.lease)
                {
                    self.remove_node(node);
                }
            }
            Lookup::Presence(node, fields) => {
                let fields = fields?;
                let found = fields.iter().any(|(field, _)| field == META_FIELD);
                let (found, todo) = self.peers.finish_reading(&node, found);
                if let Some((scope, changes)) = found {
                    self.deliver_records(&node, fields, &scope);
                    self.deliver_changes(&node, changes);
                }
                if todo == PeerAction::Read {
                    self.start_reading(connection, node);
                }
            }
        }
        Ok(())
    }

    /// Delivers a node's presence records to the hubs in `scope`. A hub without users on that node gets an empty list.
    fn deliver_records(&self, node: &NodeId, fields: Fields, scope: &Scope) {
        let mut by_namespace: HashMap<String, Vec<(UserId, Bytes)>> = HashMap::new();
        for (field, record) in fields {
            if let Some((namespace, user)) = read_field(&field) {
                by_namespace.entry(namespace).or_default().push((user, record.into()));
            }
        }
        let namespaces = self.shared.subscriptions.namespaces();
        for namespace in namespaces.into_iter().filter(|namespace| scope.contains(namespace)) {
            let inbound = Inbound::NodePresence {
                node: node.clone(),
                records: by_namespace.remove(&namespace).unwrap_or_default(),
            };
            self.shared.deliver(&namespace, inbound);
        }
    }

    fn check_peers(&mut self, connection: &mut ConnectionState) -> RedisResult<()> {
        let lease = self.shared.settings.lease;
        if self.last_echo.elapsed() > lease {
            return Err(failed("published messages do not come back"));
        }
        for node in self.peers.overdue(Instant::now(), lease) {
            let (mut commands, key) = (
                connection.commands.clone(),
                self.shared.codec.channels.node_key(node.as_str()),
            );
            connection.lookups.push(Box::pin(async move {
                let kept = commands.exists(&key).await;
                Lookup::Lease(node, kept)
            }));
        }
        self.check_other_adapter(connection);
        if let Some(shards) = connection.shards.clone() {
            connection
                .lookups
                .push(Box::pin(async move { Lookup::Ping(shards.ping().await) }));
        }
        let lost = self.shared.subscriptions.report_losses();
        if !lost.is_empty() {
            self.shared.resend.lock().extend(lost);
            self.shared.reconcile.notify_one();
        }
        Ok(())
    }

    /// Asks Redis whether any server uses the other adapter. Such a server and this node do not hear each other.
    fn check_other_adapter(&mut self, connection: &ConnectionState) {
        if Instant::now() < self.adapter_check_at {
            return;
        }
        self.adapter_check_at = Instant::now() + ADAPTER_CHECK_INTERVAL;
        let mut namespaces = self.shared.subscriptions.namespaces();
        namespaces.sort_unstable();
        // Namespaces that were not looked at last time come first.
        let from = namespaces.partition_point(|namespace| *namespace <= self.adapter_checked_to);
        namespaces.rotate_left(from);
        namespaces.truncate(ADAPTER_CHECK_NAMESPACES);
        self.adapter_checked_to = namespaces.last().cloned().unwrap_or_default();
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
            Lookup::OtherAdapter(namespaces, counts)
        }));
    }

    fn report_other_adapter(&mut self, namespaces: &[String], counts: &RedisResult<Vec<u64>>) {
        // A Redis without sharded channels answers with an error.
        let Ok(counts) = counts else { return };
        let found = namespaces.iter().zip(counts).find(|(_, count)| **count > 0);
        if let Some((namespace, count)) = found
            && !self.other_adapter_seen
        {
            let (own, other) = (self.shared.codec.adapter, self.shared.codec.adapter.other());
            tracing::warn!(
                namespace,
                "{count} servers on this Redis use Node's {} and this one {}, so they do not hear each other: have all \
                 of them use {} (here by redis.adapter = \"{}\")",
                other.function(),
                own.function(),
                other.function(),
                other.name(),
            );
        }
        self.other_adapter_seen = found.is_some();
    }
}

/// The next push of a sharded channel. Waits for ever without the sharded adapter.
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
