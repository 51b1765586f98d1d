//! What clients are held to before they are some tenant's, and how the protocol is spoken.

use std::path::Path;
use std::time::Duration;

use serde_json::Value as Json;

use parlance_types::settings::{
    Count, GIB, KIB, MIB, Size, Switch, Syntax, Texts, Time, Value, ValueKind, millis, pattern, secs, settings, text,
};

settings! {
    /// How the protocol is spoken.
    pub struct ProtocolSettings of the server in "server" {
        /// The path of Socket.IO: the clients' option `path`.
        path: String = "/socket.io".to_owned(), UrlPath;
        /// Accept permessage-deflate (RFC 7692) from WebSocket clients that offer it. The server compresses messages of 1 KiB
        /// and more, once for each recipient; clients may compress any. No tenant is charged for that processor time.
        compression: bool = false, Switch;
        /// Headers of the request that opens a connection that handlers get (`identity.handshake`).
        handshake_headers: Vec<String> = vec!["accept-language".to_owned(), "user-agent".to_owned()], HeaderNames;
    }
}

settings! {
    /// What connections to this server may cost.
    pub struct ConnectionLimits of the server in "limits" {
        /// Packets that one client's own queue holds; what does not fit waits beside it, up to `outbound_bytes`.
        outbound_packets: usize = 128, Count(8, 65_536);
        /// Bytes that wait for one client beside its queue; a client that is further behind is disconnected.
        outbound_bytes: usize = 2 * MIB, Size(KIB, GIB);
        /// How long a client may read nothing while bytes wait for it.
        write_stall: Duration = secs(30), Time(secs(1), secs(600));
        /// Times in a second, on average, that one transport may ask to be connected to a namespace.
        connects_per_second: usize = 5, Count(1, 100_000);
        /// Times at once that one transport may ask to be connected to a namespace.
        connect_burst: usize = 32, Count(1, 100_000);
        /// Connections to this server.
        connections: usize = 100_000, Count(1, 10_000_000);
        /// Connections from one address: an IPv4 address, or 64 bits of an IPv6 one. Many clients may share an address, and
        /// behind a proxy that is not in `server.trusted_proxies` all do, so there is no smaller bound unless one is set.
        connections_per_address: usize = 100_000, Count(1, 10_000_000);
        /// Connections in no namespace, which takes a token: not yet, or not any more.
        unauthenticated: usize = 2048, Count(1, 1_000_000);
        /// Connections of one address in no namespace. While this is smaller than `unauthenticated`, an address also gets no
        /// more than there are places free, so one alone gets half of them. Set both equal if all clients come from one
        /// address.
        unauthenticated_per_address: usize = 1024, Count(1, 1_000_000);
        /// New connections a second, before they show a token. As many may come at once.
        handshakes_per_second: usize = 10_000, Count(1, 1_000_000);
        /// New connections of one address a second, before they show a token.
        handshakes_per_second_per_address: usize = 5000, Count(1, 1_000_000);
        /// How often the server asks whether a client is still there.
        ping_interval: Duration = secs(25), Time(millis(100), secs(300));
        /// How long the server waits for the answer.
        ping_timeout: Duration = secs(20), Time(millis(100), secs(300));
        /// Bytes of what a client says besides its token when it connects: the rest of `auth`, the query, and the headers
        /// that `server.handshake_headers` names, together.
        handshake: usize = 4 * KIB, Size(0, 64 * KIB);
        /// How long a connection may be in no namespace, which takes a token.
        connect_timeout: Duration = secs(10), Time(millis(100), secs(300));
    }
}

settings! {
    /// What TCP connections are held to.
    pub struct TransportLimits of the server in "limits" {
        /// How long a client may take to send the head of an HTTP request, from its first byte or from when it connected.
        header_timeout: Duration = secs(10), Time(millis(100), secs(600));
        /// How long a client may take to send the body of an HTTP request.
        body_timeout: Duration = secs(30), Time(millis(100), secs(3600));
        /// How long a TCP connection may stay open between two requests. A reverse proxy that keeps connections for later
        /// must close them sooner, so that it never sends a request into one that is being closed.
        idle_timeout: Duration = secs(75), Time(millis(100), secs(3600));
        /// TCP connections that have no request and are no WebSocket. When there are more, the oldest is closed.
        silent_connections: usize = 4096, Count(16, 1_000_000);
        /// Silent TCP connections of one address: an IPv4 address, or 64 bits of an IPv6 one. Many clients behind one
        /// address connect at the same time when their network comes back. Those of `server.trusted_proxies` are not
        /// counted.
        silent_connections_per_address: usize = 1024, Count(1, 1_000_000);
    }
}

/// A packet of up to this many times the top level's `limits.packet` is read and answered with `too-large`. A larger one
/// ends the connection, because the server would have to read it to find its acknowledgement's id.
pub const OVERSIZE_FACTOR: usize = 32;

/// What the server holds all clients to, whichever tenant's.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerLimits {
    /// How the protocol is spoken.
    pub protocol: ProtocolSettings,
    /// What connections may cost.
    pub connections: ConnectionLimits,
    /// Bytes of one packet: `limits.packet` of the file's top level.
    pub packet: usize,
}

/// Paths that are served otherwise, with all below them.
const TAKEN: [&str; 6] = ["admin", "console", "dev", "healthz", "metrics", "readyz"];

/// The path of a URL, without the slash that may end it.
struct UrlPath;

impl ValueKind<String> for UrlPath {
    fn allowed(&self) -> String {
        format!("a path such as \"/chat/socket.io\", not below /{}", TAKEN.join(", /"))
    }

    fn schema(&self) -> Json {
        pattern("^(/[A-Za-z0-9._~-]+)+/*$")
    }

    fn parse(&self, value: &Value, _: &Path) -> Result<String, String> {
        let path = text(value)?.trim_end_matches('/');
        let segments = path
            .strip_prefix('/')
            .ok_or("does not begin with a slash, or is the root")?;
        let plain = |char: char| char.is_ascii_alphanumeric() || "-._~".contains(char);
        if segments
            .split('/')
            .any(|segment| matches!(segment, "" | "." | "..") || !segment.chars().all(plain))
        {
            return Err("has a part that is empty, or characters that a path must encode".to_owned());
        }
        match segments.split('/').next().filter(|first| TAKEN.contains(first)) {
            Some(first) => Err(format!("is below /{first}, which is the server's own")),
            None => Ok(path.to_owned()),
        }
    }

    fn show(&self, value: &String) -> Option<Value> {
        Some(value.as_str().into())
    }
}

/// A list of names of HTTP headers.
struct HeaderNames;

impl ValueKind<Vec<String>> for HeaderNames {
    fn allowed(&self) -> String {
        "a list of names of HTTP headers, such as [\"user-agent\"]".to_owned()
    }

    fn schema(&self) -> Json {
        Texts.schema()
    }

    fn parse(&self, value: &Value, base: &Path) -> Result<Vec<String>, String> {
        let items = Texts.parse(value, base)?;
        let strange = |char: char| !char.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(char);
        match items.iter().find(|item| item.contains(strange)) {
            Some(item) => Err(format!("has {item:?}, which is not the name of a header")),
            None => Ok(items.iter().map(|item| item.to_ascii_lowercase()).collect()),
        }
    }

    fn show(&self, value: &Vec<String>) -> Option<Value> {
        Texts.show(value)
    }

    fn syntax(&self) -> Syntax {
        Syntax::List
    }
}
