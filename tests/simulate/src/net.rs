//! The bus of a simulated fleet. It keeps the promises of `host/hub/src/bus.rs`, and no others: messages may be
//! lost, late or doubled. Presence records have numbers, so that a lost change is noticed, and a lease.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use parlance_hub::bus::{Broadcast, Bus, Inbound, Invalidation, Load, NodeId, RemoteLoad};
use parlance_types::id::{TenantId, UserId};
use tokio::sync::{broadcast, mpsc};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Dice;
use crate::life::Life;
use crate::log::Log;

/// How long a node counts as alive after its last heartbeat.
pub(crate) const LEASE: Duration = Duration::from_secs(8);
/// The interval between two heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// The longest delay of a message without faults, in milliseconds.
const USUAL_MS: u64 = 10;

type Records = BTreeMap<String, BTreeMap<UserId, Bytes>>;

/// A process on the bus. A process that starts again is another station.
struct Station {
    id: NodeId,
    life: Arc<Life>,
    connected: bool,
    /// When it last sent a heartbeat.
    heard: Instant,
    inboxes: BTreeMap<String, mpsc::Sender<Inbound>>,
    own: Records,
    /// The records that others can read, and the number of the last change.
    published: Records,
    version: u64,
    /// For each other station, the number of the last change that was taken in. `None` when all records must be read.
    taken: BTreeMap<usize, Option<u64>>,
    /// When the last change on its way to each other station arrives. Changes arrive in order.
    busy: BTreeMap<usize, Instant>,
    loads: BTreeMap<String, Load>,
    invalidations: broadcast::Sender<Invalidation>,
}

struct Weather {
    drop_percent: u64,
    twice_percent: u64,
    most_ms: u64,
}

const FAIR: Weather = Weather {
    drop_percent: 0,
    twice_percent: 0,
    most_ms: USUAL_MS,
};

struct State {
    stations: Vec<Station>,
    weather: Weather,
}

#[derive(Clone)]
pub(crate) struct Net {
    state: Arc<Mutex<State>>,
    dice: Dice,
    log: Log,
}

impl Net {
    pub(crate) fn new(dice: Dice, log: Log) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                stations: Vec::new(),
                weather: FAIR,
            })),
            dice,
            log,
        }
    }

    /// Adds a process. Its id says nothing about the order in which processes started.
    pub(crate) fn join(&self, life: Arc<Life>) -> Arc<Line> {
        let mut state = self.state.lock();
        let me = state.stations.len();
        let id = NodeId::new(format!("{:03x}{me:03}", self.dice.below(0x1000)));
        state.stations.push(Station {
            id: id.clone(),
            life,
            connected: true,
            heard: Instant::now(),
            inboxes: BTreeMap::new(),
            own: Records::new(),
            published: Records::new(),
            version: 0,
            taken: BTreeMap::new(),
            busy: BTreeMap::new(),
            loads: BTreeMap::new(),
            invalidations: broadcast::channel(64).0,
        });
        drop(state);
        tokio::spawn(self.clone().beat(me));
        Arc::new(Line {
            net: self.clone(),
            me,
            id,
        })
    }

    pub(crate) fn set_weather(&self, drop_percent: u64, twice_percent: u64, most_ms: u64) {
        self.state.lock().weather = Weather {
            drop_percent,
            twice_percent,
            most_ms,
        };
    }

    pub(crate) fn heal(&self) {
        self.state.lock().weather = FAIR;
    }

    /// Has the node lose its connection, or get it back.
    pub(crate) fn set_connected(&self, node: usize, connected: bool) {
        let mut state = self.state.lock();
        let lives = |station: &Station| station.life.index() == node && !station.life.is_over();
        let Some(me) = state.stations.iter().position(lives) else {
            return;
        };
        let station = &mut state.stations[me];
        if station.connected == connected {
            return;
        }
        station.connected = connected;
        if connected {
            station.heard = Instant::now();
            station.published = station.own.clone();
            station.version += 1;
            station.taken.clear();
            for tenant in station.inboxes.keys().cloned().collect::<Vec<_>>() {
                up(&mut state, me, &tenant);
            }
            let _ = state.stations[me].invalidations.send(Invalidation::Missed);
        } else {
            for inbox in station.inboxes.values() {
                let _ = inbox.try_send(Inbound::Disconnected);
            }
        }
    }

    /// Sends heartbeats, receives those of the others, and notices when they stop.
    async fn beat(self, me: usize) {
        loop {
            sleep(HEARTBEAT).await;
            let mut state = self.state.lock();
            let now = Instant::now();
            let mine = &mut state.stations[me];
            if mine.life.is_over() {
                return;
            }
            if !mine.connected {
                continue;
            }
            mine.heard = now;
            for other in (0..state.stations.len()).filter(|other| *other != me) {
                self.look_at(&mut state, me, other, now);
            }
        }
    }

    /// A station reads what another one has published, if it has missed anything.
    fn look_at(&self, state: &mut State, me: usize, other: usize, now: Instant) {
        let station = &state.stations[other];
        let (id, version) = (station.id.clone(), station.version);
        if now - station.heard > LEASE {
            if state.stations[me].taken.remove(&other).is_some() {
                self.log
                    .note(format_args!("bus: {} misses {id}", state.stations[me].id));
                for inbox in state.stations[me].inboxes.values() {
                    let _ = inbox.try_send(Inbound::NodeLeft { node: id.clone() });
                }
            }
            return;
        }
        let up_to_date = state.stations[me].taken.get(&other).copied().flatten() == Some(version);
        let arriving = state.stations[other].busy.get(&me).is_some_and(|at| *at > now);
        if !up_to_date && !arriving {
            for tenant in state.stations[me].inboxes.keys().cloned().collect::<Vec<_>>() {
                read(state, me, other, &tenant);
            }
            state.stations[me].taken.insert(other, Some(version));
        }
    }
}

/// Tells a station's hub that it is connected, and delivers the records of all others.
fn up(state: &mut State, me: usize, tenant: &str) {
    let Some(inbox) = state.stations[me].inboxes.get(tenant) else {
        return;
    };
    let _ = inbox.try_send(Inbound::Connected);
    let now = Instant::now();
    for other in (0..state.stations.len()).filter(|other| *other != me) {
        let station = &state.stations[other];
        if now - station.heard <= LEASE {
            read(state, me, other, tenant);
            let version = state.stations[other].version;
            state.stations[me].taken.entry(other).or_insert(Some(version));
        } else {
            let gone = Inbound::NodeLeft {
                node: station.id.clone(),
            };
            if let Some(inbox) = state.stations[me].inboxes.get(tenant) {
                let _ = inbox.try_send(gone);
            }
        }
    }
}

/// Delivers to a station's hub all records that another station has published.
fn read(state: &mut State, me: usize, other: usize, tenant: &str) {
    let station = &state.stations[other];
    let records = station.published.get(tenant).cloned().unwrap_or_default();
    let all = Inbound::NodePresence {
        node: station.id.clone(),
        records: records.into_iter().collect(),
    };
    if let Some(inbox) = state.stations[me].inboxes.get(tenant) {
        let _ = inbox.try_send(all);
    }
}

/// A process's connection to the bus.
pub(crate) struct Line {
    net: Net,
    me: usize,
    id: NodeId,
}

impl Line {
    /// The other stations that receive something now, if this one can send.
    fn others(&self, state: &State) -> Vec<usize> {
        let mine = &state.stations[self.me];
        if mine.life.is_over() || !mine.connected {
            return Vec::new();
        }
        let others = (0..state.stations.len()).filter(|other| *other != self.me);
        others.filter(|other| takes(&state.stations[*other])).collect()
    }

    fn delay(&self, state: &State) -> Duration {
        self.net.dice.time(state.weather.most_ms)
    }

    /// Sends a change of a presence record. It may be lost, which the next heartbeat shows.
    fn tell(&self, state: &mut State, tenant: &str, user: &UserId, record: Option<&Bytes>) {
        let version = state.stations[self.me].version;
        for other in self.others(state) {
            if self.net.dice.percent(state.weather.drop_percent) {
                self.net.log.count("records lost", 1);
                continue;
            }
            let due = Instant::now() + self.delay(state);
            let busy = state.stations[self.me].busy.entry(other).or_insert(due);
            *busy = due.max(*busy + Duration::from_millis(1));
            let (at, me, net) = (*busy, self.me, self.net.clone());
            let (tenant, user, record) = (tenant.to_owned(), user.clone(), record.cloned());
            tokio::spawn(async move {
                sleep_until(at).await;
                let mut state = net.state.lock();
                let node = state.stations[me].id.clone();
                let station = &mut state.stations[other];
                // A change that is not the next one is ignored: the next heartbeat has all records read.
                let is_next = station.taken.get(&me).copied().flatten() == Some(version - 1);
                if takes(station)
                    && is_next
                    && let Some(inbox) = station.inboxes.get(&tenant)
                    && inbox.try_send(Inbound::PresenceChanged { node, user, record }).is_ok()
                {
                    station.taken.insert(me, Some(version));
                }
            });
        }
    }
}

fn takes(station: &Station) -> bool {
    station.connected && !station.life.is_over()
}

impl Bus for Line {
    fn node(&self) -> &NodeId {
        &self.id
    }

    fn subscribe(&self, tenant: &TenantId, inbox: mpsc::Sender<Inbound>) {
        let mut state = self.net.state.lock();
        let mine = &mut state.stations[self.me];
        mine.inboxes.insert(tenant.as_str().to_owned(), inbox);
        if takes(mine) {
            up(&mut state, self.me, tenant.as_str());
        }
    }

    fn unsubscribe(&self, tenant: &TenantId) -> bool {
        let mut state = self.net.state.lock();
        let mine = &mut state.stations[self.me];
        let tenant = tenant.as_str();
        if !mine.inboxes.get(tenant).is_some_and(mpsc::Sender::is_closed) {
            return false;
        }
        mine.inboxes.remove(tenant);
        mine.own.remove(tenant);
        mine.loads.remove(tenant);
        if takes(mine) {
            mine.published.remove(tenant);
            mine.version += 1;
        }
        true
    }

    fn has_lowest_id(&self) -> bool {
        let state = self.net.state.lock();
        let now = Instant::now();
        let mut lower = state.stations.iter().filter(|station| station.id < self.id);
        !lower.any(|station| now - station.heard <= LEASE)
    }

    fn announce_room(&self, _: &TenantId, _: &str, _: bool) {}

    fn broadcast(&self, tenant: &TenantId, broadcast: Broadcast) {
        let state = self.net.state.lock();
        for other in self.others(&state) {
            let times = match self.net.dice.below(100) {
                draw if draw < state.weather.drop_percent => 0,
                draw if draw < state.weather.drop_percent + state.weather.twice_percent => 2,
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
                    let station = &state.stations[other];
                    if takes(station)
                        && let Some(inbox) = station.inboxes.get(&tenant)
                    {
                        let _ = inbox.try_send(Inbound::Broadcast(broadcast));
                    }
                });
            }
        }
    }

    fn set_presence(&self, tenant: &TenantId, user: &UserId, record: Option<Bytes>) {
        let mut state = self.net.state.lock();
        let mine = &mut state.stations[self.me];
        set(&mut mine.own, tenant.as_str(), user, record.as_ref());
        if !takes(mine) {
            return;
        }
        set(&mut mine.published, tenant.as_str(), user, record.as_ref());
        mine.version += 1;
        self.tell(&mut state, tenant.as_str(), user, record.as_ref());
    }

    fn set_load(&self, tenant: &TenantId, load: Load) {
        let mut state = self.net.state.lock();
        state.stations[self.me].loads.insert(tenant.as_str().to_owned(), load);
    }

    fn remote_load(&self, tenant: &TenantId) -> RemoteLoad {
        let state = self.net.state.lock();
        let mut sum = RemoteLoad::default();
        for other in self.others(&state) {
            if let Some(load) = state.stations[other].loads.get(tenant.as_str()) {
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
            if self.net.dice.percent(state.weather.drop_percent) {
                continue;
            }
            tokio::spawn(async move {
                sleep(delay).await;
                let state = net.state.lock();
                if takes(&state.stations[other]) {
                    let _ = state.stations[other].invalidations.send(Invalidation::Topic(topic));
                }
            });
        }
    }

    fn invalidations(&self) -> broadcast::Receiver<Invalidation> {
        self.net.state.lock().stations[self.me].invalidations.subscribe()
    }
}

fn set(records: &mut Records, tenant: &str, user: &UserId, record: Option<&Bytes>) {
    let users = records.entry(tenant.to_owned()).or_default();
    match record {
        Some(record) => drop(users.insert(user.clone(), record.clone())),
        None => drop(users.remove(user)),
    }
}
