//! The bus over Redis pub/sub.
//!
//! One task ([`reconnect`](super::reconnect)) owns the connections to Redis. The methods here only change the state
//! that they share with that task, so no caller ever waits for Redis.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use indexmap::IndexSet;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::adapter::{Adapter, AdapterCodec, Publication};
use super::channels::Channels;
use super::connections::{CommandConnection, RedisClients};
use super::node_message::PresenceChange;
use super::outgoing_requests::PendingRequests;
use super::publish_queue::{PublishQueue, QueueItem};
use super::settings::RedisSettings;
use super::sharded_channels::RoomChannels;
use super::status::{Counts, count};
use super::subscriptions::Subscriptions;
use super::{Broadcast, Bus, Inbound, InboxSender, Invalidation, Load, NodeId, RemoteLoad, reconnect};
use crate::msgpack::CodecError;
use parlance_types::id::{TenantId, UserId};

/// The length of a node's id, as in the Node adapter.
const ID_CHARS: usize = 6;
const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// How far a receiver of invalidations may lag behind.
const INVALIDATIONS_LAG_MAX: usize = 256;
/// The most requests of other servers that wait for a response. Further ones get none.
const RESPONDING_MAX: usize = 256;

/// The bus cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A URL that the Redis client does not understand. The text leaves the URL out, since it may contain a password.
    #[error("a URL of redis.url or redis.sentinels cannot be used: {0}")]
    Url(#[from] redis::RedisError),
    /// The operating system has no random numbers.
    #[error("no node id could be made: {0}")]
    Random(#[from] getrandom::Error),
}

/// This node's presence records.
pub(super) struct PublishedPresence {
    pub(super) by_namespace: HashMap<String, HashMap<UserId, Bytes>>,
    /// Namespaces and users whose records Redis does not have as they are now, in the order in which they changed.
    changed: IndexSet<(String, UserId)>,
    /// Those of them that are written next. They are not in the set any more, since taking some from its front would move
    /// all others.
    next: indexmap::set::IntoIter<(String, UserId)>,
    /// Redis may have anything, as without a connection: all records must be written anew. Then no change is noted.
    pub(super) dirty: bool,
}

impl Default for PublishedPresence {
    fn default() -> Self {
        Self {
            by_namespace: HashMap::new(),
            changed: IndexSet::new(),
            next: IndexSet::new().into_iter(),
            dirty: true,
        }
    }
}

impl PublishedPresence {
    fn mark_changed(&mut self, namespace: String, user: UserId) {
        if !self.dirty {
            self.changed.insert((namespace, user));
        }
    }

    /// Has all records written anew.
    pub(super) fn mark_dirty(&mut self) {
        self.forget_changes();
        self.dirty = true;
    }

    /// Forgets the changes, since all records are written.
    pub(super) fn forget_changes(&mut self) {
        self.changed = IndexSet::new();
        self.next = IndexSet::new().into_iter();
        self.dirty = false;
    }

    /// Whether there are changes to write.
    pub(super) fn has_changes(&self) -> bool {
        self.next.len() > 0 || !self.changed.is_empty()
    }

    /// Takes the first changes: at most `records` of them, until they have this many bytes together.
    pub(super) fn take_changes(&mut self, records: usize, bytes: usize) -> Vec<PresenceChange> {
        if self.next.len() == 0 {
            self.next = std::mem::take(&mut self.changed).into_iter();
        }
        let (mut taken, mut sum) = (Vec::new(), 0);
        while taken.len() < records
            && sum < bytes
            && let Some((namespace, user)) = self.next.next()
        {
            let record = self.by_namespace.get(&namespace).and_then(|users| users.get(&user));
            sum += record.map_or(0, Bytes::len);
            taken.push(PresenceChange {
                record: record.cloned(),
                namespace,
                user,
            });
        }
        taken
    }
}

/// The state that the bus shares with the task that owns the connections.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) codec: AdapterCodec,
    pub(super) settings: RedisSettings,
    pub(super) counts: Counts,
    pub(super) queue: PublishQueue,
    pub(super) subscriptions: Subscriptions,
    pub(super) presence: Mutex<PublishedPresence>,
    /// Wakes the publisher when presence records have changed.
    pub(super) presence_changed: Notify,
    /// The number of the last published change of this node's presence.
    pub(super) changes: AtomicU64,
    pub(super) invalidations: broadcast::Sender<Invalidation>,
    /// `None` while there is no connection.
    pub(super) commands: Mutex<Option<CommandConnection>>,
    pub(super) pending: PendingRequests,
    pub(super) responding: Arc<Semaphore>,
    /// The rooms whose channels this node subscribes to, with the sharded adapter.
    pub(super) rooms: Mutex<RoomChannels>,
    pub(super) rooms_changed: Notify,
    /// The load of each namespace on this node.
    pub(super) own_load: Mutex<HashMap<String, Load>>,
    /// The load of each namespace on all other nodes together.
    pub(super) remote_load: ArcSwap<HashMap<String, RemoteLoad>>,
    /// Wakes the subscriber when a hub subscribed, unsubscribed, or lost messages.
    pub(super) reconcile: Notify,
    /// Namespaces whose hubs lost messages. They get all presence records again.
    pub(super) resend: Mutex<HashSet<String>>,
    /// Wakes the publisher when another node asks for a heartbeat.
    pub(super) heartbeat_wanted: Notify,
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Queues an item, or drops and counts it.
    fn push(&self, item: QueueItem) -> bool {
        let queued = self.queue.push(item);
        if !queued {
            count(&self.counts.dropped);
        }
        queued
    }

    /// Queues an encoded message of this namespace, or drops and counts it. Returns whether it was queued; `false` too for
    /// one without recipients.
    pub(super) fn send(&self, namespace: impl Into<String>, written: Result<Option<Publication>, CodecError>) -> bool {
        match written {
            Ok(Some(publication)) => self.push(QueueItem::Publication(namespace.into(), publication)),
            Ok(None) => false,
            Err(_) => {
                count(&self.counts.dropped);
                false
            }
        }
    }

    /// Delivers a message from Redis to a hub. If the hub had lost messages before, it gets all presence records again.
    pub(super) fn deliver(&self, namespace: &str, inbound: Inbound) {
        if self.subscriptions.deliver(namespace, inbound, &self.counts) {
            self.resend.lock().insert(namespace.to_owned());
            self.reconcile.notify_one();
        }
    }

    /// Delivers a message of this node itself to its hub, also without a connection.
    pub(super) fn deliver_own(&self, namespace: &str, inbound: Inbound) {
        self.subscriptions.deliver_own(namespace, inbound, &self.counts);
    }

    /// Delivers a message to all hubs.
    pub(super) fn deliver_all(&self, inbound: impl Fn() -> Inbound) {
        for namespace in self.subscriptions.namespaces() {
            self.deliver(&namespace, inbound());
        }
    }
}

/// The bus over Redis. It connects in the background, and again whenever the connection is lost.
pub struct RedisBus {
    pub(super) shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl RedisBus {
    /// Starts the bus. Returns at once, connected or not: see [`status`](super::FleetBus::status).
    ///
    /// # Errors
    /// A URL is malformed, or there are no random numbers.
    pub fn start(settings: RedisSettings) -> Result<Self, BusError> {
        let clients = RedisClients::new(&settings)?;
        let node = NodeId(random_id()?.into());
        let channels = Channels::new(&settings.key);
        let shared = Arc::new(Shared {
            codec: AdapterCodec::new(settings.adapter, channels, node.clone(), settings.message_bytes),
            node,
            counts: Counts::new(),
            queue: PublishQueue::new(settings.queue_messages, settings.queue_bytes),
            subscriptions: Subscriptions::default(),
            presence: Mutex::default(),
            presence_changed: Notify::new(),
            changes: AtomicU64::new(0),
            invalidations: broadcast::channel(INVALIDATIONS_LAG_MAX).0,
            commands: Mutex::new(None),
            pending: PendingRequests::default(),
            responding: Arc::new(Semaphore::new(RESPONDING_MAX)),
            rooms: Mutex::default(),
            rooms_changed: Notify::new(),
            own_load: Mutex::default(),
            remote_load: ArcSwap::default(),
            reconcile: Notify::new(),
            resend: Mutex::default(),
            heartbeat_wanted: Notify::new(),
            stop: CancellationToken::new(),
            settings,
        });
        let task = parlance_types::critical::spawn_critical("bus", reconnect::run(shared.clone(), clients));
        Ok(Self {
            shared,
            task: Mutex::new(Some(task)),
        })
    }

    /// Sends what is queued, tells the other nodes that this one leaves, and disconnects. Gives up after `within`; the
    /// other nodes then wait for the lease to expire.
    pub async fn shut_down(&self, within: Duration) {
        self.shared.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task
            && tokio::time::timeout(within, task).await.is_err()
        {
            tracing::warn!(
                "Redis did not take the last messages of this node in time; other nodes keep its users until the lease expires"
            );
        }
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

impl Bus for RedisBus {
    fn node(&self) -> &NodeId {
        &self.shared.node
    }

    fn has_lowest_id(&self) -> bool {
        self.shared
            .counts
            .lower_nodes
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
    }

    fn subscribe(&self, tenant: &TenantId, inbox: InboxSender) {
        self.shared.subscriptions.add(tenant.namespace(), inbox);
        self.shared.reconcile.notify_one();
    }

    fn unsubscribe(&self, tenant: &TenantId) -> bool {
        let namespace = tenant.namespace();
        if !self.shared.subscriptions.remove_closed(&namespace) {
            return false;
        }
        self.shared.rooms.lock().remove_namespace(&namespace);
        self.shared.rooms_changed.notify_one();
        let mut presence = self.shared.presence.lock();
        for user in presence.by_namespace.remove(&namespace).unwrap_or_default().into_keys() {
            presence.mark_changed(namespace.clone(), user);
        }
        drop(presence);
        self.shared.presence_changed.notify_one();
        self.set_load(tenant, Load::default());
        self.shared.reconcile.notify_one();
        self.shared.heartbeat_wanted.notify_one();
        true
    }

    fn announce_room(&self, tenant: &TenantId, room: &str, present: bool) {
        if self.shared.codec.adapter != Adapter::Sharded {
            return;
        }
        // A room of this name would have the channel for responses to this node, which is subscribed to anyway.
        if room == self.shared.node.as_str() {
            return;
        }
        let namespace = tenant.namespace();
        let mut rooms = self.shared.rooms.lock();
        if present {
            rooms.add(&namespace, room);
        } else {
            rooms.remove(&namespace, room);
        }
        drop(rooms);
        self.shared.rooms_changed.notify_one();
    }

    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast) {
        let written = self.shared.codec.broadcast(tenant, &broadcast);
        if let Err(error) = &written {
            tracing::warn!(tenant = tenant.as_str(), "an event did not go to other nodes: {error}");
        }
        self.shared.send(tenant.namespace(), written);
    }

    fn set_presence(&self, tenant: &TenantId, user: &UserId, record: Option<Bytes>) {
        let namespace = tenant.namespace();
        let mut presence = self.shared.presence.lock();
        match record {
            Some(record) => {
                let users = presence.by_namespace.entry(namespace.clone()).or_default();
                users.insert(user.clone(), record);
            }
            None => {
                if let Some(users) = presence.by_namespace.get_mut(&namespace) {
                    users.remove(user);
                }
            }
        }
        presence.mark_changed(namespace, user.clone());
        drop(presence);
        self.shared.presence_changed.notify_one();
    }

    fn set_load(&self, tenant: &TenantId, load: Load) {
        let mut own = self.shared.own_load.lock();
        if load == Load::default() {
            own.remove(&tenant.namespace());
        } else {
            own.insert(tenant.namespace(), load);
        }
    }

    fn remote_load(&self, tenant: &TenantId) -> RemoteLoad {
        let loads = self.shared.remote_load.load();
        loads.get(&tenant.namespace()).copied().unwrap_or_default()
    }

    fn invalidate(&self, topic: Bytes) {
        let mut payload = self.shared.node.as_str().as_bytes().to_vec();
        payload.extend_from_slice(&topic);
        self.shared.push(QueueItem::Invalidation(payload.into()));
    }

    fn invalidations(&self) -> broadcast::Receiver<Invalidation> {
        self.shared.invalidations.subscribe()
    }
}

/// A new id: six letters and digits.
pub(super) fn random_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; ID_CHARS];
    getrandom::fill(&mut bytes)?;
    // 256 is not a multiple of 62, so some characters are slightly more frequent. That does no harm.
    let letter = |byte: u8| ID_ALPHABET.get(usize::from(byte) % ID_ALPHABET.len()).copied();
    Ok(bytes.into_iter().filter_map(letter).map(char::from).collect())
}

/// Splits the payload of an invalidation into the sender's id and the topic.
pub(super) fn read_invalidation(mut payload: Bytes) -> Option<(Bytes, Bytes)> {
    if payload.len() < ID_CHARS {
        return None;
    }
    let node = payload.split_to(ID_CHARS);
    Some((node, payload))
}
