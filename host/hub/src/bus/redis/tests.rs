//! Tests of the bus against a real Redis, which each test starts for itself.

mod events;
mod outages;
mod presence;
mod requests;
mod sentinel;
mod server;
mod sharded;

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::bus::{Inbox, inbox};
use parlance_handler::capability::Packet;
use parlance_types::id::{RoomId, TenantId, UserId};
use server::Server;

/// The longest that a test waits for anything.
const DEADLINE: Duration = Duration::from_secs(30);

fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        url: RedisUrls::of(url),
        heartbeat: Duration::from_millis(200),
        lease: Duration::from_secs(2),
        message_bytes: 1 << 20,
        connect_timeout: Duration::from_secs(2),
        response_timeout: Duration::from_secs(2),
        reconnect_pause: Duration::from_millis(200),
        request_timeout: Duration::from_secs(10),
        ..RedisSettings::default()
    }
}

fn tenant(name: &str) -> TenantId {
    TenantId::for_tests(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn room(name: &str) -> TargetRoom {
    TargetRoom::Room(name.into())
}

fn event(text: &str, to: BroadcastTarget) -> Broadcast {
    let packet = Packet {
        text: Bytes::copy_from_slice(text.as_bytes()),
        attachments: Vec::new(),
    };
    Broadcast::event(packet, to, Vec::new())
}

/// A node whose bus delivers to the inbox of one tenant's hub.
struct Node {
    bus: RedisBus,
    tenant: TenantId,
    inbox: Inbox,
}

impl Node {
    /// Starts a node and waits until it is connected.
    async fn start(url: &str, name: &str) -> Self {
        let mut node = Self::starting(url, name);
        node.until(|inbound| matches!(inbound, Inbound::Connected).then_some(()))
            .await;
        node
    }

    fn starting(url: &str, name: &str) -> Self {
        Self::with(settings(url), name)
    }

    fn with(settings: RedisSettings, name: &str) -> Self {
        let bus = RedisBus::start(settings).unwrap();
        let tenant = tenant(name);
        let (sender, inbox) = inbox(1024);
        bus.subscribe(&tenant, sender);
        Self { bus, tenant, inbox }
    }

    async fn next(&mut self) -> Inbound {
        tokio::time::timeout(DEADLINE, self.inbox.recv())
            .await
            .expect("nothing came")
            .expect("the bus dropped the inbox")
    }

    /// Waits for a message that `wanted` accepts.
    async fn until<T>(&mut self, mut wanted: impl FnMut(Inbound) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    async fn broadcast(&mut self) -> Broadcast {
        self.until(|inbound| match inbound {
            Inbound::Broadcast(broadcast) => Some(broadcast),
            _ => None,
        })
        .await
    }

    fn send(&self, text: &str) {
        let to = BroadcastTarget::Rooms(vec![room("r")]);
        self.bus.broadcast(&self.tenant, event(text, to));
    }
}

/// Waits until the condition holds.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting).await.expect(what);
}
