//! Sends one attempt of a request that a handler has asked for with its effects (`requests.send`).

use std::time::{Duration, SystemTime};

use futures_util::{StreamExt as _, TryStreamExt as _};
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{HeaderMap, Method};
use reqwest::Url;
use wasmtime_wasi_http::Error;

use super::body::Parts;
use super::client::HttpClient;
use super::failure::{error_code, name};
use super::host_wait::HostWait;
use crate::capability::{DnsLookupLimit, FailureReason, OutboundRequest, header_map};
use crate::sandbox::load::Handler;

/// The header that names the request, so that a service does its work once (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The header that names the last server-sent event that came.
const LAST_EVENT_ID: &str = "last-event-id";

/// Why an attempt has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OutboundError {
    /// For the handler.
    pub reason: FailureReason,
    /// A text that says nothing of the host's network.
    pub message: String,
}

impl OutboundError {
    fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// Whether another attempt may have an answer.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        !matches!(self.reason, FailureReason::Denied | FailureReason::TooLarge)
    }
}

impl From<&Error> for OutboundError {
    fn from(error: &Error) -> Self {
        let reason = match error {
            Error::HttpRequestDenied | Error::DestinationIpProhibited => FailureReason::Denied,
            Error::ConnectionTimeout | Error::HttpResponseTimeout | Error::DnsTimeout => FailureReason::Timeout,
            Error::HttpResponseIncomplete => FailureReason::Interrupted,
            _ => FailureReason::Unreachable,
        };
        Self::new(reason, name(error))
    }
}

/// An answer whose body is still to be read.
pub struct OutboundAnswer {
    /// Its status.
    pub status: u16,
    /// Its headers; a value that is not UTF-8 has replacement characters.
    pub headers: Vec<(String, String)>,
    /// After how long to try again, if the service says so.
    pub retry_after: Option<Duration>,
    /// Its body.
    pub body: OutboundBody,
}

/// The body of an answer.
pub struct OutboundBody(Parts);

impl OutboundBody {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the body breaks off.
    pub async fn next(&mut self) -> Result<Option<bytes::Bytes>, OutboundError> {
        let next = self.0.next().await.transpose();
        next.map_err(|error| OutboundError::from(&error))
    }
}

impl Handler {
    /// Sends a request, and waits for the head of its answer. `last_event_id` is the id after which the service is to go on
    /// with its server-sent events ([`RequestProgress::resumes_after`](crate::capability::RequestProgress::resumes_after)).
    /// The caller bounds the time.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn send_outbound(
        &self,
        id: &str,
        request: &OutboundRequest,
        last_event_id: Option<&str>,
        lookups: &DnsLookupLimit,
    ) -> Result<OutboundAnswer, OutboundError> {
        let denied = || OutboundError::new(FailureReason::Denied, "no grant covers the server");
        let url = Url::parse(&request.url).map_err(|_| denied())?;
        if !self.info().grants.covers(&url) {
            return Err(denied());
        }
        let client = self.outbound_client()?;
        let invalid = |what: String| OutboundError::new(FailureReason::Denied, what);
        let method = Method::from_bytes(request.method.as_bytes()).map_err(|error| invalid(error.to_string()))?;
        let mut headers = header_map(&request.headers).map_err(invalid)?;
        if !headers.contains_key(IDEMPOTENCY_KEY)
            && let Ok(id) = HeaderValue::from_str(id)
        {
            headers.insert(IDEMPOTENCY_KEY, id);
        }
        if let Some(last) = last_event_id {
            // It replaces the handler's own header, which says where the first attempt began.
            let last = HeaderValue::from_str(last).map_err(|error| invalid(error.to_string()))?;
            headers.insert(LAST_EVENT_ID, last);
        }
        // The HTTP client leaves it out for an empty body, and some services insist (RFC 9110, section 8.6).
        if request.body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let mut outgoing = reqwest::Request::new(method, url);
        *outgoing.headers_mut() = headers;
        if !request.body.is_empty() {
            *outgoing.body_mut() = Some(request.body.clone().into());
        }
        let response = client
            .send(outgoing, lookups, &HostWait::default())
            .await
            .map_err(|error| OutboundError::from(&error))?;
        Ok(OutboundAnswer {
            status: response.status().as_u16(),
            headers: shown(response.headers()),
            retry_after: retry_after(response.headers(), SystemTime::now()),
            body: OutboundBody(response.bytes_stream().map_err(|error| error_code(&error)).boxed()),
        })
    }

    /// The client of a component with a grant. One that also imports `wasi:http` has it already.
    fn outbound_client(&self) -> Result<HttpClient, OutboundError> {
        if let Some(client) = &self.http {
            return Ok(client.clone());
        }
        self.sandbox.http_client().map_err(|error| {
            tracing::warn!("a request cannot be sent: {error}");
            OutboundError::new(FailureReason::Unreachable, "the server has no HTTP client")
        })
    }
}

/// What a `Retry-After` says: seconds, or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_after_is_a_number_of_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let after = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(value).unwrap())]);
            retry_after(&headers, now).map(|after| after.as_secs())
        };
        assert_eq!(after(" 120 "), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:07 GMT"), Some(30));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "it has passed");
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
