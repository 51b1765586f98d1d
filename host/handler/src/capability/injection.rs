//! What a test may put in the place of the host's own answers: denials, and answers to HTTP requests.

/// A capability that a test may take from a handler: an interface of `wit/` whose functions can refuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// `messages`
    Messages,
    /// `kv`
    Kv,
    /// `broadcast`
    Broadcast,
    /// `rooms`
    Rooms,
    /// `presence`
    Presence,
    /// `wasi:http/outgoing-handler`
    Http,
}

/// An HTTP request of a handler.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequest<'a> {
    /// Its method, such as `GET`.
    pub method: &'a str,
    /// Its URL.
    pub url: &'a str,
    /// Its headers. The values of headers that are not text are absent.
    pub headers: &'a [(&'a str, &'a str)],
    /// Its body.
    pub body: &'a [u8],
}

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
    /// No grant covers the request.
    Denied,
}
