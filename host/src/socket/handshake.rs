//! Reads the data of a Socket.IO handshake: the token, and what handlers get as `identity.handshake`.

use std::borrow::Cow;
use std::fmt;

use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::address::ClientAddress;
use super::settings::ServerLimits;
use parlance_handler::capability::HandshakeData;
use parlance_types::error::{Code, EventError};
use parlance_types::text::json::{DEPTH_MAX, exceeds_depth};
use parlance_types::text::without_lone_surrogates;

/// Query parameters that belong to Engine.IO (protocol 4). Handlers do not get them.
const PROTOCOL: [&str; 5] = ["EIO", "transport", "sid", "t", "b64"];

/// The token of a handshake, and the rest that handlers get.
pub(super) struct ParsedHandshake {
    pub(super) token: String,
    pub(super) handshake: HandshakeData,
}

impl ParsedHandshake {
    /// Reads the client's `auth` and the request that opened its transport.
    ///
    /// # Errors
    /// The handshake is too large, or `auth` nests too deep.
    pub(super) fn read(limits: &ServerLimits, auth: Option<&RawValue>, request: &Parts) -> Result<Self, EventError> {
        let text = without_lone_surrogates(auth.map_or("{}", RawValue::get));
        if exceeds_depth(&text, DEPTH_MAX) {
            let deep = format!("auth must not nest deeper than {DEPTH_MAX}");
            return Err(EventError::new(Code::Invalid, deep));
        }
        // The Socket.IO parser accepts only an object, so this fails for an absent `auth` alone.
        let Auth { token, rest } = serde_json::from_str(&text).unwrap_or_default();
        let query = form_urlencoded::parse(request.uri.query().unwrap_or_default().as_bytes());
        let (own, query): (Vec<_>, Vec<_>) = query
            .into_owned()
            .partition(|(key, _)| PROTOCOL.contains(&key.as_str()));
        let polling = own.iter().any(|(key, value)| key == "transport" && value == "polling");
        let header = |name: &String| {
            let value = String::from_utf8_lossy(request.headers.get(name)?.as_bytes()).into_owned();
            Some((name.clone(), value))
        };
        let handshake = HandshakeData {
            auth: rest.into(),
            query,
            address: request
                .extensions
                .get::<ClientAddress>()
                .copied()
                .map(ClientAddress::ip),
            transport: if polling { "polling" } else { "websocket" },
            headers: limits.protocol.handshake_headers.iter().filter_map(header).collect(),
        };
        let bytes = handshake.bytes();
        let max = limits.connections.handshake;
        if bytes > max {
            let large =
                format!("auth (without the token), query and headers have {bytes} bytes; at most {max} are allowed");
            return Err(EventError::new(Code::TooLarge, large));
        }
        Ok(ParsedHandshake { token, handshake })
    }
}

/// The client's `auth`: the token, and the rest of the object with each value as it was sent.
struct Auth {
    token: String,
    rest: String,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            token: String::new(),
            rest: "{}".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Auth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Auth, A::Error> {
                let (mut token, mut rest) = (String::new(), String::from("{"));
                while let Some((key, value)) = map.next_entry::<Cow<'de, str>, &RawValue>()? {
                    if key == "token" {
                        // A token that is not a string counts as missing.
                        token = serde_json::from_str(value.get()).unwrap_or_default();
                        continue;
                    }
                    if rest.len() > 1 {
                        rest.push(',');
                    }
                    rest.push_str(&serde_json::Value::from(key).to_string());
                    rest.push(':');
                    rest.push_str(value.get());
                }
                rest.push('}');
                Ok(Auth { token, rest })
            }
        }
        reader.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    fn read(auth: &str, query: &str, bytes: usize) -> Result<ParsedHandshake, EventError> {
        let auth: Box<RawValue> = serde_json::from_str(auth).unwrap();
        let request = Request::builder()
            .uri(format!("/socket.io/?{query}"))
            .header("user-agent", "one")
            .header("cookie", "secret");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut limits = ServerLimits::default();
        limits.connections.handshake = bytes;
        ParsedHandshake::read(&limits, Some(&auth), &parts)
    }

    #[test]
    fn handlers_get_all_but_the_token_and_the_protocols_parameters() {
        let auth = r#"{"room":1e400,"token":"x","a":{"b":[1, 2]}, "\ud83d":"é"}"#;
        let opening = read(auth, "EIO=4&transport=polling&t=abc&app=a%20b+c&app=2", 1000).unwrap();
        assert_eq!(opening.token, "x");
        let handshake = opening.handshake;
        assert_eq!(
            &*handshake.auth,
            "{\"room\":1e400,\"a\":{\"b\":[1, 2]},\"\u{fffd}\":\"é\"}"
        );
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(handshake.query, [pair("app", "a b c"), pair("app", "2")]);
        assert_eq!(handshake.transport, "polling");
        assert_eq!(handshake.headers, [pair("user-agent", "one")]);
    }

    #[test]
    fn a_token_that_is_not_a_string_counts_as_missing() {
        for auth in [r#"{"token":5}"#, "{}", r#"{"token":null}"#] {
            assert_eq!(read(auth, "EIO=4&transport=websocket", 100).unwrap().token, "");
        }
    }

    #[test]
    fn a_large_handshake_is_refused_whatever_the_size_of_its_token() {
        let long = "x".repeat(500);
        assert!(read(&format!("{{\"token\":\"{long}\"}}"), "", 100).is_ok());
        for (auth, query) in [(format!("{{\"a\":\"{long}\"}}"), ""), ("{}".to_owned(), long.as_str())] {
            assert_eq!(read(&auth, query, 100).err().unwrap().code, Code::TooLarge);
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert_eq!(read(&deep, "", 1000).err().unwrap().code, Code::Invalid);
    }
}
