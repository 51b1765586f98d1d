//! What a test answers to a handler's request.

use parlance_handler::capability::{
    self, FailureReason, OutboundRequest, Parts, ResponseFailure, ResponsePart, ServerSentEvent,
};
use serde_json::Value;

/// What a service answers to a request of a handler. The default is a status of 200 without a body.
///
/// ```no_run
/// use parlance_testing::{FailureReason, Response, TestHost};
/// use serde_json::json;
///
/// # fn respond(mut host: TestHost) {
/// host.respond("ask", Response::json(&json!({"answer": 42})));
/// host.respond("ask", Response::body("no such page").status(404).header("content-type", "text/plain"));
/// host.respond("read", Response::lines(["one", "two"]));
/// host.respond("ask", Response::failed(FailureReason::Timeout));
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    status: Option<u16>,
    headers: Vec<(String, String)>,
    content: Content,
    failed: Option<FailureReason>,
}

/// The content of an answer, cut into parts as the request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Content {
    #[default]
    Empty,
    Body(Vec<u8>),
    Lines(Vec<String>),
    Events(Vec<ServerSentEvent>),
}

impl Response {
    fn of(content: Content) -> Self {
        Self {
            content,
            ..Self::default()
        }
    }

    /// An answer with this body.
    #[must_use]
    pub fn body(body: impl Into<Vec<u8>>) -> Self {
        Self::of(Content::Body(body.into()))
    }

    /// An answer whose body is this JSON, with the content type that says so.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self::body(body.to_string()).header("content-type", "application/json")
    }

    /// The answer to a request that asks for lines: its head, each line as a part, and its end.
    #[must_use]
    pub fn lines<L: Into<String>>(lines: impl IntoIterator<Item = L>) -> Self {
        Self::of(Content::Lines(lines.into_iter().map(Into::into).collect()))
    }

    /// The answer to a request that asks for server-sent events: its head, each event as a part, and its end. An event
    /// without an id has that of the event before it.
    #[must_use]
    pub fn events(events: impl IntoIterator<Item = ServerSentEvent>) -> Self {
        Self::of(Content::Events(events.into_iter().collect()))
    }

    /// There is no answer.
    #[must_use]
    pub fn failed(reason: FailureReason) -> Self {
        Self::default().then_failed(reason)
    }

    /// The answer in parts breaks off where its end would be.
    #[must_use]
    pub fn then_failed(mut self, reason: FailureReason) -> Self {
        self.failed = Some(reason);
        self
    }

    /// Sets the status. Without this it is 200.
    #[must_use]
    pub fn status(mut self, status: u16) -> Self {
        self.status = Some(status);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// The parts in which the handler gets the answer.
    ///
    /// # Errors
    /// When the answer is not one that this request can get.
    pub(crate) fn parts(&self, request: &OutboundRequest) -> Result<Vec<ResponsePart>, String> {
        if let (Some(reason), true) = (self.failed, self.has_only_failed()) {
            return Ok(vec![failure(reason, request)]);
        }
        let status = self.status.unwrap_or(200);
        if !(200..600).contains(&status) {
            return Err(format!("{status} is not the status of an answer: it is 200 to 599"));
        }
        let head = |body| capability::Response {
            status,
            headers: self.headers.clone(),
            body,
        };
        let whole = match request.parts {
            Parts::Whole => Some("the request asks for the answer as a whole"),
            _ if !(200..300).contains(&status) => Some("an answer whose status is not 2xx comes as a whole"),
            _ => None,
        };
        if let Some(why) = whole {
            let body = match &self.content {
                Content::Empty => Vec::new(),
                Content::Body(body) => body.clone(),
                Content::Lines(_) => return Err(format!("{why}: give it `body` in the place of `lines`")),
                Content::Events(_) => return Err(format!("{why}: give it `body` in the place of `events`")),
            };
            return match self.failed {
                Some(_) => Err(format!("{why}, or not at all: `failed` stands alone")),
                None => Ok(vec![ResponsePart::Whole(head(body))]),
            };
        }
        let mut parts = vec![ResponsePart::Head(head(Vec::new()))];
        match (&self.content, request.parts) {
            (Content::Empty, _) => {}
            (Content::Lines(lines), Parts::Lines) => {
                for line in lines {
                    parts.push(ResponsePart::Line(one_line("a line", line)?));
                }
            }
            (Content::Events(events), Parts::ServerSentEvents) => {
                let mut last_id = None;
                for event in events {
                    parts.push(ResponsePart::Event(sent_event(event, &mut last_id)?));
                }
            }
            (_, Parts::ServerSentEvents) => return Err("the request asks for `events` (server-sent-events)".to_owned()),
            (_, _) => return Err("the request asks for `lines`".to_owned()),
        }
        parts.push(match self.failed {
            Some(reason) => failure(reason, request),
            None => ResponsePart::End,
        });
        Ok(parts)
    }

    fn has_only_failed(&self) -> bool {
        self.status.is_none() && self.headers.is_empty() && self.content == Content::Empty
    }
}

fn one_line(what: &str, text: &str) -> Result<String, String> {
    if text.contains(['\n', '\r']) {
        return Err(format!("{what} has no line break in it: {text:?}"));
    }
    Ok(text.to_owned())
}

/// The event as a handler gets it, after one whose id was `last_id`.
fn sent_event(event: &ServerSentEvent, last_id: &mut Option<String>) -> Result<ServerSentEvent, String> {
    if let Some(id) = &event.id {
        let id = one_line("the id of an event", id)?;
        *last_id = Some(id).filter(|id| !id.is_empty());
    }
    let name = match event.event.as_str() {
        "" => "message",
        name => name,
    };
    Ok(ServerSentEvent {
        event: one_line("the name of an event", name)?,
        data: event.data.clone(),
        id: last_id.clone(),
    })
}

/// The part that tells of a failure, after as many attempts as the server makes.
pub(crate) fn failure(reason: FailureReason, request: &OutboundRequest) -> ResponsePart {
    let (message, attempts) = match reason {
        FailureReason::Denied => ("no grant covers the server, or its address is not public", 1),
        FailureReason::Unreachable => ("the server could not be reached", request.attempts),
        FailureReason::Timeout => ("the service did not answer in time", request.attempts),
        FailureReason::TooLarge => ("the answer is too large (sandbox.http_bytes)", 1),
        FailureReason::Interrupted => (
            "the answer broke off, and asking again gave another one",
            request.attempts,
        ),
    };
    ResponsePart::Failed(ResponseFailure {
        reason,
        message: message.to_owned(),
        attempts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(parts: Parts) -> OutboundRequest {
        OutboundRequest {
            parts,
            attempts: 3,
            ..OutboundRequest::default()
        }
    }

    fn event(name: &str, id: Option<&str>) -> ServerSentEvent {
        ServerSentEvent {
            event: name.to_owned(),
            data: "data".to_owned(),
            id: id.map(str::to_owned),
        }
    }

    #[test]
    fn an_event_has_the_last_id_that_was_given() {
        let given = [
            event("", None),
            event("x", Some("1")),
            event("x", None),
            event("x", Some("")),
        ];
        let parts = Response::events(given)
            .parts(&request(Parts::ServerSentEvents))
            .unwrap();
        let events: Vec<_> = parts
            .iter()
            .filter_map(|part| match part {
                ResponsePart::Event(event) => Some((event.event.as_str(), event.id.as_deref())),
                _ => None,
            })
            .collect();
        assert_eq!(
            events,
            [("message", None), ("x", Some("1")), ("x", Some("1")), ("x", None)]
        );
        assert!(parts.last().is_some_and(ResponsePart::is_last));
    }

    #[test]
    fn an_answer_fits_the_request() {
        let error = |response: Response, parts| response.parts(&request(parts)).unwrap_err();
        assert!(error(Response::lines(["a"]), Parts::Whole).contains("as a whole: give it `body`"));
        assert!(error(Response::body("a"), Parts::Lines).contains("asks for `lines`"));
        assert!(error(Response::lines(["a"]), Parts::ServerSentEvents).contains("asks for `events`"));
        assert!(error(Response::lines(["a"]).status(500), Parts::Lines).contains("not 2xx"));
        assert!(error(Response::lines(["a\nb"]), Parts::Lines).contains("line break"));
        assert!(error(Response::body("a").status(99), Parts::Whole).contains("200 to 599"));
        let broken = Response::body("a").then_failed(FailureReason::Interrupted);
        assert!(error(broken, Parts::Whole).contains("`failed` stands alone"));
        let whole = Response::body("a").status(404).parts(&request(Parts::Lines)).unwrap();
        assert!(matches!(whole.as_slice(), [ResponsePart::Whole(answer)] if answer.status == 404));
    }
}
