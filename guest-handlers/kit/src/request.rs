//! Requests to web services, put together step by step.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::requests::{self, Options, Parts, Request};
use crate::{Fault, Rejection, Response, ServerSentEvent};

/// A request to a web service, which is sent once the event is committed. What comes back goes to
/// [`ResponseHandler`](crate::ResponseHandler).
///
/// ```ignore
/// let id = HttpRequest::post("https://api.example.org/answers")
///     .header("authorization", &format!("Bearer {key}"))
///     .json(&json!({ "question": question }))?
///     .tag(&room)
///     .send()?;
/// ```
#[must_use = "a request is sent by `send`"]
pub struct HttpRequest {
    request: Request,
    options: Options,
}

impl HttpRequest {
    /// A request with this method and URL. Its answer comes whole.
    pub fn new(method: &str, url: &str) -> Self {
        Self {
            request: Request {
                method: method.to_owned(),
                url: url.to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
            },
            options: Options {
                tag: String::new(),
                parts: Parts::Whole,
                timeout_ms: None,
                attempts: None,
            },
        }
    }

    /// A `GET`.
    pub fn get(url: &str) -> Self {
        Self::new("GET", url)
    }

    /// A `POST`.
    pub fn post(url: &str) -> Self {
        Self::new("POST", url)
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.request.body = body.into();
        self
    }

    /// Sets a body of JSON, and the header that says so.
    ///
    /// # Errors
    /// `invalid` if it cannot be written as JSON.
    pub fn json<T: Serialize + ?Sized>(self, body: &T) -> Result<Self, Fault> {
        let json = serde_json::to_vec(body).map_err(|error| Fault::Invalid(error.to_string()))?;
        Ok(self.header("content-type", "application/json").body(json))
    }

    /// Sets the text that comes back with each part.
    pub fn tag(mut self, tag: &str) -> Self {
        tag.clone_into(&mut self.options.tag);
        self
    }

    /// Has the answer come by lines.
    pub fn lines(mut self) -> Self {
        self.options.parts = Parts::Lines;
        self
    }

    /// Has the answer come by its server-sent events.
    pub fn server_sent_events(mut self) -> Self {
        self.options.parts = Parts::ServerSentEvents;
        self
    }

    /// Sets the time for the answer, or for each pause in one that comes in parts.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.options.timeout_ms = Some(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
        self
    }

    /// Sets how often it is tried at most.
    pub fn attempts(mut self, attempts: u8) -> Self {
        self.options.attempts = Some(attempts);
        self
    }

    /// Sends it with the event's other effects. Returns its id.
    ///
    /// # Errors
    /// As [`requests::send`].
    pub fn send(self) -> Result<String, Fault> {
        requests::send(&self.request, &self.options)
    }
}

impl Response {
    /// The first header of this name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Parses the body as JSON.
    ///
    /// # Errors
    /// `invalid`, with what does not match and where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        serde_json::from_slice(&self.body)
            .map_err(|error| Rejection::Invalid(format!("the answer does not match: {error}")))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl ServerSentEvent {
    /// Parses the data as JSON.
    ///
    /// # Errors
    /// `invalid`, with what does not match and where.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Rejection> {
        serde_json::from_str(&self.data)
            .map_err(|error| Rejection::Invalid(format!("the event does not match: {error}")))
    }
}
