//! Faults that a test injects into an event, and answers to HTTP requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use parlance_handler::capability::{self, Capability, HttpHead, HttpRequest, HttpTap, WasiTap};

/// An answer to an HTTP request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status, such as 200.
    pub status: u16,
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why an HTTP request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFault {
    /// No name server knows the host.
    Dns,
    /// The server refuses the connection.
    Refused,
    /// The server does not answer in time.
    Timeout,
}

impl HttpFault {
    /// The name of the error in `wasi:http/types`.
    fn error_name(self) -> &'static str {
        match self {
            Self::Dns => "DNS-error",
            Self::Refused => "connection-refused",
            Self::Timeout => "HTTP-response-timeout",
        }
    }
}

/// What a test changes about the host for the events that follow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Capabilities whose calls are denied.
    pub(crate) denied: BTreeSet<Capability>,
    /// Answers by method and URL, such as `GET https://api.example.org/words`.
    pub(crate) http: BTreeMap<String, Result<HttpAnswer, HttpFault>>,
    /// What other events do to the handler's keys: the first list during the first run of an event, and so on. `None`
    /// removes the key.
    pub(crate) meanwhile: Vec<BTreeMap<String, Option<Vec<u8>>>>,
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

/// Answers a handler's HTTP requests in place of the network.
pub(crate) struct HttpAnswers {
    pub(crate) faults: Arc<Faults>,
    pub(crate) log: Arc<HttpLog>,
}

impl WasiTap for HttpAnswers {
    fn elapsed_ms(&self, real: u64) -> u64 {
        real
    }

    fn answers_http(&self) -> bool {
        true
    }

    fn request(&self, request: HttpRequest) -> HttpTap {
        let line = format!("{} {}", request.method, request.url);
        let listed = self.faults.http.get(&line).cloned();
        self.log.0.lock().push(SentRequest {
            request: line,
            is_listed: listed.is_some(),
        });
        HttpTap::Answer(whole(listed.unwrap_or(Err(HttpFault::Dns))))
    }
}

/// The answer with its body in one part.
fn whole(answer: Result<HttpAnswer, HttpFault>) -> capability::HttpAnswer {
    match answer {
        Ok(answer) => capability::HttpAnswer {
            head: Some(Ok(HttpHead {
                status: answer.status,
                headers: answer
                    .headers
                    .into_iter()
                    .map(|(name, value)| (name, value.into_bytes()))
                    .collect(),
                length: u64::try_from(answer.body.len()).ok(),
            })),
            chunks: vec![Bytes::from(answer.body)],
            end: Some(Ok(())),
        },
        Err(fault) => capability::HttpAnswer {
            head: Some(Err(fault.error_name().to_owned())),
            ..capability::HttpAnswer::default()
        },
    }
}
