//! What clients answer to handlers' questions.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::guest::{LOOK, PATIENCE, SHORTEST_WAIT, decide, decide_in_time};
use super::packet::now_ms;
use super::session::Session;
use super::{Decision, complete, host};
use crate::capability::{Packet, Question};
use crate::cluster::{ConnectionPhase, Reply};
use crate::sandbox::HandlerInput;
use crate::scheduler::Quantum;
use crate::text::without_lone_surrogates;

/// Waits until the tenant may have one more event, while that makes sense.
async fn admitted(session: &Session) -> bool {
    let until = Instant::now() + PATIENCE;
    loop {
        if session.services.draining.load(Ordering::Relaxed) {
            return false;
        }
        let Err(error) = session.tenant.admit() else {
            return true;
        };
        if session.is_closed() || Instant::now() >= until {
            return false;
        }
        tokio::time::sleep(error.retry_after.unwrap_or(LOOK).clamp(SHORTEST_WAIT, LOOK)).await;
    }
}

/// Runs `on-answer` of the handler that asked. A rejection is logged and told to no client.
pub(super) async fn answered(session: &Arc<Session>, quantum: &Quantum, question: &Question, answer: Option<Packet>) {
    if session.barred().is_some() || session.has_expired(now_ms()) {
        return;
    }
    // What the client has sent was admitted when it came; the end of a question's time is an event of the tenant's too.
    if answer.is_none() && !admitted(session).await {
        tracing::debug!(tenant = %session.tenant.id(), handler = %question.handler, "a missing answer was not told");
        return;
    }
    let arrival = host::arrival(session, "answer", ConnectionPhase::Connected, quantum);
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
    // One that has gone waits for no processor time: others see its user until its queue is done.
    let decided = if session.is_closed() {
        decide(session, &arrival, input, None).await
    } else {
        decide_in_time(session, &arrival, input).await
    };
    match decided {
        Ok((effects, _)) => complete(session, arrival, Decision::of(effects, Reply::Silent)).await,
        Err(error) => tracing::debug!(
            tenant = %session.tenant.id(), connection = %session.connection.id, handler = %question.handler,
            tag = %question.tag, code = error.code.as_str(), "an answer was not handled: {}", error.message
        ),
    }
}
