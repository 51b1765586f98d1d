//! The user who causes every event.

use anyhow::Result;
use parlance_types::auth::{Algorithm, Authenticator, Identity, Key, Minter, Policy};
use parlance_types::id::DEFAULT_TENANT;

/// When the events happen, in milliseconds since the Unix epoch.
pub(crate) const NOW_MS: u64 = 1_790_000_000_000;

/// The token's claims. It expires an hour after [`NOW_MS`].
const CLAIMS: &str = r#"{"sub":"alice","exp":1790003600}"#;

/// The identity of the user `alice` of the default tenant.
pub(crate) fn identity() -> Result<Identity> {
    let key = Key::from_secret(Algorithm::Hs256, &[7; 32])?;
    let policy = Policy {
        keys: vec![key.clone()],
        ..Policy::default()
    };
    let token = Minter::new(&key, &policy)?.sign(CLAIMS)?;
    Ok(Authenticator::new(DEFAULT_TENANT, &policy)?.verify(&token, NOW_MS)?)
}
