//! A sandbox with one handler and no host around it, for tests of how events share threads and instances.

use std::sync::Arc;

use parlance_handler::capability::{
    Call, CallLimits, DnsLookupLimit, Effects, HandlerInfo, HostContext, Isolation, Logs, PresenceState, SystemRandom,
};
use parlance_handler::sandbox::{
    CallOutcome, EngineLimits, Failure, GuestLimits, Handler, HandlerInput, Sandbox, TrapKind,
};
use parlance_store::memory::MemoryStore;
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, RoomId, UserId};

use crate::built::hostile_file;

/// The context of a connection that is in every room, alone.
struct Everywhere;

#[async_trait::async_trait]
impl HostContext for Everywhere {
    fn joined(&self, _: &str) -> bool {
        true
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
        Vec::new()
    }

    async fn member_count(&self, _: &RoomId, _: &UserId) -> usize {
        1
    }

    async fn presence(&self, users: &[UserId]) -> Vec<PresenceState> {
        users.iter().cloned().map(PresenceState::offline).collect()
    }
}

/// The guest `hostile` in its own sandbox.
pub(crate) struct Bare {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) handler: Arc<Handler>,
}

impl Bare {
    pub(crate) fn new(limits: EngineLimits, isolation: Isolation) -> Self {
        let sandbox = Arc::new(Sandbox::new(limits, &GuestLimits::default()).unwrap());
        let bytes = std::fs::read(hostile_file()).unwrap();
        let handler = Arc::new(sandbox.load(info(isolation), &bytes, &GuestLimits::default()).unwrap());
        Self { sandbox, handler }
    }

    /// Runs an event with this name. Some events take a `count`.
    pub(crate) async fn run(&self, name: &str, count: u32, limits: &GuestLimits) -> CallOutcome {
        run(&self.handler, name, count, limits).await
    }
}

pub(crate) fn info(isolation: Isolation) -> Arc<HandlerInfo> {
    Arc::new(HandlerInfo {
        name: "hostile".into(),
        isolation,
        ..HandlerInfo::default()
    })
}

pub(crate) async fn run(handler: &Arc<Handler>, name: &str, count: u32, limits: &GuestLimits) -> CallOutcome {
    let arguments = format!(r#"[{{"roomId":"general","count":{count}}}]"#);
    run_with(handler, name, &arguments, limits).await
}

/// Runs an event whose arguments are JSON text.
pub(crate) async fn run_with(
    handler: &Arc<Handler>,
    name: &str,
    arguments: &String,
    limits: &GuestLimits,
) -> CallOutcome {
    let input = HandlerInput::Event {
        name,
        arguments,
        attachments: &[],
    };
    let allowed = CallLimits::default();
    let call = Call {
        identity: Arc::new(Identity::for_tests("default", "alice").unwrap()),
        connection: ConnectionId::from_bits(1),
        handshake: Arc::default(),
        handler: handler.info().clone(),
        now_ms: 1_790_000_000_000,
        random: Arc::new(SystemRandom),
        store: Arc::new(MemoryStore::default()),
        host_context: Arc::new(Everywhere),
        wasi_tap: None,
        has_reserved_slot: true,
        takes_answers: false,
        is_server_event: false,
        effects: Effects::with_allowance(allowed.effects.effects, allowed.effects.output),
        logs: Logs::with_allowance(allowed.effects.log_bytes),
        retry_after: None,
        sent: None,
        not_joined: std::sync::atomic::AtomicBool::new(false),
        limits: Arc::new(allowed),
    };
    handler
        .call(input, call, limits, &parlance_scheduler::Quantum::new())
        .await
}

#[track_caller]
pub(crate) fn assert_trapped(outcome: &CallOutcome, kind: TrapKind) {
    match &outcome.result {
        Err(Failure::Trapped(trap)) if trap.kind == kind => {}
        other => panic!("not stopped as {kind:?}: {other:?}"),
    }
}
