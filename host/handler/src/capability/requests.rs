//! `requests`: requests to web services that are sent after the commit.

use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, Method};
use reqwest::Url;

use super::outbound::{OutboundRequest, RequestOptions};
use super::{Call, Capability, Fault};
use parlance_store::{KvKey, Write};

/// Longest URL, in bytes.
const URL_MAX: usize = 8 * 1024;
/// Largest body, in bytes.
const BODY_MAX: usize = 256 * 1024;
/// Most headers.
const HEADERS_MAX: usize = 64;
/// Bytes of all headers together.
const HEADER_BYTES_MAX: usize = 16 * 1024;
/// Longest tag, in bytes.
const TAG_MAX: usize = 256;
/// Longest timeout, in milliseconds.
const TIMEOUT_MAX_MS: u32 = 600_000;
/// Most attempts of one request.
const ATTEMPTS_MAX: u8 = 20;
/// Headers that the host sets, or that belong to the connection (RFC 9110, section 7.6.1).
const HOST_HEADERS: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads a handler's headers.
///
/// # Errors
/// What is wrong with one of them.
pub(crate) fn header_map(headers: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let wrong = || format!("{name:?} is not a header with a valid name and value");
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        if HOST_HEADERS.contains(&name.as_str()) {
            return Err(format!("the header {name} is the host's to set"));
        }
        map.append(name.clone(), HeaderValue::from_str(value).map_err(|_| wrong())?);
    }
    Ok(map)
}

impl Call {
    /// Sends a request once the event is committed. Returns its id.
    ///
    /// # Errors
    /// When no grant covers the server, an argument is invalid or too large, or the allowance is used up.
    pub fn send_request(
        &mut self,
        method: &str,
        url: &str,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        options: RequestOptions,
    ) -> Result<String, Fault> {
        self.require(Capability::Requests)?;
        let header_bytes: usize = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if url.len() > URL_MAX || header_bytes > HEADER_BYTES_MAX || body.len() > BODY_MAX {
            return Err(Fault::TooLarge);
        }
        if headers.len() > HEADERS_MAX {
            return Err(Fault::Invalid(format!("a request has at most {HEADERS_MAX} headers")));
        }
        let is_method = Method::from_bytes(method.as_bytes())
            .is_ok_and(|method| !matches!(method, Method::CONNECT | Method::TRACE));
        if !is_method {
            return Err(Fault::Invalid(format!("{method:?} is not a method that may be sent")));
        }
        header_map(&headers).map_err(Fault::Invalid)?;
        let RequestOptions {
            tag,
            parts,
            timeout_ms,
            attempts,
        } = options;
        if tag.len() > TAG_MAX {
            return Err(Fault::Invalid(format!("a tag has at most {TAG_MAX} bytes")));
        }
        let timeout_ms = timeout_ms.unwrap_or(OutboundRequest::TIMEOUT_MS);
        if !(1..=TIMEOUT_MAX_MS).contains(&timeout_ms) {
            return Err(Fault::Invalid(format!("a timeout is 1 to {TIMEOUT_MAX_MS} ms")));
        }
        let attempts = attempts.unwrap_or(OutboundRequest::ATTEMPTS);
        if !(1..=ATTEMPTS_MAX).contains(&attempts) {
            return Err(Fault::Invalid(format!("a request has 1 to {ATTEMPTS_MAX} attempts")));
        }
        let parsed = Url::parse(url).map_err(|error| Fault::Invalid(format!("the URL: {error}")))?;
        if !self.handler.grants.covers(&parsed) {
            return Err(Fault::Denied);
        }
        let id = format!("{:016x}{:016x}", self.random_u64(), self.random_u64());
        let request = OutboundRequest {
            method: method.to_owned(),
            url: parsed.into(),
            headers,
            body,
            tag,
            parts,
            timeout_ms,
            attempts,
            at: self.now_ms,
        };
        let bytes = request.url.len() + header_bytes + request.body.len() + request.tag.len();
        // Progress without content is a request that is not sent, so nothing is left of one that is refused here.
        let [progress, content] = request.write(&self.handler.name, &id, self.now_ms);
        self.write(progress, id.len())?;
        self.write(content, bytes)?;
        Ok(id)
    }

    /// Forgets a request.
    ///
    /// # Errors
    /// When this is not an id, or the allowance is used up.
    pub fn cancel_request(&mut self, id: String) -> Result<(), Fault> {
        self.require(Capability::Requests)?;
        if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Fault::Invalid("this is not the id of a request".to_owned()));
        }
        let content = KvKey::request_content(&self.handler.name, id.clone());
        let progress = KvKey::request(&self.handler.name, id);
        self.write(Write::KvDelete { key: progress }, content.key.len())?;
        self.write(Write::KvDelete { key: content }, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_are_refused() {
        let one = |name: &str, value: &str| header_map(&[(name.to_owned(), value.to_owned())]);
        assert!(one("X-Own", "text").is_ok());
        for (name, value) in [
            ("Host", "x"),
            ("content-length", "1"),
            ("a b", "x"),
            ("x", "a\r\nb: c"),
            ("", "x"),
        ] {
            assert!(one(name, value).is_err(), "{name}: {value}");
        }
    }
}
