//! `response` in a scenario: what a service answers to a handler's request.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use parlance_handler::capability::{FailureReason, ServerSentEvent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bytes;
use super::compare::{Names, interpolated};
use super::environment::text;
use super::parse::{as_value, binary};
use crate::requests::RequestSelector;
use crate::response::Response;

/// A service answers a request of a handler, or does not.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ResponseSpec {
    /// The request's tag. The oldest request with it that waits gets the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// The request's id, in the place of its tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The status; 200 if absent. One that the server would ask again for, such as 503, is that of the last attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// The headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
    /// The whole body: a text, JSON, or `{$binary: BASE64}`. With JSON the answer has the header `content-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Value>,
    /// The lines of the body, each of which is a part, if the request was sent with the parts `lines`.
    #[serde(skip_serializing_if = "Option::is_none")]
    lines: Option<Vec<String>>,
    /// The events of the body, each of which is a part, if the request was sent with the parts `server-sent-events`.
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<Vec<SentEventSpec>>,
    /// There is no answer, for this reason. After `lines` or `events`: the answer breaks off.
    #[serde(skip_serializing_if = "Option::is_none")]
    failed: Option<FailureName>,
}

/// An event of a `text/event-stream`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SentEventSpec {
    /// Its name; `message` if absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    event: String,
    /// Its data: a text, or JSON.
    data: Value,
    /// Its id; that of the event before if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum FailureName {
    /// No grant covers the server, or its address is not public.
    Denied,
    /// The server could not be reached.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The answer, or one part of it, is too large.
    TooLarge,
    /// The answer broke off, and asking again did not give the rest of it.
    Interrupted,
}

impl ResponseSpec {
    /// Checks what does not depend on the request.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.tag.is_some() == self.id.is_some() {
            return Err(
                "an answer names its request by `tag` or by `id`, such as `response: {tag: ask, body: …}`".to_owned(),
            );
        }
        let contents = [self.body.is_some(), self.lines.is_some(), self.events.is_some()];
        if contents.into_iter().filter(|given| *given).count() > 1 {
            return Err("an answer has one of `body`, `lines` and `events`".to_owned());
        }
        Ok(())
    }

    /// Which request is answered, and the answer, with the ids that names of messages stand for.
    ///
    /// # Errors
    /// When the body is not what it says.
    pub(super) fn read(&self, names: &Names) -> Result<(RequestSelector, Response)> {
        let spec: Self = serde_json::from_value(interpolated(&as_value(self), names))?;
        let selector = match (spec.tag, spec.id) {
            (_, Some(id)) => RequestSelector::Id(id),
            (tag, None) => RequestSelector::Tag(tag.unwrap_or_default()),
        };
        let has_type = spec
            .headers
            .keys()
            .any(|name| name.eq_ignore_ascii_case("content-type"));
        let mut response = match (&spec.body, spec.lines, spec.events) {
            (Some(body), _, _) if body.is_string() || binary(body).is_some() || has_type => {
                Response::body(bytes::stored(body).map_err(|message| anyhow!(message))?)
            }
            (Some(body), _, _) => Response::json(body),
            (None, Some(lines), _) => Response::lines(lines),
            (None, None, Some(events)) => Response::events(events.into_iter().map(|event| ServerSentEvent {
                event: event.event,
                data: text(&event.data),
                id: event.id,
            })),
            (None, None, None) => Response::default(),
        };
        for (name, value) in &spec.headers {
            response = response.header(name, value);
        }
        response = spec.status.into_iter().fold(response, Response::status);
        let failed = spec.failed.map(|reason| match reason {
            FailureName::Denied => FailureReason::Denied,
            FailureName::Unreachable => FailureReason::Unreachable,
            FailureName::Timeout => FailureReason::Timeout,
            FailureName::TooLarge => FailureReason::TooLarge,
            FailureName::Interrupted => FailureReason::Interrupted,
        });
        Ok((selector, failed.into_iter().fold(response, Response::then_failed)))
    }
}
