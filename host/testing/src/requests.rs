//! The requests that handlers have sent, until a test has answered them.

use anyhow::{Context as _, Result, anyhow, bail};
use parlance_handler::capability::{Effect, FailureReason, OutboundRequest, RequestProgress, ResponsePart};
use parlance_handler::sandbox::Interface;
use parlance_store::{DueKey, KvKey, Reader as _, Write};

use crate::event::Event;
use crate::outcome::Outcome;
use crate::response::{Response, failure};
use crate::server::{EventSetup, TestServer};

/// Most requests that a message about a wrong tag names.
const NAMED_MAX: usize = 10;

/// A request that a handler has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requested {
    /// The id that `requests.send` has returned.
    pub id: String,
    /// What the request says.
    pub request: OutboundRequest,
}

impl Requested {
    /// The request that a write stores, if it stores one.
    pub(crate) fn of(write: &Write) -> Option<Self> {
        match write {
            Write::KvSet { key, value, .. } if key.request_content_of().is_some() => Some(Self {
                id: key.key.clone(),
                request: OutboundRequest::read(value)?,
            }),
            _ => None,
        }
    }
}

/// Which request a test answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RequestSelector {
    /// The oldest one with this tag.
    Tag(String),
    /// The one with this id.
    Id(String),
}

/// A request that has no answer yet, or only parts of one.
#[derive(Debug, Clone)]
pub(crate) struct PendingRequest {
    /// The key of its progress.
    pub(crate) due: DueKey,
    /// How far it has come.
    pub(crate) progress: RequestProgress,
    /// What it says.
    pub(crate) request: OutboundRequest,
}

impl PendingRequest {
    /// The name of the handler that has sent it.
    pub(crate) fn owner(&self) -> &str {
        self.due.key.request_of().unwrap_or_default()
    }

    /// The writes that end it.
    pub(crate) fn end(&self) -> Vec<Write> {
        let key = self.due.key.clone();
        let content = KvKey::request_content(self.owner(), key.key.clone());
        vec![Write::KvDelete { key }, Write::KvDelete { key: content }]
    }

    /// The parts of an answer that the handler has not handled yet. A request is sent again whose answer was handled in
    /// part: the service then begins anew, unless it was told the id of the last event.
    fn rest(&self, mut parts: Vec<ResponsePart>) -> Vec<ResponsePart> {
        let handled = self.progress.handled as usize;
        let is_failure = matches!(parts.as_slice(), [ResponsePart::Failed(_)]);
        if handled == 0 || is_failure {
            return parts;
        }
        let is_in_parts = matches!(parts.first(), Some(ResponsePart::Head(_)));
        if is_in_parts && self.progress.resumes_after().is_some() {
            let mut rest = parts.split_off(1);
            for part in &mut rest {
                match part {
                    ResponsePart::Event(event) if event.id.is_none() => {
                        event.id.clone_from(&self.progress.last_event_id)
                    }
                    _ => break,
                }
            }
            let (handled, digest) = (self.progress.handled_since_id, &self.progress.digest_since_id);
            return self.beyond(rest, handled, digest);
        }
        self.beyond(parts, self.progress.handled, &self.progress.digest)
    }

    /// The parts after the first `handled` ones, if those have this digest.
    fn beyond(&self, mut parts: Vec<ResponsePart>, handled: u32, digest: &str) -> Vec<ResponsePart> {
        let count = handled as usize;
        let passed = parts.iter().take(count).filter(|part| !part.is_last());
        let passed = passed.fold(RequestProgress::default(), |so_far, part| so_far.after(part));
        if passed.handled == handled && passed.digest == digest {
            return parts.split_off(count);
        }
        vec![failure(FailureReason::Interrupted, &self.request)]
    }
}

impl TestServer {
    /// Notes the requests among effects that were committed.
    pub(crate) fn remember_requests(&self, effects: &[Effect]) {
        let sent = effects.iter().filter_map(|effect| match &**effect.write()? {
            Write::DueSet { key, .. } if key.request_of().is_some() => Some(key.clone()),
            _ => None,
        });
        let mut known = self.requests.lock();
        for key in sent {
            if !known.contains(&key) {
                known.push(key);
            }
        }
    }

    /// The requests that have no whole answer yet, oldest first.
    pub(crate) async fn pending_requests(&self) -> Result<Vec<PendingRequest>> {
        let known = self.requests.lock().clone();
        let mut pending = Vec::new();
        for key in known {
            pending.extend(self.pending_request(&key).await?);
        }
        *self.requests.lock() = pending.iter().map(|pending| pending.due.key.clone()).collect();
        Ok(pending)
    }

    /// The request as it is now; `None` if it was answered or cancelled. A test knows it also while the store is down.
    async fn pending_request(&self, key: &KvKey) -> Result<Option<PendingRequest>> {
        let store = self.store.behind_faults();
        let content = KvKey::request_content(key.request_of().unwrap_or_default(), key.key.clone());
        let values = store.kv_get_many(self.tenant(), &[key.clone(), content], 0).await?;
        let [Some(value), Some(content)] = values.as_slice() else {
            return Ok(None);
        };
        let progress = RequestProgress::read(value).context("the progress of a request cannot be read")?;
        Ok(Some(PendingRequest {
            due: DueKey {
                key: key.clone(),
                value: value.clone(),
                due_at: progress.due,
            },
            progress,
            request: OutboundRequest::read(content).context("a request cannot be read")?,
        }))
    }

    /// Hands the parts of an answer to the handler that has sent the request, each as an event of its own. Returns their
    /// outcomes. No further part comes when the request has ended, or when one could not be handled, as while the store is
    /// away.
    pub(crate) async fn respond(
        &self,
        setup: &EventSetup,
        pending: PendingRequest,
        response: &Response,
    ) -> Result<Vec<Outcome>> {
        let owner = pending.owner();
        let is_taken = |name: &str| {
            let handlers = setup.handlers.iter();
            handlers
                .clone()
                .any(|handler| &*handler.info.name == name && handler.takes(Interface::Response))
        };
        if !is_taken(owner) {
            bail!("the handler `{owner}` does not export on-response: it only sends requests, and gets no answers");
        }
        let parts = response.parts(&pending.request);
        let parts = parts.map_err(|message| {
            let tag = &pending.request.tag;
            anyhow!("the answer does not fit the request with the tag `{tag}`: {message}")
        })?;
        let mut outcomes = Vec::new();
        let mut next = Some(pending.clone());
        for part in pending.rest(parts) {
            let Some(current) = next else { break };
            outcomes.push(self.dispatch(setup, &Event::response(&current, part)).await?);
            next = self.pending_request(&current.due.key).await?;
            // A server would try this part again later.
            next = next.filter(|next| next.due.value != current.due.value);
        }
        Ok(outcomes)
    }
}

/// Finds the request that a test answers.
///
/// # Errors
/// When it is not pending. The error names those that are.
pub(crate) fn select(pending: Vec<PendingRequest>, selector: &RequestSelector) -> Result<PendingRequest> {
    let mut named: Vec<String> = Vec::new();
    for request in &pending {
        let name = match selector {
            RequestSelector::Tag(_) => &request.request.tag,
            RequestSelector::Id(_) => &request.due.key.key,
        };
        let name = format!("`{name}`");
        if !named.contains(&name) && named.len() < NAMED_MAX {
            named.push(name);
        }
    }
    let is_meant = |request: &PendingRequest| match selector {
        RequestSelector::Tag(tag) => request.request.tag == *tag,
        RequestSelector::Id(id) => request.due.key.key == *id,
    };
    if let Some(found) = pending.into_iter().find(is_meant) {
        return Ok(found);
    }
    let (what, name) = match selector {
        RequestSelector::Tag(tag) => ("tag", tag),
        RequestSelector::Id(id) => ("id", id),
    };
    match named.is_empty() {
        true => bail!("no request with the {what} `{name}` waits for an answer; none waits for one"),
        false => bail!(
            "no request with the {what} `{name}` waits for an answer; those that do have the {what} {}",
            named.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parlance_handler::capability::{Parts, ServerSentEvent};

    fn pending(parts: Parts, handled: &[ResponsePart]) -> PendingRequest {
        let progress = handled
            .iter()
            .fold(RequestProgress::default(), |so_far, part| so_far.after(part));
        PendingRequest {
            due: DueKey {
                key: KvKey::request("handler", "id".to_owned()),
                value: progress.value(),
                due_at: 0,
            },
            progress,
            request: OutboundRequest {
                parts,
                ..OutboundRequest::default()
            },
        }
    }

    fn event(id: &str) -> ServerSentEvent {
        ServerSentEvent {
            event: String::new(),
            data: "data".to_owned(),
            id: Some(id.to_owned()).filter(|id| !id.is_empty()),
        }
    }

    #[test]
    fn what_was_handled_of_an_answer_is_passed_over() {
        let lines = |lines: &[&str]| {
            let request = pending(Parts::Lines, &[]).request;
            Response::lines(lines.iter().copied()).parts(&request).unwrap()
        };
        let pending = pending(Parts::Lines, &lines(&["one", "two"])[..2]);
        assert_eq!(pending.rest(lines(&["one", "two"])), lines(&["one", "two"])[2..]);
        let interrupted = vec![failure(FailureReason::Interrupted, &pending.request)];
        for other in [&["1", "two"][..], &[]] {
            assert_eq!(pending.rest(lines(other)), interrupted);
        }
        let failed = vec![failure(FailureReason::Timeout, &pending.request)];
        assert_eq!(pending.rest(failed.clone()), failed);
    }

    #[test]
    fn a_service_that_was_told_the_last_event_begins_with_the_next_one() {
        let parts = |events: &[&str]| {
            let request = pending(Parts::ServerSentEvents, &[]).request;
            let events = events.iter().map(|id| event(id));
            Response::events(events).parts(&request).unwrap()
        };
        let pending = pending(Parts::ServerSentEvents, &parts(&["1"])[..2]);
        assert_eq!(pending.rest(parts(&["", "2"])), parts(&["1", "2"])[1..]);
    }
}
