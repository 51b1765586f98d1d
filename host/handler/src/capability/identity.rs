//! `identity`: the claims of the verified token, and what the client sent when it connected.

use super::{Call, HandshakeData};

impl Call {
    /// The name to show.
    #[must_use]
    pub fn username(&self) -> &str {
        self.identity.name()
    }

    /// All claims, as a JSON object.
    #[must_use]
    pub fn claims(&self) -> &str {
        self.identity.claims()
    }

    /// What the client sent when it connected.
    #[must_use]
    pub fn handshake(&self) -> &HandshakeData {
        &self.handshake
    }
}
