//! Several hubs of one tenant, the bus between them, the store, and clients, in virtual time. What happens comes from a
//! seed alone: a seed that fails fails each time, in the same way.
//!
//! The bus loses, delays, reorders and repeats what it carries and goes away for a while; the store does not serve for a
//! while, or does what it is told and says that it has failed; nodes die with whatever they were doing and others take
//! their place; clients come and go, send, send again what nobody acknowledged, and do not read. In the end all is
//! mended, and what every client saw is held against what the store has.

mod client;
mod join;
mod net;
mod node;
mod presence;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use parlance_history::{History, Record, StoredMessage, Summary, Violation};
use tokio::time::Instant;

use super::{Input, Now, Output};
use crate::cluster::tests::random;
use crate::id::{RoomId, TenantId};
use crate::store::memory::MemoryStore;
use crate::store::{End, Message, Range, Store as _};
use client::Client;
use net::Net;
use node::Node;

/// Simulations in each run of all tests.
const SEEDS: u64 = 2000;
/// How long clients do things and things break, and how long all then has to come to rest; in microseconds.
const LIVELY: u64 = 3_000_000;
const REST: u64 = 8_000_000;
/// Rooms that there may be; a seed has some of them.
const ROOMS: u64 = 3;
const TENANT: &str = "t";

fn tenant() -> TenantId {
    TenantId::for_tests(TENANT).unwrap()
}

/// What happens at a time.
enum Happening {
    /// A node, in this life of it, does what it can.
    Step(usize, u64),
    /// A node's batch is committed.
    Commit(usize, u64),
    /// A node's hub learns something.
    Input(usize, u64, Input),
    /// A read of the store is answered.
    Read(usize, u64, Output),
    /// A client does something.
    Act(usize),
    /// A client's read of a room's past is answered.
    Past(usize, u64),
    /// A node's way to the others is lost, or is back.
    Link(usize, bool),
    /// A node's lease has run out, which it had in this life.
    LeaseOut(usize, u64),
    /// The store ceases to serve, or serves again.
    Store(bool),
    /// A node dies, and begins anew.
    Die(usize),
}

/// Everything of one simulation.
struct World {
    chance: Box<dyn FnMut(u64) -> u64>,
    /// Microseconds since the beginning.
    now: u64,
    began: Instant,
    agenda: BTreeMap<(u64, u64), Happening>,
    count: u64,
    nodes: Vec<Node>,
    net: Net,
    store: MemoryStore,
    store_serves: bool,
    clients: Vec<Client>,
    history: History,
    /// What broke.
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
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = random(seed);
        let (nodes, rooms) = (1 + chance(5), 1 + chance(ROOMS));
        let mut world = Self {
            chance: Box::new(chance),
            now: 0,
            began: Instant::now(),
            agenda: BTreeMap::new(),
            count: 0,
            nodes: Vec::new(),
            net: Net::default(),
            store: MemoryStore::default(),
            store_serves: true,
            clients: Vec::new(),
            history: History::default(),
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
            world.at(at, Happening::Act(usize::try_from(number).unwrap()));
        }
        world.plan_faults();
        world
    }

    /// Below what is asked for.
    fn below(&mut self, most: u64) -> u64 {
        (self.chance)(most)
    }

    fn one_in(&mut self, most: u64) -> bool {
        self.below(most) == 0
    }

    fn at(&mut self, at: u64, happening: Happening) {
        self.count += 1;
        self.agenda.insert((at.max(self.now), self.count), happening);
    }

    /// Some time from now, below that many microseconds.
    fn within(&mut self, most: u64, happening: Happening) {
        let at = self.now + self.below(most);
        self.at(at, happening);
    }

    fn time(&self) -> Now {
        Now {
            instant: self.began + Duration::from_micros(self.now),
            unix_ms: 1_700_000_000_000 + self.now / 1000,
        }
    }

    fn is_lively(&self) -> bool {
        self.now < LIVELY
    }

    fn room(&mut self) -> RoomId {
        let number = self.below(self.rooms);
        RoomId::new(&format!("r{number}")).unwrap()
    }

    fn plan_faults(&mut self) {
        let nodes = self.nodes.len() as u64;
        for _ in 0..self.below(5) {
            let (at, node) = (self.below(LIVELY), usize::try_from(self.below(nodes)).unwrap());
            let until = at + self.below(1_500_000);
            match self.below(3) {
                0 => self.at(at, Happening::Die(node)),
                1 if nodes > 1 => {
                    self.at(at, Happening::Link(node, false));
                    self.at(until.min(LIVELY), Happening::Link(node, true));
                }
                _ => {
                    self.at(at, Happening::Store(false));
                    self.at(until.min(LIVELY), Happening::Store(true));
                }
            }
        }
        for node in 0..self.nodes.len() {
            self.at(LIVELY, Happening::Link(node, true));
        }
        self.at(LIVELY, Happening::Store(true));
    }

    fn run(&mut self) {
        while let Some(((at, _), happening)) = self.agenda.pop_first() {
            if at > LIVELY + REST {
                break;
            }
            self.now = at;
            match happening {
                Happening::Step(node, life) => self.step(node, life),
                Happening::Commit(node, life) => self.commit(node, life),
                Happening::Input(node, life, input) => self.give(node, life, input),
                Happening::Read(node, life, read) => self.answer_read(node, life, read),
                Happening::Act(client) => self.act(client),
                Happening::Past(client, asked) => self.tell_past(client, asked),
                Happening::Link(node, up) => self.link(node, up),
                Happening::LeaseOut(node, life) => self.lease_out(node, life),
                Happening::Store(serves) => {
                    self.faults.outages += u64::from(self.store_serves && !serves);
                    self.store_serves = serves;
                }
                Happening::Die(node) => self.die(node),
            }
            self.read_all();
        }
    }

    /// What the store has, as every client should have seen it.
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

    fn last_seq(&self, room: &RoomId) -> u64 {
        let last = self.store.last_seq(&tenant(), room).now_or_never().unwrap();
        last.unwrap()
    }

    fn check(&mut self) -> Result<Summary, Vec<Violation>> {
        for number in 0..ROOMS {
            let room = RoomId::new(&format!("r{number}")).unwrap();
            let messages = self.stored(&room);
            let messages = messages.into_iter().map(|message| StoredMessage {
                seq: message.seq,
                content: message.content.into(),
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

/// Says which seed it was that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {0}: PARLANCE_SEED={0} cargo test -p parlance hub::simulation",
                self.0
            );
        }
    }
}

/// Runs a seed. Gives what happened, how much, and what broke.
fn simulate(seed: u64) -> (History, Summary, Faults) {
    let _named = Named(seed);
    let mut world = World::new(seed);
    world.run();
    world.check_presence();
    match world.check() {
        Ok(summary) => (world.history, summary, world.faults),
        Err(violations) => {
            let list: Vec<String> = violations.iter().map(ToString::to_string).collect();
            panic!("{:?}:\n{}", world.faults, list.join("\n"));
        }
    }
}

#[test]
fn what_clients_see_is_what_the_store_has_whatever_breaks() {
    let seeds = match std::env::var("PARLANCE_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..SEEDS).collect(),
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
fn a_seed_happens_in_the_same_way_each_time() {
    for seed in 0..20 {
        assert_eq!(simulate(seed), simulate(seed), "seed {seed}");
    }
}

/// A simulation in which nothing happens finds nothing.
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
    }
    assert!(acknowledged > 2000 && delivered > 5000, "{acknowledged} {delivered}");
    let Faults {
        deaths,
        links,
        outages,
        lost_answers,
        slow_clients,
        lost_packets,
    } = faults;
    for fault in [deaths, links, outages, lost_answers, slow_clients, lost_packets] {
        assert!(fault > 20, "{faults:?}");
    }
}
