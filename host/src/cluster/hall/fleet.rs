//! A hall is one of several: what it tells the others, what it hears of them, and who is where. On a node that is alone
//! the others are nobody.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::catch_up::{Fetched, Learned};
use super::elsewhere::{Elsewhere, Entry};
use super::state::State;
use super::{Fleet, Mail};
use crate::cluster::bus::{Broadcast, Bus, Inbound, Place, Target};
use crate::cluster::connection::Outgoing;
use crate::cluster::outbound::Outbound;
use crate::id::{RoomId, TenantId, UserId};
use crate::metrics::HallMetrics;
use crate::scheduler::Contention;
use crate::store::Store;

/// What other nodes may say before the hall has heard it; beyond that it is lost, and caught up with.
const INBOX: usize = 4096;
/// The pause before a hall that has failed starts anew; it doubles with each failure up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(5);
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
    /// Pages that reads have brought, of which something is still to be sent.
    pub(super) fetched: VecDeque<Fetched>,
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
    fn new(tenant: TenantId, fleet: &Fleet, learned: mpsc::Sender<Learned>) -> Self {
        Self {
            tenant,
            bus: fleet.bus.clone(),
            store: fleet.store.clone(),
            sweep_at: Instant::now() + fleet.limits.poll,
            limits: fleet.limits.clone(),
            users: Elsewhere::default(),
            dirty: HashSet::new(),
            tell_at: None,
            watched: BTreeMap::new(),
            count: 0,
            fetches: 0,
            fetched: VecDeque::new(),
            queue: VecDeque::new(),
            sweeping: false,
            down: true,
            learned,
        }
    }

    /// Has the other nodes send this, where there may be any.
    pub(super) fn say(&self, broadcast: impl FnOnce() -> Broadcast) {
        if !self.bus.is_alone() {
            self.bus.broadcast(&self.tenant, broadcast());
        }
    }

    /// Has the other nodes send this to whoever is in a place.
    pub(super) fn say_to(&self, place: impl FnOnce() -> Place, after: Option<(RoomId, u64)>, outgoing: &Outgoing) {
        let (packet, question) = match outgoing {
            Outgoing::Event(packet) => (packet, None),
            Outgoing::Question(packet, question) => (packet, Some(question.clone())),
            Outgoing::Acknowledgement { .. } => return,
        };
        self.say(|| Broadcast {
            packet: packet.clone(),
            to: Target::Places(vec![place()]),
            except: Vec::new(),
            message: None,
            after,
            question,
        });
    }
}

/// The hall's life. A panic ends only what the hall has: its connections are ended, clients connect again and ask for what
/// they have missed, and the hall starts anew.
pub(super) async fn run(
    tenant: TenantId,
    metrics: HallMetrics,
    outbound: Arc<Outbound>,
    grace: Arc<AtomicU64>,
    fleet: Fleet,
    company: Arc<Contention>,
    mut mail: mpsc::UnboundedReceiver<Mail>,
) {
    let bus = fleet.bus.clone();
    let (mut servers, mut pause) = (None, FIRST_PAUSE);
    loop {
        let (learned, found) = mpsc::channel(64);
        let (inbox, heard) = mpsc::channel(INBOX);
        let others = Others::new(tenant.clone(), &fleet, learned);
        let mut state = State::new(
            metrics.clone(),
            outbound.clone(),
            grace.clone(),
            company.clone(),
            others,
        );
        state.for_servers = servers.take();
        bus.open(&tenant, inbox);
        let life = AssertUnwindSafe(live(&mut state, &mut mail, heard, found));
        let ended = life.catch_unwind().await;
        // Its inbox is shut by then: a hall that was opened since in its place is not closed.
        let in_service = bus.close(&tenant);
        if ended.is_ok() {
            return;
        }
        tracing::error!(
            tenant = tenant.as_str(),
            connections = state.users.everybody().count(),
            "the tenant's hall has failed: its connections end, and it starts anew"
        );
        servers = state.for_servers.take();
        for connection in state.users.everybody() {
            connection.outlet.hang_up();
        }
        if !in_service {
            // The tenant has another hall by now; whoever still has this one connects again, to that.
            return;
        }
        // Where it fails again and again, others are not to be kept busy by it.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Goes on until nobody can reach the hall any more.
async fn live(
    state: &mut State,
    mail: &mut mpsc::UnboundedReceiver<Mail>,
    mut heard: mpsc::Receiver<Inbound>,
    mut found: mpsc::Receiver<Learned>,
) {
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
                None => return,
            },
            Some(inbound) = heard.recv() => state.hear(inbound).await,
            Some(learned) = found.recv() => state.learn(learned),
            () = timer.as_mut() => state.look(Instant::now()),
            () = std::future::ready(()), if state.has_fetched() => state.send_fetched(),
        }
        // Whatever it was that sent something, what comes next waits for it.
        state.send().await;
    }
}

impl State {
    /// The other nodes are to be told of a user, soon.
    pub(super) fn touch(&mut self, user: &UserId) {
        let others = &mut self.others;
        if !others.bus.is_alone() {
            others.dirty.insert(user.clone());
            others.tell_at.get_or_insert_with(|| Instant::now() + ENTRY_PAUSE);
        }
    }

    /// Tells the other nodes of those who have changed.
    pub(super) fn tell_entries(&mut self) {
        let others = &mut self.others;
        others.tell_at = None;
        for user in others.dirty.drain() {
            let entry = self.users.summary(&user).map(|summary| Entry {
                connections: summary.connections,
                newest: summary.newest,
                status: summary.status,
                since: summary.since,
                name: summary.name,
                rooms: self.users.rooms_of(&user).cloned().collect(),
            });
            others
                .bus
                .entry(&others.tenant, &user, entry.map(|entry| entry.encode()));
        }
    }
}
