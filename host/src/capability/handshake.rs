//! What a client said when it connected.

use std::net::IpAddr;

/// What a connection began with. Nobody has verified it but for the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeData {
    /// The fields of `auth` besides the token: a JSON object.
    pub auth: Box<str>,
    /// The query, decoded, without the protocol's own keys.
    pub query: Vec<(String, String)>,
    /// Where it came from, when that is known.
    pub address: Option<IpAddr>,
    /// The transport it began with: `polling` or `websocket`.
    pub transport: &'static str,
    /// Those of its headers that the operator named.
    pub headers: Vec<(String, String)>,
}

impl Default for HandshakeData {
    /// One that says nothing, over a WebSocket.
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
    /// Bytes that the client chose.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let pairs = self.query.iter().chain(&self.headers);
        pairs.fold(self.auth.len(), |sum, (key, value)| sum + key.len() + value.len())
    }
}
