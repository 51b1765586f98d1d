//! A hall that is one of several: what it tells the others, what it hears of them, and who is where.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::catch_up::Learned;
use super::elsewhere::{Elsewhere, Entry};
use super::state::State;
use super::{Fleet, Mail, Used};
use crate::capability::{PresenceState, Status};
use crate::cluster::bus::{Broadcast, Bus, Place, Target};
use crate::cluster::connection::{Connection, Outgoing};
use crate::cluster::presence::{Changed, Users};
use crate::cluster::rooms::Rooms;
use crate::cluster::wire;
use crate::id::{RoomId, TenantId, UserId};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::turns::{Company, Slice};

/// What other nodes may say before the hall has heard it; beyond that it is lost, and caught up with.
const INBOX: usize = 4096;
/// Changes of a user within this time are told to the other nodes as one.
const ENTRY_PAUSE: Duration = Duration::from_millis(50);

/// How often and how much a hall catches up with others.
#[derive(Debug, Clone)]
pub struct FleetLimits {
    /// Between two looks into the store for what Redis may have lost.
    pub sweep: Duration,
    /// The same while Redis is away.
    pub poll: Duration,
    /// Rooms that a connection may be made to join from elsewhere.
    pub rooms_per_connection: usize,
}

/// What concerns the other nodes.
pub(super) struct Others {
    pub(super) tenant: TenantId,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) store: Arc<dyn Store>,
    pub(super) limits: FleetLimits,
    pub(super) users: Elsewhere,
    /// Users of whom the others are to be told something new.
    pub(super) dirty: HashSet<UserId>,
    pub(super) tell_at: Option<Instant>,
    /// Rooms to look at, by when; the number keeps two of the same time apart.
    pub(super) watched: BTreeMap<(Instant, u64), RoomId>,
    pub(super) count: u64,
    /// Reads that are under way.
    pub(super) fetches: usize,
    /// Rooms that wait for one of them to end.
    pub(super) queue: VecDeque<RoomId>,
    pub(super) sweeping: bool,
    pub(super) sweep_at: Instant,
    /// Redis is away, or has not been there yet.
    pub(super) down: bool,
    /// What tasks of this hall have found out.
    pub(super) learned: mpsc::Sender<Learned>,
}

impl Others {
    /// Has the other nodes send this.
    pub(super) fn say(&self, broadcast: Broadcast) {
        self.bus.broadcast(&self.tenant, broadcast);
    }

    /// Has the other nodes send this to whoever is in a place.
    pub(super) fn say_to(&self, place: Place, outgoing: &Outgoing) {
        if let Outgoing::Event(packet) = outgoing {
            self.say(Broadcast {
                packet: packet.clone(),
                to: Target::Places(vec![place]),
                except: Vec::new(),
                message: None,
            });
        }
    }
}

/// The hall's life.
pub(super) async fn run(
    tenant: TenantId,
    metrics: Arc<Metrics>,
    used: Arc<Used>,
    fleet: Fleet,
    company: Arc<Company>,
    mut mail: mpsc::UnboundedReceiver<Mail>,
) {
    let (learned, mut found) = mpsc::channel(64);
    let (inbox, mut heard) = mpsc::channel(INBOX);
    fleet.bus.open(&tenant, inbox);
    let bus = fleet.bus.clone();
    let mut state = State {
        rooms: Rooms::default(),
        users: Users::default(),
        metrics,
        others: Some(Others {
            tenant: tenant.clone(),
            bus: fleet.bus,
            store: fleet.store,
            sweep_at: Instant::now() + fleet.limits.poll,
            limits: fleet.limits,
            users: Elsewhere::default(),
            dirty: HashSet::new(),
            tell_at: None,
            watched: BTreeMap::new(),
            count: 0,
            fetches: 0,
            queue: VecDeque::new(),
            sweeping: false,
            down: true,
            learned,
        }),
        used,
        slice: Slice::among(company),
        sends_at: std::time::Instant::now(),
    };
    let mut timer = std::pin::pin!(sleep_until(Instant::now()));
    loop {
        if let Some(wake) = state.next_look()
            && timer.deadline() != wake
        {
            timer.as_mut().reset(wake);
        }
        tokio::select! {
            mail = mail.recv() => match mail {
                Some(mail) => state.take(mail).await,
                None => break,
            },
            Some(inbound) = heard.recv() => state.hear(inbound),
            Some(learned) = found.recv() => state.learn(learned),
            () = timer.as_mut() => state.look(Instant::now()),
        }
    }
    // Its inbox is shut by then: a hall that was opened since in its place is not closed.
    drop(heard);
    bus.close(&tenant);
}

/// A user as members of rooms see it: on this node and all others together.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sight {
    status: Option<(Status, u64)>,
    name: Option<Arc<str>>,
    rooms: HashSet<RoomId>,
}

impl Sight {
    fn status(&self) -> Status {
        self.status.map_or(Status::Offline, |(status, _)| status)
    }
}

impl State {
    /// A user's status and since when, on all nodes together, when it is to be seen.
    pub(super) fn visible(&self, user: &UserId) -> Option<(Status, u64)> {
        let here = self.users.visible(user);
        let Some(others) = &self.others else { return here };
        let elsewhere = others.users.entries(user).map(|entry| (entry.status, entry.since));
        let rank = |status: &Status| match status {
            Status::Online => 0,
            Status::Away => 1,
            Status::Offline => 2,
        };
        here.into_iter()
            .chain(elsewhere)
            .filter(|(status, _)| *status != Status::Offline)
            .min_by_key(|(status, since)| (rank(status), *since))
    }

    /// How a user is seen now; nothing where there are no other nodes, who makes no use of it.
    pub(super) fn sight(&self, user: &UserId) -> Sight {
        let Some(others) = &self.others else {
            return Sight::default();
        };
        let here = self.users.name(user);
        let name = here.or_else(|| others.users.entries(user).next().map(|entry| entry.name.clone()));
        Sight {
            status: self.visible(user),
            name,
            rooms: self.rooms_of(user),
        }
    }

    /// Something of a user here has changed: members of the rooms shared with the user are told, once.
    pub(super) fn changed(&mut self, connection: &Arc<Connection>, changed: Option<Changed>, before: Sight, now: u64) {
        if self.others.is_none() {
            return self.announce(connection, changed);
        }
        let user = connection.identity.load().user().clone();
        self.compare(&user, before, now);
        self.touch(&user);
    }

    /// Tells members here of what is to be seen differently now. Every node does so for its own, so that nothing of it
    /// needs to be sent between nodes.
    pub(super) fn compare(&mut self, user: &UserId, before: Sight, now: u64) {
        let after = self.sight(user);
        let Some(name) = after.name.as_ref().or(before.name.as_ref()) else {
            return;
        };
        if before.status() != after.status() {
            let since = after.status.map_or(now, |(_, since)| since);
            let outgoing = wire::presence(user, name, after.status(), since);
            let rooms = before.rooms.union(&after.rooms).cloned().collect();
            self.rooms.send_across(&rooms, &outgoing);
        } else if let Some((status, since)) = after.status {
            let outgoing = wire::presence(user, name, status, since);
            let rooms = after.rooms.difference(&before.rooms).cloned().collect();
            self.rooms.send_across(&rooms, &outgoing);
        }
    }

    /// The other nodes are to be told of a user, soon.
    pub(super) fn touch(&mut self, user: &UserId) {
        if let Some(others) = &mut self.others {
            others.dirty.insert(user.clone());
            others.tell_at.get_or_insert_with(|| Instant::now() + ENTRY_PAUSE);
        }
    }

    /// Tells the other nodes of those who have changed.
    pub(super) fn tell_entries(&mut self) {
        let Some(others) = &mut self.others else { return };
        others.tell_at = None;
        for user in others.dirty.drain() {
            let entry = self.users.summary(&user).map(|summary| {
                let (connections, status, since, name) = summary;
                Entry {
                    connections,
                    status,
                    since,
                    name,
                    rooms: self.users.rooms_of(&user).into_iter().collect(),
                }
            });
            others
                .bus
                .entry(&others.tenant, &user, entry.map(|entry| entry.encode()));
        }
    }

    /// Users in a room, each once.
    pub(super) fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        let mut users = self.rooms.users(room, limit);
        if let Some(others) = &self.others {
            let here: HashSet<UserId> = users.iter().cloned().collect();
            let more = others.users.in_room(room).filter(|user| !here.contains(*user)).cloned();
            users.extend(more.take(limit.saturating_sub(here.len())));
        }
        users
    }

    /// The state of a user as somebody who is in `rooms` may see it.
    pub(super) fn presence_of(&self, user: &UserId, rooms: &HashSet<RoomId>) -> PresenceState {
        let Some(others) = &self.others else {
            return self.users.state(user, rooms);
        };
        if self.rooms_of(user).is_disjoint(rooms) {
            return PresenceState::unseen(user.clone());
        }
        let here = self.users.summary(user);
        let elsewhere = others.users.entries(user).map(|entry| entry.connections);
        let connections = here
            .as_ref()
            .map(|(connections, ..)| *connections)
            .into_iter()
            .chain(elsewhere);
        let (status, since) = self
            .visible(user)
            .or_else(|| here.as_ref().map(|(_, status, since, _)| (*status, *since)))
            .or_else(|| {
                others
                    .users
                    .entries(user)
                    .next()
                    .map(|entry| (entry.status, entry.since))
            })
            .unwrap_or((Status::Offline, 0));
        PresenceState {
            user: user.clone(),
            username: self.sight(user).name,
            status,
            connections: connections.fold(0, u32::saturating_add),
            since,
        }
    }
}
