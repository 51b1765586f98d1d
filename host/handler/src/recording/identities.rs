//! Identities of recorded users.
//!
//! Only a verified token makes an [`Identity`], and a recording has no tokens. So a replay signs the recorded claims
//! with a key of its own, which nobody else knows, and verifies that token.

use parlance_types::auth::{Algorithm, Authenticator, Identity, Key, Minter, Policy};

use super::event::RecordedIdentity;
use crate::capability::{RandomSource as _, SystemRandom};

/// Makes identities of one tenant.
pub(super) struct Identities {
    authenticator: Authenticator,
    minter: Minter,
}

/// The user of events that other servers send, who has no token.
const SERVERS: &str = "{}";

impl Identities {
    /// # Errors
    /// When the name is not that of a tenant.
    pub(super) fn new(tenant: &str) -> Result<Self, String> {
        let mut secret = [0; 32];
        SystemRandom.fill(&mut secret);
        let key = Key::from_secret(Algorithm::Hs256, &secret).map_err(|error| error.to_string())?;
        let policy = Policy {
            keys: vec![key.clone()],
            ..Policy::default()
        };
        Ok(Self {
            authenticator: Authenticator::new(tenant, &policy).map_err(|error| error.to_string())?,
            minter: Minter::new(&key, &policy).map_err(|error| error.to_string())?,
        })
    }

    /// The identity of a recorded user.
    ///
    /// # Errors
    /// When the claims are not those of a token that the server would have accepted.
    pub(super) fn identity(&self, recorded: &RecordedIdentity) -> Result<Identity, String> {
        if recorded.claims == SERVERS {
            let tenant = self.authenticator.tenant().clone();
            return Identity::for_server_events(tenant).map_err(|error| error.to_string());
        }
        let token = self
            .minter
            .sign(&recorded.claims)
            .map_err(|error| format!("its claims: {error}"))?;
        // The event may have begun within the policy's leeway after the token had expired.
        let before = recorded.expires_at.saturating_sub(1);
        let identity = self.authenticator.verify(&token, before);
        identity.map_err(|error| format!("its claims: {error}"))
    }
}
