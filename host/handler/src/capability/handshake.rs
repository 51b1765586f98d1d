//! What a client sent when it connected.

use std::net::IpAddr;

/// What a client sent when it connected. Nothing of it is verified except the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeData {
    /// The fields of `auth` except the token: a JSON object.
    pub auth: Box<str>,
    /// The decoded query, without Engine.IO's own keys.
    pub query: Vec<(String, String)>,
    /// The client's address, when it is known.
    pub address: Option<IpAddr>,
    /// The first transport: `polling` or `websocket`.
    pub transport: &'static str,
    /// The request headers that `server.handshake_headers` names.
    pub headers: Vec<(String, String)>,
}

impl Default for HandshakeData {
    /// An empty handshake over a WebSocket.
    fn default() -> Self {
        Self {
            auth: "{}".into(),
            query: Vec::new(),
            address: None,
            transport: "websocket",
            headers: Vec::new(),
        }
    }
}

impl HandshakeData {
    /// Bytes of all parts whose size the client controls.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pairs = self.query.iter().chain(&self.headers);
        pairs.fold(self.auth.len(), |sum, (key, value)| sum + key.len() + value.len())
    }
}
