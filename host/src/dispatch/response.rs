//! Handles the parts of answers to handlers' requests, and keeps how far a request has come.

use std::sync::Arc;
use std::time::Duration;

use super::due::{RETRY, WITHOUT_HANDLER_RETRY, commit, commit_alone, is_unchanged, retry_after};
use super::runs::Runs;
use super::session::Session;
use super::{Decision, EventContext, guest, lifecycle};
use crate::tenant::RouteKey;
use parlance_handler::capability::{DeadLetter, OutboundRequest, RequestProgress, ResponsePart};
use parlance_handler::sandbox::{HandlerInput, Interface};
use parlance_hub::{ConnectionPhase, Undone};
use parlance_scheduler::Quantum;
use parlance_store::{DueKey, KvKey, Write};
use parlance_types::error::{Code, EventError};

/// A request that is being sent, at one moment.
#[derive(Debug, Clone)]
pub struct PendingRequest {
    /// Its key, with the progress that the store has.
    pub due: DueKey,
    /// That progress.
    pub progress: RequestProgress,
    /// What it says.
    pub request: Arc<OutboundRequest>,
}

/// What is to become of a request.
#[derive(Debug, Clone)]
pub enum RequestEvent {
    /// A part of its answer has come. With `error` the request counts as failed although it has an answer.
    Part {
        /// The part.
        part: ResponsePart,
        /// Why it counts as failed.
        error: Option<String>,
    },
    /// The attempt has failed: the request goes on from here.
    Postponed(RequestProgress),
    /// It is to be forgotten: what it says is gone.
    Forgotten,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Responded {
    /// This is its progress now.
    Kept(RequestProgress),
    /// It is no more: by this call, or because it was cancelled or handled elsewhere.
    Ended,
    /// Nothing has changed. It is to be tried again after this time.
    Later(Duration),
}

/// Does what is to become of a request.
pub(super) async fn handle(
    session: &Arc<Session>,
    quantum: &Quantum,
    pending: &PendingRequest,
    event: RequestEvent,
) -> Responded {
    let due = &pending.due;
    let context = lifecycle::event_context(session, "response", ConnectionPhase::Connected, quantum);
    match event {
        RequestEvent::Part { part, error } => handle_part(session, &context, pending, part, error).await,
        RequestEvent::Postponed(progress) => {
            let write = progress.write(due.key.clone());
            let done = commit_alone(session, &context, due, vec![write]).await;
            responded(done, Responded::Kept(progress))
        }
        RequestEvent::Forgotten => {
            let end = end_writes(&due.key, pending.owner());
            let done = commit_alone(session, &context, due, end).await;
            responded(done, Responded::Ended)
        }
    }
}

fn responded(done: Result<(), Undone>, ok: Responded) -> Responded {
    match done {
        Ok(()) => ok,
        Err(Undone::ReadsChanged) => Responded::Ended,
        Err(Undone::Failed(error)) => Responded::Later(error.retry_after.unwrap_or(RETRY)),
    }
}

async fn handle_part(
    session: &Arc<Session>,
    context: &EventContext,
    pending: &PendingRequest,
    part: ResponsePart,
    error: Option<String>,
) -> Responded {
    let (tenant, due, owner) = (&session.tenant, &pending.due, pending.owner());
    let id = &due.key.key;
    let key = RouteKey::Room(id);
    if tenant.is_suspended() || tenant.handler_named(owner, key).is_none() {
        return Responded::Later(WITHOUT_HANDLER_RETRY);
    }
    let mut dead = error.or_else(|| match &part {
        ResponsePart::Failed(failure) => Some(failure.message.clone()),
        _ => None,
    });
    let failed = dead.is_some();
    // A handler without `on-response` only sends.
    if tenant.named_handler(owner, Interface::Response, key).is_none() {
        let is_answer = matches!(part, ResponsePart::Whole(_) | ResponsePart::End);
        if is_answer && let Some(suppressed) = tenant.unheard_answers.pass() {
            tracing::info!(
                tenant = %tenant.id(), handler = owner, request = id, suppressed,
                "an answer has come, and the handler's active version has no on-response"
            );
        }
        return match part.is_last() {
            true => end(session, context, pending, dead).await,
            false => keep(session, context, pending, &part).await,
        };
    }
    if let Err(error) = tenant.admit() {
        return Responded::Later(error.retry_after.unwrap_or(RETRY));
    }
    let input = HandlerInput::Response {
        owner,
        id,
        tag: &pending.request.tag,
        number: pending.progress.handled,
        part: &part,
    };
    let mut runs = Runs::of(session, context);
    loop {
        let decision = match runs.run(input, None).await {
            Ok(handled) => Decision::by_handler(handled, guest::silent),
            Err(error) => match retry_after(&error) {
                Some(after) => return Responded::Later(after),
                None => return end(session, context, pending, Some(by_handler(&error))).await,
            },
        };
        let (own, then) = if part.is_last() {
            (pending.end(context, dead.clone(), session), Responded::Ended)
        } else {
            let next = pending.progress.after(&part);
            (vec![next.write(due.key.clone())], Responded::Kept(next))
        };
        match commit(session, context, due, own, decision).await {
            Ok(()) => return then,
            Err(undone) if undone.is_overtaken() && is_unchanged(session, context, due).await => {}
            Err(Undone::ReadsChanged) => return Responded::Ended,
            // There is no room to keep it among those that have failed, or for what the handler has done. It is not sent
            // again for that: the handler runs once more, and then the request ends without it.
            Err(Undone::Failed(error)) if error.code == Code::QuotaExceeded && part.is_last() && failed => {
                let Some(why) = dead.take() else {
                    return end(session, context, pending, Some(by_handler(&error))).await;
                };
                tracing::warn!(
                    tenant = %tenant.id(), handler = owner, request = id,
                    "a request has failed, and there is no room to keep it: {why}"
                );
            }
            Err(Undone::Failed(error)) => match retry_after(&error) {
                Some(after) => return Responded::Later(after),
                None => return end(session, context, pending, Some(by_handler(&error))).await,
            },
        }
    }
}

/// Why a request counts as failed whose answer the handler has not taken.
fn by_handler(error: &EventError) -> String {
    format!(
        "the handler did not take the answer: {} ({})",
        error.message,
        error.code.as_str()
    )
}

/// Ends the request without its handler, and keeps it among those that have failed if it has.
async fn end(
    session: &Arc<Session>,
    context: &EventContext,
    pending: &PendingRequest,
    dead: Option<String>,
) -> Responded {
    if let Some(why) = &dead {
        tracing::warn!(
            tenant = %session.tenant.id(), handler = pending.owner(), request = pending.due.key.key,
            "a request has failed: {why}"
        );
    }
    let own = pending.end(context, dead.clone(), session);
    let done = commit_alone(session, context, &pending.due, own).await;
    let is_full = matches!(&done, Err(Undone::Failed(error)) if error.code == Code::QuotaExceeded);
    if is_full && dead.is_some() {
        // There is no room to keep it.
        let done = commit_alone(session, context, &pending.due, pending.end(context, None, session)).await;
        return responded(done, Responded::Ended);
    }
    responded(done, Responded::Ended)
}

/// Notes that a part has come which no handler takes.
async fn keep(
    session: &Arc<Session>,
    context: &EventContext,
    pending: &PendingRequest,
    part: &ResponsePart,
) -> Responded {
    let next = pending.progress.after(part);
    let write = next.write(pending.due.key.clone());
    let done = commit_alone(session, context, &pending.due, vec![write]).await;
    responded(done, Responded::Kept(next))
}

impl PendingRequest {
    /// The handler that has sent it.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.due.key.request_of().unwrap_or_default()
    }

    /// The writes that end it.
    fn end(&self, context: &EventContext, dead: Option<String>, session: &Session) -> Vec<Write> {
        let mut writes = end_writes(&self.due.key, self.owner());
        if let Some(error) = dead {
            session.services.metrics.requests_failed.inc();
            let letter = DeadLetter {
                request: (*self.request).clone(),
                failed_at: context.at_ms,
                attempts: self.progress.failed.saturating_add(1),
                error,
            };
            let kept = session.tenant.settings().limits.quota.dead_letters_kept;
            let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
            writes.push(Write::DueSet {
                key: KvKey::dead_letter(self.owner(), self.due.key.key.clone()),
                value: letter.value(),
                due_at: context.at_ms.saturating_add(kept),
            });
        }
        writes
    }
}

fn end_writes(key: &KvKey, owner: &str) -> Vec<Write> {
    let content = KvKey::request_content(owner, key.key.clone());
    vec![Write::KvDelete { key: key.clone() }, Write::KvDelete { key: content }]
}
