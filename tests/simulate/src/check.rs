//! The checks at the end of a run, besides that of the history.

use std::sync::Arc;

use anyhow::Context as _;
use parlance_history::{Record, StoredMessage};
use parlance_store::{End, KvKey, Message, Range, Reader as _, StorageQuota, Write, WriteSet, Writer as _};
use parlance_types::id::{RoomId, TenantId};

use crate::client::Handle;
use crate::node::HANDLER;
use crate::plan::{LIMITED, ROOMS, TENANTS};
use crate::versions::{VersionCheck, routes};
use crate::world::World;

/// The most users of a tenant.
const USERS: usize = 6;

async fn tenant_id(world: &World, name: &str) -> Option<TenantId> {
    for node in world.nodes() {
        if let Some(tenant) = node.tenant(name).await {
            return Some(tenant.id().clone());
        }
    }
    None
}

/// All messages of a room in the store.
async fn stored(world: &World, tenant: &TenantId, room: &str) -> Vec<Message> {
    let Ok(room) = RoomId::new(room) else {
        return Vec::new();
    };
    let range = Range {
        after: 0,
        before: None,
        limit: u32::MAX,
        from: End::Oldest,
    };
    let page = world
        .environment
        .store
        .contents
        .data
        .history(tenant, &room, range)
        .await;
    page.map(|page| page.messages).unwrap_or_default()
}

/// Lists the differences that must still disappear: routes that differ, clients that lack something.
pub(crate) async fn unconverged(world: &World, clients: &[Handle]) -> Vec<String> {
    let mut unconverged = Vec::new();
    for tenant in TENANTS {
        let Some(id) = tenant_id(world, tenant).await else {
            unconverged.push(format!("nobody serves {tenant}"));
            continue;
        };
        let routes = routes(world, tenant).await;
        if routes.len() > 1 {
            unconverged.push(format!("nodes have different versions for {tenant}: {routes:?}"));
        }
        for (number, client) in clients.iter().enumerate() {
            if client.device.tenant != tenant {
                continue;
            }
            let mut missing = {
                let view = client.view.lock();
                let mut missing = Vec::new();
                if !view.connected {
                    missing.push("is not connected".to_owned());
                }
                if view.outside > 0 {
                    missing.push(format!("is not in {} of its rooms", view.outside));
                }
                if view.pending > 0 {
                    missing.push(format!("has {} messages that are not acknowledged", view.pending));
                }
                missing
            };
            for room in &client.device.rooms {
                let last = stored(world, &id, room).await.last().map_or(0, |message| message.seq);
                let have = client.view.lock().have.get(room).copied().unwrap_or(0);
                if have != last {
                    missing.push(format!("has {room} up to {have} of {last}"));
                }
            }
            unconverged.extend(missing.into_iter().map(|what| format!("{tenant}/{number} {what}")));
        }
    }
    unconverged
}

/// The count of one user is close to its limit.
pub(crate) async fn limit(world: &World) -> anyhow::Result<()> {
    let tenant = tenant_id(world, TENANTS[1]).await.context("nobody serves the tenant")?;
    let key = KvKey {
        handler: HANDLER.into(),
        key: format!("count:{}", LIMITED.0),
    };
    let value = (i64::MAX - LIMITED.1).to_string().into_bytes();
    let write = Write::KvSet {
        key,
        value,
        expires_at: None,
    };
    let write_set = WriteSet {
        tenant,
        reads: parlance_store::ReadSet::default(),
        writes: vec![Arc::new(write)],
        quota: StorageQuota::UNLIMITED,
    };
    world.environment.store.contents.data.commit(vec![write_set]).await?;
    Ok(())
}

pub(crate) async fn check(world: &Arc<World>, clients: &[Handle], versions: &VersionCheck) {
    for tenant in TENANTS {
        let Some(id) = tenant_id(world, tenant).await else {
            continue;
        };
        let mut all = Vec::new();
        for room in ROOMS {
            let messages = stored(world, &id, room).await;
            let kept = |message: &Message| StoredMessage {
                seq: message.seq,
                content: message.content.as_str().into(),
                user: message.sender.as_str().into(),
            };
            world.log.push(Record::Stored {
                tenant: tenant.into(),
                room: room.into(),
                messages: messages.iter().map(kept).collect(),
            });
            all.extend(messages);
        }
        counters(world, &id, &all).await;
    }
    world.log.check_history();
    versions.check(world);
    let connected = clients.iter().filter(|client| client.view.lock().connected).count();
    world.log.note(format_args!("{connected} are connected at the end"));
}

/// The second tenant's handler counts each message in the transaction that stores it. The first one's does not count.
async fn counters(world: &World, tenant: &TenantId, messages: &[Message]) {
    for user in 0..USERS {
        let user = format!("user{user}");
        let key = KvKey {
            handler: HANDLER.into(),
            key: format!("count:{user}"),
        };
        let value = world.environment.store.contents.data.kv_get(tenant, &key, 0).await;
        let counted = value.ok().flatten();
        let counted = counted.map_or(0, |bytes| String::from_utf8_lossy(&bytes).parse().unwrap_or(i128::MIN));
        let sent = messages
            .iter()
            .filter(|message| message.sender.as_str() == user)
            .count();
        let mut expected = sent as i128;
        if tenant.as_str() == TENANTS[0] {
            expected = 0;
        } else if user == LIMITED.0 {
            expected += i128::from(i64::MAX - LIMITED.1);
        }
        if counted != expected {
            world.log.violation(format_args!(
                "{user} of {tenant} has {sent} messages in the store, and is counted {counted} times, not {expected}"
            ));
        }
    }
}
