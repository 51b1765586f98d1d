//! Events of the shipped message handler, each in a fresh instance. Nothing is committed or delivered.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use parlance_handler::capability::{
    Call, CallLimits, DnsLookupLimit, Effects, HandlerInfo, HostContext, Logs, PresenceState, SystemRandom,
};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, HandlerInput, HandlerReply, Sandbox};
use parlance_scheduler::Quantum;
use parlance_shipped::component;
use parlance_store::memory::MemoryStore;
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, RoomId, UserId};

use crate::user::{self, NOW_MS};

const ROOM: &str = "general";
/// Bytes of a message.
const CONTENT: usize = 100;

/// Runs `events` events.
pub(crate) async fn run(events: u64) -> Result<()> {
    let engine = EngineLimits {
        // Two, so that half of them are free while an event runs: with fewer, an instance is not used again. The pool
        // reserves 4 GiB of addresses for each memory that it may have; for four instances that is more than valgrind
        // gives a process.
        instances: 2,
        // An instruction counter makes a program many times slower. Without ticks, how slow does not matter.
        tick: Duration::from_secs(24 * 60 * 60),
        ..EngineLimits::default()
    };
    let limits = GuestLimits {
        wall_time: Duration::from_secs(60),
        ..GuestLimits::default()
    };
    let sandbox = Arc::new(Sandbox::new(engine, &limits)?);
    let info = Arc::new(HandlerInfo {
        name: "message".into(),
        ..HandlerInfo::default()
    });
    let component = component("message").context("the message handler is not shipped")?;
    let handler = sandbox.load_trusted(info.clone(), component)?;

    let calls = Calls {
        identity: Arc::new(user::identity()?),
        handler: info,
        limits: Arc::default(),
        store: Arc::default(),
        host_context: Arc::new(InOneRoom),
    };
    let (room, content) = (ROOM.to_owned(), "x".repeat(CONTENT));
    let input = HandlerInput::Message {
        room: &room,
        content: &content,
        metadata: None,
        client_id: None,
    };
    let quantum = Quantum::new();
    for _ in 0..events {
        let outcome = handler.call(input, calls.next(), &limits, &quantum).await;
        ensure!(
            outcome.result == Ok(HandlerReply::Data(None)) && outcome.effects.len() == 1,
            "the handler did not post the message: {:?}",
            outcome.result
        );
    }
    Ok(())
}

/// What the calls of all events share.
struct Calls {
    identity: Arc<Identity>,
    handler: Arc<HandlerInfo>,
    limits: Arc<CallLimits>,
    store: Arc<MemoryStore>,
    host_context: Arc<InOneRoom>,
}

impl Calls {
    /// A call for the next event.
    fn next(&self) -> Call {
        Call {
            identity: self.identity.clone(),
            connection: ConnectionId::from_bits(1),
            handshake: Arc::default(),
            handler: self.handler.clone(),
            now_ms: NOW_MS,
            sent: None,
            random: Arc::new(SystemRandom),
            store: self.store.clone(),
            host_context: self.host_context.clone(),
            wasi_tap: None,
            has_reserved_slot: true,
            is_rerun: false,
            reads: parlance_store::ReadSet::default(),
            limits: self.limits.clone(),
            is_server_event: false,
            takes_answers: false,
            effects: Effects::with_allowance(self.limits.effects.effects, self.limits.effects.output),
            logs: Logs::with_allowance(self.limits.effects.log_bytes),
            retry_after: None,
            not_joined: AtomicBool::new(false),
            store_failed: false,
        }
    }
}

/// The context of a connection that is in [`ROOM`] only. There are no other connections.
struct InOneRoom;

#[async_trait::async_trait]
impl HostContext for InOneRoom {
    fn joined(&self, room: &str) -> bool {
        room == ROOM
    }

    fn room_count(&self) -> usize {
        1
    }

    fn admit_http_request(&self) -> bool {
        false
    }

    fn dns_lookups(&self) -> DnsLookupLimit {
        DnsLookupLimit::default()
    }

    async fn wait_in_flight(&self) {}

    async fn members(&self, _: &RoomId, _: usize) -> Vec<UserId> {
        Vec::new()
    }

    async fn member_count(&self, _: &RoomId, _: &UserId) -> usize {
        1
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        users.iter().cloned().map(PresenceState::offline).collect()
    }
}
