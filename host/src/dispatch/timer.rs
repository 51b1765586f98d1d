//! Handles timers that are due.

use std::sync::Arc;
use std::time::Duration;

use super::due::{RETRY, WITHOUT_HANDLER_RETRY, commit, commit_alone, is_unchanged, retry_after};
use super::runs::Runs;
use super::session::Session;
use super::{Decision, EventContext, guest, lifecycle};
use crate::tenant::RouteKey;
use parlance_handler::capability::Timer;
use parlance_handler::sandbox::{HandlerInput, Interface};
use parlance_hub::{ConnectionPhase, Reply, Undone};
use parlance_scheduler::Quantum;
use parlance_store::DueKey;
use parlance_types::error::{Code, EventError};

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
        return Fired::Later(WITHOUT_HANDLER_RETRY);
    };
    let key = RouteKey::Room(&due.key.key);
    if tenant.is_suspended() || tenant.named_handler(owner, Interface::Timer, key).is_none() {
        tracing::debug!(tenant = %tenant.id(), handler = owner, timer = due.key.key, "no handler takes a timer that is due");
        return Fired::Later(WITHOUT_HANDLER_RETRY);
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
        match commit(session, &context, due, vec![end], decision).await {
            Ok(()) => return Fired::Ended,
            Err(undone) if undone.is_overtaken() && is_unchanged(session, &context, due).await => {}
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
    let done = commit_alone(session, context, due, vec![write]).await;
    done.map_or(Fired::Later(RETRY), |()| Fired::Ended)
}
