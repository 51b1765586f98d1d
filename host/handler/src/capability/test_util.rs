//! A call with nothing around it, for tests and benchmarks.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parlance_store::ReadSet;
use parlance_store::memory::MemoryStore;
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, RoomId, UserId};

use super::{Call, CallLimits, DnsLookupLimit, Effects, HandlerInfo, HostContext, Logs, PresenceState, SystemRandom};

/// The users in the room of a [`FixedContext`].
const MEMBERS: [&str; 2] = ["ann", "bob"];

impl Call {
    /// A call for a connection in the room `general`, with the default limits and an empty store.
    pub fn for_tests(identity: Arc<Identity>, handler: Arc<HandlerInfo>) -> Self {
        let limits = Arc::new(CallLimits::default());
        Self {
            identity,
            connection: ConnectionId::from_bits(1),
            handshake: Arc::default(),
            handler,
            now_ms: 1_790_000_000_000,
            sent: None,
            random: Arc::new(SystemRandom),
            store: Arc::new(MemoryStore::default()),
            host_context: Arc::new(FixedContext),
            wasi_tap: None,
            has_reserved_slot: true,
            is_rerun: false,
            effects: Effects::with_allowance(limits.effects.effects, limits.effects.output),
            reads: ReadSet::default(),
            logs: Logs::with_allowance(limits.effects.log_bytes),
            limits,
            is_server_event: false,
            takes_answers: false,
            retry_after: None,
            not_joined: AtomicBool::new(false),
            store_failed: false,
        }
    }
}

/// The context of a connection that is in the room `general` and in no other.
struct FixedContext;

#[async_trait::async_trait]
impl HostContext for FixedContext {
    fn joined(&self, room: &str) -> bool {
        room == "general"
    }

    fn room_count(&self) -> usize {
        1
    }

    fn admit_http_request(&self) -> bool {
        true
    }

    fn dns_lookups(&self) -> DnsLookupLimit {
        DnsLookupLimit::default()
    }

    async fn wait_in_flight(&self) {}

    async fn members(&self, _: &RoomId, _: usize) -> Vec<UserId> {
        MEMBERS.iter().filter_map(|user| UserId::new(user).ok()).collect()
    }

    async fn member_count(&self, _: &RoomId, _: &UserId) -> usize {
        MEMBERS.len()
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        users.iter().cloned().map(PresenceState::offline).collect()
    }
}
