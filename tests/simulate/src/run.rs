//! One run: the nodes start, the plan happens, all faults end, and the result is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Dice;
use crate::client::{Client, Handle, Word};
use crate::guests::Guests;
use crate::log::Log;
use crate::net::Net;
use crate::node::{Ground, HANDLER, Node, operator};
use crate::os;
use crate::plan::{LENGTH_MS, Plan, Step, TENANTS, What};
use crate::shares::Shares;
use crate::shelf::Shelf;
use crate::world::World;

/// How long everything may take to come to rest once the faults have ended.
const REST: Duration = Duration::from_secs(120);
/// The versions at the beginning: one more than the decisions of operators.
const VERSIONS: usize = 6;

/// The result of a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    /// The digest of all that could be observed.
    pub(crate) digest: String,
    pub(crate) violations: Vec<String>,
    pub(crate) counts: BTreeMap<String, u64>,
    /// The number of steps of the plan.
    pub(crate) steps: usize,
}

/// What to run.
pub(crate) struct Order {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// The steps to leave out.
    pub(crate) without: Vec<usize>,
    /// Whether to print what happens.
    pub(crate) trace: bool,
}

/// Runs it on a thread of its own, whose time and random numbers come from the seed.
pub(crate) fn run(order: Order, guests: Arc<Guests>) -> Outcome {
    let simulated = move || {
        os::simulate(order.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        Ok(runtime.block_on(whole(&order, &guests)))
    };
    let thread = std::thread::Builder::new()
        .stack_size(16 * 1024 * 1024)
        .spawn(simulated);
    let ended: std::io::Result<Outcome> = thread.and_then(|thread| {
        let failed = |_| Err(std::io::Error::other("the run has panicked"));
        thread.join().unwrap_or_else(failed)
    });
    ended.unwrap_or_else(|error| Outcome {
        violations: vec![error.to_string()],
        ..Outcome::default()
    })
}

async fn whole(order: &Order, guests: &Guests) -> Outcome {
    os::follow_runtime();
    let log = Log::new(order.trace);
    let plan = Plan::of(order.seed, order.nodes);
    let dice = Dice::new(order.seed);
    let ground = Ground {
        sandbox: guests.sandbox.clone(),
        shelf: Shelf::new(dice.branch(11), log.clone()),
        net: Net::new(dice.branch(12), log.clone()),
        dice: dice.branch(13),
    };
    let world = World::new(log.clone(), dice.branch(14), ground, order.nodes);
    let steps = plan.steps.len();
    if begin(&world, order.nodes, guests).await {
        let shares = Shares::watch(&world);
        let clients: Vec<Handle> = (plan.people.iter().enumerate())
            .map(|(number, person)| Client::start(&world, number, person.clone()))
            .collect();
        happen(&world, &clients, &plan.steps, order, guests, &shares).await;
        world.heal();
        for (number, client) in clients.iter().enumerate() {
            // Clients that have stopped reading continue.
            let _ = client.words.send(Word::Do(What::Stall { client: number, ms: 0 }));
        }
        if rest(&world, &clients).await {
            crate::roll_call::call(&world, &clients).await;
        }
        crate::check::check(&world, &clients, &shares).await;
    }
    let (digest, violations, counts) = log.end();
    Outcome {
        seed: order.seed,
        digest,
        violations,
        counts,
        steps,
    }
}

/// Starts the nodes and creates the tenants. Returns whether all came up.
async fn begin(world: &Arc<World>, nodes: usize, guests: &Guests) -> bool {
    for index in 0..nodes {
        world.start(index);
    }
    let Some(first) = world.node(0) else { return false };
    let founded = async {
        first.found().await?;
        // So many versions that no rollback goes back to none.
        for version in 1..=VERSIONS {
            deploy(&first, guests, &format!("v{version}"), None).await?;
        }
        crate::check::limit(world).await
    };
    if let Err(error) = founded.await {
        world
            .log
            .violation(format_args!("the tenants cannot be made: {error:#}"));
        return false;
    }
    let until = Instant::now() + REST;
    loop {
        let mut ready = 0;
        for node in world.nodes() {
            for tenant in TENANTS {
                let tenant = node.tenant(tenant).await;
                let deployed = tenant.is_some_and(|tenant| {
                    let routes = tenant.routes();
                    let handler = routes.get(parlance_handler::sandbox::Interface::Message);
                    handler.is_some_and(|handler| handler.info().version == VERSIONS as u64)
                });
                ready += usize::from(deployed);
            }
        }
        if ready == nodes * TENANTS.len() {
            return true;
        }
        if Instant::now() > until {
            world.log.violation("the nodes do not come to serve the tenants");
            return false;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn deploy(node: &Node, guests: &Guests, stamp: &str, canary: Option<u8>) -> anyhow::Result<()> {
    for tenant in TENANTS {
        node.deploy(tenant, guests.of(tenant), stamp, canary).await?;
    }
    Ok(())
}

async fn happen(
    world: &Arc<World>,
    clients: &[Handle],
    steps: &[Step],
    order: &Order,
    guests: &Guests,
    shares: &Arc<Shares>,
) {
    let began = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        if order.without.contains(&number) {
            continue;
        }
        sleep_until(began + Duration::from_millis(step.at_ms)).await;
        world.log.note(format_args!("step {number} {:?}", step.what));
        world.log.count(step.what.name(), 1);
        act(world, clients, &step.what, number, guests, shares);
    }
    sleep_until(began + Duration::from_millis(LENGTH_MS + 3_000)).await;
}

/// Takes a step, and undoes it later.
fn for_a_while(ms: u64, undo: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(Duration::from_millis(ms)).await;
        undo();
    });
}

fn act(world: &Arc<World>, clients: &[Handle], what: &What, number: usize, guests: &Guests, shares: &Arc<Shares>) {
    let (shelf, net) = (world.ground.shelf.clone(), world.ground.net.clone());
    match *what {
        What::Send { client, .. }
        | What::Type { client, .. }
        | What::Read { client, .. }
        | What::Status { client, .. }
        | What::Ask { client }
        | What::Leave { client, .. }
        | What::Disconnect { client, .. }
        | What::Stall { client, .. } => {
            let _ = clients[client].words.send(Word::Do(what.clone()));
        }
        What::Flock { .. } => {
            for client in clients {
                let _ = client.words.send(Word::Do(what.clone()));
            }
        }
        What::Kill {
            node,
            done_percent,
            back_ms,
        } => {
            if let Some(node) = world.node(node) {
                node.life.end(done_percent);
            }
            world.start_later(node, Duration::from_millis(back_ms));
        }
        What::KillAtCommit { node, back_ms } => {
            if let Some(found) = world.node(node) {
                found.life.set_trap();
                let (world, life) = (world.clone(), found.life.clone());
                tokio::spawn(async move {
                    life.ended().await;
                    if !world.is_healed() {
                        sleep(Duration::from_millis(back_ms)).await;
                    }
                    world.start(node);
                });
            }
        }
        What::CutOff { node, ms } => {
            net.set_connected(node, false);
            for_a_while(ms, move || net.set_connected(node, true));
        }
        What::Weather {
            drop_percent,
            twice_percent,
            most_ms,
            ms,
        } => {
            net.set_weather(drop_percent, twice_percent, most_ms);
            for_a_while(ms, move || net.heal());
        }
        What::Outage { node, ms } => {
            shelf.set_away(node, true);
            for_a_while(ms, move || shelf.set_away(node, false));
        }
        What::LoseAnswers { percent, ms } => {
            shelf.set_lost(percent);
            for_a_while(ms, move || shelf.set_lost(0));
        }
        What::SlowStore { most_ms, ms } => {
            shelf.set_slow(most_ms);
            for_a_while(ms, move || shelf.set_slow(0));
        }
        What::Clock { ahead_ms } => os::set_ahead(ahead_ms),
        What::Deploy { node, .. } | What::Share { node, .. } | What::Promote { node } | What::RollBack { node } => {
            if let Some(node) = world.node(node) {
                let (what, guests, world, shares) = (what.clone(), guests.clone(), world.clone(), shares.clone());
                tokio::spawn(async move { decide(&world, &node, &what, number, &guests, &shares).await });
            }
        }
    }
}

/// Carries out an operator's decision. One that is refused changes nothing, such as the share of a canary where there
/// is none.
async fn decide(world: &World, node: &Node, what: &What, number: usize, guests: &Guests, shares: &Shares) {
    shares.something_changes();
    let mut refused = Vec::new();
    match what {
        What::Deploy { percent, .. } => {
            let deployed = deploy(node, guests, &format!("step{number}"), *percent).await;
            refused.extend(deployed.err().map(|error| format!("{error:#}")));
        }
        What::Share { percent, .. } => {
            for tenant in TENANTS {
                let changed = node.control.set_canary(&operator(), tenant, HANDLER, *percent).await;
                refused.extend(changed.err().map(|error| error.to_string()));
            }
        }
        What::Promote { .. } => {
            for tenant in TENANTS {
                let changed = node.control.promote(&operator(), tenant, HANDLER).await;
                refused.extend(changed.err().map(|error| error.to_string()));
            }
        }
        What::RollBack { .. } => {
            for tenant in TENANTS {
                let changed = node.control.rollback(&operator(), tenant, HANDLER, None).await;
                refused.extend(changed.err().map(|error| error.to_string()));
            }
        }
        _ => {}
    }
    shares.something_changes();
    world.log.note(format_args!("step {number} is decided: {refused:?}"));
}

/// Waits until all clients are in their rooms and have everything. Returns whether that happened in time.
async fn rest(world: &Arc<World>, clients: &[Handle]) -> bool {
    let until = Instant::now() + REST;
    loop {
        let restless = crate::check::restless(world, clients).await;
        if restless.is_empty() {
            return true;
        }
        if Instant::now() > until {
            for who in restless {
                world.log.violation(format_args!("does not come to rest: {who}"));
            }
            return false;
        }
        sleep(Duration::from_millis(500)).await;
    }
}
