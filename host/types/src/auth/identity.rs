//! The identity of a user, from a verified token.

use std::sync::Arc;

use crate::id::{InvalidId, TenantId, UserId};
use crate::text::escape;

/// Longest display name, in bytes. Longer ones are cut: names are displayed, never compared.
pub const MAX_NAME_BYTES: usize = 128;

/// A user of a tenant whose token has been verified. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    tenant: TenantId,
    user: UserId,
    name: Arc<str>,
    claims: Arc<str>,
    expires_at_ms: u64,
    issued_at_ms: Option<u64>,
    token_id: Option<Arc<str>>,
}

/// The token's claims, for [`Identity::verified`].
pub(super) struct VerifiedClaims<'a> {
    pub(super) user: UserId,
    pub(super) name: Option<&'a str>,
    pub(super) claims: Arc<str>,
    pub(super) expires_at_ms: u64,
    pub(super) issued_at_ms: Option<u64>,
    pub(super) token_id: Option<Arc<str>>,
}

impl Identity {
    /// Only the authenticator calls this, after it has verified the token.
    pub(super) fn verified(tenant: TenantId, token: VerifiedClaims<'_>) -> Self {
        let name = display_name(token.name.unwrap_or(token.user.as_str()));
        Self {
            tenant,
            user: token.user,
            name,
            claims: token.claims,
            expires_at_ms: token.expires_at_ms,
            issued_at_ms: token.issued_at_ms,
            token_id: token.token_id,
        }
    }

    /// The identity of events that other servers cause (`serverSideEmit`). Nothing can be done on its behalf.
    ///
    /// # Errors
    /// Never, since the user id is valid.
    pub fn for_server_events(tenant: TenantId) -> Result<Self, InvalidId> {
        let token = VerifiedClaims {
            user: UserId::new("servers")?,
            name: None,
            claims: "{}".into(),
            expires_at_ms: u64::MAX,
            issued_at_ms: None,
            token_id: None,
        };
        Ok(Self::verified(tenant, token))
    }

    /// An unverified identity, which never expires and has no claims, for tests of what follows authentication. `None`
    /// if the tenant or the user is not a valid id.
    #[cfg(any(test, fuzzing, feature = "test-util"))]
    #[must_use]
    pub fn for_tests(tenant: &str, user: &str) -> Option<Self> {
        let token = VerifiedClaims {
            user: UserId::new(user).ok()?,
            name: None,
            claims: "{}".into(),
            expires_at_ms: u64::MAX,
            issued_at_ms: None,
            token_id: None,
        };
        Some(Self::verified(TenantId::from_trusted_name(tenant).ok()?, token))
    }

    /// The tenant whose key verified the token.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The user: claim `sub`, else `id`.
    #[must_use]
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// The display name: claim `name`, else `username`, else the user id. It is not unique and has 1 to
    /// [`MAX_NAME_BYTES`] bytes. U+FFFD replaces control characters, controls of the writing direction, and lone
    /// surrogates. A claim without a visible character is skipped.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// All claims: the text of a JSON object as it was signed, except that lone surrogates are U+FFFD.
    #[must_use]
    pub fn claims(&self) -> &Arc<str> {
        &self.claims
    }

    /// The claim `exp` in milliseconds since the Unix epoch. [`TokenRules::leeway`](super::TokenRules::leeway) is not
    /// added.
    #[must_use]
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }

    /// The claim `iat` in milliseconds since the Unix epoch, if there is one.
    #[must_use]
    pub fn issued_at_ms(&self) -> Option<u64> {
        self.issued_at_ms
    }

    /// The claim `jti`, if there is one.
    #[must_use]
    pub fn token_id(&self) -> Option<&Arc<str>> {
        self.token_id.as_ref()
    }
}

/// A name as others are shown it: replaces control characters and controls of the writing direction, which would garble
/// logs and pages, then cuts the name between two characters to at most [`MAX_NAME_BYTES`].
#[must_use]
pub fn display_name(name: &str) -> Arc<str> {
    let mut clean = String::new();
    for char in name.chars() {
        let char = if char.is_control() || escape::is_directional(char) {
            char::REPLACEMENT_CHARACTER
        } else {
            char
        };
        if clean.len() + char.len_utf8() > MAX_NAME_BYTES {
            break;
        }
        clean.push(char);
    }
    clean.into()
}
