//! A tap: notes, or replaces, what a component gets from the outside through WASI. A recording notes it, a replay
//! answers from what was noted.
//!
//! The store, the connection and chance need no tap: a [`Call`](super::Call) gets them as traits, which a recording
//! wraps and a replay implements.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

/// Notes or answers what a component asks of clocks and web servers. A call without one has the real ones.
pub trait WasiTap: Send + Sync {
    /// The milliseconds since the event began that the component's clock shows. `real` have passed.
    fn elapsed_ms(&self, real: u64) -> u64;

    /// Whether the answers of web servers come from [`request`](Self::request), so that no request is sent.
    fn answers_http(&self) -> bool;

    /// Takes a request that the host has admitted.
    fn request(&self, request: HttpRequest) -> HttpTap;
}

/// What becomes of a request.
#[derive(Debug)]
pub enum HttpTap {
    /// It is sent, and the answer is noted here as it comes in.
    Note(Arc<Mutex<HttpAnswer>>),
    /// It is not sent. This is the answer.
    Answer(HttpAnswer),
}

/// A request of a component, as it would be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// Its number among the event's requests, from 1, in the order in which the component made them. Requests that run
    /// at once may be sent in another order.
    pub number: u32,
    /// The method.
    pub method: String,
    /// The whole URL.
    pub url: String,
    /// Names and values of the headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}

/// The name of an error as `wasi:http/types.error-code` has it, such as `connection-refused`.
pub type HttpErrorName = String;

/// The answer to a request, as far as the component has read it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Status and headers, or the error; `None` when neither came.
    pub head: Option<Result<HttpHead, HttpErrorName>>,
    /// The parts of the body that were read.
    pub chunks: Vec<Bytes>,
    /// How the body ended; `None` when it was not read to its end.
    pub end: Option<Result<(), HttpErrorName>>,
}

/// Status and headers of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHead {
    /// The status code.
    pub status: u16,
    /// Names and values of the headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The length of the body that the server has announced.
    pub length: Option<u64>,
}
