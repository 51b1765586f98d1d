//! Checks, once all faults have ended, that everything which clients see of each other works on every node.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parlance_history::Record;
use tokio::time::sleep;

use crate::client::{Handle, Input};
use crate::plan::{Action, ROOMS, TENANTS};
use crate::world::World;

/// The time within which an event reaches all recipients.
const DELIVERY_TIME: Duration = Duration::from_secs(3);
/// The time within which typing and presence end by themselves.
const EXPIRY_TIME: Duration = Duration::from_secs(15);
/// The number of clients that leave at the end.
const LEAVING: usize = 3;

fn tell(client: &Handle, action: Action) {
    let _ = client.inputs.send(Input::Act(action));
}

pub(crate) async fn check(world: &Arc<World>, clients: &[Handle]) {
    // Until then connections to dead nodes may count.
    sleep(EXPIRY_TIME).await;
    // Each status changes, so that all clients are told of it.
    for last in [false, true] {
        for (number, client) in clients.iter().enumerate() {
            let away = ends_online(client) != last;
            tell(client, Action::Status { client: number, away });
        }
        sleep(DELIVERY_TIME).await;
    }
    for tenant in TENANTS {
        for room in ROOMS {
            let inside = |client: &&Handle| client.device.tenant == tenant && client.device.rooms.contains(&room);
            let members: Vec<&Handle> = clients.iter().filter(inside).collect();
            events(world, room, &members).await;
        }
    }
    let mut present: Vec<usize> = (0..clients.len()).collect();
    for _ in 0..LEAVING {
        let gone = present.remove(world.rng.index(present.len()));
        let never = Action::Disconnect {
            client: gone,
            noticed_ms: 0,
            back_ms: u64::MAX,
        };
        tell(&clients[gone], never);
    }
    sleep(EXPIRY_TIME).await;
    for number in &present {
        tell(&clients[*number], Action::Ask { client: *number });
    }
    sleep(DELIVERY_TIME).await;
    presence(world, clients, &present);
    connection_counts(world, clients, &present).await;
}

/// Checks that the nodes' counts of connections add up.
async fn connection_counts(world: &World, clients: &[Handle], present: &[usize]) {
    for tenant in TENANTS {
        let of_tenant = |number: &&usize| clients[**number].device.tenant == tenant;
        let expected = present.iter().filter(of_tenant).count();
        let mut counted = 0;
        for node in world.nodes() {
            counted += node.tenant(tenant).await.map_or(0, |tenant| tenant.connections());
        }
        if counted != expected {
            world.log.violation(format_args!(
                "nodes count {counted} connections of {tenant}, of which there are {expected}"
            ));
        }
    }
}

/// Checks that a message, its receipt and typing reach all members.
async fn events(world: &World, room: &'static str, members: &[&Handle]) {
    let Some(writer) = members.iter().find(|member| !member.device.is_limited()) else {
        return;
    };
    tell(writer, Action::Send { client: 0, room });
    sleep(DELIVERY_TIME).await;
    let newest = writer.view.lock().newest.get(room).cloned();
    for member in members {
        if member.view.lock().newest.get(room).cloned() != newest {
            world
                .log
                .violation(format_args!("a message does not reach {}", name(member)));
        }
    }
    let Some(reader) = members.iter().find(|other| other.device.user != writer.device.user) else {
        return;
    };
    tell(reader, Action::Read { client: 0, room });
    tell(
        reader,
        Action::Type {
            client: 0,
            room,
            on: true,
        },
    );
    sleep(DELIVERY_TIME).await;
    let types = |member: &Handle| {
        let view = member.view.lock();
        let typing = view.typing.get(room).and_then(|typing| typing.get(&reader.device.user));
        typing.copied().unwrap_or(false)
    };
    let of_another = |member: &&&Handle| member.device.user != reader.device.user;
    for member in members.iter().filter(of_another) {
        let receipt = newest.clone().map(|id| (id, reader.device.user.clone()));
        let view = member.view.lock();
        let has = receipt.is_some_and(|receipt| view.read.get(room).is_some_and(|read| read.contains(&receipt)));
        drop(view);
        if !has {
            world
                .log
                .violation(format_args!("a receipt does not reach {}", name(member)));
        }
        if !types(member) {
            world
                .log
                .violation(format_args!("typing does not reach {}", name(member)));
        }
    }
    sleep(EXPIRY_TIME).await;
    for member in members.iter().filter(of_another).filter(|member| types(member)) {
        world
            .log
            .violation(format_args!("typing does not end at {}", name(member)));
    }
}

/// Sets half of the users online, with all of their devices, and the others away.
fn ends_online(client: &Handle) -> bool {
    client.device.user.ends_with(['1', '3', '5'])
}

fn name(client: &Handle) -> String {
    format!("{}/{}", client.device.tenant, client.device.user)
}

/// Checks the presence of each user as the other clients see it: in the answer to `get-presence`, and in the last
/// `presence` event that each got.
fn presence(world: &World, clients: &[Handle], present: &[usize]) {
    let mut devices: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for number in present {
        let device = &clients[*number].device;
        *devices.entry((device.tenant, &device.user)).or_default() += 1;
    }
    for number in present {
        let observer = &clients[*number];
        let rooms: BTreeSet<&str> = observer.device.rooms.iter().copied().collect();
        for client in clients {
            let device = &client.device;
            let with = |device: &Handle| device.device.rooms.iter().any(|room| rooms.contains(room));
            // A user without a device left was visible through all of the user's devices.
            let left_some = devices.contains_key(&(device.tenant, device.user.as_str()));
            let shares = (0..clients.len())
                .filter(|device| same(&clients[*device], client) && (!left_some || present.contains(device)))
                .any(|device| with(&clients[device]));
            if device.tenant != observer.device.tenant || device.user == observer.device.user || !shares {
                continue;
            }
            let connections = devices
                .get(&(device.tenant, device.user.as_str()))
                .copied()
                .unwrap_or(0);
            let left = (0..clients.len()).filter(|number| !present.contains(number));
            let has_left = left.clone().any(|number| same(&clients[number], client));
            let status = match connections {
                0 => "offline",
                _ if ends_online(client) => "online",
                _ => "away",
            };
            let asked = observer.view.lock().users.get(&device.user).cloned();
            let truth = (status.to_owned(), connections);
            if asked.as_ref() != Some(&truth) {
                world.log.violation(format_args!(
                    "{} hears that {} is {asked:?}, which is {truth:?}",
                    name(observer),
                    device.user
                ));
            }
            // A user with another device may be visible through that one alone.
            if has_left && connections > 0 {
                continue;
            }
            world.log.push(Record::TruthPresence {
                client: format!("{}/{number}", observer.device.tenant).into(),
                user: device.user.as_str().into(),
                status: status.into(),
            });
        }
    }
}

fn same(one: &Handle, other: &Handle) -> bool {
    one.device.tenant == other.device.tenant && one.device.user == other.device.user
}
