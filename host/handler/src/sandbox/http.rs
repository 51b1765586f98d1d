//! A component's requests to the servers that its operator grants: those of `wasi:http/outgoing-handler`, and in
//! [`outbound`] those that are sent after the commit.
//!
//! A request is sent only if a pattern of [`Grants`] covers its scheme, host and port. A
//! name must resolve to public addresses, and the connection goes to an address that was checked. The client follows no
//! redirects: the guest may, and its next request is checked again. There is no proxy, TLS is verified, and no
//! connection serves two requests. The event's wall time bounds a request's time. Requests, and the bytes of all bodies
//! and of the responses' headers, are limited for each event; requests and concurrent DNS look-ups are limited for each
//! tenant.

mod body;
mod client;
mod dns;
mod exchange;
mod failure;
mod fields;
mod host_wait;
mod outbound;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::CONTENT_LENGTH;
use hyper::{Method, Request, Response};
use reqwest::Url;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::meter::GuestLimits;
use crate::capability::{Call, Capability, DnsLookupLimit, Grants, HostContext, Level, WasiTap};
use body::ByteBudget;
pub(super) use client::HttpClient;
pub(super) use fields::add_to_linker;
pub(super) use host_wait::HostWait;
pub use outbound::{OutboundAnswer, OutboundBody, OutboundError};

/// Most bytes of a request's body that a guest may pass at once.
const CHUNK: usize = 64 * 1024;
/// Most bytes of a host name that are logged: the longest DNS name. The guest controls the URL.
const HOST_SHOWN: usize = 253;

type Sent = Result<(Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>;

/// The outgoing HTTP of one event.
pub(super) struct OutgoingHttp {
    allowed: Option<HttpAllowance>,
    /// Requests so far, including those that were denied.
    requests: u32,
    /// Hosts of the requests that no grant covers.
    denied: Vec<String>,
    /// Requests that were not sent because of the tenant's rate limit.
    rate_limited: u32,
    /// Requests that wait for other tenants' DNS look-ups.
    pub(super) host_wait: HostWait,
}

struct HttpAllowance {
    /// `None` when a tap answers all requests.
    client: Option<HttpClient>,
    tap: Option<Arc<dyn WasiTap>>,
    grants: Arc<Grants>,
    host_context: Arc<dyn HostContext>,
    requests_max: u32,
    bytes: ByteBudget,
    /// The event's deadline.
    end: Instant,
}

impl OutgoingHttp {
    /// Denies every request: there is no grant, or no event.
    pub(super) fn denied() -> Self {
        Self {
            allowed: None,
            requests: 0,
            denied: Vec::new(),
            rate_limited: 0,
            host_wait: HostWait::default(),
        }
    }

    /// The outgoing HTTP of an event that begins now.
    pub(super) fn granted(client: Option<&HttpClient>, call: &Call, limits: &GuestLimits) -> Self {
        Self {
            allowed: Some(HttpAllowance {
                client: client.cloned(),
                tap: call.wasi_tap.clone(),
                grants: call.handler.grants.clone(),
                host_context: call.host_context.clone(),
                requests_max: limits.http_requests,
                bytes: ByteBudget::new(limits.http_bytes),
                end: Instant::now() + limits.wall_time,
            }),
            requests: 0,
            denied: Vec::new(),
            rate_limited: 0,
            host_wait: HostWait::default(),
        }
    }

    /// Writes denied and rate-limited requests to the event's log, within the log's allowance.
    pub(super) fn log(&mut self, call: &mut Call) {
        for host in self.denied.drain(..) {
            call.log(
                Level::Warn,
                &format!("an HTTP request to {host:?} was denied: no grant covers it"),
            );
        }
        if self.rate_limited > 0 {
            call.log(
                Level::Warn,
                &format!(
                    "HTTP requests that were not sent because the tenant's for this second are used up: {} \
                     (quota.http_requests_per_second)",
                    self.rate_limited
                ),
            );
        }
    }

    /// Checks a request. Returns the future that sends it.
    fn admit(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<impl Future<Output = Sent> + Send + use<>, Error> {
        let allowed = self.allowed.as_ref().ok_or(Error::HttpRequestDenied)?;
        // Denied requests count too, since they cost the host work and a line of the log.
        if self.requests >= allowed.requests_max {
            return Err(Error::ConnectionLimitReached);
        }
        self.requests += 1;
        let (parts, body) = request.into_parts();
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(Error::HttpRequestMethodInvalid);
        }
        // Check the URL as the client parses it: another parser might find another host in the same text.
        let url = Url::parse(&parts.uri.to_string()).map_err(|_| Error::HttpRequestUriInvalid)?;
        let denied = allowed.host_context.denies(Capability::Http);
        if denied || !allowed.grants.covers(&url) {
            let host = url.host_str().unwrap_or_default();
            let shown = host.get(..host.floor_char_boundary(HOST_SHOWN)).unwrap_or_default();
            self.denied.push(shown.to_owned());
            return Err(Error::HttpRequestDenied);
        }
        if !allowed.host_context.admit_http_request() {
            self.rate_limited += 1;
            return Err(Error::ConnectionLimitReached);
        }
        let mut headers = parts.headers;
        // The client sets it once it has read the whole body.
        headers.remove(CONTENT_LENGTH);
        let mut request = reqwest::Request::new(parts.method, url);
        *request.headers_mut() = headers;
        let request_client = RequestClient {
            number: self.requests,
            client: allowed.client.clone(),
            tap: allowed.tap.clone(),
            share: allowed.host_context.dns_lookups(),
            host_wait: self.host_wait.clone(),
        };
        let timeouts = Timeouts::new(options, allowed.end);
        Ok(send(request_client, request, body, allowed.bytes.clone(), timeouts))
    }
}

/// The request's timeouts: the guest's, bounded by what is left of the event's time.
#[derive(Debug, Clone, Copy)]
struct Timeouts {
    /// When the response must have started.
    first_byte: Instant,
    between_bytes: Duration,
    end: Instant,
}

impl Timeouts {
    fn new(options: Option<RequestOptions>, end: Instant) -> Self {
        let options = options.unwrap_or_default();
        let now = Instant::now();
        let left = end.saturating_duration_since(now);
        let connect = options.connect_timeout.unwrap_or(left);
        let first_byte = connect.saturating_add(options.first_byte_timeout.unwrap_or(left));
        Self {
            first_byte: now + first_byte.min(left),
            between_bytes: options.between_bytes_timeout.unwrap_or(left).min(left),
            end,
        }
    }
}

/// What is needed to send a request.
struct RequestClient {
    /// The request's number in its event.
    number: u32,
    client: Option<HttpClient>,
    tap: Option<Arc<dyn WasiTap>>,
    share: DnsLookupLimit,
    host_wait: HostWait,
}

async fn send(
    request_client: RequestClient,
    mut request: reqwest::Request,
    body: WasiBody,
    bytes: ByteBudget,
    timeouts: Timeouts,
) -> Sent {
    let body = timeout_at(timeouts.end, body::request(body, &bytes))
        .await
        .map_err(|_| Error::ConnectionWriteTimeout)??;
    if !body.is_empty() {
        *request.body_mut() = Some(body.into());
    }
    let answer = timeout_at(timeouts.first_byte, exchange::exchange(&request_client, request))
        .await
        .map_err(|_| Error::HttpResponseTimeout)??;
    let headers = answer
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if !bytes.take(headers) {
        return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(headers).ok()));
    }
    let announced = answer.length;
    if announced.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > bytes.left())) {
        return Err(Error::HttpResponseBodySize(announced));
    }
    let mut response = Response::new(());
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    let body = body::response(answer.parts, bytes, timeouts.between_bytes, timeouts.end);
    Ok((response.map(|()| body), Box::new(async { Ok(()) })))
}

impl WasiHttpHooks for OutgoingHttp {
    /// The client takes the `Host` header from the URL that was checked, never from the guest.
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        match self.admit(request, options) {
            Ok(sending) => Box::new(sending),
            Err(error) => Box::new(async { Err(error) }),
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(pattern: &str, url: &str) -> bool {
        let http = vec![pattern.parse().unwrap()];
        Url::parse(url).is_ok_and(|url| {
            Grants {
                http,
                ..Grants::default()
            }
            .covers(&url)
        })
    }

    #[test]
    fn a_url_is_read_as_the_client_reads_it() {
        assert!(granted("api.example.org", "https://api.example.org/path?query"));
        assert!(granted("api.example.org", "https://API.example.org:443/"));
        assert!(!granted("api.example.org", "http://api.example.org/"));
        assert!(!granted("api.example.org", "https://api.example.org:8443/"));
        assert!(!granted("api.example.org", "https://api.example.org@evil.example/"));
        assert!(!granted("api.example.org", "https://user@api.example.org/"));
        assert!(!granted("api.example.org", "https://evil.example/#api.example.org"));
        assert!(!granted("api.example.org", "https://evil.example\\@api.example.org/"));
        assert!(!granted("api.example.org", "https://api.example.org./"));
    }

    #[test]
    fn all_notations_of_an_address_are_recognised() {
        for url in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
        ] {
            assert!(granted("http://127.0.0.1", url), "{url}");
            assert!(!granted("http://10.0.0.1", url), "{url}");
        }
        assert!(granted("http://[::1]", "http://[0:0:0:0:0:0:0:1]/"));
    }
}
