//! Faults that a test injects into an event, and answers to HTTP requests.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use parlance_handler::capability::{Capability, HttpAnswer, HttpFault, HttpRequest};

/// What a test changes about the host for the events that follow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Capabilities whose calls are denied.
    pub(crate) denied: BTreeSet<Capability>,
    /// Answers by method and URL, such as `GET https://api.example.org/words`.
    pub(crate) http: BTreeMap<String, Result<HttpAnswer, HttpFault>>,
    /// Whether requests without an answer fail, instead of going to the network.
    pub(crate) is_offline: bool,
}

/// The HTTP requests of the events since the last look.
#[derive(Debug, Default)]
pub(crate) struct HttpLog(Mutex<Vec<SentRequest>>);

/// An HTTP request that a handler sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SentRequest {
    /// Method and URL.
    pub(crate) request: String,
    /// Whether the test has an answer to it.
    pub(crate) is_listed: bool,
}

impl HttpLog {
    /// Removes and returns all requests.
    pub(crate) fn take(&self) -> Vec<SentRequest> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Faults {
    /// The answer to a request. `None`: it goes to the network.
    pub(crate) fn answer(&self, request: &HttpRequest<'_>, log: &HttpLog) -> Option<Result<HttpAnswer, HttpFault>> {
        let line = format!("{} {}", request.method, request.url);
        let listed = self.http.get(&line).cloned();
        if listed.is_none() && !self.is_offline {
            return None;
        }
        log.0.lock().push(SentRequest {
            request: line,
            is_listed: listed.is_some(),
        });
        Some(listed.unwrap_or(Err(HttpFault::Dns)))
    }
}
