//! Benchmarks one event in the sandbox, with a fresh instance of a shipped handler and with a warm one. Nothing is
//! committed or delivered. `COMPONENTS=a.wasm:b.wasm` adds the events of further message handlers, in any language.
//!
//! `cargo bench -p parlance-handler --bench sandbox`
#![allow(
    missing_docs,
    clippy::expect_used,
    reason = "a benchmark may fail loudly; criterion's macros have no docs"
)]

use std::path::PathBuf;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use parlance_handler::capability::{Call, HandlerInfo, Isolation};
use parlance_handler::sandbox::{EngineLimits, GuestLimits, Handler, HandlerInput, HandlerReply, Sandbox};
use parlance_scheduler::Quantum;
use parlance_shipped::component;
use parlance_store::memory::MemoryStore;
use parlance_types::auth::Identity;

struct Bench {
    handler: Arc<Handler>,
    call: Box<dyn Fn() -> Call>,
    limits: GuestLimits,
}

impl Bench {
    fn new(sandbox: &Arc<Sandbox>, name: &str, component: &[u8], isolation: Isolation) -> Self {
        let info = Arc::new(HandlerInfo {
            name: name.into(),
            isolation,
            ..HandlerInfo::default()
        });
        let handler = sandbox.load_trusted(info.clone(), component).expect("it loads");
        let identity = Arc::new(Identity::for_tests("default", "alice").expect("a valid user"));
        let store = Arc::new(MemoryStore::default());
        let call = Box::new(move || Call {
            store: store.clone(),
            ..Call::for_tests(identity.clone(), info.clone())
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
            let component = component(name).expect("it is shipped");
            Bench::new(&sandbox, name, component, isolation).run(criterion, &label, input);
        }
        for path in further_components() {
            let component = std::fs::read(&path).expect("COMPONENTS names files");
            let name = path.file_stem().unwrap_or_default().to_string_lossy();
            let label = format!("{}/{name}", isolation.name());
            Bench::new(&sandbox, &name, &component, isolation).run(criterion, &label, message);
        }
    }
}

fn further_components() -> Vec<PathBuf> {
    let paths = std::env::var_os("COMPONENTS").unwrap_or_default();
    std::env::split_paths(&paths)
        .filter(|path| !path.as_os_str().is_empty())
        .collect()
}

criterion_group!(benches, events);
criterion_main!(benches);
