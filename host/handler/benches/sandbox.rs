//! Benchmarks one event in the sandbox, with a fresh instance of a shipped handler and with a warm one. Nothing is
//! committed or delivered. `cargo bench -p parlance-handler --bench sandbox`
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark may fail loudly; criterion's macros have no docs"
)]

use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use parlance_handler::capability::{
    Call, CallLimits, DnsLookupLimit, Effects, HandlerInfo, HostContext, Isolation, Logs, PresenceState, SystemRandom,
};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Handler, HandlerInput, HandlerReply, Sandbox};
use parlance_scheduler::Quantum;
use parlance_shipped::component;
use parlance_store::memory::MemoryStore;
use parlance_types::auth::Identity;
use parlance_types::id::{ConnectionId, RoomId, UserId};

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

struct Bench {
    handler: Arc<Handler>,
    call: Box<dyn Fn() -> Call>,
    limits: GuestLimits,
}

impl Bench {
    fn new(sandbox: &Arc<Sandbox>, name: &str, isolation: Isolation) -> Self {
        let info = Arc::new(HandlerInfo {
            name: name.into(),
            isolation,
            ..HandlerInfo::default()
        });
        let handler = sandbox
            .load_trusted(info.clone(), component(name).expect("it is shipped"))
            .expect("it loads");
        let identity = Arc::new(Identity::for_tests("default", "alice").expect("a valid user"));
        let limits = Arc::new(CallLimits::default());
        let (store, host_context) = (Arc::new(MemoryStore::default()), Arc::new(Everywhere));
        let (random, connection) = (Arc::new(SystemRandom), ConnectionId::from_bits(1));
        let call = Box::new(move || Call {
            identity: identity.clone(),
            connection: connection.clone(),
            handshake: Arc::default(),
            handler: info.clone(),
            now_ms: 1_790_000_000_000,
            random: random.clone(),
            store: store.clone(),
            host_context: host_context.clone(),
            wasi_tap: None,
            has_reserved_slot: true,
            takes_answers: false,
            is_server_event: false,
            retry_after: None,
            sent: None,
            not_joined: std::sync::atomic::AtomicBool::new(false),
            effects: Effects::with_allowance(limits.effects.effects, limits.effects.output),
            logs: Logs::with_allowance(limits.effects.log_bytes),
            limits: limits.clone(),
        });
        Self {
            handler: Arc::new(handler),
            call,
            limits: GuestLimits::default(),
        }
    }

    fn run(&self, criterion: &mut Criterion, name: &str, input: HandlerInput<'_>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let quantum = Quantum::new();
        // Make sure that the usual case is measured: a handler that accepts, with one effect.
        let outcome = runtime.block_on(self.handler.call(input, (self.call)(), &self.limits, &quantum));
        assert_eq!(
            (outcome.result, outcome.effects.len()),
            (Ok(HandlerReply::Data(None)), 1)
        );
        criterion.bench_function(name, |bencher| {
            bencher.to_async(&runtime).iter_batched(
                &self.call,
                |call| self.handler.call(input, call, &self.limits, &quantum),
                BatchSize::SmallInput,
            );
        });
    }
}

fn events(criterion: &mut Criterion) {
    let sandbox = Arc::new(Sandbox::new(EngineLimits::default(), &GuestLimits::default()).expect("an engine"));
    let (room, content) = ("general".to_owned(), "x".repeat(100));
    let message = HandlerInput::Message {
        room: &room,
        content: &content,
        metadata: None,
        client_id: None,
    };
    let typing = HandlerInput::Typing {
        room: &room,
        typing: true,
    };
    for isolation in [Isolation::Fresh, Isolation::Warm] {
        for (name, input) in [("message", message), ("typing", typing)] {
            let label = format!("{}/{name}", isolation.name());
            Bench::new(&sandbox, name, isolation).run(criterion, &label, input);
        }
    }
}

criterion_group!(benches, events);
criterion_main!(benches);
