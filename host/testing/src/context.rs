//! What a handler may ask the test's host about its connection.

use std::sync::Arc;

use parlance_handler::capability::{Capability, DnsLookupLimit, HostContext, PresenceState};
use parlance_hub::{Connection, HubHandle};
use parlance_types::id::{RoomId, UserId};

use crate::faults::Faults;

/// The [`HostContext`] of a test's connection.
pub(crate) struct TestHostContext {
    pub(crate) hub: HubHandle,
    pub(crate) connection: Arc<Connection>,
    pub(crate) faults: Arc<Faults>,
}

#[async_trait::async_trait]
impl HostContext for TestHostContext {
    fn joined(&self, room: &str) -> bool {
        self.connection.is_in(room)
    }

    fn room_count(&self) -> usize {
        self.connection.room_count()
    }

    fn admit_http_request(&self) -> bool {
        true
    }

    fn dns_lookups(&self) -> DnsLookupLimit {
        DnsLookupLimit::default()
    }

    async fn wait_in_flight(&self) {
        self.connection.wait_in_flight().await;
    }

    async fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        self.hub.members(room.clone(), limit).await.unwrap_or_default()
    }

    async fn member_count(&self, room: &RoomId, user: &UserId) -> usize {
        let count = self.hub.member_count(room.clone(), user.clone());
        count.await.unwrap_or_default()
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        let asker = self.connection.identity.load().user().clone();
        self.hub.presence(asker, users.to_vec()).await.unwrap_or_default()
    }

    fn denies(&self, capability: Capability) -> bool {
        self.faults.denied.contains(&capability)
    }
}
