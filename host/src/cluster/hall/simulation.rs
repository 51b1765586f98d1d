//! Several halls of one tenant over a bus that drops, delays, reorders and repeats what it carries and goes away for a
//! while. Whoever is in a room gets every message behind what they were told, once and in order, whatever happens.
//!
//! What happens comes from a seed, which a failure names; the order in which tasks run does not, since halls are tasks
//! and have clocks. So a seed that fails is to be run some times.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::time::sleep;

use super::tests::{Client, arrive, join, posted};
use super::*;
use crate::cluster::bus::{Broadcast, Elsewhere, Load, NodeId, Notice};
use crate::cluster::tests::{delivery, random};
use crate::store::memory::MemoryStore;
use crate::store::{StorageQuota, Unit};

const ROOM: &str = "r";
const TENANT: &str = "t";
/// Simulations in each run of all tests.
const SEEDS: u64 = 400;
/// Simulations side by side: they mostly wait.
const AT_ONCE: u64 = 100;
/// How long a member may wait for the last message.
const DEADLINE: Duration = Duration::from_secs(60);

type Chance = Arc<Mutex<Box<dyn FnMut(u64) -> u64 + Send>>>;

/// Below what is asked for.
fn below(chance: &Chance, most: u64) -> u64 {
    (chance.lock())(most)
}

/// The way between the nodes of one simulation.
struct Net {
    chance: Chance,
    inboxes: Mutex<Vec<Option<mpsc::Sender<Inbound>>>>,
    down: Vec<AtomicBool>,
    notices: broadcast::Sender<Notice>,
}

impl Net {
    fn is_down(&self, node: usize) -> bool {
        self.down[node].load(Ordering::Relaxed)
    }

    fn give(&self, node: usize, inbound: Inbound) {
        if let Some(inbox) = &self.inboxes.lock()[node] {
            let _ = inbox.try_send(inbound);
        }
    }

    fn set_down(&self, node: usize, down: bool) {
        self.down[node].store(down, Ordering::Relaxed);
        self.give(node, if down { Inbound::Down } else { Inbound::Up });
    }
}

struct Simulated {
    net: Arc<Net>,
    index: usize,
    node: NodeId,
}

impl Bus for Simulated {
    fn node(&self) -> &NodeId {
        &self.node
    }
    fn open(&self, _: &TenantId, inbox: mpsc::Sender<Inbound>) {
        self.net.inboxes.lock()[self.index] = Some(inbox);
        self.net.give(self.index, Inbound::Up);
    }
    fn close(&self, _: &TenantId) -> bool {
        true
    }
    fn is_first(&self) -> bool {
        self.index == 0
    }
    fn room(&self, _: &TenantId, _: &str, _: bool) {}
    fn broadcast(&self, _: &TenantId, broadcast: Broadcast) {
        for node in (0..self.net.down.len()).filter(|node| *node != self.index) {
            if self.net.is_down(self.index) {
                continue;
            }
            let times = match below(&self.net.chance, 10) {
                0 => 0,
                1 => 2,
                _ => 1,
            };
            for _ in 0..times {
                let (net, broadcast) = (self.net.clone(), broadcast.clone());
                let delay = Duration::from_millis(below(&net.chance, 60));
                tokio::spawn(async move {
                    sleep(delay).await;
                    if !net.is_down(node) {
                        net.give(node, Inbound::Broadcast(broadcast));
                    }
                });
            }
        }
    }
    fn entry(&self, _: &TenantId, _: &UserId, _: Option<Bytes>) {}
    fn set_load(&self, _: &TenantId, _: Load) {}
    fn elsewhere(&self, _: &TenantId) -> Elsewhere {
        Elsewhere::default()
    }
    fn notice(&self, _: Bytes) {}
    fn notices(&self) -> broadcast::Receiver<Notice> {
        self.net.notices.subscribe()
    }
}

/// One node: its hall, and what its committer has handed over and the hall has not got.
struct Node {
    hall: Hall,
    committed: mpsc::UnboundedSender<Delivery>,
}

struct World {
    chance: Chance,
    net: Arc<Net>,
    store: Arc<MemoryStore>,
    nodes: Vec<Node>,
}

/// Somebody who has come in.
struct Member {
    client: Client,
    /// The last message before.
    told: u64,
    /// Nothing up to there comes any more.
    exactly: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let chance: Chance = Arc::new(Mutex::new(Box::new(random(seed))));
        let store = Arc::new(MemoryStore::default());
        // One may be alone, on the bus that reaches nobody.
        let count = 1 + usize::try_from(below(&chance, 4)).unwrap();
        let net = Arc::new(Net {
            chance: chance.clone(),
            inboxes: Mutex::new(vec![None; count]),
            down: (0..count).map(|_| AtomicBool::new(false)).collect(),
            notices: broadcast::channel(1).0,
        });
        let node = |index: usize| {
            let alone = Fleet::of_one(store.clone());
            let bus = Simulated {
                net: net.clone(),
                index,
                node: NodeId::for_tests(index),
            };
            let limits = FleetLimits {
                sweep: Duration::from_millis(300),
                poll: Duration::from_millis(50),
                rooms_per_connection: 10,
            };
            let fleet = match count {
                1 => alone,
                _ => Fleet {
                    bus: Arc::new(bus),
                    limits,
                    ..alone
                },
            };
            let tenant = TenantId::assume_verified(TENANT).unwrap();
            let hall = Hall::open(tenant, Arc::new(Metrics::new().unwrap()), fleet, Arc::default());
            // As a committer does, it gives a hall what is committed in order, and in its own time.
            let (committed, mut jobs) = mpsc::unbounded_channel();
            let (to, chance) = (hall.clone(), chance.clone());
            tokio::spawn(async move {
                while let Some(job) = jobs.recv().await {
                    sleep(Duration::from_millis(below(&chance, 30))).await;
                    let _ = to.deliver(vec![job]);
                }
            });
            Node { hall, committed }
        };
        let nodes = (0..count).map(node).collect();
        Self {
            chance,
            net,
            store,
            nodes,
        }
    }

    async fn pause(&self, most_ms: u64) {
        sleep(Duration::from_millis(below(&self.chance, most_ms))).await;
    }

    fn some_node(&self) -> usize {
        usize::try_from(below(&self.chance, self.nodes.len() as u64)).unwrap()
    }

    /// Commits a message on some node.
    async fn post(&self, number: u64, sender: &Arc<Connection>) {
        let (effect, _) = posted(ROOM, number);
        let unit = Unit {
            tenant: TenantId::assume_verified(TENANT).unwrap(),
            writes: effect.write().cloned().into_iter().collect(),
            quota: StorageQuota::UNLIMITED,
        };
        let written = self.store.commit(vec![unit]).await.unwrap().remove(0).unwrap();
        let node = &self.nodes[self.some_node()];
        let _ = node.committed.send(delivery(sender, vec![effect], written));
    }

    /// Comes into the room on some node without being told of the past, as where a handler lets somebody in.
    async fn quiet_member(&self, number: u64) -> Member {
        self.pause(500).await;
        let hall = &self.nodes[self.some_node()].hall;
        let (connection, client) = arrive(hall, TENANT, number);
        let room = RoomId::new(ROOM).unwrap();
        let tenant = TenantId::assume_verified(TENANT).unwrap();
        let mut floors = Vec::new();
        if hall.is_in_fleet() {
            floors.push((room.clone(), self.store.last_seq(&tenant, &room).await.unwrap()));
            self.pause(20).await;
        }
        let joins = Delivery {
            floors,
            ..delivery(&connection, vec![join(ROOM)], Vec::new())
        };
        hall.deliver(vec![joins]).unwrap();
        hall.caught_up().await.unwrap();
        // It gets what comes from then on; what was committed before may come too.
        let told = self.store.last_seq(&tenant, &room).await.unwrap();
        Member {
            client,
            told,
            exactly: false,
        }
    }

    /// Comes into the room on some node: held, told of the past, and released, each in its time.
    async fn member(&self, number: u64) -> Member {
        self.pause(500).await;
        let hall = &self.nodes[self.some_node()].hall;
        let (connection, client) = arrive(hall, TENANT, number);
        let room = RoomId::new(ROOM).unwrap();
        let (done, wait) = oneshot::channel();
        let joins = Delivery {
            held_room: Some(room.clone()),
            done: Some(done),
            ..delivery(&connection, vec![join(ROOM)], Vec::new())
        };
        hall.deliver(vec![joins]).unwrap();
        wait.await.unwrap().unwrap();
        let tenant = TenantId::assume_verified(TENANT).unwrap();
        loop {
            self.pause(20).await;
            let last = self.store.last_seq(&tenant, &room).await.unwrap();
            self.pause(20).await;
            let released = hall.release(connection.clone(), room.clone(), last, Some(last), None);
            if released.await.unwrap() {
                return Member {
                    client,
                    told: last,
                    exactly: true,
                };
            }
        }
    }
}

fn seqs(client: &Client) -> Vec<u64> {
    let number = |text: &String| {
        let digits = text.split("\"seq\":").nth(1)?;
        digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    client.inbox.texts().iter().filter_map(number).collect()
}

async fn simulate(seed: u64) {
    let world = World::new(seed);
    let (sender, _) = arrive(&world.nodes[0].hall, TENANT, 1_000);
    let messages = 10 + below(&world.chance, 30);
    let posting = async {
        for number in 1..=messages {
            world.pause(40).await;
            world.post(number, &sender).await;
        }
    };
    let joining = async {
        let (told, quiet) = tokio::join!(
            join_all((0..6).map(|number| world.member(number))),
            join_all((6..9).map(|number| world.quiet_member(number))),
        );
        told.into_iter().chain(quiet).collect::<Vec<Member>>()
    };
    let failing = async {
        for _ in 0..below(&world.chance, 4) {
            world.pause(400).await;
            let node = world.some_node();
            world.net.set_down(node, true);
            world.pause(600).await;
            world.net.set_down(node, false);
        }
    };
    let ((), members, ()) = tokio::join!(posting, joining, failing);
    for (n, member) in members.iter().enumerate() {
        let Member { client, told, exactly } = member;
        let first = if *exactly { None } else { seqs(client).first().copied() };
        let expected: Vec<u64> = (first.unwrap_or(told + 1).min(told + 1)..=messages).collect();
        let began = Instant::now();
        while seqs(client).len() < expected.len() && began.elapsed() < DEADLINE {
            sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seqs(client), expected, "member {n}, told {told}, seed {seed}");
    }
}

#[tokio::test]
async fn members_get_every_message_once_and_in_order_whatever_the_bus_does() {
    for first in (0..SEEDS).step_by(usize::try_from(AT_ONCE).unwrap()) {
        let mut running = tokio::task::JoinSet::new();
        for seed in first..first + AT_ONCE {
            running.spawn(simulate(seed));
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
    }
}
