//! Handles the ends of handlers' questions to clients (`broadcast.ask`): an answer, or none in time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::guest::silent;
use super::packet::now_ms;
use super::runs::{RETRY_TIME, RETRY_WAIT_MAX, RETRY_WAIT_MIN, Runs};
use super::session::Session;
use super::{Decision, complete, lifecycle};
use parlance_handler::capability::{Packet, Question};
use parlance_handler::sandbox::HandlerInput;
use parlance_hub::{ConnectionPhase, Undone};
use parlance_scheduler::Quantum;
use parlance_types::text::without_lone_surrogates;

/// Waits until the tenant's budgets admit one more event. Returns `false` when the server is shutting down, the client
/// has gone, or it took too long.
async fn wait_until_admitted(session: &Session) -> bool {
    let until = Instant::now() + RETRY_TIME;
    loop {
        if session.services.shutting_down.load(Ordering::Relaxed) {
            return false;
        }
        let Err(error) = session.tenant.admit() else {
            return true;
        };
        if session.is_client_gone() || Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(
            error
                .retry_after
                .unwrap_or(RETRY_WAIT_MAX)
                .clamp(RETRY_WAIT_MIN, RETRY_WAIT_MAX),
        )
        .await;
    }
}

/// Runs `on-answer` of the handler that asked. A rejection is only logged, since no client waits for a reply.
pub(super) async fn handle_answer(
    session: &Arc<Session>,
    quantum: &Quantum,
    question: &Question,
    answer: Option<Packet>,
) {
    if session.denial().is_some() || session.has_expired(now_ms()) {
        return;
    }
    // A client's answer was admitted when it was received. A missing answer counts as an event of the tenant too.
    if answer.is_none() && !wait_until_admitted(session).await {
        tracing::debug!(
            tenant = %session.tenant.id(), handler = %question.handler,
            "the handler was not called about a missing answer, because the tenant's budgets are used up"
        );
        return;
    }
    let context = lifecycle::event_context(session, "answer", ConnectionPhase::Connected, quantum);
    let answer = answer.map(|packet| {
        let text = std::str::from_utf8(&packet.text).unwrap_or_default();
        (without_lone_surrogates(text).into_owned(), packet.attachments)
    });
    let attachments: Vec<&[u8]> = answer
        .iter()
        .flat_map(|(_, attachments)| attachments.iter().map(|bytes| &**bytes))
        .collect();
    let input = HandlerInput::Answer {
        asker: &question.handler,
        tag: &question.tag,
        answer: answer.as_ref().map(|(text, _)| (text, &*attachments)),
    };
    // A client that has gone is shown to others until its queue is empty, so its events do not wait for processor time.
    let is_gone = session.is_client_gone();
    let mut runs = Runs::of(session, &context);
    loop {
        let decided = if is_gone {
            runs.run(input, None).await
        } else {
            runs.run_with_retries(input).await
        };
        match decided {
            Ok(handled) => match complete(session, &context, Decision::by_handler(handled, silent)).await {
                Err(Undone::ReadsChanged) => {}
                _ => return,
            },
            Err(error) => {
                return tracing::debug!(
                    tenant = %session.tenant.id(), connection = %session.connection.id, handler = %question.handler,
                    tag = %question.tag, code = error.code.as_str(), "an answer was not handled: {}", error.message
                );
            }
        }
    }
}
