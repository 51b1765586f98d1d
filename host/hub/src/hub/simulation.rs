//! A simulation of one tenant's hubs on several nodes: the hubs, the bus between them, the store, and clients, in
//! virtual time. Everything follows from a seed, so a seed that fails always fails in the same way.
//!
//! The bus loses, delays, reorders and repeats messages, and disconnects for a while. The store fails for a while, or
//! commits and reports a failure. Nodes die in the middle of their work, and others take their place. Clients connect,
//! disconnect, send, change messages, kick each other, send again what was not acknowledged, and stop reading. In the end all is repaired, and what every
//! client saw is compared with what the store has.

mod client;
mod join;
mod net;
mod node;
mod presence;
mod view;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use parlance_history::{History, Record, StoredMessage, Summary, Violation};
use tokio::time::Instant;

use super::{Input, Now, Output};
use crate::tests::random;
use client::Client;
use net::Net;
use node::Node;
use parlance_store::memory::MemoryStore;
use parlance_store::{End, Message, Place, Range, Reader as _};
use parlance_types::id::{MessageId, RoomId, TenantId};

/// The number of seeds that a run of the tests tries; `make simulate` sets PARLANCE_SEEDS to more.
const SEEDS: u64 = 2000;
/// How long clients act and faults happen, and how long everything then has to come to rest, in microseconds.
const ACTIVE: u64 = 3_000_000;
const REST: u64 = 8_000_000;
/// The most rooms. A seed uses some of them, and most seeds few.
const ROOMS: u64 = 12;
const FEW_ROOMS: u64 = 3;
const TENANT: &str = "t";

fn tenant() -> TenantId {
    TenantId::for_tests(TENANT).unwrap()
}

/// What happens at a time. The numbers are a node, and its life: a node that dies begins another one.
enum SimEvent {
    /// A node makes a step.
    Step(usize, u64),
    /// A node's batch is committed.
    Commit(usize, u64),
    /// A node's hub gets an input.
    Input(usize, u64, Input),
    /// A read of the store returns.
    Read(usize, u64, Output),
    /// A client acts.
    Act(usize),
    /// The read of a room's past for a joining client returns.
    Past(usize, u64),
    /// A node's connection to the others is lost, or comes back.
    Link(usize, bool),
    /// A node's lease expires.
    LeaseOut(usize, u64),
    /// The store fails, or works again.
    Store(bool),
    /// A node dies, and starts again.
    Die(usize),
}

/// The state of one simulation.
struct World {
    rng: Box<dyn FnMut(u64) -> u64>,
    /// Microseconds since the beginning.
    now: u64,
    began: Instant,
    agenda: BTreeMap<(u64, u64), SimEvent>,
    count: u64,
    nodes: Vec<Node>,
    net: Net,
    store: MemoryStore,
    store_works: bool,
    clients: Vec<Client>,
    history: History,
    /// What each message said first, by its id, since the history is about that.
    contents: BTreeMap<String, String>,
    /// The changes of messages that clients have asked for.
    changes: u64,
    /// The faults that happened.
    faults: Faults,
    rooms: u64,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Faults {
    deaths: u64,
    links: u64,
    outages: u64,
    lost_answers: u64,
    slow_clients: u64,
    lost_packets: u64,
    kicks: u64,
    /// No faults: what clients have changed, and what of it others show in the end.
    changes: u64,
    shown_changes: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = random(seed);
        let nodes = 1 + rng(5);
        // In few rooms much happens in each. With many, more are read at once than a hub reads.
        let most = if rng(4) == 0 { ROOMS } else { FEW_ROOMS };
        let rooms = 1 + rng(most);
        let mut world = Self {
            rng: Box::new(rng),
            now: 0,
            began: Instant::now(),
            agenda: BTreeMap::new(),
            count: 0,
            nodes: Vec::new(),
            net: Net::default(),
            store: MemoryStore::default(),
            store_works: true,
            clients: Vec::new(),
            history: History::default(),
            contents: BTreeMap::new(),
            changes: 0,
            faults: Faults::default(),
            rooms,
        };
        for index in 0..usize::try_from(nodes).unwrap() {
            world.nodes.push(Node::new(nodes == 1));
            world.begin_node(index);
        }
        for number in 0..4 + world.below(6) {
            world.clients.push(Client::new(number));
            let at = world.below(400_000);
            world.at(at, SimEvent::Act(usize::try_from(number).unwrap()));
        }
        world.plan_faults();
        world
    }

    /// A random number below `most`.
    fn below(&mut self, most: u64) -> u64 {
        (self.rng)(most)
    }

    fn one_in(&mut self, most: u64) -> bool {
        self.below(most) == 0
    }

    fn at(&mut self, at: u64, event: SimEvent) {
        self.count += 1;
        self.agenda.insert((at.max(self.now), self.count), event);
    }

    /// Schedules something at a random time within that many microseconds.
    fn within(&mut self, most: u64, event: SimEvent) {
        let at = self.now + self.below(most);
        self.at(at, event);
    }

    fn time(&self) -> Now {
        Now {
            instant: self.began + Duration::from_micros(self.now),
            unix_ms: 1_700_000_000_000 + self.now / 1000,
        }
    }

    fn is_active(&self) -> bool {
        self.now < ACTIVE
    }

    fn room(&mut self) -> RoomId {
        let number = self.below(self.rooms);
        RoomId::new(&format!("r{number}")).unwrap()
    }

    fn plan_faults(&mut self) {
        let nodes = self.nodes.len() as u64;
        for _ in 0..self.below(5) {
            let (at, node) = (self.below(ACTIVE), usize::try_from(self.below(nodes)).unwrap());
            let until = at + self.below(1_500_000);
            match self.below(3) {
                0 => self.at(at, SimEvent::Die(node)),
                1 if nodes > 1 => {
                    self.at(at, SimEvent::Link(node, false));
                    self.at(until.min(ACTIVE), SimEvent::Link(node, true));
                }
                _ => {
                    self.at(at, SimEvent::Store(false));
                    self.at(until.min(ACTIVE), SimEvent::Store(true));
                }
            }
        }
        for node in 0..self.nodes.len() {
            self.at(ACTIVE, SimEvent::Link(node, true));
        }
        self.at(ACTIVE, SimEvent::Store(true));
    }

    fn run(&mut self) {
        while let Some(((at, _), event)) = self.agenda.pop_first() {
            if at > ACTIVE + REST {
                break;
            }
            self.now = at;
            match event {
                SimEvent::Step(node, life) => self.step(node, life),
                SimEvent::Commit(node, life) => self.commit(node, life),
                SimEvent::Input(node, life, input) => self.give(node, life, input),
                SimEvent::Read(node, life, read) => self.answer_read(node, life, read),
                SimEvent::Act(client) => self.act(client),
                SimEvent::Past(client, asked) => self.end_past_read(client, asked),
                SimEvent::Link(node, up) => self.link(node, up),
                SimEvent::LeaseOut(node, life) => self.lease_out(node, life),
                SimEvent::Store(serves) => {
                    self.faults.outages += u64::from(self.store_works && !serves);
                    self.store_works = serves;
                }
                SimEvent::Die(node) => self.die(node),
            }
            self.read_all();
        }
    }

    /// The messages of a room in the store.
    fn stored(&self, room: &RoomId) -> Vec<Message> {
        let all = Range {
            after: 0,
            before: None,
            limit: u32::MAX,
            from: End::Oldest,
        };
        let page = self.store.history(&tenant(), room, all).now_or_never().unwrap();
        page.unwrap().messages
    }

    fn place(&self, room: &RoomId) -> Place {
        let place = self.store.place(&tenant(), room).now_or_never().unwrap();
        place.unwrap()
    }

    /// What a message said first.
    fn said(&self, id: MessageId) -> std::sync::Arc<str> {
        self.contents[&id.to_string()].as_str().into()
    }

    fn check(&mut self) -> Result<Summary, Vec<Violation>> {
        for number in 0..ROOMS {
            let room = RoomId::new(&format!("r{number}")).unwrap();
            let messages = self.stored(&room);
            let messages = messages.into_iter().map(|message| StoredMessage {
                seq: message.seq,
                content: self.said(message.id),
                user: message.sender.as_str().into(),
            });
            let record = Record::Stored {
                tenant: TENANT.into(),
                room: room.as_str().into(),
                messages: messages.collect(),
            };
            self.history.push(record);
        }
        self.history.check()
    }
}

/// Prints the seed when its simulation panics.
struct SeedReporter(u64);

impl Drop for SeedReporter {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0}: PARLANCE_SEED={0} cargo test -p parlance-hub hub::simulation",
                self.0
            );
        }
    }
}

/// Runs the simulation of a seed. Returns its history, a summary, and the faults.
fn simulate(seed: u64) -> (History, Summary, Faults) {
    let _reporter = SeedReporter(seed);
    let mut world = World::new(seed);
    world.run();
    world.check_presence();
    world.faults.changes = world.changes;
    world.faults.shown_changes = world.check_views();
    match world.check() {
        Ok(summary) => (world.history, summary, world.faults),
        Err(violations) => {
            let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
            panic!("{:?}:\n{}", world.faults, list.join("\n"));
        }
    }
}

#[test]
fn clients_see_what_the_store_has_under_all_faults() {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>().unwrap());
    let seeds: Vec<u64> = match number("PARLANCE_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("PARLANCE_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = seeds.len().div_ceil(threads);
    std::thread::scope(|scope| {
        for seeds in seeds.chunks(share) {
            scope.spawn(move || {
                for seed in seeds {
                    simulate(*seed);
                }
            });
        }
    });
}

#[test]
fn a_seed_always_gives_the_same_simulation() {
    for seed in 0..20 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

/// A simulation in which nothing happens would find nothing.
#[test]
fn much_happens() {
    let (mut acknowledged, mut delivered, mut faults) = (0, 0, Faults::default());
    for seed in 0..100 {
        let (_, summary, broke) = simulate(seed);
        acknowledged += summary.acknowledged;
        delivered += summary.delivered;
        faults.deaths += broke.deaths;
        faults.links += broke.links;
        faults.outages += broke.outages;
        faults.lost_answers += broke.lost_answers;
        faults.slow_clients += broke.slow_clients;
        faults.lost_packets += broke.lost_packets;
        faults.kicks += broke.kicks;
        faults.changes += broke.changes;
        faults.shown_changes += broke.shown_changes;
    }
    assert!(acknowledged > 2000 && delivered > 5000, "{acknowledged} {delivered}");
    let Faults {
        deaths,
        links,
        outages,
        lost_answers,
        slow_clients,
        lost_packets,
        kicks,
        changes,
        shown_changes,
    } = faults;
    assert!(changes > 500 && shown_changes > 300, "{faults:?}");
    for fault in [deaths, links, outages, lost_answers, slow_clients, lost_packets, kicks] {
        assert!(fault > 20, "{faults:?}");
    }
}
