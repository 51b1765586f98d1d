//! Hands a part of an answer to the guest.

use super::bindings::exports::parlance::chat::on_response;
use crate::capability::{FailureReason, ResponsePart};

/// The headers of a part, as [`lowered`] needs them.
pub(super) fn headers(part: &ResponsePart) -> Vec<(&str, &str)> {
    match part {
        ResponsePart::Whole(response) | ResponsePart::Head(response) => response
            .headers
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect(),
        _ => Vec::new(),
    }
}

/// The part as the bindings take it.
pub(super) fn lowered<'a>(part: &'a ResponsePart, headers: &'a [(&'a str, &'a str)]) -> on_response::Part<'a> {
    match part {
        ResponsePart::Whole(response) => on_response::Part::Whole(on_response::Response {
            status: response.status,
            headers,
            body: &response.body,
        }),
        ResponsePart::Head(response) => on_response::Part::Head(on_response::Head {
            status: response.status,
            headers,
        }),
        ResponsePart::Line(line) => on_response::Part::Line(line),
        ResponsePart::Event(event) => on_response::Part::Event(on_response::ServerSentEvent {
            event: &event.event,
            data: &event.data,
            id: event.id.as_deref(),
        }),
        ResponsePart::End => on_response::Part::End,
        ResponsePart::Failed(failure) => on_response::Part::Failed(on_response::Failure {
            reason: match failure.reason {
                FailureReason::Denied => on_response::Reason::Denied,
                FailureReason::Unreachable => on_response::Reason::Unreachable,
                FailureReason::Timeout => on_response::Reason::Timeout,
                FailureReason::TooLarge => on_response::Reason::TooLarge,
                FailureReason::Interrupted => on_response::Reason::Interrupted,
            },
            message: &failure.message,
            attempts: failure.attempts,
        }),
    }
}
