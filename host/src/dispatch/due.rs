//! What timers and the answers to requests share: an event of a key with a due time. What its handler does and what becomes
//! of the key are one write set, which has read the key: so of two nodes that handle it at once one does, and none after it
//! was replaced or cancelled (promise 11).

use std::sync::Arc;
use std::time::Duration;

use super::session::Session;
use super::{Decision, EventContext, submit};
use parlance_handler::capability::Effect;
use parlance_hub::{Reply, Undone};
use parlance_store::{DueKey, ReadSet, Write};
use parlance_types::error::{Code, EventError};

/// After how long an event is tried again that the host could not run.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// After how long an event is tried again whose handler is not there.
pub const WITHOUT_HANDLER_RETRY: Duration = Duration::from_secs(30);

/// Commits a decision together with what becomes of the key. That comes first, so that the handler can set the key again.
///
/// # Errors
/// Why the event was not done.
pub(super) async fn commit(
    session: &Arc<Session>,
    context: &EventContext,
    due: &DueKey,
    own: Vec<Write>,
    mut decision: Decision,
) -> Result<(), Undone> {
    let own = own.into_iter().map(|write| Effect::Write(Arc::new(write)));
    decision.effects.splice(0..0, own);
    decision.reads.at = context.at_ms;
    decision.reads.add_key(&due.key, Some(&due.value));
    submit(session, context, decision, true).await
}

/// Commits what becomes of the key, without a handler.
///
/// # Errors
/// Why it was not done.
pub(super) async fn commit_alone(
    session: &Arc<Session>,
    context: &EventContext,
    due: &DueKey,
    own: Vec<Write>,
) -> Result<(), Undone> {
    let nothing = Decision::of(Vec::new(), Reply::Silent);
    commit(session, context, due, own, nothing).await
}

/// Whether the key is as it was when it was found due. When the store cannot tell, the next run will.
pub(super) async fn is_unchanged(session: &Session, context: &EventContext, due: &DueKey) -> bool {
    let tenant = &session.tenant;
    let mut reads = ReadSet {
        at: context.at_ms,
        ..ReadSet::default()
    };
    reads.add_key(&due.key, Some(&due.value));
    tenant.store.reads_hold(tenant.id(), &reads).await.unwrap_or(true)
}

/// After how long to try again; `None` for what the handler has decided or is at fault for. A quota of the tenant that is
/// used up is neither: the event waits for room.
pub(super) fn retry_after(error: &EventError) -> Option<Duration> {
    let is_of_host = matches!(
        error.code,
        Code::Unavailable | Code::RateLimited | Code::QuotaExceeded | Code::Conflict | Code::Unhandled
    );
    (error.host_failed || is_of_host && !error.by_handler).then(|| error.retry_after.unwrap_or(RETRY))
}
