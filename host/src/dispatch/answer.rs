//! What clients answer to handlers' questions.

use std::sync::Arc;

use super::guest::{decide, decide_in_time};
use super::session::Session;
use super::{host, settle};
use crate::capability::{Packet, Question};
use crate::cluster::{Moment, Reply};
use crate::sandbox::Input;
use crate::text::without_lone_surrogates;
use crate::turns::Slice;

/// Runs `on-answer` of the handler that asked. A rejection is logged and told to no client.
pub(super) async fn answered(session: &Arc<Session>, slice: &Slice, question: &Question, answer: Option<Packet>) {
    if session.barred().is_some() {
        return;
    }
    let arrival = host::arrival(session, "answer", Moment::Open, slice);
    let answer = answer.map(|packet| {
        let text = std::str::from_utf8(&packet.text).unwrap_or_default();
        (without_lone_surrogates(text).into_owned(), packet.attachments)
    });
    let attachments: Vec<&[u8]> = answer
        .iter()
        .flat_map(|(_, attachments)| attachments.iter().map(|bytes| &**bytes))
        .collect();
    let input = Input::Answer {
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
        Ok((effects, _)) => settle(session, arrival, effects, None, Reply::Silent).await,
        Err(error) => tracing::debug!(
            tenant = %session.tenant.id(), connection = %session.connection.id, handler = %question.handler,
            tag = %question.tag, code = error.code.as_str(), "an answer was not handled: {}", error.message
        ),
    }
}
