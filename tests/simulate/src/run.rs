//! One run: the nodes start, the plan happens, all faults end, and the result is checked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Client, Handle, Input};
use crate::guests::Guests;
use crate::log::Log;
use crate::net::Net;
use crate::node::{Environment, HANDLER, Node, operator};
use crate::os;
use crate::plan::{Action, LENGTH_MS, Plan, Step, TENANTS};
use crate::rng::Rng;
use crate::store::SimulatedStore;
use crate::versions::VersionCheck;
use crate::world::World;

/// How long everything may take to come to rest once the faults have ended.
const CONVERGE_TIMEOUT: Duration = Duration::from_secs(120);
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
pub(crate) struct RunSpec {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// The steps to leave out.
    pub(crate) without: Vec<usize>,
    /// Whether to print what happens.
    pub(crate) trace: bool,
}

/// Runs it on a thread of its own, whose time and random numbers come from the seed.
pub(crate) fn run(spec: RunSpec, guests: Arc<Guests>) -> Outcome {
    let simulated = move || {
        os::simulate(spec.seed);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()?;
        Ok(runtime.block_on(simulate(&spec, &guests)))
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

async fn simulate(spec: &RunSpec, guests: &Guests) -> Outcome {
    os::follow_runtime();
    let log = Log::new(spec.trace);
    let plan = Plan::of(spec.seed, spec.nodes);
    let rng = Rng::new(spec.seed);
    let environment = Environment {
        sandbox: guests.sandbox.clone(),
        store: SimulatedStore::new(rng.branch(11), log.clone()),
        net: Net::new(rng.branch(12), log.clone()),
        rng: rng.branch(13),
    };
    let world = World::new(log.clone(), rng.branch(14), environment, spec.nodes);
    let steps = plan.steps.len();
    if start_nodes(&world, spec.nodes, guests).await {
        let versions = VersionCheck::watch(&world);
        let clients: Vec<Handle> = (plan.devices.iter().enumerate())
            .map(|(number, device)| Client::start(&world, number, device.clone()))
            .collect();
        take_steps(&world, &clients, &plan.steps, spec, guests, &versions).await;
        world.heal();
        for (number, client) in clients.iter().enumerate() {
            // Clients that have stopped reading continue.
            let _ = client.inputs.send(Input::Act(Action::Stall { client: number, ms: 0 }));
        }
        if wait_until_converged(&world, &clients).await {
            crate::visibility::check(&world, &clients).await;
        }
        crate::check::check(&world, &clients, &versions).await;
    }
    let (digest, violations, counts) = log.end();
    Outcome {
        seed: spec.seed,
        digest,
        violations,
        counts,
        steps,
    }
}

/// Starts the nodes and creates the tenants. Returns whether all came up.
async fn start_nodes(world: &Arc<World>, nodes: usize, guests: &Guests) -> bool {
    for index in 0..nodes {
        world.start(index);
    }
    let Some(first) = world.node(0) else { return false };
    let created = async {
        first.create_tenants().await?;
        // So many versions that no rollback goes back to none.
        for version in 1..=VERSIONS {
            deploy(&first, guests, &format!("v{version}"), None).await?;
        }
        crate::check::limit(world).await
    };
    if let Err(error) = created.await {
        world
            .log
            .violation(format_args!("the tenants cannot be made: {error:#}"));
        return false;
    }
    let until = Instant::now() + CONVERGE_TIMEOUT;
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

async fn take_steps(
    world: &Arc<World>,
    clients: &[Handle],
    steps: &[Step],
    spec: &RunSpec,
    guests: &Guests,
    versions: &Arc<VersionCheck>,
) {
    let began = Instant::now();
    for (number, step) in steps.iter().enumerate() {
        if spec.without.contains(&number) {
            continue;
        }
        sleep_until(began + Duration::from_millis(step.at_ms)).await;
        world.log.note(format_args!("step {number} {:?}", step.action));
        world.log.count(step.action.name(), 1);
        take_step(world, clients, &step.action, number, guests, versions);
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

fn take_step(
    world: &Arc<World>,
    clients: &[Handle],
    action: &Action,
    number: usize,
    guests: &Guests,
    versions: &Arc<VersionCheck>,
) {
    let (store, net) = (world.environment.store.clone(), world.environment.net.clone());
    match *action {
        Action::Send { client, .. }
        | Action::Type { client, .. }
        | Action::Read { client, .. }
        | Action::Status { client, .. }
        | Action::Ask { client }
        | Action::Leave { client, .. }
        | Action::Disconnect { client, .. }
        | Action::Stall { client, .. } => {
            let _ = clients[client].inputs.send(Input::Act(action.clone()));
        }
        Action::LeaveTogether { .. } => {
            for client in clients {
                let _ = client.inputs.send(Input::Act(action.clone()));
            }
        }
        Action::Kill {
            node,
            committed_percent,
            back_ms,
        } => {
            if let Some(node) = world.node(node) {
                node.process.end(committed_percent);
            }
            world.start_later(node, Duration::from_millis(back_ms));
        }
        Action::KillAtCommit { node, back_ms } => {
            if let Some(found) = world.node(node) {
                found.process.kill_at_next_commit();
                let (world, process) = (world.clone(), found.process.clone());
                tokio::spawn(async move {
                    process.died().await;
                    if !world.is_healed() {
                        sleep(Duration::from_millis(back_ms)).await;
                    }
                    world.start(node);
                });
            }
        }
        Action::CutOff { node, ms } => {
            net.set_connected(node, false);
            for_a_while(ms, move || net.set_connected(node, true));
        }
        Action::LossyBus {
            drop_percent,
            twice_percent,
            most_ms,
            ms,
        } => {
            net.set_faults(drop_percent, twice_percent, most_ms);
            for_a_while(ms, move || net.heal());
        }
        Action::Outage { node, ms } => {
            store.set_down(node, true);
            for_a_while(ms, move || store.set_down(node, false));
        }
        Action::LoseAnswers { percent, ms } => {
            store.set_answer_loss(percent);
            for_a_while(ms, move || store.set_answer_loss(0));
        }
        Action::SlowStore { most_ms, ms } => {
            store.set_slow(most_ms);
            for_a_while(ms, move || store.set_slow(0));
        }
        Action::Clock { ahead_ms } => os::set_ahead(ahead_ms),
        Action::Deploy { node, .. }
        | Action::Share { node, .. }
        | Action::Promote { node }
        | Action::RollBack { node } => {
            if let Some(node) = world.node(node) {
                let (action, guests, world, versions) =
                    (action.clone(), guests.clone(), world.clone(), versions.clone());
                tokio::spawn(async move { decide(&world, &node, &action, number, &guests, &versions).await });
            }
        }
    }
}

/// Carries out an operator's decision. One that is refused changes nothing, such as the share of a canary where there
/// is none.
async fn decide(world: &World, node: &Node, action: &Action, number: usize, guests: &Guests, versions: &VersionCheck) {
    versions.note_change();
    let mut refused = Vec::new();
    match action {
        Action::Deploy { percent, .. } => {
            let deployed = deploy(node, guests, &format!("step{number}"), *percent).await;
            refused.extend(deployed.err().map(|error| format!("{error:#}")));
        }
        Action::Share { percent, .. } => {
            for tenant in TENANTS {
                let changed = node.control.set_canary(&operator(), tenant, HANDLER, *percent).await;
                refused.extend(changed.err().map(|error| error.to_string()));
            }
        }
        Action::Promote { .. } => {
            for tenant in TENANTS {
                let changed = node.control.promote(&operator(), tenant, HANDLER).await;
                refused.extend(changed.err().map(|error| error.to_string()));
            }
        }
        Action::RollBack { .. } => {
            for tenant in TENANTS {
                let changed = node.control.rollback(&operator(), tenant, HANDLER, None).await;
                refused.extend(changed.err().map(|error| error.to_string()));
            }
        }
        _ => {}
    }
    versions.note_change();
    world.log.note(format_args!("step {number} is decided: {refused:?}"));
}

/// Waits until all clients are in their rooms and have everything. Returns whether that happened in time.
async fn wait_until_converged(world: &Arc<World>, clients: &[Handle]) -> bool {
    let until = Instant::now() + CONVERGE_TIMEOUT;
    loop {
        let unconverged = crate::check::unconverged(world, clients).await;
        if unconverged.is_empty() {
            return true;
        }
        if Instant::now() > until {
            for problem in unconverged {
                world.log.violation(format_args!("does not come to rest: {problem}"));
            }
            return false;
        }
        sleep(Duration::from_millis(500)).await;
    }
}
