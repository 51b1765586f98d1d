//! The bus of a simulated fleet. It keeps the promises of `host/hub/src/bus.rs`, and no others: messages may be
//! lost, late or doubled. Presence records have numbers, so that a lost change is noticed, and a lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use parlance_hub::bus::{Broadcast, Bus, Inbound, InboxSender, Invalidation, Load, NodeId, RemoteLoad};
use parlance_types::id::{TenantId, UserId};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep, sleep_until};

use crate::log::Log;
use crate::process::Process;
use crate::rng::Rng;

/// How long a node counts as alive after its last heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(8);
/// The interval between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The longest delay of a message without faults, in milliseconds.
const USUAL_MS: u64 = 10;

type Records = BTreeMap<String, BTreeMap<UserId, Bytes>>;

/// A process on the bus. A process that restarts becomes a new peer.
struct Peer {
    id: NodeId,
    process: Arc<Process>,
    connected: bool,
    /// When it last sent a heartbeat.
    last_heartbeat: Instant,
    inboxes: BTreeMap<String, InboxSender>,
    own: Records,
    /// The records that others can read, and the number of the last change.
    published: Records,
    version: u64,
    /// For each other peer, the number of the last change that was applied. `None` when all records must be read.
    applied: BTreeMap<usize, Option<u64>>,
    /// When the last change on its way to each other peer arrives. Changes arrive in order.
    in_flight_until: BTreeMap<usize, Instant>,
    loads: BTreeMap<String, Load>,
    invalidations: broadcast::Sender<Invalidation>,
}

struct NetFaults {
    drop_percent: u64,
    twice_percent: u64,
    most_ms: u64,
}

const NO_FAULTS: NetFaults = NetFaults {
    drop_percent: 0,
    twice_percent: 0,
    most_ms: USUAL_MS,
};

struct State {
    peers: Vec<Peer>,
    faults: NetFaults,
}

#[derive(Clone)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    rng: Rng,
    log: Log,
}

impl Net {
    pub(crate) fn new(rng: Rng, log: Log) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                peers: Vec::new(),
                faults: NO_FAULTS,
            })),
            rng,
            log,
        }
    }

    /// Adds a process. Its id says nothing about the order in which processes started.
    pub(crate) fn join(&self, process: Arc<Process>) -> Arc<SimulatedBus> {
        let mut state = self.state.lock();
        let me = state.peers.len();
        let id = NodeId::new(format!("{:03x}{me:03}", self.rng.below(0x1000)));
        state.peers.push(Peer {
            id: id.clone(),
            process,
            connected: true,
            last_heartbeat: Instant::now(),
            inboxes: BTreeMap::new(),
            own: Records::new(),
            published: Records::new(),
            version: 0,
            applied: BTreeMap::new(),
            in_flight_until: BTreeMap::new(),
            loads: BTreeMap::new(),
            invalidations: broadcast::channel(64).0,
        });
        drop(state);
        tokio::spawn(self.clone().send_heartbeats(me));
        Arc::new(SimulatedBus {
            net: self.clone(),
            me,
            id,
        })
    }

    pub(crate) fn set_faults(&self, drop_percent: u64, twice_percent: u64, most_ms: u64) {
        self.state.lock().faults = NetFaults {
            drop_percent,
            twice_percent,
            most_ms,
        };
    }

    pub(crate) fn heal(&self) {
        self.state.lock().faults = NO_FAULTS;
    }

    /// Has the node lose its connection, or get it back.
    pub(crate) fn set_connected(&self, node: usize, connected: bool) {
        let mut state = self.state.lock();
        let lives = |peer: &Peer| peer.process.index() == node && !peer.process.is_dead();
        let Some(me) = state.peers.iter().position(lives) else {
            return;
        };
        let peer = &mut state.peers[me];
        if peer.connected == connected {
            return;
        }
        peer.connected = connected;
        if connected {
            peer.last_heartbeat = Instant::now();
            peer.published = peer.own.clone();
            peer.version += 1;
            peer.applied.clear();
            for tenant in peer.inboxes.keys().cloned().collect::<Vec<_>>() {
                send_connected(&mut state, me, &tenant);
            }
            let _ = state.peers[me].invalidations.send(Invalidation::Missed);
        } else {
            for inbox in peer.inboxes.values() {
                let _ = inbox.try_send(Inbound::Disconnected);
            }
        }
    }

    /// Sends heartbeats, receives those of the others, and notices when they stop.
    async fn send_heartbeats(self, me: usize) {
        loop {
            sleep(HEARTBEAT).await;
            let mut state = self.state.lock();
            let now = Instant::now();
            let mine = &mut state.peers[me];
            if mine.process.is_dead() {
                return;
            }
            if !mine.connected {
                continue;
            }
            mine.last_heartbeat = now;
            for other in (0..state.peers.len()).filter(|other| *other != me) {
                self.check_peer(&mut state, me, other, now);
            }
        }
    }

    /// A peer reads what another one has published, if it has missed anything.
    fn check_peer(&self, state: &mut State, me: usize, other: usize, now: Instant) {
        let peer = &state.peers[other];
        let (id, version) = (peer.id.clone(), peer.version);
        if now - peer.last_heartbeat > LEASE {
            if state.peers[me].applied.remove(&other).is_some() {
                self.log.note(format_args!("bus: {} misses {id}", state.peers[me].id));
                for inbox in state.peers[me].inboxes.values() {
                    let _ = inbox.try_send(Inbound::NodeLeft { node: id.clone() });
                }
            }
            return;
        }
        let up_to_date = state.peers[me].applied.get(&other).copied().flatten() == Some(version);
        let arriving = state.peers[other].in_flight_until.get(&me).is_some_and(|at| *at > now);
        if !up_to_date && !arriving {
            for tenant in state.peers[me].inboxes.keys().cloned().collect::<Vec<_>>() {
                send_records(state, me, other, &tenant);
            }
            state.peers[me].applied.insert(other, Some(version));
        }
    }
}

/// Tells a peer's hub that it is connected, and delivers the records of all others.
fn send_connected(state: &mut State, me: usize, tenant: &str) {
    let Some(inbox) = state.peers[me].inboxes.get(tenant) else {
        return;
    };
    let _ = inbox.try_send(Inbound::Connected);
    let now = Instant::now();
    for other in (0..state.peers.len()).filter(|other| *other != me) {
        let peer = &state.peers[other];
        if now - peer.last_heartbeat <= LEASE {
            send_records(state, me, other, tenant);
            let version = state.peers[other].version;
            state.peers[me].applied.entry(other).or_insert(Some(version));
        } else {
            let gone = Inbound::NodeLeft { node: peer.id.clone() };
            if let Some(inbox) = state.peers[me].inboxes.get(tenant) {
                let _ = inbox.try_send(gone);
            }
        }
    }
}

/// Delivers to a peer's hub all records that another peer has published.
fn send_records(state: &mut State, me: usize, other: usize, tenant: &str) {
    let peer = &state.peers[other];
    let records = peer.published.get(tenant).cloned().unwrap_or_default();
    let all = Inbound::NodePresence {
        node: peer.id.clone(),
        records: records.into_iter().collect(),
    };
    if let Some(inbox) = state.peers[me].inboxes.get(tenant) {
        let _ = inbox.try_send(all);
    }
}

/// A process's connection to the bus.
pub(crate) struct SimulatedBus {
    net: Net,
    me: usize,
    id: NodeId,
}

impl SimulatedBus {
    /// The other peers that receive something now, if this one can send.
    fn others(&self, state: &State) -> Vec<usize> {
        let mine = &state.peers[self.me];
        if mine.process.is_dead() || !mine.connected {
            return Vec::new();
        }
        let others = (0..state.peers.len()).filter(|other| *other != self.me);
        others.filter(|other| is_reachable(&state.peers[*other])).collect()
    }

    fn delay(&self, state: &State) -> Duration {
        self.net.rng.time(state.faults.most_ms)
    }

    /// Sends a change of a presence record. It may be lost, which the next heartbeat shows.
    fn send_change(&self, state: &mut State, tenant: &str, user: &UserId, record: Option<&Bytes>) {
        let version = state.peers[self.me].version;
        for other in self.others(state) {
            if self.net.rng.percent(state.faults.drop_percent) {
                self.net.log.count("records lost", 1);
                continue;
            }
            let due = Instant::now() + self.delay(state);
            let in_flight_until = state.peers[self.me].in_flight_until.entry(other).or_insert(due);
            *in_flight_until = due.max(*in_flight_until + Duration::from_millis(1));
            let (at, me, net) = (*in_flight_until, self.me, self.net.clone());
            let (tenant, user, record) = (tenant.to_owned(), user.clone(), record.cloned());
            tokio::spawn(async move {
                sleep_until(at).await;
                let mut state = net.state.lock();
                let node = state.peers[me].id.clone();
                let peer = &mut state.peers[other];
                // A change that is not the next one is ignored: the next heartbeat has all records read.
                let is_next = peer.applied.get(&me).copied().flatten() == Some(version - 1);
                if is_reachable(peer)
                    && is_next
                    && let Some(inbox) = peer.inboxes.get(&tenant)
                    && inbox.try_send(Inbound::PresenceChanged { node, user, record })
                {
                    peer.applied.insert(me, Some(version));
                }
            });
        }
    }
}

fn is_reachable(peer: &Peer) -> bool {
    peer.connected && !peer.process.is_dead()
}

impl Bus for SimulatedBus {
    fn node(&self) -> &NodeId {
        &self.id
    }

    fn subscribe(&self, tenant: &TenantId, inbox: InboxSender) {
        let mut state = self.net.state.lock();
        let mine = &mut state.peers[self.me];
        mine.inboxes.insert(tenant.as_str().to_owned(), inbox);
        if is_reachable(mine) {
            send_connected(&mut state, self.me, tenant.as_str());
        }
    }

    fn unsubscribe(&self, tenant: &TenantId) -> bool {
        let mut state = self.net.state.lock();
        let mine = &mut state.peers[self.me];
        let tenant = tenant.as_str();
        if !mine.inboxes.get(tenant).is_some_and(InboxSender::is_closed) {
            return false;
        }
        mine.inboxes.remove(tenant);
        mine.own.remove(tenant);
        mine.loads.remove(tenant);
        if is_reachable(mine) {
            mine.published.remove(tenant);
            mine.version += 1;
        }
        true
    }

    fn has_lowest_id(&self) -> bool {
        let state = self.net.state.lock();
        let now = Instant::now();
        let mut lower = state.peers.iter().filter(|peer| peer.id < self.id);
        !lower.any(|peer| now - peer.last_heartbeat <= LEASE)
    }

    fn announce_room(&self, _: &TenantId, _: &str, _: bool) {}

    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast) {
        let state = self.net.state.lock();
        for other in self.others(&state) {
            let times = match self.net.rng.below(100) {
                draw if draw < state.faults.drop_percent => 0,
                draw if draw < state.faults.drop_percent + state.faults.twice_percent => 2,
                _ => 1,
            };
            if times != 1 {
                self.net.log.count("broadcasts lost or doubled", 1);
            }
            for _ in 0..times {
                let (net, tenant, broadcast) = (self.net.clone(), tenant.as_str().to_owned(), broadcast.clone());
                let delay = self.delay(&state);
                tokio::spawn(async move {
                    sleep(delay).await;
                    let state = net.state.lock();
                    let peer = &state.peers[other];
                    if is_reachable(peer)
                        && let Some(inbox) = peer.inboxes.get(&tenant)
                    {
                        let _ = inbox.try_send(Inbound::Broadcast(broadcast));
                    }
                });
            }
        }
    }

    fn set_presence(&self, tenant: &TenantId, user: &UserId, record: Option<Bytes>) {
        let mut state = self.net.state.lock();
        let mine = &mut state.peers[self.me];
        set_record(&mut mine.own, tenant.as_str(), user, record.as_ref());
        if !is_reachable(mine) {
            return;
        }
        set_record(&mut mine.published, tenant.as_str(), user, record.as_ref());
        mine.version += 1;
        self.send_change(&mut state, tenant.as_str(), user, record.as_ref());
    }

    fn set_load(&self, tenant: &TenantId, load: Load) {
        let mut state = self.net.state.lock();
        state.peers[self.me].loads.insert(tenant.as_str().to_owned(), load);
    }

    fn remote_load(&self, tenant: &TenantId) -> RemoteLoad {
        let state = self.net.state.lock();
        let mut sum = RemoteLoad::default();
        for other in self.others(&state) {
            if let Some(load) = state.peers[other].loads.get(tenant.as_str()) {
                sum.nodes += 1;
                sum.load.connections += load.connections;
                sum.load.events_per_second += load.events_per_second;
            }
        }
        sum
    }

    fn invalidate(&self, topic: Bytes) {
        let state = self.net.state.lock();
        for other in self.others(&state) {
            let (net, topic, delay) = (self.net.clone(), topic.clone(), self.delay(&state));
            if self.net.rng.percent(state.faults.drop_percent) {
                continue;
            }
            tokio::spawn(async move {
                sleep(delay).await;
                let state = net.state.lock();
                if is_reachable(&state.peers[other]) {
                    let _ = state.peers[other].invalidations.send(Invalidation::Topic(topic));
                }
            });
        }
    }

    fn invalidations(&self) -> broadcast::Receiver<Invalidation> {
        self.net.state.lock().peers[self.me].invalidations.subscribe()
    }
}

fn set_record(records: &mut Records, tenant: &str, user: &UserId, record: Option<&Bytes>) {
    let users = records.entry(tenant.to_owned()).or_default();
    match record {
        Some(record) => drop(users.insert(user.clone(), record.clone())),
        None => drop(users.remove(user)),
    }
}
