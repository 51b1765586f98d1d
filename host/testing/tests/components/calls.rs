//! A sandbox with one handler and no host around it, for tests of how events share threads and instances.

use std::sync::Arc;

use parlance_handler::capability::{Call, HandlerInfo, Isolation};
use parlance_handler::sandbox::{
    CallOutcome, EngineLimits, Failure, GuestLimits, Handler, HandlerInput, Sandbox, TrapKind,
};
use parlance_types::auth::Identity;

use crate::built::hostile_file;

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
    let identity = Identity::for_tests("default", "alice").unwrap();
    let call = Call::for_tests(Arc::new(identity), handler.info().clone());
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
