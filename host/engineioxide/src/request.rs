//! Parses the query and headers of requests (Engine.IO protocol, "Transports" and "Handshake").

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engineioxide_core::TransportType;
use http::{HeaderMap, Method, header};

use crate::response::RequestError;

/// The length of a [`Secret`]: 16 bytes in base64 without padding.
pub(crate) const SECRET_LENGTH: usize = 22;
/// The protocol's `sid`. Knowing it is enough to use a polling session.
pub(crate) type Secret = [u8; SECRET_LENGTH];

/// An Engine.IO request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EngineRequest {
    /// Opens a session over polling.
    Open,
    /// Opens a session over a WebSocket.
    OpenWebSocket(WebSocketHandshake),
    /// Upgrades a polling session to a WebSocket.
    Upgrade(Secret, WebSocketHandshake),
    /// Polls for packets.
    Poll(Secret),
    /// Sends packets.
    Post(Secret),
}

/// The client's part of a WebSocket handshake.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct WebSocketHandshake {
    /// `Sec-WebSocket-Key`
    pub(crate) key: Vec<u8>,
    /// The first subprotocol that the client offers. Node's server accepts that one too, and a browser fails the
    /// connection if none is accepted.
    pub(crate) protocol: Option<http::HeaderValue>,
}

impl EngineRequest {
    /// Parses a request. `allowed` tells which transports are enabled.
    pub(crate) fn read(
        method: &Method,
        query: Option<&str>,
        headers: &HeaderMap,
        allowed: impl Fn(TransportType) -> bool,
    ) -> Result<Self, RequestError> {
        let mut transport = None;
        let mut version = None;
        let mut sid = None;
        for pair in query.unwrap_or_default().split('&') {
            match pair.split_once('=') {
                Some(("transport", value)) => transport = Some(value),
                Some(("EIO", value)) => version = Some(value),
                Some(("sid", value)) => sid = Some(value),
                _ => {}
            }
        }
        let transport: TransportType = transport
            .and_then(|name| name.parse().ok())
            .filter(|transport| allowed(*transport))
            .ok_or(RequestError::UnknownTransport)?;
        if version != Some("4") {
            return Err(RequestError::UnsupportedVersion);
        }
        // Node's server takes an empty `sid` for none.
        let secret = match sid.filter(|sid| !sid.is_empty()) {
            Some(sid) => Some(Secret::try_from(sid.as_bytes()).map_err(|_| RequestError::UnknownSession)?),
            None => None,
        };
        match (transport, secret, method) {
            (TransportType::Polling, Some(secret), &Method::GET) => Ok(Self::Poll(secret)),
            (TransportType::Polling, Some(secret), &Method::POST) => Ok(Self::Post(secret)),
            (TransportType::Polling, None, &Method::GET) => Ok(Self::Open),
            (TransportType::Polling, None, _) => Err(RequestError::HandshakeMethod),
            (TransportType::Websocket, secret, &Method::GET) => {
                let handshake = websocket_handshake(headers).ok_or(RequestError::Request)?;
                Ok(match secret {
                    Some(secret) => Self::Upgrade(secret, handshake),
                    None => Self::OpenWebSocket(handshake),
                })
            }
            (_, None, _) => Err(RequestError::HandshakeMethod),
            (_, Some(_), _) => Err(RequestError::Request),
        }
    }
}

/// The size of a decoded WebSocket key, in bytes (RFC 6455, section 4.1).
const KEY_LENGTH: usize = 16;

/// Parses the headers of a WebSocket handshake (RFC 6455, section 4.2.1).
fn websocket_handshake(headers: &HeaderMap) -> Option<WebSocketHandshake> {
    let has = |name, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    let asked = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    if !asked || headers.get(header::SEC_WEBSOCKET_VERSION)?.as_bytes() != b"13" {
        return None;
    }
    let protocol = headers
        .get(header::SEC_WEBSOCKET_PROTOCOL)
        .and_then(|offered| offered.to_str().ok())
        .and_then(|offered| offered.split(',').next())
        .and_then(|first| http::HeaderValue::from_str(first.trim()).ok());
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes();
    (STANDARD.decode(key).ok()?.len() == KEY_LENGTH).then(|| WebSocketHandshake {
        key: key.to_vec(),
        protocol,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn read(method: Method, query: &str, headers: &[(&str, &str)]) -> Result<EngineRequest, RequestError> {
        let headers = headers
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    http::HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        EngineRequest::read(&method, Some(query), &headers, |_| true)
    }

    const SID: &str = "abcdefghijklmnopqrstuv";
    const WEBSOCKET: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_request_is_read_by_its_method_and_query() {
        let secret: Secret = SID.as_bytes().try_into().unwrap();
        let sid = format!("EIO=4&transport=polling&t=abc&sid={SID}");
        assert_eq!(
            read(Method::GET, "EIO=4&transport=polling", &[]),
            Ok(EngineRequest::Open)
        );
        assert_eq!(read(Method::GET, &sid, &[]), Ok(EngineRequest::Poll(secret)));
        assert_eq!(read(Method::POST, &sid, &[]), Ok(EngineRequest::Post(secret)));
        assert_eq!(read(Method::PUT, &sid, &[]), Err(RequestError::Request));
        assert_eq!(
            read(Method::GET, "EIO=4&transport=polling&sid=", &[]),
            Ok(EngineRequest::Open)
        );
        assert_eq!(
            read(Method::POST, "EIO=4&transport=polling", &[]),
            Err(RequestError::HandshakeMethod)
        );
        assert_eq!(
            read(Method::GET, "EIO=3&transport=polling", &[]),
            Err(RequestError::UnsupportedVersion)
        );
        assert_eq!(
            read(Method::GET, "transport=polling", &[]),
            Err(RequestError::UnsupportedVersion)
        );
        assert_eq!(read(Method::GET, "EIO=4", &[]), Err(RequestError::UnknownTransport));
        assert_eq!(
            read(Method::GET, "EIO=4&transport=abc", &[]),
            Err(RequestError::UnknownTransport)
        );
        assert_eq!(
            read(Method::GET, "EIO=4&transport=polling&sid=abc", &[]),
            Err(RequestError::UnknownSession)
        );
    }

    #[test]
    fn a_websocket_handshake_needs_all_of_its_headers() {
        let query = "EIO=4&transport=websocket";
        assert!(matches!(
            read(Method::GET, query, &WEBSOCKET),
            Ok(EngineRequest::OpenWebSocket(_))
        ));
        for left_out in 0..WEBSOCKET.len() {
            let mut headers = WEBSOCKET.to_vec();
            headers.remove(left_out);
            assert_eq!(
                read(Method::GET, query, &headers),
                Err(RequestError::Request),
                "{left_out}"
            );
        }
    }

    #[test]
    fn a_key_has_sixteen_bytes() {
        for key in ["", "c2hvcnQ=", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE="] {
            let mut headers = WEBSOCKET.to_vec();
            headers[3].1 = key;
            assert_eq!(
                read(Method::GET, "EIO=4&transport=websocket", &headers),
                Err(RequestError::Request),
                "{key}"
            );
        }
    }

    #[test]
    fn the_first_offered_subprotocol_is_accepted() {
        let mut headers = WEBSOCKET.to_vec();
        headers.push(("sec-websocket-protocol", "chat , superchat"));
        let Ok(EngineRequest::OpenWebSocket(key)) = read(Method::GET, "EIO=4&transport=websocket", &headers) else {
            unreachable!("it opens a WebSocket")
        };
        assert_eq!(key.protocol.unwrap(), "chat");
    }
}
