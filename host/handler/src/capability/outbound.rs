//! Requests to web services and what comes back, as they are kept in the store and handed to handlers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use parlance_store::{KvKey, Write};

/// How an answer is cut into parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Parts {
    /// One part.
    #[default]
    Whole,
    /// By lines.
    Lines,
    /// By the events of a `text/event-stream`.
    ServerSentEvents,
}

/// What a handler says of how its request is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestOptions {
    /// Comes back with each part.
    pub tag: String,
    /// How the answer is cut.
    pub parts: Parts,
    /// For the answer, or for each pause in it.
    pub timeout_ms: Option<u32>,
    /// How often it is tried.
    pub attempts: Option<u8>,
}

/// A request, as the store keeps it until it is answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundRequest {
    /// Such as `GET`.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// The handler's headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "base64_bytes")]
    pub body: Vec<u8>,
    /// Comes back with each part.
    #[serde(default)]
    pub tag: String,
    /// How the answer is cut.
    pub parts: Parts,
    /// For the answer, or for each pause in it, in milliseconds.
    pub timeout_ms: u32,
    /// How often it is tried at most.
    pub attempts: u8,
    /// When the handler has asked for it, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// How far a request has come, as the store keeps it: the value of its key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestProgress {
    /// When the next attempt is due, in milliseconds since the Unix epoch.
    pub due: u64,
    /// Attempts that have failed.
    #[serde(default)]
    pub failed: u8,
    /// Parts of the answer that were handled.
    #[serde(default)]
    pub handled: u32,
    /// A digest of those parts, by which an answer that is asked for again is compared.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// The last id of a server-sent event among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_id: Option<String>,
    /// The events that were handled after the first one with that id: a service that goes on after the id sends them again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handled_since_id: u32,
    /// A digest of those events.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest_since_id: String,
    /// Why the last attempt has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A request that has failed, as the store keeps it for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The request.
    pub request: OutboundRequest,
    /// When it failed, in milliseconds since the Unix epoch.
    pub failed_at: u64,
    /// How often it was tried.
    pub attempts: u8,
    /// Why it failed.
    pub error: String,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The headers; values that are not text are shown with replacement characters.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The body; empty for the head of an answer in parts.
    #[serde(default, with = "base64_bytes")]
    pub body: Vec<u8>,
}

/// An event of a `text/event-stream`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSentEvent {
    /// Its name.
    pub event: String,
    /// Its data.
    pub data: String,
    /// The last id that the service has given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureReason {
    /// No grant covers the server, or its address is not public.
    Denied,
    /// The server could not be reached, or does not speak HTTP.
    Unreachable,
    /// It took too long.
    Timeout,
    /// The answer is too large.
    TooLarge,
    /// The answer broke off.
    Interrupted,
}

/// That there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseFailure {
    /// Why.
    pub reason: FailureReason,
    /// For a log. It says nothing of the host's network.
    pub message: String,
    /// How often the request was tried.
    pub attempts: u8,
}

/// A part of what comes back, which is an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResponsePart {
    /// The whole answer.
    Whole(Response),
    /// The head of an answer in parts.
    Head(Response),
    /// A line.
    Line(String),
    /// A server-sent event.
    Event(ServerSentEvent),
    /// The end of an answer in parts.
    End,
    /// There is no answer, or no more of it.
    Failed(ResponseFailure),
}

impl ResponsePart {
    /// Whether no further part follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self, Self::Whole(_) | Self::End | Self::Failed(_))
    }

    /// Bytes that the guest gets.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Whole(response) | Self::Head(response) => response.bytes(),
            Self::Line(line) => line.len(),
            Self::Event(event) => event.event.len() + event.data.len() + event.id.as_ref().map_or(0, String::len),
            Self::End => 0,
            Self::Failed(failure) => failure.message.len(),
        }
    }
}

impl Response {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| name.len() + value.len());
        self.body.len() + headers.sum::<usize>()
    }
}

impl OutboundRequest {
    /// The timeout of a request that names none, in milliseconds.
    pub const TIMEOUT_MS: u32 = 30_000;
    /// The attempts of a request that names no number.
    pub const ATTEMPTS: u8 = 5;

    /// Reads what [`write`](Self::write) has stored.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The writes that ask for the request: its progress, due at once, and its content.
    #[must_use]
    pub fn write(&self, handler: &str, id: &str, now: u64) -> [Write; 2] {
        let content = Write::KvSet {
            key: KvKey::request_content(handler, id.to_owned()),
            value: to_json(self),
            expires_at: None,
        };
        let progress = RequestProgress {
            due: now,
            ..RequestProgress::default()
        };
        [progress.write(KvKey::request(handler, id.to_owned())), content]
    }
}

impl RequestProgress {
    /// Reads what [`write`](Self::write) has stored.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The progress, as the store keeps it.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        to_json(self)
    }

    /// The write that keeps the progress.
    #[must_use]
    pub fn write(&self, key: KvKey) -> Write {
        Write::DueSet {
            key,
            value: self.value(),
            due_at: self.due,
        }
    }

    /// The progress once one more part was handled.
    #[must_use]
    pub fn after(&self, part: &ResponsePart) -> Self {
        let last_event_id = match part {
            ResponsePart::Event(event) => event.id.clone(),
            _ => self.last_event_id.clone(),
        };
        let (handled_since_id, digest_since_id) = match &last_event_id {
            Some(_) if last_event_id == self.last_event_id => (
                self.handled_since_id.saturating_add(1),
                next_digest(&self.digest_since_id, part),
            ),
            _ => (0, String::new()),
        };
        Self {
            handled: self.handled.saturating_add(1),
            digest: next_digest(&self.digest, part),
            last_event_id,
            handled_since_id,
            digest_since_id,
            ..self.clone()
        }
    }

    /// The id after which a service is asked to go on with its events. `None` if it is to begin anew: no event with an id was
    /// handled, or the last id would not reach the service in a header as it is.
    #[must_use]
    pub fn resumes_after(&self) -> Option<&str> {
        let id = self.last_event_id.as_deref()?;
        // The ends of a header's value are trimmed on its way.
        let fits = HeaderValue::from_str(id).is_ok() && id.trim_matches([' ', '\t']) == id;
        fits.then_some(id)
    }
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The digest of parts, from that of all but the last one. Of a head only the status counts: its headers differ from one
/// answer to the next.
#[must_use]
fn next_digest(before: &str, part: &ResponsePart) -> String {
    let text = |event: &ServerSentEvent| to_json(event);
    let (kind, content) = match part {
        ResponsePart::Whole(response) | ResponsePart::Head(response) => (0, response.status.to_be_bytes().to_vec()),
        ResponsePart::Line(line) => (1, line.clone().into_bytes()),
        ResponsePart::Event(event) => (2, text(event)),
        ResponsePart::End | ResponsePart::Failed(_) => (3, Vec::new()),
    };
    let digest = Sha256::new()
        .chain_update(before)
        .chain_update([kind])
        .chain_update(content)
        .finalize();
    STANDARD.encode(digest)
}

impl DeadLetter {
    /// Reads what [`value`](Self::value) has made.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }

    /// The dead letter, as the store keeps it.
    #[must_use]
    pub fn value(&self) -> Vec<u8> {
        to_json(self)
    }
}

/// Text and numbers always become JSON.
fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> ResponsePart {
        ResponsePart::Line(text.to_owned())
    }

    #[test]
    fn progress_tells_whether_an_answer_is_the_one_before() {
        let head = |date: &str| {
            ResponsePart::Head(Response {
                status: 200,
                headers: vec![("date".to_owned(), date.to_owned())],
                body: Vec::new(),
            })
        };
        let progress = |parts: &[ResponsePart]| {
            parts
                .iter()
                .fold(RequestProgress::default(), |so_far, part| so_far.after(part))
        };
        let first = progress(&[head("now"), line("a"), line("b")]);
        assert_eq!(first, progress(&[head("later"), line("a"), line("b")]));
        assert_eq!(first.handled, 3);
        for other in [
            [head("now"), line("a"), line("c")],
            [head("now"), line("ab"), line("")],
            [head("now"), line(""), line("ab")],
        ] {
            assert_ne!(first.digest, progress(&other).digest);
        }
        assert_eq!(RequestProgress::read(&first.value()), Some(first));
    }

    #[test]
    fn progress_counts_the_events_since_the_last_id() {
        let event = |data: &str, id: Option<&str>| {
            ResponsePart::Event(ServerSentEvent {
                event: "message".to_owned(),
                data: data.to_owned(),
                id: id.map(str::to_owned),
            })
        };
        let first = RequestProgress::default().after(&event("a", Some("1")));
        assert_eq!((first.resumes_after(), first.handled_since_id), (Some("1"), 0));
        let second = first.after(&event("b", Some("1")));
        assert_eq!((second.resumes_after(), second.handled_since_id), (Some("1"), 1));
        assert_ne!(
            second.digest_since_id,
            first.after(&event("c", Some("1"))).digest_since_id
        );
        let third = second.after(&event("c", Some("2")));
        assert_eq!((third.handled, third.handled_since_id), (3, 0));
        assert_eq!(third.digest_since_id, "");
        for unfit in ["a\u{7}", "a ", " a", "a\nb"] {
            assert_eq!(third.after(&event("d", Some(unfit))).resumes_after(), None, "{unfit:?}");
        }
        assert_eq!(third.after(&event("d", None)).resumes_after(), None);
        assert_eq!(RequestProgress::read(&second.value()), Some(second));
    }

    #[test]
    fn a_request_reads_back_as_it_was_written() {
        let request = OutboundRequest {
            method: "POST".to_owned(),
            url: "https://example.org/".to_owned(),
            headers: vec![("accept".to_owned(), "*/*".to_owned())],
            body: vec![0, 255],
            tag: "t".to_owned(),
            parts: Parts::ServerSentEvents,
            timeout_ms: 1,
            attempts: 2,
            at: 3,
        };
        let [Write::DueSet { due_at: 7, .. }, Write::KvSet { value, .. }] = request.write("h", "id", 7) else {
            panic!("a content and a progress");
        };
        assert_eq!(OutboundRequest::read(&value), Some(request));
    }
}
