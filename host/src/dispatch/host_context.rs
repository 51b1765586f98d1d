//! Implements what a handler may ask the host about its connection and the tenant's other clients.

use parlance_handler::capability::{DnsLookupLimit, HostContext, PresenceState};
use parlance_types::id::{RoomId, UserId};

use super::session::Session;

#[async_trait::async_trait]
impl HostContext for Session {
    fn joined(&self, room: &str) -> bool {
        self.connection.is_in(room)
    }

    fn room_count(&self) -> usize {
        self.connection.room_count()
    }

    fn admit_http_request(&self) -> bool {
        self.tenant.settings().http.take(1).is_ok()
    }

    fn dns_lookups(&self) -> DnsLookupLimit {
        self.tenant.dns_lookups.clone()
    }

    async fn wait_in_flight(&self) {
        self.connection.wait_in_flight().await;
    }

    async fn members(&self, room: &RoomId, limit: usize) -> Vec<UserId> {
        self.connection.wait_in_flight().await;
        self.tenant.hub.members(room.clone(), limit).await.unwrap_or_default()
    }

    async fn member_count(&self, room: &RoomId, user: &UserId) -> usize {
        self.connection.wait_in_flight().await;
        let count = self.tenant.hub.member_count(room.clone(), user.clone());
        count.await.unwrap_or_default()
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        self.connection.wait_in_flight().await;
        let asker = self.connection.identity.load().user().clone();
        self.tenant
            .hub
            .presence(asker, users.to_vec())
            .await
            .unwrap_or_default()
    }
}
