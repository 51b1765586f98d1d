//! Handles timers that are due. What the handler does and the end of the timer's turn are one write set, which has read the
//! timer: so of two nodes that handle it at once one does, and none after it was replaced or cancelled (promise 11).

use std::sync::Arc;
use std::time::Duration;

use super::runs::Runs;
use super::session::Session;
use super::{Decision, EventContext, guest, lifecycle, submit};
use crate::tenant::RouteKey;
use parlance_handler::capability::{Effect, Timer};
use parlance_handler::sandbox::{HandlerInput, Interface};
use parlance_hub::{ConnectionPhase, Reply, Undone};
use parlance_scheduler::Quantum;
use parlance_store::{DueKey, ReadSet, Write};
use parlance_types::error::{Code, EventError};

/// After how long a timer is tried again that the host could not run.
const RETRY: Duration = Duration::from_secs(1);

impl Fired {
    /// After how long a timer is tried again whose handler is not there.
    pub const WITHOUT_HANDLER: Duration = Duration::from_secs(30);
}

/// What became of a timer that was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// Its turn has ended: by this call, or because it was replaced, cancelled or handled elsewhere.
    Ended,
    /// It is still due, and is to be tried again after this time.
    Later(Duration),
}

/// Runs the handler of a timer that is due.
pub(super) async fn handle(session: &Arc<Session>, quantum: &Quantum, due: &DueKey) -> Fired {
    let tenant = &session.tenant;
    let (Some(owner), Some(timer)) = (due.key.timer_of(), Timer::read(&due.value)) else {
        tracing::error!(tenant = %tenant.id(), key = due.key.key, "a timer in the store cannot be read");
        return Fired::Later(Fired::WITHOUT_HANDLER);
    };
    let key = RouteKey::Room(&due.key.key);
    if tenant.is_suspended() || tenant.named_handler(owner, Interface::Timer, key).is_none() {
        tracing::debug!(tenant = %tenant.id(), handler = owner, timer = due.key.key, "no handler takes a timer that is due");
        return Fired::Later(Fired::WITHOUT_HANDLER);
    }
    if let Err(error) = tenant.admit() {
        return Fired::Later(error.retry_after.unwrap_or(RETRY));
    }
    let context = lifecycle::event_context(session, "timer", ConnectionPhase::Connected, quantum);
    let input = HandlerInput::Timer {
        owner,
        name: &due.key.key,
        due_ms: due.due_at,
        payload: &timer.payload,
    };
    let mut runs = Runs::of(session, &context);
    loop {
        let decision = match runs.run(input, None).await {
            Ok(handled) => Decision::by_handler(handled, guest::silent),
            Err(error) => match retry_after(&error) {
                Some(after) => return Fired::Later(after),
                None => Decision::of(Vec::new(), Reply::Silent),
            },
        };
        let end = timer.end_turn(due.key.clone(), context.at_ms);
        match commit(session, &context, due, end, decision).await {
            Ok(()) => return Fired::Ended,
            Err(Undone::ReadsChanged) if is_unchanged(session, &context, due).await => {}
            Err(Undone::ReadsChanged) => return Fired::Ended,
            Err(Undone::Failed(error)) => return not_done(session, &context, due, &timer, &error).await,
        }
    }
}

/// Decides about a timer whose effects the store has not taken.
async fn not_done(
    session: &Arc<Session>,
    context: &EventContext,
    due: &DueKey,
    timer: &Timer,
    error: &EventError,
) -> Fired {
    let after = retry_after(error);
    if let Some(after) = after.filter(|_| error.code != Code::QuotaExceeded) {
        return Fired::Later(after);
    }
    tracing::warn!(
        tenant = %session.tenant.id(), handler = due.key.timer_of(), timer = due.key.key, code = error.code.as_str(),
        "a timer was not handled: {}", error.message
    );
    // A timer that waits for a quota gets out of the way of the others, which may make room.
    let write = match after {
        Some(after) => {
            let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            let postponed = Timer {
                due: context.at_ms.saturating_add(after),
                ..timer.clone()
            };
            postponed.write(due.key.clone())
        }
        None => timer.end_turn(due.key.clone(), context.at_ms),
    };
    let nothing = Decision::of(Vec::new(), Reply::Silent);
    let done = commit(session, context, due, write, nothing).await;
    done.map_or(Fired::Later(RETRY), |()| Fired::Ended)
}

/// Commits a decision together with what becomes of the timer. That comes first, so that the handler can set the timer
/// again.
async fn commit(
    session: &Arc<Session>,
    context: &EventContext,
    due: &DueKey,
    timer: Write,
    mut decision: Decision,
) -> Result<(), Undone> {
    decision.effects.insert(0, Effect::Write(Arc::new(timer)));
    decision.reads.at = context.at_ms;
    decision.reads.add_key(&due.key, Some(&due.value));
    submit(session, context, decision, true).await
}

/// Whether the timer is as it was when it was found due. When the store cannot tell, the next run will.
async fn is_unchanged(session: &Session, context: &EventContext, due: &DueKey) -> bool {
    let tenant = &session.tenant;
    let mut reads = ReadSet {
        at: context.at_ms,
        ..ReadSet::default()
    };
    reads.add_key(&due.key, Some(&due.value));
    tenant.store.reads_hold(tenant.id(), &reads).await.unwrap_or(true)
}

/// After how long to try again; `None` for what the handler has decided or is at fault for. A quota of the tenant that is
/// used up is neither: the timer waits for room.
fn retry_after(error: &EventError) -> Option<Duration> {
    let is_of_host = matches!(
        error.code,
        Code::Unavailable | Code::RateLimited | Code::QuotaExceeded | Code::Conflict | Code::Unhandled
    );
    (is_of_host && !error.by_handler).then(|| error.retry_after.unwrap_or(RETRY))
}
