//! Listens: passes on what comes, and keeps an eye on the other nodes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use redis::aio::PubSubSink;
use redis::{ErrorKind, RedisError, RedisResult};
use tokio::time::MissedTickBehavior;

use super::channels::Channel;
use super::gossip::{self, Change, Gossip};
use super::link::{Commands, Fields, Link};
use super::over_redis::{Shared, read_notice};
use super::peers::{Peers, Scope, Todo};
use super::status::count;
use super::write::{FIELD_END, META_FIELD};
use super::{Elsewhere, Inbound, Load, NodeId, Notice, packet};
use crate::id::UserId;

/// What is learned of another node by asking Redis.
enum Learned {
    Entries(RedisResult<Fields>),
    Lease(RedisResult<bool>),
}

type Asking = FuturesUnordered<BoxFuture<'static, (NodeId, Learned)>>;

/// What is known of the other nodes. It outlives connections.
pub(super) struct Watch {
    shared: Arc<Shared>,
    peers: Peers,
    loads: HashMap<NodeId, Vec<(String, Load)>>,
    /// Since when nothing of this node itself has come back through Redis.
    echo: Instant,
}

/// What lives as long as one connection.
struct Session {
    commands: Commands,
    subscribe: PubSubSink,
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
        }
    }

    /// Listens until the connection fails.
    pub(super) async fn listen(&mut self, link: Link) -> RedisResult<()> {
        let mut messages = link.messages;
        let mut session = Session {
            commands: link.commands,
            subscribe: link.subscribe,
            subscribed: HashSet::new(),
            asking: FuturesUnordered::new(),
        };
        let shared = self.shared.clone();
        self.echo = Instant::now();
        self.peers.forget(self.echo);
        self.reconcile(&mut session).await?;
        let mut tick = tokio::time::interval(shared.settings.heartbeat);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = messages.next() => {
                    let Some(message) = message else {
                        return Err(failed("the connection for subscriptions was closed"));
                    };
                    let payload = message.get_payload_bytes();
                    if payload.len() > shared.settings.message_bytes {
                        count(&shared.counts.malformed);
                        continue;
                    }
                    count(&shared.counts.received);
                    self.message(&mut session, message.get_channel_name(), Bytes::copy_from_slice(payload));
                }
                Some((node, learned)) = session.asking.next(), if !session.asking.is_empty() => {
                    self.learned(&mut session, &node, learned)?;
                }
                () = shared.reconcile.notified() => self.reconcile(&mut session).await?,
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
            let of = |namespace: &String| shared.channels.of_tenant(namespace, shared.node.as_str());
            namespaces.into_iter().flat_map(of).collect()
        };
        let come = channels(wanted.difference(&session.subscribed).collect());
        let gone = channels(session.subscribed.difference(&wanted).collect());
        let subscribing = async {
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

    fn message(&mut self, session: &mut Session, channel: &str, payload: Bytes) {
        let shared = self.shared.clone();
        let malformed = || count(&shared.counts.malformed);
        match shared.channels.read(channel) {
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
            Some(Channel::Broadcast(namespace)) => match packet::read(payload, shared.node.as_str()) {
                Ok(Some(received)) if received.namespace == namespace => {
                    shared.deliver(namespace, Inbound::Broadcast(received.broadcast));
                }
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => malformed(),
            },
            Some(Channel::Request(namespace)) => {
                if super::serve::request(&shared, namespace, payload).is_none() {
                    malformed();
                }
            }
            Some(Channel::Response(_)) => {
                if shared.pending.answer(payload).is_none() {
                    malformed();
                }
            }
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
        let (mut commands, key) = (session.commands.clone(), self.shared.channels.node_key(node.as_str()));
        session.asking.push(Box::pin(async move {
            let entries = commands.hash(&key).await;
            (node, Learned::Entries(entries))
        }));
    }

    fn learned(&mut self, session: &mut Session, node: &NodeId, learned: Learned) -> RedisResult<()> {
        match learned {
            Learned::Lease(kept) => {
                if self
                    .peers
                    .judge(node, kept?, Instant::now(), self.shared.settings.lease)
                {
                    self.gone(node.clone());
                }
            }
            Learned::Entries(fields) => {
                let fields = fields?;
                let found = fields.iter().any(|(field, _)| field == META_FIELD);
                let (found, todo) = self.peers.read(node, found);
                if let Some((scope, changes)) = found {
                    self.tell(node, fields, &scope);
                    self.pass(node, changes);
                }
                if todo == Todo::Read {
                    self.read(session, node.clone());
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
            let (mut commands, key) = (session.commands.clone(), self.shared.channels.node_key(node.as_str()));
            session.asking.push(Box::pin(async move {
                let kept = commands.exists(&key).await;
                (node, Learned::Lease(kept))
            }));
        }
        let told = self.shared.halls.tell_losses();
        if !told.is_empty() {
            self.shared.retell.lock().extend(told);
            self.shared.reconcile.notify_one();
        }
        Ok(())
    }
}

fn read_field(field: &[u8]) -> Option<(String, UserId)> {
    let at = field.iter().position(|byte| *byte == FIELD_END)?;
    let namespace = std::str::from_utf8(field.get(..at)?).ok()?;
    let user = std::str::from_utf8(field.get(at + 1..)?).ok()?;
    Some((namespace.to_owned(), UserId::new(user).ok()?))
}
