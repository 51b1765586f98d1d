//! Which web pages may use the server: those of `server.cors_origins`, and those of its own host and port.
//!
//! Browsers ask the server before they let a page of another origin read an answer (CORS), but not before they open a
//! WebSocket for it. So the server checks the `Origin` of each WebSocket itself. Programs other than browsers send no
//! `Origin`.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::dev::PageMinter;
use crate::config::{Config, normal_origin};
use crate::socket::ClientAddress;
use parlance_types::throttle::LogThrottle;

/// The origins that may connect.
#[derive(Clone)]
pub(super) struct Origins(Arc<Allowed>);

struct Allowed {
    any: bool,
    listed: Vec<String>,
    refused: LogThrottle,
}

impl Origins {
    pub(super) fn new(config: &Config) -> Self {
        let listed = config.server.cors_origins.clone();
        Self(Arc::new(Allowed {
            any: listed.iter().any(|origin| origin == "*"),
            listed,
            refused: LogThrottle::default(),
        }))
    }

    /// CORS headers for the listed origins. Any request header is allowed: the `extraHeaders` of the official client
    /// are the application's.
    pub(super) fn cors(&self) -> CorsLayer {
        let layer = CorsLayer::new()
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(AllowHeaders::mirror_request());
        if self.0.any {
            return layer.allow_origin(AllowOrigin::any());
        }
        let origins = self.clone();
        let listed = move |origin: &HeaderValue, _: &_| origins.lists(origin);
        layer
            .allow_origin(AllowOrigin::predicate(listed))
            .allow_credentials(true)
    }

    fn lists(&self, origin: &HeaderValue) -> bool {
        let origin = origin.to_str().ok().and_then(normal_origin);
        origin.is_some_and(|origin| self.0.listed.contains(&origin))
    }

    fn may_connect(&self, headers: &HeaderMap) -> bool {
        match headers.get(header::ORIGIN) {
            Some(origin) => self.0.any || self.lists(origin) || is_own(origin, headers),
            None => true,
        }
    }
}

/// Whether the origin is the host and port that the request was sent to. The scheme is not compared, since a proxy may
/// terminate TLS.
fn is_own(origin: &HeaderValue, headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let (Some(origin), Some(host)) = (text(origin), headers.get(header::HOST).and_then(text)) else {
        return false;
    };
    let Some((scheme, _)) = origin.split_once("://") else {
        return false;
    };
    let own = normal_origin(&format!("{scheme}://{host}"));
    own.is_some() && own == normal_origin(&origin)
}

/// Refuses WebSockets from pages of foreign origins.
pub(super) async fn refuse_foreign_websocket(State(origins): State<Origins>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::UPGRADE) || origins.may_connect(headers) {
        return next.run(request).await;
    }
    if let Some(suppressed) = origins.0.refused.pass() {
        let address = request.extensions().get::<ClientAddress>().map(ToString::to_string);
        let value = |name| headers.get(name).map(|value| format!("{value:?}"));
        let (origin, host) = (value(header::ORIGIN), value(header::HOST));
        tracing::info!(
            address,
            origin,
            host,
            suppressed,
            "a WebSocket was refused: its page's origin is not in server.cors_origins, nor the host that it was sent to \
             (a reverse proxy must pass the Host header on)"
        );
    }
    (StatusCode::FORBIDDEN, "pages of this origin may not connect\n").into_response()
}

/// Refuses requests for development tokens from pages of other origins, and under host names that are not this
/// server's: a page elsewhere can make its own name resolve to this machine (DNS rebinding), but cannot use another
/// name.
pub(super) async fn refuse_foreign_page(
    State(minter): State<Arc<PageMinter>>,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own_page = headers.get(header::ORIGIN).is_none_or(|origin| is_own(origin, headers));
    if own_page && host.is_some_and(|host| is_this_server(host, &minter.host)) {
        return next.run(request).await;
    }
    let why =
        "development tokens are for pages of this server, under the name of this machine or the address of --host\n";
    (StatusCode::FORBIDDEN, why).into_response()
}

/// Whether a `Host` header names the loopback of this machine, or what the server listens on. If it listens on every
/// interface, any IP address counts: rebinding needs a name.
fn is_this_server(host: &str, listens_on: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name);
    let everywhere = listens_on
        .parse::<IpAddr>()
        .is_ok_and(|address| address.is_unspecified());
    match bare.parse::<IpAddr>() {
        Ok(address) => everywhere || address.is_loopback() || listens_on.parse() == Ok(address),
        Err(_) => {
            let name = bare.trim_end_matches('.').to_ascii_lowercase();
            name == "localhost" || name.ends_with(".localhost") || name == listens_on.to_ascii_lowercase()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &str, host: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        headers
    }

    fn origins(listed: &[&str]) -> Origins {
        Origins(Arc::new(Allowed {
            any: listed.contains(&"*"),
            listed: listed.iter().map(|origin| (*origin).to_owned()).collect(),
            refused: LogThrottle::default(),
        }))
    }

    #[test]
    fn listed_origins_and_the_servers_own_may_connect() {
        let some = origins(&["https://one.example", "http://two.example:8080"]);
        for (origin, may) in [
            ("https://one.example", true),
            ("https://one.example:443", true),
            ("https://ONE.example", true),
            ("http://one.example", false),
            ("https://one.example:8443", false),
            ("http://two.example:8080", true),
            ("http://two.example", false),
            ("https://chat.example", true),
            ("https://chat.example:443", true),
            ("http://chat.example", true),
            ("https://chat.example:444", false),
            ("https://evil.example", false),
            ("null", false),
        ] {
            assert_eq!(some.may_connect(&headers(origin, "chat.example")), may, "{origin}");
        }
        assert!(some.may_connect(&HeaderMap::new()), "a program");
        assert!(origins(&["*"]).may_connect(&headers("null", "chat.example")));
        assert!(origins(&[]).may_connect(&headers("http://localhost:3000", "localhost:3000")));
        assert!(!origins(&[]).may_connect(&headers("http://localhost:5173", "localhost:3000")));
    }

    #[test]
    fn a_host_is_this_server_or_not() {
        for (host, listens_on, own) in [
            ("localhost:3000", "127.0.0.1", true),
            ("LOCALHOST", "127.0.0.1", true),
            ("chat.localhost:3000", "127.0.0.1", true),
            ("127.0.0.1:3000", "127.0.0.1", true),
            ("127.1.2.3", "127.0.0.1", true),
            ("[::1]:3000", "127.0.0.1", true),
            ("evil.example:3000", "127.0.0.1", false),
            ("localhost.evil.example", "127.0.0.1", false),
            ("192.168.1.5:3000", "127.0.0.1", false),
            ("192.168.1.5:3000", "192.168.1.5", true),
            ("192.168.1.5:3000", "0.0.0.0", true),
            ("[fd00::7]:3000", "::", true),
            ("evil.example:3000", "0.0.0.0", false),
            ("desk.example:3000", "desk.example", true),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(is_this_server(host, listens_on), own, "{host} at {listens_on}");
        }
    }
}
