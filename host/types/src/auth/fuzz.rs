//! Properties that must hold for any token and any key set. The fuzz targets in `tests/fuzz` check them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto;

use super::key::{Algorithm, Key};
use super::{AuthError, Authenticator, Policy, TokenRules, jwks};

/// The current time, in milliseconds since the Unix epoch.
const NOW: u64 = 1_800_000_000_000;
const LEEWAY: Duration = Duration::from_secs(5);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Verifies a token with the keys of a published key set.
///
/// # Panics
/// When the set yields an HMAC secret: everybody who reads the set could sign tokens.
pub fn token(token: &str, key_set: &[u8]) {
    let keys = jwks::parse_key_set(key_set).unwrap_or_default();
    assert!(keys.iter().all(|key| !key.algorithm().is_hmac()));
    let _ = verify(keys, token);
}

/// Signs a header and claims with a secret, and verifies the token.
///
/// # Panics
/// When an expired token or a wrong signature is accepted.
pub fn claims(header: &str, claims: &str) {
    let Some(key) = secret() else { return };
    let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let Some(signature) = sign(&message, &key) else { return };
    let verified = verify(vec![key.clone()], &format!("{message}.{signature}"));
    let expires_at = verified.map_or(u64::MAX, |identity| identity.expires_at_ms());
    assert!(expires_at.saturating_add(5_000) > NOW, "an expired token is accepted");

    let forged = verify(vec![key], &format!("{message}.{}", "A".repeat(signature.len())));
    assert!(
        matches!(
            forged,
            Err(AuthError::Unverified | AuthError::Malformed | AuthError::TooLong)
        ),
        "{forged:?}"
    );
}

fn secret() -> Option<Key> {
    Key::from_secret(Algorithm::Hs256, SECRET).ok()
}

fn sign(message: &str, key: &Key) -> Option<String> {
    crypto::sign(
        message.as_bytes(),
        key.encoding.as_ref()?,
        Algorithm::Hs256.to_library(),
    )
    .ok()
}

fn verify(keys: Vec<Key>, token: &str) -> Result<super::Identity, AuthError> {
    let policy = Policy {
        keys,
        jwks: Vec::new(),
        rules: TokenRules {
            leeway: LEEWAY,
            ..TokenRules::default()
        },
    };
    let authenticator = Authenticator::new("acme", &policy).map_err(|_| AuthError::Malformed)?;
    authenticator.verify(token, NOW)
}
