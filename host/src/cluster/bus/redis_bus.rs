//! The bus over Redis pub/sub.
//!
//! One task, [`reconnect`](super::reconnect), has the connections. Everything here only looks at what it shares with
//! that task, so that nothing that calls the bus ever waits for Redis.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, broadcast, mpsc};
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
use super::status::{BusStatus, Counts, count};
use super::subscriptions::Subscriptions;
use super::{Broadcast, Bus, Inbound, Invalidation, Load, NodeId, RemoteLoad, reconnect};
use crate::id::{TenantId, UserId};
use crate::msgpack::CodecError;

/// Letters and digits of a node's id, as the Node adapter has them.
const ID_CHARS: usize = 6;
const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Invalidations that a receiver may be behind.
const INVALIDATIONS: usize = 256;
/// Requests of other nodes that are answered at once; further ones are not answered.
const ANSWERING_MAX: usize = 256;

/// The bus cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// A URL that Redis' clients do not understand. The text does not have the URL, which may hold a password.
    #[error("a URL of redis.url or redis.sentinels cannot be used: {0}")]
    Url(#[from] redis::RedisError),
    /// The system has no random numbers.
    #[error("no node id could be made: {0}")]
    Chance(#[from] getrandom::Error),
}

/// This node's entries.
#[derive(Default)]
pub(super) struct PublishedPresence {
    pub(super) by_namespace: HashMap<String, HashMap<UserId, Bytes>>,
    /// Redis has something else, and the change was not queued: write all of it.
    pub(super) dirty: bool,
}

/// What the task with the connections shares with everybody else.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) codec: AdapterCodec,
    pub(super) settings: RedisSettings,
    pub(super) counts: Counts,
    pub(super) queue: PublishQueue,
    pub(super) subscriptions: Subscriptions,
    pub(super) presence: Mutex<PublishedPresence>,
    /// The number of the last change of this node's entries that was published.
    pub(super) changes: AtomicU64,
    pub(super) invalidations: broadcast::Sender<Invalidation>,
    /// Open while there is a connection.
    pub(super) commands: Mutex<Option<CommandConnection>>,
    pub(super) pending: PendingRequests,
    pub(super) answering: Arc<Semaphore>,
    /// The rooms of the sharded adapter's channels.
    pub(super) rooms: Mutex<RoomChannels>,
    pub(super) rooms_changed: Notify,
    /// What the tenants of this node carry.
    pub(super) own_load: Mutex<HashMap<String, Load>>,
    /// What they carry on all others together.
    pub(super) remote_load: ArcSwap<HashMap<String, RemoteLoad>>,
    /// Tenants have come or gone, or a hub has lost something.
    pub(super) reconcile: Notify,
    /// The namespaces of hubs that have lost something: they are told all entries anew.
    pub(super) retell: Mutex<HashSet<String>>,
    /// Somebody has asked who is alive.
    pub(super) beat: Notify,
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Queues something, or drops and counts it.
    fn push(&self, item: QueueItem) -> bool {
        let queued = self.queue.push(item);
        if !queued {
            count(&self.counts.dropped);
        }
        queued
    }

    /// Queues a message as it was written, or drops and counts it. `false` too for one that is for nobody.
    pub(super) fn send(&self, written: Result<Option<Publication>, CodecError>) -> bool {
        match written {
            Ok(Some(publication)) => self.push(QueueItem::Publication(publication)),
            Ok(None) => false,
            Err(_) => {
                count(&self.counts.dropped);
                false
            }
        }
    }

    /// Gives a hub what came for it, and has it told everything anew when it had lost something before.
    pub(super) fn deliver(&self, namespace: &str, inbound: Inbound) {
        if self.subscriptions.deliver(namespace, inbound, &self.counts) {
            self.retell.lock().insert(namespace.to_owned());
            self.reconcile.notify_one();
        }
    }

    /// Gives a hub what comes from this node itself, also while there is no connection.
    pub(super) fn deliver_own(&self, namespace: &str, inbound: Inbound) {
        self.subscriptions.deliver_own(namespace, inbound, &self.counts);
    }

    /// Gives all hubs something that came for everybody.
    pub(super) fn deliver_all(&self, inbound: impl Fn() -> Inbound) {
        for namespace in self.subscriptions.namespaces() {
            self.deliver(&namespace, inbound());
        }
    }
}

/// The bus over Redis. Cheap to share; it connects in the background, and again whenever the connection is lost.
pub struct RedisBus {
    pub(super) shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl RedisBus {
    /// Starts it. Returns at once, connected or not: see [`status`](Self::status).
    ///
    /// # Errors
    /// When a URL makes no sense.
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
            changes: AtomicU64::new(0),
            invalidations: broadcast::channel(INVALIDATIONS).0,
            commands: Mutex::new(None),
            pending: PendingRequests::default(),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            rooms: Mutex::default(),
            rooms_changed: Notify::new(),
            own_load: Mutex::default(),
            remote_load: ArcSwap::default(),
            reconcile: Notify::new(),
            retell: Mutex::default(),
            beat: Notify::new(),
            stop: CancellationToken::new(),
            settings,
        });
        let task = crate::vital::spawn("bus", reconnect::run(shared.clone(), clients));
        Ok(Self {
            shared,
            task: Mutex::new(Some(task)),
        })
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> BusStatus {
        self.shared.counts.read(self.shared.queue.len())
    }

    /// Sends what is queued, tells the other nodes that this one leaves, and ends. Waits for that, but not longer
    /// than `within`; the others then learn it from the lease.
    pub async fn shut_down(&self, within: Duration) {
        self.shared.stop.cancel();
        let task = self.task.lock().take();
        if let Some(task) = task
            && tokio::time::timeout(within, task).await.is_err()
        {
            tracing::warn!("Redis did not take this node's farewell in time; its users count until the lease ends");
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

    fn subscribe(&self, tenant: &TenantId, inbox: mpsc::Sender<Inbound>) {
        self.shared.subscriptions.open(tenant.namespace(), inbox);
        self.shared.reconcile.notify_one();
    }

    fn unsubscribe(&self, tenant: &TenantId) -> bool {
        let namespace = tenant.namespace();
        if !self.shared.subscriptions.close(&namespace) {
            return false;
        }
        self.shared.rooms.lock().close(&namespace);
        self.shared.rooms_changed.notify_one();
        let mut entries = self.shared.presence.lock();
        if entries.by_namespace.remove(&namespace).is_some() {
            entries.dirty = true;
        }
        drop(entries);
        self.set_load(tenant, Load::default());
        self.shared.reconcile.notify_one();
        self.shared.beat.notify_one();
        true
    }

    fn announce_room(&self, tenant: &TenantId, room: &str, present: bool) {
        if self.shared.codec.adapter != Adapter::Sharded {
            return;
        }
        // A room of this name has the channel of this node's answers.
        if room == self.shared.node.as_str() {
            return;
        }
        let namespace = tenant.namespace();
        let mut rooms = self.shared.rooms.lock();
        if present {
            rooms.come(&namespace, room);
        } else {
            rooms.go(&namespace, room);
        }
        drop(rooms);
        self.shared.rooms_changed.notify_one();
    }

    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast) {
        let written = self.shared.codec.broadcast(tenant, &broadcast);
        if let Err(error) = &written {
            tracing::warn!(tenant = tenant.as_str(), "an event did not go to other nodes: {error}");
        }
        self.shared.send(written);
    }

    fn set_presence(&self, tenant: &TenantId, user: &UserId, record: Option<Bytes>) {
        let namespace = tenant.namespace();
        let mut entries = self.shared.presence.lock();
        match &record {
            Some(record) => {
                let users = entries.by_namespace.entry(namespace.clone()).or_default();
                users.insert(user.clone(), record.clone());
            }
            None => {
                if let Some(users) = entries.by_namespace.get_mut(&namespace) {
                    users.remove(user);
                }
            }
        }
        let change = QueueItem::Presence(PresenceChange {
            namespace,
            user: user.clone(),
            record,
        });
        // While the lock is held, so that no writing of all entries comes between the two.
        if !self.shared.queue.push(change) {
            entries.dirty = true;
        }
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
        let elsewhere = self.shared.remote_load.load();
        elsewhere.get(&tenant.namespace()).copied().unwrap_or_default()
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

/// Six letters and digits.
pub(super) fn random_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; ID_CHARS];
    getrandom::fill(&mut bytes)?;
    // 256 is no multiple of 62; that some characters are a little more frequent does no harm.
    let letter = |byte: u8| ID_ALPHABET.get(usize::from(byte) % ID_ALPHABET.len()).copied();
    Ok(bytes.into_iter().filter_map(letter).map(char::from).collect())
}

/// The bytes of an invalidation and who has sent it.
pub(super) fn read_invalidation(mut payload: Bytes) -> Option<(Bytes, Bytes)> {
    if payload.len() < ID_CHARS {
        return None;
    }
    let node = payload.split_to(ID_CHARS);
    Some((node, payload))
}
