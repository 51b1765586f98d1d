//! The bus over Redis pub/sub.
//!
//! One task, [`session`](super::session), has the connections. Everything here only looks at what it shares with
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

use super::adapter::{Adapter, Letter, Wire};
use super::ask::Pending;
use super::channels::Channels;
use super::gossip::Change;
use super::halls::Halls;
use super::link::{Clients, Commands};
use super::queue::{Item, Queue};
use super::settings::RedisSettings;
use super::shards::RoomChannels;
use super::status::{BusStatus, Counts, count};
use super::{Broadcast, Bus, Elsewhere, Inbound, Load, NodeId, Notice, session};
use crate::id::{TenantId, UserId};
use crate::msgpack::CodecError;

/// Letters and digits of a node's id, as the Node adapter has them.
const ID_CHARS: usize = 6;
const ID_ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// Notices that a receiver may be behind.
const NOTICES: usize = 256;
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
pub(super) struct Entries {
    pub(super) by_namespace: HashMap<String, HashMap<UserId, Bytes>>,
    /// Redis has something else, and the change was not queued: write all of it.
    pub(super) dirty: bool,
}

/// What the task with the connections shares with everybody else.
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) wire: Wire,
    pub(super) settings: RedisSettings,
    pub(super) counts: Counts,
    pub(super) queue: Queue,
    pub(super) halls: Halls,
    pub(super) entries: Mutex<Entries>,
    /// The number of the last change of this node's entries that was published.
    pub(super) changes: AtomicU64,
    pub(super) notices: broadcast::Sender<Notice>,
    /// Open while there is a connection.
    pub(super) commands: Mutex<Option<Commands>>,
    pub(super) pending: Pending,
    pub(super) answering: Arc<Semaphore>,
    /// The rooms of the sharded adapter's channels.
    pub(super) rooms: Mutex<RoomChannels>,
    pub(super) rooms_changed: Notify,
    /// What the tenants of this node carry.
    pub(super) own_load: Mutex<HashMap<String, Load>>,
    /// What they carry on all others together.
    pub(super) elsewhere: ArcSwap<HashMap<String, Elsewhere>>,
    /// Tenants have come or gone, or a hall has lost something.
    pub(super) reconcile: Notify,
    /// The namespaces of halls that have lost something: they are told all entries anew.
    pub(super) retell: Mutex<HashSet<String>>,
    /// Somebody has asked who is alive.
    pub(super) beat: Notify,
    pub(super) stop: CancellationToken,
}

impl Shared {
    /// Queues something, or drops and counts it.
    fn push(&self, item: Item) -> bool {
        let queued = self.queue.push(item);
        if !queued {
            count(&self.counts.dropped);
        }
        queued
    }

    /// Queues a message as it was written, or drops and counts it. `false` too for one that is for nobody.
    pub(super) fn send(&self, written: Result<Option<Letter>, CodecError>) -> bool {
        match written {
            Ok(Some(letter)) => self.push(Item::Message(letter)),
            Ok(None) => false,
            Err(_) => {
                count(&self.counts.dropped);
                false
            }
        }
    }

    /// Gives a hall what came for it, and has it told everything anew when it had lost something before.
    pub(super) fn deliver(&self, namespace: &str, inbound: Inbound) {
        if self.halls.deliver(namespace, inbound, &self.counts) {
            self.retell.lock().insert(namespace.to_owned());
            self.reconcile.notify_one();
        }
    }

    /// Gives a hall what comes from this node itself, also while there is no connection.
    pub(super) fn deliver_own(&self, namespace: &str, inbound: Inbound) {
        self.halls.deliver_own(namespace, inbound, &self.counts);
    }

    /// Gives all halls something that came for everybody.
    pub(super) fn deliver_all(&self, inbound: impl Fn() -> Inbound) {
        for namespace in self.halls.namespaces() {
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
        let clients = Clients::new(&settings)?;
        let node = NodeId(random_id()?.into());
        let channels = Channels::new(&settings.key);
        let shared = Arc::new(Shared {
            wire: Wire::new(settings.adapter, channels, node.clone(), settings.message_bytes),
            node,
            counts: Counts::new(),
            queue: Queue::new(settings.queue_messages, settings.queue_bytes),
            halls: Halls::default(),
            entries: Mutex::default(),
            changes: AtomicU64::new(0),
            notices: broadcast::channel(NOTICES).0,
            commands: Mutex::new(None),
            pending: Pending::default(),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            rooms: Mutex::default(),
            rooms_changed: Notify::new(),
            own_load: Mutex::default(),
            elsewhere: ArcSwap::default(),
            reconcile: Notify::new(),
            retell: Mutex::default(),
            beat: Notify::new(),
            stop: CancellationToken::new(),
            settings,
        });
        let task = crate::vital::spawn("bus", session::run(shared.clone(), clients));
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
    pub async fn leave(&self, within: Duration) {
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

    fn is_first(&self) -> bool {
        self.shared
            .counts
            .lower_nodes
            .load(std::sync::atomic::Ordering::Relaxed)
            == 0
    }

    fn open(&self, tenant: &TenantId, inbox: mpsc::Sender<Inbound>) {
        self.shared.halls.open(tenant.namespace(), inbox);
        self.shared.reconcile.notify_one();
    }

    fn close(&self, tenant: &TenantId) -> bool {
        let namespace = tenant.namespace();
        if !self.shared.halls.close(&namespace) {
            return false;
        }
        self.shared.rooms.lock().close(&namespace);
        self.shared.rooms_changed.notify_one();
        let mut entries = self.shared.entries.lock();
        if entries.by_namespace.remove(&namespace).is_some() {
            entries.dirty = true;
        }
        drop(entries);
        self.set_load(tenant, Load::default());
        self.shared.reconcile.notify_one();
        self.shared.beat.notify_one();
        true
    }

    fn room(&self, tenant: &TenantId, room: &str, here: bool) {
        if self.shared.wire.adapter != Adapter::Sharded {
            return;
        }
        // A room of this name has the channel of this node's answers.
        if room == self.shared.node.as_str() {
            return;
        }
        let namespace = tenant.namespace();
        let mut rooms = self.shared.rooms.lock();
        if here {
            rooms.come(&namespace, room);
        } else {
            rooms.go(&namespace, room);
        }
        drop(rooms);
        self.shared.rooms_changed.notify_one();
    }

    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast) {
        let written = self.shared.wire.broadcast(tenant, &broadcast);
        if let Err(error) = &written {
            tracing::warn!(tenant = tenant.as_str(), "an event did not go to other nodes: {error}");
        }
        self.shared.send(written);
    }

    fn entry(&self, tenant: &TenantId, user: &UserId, entry: Option<Bytes>) {
        let namespace = tenant.namespace();
        let mut entries = self.shared.entries.lock();
        match &entry {
            Some(entry) => {
                let users = entries.by_namespace.entry(namespace.clone()).or_default();
                users.insert(user.clone(), entry.clone());
            }
            None => {
                if let Some(users) = entries.by_namespace.get_mut(&namespace) {
                    users.remove(user);
                }
            }
        }
        let change = Item::Change(Change {
            namespace,
            user: user.clone(),
            entry,
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

    fn elsewhere(&self, tenant: &TenantId) -> Elsewhere {
        let elsewhere = self.shared.elsewhere.load();
        elsewhere.get(&tenant.namespace()).copied().unwrap_or_default()
    }

    fn notice(&self, notice: Bytes) {
        let mut payload = self.shared.node.as_str().as_bytes().to_vec();
        payload.extend_from_slice(&notice);
        self.shared.push(Item::Notice(payload.into()));
    }

    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.shared.notices.subscribe()
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

/// The bytes of a notice and who has sent it.
pub(super) fn read_notice(mut payload: Bytes) -> Option<(Bytes, Bytes)> {
    if payload.len() < ID_CHARS {
        return None;
    }
    let node = payload.split_to(ID_CHARS);
    Some((node, payload))
}
